#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Servers of PostgreSQL that fail, stop, or lie: what becomes of the requests,
# and of those that follow.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults qw(fault_row);
use ConnPoolTest   qw(await parallel slowness timed);
use IO::Select;
use POSIX ();
use IO::Socket::INET;
use PostgresTest qw(pgsql_module);
use Test::More;
use Time::HiRes qw(sleep time);

my $pg = PostgresTest->new(settings => "max_connections = 30\n")->start;
$pg->sql(q{CREATE TABLE note(id serial PRIMARY KEY, t text);
    CREATE TABLE pair(id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0);
    CREATE ROLE locked LOGIN; CREATE DATABASE doomed});

# ---------------------------------------------------------------------------
# A server that lies. What it does is in the first byte that it is told through
# the database's name: STAGE_SCRIPT.

my $liar = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50) || die "no socket: $@";

sub message {
    my ($type, $body) = @_;
    return $type . pack('N', 4 + length $body) . $body;
}

sub parameter {
    return message('S', join("\0", @_) . "\0");
}

my $READY = message('Z', 'I');
my $HELLO = message('R', pack('N', 0))
    . parameter('server_version', '15.0') . parameter('client_encoding', 'UTF8')
    . parameter('DateStyle', 'ISO, MDY') . parameter('standard_conforming_strings', 'on')
    . parameter('in_hot_standby', 'off') . parameter('default_transaction_read_only', 'on')
    . message('K', pack('NN', 1, 2));
my $COLUMNS = message('T', pack('n', 1) . "n\0" . pack('NnNnNn', 0, 0, 23, 4, -1, 0));
my $ROW     = message('D', pack('nN', 1, 1) . '7');
my $PARSED  = message('1', '') . message('t', pack('n', 0)) . $COLUMNS . $READY;
my $ROWS    = message('2', '') . $COLUMNS . $ROW . message('C', "SELECT 1\0") . $READY;

my %LIES = (
    nostate  => message('E', "SERROR\0Mit is so\0\0"),
    empty    => message('E', "\0"),
    huge     => message('2', '') . $COLUMNS . 'D' . pack('N', 0x7fffffff) . 'x' x 100,
    short    => 'D' . pack('N', 2),
    garbage  => join('', map { chr($_ * 37 % 256) } 1 .. 5000),
    columns  => message('2', '') . $COLUMNS . message('D', pack('n', 5) . pack('N', -1) x 5) . $READY,
    nowhere  => message('2', '') . $ROW . message('C', "SELECT 1\0") . $READY,
    beyond   => message('2', '') . $COLUMNS . message('D', pack('nN', 1, 1000) . 'x'),
    negative => message('2', '') . $COLUMNS . message('D', pack('nN', 1, -7)) . $READY,
    many     => message('T', pack('n', 65535)),
    copyin   => message('2', '') . message('G', pack('Cn', 0, 0)),
    copyout  => message('2', '') . message('H', pack('Cn', 0, 0)) . message('d', 'x'),
    copyboth => message('W', pack('Cn', 0, 0)),
    ready    => $READY x 50,
    twice    => $ROWS x 3,
    auth     => message('R', pack('N', 99)),
    notify   => message('A', pack('N', 1) . "x\0y\0") x 100,
    silence  => '',
    close    => undef,
    notices  => message('N', "SNOTICE\0C00000\0M" . 'x' x 200 . "\0\0"),
);

sub read_message {
    my ($client, $has_type) = @_;
    my $head = '';
    while (length $head < 4 + $has_type) {
        sysread($client, $head, 4 + $has_type - length $head, length $head) or return;
    }
    my $size = unpack('N', substr $head, $has_type) - 4;
    my $body = '';
    while (length $body < $size) {
        sysread($client, $body, $size - length $body, length $body) or return;
    }
    return ($has_type ? substr $head, 0, 1 : '', $body);
}

sub lie {
    my ($client, $script) = @_;
    if ($script =~ /^random(\d+)/) {
        srand $1;
        my $text = $1 % 2 ? $PARSED : $ROWS;
        substr($text, int rand length $text, 1) = chr int rand 256 for 1 .. 3;
        print {$client} $text;
    }
    elsif ($script eq 'notices') {
        my $end = time + 2;
        1 while time < $end && print {$client} $LIES{notices} x 100;
    }
    elsif (!defined $LIES{$script}) {
        POSIX::_exit(0);
    }
    else {
        print {$client} $LIES{$script};
    }
    return;
}

sub be_false {
    my ($client) = @_;
    local $SIG{PIPE} = 'IGNORE';
    $client->autoflush(1);
    my (undef, $start) = read_message($client, 0);
    defined $start or return;
    my ($stage, $script) = ($start // '') =~ /database\0(\w+?)_(\w+)\0/ or return;
    lie($client, $script) if $stage eq 'start';
    print {$client} $HELLO . $READY if $stage ne 'start';
    my $parsed = 0;
    while (my ($type) = read_message($client, 1)) {
        next if $type ne 'S';
        if (!$parsed++) {
            $stage eq 'parse' ? lie($client, $script) : print {$client} $PARSED;
        }
        else {
            $stage eq 'run' ? lie($client, $script) : print {$client} $ROWS;
        }
    }
    return;
}

my $liars = fork // die "fork: $!";
if (!$liars) {
    $SIG{CHLD} = 'IGNORE';
    $SIG{TERM} = sub { POSIX::_exit(0) };
    while (my $client = $liar->accept) {
        next if fork;
        alarm 60;
        be_false($client);
        POSIX::_exit(0);
    }
    POSIX::_exit(0);
}

# Those that keep somebody until his deadline once are enough.
my @SCRIPTS = (
    (map { my $stage = $_; map { "${stage}_$_" } grep { $stage eq 'run' || !/silence|notices|huge|many/ }
        sort keys %LIES } qw(start parse run)),
    'start_silence', 'start_notices',
    map { 'run_random' . $_ } 1 .. 12,
);

# ---------------------------------------------------------------------------

sub location {
    my ($name) = @_;
    return "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}

my $conf = "ConnPoolDatabase events sqlite:\@DIR\@/db/events.db\nConnPoolQuery other events \"SELECT 9\" format=value\n"
    . location('other');
for my $script (@SCRIPTS) {
    $conf .= "ConnPoolDatabase $script \"postgresql:host=127.0.0.1 port=@{[$liar->sockport]}"
        . " dbname=$script user=x sslmode=disable\" acquire=200ms timeout=200ms max=1 connect=200ms overflow=reject\n"
        . "ConnPoolQuery $script $script \"SELECT 7 AS n\" format=value\n" . location($script);
}
# libpq asks for the memory that a length promises; filling it takes seconds.
my $lying = ConnPoolTest->new(conf => $conf, threads => 25, load => {pgsql_module()}, env => {MALLOC_PERTURB_ => 0});
$lying->make_sqlite('events', 'CREATE TABLE t(a)');
$lying->allow_log(qr/connpool(?:_pgsql)?:(?:error|warn)/);
$lying->start;

subtest 'a server that lies' => sub {
    my ($pid)  = $lying->children;
    my $before = $lying->rss($pid);
    my (%seen, $slowest);
    for my $script (@SCRIPTS) {
        {
            my $began  = time;
            my $answer = $lying->get("/$script");
            my $took   = time - $began;
            $slowest = $took if $took > ($slowest // 0);
            $seen{$answer->{status}}++;
            like($answer->{status}, qr/^(?:200|40\d|50[0234])$/, $script);
            if ($answer->{status} == 200) {
                like($answer->{content}, qr/^(?:\S.*)$/s, "$script: an answer");
            }
        }
    }
    cmp_ok($slowest, '<', 2 + 0.5 * slowness(), 'each within its time');
    is(($lying->children)[0], $pid, 'the child lives');
    my $grown = ($lying->rss($pid) - $before) / 1e6;
    cmp_ok($grown, '<', 64, sprintf 'it grew by %.1f MB', $grown);
    is($lying->get('/other')->{content}, '9', 'others are served');
    fault_row('F42', fault => 'a server that lies', how => scalar(@SCRIPTS) . ' scripts of a false server:'
        . ' no SQLSTATE, 2 GB rows, wrong columns, endless notices, COPY, silence, damaged bytes',
        expected => 'an error or an answer in time, the connection closed, no crash, memory bounded',
        seen => join(', ', map { "$_ x$seen{$_}" } sort keys %seen) . ', 0 crashes',
        figure => sprintf '%.1f s at the most, %.1f MB', $slowest, $grown);
};
kill 'TERM', $liars;
waitpid($liars, 0);
$lying->done;

# ---------------------------------------------------------------------------

my %QUERIES = (
    one   => ['app', 'SELECT 7', 'format=value'],
    nap   => ['app', 'SELECT pg_sleep(0.3), 7 AS n', 'timeout=5s'],
    add   => ['app', 'INSERT INTO note(t) VALUES (:t)', 'write=on timeout=5s'],
    cross => ['app', 'UPDATE pair SET n = n + 1 WHERE id = :a OR id = (SELECT :b::int FROM pg_sleep(0.1))',
        'write=on timeout=8s'],
    role  => ['role',  'SELECT 1', 'format=value'],
    gone  => ['gone',  'SELECT 1', 'format=value'],
    far   => ['far',   'SELECT 7', 'format=value timeout=1s'],
);

# A way to the server that can be cut without a word.
my $door = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20) || die "no socket: $@";
pipe(my $order, my $orders);
my $proxy = fork // die "fork: $!";
if (!$proxy) {
    close $orders;
    my ($cut, %peer) = (0);
    my $in = IO::Select->new($door, $order);
    while (1) {
        for my $from ($in->can_read(0.2)) {
            if ($from == $order) {
                sysread($order, my $word, 1) or POSIX::_exit(0);
                $cut = $word eq 'c';
            }
            elsif ($from == $door) {
                my $client = $door->accept or next;
                next if $cut && push @{$peer{held}}, $client;
                my $to = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $pg->port) or next;
                @peer{$client, $to} = ($to, $client);
                $in->add($client, $to);
            }
            elsif ($cut) {
                $in->remove($from);
                push @{$peer{held}}, $from;
            }
            elsif (sysread($from, my $text, 65536)) {
                syswrite($peer{$from}, $text);
            }
            else {
                $in->remove($from, $peer{$from});
                shutdown($peer{$from}, 2);
                close $from;
            }
        }
    }
}
close $order;

$conf = "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\" max=10 acquire=3s\n"
    . "ConnPoolDatabase role \"postgresql:@{[$pg->dsn(user => 'locked')]}\" max=2 check=0s\n"
    . "ConnPoolDatabase gone \"postgresql:@{[$pg->dsn(dbname => 'doomed')]}\" max=2\n"
    . "ConnPoolDatabase far \"postgresql:host=127.0.0.1 port=@{[$door->sockport]} dbname=postgres user=postgres"
    . " sslmode=disable\" max=4 acquire=1s\n"
    . "<Location \"/health\">\nSetHandler connpool-health\n</Location>\n";
for my $name (sort keys %QUERIES) {
    my ($db, $sql, $options) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name $db \"$sql\" $options\n" . location($name);
}
$conf .= "ConnPoolParam add t text\nConnPoolParam cross a integer required\nConnPoolParam cross b integer required\n";
my $server = ConnPoolTest->new(conf => $conf, threads => 25, load => {pgsql_module()});
$server->allow_log(qr/pool '\w+'|database '\w+'|query '\w+'|ConnPoolQuery|cannot be opened/);
$server->start;

subtest 'restarts under load' => sub {
    my $rounds = 4;
    my @counts = parallel(5, sub {
        my ($i) = @_;
        if ($i == 0) {
            for my $round (1 .. $rounds) {
                sleep 0.5;
                $pg->restart($round % 2 ? 'fast' : 'immediate');
            }
            return {};
        }
        my %seen;
        my $end = time + 2 + 2 * $rounds;
        while (time < $end) {
            my ($answer, $took) = timed(sub { $i == 1
                ? $server->post('/add', content => {t => "r" . ($seen{n} // 0)}) : $server->get('/one') });
            $seen{$answer->{status}}++;
            $seen{n}++;
            $seen{late}++ if $took > 5 * slowness();
            sleep 0.01;
        }
        return \%seen;
    });
    # It was started by another process: its pid is in its directory.
    $pg->adopt;
    my %sum;
    for my $count (@counts) {
        $sum{$_} += $count->{$_} for keys %$count;
    }
    is($sum{late} // 0, 0, 'none hangs');
    cmp_ok($sum{200}, '>', 200, 'most are answered');
    is(join(' ', grep { /^\d+$/ && !/^(?:200|503)$/ } keys %sum), '', '200 or 503');
    my $acknowledged = $counts[1]{200};
    cmp_ok($pg->sql(q{SELECT count(*) FROM note WHERE t LIKE 'r%'}), '>=', $acknowledged, 'nothing acknowledged is lost');
    fault_row('F36', fault => 'the server restarts under load', how => "$rounds restarts, fast and immediate",
        expected => 'those in flight fail; none hangs; nothing acknowledged is lost',
        seen => "200 x$sum{200}, 503 x" . ($sum{503} // 0), figure => "$acknowledged writes acknowledged, 0 lost");
};

subtest 'a backend that is stopped, or killed' => sub {
    $server->get('/one') for 1 .. 3;
    my @pids = split /\n/, $pg->sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'connpool/app'});
    kill 'STOP', @pids;
    my ($answer, $took) = timed(sub { $server->get('/nap') });
    kill 'CONT', @pids;
    is($answer->{status}, 504, 'stopped: 504');
    cmp_ok($took, '<', 5 + 0.5 * slowness(), 'in time');
    is($server->get('/one')->{content}, '7', 'and well again');
    fault_row('F37', fault => 'a backend is stopped', how => 'SIGSTOP', expected => '504 at the deadline',
        seen => $answer->{status}, figure => sprintf '%.2f s of 5', $took);
    my ($victim) = split /\n/, $pg->sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'connpool/app'});
    kill 'KILL', $victim;
    my $began = time;
    ok(await(sub { $server->get('/one')->{status} == 200 }, 10), 'killed: well again');
    my $recovery = time - $began;
    cmp_ok($recovery, '<', 2 + slowness(), 'soon');
    fault_row('F39', fault => 'a backend is killed', how => 'SIGKILL; the server recovers from a crash',
        expected => 'well again soon', seen => 'well again', figure => sprintf '%.2f s', $recovery);
};

subtest 'a server that takes nobody any more' => sub {
    # The server has just recovered from a crash.
    ok(await(sub { $server->get('/role')->{status} == 200 }, 20), 'at first');
    $pg->sql(q{ALTER ROLE locked NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'locked'});
    my $mark = $server->log_mark;
    my %seen;
    $seen{$server->get('/role')->{status}}++ for 1 .. 50;
    is_deeply([keys %seen], [503], 'a role that may not log in: 503');
    $server->get('/gone');
    $pg->sql(q{DROP DATABASE doomed WITH (FORCE)});
    is($server->get('/gone')->{status}, 503, 'a database that is dropped: 503');
    my $lines = () = $server->log_since($mark) =~ /(?:role|gone)/g;
    cmp_ok($lines, '<', 20, 'a few lines in the log');
    fault_row('F40', fault => 'the role may not log in, the database is dropped', how => 'ALTER ROLE, DROP DATABASE',
        expected => '503, few lines in the log', seen => '503', figure => "$lines lines for 52 requests");
};

subtest 'a connection cut without a word' => sub {
    is($server->get('/far')->{content}, '7', 'at first');
    syswrite($orders, 'c');
    sleep 0.3;
    my ($answer, $took) = timed(sub { $server->get('/far') });
    is($answer->{status}, 504, 'no answer');
    cmp_ok($took, '<', 1 + 0.5 * slowness(), 'at the deadline');
    ($answer, $took) = timed(sub { $server->get('/far') });
    is($answer->{status}, 503, 'no new connection: 503');
    cmp_ok($took, '<', 1 + 0.5 * slowness(), 'in time');
    is($server->pool('far')->{busy}, 0, 'and none is busy');
    syswrite($orders, 'o');
    ok(await(sub { $server->get('/far')->{status} == 200 }, 10), 'well again');
    fault_row('F41', fault => 'the connection is cut without a word', how => 'a proxy that passes nothing on',
        expected => '504 at the deadline, slot free', seen => '504, then 503, slot free',
        figure => sprintf '%.2f s', $took);
};

subtest 'deadlocks' => sub {
    my @done = parallel(6, sub {
        my ($i) = @_;
        my ($x, $y) = $i % 2 ? (1, 2) : (2, 1);
        my $n = 0;
        for (1 .. 5) {
            $n++ if $server->post('/cross', content => {a => $x, b => $y})->{status} == 200;
        }
        return $n;
    });
    my $sum = 0;
    $sum += $_ for @done;
    is($pg->sql('SELECT sum(n) FROM pair'), 2 * $sum, 'what was acknowledged was made once');
    my ($query) = grep { $_->{name} eq 'cross' } @{$server->status_json->{queries}};
    cmp_ok($sum, '>=', 20, "$sum of 30 succeed, $query->{retries} were begun anew");
    fault_row('F43', fault => 'deadlocks of two rows', how => '6 clients update them in either order',
        expected => 'begun anew; what is acknowledged is made once', seen => 'made once',
        figure => "$sum of 30 succeeded");
};

subtest 'down when the server starts' => sub {
    $pg->stop;
    my $late = ConnPoolTest->new(load => {pgsql_module()}, conf =>
        "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\" max=4\nConnPoolQuery one app \"SELECT 7\" format=value\n"
        . location('one'));
    $late->allow_log(qr/pool 'app'|database 'app'|query 'one'|cannot be opened/);
    $late->start;
    my @took = map { (timed(sub { $late->get('/one') }))[1] } 1 .. 5;
    cmp_ok($_, '<', 0.5 * slowness(), '503 at once') for @took;
    $pg->start;
    my $began = time;
    ok(await(sub { $late->get('/one')->{status} == 200 }, 10), 'well when it comes up');
    my $recovery = time - $began;
    cmp_ok($recovery, '<', 2 + 0.5 * slowness(), 'soon');
    fault_row('F35', fault => 'down when httpd starts, up later', how => 'started before it', expected => '503 at once, then well',
        seen => '503, then 200', figure => sprintf '%.2f s', $recovery);
    $late->done;
};

close $orders;
kill 'TERM', $proxy;
waitpid($proxy, 0);
$server->done;
done_testing;
