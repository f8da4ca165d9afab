# SPDX-License-Identifier: Apache-2.0
#
# An upstream that lies in HTTP/2: frames written by hand, behind openssl's TLS.
# MPM: event
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTLS;
use ConnPoolTest     qw(await command free_port parse_response);
use ConnPoolUpstream qw(fetch_conf unchunk);
use IO::Compress::Gzip ();
use IPC::Open2 qw(open2);
use POSIX ();
use Test::More;

plan skip_all => 'no openssl' if (command('openssl', 'version'))[0] != 0;

my $CRLF = "\r\n";
my ($port, $reserved) = free_port();
my ($END, $DONE) = (0x1, 0x4);    # of the stream, of the head

sub frame {
    my ($type, $flags, $stream, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload;
}

sub text {
    my ($text) = @_;
    my $n = length $text;
    return pack('C', $n) . $text if $n < 127;
    my $length = pack 'C', 127;
    for ($n -= 127; $n >= 128; $n >>= 7) {
        $length .= pack 'C', 0x80 | $n & 0x7f;
    }
    return $length . pack('C', $n) . $text;
}

# A head in as many frames as it takes; flags of its first one beside the end.
sub head {
    my ($flags, @fields) = @_;
    my $block = '';
    while (my ($name, $value) = splice @fields, 0, 2) {
        $block .= "\0" . text($name) . text($value);
    }
    my @parts  = unpack '(a16000)*', $block;
    my $frames = frame(1, $flags | (@parts == 1 ? $DONE : 0), 1, shift @parts);
    $frames .= frame(9, @parts == 0 ? $DONE : 0, 1, $_) while defined(local $_ = shift @parts);
    return $frames;
}

sub data {
    my ($bytes, $flags) = @_;
    return frame(0, $flags // $END, 1, $bytes);
}

my $plain = join '', map { "line $_ of a text\n" } 1 .. 300;
IO::Compress::Gzip::gzip(\$plain, \my $packed);
my @gzip = (':status', 200, 'content-encoding', 'gzip');

# Frames => content, or undef for 502 or a cut answer.
my %cases = (
    'plain'             => [head(0, ':status', 200) . data('hi'), 'hi'],
    'trailers'          => [head(0, ':status', 200) . data('hi', 0) . head($END, 'x-sum', 1), 'hi'],
    'no body'           => [head($END, ':status', 200), ''],
    '101 with a body'   => [head(0, ':status', 101) . data('hi')],
    '101, then 200'     => [head(0, ':status', 101) . head(0, ':status', 200) . data('hi')],
    '103, then 200'     => [head(0, ':status', 103, 'link', '<a>') . head(0, ':status', 200)
            . data('hi'), 'hi'],
    '103 with a length' => [head(0, ':status', 103, 'content-length', 1)
            . head(0, ':status', 200) . data('hi')],
    '103 and a body'    => [head(0, ':status', 103) . data('hi')],
    '103 that ends'     => [head($END, ':status', 103)],
    'a body alone'      => [data('hi')],
    'no status'         => [head(0, 'x-a', 'b') . data('hi')],
    'two statuses'      => [head(0, ':status', 200, ':status', 404) . data('hi')],
    'too short'         => [head(0, ':status', 200, 'content-length', 5) . data('hi')],
    'too long'          => [head(0, ':status', 200, 'content-length', 1) . data('hi')],
    'gzip'              => [head(0, @gzip) . data($packed), $plain],
    'gzip, cut'         => [head(0, @gzip) . data(substr $packed, 0, -9)],
    'gzip, cut, length' => [head(0, @gzip, 'content-length', length($packed) - 1)
            . data(substr $packed, 0, -1)],
    'gzip, more'        => [head(0, @gzip) . data($packed . 'x')],
    'a large header'    => [head(0, ':status', 200, 'x-large', 'x' x 200_000) . data('hi')],
    'many headers'      => [head(0, ':status', 200, map { ("x-$_" => 'y' x 100) } 1 .. 1000)
            . data('hi')],
    'reset'             => [head(0, ':status', 200) . frame(3, 0, 1, pack 'N', 2)],
    'goaway'            => [frame(7, 0, 0, pack 'NN', 0, 1)],
    'garbage'           => ["HTTP/1.1 200 OK$CRLF${CRLF}hi"],
);

my $server = ConnPoolTest->new(conf => '');
my $tls    = ConnPoolTLS->new($server->dir('tls'));
my ($cert, $key) = $tls->issue('far', 'DNS:localhost,IP:127.0.0.1');
$server->conf(join '', map {
        fetch_conf("up$_", "https://127.0.0.1:$port/", 'http2=on ca=' . $tls->ca,
            'keepalive=0 retry=0 breaker=0 total=30s read=5s', $_ ? 'coalesce=on' : '')
    } 0, 1);
$server->allow_log(qr/upstream 'up\d'/);
$server->start;

# Has the client's HEADERS frame come?
sub is_asked {
    my ($text) = @_;
    return 0 if length $text < 24;
    substr $text, 0, 24, '';
    while (length $text >= 9) {
        my ($high, $low, $type) = unpack 'CnC', $text;
        return 1 if $type == 1;
        return 0 if length $text < 9 + $high * 65536 + $low;
        substr $text, 0, 9 + $high * 65536 + $low, '';
    }
    return 0;
}

# Serve one connection with these frames, in a process of its own; its pid.
sub serve {
    my ($frames) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $SIG{PIPE} = 'IGNORE';
    open STDERR, '>', '/dev/null';
    my $far = open2(my $out, my $in, 'openssl', 's_server', '-accept', "127.0.0.1:$port",
        '-cert', $cert, '-key', $key, '-alpn', 'h2', '-quiet', '-naccept', 1);
    local $SIG{TERM} = sub { kill 'KILL', $far; POSIX::_exit(0) };
    my $text = '';
    while (!is_asked($text)) {
        sysread($out, $text, 65536, length $text) or last;
    }
    syswrite $in, frame(4, 0, 0, '') . frame(4, 1, 0, '') . $frames;
    1 while sysread $out, $text, 65536;
    waitpid $far, 0;
    POSIX::_exit(0);
}

for my $name (sort keys %cases) {
    my ($frames, $content) = @{$cases{$name}};
    for my $up (qw(up0 up1)) {
        my $pid = serve($frames);
        ok(await(sub { is_listening() }, 20), "$name: the upstream is there");
        my $answer = parse_response($server->raw(
                "GET /$up/ HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"));
        my ($got, $is_whole) = ($answer->{content}, 1);
        ($got, $is_whole) = unchunk($got)
            if ($answer->{headers}{'transfer-encoding'} // '') eq 'chunked';
        if (defined $content) {
            is($answer->{status}, 200, "$up: $name");
            ok($got eq $content && $is_whole, "$up: $name: whole") or diag($got);
        }
        elsif ($answer->{status} == 200) {
            ok(!$is_whole, "$up: $name: cut") or diag($got);
        }
        else {
            # libcurl 7.88 does not hear of a head that nghttp2 finds too large.
            my $status = $name eq 'many headers' ? qr/^50[24]$/ : qr/^502$/;
            like($answer->{status}, $status, "$up: $name: 502") or diag($got);
        }
        kill 'TERM', $pid;
        waitpid $pid, 0;
        await(sub { !is_listening() }, 10);
    }
}

# Asked of the kernel: to connect would be the one connection.
sub is_listening {
    my $local = sprintf '0100007F:%04X', $port;
    open my $in, '<', '/proc/net/tcp' or return 0;
    return scalar grep { my @f = split; $f[1] eq $local && $f[3] eq '0A' } <$in>;
}

is(scalar($server->children), 1, 'the child lives');
$server->done;
done_testing;
