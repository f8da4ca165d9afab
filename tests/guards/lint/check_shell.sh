#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All shell scripts of the tree, through shellcheck.
set -eu

cd "$(dirname "$0")/../../.."
scripts=$(find .ci scripts tests conf t -type f \( -name '*.sh' -o -path '.ci/run' \) | sort)
[ -n "$scripts" ] || {
    echo "shell: no scripts found" >&2
    exit 1
}
# shellcheck disable=SC2086 # names without blanks
shellcheck $scripts
for script in $scripts; do
    [ -x "$script" ] || {
        echo "shell: $script is not executable" >&2
        exit 1
    }
done
