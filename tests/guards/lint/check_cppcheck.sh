#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_cppcheck.sh PATH...: warnings and portability are errors.
set -eu

[ $# -gt 0 ] || {
    echo "cppcheck: no files" >&2
    exit 1
}
cppcheck --quiet --std=c11 --language=c --enable=warning,portability \
    --inline-suppr --error-exitcode=1 -D_GNU_SOURCE -Imod_connpool \
    --suppress=missingIncludeSystem "$@"
