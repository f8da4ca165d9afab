#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Databases that are missing, go away, are replaced, damaged or locked: a
# problem that says so, no harm to others, and recovery without a restart.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults qw(fault_row);
use ConnPoolTest qw(await timed);
use IPC::Open2 qw(open2);
use Test::More;

my @POOLS  = qw(missing removed renamed garbage locked other);
my $SCHEMA = <<'SQL';
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO item VALUES (1, 'first');
SQL

my $conf = '';
for my $name (@POOLS) {
    $conf .= <<"CONF";
ConnPoolDatabase $name sqlite:\@DIR\@/db/$name.db max=3 acquire=300ms timeout=500ms busy=200ms
ConnPoolQuery $name $name "SELECT title FROM item WHERE id = 1" format=value
ConnPoolQuery add_$name $name "INSERT INTO item(title) VALUES ('more')" write=on
<Location "/$name">
SetHandler connpool-query
ConnPoolServe $name
</Location>
<Location "/add/$name">
SetHandler connpool-query
ConnPoolServe add_$name
</Location>
CONF
}
my $server = ConnPoolTest->new(threads => 8, conf => $conf);
$server->make_sqlite($_, $SCHEMA) for grep { $_ ne 'missing' } @POOLS;
# Each fault is one of the database, and logged as such.
$server->allow_log(qr/\[connpool:(?:error|warn)\]/);
$server->start;

sub path {
    my ($name) = @_;
    return $server->dir("db/$name.db");
}

# Is this the answer of a database that cannot be used?
sub is_unavailable {
    my ($answer, $cause, $what) = @_;
    subtest $what => sub {
        is($answer->{status}, 503, 'status');
        is($answer->{headers}{'content-type'}, 'application/problem+json',
            'a problem');
        like($answer->{headers}{'retry-after'} // '', qr/^[1-9]\d*$/,
            'says when to come back');
        my $problem = ConnPoolTest::decode($answer);
        is($problem->{status}, 503, 'and so in the body');
        like("@$problem{qw(title detail)}", $cause, 'with the cause');
        unlike($answer->{content}, qr{\.db|SELECT|/tmp}, 'and no secret');
    };
    return;
}

sub others_serve {
    my $answer = $server->get('/other');
    is("$answer->{status} $answer->{content}", '200 "first"', 'others serve');
    return;
}

# The title of item 1, when it is this one again.
sub recovers {
    my ($name, $title) = @_;
    my $answer;
    my $is_back = await(
        sub {
            $answer = $server->get("/$name");
            return $answer->{status} == 200
                && $answer->{content} eq "\"$title\"";
        },
        10
    );
    ok($is_back, 'recovers without a restart')
        or diag("$answer->{status} $answer->{content}");
    is($server->pool($name)->{state}, 'ok', 'and is well');
    return;
}

sub sqlite_file {
    my ($name, $title) = @_;
    $server->make_sqlite($name, $SCHEMA =~ s/first/$title/r);
    return path($name);
}

# ---------------------------------------------------------------------------

subtest 'missing at the start' => sub {
    my $mark   = $server->log_mark;
    my $before = $server->pool('missing');
    is_unavailable($server->get('/missing'), qr/cannot be opened/, 'a read');
    is_unavailable($server->post('/add/missing'), qr/cannot be opened/,
        'a write');
    ok(!-e path('missing'), 'no empty file is made');
    $server->get('/missing') for 1 .. 60;
    my $after = $server->pool('missing');
    cmp_ok($after->{create_failures}, '>', $before->{create_failures},
        'failures are counted');
    is($after->{open},  0,      'nothing is open');
    is($after->{state}, 'down', 'and the report says so');
    my $lines = () = $server->log_since($mark) =~ /missing\.db|'missing'/g;
    cmp_ok($lines, '>=', 1,  'logged');
    cmp_ok($lines, '<=', 20, "62 failures, $lines mentions in the log");
    others_serve();
    sqlite_file('missing', 'late');
    recovers('missing', 'late');
    is($server->post('/add/missing')->{status}, 200, 'writes, too');
};

subtest 'removed while in use' => sub {
    is($server->get('/removed')->{status}, 200, 'serves');
    unlink map { path('removed') . $_ } '', '-wal', '-shm';
    my $answer;
    ok(
        await(
            sub {
                $answer = $server->get('/removed');
                return $answer->{status} != 200;
            },
            10
        ),
        'noticed'
    );
    is_unavailable($answer, qr/cannot be opened/, 'a read');
    others_serve();
    sqlite_file('removed', 'again');
    recovers('removed', 'again');
};

subtest 'replaced by another file' => sub {
    is($server->get('/renamed')->{content}, '"first"', 'the old one');
    my $new = sqlite_file('new', 'second');
    my ($exit) = ConnPoolTest::command('sqlite3', $new,
        'PRAGMA wal_checkpoint(TRUNCATE)', 'PRAGMA journal_mode = DELETE');
    unlink map { path('renamed') . $_ } '-wal', '-shm';
    ok($exit == 0 && rename($new, path('renamed')), 'a new one');
    recovers('renamed', 'second');
    is($server->post('/add/renamed')->{status}, 200, 'writes, too');
    is($server->sqlite('renamed', 'SELECT count(*) FROM item'),
        2, 'into the new file');
    others_serve();
};

subtest 'garbage' => sub {
    is($server->get('/garbage')->{status}, 200, 'serves');
    my $bad = $server->write_file('db/bad', 'not a database at all ' x 1000);
    chown((stat path('garbage'))[4, 5], $bad);
    unlink map { path('garbage') . $_ } '-wal', '-shm';
    rename $bad, path('garbage');
    my $answer;
    ok(
        await(
            sub {
                $answer = $server->get('/garbage');
                return $answer->{status} != 200;
            },
            10
        ),
        'noticed'
    );
    is_unavailable($answer, qr/not a database|damaged/, 'a read');
    others_serve();
    unlink path('garbage');
    sqlite_file('garbage', 'mended');
    recovers('garbage', 'mended');
};

subtest 'locked by another program' => sub {
    is($server->get('/locked')->{status}, 200, 'serves');
    my $pid = open2(my $out, my $in, 'sqlite3', '-batch', path('locked'));
    print {$in} "BEGIN EXCLUSIVE;\nSELECT 'held';\n";
    is(scalar <$out>, "held\n", 'held elsewhere');
    # It does not even run any more.
    kill STOP => $pid;
    is($server->get('/locked')->{status}, 200, 'reads go on');
    my ($answer, $took) = timed(sub { $server->post('/add/locked') });
    is_unavailable($answer, qr/locked by another program/, 'a write');
    others_serve();
    kill CONT => $pid;
    print {$in} "ROLLBACK;\n.quit\n";
    close $in;
    waitpid $pid, 0;
    is($server->post('/add/locked')->{status}, 200, 'then writes go on');
    is($server->sqlite('locked', 'SELECT count(*) FROM item'), 2, 'once each');
    recovers('locked', 'first');
    fault_row('F21', fault => 'another program holds the lock of writers, and is stopped',
        how => 'BEGIN EXCLUSIVE, SIGSTOP', expected => 'reads go on, writes 503 after busy= (200 ms)',
        seen => '200, 503', figure => sprintf('%.2f s', $took));
};

sub log_bytes {
    my ($name) = @_;
    return $server->pool($name)->{wal_bytes} // 0;
}

subtest 'somebody reads and reads' => sub {
    my $pid = open2(my $out, my $in, 'sqlite3', '-batch', path('locked'));
    print {$in} "BEGIN;\nSELECT count(*) || ' rows' FROM item;\n";
    like(scalar <$out>, qr/ rows/, 'elsewhere');
    my @bad = grep { $_->{status} != 200 } map { $server->post('/add/locked') } 1 .. 300;
    is(scalar @bad, 0, 'writes go on');
    my $most = await(sub { my $bytes = log_bytes('locked'); $bytes > 1_000_000 && $bytes }, 10);
    ok($most, 'the report tells how long the log is');
    print {$in} "ROLLBACK;\n.quit\n";
    close $in;
    waitpid $pid, 0;
    ok(await(sub { -s path('locked') . '-wal' == 0 }, 30), 'it is emptied then');
    recovers('locked', 'first');
    fault_row('F22', fault => 'a reader keeps the WAL from being copied', how => 'an open transaction, 300 writes',
        expected => 'writes go on, the size of the WAL is told, it is emptied afterwards',
        seen => 'all 200, emptied', figure => sprintf('%d KB', $most / 1024));
};

$server->done;
done_testing;
