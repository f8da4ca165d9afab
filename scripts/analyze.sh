#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# analyze.sh FILE...: what static analysis has to say. gcc's analyzer and
# cppcheck decide; clang-tidy too, where it is installed.
set -eu

BUILD=${BUILD:-build}
CC=${CC:-gcc}
APXS=${APXS:-apxs}

[ $# -gt 0 ] || {
    echo "usage: $0 FILE..." >&2
    exit 2
}
flags="$("$APXS" -q EXTRA_CPPFLAGS) -D_GNU_SOURCE -std=gnu11 -Imod_connpool
    -isystem $("$APXS" -q INCLUDEDIR) -isystem $("$APXS" -q APR_INCLUDEDIR)"
status=0

# The findings that are right more often than not.
errors='null-dereference null-argument double-free use-after-free malloc-leak
    file-leak fd-leak double-fclose use-of-uninitialized-value
    write-to-const free-of-non-heap stale-setjmp-buffer'
mkdir -p "$BUILD/analyze"
gcc_errors=
for name in $errors; do
    gcc_errors="$gcc_errors -Werror=analyzer-$name"
done
echo "== $CC -fanalyzer"
for file in "$@"; do
    # shellcheck disable=SC2086 # lists of words
    "$CC" $flags -O1 -fanalyzer $gcc_errors -c -o "$BUILD/analyze/out.o" \
        "$file" || status=1
done

echo "== cppcheck"
tests/guards/lint/check_cppcheck.sh "$@" || status=1

if command -v clang-tidy >/dev/null; then
    echo "== clang-tidy"
    # shellcheck disable=SC2086 # a list of words
    clang-tidy --quiet "$@" -- $flags || status=1
else
    echo "== clang-tidy is not installed"
fi
exit $status
