#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Numbers that mean something: what is added up is a sum, times of refusals are
# not among those of service, utilisation is of what can be reached, and totals
# go on when pools are added.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port root_dir);
use ConnPoolUpstream;
use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(time);

my $BASE = <<'CONF';
<Location "/do">
SetHandler cptest
</Location>
CONF

sub place {
    my ($handler, @names) = @_;
    return join '', map {
        "<Location \"/$_\">\nSetHandler connpool-$handler\nConnPoolServe $_\n</Location>\n"
    } @names;
}

sub make_server {
    my ($conf, %arg) = @_;
    return ConnPoolTest->new(
        conf => $BASE . $conf,
        load => {cptest_module => 't/mod_cptest.so'}, %arg
    );
}

# [name, labels, value] of all samples.
sub scrape {
    my ($server) = @_;
    my @samples;
    for my $line (split /\n/, $server->get('/connpool-status?format=openmetrics')->{content}) {
        my ($name, $labels, $value) = $line =~ /^(\w+)(?:\{(.*)\})? (\S+)$/ or next;
        push @samples, [$name, {$labels ? $labels =~ /(\w+)="([^"]*)"/g : ()}, $value];
    }
    return @samples;
}

# The values of a name's samples that have these labels.
sub values_of {
    my ($samples, $name, %labels) = @_;
    return map { $_->[2] } grep {
        my $of = $_->[1];
        $_->[0] eq $name && !grep { ($of->{$_} // '') ne $labels{$_} } keys %labels;
    } @$samples;
}

sub hold {
    my ($server, $pool, $how) = @_;
    my $client = $server->connect or die 'no connection';
    print {$client} "GET /do/hold?acquire=a:$pool:$how&await="
        . $server->dir('run/enough') . " HTTP/1.0\r\n\r\n";
    return $client;
}

sub line_of {
    my ($server, $list, $name) = @_;
    my ($line) = grep { $_->{name} eq $name } @{$server->status_json->{$list}};
    return $line;
}

# ---------------------------------------------------------------------------

subtest 'times of refusals' => sub {
    my $upstream = ConnPoolUpstream->start;
    my ($shut, $reserved) = free_port();
    my $server   = make_server(
        place('query', 'one', 'bad') . place('fetch', 'text', 'shut') . <<'CONF',
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=1 overflow=reject acquire=400ms
ConnPoolQuery one app "SELECT 1"
ConnPoolQuery bad app "SELECT a FROM later"
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text
ConnPoolUpstream shut http://127.0.0.1:@SHUT@/ retry=0 breaker=0
CONF
        vars => {UPSTREAM => $upstream->port, SHUT => $shut},
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    if ($server->mpm eq 'prefork') {
        # Who holds one serves nobody else, and others have their own.
        $upstream->stop;
        plan skip_all => 'a child has one thread';
    }
    $server->start;
    is($server->get('/one')->{status}, 200, 'served') for 1 .. 5;
    my $client = hold($server, 'app', 'read');
    ok(await(sub { $server->pool('app')->{busy} == 1 }, 5), 'the one connection is busy');
    my $served = $server->pool('app');
    is($server->get('/one')->{status}, 503, 'refused') for 1 .. 3;
    my $pool = $server->pool('app');
    is($pool->{acquire_us}{count}, $served->{acquire_us}{count}, 'no acquire was recorded');
    is($pool->{acquire_us}{max},   $served->{acquire_us}{max},   'of whatever length');
    is($pool->{refused_us}{count}, 3, 'but three refusals');
    cmp_ok($pool->{refused_us}{p50}, '>=', 380_000, 'of what they have waited');
    my $query = line_of($server, 'queries', 'one');
    is($query->{us}{count},        5, 'five runs');
    is($query->{failed_us}{count}, 3, 'and three that were none');
    cmp_ok($query->{failed_us}{p50}, '>=', 380_000, 'with their wait');
    is($query->{count}, 8, 'eight together');
    $server->write_file('run/enough', '');
    ok(await(sub { $server->pool('app')->{busy} == 0 }, 10), 'the connection comes back');
    is($server->get('/bad')->{status}, 503, 'a query that fails');
    $query = line_of($server, 'queries', 'bad');
    is($query->{us}{count},        0, 'has not run');
    is($query->{failed_us}{count}, 1, 'but failed');
    is($server->get('/text')->{status}, 200, 'fetched') for 1 .. 2;
    is($server->get('/shut')->{status}, 502, 'no answer');
    my ($text, $none) = map { line_of($server, 'upstreams', $_) } qw(text shut);
    is_deeply([map { $_->{count} } @$text{qw(us failed_us)}], [2, 0], 'fetches with an answer');
    is_deeply([map { $_->{count} } @$none{qw(us failed_us)}], [0, 1], 'and without');
    my $report = $server->status_json;
    is($report->{request_us}{count},        7, 'requests that were served');
    is($report->{request_failed_us}{count}, 5, 'and those that were not');
    $server->allow_log(qr/'(?:app|one|bad|shut)'|ConnPoolQuery bad/);
    $server->done;
    $upstream->stop;
};

subtest 'utilisation of what can be reached' => sub {
    my $server = make_server(
        place('query', 'seen', 'add', 'see') . <<'CONF',
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=4 overflow=direct overflow-max=3 acquire=100ms
ConnPoolQuery seen app "SELECT a FROM t"
ConnPoolDatabase kept sqlite:@DIR@/db/app.db max=4
ConnPoolQuery see kept "SELECT a FROM t"
ConnPoolQuery add kept "INSERT INTO t VALUES (1)" write=on
ConnPoolDatabase wide sqlite:@DIR@/db/app.db max=40
ConnPoolDatabase sole sqlite:@DIR@/db/app.db max=1
CONF
        threads => 8,
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    $server->start;
    my $children = $server->status_json->{children};
    my $threads  = $server->mpm eq 'prefork' ? 1 : 8;
    my $least    = sub { my ($a, $b) = @_; $a < $b ? $a : $b };
    my %wanted   = (
        app  => $least->(3, $threads),        # three readers; nobody writes
        kept => $least->(3, $threads) + 1,
        wide => $least->(39, $threads),
        sole => 1,
    );
    for my $name (sort keys %wanted) {
        is($server->pool($name)->{reachable}, $wanted{$name} * $children, "of $name")
            if $server->mpm ne 'prefork';
        cmp_ok($server->pool($name)->{reachable} % $wanted{$name}, '==', 0, "of $name in each child");
    }
    if ($server->mpm ne 'prefork') {
        my @clients = map { hold($server, 'app', 'read') } 1 .. 3;
        ok(await(sub { $server->pool('app')->{busy} == 3 }, 5), 'all readers are busy');
        my @samples = scrape($server);
        is((values_of(\@samples, 'connpool_utilisation_ratio', pool => 'app'))[0],
            '1.000000', 'that is all that can be');
        is($server->pool('app')->{busy_percent}, 100, 'in JSON, too');
        is($server->get('/seen')->{status}, 200, 'one more is served by a one-shot connection');
        push @clients, hold($server, 'app', 'read');
        ok(await(sub { $server->pool('app')->{one_shots} == 1 }, 5), 'and one is kept busy');
        @samples = scrape($server);
        my %in = map { $_ => (values_of(\@samples, 'connpool_connections', pool => 'app', state => $_))[0] }
            qw(busy idle one_shot passing);
        is_deeply(\%in, {busy => 3, idle => 0, one_shot => 1, passing => 0}, 'which is told apart');
        is((values_of(\@samples, 'connpool_utilisation_ratio', pool => 'app'))[0],
            '1.000000', 'and not counted as use of the pool');
        # Of one that is written the writer is as tight as the readers.
        push @clients, hold($server, 'kept', 'write');
        ok(await(sub { $server->pool('kept')->{busy_writers} == 1 }, 5), 'the writer is busy');
        is($server->pool('kept')->{busy_percent}, 100, 'there is one');
        $server->write_file('run/enough', '');
        ok(await(sub { !grep { $_->{busy} || $_->{one_shots} } @{$server->status_json->{pools}} }, 10),
            'all come back');
        is($server->pool('app')->{busy_percent}, 0, 'at rest');
    }
    $server->allow_log(qr/pool 'app'/);
    $server->done;
};

# ---------------------------------------------------------------------------

# With all kinds of things, of which some fail.
sub busy_server {
    my ($upstream, %arg) = @_;
    my $server = make_server(
        place('query', 'one', 'bad', 'kept') . place('fetch', 'text') . <<'CONF',
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=3
ConnPoolQuery one app "SELECT a FROM t"
ConnPoolQuery bad app "SELECT a FROM later"
ConnPoolQuery kept app "SELECT a FROM t" ttl=data
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text
CONF
        vars => {UPSTREAM => $upstream->port},
        %arg
    );
    $server->make_sqlite('app', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    $server->allow_log(qr/'bad'|ConnPoolQuery bad/);
    $server->start;
    return $server;
}

subtest 'what is added up is a sum' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = busy_server($upstream);
    for (1 .. 4) {
        $server->get("/$_") for qw(one bad kept text);
    }
    ok(await(sub { $server->pool('app')->{idle} == $server->pool('app')->{open} }, 10), 'at rest');
    my @samples = scrape($server);
    my $report  = $server->status_json;
    my ($app, $text) = map { my $name = $_; grep { $_->{name} eq $name } @{$report->{pools}} } qw(app text);
    my %sums = (
        connpool_connections          => [$app->{open}, pool => 'app'],
        connpool_closed_total         => [$app->{created} - $app->{open}, pool => 'app'],
        connpool_create_failures_total => [$app->{create_failures}, pool => 'app'],
        connpool_memory_bytes         => [$app->{memory_bytes}, pool => 'app'],
        connpool_query_errors_total   => [4, query => 'bad'],
        connpool_cache_lookups_total  => [4, query => 'kept'],
        connpool_http_requests_total  => [4, pool => 'text'],
        connpool_groups_total         => [0, pool => 'app'],
        connpool_http_breaker_state   => [1, pool => 'text'],
        connpool_http_bytes_total     => [$report->{upstreams}[0]{bytes}, pool => 'text'],
    );
    my %labels;
    for my $sample (@samples) {
        my ($name, $of) = @$sample;
        $labels{$name}{$_} = 1 for grep { !/^(?:pool|query|server|kind|name|le)$/ } keys %$of;
    }
    # Every family with a label of its own, but for times of phases, states, and
    # what is built.
    is_deeply(
        [sort grep { !/^connpool_(?:http_phase_seconds_\w+|state|build_info)$/ } keys %labels],
        [sort keys %sums], 'all families that have such a label');
    for my $name (sort keys %sums) {
        my ($wanted, @labels) = @{$sums{$name}};
        cmp_ok(sum0(values_of(\@samples, $name, @labels)), '==', $wanted, "sum($name) is $wanted");
    }
    is(sum0(values_of(\@samples, 'connpool_state', name => 'app')), 1, 'in one state at a time');
    my %times = (one => [4, 0], bad => [0, 4], kept => [1, 0]);
    for my $query (sort keys %times) {
        my @seen = map { (values_of(\@samples, "connpool_query_${_}_count", query => $query))[0] }
            qw(seconds failed_seconds);
        is_deeply(\@seen, $times{$query}, "runs of $query");
    }
    $server->done;
    $upstream->stop;
};

sub manual {
    local ($/, @ARGV) = (undef, grep { -f } root_dir() . '/README.md', glob root_dir() . '/docs/*.md');
    return join '', <>;
}

# Nobody can make more of them by asking, and this is how many there are.
subtest 'series are as many as is said' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = busy_server($upstream);
    my @samples  = scrape($server);
    my %count;
    for my $sample (@samples) {
        my ($name, $of) = @$sample;
        my $kind =
              $of->{query}                                 ? "query $of->{query}"
            : ($of->{kind} // '') =~ /^(?:query|upstream)$/ ? "$of->{kind} $of->{name}"
            : ($of->{kind} // '') eq 'pool'                ? "pool $of->{name}"
            : $of->{pool} && $name =~ /^connpool_http_/    ? "upstream $of->{pool}"
            : $of->{pool}                                  ? "pool $of->{pool}"
            :                                                'server';
        $count{$kind}++;
    }
    my $manual = manual();
    my %said;
    $said{$1} = $2 while $manual =~ /^\| (a query|a query with `ttl=` or `coalesce=on`|a pool|an upstream, beside its pool|the server) \| (\d+) \|/mg;
    is_deeply(
        \%said,
        {
            'a query'                                 => $count{'query one'},
            'a query with `ttl=` or `coalesce=on`'    => $count{'query kept'},
            'a pool'                                  => $count{'pool app'},
            'an upstream, beside its pool'            => $count{'upstream text'},
            # A cache and, of prefork, no loop.
            'the server'                              => $count{server} + ($server->mpm eq 'prefork' ? 3 : 0) + 3,
        },
        'the manual has these numbers'
    );
    is($count{'pool text'}, $count{'pool app'}, 'all pools have the same series');
    $server->get("/$_?x=1") for qw(one bad kept text text/more);
    is(scalar(my @again = scrape($server)), scalar @samples, 'and requests make no more');
    $server->done;
    $upstream->stop;
};

# ---------------------------------------------------------------------------

subtest 'totals go on when pools are added' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = busy_server($upstream, children => 2);
    my $conf     = $server->conf;
    my @names    = qw(one bad text);
    my $total    = 0;
    my $since;
    for my $generation (0 .. 4) {
        $server->get("/$_") for (@names) x 2;
        $total += 2;
        my %now = map { $_ => line_of($server, $_ eq 'text' ? 'upstreams' : 'queries', $_)->{count} }
            @names;
        is_deeply(\%now, {map { $_ => $total } @names}, "$total of each");
        cmp_ok($server->pool('app')->{acquired} + $server->pool('app')->{fallbacks},
            '>=', 2 * $total, 'connections, too');
        is($server->status_json->{request_us}{count} + $server->status_json->{request_failed_us}{count},
            3 * $total, 'requests');
        ok(await(sub { line_of($server, 'queries', 'bad')->{state} eq 'degraded' }, 10), 'bad is degraded');
        $since //= line_of($server, 'queries', 'bad')->{since};
        is(line_of($server, 'queries', 'bad')->{since}, $since, "since $since");
        last if $generation == 4;
        # Other names each time, first, and far more than there is room for.
        my @more = map {
            my $name = "g${generation}n$_";
            "ConnPoolDatabase $name sqlite:\@DIR\@/db/app.db\nConnPoolQuery q$name $name \"SELECT 1\"\n"
                . "ConnPoolUpstream u$name http://127.0.0.1:\@UPSTREAM\@/\n"
        } 1 .. 10 * ($generation + 1);
        $server->conf(join('', @more) . $conf);
        ok($server->graceful(gone => 1), 'graceful restart');
        is(scalar @{$server->status_json->{queries}}, 3 + @more, 'with what was added');
        ok(await(sub { $server->status_json->{children} == 2 }, 10), 'two children, as there are')
            if $server->mpm ne 'prefork';
    }
    unlike($server->log, qr/counting starts anew/, 'nothing is said of the contrary');
    $server->done;
    $upstream->stop;
};

# Children of the generation before serve and count while those of the next do.
subtest 'two generations at a time' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $server   = busy_server($upstream);
    my $client   = hold($server, 'app', 'read');
    ok(await(sub { $server->pool('app')->{busy} == 1 }, 5), 'one is busy');
    my $more = join '', map { "ConnPoolDatabase more$_ sqlite:\@DIR\@/db/app.db\n" } 1 .. 20;
    $server->conf($more . $server->conf);
    ok($server->graceful, 'graceful restart');
    ok(await(sub { scalar @{$server->status_json->{pools}} == 22 }, 10), 'the next generation answers');
    is($server->pool('app')->{busy}, 1, 'what a child of the generation before holds is busy');
    $server->write_file('run/enough', '');
    ok(await(sub { my $app = $server->pool('app'); !$app->{busy} && $app->{released} == $app->{acquired} }, 10),
        'and comes back');
    is($server->pool('app')->{abandoned}, 0, 'nothing is abandoned');
    $server->done;
    $upstream->stop;
};

done_testing;
