#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Debian packages from a copy of the sources, into $BUILD/deb, and
# lets lintian look at them. Called by the Makefile.
set -eu

version=$(sed -n 's/^#define CONNPOOL_VERSION "\(.*\)"/\1/p' mod_connpool/glue.h)
packaged=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
if [ "$version" != "$packaged" ]; then
    echo "make-deb: the module is $version, debian/changelog says $packaged" >&2
    exit 1
fi

out=$BUILD/deb
source=$out/mod-connpool-$version
rm -rf "$out"
mkdir -p "$source"
# What is tracked, as it is now; without git all but what was built.
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z | xargs -0 cp --parents -t "$source"
else
    tar -c --exclude ./build --exclude ./.git . | tar -x -C "$source"
fi

(cd "$source" && DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-nocheck noautodbgsym}" \
    dpkg-buildpackage -us -uc -b -rfakeroot) >"$out/build.log" 2>&1 || {
    tail -n 40 "$out/build.log" >&2
    exit 1
}
rm -rf "$source"
lintian --fail-on error,warning --display-info --info --tag-display-limit 0 "$out"/*.changes
ls "$out"/*.deb
