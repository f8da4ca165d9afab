#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# httpd loads modules into one name space: only the module record is visible.
set -eu

module=${BUILD:-build}/mod_connpool.so
[ -e "$module" ] || {
    echo "exports: no $module" >&2
    exit 1
}
names=$(nm -D --defined-only "$module" | awk '{ print $3 }')
if [ "$names" != connpool_module ]; then
    echo "exports: expected connpool_module alone, found:" >&2
    echo "$names" >&2
    exit 1
fi

# A shared object links although a file is missing; the load fails then.
if nm -u "$module" | grep -E ' (cp_|connpool_)'; then
    echo "exports: these functions of ours are nowhere" >&2
    exit 1
fi

# Nothing meant for tests may be shipped.
if strings "$module" | grep -n 'CONNPOOL_TEST_'; then
    echo "exports: the module holds code for tests" >&2
    exit 1
fi
