#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What is shipped for monitoring works: a server that is broken in several ways
# is scraped, and Prometheus' own tool says which alerts that wakes; every metric
# that the rules, the board and the manual name is in those scrapes.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await build_dir command free_port root_dir);
use ConnPoolUpstream;
use HTTP::Tiny ();
use IO::Select ();
use JSON::PP   ();
use POSIX      ();
use Test::More;

my $RULES = root_dir() . '/conf/monitoring/connpool-rules.yml';
my $BOARD = root_dir() . '/conf/monitoring/connpool-board.json';

# Debian's package, or what make check has unpacked of it.
sub tool {
    my ($name) = @_;
    my ($path) = grep { -x } build_dir() . "/tools/usr/bin/$name",
        map { "$_/$name" } split /:/, $ENV{PATH};
    return $path;
}

sub slurp {
    local ($/, @ARGV) = (undef, @_);
    return join '', <>;
}

my $promtool = tool('promtool');
my ($shut, $reserved) = free_port();
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    threads => 16,
    vars     => {SHUT => $shut, UPSTREAM => $upstream->port},
    load     => {cptest_module => 't/mod_cptest.so'},
    conf     => <<'CONF',
ConnPoolServerStatus Full
ConnPoolDatabase fine sqlite:@DIR@/db/fine.db
ConnPoolQuery good fine "SELECT a FROM t"
ConnPoolQuery kept fine "SELECT a FROM t" ttl=data
ConnPoolQuery broken fine "SELECT a FROM later"
ConnPoolDatabase gone sqlite:@DIR@/db/gone.db min=1
ConnPoolQuery lost gone "SELECT a FROM t"
ConnPoolDatabase tight sqlite:@DIR@/db/fine.db max=1 overflow=reject acquire=20ms leak=1s min=1
ConnPoolQuery refused tight "SELECT a FROM t"
ConnPoolDatabase spill sqlite:@DIR@/db/fine.db max=1 overflow=direct overflow-max=3 acquire=20ms leak=1s min=1
ConnPoolQuery spilled spill "SELECT a FROM t"
ConnPoolUpstream well http://127.0.0.1:@UPSTREAM@/text
ConnPoolUpstream shut http://127.0.0.1:@SHUT@/ retry=0
ConnPoolUpstream sick http://127.0.0.1:@UPSTREAM@/status/500 retry=0
<Location "/do">
SetHandler cptest
</Location>
CONF
);
my @QUERIES = qw(good kept broken lost refused spilled);
my @FETCHES = qw(well shut sick);
$server->conf($server->conf . join '', map {
    my $handler = $_;
    map { "<Location \"/$_\">\nSetHandler connpool-$handler\nConnPoolServe $_\n</Location>\n" }
        $handler eq 'query' ? @QUERIES : @FETCHES;
} qw(query fetch));
$server->make_sqlite('fine', 'CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE TABLE later(a);');
$server->make_sqlite('gone', 'CREATE TABLE t(a)');
$server->allow_log(qr/'(?:gone|tight|spill|shut|sick|broken|lost|refused|spilled)'|gone\.db|ConnPoolQuery broken/);
$server->start;

# ---------------------------------------------------------------------------
# Scrapes: as Prometheus would have them, one a minute.

my (%series, @up);

sub scrape {
    my $answer = $server->get('/connpool-status?format=openmetrics', timeout => 5);
    my $number = push @up, $answer->{status} == 200 ? 1 : 0;
    for my $line (split /\n/, $up[-1] ? $answer->{content} : '') {
        my ($name, $labels, $value) = $line =~ /^(\w+)(?:\{(.*)\})? (\S+)$/ or next;
        my $all = join ',', $labels // (), 'instance="here:80"', 'job="connpool"';
        $series{"$name\{$all}"}[$number - 1] = $value;
    }
    return;
}

sub ask_all {
    my (@names) = @_;
    $server->get("/$_", timeout => 10) for @names;
    return;
}

sub hold {
    my ($pool) = @_;
    my $client = $server->connect or die 'no connection';
    print {$client} "GET /do/hold?acquire=a:$pool:read&await=" . $server->dir('run/enough') . " HTTP/1.0\r\n\r\n";
    return $client;
}

sub line_of {
    my ($list, $name) = @_;
    my ($line) = grep { $_->{name} eq $name } @{$server->status_json->{$list}};
    return $line;
}

# Its one connection is busy from now on.
my @clients;

sub fill {
    my ($pool) = @_;
    push @clients, hold($pool);
    return await(sub { $server->pool($pool)->{busy_percent} == 100 }, 20);
}

subtest 'a server is well, and then it is not' => sub {
    my @well = qw(good kept broken lost refused spilled well sick);
    ask_all(grep { $_ ne 'sick' } @well) for 1 .. 3;
    ok(await(sub { $server->status_json->{state} eq 'ok' }, 20), 'it is well');
    for (1 .. 3) {
        ask_all(qw(good kept lost refused spilled well));
        scrape();
    }

    # A table is lost, a file, an upstream; pools are exhausted.
    $server->sqlite('fine', 'DROP TABLE later');
    my $path = $server->dir('db/gone.db');
    rename $_, "$_.away" for grep { -e } map { "$path$_" } '', '-wal', '-shm';
    ask_all(@QUERIES, @FETCHES);
    ok(fill($_), "all of $_ are busy") for qw(tight spill);
    ok(await(sub { $server->pool('gone')->{state} eq 'down' }, 20), 'one is down');
    for my $name (qw(tight spill)) {
        ok(await(sub { $server->pool($name)->{leaks_suspected} >= 1 }, 20), "$name is held for long");
    }
    for my $i (1 .. 10) {
        ask_all(@QUERIES, @FETCHES, qw(refused refused shut));
        if ($i == 1) {
            my %wrong = (shut => 'upstreams', broken => 'queries', spill => 'pools');
            for my $name (sort keys %wrong) {
                ok(await(sub { line_of($wrong{$name}, $name)->{state} eq 'degraded' }, 20), "$name is degraded");
            }
        }
        ok(await(sub { ask_all('refused'); $server->pool('tight')->{state} eq 'down' }, 20), 'tight refuses')
            if $i == 1;
        if ($i == 3) {
            my ($child) = $server->children;
            $server->kill_child('KILL', $child);
            ok(await(sub { !grep { $_ == $child } $server->children }, 10), 'a child is killed');
            ok(await(sub { $server->children == 1 && $server->connect }, 20), 'and replaced');
            ok(fill($_), "all of $_ are busy again") for qw(tight spill);
        }
        scrape();
    }
    is(sum_of(@up), 13, 'thirteen scrapes');
    is_deeply([grep { grep { !defined } @{$series{$_}}[0 .. 12] } sort keys %series], [],
        'all of which have the same series');
};

sub sum_of {
    my $sum = 0;
    $sum += $_ for @_;
    return $sum;
}

subtest 'prometheus-apache-exporter' => sub {
    my $exporter = tool('prometheus-apache-exporter')
        or plan skip_all => 'prometheus-apache-exporter is not installed';
    my ($port, $socket) = free_port();
    my $log = $server->dir('run/exporter.log');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open(STDIN,  '<', '/dev/null');
        open(STDOUT, '>', $log);
        open(STDERR, '>&', \*STDOUT);
        my @argv = ($exporter, "--telemetry.address=127.0.0.1:$port",
            '--scrape_uri=' . $server->url('/server-status?auto'));
        unshift @argv, qw(setpriv --pdeathsig KILL) if -x '/usr/bin/setpriv';
        exec(@argv) or POSIX::_exit(127);
    }
    my $client = HTTP::Tiny->new(timeout => 5);
    close $socket;    # Go does not share a port
    my $text = await(
        sub {
            my $answer = $client->get("http://127.0.0.1:$port/metrics");
            return $answer->{status} == 200 && $answer->{content};
        },
        15, 'the exporter'
    );
    like($text // '', qr/^apache_up 1$/m, 'takes the server as up, broken as its pools are');
    unlike($text // '', qr/^apache_exporter_scrape_failures_total [^0]/m, 'without a failure');
    like($text // '', qr/^apache_accesses_total [1-9]/m, "and reads httpd's own numbers");
    unlike(slurp($log), qr/level=(?:error|warn)|panic/, 'its log has no error') or diag(slurp($log));
    kill 'TERM', $pid;
    ok(await(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 10), 'ended')
        or kill('KILL', $pid) && waitpid $pid, 0;
};

subtest 'the end' => sub {
    $server->write_file('run/enough', '');
    ok(await(sub { !grep { $_->{busy} } @{$server->status_json->{pools}} }, 20), 'all come back');
    $server->done;
    scrape() for 1 .. 3;
    is_deeply([@up[13 .. 15]], [0, 0, 0], 'three scrapes fail');
    $upstream->stop;
};

# ---------------------------------------------------------------------------

my $FILES  = $server->dir;
my $writer = JSON::PP->new->canonical->pretty;

# What promtool says of tests of these rules (JSON is YAML, too).
sub promtool_tests {
    my ($rules, $alerts, $expressions) = @_;
    my @input = map {
        my $name = $_;
        {series => $name, values => join(' ', map { $series{$name}[$_] // '_' } 0 .. $#up)}
    } sort keys %series;
    push @input, {series => 'up{instance="here:80",job="connpool"}', values => join(' ', @up)};
    my $tests = $server->write_file('run/tests.yml', $writer->encode({
        rule_files          => [$rules],
        evaluation_interval => '30s',
        tests               => [{
            interval         => '1m',
            input_series     => \@input,
            alert_rule_test  => $alerts,
            promql_expr_test => $expressions,
        }],
    }));
    return command($promtool, 'test', 'rules', $tests);
}

# Which alerts fire at that time: a test for it.
sub firing {
    my ($at, @alerts) = @_;
    return {
        expr        => 'sum by (alertname, kind, name, pool, query) (ALERTS{alertstate="firing"})',
        eval_time   => $at,
        exp_samples => [map {
            my ($name, %labels) = @$_;
            my $labels = join ', ', map { "$_=\"$labels{$_}\"" } sort keys %labels;
            {labels => "{alertname=\"Connpool$name\"" . ($labels ? ", $labels" : '') . '}', value => 1}
        } @alerts],
    };
}

subtest 'rules' => sub {
    plan skip_all => 'promtool is not installed' if !$promtool;
    my ($exit, $text) = command($promtool, 'check', 'rules', $RULES);
    is($exit, 0, 'are accepted') or diag($text);
    my @broken = (
        ['Down', kind => 'pool', name => 'gone'],
        ['Down', kind => 'pool', name => 'tight'],
        ['Degraded', kind => 'pool',     name => 'shut'],
        ['Degraded', kind => 'pool',     name => 'spill'],
        ['Degraded', kind => 'query',    name => 'broken'],
        ['Degraded', kind => 'upstream', name => 'shut'],
        ['Refusing',    pool => 'tight'],
        ['NearlyFull', kind => 'sqlite', pool => 'spill'],
        ['NearlyFull', kind => 'sqlite', pool => 'tight'],
        ['FallingBack', pool => 'spill'],
        (map { ['QueriesFailing', query => $_] } qw(broken lost refused)),
        (map { ['FetchesFailing', pool => $_] } qw(shut sick)),
        ['ChildrenKilled'],
        (map { ['Leaking', pool => $_] } qw(spill tight)),
    );
    my @says = {
        eval_time  => '12m',
        alertname  => 'ConnpoolDown',
        exp_alerts => [map { {
            exp_labels => {severity => 'critical', kind => 'pool', name => $_, state => 'down',
                instance => 'here:80', job => 'connpool'},
            exp_annotations => {
                summary     => "pool $_ is down at here:80",
                description => 'It serves nobody, or refuses more than half. /connpool-status and the error log have the cause.',
            },
        } } qw(gone tight)],
    };
    ($exit, $text) = promtool_tests($RULES, \@says,
        [firing('2m'), firing('12m', @broken)]);
    is($exit, 0, 'none fires while all is well, and these when it is not') or diag($text);
    ($exit, $text) = promtool_tests($RULES, [],
        [firing('15m', ['Unreachable'], ['ChildrenKilled'], map { ['Leaking', pool => $_] } qw(spill tight))]);
    like($text, qr/ConnpoolUnreachable/, 'nor is it quiet when there is no answer');
    # This test would notice.
    ($exit, $text) = promtool_tests($RULES, [], [firing('12m', @broken[1 .. $#broken])]);
    isnt($exit, 0, 'one more would be seen');
    ($exit, $text) = promtool_tests($RULES, [], [firing('12m', @broken, ['Refusing', pool => 'fine'])]);
    isnt($exit, 0, 'and one less');
};

# ---------------------------------------------------------------------------

sub expressions_of_rules {
    return map { s/^\s*expr:\s*//r } grep { /^\s*expr:/ } split /\n/, slurp($RULES);
}

my %KNOWN = map { /^(\w+)/ ? ($1 => 1) : () } keys %series;
my %RECORDED = map { /record:\s*(\S+)/ ? ($1 => 1) : () } split /\n/, slurp($RULES);

sub unknown_metrics {
    my (@expressions) = @_;
    my @unknown;
    for my $expression (@expressions) {
        my $bare = $expression =~ s/"(?:[^"\\]|\\.)*"//gr;
        push @unknown, grep { !$KNOWN{$_} && !$RECORDED{$_} } $bare =~ /\bconnpool[\w:]+/g;
    }
    return @unknown;
}

subtest 'all that is named is there' => sub {
    my @rules = expressions_of_rules();
    cmp_ok(scalar @rules, '>=', 20, scalar @rules . ' expressions of rules');
    is_deeply([unknown_metrics(@rules)], [], 'every metric of the rules is in a scrape');
    is_deeply([grep { !/connpool|^up\{/ } @rules], [], 'and all are about one');
    my ($manual) = join('', slurp(root_dir() . '/README.md', glob root_dir() . '/docs/*.md'))
        =~ /\n\| what \| how \|\n\|---\|---\|\n(.*?)\n\n/s;
    my @told = map { /`([^`]+)`/g } grep { /^\| / } split /\n/, $manual // '';
    my @shown = grep { /\(|==|[<>\/]/ } @told;
    cmp_ok(scalar @shown, '>=', 8, scalar @shown . ' expressions of the manual');
    my %is_rule = map { $_ => 1 } @rules;
    is_deeply([grep { !$is_rule{$_} } @shown], [], 'are those of the rules');
};

sub panels {
    my ($panels) = @_;
    return map { ($_, panels($_->{panels} // [])) } @$panels;
}

subtest 'the board' => sub {
    my $board = JSON::PP->new->decode(slurp($BOARD));
    my %variables = map { $_->{name} => $_ } @{$board->{templating}{list}};
    is($variables{datasource}{type}, 'datasource', 'asks which Prometheus');
    is($variables{datasource}{query}, 'prometheus', 'which it is');
    my @panels = grep { $_->{type} ne 'row' } panels($board->{panels});
    my @sources = map { $_->{uid} } grep { ref } map { ($_->{datasource}, map { $_->{datasource} } @{$_->{targets}}) } @panels;
    is_deeply([grep { $_ ne '${datasource}' } @sources], [], 'all panels ask that one');
    my %seen;
    is_deeply([grep { $seen{$_->{id}}++ } panels($board->{panels})], [], 'each has a number of its own');
    is_deeply([grep { $_->{gridPos}{x} + $_->{gridPos}{w} > 24 } @panels], [], 'and a place on the board');
    my @expressions = map { $_->{expr} } map { @{$_->{targets}} } @panels;
    cmp_ok(scalar @expressions, '>=', 25, scalar @expressions . ' expressions');
    is_deeply([unknown_metrics(@expressions, $variables{instance}{definition})], [],
        'every metric is in a scrape');
    SKIP: {
        skip 'promtool is not installed', 1 if !$promtool;
        my @tests = map {
            my $expression = $_ =~ s/\$__rate_interval/5m/gr =~ s/\$instance/.*/gr;
            {expr => "count($expression) >= bool 1", eval_time => '12m',
                exp_samples => [{labels => '{}', value => 1}]}
        } @expressions;
        my ($exit, $text) = promtool_tests($RULES, [], \@tests);
        is($exit, 0, 'and every expression finds something') or diag(substr $text, 0, 3000);
    }
};

done_testing;
