# SPDX-License-Identifier: Apache-2.0
#
# What the kernel knows of processes, and whether the machine is quiet enough for
# figures to mean something.
package Bench::Machine;

use strict;
use warnings;

use ConnPoolTest qw(build_dir command);
use Exporter     qw(import);
use Bench::Number qw(median);
use JSON::PP    ();
use List::Util  qw(max sum0);
use Time::HiRes qw(clock_gettime);

our @EXPORT_OK = qw(SERVER_CPU CLIENT_CPU cpu_seconds describe first_match pin
    pinned processors pss_bytes tree);

# Servers have the first processor to themselves, clients and upstreams the
# second: a client beside its server would be counted in its waiting.
use constant {SERVER_CPU => 0, CLIENT_CPU => 1};

# Spread of the calibration, its wall time above its processor time, and what the
# hypervisor took, from which on figures are doubtful.
my %LIMIT = (spread => 10, waiting => 8, stolen => 2);
my $STEPS = 8_000_000;

my $PROCESSORS;

sub processors {
    $PROCESSORS //= (command('nproc'))[1] + 0;
    return $PROCESSORS;
}

# A command that stays on one processor, if there are two.
sub pinned {
    my ($processor, @argv) = @_;
    return processors() >= 2 ? ('taskset', '-c', $processor, @argv) : @argv;
}

sub pin {
    my ($processor, @pids) = @_;
    return if processors() < 2;
    command('taskset', '-a', '-p', '-c', $processor, $_) for @pids;
    return;
}

# A process and all that came of it.
sub tree {
    my (@pids) = @_;
    my %children;
    for my $path (glob '/proc/[0-9]*/stat') {
        open(my $in, '<', $path) or next;
        my ($pid, $parent) = (<$in> // '') =~ /^(\d+) .*\) \S (\d+)/s or next;
        push @{$children{$parent}}, $pid;
    }
    my @all = @pids;
    for (my $i = 0; $i < @all; $i++) {
        push @all, @{$children{$all[$i]} // []};
    }
    return @all;
}

# Of whole processes, with threads that have ended: their clocks count
# nanoseconds, where /proc/PID/stat counts hundredths of a second. The number of
# such a clock is what clock_getcpuclockid(3) makes of the process id.
sub cpu_seconds {
    my (@pids) = @_;
    return sum0(map { max(0, clock_gettime(2 - 8 * ($_ + 1))) } @pids);
}

# Memory with each shared page divided by those who share it.
sub pss_bytes {
    my (@pids) = @_;
    my $kilobytes = 0;
    for my $pid (@pids) {
        $kilobytes += first_match("/proc/$pid/smaps_rollup", qr/^Pss:\s+(\d+)/) // 0;
    }
    return 1024 * $kilobytes;
}

sub first_match {
    my ($path, $pattern) = @_;
    open(my $in, '<', $path) or return;
    while (my $line = <$in>) {
        return $1 if $line =~ $pattern;
    }
    return;
}

sub describe {
    return {
        cpu        => first_match('/proc/cpuinfo', qr/^(?:model name|Model)\s*: (.*\S)/) // '?',
        processors => processors(),
        kernel     => first_match('/proc/version', qr/version (\S+)/),
        system     => first_match('/etc/os-release', qr/^PRETTY_NAME="(.*)"/) // '?',
        httpd      => (command(ConnPoolTest::httpd(), '-v'))[1] =~ m{(Apache/\S+)} ? $1 : '?',
        load       => first_match('/proc/loadavg', qr/^(\S+)/),
    };
}

# ---------------------------------------------------------------------------
# Noise

sub new {
    my ($class) = @_;
    return bless {cpu => [], wall => [], jiffies => [_jiffies()]}, $class;
}

sub _jiffies {
    open(my $in, '<', '/proc/stat') or return (0, 0);
    my (undef, @field) = split ' ', <$in>;
    return (sum0(@field[0 .. 7]), $field[7]);
}

# The same loop each time, on both processors: it says what the machine did
# meanwhile, not what is measured.
sub calibrate {
    my ($self) = @_;
    for my $processor (processors() >= 2 ? (SERVER_CPU, CLIENT_CPU) : SERVER_CPU) {
        my ($exit, $text) =
            command(pinned($processor, build_dir() . '/bench/load', '--spin', $STEPS));
        die "load --spin: $text" if $exit;
        my $spin = JSON::PP->new->decode($text);
        push @{$self->{cpu}},  $spin->{cpu_ns} / 1e6;
        push @{$self->{wall}}, $spin->{wall_ns} / 1e6;
    }
    return;
}

# Where a part of the run begins, for noise() to judge that part alone.
sub mark {
    my ($self) = @_;
    return {at => scalar @{$self->{cpu}}, jiffies => [_jiffies()]};
}

# Of all but a tenth at either end: among many one is always late.
sub _spread_of_most {
    my @sorted = sort { $a <=> $b } @_;
    my $last   = $#sorted;
    return 100 * ($sorted[int(0.9 * $last + 0.5)] - $sorted[int(0.1 * $last + 0.5)]) / (median(@sorted) || 1);
}

# {noisy, why, spread, waiting, stolen}, the last three in percent.
sub noise {
    my ($self, $since) = @_;
    my $at      = $since ? $since->{at} : 0;
    my @cpu     = @{$self->{cpu}}[$at .. $#{$self->{cpu}}];
    my @wall    = @{$self->{wall}}[$at .. $#{$self->{wall}}];
    my ($all, $stolen) = @{$since ? $since->{jiffies} : $self->{jiffies}};
    my ($all_now, $stolen_now) = _jiffies();
    my %noise = (
        spread  => @cpu ? _spread_of_most(@cpu) : 0,
        waiting => @cpu ? 100 * (sum0(@wall) / sum0(@cpu) - 1) : 0,
        stolen  => 100 * ($stolen_now - $stolen) / max(1, $all_now - $all),
    );
    $_ = 0 + sprintf '%.1f', $_ for values %noise;
    my %says = (
        spread  => "the same loop took times that differ by $noise{spread} %",
        waiting => "it waited $noise{waiting} % longer than it computed",
        stolen  => "the hypervisor took $noise{stolen} %",
    );
    my @why = map { $says{$_} } grep { $noise{$_} > $LIMIT{$_} } qw(spread waiting stolen);
    return {%noise, noisy => @why ? JSON::PP::true : JSON::PP::false, why => join '; ', @why};
}

1;
