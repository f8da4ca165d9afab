#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The benchmark itself: its clients count the waiting of requests that a server
# keeps from being sent, its figures are what its rounds say, who is not installed is
# named, and a small run gives a report that becomes a chart and a page.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../tests/bench/lib";
use Bench::Contender;
use Bench::Criteria qw(criteria_table);
use Bench::Machine;
use Bench::Number qw(figure percentile);
use Bench::Report qw(noise_sentence);
use Bench::Run;
use ConnPoolTest qw(build_dir command root_dir);
use ConnPoolUpstream;
use File::Copy qw(copy);
use File::Path ();
use File::Temp qw(tempdir);
use JSON::PP   ();
use List::Util qw(sum0);
use Test::More;

plan skip_all => 'what ASan makes slow is not measured' if $ENV{CONNPOOL_ASAN};

my $BENCH = root_dir() . '/tests/bench';
my $JSON  = JSON::PP->new->utf8->canonical;

sub load {
    my ($upstream, $path, @options) = @_;
    my ($exit, $text) = command(build_dir() . '/bench/load', '--port', $upstream->port, '--path', $path, @options);
    is($exit, 0, "load $path @options") or diag($text);
    return $exit ? {} : $JSON->decode($text);
}

sub slower_than {
    my ($result, $us) = @_;
    return sum0(map { $_->[1] } grep { $_->[0] > $us } @{$result->{histogram}});
}

# ---------------------------------------------------------------------------
# The generator of load

# All are served by one process: while one request holds it up, others fall due.
my $STALL    = 0.4;
my $stalls_at;
my $upstream = ConnPoolUpstream->start(routes => {
    '/stall' => sub {
        my ($request) = @_;
        $stalls_at //= $request->{number} + 20;
        select undef, undef, undef, $STALL if $request->{number} == $stalls_at;
        return [send => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], ['keep'];
    },
    '/key' => sub {
        my ($request) = @_;
        my $key = $request->{params}{k};
        return [send => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            . sprintf("%x\r\n<%s>\r\n0\r\n\r\n", length($key) + 2, $key)], ['keep'];
    },
    '/wrong' => sub { return [send => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"], ['keep'] },
});

my $open = load($upstream, '/stall', qw(--rate 200 --seconds 1 --clients 4));
is($open->{requests}, 200, 'at a rate of 200 a second, 200 are asked in one');
cmp_ok(slower_than($open, 100_000), '>=', 40, 'all that fell due in a stall count its time');
cmp_ok($open->{longest_us}, '>=', 0.9e6 * $STALL, 'the longest as long as the stall');

my $keys = load($upstream, '/key?k={key}&l={key+49}', qw(--requests 100 --clients 3 --keys 10:1000 --expect), '<{key}>');
is($keys->{requests}, 100, 'so many requests as were asked for');
is($keys->{wrong},    0,   'each answer has the key that was asked for');
my $wrong = load($upstream, '/wrong', qw(--requests 10 --expect yes));
is($wrong->{wrong}, 10, 'answers that are not what is expected are counted');
is(load($upstream, '/status/503', qw(--requests 5))->{bad_status}, 5, 'so are other statuses');
is(load($upstream, '/last', qw(--requests 5))->{lost}, 0, 'a server may close after an answer');
cmp_ok(load($upstream, '/close', qw(--requests 5))->{lost}, '>', 0, 'but not instead of one');
$upstream->stop;

# ---------------------------------------------------------------------------
# Figures

is_deeply(figure(3, 1, 2), {median => 2, spread => 100, rounds => [3, 1, 2], doubtful => JSON::PP::true},
    'median and spread; a large one is marked');
ok(!figure(100, 101, 99)->{doubtful}, 'a small one is not');
is(percentile(50, [[1, 2], [5, 1]], [[9, 1]]), 1, 'percentiles of several histograms: the half');
is(percentile(99, [[1, 98], [5, 1]], [[9, 1]]), 5, '99 of a hundred');

my $machine = Bench::Machine->new;
$machine->{$_} = [10, 10, 10] for qw(cpu wall);
ok(!$machine->noise->{noisy} || $machine->noise->{why} =~ /hypervisor/, 'the same time each time is quiet');
$machine->{wall} = [20, 10, 10];
like(noise_sentence($machine->noise), qr/too noisy: .*waited 33\.3 %/, 'waiting is noise');
$machine->{cpu} = [10, 13, 10];
like(noise_sentence($machine->noise), qr/too noisy: the same loop took times that differ by 30 %/, 'so is a changing speed');

my $run = Bench::Run->new(machine => $machine, rounds => 1, scale => 1, silent => 1);
Bench::Contender::about('nginx')->{missing} = sub {'nginx'};
is_deeply([$run->present('nginx')], [], 'who is not installed is left out');
is($run->missing->[0]{sentence}, 'nginx, keepalive is left out: there is no nginx', 'with the package that is missing');

# ---------------------------------------------------------------------------
# A small run

my $dir = tempdir(CLEANUP => 1);

sub bench {
    my (%env) = @_;
    local %ENV = (%ENV, CONNPOOL_BUILD => build_dir(), BENCH_JSON => "$dir/bench.json",
        BENCH_SCALE => 0.1, BENCH_ROUNDS => 2, %env);
    return command($^X, "$BENCH/bench.pl");
}

my ($exit, $text) = bench(BENCH_ONLY => 'one,nonsense');
is($exit, 2, 'a part that is not there is refused');
like($text, qr/BENCH_ONLY=nonsense: .*parts are one fifty fetch/, 'with those that are');
($exit, $text) = bench(BENCH_ONLY => 'one', BENCH_WITH => 'empty,nobody');
is($exit, 2, 'so is a contender');

($exit, $text) = bench(BENCH_ONLY => 'one', BENCH_WITH => 'empty,connpool,mod_dbd');
is($exit, 0, 'a small run') or diag($text);
like($text, qr/^\| answered by +\| CPU, us a request/m, 'shows a table');

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) or die "$path: $!";
    local $/ = undef;
    return <$in>;
}

my $report = $JSON->decode(slurp("$dir/bench.json"));
is($report->{settings}{rounds}, 2, 'the report has its settings');
ok(defined $report->{noise}{noisy}, 'the noise of the machine');
ok($report->{machine}{$_}, "the machine: $_") for qw(cpu processors kernel httpd system);
my ($part) = @{$report->{parts}};
is($part->{name}, 'one', 'the part');
is_deeply([map { $_->{contender} } @{$part->{rows}}], [qw(empty connpool mod_dbd)], 'its contenders');
for my $row (@{$part->{rows}}) {
    is($row->{errors}, undef, "$row->{title}: no errors");
    is(scalar @{$row->{$_}{rounds}}, 2, "$row->{title}: two rounds of $_") for qw(cpu_us per_second p50_ms p99_ms);
    cmp_ok($row->{$_}{median}, '>', 0, "$row->{title}: $_") for qw(cpu_us per_second p50_ms p99_ms);
    cmp_ok($row->{rate}, '>', 0, "$row->{title}: the rate of its times");
}

# ---------------------------------------------------------------------------
# Chart and page

# Every element ends, and within the one that it began in.
sub is_well_formed {
    my ($xml) = @_;
    my @open;
    while ($xml =~ m{<(/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(/?)>}g) {
        my ($ends, $name, $empty) = ($1, $2, $4);
        return 0 if $ends && (pop(@open) // '') ne $name;
        push @open, $name if !$ends && !$empty;
    }
    my $between = $xml =~ s{</?[a-z]+(?:\s+[\w:-]+="[^"<]*")*\s*/?>}{}gr;
    return !@open && $between !~ /[<>]|&(?!\w+;)/;
}

($exit, my $svg) = command($^X, "$BENCH/chart.pl", "$dir/bench.json");
is($exit, 0, 'a chart') or diag($svg);
ok(is_well_formed($svg), 'is well-formed');
like($svg, qr/prefers-color-scheme: dark/, 'for dark pages, too');
my @bars = $svg =~ /<rect [^>]*class="(bar|ours)"/g;
is_deeply([sort @bars], [qw(bar bar ours)], 'a bar for each, ours is marked');
for my $row (@{$part->{rows}}) {
    my $shown = sprintf '%.0f', $row->{cpu_us}{median};
    like($svg, qr/>~?\Q$shown\E</, "$row->{title}: $shown");
}

# A whole report, as far as the page needs it.
my %figure = map { $_ => {median => 10, spread => 1, rounds => [10]} } qw(peak_mb p50_ms cpu_us);
my @four   = map { {%figure, contender => $_, title => $_, where => 'near', kind => 'page'} }
    qw(python_before python_after all_off connpool);
$four[0] = {%{$four[0]}, peak_mb => {median => 50, spread => 1, rounds => [50]}};
my $whole = {
    %$report,
    parts => [
        $part,
        (map { {%$part, name => $_} } qw(fifty fetch counts)),
        {%$part, name => 'criteria', rows => \@four, columns => [['title', 'answered by']]},
    ],
};
my $table = criteria_table($whole->{parts}[-1]);
like($table, qr/^\| memory \| 30 to 50 MB less \| near \| 50\.0 MB to 10\.0 MB: 40\.0 MB less, \*\*met\*\* \| 10\.0 MB to 10\.0 MB: 0\.0 MB less, \*\*not met\*\*/m,
    'criteria: what was saved, and whether that is enough');

File::Path::make_path("$dir/docs");
my @pages = ('README.md', 'docs/benchmarks.md');
copy(root_dir() . "/$_", "$dir/$_") or die "$_: $!" for @pages;
my %before = map { $_ => slurp("$dir/$_") } @pages;
($exit, $text) = command($^X, "$BENCH/docs.pl", "$dir/bench.json", $dir);
isnt($exit, 0, 'a report of parts is not put into the manual');
like($text, qr/parts are missing: fifty fetch counts criteria/, 'with those that are missing');
open(my $out, '>', "$dir/whole.json") or die $!;
print {$out} $JSON->encode($whole);
close $out;
($exit, $text) = command($^X, "$BENCH/docs.pl", "$dir/whole.json", $dir);
is($exit, 0, 'a whole one is') or diag($text);
my $marked = qr/(<!-- bench:begin -->\n)(.*)(<!-- bench:end -->)/s;
for my $page (@pages) {
    my $after = slurp("$dir/$page");
    is($after =~ s/$marked/$1$3/r, $before{$page} =~ s/$marked/$1$3/r, "$page: nothing else changes");
    like(($after =~ $marked)[1], qr/50\.0 MB to 10\.0 MB/, "$page: has the criteria");
}
ok(is_well_formed(slurp("$dir/docs/benchmarks.svg")), 'and the chart');
done_testing;
