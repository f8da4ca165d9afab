#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# server-max= as PostgreSQL sees it: never more backends than that, and after a
# storm of kills no permit is lost to the dead.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use PostgresTest qw(pgsql_module);
use Test::More;
use Time::HiRes qw(sleep time);

my $LIMIT = 5;

my $pg = PostgresTest->new->start;
$pg->sql('CREATE TABLE note(id serial PRIMARY KEY, t text)');

my $server = ConnPoolTest->new(
    children => 4,
    threads  => 8,
    load     => {pgsql_module()},
    conf     => <<"CONF");
ConnPoolDatabase app "postgresql:@{[$pg->dsn]}" max=4 server-max=$LIMIT acquire=20s timeout=20s
ConnPoolQuery one app "SELECT 1 AS one" format=value
ConnPoolQuery nap app "SELECT pg_sleep(0.01)" format=value
ConnPoolQuery add app "INSERT INTO note(t) VALUES (:t) RETURNING id" write=on format=value
ConnPoolParam add t text required
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/nap">
SetHandler connpool-query
ConnPoolServe nap
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF
$server->start;

subtest 'children that go on' => sub {
    my @bad = parallel(13, sub {
        my ($i) = @_;
        if ($i == 12) {
            my $most = 0;
            for (1 .. 60) {
                my $now = $pg->backends;
                $most = $now if $now > $most;
            }
            return $most;
        }
        return scalar grep {
            ($i % 3 ? $server->get($_ % 2 ? '/one' : '/nap')
                : $server->post('/add', content => {t => "$i-$_"}))->{status} != 200
        } 1 .. 25;
    });
    my $most = pop @bad;
    cmp_ok($most, '>=', 2, 'backends were seen');
    cmp_ok($most, '<=', $LIMIT, 'never more than may be');
    is_deeply(\@bad, [(0) x 12], 'all are answered');
    is($pg->sql('SELECT count(*) FROM note') + 0, 100, 'every write is there once');
};

subtest 'a storm of kills' => sub {
    $server->allow_log(qr/exit signal Killed/);
    $server->allow_log(qr/AH10392: children are killed successively/);
    my @found = parallel(10, sub {
        my ($i) = @_;
        my $end = time + 4 * slowness();
        if ($i == 0) {
            my $kills = 0;
            while (time < $end) {
                my @children = $server->children;
                kill 'KILL', $children[rand @children] and $kills++ if @children;
                sleep 0.15;
            }
            return $kills;
        }
        my ($answered, $wrong) = (0, 0);
        while (time < $end) {
            my $status = $server->get('/one', timeout => 30 * slowness())->{status};
            $answered++ if $status == 200;
            # 599: its child was killed.
            $wrong++ if $status != 200 && $status != 599;
        }
        return "$answered $wrong";
    });
    my $kills = shift @found;
    my $answers = 0;
    $answers += (split / /)[0] for @found;
    note("$kills children killed, $answers requests answered");
    cmp_ok($kills, '>=', 10, 'children were killed');
    cmp_ok((split / /)[0], '>', 0, 'clients were answered all the same') for @found;
    is(scalar(grep { (split / /)[1] } @found), 0, 'and nobody was refused');
    # A backend notices the end of its client when it next reads.
    ok(await(sub { $pg->backends <= $LIMIT }, 20, 'backends go'), 'no more than may be');
    # All permits are there: as many can be open as before.
    my @all = parallel(12, sub { return scalar grep { $server->get('/nap')->{status} != 200 } 1 .. 20 });
    is_deeply(\@all, [(0) x 12], 'none is lost');
    my $pool = $server->status_json->{pools}[0];
    cmp_ok($pool->{open}, '<=', $LIMIT, 'as the report says');
};

subtest 'restarts under load' => sub {
    my @found = parallel(9, sub {
        my ($i) = @_;
        if ($i == 0) {
            for (1 .. 4) {
                $server->graceful;
                sleep 1;
            }
            return 0;
        }
        my $end = time + 6 * slowness();
        my ($most, $bad) = (0, 0);
        while (time < $end) {
            if ($i == 1) {
                my $now = $pg->backends;
                $most = $now if $now > $most;
            }
            else {
                $bad++ if $server->get('/nap', timeout => 30 * slowness())->{status} != 200;
            }
        }
        return $i == 1 ? $most : $bad;
    });
    cmp_ok($found[1], '<=', $LIMIT, "old and new children together: at most $found[1]");
    is_deeply([@found[2 .. 8]], [(0) x 7], 'all are answered');
};

# Nothing of it is anywhere but in the memory of the processes.
subtest 'all are killed' => sub {
    my $count = sub {
        open(my $in, '<', '/proc/sysvipc/shm') or return 0;
        my @lines = <$in>;
        return @lines + (() = glob '/dev/shm/*');
    };
    my $other = ConnPoolTest->new(children => 2, load => {pgsql_module()}, conf =>
        "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\" max=4 server-max=2\nConnPoolQuery one app \"SELECT 1\" format=value\n"
        . "<Location \"/one\">\nSetHandler connpool-query\nConnPoolServe one\n</Location>\n");
    my $before = $count->();
    $other->start;
    is($other->get('/one')->{content}, '1', 'a request');
    my @pids = ($other->pid, $other->children);
    kill 'STOP', $other->pid;
    kill 'KILL', @pids;
    ok(await(sub { !grep { -e "/proc/$_" && !is_zombie($_) } @pids }, 10), 'the parent, and all children');
    is($count->(), $before, 'nothing is left of them');
    waitpid($pids[0], 0);
    delete $other->{pid};
    $other->dismiss;
};

sub is_zombie {
    my ($pid) = @_;
    open(my $in, '<', "/proc/$pid/stat") or return 1;
    return scalar <$in> =~ /\) Z /;
}

$server->done;
done_testing;
