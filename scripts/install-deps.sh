#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install-deps.sh run|pgsql|check|fuzz|deb|browser|bench...: install the Debian packages that are missing
# to build and run the module, and to check it. Where nothing is missing,
# nothing is asked of the network and no rights are needed.
#
# The server's binary comes from apache2-bin: unlike the package apache2 it
# brings no service, so that no Apache is started, stopped or configured. For
# the same reason prometheus, its exporter for Apache and memcached are not
# installed, nor mpm_itk, which would be switched on in the system's Apache, but unpacked below $BUILD/tools;
# without them the tests that need them are skipped. So are PgBouncer, and nginx and
# PHP's module for httpd, which `make bench` compares with;
# PostgreSQL's server is installed, but makes and starts no cluster: each test
# has its own. The program of
# redis-server is in redis-tools, by another name and without the service.
set -eu

run='gcc libc6-dev make apache2-bin apache2-dev libsqlite3-dev
    libcurl4-openssl-dev libjansson-dev zlib1g-dev sqlite3 pkg-config'
check='check perl libaprutil1-dbd-sqlite3 nghttp2-client apache2-utils curl
    openssl shellcheck cppcheck clang-format util-linux redis-tools
    libevent-2.1-7 libpq-dev postgresql libaprutil1-dbd-pgsql libc-ares2
    python3-jsonschema groff-base valgrind'
pgsql='libpq-dev postgresql' # for mod_connpool_pgsql.so, and its demo

fuzz='clang llvm libclang-rt-dev' # libFuzzer and its runtimes
deb='debhelper dpkg-dev fakeroot lintian debootstrap libpq-dev'
browser='chromium' # 350 MB: for those who change the page, and for CI

# What make bench counts with, who it compares with, and the libraries of PHP's
# module, which is unpacked.
bench='strace valgrind python3 python3-aiohttp python3-aiosqlite libargon2-1
    libsodium23 libxml2'

wanted=
needs_tools=
needs_contenders=
for set in "$@"; do
    case $set in
    run) wanted="$wanted $run" ;;
    pgsql) wanted="$wanted $pgsql" ;;
    check)
        wanted="$wanted $check"
        needs_tools=1
        ;;
    fuzz) wanted="$wanted $fuzz" ;;
    deb) wanted="$wanted $deb" ;;
    browser) wanted="$wanted $browser" ;;
    bench)
        wanted="$wanted $bench"
        needs_contenders=1
        ;;
    *)
        echo "usage: $0 run|pgsql|check|fuzz|deb|browser|bench..." >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "$0: not a Debian system; needed are:" >&2
    echo "$wanted" | tr -s ' \n' '  ' >&2
    echo >&2
    exit 0
fi

# Packages also count that another one stands in for (pkgconf for pkg-config).
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}, ${Provides}\n' |
    sed -n 's/^installed //p' | tr ',' '\n' | sed 's/ (.*//; s/^ *//')
missing=
for package in $wanted; do
    echo "$installed" | grep -qx -e "$package" || missing="$missing $package"
done
install_missing() {
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "$0: run as root: apt-get install$missing" >&2
            exit 1
        fi
        sudo=sudo
    fi

    echo "installing:$missing"
    apt_get() {
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get "$@"
    }
    install() {
        # shellcheck disable=SC2086 # a list of words
        apt_get install -y -q --no-install-recommends \
            -o Dpkg::Options::=--force-confdef \
            -o Dpkg::Options::=--force-confold $missing
    }
    case $missing in
    *postgresql*)
        # Read when the server is installed; kept, for it is there before.
        [ -e /etc/postgresql-common/createcluster.conf ] || {
            $sudo mkdir -p /etc/postgresql-common
            echo 'create_main_cluster = false' |
                $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
        }
        ;;
    esac
    # The lists of a fresh image are empty or old.
    install || {
        apt_get update -q
        install
    }
}
[ -z "$missing" ] || install_missing

tools=$(dirname "$0")/../build/tools
[ -z "${BUILD:-}" ] || tools=$BUILD/tools
# unpack PACKAGE PROGRAM|/FILE: below $tools, unless it is there or installed.
unpack() {
    if command -v "$2" >/dev/null || [ -x "$tools/usr/bin/$2" ] ||
        [ -e "$tools$2" ] || [ -e "$2" ]; then
        return
    fi
    mkdir -p "$tools"
    echo "unpacking $1 below $tools"
    (cd "$tools" && apt-get download -q "$1" &&
        dpkg -x "$1"_*.deb . && rm "$1"_*.deb) ||
        echo "no $1: tests that need it are skipped" >&2
}
# npm_unpack PACKAGE PROGRAM: likewise, with npm, where there is one.
npm_unpack() {
    if [ -x "$tools/node_modules/.bin/$2" ]; then
        return
    fi
    echo "unpacking $1 below $tools"
    npm install --prefix "$tools" --no-fund --no-audit --silent "$1" ||
        echo "no $1: tests that need it are skipped" >&2
}
if [ -n "$needs_tools" ]; then
    unpack prometheus promtool
    unpack prometheus-apache-exporter prometheus-apache-exporter
    unpack memcached memcached
    unpack pgbouncer /usr/sbin/pgbouncer
    npm_unpack @seriousme/openapi-schema-validator validate-api
    unpack apparmor /usr/sbin/apparmor_parser
    unpack libapache2-mpm-itk /usr/lib/apache2/modules/mpm_itk.so
fi
if [ -n "$needs_contenders" ]; then
    unpack nginx /usr/sbin/nginx
    # The packages' names have a version: that of the system.
    php=$(apt-cache depends libapache2-mod-php | sed -n 's/.*Depends: libapache2-mod-\(php[0-9.]*\)$/\1/p')
    if [ -n "$php" ]; then
        unpack "libapache2-mod-$php" "/usr/lib/apache2/modules/lib$php.so"
        unpack "$php-common" "/usr/share/$php-common/common/pdo.ini"
        unpack "$php-sqlite3" "/usr/share/$php-sqlite3/sqlite3/pdo_sqlite.ini"
        unpack "$php-opcache" "/usr/share/$php-opcache/opcache/opcache.ini"
    fi
fi
