#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_cppcheck.sh PATH...: warnings and portability are errors.
# It does not see the headers of libraries, so what asks them for their version fails.
set -eu

[ $# -gt 0 ] || {
    echo "cppcheck: no files" >&2
    exit 1
}
cppcheck --quiet --std=c11 --language=c --enable=warning,portability \
    --inline-suppr --suppress=preprocessorErrorDirective --error-exitcode=1 -D_GNU_SOURCE -Imod_connpool \
    --suppress=missingIncludeSystem "$@"
