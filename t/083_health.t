#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The handler for load balancers: what it says, when it says so, and to whom.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IPC::Open2 qw(open2);
use ConnPoolTest qw(await slowness);
use ConnPoolUpstream;
use Test::More;
use Time::HiRes qw(time);

my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    children => 2,
    modules  => ['remoteip'],
    vars     => {UPSTREAM => $upstream->port},
    conf     => <<'CONF',
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=3
ConnPoolQuery one events "SELECT a FROM t"
ConnPoolDatabase small sqlite:@DIR@/db/small.db max=1 acquire=50ms overflow-max=8
ConnPoolQuery count small "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=500ms
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text retry=0
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/count">
SetHandler connpool-query
ConnPoolServe count
</Location>
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
<Location "/health/open">
SetHandler connpool-health
Require all granted
</Location>
CONF
);
$server->make_sqlite($_, 'CREATE TABLE t(a); INSERT INTO t VALUES (1);')
    for qw(events small);
$server->start;

# The report, and the status of the answer as `code`.
sub health {
    my ($path) = @_;
    my $answer = $server->get($path // '/health');
    my $report = ConnPoolTest::decode($answer);
    $report->{code} = $answer->{status};
    return $report;
}

# The entry of one pool.
sub entry {
    my ($report, $kind, $name) = @_;
    my ($found) = grep { $_->{name} eq $name } @{$report->{$kind}{pools}};
    return $found;
}

# Seconds until the report is as wanted, or nothing.
sub seconds_until {
    my ($status, $limit) = @_;
    my $began = time;
    return await(
        sub {
            my $seen = health();
            return $seen->{status} eq $status && time - $began;
        },
        $limit,
        "health $status"
    );
}

# ---------------------------------------------------------------------------

subtest 'all is well' => sub {
    is($server->get($_)->{status}, 200, $_) for qw(/one /text);
    # A loop needs a moment to stand in each child.
    ok(seconds_until('ok', 5), 'status ok');
    my $answer = $server->get('/health');
    is($answer->{status}, 200, 'answered with 200');
    is($answer->{headers}{'content-type'},  'application/json', 'JSON');
    is($answer->{headers}{'cache-control'}, 'no-store',         'not cached');
    is($answer->{headers}{'retry-after'},   undef, 'nothing to wait for');
    my $report = ConnPoolTest::decode($answer);
    is_deeply([sort keys %$report],
        [qw(causes db_pool http_pool shared_event_loop status)], 'members');
    like($answer->{content},
        qr/^\{"status":"ok",\s*"http_pool":.*"db_pool":.*"shared_event_loop":.*"causes":\[\]/s,
        'in the promised order');
    for my $kind (qw(http_pool db_pool)) {
        is_deeply(
            [sort keys %{$report->{$kind}}],
            [
                sort qw(pools status max open busy idle waiting timeouts
                    fallbacks busy_percent oldest_wait_us)
            ],
            "members of $kind"
        );
        is($report->{$kind}{status}, 'ok', 'status');
    }
    is_deeply(
        $report->{db_pool}{pools},
        [
            {name => 'events', status => 'ok'},
            {name => 'small',  status => 'ok'}
        ],
        'databases'
    );
    is_deeply($report->{http_pool}{pools}, [{name => 'text', status => 'ok'}],
        'upstreams');
    is($report->{db_pool}{max}, 4 * $server->children, 'the limit of all');
    my $loop = $report->{shared_event_loop};
    is_deeply(
        [sort keys %$loop],
        [sort qw(status enabled running loops restarts in_flight lag_us)],
        'members of the loop'
    );
    my $has_loop = $server->mpm ne 'prefork';
    is(!!$loop->{running}, $has_loop, 'running but under prefork');
    is(!!$loop->{enabled}, $has_loop, 'where it is wanted');
    is($loop->{loops}, $has_loop ? 2 : 0, 'in each child');
};

subtest 'who may ask, and how' => sub {
    my $from = sub {
        my ($path, $client) = @_;
        return $server->get($path, headers => {'X-Client' => $client});
    };
    my $refused = $from->('/health', '198.51.100.7');
    is($refused->{status}, 403, 'nobody from elsewhere');
    unlike($refused->{content}, qr/events/, 'learns a name');
    is($from->('/health', '127.0.0.9')->{status}, 200, 'local clients');
    is($from->('/health/open', '198.51.100.7')->{status}, 200,
        'and whom a Require admits');
    is($server->head('/health')->{status},  200, 'HEAD');
    is($server->head('/health')->{content}, '',  'without a body');
    my $post = $server->post('/health', content => {a => 1});
    is($post->{status}, 405, 'no POST');
    is(ConnPoolTest::decode($post)->{detail}, 'Use GET, HEAD.', 'what then');
    is($server->request('OPTIONS', '/health')->{headers}{allow},
        'GET, HEAD, OPTIONS', 'as OPTIONS tells');
    my $text = $server->get('/health')->{content};
    unlike($text, qr/SELECT|sqlite:|\.db|http:/, 'no SQL, path or URL');
};

subtest 'a database that is gone' => sub {
    my $path = $server->dir('db/events.db');
    for my $round (1 .. 2) {
        my @files = grep { -e } map { "$path$_" } '', '-wal', '-shm';
        rename $_, "$_.away" for @files;
        my $seconds = seconds_until('down', 5);
        cmp_ok($seconds || 99, '<', 2.5 * ConnPoolTest::slowness(),
            sprintf 'down without a request, after %.1f s', $seconds || 99);
        my $answer = $server->get('/health');
        is($answer->{status}, 503, 'with 503');
        ok($answer->{headers}{'retry-after'}, 'and Retry-After');
        my $report = health();
        is($report->{db_pool}{status},   'down', 'it is the databases');
        is($report->{http_pool}{status}, 'ok',   'not the upstreams');
        is(entry($report, 'db_pool', 'events')->{status}, 'down', 'this one');
        like(entry($report, 'db_pool', 'events')->{reason}, qr/\w+ \w+/,
            'for a reason');
        is(entry($report, 'db_pool', 'small')->{status}, 'ok',
            'not the other one');
        is($server->get('/one')->{status}, 503, 'nor can it serve');
        rename "$_.away", $_ for @files;
        $seconds = seconds_until('ok', 5);
        cmp_ok($seconds || 99, '<', 2.5 * ConnPoolTest::slowness(),
            sprintf 'ok without a request, after %.1f s', $seconds || 99);
        is($server->get('/health')->{status}, 200, 'with 200');
        is($server->get('/one')->{status},    200, 'it serves');
    }
    $server->allow_log(qr/query 'one'|pool 'events'|database 'events'/);
};

# ---------------------------------------------------------------------------

subtest 'probes' => sub {
    my $hits = sub { $upstream->stats->{paths}{'/text'} // 0 };
    my $before = $hits->();
    is(health()->{code}, 200, 'asked without live') for 1 .. 5;
    is($hits->(), $before, 'nobody is probed');
    is(health('/health?live=0')->{code}, 200, 'nor for live=0');
    is($hits->(), $before, 'nobody');

    my $began = time;
    is(health('/health?live=1')->{status}, 'ok', 'probed') for 1 .. 30;
    my $seconds = time - $began;
    my $found   = $hits->() - $before;
    cmp_ok($found, '>=', 1, "upstream probed $found times");
    cmp_ok($found, '<=', 1 + $seconds,
        sprintf 'in %.2f s, by all children together', $seconds);
    $before = $hits->();
    ok(
        await(sub { health('/health?live=1'); $hits->() == $before + 1 }, 3),
        'and again a second later'
    );
};

subtest 'an upstream that does not answer' => sub {
    $upstream->stop;
    my $seen = await(
        sub {
            my $report = health('/health?live=1');
            return $report->{status} eq 'degraded' && $report;
        },
        5,
        'degraded'
    );
    ok($seen, 'a probe finds out');
    is($seen->{code}, 200, 'that is no reason for 503');
    is($seen->{http_pool}{status}, 'degraded', 'it is the upstreams');
    like(entry($seen, 'http_pool', 'text')->{reason}, qr/no answer/, 'why');
    is($seen->{db_pool}{status}, 'ok', 'not the databases');
    is($server->get('/text')->{status}, 502, 'nor is it there');
    is(health()->{status}, 'degraded', 'still');

    $upstream->restart;
    is($server->get('/text')->{status}, 200, 'back, whichever child asks');
    is(health()->{status}, 'ok', 'known at once');
    $server->allow_log(qr/upstream 'text'|pool 'text'/);
};

subtest 'one-shot connections' => sub {
    plan skip_all => 'one child serves one request' if $server->mpm eq 'prefork';
    my @clients = map { $server->connect } 1 .. 6;
    print {$_} "GET /count HTTP/1.0\r\n\r\n" for @clients;
    ConnPoolTest::read_until($_, undef, 10) for @clients;
    cmp_ok($server->pool('small')->{fallbacks}, '>', 0, 'were used');
    my $seen = await(
        sub {
            my $report = health();
            return $report->{status} eq 'degraded' && $report;
        },
        3,
        'degraded'
    );
    ok($seen, 'so it is degraded');
    is($seen->{code}, 200, 'with 200');
    like(entry($seen, 'db_pool', 'small')->{reason}, qr/one-shot/, 'why');
    is(entry($seen, 'db_pool', 'events')->{status}, 'ok', 'only that pool');
    is($seen->{db_pool}{fallbacks}, $server->pool('small')->{fallbacks},
        'as many as in the report');
    $server->allow_log(qr/query 'count'|pool 'small'/);
};

$server->done;

# ---------------------------------------------------------------------------

# Six upstreams and four databases that do not answer take no longer than one.
subtest 'many that hang' => sub {
    my @ups   = map { "hang$_" } 1 .. 6;
    my @dbs   = map { "held$_" } 1 .. 4;
    my $hangs = ConnPoolTest->new(
        vars => {UP => $upstream->url},
        conf => join('',
            "ConnPoolUpstream text \@UP\@/text retry=0\n",
            "ConnPoolDatabase fine sqlite:\@DIR\@/db/fine.db max=2\n",
            (map { "ConnPoolUpstream $_ \@UP\@/hang retry=0 max=2\n" } @ups),
            (map {
                "ConnPoolDatabase $_ sqlite:\@DIR\@/db/$_.db max=2 acquire=9s "
                    . "busy=9s readonly=on\n"
            } @dbs),
            "<Location /health>\nSetHandler connpool-health\n</Location>\n"),
    );
    $hangs->make_sqlite($_, 'CREATE TABLE t(a);') for @dbs, 'fine';
    $hangs->allow_log(qr/hang\d|held\d/);
    $hangs->start;
    my @held = map {
        my $pid = open2(my $out, my $in, 'sqlite3', '-batch',
            $hangs->dir("db/$_.db"));
        print {$in} "BEGIN EXCLUSIVE;\nSELECT 'held';\n";
        is(scalar <$out>, "held\n", "$_ is held by another program");
        [$pid, $in];
    } @dbs;
    my $best = 9**9;
    my $report;
    for (1 .. 3) {
        my $began = time;
        $report = ConnPoolTest::decode($hangs->get('/health?live=1', timeout => 60));
        $best   = time - $began if time - $began < $best;
    }
    cmp_ok($best, '>', 1.5, 'the probes wait');
    cmp_ok($best, '<', 2.2 * slowness(), sprintf 'all at once: %.2f s', $best);
    is(entry($report, 'http_pool', $_)->{status}, 'degraded', $_) for @ups;
    is(entry($report, 'http_pool', 'text')->{status}, 'ok', 'text');
    isnt(entry($report, 'db_pool', $_)->{status}, 'ok', $_) for @dbs;
    is(entry($report, 'db_pool', 'fine')->{status}, 'ok', 'fine');
    close $_->[1], waitpid $_->[0], 0 for @held;
    $hangs->done;
};

subtest 'a database that cannot be written' => sub {
    my $sealed = ConnPoolTest->new(
        conf => <<'CONF',
ConnPoolDatabase sealed sqlite:@DIR@/db/sealed.db max=3
ConnPoolQuery read sealed "SELECT a FROM t"
ConnPoolQuery add sealed "INSERT INTO t VALUES (2)" write=on
<Location "/read">
SetHandler connpool-query
ConnPoolServe read
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
CONF
    );
    $sealed->make_sqlite('sealed',
        'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    my $path   = $sealed->dir('db/sealed.db');
    my $status = sub { return $sealed->json('/health')->{status} };
    chmod 0444, $path or die "$path: $!";
    $sealed->start;
    is($sealed->post('/add')->{status}, 503, 'a write fails');
    is($sealed->get('/read')->{status}, 200, 'a read does not');
    is($status->(), 'degraded', 'health is degraded, not down');
    # Longer than maintenance takes to look again, and again.
    my %seen;
    my $end = time + 2.5;
    await(sub { $seen{$status->()}++; return time > $end }, 10);
    is_deeply([keys %seen], ['degraded'], 'and stays so');
    chmod 0644, $path or die "$path: $!";
    ok(await(sub { $status->() eq 'ok' }, 5), 'ok without a request');
    is($sealed->post('/add')->{status}, 200, 'writes go on');
    $sealed->allow_log(qr/'sealed'|'add'/);
    $sealed->done;
};

# ---------------------------------------------------------------------------

subtest 'a pool that stays busy' => sub {
    plan skip_all => 'each child has its own limit, and spare ones come'
        if $server->mpm eq 'prefork';
    my $SECONDS = 2;    # for 30
    my $busy    = ConnPoolTest->new(
        testing => 1,
        env     => {CONNPOOL_TEST_STRAIN_MS => 1000 * $SECONDS},
        conf    => <<'CONF',
ConnPoolDatabase small sqlite:@DIR@/db/small.db max=1 overflow=reject
ConnPoolQuery count small "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=8s
<Location "/count">
SetHandler connpool-query
ConnPoolServe count
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
CONF
    );
    $busy->make_sqlite('small', 'CREATE TABLE t(a);');
    $busy->start;
    my $status = sub { return $busy->json('/health')->{status} };
    is($status->(), 'ok', 'ok at first');
    my $client = $busy->connect;
    my $began  = time;
    print {$client} "GET /count HTTP/1.0\r\n\r\n";
    ok(await(sub { $busy->pool('small')->{busy} == 1 }, 5), 'busy');
    is($status->(), 'ok', 'which is no harm');
    ok(await(sub { $status->() eq 'degraded' }, 4 * $SECONDS),
        'until it lasts');
    cmp_ok(time - $began, '>=', $SECONDS, "for $SECONDS seconds");
    my $report = $busy->json('/health');
    like(entry($report, 'db_pool', 'small')->{reason}, qr/over 90 % busy/,
        'the reason');
    is($busy->get('/health')->{status}, 200, 'no reason for 503');
    ConnPoolTest::read_until($client, undef, 20);
    ok(await(sub { $status->() eq 'ok' }, 10), 'ok when it is free');
    $busy->allow_log(qr/query 'count'/);
    $busy->done;
};

subtest 'upstreams that share a limit' => sub {
    my $SECONDS = 1;    # for 30
    my $shared  = ConnPoolTest->new(
        testing => 1,
        env     => {CONNPOOL_TEST_STRAIN_MS => 1000 * $SECONDS},
        vars    => {UPSTREAM => $upstream->port},
        conf    => "ConnPoolHTTPMax 2\n"
            . join('', map { <<"CONF" } 1 .. 10) . <<'CONF');
ConnPoolUpstream up$_ http://127.0.0.1:\@UPSTREAM\@/ perhost=30 max=30
<Location "/up$_">
SetHandler connpool-fetch
ConnPoolServe up$_
</Location>
CONF
<Location "/health">
SetHandler connpool-health
</Location>
CONF
    $shared->start;
    my $report = $shared->json('/health');
    is($report->{http_pool}{max}, 2 * $shared->children,
        'have no more than that together');
    is($shared->pool('up1')->{max}, 2, 'nor has one of them');
    if ($shared->mpm ne 'prefork') {
        my @clients = map {
            my $client = $shared->connect;
            print {$client} "GET /up$_/delay/4 HTTP/1.0\r\n\r\n";
            $client;
        } 1 .. 2;
        ok(
            await(
                sub {
                    $report = $shared->json('/health');
                    return $report->{http_pool}{busy_percent} == 100;
                },
                5
            ),
            'two that are busy are all'
        );
        ok(
            await(
                sub {
                    $report = $shared->json('/health');
                    return $report->{status} eq 'degraded';
                },
                8 * $SECONDS
            ),
            'degraded when it lasts'
        );
        like(entry($report, 'http_pool', 'up2')->{reason}, qr/over 90 % busy/,
            'the reason');
        ConnPoolTest::read_until($_, undef, 20) for @clients;
    }
    $shared->allow_log(qr/slow: /);
    $shared->done;
};

subtest 'a loop that is lost' => sub {
    plan skip_all => 'no loop under prefork' if $server->mpm eq 'prefork';
    my $lossy = ConnPoolTest->new(
        testing => 1,
        vars    => {UPSTREAM => $upstream->port},
        conf    => <<'CONF',
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
CONF
    );
    my $faults = $lossy->dir('run');
    $lossy->{env}{CONNPOOL_TEST_FAULTS} = $faults;
    $lossy->start;
    $lossy->allow_log(qr/event loop/);
    my $await_status = sub {
        my ($status, $meanwhile) = @_;
        return await(
            sub {
                $meanwhile->() if $meanwhile;
                my $report = $lossy->json('/health');
                return $report->{status} eq $status && $report;
            },
            8,
            "health $status"
        );
    };
    ok($await_status->('ok'), 'ok at first');

    # One that has lived for some time is replaced at once; one that dies
    # again and again, later each time.
    my $kill = sub {
        return if -e "$faults/loop-die";
        $lossy->write_file('run/making', '');
        rename "$faults/making", "$faults/loop-die" or die "loop-die: $!";
    };
    my $seen = $await_status->('degraded', $kill);
    ok($seen, 'degraded when it is lost') or return;
    my $loop = $seen->{shared_event_loop};
    is($loop->{status}, 'degraded', 'it is the loop');
    ok($loop->{enabled} && !$loop->{running}, 'wanted, and not there');
    is($seen->{http_pool}{status},            'ok', 'not the upstreams');
    is($lossy->get('/health')->{status},      200,  'no reason for 503');
    is($lossy->get('/text')->{status},        200,  'it serves');
    my $restarts = $loop->{restarts};

    # A last fault may still lie there.
    ok(await(sub { !-e "$faults/loop-die" }, 3), 'left alone');
    $seen = $await_status->('ok');
    ok($seen, 'ok again') or return;
    $loop = $seen->{shared_event_loop};
    is($loop->{loops}, 1, 'with a loop');
    cmp_ok($loop->{restarts}, '>', $restarts, 'started again');
    is($lossy->get('/text')->{status}, 200, 'it serves');
    $lossy->done;
};

done_testing;
