#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A query is over at its deadline, whatever keeps it, and late is always 504:
# long functions, locks of other programs where SQLite has a patience of its
# own. Nothing is acknowledged that a log which was cut could not hold.
# MPM: event
use strict;
use warnings;

use Fcntl qw(F_SETLK F_WRLCK F_UNLCK SEEK_SET);
use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use Test::More;
use Time::HiRes qw(time);

my $LATE = 0.1;    # seconds behind the deadline

my %LONG = (
    like    => "SELECT count(*) FROM big WHERE x LIKE '%" . 'a' x 45 . "b'",
    escaped => "SELECT count(*) FROM big WHERE x LIKE '%" . 'a' x 40
        . "!%' ESCAPE '!'",
    glob    => "SELECT count(*) FROM big WHERE x GLOB '*" . 'a' x 45 . "b*'",
    instr   => "SELECT sum(instr(x, substr(x, 1, 490000) || 'b')) FROM big, small, small",
    replace => "SELECT sum(length(replace(x, substr(x, 1, 200000) || 'b', ''))) FROM big, small, small",
    trim    => "SELECT sum(length(trim(x, substr(x, 1, 100000) || 'b'))) FROM big, (SELECT hex(zeroblob(40000)) z FROM small) WHERE length(trim(x, replace(z, '0', 'b') || 'a')) >= 0",
    hex     => "SELECT sum(length(hex(substr(x, 1, 490000)))) FROM big, small, small",
    json    => "SELECT sum(json_valid('[\"' || x || '\"]')) FROM big, small, small",
    sort    => "SELECT x FROM big, small a, small b ORDER BY x DESC, a.i, b.i",
    random  => "SELECT sum(length(randomblob(990000))) FROM big, small, small",
    endless => 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n',
);

my $conf = <<'CONF';
ConnPoolDatabase long sqlite:@DIR@/db/long.db max=12 timeout=1s
ConnPoolQuery quick long "SELECT count(*) FROM small" format=value
ConnPoolQuery write long "UPDATE big SET x = 'b' WHERE x LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'" write=on
ConnPoolDatabase locked sqlite:@DIR@/db/locked.db max=4 timeout=1s acquire=1s
ConnPoolQuery read locked "SELECT a FROM t"
ConnPoolQuery kept locked "SELECT a FROM t" ttl=data
ConnPoolDatabase busy sqlite:@DIR@/db/busy.db max=4 timeout=5s busy=500ms
ConnPoolQuery busy busy "SELECT a FROM t"
ConnPoolDatabase cut sqlite:@DIR@/db/cut.db max=4
ConnPoolQuery add cut "INSERT INTO t(a) VALUES (:a)" write=on
ConnPoolParam add a text
ConnPoolQuery count cut "SELECT count(*) FROM t" format=value
<Location "/health">
SetHandler connpool-health
</Location>
CONF
for my $name (sort keys %LONG) {
    $conf .= qq(ConnPoolQuery $name long "$LONG{$name}" timeout=1s\n) =~ s/(?<=")SELECT ([^"]*)\["([^"]*)"\]/SELECT $1\[\\"$2\\"]/r;
}
for my $name (sort(keys %LONG), qw(quick write read kept busy add count)) {
    $conf .= qq(<Location "/$name">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n);
}
my $server = ConnPoolTest->new(
    threads => 12,
    conf    => $conf,
    # SQLite's GLOB calls strcspn at each byte, before which AddressSanitizer
    # looks through all that is left of the text.
    env => {ASAN_OPTIONS => 'intercept_strspn=0'},
);
$server->make_sqlite('long', <<'SQL');
CREATE TABLE big(id INTEGER PRIMARY KEY, x TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 60)
INSERT INTO big SELECT i, replace(hex(zeroblob(495000)), '0', 'a') FROM n;
CREATE TABLE small(i);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50)
INSERT INTO small SELECT i FROM n;
SQL
$server->make_sqlite($_, <<'SQL') for qw(locked busy cut);
PRAGMA journal_mode = WAL;
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
SQL
$server->allow_log(qr/\[connpool:(?:error|warn)\]/);
$server->start;

# By how much a query that looks at the clock all the time is late just now:
# that is the machine's doing.
sub lag {
    my $began = time;
    $server->get('/endless', timeout => 60);
    return time - $began - 1;
}

# Seconds of the quickest of some requests, which all get one of these answers.
# Others use this machine: some tries, and less is asked of a busy one.
sub seconds_of {
    my ($method, $path, $limit, @statuses) = @_;
    my ($best, $bound);
    for my $try (1 .. 5) {
        $bound = $limit + $LATE * slowness() + ($try > 1 ? 4 * lag() : 0);
        my $began  = time;
        my $answer = $server->request($method, $path, timeout => 60);
        $best = time - $began;
        if (!grep { $answer->{status} == $_ } @statuses) {
            fail("$path: $answer->{status} $answer->{content}");
            return;
        }
        last if $best < $bound;
    }
    cmp_ok($best, '<', $bound, sprintf '%s: %.3f s', $path, $best);
    return;
}

subtest 'long statements' => sub {
    seconds_of('GET', "/$_", 1, 504) for sort keys %LONG;
    seconds_of('POST', '/write', 1, 504);
    is($server->sqlite('long', "SELECT count(*) FROM big WHERE x = 'b'"), 0,
        'nothing of a late write stays');
};

subtest 'eight at once' => sub {
    my $lag = lag();
    my @seconds = parallel(9, sub {
        my ($i) = @_;
        my $path   = $i < 8 ? (qw(/like /instr))[$i % 2] : '/quick';
        my $began  = time;
        my $answer = $server->get($path, timeout => 60);
        return [$answer->{status}, time - $began];
    });
    is(join(' ', map { $_->[0] } @seconds), '504 ' x 8 . '200', 'answers');
    cmp_ok($seconds[$_][1], '<', 1.5 * slowness() + 4 * $lag, sprintf '%.2f s', $seconds[$_][1])
        for 0 .. 8;
};

# ---------------------------------------------------------------------------

# This process locks bytes of a file as another program would.
sub lock_bytes {
    my ($name, $type, $from, $size) = @_;
    open(my $file, '+<', $server->dir("db/$name")) or die "$name: $!";
    my $lock = pack 's! s! x![q] q q l x4', $type, SEEK_SET, $from, $size, 0;
    fcntl($file, F_SETLK, $lock) or die "lock of $name: $!";
    return $file;
}

subtest 'a lock on the index of the log' => sub {
    is($server->get($_)->{status}, 200, $_) for qw(/read /kept /busy);
    my $lock = lock_bytes('locked.db-shm', F_WRLCK, 120, 8);
    seconds_of('GET', $_, 1, 503, 504) for qw(/read /kept);
    seconds_of('GET', '/health?live=1', 2, 200, 503);
    my @seconds = parallel(4, sub {
        my $began = time;
        $server->get('/kept', timeout => 60);
        return time - $began;
    });
    # They share one sentinel, and four connections.
    cmp_ok($_, '<', 2.5 * slowness(), sprintf 'one of four: %.2f s', $_)
        for @seconds;
    close $lock;
    is($server->get($_)->{status}, 200, $_) for qw(/read /kept);

    my $other = lock_bytes('busy.db-shm', F_WRLCK, 123, 5);
    seconds_of('GET', '/busy', 0.5, 503);
    close $other;
    is($server->get('/busy')->{status}, 200, 'and serves again');
};

subtest 'a log that is cut' => sub {
    my $log = $server->dir('db/cut.db-wal');
    my $acknowledged = 0;
    for (1 .. 50) {
        $acknowledged++
            if $server->post('/add', content => {a => 'x' x 2000})->{status} == 200;
    }
    is($acknowledged, 50, 'writes go well');
    truncate($log, int((-s $log) * 0.4)) or die "$log: $!";
    my $cut = $server->log_mark;
    for my $i (1 .. 20) {
        my $answer = $server->post('/add', content => {a => 'x'});
        next if $answer->{status} == 503 && $answer->{content} =~ /log was cut/;
        fail("write $i: $answer->{status} $answer->{content}");
        last;
    }
    ok($server->await_log(qr/log .*cut\.db-wal was cut by another program/, $cut),
        'no write is acknowledged any more, and the log says why');
};

$server->done;
is($server->sqlite('cut', 'PRAGMA integrity_check'), 'ok',
    'the database is no mixture');
done_testing;
