# SPDX-License-Identifier: Apache-2.0
#
# How many connections go out, as the upstream sees it, and where to they may
# go. Limits are per child, and need children that serve many requests at once.
# MPM: event
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await parallel read_until slowness);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;
use Time::HiRes qw(time);

my $is_prefork = ($ENV{CONNPOOL_MPM} // '') eq 'prefork';
my $upstream   = ConnPoolUpstream->start;
my $trap       = ConnPoolUpstream->start;
my $port       = $upstream->port;

# Two origins of one server, so that it can count for both.
my $here  = $upstream->url('/');
my $local = "http://localhost:$port/";

my $limits = join '', "ConnPoolHTTPMax 12\nConnPoolHTTPPerHost 8\n",
    fetch_conf('few',    $here,  'max=3 acquire=10s overflow=reject'),
    fetch_conf('many',   $here,  'acquire=10s overflow=reject'),
    fetch_conf('third',  $here,  'max=5 acquire=10s overflow=reject'),
    fetch_conf('local', $local, 'private=allow acquire=10s overflow=reject');

# Ask for all of these at once: [status, seconds, headers, content] each.
sub all_at_once {
    my ($server, @paths) = @_;
    return parallel(
        scalar @paths,
        sub {
            my $start  = time;
            my $answer = $server->get($paths[$_[0]], timeout => 20);
            return [$answer->{status}, time - $start, $answer->{headers},
                $answer->{content}];
        }
    );
}

sub statuses {
    my %count;
    $count{$_->[0]}++ for @_;
    return \%count;
}

# With an upstream whose counters begin at nothing.
sub busy_peak {
    my ($server, @paths) = @_;
    $upstream->restart;
    my @answers = all_at_once($server, @paths);
    is_deeply(statuses(@answers), {200 => scalar @paths},
        'all ' . @paths . ' are answered');
    return $upstream->stats;
}

sub hold_limits {
    my ($server, $what) = @_;
    my $peak = busy_peak($server, ('/few/delay/0.15') x 12)->{busy_peak};
    is($peak, 3, "$what: max= is reached, not exceeded");
    $peak = busy_peak($server, map { ("/$_/delay/0.25") x 8 }
            qw(few many third))->{busy_peak};
    is($peak, 8, "$what: the limit per host, shared by three upstreams");
    $peak = busy_peak($server, map { ("/$_/delay/0.25") x 10 }
            qw(many third local))->{busy_peak};
    is($peak, 12, "$what: the limit of all");
    return;
}

my %flags = (
    'all on'          => '',
    'HTTPPool Off'    => "ConnPoolHTTPPool Off\n",
    'EventLoop Off'   => "ConnPoolEventLoop Off\n",
    'Engine Off'      => "ConnPoolEngine Off\n",
);

SKIP: {
    skip 'limits are per child', 1 if $is_prefork;

    my %bodies;
    for my $what (sort keys %flags) {
        subtest $what => sub {
            my $server =
                ConnPoolTest->new(threads => 40, conf => $flags{$what} . $limits);
            $server->start;
            hold_limits($server, $what);
            $upstream->restart;
            my $text = '';
            for my $path ('text', 'large/300000', 'large-chunked/300000',
                'gzip/70000', 'status/404', 'json')
            {
                my $answer = $server->get("/many/$path");
                $text .= "$path $answer->{status} "
                    . "$answer->{headers}{'content-type'} $answer->{content}\n";
            }
            $bodies{$what} = $text;
            my $is_pooled = $what !~ /HTTPPool|Engine/;
            is($upstream->stats->{connections}, $is_pooled ? 1 : 6,
                $is_pooled ? 'one connection' : 'a connection each');
            ok(await(sub { $upstream->stats->{open} == 0 }, 3),
                'closed after use')
                if !$is_pooled;
            my $loop = $server->status_json->{event_loop};
            is(!!$loop->{running}, $what =~ /EventLoop|Engine/ ? !!0 : !!1,
                'the loop runs where it should');
            is($loop->{in_flight}, 0, 'nothing is left in it');
            $server->done;
        };
    }
    is($bodies{$_}, $bodies{'all on'}, "$_: equal answers")
        for sort keys %flags;

    subtest 'exhausted' => sub {
        my $server = ConnPoolTest->new(
            threads => 40,
            conf    => join '',
            fetch_conf('direct', $here, 'max=2 acquire=200ms overflow-max=3'),
            fetch_conf('reject', $here, 'max=2 acquire=200ms overflow=reject'),
            fetch_conf('at_once', $here, 'max=2 acquire=0 overflow=reject'),
            fetch_conf('queue', $here,
                'max=1 acquire=5s queue=2 overflow=reject'),
            fetch_conf('first', $trap->url('/'), 'perhost=4 acquire=10s'),
            fetch_conf('second', $trap->url('/'), 'acquire=10s')
        );
        $server->start;

        $upstream->restart;
        my @answers = all_at_once($server, ('/direct/delay/1') x 10);
        is_deeply(statuses(@answers), {200 => 5, 503 => 5},
            'direct: two, and three beside them');
        my $stats = $upstream->stats;
        is($stats->{busy_peak}, 5, 'no more at once');
        my $pool = $server->pool('direct');
        is($pool->{fallbacks}, 3, 'fallbacks are counted');
        is($pool->{timeouts},  5, 'so are those that got none');
        like($server->log, qr/\[connpool:warn\].*'direct' is exhausted/,
            'and told once');
        ok(await(sub { $upstream->stats->{open} <= 2 }, 3),
            'what lies beside the pool is closed after use');

        my $is_refused = sub {
            my ($from, $to, $name, @refused) = @_;
            for my $refused (@refused) {
                my ($status, $seconds, $headers, $content) = @$refused;
                is($headers->{'retry-after'}, 1, "$name: Retry-After");
                is($headers->{'content-type'}, 'application/problem+json',
                    "$name: a problem");
                like($content, qr/no connection is free/, "$name: cause");
                cmp_ok($seconds, '>=', $from, "$name: not too early");
                cmp_ok($seconds, '<', $to * slowness(), "$name: in time");
            }
        };
        for my $case (
            ['reject',  2, 0.2, 0.7, qr/no connection within 200 ms \(open/],
            ['at_once', 2, 0,   0.5, qr/no connection within 0 ms|queue/],
            ['queue',   3, 0,   0.5, qr/queue is full/]
            )
        {
            my ($name, $good, $from, $to, $reason) = @$case;
            $upstream->restart;
            my @all = all_at_once($server, ("/$name/delay/0.7") x 6);
            is_deeply(statuses(@all), {200 => $good, 503 => 6 - $good},
                "$name: $good of six");
            is($upstream->stats->{busy_peak}, $name eq 'queue' ? 1 : 2,
                "$name: no more at once");
            $is_refused->($from, $to, $name, grep { $_->[0] == 503 } @all);
            like($server->log, qr/pool '$name': .*$reason/, "$name: the log");
            my $numbers = $server->pool($name);
            is($numbers->{timeouts} + $numbers->{rejected}, 6 - $good,
                "$name: counted");
            is($numbers->{fallbacks}, 0, "$name: none beside the pool");
        }
        is_deeply(
            statuses(
                all_at_once($server,
                    map { ("/$_/delay/0.25") x 8 } qw(first second))
            ),
            {200 => 16},
            'perhost=: all are answered'
        );
        is($trap->stats->{busy_peak}, 4, 'two upstreams share the first one\'s');
        $server->allow_log(qr/pool '\w+'(?: is exhausted|: no conn|: queue)/);
        $server->done;
    };
}

# ---------------------------------------------------------------------------

# Names that the machine's own table leads inside; that localhost does, and what
# an address is, configtest knows (011).
sub inside_names {
    open(my $in, '<', '/etc/hosts') or return;
    my %names = map { $_ => 1 }
        map { /^\s*(?:127|10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\S+\s+([^#]*)/
            ? split ' ', $1 : () } <$in>;
    my @names = grep { /^[a-z][\w.-]*$/i && !/localhost/i } sort keys %names;
    return @names > 3 ? @names[0 .. 2] : @names;
}

subtest 'addresses' => sub {
    my %refused;
    my $n = 0;
    $refused{'hosts' . $n++} = "http://$_:$port/" for inside_names();
    my %allowed = (
        literal => $here,
        named   => "$local private=allow",
        odd     => "http://127.1:$port/ private=allow",
    );
    my $server = ConnPoolTest->new(
        conf => join('', map { fetch_conf($_, $refused{$_}) } sort keys %refused)
            . join('', map { fetch_conf($_, $allowed{$_}) } sort keys %allowed),
        env => {
            http_proxy  => $trap->url,
            HTTP_PROXY  => $trap->url,
            https_proxy => $trap->url,
            ALL_PROXY   => $trap->url,
            all_proxy   => $trap->url,
            no_proxy    => '',
            HOME        => '/nonexistent',
        },
    );
    $server->allow_log(qr/address is not allowed \(refused\): it is \S+ \([\w-]+\) /);
    $server->start;
    $_->restart for $upstream, $trap;
    for my $name (sort keys %refused) {
        my $mark   = $server->log_mark;
        my $start  = time;
        my $answer = $server->get("/$name/text");
        is($answer->{status}, 403, "$name: refused");
        like($answer->{content}, qr/address is not allowed/, "$name: why");
        unlike($answer->{content}, qr/127\.0|\b$port\b|1\.1/,
            "$name: no address told");
        like(
            $server->log_since($mark),
            qr/\[connpool:error\].*'$name': the upstream's address is not allowed \(refused\): it is \S+ \(\w[\w-]*\) /,
            "$name: the log tells"
        );
        cmp_ok(time - $start, '<', 2 * slowness(), "$name: at once");
    }
    is($upstream->stats->{requests}, 0, 'the upstream saw none of them');
    for my $name (sort keys %allowed) {
        is($server->get("/$name/text")->{content}, "hello, world\n",
            "$name: allowed");
    }
    # A connection that one upstream may use is not open to the others.
    is($server->get("/$_/text")->{status}, 403,
        'still refused beside an open connection')
        for grep { $refused{$_} } 'hosts0';
    is($trap->stats->{connections}, 0, 'no proxy was asked');
    $server->done;
};

done_testing;
