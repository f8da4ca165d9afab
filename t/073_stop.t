#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Stopping at random moments, with all kinds of work in flight: the server
# ends in time, nothing crashes, nothing is left.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolLoad;
use ConnPoolTest qw(slowness);
use ConnPoolUpstream;
use IO::Select ();
use POSIX      ();
use Test::More;
use Time::HiRes qw(sleep time);

# A child of prefork ends in its signal handler, wherever its one thread is.
my $IS_PREFORK = ($ENV{CONNPOOL_MPM} // '') eq 'prefork';

# Before the MPM loses patience and kills, at 9 s. It looks once a second.
# Asked when it is judged: the machine may be busier then than now.
sub in_time {
    return 6 * slowness();
}

# What moments are chosen can be had again.
my $SEED = $ENV{CONNPOOL_SEED} // time ^ $$;
srand $SEED;
diag "CONNPOOL_SEED=$SEED" if $ENV{CONNPOOL_SEED};

my $upstream = ConnPoolUpstream->start;
my $ENDLESS  = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)';
my $FILL     = "$ENDLESS INSERT INTO item(title) SELECT 'endless' FROM n "
    . 'WHERE i % 100000 = 0';

my $conf = <<"CONF";
GracefulShutdownTimeout 1
# A thread of the worker MPM waits so long for a next request, come what may.
KeepAliveTimeout 1
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=3 acquire=20s timeout=30s overflow=reject
ConnPoolUpstream hang http://127.0.0.1:\@UPSTREAM\@/hang read=30s total=30s
ConnPoolUpstream half http://127.0.0.1:\@UPSTREAM\@/hang-body?size=100000 read=30s total=30s
ConnPoolUpstream drip http://127.0.0.1:\@UPSTREAM\@/trickle?n=1000&pause=0.02 total=30s
ConnPoolUpstream text http://127.0.0.1:\@UPSTREAM\@/text
ConnPoolQuery item events "SELECT id, title FROM item WHERE id = :id"
ConnPoolParam item id integer required
ConnPoolQuery slow events "$ENDLESS SELECT count(*) FROM n" timeout=30s
ConnPoolQuery long events "$ENDLESS SELECT i FROM n" format=ndjson timeout=30s max-rows=1000000000 max-bytes=100G
ConnPoolQuery add events "INSERT INTO item(title) VALUES (:title)" write=on
ConnPoolParam add title text required
ConnPoolQuery fill events "$FILL" write=on methods=PUT,POST timeout=30s
CONF
for my $name (qw(hang half drip text item slow long add fill batch)) {
    my $kind  = $name =~ /^(?:hang|half|drip|text)$/ ? 'fetch' : 'query';
    my $serve = $name;
    ($kind, $serve) = ('batch', 'hang slow text') if $name eq 'batch';
    $conf .= "<Location \"/$name\">\nSetHandler connpool-$kind\n"
        . "ConnPoolServe $serve\n</Location>\n";
}

my $server;
my @IN_FLIGHT = qw(hang half drip slow slow slow long long batch fill);

sub new_server {
    $server = ConnPoolTest->new(
        # Prefork has a process for each request: all are accepted at once.
        children => $IS_PREFORK ? 16 : 2,
        threads  => $IS_PREFORK ? 2  : 16,
        vars     => {UPSTREAM => $upstream->port},
        conf     => $conf
    );
    $server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO item VALUES (1, 'one');
SQL
    # Cut answers and refused work are what stopping means.
    $server->allow_log(qr/\[connpool:/, qr/AH0(?:0045|0046|0288)/);
    return $server;
}

# A process with requests that do not end by themselves, in random order. It
# reads what comes: nobody wakes a thread that waits for a stalled client.
sub begin {
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $select = IO::Select->new;
    for my $name (sort { rand() <=> 0.5 } @IN_FLIGHT) {
        my $socket = $server->connect or next;
        my $method = $name eq 'fill' ? 'PUT' : 'GET';
        print {$socket} "$method /$name HTTP/1.1\r\nHost: x\r\n\r\n";
        $select->add($socket);
    }
    while ($select->count) {
        for my $socket ($select->can_read) {
            next if sysread $socket, my $bytes, 65536;
            $select->remove($socket);
        }
    }
    POSIX::_exit(0);
}

# ---------------------------------------------------------------------------

subtest 'hard restarts' => sub {
    new_server()->start;
    my $worst = 0;
    for my $round (1 .. 10) {
        my $clients = begin();
        sleep rand 0.2;
        my $start = time;
        ok($server->restart, "restart $round");
        my $took = time - $start;
        # A request that came too late for the old children hangs in the new.
        kill 'KILL', $clients;
        waitpid $clients, 0;
        $worst = $took if $took > $worst;
    }
    cmp_ok($worst, '<', in_time(), sprintf 'at most %.2f s', $worst);
    is($server->get('/item?id=1')->{status}, 200, 'serves after all that');
    $server->done;
};

sub quick {
    my ($client, $i) = @_;
    my $title = "$client-$i";
    return (
        {
            name   => 'add',
            method => 'POST',
            path   => '/add',
            body   => "title=$title",
            key    => $title,
            expect => qr/"changes":1/
        },
        {name => 'text', path => '/text',      expect => qr/./},
        {name => 'item', path => '/item?id=1', expect => qr/"one"/},
    )[$client];
}

# At the end of its grace prefork's parent sends SIGTERM and leaves at once,
# before its children: nothing to be tested there.
my @cases = (['TERM', 0, 6], $IS_PREFORK ? () : ['WINCH', 1, 3]);

for my $case (@cases) {
    my ($signal, $grace, $rounds) = @$case;
    subtest "$signal with work in flight" => sub {
        for my $round (1 .. $rounds) {
            new_server()->start;
            my $load = ConnPoolLoad->start(
                $server,
                clients => 3,
                request => \&quick
            );
            sleep rand 0.3;
            # At a hard stop the MPMs close sockets that a thread may be about
            # to free: what ends by itself must not end just then.
            my $result  = $signal eq 'TERM' ? $load->finish : undef;
            my $clients = begin();
            sleep rand 0.2;
            my $start    = time;
            my $is_clean = $server->stop($signal);
            my $took     = time - $start;
            $result //= $load->finish;
            waitpid $clients, 0;
            ok($is_clean, "stop $round, nobody is left");
            cmp_ok($took, '<', $grace + in_time(), sprintf 'in %.2f s', $took);
            my %found = map { $_ => 1 }
                split /\n/, $server->sqlite('events', 'SELECT title FROM item');
            is_deeply([grep { !$found{$_} } @{$result->{acked}}],
                [], 'acknowledged rows: ' . @{$result->{acked}});
            ok(!$found{endless}, 'an unfinished write left nothing');
            is($server->sqlite('events', 'PRAGMA integrity_check'),
                'ok', 'the database is whole');
            $server->done(rest => 0);
        }
    };
}

done_testing;
