#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/FAULTS.md has the rows that the tests write, no more and no fewer.
set -eu
exec perl tests/lab/faults.pl check
