# SPDX-License-Identifier: Apache-2.0
#
# Every way in which an upstream can take its time meets its own deadline, and
# nobody else waits for it.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await parallel read_until slowness);
use ConnPoolUpstream qw(fetch_conf unchunk);
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

my $CRLF     = "\r\n";
my $upstream = ConnPoolUpstream->start;
my $fast     = ConnPoolUpstream->start;

# A listener that accepts nothing, with a full queue: connecting to it takes
# for ever.
my $deaf = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1',
    Listen    => 1,
    ReuseAddr => 1,
) // die "listen: $@";
my @crowd;
for (1 .. 8) {
    my $one = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $deaf->sockport,
        Blocking => 0,
    );
    push @crowd, $one if $one;
}
my $deaf_url = 'http://127.0.0.1:' . $deaf->sockport . '/';

# All times are longer on a busy machine: many requests must be under way at
# once, and one limit must be told from the next.
my $SLOW = slowness();

# "connect=700ms total=5s" with longer times.
sub limits {
    my ($text) = @_;
    return $text =~ s/(\d+)(m?s)\b/int($1 * $SLOW * ($2 eq 's' ? 1000 : 1)) . 'ms'/ger;
}

# Without a breaker: it would spare others the wait.
my $conf = join '',
    fetch_conf('deaf', $deaf_url,
        limits('connect=700ms read=3s total=5s retry=0 breaker=0')),
    fetch_conf('deaf_read', $deaf_url, limits('connect=5s read=300ms total=900ms')),
    fetch_conf('read',  $upstream->url('/'), limits('read=600ms total=5s breaker=0')),
    fetch_conf('total', $upstream->url('/'), limits('read=2s total=1s')),
    fetch_conf('retry', $upstream->url('/'), limits('read=5s total=800ms retry=10')),
    fetch_conf('fast', $fast->url('/text')),
    fetch_conf('unknown', 'http://no-such-host.invalid/', 'breaker=0'),
    fetch_conf('closed', 'http://127.0.0.1:1/');

sub json_of {
    my ($text) = @_;
    return $text =~ /(\{"type".*\})/ ? $1 : '';
}

for my $loop (($ENV{CONNPOOL_MPM} // '') eq 'prefork' ? 'Off' : ('On', 'Off')) {
    my $server = ConnPoolTest->new(
        children => ($ENV{CONNPOOL_MPM} // '') eq 'prefork' ? 10 : 1,
        threads  => 40,
        conf     => "ConnPoolEventLoop $loop\n$conf"
    );
    $server->allow_log(qr/ \[connpool:error\] .* upstream '/);
    $server->start;

    # All at once: {path => [time taken, answer as it came]}.
    my $timed = sub {
        my @paths  = @_;
        my @values = parallel(
            scalar @paths,
            sub {
                my ($i)   = @_;
                my $start = time;
                my $text  = $server->raw(
                    "GET $paths[$i] HTTP/1.1${CRLF}Host: x$CRLF"
                        . "Connection: close$CRLF$CRLF",
                    10 * $SLOW
                );
                return [time - $start, $text];
            }
        );
        return map { $paths[$_] => $values[$_] } 0 .. $#paths;
    };

    # Not before its deadline, and at most 250 ms after it.
    my $is_in_time = sub {
        my ($took, $seconds, $name) = @_;
        my $deadline = $seconds * $SLOW;
        cmp_ok($took, '>=', $deadline, "$name: not before the deadline");
        cmp_ok($took, '<=', $deadline + 0.25 * slowness(), "$name: at it");
        return;
    };

    subtest "loop $loop: deadlines" => sub {
        my $connect = 'the upstream took too long to connect to';
        my $silent  = 'the upstream fell silent';
        my $total   = 'the upstream took too long to answer';
        my %late = (
            '/deaf'                      => [0.7, $connect],
            '/deaf_read'                 => [0.9, $connect],
            '/read/hang'                 => [0.6, $silent],
            "/read/delay/@{[3 * $SLOW]}"       => [0.6, $silent],
            "/read/slow-head?pause=@{[3 * $SLOW]}" => [0.6, $silent],
            '/total/hang'                => [1.0, $total],
            "/total/slow-head?pause=@{[0.4 * $SLOW]}" => [1.0, $total],
            '/retry/hang'                => [0.8, $total],
        );
        my $slow = '/read/slow-head?pause=0.3';
        my %seen = $timed->(sort(keys %late), $slow);
        for my $path (sort keys %late) {
            my ($deadline, $cause) = @{$late{$path}};
            my ($took,     $text)  = @{$seen{$path}};
            $is_in_time->($took, $deadline, $path);
            like($text, qr{^HTTP/1\.1 504 }, "$path: 504");
            like(json_of($text), qr/"upstream '\w+': $cause\."/,
                "$path: $cause");
        }
        my ($took, $text) = @{$seen{$slow}};
        like($text, qr{^HTTP/1\.1 200 .*slow\n}s, 'slow is not silent');
        cmp_ok($took, '>=', 0.9, 'it took its time');
    };

    subtest "loop $loop: within the body" => sub {
        my %late = (
            "/read/trickle?n=20&pause=@{[2 * $SLOW]}" => 0.6,
            '/read/hang-body?size=200000'    => 0.6,
            "/total/trickle?n=100&pause=@{[0.1 * $SLOW]}" => 1.0,
            '/total/hang-body?size=200000'   => 1.0,
        );
        my $slow = '/read/trickle?n=8&pause=0.2';
        my %seen = $timed->(sort(keys %late), $slow);
        for my $path (sort keys %late) {
            my ($took, $text) = @{$seen{$path}};
            $is_in_time->($took, $late{$path}, $path);
            my ($head,    $body)     = split /\r\n\r\n/, $text, 2;
            my ($content, $is_whole) =
                $head =~ /^Content-Length: (\d+)/m
                ? ($body, length $body == $1)
                : unchunk($body);
            like($head, qr{^HTTP/1\.1 200 }, 'it had begun');
            cmp_ok(length $content, '>', 0, 'some came');
            ok(!$is_whole, 'so it is cut');
        }
        my ($took, $text) = @{$seen{$slow}};
        ok((unchunk((split /\r\n\r\n/, $text, 2)[1]))[1],
            'slow is not silent');
        cmp_ok($took, '>=', 1.4, 'it took its time');
    };

    subtest "loop $loop: no connection at all" => sub {
        my %seen = $timed->('/unknown', '/closed');
        my ($took, $text) = @{$seen{'/unknown'}};
        like($text, qr{^HTTP/1\.1 502 }, 'a name that does not exist');
        like(json_of($text), qr/name could not be resolved/, 'is named');
        unlike($text, qr/\.invalid/, 'but not told');
        cmp_ok($took, '<', 3 * slowness(), 'quickly');
        ($took, $text) = @{$seen{'/closed'}};
        like($text, qr{^HTTP/1\.1 502 }, 'a port that is closed');
        like(json_of($text), qr/refused the connection/, 'is named');
        cmp_ok($took, '<', 0.5 * slowness(), 'at once');
    };

    # Whoever waits, waits for himself: one child serves them all.
    SKIP: {
        skip 'a child serves one request', 1 if $server->mpm eq 'prefork';
        subtest "loop $loop: the others go on" => sub {
            $server->get('/fast') for 1 .. 10;
            my @stuck = map { $server->connect } 1 .. 24;
            my @paths = ('/deaf', '/read/hang', "/total/trickle?n=100&pause=@{[0.1 * $SLOW]}",
                '/unknown');
            for my $i (0 .. $#stuck) {
                my $path = $paths[$i % @paths];
                print {$stuck[$i]} "GET $path HTTP/1.0$CRLF$CRLF";
            }
            ok(
                await(
                    sub {
                        my $busy = 0;
                        $busy += $_->{busy} for @{$server->status_json->{pools}};
                        return $busy >= 18;
                    },
                    3
                ),
                'many are stuck'
            );
            my @times;
            my $end = time + 0.4 * $SLOW;
            while (time < $end) {
                my $start  = time;
                my $answer = $server->get('/fast');
                push @times, time - $start;
                is($answer->{status}, 200, 'fast is answered')
                    if $answer->{status} != 200;
            }
            @times = sort { $a <=> $b } @times;
            my $p99 = $times[int(0.99 * $#times)];
            cmp_ok(scalar @times, '>', 10, @times . ' answers meanwhile');
            cmp_ok($p99, '<', 0.2 * slowness(),
                sprintf 'p99 %.1f ms', 1000 * $p99);
            my @lines = map { read_until($_, undef, 5 * $SLOW) =~ /^HTTP\S+ (\d+)/ }
                @stuck;
            my %seen;
            $seen{$_}++ for @lines;
            is_deeply(\%seen, {504 => 12, 200 => 6, 502 => 6},
                'the others got what they were to get')
                or diag(explain(\%seen));
        };
    }
    $server->done;
}

done_testing;
