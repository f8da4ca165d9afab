#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# ConnPoolBatchAtomic: the writes of one database in a batch are one
# transaction, whatever ends it, and each item says what became of it.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel read_until slowness);
use IPC::Open2 qw(open2);
use List::Util qw(min);
use JSON::PP   ();
use Test::More;
use Time::HiRes qw(time);

my $LONG = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n'
    . ' WHERE i < 1000000000)';
my $server = ConnPoolTest->new(
    children => 2,
    load     => {connpool_script_module => 't/mod_connpool_script.so'},
    vars     => {LONG => $LONG},
    conf     => <<'CONF',
ConnPoolDatabase shop sqlite:@DIR@/db/shop.db max=3
ConnPoolDatabase one sqlite:@DIR@/db/one.db max=1
ConnPoolDatabase scripted script:word max=2
ConnPoolQuery add shop "INSERT INTO item(name) VALUES(:name)" write=on
ConnPoolParam add name text required maxlen=20
ConnPoolQuery take shop "UPDATE item SET left = left - :n WHERE name = :name" write=on
ConnPoolParam take name text
ConnPoolParam take n integer
ConnPoolQuery get shop "UPDATE item SET left = left - 1 WHERE name = :name RETURNING id, left" write=on format=object
ConnPoolParam get name text
ConnPoolQuery back shop "INSERT INTO item(name) VALUES(:name) RETURNING id, name" write=on
ConnPoolParam back name text
ConnPoolQuery note shop "INSERT INTO note(item, text) VALUES(last_insert_rowid(), :text)" write=on
ConnPoolParam note text text
ConnPoolQuery late shop "INSERT INTO debt(item) VALUES(:item)" write=on
ConnPoolParam late item integer
ConnPoolQuery wipe shop "INSERT OR ROLLBACK INTO item(name) VALUES(:name)" write=on
ConnPoolParam wipe name text
ConnPoolQuery put shop "INSERT INTO item(name) VALUES('put')" write=on methods=PUT
ConnPoolQuery long shop "@LONG@ INSERT INTO item(name) SELECT 'long' || i FROM n WHERE i > 999999998" write=on timeout=20s
ConnPoolQuery work shop "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) UPDATE item SET left = left WHERE id IN (SELECT i FROM n WHERE i = 300000)" write=on timeout=1min
ConnPoolQuery brief shop "@LONG@ INSERT INTO item(name) SELECT 'brief' || i FROM n WHERE i > 999999998" write=on timeout=200ms
ConnPoolQuery count shop "SELECT count(*) FROM item" format=value
ConnPoolQuery names shop "SELECT name FROM item WHERE name LIKE :like ORDER BY name" format=arrays
ConnPoolParam names like text
ConnPoolQuery kept shop "SELECT count(*) FROM item" format=value ttl=data
ConnPoolQuery add1 one "INSERT INTO t VALUES(:a)" write=on
ConnPoolParam add1 a integer
ConnPoolQuery count1 one "SELECT count(*) FROM t" format=value
ConnPoolQuery sadd scripted "add :name" write=on
ConnPoolParam sadd name text required
ConnPoolQuery slist scripted "list" format=arrays
ConnPoolQuery spoil scripted "fail commit" write=on
ConnPoolQuery heal scripted "heal" write=on
<Location "/all">
SetHandler connpool-batch
ConnPoolServe add take get back note late wipe put long work brief count names add1 count1 sadd slist spoil heal
ConnPoolBatchAtomic On
ConnPoolBatchMax 600
</Location>
<Location "/bulk">
SetHandler connpool-batch
ConnPoolServe add
ConnPoolBatchAtomic On
ConnPoolBatchMax 1000
ConnPoolBatchBody 2M
</Location>
<Location "/each">
SetHandler connpool-batch
ConnPoolServe add count
ConnPoolBatchMax 1000
</Location>
<Location "/kept">
SetHandler connpool-query
ConnPoolServe kept
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF
);
my $SCHEMA = <<'SQL';
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT UNIQUE, left INTEGER DEFAULT 3 CHECK(left >= 0));
CREATE TABLE note(item INTEGER REFERENCES item, text TEXT NOT NULL);
CREATE TABLE debt(item INTEGER REFERENCES item DEFERRABLE INITIALLY DEFERRED);
INSERT INTO item(name) VALUES('lamp'), ('chair');
SQL
$server->make_sqlite('shop', $SCHEMA);
$server->make_sqlite('one', 'CREATE TABLE t(a INTEGER CHECK(a > 0));');
$server->allow_log(qr/query '(?:add|brief|long|spoil|late)'/,
    qr/the writes of this batch/);
$server->start;

sub post {
    my ($path, @items) = @_;
    my $answer = $server->post($path,
        json => [map { {name => $_->[0], params => $_->[1] // {}} } @items]);
    is($answer->{status}, 200, 'answered') or diag $answer->{content};
    return @{ConnPoolTest::decode($answer, 'batch')};
}

sub statuses {
    return join ' ', map { $_->{status} } @_;
}

sub details {
    return map { $_->{error}{detail} } @_;
}

sub counts {
    return {map { $_->{name} => $_ } @{$server->status_json->{queries}}};
}

sub query_of {
    my ($name) = @_;
    return counts()->{$name};
}

# What was counted for a query since then.
sub grown {
    my ($before, $name) = @_;
    my ($then, $now) = ($before->{$name}, query_of($name));
    my %failures;
    for my $class (keys %{$now->{failures}}) {
        my $more = $now->{failures}{$class} - ($then->{failures}{$class} // 0);
        $failures{$class} = $more if $more;
    }
    return {
        count    => $now->{count} - $then->{count},
        errors   => $now->{errors} - $then->{errors},
        failures => \%failures,
    };
}

sub count_of {
    my ($where, $table) = @_;
    return $server->sqlite('shop',
        'SELECT count(*) FROM ' . ($table // 'item') . " WHERE $where");
}

subtest 'all of it' => sub {
    my @items = post('/all', ['count'], ['add', {name => 'a1'}],
        ['note', {text => 'of a1'}], ['take', {name => 'lamp', n => 1}],
        ['back', {name => 'a2'}], ['get', {name => 'chair'}], ['count']);
    is(statuses(@items), '200 200 200 200 200 200 200', 'all went well');
    is_deeply(
        $items[1]{body},
        {changes => 1, last_insert_rowid => 3},
        'an insert has its row'
    );
    is($server->sqlite('shop', 'SELECT item, text FROM note'),
        '3|of a1', 'which the next write can name');
    is_deeply(
        $items[3]{body},
        {changes => 1, last_insert_rowid => 0},
        'an update has not that of another'
    );
    is_deeply($items[4]{body}, [{id => 4, name => 'a2'}], 'RETURNING');
    is_deeply($items[5]{body}, {id => 2, left => 2}, 'as an object');
    is("$items[0]{body} $items[6]{body}", '4 4', 'what reads sees all of it');
};

subtest 'or nothing' => sub {
    my $before = count_of('1');
    my @items  = post('/all', ['add', {name => 'b1'}], ['count'],
        ['back', {name => 'b2'}], ['names', {like => 'b%'}],
        ['add',  {name => 'lamp'}], ['add', {name => 'b3'}]);
    is(statuses(@items), '424 200 424 200 409 424', 'one has failed');
    is_deeply(
        [details(@items[0, 2, 5])],
        [
            ('Undone, because item 4 (add) failed.') x 2,
            'Not run, because item 4 (add) failed.'
        ],
        'the others say which'
    );
    is($items[0]{error}{title}, 'Failed Dependency', 'with a title');
    ok(!exists $items[2]{body}, 'no row that is not there');
    is($items[4]{error}{constraint}, 'unique', 'the one says why');
    is_deeply($items[4]{error}{columns}, ['item.name'], 'and where');
    is($items[1]{body}, $before, 'what reads sees nothing of it');
    is_deeply($items[3]{body}, [], 'wherever it stands');
    is(count_of('1'), $before, 'nothing was written');
    my $answer = $server->post('/all?strict=1',
        json => [map { {name => 'add', params => {name => $_}} } 'b1', 'b1']);
    is($answer->{status}, 502, 'strict=1');
    @items = post('/all', ['add', {name => 'b1'}], ['take', {name => 'lamp', n => 9}]);
    is(statuses(@items), '424 400', 'a check');
    @items = post('/all', ['add', {name => 'b1'}], ['wipe', {name => 'lamp'}],
        ['add', {name => 'b2'}]);
    is(statuses(@items), '424 409 424', 'a statement that ends the transaction');
    @items = post('/all', ['add', {name => 'b1'}], ['get', {name => 'nobody'}]);
    is(statuses(@items), '424 404', 'a row that is not there');
    is(count_of('1'), $before, 'nothing of all that');
    $server->is_at_rest;
};

subtest 'what was refused before' => sub {
    my $before = count_of('1');
    my @items  = post('/all', ['add', {name => 'c1'}], ['add', {name => 7}]);
    is(statuses(@items), '424 400', 'a parameter');
    is((details(@items))[0], 'Not run, because item 1 (add) failed.', 'is named');
    @items = post('/all', ['add', {name => 'c1'}], ['put']);
    is(statuses(@items), '424 405', 'a method');
    @items = post('/all', ['add', {name => 'c1'}], ['nothing'],
        ['add1', {a => 1}], ['count']);
    is(statuses(@items), '424 404 424 200', 'a name that nobody serves');
    @items = post('/all', ['add', {name => 'c1'}], ['names', {like => 1}]);
    is(statuses(@items), '200 400', 'what reads hinders no write');
    is(count_of('1'), $before + 1, 'one was written');
    is($server->sqlite('one', 'SELECT count(*) FROM t'), 0, 'in no database');
};

subtest 'several databases' => sub {
    my $before = count_of('1');
    my @items  = post('/all', ['add1', {a => 1}], ['add', {name => 'd1'}],
        ['add1', {a => 2}], ['add', {name => 'lamp'}], ['count1'], ['count']);
    is(statuses(@items), '200 424 200 409 200 200', 'each has its own');
    is($items[4]{body}, 2, 'a connection for all that is done');
    is(count_of('1'), $before, 'the other is undone');
};

subtest 'what fails at the end' => sub {
    my @items = post('/all', ['add', {name => 'e1'}], ['late', {item => 99}],
        ['late', {item => 1}]);
    is(statuses(@items), '409 409 409', 'a foreign key that is looked at then');
    is($_->{error}{constraint}, 'foreign_key', 'is told') for @items;
    like((details(@items))[0], qr/^the writes of this batch are undone: /, 'so');
    is(count_of(q(name = 'e1')), 0, 'nothing is left');
    is(count_of('1', 'debt'),    0, 'of any');
    @items = post('/all', ['late', {item => 99}], ['late', {item => 98}]);
    is(statuses(@items), '409 409', 'nor of a second try');
    my $counts = counts();
    @items = post('/all', ['sadd', {name => 'x'}], ['spoil'], ['sadd', {name => 'y'}],
        ['slist']);
    is(statuses(@items), '503 503 503 200', 'a commit that fails');
    is_deeply(grown($counts, 'sadd'), {count => 2, errors => 2, failures => {storage => 2}},
        'is counted for each that it undoes');
    ok(await(sub {
        return query_of('sadd')->{cause} =~ /2 of 2 runs .* failed because of the database/;
    }, 5), 'and shown as broken') or diag(query_of('sadd')->{cause});
    is($_, 'the writes of this batch are undone: the disk is full.', 'and why')
        for (details(@items))[0 .. 2];
    is_deeply($items[3]{body}, [], 'nothing was kept');
    @items = post('/all', ['heal'], ['sadd', {name => 'x'}], ['sadd', {name => 'y'}],
        ['slist']);
    is(statuses(@items), '200 200 200 200', 'a driver that cannot nest');
    is(scalar @{$items[3]{body}}, 2, 'and has many statements in one');
};

subtest 'what cannot begin' => sub {
    my $counts = counts();
    my $pid    = open2(my $out, my $in, 'sqlite3', '-batch', $server->dir('db/shop.db'));
    print {$in} "BEGIN IMMEDIATE;\nSELECT 'held';\n";
    is(scalar <$out>, "held\n", 'held elsewhere');
    my @items = post('/all', ['brief'], ['brief']);
    is(statuses(@items), '503 503', 'none has begun') or diag(details(@items));
    print {$in} "ROLLBACK;\n.quit\n";
    close $in;
    waitpid $pid, 0;
    is_deeply(grown($counts, 'brief'), {count => 2, errors => 2, failures => {storage => 2}},
        'each is counted');
};

subtest 'each for itself' => sub {
    my $before = count_of('1');
    my @items  = post('/each', ['count'], ['add', {name => 'f1'}],
        ['add', {name => 'lamp'}], ['count'], ['add', {name => 'f2'}]);
    is(statuses(@items), '200 200 409 200 200', 'without the directive');
    is("$items[0]{body} $items[3]{body}", $before . ' ' . ($before + 1),
        'in their order');
};

# What it took at the server, of the access log.
sub took_ms {
    my ($us) = $server->access_log =~ / (\d+)\n\z/;
    return $us / 1000;
}

subtest 'a thousand rows' => sub {
    my ($best, $each) = (1e9, 1e9);
    for my $run (1 .. 4) {
        my @rows = map { ['add', {name => "g$run-$_"}] } 1 .. 1000;
        my @items = post('/bulk', @rows);
        is((grep { $_->{status} == 200 } @items), 1000, 'are written');
        $best = min($best, await(sub { took_ms() }));
        $_->[1]{name} =~ s/^g/h/ for @rows;
        post('/each', @rows) if $run < 3;
        $each = min($each, took_ms()) if $run < 3;
    }
    is(count_of(q(name LIKE 'g%')), 4000, 'and there');
    my $limit = 50 * slowness();
    cmp_ok($best, '<', $limit, 'quickly');
    note("1,000 rows: $best ms, each in a transaction of its own: $each ms");
    my @items = post('/bulk', map { ['add', {name => "i$_"}] } 1 .. 999, 1);
    is(statuses(@items[0, 998, 999]), '424 424 409', 'or not at all');
    is(count_of(q(name LIKE 'i%')), 0, 'none of them');
};

subtest 'a kept answer' => sub {
    my $before = $server->get('/kept')->{content};
    is($server->get('/kept')->{content}, $before, 'is kept');
    post('/all', ['add', {name => 'j1'}], ['add', {name => 'lamp'}]);
    is($server->get('/kept')->{content}, $before, 'while nothing was committed');
    post('/all', ['add', {name => 'j1'}], ['add', {name => 'j2'}]);
    is($server->get('/kept')->{content}, $before + 2, 'and new after all of it');
};

# Send this batch without waiting for the answer.
sub send_batch {
    my @items  = @_;
    my $body   = JSON::PP->new->encode(
        [map { {name => $_->[0], params => $_->[1] // {}} } @items]);
    my $socket = $server->connect or die 'no connection';
    print {$socket} "POST /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        . "Content-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
    return $socket;
}

sub await_writer {
    return await(sub { $server->pool('shop')->{busy} > 0 }, 10, 'the writer');
}

subtest 'time' => sub {
    my @items = post('/all', ['add', {name => 'k1'}], ['brief'], ['add', {name => 'k2'}]);
    is(statuses(@items), '424 504 424', 'a write that takes too long');
    is(count_of(q(name LIKE 'k%')), 0, 'undoes the others');
    $server->is_at_rest;
};

subtest 'a client that goes away' => sub {
    my $undone = $server->status_json->{batch}{undone};
    my $work   = sub {
        my ($query) =
            grep { $_->{name} eq 'work' } @{$server->status_json->{queries}};
        return $query->{count};
    };
    my $socket = send_batch(['add', {name => 'l1'}], map { ['work'] } 1 .. 500);
    ok(await(sub { $work->() > 0 }), 'while its writes run');
    close $socket;
    ok(await(sub { $server->status_json->{batch}{undone} > $undone }),
        'ends the transaction');
    cmp_ok($work->(), '<', 500, 'before its end');
    is(count_of(q(name = 'l1')), 0, 'nothing was written');
    $server->is_at_rest;
};

subtest 'a child that is killed' => sub {
    my $socket = send_batch(['add', {name => 'm1'}], ['add', {name => 'm2'}], ['long']);
    await_writer();
    $server->kill_child('KILL', $_) for $server->children;
    read_until($socket, undef, 10);
    ok(await(sub { $server->get('/kept')->{status} == 200 }), 'others take over');
    my @items = post('/all', ['add', {name => 'm3'}], ['names', {like => 'm%'}]);
    is_deeply($items[1]{body}, [['m3']], 'and find nothing of it');
    is($server->sqlite('shop', 'PRAGMA integrity_check'), 'ok', 'all is well');
};

subtest 'many at once' => sub {
    my @sums = parallel(
        4,
        sub {
            my ($i) = @_;
            my $done = 0;
            for my $n (1 .. 10) {
                my @items = $i % 2 ? ('lamp', "n$i-$n") : ("n$i-$n", "o$i-$n");
                my $answer = $server->post('/all', json =>
                    [map { {name => 'add', params => {name => $_}} } @items]);
                my $got = statuses(@{ConnPoolTest::decode($answer, 'batch')});
                $done++ if $got eq ($i % 2 ? '409 424' : '200 200');
            }
            return $done;
        }
    );
    is("@sums", '10 10 10 10', 'each got its own');
    is(count_of(q(name LIKE 'n%-%' OR name LIKE 'o%-%')), 40, 'all or nothing');
};

subtest 'counters' => sub {
    my $before = $server->status_json->{batch};
    post('/all', ['add', {name => 'p1'}], ['add', {name => 'p2'}]);
    post('/all', ['add', {name => 'p3'}], ['add', {name => 'p2'}]);
    post('/all', ['count']);
    my $after = $server->status_json->{batch};
    is($after->{transactions} - $before->{transactions}, 1, 'committed');
    is($after->{undone} - $before->{undone},             1, 'undone');
    is($after->{errors} - $before->{errors}, 2, 'items that failed');
};

subtest 'configuration' => sub {
    my ($exit, $text) = $server->configtest("ConnPoolBatchAtomic maybe\n");
    isnt($exit, 0, 'a value that is none');
    like($text, qr/ConnPoolBatchAtomic: .*maybe.*\bon\b.*\boff\b/i, 'is named');
    $server->conf("ConnPoolBatchAtomic On\n" . $server->conf . <<'CONF');
<Location "/off">
SetHandler connpool-batch
ConnPoolServe add
ConnPoolBatchAtomic Off
</Location>
ConnPoolEngine Off
CONF
    $server->restart;
    is(statuses(post('/each', ['add', {name => 'q1'}], ['add', {name => 'lamp'}])),
        '424 409', 'inherited from the server, without pools');
    is(statuses(post('/off', ['add', {name => 'q1'}], ['add', {name => 'lamp'}])),
        '200 409', 'and lifted in a place');
};

$server->done;
done_testing;
