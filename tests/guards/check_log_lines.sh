#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Who finds a warning or an error in the log finds it in the manual.
set -eu

exec perl tests/guards/log_lines.pl
