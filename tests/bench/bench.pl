# SPDX-License-Identifier: Apache-2.0
#
# bench.pl: what a request costs, next to other ways to the same answer on the
# same machine in the same run. Writes tables to stdout, progress to stderr, and
# all figures to bench.json in the build directory.
#
# BENCH_ONLY=one,fetch   these parts only (a wrong name lists them)
# BENCH_WITH=empty,bare  these contenders only
# BENCH_ROUNDS=5         rounds
# BENCH_SCALE=1          times and counts, multiplied
# BENCH_ROWS_MAX=10000000  the largest file that is made (0.5 GB, kept in build/)
# BENCH_JSON=PATH        where the figures go
#
# Contenders (contenders/) and parts (scenarios/) are one file each. Servers run on
# the first processor, clients (load/) and upstreams on the second; contenders take
# turns in each round. The figure to trust is processor time, and, of all, counts.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../t/lib";
use Bench::Machine qw(describe);
use Bench::Report  qw(print_part print_head print_foot);
use Bench::Run;
use Bench::World;
use ConnPoolTest qw(build_dir);
use File::Basename qw(basename);
use JSON::PP     ();
use List::Util   qw(sum);
use POSIX        ();
use Time::HiRes  qw(time);

# In this order: what matters most comes first, for what comes last has less time when
# others were late. Behind each: the seconds that it takes on a quiet machine.
my @PARTS = (
    one => 50, fifty => 50, fetch => 45, criteria => 85, counts => 65, memory => 22, tls => 42, far => 42,
    clients => 34, children => 20, rows => 50, batch => 8, cache => 30, beside => 15, pools => 8,
);
my %NOMINAL = @PARTS;
@PARTS = grep { $NOMINAL{$_} } @PARTS;

# All together; what is left is shared among the parts that are left.
my $BUDGET = 540;

sub chosen_parts {
    my @chosen = split /[\s,]+/, $ENV{BENCH_ONLY} // '';
    my %known  = map { $_ => 1 } @PARTS;
    for my $name (@chosen) {
        next if $known{$name};
        print STDERR "BENCH_ONLY=$name: there is no such part; parts are @PARTS\n";
        exit 2;
    }
    return @chosen ? @chosen : @PARTS;
}

sub chosen_contenders {
    my @chosen = split /[\s,]+/, $ENV{BENCH_WITH} // '';
    my @known  = map { basename($_, '.pm') } glob "$FindBin::Bin/contenders/*.pm";
    my %known  = map { $_ => 1 } @known;
    for my $name (grep { !$known{$_} } @chosen) {
        print STDERR "BENCH_WITH=$name: there is no such contender; there are @known\n";
        exit 2;
    }
    return @chosen ? {map { $_ => 1 } @chosen} : undef;
}

sub scenario {
    my ($name) = @_;
    my $path = "$FindBin::Bin/scenarios/$name.pm";
    return do $path || die "$path: ", $@ || $!;
}

sub run_part {
    my ($run, $name) = @_;
    my $scenario = scenario($name);
    $run->say("$name: $scenario->{title}");
    my ($began, $mark) = (time, $run->machine->mark);
    my $part = {
        name    => $name,
        title   => $scenario->{title},
        about   => $scenario->{about},
        columns => $scenario->{columns},
        %{$scenario->{run}->($run)},
    };
    $part->{scale}   = 0 + sprintf '%.2f', $run->scaled(1);
    $part->{noise}   = $run->machine->noise($mark);
    $part->{seconds} = 0 + sprintf '%.1f', time - $began;
    return $part;
}

sub write_json {
    my ($report) = @_;
    my $path = $ENV{BENCH_JSON} // build_dir() . '/bench.json';
    open(my $out, '>', "$path.new") or die "$path.new: $!";
    print {$out} JSON::PP->new->utf8->canonical->pretty->encode($report);
    close $out or die "$path.new: $!";
    rename "$path.new", $path or die "$path: $!";
    return $path;
}

$| = 1;    # who waits for minutes wants to see tables when they are there
my @chosen  = chosen_parts();
my $began   = time;
my $scale   = $ENV{BENCH_SCALE} // 1;
my $machine = Bench::Machine->new;
my $run     = Bench::Run->new(
    world   => Bench::World->new(rows => 100_000, rows_max => $ENV{BENCH_ROWS_MAX} // 10_000_000),
    machine => $machine,
    rounds  => $ENV{BENCH_ROUNDS} // 5,
    scale   => $scale,
    with    => chosen_contenders(),
);
my $report = {
    format  => 1,
    date    => POSIX::strftime('%Y-%m-%d', gmtime),
    machine => describe(),
    settings => {rounds => $run->rounds, scale => 0 + $scale, rows => $run->world->rows},
    parts    => [],
};
print_head($report);
for my $i (0 .. $#chosen) {
    my $name = $chosen[$i];
    my $left = sum(map { $NOMINAL{$_} } @chosen[$i .. $#chosen]);
    $run->hurry(($BUDGET - (time - $began)) / ($left * $scale));
    my $part = eval { run_part($run, $name) };
    if (!$part) {
        # The other parts are worth having.
        push @{$report->{failed}}, {name => $name, why => "$@" =~ s{\s+\z}{}r};
        $run->say("$name failed: $@");
        next;
    }
    push @{$report->{parts}}, $part;
    print_part($part);
}
$report->{missing} = $run->missing;
$report->{noise}   = $machine->noise;
$report->{seconds} = 0 + sprintf '%.0f', time - $began;
$run->stop;
$run->world->stop;
print_foot($report, write_json($report));
exit($report->{failed} ? 1 : 0);
