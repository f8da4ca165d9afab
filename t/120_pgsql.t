#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL behind the same names: what a configuration may say, values of all
# types, parameters, writes, and what errors become.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await build_dir command parallel);
use JSON::PP     ();
use PostgresTest qw(pgsql_module);
use Test::More;

my $pg = PostgresTest->new;
$pg->start;
$pg->sql(<<'SQL');
CREATE TABLE item(id bigint PRIMARY KEY, name text NOT NULL UNIQUE,
    price numeric(12,4) CHECK (price >= 0), made timestamptz DEFAULT '2026-01-02 03:04:05+00',
    tags text[] DEFAULT '{}', data jsonb DEFAULT '{}');
INSERT INTO item VALUES (1, 'one', 1.5, DEFAULT, '{a,"b c"}', '{"k": [1, 2]}'),
    (2, 'two', 2, DEFAULT, DEFAULT, DEFAULT), (3, 'three', NULL, DEFAULT, DEFAULT, DEFAULT);
CREATE TABLE part(id bigint PRIMARY KEY, item bigint NOT NULL REFERENCES item,
    UNIQUE (id, item));
CREATE TABLE late(id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO late VALUES (1);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'The shop is "closed".'; END $$;
CREATE TABLE shop(a int);
CREATE TRIGGER refuse BEFORE INSERT ON shop FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE SEQUENCE counter;
CREATE TABLE job(id serial PRIMARY KEY, what text);
INSERT INTO job(what) VALUES ('first'), ('second');
CREATE FUNCTION take() RETURNS text LANGUAGE sql AS
    $$ DELETE FROM job WHERE id = (SELECT min(id) FROM job) RETURNING what $$;
CREATE ROLE guest LOGIN;
SQL

# name => [SQL, options, parameters...]
my %QUERIES = (
    item   => ['SELECT id, name, price FROM item WHERE id = :id', '', 'id integer required'],
    types  => [q{SELECT 1::int2 AS a, -2::int8 AS b, 0.1::float8 AS c, 'NaN'::float8 AS d,}
        . q{ 12345678901234567890.12345::numeric AS e, true AS f, '\x00ff'::bytea AS g,}
        . q{ date '2026-01-31' AS h, timestamp '2026-01-31 10:00' AS i,}
        . q{ '{"x": [1, null]}'::json AS j, '{"y": "<z>"}'::jsonb AS k,}
        . q{ array[1, null, 3] AS l, array['a,b', 'say "hi"', null] AS m, 'tëxt' AS n,}
        . q{ NULL AS o, array[[1,2],[3,4]] AS p, interval '1 day' AS q, 'infinity'::float8 AS r,}
        . q{ timestamptz '2026-01-31 10:00+00' AS s}, 'format=object'],
    csv    => [q{SELECT 1.50 AS a, '{"x": 1}'::json AS b, array[1,2] AS c, true AS d}, 'format=csv'],
    params => [q{SELECT :i AS i, :r AS r, :t AS t, :b AS b, :d AS d, :x AS x},
        'format=object', 'i integer', 'r real', 't text', 'b boolean', 'd date', 'x blob'],
    maybe  => [q{SELECT id FROM item WHERE (:q IS NULL OR name = :q) ORDER BY id},
        'format=arrays', 'q text'],
    substr => [q{SELECT substr('abcdef', :n) AS s}, 'format=value', 'n integer required'],
    since  => [q{SELECT count(*) FROM item WHERE made >= :d}, 'format=value', 'd date required'],
    cheap  => [q{SELECT id FROM item WHERE price <= :max ORDER BY id}, 'format=arrays', 'max real'],
    holds  => [q{SELECT id FROM item WHERE data @> :j::jsonb ORDER BY id}, 'format=arrays', 'j text'],
    has    => [q{SELECT id FROM item WHERE (:j IS NULL OR data @> :j) ORDER BY id}, 'format=arrays', 'j json'],
    list   => [q{SELECT id FROM item WHERE id IN (SELECT value::int FROM json_array_elements_text(:ids)) ORDER BY id},
        'format=arrays', 'ids json'],
    any    => [q{SELECT id FROM item WHERE id = ANY(string_to_array(:ids, ',')::bigint[]) ORDER BY id},
        'format=arrays', 'ids text'],
    slice  => [q{SELECT (array[1,2,3,4])[2:3] AS s, (array[5,6])[:n] AS t, $$:no$$ AS u},
        'format=object', 'n integer'],
    small  => ['SELECT count(*) FROM late WHERE id = :n', 'format=value', 'n integer required'],
    half   => ['SELECT count(*) FROM late WHERE id > :r', 'format=value', 'r real required'],
    path   => [q{SELECT '[1,2,3]'::jsonb -> :n AS it}, 'format=value', 'n integer required'],
    named  => [q{SELECT count(*) FROM (VALUES ('2'), ('3')) AS v(t) WHERE t = :n}, 'format=value',
        'n integer required'],
    whole  => [q{SELECT :a + 1 AS n}, 'format=value', 'a integer required'],
    number => [q{SELECT :t::int AS n}, 'format=value', 't text required'],
    zero   => ['SELECT 1 / 0 AS n', 'format=value'],
    divide => ['SELECT 1 / :n::int AS n', 'format=value', 'n integer'],
    step   => [q{SELECT nextval('counter') AS n}, 'format=value'],
    steps  => [q{SELECT nextval('counter') AS n}, 'format=value write=on'],
    take   => ['SELECT take() AS what', 'format=value write=on'],
    pop    => ['WITH gone AS (DELETE FROM job RETURNING what) SELECT what FROM gone', 'write=on'],
    add    => ['INSERT INTO item(id, name, price) VALUES (:id, :name, :price)', 'write=on',
        'id integer required', 'name text', 'price real'],
    put    => ['INSERT INTO item(id, name) VALUES (:id, :name) ON CONFLICT (id) DO UPDATE'
        . ' SET name = excluded.name RETURNING id, name', 'write=on', 'id integer required', 'name text'],
    more   => ['INSERT INTO item(id, name) SELECT i, i::text FROM generate_series(100, 150) i RETURNING item.id',
        'write=on max-bytes=100'],
    erase  => ['DELETE FROM item WHERE id >= :id', 'write=on', 'id integer required'],
    part   => ['INSERT INTO part VALUES (:id, :item)', 'write=on', 'id integer', 'item integer'],
    late   => ['INSERT INTO late VALUES (1)', 'write=on'],
    shop   => ['INSERT INTO shop VALUES (1)', 'write=on'],
    count  => ['SELECT count(*) FROM item', 'format=value'],
    alter  => ['SELECT * FROM item WHERE id = 1'],
    sleep  => ['SELECT pg_sleep(30)', 'timeout=200ms'],
    lost   => ['SELECT id FROM missing'],
    secret => ['SELECT id FROM item', 'format=arrays'],
    many   => ['SELECT i FROM generate_series(1, 100000) i', 'format=arrays max-rows=3'],
    pages  => [q{SELECT id, made, price FROM item}, 'page=made:desc,price,id format=arrays max-rows=2'],
    none   => ['SELECT id FROM item WHERE false', 'format=csv'],
);
my %DATABASE = (secret => 'guest');

my $conf = <<"CONF";
ConnPoolDatabase app "postgresql:@{[$pg->dsn]}" max=4
ConnPoolDatabase guest "postgresql:@{[$pg->dsn(user => 'guest')]}" max=1 readonly=on
<Location "/health">
SetHandler connpool-health
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $sql =~ s/(["\\])/\\$1/g;
    $conf .= "ConnPoolQuery $name " . ($DATABASE{$name} // 'app') . " \"$sql\" " . ($options // '') . "\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}

$conf .= "<Location \"/atomic\">\nSetHandler connpool-batch\nConnPoolBatchAtomic On\n"
    . "ConnPoolServe add put part late count\n</Location>\n";
my $server = ConnPoolTest->new(conf => $conf, load => {pgsql_module()});
$server->allow_log(qr/ConnPoolQuery (?:lost|secret) at .* cannot be prepared/,
    qr/query '(?:lost|secret|sleep|zero|step|late|more)'/);
$server->start;

sub answers {
    my ($path, $content, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $server->get($path);
    is($answer->{status}, 200, "$what: 200") || diag($answer->{content});
    is($answer->{content}, $content, $what);
    return $answer;
}

sub write_to {
    my ($path, %form) = @_;
    return $server->post($path, content => \%form);
}

sub is_problem {
    my ($answer, $status, $detail, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, $status, "$what: $status") || diag($answer->{content});
    my $problem = ConnPoolTest::decode($answer, $what);
    like($problem->{detail}, $detail, "$what: detail");
    unlike($answer->{content}, qr/SELECT|INSERT|SQLSTATE|postgres/, "$what: no secret");
    return $problem;
}

# ---------------------------------------------------------------------------

subtest 'configuration' => sub {
    my $check = sub {
        my ($lines, $expected, $what, %more) = @_;
        my $it = ConnPoolTest->new(conf => $lines, load => {pgsql_module()}, %more);
        my ($status, $text) = $it->configtest;
        if (defined $expected) {
            isnt($status, 0, "$what: refused");
            like($text, $expected, "$what: why");
        }
        else {
            is($status, 0, "$what: taken") || diag($text);
        }
        unlike($text, qr/s3cret/, "$what: no password");
        $it->dismiss;
    };
    my $app = 'ConnPoolDatabase app "postgresql:host=/run/postgresql dbname=app user=web';
    $check->("$app\"\n", undef, 'key words');
    $check->("ConnPoolDatabase app postgresql://web:s3cret\@db.example:5433/app?sslmode=require\n",
        undef, 'a URI');
    $check->("$app\"\n", qr/LoadModule connpool_pgsql_module modules\/mod_connpool_pgsql\.so/,
        'without its module', load => {});
    $check->("$app password=my s3cret\"\n", qr/ConnPoolDatabase app: the address .* is not understood/,
        'a password with a blank');
    $check->("$app\" busy=5s\n", qr/ConnPoolDatabase app: unknown key 'busy'/, 'a key of SQLite');
    $check->("$app\" pooler=session\n", qr/pooler=session.*none.*transaction/, 'a word that is none');
    $check->("$app\" writers=3\n", qr/writers= needs read=standby/, 'keys that need others');
    $check->("$app\" read=standby readonly=on\n", qr/readonly=on/, 'keys that exclude others');
    $check->("$app service=x\"\n", qr/service= is not read/, 'a service');
    $check->("$app password=\@/nowhere/s3cret.txt\"\n" =~ s/s3cret/pw/r,
        qr{password=\@/nowhere/pw\.txt: the file cannot be read}, 'a file that is not there');
    my $query = sub { "$app\"\nConnPoolQuery q app \"$_[0]\" $_[1]\n" };
    $check->($query->('SELECT $1', ''), qr/a parameter that is not a :name/, 'numbered parameters');
    $check->($query->('COPY item TO STDOUT', ''), qr/without write=on .* not COPY/, 'COPY');
    $check->($query->('LISTEN x', 'write=on'), qr/not LISTEN/, 'LISTEN');
    $check->($query->('SELECT :a', ''), qr/parameter :a is not declared/, 'an undeclared parameter');
    $check->($query->('WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x', ''), qr/not DELETE/,
        'a write in a SELECT');
    done_testing;
};

subtest 'a dry run' => sub {
    $pg->sql('CREATE TABLE big(id int PRIMARY KEY, n int); INSERT INTO big SELECT i, i FROM generate_series(1, 20000) i;'
        . ' ANALYZE big');
    my $dry = sub {
        my ($lines, $what) = @_;
        my $it = ConnPoolTest->new(load => {pgsql_module()}, conf => "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\"\n"
            . $lines);
        my $file = $it->_write_conf('dry.conf', $it->conf);
        local %ENV = ($it->_environment);
        my ($status, $text) = command($it->httpd, '-t', '-d', $it->dir, '-f', $file, '-D', 'DUMP_CONNPOOL');
        $it->dismiss;
        return ($status, $text);
    };
    my ($status, $text) = $dry->("ConnPoolQuery by_key app \"SELECT n FROM big WHERE id = :id\"\n"
        . "ConnPoolParam by_key id integer\nConnPoolQuery by_n app \"SELECT id FROM big WHERE n = :n\"\n"
        . "ConnPoolParam by_n n integer\n");
    is($status, 0, 'all is well') || diag($text);
    like($text, qr/server\s+PostgreSQL \d+/, 'the server');
    like($text, qr/role\s+a primary/,         'its role');
    like($text, qr/Index Scan using big_pkey on big/, 'a plan');
    like($text, qr/all 20000 rows of big are read each time/, 'a warning');
    ($status, $text) = $dry->("ConnPoolQuery lost app \"SELECT id FROM missing\"\n");
    isnt($status, 0, 'a query that could not serve');
    like($text, qr/relation "missing" does not exist/, 'is told');
    $pg->sql('DROP TABLE big');
};

subtest 'values' => sub {
    answers('/item?id=1', '[{"id":1,"name":"one","price":1.5000}]', 'a row');
    answers('/item?id=3', '[{"id":3,"name":"three","price":null}]', 'NULL');
    answers('/item?id=99', '[]', 'no row');
    answers('/types', '{"a":1,"b":-2,"c":0.1,"d":null,"e":12345678901234567890.12345,"f":true,'
        . '"g":{"$base64":"AP8="},"h":"2026-01-31","i":"2026-01-31T10:00:00",'
        . '"j":{"x": [1, null]},"k":{"y": "<z>"},"l":[1,null,3],'
        . '"m":["a,b","say \"hi\"",null],"n":"tëxt","o":null,"p":[[1,2],[3,4]],'
        . '"q":"1 day","r":null,"s":"'
        . $pg->sql(q{SELECT to_json(timestamptz '2026-01-31 10:00+00')}) =~ s/"//gr . '"}', 'all types');
    answers('/csv', qq{a,b,c,d\r\n1.50,"{""x"": 1}","[1,2]",true\r\n}, 'as CSV');
    answers('/none', "id\r\n", 'columns of no rows');
    my $cut = answers('/many', '[[1],[2],[3]]', 'cut');
    is($cut->{headers}{'connpool-truncated'}, 'rows', 'and told');
};

# By a time, an exact number that is NULL in a row, and a key.
subtest 'pages' => sub {
    my $first = $server->get('/pages?limit=2');
    is($first->{status}, 200, 'the first');
    my ($link) = ($first->{headers}{link} // '') =~ /<([^>]+)>; rel="next"/;
    ok($link, 'has a next one') || return;
    like($first->{content}, qr/^\[\[1,[^\]]*\],\[2,[^\]]*\]\]$/, 'two rows');
    my $second = $server->get($link =~ s{^https?://[^/]+}{}r);
    is($second->{status}, 200, 'the second') || diag($second->{content});
    like($second->{content}, qr/^\[\[3,"[^"]+",null\]\]$/, 'the row that is left');
    unlike($second->{headers}{link} // '', qr/next/, 'and no more');
};

subtest 'parameters' => sub {
    answers('/params?i=9007199254740993&r=0.1&t=it%27s&b=true&d=2026-01-31T10:00:00Z&x=AP8=',
        '{"i":9007199254740993,"r":0.1,"t":"it\'s","b":true,"d":"2026-01-31T10:00:00Z'
        . '","x":{"$base64":"AP8="}}', 'types as declared');
    answers('/params', '{"i":null,"r":null,"t":null,"b":null,"d":null,"x":null}', 'NULLs');
    answers('/maybe?q=two', '[[2]]', 'a parameter that may be NULL');
    answers('/maybe', '[[1],[2],[3]]', '... and is');
    answers('/substr?n=3', '"cdef"', 'an int4 argument');
    answers('/since?d=2026-01-01', '3', 'a date');
    answers('/cheap?max=1.75', '[[1]]', 'a real against a numeric');
    answers('/cheap?max=2', '[[1],[2]]', 'a whole one');
    answers('/holds?j=%7B%22k%22:%5B1%5D%7D', '[[1]]', 'JSON with a cast');
    answers('/has?j=%7B%22k%22:%5B1%5D%7D', '[[1]]', 'declared as JSON');
    answers('/has', '[[1],[2],[3]]', '... or NULL');
    answers('/list?ids=%5B1,3%5D', '[[1],[3]]', 'a list as JSON');
    answers('/any?ids=1,3', '[[1],[3]]', 'a list');
    answers('/slice?n=1', '{"s":[2,3],"t":5,"u":":no"}', 'slices and dollar quotes');
    answers('/whole?a=41', '42', 'arithmetic');
    answers('/whole?a=3000000000', '3000000001', '... of large numbers');
    answers('/item?id=9000000000000000000', '[]', 'a large key');
    answers('/small?n=9000000000000000000', '0', '... against a small column');
    answers('/path?n=1', '2', 'an index into JSON');
    answers('/named?n=2', '1', 'a number against text');
    answers('/half?r=0.5', '1', 'a fraction against integers');
};

subtest 'errors of reads' => sub {
    is_problem($server->get('/number?t=abc'), 400, qr/refused the values/, '22P02');
    answers('/number?t=12', '12', 'and then');
    is_problem($server->get('/divide?n=0'), 400, qr/refused the values/, '22012 by a value');
    is_problem($server->get('/zero'), 500, qr/the query fails/, '22012 by the query');
    is_problem($server->get('/step'), 403, qr/would write/, 'a write in a read');
    is_problem($server->get('/lost'), 503, qr/does not fit/, 'a missing table');
    is_problem($server->get('/secret'), 403, qr/not allowed/, 'no right');
    is_problem($server->get('/sleep'), 504, qr/longer than its limit/, 'the deadline');
    ok(await(sub { $pg->backends('active') == 0 }, 2), 'which ends at the server, too');
};

subtest 'writes' => sub {
    is(write_to('/add', id => 10, name => 'ten', price => 1.5)->{content}, '{"changes":1}', 'changes alone');
    is(write_to('/put', id => 10, name => 'TEN')->{content}, '[{"id":10,"name":"TEN"}]', 'RETURNING');
    is(write_to('/erase', id => 10)->{content}, '{"changes":1}', 'DELETE');
    is(write_to('/erase', id => 10)->{content}, '{"changes":0}', 'of nothing');
    like(write_to('/steps')->{content}, qr/^[12]$/, 'a function that writes');
    is(write_to('/take')->{content}, '"first"', 'another');
    is(write_to('/pop')->{content}, '[{"what":"second"}]', 'a write within WITH');
    is_problem(write_to('/more'), 413, qr/too large/, 'RETURNING too much');
    answers('/count', '3', 'is undone');
    is($server->get('/add?id=1')->{status}, 405, 'GET writes nothing');
};

subtest 'errors of writes' => sub {
    my $problem = is_problem(write_to('/add', id => 1, name => 'x'), 409, qr/already/, 'unique');
    is($problem->{constraint}, 'unique', '... constraint');
    is_deeply($problem->{columns}, ['item.id'], '... columns');
    $problem = is_problem(write_to('/part', id => 1, item => 77), 409, qr/belongs/, 'foreign key');
    is($problem->{constraint}, 'foreign_key', '... constraint');
    is($problem->{name}, 'part_item_fkey', '... name');
    $problem = is_problem(write_to('/add', id => 11), 400, qr/missing/, 'not null');
    is($problem->{constraint}, 'not_null', '... constraint');
    is_deeply($problem->{columns}, ['item.name'], '... columns');
    $problem = is_problem(write_to('/add', id => 11, name => 'x', price => -1), 400, qr/not allowed/, 'check');
    is($problem->{constraint}, 'check', '... constraint');
    is($problem->{name}, 'item_price_check', '... name');
    $problem = is_problem(write_to('/late'), 409, qr/already/, 'a deferred constraint');
    $problem = is_problem(write_to('/shop'), 400, qr/^The shop is "closed"\.$/, 'what a trigger says');
    is($problem->{constraint}, 'trigger', '... constraint');
    answers('/count', '3', 'nothing of it is there');
    is($pg->sql('SELECT count(*) FROM late'), '1', 'of none');
};

subtest 'several writes as one' => sub {
    my $send = sub {
        my $answer = $server->post('/atomic', json => [@_]);
        my $items  = ConnPoolTest::decode($answer);
        return ref $items eq 'ARRAY' ? [map { $_->{status} } @$items] : $answer;
    };
    my $add = sub { return {name => 'add', params => {id => $_[0], name => "n$_[1]"}} };
    is_deeply($send->($add->(60, 60), $add->(61, 61), {name => 'part', params => {id => 1, item => 60}}),
        [200, 200, 200], 'all of them');
    is($pg->sql('SELECT count(*) FROM item WHERE id >= 60'), '2', 'are kept');
    my $statuses = $send->($add->(62, 62), $add->(63, 60), $add->(64, 64));
    is($statuses->[1], 409, 'one that fails');
    is($pg->sql('SELECT count(*) FROM item WHERE id >= 60'), '2', 'takes all with it');
    $statuses = $send->($add->(65, 65), {name => 'late', params => {}});
    ok(scalar(grep { $_ == 409 } @$statuses), 'one that fails at the end');
    is($pg->sql('SELECT count(*) FROM item WHERE id >= 60'), '2', 'too');
    $pg->sql('DELETE FROM part; DELETE FROM item WHERE id >= 60');
};

subtest 'altered under prepared statements' => sub {
    my $before = JSON::PP::decode_json($server->get('/alter')->{content});
    is($before->[0]{name}, 'one', 'before');
    $pg->sql('ALTER TABLE item ADD COLUMN extra int DEFAULT 7');
    my $after = JSON::PP::decode_json($server->get('/alter')->{content});
    is($after->[0]{extra}, 7, 'the new column is there at once');
    $pg->sql('ALTER TABLE item DROP COLUMN extra');
    is($server->get('/alter')->{status}, 200, 'and gone');
};

subtest 'reports' => sub {
    my ($pool) = grep { $_->{name} eq 'app' } @{$server->status_json->{pools}};
    is($pool->{kind}, 'postgresql', 'kind');
    is($pool->{max}, 4, 'max');
    cmp_ok($pool->{open}, '<=', 4, 'open');
    ok(await(sub {
        my $health = ConnPoolTest::decode($server->get('/health'));
        my ($line) = grep { $_->{name} eq 'app' } @{$health->{db_pool}{pools}};
        $line && $line->{status};
    }, 5), 'health lists it under db_pool');
    unlike($server->log, qr/tëxt|three|password/i, 'no values in the log');
};

$server->done;
done_testing;
