#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Folders use each other only as the map (mod_connpool/README.md) allows, and no
# files and no folders use each other in a circle: by what they include, and by
# the symbols that their objects define and need.
set -eu

build=${BUILD:-build}/mod_connpool
[ -d "$build" ] || {
    echo "arrows: no objects in $build" >&2
    exit 1
}
find "$build" -name '*.o' | sort |
    xargs nm -A -g | perl tests/guards/arrows.pl mod_connpool "$build"
