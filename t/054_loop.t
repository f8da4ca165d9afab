# SPDX-License-Identifier: Apache-2.0
#
# The event loop's thread is lost, or hangs: fetches go on without it, and a
# new one takes its place.
# MPM: event
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await parse_response read_until slowness);
use ConnPoolUpstream qw(fetch_conf unchunk);
use JSON::PP         ();
use POSIX            ();
use Test::More;
use Time::HiRes qw(sleep time);

my $CRLF     = "\r\n";
my $upstream = ConnPoolUpstream->start;
my $another  = ConnPoolUpstream->start;    # whose sockets are not counted
my $conf     = join '', fetch_conf('alone', $another->url('/')), <<'CONF',
ConnPoolDatabase db sqlite:@DIR@/db/db.db
ConnPoolQuery one db "SELECT 1 AS one"
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
CONF
    # What could share a connection with others runs in the loop.
    fetch_conf('up', $upstream->url('/'), 'max-body=100M http2=on');

sub make_server {
    my (%arg) = @_;
    my $server = ConnPoolTest->new(conf => $conf, %arg);
    $server->make_sqlite('db', 'CREATE TABLE t(a)');
    return $server;
}

# The names of a process's threads, counted.
sub threads {
    my ($pid) = @_;
    my %count;
    for my $path (glob "/proc/$pid/task/*/comm") {
        open(my $in, '<', $path) or next;
        chomp(my $name = <$in> // '');
        $count{$name}++;
    }
    return \%count;
}

subtest 'who has a loop' => sub {
    my $prefork = make_server(mpm => 'prefork');
    $prefork->start;
    is($prefork->get('/up/text')->{status}, 200, 'prefork: fetches run');
    my $report = $prefork->status_json;
    ok(!$report->{event_loop}{running},  'without a loop');
    ok(!$report->{features}{event_loop}, 'and the report says so');
    is(threads($_)->{'connpool-loop'}, undef, 'no thread of that name')
        for $prefork->children;
    $prefork->done;

    my $forced = ConnPoolTest->new(
        mpm  => 'prefork',
        conf => "ConnPoolEventLoop On\n" . fetch_conf('up', $upstream->url('/'))
    );
    $forced->start;
    is($forced->get('/up/text')->{status}, 200, 'prefork, On: fetches run');
    my @loops = map { threads($_)->{'connpool-loop'} // 0 } $forced->children;
    is_deeply(\@loops, [(1) x @loops], 'with a loop in each child');
    $forced->done;
};

# The rest needs a child that serves many at once.
if (($ENV{CONNPOOL_MPM} // '') eq 'prefork') {
    done_testing;
    exit 0;
}

my $server = make_server(testing => 1, threads => 24);
my $faults = $server->dir('run');
$server->{env}{CONNPOOL_TEST_FAULTS} = $faults;
$server->start;
$server->allow_log(qr/event loop|loop was lost|upstream 'up': the answer is cut/);
my ($child) = $server->children;

sub cause {
    my ($fault, $number) = @_;
    $server->write_file('run/making', $number // '');
    rename "$faults/making", "$faults/$fault" or die "$fault: $!";
    return await(sub { !-e "$faults/$fault" }, 3, "$fault is taken");
}

sub loop_report {
    return $server->status_json->{event_loop};
}

# Wait until the loop was started for the nth time again: seconds, or nothing.
sub await_restart {
    my ($restarts) = @_;
    my $start = time;
    my $is_there = await(
        sub {
            my $loop = loop_report();
            return $loop->{restarts} == $restarts && $loop->{running};
        },
        10, "restart $restarts"
    );
    return $is_there && time - $start;
}

# Clients that ask for these paths in turn until `flag` exists. Each returns
# {path => {status => count}, slowest => {path => seconds}}.
sub begin_load {
    my ($flag, @paths) = @_;
    my @pipes;
    for my $i (1 .. 8) {
        my $pid = open(my $pipe, '-|') // die "fork: $!";
        if (!$pid) {
            my (%count, %slowest);
            while (!-e $flag) {
                for my $path (@paths) {
                    my $start  = time;
                    my $answer = $server->get($path);
                    my $took   = time - $start;
                    $count{$path}{$answer->{status}}++;
                    $slowest{$path} = $took if $took > ($slowest{$path} // 0);
                }
            }
            print STDOUT JSON::PP->new->encode(
                {count => \%count, slowest => \%slowest});
            close STDOUT;
            POSIX::_exit(0);
        }
        push @pipes, $pipe;
    }
    return @pipes;
}

sub end_load {
    my ($flag, @pipes) = @_;
    $server->write_file($flag, '');
    my (%count, %slowest);
    for my $pipe (@pipes) {
        my $part = JSON::PP->new->decode(readline($pipe) // '{}');
        close $pipe;
        for my $path (keys %{$part->{count}}) {
            $count{$path}{$_} += $part->{count}{$path}{$_}
                for keys %{$part->{count}{$path}};
            my $took = $part->{slowest}{$path};
            $slowest{$path} = $took if $took > ($slowest{$path} // 0);
        }
    }
    return (\%count, \%slowest);
}

# What each loop opens beside its sockets.
sub loop_fds {
    return scalar grep { /eventpoll|eventfd/ } values %{$server->fds($child)};
}

# ---------------------------------------------------------------------------

$server->get($_) for ('/up/text', '/one') x 3;
my $fds     = loop_fds();
my $threads = $server->thread_count($child);

is(threads($child)->{'connpool-loop'}, 1, 'the child has one loop');
is(loop_report()->{restarts}, 0, 'which was started once');

subtest 'a fetch that needs no loop' => sub {
    my $client = $server->connect;
    print {$client} "GET /alone/delay/0.5 HTTP/1.0$CRLF$CRLF";
    ok(await(sub { loop_report()->{in_flight} == 1 }, 5), 'is counted with the others');
    ok(cause('loop-stall', 1500), 'the loop hangs for a while');
    my $start = time;
    is($server->get('/alone/text')->{status}, 200, 'one that comes then is answered');
    cmp_ok(time - $start, '<', 0.7 * slowness(), 'before the loop goes on');
    like(read_until($client, undef, 5), qr/ 200 /, 'and the one that was under way');
    is(loop_report()->{in_flight}, 0, 'none is left');
    is(loop_report()->{inline_runs}, 0, 'none had to be run in its stead');
    ok(await(sub { $server->get('/up/text')->{status} == 200 }, 5), 'the loop goes on');
};

# First, as each new start comes later after the last one.
subtest 'the thread hangs' => sub {
    my @pipes = begin_load($server->dir('run/enough1'), '/one');
    my @early = map { $server->connect } 1 .. 4;
    print {$_} "GET /up/delay/1 HTTP/1.0$CRLF$CRLF" for @early;
    ok(await(sub { loop_report()->{in_flight} == 4 }, 5), 'four on their way');
    ok(cause('loop-stall', 4000), 'it hangs for 4 s');
    my $start  = time;
    my $took   = await_restart(1);
    cmp_ok($took || 99, '<', 2.75 * slowness(),
        sprintf 'noticed and replaced after %.1f s', $took);
    my @status = map { read_until($_, undef, 8) =~ /^HTTP\S+ (\d+)/ } @early;
    is_deeply(\@status, [(200) x 4], 'the four were asked for again');
    cmp_ok(time - $start, '<', 4.0 * slowness(), 'before the old one awoke');
    my $quick = time;
    is($server->get('/up/text')->{status}, 200, 'the new one works');
    cmp_ok(time - $quick, '<', 0.5 * slowness(), 'at once');
    my ($count, $slowest) = end_load('run/enough1', @pipes);
    is_deeply([keys %{$count->{'/one'}}], [200],
        "$count->{'/one'}{200} queries answered meanwhile");
    cmp_ok($slowest->{'/one'}, '<', 1.5 * slowness(),
        sprintf 'at most %.0f ms', 1000 * $slowest->{'/one'});
    ok(
        await(sub { threads($child)->{'connpool-loop'} == 1 }, 6),
        'the one that hung ends when it awakes'
    );
};

subtest 'the thread ends, under load' => sub {
    my @paths = ('/up/text', '/up/delay/0.3', '/one');
    my @pipes = begin_load($server->dir('run/enough'), @paths);
    await(sub { loop_report()->{in_flight} > 0 }, 5, 'load');
    for my $death (1 .. 3) {
        ok(cause('loop-die'), "death $death");
        my $took = await_restart(1 + $death);
        cmp_ok($took || 99, '<', 3 * slowness(), 'a new loop soon');
    }
    my ($count, $slowest) = end_load('run/enough', @pipes);
    for my $path (@paths) {
        my $n = $count->{$path}{200} // 0;
        is_deeply([keys %{$count->{$path}}], [200],
            "$path: all $n are answered")
            or diag(explain($count->{$path}));
        cmp_ok($slowest->{$path}, '<', 1.5 * slowness(),
            sprintf '%s: at most %.0f ms', $path, 1000 * $slowest->{$path});
    }
    my $loop = loop_report();
    cmp_ok($loop->{inline_runs}, '>', 0,
        "$loop->{inline_runs} ran without the loop");
    is($loop->{in_flight}, 0, 'nothing is left');
};

subtest 'the thread ends within an answer' => sub {
    my $client = $server->connect;
    print {$client} "GET /up/trickle?n=200&pause=0.05 HTTP/1.1$CRLF"
        . "Host: x${CRLF}Connection: close$CRLF$CRLF";
    ok(await(sub { loop_report()->{in_flight} == 1 }, 5), 'on its way');
    # The head is out for sure when the upstream has sent a few pieces.
    sleep 0.3;
    my $start = time;
    ok(cause('loop-die'), 'the thread ends');
    my $answer = parse_response(read_until($client, undef, 5));
    cmp_ok(time - $start, '<', 1.5 * slowness(), 'soon told');
    is($answer->{status}, 200, 'begun');
    ok(!(unchunk($answer->{content}))[1], 'and cut');
    ok(await_restart(5), 'a new loop');
    ok(await(sub { $server->pool('up')->{busy} == 0 }, 3), 'given back');
};

subtest 'nothing leaks' => sub {
    is(($server->children)[0], $child, 'it is the same child all the time');
    is(loop_report()->{in_flight}, 0, 'nothing in flight');
    ok(await(sub { $server->thread_count($child) == $threads }, 3),
        "still $threads threads");
    ok(await(sub { loop_fds() <= $fds }, 3), "still $fds descriptors of a loop")
        or diag(explain($server->fds($child)));
    ok(await(sub { $upstream->stats->{open} <= 8 }, 3),
        'abandoned connections are closed');
    my $log = $server->log;
    my $told = () = $log =~ /event loop: started again/g;
    is($told, 5, 'each restart is told');
};

$server->done;
done_testing;
