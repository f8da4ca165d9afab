#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The packages that `make deb` built, in a Debian of their own below
# $BUILD/deb-root: installed, used, upgraded under load, removed, purged; and
# `make install` and `make uninstall` on the same layout.
#
# Its Apache listens on 127.0.0.1 only. Needs root, for the chroot.
set -eu

cd "$(dirname "$0")/../.."
root=$BUILD/deb-root
debs=$BUILD/deb
load=
step() {
    echo "check-deb: $*"
}
fail() {
    echo "check-deb: FAILED: $*" >&2
    tail -n 20 "$root/var/log/apache2/error.log" >&2 || :
    exit 1
}

if [ "$(id -u)" -ne 0 ]; then
    echo "check-deb: skipped: a chroot needs root" >&2
    exit 0
fi

inside() {
    chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

stop_postgresql() {
    for cluster in "$root"/etc/postgresql/*/connpool; do
        [ ! -e "$cluster" ] || inside pg_dropcluster --stop "$(basename "$(dirname "$cluster")")" connpool || :
    done
}

finish() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || :
    if [ -x "$root/usr/sbin/apache2" ]; then
        inside service apache2 stop >/dev/null 2>&1 || :
    fi
    stop_postgresql
    ! mountpoint -q "$root/proc" || umount "$root/proc"
}
trap finish EXIT

suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-cache policy | grep -oE 'https?://[^ ]+/debian( |$)' | head -n 1)
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
url=http://127.0.0.1:$port

# --- a Debian, as it is fresh -------------------------------------------------

if [ ! -e "$root/.is-complete" ]; then
    step "a fresh $suite"
    rm -rf "$root"
    # shellcheck disable=SC2086 # no mirror: debootstrap's own choice
    debootstrap --variant=minbase --include=apache2,curl,sqlite3,ca-certificates "$suite" "$root" $mirror \
        >"$BUILD/debootstrap.log" 2>&1 || {
        tail -n 20 "$BUILD/debootstrap.log" >&2
        echo 'check-deb: skipped: debootstrap makes no Debian to test in here' >&2
        exit 0
    }
    touch "$root/.is-complete"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc" || :
echo "Listen 127.0.0.1:$port" >"$root/etc/apache2/ports.conf"
# As init would allow it: packages restart the server.
printf '#!/bin/sh\nexit 0\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
echo 'ServerName localhost' >"$root/etc/apache2/conf-enabled/name.conf"
inside apt-get purge -y -q 'libapache2-mod-connpool*' >/dev/null 2>&1 || :
rm -f "$root"/etc/apache2/conf-*/connpool-test*.conf # of a run before

# apt_install FILE...: packages of ours, from files.
apt_install() {
    cp "$@" "$root/tmp/"
    set -- "${@##*/}"
    inside apt-get install -y -q -o Dpkg::Options::=--force-confold "${@/#//tmp/}" >>"$BUILD/deb-apt.log" 2>&1 || {
        tail -n 20 "$BUILD/deb-apt.log" >&2
        fail "apt-get install $*"
    }
}

package=$(ls "$debs"/libapache2-mod-connpool_*.deb)
: >"$BUILD/deb-apt.log"

step 'the README, from top to bottom'
# Its commands, and what it says to the first curl. Only init and
# the port are others here.
rm -rf "$root/var/lib/app" "$root/tmp/readme"
mkdir -p "$root/tmp/readme/build/deb"
cp "$package" "$root/tmp/readme/build/deb/"
# shellcheck disable=SC2016 # backticks of Markdown
sed -n '/^## Use it/,/^## /p' README.md | sed '1,/^The rest in a root shell/d' |
    sed -n '/^```sh$/,/^```$/p' >"$BUILD/deb/readme.md"
# shellcheck disable=SC2016 # backticks of Markdown
sed '1d; /^```$/,$d; s/systemctl restart apache2/{ service apache2 restart || service apache2 start; }/' \
    "$BUILD/deb/readme.md" >"$root/tmp/readme/commands.sh"
inside sh -eu -c 'cd /tmp/readme && . ./commands.sh' >>"$BUILD/deb-apt.log" 2>&1 || {
    tail -n 20 "$BUILD/deb-apt.log" >&2
    fail 'a command of the README'
}
asked=$(sed -n "s,^\\$ curl 'http://localhost\\(.*\\)'\$,\\1,p" "$BUILD/deb/readme.md" | head -n 1)
shown=$(grep -A 1 '^\$ curl' "$BUILD/deb/readme.md" | sed -n 2p)
answered=$(curl -sS --retry 20 --retry-connrefused --retry-delay 1 "$url$asked")
if [ -z "$asked" ] || [ "$answered" != "$shown" ]; then
    fail "the README shows $shown, answered was $answered"
fi
inside a2disconf -q app
rm "$root/etc/apache2/conf-available/app.conf"
inside apt-get purge -y -q libapache2-mod-connpool >/dev/null 2>&1

step install
apt_install "$package"
inside a2query -q -m connpool || fail 'the module is not enabled'
cp debian/tests/serve-a-query "$root/tmp/serve-a-query"
inside env PORT="$port" /tmp/serve-a-query || fail 'no query is served'
inside a2enconf -q connpool-small
inside apache2ctl configtest || fail 'connpool-small.conf'
inside a2disconf -q connpool-small

[ -s "$root/usr/share/mod_connpool/schema/status.schema.json" ] || fail 'no schemas'

step "the container's command"
inside service apache2 stop >/dev/null
command=$(perl -MJSON::PP -ne 'print JSON::PP->new->decode($1)->[2] if /^CMD (.*)/' conf/deploy/Dockerfile)
# In the place of the shell that starts it: what is sent to it, Apache gets.
chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$command" >/dev/null 2>&1 &
load=$!
curl -sS -o /dev/null --retry 20 --retry-connrefused --retry-delay 1 "$url/rooms" || fail 'it does not serve'
kill -WINCH "$load"
for _ in $(seq 100); do
    kill -0 "$load" 2>/dev/null || break
    sleep 0.1
done
! kill -0 "$load" 2>/dev/null || fail 'it does not end'
wait "$load" || fail 'it ends badly'
load=
inside service apache2 start >/dev/null

step 'the driver for PostgreSQL'
mkdir -p "$root/etc/postgresql-common"
# No cluster, and no port, that the test does not make.
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
inside apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold postgresql \
    >>"$BUILD/deb-apt.log" 2>&1 || {
    tail -n 20 "$BUILD/deb-apt.log" >&2
    fail 'apt-get install postgresql'
}
apt_install "$(ls "$debs"/libapache2-mod-connpool-pgsql_*.deb)"
inside a2query -q -m connpool_pgsql || fail 'the driver is not enabled'
cp debian/tests/serve-from-postgresql "$root/tmp/serve-from-postgresql"
inside env PORT="$port" /tmp/serve-from-postgresql || fail 'no query of PostgreSQL is served'
curl -sS "$url/rooms" | grep -q Blue || fail 'SQLite is served no more'
inside apt-get purge -y -q libapache2-mod-connpool-pgsql >/dev/null
! inside a2query -q -m connpool_pgsql 2>/dev/null || fail 'the driver is still enabled'
inside apache2ctl configtest || fail 'Apache does not start without the driver'
! find "$root/etc/apache2" -name 'connpool_pgsql*' | grep . || fail 'files of the driver are left'
stop_postgresql
inside a2disconf -q connpool-test-pgsql

step 'upgrade under load'
echo '# edited' >>"$root/etc/apache2/mods-available/connpool.conf"
newer=$BUILD/deb/newer
rm -rf "$newer"
dpkg-deb -R "$package" "$newer"
sed -i 's/^Version: .*/&+1/' "$newer/DEBIAN/control"
dpkg-deb --root-owner-group -b "$newer" "$BUILD/deb/newer.deb" >/dev/null
# One line an answer: its status, or 000 while Apache restarts.
(while :; do
    curl -s -o /dev/null -w '%{http_code}\n' --max-time 20 "$url/rooms" || :
done) >"$BUILD/deb-load.log" &
load=$!
answered() {
    grep -c '^200' "$BUILD/deb-load.log" || :
}
await_answers() {
    wanted=$(($(answered) + 20))
    for _ in $(seq 300); do
        [ "$(answered)" -lt "$wanted" ] || return 0
        sleep 0.1
    done
    fail 'the load is not answered'
}
await_answers
apt_install "$BUILD/deb/newer.deb"
await_answers
kill "$load"
wait "$load" 2>/dev/null || :
load=
sort "$BUILD/deb-load.log" | uniq -c
if grep -qvE '^(200|000)' "$BUILD/deb-load.log"; then
    fail 'a request was answered wrongly during the upgrade'
fi
inside dpkg-query -s libapache2-mod-connpool | grep '^Version: .*+1$' || fail 'not upgraded'
tail -n 1 "$root/etc/apache2/mods-available/connpool.conf" | grep -q edited ||
    fail 'an edited configuration was replaced'
if grep -E 'exit signal|connpool:(error|crit)' "$root/var/log/apache2/error.log"; then
    fail 'the log has errors'
fi

step 'remove and purge'
inside apt-get remove -y -q libapache2-mod-connpool >/dev/null
! inside a2query -q -m connpool 2>/dev/null || fail 'still enabled'
inside apache2ctl configtest || fail 'Apache does not start without it'
curl -sS -o /dev/null --retry 20 --retry-connrefused --retry-delay 1 "$url/" || fail 'Apache is not running'
inside apt-get purge -y -q libapache2-mod-connpool >/dev/null
! find "$root/etc/apache2" -name 'connpool.*' -o -name 'connpool-small*' | grep . ||
    fail 'files are left'

step 'the header'
dpkg-deb -x "$debs"/libapache2-mod-connpool-dev_*.deb "$BUILD/deb/dev"
# It says where it is installed: here that is elsewhere.
flags=$(PKG_CONFIG_PATH=$BUILD/deb/dev/usr/share/pkgconfig pkg-config --cflags mod_connpool \
    --define-variable=includedir="$BUILD/deb/dev/usr/include/apache2")
[ "$(PKG_CONFIG_PATH=$BUILD/deb/dev/usr/share/pkgconfig pkg-config --modversion mod_connpool)" = \
    "$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)" ] || fail 'its version'
for consumer in t/handler/*.c; do
    # shellcheck disable=SC2046,SC2086 # lists of flags
    "${CC:-gcc}" -fsyntax-only $flags $(apxs -q EXTRA_CPPFLAGS) -D_GNU_SOURCE -I"$(apxs -q INCLUDEDIR)" \
        -I"$(apxs -q APR_INCLUDEDIR)" -I"$(apxs -q APU_INCLUDEDIR)" "$consumer" || fail "$consumer"
done

step 'make install, make uninstall'
make -s --no-print-directory install DESTDIR="$root" BUILD="$BUILD"
inside a2enmod -q connpool
inside a2enconf -q connpool-small
inside apache2ctl configtest || fail 'after make install'
echo '# edited' >>"$root/etc/apache2/mods-available/connpool.conf"
echo 'ConnPoolDBMax 3' >>"$root/etc/apache2/conf-available/connpool-small.conf"
make -s --no-print-directory install DESTDIR="$root" BUILD="$BUILD" | grep 'kept.*connpool.conf' || fail 'an edited file is replaced'
make -s --no-print-directory uninstall DESTDIR="$root" BUILD="$BUILD" | grep 'kept.*connpool.conf' || fail 'an edited file is removed'
inside apache2ctl configtest || fail 'after make uninstall'
rm "$root/etc/apache2/mods-available/connpool.conf" "$root/etc/apache2/conf-available/connpool-small.conf"
! find "$root/etc/apache2" "$root/usr/lib/apache2" "$root/usr/include" "$root/usr/share/pkgconfig" "$root/usr/share/mod_connpool" -name '*connpool*' ! -name 'connpool-test*' 2>/dev/null | grep . ||
    fail 'make uninstall leaves files'
echo 'check-deb: all good'
