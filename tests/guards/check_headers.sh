#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each header compiles alone, twice in a row, with every compiler there is.
set -eu

headers=$(find mod_connpool tests -name '*.h' | sort)
[ "$(echo "$headers" | wc -l)" -ge 10 ] || {
    echo "headers: none found" >&2
    exit 1
}
apxs=${APXS:-apxs}
flags="-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror
    -Imod_connpool -Itests -isystem $("$apxs" -q INCLUDEDIR)
    -isystem $("$apxs" -q APR_INCLUDEDIR)
    -isystem $(pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)"
status=0
for compiler in "${CC:-gcc}" clang; do
    command -v "$compiler" >/dev/null || continue
    for header in $headers; do
        name=${header#*/}
        # shellcheck disable=SC2086 # a list of flags
        printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
            "$compiler" $flags -fsyntax-only -x c - || {
            echo "headers: $header does not compile alone ($compiler)" >&2
            status=1
        }
    done
done
exit $status
