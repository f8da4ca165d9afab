#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_format.sh FILE...: the files are as clang-format leaves them. Other
# major versions break lines elsewhere, so only one decides.
set -eu

major=14
[ $# -gt 0 ] || {
    echo "format: no files" >&2
    exit 1
}
tool=clang-format-$major
command -v "$tool" >/dev/null || tool=clang-format
case $("$tool" --version) in
*"version $major."*) ;;
*)
    echo "format: not checked, clang-format $major is not installed"
    exit 0
    ;;
esac
"$tool" --dry-run -Werror "$@"
