#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh SECONDS TARGET...: each target so long under libFuzzer, beginning with
# its corpus. What is new and interesting stays below $BUILD; what breaks a
# promise is kept there, too, and named at the end.
set -eu

seconds=$1
shift
build=${BUILD:-build}
status=0
for name in "$@"; do
    found=$build/fuzzing/corpus/$name
    mkdir -p "$found"
    log=$build/fuzzing/$name.log
    if "$build/fuzzing/$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/fuzzing/broken-$name-" \
        "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing broken"
    else
        status=1
        echo "$name: BROKEN, see $log" >&2
        grep -E 'broken:|ERROR: |runtime error:|Test unit written' "$log" >&2 || true
    fi
done
exit $status
