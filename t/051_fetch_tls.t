# SPDX-License-Identifier: Apache-2.0
#
# connpool-fetch over TLS: whom it trusts, and whom it does not.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await command free_port parallel parse_response);
use ConnPoolUpstream qw(fetch_conf);
use ConnPoolTLS;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'no openssl' if (command('openssl', 'version'))[0] != 0;

my $far = ConnPoolTest->new(
    plain   => 1,
    status  => 0,
    mpm     => 'event',
    threads => 16,
    modules => ['ssl', 'http2'],
);
my $tls      = ConnPoolTLS->new($far->dir('tls'));
my $stranger = ConnPoolTLS->new($far->dir('stranger'));
my $ca       = $tls->ca;
my (%port, %reserved);

# A virtual host of the upstream on a port of its own.
sub far_host {
    my ($name, $cert, $key, @lines) = @_;
    ($port{$name}, $reserved{$name}) = free_port();
    return join "\n", "Listen 127.0.0.1:$port{$name}",
        "<VirtualHost 127.0.0.1:$port{$name}>", $tls->conf($cert, $key),
        @lines, '</VirtualHost>', '';
}

my $names = 'DNS:localhost,IP:127.0.0.1';
my @good  = $tls->issue('good', $names);
my @mine  = $tls->issue('mine', 'DNS:client.test');
my $far_conf = join '', far_host('good', @good),
    far_host('wrong',   $tls->issue('wrong',   'DNS:elsewhere.test')),
    far_host('common',  $tls->issue('localhost', 'DNS:elsewhere.test')),
    far_host('expired', $tls->issue('expired', $names, days => -1)),
    far_host('foreign', $stranger->issue('foreign', $names)),
    far_host('alone',   $stranger->ca, $far->dir('stranger/ca.key')),
    far_host('old', @good, 'SSLProtocol TLSv1.1',
        'SSLCipherSuite ALL:@SECLEVEL=0'),
    far_host('new12', @good, 'SSLProtocol TLSv1.2'),
    far_host('new13', @good, 'SSLProtocol TLSv1.3'),
    far_host('asks', @good, 'SSLVerifyClient require',
        "SSLCACertificateFile \"$ca\"", 'SSLProtocol TLSv1.2'),
    far_host('h2', @good, 'Protocols h2 http/1.1',
        'CustomLog "@DIR@/logs/h2_log" "%H %{remote}p"');
$far->conf($far_conf);
$far->write_file('htdocs/file.txt',  "over TLS\n");
$far->write_file('htdocs/large.txt', 'x' x 3_000_000);
# That clients are refused is what is tested.
$far->allow_log(qr/ \[ssl:\w+\] | AH0[12]\d{3}: .*(?:SSL|certificate|handshake)/x);
$far->start;

sub far_url {
    my ($name, $host) = @_;
    return "https://" . ($host // '127.0.0.1') . ":$port{$name}/";
}

my $conf = join '', fetch_conf('good', far_url('good'), "ca=$ca"),
    fetch_conf('by_name', far_url('good', 'localhost'), "ca=$ca",
    'private=allow'),
    fetch_conf('without', far_url('good')),
    fetch_conf('other_ca', far_url('good'), 'ca=' . $stranger->ca),
    (map { fetch_conf($_, far_url($_), "ca=$ca") }
        qw(wrong expired foreign alone old new12 new13)),
    fetch_conf('common', far_url('common', 'localhost'), "ca=$ca",
    'private=allow'),
    fetch_conf('silent_client', far_url('asks'), "ca=$ca"),
    fetch_conf('client', far_url('asks'), "ca=$ca", "cert=$mine[0]",
    "key=$mine[1]"),
    fetch_conf('h2', far_url('h2'), "ca=$ca", 'http2=on'),
    fetch_conf('h1', far_url('h2'), "ca=$ca"),
    fetch_conf('h2_old', far_url('good'), "ca=$ca", 'http2=on'),
    fetch_conf('no_tls', 'https://127.0.0.1:' . $far->port . '/', "ca=$ca");

# Read a large body, odd clients with pauses; its length.
sub read_at_pace {
    my ($server, $i) = @_;
    my $client = $server->connect;
    print {$client} "GET /h2/large.txt HTTP/1.0\r\n\r\n";
    my ($text, $reads) = ('', 0);
    while (sysread $client, $text, 16384 + $i * 3000, length $text) {
        sleep 0.002 if $i % 2 && !(++$reads % 8);
    }
    return length parse_response($text)->{content};
}

# That the upstream which is too old works at all, for those who are.
{
    my (undef, $text) = command('openssl', 's_client', '-connect',
        "127.0.0.1:$port{old}", '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0',
        '-CAfile', $ca);
    like($text, qr/Protocol\s*: TLSv1\.1/, 'the old upstream speaks TLS 1.1');
}

for my $loop (($ENV{CONNPOOL_MPM} // '') eq 'prefork' ? 'Off' : ('On', 'Off')) {
    my $server = ConnPoolTest->new(conf => "ConnPoolEventLoop $loop\n$conf");
    $server->allow_log(qr/ \[connpool:error\] .* upstream '/);
    $server->start;

    # A refusal, what the client and what the log are told.
    my $is_refused = sub {
        my ($name, $cause, $detail) = @_;
        my $mark   = $server->log_mark;
        my $answer = $server->get("/$name/file.txt");
        is($answer->{status}, 502, "$name: 502");
        like($answer->{content}, qr/"upstream '$name': $cause\."/,
            "$name: $cause");
        like($server->log_since($mark), $detail, "$name: the log knows more");
        unlike($answer->{content}, qr/over TLS|127\.0\.0\.1/,
            "$name: nothing told");
        return;
    };
    my $untrusted = "the upstream's certificate was not accepted";

    subtest "loop $loop: accepted" => sub {
        for my $name (qw(good by_name new12 new13 client)) {
            my $answer = $server->get("/$name/file.txt");
            is($answer->{content}, "over TLS\n", $name)
                or diag($answer->{content});
        }
        is(length $server->get('/good/large.txt')->{content}, 3_000_000,
            'a large body');
        is($server->get("/good/missing")->{status}, 404, 'its 404');
        my ($line) = grep { $_->{name} eq 'good' }
            @{$server->status_json->{upstreams}};
        cmp_ok($line->{reused}, '>=', 1, 'connections are reused')
            if $server->mpm ne 'prefork';
    };

    # Behind those that succeeded: what they left open must not be borrowed.
    subtest "loop $loop: refused" => sub {
        $is_refused->('without', $untrusted, qr/unable to get local issuer/);
        $is_refused->('other_ca', $untrusted, qr/unable to get local issuer/);
        $is_refused->('wrong', $untrusted, qr/no alternative certificate/);
        $is_refused->('common', $untrusted, qr/no alternative certificate/);
        $is_refused->('expired', $untrusted, qr/certificate has expired/);
        $is_refused->('foreign', $untrusted, qr/unable to get local issuer/);
        $is_refused->('alone', $untrusted, qr/self-signed certificate/);
        my $no_tls = 'no secure connection to the upstream could be made';
        $is_refused->('old', $no_tls, qr/protocol version|unsupported protocol/);
        $is_refused->('no_tls', $no_tls, qr/wrong version number/);
        $is_refused->('silent_client',
            qr/(?:$no_tls|the upstream closed the connection too early)/,
            qr/handshake failure|certificate required/);
    };

    subtest "loop $loop: HTTP/2" => sub {
        my $read_log = sub {
            open(my $in, '<', $far->dir('logs/h2_log')) or return '';
            local $/ = undef;
            return <$in> // '';
        };
        my $mark = length $read_log->();
        is($server->get('/h2/file.txt')->{content}, "over TLS\n", 'answered');
        # Clients of different speed: the streams of one connection are paused
        # and go on.
        my @lengths = map { parallel(8, sub { read_at_pace($server, $_[0]) }) } 1 .. 3;
        is_deeply(\@lengths, [(3_000_000) x 24], 'many at once');
        is($server->get('/h1/file.txt')->{content}, "over TLS\n",
            'not where it is off');
        is($server->get('/h2_old/file.txt')->{content}, "over TLS\n",
            'an upstream without it is asked by HTTP/1.1');
        my $asked = await(
            sub {
                my $text = substr $read_log->(), $mark;
                return $text =~ tr/\n// >= 26 && $text;
            },
            5
        ) // '';
        is(() = $asked =~ m{^HTTP/2\.0 }mg, 25, 'HTTP/2 was spoken');
        is(() = $asked =~ m{^HTTP/1\.1 }mg, 1, 'HTTP/1.1 where wanted');
        my %seen = map { $_ => 1 } $asked =~ m{^HTTP/2\.0 (\d+)}mg;
        is(scalar keys %seen, 1, 'over one connection') if $loop eq 'On';
    };

    $server->done;
}

$far->done;
done_testing;
