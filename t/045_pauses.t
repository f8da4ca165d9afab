# SPDX-License-Identifier: Apache-2.0
#
# What has come is with the client before the next comes: events of an upstream
# that pauses, rows of a query that takes its time.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await command read_until slowness);
use ConnPoolUpstream qw(fetch_conf unchunk);
use IO::Compress::Gzip qw($GzipError Z_SYNC_FLUSH);
use Test::More;

my $CRLF = "\r\n";
my $type = 'text/event-stream';

# A stream of gzip whose pieces can be decoded one by one.
sub packed_pieces {
    my $out = '';
    my $z   = IO::Compress::Gzip->new(\$out) // die $GzipError;
    my @pieces;
    for my $text (@_) {
        my $before = @pieces ? length $out : 0;    # the header is written already
        $z->print($text);
        $z->flush(Z_SYNC_FLUSH);
        push @pieces, substr $out, $before;
    }
    my $before = length $out;
    $z->close;
    return (@pieces, substr $out, $before);
}

# Each route says a first event, and nothing more until the test ends: what the
# client has then, it has while the upstream pauses.
sub stream {
    my ($head, @pieces) = @_;
    return ([send => "HTTP/1.1 200 OK$CRLF$head$CRLF"], map { ([send => $_]) } @pieces);
}

my @packed   = packed_pieces("data: one\n\n", "data: two\n\n");
my $upstream = ConnPoolUpstream->start(
    routes => {
        '/chunked' => sub { return (stream("Content-Type: $type$CRLF"
                    . "Transfer-Encoding: chunked$CRLF", "b${CRLF}data: one\n\n$CRLF"), ['hang']) },
        '/close' => sub { return (stream("Content-Type: $type$CRLF", "data: one\n\n"), ['hang']) },
        '/length' => sub { return (stream("Content-Type: text/plain$CRLF"
                    . "Content-Length: 22$CRLF", "data: one\n\n"), ['hang']) },
        '/typeless' => sub { return (stream('', "data: one\n\n"), ['hang']) },
        '/gzip' => sub { return (stream("Content-Type: $type$CRLF"
                    . "Content-Encoding: gzip$CRLF", $packed[0]), ['hang']) },
        '/late' => sub { return (stream("Content-Type: text/plain$CRLF"), [wait => 0.2],
                [send => "data: one\n\n"], ['hang']) },
        '/head' => sub { return (stream("Content-Type: $type; charset=utf-8$CRLF"), ['hang']) },
        '/many' => sub { return (stream("Content-Type: $type$CRLF"),
                (map { ([send => "data: $_\n\n"], [wait => 0.05]) } 1 .. 5), ['hang']) },
        '/two' => sub { return (stream("Content-Type: $type$CRLF"
                    . "Transfer-Encoding: chunked$CRLF", "b${CRLF}data: one\n\n$CRLF"), [wait => 0.3],
                [send => "b${CRLF}data: two\n\n${CRLF}0$CRLF$CRLF"]) },
        '/cut' => sub { return (stream("Content-Type: $type$CRLF"
                    . "Transfer-Encoding: chunked$CRLF", "b${CRLF}data: one\n\n$CRLF"), [wait => 0.3],
                ['close']) },
        '/head-cut' => sub { return (stream("Content-Type: text/plain$CRLF"
                    . "Content-Length: 9$CRLF"), [wait => 0.3], ['close']) },
    },
);

# Some seconds for a row, and never done: what comes, comes while it works.
my $slow  = '(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < %s) SELECT count(*) FROM c)';
my $never = sprintf $slow, 1_000_000_000_000;
my $url   = $upstream->url('/');
my $conf  = fetch_conf('up', $url, 'read=60s total=60s') . <<"CONF";
ConnPoolDatabase db sqlite:\@DIR\@/db/db.db
ConnPoolQuery two    db "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT $never" timeout=8s
ConnPoolQuery ndjson db "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT $never" timeout=8s format=ndjson
ConnPoolQuery csv    db "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT $never" timeout=8s format=csv
ConnPoolQuery ends   db "SELECT 1 AS n UNION ALL SELECT $never" timeout=1500ms
ConnPoolQuery first  db "SELECT sum(length(hex(randomblob(1 + 0 * value)))) AS n FROM rows" timeout=8s
ConnPoolQuery quick  db "SELECT value FROM rows LIMIT 5"
@{[map { "<Location /$_>\nSetHandler connpool-query\nConnPoolServe $_\n</Location>\n" }
        qw(two ndjson csv ends first quick)]}
CONF

for my $loop (($ENV{CONNPOOL_MPM} // '') eq 'prefork' ? 'Off' : ('On', 'Off')) {
    my $server = ConnPoolTest->new(threads => 20, children => 1, modules => ['deflate'],
        conf => "ConnPoolEventLoop $loop\n$conf");
    $server->make_sqlite('db', 'CREATE TABLE rows AS '
            . 'WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value+1 FROM c WHERE value < 400000)'
            . ' SELECT value FROM c');
    $server->start;

    # Until this is there, of an answer that does not end.
    my $is_seen = sub {
        my ($path, $pattern, $name, @headers) = @_;
        my $client = $server->connect;
        print {$client} join $CRLF, "GET $path HTTP/1.1", 'Host: x', @headers, '', '';
        my $text = read_until($client, $pattern, 20);
        like($text, $pattern, "$name: is there");
        my ($pool) = $path =~ m{^/up} ? 'up' : 'db';
        cmp_ok($server->pool($pool)->{busy}, '>=', 1, "$name: while the rest is awaited")
            if $server->mpm ne 'prefork';
        close $client;
        ok(await(sub { $server->pool($pool)->{busy} == 0 }, 20 * slowness()), "$name: ends")
            if $server->mpm ne 'prefork' && $pool eq 'up';
        return $text;
    };

    subtest "loop $loop: an upstream that pauses" => sub {
        $is_seen->("/up/$_", qr/data: one\n\n/, $_)
            for qw(chunked close length typeless gzip late);
        $is_seen->('/up/head', qr/\r\n\r\n$/, 'the head of an event stream');
        $is_seen->('/up/many', qr/data: 5\n\n/, 'one after the other');
        my $text = $is_seen->('/up/chunked', qr/data: one\n\n/, 'HTTP/1.0', 'Connection: close');
        like($text, qr{Content-Type: $type}, 'with its type');
        my (undef, $body) = split /\r\n\r\n/,
            $server->raw("GET /up/two HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"), 2;
        is((unchunk($body))[0], "data: one\n\ndata: two\n\n", 'both');
        is((unchunk($body))[1], 1, 'and the end');
    };

    subtest "loop $loop: an upstream that breaks" => sub {
        $server->allow_log(qr/upstream 'up'/);
        my (undef, $body) = split /\r\n\r\n/,
            $server->raw("GET /up/cut HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"), 2;
        my ($content, $is_whole) = unchunk($body);
        is($content, "data: one\n\n", 'what came before is there');
        ok(!$is_whole, 'and not called whole');
        is($server->get('/up/head-cut')->{status}, 502, 'a head alone waits for what follows');
    };

    next if $loop eq 'Off' && $server->mpm ne 'prefork' && $server->done;
    subtest 'rows that come slowly' => sub {
        $server->allow_log(qr/query '\w+'/);
        $is_seen->('/two',    qr/\{"n":1\},?\s*\{"n":2\}/, 'two rows');
        $is_seen->('/ndjson', qr/\{"n":1\}\n\{"n":2\}\n/, 'as NDJSON');
        $is_seen->('/csv',    qr/n\r?\n1\r?\n2\r?\n/, 'as CSV');
        my (undef, $body) = split /\r\n\r\n/,
            $server->raw("GET /ends HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"), 2;
        my ($content, $is_whole) = unchunk($body);
        like($content, qr/^\[\{"n":1\}/, 'what came before the deadline is there');
        ok(!$is_whole, 'and not called whole');
        my $first = $server->get('/first');
        is($first->{status}, 200, 'a first row that comes late');
        ok($first->{headers}{etag}, 'is an answer with a tag');
        ok($first->{headers}{'content-length'}, 'and a length');
        ok($server->get('/quick')->{headers}{etag}, 'so are rows that come at once');
        ok(await(sub { $server->pool('db')->{busy} == 0 }, 30 * slowness()), 'all end')
            if $server->mpm ne 'prefork';
    };
    $server->done;
}

# There a write can wait for as long as the client likes: only events dare it.
subtest 'HTTP/2' => sub {
    plan skip_all => 'no HTTP/2 on prefork' if ($ENV{CONNPOOL_MPM} // '') eq 'prefork';
    plan skip_all => 'no curl with HTTP/2' if (command('curl', '--version'))[1] !~ /HTTP2/;
    my $server = ConnPoolTest->new(modules => ['http2'],
        conf => "Protocols h2c http/1.1\n" . fetch_conf('up', $url, 'read=60s total=60s'));
    $server->start;
    for my $path (qw(chunked many)) {
        my $pid = open my $out, '-|', 'curl', '-sN', '--http2-prior-knowledge',
            $server->url("/up/$path");
        my $wanted = $path eq 'many' ? qr/data: 5\n\n/ : qr/data: one\n\n/;
        like(read_until($out, $wanted, 20), $wanted, "$path: the event is there");
        is($server->pool('up')->{busy}, 1, "$path: while the next is awaited");
        kill 'KILL', $pid;
        close $out;
        ok(await(sub { $server->pool('up')->{busy} == 0 }, 20 * slowness()), "$path: ends");
    }
    $server->allow_log(qr/upstream 'up'/);
    my ($exit, $text) = command('curl', '-sN', '--http2-prior-knowledge', $server->url('/up/cut'));
    isnt($exit, 0, 'a cut stream is not whole');
    like($text, qr/data: one/, 'what came before is there');
    $server->done;
};

done_testing;
