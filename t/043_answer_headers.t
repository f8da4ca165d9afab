# SPDX-License-Identifier: Apache-2.0
#
# Which headers of an upstream's answer reach the client: those a status says
# nothing without, those that answer-headers= names, and never one that is about
# another connection.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(parse_response);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;

my $CRLF     = "\r\n";
my $upstream = ConnPoolUpstream->start(
    routes => {
        # With these headers, by lines of the parameter h.
        '/with' => sub {
            my ($request, $params, $status) = @_;
            my $length = $status == 304 ? '' : "Content-Length: 2$CRLF";
            (my $headers = $params->{h} // '') =~ s/\n/$CRLF/g;
            return [send => "HTTP/1.1 $status X$CRLF$length$headers$CRLF"
                    . ($length ? 'hi' : '')];
        },
    },
);

my $named = 'answer-headers=X-One,Set-Cookie,Access-Control-Allow-Origin,'
    . 'Strict-Transport-Security,etag,Location';
my $url    = $upstream->url('/');
my $server = ConnPoolTest->new(conf => fetch_conf('plain', $url)
        . fetch_conf('named', $url, $named)
        . fetch_conf('shared', $url, 'coalesce=on answer-headers=X-One'));
$server->start;

sub escape {
    my ($text) = @_;
    $text =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ge;
    return $text;
}

# The lines of a header in an answer with these headers, as they came.
sub lines {
    my ($name, $up, $status, @headers) = @_;
    my $text = $server->raw("GET /$up/with/$status?h="
            . escape(join '', map { "$_\n" } @headers)
            . " HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF");
    my ($head) = split /\r\n\r\n/, $text;
    like($head, qr{^HTTP/1\.1 $status }, "$up: $status");
    return join ' | ', $head =~ /^$name: ([^\r\n]*)/gim;
}

subtest 'what belongs to a status' => sub {
    my @challenges = ('WWW-Authenticate: Basic realm="a, b"',
        'WWW-Authenticate: Digest nonce="x"');
    my $both = 'Basic realm="a, b" | Digest nonce="x"';
    for my $up (qw(plain shared)) {
        is(lines('WWW-Authenticate', $up, 401, @challenges), $both, 'all challenges');
        is(lines('WWW-Authenticate', $up, 200, @challenges), '',    'no others');
        is(lines('Proxy-Authenticate', $up, 407, map { s/WWW/Proxy/r } @challenges),
            $both, 'of a proxy');
        is(lines('Proxy-Authenticate', $up, 401, 'Proxy-Authenticate: Basic'), '', 'no others');
        is(lines('Content-Range', $up, 416, 'Content-Range: bytes */10'),
            'bytes */10', 'which ranges there are');
        is(lines('Content-Range', $up, 206, 'Content-Range: bytes 0-1/10'),
            'bytes 0-1/10', 'which range it is');
        is(lines('Content-Range', $up, 200, 'Content-Range: bytes 0-1/2'), '', 'no others');
        is(lines('Allow', $up, 405, 'Allow: GET, HEAD'), 'GET, HEAD', 'which methods');
        is(lines('Retry-After', $up, 503, 'Retry-After: 9'), 9, 'when to ask again');
    }
};

subtest 'answer-headers=' => sub {
    my @headers = ('X-One: 1', 'x-one: 2', 'X-Two: 1', 'Set-Cookie: a=b; Path=/', 'Set-Cookie: c=d',
        'Access-Control-Allow-Origin: *', 'Strict-Transport-Security: max-age=1',
        'Alt-Svc: h2=":1"', 'ETag: "x"', 'Location: /there');
    my %wanted = (
        'X-One' => '1 | 2', 'X-Two' => '', 'Set-Cookie' => 'a=b; Path=/ | c=d',
        'Access-Control-Allow-Origin' => '*', 'Strict-Transport-Security' => 'max-age=1',
        'Alt-Svc' => '', 'ETag' => '"x"', 'Location' => '/there',
    );
    for my $status (200, 201, 404, 500) {
        is(lines($_, 'named', $status, @headers), $wanted{$_}, "$_ of $status")
            for sort keys %wanted;
    }
    is(lines('X-One',      'plain', 200, @headers), '', 'not of others');
    is(lines('Set-Cookie', 'plain', 200, @headers), '', 'not of others');
    is(lines('X-One', 'shared', 200, @headers), '1 | 2', 'shared');
    is(lines('X-One', 'named', 200, 'X-One: 1', 'Connection: X-One', 'Connection: close'),
        '', 'not what the connection names');
    is($server->get('/named/with/304?h=X-One:%201%0A')->{status}, 304, '304 has them');
};

subtest 'a failure has none of them' => sub {
    $server->allow_log(qr/ \[connpool:error\] .* upstream '/);
    my $text = $server->raw("GET /named/with/200?h="
            . escape("X-One: 1\nSet-Cookie: a=b\nWWW-Authenticate: Basic\nContent-Length: 9\n")
            . " HTTP/1.0$CRLF$CRLF");
    like($text, qr{^HTTP/1\.\d 502 }, 'it is 502');
    unlike($text, qr/X-One|Set-Cookie|WWW-/i, 'alone');
};

subtest 'configtest' => sub {
    my %bad = (
        (map { ($_ => qr/'$_' cannot be passed on/i) }
                qw(Connection keep-alive Proxy-Authenticate Proxy-Connection TE Trailer
                Transfer-Encoding UPGRADE Content-Length Content-Encoding Date Server)),
        'X-One,Upgrade' => qr/'Upgrade' cannot be passed on/,
        ''        => qr/'' is not a header's name/,
        'X-One,'  => qr/'' is not a header's name/,
        ',X-One'  => qr/'' is not a header's name/,
        'A,,B'    => qr/'' is not a header's name/,
        'X One'   => qr/'X One' is not a header's name/,
        'X-One, X-Two' => qr/' X-Two' is not a header's name/,
        'X-One:'  => qr/'X-One:' is not a header's name/,
        '(x)'     => qr/'\(x\)' is not a header's name/,
        "X-\xc3\xa4" => qr/is not a header's name/,
    );
    for my $list (sort keys %bad) {
        my ($exit, $text) =
            $server->configtest("ConnPoolUpstream u http://127.0.0.1/ \"answer-headers=$list\"\n");
        isnt($exit, 0, "'$list' is refused");
        like($text, qr/ConnPoolUpstream u: answer-headers.*$bad{$list}/, 'with the reason');
    }
    my ($exit, $text) = $server->configtest('ConnPoolUpstream u http://127.0.0.1/ '
            . "answer-headers=set-cookie coalesce=on\n");
    isnt($exit, 0, 'cookies are not shared');
    like($text, qr/coalesce=on shares/, 'with the reason');
    ($exit, $text) = $server->configtest("ConnPoolUpstream u http://127.0.0.1/ "
            . "answer-headers=X-One,!x#y,Set-Cookie\n");
    is($exit, 0, 'others are fine') or diag($text);
};

$server->done;
done_testing;
