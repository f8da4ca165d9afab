#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Columns that are JSON, by json= and by their declared types; format=json; the
# answers alone, in batches and from caches; what is not what it says is counted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use Test::More;

my $DOC = 'SELECT id, doc, note FROM item';

# name => [SQL, options, parameters]; each is served at /name.
my %QUERIES = (
    objects  => ["$DOC WHERE id = :id", 'json=doc', 'id integer required'],
    arrays   => ["$DOC WHERE id = :id", 'json=doc format=arrays', 'id integer required'],
    object   => ["$DOC WHERE id = :id", 'json=DOC,note format=object', 'id integer required'],
    value    => ['SELECT doc FROM item WHERE id = :id', 'json=doc format=value',
        'id integer required'],
    ndjson   => ["$DOC WHERE id IN (1, 3) ORDER BY id", 'json=doc format=ndjson'],
    spaced   => ["$DOC WHERE id = 1", 'json="doc, note"'],
    twins    => ['SELECT doc, doc FROM item WHERE id = 1', 'json=doc'],
    many     => ['WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n'
        . ' WHERE i < 20000) SELECT i, \'{"n":\' || i || \',"s":"\' || '
        . 'printf(\'%.100c\', \'x\') || \'"}\' AS doc FROM n',
        'json=doc max-rows=100000'],
    kept     => ["$DOC WHERE id = 1", 'json=doc ttl=data'],
    shared   => ["$DOC WHERE id = 1", 'json=doc ttl=1h'],
    together => ["$DOC WHERE id = 1", 'json=doc coalesce=on'],
    flags    => ['SELECT * FROM flag WHERE id = :id', 'types=declared', 'id integer required'],
    flagrows => ['SELECT * FROM flag WHERE id = :id', 'types=declared format=arrays',
        'id integer required'],
    flaglist => ['SELECT is_new, doc FROM flag WHERE id = 1', 'types=declared format=csv'],
    flagview => ['SELECT is_new, not is_new AS is_old FROM shown WHERE id = 1', 'types=declared'],
    stored   => ['SELECT is_new, doc FROM flag WHERE id = 1', 'types=stored'],
    tree     => ['SELECT doc FROM item WHERE id = :id', 'format=json', 'id integer required'],
    built    => [q{SELECT json_group_array(json_object('id', id)) FROM item WHERE id < 3},
        'format=json'],
    treedata => ['SELECT doc FROM item WHERE id = :id', 'format=json ttl=data',
        'id integer required'],
    treetime => ['SELECT doc FROM item WHERE id = :id', 'format=json ttl=1h',
        'id integer required'],
    add      => ['INSERT INTO item(doc) VALUES (:doc) RETURNING id, doc',
        'json=doc write=on format=object', 'doc text'],
    reopen   => ['UPDATE flag SET is_open = 1 WHERE id = 1 RETURNING is_open, doc',
        'types=declared write=on'],
    wrong    => ["$DOC WHERE id = 1", 'json=doc,absent'],
    wrongadd => ['INSERT INTO item(doc) VALUES (1) RETURNING id', 'json=docs write=on'],
    late     => ['SELECT * FROM later', 'json=doc'],
);

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db length=20M
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe objects tree flags ndjson
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $sql =~ s/"/\\"/g;
    $conf .= "ConnPoolQuery $name main \"$sql\" $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

# Bytes that no reader and writer of JSON would keep: order, doubled blanks,
# more digits than any number type has, escapes, </script>.
my $KEPT = '{"b":1, "a":  [1.50, 123456789012345678901234567890, 1E400, -0],'
    . '"u":"\u00e9\ud83d\ude00é</script>"}';
my $DEEP  = ('[' x 128) . (']' x 128);
my %DOCS  = (
    1  => $KEPT,
    2  => '[]',
    3  => "{\"lines\":\n\r\n [1,\n2]}",
    4  => '5',
    5  => 'null',
    6  => '"text"',
    7  => $DEEP,
    8  => "[$DEEP]",
    9  => '{"a":1,}',
    10 => '{"a":NaN}',
    11 => '',
    12 => "{a:1}",
    13 => ' {"a":1} ',
    14 => '[1] [2]',
    15 => "[\"\\ud800\"]",
    16 => "// no\n1",
);
my $sql = <<'SQL';
CREATE TABLE item(id INTEGER PRIMARY KEY, doc, note TEXT DEFAULT '{"x":1}');
CREATE TABLE flag(id INTEGER PRIMARY KEY, is_new BOOLEAN, is_open bool NOT NULL DEFAULT 0,
    doc JSON, other VARCHAR(10), n INTEGER);
CREATE VIEW shown AS SELECT * FROM flag;
INSERT INTO flag VALUES (1, 1, 0, '{"a":[true]}', '1', 1), (2, NULL, 1, NULL, '0', 0),
    (3, 2, 'true', '{', 'true', 2), (4, 'FALSE', 1.0, 7, x'00', -1);
CREATE TABLE later(id, doc);
SQL
for my $id (sort { $a <=> $b } keys %DOCS) {
    my $hex = unpack 'H*', $DOCS{$id};
    $sql .= "INSERT INTO item(id, doc) VALUES ($id, CAST(x'$hex' AS TEXT));\n";
}
$sql .= <<'SQL';
INSERT INTO item(id, doc) VALUES (20, NULL), (21, 9223372036854775807), (22, 1.5),
    (23, x'7b7d'), (24, x'00ff'), (25, CAST(x'22ff22' AS TEXT)), (26, CAST(x'31003100' AS TEXT));
INSERT INTO item(id, doc) VALUES (30, '[' || printf('%.4000000c', ' ') || ']'),
    (31, printf('%.4000000c', '['));
SQL

my $server = ConnPoolTest->new(modules => ['socache_shmcb'], threads => 2, conf => $conf);
$server->make_sqlite('main', $sql);
$server->allow_log(
    qr/values are not what their column says/,
    qr/ConnPoolQuery wrong at .* cannot be prepared: json=: its answer has no column 'absent'/,
    qr/ConnPoolQuery wrongadd at .* cannot be prepared: json=: its answer has no column 'docs'/,
    qr/query '(?:wrong|wrongadd|late)': the query does not fit the database/,
    qr/ConnPoolQuery late at .* cannot be prepared/,
);
$server->start;

sub query_of {
    my ($name) = @_;
    my ($line) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $line;
}

sub is_json {
    my ($path, $expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $server->get($path);
    is($answer->{status}, 200, "$what: 200");
    is($answer->{content}, $expected, $what);
    return $answer;
}

sub quoted {
    my ($text) = @_;
    $text =~ s/(["\\])/\\$1/g;
    return "\"$text\"";
}

# ---------------------------------------------------------------------------

subtest 'json=' => sub {
    my $note = quoted('{"x":1}');
    is_json('/objects?id=1', "[{\"id\":1,\"doc\":$KEPT,\"note\":$note}]", 'bytes are kept');
    is_json('/arrays?id=1', "[[1,$KEPT,$note]]", 'arrays');
    is_json('/object?id=1', "{\"id\":1,\"doc\":$KEPT,\"note\":{\"x\":1}}",
        'two columns, in any case');
    is_json('/value?id=1', $KEPT, 'value');
    is_json('/spaced', "[{\"id\":1,\"doc\":$KEPT,\"note\":{\"x\":1}}]", 'blanks in the list');
    is_json('/twins', "[{\"doc\":$KEPT,\"doc_2\":$KEPT}]", 'equal names');
    is_json('/ndjson', "{\"id\":1,\"doc\":$KEPT,\"note\":$note}\n"
            . "{\"id\":3,\"doc\":{\"lines\":    [1, 2]},\"note\":$note}\n",
        'a line each, whatever lies in it');
    for my $id (2, 4, 5, 6, 7, 13) {
        is_json("/value?id=$id", $DOCS{$id}, "row $id");
    }
    is_json('/value?id=20', 'null',                'NULL');
    is_json('/value?id=21', '9223372036854775807', 'an integer');
    is_json('/value?id=22', '1.5',                 'a real');
    is_json('/value?id=23', '{}',                  'text in a blob');
    is($server->get('/value?id=99')->{status}, 404, 'no row');
    my $answer = $server->post('/add', json => {doc => '{"new":[1]}'});
    like($answer->{content}, qr/^\{"id":\d+,"doc":\{"new":\[1\]\}\}$/, 'RETURNING');
};

subtest 'what is no JSON' => sub {
    my $before = query_of('value')->{misfits};
    my %expected = (
        8  => quoted("[$DEEP]"),
        9  => quoted($DOCS{9}),
        10 => quoted($DOCS{10}),
        11 => '""',
        12 => quoted($DOCS{12}),
        14 => quoted($DOCS{14}),
        15 => quoted($DOCS{15}),
        16 => '"// no\n1"',
        24 => '{"$base64":"AP8="}',
        25 => "\"\\\"\xef\xbf\xbd\\\"\"",
        26 => '"1\u00001\u0000"',
    );
    for my $id (sort { $a <=> $b } keys %expected) {
        is_json("/value?id=$id", $expected{$id}, "row $id is a string");
    }
    is(query_of('value')->{misfits} - $before, scalar keys %expected, 'each is counted');
    my @lines = $server->log =~ /(query 'value': 1 values are not .*)/g;
    is(scalar @lines, 1, 'and told of once');
    like($lines[0], qr/as in column 1/, '... with the column');
    my $metrics = $server->get('/connpool-status?format=openmetrics')->{content};
    like($metrics, qr/^connpool_query_misfits_total\{[^}]*query="value"[^}]*\} \d+$/m, 'metric')
        or diag join "\n", grep { /misfits/ } split /\n/, $metrics;
    my $sum = query_of('value')->{misfits};
    like($server->get('/connpool-status')->{content},
        qr/; $sum values that are not what json= or types= says/, 'the page shows them');
};

subtest 'in bounded memory' => sub {
    my ($child) = $server->children;
    is(length $server->get('/value?id=30')->{content}, 4_000_002, '4 MB of blanks');
    $server->get('/value?id=31') for 1 .. 10;
    my $before = $server->rss($child);
    for (1 .. 20) {
        is(length $server->get('/value?id=31')->{content}, 4_000_002,
            '4 million brackets are a string');
    }
    cmp_ok($server->rss($child) - $before, '<', 10_000_000, 'nothing grows');
    my $answer = $server->get('/many');
    my $rows   = ConnPoolTest::decode($answer);
    is(scalar @$rows,        20000, 'a long answer streams');
    is($rows->[-1]{doc}{n}, 20000, '... as JSON to its end');
};

subtest 'types=declared' => sub {
    is_json('/flags?id=1',
        '[{"id":1,"is_new":true,"is_open":false,"doc":{"a":[true]},"other":"1","n":1}]',
        'BOOLEAN, BOOL, JSON');
    is_json('/flags?id=2',
        '[{"id":2,"is_new":null,"is_open":true,"doc":null,"other":"0","n":0}]', 'NULL');
    is_json('/flagrows?id=4', '[[4,false,true,7,{"$base64":"AA=="},-1]]', 'as text, as a real');
    my $before = query_of('flags')->{misfits};
    is_json('/flags?id=3',
        '[{"id":3,"is_new":2,"is_open":true,"doc":"{","other":"true","n":2}]',
        'what is neither stays as it is');
    is(query_of('flags')->{misfits} - $before, 2, '... and is counted');
    is_json('/flaglist', "is_new,doc\r\ntrue,\"{\"\"a\"\":[true]}\"\r\n", 'CSV');
    is_json('/flagview', '[{"is_new":true,"is_old":0}]', 'through a view, not of an expression');
    is($server->post('/reopen')->{content}, '[{"is_open":true,"doc":{"a":[true]}}]', 'RETURNING');
    is_json('/stored', '[{"is_new":1,"doc":"{\"a\":[true]}"}]', 'not by itself');
};

subtest 'format=json' => sub {
    my $answer = is_json('/tree?id=1', $KEPT, 'the body is the value');
    is($answer->{headers}{'content-type'}, 'application/json', '... as JSON');
    my $tag = $answer->{headers}{etag};
    like($tag, qr/^"\w+"$/, '... with a tag');
    is($server->get('/tree?id=1', headers => {'If-None-Match' => $tag})->{status}, 304, 'not modified');
    is_json('/built', '[{"id":1},{"id":2}]', 'made by SQLite');
    is_json('/tree?id=20', 'null', 'NULL');
    is_json('/tree?id=9', quoted($DOCS{9}), 'what is no JSON is a string');
    is(query_of('tree')->{misfits}, 1, '... and counted');
    my $none = $server->get('/tree?id=99');
    is($none->{status}, 404, 'no row');
    is($none->{headers}{'content-type'}, 'application/problem+json', '... a problem');
};

subtest 'from caches' => sub {
    for my $path ('/kept', '/shared', '/together') {
        is_json($path, "[{\"id\":1,\"doc\":$KEPT,\"note\":\"{\\\"x\\\":1}\"}]", $path) for 1 .. 2;
    }
    for my $path ('/treedata', '/treetime') {
        my $answer;
        $answer = is_json("$path?id=1", $KEPT, $path) for 1 .. 2;
        is($answer->{headers}{'content-type'}, 'application/json', '... type');
        is($server->get("$path?id=99")->{status}, 404, '... no row') for 1 .. 2;
    }
    is(query_of('treedata')->{cache}{hits}, 2, 'hits');
};

subtest 'in batches' => sub {
    my $answer = $server->post('/batch', json => [
            {name => 'objects', params => {id => 1}},
            {name => 'tree',    params => {id => 1}},
            {name => 'tree',    params => {id => 9}},
            {name => 'tree',    params => {id => 99}},
            {name => 'flags',   params => {id => 1}},
            {name => 'ndjson'},
    ]);
    my $items = ConnPoolTest::decode($answer);
    is_deeply([map { $_->{status} } @$items], [200, 200, 200, 404, 200, 200], 'statuses');
    like($answer->{content}, qr/"body":\Q$KEPT\E\}/, 'the bytes are kept');
    is($items->[0]{body}[0]{doc}{b},       1,              'an object');
    is($items->[2]{body},                  $DOCS{9},       'a string');
    is($items->[3]{error}{detail},         'There is no such row.', 'none');
    ok($items->[4]{body}[0]{is_new},       'a boolean');
    like($items->[5]{body}, qr/^\{"id":1/, 'lines');
};

subtest 'columns that are not there' => sub {
    for my $name (qw(wrong wrongadd)) {
        my $answer = $name eq 'wrong' ? $server->get('/wrong') : $server->post('/wrongadd');
        is($answer->{status}, 503, "$name: 503");
        unlike($answer->{content}, qr/absent|docs/, '... no names for clients');
    }
    is($server->sqlite('main', q{SELECT count(*) FROM item WHERE doc = 1 AND typeof(doc) != 'text'}),
        0, 'nothing was written');
    my @causes = grep { $_->{name} eq 'wrong' } @{$server->json('/health')->{causes}};
    is($causes[0]{state}, 'degraded', 'degraded');
    is($server->get('/late')->{status}, 200, 'a column that is there');
    $server->sqlite('main', 'ALTER TABLE later RENAME COLUMN doc TO gone');
    is($server->get('/late')->{status}, 503, '... and not any more');
    ok(await(sub { grep { $_->{name} eq 'late' } @{$server->json('/health')->{causes}} }),
        'is degraded');
    $server->sqlite('main', 'ALTER TABLE later RENAME COLUMN gone TO doc');
    is($server->get('/late')->{status}, 200, '... and is well again');
};

subtest 'configtest' => sub {
    my $db    = 'ConnPoolDatabase main sqlite:@DIR@/db/main.db';
    my @wrong = (
        ['SELECT 1 AS a' => 'json=a format=csv'  => qr/q: json: with format=csv/],
        ['SELECT 1 AS a' => 'json=a format=raw'  => qr/q: json: with format=raw/],
        ['SELECT 1 AS a' => 'json=a format=json' => qr/q: json: with format=json/],
        ['SELECT 1 AS a' => 'json=,'             => qr/q: json: no column is named/],
        ['SELECT 1 AS a' => 'json="a, ,b"'       => qr/q: json: a name is empty/],
        ['SELECT 1 AS a' => 'types=strict' => qr/types=strict: .*stored.*declared/],
        ['SELECT 1 AS a' => 'types=declared format=json' => qr/q: types: no type is shown/],
        ['SELECT 1 AS a' => 'format=xml' => qr/format=xml: .*json.*raw/],
        ['DELETE FROM item' => 'write=on json=a' => qr/q: json= needs RETURNING/],
        ['DELETE FROM item' => 'write=on types=declared' => qr/q: types= needs RETURNING/],
    );
    for my $case (@wrong) {
        my ($text, $options, $pattern) = @$case;
        my ($status, $said) = $server->configtest("$db\nConnPoolQuery q main \"$text\" $options\n");
        isnt($status, 0, "$options is refused");
        like($said, qr/ConnPoolQuery/, '... by the directive');
        like($said, $pattern, '... and told why');
    }
};

$server->done;
done_testing();
