#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Requests in processes that a module has forked from a child: they pool
# nothing, count nothing, and leave all that they inherited alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use ConnPoolUpstream;
use Test::More;

my $upstream = ConnPoolUpstream->start;
my $CONF     = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db max=4
ConnPoolUpstream up @UP@/text coalesce=on
ConnPoolQuery all main "SELECT a FROM t ORDER BY a" format=arrays
ConnPoolQuery data main "SELECT count(*) AS n FROM t" ttl=data format=value
ConnPoolQuery timed main "SELECT count(*) AS n FROM t" ttl=1h format=value
ConnPoolQuery add main "INSERT INTO t VALUES (:a)" write=on
ConnPoolParam add a integer required
<Location "/all">
SetHandler connpool-query
ConnPoolServe all
</Location>
<Location "/data">
SetHandler connpool-query
ConnPoolServe data
</Location>
<Location "/timed">
SetHandler connpool-query
ConnPoolServe timed
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe all up data
</Location>
<Location "/connpool-health">
SetHandler connpool-health
</Location>
CONF
my $server = ConnPoolTest->new(
    children => 1,
    threads  => 4,
    modules  => ['socache_shmcb'],
    load     => {cpfork_module => 't/mod_cpfork.so'},
    vars     => {UP => $upstream->url},
    conf     => $CONF,
);
$server->make_sqlite('main', 'CREATE TABLE t(a); INSERT INTO t VALUES (1), (2);');
my $WARNING = qr/requests run in processes that a module has forked/;
$server->allow_log($WARNING);
$server->start;
my ($child) = $server->children;

sub forked {
    my ($path, $how, $method) = @_;
    return $server->request($method // 'GET', $path,
        headers => {'X-Fork' => $how // 'fork'});
}

# Of both pools, what must not change: everything.
sub figures {
    my $report = $server->json('/connpool-status?format=json');
    my %figures;
    for my $pool (@{$report->{pools}}) {
        $figures{"$pool->{name} $_"} = $pool->{$_}
            for qw(busy waiting acquired released abandoned timeouts rejected
            fallbacks created create_failures leaks_suspected);
    }
    $figures{"$_->{name} count"} = $_->{count}
        for @{$report->{queries}}, @{$report->{upstreams}};
    $figures{in_flight} = $report->{event_loop}{in_flight};
    return \%figures;
}

# All that a request can be, in a process of its own.
sub works {
    my ($how, $rows) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(forked('/all', $how)->{content}, "[$rows]", "$how: a read");
    is(forked('/up', $how)->{content}, "hello, world\n", "$how: a fetch");
    my $n = () = $rows =~ /\d+/g;
    is(forked('/data', $how)->{content}, $n, "$how: ttl=data");
    like(forked('/timed', $how)->{content}, qr/^\d+$/, "$how: ttl=1h");
    is(forked('/batch', $how)->{status}, 200, "$how: a batch");
    is(forked('/connpool-health', $how)->{status}, 200, "$how: health");
    is(forked('/connpool-health?live=1', $how)->{status}, 200, "$how: a probe");
    return is(forked('/connpool-status?format=json', $how)->{status}, 200, "$how: a report");
}

subtest 'before the child has done anything' => sub {
    my $before = figures();
    my $mark   = $server->log_mark;
    works('fork', '[1],[2]');
    is_deeply(figures(), $before, 'nothing is counted');
    ok($server->await_log($WARNING), 'the log says so');
};

subtest 'beside open connections' => sub {
    for (1 .. 3) {
        is($server->get('/all')->{status},  200, 'the child reads');
        is($server->get('/data')->{status}, 200, 'and keeps');
        is($server->get('/up')->{status},   200, 'and fetches');
    }
    is($server->request('POST', '/add?a=3')->{status}, 200, 'and writes');
    my $rows = '[1],[2],[3]';
    for my $how (qw(fork clone held twice exit)) {
        my $before = figures();
        works($how, $rows);
        # What the module holds itself it gives back behind the answer.
        ConnPoolTest::await(sub { figures()->{'main busy'} == 0 }, 5, 'rest');
        my $after = figures();
        # The module's own read of each request is the child's.
        if ($how eq 'held') {
            for my $key ('acquired', 'released', 'created') {
                $_->{"main $key"} = 0 for $before, $after;
            }
        }
        is_deeply($after, $before, "$how: nothing is counted");
        is($server->get('/all')->{content}, "[$rows]", "$how: the child goes on");
        is($server->get('/up')->{status},   200,       '... with its fetches');
    }
};

subtest 'writes' => sub {
    for my $i (4 .. 13) {
        my $how = (qw(fork clone twice exit))[$i % 4];
        my $answer = forked("/add?a=$i", $how, 'POST');
        is($answer->{status}, 200, "a write by $how");
        like($answer->{content}, qr/"changes":1/, '... done');
        is($server->get('/data')->{content}, $i, 'the child sees it');
        is($server->request('POST', "/add?a=-$i")->{status}, 200, 'the child writes');
        is($server->sqlite('main', "DELETE FROM t WHERE a = -$i; SELECT changes()"), 1,
            'and all is there');
    }
    is($server->sqlite('main', 'PRAGMA integrity_check'), 'ok', 'the file is whole');
};

subtest 'at once' => sub {
    my $before  = figures();
    my @answers = ConnPoolTest::parallel(8, sub {
        my ($i) = @_;
        my @statuses;
        for my $n (1 .. 5) {
            push @statuses, forked('/add?a=' . (1000 + 10 * $i + $n), 'fork', 'POST')->{status};
            push @statuses, $server->request('POST', '/add?a=' . (2000 + 10 * $i + $n))->{status};
        }
        return join ' ', @statuses;
    });
    is_deeply(\@answers, [(join ' ', (200) x 10) x 8], 'children and their forks write');
    is($server->sqlite('main', 'SELECT count(*) FROM t WHERE a > 1000'), 80, 'nothing is lost');
    is($server->sqlite('main', 'PRAGMA integrity_check'), 'ok', 'the file is whole');
    my $after = figures();
    is($after->{'add count'} - $before->{'add count'}, 40, 'those of the child count');
};

my $lines = () = $server->log =~ /$WARNING/g;
is($lines, 1, 'the log has said it once');
ok((grep { $_ == $child } $server->children), 'the child lives');
$server->done;
done_testing;
