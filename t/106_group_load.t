#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Writes that are committed together, under load: children that are killed in
# the middle of a commit, that come and go, and that share a file. What was
# acknowledged is there, once.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults;
use ConnPoolLoad;
use ConnPoolTest qw(await);
use List::Util   qw(max min sum0);
use Test::More;
use Time::HiRes qw(sleep);

my $lab  = ConnPoolFaults->new;
my $CONF = <<'CONF';
ConnPoolDatabase notes sqlite:@DIR@/db/notes.db synchronous=full acquire=20s timeout=20s
ConnPoolQuery add notes "INSERT INTO note VALUES (:title)" write=on
ConnPoolParam add title text required
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF

sub new_server {
    my (%arg) = @_;
    my $server = ConnPoolTest->new(threads => 32, conf => $CONF, env => {$lab->env}, %arg);
    $server->make_sqlite('notes',
        "PRAGMA journal_mode = WAL;\nCREATE TABLE note(title TEXT UNIQUE);\n");
    return $server->start;
}

my $start = 0;

sub load {
    my ($server, %arg) = @_;
    my $from = $start += 1000;
    return ConnPoolLoad->start(
        $server,
        clients => 24,
        timeout => 20,
        keep    => 1,
        %arg,
        request => sub {
            my ($client, $i) = @_;
            my $title = ($from + $client) . "-$i";
            return {
                name   => 'add',
                method => 'POST',
                path   => '/add',
                body   => "title=$title",
                key    => $title,
                expect => qr/"changes":1\b/,
            };
        });
}

sub query {
    my ($server) = @_;
    return $server->status_json->{queries}[0];
}

sub rows {
    my ($server) = @_;
    return split /\n/, $server->sqlite('notes', 'SELECT title FROM note');
}

sub lost {
    my ($server, $result) = @_;
    my %there = map { $_ => 1 } rows($server);
    return [grep { !$there{$_} } @{$result->{acked}}];
}

# ---------------------------------------------------------------------------

subtest 'killed in the middle of commits' => sub {
    my $server = new_server(children => 2);
    $server->allow_log(
        qr/AH00052|AH10159|AH0028[78]|AH00161|AH00484|AH1039[23]|the process that held|recovered/);
    # A commit is what most of the time goes to.
    my $fault = $lab->inject(call => 'sync', name => '-wal', delay => 0.02);
    my $load  = load($server);
    for my $round (1 .. 8) {
        my $mark = query($server)->{grouped};
        await(sub { query($server)->{grouped} > $mark + 50 }, 20, 'groups are committed');
        my $syncs = $lab->fired($fault);
        await(sub { $lab->fired($fault) > $syncs }, 10, 'a commit is under way');
        my @children = $server->children;
        my $pid      = $children[rand @children];
        $server->kill_child('KILL', $pid);
        await(sub { !grep { $_ == $pid } $server->children }, 10, "$pid is gone");
    }
    my $result = $load->finish;
    $lab->heal($fault, 'slow commits');
    is_deeply(lost($server, $result), [],
        scalar(@{$result->{acked}}) . ' writes were acknowledged, and are there');
    is_deeply($result->{refused}, {}, 'none was refused');
    my @wrong = grep { !/: (?:closed|read: .*|write: .*) after|: write/ } @{$result->{lost}};
    is_deeply(\@wrong, [], 'no wrong answer, nobody waits for ever');
    cmp_ok(query($server)->{grouped}, '>', 100, 'they went in groups');
    is($server->sqlite('notes', 'PRAGMA integrity_check'), 'ok', 'the file is sound');
    $server->done;
};

subtest 'graceful restarts' => sub {
    my $server = new_server(children => 2);
    my $fault  = $lab->inject(call => 'sync', name => '-wal', delay => 0.01);
    my $load   = load($server);
    for (1 .. 4) {
        my $mark = query($server)->{grouped};
        await(sub { query($server)->{grouped} > $mark + 100 }, 20, 'groups are committed');
        $server->graceful;
    }
    my $result = $load->finish;
    $lab->heal($fault, 'slow commits');
    is_deeply($result->{lost}, [],
        scalar(@{$result->{acked}}) . ' writes: each has its answer');
    is_deeply($result->{refused},     {}, 'none was refused');
    is_deeply(lost($server, $result), [], 'all are there');
    is(scalar(my @rows = rows($server)), scalar(@{$result->{acked}}), 'and no other');
    my $query = query($server);
    cmp_ok($query->{grouped}, '>', 400, 'they went in groups');
    is($query->{count}, scalar(@{$result->{acked}}), 'all are counted');
    $server->done;
};

subtest 'a stop' => sub {
    my $server = new_server(children => 1);
    # Nobody gets past it: the others are queued behind.
    my $fault = $lab->inject(call => 'sync', name => '-wal', delay => 3, limit => 1);
    my $load  = load($server, each => 1);
    await(sub { $lab->fired($fault) == 1 && $server->pool('notes')->{waiting} == 23 },
        20, 'one commits, the others wait');
    my $begin = time;
    $server->stop;
    cmp_ok(time - $begin, '<', 20 * ConnPoolTest::slowness(), 'it stops');
    my $result = $load->wait;
    $lab->end($fault);
    is_deeply(lost($server, $result), [],
        @{$result->{acked}} . ' were acknowledged, and are there');
    is_deeply([$server->leftovers], [], 'nothing is left');
};

subtest 'four children' => sub {
    my $server = new_server(children => 4, threads => 16);
    my $load   = load($server, clients => 48);
    my $done   = sub { return query($server)->{count} };
    await(sub { $done->() > 4000 }, 60, 'many writes');
    my $result = $load->finish;
    is_deeply($result->{lost},    [], 'no wrong answer');
    is_deeply($result->{refused}, {}, 'none was refused');
    is(scalar(my @rows = rows($server)), scalar(@{$result->{acked}}), 'rows = answers');
    my ($log, %of) = $server->access_log;
    $of{$1}++ while $log =~ m{^(\d+) 200 POST /add }mg;
    my @counts = sort { $a <=> $b } values %of;
    diag("writes of each child: @counts");
    is(scalar(@counts), 4, 'all children wrote');
    cmp_ok($counts[0], '>', $counts[-1] / 4, 'none starved');
    my $us = query($server)->{us};
    cmp_ok($us->{max}, '<', 5e6 * ConnPoolTest::slowness(),
        "nobody waited for long: p50 $us->{p50}, p99 $us->{p99}, max $us->{max} us");
    $server->done;
};

done_testing;
