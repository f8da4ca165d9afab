# SPDX-License-Identifier: Apache-2.0
#
# check.pl [record]: what borrowing a connection, a row by key, fifty rows and a
# fetch cost must not grow by more than 5 % unnoticed. Compared are instructions
# above what a contender of the same run takes (a bare pool, an empty handler),
# so that other versions of httpd and of the libraries count little; the system
# calls; and the readings of the clock.
#
# The record has lines of each system; with `record` those of this one are
# written anew.
use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib $FindBin::Bin;
use Cost;
use POSIX ();

my $MARGIN  = 0.05;
my $RECORD  = "$FindBin::Bin/recorded.txt";
my $build   = abs_path($ENV{CONNPOOL_BUILD} // "$FindBin::Bin/../../build");
my @columns = qw(above instructions calls clocks);

# Kind, MPM, contender; borrowing is counted without one, a hundred at a time.
my @kinds = (
    [borrow => 'prefork', 'empty'],
    [point  => 'prefork', 'bare'],
    [range  => 'prefork', 'bare'],
    [unwalked => 'prefork', 'bare'],
    [fetch  => 'event', 'empty'],
);

sub system_name {
    open(my $in, '<', '/etc/os-release') or return 'unknown';
    my %os = map { /^(\w+)="?([^"\n]*)/ ? ($1, $2) : () } <$in>;
    return join '-', $os{ID} // 'unknown', $os{VERSION_ID} // '0', (POSIX::uname())[4];
}

sub measure {
    my ($server, $kind, $contender) = @_;
    my ($who, $what) = $kind eq 'borrow' ? ('borrow', 'borrow')
        : $kind eq 'unwalked' ? ('unwalked', 'point') : ('ours', $kind);
    my $their = $server->count($contender, $kind eq 'borrow' ? 'none' : $what);
    my $own   = $server->count($who, $what);
    my %cost  = (%$own, above => $own->{instructions} - $their->{instructions});
    return \%cost if $kind ne 'borrow';
    $cost{$_} = ($own->{$_} - $their->{$_}) / 100 for qw(instructions calls clocks);
    $cost{above} = $cost{instructions};
    return \%cost;
}

sub measure_all {
    my %cost;
    for my $mpm (qw(prefork event)) {
        my $server = Cost->new(module => "$build/mod_connpool.so", build => $build, mpm => $mpm);
        for (grep { $_->[1] eq $mpm } @kinds) {
            my ($kind, undef, $contender) = @$_;
            $cost{$kind} = measure($server, $kind, $contender);
        }
        $server->stop;
    }
    return \%cost;
}

# {SYSTEM}{KIND}{COLUMN}
sub read_record {
    my %record;
    open(my $in, '<', $RECORD) or return \%record;
    while (my $line = <$in>) {
        my ($system, $kind, @numbers) = split ' ', $line;
        @{$record{$system}{$kind}}{@columns} = @numbers if $system && $system !~ /^#/;
    }
    return \%record;
}

sub write_record {
    my ($record) = @_;
    open(my $out, '>', $RECORD) or die "$RECORD: $!\n";
    print {$out} "# `make record-cost` writes the lines of the system that it runs on.\n";
    printf {$out} "%-20s %-9s %10s %14s %8s %8s\n", '# system', 'kind', @columns;
    for my $system (sort keys %$record) {
        for my $kind (map { $_->[0] } @kinds) {
            my $cost = $record->{$system}{$kind} or next;
            printf {$out} "%-20s %-9s %10.0f %14.0f %8.2f %8.2f\n", $system, $kind, @$cost{@columns};
        }
    }
    close $out or die "$RECORD: $!\n";
    return;
}

# What costs more than is recorded, as sentences. Less than one instruction in
# twenty, of all that the work takes; the rest in twentieths of itself, as half
# a system call is none.
sub compare {
    my ($kind, $now, $then) = @_;
    my @wrong;
    my $allowed = $MARGIN * $then->{instructions};
    my $more    = $now->{above} - $then->{above};
    push @wrong, sprintf '%.0f instructions more than recorded (%.0f), which is %.1f %% of %.0f',
        $more, $then->{above}, 100 * $more / $then->{instructions}, $then->{instructions}
        if $more > $allowed;
    for my $what (qw(calls clocks)) {
        push @wrong, sprintf '%.2f %s instead of %.2f', $now->{$what},
            $what eq 'calls' ? 'system calls' : 'readings of the clock', $then->{$what}
            if $now->{$what} > (1 + $MARGIN) * $then->{$what} + 0.2;
    }
    return map {"$kind: $_"} @wrong;
}

my $system = system_name();
my $record = read_record();
my $cost   = measure_all();
printf "%-9s %10s %14s %8s %8s\n", 'cost of', @columns;
printf "%-9s %10.0f %14.0f %8.2f %8.2f\n", $_->[0], @{$cost->{$_->[0]}}{@columns} for @kinds;
if (($ARGV[0] // '') eq 'record') {
    $record->{$system} = $cost;
    write_record($record);
    exit 0;
}
if (!$record->{$system}) {
    print "nothing is recorded of $system: make record-cost\n";
    exit 0;
}
my @wrong = map { compare($_->[0], $cost->{$_->[0]}, $record->{$system}{$_->[0]} // {above => 0, instructions => 1, calls => 0, clocks => 0}) } @kinds;
print map {"$_\n"} @wrong;
print "If that is meant: make record-cost\n" if @wrong;
exit(@wrong ? 1 : 0);
