#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL and time: servers that say nothing, that stop, that come back, that
# are promoted. Nothing waits longer than it may, and writes find their server.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port parallel slowness timed);
use ConnPoolFaults qw(fault_row);
use IO::Socket::INET;
use PostgresTest qw(pgsql_module);
use Test::More;
use Time::HiRes qw(sleep time);

# Takes connections, and says nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50) || die "no socket: $@";

my $pg = PostgresTest->new(
    settings => "max_connections = 20\n",
    hba      => "host all locked 127.0.0.1/32 scram-sha-256\n",
)->start;
$pg->sql(q{CREATE TABLE note(id serial PRIMARY KEY, t text);
    CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE ROLE few LOGIN CONNECTION LIMIT 0});
my $standby = $pg->standby;

sub location {
    my ($name) = @_;
    return "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}

my $both = "host=127.0.0.1,127.0.0.1 port=@{[$pg->port]},@{[$standby->port]} dbname=postgres"
    . ' user=postgres sslmode=disable';
my %DSN = (
    app   => $pg->dsn . '" max=20 acquire=3s',
    first => "host=127.0.0.1,127.0.0.1 port=@{[$silent->sockport]},@{[$pg->port]} dbname=postgres"
        . ' user=postgres sslmode=disable" acquire=2s',
    mute  => "host=127.0.0.1 port=@{[$silent->sockport]} dbname=postgres user=postgres"
        . ' sslmode=disable" acquire=1s',
    wrong => "host=127.0.0.1 port=@{[$pg->port]} dbname=postgres user=locked sslmode=disable"
        . ' password=s3cret"',
    few   => $pg->dsn(user => 'few') . '"',
    tls   => "host=127.0.0.1 port=@{[$pg->port]} dbname=postgres user=postgres\"",
    noone => 'host=no.such.host.invalid dbname=x user=x sslmode=disable" acquire=1s',
    pair  => "$both\" max=6 read=standby check=1h",
    still => "host=127.0.0.1 port=@{[$standby->port]} dbname=postgres user=postgres sslmode=disable"
        . ' target_session_attrs=any"',
);
my $conf = "<Location \"/health\">\nSetHandler connpool-health\n</Location>\n";
for my $name (sort keys %DSN) {
    $conf .= "ConnPoolDatabase $name \"postgresql:$DSN{$name}\n"
        . "ConnPoolQuery $name $name \"SELECT pg_is_in_recovery()\" format=value timeout=1s\n" . location($name);
}
$conf .= <<'CONF' . location('nap') . location('slow') . location('add') . location('list') . location('write');
ConnPoolQuery nap app "SELECT pg_sleep(0.2)" timeout=10s format=value
ConnPoolQuery slow app "SELECT pg_sleep(60), 1" timeout=1s format=value
ConnPoolQuery add app "INSERT INTO note(t) VALUES (:t)" write=on timeout=2s
ConnPoolParam add t text
ConnPoolQuery list app "SELECT t FROM note ORDER BY id" format=arrays
ConnPoolQuery write pair "INSERT INTO note(t) VALUES (:t) RETURNING pg_is_in_recovery()" write=on format=value timeout=3s
ConnPoolParam write t text
CONF

$conf .= "ConnPoolQuery set still \"INSERT INTO note(t) VALUES ('x')\" write=on timeout=3s\n" . location('set');
my $server = ConnPoolTest->new(conf => $conf, threads => 25, load => {pgsql_module()});
$server->allow_log(qr/pool '(?:\w+)'|database '\w+'|query '\w+'/,
    qr/the database cannot be opened|takes no more connections/);
$server->start;

sub within {
    my ($took, $seconds, $what) = @_;
    cmp_ok($took, '<', $seconds + 0.5 * slowness(), $what);
    return;
}

# ---------------------------------------------------------------------------

subtest 'servers that cannot be had' => sub {
    my ($answer, $took) = timed(sub { $server->get('/first') });
    is($answer->{content}, 'false', 'a silent first server leaves time for the second');
    within($took, 2, 'in time');
    ($answer, $took) = timed(sub { $server->get('/first') });
    within($took, 0.1, 'and is not asked first again');
    ($answer, $took) = timed(sub { $server->get('/mute') });
    is($answer->{status}, 503, 'silent alone');
    within($took, 1, 'until the deadline of the acquire');
    ($answer, $took) = timed(sub { $server->get('/noone') });
    is($answer->{status}, 503, 'a name that does not exist');
    within($took, 1, 'in time');
    is($server->get('/wrong')->{status}, 503, 'a wrong password');
    is($server->get('/few')->{status}, 503, 'too many connections');
    is($server->get('/tls')->{status}, 503, 'no TLS where it is verified');
    my $log = $server->log;
    like($log, qr/database 'wrong': .*28P01/, 'the log has the cause');
    like($log, qr/database 'few': .*53300/,   'of each');
    like($log, qr/database 'tls': .*SSL/,     'of them');
    unlike($log, qr/s3cret/, 'and no password');
    my ($lines) = scalar(() = $log =~ /pool 'wrong': cannot/g);
    $server->get('/wrong') for 1 .. 20;
    cmp_ok(scalar(() = $server->log =~ /pool 'wrong': cannot/g), '<=', $lines + 1, 'once for many');
    my $tries = () = $pg->log =~ /password authentication failed for user "locked"/g;
    cmp_ok($tries, '<', 15, 'and the server is not asked each time');
};

subtest 'deadlines' => sub {
    my ($answer, $took) = timed(sub { $server->get('/slow') });
    is($answer->{status}, 504, 'a query that takes too long');
    within($took, 1, 'in time');
    ok(await(sub { $pg->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
        AND state = 'active' AND pid <> pg_backend_pid()}) == 0 }, 2),
        'ends at the server, too');
};

subtest 'clients that have gone' => sub {
    my $sleepers = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(0.2)%'
        OR (query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()) AND state = 'active'};
    my $socket = $server->connect;
    print {$socket} "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
    ok(await(sub { $pg->sql($sleepers) > 0 }, 5), 'it runs');
    my $began = time;
    close $socket;
    ok(await(sub { $pg->sql($sleepers) == 0 }, 2), 'and ends at the server');
    within(time - $began, 2, 'in time');
};

subtest 'a server that restarts with idle connections' => sub {
    parallel(12, sub { $server->get('/nap')->{status} });
    ok(await(sub { $server->pool('app')->{idle} >= 10 }, 5), 'idle connections');
    $pg->restart('fast');
    my @statuses = map { $server->get('/app')->{status} } 1 .. 10;
    is_deeply(\@statuses, [(200) x 10], 'no request fails');
    parallel(12, sub { $server->get('/nap')->{status} });
    $pg->restart('immediate');
    @statuses = parallel(12, sub { $server->get('/nap')->{status} });
    is_deeply(\@statuses, [(200) x 12], 'nor after a crash');
};

subtest 'a server that is down, and comes up' => sub {
    $pg->stop;
    my ($answer, $took) = timed(sub { $server->get('/app') });
    is($answer->{status}, 503, 'down');
    within($took, 1, 'told at once');
    ok(await(sub { $server->get('/health')->{status} == 503 }, 10), 'health tells');
    $pg->start;
    my $began = time;
    ok(await(sub { $server->get('/app')->{status} == 200 }, 10), 'up');
    within(time - $began, 2, 'found soon');
};

subtest 'a server that is stopped' => sub {
    $server->get('/app');
    my @pids = split /\n/, $pg->sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'connpool/app'});
    kill 'STOP', $pg->pid, @pids;
    my @took = map { (timed(sub { $server->get('/app') }))[1] } 1 .. 3;
    kill 'CONT', $pg->pid, @pids;
    cmp_ok($_, '<', 4 + 0.5 * slowness(), 'ends in time') for @took;
    ok(await(sub { $server->get('/app')->{status} == 200 }, 10), 'and goes on');
    fault_row('F38', fault => 'the server is stopped, backends and all', how => 'SIGSTOP',
        expected => '504 or 503 in time', seen => 'in time',
        figure => sprintf '%.2f s at the most', (sort { $b <=> $a } @took)[0]);
};

subtest 'a write that a standby gets' => sub {
    is($server->get('/still')->{content}, 'true', 'it may be read');
    my ($answer, $took) = timed(sub { $server->post('/set') });
    is($answer->{status}, 503, 'and not be written');
    like($answer->{content}, qr/cannot be written/, 'as is said');
    within($took, 1, 'at once');
};

subtest 'a failover' => sub {
    is($server->get('/pair')->{content}, 'true',  'reads come from the standby');
    is($server->post('/write', content => {t => 'a'})->{content}, 'false', 'writes go to the primary');
    ok(await(sub { $standby->sql('SELECT count(*) FROM note') >= 1 }, 10), 'replicated');
    my $pool = $server->pool('pair');
    is($pool->{max}, 6, 'both of one pool');
    # Four that write all the time: [kept before, refused, kept after, refused after].
    my @writers = parallel(5, sub {
        my ($i) = @_;
        if ($i == 0) {
            sleep 0.5;
            $pg->stop('immediate');
            $standby->promote;
            my $began = time;
            my $is_found = await(sub { $server->post('/write', content => {t => 'b'})->{status} == 200 }, 10);
            return [$is_found, time - $began];
        }
        my @seen = (0, 0, 0, 0);
        my $end  = time + 20 * slowness();
        for (my $n = 0; $seen[2] < 30 && time < $end; $n++) {
            my $is_kept = $server->post('/write', content => {t => "w$i-$n"})->{status} == 200;
            my $is_after = $seen[2] > 0 || ($seen[1] > 0 && $is_kept);
            $seen[($is_after ? 2 : 0) + ($is_kept ? 0 : 1)]++;
            sleep 0.01;
        }
        return \@seen;
    });
    my ($is_found, $took) = @{shift @writers};
    # Another process has stopped it.
    delete $pg->{pid};
    ok($is_found, 'writes find the new primary');
    within($took, 2, 'soon');
    diag(sprintf 'failover: a write after %.2f s', $took);
    for my $seen (@writers) {
        cmp_ok($seen->[0], '>', 0, 'writes before');
        is($seen->[3], 0, "once one is kept none is refused ($seen->[1] before)");
        is($seen->[2], 30, 'writes behind');
    }
    is($standby->sql(q{SELECT count(*) FROM note WHERE t LIKE 'w%'}) >= 4 * 30 ? 'all' : 'not all', 'all', 'all are there');
    my @statuses = map { $server->post('/write', content => {t => "c$_"})->{status} } 1 .. 10;
    is_deeply(\@statuses, [(200) x 10], 'and stay there');
    is($server->get('/pair')->{content}, 'false', 'reads come from there');
    is($standby->sql(q{SELECT count(*) FROM note WHERE t LIKE 'c%'}), '10', 'all are there');
    $pg->start;
};

$server->done;
done_testing;
