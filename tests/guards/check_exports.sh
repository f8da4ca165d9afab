#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# httpd loads modules into one name space: only the module record is visible.
set -eu

build=${BUILD:-build}
[ -e "$build/mod_connpool.so" ] || {
    echo "exports: no $build/mod_connpool.so" >&2
    exit 1
}

# check MODULE RECORD
check() {
    names=$(nm -D --defined-only "$1" | awk '{ print $3 }')
    if [ "$names" != "$2" ]; then
        echo "exports: $1: expected $2 alone, found:" >&2
        echo "$names" >&2
        exit 1
    fi

    # A shared object links although a file is missing; the load fails then.
    if nm -u "$1" | grep -E ' (cp_|connpool_)'; then
        echo "exports: $1: these functions of ours are nowhere" >&2
        exit 1
    fi

    # Nothing meant for tests may be shipped.
    if strings "$1" | grep -n 'CONNPOOL_TEST_'; then
        echo "exports: $1 holds code for tests" >&2
        exit 1
    fi
}

check "$build/mod_connpool.so" connpool_module
if [ -e "$build/mod_connpool_pgsql.so" ]; then
    check "$build/mod_connpool_pgsql.so" connpool_pgsql_module
fi

# Servers without PostgreSQL carry no libpq.
if ldd "$build/mod_connpool.so" | grep libpq; then
    echo "exports: mod_connpool.so needs libpq" >&2
    exit 1
fi
