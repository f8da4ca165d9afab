#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Long answers from PostgreSQL in bounded memory, and clients that are slow or
# go away: none of them keeps a connection, nor a query at the server.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await read_until slowness);
use IO::Socket::INET;
use PostgresTest qw(pgsql_module);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

my $ROWS = 1_000_000;
my $pg   = PostgresTest->new->start;
$pg->sql(q{CREATE TABLE note(id serial PRIMARY KEY, t text)});

my %QUERIES = (
    million => ["SELECT i AS id, 'row number ' || i AS name FROM generate_series(1, $ROWS) i",
        'format=ndjson max-rows=2000000 max-bytes=1G timeout=120s'],
    brief   => ["SELECT i AS id, 'row number ' || i AS name FROM generate_series(1, 100000) i",
        'format=ndjson max-rows=2000000 max-bytes=1G timeout=10s'],
    one     => ['SELECT 9', 'format=value'],
    large   => ["SELECT repeat('x', 3000000) AS x", 'max-bytes=8M'],
    endless => ["SELECT i AS id, repeat('x', 1000) AS x FROM generate_series(1, 10000000) i",
        'format=ndjson max-rows=20000000 max-bytes=100G timeout=120s'],
    breaks  => ['SELECT 1 / (500000 - i) AS x FROM generate_series(1, 1000000) i',
        'format=ndjson max-rows=2000000'],
    slow    => ['INSERT INTO note(t) SELECT pg_sleep(60)::text', 'write=on timeout=60s'],
    count   => ['SELECT count(*) FROM note', 'format=value'],
);
my $conf = "ConnPoolDatabase rows \"postgresql:@{[$pg->dsn]}\" max=2 overflow=reject acquire=20s\n";
for my $name (sort keys %QUERIES) {
    my ($sql, $options) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name rows \"$sql\" $options\n"
        . "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}
my $server = ConnPoolTest->new(conf => $conf, threads => 16, load => {pgsql_module()});
$server->allow_log(qr/query '(?:breaks|slow|endless)'/);
$server->start;

sub peak {
    my ($pid) = @_;
    open(my $in, '<', "/proc/$pid/status") or return;
    my ($kilobytes) = join('', <$in>) =~ /^VmHWM:\s+(\d+)/m;
    return 1024 * $kilobytes;
}

sub stalled {
    my ($path) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'tcp', Type => 1) // die "socket: $!";
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 4096;
    connect($socket, Socket::pack_sockaddr_in($server->port, Socket::inet_aton('127.0.0.1')))
        or die "connect: $!";
    syswrite $socket, "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    read_until($socket, qr/\r\n\r\n/, 10);
    return $socket;
}

sub is_free {
    return await(sub { $server->pool('rows')->{busy} == 0 }, $_[0]);
}

sub running {
    my ($like) = @_;
    return $pg->sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        . " AND application_name = 'connpool/rows' AND query LIKE '$like'");
}

subtest 'a million rows' => sub {
    is($server->get('/one')->{content}, '9', 'a short answer first');
    my ($pid)  = $server->children;
    my $before = peak($pid);
    my ($lines, $last) = (0, '');
    my $answer = $server->get('/million', timeout => 120,
        data_callback => sub { $lines += $_[0] =~ tr/\n//; $last = substr($last . $_[0], -60) });
    is($answer->{status}, 200, 'answered');
    is($lines, $ROWS, 'all rows');
    like($last, qr/\{"id":$ROWS,"name":"row number $ROWS"\}\n$/, 'to the last');
    SKIP: {
        skip 'AddressSanitizer keeps what was freed', 1 if $ENV{CONNPOOL_ASAN};
        my $grown = (peak($pid) - $before) / 1024;
        cmp_ok($grown, '<', 8192, "the child grew by $grown KB");
    }
};

subtest 'clients that stall' => sub {
    my $begin   = time;
    my @sockets = map { stalled('/brief') } 1 .. 2;
    is($server->get('/one', timeout => 20)->{content}, '9', 'another client is served');
    ok(is_free(10 * slowness()), 'they keep no connection');
    cmp_ok(time - $begin, '<', 8 * slowness(), 'for long');
    close $_ for @sockets;
};

subtest 'clients that go away' => sub {
    my @sockets = map { stalled('/endless') } 1 .. 2;
    ok(await(sub { running('%repeat%') == 2 }, 10), 'they run');
    close $_ for @sockets;
    my $begin = time;
    ok(await(sub { running('%repeat%') == 0 }, 10), 'and end at the server');
    cmp_ok(time - $begin, '<', 2 + slowness(), 'soon');
    ok(is_free(10 * slowness()), 'their connections are back');
};

subtest 'a write whose client goes away' => sub {
    my $socket = $server->connect;
    print {$socket} "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    ok(await(sub { running('INSERT%') == 1 }, 10), 'it runs');
    close $socket;
    my $begin = time;
    ok(await(sub { running('INSERT%') == 0 }, 10), 'and ends at the server');
    cmp_ok(time - $begin, '<', 2 + slowness(), 'soon');
    is($server->get('/count')->{content}, '0', 'nothing was written');
};

subtest 'rows that are large' => sub {
    my ($pid) = $server->children;
    for (1 .. 5) {
        my $answer = $server->get('/large');
        is($answer->{status}, 200, 'answered');
        cmp_ok(length $answer->{content}, '>', 3_000_000, 'whole');
    }
    cmp_ok($server->pool('rows')->{closed}{discarded}, '>=', 5, 'and libpq keeps nothing of them');
};

subtest 'an error in the middle' => sub {
    my $raw = $server->raw("GET /breaks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 20);
    like($raw, qr{^HTTP/1\.1 200}, 'began well');
    unlike(substr($raw, -20), qr/\r\n0\r\n\r\n\z/, 'and has no end');
    is($server->get('/one')->{content}, '9', 'others go on');
};

$server->done;
done_testing;
