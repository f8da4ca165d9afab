#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Arrows only go down: the core knows no httpd, the glue no foreign library,
# drivers no pools, and each foreign library lives in few files.
set -eu

cd mod_connpool
status=0

# forbid PATTERN WHY FILE...: no file includes a header that matches.
forbid() {
    pattern=$1
    why=$2
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)[>\"]" \
        /dev/null "$@"; then
        echo "layers: $why" >&2
        status=1
    fi
}

# others PATTERN: all sources whose names do not match.
others() {
    find . -maxdepth 1 -name '*.[ch]' | sed 's|^\./||' | sort | grep -vE "$1" || true
}

core=$(find . -maxdepth 1 -name 'cp_*.[ch]' | sort)
glue=$(find . -maxdepth 1 -name 'mod_connpool*.[ch]' | sort)
[ -n "$core" ] || {
    echo "layers: no core files found" >&2
    exit 1
}

# shellcheck disable=SC2046,SC2086 # lists of names without blanks
{
    forbid 'httpd\.h|http_.*\.h|ap_.*\.h|mod_.*\.h|mpm_common\.h|scoreboard\.h|util_(script|filter|mutex|md5|cookies)\.h' \
        'the core (cp_*) must not know httpd' $core
    forbid 'apr_reslist\.h' 'apr_reslist.h belongs to cp_pool.c alone' \
        $(others '^cp_pool\.c$')
    forbid 'sqlite3\.h' 'sqlite3.h belongs to cp_sqlite*' \
        $(others '^cp_sqlite.*\.[ch]$')
    forbid 'curl/.*' 'curl belongs to cp_http*, cp_fetch* and cp_loop*' \
        $(others '^cp_(http|fetch|loop).*\.[ch]$')
    forbid 'cp_pool\.h' 'drivers never see pools' \
        $(find . -maxdepth 1 -name 'cp_sqlite*' -o -name 'cp_http*' -o -name 'cp_loop*')
    forbid 'cp_(sqlite|http|fetch|loop).*\.h' 'the pool knows no driver' \
        $(find . -maxdepth 1 -name 'cp_pool*')
}

# The same through headers: what the glue really gets to see.
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
