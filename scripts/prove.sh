#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# End-to-end tests under one MPM: scripts/prove.sh MPM FILE...
#
# A file that fails beside others is run once more, alone: a fault of the module
# fails again, and what a busy machine did passes. Both are said, with what the
# first run complained of, so that no failure is lost in a long log. A process
# that crashed has no second try.
#
# Environment: BUILD, PROVE, JOBS (files at once).
set -u
mpm=$1
shift
dir=$BUILD/prove
mkdir -p "$dir"
state=$dir/$mpm.state
complaints=$dir/$mpm.stderr
rm -f "$state"
export CONNPOOL_MPM=$mpm CONNPOOL_BUILD=$BUILD

# Complaints are kept as they come, and shown.
{
    "${PROVE:-prove}" -j"${JOBS:-2}" --timer --statefile "$state" --state=save "$@" 2>&1 >&3 3>&- |
        tee "$complaints" >&2
    status=${PIPESTATUS[0]}
} 3>&1
if [ "$status" -eq 0 ]; then
    exit 0
fi
echo "What the failed tests under $mpm complained of:"
grep '^ *#' "$complaints" | tail -n 60
if grep -Eq 'exit signal (Seg|Abort|Bus|Illegal|Float)|Sanitizer:|dumped core|Assertion .* failed' "$complaints"; then
    exit "$status"
fi
echo "They are run once more, alone:"
"${PROVE:-prove}" --timer --statefile "$state" --state=failed,save
status=$?
if [ "$status" -eq 0 ]; then
    echo "Under $mpm some files failed beside others and passed alone; see above."
fi
exit "$status"
