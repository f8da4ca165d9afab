#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Writes per second with group=on and group=off, by synchronous= and clients:
# rounds of both in turn, medians, and the ratio of each round. How fast a disk
# syncs decides: the figures are this machine's.
#
#   CONNPOOL_BUILD=build perl tests/bench/group.pl [ROUNDS [SECONDS]]
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(command);

my $ROUNDS  = $ARGV[0] // 5;
my $SECONDS = $ARGV[1] // 2;
my @MODES   = qw(full normal);

my $conf = '';
for my $name (map { ("${_}_on", "${_}_off") } @MODES) {
    my ($mode, $group) = split /_/, $name;
    $conf .= <<"CONF";
ConnPoolDatabase $name sqlite:\@DIR\@/db/$name.db synchronous=$mode group=$group acquire=30s timeout=30s
ConnPoolQuery $name $name "INSERT INTO note(title) VALUES (:title)" write=on
ConnPoolParam $name title text required
<Location "/$name">
SetHandler connpool-query
ConnPoolServe $name
</Location>
CONF
}
my $server = ConnPoolTest->new(children => 1, threads => 80, conf => $conf);
$server->make_sqlite($_, "PRAGMA journal_mode = WAL;\n"
        . "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT);\n")
    for map { ("${_}_on", "${_}_off") } @MODES;
my $body = $server->write_file('body', 'title=What+happened+today');
$server->start;
my ($child) = $server->children;

# Of the child, in seconds.
sub cpu {
    open(my $in, '<', "/proc/$child/stat") || die "the child is gone: $!";
    my @fields = split ' ', scalar <$in>;
    return ($fields[13] + $fields[14]) / 100;
}

# [writes per second, microseconds of CPU for each]
sub measure {
    my ($name, $clients) = @_;
    my $before = cpu();
    my ($exit, $text) = command(qw(h2load --h1 -t 1 -c), $clients, '-D', $SECONDS, '-d',
        $body, '-H', 'Content-Type: application/x-www-form-urlencoded',
        $server->url("/$name"));
    my ($good) = $text =~ /status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx/;
    die "h2load: $text" if $exit != 0 || !$good;
    return [$good / $SECONDS, 1e6 * (cpu() - $before) / $good];
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[@sorted / 2];
}

printf "%-12s %8s %10s %10s %8s %8s   %s\n", 'synchronous=', 'clients', 'off/s', 'on/s',
    'off CPU', 'on CPU', 'on to off';
for my $mode (@MODES) {
    for my $clients (1, 8, 64) {
        my %seen;
        for my $round (1 .. $ROUNDS) {
            my @turn = $round % 2 ? qw(off on) : qw(on off);
            push @{$seen{$_}}, measure("${mode}_$_", $clients) for @turn;
        }
        my @ratios = sort { $a <=> $b }
            map { $seen{on}[$_][0] / $seen{off}[$_][0] } 0 .. $ROUNDS - 1;
        my @shown =
            map { my ($what, $i) = @$_; median(map { $_->[$i] } @{$seen{$what}}) }
            (['off', 0], ['on', 0], ['off', 1], ['on', 1]);
        printf "%-12s %8d %10.0f %10.0f %8.0f %8.0f   %.2f (%s)\n", $mode, $clients,
            @shown, median(@ratios), join ' ', map { sprintf '%.2f', $_ } @ratios;
    }
}
$server->dismiss;
