#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Networks, names, clocks and threads that fail under a running server: clear
# answers in bounded time, others unaffected, well again without a restart.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults qw(fault_row);
use ConnPoolTest qw(await parallel slowness);
use ConnPoolUpstream;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

my $lab      = ConnPoolFaults->new;
my $upstream = ConnPoolUpstream->start;
my $other    = ConnPoolUpstream->start;
my $conf     = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db max=3 acquire=2s
ConnPoolQuery read main "SELECT count(*) FROM item" format=value
ConnPoolQuery add main "INSERT INTO item(x) VALUES (1)" write=on
ConnPoolUpstream up http://127.0.0.1:@UP@/ breaker=0 retry=0 connect=2s read=2s total=4s
ConnPoolUpstream again http://127.0.0.1:@UP@/ breaker=0 retry=2 connect=2s read=2s total=4s
ConnPoolUpstream other http://127.0.0.1:@OTHER@/ breaker=0
ConnPoolUpstream known http://known.lab.test:@UP@/ breaker=0 private=allow retry=0 connect=20s
ConnPoolUpstream busy http://busy.lab.test:@UP@/ breaker=0 private=allow retry=0 connect=20s
ConnPoolUpstream none http://none.lab.test:@UP@/ breaker=0 private=allow retry=0 connect=20s
ConnPoolUpstream slow http://slow.lab.test:@UP@/ breaker=0 private=allow retry=0 connect=20s
<Location "/read">
SetHandler connpool-query
ConnPoolServe read
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/again">
SetHandler connpool-fetch
ConnPoolServe again
</Location>
<Location "/other">
SetHandler connpool-fetch
ConnPoolServe other
</Location>
<Location "/known">
SetHandler connpool-fetch
ConnPoolServe known
</Location>
<Location "/busy">
SetHandler connpool-fetch
ConnPoolServe busy
</Location>
<Location "/none">
SetHandler connpool-fetch
ConnPoolServe none
</Location>
<Location "/slow">
SetHandler connpool-fetch
ConnPoolServe slow
</Location>
CONF

sub new_server {
    my $server = ConnPoolTest->new(
        threads => 12,
        env     => {$lab->env},
        vars    => {UP => $upstream->port, OTHER => $other->port},
        conf    => $conf,
    );
    $server->make_sqlite('main', 'CREATE TABLE item(id INTEGER PRIMARY KEY, x);');
    $server->allow_log(qr/\[connpool:(?:error|warn)\]/);
    return $server;
}
my $server = new_server()->start;
my $PLACE  = '127.0.0.1:' . $upstream->port;

sub statuses {
    my ($path, $n) = @_;
    my %seen;
    $seen{$server->get($path)->{status}}++ for 1 .. $n;
    return join ', ', map { "$_ x$seen{$_}" } sort keys %seen;
}

# --- connections ------------------------------------------------------------

my @CONNECTS = (
    ['refused',     'ECONNREFUSED', 502],
    ['unreachable', 'ENETUNREACH',  502],
    ['timed out',   'ETIMEDOUT',    504],
    ['no port',     'EADDRNOTAVAIL', 502],
);
my ($struck, $seen) = (0, '');
for my $case (@CONNECTS) {
    my ($what, $error, $status) = @$case;
    subtest "connections: $what" => sub {
        $upstream->restart;    # none is kept
        my $fault  = $lab->inject(call => 'connect', name => $PLACE, error => $error);
        my $began  = time;
        my $answer = $server->get('/up/text');
        cmp_ok(time - $began, '<', 2 * slowness(), 'soon');
        is($answer->{status}, $status, "answered $status") or diag($answer->{content});
        unlike($answer->{content}, qr/127\.0\.0\.1/, 'no address is told');
        is($server->get('/other/text')->{status}, 200, 'others are not affected');
        $struck += $lab->heal($fault, $error);
        is($server->get('/up/text')->{status}, 200, 'well again');
        $seen .= ($seen ? ', ' : '') . "$error $answer->{status}";
    };
}
fault_row('F44', fault => 'an upstream that cannot be connected to', how => 'errors of connect',
    expected => '502 (504 for a time-out) at once, others unaffected', seen => $seen, figure => "$struck calls struck");

subtest 'answers: reset while they are read' => sub {
    my $fault  = $lab->inject(call => 'recv', name => $PLACE, error => 'ECONNRESET');
    my $answer = $server->get('/up/text');
    is($answer->{status}, 502, 'refused with 502') or diag($answer->{content});
    my $struck = $lab->heal($fault, 'recv');
    is($server->get('/up/text')->{status}, 200, 'well again');
    # Once only: it is tried again.
    $fault = $lab->inject(call => 'recv', name => $PLACE, error => 'ECONNRESET', limit => 1);
    is($server->get('/again/text')->{status}, 200, 'with retry= nobody sees a single one');
    $struck += $lab->heal($fault, 'a single one');
    fault_row('F48', fault => 'the connection is reset while the answer is read', how => 'ECONNRESET of recv',
        expected => '502; with retry= 200 when it happens once', seen => '502, 200',
        figure => "$struck calls struck");
};

subtest 'answers in the smallest pieces' => sub {
    my $fault  = $lab->inject(call => 'recv', name => $PLACE, short => 1);
    my $answer = $server->get('/up/text?size=3000');
    is($answer->{status}, 200, 'a text');
    is(length $answer->{content}, 3000, 'whole');
    my $packed = $server->get('/up/gzip/20000');
    is($packed->{status}, 200, 'a packed one');
    is(length $packed->{content}, 20000, 'whole, too');
    my $struck = $lab->heal($fault, 'recv of one byte');
    fault_row('F47-pieces', fault => 'an answer comes byte by byte', how => 'recv of one byte each',
        expected => '200, whole', seen => '200, whole', figure => "$struck pieces");
};

subtest 'requests that cannot be sent' => sub {
    my $fault  = $lab->inject(call => 'send', name => $PLACE, error => 'EPIPE');
    my $answer = $server->get('/up/text');
    is($answer->{status}, 502, 'refused with 502') or diag($answer->{content});
    my $struck = $lab->heal($fault, 'send');
    is($server->get('/up/text')->{status}, 200, 'well again');
    fault_row('F48-send', fault => 'the request cannot be sent', how => 'EPIPE of send',
        expected => '502', seen => '502', figure => "$struck calls struck");
};

# --- names ------------------------------------------------------------------

subtest 'names' => sub {
    my $resolver = $lab->inject(call => 'getaddrinfo', name => 'known.lab.test', loopback => 1);
    is($server->get('/known/text')->{status}, 200, 'a name that is known');
    $lab->heal($resolver, 'the name');
    for (['busy', 'EAI_AGAIN'], ['none', 'EAI_NONAME']) {
        my ($name, $error) = @$_;
        my $fault  = $lab->inject(call => 'getaddrinfo', name => "$name.lab", error => $error);
        my $answer = $server->get("/$name/text");
        is($answer->{status}, 502, "$error: 502") or diag($answer->{content});
        like($answer->{content}, qr/name could not be resolved/, 'says why');
        is($server->get('/other/text')->{status}, 200, 'others are not affected');
        $lab->heal($fault, $error);
        $resolver = $lab->inject(call => 'getaddrinfo', name => "$name.lab", loopback => 1);
        ok(await(sub { $server->get("/$name/text")->{status} == 200 }, 10), 'well again');
        $lab->end($resolver);
    }
    # Names that take their time hold up nobody else.
    my $fault = $lab->inject(call => 'getaddrinfo', name => 'slow.lab', loopback => 1, delay => 3);
    my @seen = parallel(3, sub {
        my ($i) = @_;
        return $server->get('/slow/text')->{status} if $i < 2;
        my $longest = 0;
        for (1 .. 30) {
            my $began = time;
            $server->get('/other/text')->{status} == 200 or return 'failed';
            my $took = time - $began;
            $longest = $took if $took > $longest;
        }
        return $longest;
    });
    my $struck  = $lab->end($fault);
    my $longest = pop @seen;
    is_deeply(\@seen, [200, 200], 'slow names are waited for');
    cmp_ok($struck, '>', 0, "struck $struck times");
    cmp_ok($longest, '<', 1 * slowness(), 'nobody else waits');
    fault_row('F61', fault => 'names are not found, or slowly', how => 'EAI_AGAIN, EAI_NONAME, and 3 s, of getaddrinfo',
        expected => '502; slow names hold up nobody else', seen => '502, others served',
        figure => sprintf('longest of the others %.0f ms', 1000 * $longest));
};

# --- the clock --------------------------------------------------------------

subtest 'the wall clock jumps' => sub {
    my ($jumps, $late, $bad) = (0, 0, 0);
    my $closed = sub {
        return join ', ', map {
            my $pool = $_;
            map { "$pool->{name} $_ $pool->{closed}{$_}" } qw(idle lifetime dead);
        } grep { $_->{name} =~ /^(?:main|other)$/ } @{$server->status_json->{pools}};
    };
    $server->get("/$_") for qw(read other/text up/text);
    my $before = $closed->();
    for my $hours (1, -1, 24, -24) {
        my $fault = $lab->inject(call => 'clock', shift => 3600 * $hours);
        for my $path (qw(/read /other/text /up/text)) {
            my $began = time;
            $bad++ if $server->get($path)->{status} != 200;
            my $took = time - $began;
            $late = $took if $took > $late;
        }
        $bad++ if $server->post('/add', content => {})->{status} != 200;
        my $began = time;
        my $slow  = $server->get('/up/delay/0.3');
        $bad++ if $slow->{status} != 200;
        is($server->get('/up/hang')->{status}, 504, "$hours h: a deadline is kept");
        cmp_ok(time - $began, '>=', 2.2, 'not before its time');
        cmp_ok(time - $began, '<', 4 * slowness(), 'nor long after');
        $lab->end($fault) or $bad++;
        $jumps++;
    }
    is($bad, 0, 'all is answered');
    cmp_ok($late, '<', 1 * slowness(), 'at once');
    # Back and forth under a wait that is under way.
    my $wave = fork // die "fork: $!";
    if (!$wave) {
        for (1 .. 20) {
            my $fault = $lab->inject(call => 'clock', shift => $_ % 2 ? 7200 : -7200);
            select undef, undef, undef, 0.1;
            $lab->end($fault);
        }
        POSIX::_exit(0);
    }
    my $began = time;
    is($server->get('/up/hang')->{status}, 504, 'a wait under way ends in time');
    cmp_ok(time - $began, '>=', 1.9, 'not early');
    cmp_ok(time - $began, '<', 3 * slowness(), 'not late');
    waitpid $wave, 0;
    is($closed->(), $before, 'no connection was taken for an old one');
    fault_row('F15', fault => 'the wall clock jumps by hours, forwards and back, and at 10 Hz',
        how => 'clock_gettime, gettimeofday, time shifted', expected => 'no deadline early or late, no connection expires',
        seen => 'all answered, 0 connections closed', figure => sprintf('%d jumps and a wave, longest answer %.0f ms', $jumps, 1000 * $late));
};

$server->done;

# --- threads ----------------------------------------------------------------

subtest 'no thread for the loop' => sub {
    plan skip_all => 'the sanitizer starts all threads' if $ENV{CONNPOOL_ASAN};
    # One thread of a child's start, which one nobody can say beforehand.
    my ($answers, $struck) = ('', 0);
    for my $skip (0 .. 3) {
        my $fault = $lab->inject(call => 'pthread_create', name => 'mod_connpool.so',
            error => 'EAGAIN', skip => $skip, limit => 1);
        my $child = new_server();
        my $began = $child->try_start;
        ok($began, "without thread $skip: starts") or next;
        $struck += $lab->fired($fault);
        my $read  = $child->get('/read')->{status};
        my $fetch = $child->get('/other/text')->{status};
        is($read, 200, 'queries are answered');
        like($fetch, qr/^(?:200|503)$/, 'fetches, too, or 503');
        $lab->end($fault);
        ok(await(sub { $child->get('/other/text')->{status} == 200 }, 10), 'well again');
        $answers .= "$read/$fetch ";
        $child->done;
    }
    cmp_ok($struck, '>', 0, "struck $struck times");
    fault_row('F12', fault => 'a thread cannot be started when a child begins', how => 'EAGAIN of pthread_create',
        expected => 'queries served; fetches served or 503, well again', seen => "query/fetch: $answers",
        figure => "$struck calls struck");
};

done_testing;
