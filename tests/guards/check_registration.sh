#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A test that is written but not registered passes for ever: each START_TEST
# is added to a case, each suite to the program, each .t file ends properly.
set -eu

status=0
complain() {
    echo "registration: $1" >&2
    status=1
}

set -- tests/*/test_*.c tests/*/*/test_*.c
[ -e "$1" ] || {
    echo "registration: no tests/*/test_*.c found" >&2
    exit 1
}
count=0
for file in "$@"; do
    added=$(tr -s ' \n' '  ' <"$file" |
        grep -oE 'tcase_add_[a-z_]+\([^;]*;' | tr -c 'A-Za-z0-9_' '\n')
    tests=$(sed -n 's/^START_TEST(\([A-Za-z0-9_]*\)).*/\1/p' "$file")
    for test in $tests; do
        count=$((count + 1))
        echo "$added" | grep -qx "$test" ||
            complain "$file: $test is in no test case"
    done
    suite=$(basename "$file" .c)
    suite=${suite#test_}
    grep -q "Suite \*${suite}_suite(void)" "$file" ||
        complain "$file: makes no suite '$suite'"
    for list in tests/suites.h tests/main.c; do
        grep -qE "(SUITE\($suite\)|, ${suite}_suite\}|\*${suite}_suite\()" "$list" ||
            complain "$suite: missing in $list"
    done
done
[ $count -gt 0 ] || complain "no START_TEST found"

set -- t/*.t
[ -e "$1" ] || complain "no t/*.t found"
for file in "$@"; do
    grep -qE '^(done_testing|plan skip_all)' "$file" ||
        complain "$file: no done_testing"
done
exit $status
