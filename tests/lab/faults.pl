#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The table of faults, tests/FAULTS.md, from the rows that tests have written.
#
#   faults.pl list          the tests that write rows
#   faults.pl write ROWS    assemble the table from the rows in this directory
#   faults.pl check         are its rows those that tests write, with their
#                           tests? What was seen and measured is not looked at.
use strict;
use warnings;

use Cwd            ();
use File::Basename qw(basename dirname);

chdir Cwd::abs_path(dirname(__FILE__) . '/../..') or die "chdir: $!";
my $TABLE = 'tests/FAULTS.md';
my $HEAD  = <<'MD';
# Faults

What was broken on purpose, and what became of it. `make faults` writes this
page; each row is written by the test that injects the fault (`fault_row`), and
says only what that run has seen. `make guards` checks that no row is missing.
How faults are injected: `tests/lab/faultlab.c` (system calls), `t/lib/ConnPoolUpstream.pm`
(upstreams), and the tests themselves.

| key | fault | how injected | expected | seen | figure | test |
|---|---|---|---|---|---|---|
MD

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) or die "$path: $!\n";
    local $/ = undef;
    return scalar <$in>;
}

# {key => test}: what the tests promise to write.
sub promised {
    my %test;
    for my $file (sort glob 't/*.t') {
        my $text = slurp($file);
        while ($text =~ /\bfault_row\(\s*'([^']+)'/g) {
            die "$file: $test{$1} writes the row $1, too\n" if $test{$1};
            $test{$1} = basename($file, '.t');
        }
    }
    die "no test writes a row\n" if !%test;
    return \%test;
}

sub write_table {
    my ($dir) = @_;
    my ($test, %cells) = promised();
    for my $file (glob "$dir/*.row") {
        chomp(my $row = slurp($file));
        my ($key, @rest) = split /\t/, $row, -1;
        $cells{$key} = \@rest if $test->{$key};
    }
    my @missing = grep { !$cells{$_} } sort keys %$test;
    die "no row from the tests: @missing\n" if @missing;
    open(my $out, '>', $TABLE) or die "$TABLE: $!\n";
    print {$out} $HEAD;
    for my $key (sort by_number keys %cells) {
        print {$out} '| ', join(' | ', $key, @{$cells{$key}}), " |\n";
    }
    close $out or die "$TABLE: $!\n";
    printf "%s: %d rows\n", $TABLE, scalar keys %cells;
    return;
}

# F9 before F10.
sub by_number {
    my ($left, $right) = map { /^(\D*)(\d*)(.*)/ ? [$1, $2 || 0, $3] : [$_, 0, ''] }
        $a, $b;
    return $left->[0] cmp $right->[0]
        || $left->[1] <=> $right->[1]
        || $left->[2] cmp $right->[2];
}

sub check {
    my $test = promised();
    my %there;
    for my $line (split /\n/, slurp($TABLE)) {
        my ($key, @cells) = $line =~ /^\| / ? split /\s(?<!\\)\|\s?/, substr $line, 2 : next;
        $there{$key} = $cells[-1] if defined $cells[-1];
    }
    delete @there{'key', '---'};
    my @wrong = (
        (map { "$_ ($test->{$_}) is missing" } grep { !exists $there{$_} } sort keys %$test),
        (map { "$_: no test writes it" } grep { !exists $test->{$_} } sort keys %there),
        (map { "$_ is of $test->{$_} now" }
            grep { exists $there{$_} && $there{$_} ne $test->{$_} } sort keys %$test),
    );
    print STDERR "faults: $TABLE: $_: run make faults\n" for @wrong;
    return @wrong == 0;
}

my ($what, @rest) = @ARGV;
if (($what // '') eq 'list') {
    my %test = reverse %{promised()};
    print "t/$_.t\n" for sort keys %test;
}
elsif (($what // '') eq 'write' && @rest == 1) {
    write_table(@rest);
}
elsif (($what // '') eq 'check') {
    exit(check() ? 0 : 1);
}
else {
    die "usage: $0 list | write ROWS | check\n";
}
