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

# The findings that are right more often than not. Not malloc-leak: gcc 12
# loses sight of what is kept in an array's element; valgrind and ASan see it.
errors='null-dereference null-argument double-free use-after-free
    file-leak fd-leak double-fclose use-of-uninitialized-value
    write-to-const free-of-non-heap stale-setjmp-buffer'
# Annex K's functions are in no C library here; the check of va_list takes every
# variadic function for wrong.
tidy='clang-analyzer-*,-clang-analyzer-security.insecureAPI.*'
tidy="$tidy,-clang-analyzer-valist.*"
mkdir -p "$BUILD/analyze"
gcc_errors=
for name in $errors; do
    # Not every gcc has every check.
    if "$CC" "-Werror=analyzer-$name" -fsyntax-only -x c /dev/null 2>/dev/null; then
        gcc_errors="$gcc_errors -Werror=analyzer-$name"
    fi
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
    clang-tidy --quiet --checks="$tidy" "$@" -- $flags || status=1
else
    echo "== clang-tidy is not installed"
fi
exit $status
