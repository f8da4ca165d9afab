#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run all guards from the top of the tree; each reports its own findings.
set -eu

cd "$(dirname "$0")/../.."
status=0
for guard in tests/guards/check_*.sh; do
    if "$guard"; then
        echo "ok: $(basename "$guard" .sh)"
    else
        echo "FAILED: $guard" >&2
        status=1
    fi
done
exit $status
