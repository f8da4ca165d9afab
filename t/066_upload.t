# SPDX-License-Identifier: Apache-2.0
# Bodies of requests on their way to an upstream: as they came, at the pace of
# the slower side, within a limit, never twice, and never a part as the whole.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parse_response read_until);
use ConnPoolSink;
use ConnPoolUpstream qw(fetch_conf);
use Digest::MD5 qw(md5_hex);
use Test::More;
use Time::HiRes qw(sleep time);

local $SIG{PIPE} = 'IGNORE';

my $sink = ConnPoolSink->start;
my $all  = 'methods=GET,HEAD,POST,PUT,PATCH,DELETE';

sub place {
    my ($name, @options) = @_;
    return fetch_conf($name, '@SINK@/', @options);
}

my $conf = join '',
    place('plain'),
    place('posts', 'methods=POST'),
    place('app',   $all, 'max-request=200M max-body=200M total=300s breaker=0'),
    place('small', $all, 'max-request=64K'),
    place('eager', $all, 'max-request=200M retry=3 breaker=0'),
    place('quick', $all, 'max-request=200M read=300ms breaker=0'),
    place('brief', $all, 'max-request=200M total=1500ms breaker=2'),
    place('mine',  $all, 'headers=Content-Type,X-Mine answer-headers=Location'),
    place('based', $all);
$conf =~ s{(ConnPoolUpstream based \S+)/ }{$1/answer/ };
my $server = ConnPoolTest->new(
    threads => 24,
    modules => ['deflate', 'reqtimeout'],
    vars    => {SINK => $sink->url},
    conf    => $conf . <<'CONF',
<Location "/inflated">
SetHandler connpool-fetch
ConnPoolServe app
SetInputFilter DEFLATE
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe plain posts
</Location>
CONF
);
$server->start;

# A head of one's own, and what comes back for it and the bytes behind it.
sub send_head {
    my ($method, $path, @headers) = @_;
    my $socket = $server->connect;
    print {$socket} join("\r\n", "$method $path HTTP/1.1", 'Host: localhost',
        @headers, '', '');
    return $socket;
}

sub chunk {
    my ($bytes) = @_;
    return sprintf "%x\r\n%s\r\n", length $bytes, $bytes;
}

sub rest {
    my ($socket, $pattern) = @_;
    return parse_response(read_until($socket, $pattern, 30));
}

# ---------------------------------------------------------------------------

subtest 'methods' => sub {
    my $refused = $server->post('/plain/take', content => 'x');
    is($refused->{status}, 405, 'not POST unless it is said so');
    is($refused->{headers}{allow}, 'GET, HEAD, OPTIONS', 'Allow');
    is($server->get('/posts/take')->{status}, 405, 'nor GET, when it is not');
    is($server->head('/posts/take')->{status}, 405, 'nor HEAD');
    is($server->request('OPTIONS', '/app/take')->{headers}{allow},
        'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS', 'OPTIONS');
    is($server->request('PROPFIND', '/app/take')->{status}, 405, 'none else');
    is(scalar $sink->heads('/take'), 0, 'nobody was asked');
    for my $method (qw(POST PUT PATCH DELETE)) {
        my $seen = ConnPoolTest::decode(
            $server->request(
                $method, '/app/take?a=b',
                content => "body of $method",
                headers => {'content-type' => 'text/x-it'}
            )
        );
        is($seen->{method}, $method, "$method arrives");
        is($seen->{md5}, md5_hex("body of $method"), 'with its body');
        is($seen->{headers}{'content-length'}, length "body of $method",
            'whose length is told');
        ok(!exists $seen->{headers}{'transfer-encoding'}, 'once');
        is($seen->{headers}{'content-type'}, 'text/x-it', 'and its type');
        is($seen->{query}, 'a=b', 'and the query');
    }
    for my $method (qw(POST PUT PATCH)) {
        my $seen = ConnPoolTest::decode($server->request($method, '/app/take'));
        is($seen->{headers}{'content-length'}, 0, "$method without a body");
    }
    my $seen = ConnPoolTest::decode($server->request('DELETE', '/app/take'));
    ok(!exists $seen->{headers}{'content-length'}, 'DELETE without one');
    is($server->head('/app/take')->{status}, 200, 'HEAD');
    my ($item, $other) = @{$server->json('/batch')};
    is($item->{name},    'plain', 'a batch');
    is($other->{status}, 405,     'does not GET what does not answer GET');
};

subtest 'answers' => sub {
    my $empty = $server->post('/app/empty/204?X-A=b', content => 'x');
    is($empty->{status}, 204, 'status 204');
    is($empty->{content}, '',  'without a body');
    is($server->post('/app/empty/205', content => 'x')->{status}, 205,
        'status 205');
    is($server->request('PUT', '/app/empty/304', content => 'x')->{status},
        304, 'status 304');
    for my $status (200, 202, 400, 401, 403, 409, 412, 422, 500, 503) {
        is($server->post("/app/answer/$status", content => 'x')->{status},
            $status, "status $status");
    }
    for (
        ['/answer/7',                       '/based/7',     'a path'],
        ['8?a=b%26c#d',                      '/based/8?a=b&c#d', 'a relative one'],
        [$sink->url('/answer/x%2520y'),      '/based/x%20y', 'a whole URL'],
        ['/elsewhere/7',                     undef,          'another path'],
        ['/answers/7',                       undef, 'one that begins alike'],
        ['/answer/../elsewhere',             undef, 'one that climbs out'],
        ['http://other.example/answer/7',    undef, 'another host'],
        )
    {
        my ($location, $expected, $what) = @{$_};
        my $path = $location;
        $path =~ s/([&?#=])/sprintf '%%%02X', ord $1/ge;
        my $answer =
            $server->post("/based/201?Location=$path", content => 'x');
        is($answer->{status}, 201, 'status 201');
        is($answer->{headers}{location}, $expected, "Location: $what");
    }
    my $see = $server->post('/based/303?Location=/answer/9', content => 'x');
    is($see->{status}, 303, 'status 303 within the upstream');
    is($see->{headers}{location}, '/based/9', 'leads to its place here');
    is($server->post('/based/303?Location=/x', content => 'x')->{status},
        502, '303 to elsewhere');
    is($server->get('/based/303?Location=/answer/9')->{status}, 502,
        'of a GET as ever');
    is(
        $server->post('/mine/answer/201?Location=/x/y', content => 'x')
            ->{headers}{location},
        '/x/y', 'answer-headers=Location: as it is'
    );
    my $seen = ConnPoolTest::decode(
        $server->request(
            'PUT',
            '/app/take',
            content => 'x',
            headers => {
                'if-match'            => '"a"',
                'if-none-match'       => '"b"',
                'if-unmodified-since' => 'Mon, 01 Jan 2024 00:00:00 GMT',
                'content-encoding'    => 'x-own',
                'x-mine'              => 'no',
                'cookie'              => 'no',
            }
        )
    );
    is($seen->{headers}{'if-match'},         '"a"',   'If-Match');
    is($seen->{headers}{'if-none-match'},    '"b"',   'If-None-Match');
    is($seen->{headers}{'content-encoding'}, 'x-own', 'Content-Encoding');
    ok($seen->{headers}{'if-unmodified-since'}, 'If-Unmodified-Since');
    ok(!exists $seen->{headers}{$_}, "no $_") for qw(x-mine cookie expect);
    my $changed = $server->request(
        'PUT', '/app/answer/200?ETag=%22new%22',
        content => 'x',
        headers => {'if-match' => '"old"'}
    );
    is($changed->{status}, 200, 'what has changed is not judged again here');
};

subtest 'pages of other sites' => sub {
    my $before = $sink->heads;
    for my $headers ({'sec-fetch-site' => 'cross-site'},
        {origin => 'https://other.example'})
    {
        is(
            $server->post('/app/take', content => 'x', headers => $headers)
                ->{status},
            403, 'may not write'
        );
        is($server->get('/app/take', headers => $headers)->{status},
            200, 'may read');
    }
    is(scalar(grep { $_->{method} eq 'POST' } $sink->heads) - 0,
        scalar(grep { $_->{method} eq 'POST' } ($sink->heads)[0 .. $before - 1]),
        'nobody was asked');
};

subtest 'lengths nobody knows' => sub {
    my $socket = send_head('POST', '/app/take', 'Transfer-Encoding: chunked',
        'Connection: close');
    my $whole = '';
    for my $i (1 .. 50) {
        my $piece = "piece $i " x $i;
        $whole .= $piece;
        print {$socket} chunk($piece);
        sleep 0.01 if $i % 10 == 0;
    }
    print {$socket} "0\r\n\r\n";
    my $answer = rest($socket);
    is($answer->{status}, 200, 'chunks');
    my ($body) = reverse $sink->bodies('/take');
    is($body->{md5}, md5_hex($whole), 'arrive');
    my ($head) = reverse $sink->heads('/take');
    is($head->{headers}{'transfer-encoding'}, 'chunked', 'as chunks');
    ok(!exists $head->{headers}{'content-length'}, 'without a length');
    $socket = send_head('POST', '/app/take', 'Transfer-Encoding: chunked',
        'Connection: close');
    print {$socket} "0\r\n\r\n";
    is(rest($socket)->{status}, 200, 'none at all');
};

subtest 'what a filter changes' => sub {
    require IO::Compress::Gzip;
    my $plain = join '', map { sprintf "line %d of it\n", $_ * 7919 } 1 .. 5000;
    my $packed;
    IO::Compress::Gzip::gzip(\$plain, \$packed);
    my $answer = $server->post(
        '/inflated/take',
        content => $packed,
        headers => {'content-encoding' => 'gzip'}
    );
    my $seen = ConnPoolTest::decode($answer);
    is($seen->{md5}, md5_hex($plain), 'arrives as the filter made it');
    ok(!exists $seen->{headers}{'content-encoding'}, 'and is called so');
    ok(!exists $seen->{headers}{'content-length'},
        'its length is not that of what came');
    $answer = $server->post(
        '/app/take',
        content => $packed,
        headers => {'content-encoding' => 'gzip'}
    );
    $seen = ConnPoolTest::decode($answer);
    is($seen->{md5}, md5_hex($packed), 'without a filter it stays packed');
    is($seen->{headers}{'content-encoding'}, 'gzip', 'and is called that');
};

subtest 'the limit' => sub {
    my $before = $sink->heads;
    my $answer = $server->post('/small/take', content => 'x' x 65537);
    is($answer->{status}, 413, 'a length above it');
    like(ConnPoolTest::decode($answer)->{detail}, qr/larger than 64K/, 'said');
    is(scalar $sink->heads, $before, 'nobody was asked');
    is($server->post('/small/take', content => 'x' x 65536)->{status},
        200, 'just as much');
    my $socket = send_head('POST', '/small/take', 'Transfer-Encoding: chunked');
    for (1 .. 3) {
        print {$socket} chunk('y' x 30000);
    }
    $answer = rest($socket);
    is($answer->{status}, 413, 'chunks beyond it');
    is($answer->{headers}{connection}, 'close', 'the connection ends');
    ok(await(sub { ($sink->bodies('/take'))[-1]{whole} == 0 }, 10),
        'the upstream does not take a part for the whole');
    is($server->upstream('small')->{breaker_opened}, 0, 'no fault of it');
};

subtest 'Expect' => sub {
    my $socket = send_head('POST', '/app/take', 'Expect: 100-continue',
        'Content-Length: 5', 'Connection: close');
    like(read_until($socket, qr/\r\n\r\n/, 10), qr{^HTTP/1.1 100 }, 'is told');
    print {$socket} 'hello';
    my $answer = rest($socket);
    is($answer->{status}, 200, 'then the answer');
    $socket = send_head('POST', '/small/take', 'Expect: 100-continue',
        'Content-Length: 100000');
    is(rest($socket, qr/\}\n/)->{status}, 413, 'not for what is too large');
    $socket = send_head('GET', '/posts/take', 'Expect: 100-continue',
        'Content-Length: 5');
    is(rest($socket, qr/\}\n/)->{status}, 405, 'nor for a wrong method');
};

subtest 'answers before the body' => sub {
    for my $status (413, 401, 500) {
        for my $stay ('', '?stay=1') {
            my %seen;
            for (1 .. 10) {
                my $socket = send_head('POST', "/eager/early/$status$stay",
                    'Content-Length: 30000000');
                my $answer;
                my $pid = fork;
                if (!$pid) {
                    my $piece = 'z' x 65536;
                    for (1 .. 450) {
                        last if !defined syswrite $socket, $piece;
                    }
                    POSIX::_exit(0);
                }
                $answer = rest($socket, qr/early \d+\n|\}\n/);
                kill 'KILL', $pid;
                waitpid $pid, 0;
                $seen{$answer->{status}}++;
            }
            is_deeply(\%seen, {$status => 10}, "$status $stay is passed on");
        }
    }
};

subtest 'never twice' => sub {
    for my $case (['POST', '/eager/drop', 1], ['PATCH', '/eager/drop', 1],
        ['POST', '/eager/cut', 1], ['PUT', '/eager/cut', 1])
    {
        my ($method, $path, $expected) = @{$case};
        my ($there) = $path =~ m{(/[^/]+)$};
        # On a connection that was used before as well as on a new one.
        for my $content ($method eq 'PUT' ? () : '', 'x' x 5000) {
            $server->get('/eager/take');
            my $before = $sink->heads($there);
            my $answer =
                $server->request($method, $path, content => $content);
            is($answer->{status}, 502, "$method $path");
            is(scalar($sink->heads($there)) - $before,
                $expected, 'was sent once');
        }
    }
    my $before = $sink->heads('/drop');
    is($server->request('DELETE', '/eager/drop')->{status}, 502, 'DELETE');
    cmp_ok(scalar($sink->heads('/drop')) - $before,
        '>=', 4, 'may be tried again');
};

subtest 'a client that goes' => sub {
    my $before = $sink->bodies('/take');
    my $socket = send_head('POST', '/app/take', 'Content-Length: 100000');
    print {$socket} 'x' x 50000;
    ok(await(sub { (($sink->heads('/take'))[-1]{headers}{'content-length'} // '') eq '100000' }, 10),
        'the upstream has the head');
    close $socket;
    ok(await(sub { $sink->bodies('/take') > $before }, 10), 'it hears of it');
    my ($last) = reverse $sink->bodies('/take');
    is($last->{whole}, 0, 'and has no whole body');
    $server->is_at_rest('nothing is held');
};

subtest 'a client that is slow' => sub {
    my $socket = send_head('POST', '/brief/take', 'Content-Length: 1000');
    print {$socket} 'x' x 500;
    my $answer = rest($socket, qr/\}\n/);
    is($answer->{status}, 408, 'is told so when the time is over');
    $socket = send_head('POST', '/quick/take', 'Content-Length: 1000',
        'Connection: close');
    for (1 .. 10) {
        print {$socket} 'x' x 100;
        sleep 0.1;
    }
    is(rest($socket)->{status}, 200, 'the upstream is not silent meanwhile');
    for (1 .. 3) {
        $socket = send_head('POST', '/brief/take', 'Content-Length: 1000');
        rest($socket, qr/\}\n/);
    }
    is($server->upstream('brief')->{breaker_opened}, 0, 'no fault of the upstream');
};

subtest 'an upstream that is slow' => sub {
    my $answer = $server->post('/app/slow?pause=0.02', content => 'x' x 1000000);
    is($answer->{content}, "slowly 1000000\n", 'gets all');
    $answer = $server->post('/quick/deaf', content => 'x' x 20000000);
    is($answer->{status}, 504, 'one that takes nothing is silent');
    $answer = $server->post('/quick/deaf', content => 'x');
    is($answer->{status}, 504, 'nor answers');
};

subtest 'both ways at once' => sub {
    my $body   = join '', map { sprintf "%07d\n", $_ } 1 .. 5_000_000;
    my $answer = $server->post('/app/mirror', content => $body, timeout => 120);
    is($answer->{status}, 200, 'what comes back');
    is(md5_hex($answer->{content}), md5_hex($body), 'is what went out');
    my $socket = send_head('POST', '/app/mirror', 'Transfer-Encoding: chunked',
        'Connection: close');
    print {$socket} chunk('one');
    sleep 0.2;
    print {$socket} chunk('two') . "0\r\n\r\n";
    like(rest($socket)->{content}, qr/one.*two/s, 'and for a slow client');
};

sub rss {
    my ($pid) = @_;
    open(my $in, '<', "/proc/$pid/status") or return 0;
    my ($kb) = join('', <$in>) =~ /^VmRSS:\s+(\d+) kB/m;
    return $kb;
}

subtest 'much' => sub {
    my $size = 100 * 1024 * 1024;
    my ($child) = $server->children;
    my $upload = sub {
        my $socket =
            send_head('PUT', '/app/take', "Content-Length: $size",
            'Connection: close');
        my $piece = join('', 'a' .. 'z', 0 .. 5) x 2048;
        for (1 .. $size / length $piece) {
            syswrite($socket, $piece) // last;
        }
        return rest($socket);
    };
    $server->post('/app/take', content => 'x' x 1000000) for 1 .. 3;
    my $before = rss($child);
    is($upload->()->{status}, 200, '100 MB');
    my $grown = rss($child) - $before;
    cmp_ok($grown, '<', 4096, "the child has grown by $grown KB");
    my ($last) = reverse $sink->bodies('/take');
    is($last->{size}, $size, 'all of it arrived');
    cmp_ok($server->upstream('app')->{sent}, '>', $size, 'counted');
};

subtest 'smuggling' => sub {
    my $before = $sink->heads;
    my $two    = "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    for my $headers (
        ['Transfer-Encoding: chunked', 'Content-Length: 5'],
        ['Transfer-Encoding: xchunked'],
        ['Transfer-Encoding: chunked, identity'],
        ['Content-Length: 5',  'Content-Length: 6'],
        ['Content-Length: +5'],
        ['Content-Length: 5, 5'],
        ['Transfer-Encoding: chunked', 'Connection: Content-Length, TE'],
        )
    {
        my $socket = send_head('POST', '/mine/take', @{$headers},
            'Content-Type: text/plain');
        print {$socket} $two;
        my $text = read_until($socket, qr/\r\n\r\n.*[}\n]/s, 2);
        ok($text ne '', "@{$headers}: answered");
    }
    ok(!grep({ $_->{path} eq '/hello' } $sink->heads),
        'no request within another');
    for my $head ($sink->heads) {
        next if !defined $head->{headers}{'transfer-encoding'};
        ok(!defined $head->{headers}{'content-length'}, 'one length only')
            or last;
    }
};

subtest 'configuration' => sub {
    my %bad = (
        'methods=FETCH'           => qr/methods=FETCH|'FETCH'/,
        'methods=GET,OPTIONS'     => qr/OPTIONS/,
        'methods='                => qr/no method/,
        'methods=HEAD'            => qr/HEAD comes with GET/,
        'max-request=x'           => qr/max-request/,
        'max-request=-1'          => qr/max-request/,
        'headers=Content-Length'  => qr/'Content-Length' cannot/,
        'headers=Transfer-Encoding' => qr/'Transfer-Encoding' cannot/,
    );
    for my $key (sort keys %bad) {
        my ($exit, $text) = $server->configtest(
            "ConnPoolUpstream u http://127.0.0.1/ $key\n");
        isnt($exit, 0, $key);
        like($text, qr/ConnPoolUpstream u.*$bad{$key}/, 'says why');
    }
};

$server->allow_log(
    qr/upstream '(?:app|eager|quick|brief|small|mine|based)'/);
$server->done;
done_testing;
