#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# ConnPoolMemory: what is idle gives back, what is too much is refused, and all
# is well again afterwards. And what many idle connections weigh.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port);
use ConnPoolUpstream;
use Test::More;

my ($roomy, $reserved) = free_port();
my $quick  = ConnPoolUpstream->start;
my $server = ConnPoolTest->new(
    children => 1,
    vars     => {ROOMY => $roomy, UPSTREAM => $quick->port},
    conf     => <<'CONF',
ConnPoolMemory 2M
Listen 127.0.0.1:@ROOMY@
<VirtualHost 127.0.0.1:@ROOMY@>
ConnPoolMemory 64M
</VirtualHost>
ConnPoolSlowLog 0
ConnPoolDatabase big sqlite:@DIR@/db/big.db max=3 cache=16M
ConnPoolQuery scan big "SELECT count(*) AS n, sum(length(x)) AS size FROM item"
ConnPoolQuery join big "SELECT count(*) FROM item a, item b, item c WHERE a.x > b.x AND b.x > c.x" timeout=5s
ConnPoolDatabase small sqlite:@DIR@/db/small.db max=3
ConnPoolQuery quick small "SELECT a FROM t"
ConnPoolUpstream up http://127.0.0.1:@UPSTREAM@/
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/scan">
SetHandler connpool-query
ConnPoolServe scan
</Location>
<Location "/join">
SetHandler connpool-query
ConnPoolServe join
</Location>
<Location "/quick">
SetHandler connpool-query
ConnPoolServe quick
</Location>
CONF
);
# Six megabytes.
$server->make_sqlite('big', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, x TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000)
INSERT INTO item SELECT i, hex(randomblob(500)) FROM n;
SQL
$server->make_sqlite('small', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
$server->start;

my $BOUND = 2 * 1024 * 1024;

sub shrunk {
    return $server->status_json->{memory_shrunk};
}

# ---------------------------------------------------------------------------

subtest 'at the start' => sub {
    my $line = $server->await_log(qr/ConnPoolMemory 2M/);
    like($line // '', qr/:notice\].* can take 50688K in each child/,
        'the log tells of more page cache than the bound allows');
    my $memory = $server->status_json->{memory};
    is_deeply([sort keys %$memory], [qw(bound used)], 'members of memory');
    is($memory->{bound}, $BOUND, 'the bound');
    cmp_ok($memory->{used}, '<', $BOUND, 'not yet reached');
    is($server->metric('connpool_memory_bound_bytes'), $BOUND, 'in the metrics');
    is(shrunk(), 0, 'nothing was shrunk');
    $server->allow_log(qr/ConnPoolMemory/);

    my ($exit, $text) = $server->configtest("ConnPoolMemory 51M\n");
    is($exit, 0, 'no more than a warning');
};

subtest 'what is idle gives back' => sub {
    is($server->get('/quick')->{status}, 200, 'a small query');
    my $seen = ConnPoolTest::decode($server->get('/scan'))->[0];
    is($seen->{n}, 6000, 'one that fills a page cache beyond the bound');
    ok(await(sub { shrunk() > 0 }, 5, 'shrinking'),
        'it is noticed without another request');
    ok(
        await(
            sub {
                my $memory = $server->status_json->{memory};
                return $memory->{used} <= $BOUND;
            },
            5
        ),
        'and comes down'
    );
    is($server->metric('connpool_memory_shrunk_total'), shrunk(), 'counted');
    is($server->status_json->{memory_refused}, 0, 'nobody was refused');
    is($server->get('/quick')->{status}, 200, 'all is well');
    like($server->await_log(qr/ConnPoolMemory is reached/) // '',
        qr{:warn\].* this child used \d+\.\d MiB of \d+\.\d MiB; .* \d+\.\d MiB are left\.}, 'the log tells');
};

subtest 'what is too much is refused' => sub {
    plan skip_all => 'one child serves one request' if $server->mpm eq 'prefork';
    my $busy = $server->connect;
    print {$busy} "GET /join HTTP/1.0\r\n\r\n";
    my $refused = await(
        sub {
            my $answer = $server->get('/quick');
            return $answer->{status} != 200 && $answer;
        },
        5,
        'a refusal'
    );
    ok($refused, 'while one query holds more than the bound');
    is($refused->{status}, 503, 'with 503');
    ok($refused->{headers}{'retry-after'}, 'and Retry-After');
    is($refused->{headers}{'content-type'}, 'application/problem+json',
        'as a problem');
    like(ConnPoolTest::decode($refused)->{detail}, qr/memory bound/, 'why');
    is($server->get('/up/delay/0')->{status}, 200, 'a fetch needs no database');
    my $report = $server->status_json;
    cmp_ok($report->{memory_refused}, '>=', 1, 'counted');
    is($server->metric('connpool_memory_refused_total'), $report->{memory_refused},
        'in the metrics');
    ok(
        await(sub { $server->status_json->{memory}{used} > $BOUND }, 3),
        'the report shows that the bound is exceeded'
    );
    my ($pool) = grep { $_->{name} eq 'small' } @{$report->{pools}};
    is($pool->{idle}, 0, 'idle connections were closed');
    cmp_ok($pool->{closed}{flushed}, '>=', 1, 'for that reason');
    is($server->get("http://127.0.0.1:$roomy/quick")->{status},
        200, 'a virtual host may have a bound of its own');

    my $answer = ConnPoolTest::parse_response(
        ConnPoolTest::read_until($busy, undef, 20));
    is($answer->{status}, 504, 'the query itself went on to its deadline');
    is($server->get('/quick')->{status}, 200, 'then there is room again');
    ok(await(sub { $server->status_json->{memory}{used} <= $BOUND }, 3),
        'the report knows');
    is($server->get('/scan')->{status}, 200, 'large queries, too');
    $server->allow_log(qr/query '(?:quick|join|scan)'/);
};

$server->done;

# ---------------------------------------------------------------------------

subtest 'ten databases and a hundred sockets' => sub {
    plan skip_all => 'needs many threads in one child'
        if $server->mpm eq 'prefork';
    plan skip_all => 'sanitizers have their own memory' if $ENV{CONNPOOL_ASAN};
    my $upstream = ConnPoolUpstream->start;
    my $slowness = ConnPoolTest::slowness();
    my $many     = ConnPoolTest->new(
        children => 1,
        threads  => 110,
        env      => {MALLOC_PERTURB_ => 0},
        # For so long that all can be there at once.
        vars => {
            UPSTREAM => $upstream->port,
            DELAY    => $slowness,
            HOLD     => int(800 * $slowness) . 'ms',
        },
        conf => <<'CONF',
ConnPoolHTTPPerHost 100
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=10
ConnPoolQuery hold app "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=@HOLD@
ConnPoolQuery add app "INSERT INTO item(x) VALUES ('b')" write=on
ConnPoolUpstream slow http://127.0.0.1:@UPSTREAM@/delay/@DELAY@ keepalive=60s read=60s total=60s breaker=0
<Location "/hold">
SetHandler connpool-query
ConnPoolServe hold
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/slow">
SetHandler connpool-fetch
ConnPoolServe slow
</Location>
CONF
    );
    $many->make_sqlite('app', 'CREATE TABLE item(id INTEGER PRIMARY KEY, x);');
    $many->write_file('htdocs/plain.txt', "plain\n");
    $many->allow_log(qr/query 'hold'/);
    $many->start;
    my ($child) = $many->children;
    my $all = sub {
        my ($count, $bytes) = @_;
        my @clients = map { $many->connect } 1 .. $count;
        print {$_} $bytes for @clients;
        return @clients;
    };
    # What httpd itself needs for so many requests at once: each occupies a
    # thread while its body is missing.
    my @clients = $all->(109,
        "POST /plain.txt HTTP/1.0\r\nContent-Length: 5\r\n\r\n");
    await(
        sub {
            my $text = $many->get('/server-status?auto')->{content};
            return $text =~ /^BusyWorkers: (\d+)/m && $1 >= 109;
        },
        10, 'busy threads'
    );
    print {$_} 'body!' for @clients;
    ConnPoolTest::read_until($_, undef, 10 * ConnPoolTest::slowness()) for @clients;
    my $before = $many->rss($child);

    is($many->post('/add', content => {})->{status}, 200, 'the writer');
    # First these, then those: what requests need beside their connections does
    # not belong to idle ones.
    my @queries = $all->(9, "GET /hold HTTP/1.0\r\n\r\n");
    ConnPoolTest::read_until($_, undef, 20 * ConnPoolTest::slowness()) for @queries;
    my @fetches = $all->(100, "GET /slow HTTP/1.0\r\n\r\n");
    ConnPoolTest::read_until($_, undef, 20 * ConnPoolTest::slowness()) for @fetches;
    $many->is_at_rest;
    my ($db, $http) = @{$many->status_json->{pools}};
    # On a busy machine one reader may have come when another was done.
    for (1 .. 5) {
        last if $db->{open} >= 10;
        ConnPoolTest::read_until($_, undef, 20 * ConnPoolTest::slowness())
            for $all->(9, "GET /hold HTTP/1.0\r\n\r\n");
        $db = $many->status_json->{pools}[0];
    }
    is($db->{open}, 10, 'ten connections of the database');
    is($http->{open}, 100, 'a hundred of the upstream');
    is($upstream->stats->{open}, 100, 'which it knows');
    is(($many->children)[0], $child, 'all in the same child');
    my $grown = ($many->rss($child) - $before) / 1024 / 1024;
    cmp_ok($grown, '<', 10, sprintf 'they take %.1f MB', $grown);
    $many->done;
};

done_testing;
