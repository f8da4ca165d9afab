#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The report for monitoring systems: strictly OpenMetrics, equal to the JSON and
# to what can be counted from outside, and right at every moment, also while
# children are killed and replaced.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolLoad;
use ConnPoolTest qw(await command free_port parallel root_dir);
use ConnPoolUpstream;
use HTTP::Tiny  ();
use JSON::PP    ();
use POSIX       ();
use Test::More;
use Time::HiRes qw(sleep time);

my ($vhost_port, $vhost_socket) = free_port();
my $upstream = ConnPoolUpstream->start;

my $server = ConnPoolTest->new(
    children => 4,
    vars     => {VHOST => $vhost_port, UPSTREAM => $upstream->port},
    conf     => <<'CONF',
Listen 127.0.0.1:@VHOST@
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=4
ConnPoolQuery by_id events "SELECT id, title FROM item WHERE id = :id" format=object
ConnPoolParam by_id id integer required
ConnPoolQuery missing events "SELECT no_column FROM nowhere"
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text?size=40
ConnPoolUpstream broken http://127.0.0.1:@UPSTREAM@/status/503
<Location "/by-id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
<Location "/missing">
SetHandler connpool-query
ConnPoolServe missing
</Location>
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
<Location "/broken">
SetHandler connpool-fetch
ConnPoolServe broken
</Location>
# Names that must be escaped, and two servers of one name.
<VirtualHost 127.0.0.1:@VHOST@>
ServerName 'quo"te\\back<slash>'
ConnPoolDatabase events sqlite:@DIR@/db/events.db
</VirtualHost>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName 'quo"te\\back<slash>'
ConnPoolDatabase events sqlite:@DIR@/db/events.db
<Location "/own">
SetHandler connpool-status
</Location>
</VirtualHost>
CONF
);
$server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)
INSERT INTO item SELECT i, 'title ' || i FROM n;
SQL
$server->allow_log(qr/query 'missing'|ConnPoolQuery missing/);
$server->start;

# ---------------------------------------------------------------------------
# A parser that forgives nothing: (series => value, families). Dies with the
# line that is wrong.

my %SUFFIXES = (
    gauge     => [''],
    counter   => ['_total'],
    info      => ['_info'],
    histogram => [qw(_bucket _count _sum)],
);

sub parse_labels {
    my ($text, $line) = @_;
    my %labels;
    while ($text =~ /\G([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(,(?=[a-z])|\z)/gc) {
        my ($name, $value) = ($1, $2);
        die "label twice: $line\n" if exists $labels{$name};
        $value =~ s/\\(.)/$1 eq 'n' ? "\n" : $1/ge;
        $labels{$name} = $value;
    }
    die "labels: $line\n" if (pos($text) // 0) != length $text;
    return \%labels;
}

# Of an OpenMetrics family, or of the older format, where a counter's family
# has the name of its sample and there is no unit.
sub parse {
    my ($text, $is_openmetrics) = @_;
    if ($is_openmetrics) {
        $text =~ s/^# EOF\n\z//m or die "no # EOF at the end\n";
    }
    die "an empty line, or no line break at the end\n"
        if $text !~ /\A(?:[^\n]+\n)+\z/;
    my (%series, %families, $family);
    for my $line (split /\n/, $text) {
        if ($line =~ /^# TYPE (\S+) (gauge|counter|info|histogram)$/) {
            die "family twice: $line\n" if $families{$1};
            $family = $families{$1} = {name => $1, type => $2, count => 0};
        }
        elsif ($line =~ /^# UNIT (\S+) (\S+)$/) {
            my ($name, $unit) = ($1, $2);
            die "unit: $line\n"
                if !$is_openmetrics || !$family || $name ne $family->{name}
                || $family->{unit} || $family->{help} || $name !~ /_\Q$unit\E$/;
            $family->{unit} = $unit;
        }
        elsif ($line =~ /^# HELP (\S+) (\S.*)$/) {
            die "help: $line\n"
                if !$family || $1 ne $family->{name} || $family->{help};
            $family->{help} = $2;
        }
        elsif ($line =~ /^([a-z_]+)(?:\{(.+)\})? (\d+(?:\.\d+)?)$/) {
            my ($name, $labels, $value) =
                ($1, parse_labels($2 // '', $line), $3);
            die "no family: $line\n" if !$family || !$family->{help};
            my $base = $family->{name};
            my @suffixes = @{$SUFFIXES{$family->{type}}};
            @suffixes = ('') if !$is_openmetrics && $family->{type} eq 'counter';
            my ($suffix) = grep { $name eq "$base$_" } @suffixes;
            die "not of family $base: $line\n" if !defined $suffix;
            die "without _total: $line\n"
                if $family->{type} eq 'counter' && $name !~ /_total$/;
            my $key = series($name, $labels);
            die "series twice: $line\n" if exists $series{$key};
            $series{$key} = $value;
            $family->{count}++;
            add_to_histogram($family, $suffix, $labels, $value)
                if $family->{type} eq 'histogram';
        }
        else {
            die "line: $line\n";
        }
    }
    for my $each (values %families) {
        die "no sample: $each->{name}\n" if !$each->{count};
        die "unit missing: $each->{name}\n"
            if $is_openmetrics && $each->{name} =~ /_(?:seconds|bytes)$/
            && !$each->{unit};
        check_histogram($each, $_) for values %{$each->{histograms}};
    }
    return (\%series, \%families);
}

sub series {
    my ($name, $labels) = @_;
    return "$name\{"
        . join(',', map { "$_=$labels->{$_}" } sort keys %$labels) . '}';
}

sub add_to_histogram {
    my ($family, $suffix, $labels, $value) = @_;
    my %rest = %$labels;
    my $le   = delete $rest{le};
    my $part = $family->{histograms}{series('', \%rest)} //= {};
    die "$family->{name}: le\n" if defined $le != ($suffix eq '_bucket');
    if ($suffix eq '_bucket') {
        push @{$part->{buckets}}, [$le, $value];
    }
    else {
        $part->{$suffix} = $value;
    }
    return;
}

sub check_histogram {
    my ($family, $part) = @_;
    my ($bound, $count) = (-1, 0);
    for my $bucket (@{$part->{buckets}}) {
        my ($le, $value) = @$bucket;
        die "$family->{name}: bounds are not in order\n"
            if $bound eq '+Inf' || $le ne '+Inf' && $le <= $bound;
        die "$family->{name}: buckets are not cumulative\n" if $value < $count;
        ($bound, $count) = ($le, $value);
    }
    die "$family->{name}: no +Inf\n"      if $bound ne '+Inf';
    die "$family->{name}: count\n"        if $part->{_count} != $count;
    die "$family->{name}: no sum\n"       if !defined $part->{_sum};
    die "$family->{name}: sum without values\n"
        if $part->{_sum} > 0 && $count == 0;
    return;
}

sub scrape {
    my ($series) = parse(
        $server->get('/connpool-status?format=openmetrics')->{content}, 1);
    return $series;
}

# ---------------------------------------------------------------------------

subtest 'the parser of this test' => sub {
    my $head = "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n"
        . "# HELP a_seconds A.\n";
    my $good = $head . "a_seconds_bucket{le=\"1.0\"} 1\n"
        . "a_seconds_bucket{le=\"+Inf\"} 2\na_seconds_count 2\n"
        . "a_seconds_sum 3.000000\n# EOF\n";
    ok(eval { parse($good, 1) }, 'accepts what is right') or diag $@;
    my %bad = (
        'no end'            => [qr/# EOF\n/,             ''],
        'more behind it'    => [qr/# EOF\n/,             "# EOF\nb 1\n"],
        'an empty line'     => [qr/# EOF/,               "\n# EOF"],
        'a wrong count'     => [qr/_count 2/,            '_count 1'],
        'falling buckets'   => [qr/"\} 1/,               '"} 3'],
        'no unit'           => [qr/# UNIT.*\n/,          ''],
        'no +Inf'           => [qr/.*Inf.*\n/,           ''],
        'a bare quote'      => [qr/"1\.0"/,              '"1"0"'],
        'a bare backslash'  => [qr/"1\.0"/,              '"1\\0"'],
        'a foreign sample'  => [qr/_sum/,                '_total'],
        'a family twice'    => [qr/# EOF/,               "$head# EOF"],
        'no number'         => [qr/3\.000000/,           'x'],
        'a negative number' => [qr/3\.000000/,           '-1'],
    );
    for my $what (sort keys %bad) {
        my ($from, $to) = @{$bad{$what}};
        my $text = $good =~ s/$from/$to/r;
        isnt($text, $good, "$what is another text");
        ok(!eval { parse($text, 1) }, 'and refused');
    }
};

subtest 'formats' => sub {
    my $type = sub {
        my ($accept, $query) = @_;
        return $server->get('/connpool-status' . ($query // ''),
            headers => {Accept => $accept})->{headers}{'content-type'};
    };
    my $open = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
    my $text = 'text/plain; version=0.0.4; charset=utf-8';
    is($type->('*/*', '?format=openmetrics'), $open, 'by name');
    is($type->('*/*', '?format=text'),        $text, 'the older one');
    is($type->('application/openmetrics-text;version=1.0.0,'
            . 'application/openmetrics-text;version=0.0.1;q=0.75,'
            . 'text/plain;version=0.0.4;q=0.5,*/*;q=0.1'),
        $open, 'as Prometheus asks');
    is($type->('text/plain;version=0.0.4;q=0.5,*/*;q=0.1'),
        $text, 'as an older Prometheus asks');
    is($type->('text/html,*/*'), 'text/html; charset=utf-8', 'a browser');
    is($type->('text/plain', '?format=openmetrics'), $open,
        'the query string decides');
    my $answer = $server->get('/connpool-status?format=openmetrics');
    is($answer->{status}, 200, 'answered');
    is($answer->{headers}{'cache-control'}, 'no-store', 'not cached');
    is($answer->{headers}{'content-length'}, length $answer->{content},
        'with its length');
    is($server->head('/connpool-status?format=openmetrics')->{content}, '',
        'HEAD');
    like(
        $server->get('/connpool-status', headers => {Accept => 'text/plain'})
            ->{headers}{vary},
        qr/Accept/, 'caches are told'
    );
    is($server->get('/connpool-status?format=prometheus')->{status}, 400,
        'no other name');
};

# ---------------------------------------------------------------------------

my %asked = (by_id => 0, missing => 0, text => 0, broken => 0);

subtest 'equal to what is counted from outside' => sub {
    my %paths = (
        by_id   => ['/by-id?id=5', 200],
        missing => ['/missing',    503],
        text    => ['/text',       200],
        broken  => ['/broken',     503],
    );
    my @counts = parallel(
        4,
        sub {
            my %count;
            for my $i (1 .. 40) {
                for my $name (sort keys %paths) {
                    next if $name eq 'missing' && $i % 10;
                    my ($path, $status) = @{$paths{$name}};
                    $count{$name}++ if $server->get($path)->{status} == $status;
                }
            }
            return \%count;
        }
    );
    for my $count (@counts) {
        $asked{$_} += $count->{$_} for keys %$count;
    }
    is_deeply(\%asked,
        {by_id => 160, missing => 16, text => 160, broken => 160},
        'the answers that were expected');
    $server->is_at_rest;
    my $series = scrape();
    my %lines;
    for my $line (split /\n/, $server->access_log) {
        my ($name) = $line =~ m{ GET /(by-id|missing|text|broken)\b} or next;
        $lines{$name =~ tr/-/_/r}++;
    }
    is_deeply(\%lines, \%asked, 'as many lines in the access log');
    for my $query (qw(by_id missing)) {
        my $times = $query eq 'missing' ? 'failed_seconds' : 'seconds';
        is($series->{"connpool_query_${times}_count{query=$query}"},
            $asked{$query}, "query $query");
        my $errors = 0;
        $errors += $series->{$_}
            for grep { /^connpool_query_errors_total\{.*query=$query[,}]/ }
            keys %$series;
        is($errors, $query eq 'missing' ? 16 : 0, 'its errors, by class');
    }
    is($series->{'connpool_query_rows_total{query=by_id}'}, 160, 'rows');
    for my $name (qw(text broken)) {
        my $class = $name eq 'text' ? '2xx' : '5xx';
        is(
            $series->{"connpool_http_requests_total{code_class=$class,pool=$name}"},
            $asked{$name}, "upstream $name"
        );
        is($series->{"connpool_http_seconds_count{pool=$name}"},
            $asked{$name}, 'and its times');
    }
    my $stats  = $upstream->stats;
    my $reused = $series->{'connpool_http_reused_total{pool=text}'}
        + $series->{'connpool_http_reused_total{pool=broken}'};
    is($stats->{requests}, 320, 'requests that the upstream saw');
    is($stats->{connections}, 320 - $reused,
        "it accepted $stats->{connections} connections, the others were reused");
    is($series->{'connpool_http_bytes_total{dir=in,pool=text}'}, 40 * 160,
        'bytes of bodies');
    is($series->{'connpool_request_seconds_count{}'}, 160 + 160, 'requests that were served');
    is($series->{'connpool_request_failed_seconds_count{}'}, 16 + 160, 'and those that failed');
    is($series->{'connpool_acquired_total{pool=events}'}
            + $series->{'connpool_fallbacks_total{pool=events}'},
        176, 'a connection for each query');
    is($series->{'connpool_children{}'}, scalar(my @all = $server->children),
        'children');
};

# The children's view, counted by this test.
sub descriptors {
    my ($target) = @_;
    my %count;
    for my $pid ($server->children) {
        $count{$pid} =
            grep { !defined $target || $_ eq $target }
            values %{$server->fds($pid)};
    }
    return \%count;
}

subtest 'equal to what /proc shows' => sub {
    my ($seen, $real);
    my $is_equal = await(
        sub {
            $real = descriptors();
            $seen = {map { $_->{pid} => $_->{descriptors} }
                    @{$server->status_json->{processes}}};
            return keys %$seen == keys %$real
                && !grep { abs($seen->{$_} - ($real->{$_} // -9)) > 1 }
                keys %$seen;
        },
        5
    );
    ok($is_equal, 'open descriptors of each child')
        or diag explain [$seen, $real];
    my ($all, $sum) = (0, 0);
    $all += $_ for values %$seen;
    ok(
        await(
            sub { abs(scrape()->{'connpool_descriptors{}'} - $all) <= 4 }, 5
        ),
        'and of all together'
    );
    $sum += $_ for values %{descriptors($server->dir('db/events.db'))};
    my $series = scrape();
    my $open   = 0;
    $open += $series->{"connpool_connections{kind=sqlite,pool=events,state=$_}"}
        for qw(busy idle one_shot passing);
    is($open, $sum, "$sum descriptors of the database's file, as many are open");
    cmp_ok($sum, '>', 0, 'some');
    ok(
        await(
            sub {
                my $rss = 0;
                $rss += $server->rss($_) for $server->children;
                return abs(scrape()->{'connpool_resident_bytes{}'} - $rss)
                    < 0.05 * $rss;
            },
            5
        ),
        'resident memory'
    );
};

# ---------------------------------------------------------------------------

# Every number of the JSON that has a series: name => value.
sub expected_series {
    my ($report) = @_;
    my %expected;
    my $put = sub {
        my ($name, $value, %labels) = @_;
        delete $labels{$_} for grep { !defined $labels{$_} } keys %labels;
        $expected{series($name, \%labels)} = $value;
        return;
    };
    my $spread = sub {
        my ($name, $spread, @labels) = @_;
        $put->("${name}_count", $spread->{count}, @labels);
        $put->("${name}_sum", sprintf('%.6f', $spread->{sum} / 1e6), @labels);
        return;
    };
    for my $pool (@{$report->{pools}}) {
        my @labels = (pool => $pool->{name}, server => $pool->{server});
        # States of which the sum is what is open.
        my %in = (busy => $pool->{busy}, idle => $pool->{idle}, one_shot => $pool->{one_shots});
        $in{passing} = $pool->{open} - $in{busy} - $in{idle} - $in{one_shot};
        $put->('connpool_connections', $in{$_}, @labels, kind => $pool->{kind}, state => $_)
            for keys %in;
        $put->('connpool_connections_reachable', $pool->{reachable}, @labels,
            kind => $pool->{kind});
        $put->('connpool_utilisation_ratio', sprintf('%.6f', $pool->{busy_percent} / 100),
            @labels, kind => $pool->{kind});
        $put->('connpool_connections_peak', $pool->{open_max}, @labels);
        $put->('connpool_busy_peak', $pool->{busy_max}, @labels);
        $put->('connpool_connections_max', $pool->{max}, @labels,
            kind => $pool->{kind});
        $put->('connpool_waiters',      $pool->{waiting},     @labels);
        $put->('connpool_waiters_peak', $pool->{waiting_max}, @labels);
        my %counters = (
            acquired => 'acquired', released => 'released',
            abandoned => 'abandoned', acquire_timeouts => 'timeouts',
            rejected => 'rejected', fallbacks => 'fallbacks',
            created => 'created', leaks_suspected => 'leaks_suspected',
        );
        $put->("connpool_${_}_total", $pool->{$counters{$_}}, @labels)
            for keys %counters;
        $put->('connpool_closed_total', $pool->{closed}{$_}, @labels,
            reason => $_)
            for keys %{$pool->{closed}};
        $put->('connpool_groups_total', $pool->{groups}{$_}, @labels,
            size => $_)
            for keys %{$pool->{groups}};
        $put->('connpool_create_failures_total', $pool->{failures}{$_},
            @labels, class => $_)
            for keys %{$pool->{failures}};
        $put->('connpool_memory_bytes', $pool->{"${_}_bytes"}, @labels,
            part => $_ eq 'statement' ? 'statements' : $_)
            for qw(cache schema statement);
        $put->('connpool_wal_bytes', $pool->{wal_bytes}, @labels);
        $put->('connpool_oldest_waiter_seconds',
            sprintf('%.6f', $pool->{oldest_wait_us} / 1e6), @labels);
        $spread->("connpool_${_}_seconds", $pool->{"${_}_us"}, @labels)
            for qw(acquire refused hold create);
    }
    for my $query (@{$report->{queries}}) {
        my @labels = (query => $query->{name}, server => $query->{server});
        $put->('connpool_query_rows_total', $query->{rows}, @labels);
        $put->('connpool_query_retries_total', $query->{retries}, @labels);
        $put->('connpool_query_slow_total', $query->{slow}, @labels);
        $put->('connpool_query_misfits_total', $query->{misfits}, @labels);
        $put->('connpool_query_forbidden_total', $query->{forbidden}, @labels);
        $put->('connpool_query_grouped_total', $query->{grouped}, @labels);
        $put->('connpool_query_errors_total', $query->{failures}{$_}, @labels,
            class => $_)
            for keys %{$query->{failures}};
        $spread->('connpool_query_seconds', $query->{us}, @labels);
        $spread->('connpool_query_failed_seconds', $query->{failed_us}, @labels);
        next;    # nothing of it is kept or shared
        my $cache = $query->{cache};
        my %results = (hit => 'hits', miss => 'misses', stale => 'stale');
        $put->('connpool_cache_lookups_total', $cache->{$results{$_}}, @labels, result => $_)
            for keys %results;
        $put->('connpool_cache_stores_total',    $cache->{stores},    @labels);
        $put->('connpool_cache_bypassed_total',  $cache->{bypassed},  @labels);
        $put->('connpool_query_coalesced_total', $cache->{coalesced}, @labels);
    }
    for my $up (@{$report->{upstreams}}) {
        my @labels = (pool => $up->{name}, server => $up->{server});
        $put->('connpool_http_requests_total', $up->{statuses}{$_}, @labels,
            code_class => $_)
            for keys %{$up->{statuses}};
        $put->("connpool_http_${_}_total", $up->{$_}, @labels)
            for qw(errors reused retries rate_refused coalesced breaker_opened breaker_refused);
        $put->('connpool_http_breaker_state', $up->{breaker} eq $_ ? 1 : 0, @labels, state => $_)
            for qw(closed half-open open);
        $put->('connpool_http_tls_handshakes_total', $up->{handshakes},
            @labels);
        $put->('connpool_http_bytes_total', $up->{bytes}, @labels,
            dir => 'in');
        $put->('connpool_http_bytes_total', $up->{sent}, @labels,
            dir => 'out');
        $put->('connpool_http_failovers_total', $up->{failovers}, @labels);
        $spread->('connpool_http_seconds', $up->{us}, @labels);
        $spread->('connpool_http_failed_seconds', $up->{failed_us}, @labels);
        $spread->('connpool_http_phase_seconds', $up->{"${_}_us"}, @labels,
            phase => $_)
            for qw(queue lookup connect tls first_byte);
    }
    my @states = (
        (map { ['pool', $_] } @{$report->{pools}}),
        (map { ['query', $_] } @{$report->{queries}}),
        (map { ['upstream', $_] } @{$report->{upstreams}}),
    );
    # Of these there are no lines: what is not among the causes is well.
    for my $kind (qw(memory), ($server->mpm eq 'prefork' ? () : 'event_loop')) {
        my ($cause) = grep { $_->{kind} eq $kind } @{$report->{causes}};
        push @states, [$kind, $cause // {name => $kind, state => 'ok'}];
    }
    for my $line (@states) {
        my ($kind, $of) = @$line;
        my $is = $of->{state} eq 'off' ? 'ok' : $of->{state};
        $put->('connpool_state', $_ eq $is ? 1 : 0, name => $of->{name},
            server => $of->{server}, kind => $kind, state => $_)
            for qw(ok degraded down);
    }
    my $loop = $report->{event_loop};
    $put->('connpool_loops', $loop->{loops});
    $put->("connpool_loop_$_", $loop->{$_}) for qw(in_flight);
    $put->("connpool_loop_${_}_total", $loop->{$_})
        for qw(restarts inline_runs iterations);
    $put->('connpool_loop_lag_seconds', sprintf '%.6f', $loop->{lag_us} / 1e6);
    my $batch = $report->{batch};
    $put->("connpool_batch_${_}_total", $batch->{$_})
        for qw(requests items transactions undone overlapped sequential pipelined);
    $put->('connpool_batch_item_errors_total', $batch->{errors});
    my $cache = $report->{cache};
    $put->("connpool_cache_${_}_total", $cache->{$_})
        for qw(failures timeouts skipped dropped too_large evictions);
    $put->("connpool_cache_$_", $cache->{$_}) for qw(entries bytes);
    $put->('connpool_children', $report->{children});
    $put->('connpool_build_info', 1, version => $report->{version});
    $put->("connpool_memory_${_}_total", $report->{"memory_$_"})
        for qw(shrunk refused);
    $put->('connpool_rate_refused_total', $report->{rate_refused});
    $put->('connpool_memory_bound_bytes', $report->{memory}{bound});
    $put->('connpool_memory_used_bytes',  $report->{memory}{used});
    $spread->('connpool_request_seconds', $report->{request_us});
    $spread->('connpool_request_failed_seconds', $report->{request_failed_us});
    my ($rss, $peak, $descriptors) = (0, 0, 0);
    for my $process (@{$report->{processes}}) {
        $rss         += $process->{rss_bytes};
        $descriptors += $process->{descriptors};
        $peak = $process->{rss_max_bytes} if $process->{rss_max_bytes} > $peak;
    }
    $put->('connpool_resident_bytes',      $rss);
    $put->('connpool_resident_peak_bytes', $peak);
    $put->('connpool_descriptors',         $descriptors);
    return \%expected;
}

subtest 'equal to the JSON' => sub {
    $server->is_at_rest;
    my (@wrong, $last);
    # What is measured once a second may change between two looks.
    await(
        sub {
            my $before = expected_series($server->status_json);
            my ($series) = parse(
                $server->get('/connpool-status?format=openmetrics')
                    ->{content}, 1);
            my $after = expected_series($server->status_json);
            @wrong = ();
            for my $name (sort keys %$after) {
                my $value = delete $series->{$name} // 'none';
                push @wrong, "$name: $value, not $after->{$name}"
                    if $value ne $before->{$name}
                    && $value ne $after->{$name};
            }
            push @wrong, map { "$_: not in the JSON" }
                grep { !/_bucket\{/ } sort keys %$series;
            return !@wrong;
        },
        5
    );
    is_deeply(\@wrong, [], 'every series, and no other');

    my ($open) = parse(
        $server->get('/connpool-status?format=openmetrics')->{content}, 1);
    my ($text) = parse($server->get('/connpool-status?format=text')->{content});
    is_deeply([sort keys %$text], [sort keys %$open],
        'the older format has the same series');
    my $count = 'connpool_query_seconds_count{query=by_id}';
    is($text->{$count}, $open->{$count}, 'with the same values');
};

subtest 'labels' => sub {
    my $text = $server->get('/connpool-status?format=openmetrics')->{content};
    my $name = "quo\"te\\back<slash>:$vhost_port";
    like($text, qr/server="quo\\"te\\\\back<slash>:$vhost_port"/,
        'quotes and backslashes are escaped');
    my $series = scrape();
    for my $server ($name, "$name#2") {
        is(
            $series->{
                "connpool_connections_max{kind=sqlite,pool=events,server=$server}"
            },
            10, "server $server is told from others"
        );
    }
    is($server->get('/own')->{status}, 404, 'another server');
    # Requests cannot make series: not by paths, hosts, parameters, agents.
    my $before = join "\n", sort keys %$series;
    $server->get('/by-id?id=1&canary=1');
    $server->get('/by-id?id=canary', headers => {'User-Agent' => 'canary'});
    $server->get('/text/canary?canary');
    $server->request('CANARY', '/by-id?id=1');
    is(join("\n", sort keys %{scrape()}), $before, 'requests make no series');
    unlike($server->get('/connpool-status?format=openmetrics')->{content},
        qr/canary|SELECT|sqlite:|\.db/, 'no SQL, no path');
};

# ---------------------------------------------------------------------------

# Debian's package, or what make check has unpacked of it.
sub tool {
    my ($name) = @_;
    my $build = $ENV{CONNPOOL_BUILD} // root_dir() . '/build';
    my ($path) = grep { -x } "$build/tools/usr/bin/$name",
        map { "$_/$name" } split /:/, $ENV{PATH};
    return $path;
}

subtest 'promtool' => sub {
    my $promtool = tool('promtool')
        or plan skip_all => 'promtool is not installed';
    my $file = $server->write_file('run/metrics',
        $server->get('/connpool-status?format=text')->{content});
    my $check = sub {
        return command('sh', '-c', 'exec "$0" check metrics <"$1"', $promtool,
            $_[0]);
    };
    my ($exit, $text) = $check->($file);
    is($exit, 0,  'accepts the older format');
    is($text, '', 'and has nothing to remark');
    my $bad = $server->write_file('run/bad', "# TYPE x counter\nx 1\n");
    ($exit, $text) = $check->($bad);
    isnt($exit, 0, 'as it would have');
};

subtest 'Prometheus' => sub {
    my $prometheus = tool('prometheus')
        or plan skip_all => 'prometheus is not installed';
    my $port   = free_port();
    my $target = '127.0.0.1:' . $server->port;
    my $config = $server->write_file('run/prometheus.yml', <<"YAML");
global:
  scrape_interval: 250ms
  scrape_timeout: 250ms
scrape_configs:
  - job_name: connpool
    metrics_path: /connpool-status
    static_configs:
      - targets: ['$target']
YAML
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open(STDIN,  '<', '/dev/null');
        open(STDOUT, '>', $server->dir('run/prometheus.log'));
        open(STDERR, '>&', \*STDOUT);
        my @argv = (
            $prometheus, "--config.file=$config",
            "--web.listen-address=127.0.0.1:$port",
            '--storage.tsdb.path=' . $server->dir('run/tsdb')
        );
        unshift @argv, qw(setpriv --pdeathsig KILL) if -x '/usr/bin/setpriv';
        exec(@argv) or POSIX::_exit(127);
    }
    my $client = HTTP::Tiny->new(timeout => 5);
    my $ask    = sub {
        my $answer = $client->get("http://127.0.0.1:$port/api/v1/query?"
                . $client->www_form_urlencode({query => $_[0]}));
        my $value = eval { JSON::PP->new->decode($answer->{content}) };
        return $value && $value->{data}{result};
    };
    my $more = 7;
    $server->get('/by-id?id=2') for 1 .. $more;
    my $known  = scrape()->{'connpool_query_seconds_count{query=by_id}'};
    my $result = await(
        sub {
            my $found = $ask->('connpool_query_seconds_count{query="by_id"}');
            return $found && @$found && $found->[0]{value}[1] == $known
                && $found;
        },
        15,
        'the number in Prometheus'
    );
    ok($result, "knows of the $known requests");
    is(($ask->('up{job="connpool"}') // [])->[0]{value}[1], 1,
        'takes the target as up');
    my $quantile = $ask->('histogram_quantile(0.99, sum by (le) '
            . '(connpool_query_seconds_bucket{query="by_id"}))');
    cmp_ok($quantile->[0]{value}[1], '>', 0, 'computes quantiles');
    my $server_names =
        $ask->('connpool_connections_max{server=~".*back.*"}') // [];
    is_deeply(
        [sort map { $_->{metric}{server} } @$server_names],
        [map { "quo\"te\\back<slash>:$vhost_port$_" } '', '#2'],
        'reads escaped labels'
    );
    kill 'TERM', $pid;
    ok(await(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 10), 'ended')
        or kill('KILL', $pid) && waitpid $pid, 0;
};

# ---------------------------------------------------------------------------

# Fifty scrapes a second until told to stop; judged afterwards, one against the
# one before.
sub watch {
    my ($flag) = @_;
    my ($cut, @reports, @wrong) = (0);
    my $began = time;
    my $next  = $began;
    while (!-e $flag) {
        $next += 0.02;
        my $answer = $server->raw("GET /connpool-status?format=openmetrics "
                . "HTTP/1.0\r\n\r\n", 5);
        my $parsed = ConnPoolTest::parse_response($answer);
        # Its child was killed before it had answered.
        if ($parsed->{status} == 0 || length($parsed->{content})
            < ($parsed->{headers}{'content-length'} // 0))
        {
            $cut++;
        }
        else {
            push @reports, $parsed;
        }
        my $pause = $next - time;
        sleep $pause if $pause > 0;
    }
    my $seconds = time - $began;
    my $last    = {};
    for my $report (@reports) {
        my ($series) = eval { parse($report->{content}, 1) };
        if (!$series) {
            push @wrong, "$report->{status}: $@";
            next;
        }
        for my $name (grep { /^\w+_(?:total|count|bucket|sum)\{/ } keys %$last) {
            my $now = $series->{$name} // -1;
            push @wrong, "$name: $last->{$name}, then $now"
                if $now < $last->{$name};
        }
        $last = $series;
    }
    return {
        reports => scalar @reports,
        cut     => $cut,
        wrong   => [@wrong > 9 ? @wrong[0 .. 9] : @wrong],
        rate    => @reports / $seconds,
    };
}

subtest 'scraped while children are killed and replaced' => sub {
    my $flag = $server->dir('run/enough');
    my $pid  = open(my $pipe, '-|') // die "fork: $!";
    if (!$pid) {
        my $seen = eval { watch($flag) } // {wrong => ["$@"]};
        print STDOUT JSON::PP->new->encode($seen);
        close STDOUT;
        POSIX::_exit(0);
    }
    my $load = ConnPoolLoad->start(
        $server,
        clients => 2,
        request => sub {
            my ($client, $i) = @_;
            return $i % 3
                ? {name => 'by_id', path => '/by-id?id=7', expect => qr/title 7/}
                : {name => 'text', path => '/text', expect => qr/^.{40}\z/s};
        }
    );
    my $kills = 5;
    my $more  = sub {
        my $start = scrape_count();
        my $until = time + 0.6;
        await(
            sub { time > $until && scrape_count() > $start + 20 }, 10,
            'the load goes on'
        );
    };
    for my $round (1 .. $kills) {
        $more->();
        my ($victim) = $server->children;
        $server->kill_child('KILL', $victim);
        ok(
            await(
                sub { !grep { $_ == $victim } $server->children }, 10
            ),
            "child $round is gone"
        );
        if ($round % 2) {
            await(sub { $server->children >= 4 }, 10);
            ok($server->graceful(gone => 1), 'a graceful restart');
        }
    }
    $more->();
    $server->write_file('run/enough', '');
    my $result = $load->finish;
    my $text   = do { local $/ = undef; <$pipe> };
    close $pipe;
    my $seen = JSON::PP->new->decode($text);
    is_deeply($seen->{wrong}, [],
        sprintf 'each of %d answers is valid and no total fell (%.0f a second)',
        $seen->{reports}, $seen->{rate});
    cmp_ok($seen->{reports}, '>', 150, 'enough of them');
    cmp_ok($seen->{cut}, '<=', $kills, 'only killed children cut answers');
    $server->is_at_rest;
    my $series = scrape();
    cmp_ok($series->{'connpool_closed_total{pool=events,reason=killed}'},
        '>=', 1, 'killed connections are known');
    cmp_ok($series->{'connpool_query_seconds_count{query=by_id}'},
        '>=', $asked{by_id} + $result->{good}{by_id}, 'nothing is forgotten');
    $server->allow_log(qr/AH00052|AH10159|AH00287|AH1039[23]|AH00288/);
};

# Of the queries; 0 when the child that was asked is killed meanwhile.
sub scrape_count {
    my $text = $server->get('/connpool-status?format=text')->{content};
    return $text =~ /^connpool_query_seconds_count\{query="by_id"\} (\d+)/m
        ? $1
        : 0;
}

$server->done;
done_testing;
