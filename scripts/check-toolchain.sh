#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Say in one sentence what is missing, before the compiler says it in fifty.
set -eu

CC=${CC:-gcc}
APXS=${APXS:-apxs}

missing() {
    echo "connpool: $1 is missing; 'make deps' (as root or with sudo)" \
        "installs what is needed, or install the package $2" >&2
    exit 1
}

command -v "$CC" >/dev/null || missing "the compiler '$CC'" gcc
command -v "$APXS" >/dev/null || missing "'$APXS'" apache2-dev

includes=$("$APXS" -q INCLUDEDIR)
apr=$("$APXS" -q APR_INCLUDEDIR)
while read -r header package; do
    echo "#include <$header>" |
        "$CC" -E -x c -I"$includes" -I"$apr" - >/dev/null 2>&1 ||
        missing "the header $header" "$package"
done <<'LIST'
stdio.h libc6-dev
ap_config_layout.h apache2-dev
apr.h libapr1-dev
sqlite3.h libsqlite3-dev
curl/curl.h libcurl4-openssl-dev
jansson.h libjansson-dev
zlib.h zlib1g-dev
LIST
