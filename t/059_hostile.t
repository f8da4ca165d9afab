# SPDX-License-Identifier: Apache-2.0
#
# An upstream that lies: heads that are none, codings that stop in the middle,
# bodies that grow without end, lines without end. Each is 502, or a cut answer
# where it had begun; never an answer that the upstream did not give.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use Compress::Raw::Zlib;
use ConnPoolTest     qw(await parse_response);
use ConnPoolUpstream qw(fetch_conf unchunk);
use IO::Compress::Gzip ();
use Test::More;

my $CRLF = "\r\n";
# AddressSanitizer keeps what was freed.
my $is_lean = !$ENV{CONNPOOL_ASAN};

sub gzip {
    my ($plain) = @_;
    IO::Compress::Gzip::gzip(\$plain, \my $packed, -Level => 9);
    return $packed;
}

# Lines of a head, each ended.
sub head {
    return join '', map { $_ . $CRLF } @_, '';
}

my $CLOSED = 'HTTP/1.1 200 OK';

# What the upstream sends before it closes => the content, or undef for 502.
my @heads = (
    ['101 with a body', head('HTTP/1.1 101 X', 'Content-Length: 2') . 'hi'],
    ['101 and its upgrade',
        head('HTTP/1.1 101 X', 'Upgrade: h2c', 'Connection: Upgrade') . 'hi'],
    ['101 alone', head('HTTP/1.1 101 X')],
    ['101 that redirects', head('HTTP/1.1 101 X', 'Location: /text')],
    ['101, then 200',
        head('HTTP/1.1 101 X') . head($CLOSED, 'Content-Length: 2') . 'hi'],
    ['100, then 101',
        head('HTTP/1.1 100 X') . head('HTTP/1.1 101 X', 'Content-Length: 2') . 'hi'],
    ['100 alone', head('HTTP/1.1 100 Continue')],
    ['100 and half a head', head('HTTP/1.1 100 Continue') . "HTTP/1.1 200 OK${CRLF}Conte"],
    ['103 and a body', head('HTTP/1.1 103 Early') . 'hi'],
    ['103 with a length',
        head('HTTP/1.1 103 Early', 'Content-Length: 1') . head($CLOSED) . 'hi'],
    ['103 in chunks',
        head('HTTP/1.1 103 Early', 'Transfer-Encoding: chunked')
            . head($CLOSED) . "2${CRLF}hi${CRLF}0$CRLF$CRLF"],
    ['102, 103, 199, 200',
        join('', map { head("HTTP/1.1 $_ X", 'Link: <a>') } 102, 103, 199)
            . head($CLOSED, 'Content-Length: 2') . 'hi', 'hi'],
    ['a coding of 103',
        head('HTTP/1.1 103 X', 'Content-Encoding: gzip')
            . head($CLOSED, 'Content-Length: 2') . 'hi'],
    ['a status line alone', "HTTP/1.1 200 OK$CRLF"],
    ['a head without end',  "HTTP/1.1 200 OK${CRLF}Content-Length: 2$CRLF"],
    ['a redirect without end', "HTTP/1.1 302 Found${CRLF}Location: /text$CRLF"],
    ['a second status line',
        "HTTP/1.1 200 OK${CRLF}HTTP/1.1 404 No${CRLF}Content-Length: 2$CRLF${CRLF}hi"],
    ['a status of four digits', head('HTTP/1.1 2000 OK', 'Content-Length: 2') . 'hi'],
    ['a status of two digits',  head('HTTP/1.1 20 OK',   'Content-Length: 2') . 'hi'],
    ['another protocol',        head('ICY 200 OK',       'Content-Length: 2') . 'hi'],
    ['a body alone',            "<html>hi</html>\n"],
    ['an empty line first', $CRLF . head($CLOSED, 'Content-Length: 2') . 'hi'],
    ['a trailer like a head',
        head($CLOSED, 'Transfer-Encoding: chunked')
            . "2${CRLF}hi${CRLF}0$CRLF" . head('HTTP/1.1 404 No')],
    ['a trailer that frames',
        head($CLOSED, 'Transfer-Encoding: chunked')
            . "2${CRLF}hi${CRLF}0$CRLF" . head('Content-Length: 9', 'Content-Encoding: br'), 'hi'],
);

my $plain  = join '', map { "line $_ of a text that is compressed\n" } 1 .. 400;
my $packed = gzip($plain);
my $long   = "\0" x 3_000_000;
my $damaged = $packed;
substr($damaged, -8, 1) ^= "\x01";    # the checksum
my $short = $packed;
substr($short, -4, 1) ^= "\x01";      # the length
my $inner = $packed;
substr($inner, length($packed) / 2, 1) ^= "\x10";

# Coding => [bytes, content or undef, coding if not gzip].
my %codings = (
    (map { ("cut-$_" => [substr($packed, 0, $_)]) } 0, 1, 5, 10, 11, 200),
    (map { ("short-$_" => [substr($packed, 0, -$_)]) } 1, 4, 7, 8, 9, 20),
    whole          => [$packed, $plain],
    alias          => [$packed, $plain, 'x-gzip'],
    upper          => [$packed, $plain, 'GZIP'],
    members        => [$packed . gzip('and more') . gzip(''), $plain . 'and more'],
    'members-cut'  => [$packed . substr(gzip($plain), 0, -9)],
    'members-head' => [$packed . substr(gzip($plain), 0, 4)],
    trailing       => [$packed . 'garbage'],
    'trailing-nul' => [$packed . "\0\0"],
    checksum       => [$damaged],
    length         => [$short],
    inner          => [$inner],
    long           => [gzip($long), $long],
    'long-cut'     => [substr(gzip($long), 0, -9)],
    'not-coded'    => ['hello'],
    empty          => [gzip(''), ''],
    (map { ($_ => [$packed, undef, $_]) } 'gzip, gzip', 'gzip, identity', 'compress'),
    # Not asked for.
    deflate => [do { my ($z) = Compress::Raw::Zlib::Deflate->new; my $o = '';
            $z->deflate($plain, $o); $z->flush($o); $o }, undef, 'deflate'],
    br   => ["\x0b\x02\x80hello\x03", undef, 'br'],
    zstd => ["\x28\xb5\x2f\xfd\x20\x05\x29\0\0hello", undef, 'zstd'],
);

# 512 MB of zeros and more, made of one piece.
my $bomb = "\x1f\x8b\x08\0\0\0\0\0\0\xff" . do {
    my ($z) = Compress::Raw::Zlib::Deflate->new(-WindowBits => -15, -Level => 9,
        -AppendOutput => 1);
    my $o = '';
    $z->deflate("\0" x (1 << 20), $o);
    $z->flush($o, Z_FULL_FLUSH);
    $o x 512;
};

my $upstream = ConnPoolUpstream->start(
    routes => {
        '/head' => sub {
            my ($request) = @_;
            return ([send => $heads[$request->{params}{n}][1]], ['close']);
        },
        '/coding' => sub {
            my (undef, $params) = @_;
            my ($bytes, undef, $coding) = @{$codings{$params->{name}}};
            my @coding = ('HTTP/1.1 200 OK', 'Content-Encoding: ' . ($coding // 'gzip'));
            my $frame  = $params->{frame};
            return ([send => head(@coding, 'Transfer-Encoding: chunked')
                    . (length $bytes ? sprintf("%x$CRLF%s$CRLF", length $bytes, $bytes) : '')
                    . "0$CRLF$CRLF"])
                if $frame eq 'chunked';
            return ([send => head(@coding, 'Connection: close') . $bytes], ['close'])
                if $frame eq 'close';
            return [send => head(@coding, 'Content-Length: ' . length $bytes) . $bytes];
        },
        '/twice' => sub {
            return [send => head('HTTP/1.1 200 OK', ('Content-Encoding: gzip') x 2,
                    'Content-Length: ' . length $packed) . $packed];
        },
        '/nothing' => sub {
            my (undef, $params) = @_;
            return [send => head("HTTP/1.1 $params->{status} X", 'Content-Encoding: gzip',
                    $params->{status} == 302
                    ? ('Location: /coding?name=whole&frame=length', 'Content-Length: 3') : ())
                    . ($params->{status} == 302 ? 'bye' : '')];
        },
        '/bomb' => sub {
            return ([send => head('HTTP/1.1 200 OK', 'Content-Encoding: gzip',
                        'Transfer-Encoding: chunked')
                    . sprintf("%x$CRLF", length $bomb)], [send => $bomb], ['hang']);
        },
        '/long-line' => sub {
            my (undef, $params) = @_;
            my $where = $params->{where};
            my $x = 'x' x $params->{size};
            my %heads = (
                status  => "HTTP/1.1 200 $x$CRLF",
                value   => "HTTP/1.1 200 OK${CRLF}X: $x$CRLF",
                name    => "HTTP/1.1 200 OK${CRLF}$x: x$CRLF",
                interim => "HTTP/1.1 103 OK${CRLF}X: $x$CRLF${CRLF}HTTP/1.1 200 OK$CRLF",
                no_colon => "HTTP/1.1 200 OK${CRLF}$x$CRLF",
                location => "HTTP/1.1 302 OK${CRLF}Location: /$x$CRLF",
                many    => "HTTP/1.1 200 OK$CRLF" . "X: y$CRLF" x ($params->{size} / 6),
                trailer => "HTTP/1.1 200 OK${CRLF}Transfer-Encoding: chunked$CRLF${CRLF}"
                    . "0${CRLF}X: $x$CRLF",
            );
            return ([send => $heads{$where} . ($where eq 'trailer' ? $CRLF
                        : "Content-Length: 2$CRLF${CRLF}hi")], ['close']);
        },
    },
);

# The answer of one raw request: (status, content, true if it is complete).
sub get {
    my ($server, $path) = @_;
    my $answer = parse_response($server->raw(
            "GET $path HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"));
    my ($content, $headers) = @{$answer}{qw(content headers)};
    my $is_whole = length $content == ($headers->{'content-length'} // -1);
    ($content, $is_whole) = unchunk($content)
        if ($headers->{'transfer-encoding'} // '') eq 'chunked';
    return ($answer->{status} // 0, $content, $is_whole);
}

# Refused with a cause, or cut; large bodies may have begun.
sub is_refused {
    my ($server, $path, $name, $may_be_cut) = @_;
    my ($status, $content, $is_whole) = get($server, $path);
    if ($may_be_cut && $status == 200) {
        ok(!$is_whole, "$name: cut");
        return;
    }
    is($status, 502, "$name: 502") or diag("content '" . substr($content, 0, 200) . "'");
    like($content, qr/"upstream '\w+': the /, "$name: and why");
    return;
}

sub is_passed {
    my ($server, $path, $content, $name) = @_;
    my ($status, $got, $is_whole) = get($server, $path);
    is($status, 200, "$name: 200") or diag($got);
    ok($got eq $content && $is_whole, "$name: whole");
    return;
}

my $url  = $upstream->url('/');
my $conf = fetch_conf('plain', $url, 'breaker=0 redirects=2')
    . fetch_conf('shared', $url, 'breaker=0 redirects=2 coalesce=on')
    . fetch_conf('small', $url, 'breaker=0 max-body=2M total=600s')
    . fetch_conf('large', $url, 'breaker=0 max-body=1G total=600s')
    . fetch_conf('joined', $url, 'breaker=0 max-body=2M coalesce=on');

for my $loop (($ENV{CONNPOOL_MPM} // '') eq 'prefork' ? 'Off' : ('On', 'Off')) {
    my $server = ConnPoolTest->new(threads => 60, conf => "Timeout 600\nConnPoolHTTPPerHost 60\nConnPoolEventLoop $loop\n$conf");
    $server->allow_log(qr/ \[connpool:error\] .* upstream '/);
    $server->start;
    my ($child) = $server->children;

    subtest "loop $loop: heads" => sub {
        for my $n (0 .. $#heads) {
            my ($name, undef, $content) = @{$heads[$n]};
            for my $up (qw(plain shared)) {
                my $path = "/$up/head?n=$n";
                defined $content ? is_passed($server, $path, $content, "$up: $name")
                                 : is_refused($server, $path, "$up: $name");
            }
        }
    };

    subtest "loop $loop: codings" => sub {
        for my $name (sort keys %codings) {
            my $content = $codings{$name}[1];
            for my $case (map { my $up = $_; map { "$up $_" } qw(length chunked close) }
                qw(plain shared))
            {
                my ($up, $frame) = split / /, $case;
                (my $arg = $name) =~ s/([ ,])/sprintf '%%%02X', ord $1/ge;
                my $path = "/$up/coding?name=$arg&frame=$frame";
                defined $content
                    ? is_passed($server, $path, $content, "$case: $name")
                    : is_refused($server, $path, "$case: $name",
                    $name eq 'long-cut' || $frame eq 'close');
            }
        }
        is_refused($server, '/plain/twice', 'coded twice');
        is($server->get("/plain/nothing?status=$_")->{status}, $_, "$_ has no body to decode")
            for 204, 304;
        is_passed($server, '/plain/nothing?status=302', $plain, 'a redirect\'s is not decoded');
        is($server->head('/plain/coding?name=whole&frame=length')->{status}, 200,
            'HEAD of a coded body');
    };

    subtest "loop $loop: long lines" => sub {
        for my $where (qw(status value name interim no_colon location many trailer)) {
            is_refused($server, "/plain/long-line?where=$where&size=$_", "$where of $_")
                for 70_000, 200_000, 1_000_000;
        }
    };

    SKIP: {
        skip 'a child serves one request', 1 if $server->mpm eq 'prefork';
        # With the smaller bound many end before their client stalls.
        for my $name (qw(small large)) {
            subtest "loop $loop: bombs, $name" => sub { stall($server, $name, 50) };
        }
        subtest "loop $loop: a bomb that is collected" => sub {
            my ($status) = get($server, '/joined/bomb');
            is($status, 502, 'collected: too large');
        };
    }
    is(join(' ', $server->children), $child, 'by the same child') if $server->mpm ne 'prefork';
    $server->done;
}

# So many clients that do not read.
sub stall {
    my ($server, $name, $count) = @_;
    my ($child) = $server->children;
    my $before  = $server->rss($child);
    my @clients = map { $server->connect } 1 .. $count;
    print {$_} "GET /$name/bomb HTTP/1.1${CRLF}Host: x$CRLF$CRLF" for @clients;
    ok(await(sub { grep({ sysread_ready($_) } @clients) == $count }, 60),
        "$count answers have begun");
    # Until it grows no more: all that will be decoded is.
    my ($rss, $last) = (0, -1);
    await(sub { ($last, $rss) = ($rss, $server->rss($child));
            select undef, undef, undef, 0.5; $rss == $last }, 30);
    is($server->pool($name)->{busy}, $count, 'all wait for their clients') if $name eq 'large';
    my $each = ($rss - $before) / $count;
    diag(sprintf '%s: %.2f MB for each client that stalls', $name, $each / 1e6);
    cmp_ok($each, '<', 1e6, 'less than 1 MB for each client that stalls') if $is_lean;
    close $_ for @clients;
    ok(await(sub { $server->pool($name)->{busy} == 0 }, 60), 'all end');
    return;
}

# Has the answer begun to come? It is not read.
sub sysread_ready {
    my ($socket) = @_;
    my $bits = '';
    vec($bits, fileno $socket, 1) = 1;
    return select($bits, undef, undef, 0) > 0;
}

done_testing;
