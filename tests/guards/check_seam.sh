#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A database is used through database/database.h alone: code names SQLite, and
# what is SQLite's, in its own folder, where its driver is registered, and where
# its handle is lent to other modules. Comments may speak of it.
set -eu

sources=${1:-mod_connpool}
status=0

# code FILE: without comments, each line with its number.
code() {
    perl -0pe 's{/\*.*?\*/}{$& =~ tr/\n//cdr}gse' "$1" | grep -n . || true
}

# excused FILE: what it may say.
excused() {
    case $1 in
    mod_connpool.c) echo '#include "database/sqlite/sqlite.h"|cp_sqlite_driver' ;;
    mod_connpool.h) echo 'struct sqlite3;|connpool_sqlite, ' ;;
    api/*) echo 'connpool_sqlite|native_handle.conn, "sqlite".' ;;
    *) echo '^$' ;;
    esac
}

cd "$sources"
files=$(find . -name '*.[ch]' ! -path './database/sqlite/*' | sed 's|^\./||' | sort)
[ "$(echo "$files" | wc -l)" -ge 10 ] || {
    echo "seam: no sources found" >&2
    exit 1
}
for file in $files; do
    found=$(code "$file" | grep -iE 'sqlite|cp_statement_[a-z]+\(|cp_sentinel' |
        grep -vE "$(excused "$file")" || true)
    if [ -n "$found" ]; then
        echo "seam: $file names what is SQLite's:" >&2
        echo "$found" >&2
        status=1
    fi
done
exit $status
