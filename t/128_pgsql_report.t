#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What reports say of sessions with PostgreSQL: by state, why they were lost, and
# how many all children have of server-max=.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel root_dir);
use IO::Socket::INET;
use POSIX        ();
use PostgresTest qw(pgsql_module);
use Test::More;
use Time::HiRes qw(sleep);

my $pg = PostgresTest->new->start;
$pg->sql(q{CREATE TABLE note(id serial PRIMARY KEY, t text); CREATE ROLE locked LOGIN; CREATE ROLE few LOGIN;
    CREATE TABLE account(id int, n int); INSERT INTO account VALUES (1, 0)});

# Takes connections, and says nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20) || die "no socket: $@";
my $tcp    = "host=127.0.0.1 dbname=postgres user=postgres sslmode=disable port=";
my %DSN    = (
    app    => $pg->dsn . '" max=4 check=1h',
    role   => $pg->dsn(user => 'locked') . '" max=2',
    few    => $pg->dsn(user => 'few') . '" max=2',
    nobody => $tcp . '1" max=2',
    slow   => $tcp . $silent->sockport . '" max=2 connect=3s acquire=4s',
    capped => $pg->dsn . '" max=4 server-max=2 acquire=20s overflow=reject',
);
my $conf = "ConnPoolDatabase events sqlite:\@DIR\@/db/events.db\nConnPoolQuery other events \"SELECT 9\" format=value\n";
my @served = ('other');
sub query {
    my ($name, $db, $sql, $options) = @_;
    $conf .= "ConnPoolQuery $name $db \"$sql\" $options\n";
    push @served, $name;
}
for my $db (sort keys %DSN) {
    $conf .= "ConnPoolDatabase $db \"postgresql:$DSN{$db}\n";
    query($db, $db, 'SELECT 7', 'format=value');
}
query('nap', 'app', 'SELECT pg_sleep(1)', 'format=value timeout=10s');
query('doze', 'capped', 'SELECT pg_sleep(0.5)', 'format=value timeout=20s');
query('write', 'app', 'INSERT INTO note(t) SELECT t FROM (SELECT \'a\' AS t, pg_sleep(1)) AS s', 'write=on timeout=10s');
query('dies', 'app', 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)', 'format=value');
query('late', 'app', 'SELECT pg_sleep(30)', 'format=value timeout=200ms');
$conf .= "<Location \"/$_\">\nSetHandler connpool-query\nConnPoolServe $_\n</Location>\n" for @served;
my $server = ConnPoolTest->new(conf => $conf, children => 2, threads => 8, load => {pgsql_module()});
$server->make_sqlite('events', 'CREATE TABLE t(a)');
$server->allow_log(qr/pool '\w+'|database '\w+'|query '\w+'|ConnPoolQuery|cannot be opened/);
$server->start;

# Something that is asked for while the code looks.
sub meanwhile {
    my ($path, $look, $method) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $method ? $server->post($path) : $server->get($path);
        POSIX::_exit(0);
    }
    my $found = await($look, 10);
    waitpid($pid, 0);
    return $found;
}

sub sample {
    my ($name) = @_;
    my ($value) = $server->get('/connpool-status?format=openmetrics')->{content} =~ /^\Q$name\E (\S+)$/m;
    return $value;
}

subtest 'sessions by state' => sub {
    is($server->get('/app')->{content}, '7', 'a request');
    ok(await(sub { $server->pool('app')->{backends}{idle} >= 1 }), 'one lies idle');
    is(sample('connpool_backends{pool="app",state="idle"}'), $server->pool('app')->{backends}{idle}, 'in the metrics, too');
    ok(meanwhile('/nap', sub { $server->pool('app')->{backends}{active} == 1
        && $server->pool('app')->{backends}{in_transaction} == 0 }), 'one is active');
    ok(meanwhile('/write', sub { $server->pool('app')->{backends}{in_transaction} == 1
        && sample('connpool_backends{pool="app",state="in_transaction"}') == 1 }, 1), 'one is in a transaction');
    ok(meanwhile('/slow', sub { $server->pool('slow')->{backends}{opening} == 1
        && sample('connpool_backends{pool="slow",state="opening"}') == 1 }), 'one is being opened');
    my $rest = $server->pool('app')->{backends};
    is("$rest->{active} $rest->{in_transaction} $rest->{opening}", '0 0 0', 'at rest');
    is($server->pool('events')->{backends}, undef, 'others have none');
};

sub lost {
    my ($pool) = @_;
    my %lost = %{$server->pool($pool)->{reconnects}};
    return join ' ', map { "$_:" . ($lost{$_} > 0 ? 1 : 0) } grep { $lost{$_} } sort keys %lost;
}

subtest 'why they were lost' => sub {
    is(lost('app'), '', 'none yet');
    $pg->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'connpool/app'});
    ok(await(sub { $server->get('/app')->{content} eq '7' && lost('app') eq '57:1' }), 'ended while they lay idle: 57');
    is(sample('connpool_reconnects_total{pool="app",sqlstate="57"}'), $server->pool('app')->{reconnects}{57}, 'in the metrics, too');
    my $before = $server->pool('app')->{reconnects}{57};
    is($server->get('/dies')->{status}, 503, 'ended in the midst');
    cmp_ok($server->pool('app')->{reconnects}{57}, '>', $before, '57 again');
    is($server->pool('app')->{reconnects}{none}, 0, 'and nothing else');
    is($server->get('/late')->{status}, 504, 'a deadline');
    is($server->pool('app')->{reconnects}{none}, 1, 'has none');
    $pg->sql('ALTER ROLE locked NOLOGIN; ALTER ROLE few CONNECTION LIMIT 0');
    $server->get("/$_") for qw(role few nobody);
    is(lost('role'), '28:1', 'who may not log in: 28');
    is(lost('few'), '53:1', 'too many: 53');
    is(lost('nobody'), 'none:1', 'nobody there: none');
    like($server->get('/connpool-status')->{content}, qr/Lost or refused, by SQLSTATE: [^<]*57 \d/, 'on the page');
    is(sample('connpool_reconnects_total{pool="events",sqlstate="57"}'), undef, 'others have no such series');
};

subtest 'server-max=' => sub {
    my @seen = parallel(9, sub {
        my ($i) = @_;
        if ($i > 0) {
            return scalar grep { $server->get('/doze')->{status} != 200 } 1 .. 2;
        }
        my ($most, $page, %children) = (0, '');
        my $waited = await(sub {
            my $pool = $server->pool('capped');
            $most = $pool->{server_held} if $pool->{server_held} > $most;
            $children{$_->{child}} = 1 for @{$pool->{server_children}};
            return $pool->{server_waiting} > 0 && grep { $_->{waits_us} > 0 } @{$pool->{server_children}};
        }, 10);
        my $full = await(sub {
            $page = $server->get('/connpool-status')->{content};
            return sample('connpool_server_held{pool="capped"}') == 2;
        }, 10);
        return [$most, $waited ? 1 : 0, $full ? 1 : 0, scalar keys %children, $page];
    });
    my ($most, $waited, $full, $children, $page) = @{shift @seen};
    is_deeply(\@seen, [(0) x 8], 'all are served');
    is($most, 2, 'never more than there are');
    ok($waited, 'a child is seen that waits');
    is($children, 2, 'of two');
    ok($full, 'in the metrics, too');
    like($page, qr/\d of 2 held; \d (?:child waits|children wait)\./, 'on the page');
    like($page, qr/child \d+ holds \d/, 'with the children');
    is(sample('connpool_server_max{pool="capped"}'), 2, 'and the most');
    is(sample('connpool_server_max{pool="app"}'), undef, 'of pools that have it');
    my $idle = $server->pool('capped');
    is($idle->{server_waiting}, 0, 'at rest nobody waits');
    is($server->pool('app')->{server_max}, 0, 'others have none');
};

subtest 'as many series as the manual says' => sub {
    my $text = $server->get('/connpool-status?format=openmetrics')->{content};
    open(my $in, '<', root_dir() . '/docs/monitoring.md') || die "no manual: $!\n";
    my $manual = do { local $/ = undef; <$in> };
    my ($pool)   = $manual =~ /^\| a pool of PostgreSQL, besides \| (\d+) \|$/m;
    my ($capped) = $manual =~ /^\| a pool with `server-max=`, besides \| (\d+) \|$/m;
    my ($any)    = $manual =~ /^\| a pool \| (\d+) \|$/m;
    my $count = sub { my ($name) = @_; my @all = $text =~ /^(?:\w+\{[^}]*pool="$name"|connpool_state\{[^}]*kind="pool"[^}]*name="$name")[^}]*\} /mg; return scalar @all };
    is($count->('events'), $any, 'any pool');
    is($count->('app'), $any + $pool, 'one of PostgreSQL');
    is($count->('capped'), $any + $pool + $capped, 'one with server-max=');
};

$server->done;
done_testing;
