#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs an example: a private httpd on 127.0.0.1 with the module and what lies in
# conf/examples/EXAMPLE. Called by `make run`, after the build. Ctrl-C ends it.
#
#   EXAMPLE   which (calendar)
#   PORT      where to listen (8080)
#   BUILD     where mod_connpool.so is and the demo keeps its state (build)
#   HTTPD     the server's program (apache2 or httpd, found by itself)
#   MODULES   where its modules are (asked from apxs, or the usual places)
#   DATABASE  sqlite, or postgresql: a cluster of its own, gone at the end
set -eu
umask 022

PORT=${PORT:-8080}
BUILD=${BUILD:-build}
EXAMPLE=${EXAMPLE:-calendar}
DATABASE=${DATABASE:-sqlite}
source_dir=$(cd "$(dirname "$0")/.." && pwd)
httpd_pid=
cluster_pid=
cluster=
scratch=

fail() {
    echo "run-demo: $*" >&2
    exit 1
}

# Ends the server by its own pid, and removes what lies outside BUILD. Called by
# the traps.
# shellcheck disable=SC2317
finish() {
    trap - EXIT INT TERM HUP
    if [ -n "$httpd_pid" ]; then
        kill -TERM "$httpd_pid" 2>/dev/null || :
        wait "$httpd_pid" 2>/dev/null || :
    fi
    if [ -n "$cluster_pid" ]; then
        kill -INT "$cluster_pid" 2>/dev/null || :
        wait "$cluster_pid" 2>/dev/null || :
    fi
    if [ -n "$cluster" ]; then
        rm -rf "$cluster"
    fi
    if [ -n "$scratch" ]; then
        rm -rf "$scratch"
    fi
}

find_program() {
    for program in "$@"; do
        for place in '' /usr/sbin/ /usr/local/sbin/; do
            if command -v "$place$program" 2>/dev/null; then
                return 0
            fi
        done
    done
    return 1
}

find_modules() {
    for place in "$(apxs -q LIBEXECDIR 2>/dev/null || :)" \
        /usr/lib/apache2/modules /usr/lib64/httpd/modules; do
        if [ -e "$place/mod_mpm_event.so" ]; then
            echo "$place"
            return 0
        fi
    done
    return 1
}

# perl belongs to the essential packages, curl and ss do not.
check_port() {
    case $PORT in
    '' | *[!0-9]*) fail "PORT=$PORT is not a number" ;;
    esac
    if [ "$PORT" -lt 1 ] || [ "$PORT" -gt 65535 ]; then
        fail "PORT=$PORT is not between 1 and 65535"
    fi
    why=$(perl -MIO::Socket::INET -e '
        IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0],
            Proto => "tcp", Listen => 1, ReuseAddr => 1) or print "$!"' "$PORT")
    if [ -n "$why" ]; then
        fail "cannot listen on 127.0.0.1:$PORT ($why); try: make run PORT=8081"
    fi
}

# As root the children run as somebody else: the user who called sudo, or the
# system's user for web servers.
choose_user() {
    if [ "$(id -u)" != 0 ]; then
        return 0
    fi
    for user in "${SUDO_USER:-}" www-data apache nobody; do
        if [ -n "$user" ] && [ "$user" != root ] &&
            id "$user" >/dev/null 2>&1; then
            DEMO_USER=$user
            DEMO_GROUP=$(id -gn "$user")
            export DEMO_USER DEMO_GROUP
            return 0
        fi
    done
    fail "found no user to run the server's children as"
}

as_child_user() {
    if [ -n "${DEMO_USER:-}" ]; then
        setpriv --reuid "$DEMO_USER" --regid "$DEMO_GROUP" --init-groups "$@"
    else
        "$@"
    fi
}

choose_example() {
    DEMO_EXAMPLES=$source_dir/conf/examples
    DEMO_EXAMPLE=$EXAMPLE
    case $EXAMPLE in
    */* | .*) ;;
    *) [ ! -e "$DEMO_EXAMPLES/$EXAMPLE/schema.sql" ] || found=1 ;;
    esac
    if [ -z "${found:-}" ]; then
        fail "EXAMPLE=$EXAMPLE is none of:" "$(cd "$DEMO_EXAMPLES" && echo */schema.sql | sed 's,/schema.sql,,g')"
    fi
    export DEMO_EXAMPLES DEMO_EXAMPLE
}

# The children must reach the files. A clone in a home directory that is
# closed to them is served from a copy, which is removed at the end.
choose_state() {
    DEMO_PAGES=$DEMO_EXAMPLES
    mkdir -p "$BUILD/demo/$EXAMPLE" || fail "cannot write to $BUILD"
    DEMO_STATE=$(cd "$BUILD/demo/$EXAMPLE" && pwd)
    if ! [ -w "$DEMO_STATE" ]; then
        fail "$DEMO_STATE belongs to another user; remove it, or set BUILD="
    fi
    if ! as_child_user test -r "$DEMO_PAGES/$EXAMPLE/htdocs/index.html" ||
        ! as_child_user test -x "$DEMO_STATE"; then
        scratch=$(mktemp -d "${TMPDIR:-/tmp}/connpool-demo.XXXXXX")
        chmod 755 "$scratch"
        cp -R "$DEMO_EXAMPLES" "$scratch/examples"
        chmod -R a+rX "$scratch/examples"
        mkdir "$scratch/state"
        DEMO_PAGES=$scratch/examples
        DEMO_STATE=$scratch/state
    fi
    export DEMO_PAGES DEMO_STATE
}

make_state() {
    "$source_dir/scripts/make-example.sh" "$EXAMPLE" "$DEMO_STATE" || fail "cannot make the example's files"
    if [ -n "${DEMO_USER:-}" ]; then
        chown -R "$DEMO_USER:$DEMO_GROUP" "$DEMO_STATE"
    fi
}

# A server takes no rights: as root it runs as the system's user for it.
as_cluster_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid postgres --regid postgres --clear-groups "$@"
    else
        "$@"
    fi
}

# In the place of the shell that calls it; ends with this script, whatever ends
# that.
run_cluster() {
    set -- setpriv --pdeathsig INT "$postgres/postgres" -D "$cluster/data" \
        -k "$cluster" -c listen_addresses= -c fsync=off -c logging_collector=off
    if [ "$(id -u)" = 0 ]; then
        set -- setpriv --reuid postgres --regid postgres --clear-groups "$@"
    fi
    exec "$@"
}

ask_cluster() {
    as_cluster_user "$postgres/psql" -X -q -v ON_ERROR_STOP=1 -h "$cluster" "$@"
}

# It listens on a socket alone, where everybody may be the role demo, which may
# do no more than the demo does, and only the cluster's user is its master.
make_cluster() {
    postgres=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null |
        sort -V | tail -n 1)
    [ -n "$postgres" ] || fail "found no PostgreSQL; make run DATABASE=postgresql installs it"
    postgres=$(dirname "$postgres")
    cluster=$(mktemp -d "${TMPDIR:-/tmp}/connpool-pg.XXXXXX")
    chmod 755 "$cluster"
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$cluster"
    fi
    as_cluster_user "$postgres/initdb" -D "$cluster/data" -U "$(as_cluster_user id -un)" \
        -A peer -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    # shellcheck disable=SC2016 # for the shell that runs as the cluster's user
    as_cluster_user sh -c 'printf "local calendar demo trust\nlocal all all peer\n" >"$1/data/pg_hba.conf"' sh "$cluster"
    run_cluster >"$DEMO_STATE/postgresql.log" 2>&1 &
    cluster_pid=$!
    tries=0
    until ask_cluster -c 'SELECT 1' postgres >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 "$cluster_pid" 2>/dev/null; then
            cat "$DEMO_STATE/postgresql.log" >&2
            fail "PostgreSQL did not start"
        fi
        sleep 0.1
    done
    ask_cluster -c 'CREATE ROLE demo LOGIN' -c 'CREATE DATABASE calendar' postgres
    {
        cat "$DEMO_EXAMPLES/$EXAMPLE/postgresql.sql"
        sed -n '/^INSERT INTO events/,/;$/p' "$DEMO_EXAMPLES/$EXAMPLE/schema.sql"
    } | ask_cluster calendar
    DEMO_CLUSTER=$cluster
    DEMO_PGSQL=$(dirname "$DEMO_MODULE")/mod_connpool_pgsql.so
    [ -e "$DEMO_PGSQL" ] || fail "$DEMO_PGSQL is missing; run make"
    export DEMO_CLUSTER DEMO_PGSQL
}

# Waits until the page answers, or the server has ended.
await_server() {
    perl -MIO::Socket::INET -e '
        my ($port, $pid) = @ARGV;
        for (1 .. 200) {
            exit 1 unless kill 0, $pid;
            my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1",
                PeerPort => $port, Timeout => 5);
            if ($s) {
                print $s "GET / HTTP/1.0\r\n\r\n";
                exit 0 if (<$s> // "") =~ m{^HTTP/1\.\d 200};
            }
            select undef, undef, undef, 0.05;
        }
        exit 1' "$PORT" "$httpd_pid"
}

# What can be tried stands in the example's README, for port 8080.
show_urls() {
    url=http://127.0.0.1:$PORT
    cat <<END

The example '$EXAMPLE' runs. Open $url/ or try:

$(sed -n 's/^curl /  curl /p' "$DEMO_EXAMPLES/$EXAMPLE/README.md" | sed "s,http://127.0.0.1:8080,$url,g")
  curl '$url/connpool-status?format=json'
  curl '$url/connpool-health'
  curl '$url/server-status?auto'

Log: $DEMO_STATE/error.log
Ctrl-C ends it.

END
}

start_server() {
    set -- -DFOREGROUND -d "$DEMO_STATE" -f "$DEMO_EXAMPLES/server.conf"
    if [ -n "${DEMO_USER:-}" ]; then
        set -- "$@" -DDemoAsRoot
    fi
    if [ "$DATABASE" = postgresql ]; then
        set -- "$@" -DDemoPostgres
    fi
    : >"$DEMO_STATE/error.log"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # The server dies with this script, whatever ends it.
    setpriv --pdeathsig TERM "$httpd" "$@" &
    httpd_pid=$!
    if ! await_server; then
        cat "$DEMO_STATE/error.log" >&2
        fail "the server did not start"
    fi
}

choose_example
check_port
httpd=${HTTPD:-$(find_program apache2 httpd)} || fail "found no apache2"
DEMO_MODULES=${MODULES:-$(find_modules)} || fail "found no modules of httpd"
DEMO_MODULE=$(cd "$BUILD" && pwd)/mod_connpool.so
DEMO_PORT=$PORT
export DEMO_MODULES DEMO_MODULE DEMO_PORT
[ -e "$DEMO_MODULE" ] || fail "$DEMO_MODULE is missing; run make"
[ "$DATABASE" != sqlite ] || command -v sqlite3 >/dev/null || fail "sqlite3 is missing; make run installs it"
choose_user
trap finish EXIT
choose_state
case $DATABASE in
sqlite) make_state ;;
postgresql)
    [ -e "$DEMO_EXAMPLES/$EXAMPLE/postgresql.sql" ] ||
        fail "EXAMPLE=$EXAMPLE has no postgresql.sql; DATABASE=postgresql is for: calendar"
    make_cluster
    ;;
*) fail "DATABASE=$DATABASE is neither sqlite nor postgresql" ;;
esac
start_server
show_urls
wait "$httpd_pid" || :
fail "the server has ended; its log is $DEMO_STATE/error.log"
