#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The core knows no httpd, the glue no foreign library, and each foreign library
# lives in one folder. Who may use whose folder: check_arrows.sh.
set -eu

cd mod_connpool
status=0
core=${CORE:?the folders of the core, as the Makefile lists them}

# forbid PATTERN WHY FILE...: no file includes a header that matches.
forbid() {
    pattern=$1
    why=$2
    shift 2
    [ $# -gt 0 ] || {
        echo "layers: no files to look at ($why)" >&2
        exit 1
    }
    if grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)[>\"]" \
        /dev/null "$@"; then
        echo "layers: $why" >&2
        status=1
    fi
}

# outside FOLDER: all sources that do not lie there.
outside() {
    find . -name '*.[ch]' ! -path "./$1/*" | sort
}

# shellcheck disable=SC2046,SC2086 # lists of names without blanks
{
    forbid 'httpd\.h|http_.*\.h|ap_.*\.h|mod_.*\.h|mpm_common\.h|scoreboard\.h|util_(script|filter|mutex|md5|cookies)\.h|glue\.h' \
        "the core ($core) must not know httpd" \
        $(find $core -maxdepth 1 -name '*.[ch]' | sort)
    forbid 'apr_reslist\.h' 'apr_reslist.h belongs to pool/' $(outside pool)
    forbid 'sqlite3\.h' 'sqlite3.h belongs to database/sqlite/' \
        $(outside database/sqlite)
    forbid 'curl/.*' 'curl belongs to http/' $(outside http)
    forbid 'libpq-fe\.h' 'libpq-fe.h belongs to database/pgsql/' \
        $(outside database/pgsql)
}

# The same through headers: what the glue really gets to see.
glue=$(find . -name '*.c' | sed 's|^\./||' | sort |
    grep -vE "^($(echo "$core" | tr ' ' '|'))/")
includes="-I. -isystem $("${APXS:-apxs}" -q INCLUDEDIR) -isystem $("${APXS:-apxs}" -q APR_INCLUDEDIR)"
for file in $glue; do
    # shellcheck disable=SC2086 # a list of flags
    seen=$("${CC:-gcc}" -D_GNU_SOURCE $includes -M "$file" | tr ' ' '\n' |
        grep -E '/(apr_reslist|sqlite3|curl)\.h$' || true)
    if [ -n "$seen" ]; then
        echo "layers: $file sees $(echo "$seen" | tr '\n' ' ')" >&2
        status=1
    fi
done
exit $status
