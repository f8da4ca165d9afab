#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Write queries: answers, refusals, and that no acknowledged row is ever lost,
# with many clients and with children that are killed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use Test::More;
use Time::HiRes qw(sleep time);

my %QUERIES = (
    add => ['INSERT INTO note(client, seq) VALUES (:client, :seq)', '',
        'client integer required', 'seq integer required'],
    edit   => ['UPDATE note SET seq = seq + 1000 WHERE client = :client', '',
        'client integer required'],
    erase  => ['DELETE FROM note WHERE client = :client', '',
        'client integer required'],
    put    => ['REPLACE INTO pair VALUES (:k, :v)', 'methods=PUT',
        'k text required', 'v text'],
    maybe  => ['INSERT OR IGNORE INTO pair VALUES (:k, :v)', '',
        'k text required', 'v text'],
    more   => [q{INSERT INTO note(client, seq) VALUES (-1, :seq), (-1, :seq + 1)}
        . ' RETURNING seq, client', '', 'seq integer required'],
    one    => ['INSERT INTO pair VALUES (:k, 1) RETURNING k', 'format=value',
        'k text required'],
    many   => ['WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n'
        . ' LIMIT 50) INSERT INTO big SELECT i FROM n RETURNING i', 'max-rows=3'],
    large  => ['WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n'
        . ' LIMIT 50) INSERT INTO big SELECT -i FROM n RETURNING i',
        'max-bytes=100'],
    slow   => ['WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'
        . ' INSERT INTO big SELECT 0 FROM n', 'timeout=200ms'],
    nested => ['INSERT INTO broken VALUES (1)', ''],
    child  => ['INSERT INTO child VALUES (:of)', '', 'of integer'],
    orphan => ['DELETE FROM parent', ''],
);

my $conf = <<'CONF';
ConnPoolDatabase notes sqlite:@DIR@/db/notes.db acquire=30s timeout=30s max=4
ConnPoolQuery count notes "SELECT count(*) FROM note" format=value
<Location "/count">
SetHandler connpool-query
ConnPoolServe count
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name notes \"$sql\" write=on $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

$conf .= <<'CONF';
ConnPoolDatabase legacy sqlite:@DIR@/db/notes.db foreign_keys=off
ConnPoolQuery legacy legacy "INSERT INTO child VALUES (99)" write=on
<Location "/legacy">
SetHandler connpool-query
ConnPoolServe legacy
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe one nested child
</Location>
CONF

my $server = ConnPoolTest->new(children => 4, threads => 16, conf => $conf);
$server->make_sqlite('notes', <<'SQL');
CREATE TABLE note(id INTEGER PRIMARY KEY, client INTEGER NOT NULL,
    seq INTEGER CHECK (seq < 100000), UNIQUE(client, seq));
CREATE TABLE pair(k TEXT PRIMARY KEY, v TEXT);
CREATE TABLE big(i INTEGER);
CREATE TABLE broken(i INTEGER);
CREATE TABLE parent(id INTEGER PRIMARY KEY);
CREATE TABLE child(of INTEGER NOT NULL REFERENCES parent ON DELETE CASCADE);
INSERT INTO parent VALUES (1);
CREATE TRIGGER refuse BEFORE INSERT ON broken
BEGIN SELECT RAISE(ABORT, 'The shop is "closed".'); END;
SQL
$server->allow_log(qr/SQLite \d+\.\d|AH10159|AH00287|AH00161|AH00484|AH1039[23]/,
    qr/query 'slow'/);
$server->start;

sub is_answer {
    my ($answer, $content, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status},  200,      "$what: 200");
    is($answer->{content}, $content, $what);
    return;
}

sub is_problem {
    my ($answer, $status, $detail, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, $status, "$what: $status");
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... type');
    my $problem = ConnPoolTest::decode($answer, $what);
    like($problem->{detail}, $detail, '... detail');
    unlike($answer->{content}, qr/INSERT|UPDATE|notes\.db/,
        '... and no secret');
    return $problem;
}

# ---------------------------------------------------------------------------

subtest 'answers' => sub {
    my $first = $server->post('/add', json => {client => 1, seq => 1});
    is_answer($first, '{"changes":1,"last_insert_rowid":1}', 'INSERT');
    is($first->{headers}{'content-type'}, 'application/json', 'type');
    is($first->{headers}{etag}, undef, 'no tag: it is no state');
    is_answer($server->post('/add', content => {client => 1, seq => 2}),
        '{"changes":1,"last_insert_rowid":2}', 'by a form');
    is_answer($server->request('PUT', '/add?client=1&seq=3'),
        '{"changes":1,"last_insert_rowid":3}', 'PUT');
    is_answer($server->post('/edit', json => {client => 1}),
        '{"changes":3,"last_insert_rowid":0}', 'UPDATE');
    is_answer($server->post('/edit', json => {client => 99}),
        '{"changes":0,"last_insert_rowid":0}', 'UPDATE of nothing');
    is_answer($server->request('DELETE', '/erase?client=1'),
        '{"changes":3,"last_insert_rowid":0}', 'DELETE');
    is_answer($server->request('PUT', '/put?k=a&v=1'),
        '{"changes":1,"last_insert_rowid":1}', 'REPLACE');
    is_answer($server->post('/maybe', json => {k => 'a', v => 'x'}),
        '{"changes":0,"last_insert_rowid":0}', 'a row that was there');
    is($server->sqlite('notes', 'SELECT v FROM pair'), '1', 'and stays');
    is_answer($server->post('/more', json => {seq => 5}),
        '[{"seq":5,"client":-1},{"seq":6,"client":-1}]', 'RETURNING');
    is_answer($server->post('/one', json => {k => 'b'}), '"b"', 'as a value');
    is($server->get('/count')->{content}, '2', 'a reader sees it all');
};

subtest 'what is refused' => sub {
    my $count = $server->sqlite('notes', 'SELECT count(*) FROM note');
    for my $method (qw(GET HEAD)) {
        my $answer = $server->request($method, '/add?client=1&seq=1');
        is($answer->{status}, 405, "$method");
        is($answer->{headers}{allow}, 'POST, PUT, PATCH, DELETE, OPTIONS',
            '... Allow');
    }
    is($server->post('/put', json => {k => 'a'})->{status}, 405, 'methods=PUT');
    my $problem = is_problem($server->post('/more', json => {seq => 5}), 409,
        qr/violate a constraint/, 'a row that is there');
    is($problem->{constraint}, 'unique', '... which constraint');
    is_deeply($problem->{columns}, ['note.client', 'note.seq'], '... where');
    $problem = is_problem($server->post('/add',
            json => {client => 1, seq => 100_000}), 400,
        qr/violate a constraint/, 'CHECK');
    is($problem->{constraint}, 'check', '... which constraint');
    is($problem->{columns} // $problem->{name}, undef, '... whose name is SQL');
    $problem = is_problem($server->post('/nested'), 400,
        qr/^The shop is "closed"\.$/, 'a trigger, in its words');
    is($problem->{constraint}, 'trigger', '... said to be one');
    $problem = is_problem($server->post('/one', json => {k => 'b'}), 409,
        qr/violate a constraint/, 'a key that is there');
    is($problem->{constraint}, 'primary_key', '... which constraint');
    is_problem($server->post('/add', json => {client => 1}), 400,
        qr/parameters are not valid/, 'a parameter is missing');
    is($server->sqlite('notes', 'SELECT count(*) FROM note'), $count,
        'nothing was written');
    my $many = $server->post('/many');
    is_answer($many, '[{"i":1},{"i":2},{"i":3}]', 'RETURNING, cut');
    is($many->{headers}{'connpool-truncated'}, 'rows', '... and said to be');
    is($server->sqlite('notes', 'SELECT count(*) FROM big'), 50,
        '... but all is written');
    is_problem($server->post('/large'), 413, qr/too large/,
        'RETURNING more than max-bytes');
    is($server->sqlite('notes', 'SELECT count(*) FROM big WHERE i < 0'), 0,
        '... nothing is written');
    my $begin = time;
    is_problem($server->post('/slow'), 504, qr/longer than its limit/,
        'a write without end');
    cmp_ok(time - $begin, '<', 3 * slowness(), '... soon');
    is($server->sqlite('notes', 'SELECT count(*) FROM big WHERE i = 0'), 0,
        '... is rolled back');
    is_answer($server->request('DELETE', '/erase?client=-1'),
        '{"changes":2,"last_insert_rowid":0}', 'the writer is good for others');
};

subtest 'in a batch' => sub {
    my $answer = $server->post('/batch', json => [
        {name => 'one', params => {k => 'b'}}, {name => 'nested'},
        {name => 'child', params => {of => 77}},
        {name => 'child', params => {of => undef}}]);
    my $items = ConnPoolTest::decode($answer);
    is_deeply([map { $_->{status} } @$items], [409, 400, 409, 400], 'statuses');
    is_deeply([map { $_->{error}{constraint} } @$items],
        [qw(primary_key trigger foreign_key not_null)], 'constraints');
    is_deeply($items->[0]{error}{columns}, ['pair.k'], 'a column');
    is($items->[1]{error}{detail}, 'The shop is "closed".', 'a trigger speaks');
};

subtest 'foreign keys' => sub {
    is($server->post('/child', json => {of => 1})->{status}, 200, 'a child');
    my $problem = is_problem($server->post('/child', json => {of => 78}), 409,
        qr/refer/, 'of nobody');
    is($problem->{constraint}, 'foreign_key', '... which constraint');
    is($server->post('/orphan')->{status}, 200, 'its parent goes');
    is($server->sqlite('notes', 'SELECT count(*) FROM child'), 0,
        'and takes it along');
    is($server->post('/legacy')->{status}, 200, 'foreign_keys=off');
};

subtest 'pages of other sites' => sub {
    my $host = '127.0.0.1:' . $server->port;
    my $seq  = 100;
    my @cases = (
        [403, 'Sec-Fetch-Site' => 'cross-site'],
        [403, 'Sec-Fetch-Site' => 'Cross-Site'],
        [403, 'Sec-Fetch-Site' => 'cross-site', Origin => "http://$host"],
        [403, Origin => 'http://evil.example'],
        [403, Origin => "http://$host.evil.example"],
        [403, Origin => 'http://127.0.0.1:1'],
        [403, Origin => "http://evil.example/$host"],
        [403, Origin => 'null'],
        [403, Origin => ''],
        [200, Origin => "http://$host"],
        [200, 'Sec-Fetch-Site' => 'same-origin', Origin => "http://$host"],
        [200, 'Sec-Fetch-Site' => 'none'],
        [200, Referer => 'http://evil.example/'],
    );
    for my $case (@cases) {
        my ($status, %headers) = @$case;
        $seq++;
        my $what = join ', ', map { "$_: $headers{$_}" } sort keys %headers;
        my $answer = $server->post('/add', headers => \%headers,
            json => {client => 2, seq => $seq});
        is($answer->{status}, $status, $what);
        is_problem($answer, 403, qr/may not write/, $what) if $status == 403;
        is($server->sqlite('notes',
                "SELECT count(*) FROM note WHERE client = 2 AND seq = $seq"),
            $status == 200 ? 1 : 0, '... written or not');
    }
    is($server->get('/count', headers => {'Sec-Fetch-Site' => 'cross-site'})
            ->{status}, 200, 'reading is free');
};

# ---------------------------------------------------------------------------

# Write rows (client, 1 .. n) and return the numbers that were acknowledged,
# and the other answers.
sub write_rows {
    my ($client, $n) = @_;
    my (@done, %other);
    for my $seq (1 .. $n) {
        # Not kept alive: a server without free threads closes idle connections.
        my $answer = $server->post('/add', timeout => 30 * slowness(),
            json => {client => $client, seq => $seq});
        if ($answer->{status} == 200) {
            push @done, $seq;
        }
        else {
            $other{$answer->{status} . ' ' . substr $answer->{content}, 0, 200}++;
        }
    }
    return {done => \@done, other => \%other};
}

sub rows_of {
    my ($from, $to) = @_;
    my %rows;
    for my $line (split /\n/, $server->sqlite('notes', 'SELECT client, seq FROM '
                . "note WHERE client BETWEEN $from AND $to"))
    {
        my ($client, $seq) = split /\|/, $line;
        $rows{$client}{$seq} = 1;
    }
    return \%rows;
}

subtest 'many clients at once' => sub {
    my ($clients, $n) = (64, 15);
    my $mark   = $server->log_mark;
    my @result = parallel($clients, sub { write_rows(1000 + $_[0], $n) });
    is(scalar(grep { defined } @result), $clients, 'all clients have ended');
    my %other = map { %{$_->{other}} } @result;
    is_deeply(\%other, {}, 'each write is acknowledged');
    my $rows = rows_of(1000, 1000 + $clients);
    my $lost = grep { !$rows->{1000 + $_} || keys %{$rows->{1000 + $_}} != $n }
        0 .. $clients - 1;
    is($lost, 0, 'and there');
    unlike($server->log_since($mark), qr/busy|locked|SQLite 5\b/i,
        'nobody saw a lock');
    is($server->sqlite('notes', 'PRAGMA integrity_check'), 'ok', 'sound');
};

subtest 'children that are killed' => sub {
    my ($clients, $n, $kills) = (8, 60, 10);
    my $killed = 0;
    my $killer = sub {
        for (1 .. $kills) {
            my @children;
            await(sub { @children = $server->children; @children >= 2 }, 10)
                or return;
            $killed += $server->kill_child('KILL', $children[rand @children]);
            sleep 0.08;
        }
    };
    my $pid = open(my $pipe, '-|') // die "fork: $!";
    if (!$pid) {
        my @result = parallel($clients, sub { write_rows(2000 + $_[0], $n) });
        print STDOUT JSON::PP->new->encode(\@result);
        close STDOUT;
        POSIX::_exit(0);
    }
    ok(await(sub { keys %{rows_of(2000, 2000 + $clients)} >= 2 }, 20),
        'they write');
    $killer->();
    local $/ = undef;
    my @result = @{JSON::PP->new->decode(scalar <$pipe>)};
    close $pipe;
    is($killed, $kills, "$killed children were killed");
    is(scalar(grep { defined } @result), $clients, 'all clients have ended');
    local $/ = "\n";
    my $rows = rows_of(2000, 2000 + $clients);
    my ($acknowledged, $lost) = (0, 0);
    for my $client (0 .. $clients - 1) {
        for my $seq (@{$result[$client]{done}}) {
            $acknowledged++;
            $lost++ if !$rows->{2000 + $client}{$seq};
        }
    }
    cmp_ok($acknowledged, '>', $clients * $n / 2,
        "$acknowledged writes were acknowledged");
    is($lost, 0, 'none is lost');
    is((grep { /^[234]|^50[04]/ } map { keys %{$_->{other}} } @result), 0,
        'no other answer than none') or diag explain [map { $_->{other} } @result];
    is($server->sqlite('notes', 'PRAGMA integrity_check'), 'ok', 'sound');
    ok(await(sub { $server->children >= 4 }, 20), 'new children come');
    is($server->post('/add', json => {client => 3, seq => 1})->{status}, 200,
        'and write');
};

$server->done;
done_testing;
