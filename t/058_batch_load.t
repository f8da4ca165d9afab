# SPDX-License-Identifier: Apache-2.0
#
# Batches at work: side by side, many at once through a small pool, against
# each other, over a restart, at their deadline, and without the loop.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolLoad;
use ConnPoolTest qw(slowness);
use ConnPoolUpstream;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

my $IS_PREFORK = ($ENV{CONNPOOL_MPM} // '') eq 'prefork';

# All clients of a crowd are served at once.
my $CLIENTS = $IS_PREFORK ? 16 : 64;

my $upstream = ConnPoolUpstream->start;
my $ten      = join ' ', ('delay') x 10;
my $conf     = <<"CONF";
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=3 acquire=800ms
ConnPoolUpstream up \@UP\@/ max=30 acquire=20s queue=1000 overflow=reject
ConnPoolUpstream delay \@UP\@/delay/0.02 max=30 acquire=20s overflow=reject
ConnPoolUpstream left \@UP\@/text max=1 acquire=20s overflow=reject
ConnPoolUpstream right \@UP\@/json max=1 acquire=20s overflow=reject
ConnPoolUpstream late \@UP\@/delay/0.4 acquire=100ms total=900ms
ConnPoolQuery count events "SELECT count(*) FROM event" format=value
ConnPoolDatabase brief sqlite:\@DIR\@/db/events.db max=2 acquire=100ms
ConnPoolQuery endless brief "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n" timeout=1s
ConnPoolQuery soon events "SELECT 7" format=value timeout=100ms
ConnPoolBatchParallel 10
ConnPoolServerTiming On
<Location "/ten">
SetHandler connpool-batch
ConnPoolServe $ten
</Location>
<Location "/any">
SetHandler connpool-batch
ConnPoolServe up count left right late
</Location>
<Location "/endless">
SetHandler connpool-batch
ConnPoolServe endless endless endless
</Location>
<Location "/narrow">
SetHandler connpool-batch
ConnPoolServe late late late late late late late late soon
ConnPoolBatchParallel 2
</Location>
CONF

sub new_server {
    my ($more) = @_;
    my $server = ConnPoolTest->new(
        children => $IS_PREFORK ? $CLIENTS : 1,
        threads  => $IS_PREFORK ? 2        : $CLIENTS,
        vars     => {UP => $upstream->url},
        conf     => $conf . ($more // ''),
    );
    $server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE event(id INTEGER PRIMARY KEY);
INSERT INTO event VALUES (1), (2), (3);
SQL
    return $server->start;
}

my $server = new_server();

sub batch_of {
    my @items  = @_;
    my $expect = join '.*', map { qq("name":"$_->[0]","status":200) } @items;
    return {
        name   => 'batch',
        method => 'POST',
        path   => '/any',
        type   => 'application/json',
        body   => JSON::PP->new->canonical->encode(
            [
                map { {name => $_->[0], $_->[1] ? (params => {path => $_->[1]}) : ()} }
                    @items
            ]
        ),
        # All are there, in order, and well.
        expect => qr/$expect/s,
    };
}

# Middle of the times of `n` requests, in milliseconds.
sub median {
    my ($of, $n, $path) = @_;
    my @times;
    for (1 .. $n) {
        my $start  = time;
        my $answer = $of->get($path, keep_alive => 1);
        push @times, 1000 * (time - $start);
        my $well = () = $answer->{content} =~ /"status":200/g;
        is($well, 10, 'ten are well') if $well != 10;
    }
    @times = sort { $a <=> $b } @times;
    return $times[$n / 2];
}

subtest 'side by side' => sub {
    plan skip_all => 'prefork has no loop' if $IS_PREFORK;
    my $before = $server->status_json->{batch};
    median($server, 2, '/ten');    # opens connections
    my $p50 = median($server, 21, '/ten');
    note sprintf 'ten fetches of 20 ms each: %.1f ms', $p50;
    cmp_ok($p50, '<', 120 * slowness(), 'ten take less than six would')
        or diag "p50 $p50 ms";
    my $timing = $server->get('/ten')->{headers}{'server-timing'};
    my ($http) = $timing =~ /http;dur=([\d.]+)/;
    cmp_ok($http, '>', 19, 'time with upstreams');
    cmp_ok($http, '<', 120 * slowness(), 'is not counted ten times');
    my $after = $server->status_json->{batch};
    is($after->{requests} - $before->{requests}, 24, 'batches are counted');
    is($after->{items} - $before->{items}, 240, 'their items');
    is($after->{overlapped} - $before->{overlapped}, 24, 'and overlaps');
    is($after->{sequential}, 0, 'none was sequential');
    is($after->{errors}, $before->{errors}, 'no errors');
};

subtest 'a crowd through a pool of 30' => sub {
    $upstream->restart;
    my $load = ConnPoolLoad->start(
        $server,
        clients => $CLIENTS,
        each    => 4,
        timeout => 60,
        request => sub {
            my ($client, $i) = @_;
            return batch_of(['up', '/delay/0.01'], ['count'],
                map { ['up', '/delay/0.01'] } 3 .. 10);
        }
    );
    my $result = $load->wait;
    is_deeply($result->{lost},    [], 'none is lost');
    is_deeply($result->{refused}, {}, 'none is refused');
    is($result->{good}{batch}, 4 * $CLIENTS, 'all are answered');
    my $stats = $upstream->stats;
    is($stats->{paths}{'/delay/0.01'}, 36 * $CLIENTS, 'by the upstream');
    if (!$IS_PREFORK) {
        cmp_ok($stats->{busy_peak}, '<=', 30, "$stats->{busy_peak} at once");
        cmp_ok($stats->{busy_peak}, '>=', 15, 'the pool was used');
    }
    my $pool = $server->pool('up');
    is($pool->{timeouts} + $pool->{rejected} + $pool->{fallbacks},
        0, 'nobody waited in vain');
    $server->is_at_rest;
};

# Who held one and waited for the other would wait for ever.
subtest 'against each other' => sub {
    my $load = ConnPoolLoad->start(
        $server,
        clients => 16,
        each    => 10,
        timeout => 60,
        request => sub {
            my ($client) = @_;
            my @names = $client % 2 ? qw(left right) : qw(right left);
            return batch_of((map { [$_] } @names) x 2);
        }
    );
    my $result = $load->wait;
    is_deeply($result->{lost},    [], 'none is lost');
    is_deeply($result->{refused}, {}, 'none is refused');
    is($result->{good}{batch}, 160, 'all are answered');
    for my $name (qw(left right)) {
        my $pool = $server->pool($name);
        is($pool->{timeouts}, 0, "$name: nobody waited in vain");
        is($pool->{open_max}, 1, "$name: one connection");
    }
};

subtest 'a graceful restart in the middle' => sub {
    my $load = ConnPoolLoad->start(
        $server,
        clients => 6,
        timeout => 60,
        request => sub {
            return batch_of(['count'], map { ['up', '/delay/0.05'] } 1 .. 4);
        }
    );
    for (1 .. 2) {
        sleep 0.3;
        ok($server->graceful(gone => 1), 'restarted');
    }
    my $result = $load->finish;
    is_deeply($result->{lost},    [], 'none is lost');
    is_deeply($result->{refused}, {}, 'none is refused');
    cmp_ok($result->{good}{batch}, '>', 10, 'answered');
};

subtest 'the deadline' => sub {
    my $start  = time;
    my $answer = $server->get('/narrow', timeout => 30);
    my $took   = time - $start;
    is($answer->{status}, 200, 'the whole is answered');
    my $items = ConnPoolTest::decode($answer);
    is($items->[-1]{body}, 7, 'what was quick is there');
    my @late = grep { $_->{status} == 504 } @$items;
    cmp_ok(scalar @late, '>=', 4, 'what had no time is not');
    is($_->{error}{status}, 504, $_->{error}{detail}) for @late;
    cmp_ok($took, '>', 0.8, 'its time is used');
    cmp_ok($took, '<', 1.6 * slowness(), sprintf 'and kept: %.2f s', $took);
    $start  = time;
    $answer = $server->get('/endless', timeout => 30);
    $took   = time - $start;
    is(join(' ', map { $_->{status} } @{ConnPoolTest::decode($answer)}),
        '504 504 504', 'queries');
    cmp_ok($took, '<', 1.8 * slowness(), sprintf 'are cut, too: %.2f s', $took);
    $server->is_at_rest;
};

$server->allow_log(qr/\[connpool:error\].*query 'endless'/, qr/\[connpool:error\].*(?:upstream 'late'|too long)/);
$server->done;

subtest 'without the loop' => sub {
    $upstream->restart;
    my $plain = new_server("ConnPoolEventLoop Off\n");
    my $start = time;
    my $items = ConnPoolTest::decode($plain->get('/ten'));
    cmp_ok(time - $start, '>', 0.19, 'one after another');
    is(join(' ', map { $_->{status} } @$items),
        join(' ', (200) x 10), 'the same answers');
    is($upstream->stats->{busy_peak}, 1, 'never two at once');
    my $batch = $plain->status_json->{batch};
    is($batch->{sequential}, 1, 'the report says so');
    is($batch->{overlapped}, 0, 'not the contrary');
    $plain->done;
};

done_testing;
