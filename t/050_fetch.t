# SPDX-License-Identifier: Apache-2.0
#
# connpool-fetch against a scripted upstream: what goes out, what comes back,
# and what a broken answer becomes.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await command parse_response read_until slowness);
use ConnPoolUpstream qw(fetch_conf unchunk);
use IO::Compress::Gzip ();
use JSON::PP           ();
use Test::More;

my $CRLF = "\r\n";
# AddressSanitizer keeps what was freed.
my $is_lean = !$ENV{CONNPOOL_ASAN};

sub answer {
    my ($head, $body, @end) = @_;
    $head =~ s/\n/$CRLF/g;
    return ([send => "HTTP/1.1 $head$CRLF"], [send => $body], @end);
}

my $packed;
IO::Compress::Gzip::gzip(\("\0" x 50_000_000), \$packed, -Level => 9);

my $upstream = ConnPoolUpstream->start(
    routes => {
        '/rich' => sub {
            return answer(<<'HEAD', "hello");
200 Fine
Content-Type: text/plain; charset=utf-8
Content-Length: 5
Content-Language: eo
Content-Disposition: inline
Cache-Control: max-age=60
Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT
ETag: "rich"
Vary: Accept
Link: </next>; rel=next
Age: 3
Connection: keep-alive, X-Hop
Keep-Alive: timeout=5
X-Hop: hop
X-Powered-By: magic
Set-Cookie: a=b
Proxy-Authenticate: Basic
Strict-Transport-Security: max-age=1
Alt-Svc: h2=":1"
Server: upstream
Location: /elsewhere
Access-Control-Allow-Origin: *
Content-Security-Policy: default-src *
HEAD
        },
        '/tagged' => sub {
            my ($request) = @_;
            return answer("304 Not Modified\nETag: \"v1\"\n", '')
                if ($request->{headers}{'if-none-match'} // '') eq '"v1"';
            return answer("200 OK\nETag: \"v1\"\nContent-Length: 4\n", 'body');
        },
        '/bomb' => sub {
            return (
                [
                    send =>
                        "HTTP/1.1 200 OK${CRLF}Content-Encoding: gzip${CRLF}"
                        . 'Content-Length: '
                        . length($packed)
                        . $CRLF
                        . $CRLF
                ],
                [send => $packed]
            );
        },
        '/identity' => sub {
            return answer(
                "200 OK\nContent-Encoding: identity\nContent-Length: 5\n",
                'hello');
        },
        '/length-and-chunks' => sub {
            return answer("200 OK\nContent-Length: 9\n"
                    . "Transfer-Encoding: chunked\n",
                "5${CRLF}hello${CRLF}0$CRLF$CRLF");
        },
        '/bad-gzip' => sub {
            return answer(
                "200 OK\nContent-Encoding: gzip\nContent-Length: 9\n",
                'not gzip!');
        },
        '/two-lengths' => sub {
            return answer("200 OK\nContent-Length: 5\nContent-Length: 9\n",
                'hello', ['close']);
        },
        '/flood' => sub {
            return answer(
                "200 OK\n"
                    . join('', map { "X-$_: " . 'x' x 1000 . "\n" } 1 .. 200)
                    . "Content-Length: 5\n",
                'hello', ['close']
            );
        },
        '/endless-head' => sub {
            return ([send => "HTTP/1.1 200 OK${CRLF}X: "],
                [fill => 300_000], ['close']);
        },
        '/bad-chunk' => sub {
            return answer("200 OK\nTransfer-Encoding: chunked\n",
                "5${CRLF}hello${CRLF}zz${CRLF}", ['close']);
        },
        '/first-chunk-bad' => sub {
            return answer(
                "200 OK\nETag: \"bad\"\nTransfer-Encoding: chunked\n",
                "zz${CRLF}hello", ['close']);
        },
        '/no-last-chunk' => sub {
            return answer("200 OK\nTransfer-Encoding: chunked\n",
                "5${CRLF}hello${CRLF}", ['close']);
        },
        '/late-close' => sub {
            return answer("200 OK\nContent-Length: 200000\n", 'x' x 100_000,
                [wait => 0.3], ['close']);
        },
        '/garbage' => sub {
            return ([send => "\0\1\2 garbage\n\n\n" x 5], ['close']);
        },
        '/http-0.9' => sub {
            return ([send => "<html>no head</html>\n"], ['close']);
        },
        '/half-head' => sub {
            return ([send => "HTTP/1.1 200 OK${CRLF}Content-T"], ['close']);
        },
        '/binary-header' => sub {
            return answer("200 OK\nX-A: a\0b\nContent-Length: 5\n",
                'hello', ['close']);
        },
        '/status-999' => sub {
            return answer("999 Odd\nContent-Length: 5\n", 'hello');
        },
    },
);

my $conf = join '', fetch_conf('echo', $upstream->url('/echo')),
    fetch_conf('own', $upstream->url('/echo/own/?a=1&b=%20')),
    fetch_conf('named', $upstream->url('/echo'), 'headers=X-One,Cookie'),
    fetch_conf('any',   $upstream->url('/'),     'max-body=20M'),
    fetch_conf('once',  $upstream->url('/'),     'retry=0 keepalive=0'),
    fetch_conf('anew',  $upstream->url('/'),     'keepalive=0'),
    fetch_conf('small', $upstream->url('/'),     'max-body=1M'),
    fetch_conf('hop',   $upstream->url('/'),     'redirects=1'),
    fetch_conf('if',    $upstream->url('/tagged'), 'headers=If-None-Match'),
    fetch_conf('patient', $upstream->url('/'), 'total=2s max-body=100M');

my $server = ConnPoolTest->new(conf => $conf);
# What the upstream does wrong is an error in the log.
$server->allow_log(qr/ \[connpool:error\] .* upstream '/);
$server->start;

# What the upstream received of a request.
sub echoed {
    my ($path, %option) = @_;
    my $answer = $server->get($path, %option);
    is($answer->{status}, 200, "$path is answered")
        or diag($answer->{content});
    return ConnPoolTest::decode($answer, $path);
}

sub is_problem {
    my ($answer, $status, $detail, $name) = @_;
    is($answer->{status}, $status, "$name: $status");
    is($answer->{headers}{'content-type'},
        'application/problem+json', "$name: a problem");
    like($answer->{content}, $detail, "$name: with its cause");
    return;
}

# One raw request: (status, content without chunks, true if it is complete).
sub raw_get {
    my ($path) = @_;
    my $answer = parse_response(
        $server->raw(
            "GET $path HTTP/1.1${CRLF}Host: x${CRLF}Connection: close"
                . "$CRLF$CRLF"
        )
    );
    my ($content, $headers) = ($answer->{content}, $answer->{headers});
    my $is_whole;
    if (($headers->{'transfer-encoding'} // '') eq 'chunked') {
        ($content, $is_whole) = unchunk($content);
    }
    else {
        $is_whole = length $content == ($headers->{'content-length'} // -1);
    }
    return ($answer->{status}, $content, $is_whole, $answer);
}

# ---------------------------------------------------------------------------

subtest 'an answer' => sub {
    my $answer  = $server->get('/any/rich');
    my $headers = $answer->{headers};
    is($answer->{status},  200,     'status');
    is($answer->{content}, 'hello', 'body');
    my %passed = (
        'content-type'        => 'text/plain; charset=utf-8',
        'content-language'    => 'eo',
        'content-disposition' => 'inline',
        'cache-control'       => 'max-age=60',
        'last-modified'       => 'Mon, 01 Jan 2024 00:00:00 GMT',
        'etag'                => '"rich"',
        'vary'                => 'Accept',
        'link'                => '</next>; rel=next',
        'age'                 => '3',
        'x-content-type-options' => 'nosniff',
    );
    is($headers->{$_}, $passed{$_}, "$_ is passed on") for sort keys %passed;
    for my $name (
        qw(x-hop x-powered-by set-cookie proxy-authenticate alt-svc
        strict-transport-security location keep-alive
        access-control-allow-origin content-security-policy)
        )
    {
        is($headers->{$name}, undef, "$name is not");
    }
    isnt($headers->{server}, 'upstream', 'the server is ours');
};

subtest 'status codes' => sub {
    for my $status (201, 203, 400, 401, 404, 410, 429, 500, 503) {
        my $answer = $server->get("/any/status/$status");
        is($answer->{status}, $status, "$status passes");
        is($answer->{content}, "status $status\n", 'with its body');
    }
    is($server->get('/any/status/204')->{status}, 204, '204 passes');
    is($server->get('/any/status/503?header=Retry-After:7')
            ->{headers}{'retry-after'}, 7, 'with the time to wait');
    is($server->get('/any/status-999')->{status}, 502, 'no status is 502');
};

subtest 'methods' => sub {
    my $head = $server->head('/any/text?size=1000');
    is($head->{status},  200, 'HEAD');
    is($head->{content}, '',  'has no body');
    is($head->{headers}{'content-type'}, 'text/plain', 'but a type');
    my ($status, $content) = $server->raw(
        "HEAD /echo HTTP/1.0$CRLF$CRLF") =~ /^HTTP\S+ (\d+).*?\r\n\r\n(.*)/s;
    is("$status $content", '200 ', 'the same seen raw');
    is($server->head('/any/status/404')->{status}, 404, 'HEAD of nothing');
    my $before = $upstream->stats->{requests};
    for my $method (qw(POST PUT DELETE PATCH)) {
        my $answer = $server->request($method, '/echo', content => 'x');
        is_problem($answer, 405, qr/"Use GET, HEAD\."/, $method);
        is($answer->{headers}{allow}, 'GET, HEAD, OPTIONS',
            'with what is allowed');
    }
    my $options = $server->request('OPTIONS', '/echo');
    is($options->{status},  200, 'OPTIONS');
    is($options->{content}, '',  'answers nothing');
    is($options->{headers}{allow}, 'GET, HEAD, OPTIONS', 'but what is allowed');
    is($upstream->stats->{requests}, $before, 'the upstream saw none of them');
};

subtest 'lengths' => sub {
    my $length = sub {
        my ($method, $path) = @_;
        my $answer = $server->request($method, $path);
        ok(!$answer->{headers}{'transfer-encoding'}
                || !defined $answer->{headers}{'content-length'},
            "$method $path: one way to find the end");
        return $answer->{headers}{'content-length'};
    };
    for my $method (qw(GET HEAD)) {
        is($length->($method, "/any/$_->[0]"), $_->[1], 'is handed on')
            for ['text?size=6', 6], ['rich', 5], ['large/5000000', 5_000_000],
            ['identity', 5], ['status/404', 11];
        is($length->($method, '/any/gzip/900'), undef,
            'not that of what is decoded');
        is($length->($method, '/any/length-and-chunks'), undef,
            'nor one beside chunks');
        is($length->($method, '/any/status/204'), undef, 'nor one of 204');
    }
    is($length->('GET',  '/any/text?size=0'),  0,         'nothing is 0');
    is($length->('HEAD', '/small/large/1048576'), 1 << 20, 'as large as allowed');
    is($length->('HEAD', '/small/large/1048577'), undef,
        'HEAD promises no more than GET gives');
    is($server->get('/any/length-and-chunks')->{content}, 'hello', 'chunks count');
    my $part = $server->get('/any/tagged', headers => {'If-None-Match' => '"v1"'});
    is("$part->{status} $part->{content}", '304 ', 'a 304');
};

subtest 'path and query' => sub {
    my @expected = (
        ['/echo',                 '/echo'],
        ['/echo?',                '/echo'],
        ['/echo/',                '/echo/'],
        ['/echo/a/b',             '/echo/a/b'],
        ['/echo/a%20b',           '/echo/a%20b'],
        ['/echo/a+b',             '/echo/a+b'],
        ['/echo/%C3%A9',          '/echo/%c3%a9'],
        ['/echo/a%3Fb%23c',       '/echo/a%3fb%23c'],
        ['/echo/100%25',          '/echo/100%25'],
        ['/echo/%252e%252e/x',    '/echo/%252e%252e/x'],
        ['/echo/x;y=z',           '/echo/x;y=z'],
        ['/echo/...',             '/echo/...'],
        ['/echo?q=a+b%20c%2Fd',   '/echo?q=a+b%20c%2Fd'],
        ['/echo?a=1&a=2&&=',      '/echo?a=1&a=2&&='],
        ['/echo?u=http://x/?y=z', '/echo?u=http://x/?y=z'],
        ['/echo/p?../..',         '/echo/p?../..'],
        ['/own',                  '/echo/own/?a=1&b=%20'],
        ['/own/x',                '/echo/own/x?a=1&b=%20'],
        ['/own?c=2',              '/echo/own/?a=1&b=%20&c=2'],
        ['/own/x?c=2',            '/echo/own/x?a=1&b=%20&c=2'],
    );
    for my $case (@expected) {
        my ($path, $target) = @$case;
        my $seen = echoed($path)->{target};
        $seen =~ s/(%[0-9A-F]{2})/lc $1/ge     if $target =~ /%[0-9a-f]{2}/;
        $target =~ s/(%[0-9A-F]{2})/lc $1/ge;
        is($seen, $target, "$path asks for $target");
    }
    my $before = $upstream->stats->{requests};
    for my $path ('/echo/..%5c..%5cx', '/echo/..;/x', '/echo/a/..;p=1/..;/x',
        '/echo/%2e%2e%5cx')
    {
        is_problem($server->get($path), 400, qr/leaves the upstream's own/,
            $path);
    }
    for my $path ('/echo/../json', '/echo/%2e%2e/json', '/echo/a/../../json',
        '/echo/a%2F..%2F..%2Fjson', '/echo/%00')
    {
        my $status = $server->get($path)->{status};
        ok($status == 404 || $status == 400, "$path: httpd says $status");
    }
    is($upstream->stats->{requests}, $before, 'the upstream saw none of them');
    $server->allow_log(qr/AH00026|AH10244/);
};

subtest 'headers that go out' => sub {
    my %headers = (
        'X-One'           => 'one',
        'X-Two'           => 'two',
        'Cookie'          => 'session=secret',
        'Authorization'   => 'Basic eDp5',
        'Accept'          => 'text/x-test',
        'Range'           => 'bytes=0-1',
        'X-Forwarded-For' => '192.0.2.1',
    );
    my $none = echoed('/echo', headers => \%headers)->{headers};
    is_deeply([grep { $none->{lc $_} && $none->{lc $_} eq $headers{$_} }
            sort keys %headers], [], 'none of the client');
    is($none->{host}, '127.0.0.1:' . $upstream->port, 'Host');
    like($none->{'user-agent'}, qr{^mod_connpool/}, 'User-Agent');
    is($none->{'accept-encoding'}, 'gzip', 'Accept-Encoding');
    my $some = echoed('/named', headers => \%headers)->{headers};
    is($some->{'x-one'}, 'one',            'those that are named');
    is($some->{cookie},  'session=secret', 'both');
    is_deeply([grep { exists $some->{lc $_} && $_ !~ /^(?:X-One|Cookie|Accept)$/ }
            sort keys %headers], [], 'and no others');
    is(echoed('/named', headers => {'X-One' => ''})->{headers}{'x-one'}, '',
        'an empty one');
};

subtest 'conditional requests' => sub {
    my $first = $server->get('/any/tagged');
    is($first->{content}, 'body', 'without a condition');
    is($first->{headers}{etag}, '"v1"', 'the tag is passed on');
    my $is_same = $server->get('/any/tagged',
        headers => {'If-None-Match' => '"v1"'});
    is($is_same->{status},  304, 'answered by us');
    is($is_same->{content}, '',  'without a body');
    is($server->get('/any/tagged', headers => {'If-None-Match' => '"v2"'})
            ->{status}, 200, 'another tag');
    my $passed = $server->get('/if', headers => {'If-None-Match' => '"v1"'});
    is($passed->{status},        304,    'answered by the upstream');
    is($passed->{headers}{etag}, '"v1"', 'with its tag');
    is($server->get('/any/rich',
            headers => {'If-Modified-Since' => 'Tue, 02 Jan 2024 00:00:00 GMT'})
            ->{status}, 304, 'by time');
    is($server->head('/any/tagged', headers => {'If-None-Match' => '"v1"'})
            ->{status}, 304, 'HEAD');
};

subtest 'redirects' => sub {
    my $other = ConnPoolUpstream->start;
    my $here  = $upstream->url('/json');
    my $there = $other->url('/json');
    my $refused = $server->get('/any/redirect?to=/json');
    is_problem($refused, 502, qr/redirects elsewhere/, 'not followed');
    is($refused->{headers}{location}, undef, 'and its target not told');
    for my $to ('/json', 'json', $here) {
        is($server->get("/hop/redirect?to=$to")->{content}, '{"answer":42}',
            "followed to $to");
    }
    for my $to (
        $there, "//127.0.0.1:" . $other->port . '/json',
        'https://127.0.0.1:' . $upstream->port . '/json',
        'http://localhost:' . $upstream->port . '/json',
        'file:///etc/passwd', 'gopher://127.0.0.1/', "http://u\@127.0.0.1/"
        )
    {
        my $answer = $server->get("/hop/redirect?to=$to");
        is($answer->{status}, 403, "not to $to");
        unlike($answer->{content}, qr/root:|\Q$there\E/, 'nothing told');
    }
    is_problem($server->get('/hop/redirect?to=/redirect'),
        502, qr/redirects too often/, 'not twice');
    is($other->stats->{requests}, 0, 'the other saw nothing');
    is($server->get('/any/status/300')->{status}, 502, 'nor a choice of many');
};

subtest 'compression' => sub {
    my $packed_answer = $server->get('/any/gzip/100000');
    is(length $packed_answer->{content}, 100_000, 'undone');
    is($packed_answer->{headers}{'content-encoding'}, undef, 'and not claimed');
    my ($child) = $server->children;
    my $before = $server->rss($child);
    for my $name (qw(small any)) {
        for (1 .. 3) {
            my ($status, $content, $is_whole) = raw_get("/$name/bomb");
            ok($status == 502 || !$is_whole, "$name: a bomb is not a success");
            cmp_ok(length $content, '<=', $name eq 'any' ? 20 << 20 : 1 << 20,
                'nor longer than max-body');
        }
    }
    my $grown = $server->rss($child) - $before;
    cmp_ok($grown, '<', 40 << 20, "memory grew by $grown")
        if $is_lean && $server->mpm ne 'prefork';
    my ($status, $content, $is_whole) = raw_get('/any/bad-gzip');
    ok($status == 502 || !$is_whole, 'what is no gzip is no success');
};

subtest 'max-body' => sub {
    is(length $server->get('/small/large/1048576')->{content}, 1 << 20,
        'as large as allowed');
    is_problem($server->get('/small/large/1048577'),
        502, qr/too large/, 'announced larger');
    is(length $server->get('/small/large-chunked/1048576')->{content},
        1 << 20, 'as large as allowed, in chunks');
    for my $form (qw(large-chunked large-close)) {
        my ($status, $content, $is_whole) = raw_get("/small/$form/1200000");
        is($status, 200, "$form: found out late");
        ok(!$is_whole, 'so it is cut');
        cmp_ok(length $content, '<=', 1 << 20, 'not beyond the limit');
    }
};

# ---------------------------------------------------------------------------

subtest 'broken answers' => sub {
    for my $path (qw(close reset garbage http-0.9 half-head two-lengths flood
        endless-head binary-header first-chunk-bad))
    {
        my ($status, $content, $is_whole, $answer) = raw_get("/any/$path");
        is_problem($answer, 502, qr/upstream 'any': /, $path);
        ok($is_whole, "$path: and that is complete");
        is($answer->{headers}{etag}, undef, "$path: without the other's tag");
    }
    for my $path (
        qw(close-body reset-body late-close bad-chunk no-last-chunk))
    {
        my ($status, $content, $is_whole) = raw_get("/any/$path");
        ok($status == 502 || !$is_whole, "$path: no complete 200");
    }
    # A client that keeps its connection must learn of it as well.
    my $cut = $server->get('/any/late-close', keep_alive => 1);
    is($cut->{status}, 599, 'a client library sees the cut');
    my $mark = $server->log_mark;
    my $begun = $server->connect;
    print {$begun} "GET /any/late-close HTTP/1.1${CRLF}Host: x$CRLF$CRLF";
    my $seen = parse_response(read_until($begun, undef, 5));
    is($seen->{headers}{'content-length'}, 200_000, 'promised');
    cmp_ok(length $seen->{content}, '<', 200_000, 'and not held');
    is(sysread($begun, my $more, 1), 0, 'the connection is closed');
    like($server->log_since($mark), qr/the answer is cut/, 'and told');
    is($server->get('/any/text', keep_alive => 1)->{status},
        200, 'and goes on');
};

subtest 'retry' => sub {
    is($server->get('/anew/flaky?key=a')->{content}, "after 2\n",
        'one failure is repaired');
    is($server->get('/anew/flaky?key=b&fail=2')->{status}, 502, 'two are not');
    is($server->get('/once/flaky?key=c')->{status}, 502, 'retry=0: none is');
    my $paths = $upstream->stats->{paths};
    is($paths->{'/flaky'}, 5, 'five attempts in all');
    my $before = $upstream->stats->{paths}{'/close-body'};
    raw_get('/any/close-body');
    is($upstream->stats->{paths}{'/close-body'}, $before + 1,
        'never after the head');
};

subtest 'keep-alive' => sub {
    $server->get('/any/text');
    my $before = $upstream->stats;
    my $line   = $server->upstream('any');
    is($server->get('/any/text')->{status}, 200, 'answered') for 1 .. 20;
    my $after  = $upstream->stats;
    my $reused = $server->upstream('any')->{reused} - $line->{reused};
    my $made   = $after->{connections} - $before->{connections};
    is($after->{requests} - $before->{requests}, 20, 'twenty requests');
    is($reused, 20 - $made, "$made connections made, the others reused");
    cmp_ok($made, '<=', 1, 'hardly any') if $server->mpm ne 'prefork';
    is($server->get('/any/stale')->{status}, 200,
        'a connection closed while idle') for 1 .. 5;
    is($server->get('/any/last')->{status}, 200, 'one that says so') for 1 .. 3;
    is($server->get('/any/text')->{status}, 200, 'and after it');
};

# ---------------------------------------------------------------------------

SKIP: {
    skip 'children share no memory and no loop', 1
        if $server->mpm eq 'prefork';
    subtest 'large bodies stream' => sub {
        my ($child) = $server->children;
        $server->get('/patient/large/1000000') for 1 .. 3;
        my $before = $server->rss($child);
        my $length = 0;
        my $client = $server->connect;
        print {$client} "GET /patient/large/40000000 HTTP/1.0$CRLF$CRLF";
        my $most = 0;
        my $steps = 0;
        while (my $got = sysread $client, my $piece, 1 << 20) {
            $length += $got;
            next if $steps++ % 50;
            my $rss = $server->rss($child);
            $most = $rss if $rss > $most;
        }
        cmp_ok($length, '>', 40_000_000, 'all of 40 MB came');
        my $grown = $most - $before;
        cmp_ok($grown, '<', 6 << 20, "memory grew by $grown") if $is_lean;

        my @slow = map { $server->connect } 1 .. 4;
        print {$_} "GET /patient/large/40000000 HTTP/1.0$CRLF$CRLF" for @slow;
        sysread $_, my $piece, 100 for @slow;
        ok(await(sub { $server->pool('patient')->{busy} == 4 }, 5),
            'four that do not read');
        $grown = $server->rss($child) - $before;
        cmp_ok($grown, '<', 10 << 20, "memory grew by $grown") if $is_lean;
        ok(
            await(sub { $server->pool('patient')->{busy} == 0 }, 5),
            'lose their answers soon after the total time'
        );
        close $_ for @slow;
        $server->allow_log(qr/the answer is cut/);
    };
}

subtest 'a client that goes away' => sub {
    for my $path ('hang', 'hang-body?size=100000', 'delay/60',
        'trickle?n=100000&pause=0.05', 'large/20000000')
    {
        my $name = $path =~ /^large/ ? 'any' : 'once';
        ok(await(sub { $upstream->stats->{busy} == 0 }, 5), 'all is quiet');
        my $client = $server->connect;
        print {$client} "GET /$name/$path HTTP/1.1${CRLF}Host: x$CRLF$CRLF";
        ok(await(sub { $upstream->stats->{busy} == 1 }, 5), "$path is asked");
        is($server->pool($name)->{busy}, 1, 'one is busy');
        close $client;
        ok(await(sub { $upstream->stats->{busy} == 0 }, 3 * slowness()),
            'the upstream sees that nobody waits');
        ok(await(sub { $server->pool($name)->{busy} == 0 }, 3 * slowness()),
            'no connection is busy');
    }
    my $line = $server->upstream('once');
    cmp_ok($line->{errors}, '<=', 1, 'which is not the upstream\'s error');
};

# A write over HTTP/2 blocks for as long as mod_http2 lets it: the answer waits
# for its end, not the connection for the client.
subtest 'HTTP/2' => sub {
    plan skip_all => 'no HTTP/2 on prefork' if $server->mpm eq 'prefork';
    plan skip_all => 'no nghttp' if (command('nghttp', '--version'))[0] != 0;
    my $http2 = ConnPoolTest->new(
        modules => ['http2'],
        conf    => "Protocols h2c http/1.1\n"
            . fetch_conf('any', $upstream->url('/'), 'max-body=20M total=20s')
            . fetch_conf('small', $upstream->url('/'), 'max-body=1M')
    );
    # The server inherits how long its files may be.
    my @limit      = ('prlimit', '--pid', $$);
    my $is_limited = (command(@limit, '--fsize=17000000:'))[0] == 0;
    $http2->start;
    command(@limit, '--fsize=unlimited:');
    my $get = sub { return (command('nghttp', @_))[1] };

    for my $path (qw(text large/5000000 large-chunked/5000000)) {
        my $text = $get->($http2->url("/any/$path"));
        cmp_ok(length $text, '>=', $path =~ /(\d+)/ ? $1 : 10, $path);
        ok($text eq $http2->get("/any/$path")->{content},
            'the bytes that HTTP/1.1 gives');
    }
    like($get->('-v', '-n', $http2->url('/any/large-chunked/5000000')),
        qr/content-length: 5000000\b/, 'of known length');
    my $head = $get->('-v', '-H', ':method: HEAD', $http2->url('/any/text'));
    like($head, qr/:status: 200/, 'HEAD');
    like($head, qr/content-length: 13\b/, 'with its length');
    is($get->('-v', $http2->url("/any/$_")) =~ /:status: (\d+)/ && $1,
        502, "$_: an error on the way has its status")
        for qw(late-close no-last-chunk bad-chunk);
    is($get->('-v', $http2->url('/small/large-chunked/1200000'))
            =~ /:status: (\d+)/ && $1, 502, 'so has a body that is too large');

    my $acquired = $http2->pool('any')->{acquired};
    my $pid      = fork // die "fork: $!";
    if (!$pid) {
        open(STDOUT, '>', '/dev/null');
        # With windows of 16 KB, and stopped once it is served.
        exec('nghttp', '-w', '14', '-W', '14',
            $http2->url('/any/large/15000000'));
    }
    ok(await(sub { $http2->pool('any')->{acquired} > $acquired }, 10),
        'a client asks');
    kill 'STOP', $pid;
    ok(await(sub { $http2->pool('any')->{busy} == 0 }, 5),
        'and stalls, but keeps no connection');
    my $files = sub {
        my ($child) = $http2->children;
        return scalar grep { m{/connpool-\w+ \(deleted\)$} }
            values %{$http2->fds($child)};
    };
    is($files->(), 1, 'its answer waits in a file');
    kill 'KILL', $pid;
    waitpid $pid, 0;
    ok(await(sub { $files->() == 0 }, 5), 'which ends with the request');

    SKIP: {
        skip 'no prlimit', 2 if !$is_limited;
        like($get->('-v', $http2->url('/any/large/19000000')),
            qr/:status: 503/, 'no room for the file');
        ok($http2->await_log(qr/upstream 'any': there is no room/), 'is told');
    }
    $http2->allow_log(qr/upstream '(?:any|small)'/);
    $http2->done;
};

subtest 'configuration' => sub {
    my ($exit, $text) = $server->configtest(<<'CONF');
<Location "/x">
SetHandler connpool-fetch
ConnPoolServe nothing
</Location>
CONF
    isnt($exit, 0, 'a name that is not defined');
    like($text, qr/ConnPoolServe: neither .* 'nothing'/, 'is told');
};

$server->done;
done_testing;
