#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fetch-axe.sh DIRECTORY: axe-core from npm, unless it is there. Without npm, or
# without the network, it says so and leaves nothing: the check is skipped then.
set -eu

version=4.14.1
directory=$1
[ ! -e "$directory/axe.min.js" ] || exit 0
if ! command -v npm >/dev/null; then
    echo "no axe-core: npm is not installed (apt-get install npm)" >&2
    exit 0
fi
mkdir -p "$directory"
cd "$directory"
if archive=$(npm pack --silent "axe-core@$version" 2>/dev/null); then
    tar -xzf "$archive" --strip-components=1 package/axe.min.js
    rm "$archive"
else
    echo "no axe-core: npm could not fetch axe-core@$version" >&2
fi
