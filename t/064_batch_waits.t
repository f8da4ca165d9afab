#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# While a batch's query waits - for a connection, for the lock of a writer, for
# a file that another program keeps busy, for what another request reads - its
# fetches go on, and keep nothing longer than they need it.
# MPM: event
use strict;
use warnings;

use Fcntl qw(F_SETLK F_WRLCK SEEK_SET);
use FindBin;
use IPC::Open2 qw(open2);
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parse_response read_until slowness);
use ConnPoolUpstream;
use Test::More;

my $ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'
    . ' SELECT count(*) FROM n';
my $upstream = ConnPoolUpstream->start;
my %served   = (
    connection => 'count',
    writer     => 'add_locked',
    file       => 'read_busy',
    index      => 'read_index',
    flight     => 'shared',
);
my $conf = <<"CONF";
ConnPoolDatabase one sqlite:\@DIR\@/db/one.db max=1 acquire=3s overflow=reject
ConnPoolQuery stay one "$ENDLESS" timeout=4s
ConnPoolQuery count one "SELECT count(*) FROM t" format=value
ConnPoolDatabase locked sqlite:\@DIR\@/db/locked.db max=3 busy=3s
ConnPoolQuery add_locked locked "INSERT INTO t VALUES (2)" write=on
ConnPoolDatabase busy sqlite:\@DIR\@/db/busy.db max=3 busy=3s readonly=on
ConnPoolQuery read_busy busy "SELECT a FROM t"
ConnPoolDatabase index sqlite:\@DIR\@/db/index.db max=3 busy=3s
ConnPoolQuery read_index index "SELECT a FROM t"
ConnPoolDatabase flight sqlite:\@DIR\@/db/flight.db max=3
ConnPoolQuery shared flight "$ENDLESS" timeout=3s coalesce=on
ConnPoolUpstream text \@UP\@/delay/0.2 max=1 perhost=1 overflow=reject acquire=1s
<Location "/stay">
SetHandler connpool-query
ConnPoolServe stay
</Location>
<Location "/shared">
SetHandler connpool-query
ConnPoolServe shared
</Location>
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
<Location "/read_index">
SetHandler connpool-query
ConnPoolServe read_index
</Location>
CONF
for my $name (sort keys %served) {
    $conf .= "<Location \"/batch/$name\">\nSetHandler connpool-batch\n"
        . "ConnPoolServe $served{$name} text\n</Location>\n";
}
my $server = ConnPoolTest->new(threads => 8, vars => {UP => $upstream->url},
    conf => $conf);
$server->make_sqlite($_, 'CREATE TABLE t(a); INSERT INTO t VALUES (1)')
    for qw(one locked busy index flight);
$server->allow_log(qr/\[connpool:/);
$server->start;

# Run a batch; while its query waits, others get the one connection to the
# upstream. Returns the items.
sub run_batch {
    my ($name) = @_;
    my $socket = $server->connect;
    my $method = $name eq 'writer' ? 'POST' : 'GET';
    my $body   = '[{"name":"add_locked"},{"name":"text"}]';
    print {$socket} "$method /batch/$name HTTP/1.1\r\nHost: a\r\n",
        "Connection: close\r\nSec-Fetch-Site: same-origin\r\n",
        $method eq 'GET'
        ? "\r\n"
        : "Content-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
    ok(await(sub { $server->pool('text')->{busy} == 1 }, 5),
        'the fetch is under way');
    is($server->get('/text')->{status}, 200,
        'its connection is not kept from others');
    my $answer = parse_response(read_until($socket, undef, 30 * slowness()));
    return @{ConnPoolTest::decode($answer, $name)};
}

# The fetch takes 200 ms, the query waits for three seconds.
sub is_quick {
    my ($name, $status) = @_;
    my ($query, $text) = run_batch($name);
    is($text->{status}, 200, 'the fetch is well');
    cmp_ok($text->{ms}, '<', $query->{ms} / 2,
        "$text->{ms} ms, while the query took $query->{ms} ms");
    cmp_ok($query->{ms}, '>', 1500, 'for it had to wait');
    is($query->{status}, $status, 'in vain');
    return;
}

sub occupy {
    my ($path, $pool) = @_;
    my $socket = $server->connect;
    print {$socket} "GET $path HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    ok(await(sub { $server->pool($pool)->{busy} == 1 }, 5), "$path is busy");
    return $socket;
}

# Another program takes a lock in SQLite's own way.
sub hold {
    my ($name, $sql) = @_;
    my $pid = open2(my $out, my $in, 'sqlite3', '-batch',
        $server->dir("db/$name.db"));
    print {$in} "$sql;\nSELECT 'held';\n";
    is(scalar <$out>, "held\n", 'held elsewhere');
    return sub {
        print {$in} "ROLLBACK;\n.quit\n";
        close $in;
        waitpid $pid, 0;
    };
}

subtest 'for a connection' => sub {
    my $other = occupy('/stay', 'one');
    is_quick('connection', 503);
    read_until($other, undef, 30);
};

subtest 'for the lock of a writer' => sub {
    my $release = hold('locked', 'BEGIN IMMEDIATE');
    is_quick('writer', 503);
    $release->();
};

subtest 'for a file that is busy' => sub {
    my $release = hold('busy', 'BEGIN EXCLUSIVE');
    is_quick('file', 503);
    $release->();
};

subtest 'for the index of the log' => sub {
    is($server->get('/read_index')->{status}, 200, 'there is one');
    open(my $file, '+<', $server->dir('db/index.db-shm')) or die "index: $!";
    my $lock = pack 's! s! x![q] q q l x4', F_WRLCK, SEEK_SET, 120, 8, 0;
    fcntl($file, F_SETLK, $lock) or die "lock: $!";
    is_quick('index', 503);
    close $file;
};

subtest 'for what another request reads' => sub {
    my $other = occupy('/shared', 'flight');
    is_quick('flight', 504);
    read_until($other, undef, 30);
};

$server->done;
done_testing;
