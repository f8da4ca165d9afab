#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make-example.sh NAME DIRECTORY: what conf/examples/NAME needs in DIRECTORY.
# That is its database, from schema.sql and what make-data.pl prints, and other
# files that prepare.sh makes. Called by run-demo.sh and by the tests.
set -eu
umask 022

example=$(cd "$(dirname "$0")/../conf/examples/$1" && pwd)
directory=$(cd "$2" && pwd)

# Its name stands in the configuration.
name=$(sed -n 's/^ *ConnPoolDatabase .*sqlite:.*\/\([a-z.]*\)".*/\1/p' "$example/httpd.conf" "$example"/others.conf 2>/dev/null | head -n 1)
[ -n "$name" ] || {
    echo "make-example: $example/httpd.conf names no database" >&2
    exit 1
}
database=$directory/$name

print_sql() {
    cat "$example/schema.sql"
    if [ -e "$example/make-data.pl" ]; then
        perl "$example/make-data.pl"
    fi
}

# Made beside its final name, so that an interrupted load is never used; made
# again when what it is made of is newer.
if ! [ -e "$database" ] ||
    [ -n "$(find "$example" \( -name schema.sql -o -name make-data.pl \) -newer "$database")" ]; then
    rm -f "$database" "$database-wal" "$database-shm" "$database.new"
    print_sql >"$database.sql"
    sqlite3 -batch -bail -init /dev/null "$database.new" <"$database.sql"
    mv "$database.new" "$database"
    rm "$database.sql"
fi
if [ -e "$example/prepare.sh" ]; then
    (cd "$directory" && "$example/prepare.sh")
fi
