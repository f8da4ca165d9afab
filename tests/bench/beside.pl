#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# How long does one row by key take while another client runs a long query on
# the same file? mod_dbd's driver runs one statement at a time in a process.
# Prints a table in Markdown.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest;
use HTTP::Tiny;
use Time::HiRes qw(time);

my $ROUNDS  = 3;
my $SECONDS = 3;
my $MOST    = 300;
my $ROW     = 'SELECT id, title, day FROM events WHERE id';
my $LONG    = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
    . 'WHERE i < %s * 1) SELECT count(*), 1, 2 FROM n';
my $conf = <<"CONF";
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=10 timeout=60s
ConnPoolQuery one events "$ROW = :first"
ConnPoolQuery long events "@{[sprintf $LONG, ':first']}"
DBDriver sqlite3
DBDParams \@DIR\@/db/events.db
DBDMax 10
DBDPrepareSQL "$ROW = %s" one
DBDPrepareSQL "$LONG" long
CONF
$conf .= <<"CONF" for qw(one long);
ConnPoolParam $_ first integer required
<Location "/connpool/$_">
SetHandler connpool-query
ConnPoolServe $_
</Location>
<Location "/dbd/$_">
SetHandler bench-dbd
BenchQuery $_
</Location>
CONF
my $server = ConnPoolTest->new(
    mpm     => 'event', children => 1, threads => 16, status => 0,
    modules => ['dbd'], load => {bench_module => 't/mod_bench.so'},
    conf    => $conf,
);
$server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE events(id INTEGER PRIMARY KEY, title TEXT, day TEXT);
INSERT INTO events VALUES (7, 'one', '2026-01-01');
SQL
$server->start;

sub get {
    my ($client, $path) = @_;
    my $answer = $client->get($server->url($path));
    die "$path: $answer->{status} $answer->{content}\n" if !$answer->{success};
    return;
}

# Milliseconds of each short query while a child process runs long ones.
sub beside {
    my ($kind) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $client = HTTP::Tiny->new(timeout => 30);
        my $end    = time + $SECONDS + 1;
        get($client, "/$kind/long?first=1000000") while time < $end;
        require POSIX;
        POSIX::_exit(0);
    }
    my $client = HTTP::Tiny->new(timeout => 30);
    my @ms;
    select undef, undef, undef, 0.2;    # the long one is under way
    my $end = time + $SECONDS;
    while (time < $end && @ms < $MOST) {
        my $began = time;
        get($client, "/$kind/one?first=7");
        push @ms, 1000 * (time - $began);
    }
    waitpid $pid, 0;
    return @ms;
}

my %ms;
for my $round (1 .. $ROUNDS) {
    push @{$ms{$_}}, beside($_) for qw(connpool dbd);
}
print "\n### One row by key, while another client runs a long query\n\n"
    . "| answered by | answers | median ms | 99 % ms |\n|---|---:|---:|---:|\n";
for my $kind (qw(connpool dbd)) {
    my @sorted = sort { $a <=> $b } @{$ms{$kind}};
    printf "| %s | %d | %.2f | %.2f |\n",
        $kind eq 'dbd' ? 'mod_dbd' : 'connpool-query', scalar @sorted,
        $sorted[@sorted / 2], $sorted[@sorted * 0.99];
}
print "\n";
$server->stop;
