# SPDX-License-Identifier: Apache-2.0
#
# Upstreams of all servers share one loop in a child; what one of them says of
# its connections is not what counts for another.
# MPM: event
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await free_port parallel slowness);
use ConnPoolUpstream qw(fetch_conf);
use HTTP::Tiny   ();
use Test::More;
use Time::HiRes qw(sleep time);

my $CRLF  = "\r\n";
my %stubs = map { $_ => ConnPoolUpstream->start } qw(long short other);

# Fetches run in their requests' threads, or, where they could share a connection,
# in the loop.
my $where = '';

sub conf_of {
    my ($name, @options) = @_;
    return fetch_conf($name, $stubs{$name}->url('/'), $where, @options);
}

# Connections made for a fetch of this path.
sub made {
    my ($server, $name, $path) = @_;
    my $before = $stubs{$name}->stats->{connections};
    is($server->get("/$name/" . ($path // 'text'))->{status}, 200, "$name is fetched");
    return $stubs{$name}->stats->{connections} - $before;
}

# Its idle connections as the kernel has them: the upstream's own count shows
# what was closed.
sub open_at {
    return $stubs{$_[0]}->stats->{open};
}

sub start {
    my ($conf, %arg) = @_;
    $_->restart for values %stubs;
    my $server = ConnPoolTest->new(threads => 40, conf => $conf, %arg);
    $server->start;
    return $server;
}

# States of the sockets that are connected to this port of 127.0.0.1.
sub tcp_states {
    my ($port) = @_;
    my $peer = sprintf '0100007F:%04X', $port;
    open my $in, '<', '/proc/net/tcp' or return;
    return map { my @f = split; ($f[2] // '') eq $peer ? $f[3] : () } <$in>;
}

sub keep_and_close {
    my ($how) = @_;
    $where = $how;
    subtest 'a longer keepalive= than the server\'s' => sub {
        my $server = start("ConnPoolHTTPKeepAlive 1s\n" . conf_of('long', 'keepalive=60s')
                . conf_of('short'));
        is(made($server, 'long'),  1, 'a connection is made');
        is(made($server, 'short'), 1, 'another for the other');
        # The server's own is closed when its time is over, and with it would be all.
        ok(await(sub { open_at('short') == 0 }, 20 * slowness()), 'the short one is closed');
        is(open_at('long'), 1, 'the long one stays');
        is(made($server, 'short'), 1, 'while the other is made anew');
        is(made($server, 'long'),  0, 'and is used again');
        $server->done;
    };

    subtest 'traffic of one with a shorter time' => sub {
        my $server = start(conf_of('long', 'keepalive=60s lifetime=1h')
                . conf_of('short', 'keepalive=1s lifetime=1s'));
        is(made($server, 'long'), 1, 'a connection is made');
        my $end = time + 4;
        while (time < $end) {
            made($server, 'short');
            sleep 0.3;
        }
        is(open_at('long'), 1, 'it outlives the other\'s');
        is(made($server, 'long'), 0, 'and is used again');
        cmp_ok($stubs{short}->stats->{connections}, '>', 1, 'which has its own, short life');
        $server->done;
    };

    subtest 'one whose upstream closes' => sub {
        my $server = start(conf_of('long', 'keepalive=60s') . conf_of('other', 'keepalive=60s'));
        is(made($server, 'long'),  1, 'a connection is made');
        is(made($server, 'other'), 1, 'another for the other');
        $stubs{other}->stop;
        # Its end is acknowledged: nothing is left in CLOSE_WAIT.
        my $port = $stubs{other}->port;
        ok(await(sub { !grep { $_ eq '08' } tcp_states($port) }, 20 * slowness()),
            'the dead one is dropped');
        is(made($server, 'long'), 0, 'the live one is used again');
        $stubs{other}->restart;
        is(made($server, 'other'), 1, 'and the dead one replaced');
        $server->done;
    };

    subtest 'virtual hosts' => sub {
        my $port   = free_port();
        my $server = start("Listen 127.0.0.1:$port\nConnPoolHTTPMax 2\nConnPoolHTTPKeepAlive 1s\n"
                . "ConnPoolHTTPCleanup Off\n"
                . conf_of('short')
                . "<VirtualHost 127.0.0.1:$port>\nConnPoolHTTPMax 20\nConnPoolHTTPKeepAlive 60s\n"
                . "ConnPoolHTTPCleanup On\n"
                . conf_of('long', 'acquire=20s') . "</VirtualHost>\n");
        my $get = sub {
            my ($path) = @_;
            return HTTP::Tiny->new(timeout => 30)->get("http://127.0.0.1:$port$path");
        };
        my $twenty = sub {
            my @seen = parallel(20, sub { return $get->('/long/delay/0.7')->{status} });
            is(scalar(grep { $_ == 200 } @seen), 20, 'twenty are fetched');
        };
        $twenty->();
        is(made($server, 'short'), 1, 'one by the main server');
        my $open = open_at('long');
        cmp_ok($open, '>', 2, "$open are kept, more than the main server may have");
        ok(await(sub { open_at('short') == 0 }, 20 * slowness()), 'that of the main server is closed');
        is(open_at('long'), $open, 'the others are not');
        my $before = $stubs{long}->stats->{connections};
        is($get->('/long/text')->{status}, 200, 'fetched');
        is($stubs{long}->stats->{connections}, $before, 'by one of them');
        $stubs{long}->stop;
        ok(await(sub { !tcp_states($stubs{long}->port) || !grep { $_ eq '08' } tcp_states($stubs{long}->port) },
                20 * slowness()), 'dropped when the upstream closes, as the virtual host says');
        $server->allow_log(qr/upstream 'long'/);
        $server->done;
    };
    return;
}

subtest 'in their threads' => sub { keep_and_close('') };
subtest 'in the loop'      => sub { keep_and_close('http2=on') };
$where = '';

subtest 'queues in front of a shared limit' => sub {
    my $url    = $stubs{long}->url('/');
    my $server = start("ConnPoolHTTPMax 1\n" . fetch_conf('first', $url, 'queue=0 acquire=10s overflow=reject')
            . fetch_conf('second', $stubs{other}->url('/'), 'queue=100 acquire=10s overflow=reject'));
    my @seen = parallel(2, sub {
            return $server->get('/first/delay/1', timeout => 20)->{status} if $_[0] == 0;
            await(sub { $stubs{long}->stats->{busy} == 1 }, 10);
            return $server->get('/second/text', timeout => 20)->{status};
        });
    is("@seen", '200 200', 'who may wait does, whatever the first may');
    $server->allow_log(qr/pool 'second'/);
    $server->done;
};

done_testing;
