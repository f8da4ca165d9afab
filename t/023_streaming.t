#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Long answers: exact, in bounded memory, and no client can keep a connection.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command read_until slowness);
use Digest::MD5  ();
use IO::Select ();
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

my $ROWS = 1_000_000;

# One child, so that its memory and its two connections are all there is; with
# prefork several, each with a connection for its one request.
my $IS_PREFORK = ($ENV{CONNPOOL_MPM} // '') eq 'prefork';
my $BRIEF = 1.5 * slowness();    # seconds of a query for clients that are slow
my $server = ConnPoolTest->new(
    # So slow that the answer of 3.5 MB takes twice the query's time.
    vars => {BRIEF => int(1000 * $BRIEF) . 'ms', RATE => int(1750 / $BRIEF)},
    children => $IS_PREFORK ? 4 : 1,
    modules => ['ratelimit', 'env'], conf => <<'CONF');
ConnPoolDatabase rows sqlite:@DIR@/db/rows.db readonly=on max=2 min=1 overflow=reject acquire=10s timeout=60s
ConnPoolQuery million rows "SELECT id, name FROM item ORDER BY id" format=ndjson max-rows=2000000 max-bytes=1G
ConnPoolQuery cut rows "SELECT id FROM item ORDER BY id" max-rows=300000 max-bytes=1G
ConnPoolQuery impatient rows "SELECT id, name FROM item WHERE id <= 50000 UNION ALL SELECT sum(a.id), '' FROM item a, item b, item c" format=ndjson max-rows=2000000 max-bytes=1G timeout=1s
ConnPoolQuery brief rows "SELECT id, name FROM item WHERE id <= 100000 ORDER BY id" format=ndjson max-rows=2000000 max-bytes=1G timeout=@BRIEF@
ConnPoolQuery endless rows "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(zeroblob(2000)) FROM n" max-rows=1000000000 max-bytes=100G timeout=1min
ConnPoolQuery wide rows "SELECT printf('%0900000d', id) AS x FROM item WHERE id <= 8" max-bytes=1G timeout=@BRIEF@
ConnPoolQuery breaks rows "SELECT id, name, CASE WHEN id = 200000 THEN abs(-9223372036854775808) END AS x FROM item ORDER BY id" max-rows=2000000 max-bytes=1G
ConnPoolQuery breaks_early rows "SELECT id, abs(-9223372036854775807 - (id = 3)) AS x FROM item ORDER BY id"
ConnPoolQuery one rows "SELECT count(*) FROM item WHERE id < 10" format=value
<LocationMatch "^/(?<name>million|cut|impatient|brief|limited|wide|endless|breaks|breaks_early|one)$">
SetHandler connpool-query
</LocationMatch>
<Location "/million">
ConnPoolServe million
</Location>
<Location "/cut">
ConnPoolServe cut
</Location>
<Location "/impatient">
ConnPoolServe impatient
</Location>
<Location "/brief">
ConnPoolServe brief
</Location>
<Location "/limited">
ConnPoolServe brief
SetOutputFilter RATE_LIMIT
SetEnv rate-limit @RATE@
</Location>
<Location "/endless">
ConnPoolServe endless
</Location>
<Location "/wide">
ConnPoolServe wide
</Location>
<Location "/breaks">
ConnPoolServe breaks
</Location>
<Location "/breaks_early">
ConnPoolServe breaks_early
</Location>
<Location "/one">
ConnPoolServe one
</Location>
CONF
$server->make_sqlite('rows', <<"SQL");
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT $ROWS)
INSERT INTO item SELECT i, 'row number ' || i FROM n;
SQL
$server->allow_log(qr/SQLite \d+\.\d|AH10159|AH00287/,
    qr/query '(?:endless|impatient|breaks|breaks_early)'/);
$server->start;

sub expected_md5 {
    my ($rows) = @_;
    my $md5 = Digest::MD5->new;
    $md5->add(qq({"id":$_,"name":"row number $_"}\n)) for 1 .. $rows;
    return $md5->hexdigest;
}

# The most memory that a process has ever held, in bytes.
sub peak {
    my ($pid) = @_;
    open(my $in, '<', "/proc/$pid/status") or return;
    my ($kilobytes) = join('', <$in>) =~ /^VmHWM:\s+(\d+)/m;
    return 1024 * $kilobytes;
}

# ---------------------------------------------------------------------------

subtest 'a million rows' => sub {
    my $get = sub {
        my ($md5, $lines) = (Digest::MD5->new, 0);
        my $answer = $server->get('/million', timeout => 60,
            data_callback => sub { $md5->add($_[0]); $lines += $_[0] =~ tr/\n// });
        return ($answer, $md5->hexdigest, $lines);
    };
    is($server->get('/one')->{content}, '9', 'a short answer first');
    my ($pid) = $IS_PREFORK ? () : $server->children;
    my $before = $pid && peak($pid);
    my ($answer, $md5, $lines) = $get->();
    is($answer->{status}, 200, 'answered');
    is($answer->{headers}{'content-type'}, 'application/x-ndjson', 'type');
    is($answer->{headers}{'transfer-encoding'}, 'chunked', 'as it comes');
    is($lines, $ROWS, 'all rows');
    is($md5, expected_md5($ROWS), 'each byte');
    SKIP: {
        skip 'any child may have answered', 1 if !$pid;
        skip 'AddressSanitizer keeps what was freed', 1 if $ENV{CONNPOOL_ASAN};
        my $grown = (peak($pid) - $before) / 1024;
        cmp_ok($grown, '<', 4096, "the child grew by $grown KB");
    }
};

subtest 'the trailer of a cut' => sub {
    my $raw = $server->raw("GET /cut HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n"
            . "Connection: close, TE\r\n\r\n", 20);
    my ($head) = split /\r\n\r\n/, $raw, 2;
    like($head, qr/^Trailer: ConnPool-Truncated\r?$/mi, 'is announced');
    like(substr($raw, -80),
        qr/"id":300000\}\]\r\n0\r\nConnPool-Truncated: rows\r\n\r\n\z/,
        'and sent behind the last row');
    is($server->get('/cut')->{headers}{'connpool-truncated'}, 'rows',
        'where clients look for it');
    $raw = $server->raw("GET /cut HTTP/1.0\r\n\r\n", 20);
    ($head) = split /\r\n\r\n/, $raw, 2;
    unlike($head, qr/^(?:Trailer|Transfer-Encoding):/mi, 'none in HTTP/1.0');
    like(substr($raw, -80), qr/"id":300000\}\]\z/, 'which has no chunks');
    my $all = $server->raw("GET /million HTTP/1.1\r\nHost: x\r\n"
            . "Connection: close\r\n\r\n", 60);
    like(substr($all, -80), qr/\r\n0\r\n\r\n\z/, 'nor behind a whole answer');
};

# Send a request and read no more than its first bytes.
sub stalled {
    my ($path) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'tcp', Type => 1)
        // die "socket: $!";
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 4096;
    connect($socket, Socket::pack_sockaddr_in($server->port,
            Socket::inet_aton('127.0.0.1'))) or die "connect: $!";
    syswrite $socket, "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    read_until($socket, qr/\r\n\r\n/, 10);
    return $socket;
}

sub is_free {
    return await(sub { $server->pool('rows')->{busy} == 0 }, $_[0]);
}

# What of the answer's body has come behind the head, to its end.
sub rest_of {
    my ($socket) = @_;
    my $text = '';
    my $end  = time + 30 * slowness();
    my $in   = IO::Select->new($socket);
    while (time < $end && $in->can_read($end - time)) {
        sysread($socket, $text, 1 << 20, length $text) or last;
        last if substr($text, -5) eq "0\r\n\r\n";
    }
    return $text;
}

sub lines_of {
    my ($chunked) = @_;
    return scalar(() = $chunked =~ /"id":/g);
}

subtest 'clients that stall' => sub {
    my $begin   = time;
    my @sockets = map { stalled('/brief') } 1 .. 2;
    is($server->get('/one', timeout => 20)->{content}, '9',
        'another client is served');
    ok(is_free(10 * slowness()), 'they keep no connection');
    cmp_ok(time - $begin, '<', $BRIEF, 'for longer than the query takes');
    ok(await(sub { time - $begin > 1.2 * $BRIEF }, 10 * slowness()),
        'the time of the query goes by');
    for my $socket (@sockets) {
        my $rest = rest_of($socket);
        like(substr($rest, -120), qr/"row number 100000"\}\n\r\n0\r\n\r\n\z/,
            'they get all of the answer');
        close $socket;
    }
};

subtest 'clients that read slowly' => sub {
    my ($md5, $lines) = (Digest::MD5->new, 0);
    my $begin  = time;
    my $answer = $server->get('/limited', timeout => 30 * slowness(),
        data_callback => sub { $md5->add($_[0]); $lines += $_[0] =~ tr/\n// });
    is($answer->{status}, 200, 'answered');
    cmp_ok(time - $begin, '>', 1.1 * $BRIEF, 'in more than its time');
    is($lines, 100_000, 'all rows');
    is($md5->hexdigest, expected_md5(100_000), 'each byte');
};

subtest 'rows that are large' => sub {
    my $begin  = time;
    my $socket = stalled('/wide');
    ok(is_free(10 * slowness()), 'a client that stalls keeps no connection');
    cmp_ok(time - $begin, '<', $BRIEF, 'for longer than the query takes');
    my $rest = rest_of($socket);
    cmp_ok(length $rest, '>', 8 * 900_000 - 100_000, 'and gets all of it');
    like(substr($rest, -60), qr/0008"\}\s*(?:1\s+)?\]\s*0\r\n\r\n\z/, 'to the end');
};

# Bounded room, whatever its max-bytes: then the client holds the reader up.
subtest 'an endless answer that nobody reads' => sub {
    my $socket = stalled('/endless');
    my ($pid) = $server->children;
    my $spooled = sub {
        my $bytes = 0;
        $bytes += -s "/proc/$pid/fd/$_->[0]" // 0
            for grep { $_->[1] =~ /connpool-\w+ \(deleted\)/ }
            map { [$_, $server->fds($pid)->{$_}] } keys %{$server->fds($pid)};
        return $bytes;
    };
    SKIP: {
        skip 'any child may have answered', 1 if $IS_PREFORK;
        my ($most, $last) = (0, -1);
        await(sub {
            my $now = $spooled->();
            $most = $now if $now > $most;
            my $is_still = $now == $last && $now > 0;
            $last = $now;
            return $is_still;
        }, 20);
        cmp_ok($most, '<', 70e6, sprintf 'no more than %.0f MB are kept', $most / 1e6);
        cmp_ok($most, '>', 50e6, 'but many');
    }
    is($server->pool('rows')->{busy}, 1, 'then the reader waits');
    close $socket;
    ok(is_free(10), 'as long as the client is there');
};

subtest 'a query that is late' => sub {
    my $begin = time;
    my $raw   = $server->raw("GET /impatient HTTP/1.1\r\nHost: x\r\n\r\n", 20);
    cmp_ok(time - $begin, '<', 2 * slowness(), 'ends in time');
    like($raw, qr{^HTTP/1\.1 200}, 'began well');
    unlike(substr($raw, -20), qr/\r\n0\r\n\r\n\z/, 'and has no end');
    ok($server->await_log(qr/query 'impatient': the answer is cut/), 'logged');
    ok(is_free(5), 'the connection is back');
};

subtest 'a client that goes away' => sub {
    my @sockets = map { stalled('/million') } 1 .. 2;
    close $_ for @sockets;
    ok(is_free(10 * slowness()), 'their connections are back');
    is($server->get('/one')->{content}, '9', 'for others');
};

subtest 'an error in the middle' => sub {
    my $raw = $server->raw(
        "GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n", 20);
    my ($head, $body) = split /\r\n\r\n/, $raw, 2;
    like($head, qr{^HTTP/1\.1 200}, 'began well');
    like($head, qr/^Transfer-Encoding: chunked\r?$/mi, 'in chunks');
    cmp_ok(length $body, '>', 1_000_000, 'sent much');
    unlike(substr($body, -80), qr/\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n\z/,
        'but no last chunk');
    ok($body !~ /"id":200000\b/, 'nor the row that broke');
    ok($server->await_log(qr/query 'breaks': the answer is cut: .*overflow/),
        'logged');
    is($server->get('/breaks_early')->{status}, 500, 'before the first byte');
    ok(is_free(5), 'all connections are back');
    is($server->get('/one')->{content}, '9', 'and good');
    my ($query) = grep { $_->{name} eq 'breaks' } @{$server->status_json->{queries}};
    is($query->{errors}, 1, 'counted as an error');
};

subtest 'HEAD of a long answer' => sub {
    my $begin  = time;
    my $answer = $server->head('/million', timeout => 60);
    is($answer->{status}, 200, 'answered');
    is($answer->{content}, '', 'without a body');
    ok(is_free(5), 'and all is free');
};

$server->done;

# ---------------------------------------------------------------------------

# A write over HTTP/2 blocks for as long as mod_http2 lets it, and no module can
# say how long that may be.
subtest 'HTTP/2' => sub {
    plan skip_all => 'no HTTP/2 on prefork' if $IS_PREFORK;
    plan skip_all => 'no nghttp' if (command('nghttp', '--version'))[0] != 0;
    my $http2 = ConnPoolTest->new(modules => ['http2'], conf => <<'CONF');
Protocols h2c http/1.1
ConnPoolDatabase rows sqlite:@DIR@/db/rows.db readonly=on max=1
ConnPoolQuery long rows "SELECT id, name FROM item ORDER BY id" format=ndjson max-rows=100000 max-bytes=1G
ConnPoolQuery breaks rows "SELECT id, name, CASE WHEN id = 100000 THEN abs(-9223372036854775808) END AS x FROM item ORDER BY id" max-rows=2000000 max-bytes=1G
<Location "/long">
SetHandler connpool-query
ConnPoolServe long
</Location>
<Location "/breaks">
SetHandler connpool-query
ConnPoolServe breaks
</Location>
CONF
    $http2->make_sqlite('rows', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100001)
INSERT INTO item SELECT i, 'row number ' || i FROM n;
SQL
    $http2->allow_log(qr/SQLite \d+\.\d|AH10159|AH00287|query 'breaks'/);
    $http2->start;
    my (undef, $text) = command('nghttp', '-v', $http2->url('/long'));
    like($text, qr/:status: 200/, 'answered');
    like($text, qr/connpool-truncated: rows/, 'cut, as the header says');
    (undef, $text) = command('nghttp', $http2->url('/long'));
    is(Digest::MD5::md5_hex($text), expected_md5(100_000), 'each byte');
    (undef, $text) = command('nghttp', '-v', $http2->url('/breaks'));
    like($text, qr/:status: [45]\d\d/, 'an error on the way has its status');

    my $acquired = $http2->pool('rows')->{acquired};
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open(STDOUT, '>', '/dev/null');
        # With windows of 16 KB, and stopped once it is served.
        exec('nghttp', '-w', '14', '-W', '14', $http2->url('/long'));
    }
    ok(await(sub { $http2->pool('rows')->{acquired} > $acquired }, 10),
        'a client asks');
    kill 'STOP', $pid;
    my $begin = time;
    ok(await(sub { $http2->pool('rows')->{busy} == 0 }, 10),
        'and stalls, but keeps no connection');
    cmp_ok(time - $begin, '<', 5 * slowness(), 'for long');
    kill 'KILL', $pid;
    waitpid $pid, 0;
    $http2->done;
};

done_testing;
