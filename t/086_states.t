#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# One truth: whatever is broken, JSON, health, page, server-status and metrics
# say the same of it, and what they say is so.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolStates qw(agree all_say ask hold last_error of_json outputs place since);
use ConnPoolTest qw(await free_port);
use ConnPoolUpstream;
use Test::More;
use Time::HiRes qw(time);

my $BASE = <<'CONF';
ConnPoolServerStatus Full
ConnPoolSlowLog 0
<Location "/health">
SetHandler connpool-health
</Location>
<Location "/do">
SetHandler cptest
</Location>
CONF

sub make_server {
    my ($conf, %arg) = @_;
    my $server = ConnPoolTest->new(conf => $BASE . $conf, %arg);
    return $server;
}

# ---------------------------------------------------------------------------

subtest 'a pool that refuses' => sub {
    my $MEMORY = 8;    # seconds, for 30
    my $server = make_server(
        place('query', 'one') . <<'CONF',
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=1 overflow=reject acquire=30ms
ConnPoolDatabase other sqlite:@DIR@/db/app.db
ConnPoolQuery one app "SELECT 1"
CONF
        load    => {cptest_module => 't/mod_cptest.so'},
        testing => 1,
        env     => {CONNPOOL_TEST_MEMORY_MS => 1000 * $MEMORY},
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    all_say($server, 'ok', {}, qr/^OK$/);
    is($server->get('/one')->{status}, 200, 'one is served') for 1 .. 6;
    my $client = hold($server, 'app');
    ok(await(sub { $server->pool('app')->{busy} == 1 }, 5), 'the one connection is busy');
    is($server->get('/one')->{status}, 503, 'a request is refused');
    all_say(
        $server, 'degraded',
        {'pool app' => qr/^degraded: \d of \d requests of the last 30 seconds were refused$/},
        qr/^DEGRADED: app$/
    );
    like(last_error($server, 'app'), qr/^capacity, \d{4}-/, 'its last error');
    is($server->get('/one')->{status}, 503, 'and others') for 1 .. 8;
    all_say(
        $server, 'down',
        {'pool app' => qr/^down: \d+ of \d+ requests of the last 30 seconds were refused$/},
        qr/^DOWN: app \(refused\)$/
    );
    my $since = since($server, 'pool', 'app');
    is($server->get('/health')->{status}, 503, 'health says so');
    is(since($server, 'pool', 'app'), $since, 'since the same time, however often it is looked at');
    $server->write_file('run/enough', '');
    ok(await(sub { $server->pool('app')->{busy} == 0 }, 10), 'the connection comes back');
    close $client;
    is($server->get('/one')->{status}, 200, 'all is served');
    all_say($server, 'ok', {}, qr/^OK$/);
    like($server->await_log(qr/pool 'app' is down: /) // '', qr/:notice\]/, 'the log tells');
    like($server->await_log(qr/pool 'app' is back after \d+ s/, 0, 20) // '', qr/:notice\]/,
        'and that it is back');
    $server->allow_log(qr/pool 'app'|query '(?:count|one)'/);
    $server->done;
};

subtest 'the memory bound' => sub {
    my $server = make_server(
        place('query', 'join', 'quick') . <<'CONF');
ConnPoolMemory 2M
ConnPoolDatabase big sqlite:@DIR@/db/big.db max=3 cache=16M
ConnPoolQuery join big "SELECT count(*) FROM item a, item b WHERE a.x > b.x" timeout=100s
ConnPoolDatabase small sqlite:@DIR@/db/small.db max=3
ConnPoolQuery quick small "SELECT a FROM t"
CONF
    $server->make_sqlite('big', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, x TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000)
INSERT INTO item SELECT i, hex(randomblob(500)) FROM n;
SQL
    $server->make_sqlite('small', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    $server->start;
    all_say($server, 'ok', {}, qr/^OK$/);
    my $client = ask($server, '/join');
    ok(await(sub { $server->status_json->{state} eq 'degraded' }, 10), 'noticed without a request');
    all_say($server, 'degraded',
        {'memory memory' => qr/^degraded: a child uses \d\.\d MiB, more than its bound of 2\.0 MiB$/},
        qr/^DEGRADED: memory$/);
    is($server->get('/quick')->{status}, 503, 'requests are refused') for 1 .. 3;
    all_say($server, 'down',
        {'memory memory' => qr/^down: 3 of [345] requests of the last 30 seconds were refused$/},
        qr/^DOWN: memory \(refused\)$/);
    $server->allow_log(qr/ConnPoolMemory|query '(?:join|quick)'/);
    $server->done(rest => 0);    # which ends the query
    close $client;
};

subtest 'a query that can never run' => sub {
    my $server = make_server(place('query', 'good', 'lost', 'dropped', 'used') . <<'CONF');
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolQuery good app "SELECT a FROM t"
ConnPoolQuery lost app "SELECT a FROM later"
ConnPoolQuery dropped app "SELECT a FROM temporary"
ConnPoolQuery used app "SELECT a AS b FROM temporary"
CONF
    $server->make_sqlite('app', 'CREATE TABLE t(a); CREATE TABLE temporary(a);');
    $server->start;
    all_say($server, 'degraded', {'query lost' => qr/^degraded: it cannot be prepared/},
        qr/^DEGRADED: lost$/);
    like(last_error($server, 'lost'), qr/^storage, \d{4}-/, 'nobody has run it: its last error');
    is($server->get('/good')->{status}, 200, 'others can');
    is($server->get('/health')->{status}, 200, 'no reason for 503');

    # Found when it is run, with or without a statement that was prepared when
    # it fitted, and again when it would run, by nobody's request.
    is($server->get('/used')->{status}, 200, 'another one, too');
    $server->sqlite('app', 'DROP TABLE temporary');
    is($server->get("/$_")->{status}, 503, "$_, whose table was dropped, fails")
        for qw(dropped used);
    all_say(
        $server, 'degraded',
        {
            'query lost'    => qr/^degraded: it cannot be prepared/,
            'query dropped' => qr/^degraded: it cannot be prepared/,
            'query used'    => qr/^degraded: it cannot be prepared/,
        },
        qr/^DEGRADED: lost, dropped, used$/
    );
    $server->sqlite('app', 'CREATE TABLE later(a); CREATE TABLE temporary(a);');
    all_say($server, 'ok', {}, qr/^OK$/);
    is($server->get("/$_")->{status}, 200, "$_ is served") for qw(lost dropped used);
    $server->allow_log(qr/query '(?:dropped|used)'|ConnPoolQuery (?:lost|dropped|used)/);
    $server->done;
};

subtest 'a dead upstream' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = make_server(
        place('fetch', 'up', 'fine') . <<'CONF',
ConnPoolUpstream up http://127.0.0.1:@UPSTREAM@/text retry=0 breaker=2
ConnPoolUpstream fine http://127.0.0.1:@PORT@/icons/
CONF
        vars => {UPSTREAM => $upstream->port},
    );
    $server->start;
    is($server->get('/up')->{status}, 200, 'served');
    all_say($server, 'ok', {}, qr/^OK$/);
    $upstream->stop;
    my %both = ('pool up' => qr/^degraded: the last fetch got no answer$/,
        'upstream up' => qr/^degraded: the last fetch got no answer$/);
    is($server->get('/up')->{status}, 502, 'gone');
    all_say($server, 'degraded', \%both, qr/^DEGRADED: up$/);
    # Its pause becomes longer, and then it is surely seen while it lasts.
    ok(
        await(
            sub {
                $server->get('/up');
                my ($up) = @{$server->status_json->{upstreams}};
                return $up->{cause} && $up->{cause} eq 'the breaker is open' && $up->{breaker_refused} > 50;
            },
            20
        ),
        'the breaker is open'
    );
    my $said = of_json($server);
    is($said->{causes}{'pool up'}, $said->{causes}{'upstream up'}, 'which its pool shows');
    is($said->{states}{'pool fine'}, 'ok', 'but no other');
    agree($server);
    $upstream->restart;
    ok(await(sub { $server->get('/up')->{status} == 200 }, 20), 'back');
    all_say($server, 'ok', {}, qr/^OK$/);
    is(() = $server->log =~ /pool 'up' is degraded/g, 0, 'its pool has no line of its own');
    $server->allow_log(qr/upstream 'up'/);
    $server->done;
    $upstream->stop;
};

subtest 'a database that is gone' => sub {
    my $server = make_server(<<'CONF', children => 3);
ConnPoolDatabase gone sqlite:@DIR@/db/gone.db
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolQuery one gone "SELECT 1"
CONF
    $server->make_sqlite($_, 'CREATE TABLE t(a)') for qw(gone app);
    $server->start;
    all_say($server, 'ok', {}, qr/^OK$/);
    my $path = $server->dir('db/gone.db');
    my @files = grep { -e } map { "$path$_" } '', '-wal', '-shm';
    my $began = int time;
    rename $_, "$_.away" for @files;
    all_say($server, 'down', {'pool gone' => qr/^down: no connection can be opened$/},
        qr/^DOWN: gone \(storage\)$/);
    my $since = since($server, 'pool', 'gone');
    my @t     = gmtime $began;
    cmp_ok($since, 'ge',
        sprintf('%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0]),
        "since $since");
    like($server->await_log(qr/pool 'gone' is down: no connection can be opened/) // '', qr/:warn\]/,
        'nobody has asked for it, and the log tells');
    like(last_error($server, 'gone'), qr/^storage, \d{4}-/, 'and the page, with its last error');

    # The time survives those who have seen it begin.
    ok($server->graceful(gone => 1), 'all children are replaced');
    ok(await(sub { $server->status_json->{state} eq 'down' }, 10), 'still down');
    is(since($server, 'pool', 'gone'), $since, 'since the same time');

    rename "$_.away", $_ for @files;
    all_say($server, 'ok', {}, qr/^OK$/);
    ok($server->await_log(qr/pool 'gone' is back after \d+ s/, 0, 20), 'the log tells');
    is(() = $server->log =~ /pool 'gone' is (?:down|degraded):/g, 1, 'one line, not one of each child')
        or diag($server->log);
    is(() = $server->log =~ /pool 'gone' is back/g, 1, 'and one at the end');
    $server->allow_log(qr/'gone'|gone\.db/);
    $server->done;
};

subtest 'a database that cannot be written' => sub {
    my $server = make_server(place('query', 'read', 'add') . <<'CONF');
ConnPoolDatabase sealed sqlite:@DIR@/db/sealed.db max=3
ConnPoolQuery read sealed "SELECT a FROM t"
ConnPoolQuery add sealed "INSERT INTO t VALUES (2)" write=on
CONF
    $server->make_sqlite('sealed', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    my $path = $server->dir('db/sealed.db');
    chmod 0444, $path or die "$path: $!";
    $server->start;
    is($server->post('/add')->{status}, 503, 'a write fails');
    is($server->get('/read')->{status}, 200, 'a read does not');
    all_say($server, 'degraded',
        {'pool sealed' => qr/^degraded: no connection can be opened for writing$/},
        qr/^DEGRADED: sealed$/);
    chmod 0644, $path or die "$path: $!";
    all_say($server, 'ok', {}, qr/^OK$/);
    is($server->post('/add')->{status}, 200, 'writes go on');
    $server->allow_log(qr/'sealed'|'add'/);
    $server->done;
};

subtest 'a loop that is lost' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = make_server(
        place('fetch', 'text') . <<'CONF',
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text
CONF
        testing => 1,
        vars    => {UPSTREAM => $upstream->port},
    );
    my $faults = $server->dir('run');
    $server->{env}{CONNPOOL_TEST_FAULTS} = $faults;
    $server->start;
    all_say($server, 'ok', {}, qr/^OK$/);
    my $kill = sub {
        return if -e "$faults/loop-die";
        $server->write_file('run/making', '');
        rename "$faults/making", "$faults/loop-die" or die "loop-die: $!";
    };
    my ($said, @wrong);
    # It is started anew soon: until it is away for as long as all of that takes.
    ok(
        await(
            sub {
                $kill->();
                ($said, @wrong) = outputs($server);
                return !@wrong && $said->{state} eq 'degraded';
            },
            20
        ),
        'all outputs know of it'
    ) or diag(explain(\@wrong));
    like($said->{causes}{'event_loop event_loop'},
        qr/^degraded: no event loop runs in 1 of 1 children$/, 'the cause');
    is($said->{title}, 'DEGRADED: event_loop', 'the title');
    is($server->get('/text')->{status}, 200, 'it serves');
    ok(await(sub { !-e "$faults/loop-die" }, 5), 'left alone');
    all_say($server, 'ok', {}, qr/^OK$/);
    $server->allow_log(qr/event loop/);
    $server->done;
    $upstream->stop;
};

subtest 'a cache that is away' => sub {
    my ($port, $reserved) = free_port();    # nobody listens there
    my $server = make_server(
        place('query', 'kept') . <<'CONF',
ConnPoolCache memcache:127.0.0.1:@CACHE@
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolQuery kept app "SELECT 1" ttl=60s
CONF
        modules => ['socache_memcache'],
        vars    => {CACHE => $port},
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    all_say($server, 'ok', {}, qr/^OK$/);
    is($server->get('/kept')->{status}, 200, 'requests are served') for 1 .. 3;
    all_say(
        $server, 'degraded',
        {'cache memcache' => qr/^degraded: \d+ calls of the last 30 seconds failed or were not tried$/},
        qr/^DEGRADED: memcache$/
    );
    is($server->get('/health')->{status}, 200, 'which is no reason for 503');
    $server->allow_log(qr/ConnPoolCache|cache|AH00785|memcache/i);
    $server->done;
};

# ---------------------------------------------------------------------------

subtest 'all at once' => sub {
    my ($port, $reserved) = free_port();
    my $server = make_server(
        place('query', 'one', 'broken', 'seen') . place('fetch', 'u3') . <<'CONF',
ConnPoolDatabase gone sqlite:@DIR@/db/gone.db
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=1 overflow=reject acquire=30ms
ConnPoolDatabase fine sqlite:@DIR@/db/app.db
ConnPoolQuery seen gone "SELECT 1"
ConnPoolQuery one app "SELECT 1"
ConnPoolQuery broken fine "SELECT a FROM nowhere"
ConnPoolUpstream u3 http://127.0.0.1:@SHUT@/ retry=0
CONF
        load => {cptest_module => 't/mod_cptest.so'},
        vars => {SHUT => $port},
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    my $client = hold($server, 'app');
    ok(await(sub { $server->pool('app')->{busy} == 1 }, 5), 'busy');
    is($server->get('/one')->{status}, 503, 'refused') for 1 .. 3;
    is($server->get('/u3')->{status},  502, 'no answer');
    is($server->get('/seen')->{status}, 503, 'no database');
    my $said = all_say(
        $server, 'down',
        {
            'pool gone'    => qr/^down: no connection can be opened$/,
            'pool app'     => qr/^down: 3 of 4 requests/,
            'query broken' => qr/^degraded: it cannot be prepared/,
            'pool u3'      => qr/^degraded: the last fetch got no answer/,
            'upstream u3'  => qr/^degraded: the last fetch got no answer/,
        },
        qr/^DOWN: gone \(storage\), app \(refused\)\. DEGRADED: u3, broken$/
    );
    my @states = map { $_->{state} } @{$said->{raw}{causes}};
    is_deeply(\@states, [qw(down down degraded degraded degraded)], 'the worst come first');
    is($said->{states}{'pool fine'}, 'ok', 'what is well is well');

    # Whoever looks at night, on a phone.
    my $html;
    await(
        sub {
            $html = $server->get('/connpool-status?refresh=0')->{content};
            return $html =~ m{data-label="Last error"><span class="why">storage};
        },
        5
    );
    like($html, qr{<body>\n<main>\n<h1 class="verdict is-down"[^>]*>DOWN: gone.*?</h1>\n<section id="wrong">\n<h2[^>]*>What is wrong</h2>}s,
        'the page begins with the verdict and what is wrong');
    my ($row) = $html =~ m{<bdi>gone</bdi><small>pool</small></th>(.*?)</tr>}s;
    like($row, qr{data-label="Last error"><span class="why">storage, <time datetime="[\dT:-]+Z">}, 'with its last error');
    like($row, qr{data-label="Since"><span class="why"><time datetime="[\dT:-]+Z">[^<]*</time><small>\d[^<]* ago<},
        'and since when');
    like($html, qr{<bdi>one</bdi></th>.*?<td data-label="Database">app</td>}s,
        'queries name their database');
    like($html, qr{<li>engine configured <b class="on">on</b></li>}, 'features are configured');
    $server->write_file('run/enough', '');
    $server->allow_log(qr/'(?:gone|app|u3|seen|count|one)'|gone\.db|ConnPoolQuery broken/);
    $server->done;
};

done_testing;
