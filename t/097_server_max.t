#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# server-max=: so many connections of a database are open in all children
# together, whoever holds them, and nobody starves for want of one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use HTTP::Tiny ();
use Test::More;
use Time::HiRes qw(time);

my $slow = 'WITH RECURSIVE c(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM c WHERE i < :n) '
    . 'SELECT count(*) AS n FROM c';

sub conf {
    my ($keys) = @_;
    return <<"CONF";
ConnPoolDatabase main sqlite:\@DIR\@/db/main.db max=4 $keys
ConnPoolQuery one main "SELECT 1 AS one" format=value
ConnPoolQuery slow main "$slow" format=value timeout=60s
ConnPoolParam slow n integer required
ConnPoolQuery write main "INSERT INTO t VALUES (1)" write=on
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/slow">
SetHandler connpool-query
ConnPoolServe slow
</Location>
<Location "/write">
SetHandler connpool-query
ConnPoolServe write
</Location>
CONF
}

sub pool {
    my ($server) = @_;
    return $server->status_json->{pools}[0];
}

# How many descriptors of the file all children have: a connection has one.
sub descriptors {
    my ($server) = @_;
    my $count = 0;
    for my $child ($server->children) {
        my $inode = (stat "$server->{dir}/db/main.db")[1];
        $count += grep { ((stat)[1] // 0) == $inode } glob "/proc/$child/fd/*";
    }
    return $count;
}

subtest 'under load' => sub {
    my $server = ConnPoolTest->new(conf => conf('server-max=3 acquire=20s'), children => 4, threads => 8);
    $server->make_sqlite('main', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)');
    $server->start;
    ok($server->log =~ /never more than 3 in all \(server-max\)/, 'said at start');
    my @bad = parallel(16, sub {
        my ($i) = @_;
        my $bad = 0;
        for my $k (1 .. 30) {
            my $answer = $i % 4 == 1 ? $server->post('/write', content => {})
                : $server->get($k % 3 ? '/one' : '/slow?n=20000');
            $bad++ if $answer->{status} != 200;
        }
        return $bad;
    });
    is_deeply(\@bad, [(0) x 16], 'all are answered');
    my $pool = pool($server);
    cmp_ok($pool->{open}, '<=', 3, 'no more are open than may be');
    cmp_ok($pool->{closed}{yielded}, '>', 0, 'connections were given up for others');
    is($pool->{timeouts}, 0, 'nobody was refused');
    is($server->sqlite('main', 'SELECT count(*) FROM t') + 0, 120, 'every write is there');
    $server->done;
};

subtest 'one for four children' => sub {
    my $server = ConnPoolTest->new(conf => conf('server-max=1 acquire=20s'), children => 4, threads => 4);
    $server->make_sqlite('main', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)');
    $server->start;
    # Connections of their own, so that several children are asked in turn.
    my @clients = map { HTTP::Tiny->new(keep_alive => 1, timeout => 30 * slowness()) } 1 .. 12;
    my $began   = time;
    my $bad     = 0;
    for my $round (1 .. 3) {
        for my $client (@clients) {
            $bad++ if $client->get($server->url('/one'))->{status} != 200;
        }
    }
    is($bad, 0, 'each child gets it');
    my $pool = pool($server);
    cmp_ok($pool->{open}, '<=', 1, 'one is open');
    # Who has it idle hears of it at once: no second is waited for.
    cmp_ok($pool->{acquire_us}{max}, '<', 900_000 * slowness(), 'and is given up at once');
    $server->done;
};

subtest 'a child is killed' => sub {
    my $server = ConnPoolTest->new(conf => conf('server-max=1 acquire=20s'), children => 2, threads => 4);
    $server->make_sqlite('main', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)');
    $server->start;
    $server->allow_log(qr/exit signal Killed/);
    $server->allow_log(qr/query 'slow'.*interrupted/);
    my $mark = $server->log_mark;
    my @done = parallel(3, sub {
        my ($i) = @_;
        if ($i == 0) {    # holds it for as long as it lives
            $server->get('/slow?n=2000000000', timeout => 60 * slowness());
            return 'killed';
        }
        if ($i == 1) {
            await(sub { pool($server)->{busy} == 1 }, 10, 'it is held');
            my $holder = await(
                sub {
                    my ($busy) = grep { descriptors_of($server, $_) } $server->children;
                    return $busy;
                },
                10, 'a holder'
            );
            kill KILL => $holder;
            return 'killed';
        }
        await(sub { pool($server)->{busy} == 1 }, 10, 'the holder is busy');
        return $server->get('/one', timeout => 30 * slowness())->{status};
    });
    is_deeply([@done[0, 1]], ['killed', 'killed'], 'while it holds the only one');
    # The third may have been in the child that was killed.
    ok($done[2] == 200 || $done[2] == 599, 'who waited elsewhere gets it');
    is($server->get('/one')->{status}, 200, 'and so do others');
    is(pool($server)->{open}, 1, 'nothing is lost');
    $server->done;
};

sub descriptors_of {
    my ($server, $child) = @_;
    my $inode = (stat "$server->{dir}/db/main.db")[1];
    return scalar grep { ((stat)[1] // 0) == $inode } glob "/proc/$child/fd/*";
}

subtest 'refused' => sub {
    my $server = ConnPoolTest->new(
        conf     => conf('server-max=1 acquire=300ms overflow=direct'),
        children => 2, threads => 4
    );
    $server->make_sqlite('main', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)');
    $server->start;
    $server->allow_log(qr/no connection within 300 ms at server-max/);
    $server->allow_log(qr/503/);
    my @done = parallel(9, sub {
        my ($i) = @_;
        return $server->get('/slow?n=3000000', timeout => 60 * slowness())->{status} if $i == 0;
        await(sub { pool($server)->{busy} == 1 }, 10, 'it is busy');
        return $server->get('/one', timeout => 30 * slowness())->{status};
    });
    is($done[0], 200, 'who has it goes on');
    cmp_ok(scalar(grep { $_ == 503 } @done), '>=', 1, 'others are refused');
    my $pool = pool($server);
    is($pool->{fallbacks}, 0, 'and none is opened beside it');
    cmp_ok($pool->{acquire_us}{max}, '<', 350_000 * slowness(), 'at the deadline');
    like($server->log, qr{pool 'main'[^:]*: no connection within 300 ms at server-max \(open 1/1 in all children},
        'with the numbers');
    $server->done;
};

subtest 'restarts' => sub {
    my $server = ConnPoolTest->new(conf => conf('server-max=4 min=2'), children => 2, threads => 4);
    $server->make_sqlite('main', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)');
    $server->start;
    await(sub { pool($server)->{open} == 4 }, 10, 'warm');
    is(pool($server)->{open}, 4, 'as many as min= says');
    $server->conf(conf('server-max=2 min=1'));
    $server->graceful;
    await(sub { descriptors($server) == 2 }, 20, 'fewer');
    is(descriptors($server), 2, 'as the new number says');
    my @bad = parallel(6, sub {
        my ($i) = @_;
        if ($i == 0) {
            for (1 .. 3) {
                $server->graceful;
            }
            return 0;
        }
        return scalar grep { $server->get('/one')->{status} != 200 } 1 .. 40;
    });
    is_deeply(\@bad, [(0) x 6], 'old and new children share them');
    await(sub { pool($server)->{open} <= 2 }, 10, 'at rest');
    cmp_ok(pool($server)->{open}, '<=', 2, 'never more');
    $server->done;
};

subtest 'configtest' => sub {
    for my $value (qw(0 -1 x 1000000)) {
        my $broken = ConnPoolTest->new(conf => conf("server-max=$value"));
        my ($status, $text) = $broken->configtest;
        isnt($status, 0, "$value is refused");
        like($text, qr/ConnPoolDatabase main: server-max=\Q$value\E/, 'by name');
    }
};

done_testing;
