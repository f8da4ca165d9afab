#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# suite.sh SUITE: the module built in another Debian, below $BUILD/suite-SUITE,
# with its compiler and libraries and with warnings as errors; the unit tests and
# some of the end-to-end tests run there. Needs root, for the chroot.
set -eu

cd "$(dirname "$0")/../.."
suite=${1:?usage: $0 SUITE}
root=$BUILD/suite-$suite
tests='t/000_harness.t t/012_dump.t t/020_query.t t/022_writes.t t/028_schemas.t t/050_fetch.t
    t/051_fetch_tls.t t/057_batch.t t/070_restart.t t/080_status.t t/099_report_schemas.t
    t/101_versions.t t/120_pgsql.t'

if [ "$(id -u)" -ne 0 ]; then
    echo 'check-suite: a chroot needs root' >&2
    exit 1
fi

inside() {
    chroot "$root" env -i HOME=/root DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 CI=true \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

finish() {
    ! mountpoint -q "$root/proc" || umount "$root/proc"
}
trap finish EXIT

if [ ! -e "$root/.is-complete" ]; then
    rm -rf "$root"
    mirror=$(apt-cache policy | grep -oE 'https?://[^ ]+/debian( |$)' | head -n 1)
    # shellcheck disable=SC2086 # no mirror: debootstrap's own choice
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" $mirror >"$BUILD/debootstrap.log" 2>&1 || {
        tail -n 20 "$BUILD/debootstrap.log" >&2
        exit 1
    }
    # No service is started in it.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    touch "$root/.is-complete"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"

# What is tracked, as it is now; what was built before stays.
mkdir -p "$root/src"
git ls-files -z | xargs -0 cp -u --parents -t "$root/src"
inside sh -c 'cd /src && scripts/install-deps.sh run check' >"$BUILD/suite-$suite.log" 2>&1 || {
    tail -n 20 "$BUILD/suite-$suite.log" >&2
    exit 1
}
# shellcheck disable=SC2016 # dpkg-query's own
inside dpkg-query -W -f '${Package} ${Version}\n' gcc apache2-bin libsqlite3-dev libcurl4-openssl-dev libpq-dev libjansson-dev
inside make -s -C /src -j"$(nproc)" test-programs
inside env CK_TIMEOUT_MULTIPLIER=3 sh -c 'cd /src && build/unit'
# shellcheck disable=SC2086 # a list of words
inside env CONNPOOL_MPM=event sh -c 'cd /src && prove --timer "$@"' sh $tests
echo "check-suite: all good in $suite"
