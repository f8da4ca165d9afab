#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Files that somebody has damaged: databases, logs and their indexes with bytes
# changed, cut or moved at random places. The answers are rows or 503, nobody
# crashes, others serve, and a sound file in its place is served without a restart.
# CONNPOOL_SEED repeats a run, CONNPOOL_MUTATIONS makes it longer.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults qw(fault_row);
use ConnPoolTest qw(await command slowness);
use File::Copy ();
use Test::More;

my $SEED  = $ENV{CONNPOOL_SEED}      // time ^ $$;
my $COUNT = $ENV{CONNPOOL_MUTATIONS} // 90;
srand $SEED;
diag "CONNPOOL_SEED=$SEED";

my @NAMES = map { sprintf 'm%03d', $_ } 1 .. $COUNT;
my $conf  = <<'CONF';
ConnPoolMemory 512M
ConnPoolDatabase sound sqlite:@DIR@/db/sound.db max=2
ConnPoolQuery sound sound "SELECT count(*) FROM item" format=value
<Location "/sound">
SetHandler connpool-query
ConnPoolServe sound
</Location>
CONF
for my $name (@NAMES) {
    $conf .= <<"CONF";
ConnPoolDatabase $name sqlite:\@DIR\@/db/$name.db max=2 timeout=2s cache=64K
ConnPoolQuery all_$name $name "SELECT id, title, x FROM item ORDER BY title" max-rows=5000
ConnPoolQuery find_$name $name "SELECT note.text FROM note JOIN item ON item.id = note.item WHERE item.title LIKE 'title 1%'"
ConnPoolQuery add_$name $name "INSERT INTO item(title, x) VALUES (hex(randomblob(8)), zeroblob(300))" write=on
<Location "/all/$name">
SetHandler connpool-query
ConnPoolServe all_$name
</Location>
<Location "/find/$name">
SetHandler connpool-query
ConnPoolServe find_$name
</Location>
<Location "/add/$name">
SetHandler connpool-query
ConnPoolServe add_$name
</Location>
CONF
}
my $server = ConnPoolTest->new(threads => 6, conf => $conf);
$server->allow_log(qr/\[connpool:(?:error|warn)\]/);

# A database whose last rows stand in the log alone. The shell must not copy
# them when it ends: so it is killed.
sub make_sample {
    my $path = $server->make_sqlite('sound', <<'SQL');
PRAGMA page_size = 1024;
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT UNIQUE, x);
CREATE TABLE note(item INTEGER REFERENCES item, text);
CREATE INDEX by_item ON note(item);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 150)
INSERT INTO item SELECT i, 'title ' || i, hex(randomblob(100)) FROM n;
INSERT INTO note SELECT id, 'note of ' || title FROM item;
SQL
    my $pid = open(my $shell, '|-', 'sqlite3', '-batch', '-init', '/dev/null', $path)
        // die "sqlite3: $!";
    $shell->autoflush(1);
    my $sign = $server->dir('run/made');
    print {$shell} "PRAGMA wal_autocheckpoint = 0;\n"
        . "INSERT INTO item SELECT id + 1000, title || ' again', x FROM item;\n"
        . ".shell touch $sign\n";
    await(sub { -e $sign }, 10, 'the sample') or die;
    my %file;
    for my $part ('', '-wal', '-shm') {
        open(my $in, '<:raw', "$path$part") or die "$path$part: $!";
        local $/ = undef;
        $file{$part} = <$in>;
    }
    kill 'KILL', $pid;
    close $shell;
    unlink "$path-wal", "$path-shm";
    return \%file;
}

# One mutation of some bytes: where it hurts more often than by chance.
sub mutate {
    my ($bytes) = @_;
    my $size = length $bytes;
    my @ways = (
        sub { substr($bytes, int rand 100, 1) = chr int rand 256 },                # the header
        sub { substr($bytes, int rand $size, 1) ^= chr(1 << int rand 8) for 1 .. 1 + rand 8 },
        sub { substr($bytes, 1024 * int(rand($size / 1024)) + int(rand 12), 1) = chr int rand 256 },    # of a page
        sub { substr($bytes, int rand $size, 16) = "\xff" x 16 },
        sub { substr($bytes, int rand $size) = '' },                              # cut
        sub { $bytes .= join '', map { chr int rand 256 } 1 .. 3000 },
        sub {
            my $from = 1024 * int rand($size / 1024);
            substr($bytes, 1024 * int(rand($size / 1024)), 1024) = substr $bytes, $from, 1024;
        },
        sub { $bytes = "\0" x $size },
    );
    $ways[rand @ways]->();
    return $bytes;
}

my $sample = make_sample();
my %parts  = ('' => 0, '-wal' => 0, '-shm' => 0);
for my $i (0 .. $#NAMES) {
    my @which = $i % 3 == 0 ? '' : $i % 3 == 1 ? '-wal' : ('-shm', '-wal');
    my %file  = %$sample;
    for my $part (@which) {
        $file{$part} = mutate($file{$part});
        $parts{$part}++;
    }
    for my $part (keys %file) {
        my $path = $server->write_file("db/$NAMES[$i].db$part", $file{$part});
        $server->_give_to_server($path);
    }
}
$server->start;
my @children = $server->children;

my (%seen, @bad);
for my $name (@NAMES) {
    for my $request (['GET', 'all'], ['GET', 'find'], ['POST', 'add'], ['GET', 'all']) {
        my ($method, $what) = @$request;
        my $answer = $server->request($method, "/$what/$name");
        my $is_json = eval { ConnPoolTest::decode($answer, $name); 1 };
        $seen{$answer->{status}}++;
        push @bad, "$method $name: $answer->{status} " . substr $answer->{content}, 0, 200
            if !$is_json || $answer->{status} !~ /^(?:200|400|409|503|504)$/;
        push @bad, "$method $name: $answer->{status} tells too much: $answer->{content}"
            if $answer->{status} != 200 && $answer->{content} =~ /\.db|SELECT|INSERT/;
    }
}
is_deeply(\@bad, [], 'rows, or a clear refusal');
is_deeply([$server->children], \@children, 'no child has ended');
cmp_ok($seen{200} // 0, '>', 0, 'some were answered');
cmp_ok($seen{503} // 0, '>', 0, 'some were refused');
is($server->get('/sound')->{content}, '150', 'others serve');

my $mended = 0;
for my $name (@NAMES[grep { $_ % 9 == 0 } 0 .. $#NAMES]) {
    File::Copy::copy($server->dir('db/sound.db'), $server->dir('db/new.db'));
    $server->_give_to_server($server->dir('db/new.db'));
    unlink map { $server->dir("db/$name.db$_") } '-wal', '-shm';
    rename $server->dir('db/new.db'), $server->dir("db/$name.db");
    ok(await(sub { $server->get("/find/$name")->{status} == 200 }, 10), "$name: mended, served");
    $mended++;
}
fault_row('F18', fault => 'database, log and index files with damaged bytes',
    how => "$COUNT mutations: bytes, bits, cuts, pages moved, garbage appended, zeros",
    expected => 'rows or 503, no crash, others serve, a sound file is served without a restart',
    seen => join(', ', map { "$_ x$seen{$_}" } sort keys %seen) . ", 0 crashes, $mended mended",
    figure => "$parts{''} databases, $parts{'-wal'} logs, $parts{'-shm'} indexes");
$server->done;
done_testing;
