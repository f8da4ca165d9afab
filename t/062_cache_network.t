#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Answers kept by Redis and memcached: shared by several servers, and while
# those are stopped, hang or talk nonsense, a miss within a bounded time.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command free_port parallel slowness);
use IO::Select ();
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

my $build = $ENV{CONNPOOL_BUILD} // ConnPoolTest::root_dir() . '/build';
my $owner = $$;
my @running;

# In one package with redis-server there is its service; the program itself is
# the one of redis-tools, by another name.
sub program {
    for my $name (@_) {
        for my $dir ("$build/tools/usr/bin", split(/:/, $ENV{PATH}), '/usr/sbin') {
            return "$dir/$name" if -x "$dir/$name";
        }
    }
    return;
}

sub run_child {
    my ($code) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open(STDIN,  '<', '/dev/null');
        open(STDOUT, '>', '/dev/null');
        open(STDERR, '>', '/dev/null');
        $code->();
        POSIX::_exit(127);
    }
    push @running, $pid;
    return $pid;
}

sub end_child {
    my ($pid) = @_;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    @running = grep { $_ != $pid } @running;
    return;
}

END {
    end_child($_) for $$ == $owner ? @running : ();
}

sub is_open {
    my ($port) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1);
}

my %START = (
    redis => sub {
        my ($port) = @_;
        my $path = program('redis-server', 'redis-check-rdb') or return;
        my @argv = ('redis-server', '--port', $port, '--bind', '127.0.0.1', '--save', '',
            '--appendonly', 'no', '--dir', '/tmp');
        return run_child(sub { exec {$path} @argv });
    },
    memcache => sub {
        my ($port) = @_;
        my $path = program('memcached') or return;
        my @argv = ($path, '-l', '127.0.0.1', '-p', $port, '-U', '0', '-m', '16', '-u', 'nobody');
        return run_child(sub { exec {$path} @argv });
    },
);

# Answers each line with nonsense.
sub start_junk {
    my ($port) = @_;
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 20, ReuseAddr => 1,
        Proto => 'tcp',
    ) // die "listen: $@";
    my $pid = run_child(sub {
        my $select = IO::Select->new($listener);
        my @junk   = ("VALUE x 0 99999999\r\n", "\0\xff\r\n", "\$-7\r\n", "END OF ALL\r\n",
            "\$5\r\nhello\r\n", "VALUE a b c\r\nEND\r\n", "+OK\r\n" x 3);
        while (my @ready = $select->can_read) {
            for my $socket (@ready) {
                if ($socket == $listener) {
                    $select->add($listener->accept);
                }
                elsif (sysread($socket, my $text, 65536)) {
                    push @junk, my $junk = shift @junk;
                    syswrite($socket, $junk);
                }
                else {
                    $select->remove($socket);
                    close $socket;
                }
            }
        }
    });
    close $listener;
    return $pid;
}

my $CONF = <<'CONF';
ConnPoolCache @PROVIDER@:127.0.0.1:@CACHE@
ConnPoolDatabase main sqlite:@FILE@
ConnPoolQuery kept main "SELECT value FROM state" ttl=100s
ConnPoolQuery by main "SELECT value, :a AS a FROM state" ttl=100s
ConnPoolParam by a text required
ConnPoolQuery large main "SELECT hex(zeroblob(:size / 2)) AS a" ttl=100s
ConnPoolParam large size integer required
CONF
for my $name (qw(kept by large)) {
    $CONF .= "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

sub query {
    my ($server, $name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

# So many different requests by several clients: (failures, longest, seconds).
sub ask_many {
    my ($server, $round) = @_;
    my $began   = time;
    my @results = parallel(6, sub {
        my ($i) = @_;
        my ($bad, $longest) = (0, 0);
        for my $n (1 .. 20) {
            my $start  = time;
            my $answer = $server->get("/by?a=$round-$i-" . $n % 5, keep_alive => 1);
            $bad++ if $answer->{status} != 200 || $answer->{content} !~ /"a":"$round-$i-/;
            my $took = time - $start;
            $longest = $took if $took > $longest;
        }
        return [$bad, $longest];
    });
    my ($bad, $longest) = (0, 0);
    for my $result (@results) {
        $bad += $result->[0];
        $longest = $result->[1] if $result->[1] > $longest;
    }
    return ($bad, $longest, time - $began);
}

# What the cache does must not be seen by clients.
sub is_harmless {
    my ($server, $round) = @_;
    my ($bad, $longest, $took) = ask_many($server, $round);
    is($bad, 0, "$round: each of 120 requests has its answer");
    cmp_ok($longest, '<', 3 * slowness(),  "$round: none waits for long");
    cmp_ok($took,    '<', 10 * slowness(), "$round: nor all together");
    return;
}

# It works again, without anybody's help.
sub recovers {
    my ($server, $round) = @_;
    my $n = 0;
    return ok(
        await(
            sub {
                my $path = '/by?a=' . $round . ++$n;
                $server->get($path);
                sleep 0.05;
                return defined $server->get($path)->{headers}{age};
            },
            # A provider may have to lose one old connection after the other, and
            # lets five seconds pass after each.
            60, 'a hit'
        ),
        "$round: hits again"
    );
}

for my $provider (qw(redis memcache)) {
    subtest $provider => sub {
        my ($port, $reserved) = free_port();
        my $cache = $START{$provider}->($port)
            or plan skip_all => "$provider: its server is not installed";
        ok(await(sub { is_open($port) }, 10, "$provider on $port"), 'its server runs');
        my %arg = (
            conf     => $CONF,
            children => 2,
            modules  => ["socache_$provider"],
            vars     => {PROVIDER => $provider, CACHE => $port},
        );
        my $one = ConnPoolTest->new(%arg);
        $arg{vars}{FILE} = $one->make_sqlite('main',
            "CREATE TABLE state(value TEXT); INSERT INTO state VALUES ('old');");
        my $two = ConnPoolTest->new(%arg);
        for my $server ($one, $two) {
            # The providers' own lines, and ours.
            $server->allow_log(qr/socache|AH00\d+: scache_|ConnPoolCache (?:redis|memcache)/);
            $server->start;
        }

        is($one->get('/kept')->{content}, '[{"value":"old"}]', 'answered');
        $one->sqlite('main', q{UPDATE state SET value = 'new'});
        ok(await(sub { defined $two->get('/kept')->{headers}{age} }, 5, 'a hit'),
            'another server has it');
        is($two->get('/kept')->{content}, '[{"value":"old"}]', 'the same answer');
        is(query($two, 'kept')->{count}, 0, 'without the query');
        is($one->status_json->{cache}{provider}, $provider, 'named in the report');
        is(length $one->get('/large?size=500000')->{content}, 500_010, 'a large answer');
        ok(await(sub { defined $two->get('/large?size=500000')->{headers}{age} }, 5),
            'is kept');
        is(length $one->get('/large?size=990000')->{content}, 990_010, 'larger') for 1, 2;
        is_harmless($one, 'busy');

        kill 'STOP', $cache;
        is_harmless($one, 'stopped');
        my $status = $one->status_json->{cache};
        cmp_ok($status->{timeouts}, '>', 0, 'timeouts are counted');
        cmp_ok($status->{skipped},  '>', 0, 'and what was not tried');
        my $began = time;
        ok($one->restart, 'the children end while calls hang');
        cmp_ok(time - $began, '<', 10 * slowness(), 'soon');
        is_harmless($one, 'still-stopped');
        kill 'CONT', $cache;
        recovers($one, 'continued');

        end_child($cache);
        is_harmless($one, 'killed');
        my $junk = start_junk($port);
        is_harmless($one, 'junk');
        sleep 1.1; # the pause after a failure
        is_harmless($one, 'more-junk');
        end_child($junk);
        $cache = $START{$provider}->($port);
        ok(await(sub { is_open($port) }, 10, "$provider on $port"), 'its server is back');
        recovers($one, 'back');
        for my $server ($one, $two) {
            is_deeply([grep { $_->{errors} } @{$server->status_json->{queries}}], [],
                'no query failed');
            $server->done;
        }
        end_child($cache);
    };
}

done_testing;
