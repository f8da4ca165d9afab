#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# connpool-query: values, formats, headers, limits, errors, and databases that
# go away and come back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use JSON::PP     ();
use Test::More;
use Time::HiRes qw(time);

my $ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'
    . ' SELECT count(*) FROM n';

# Words that no client may see.
my $SECRET = qr/hidden|SELECT|sqlite:|\.db\b/;

# name => [database, SQL, options]; each is served at /name.
my %QUERIES = (
    ints  => [main => 'SELECT 9223372036854775807 AS a, '
        . '-9223372036854775808 AS b, 0 AS c, -1 AS d'],
    reals => [main => 'SELECT 0.1 AS a, 0.1 + 0.2 AS b, 1.0 AS c, 5e-324 AS d, '
        . '1.7976931348623157e308 AS e, -2.5 AS f, 1e21 AS g, 9007199254740993.0 AS h'],
    infs  => [main => 'SELECT 9e999 AS a, -9e999 AS b, 9e999 - 9e999 AS c'],
    blobs => [main => q{SELECT x'00ff' AS a, x'' AS b, zeroblob(3) AS c}],
    texts => [main => q{SELECT 'plain' AS a, '' AS b, CAST(x'ff41c3' AS TEXT) AS c, }
        . q{'</script>' AS d, char(8232, 8233) AS e, CAST(x'610062' AS TEXT) AS f, }
        . q{char(9, 10, 34, 92, 127) AS g, char(128512) AS h, CAST(x'eda080' AS TEXT) AS i}],
    nulls     => [main => 'SELECT NULL AS a'],
    twins     => [main => 'SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS A, 5 AS a_2'],
    odd_names => [main => q{SELECT 1 AS 'a b', 2 AS '<', 3}],
    few       => [main => 'SELECT id, name FROM item WHERE id < 3 ORDER BY id'],
    many      => [main => 'SELECT id FROM item ORDER BY id', 'max-rows=100'],
    exact     => [main => 'SELECT id FROM item ORDER BY id LIMIT 100', 'max-rows=100'],
    bytes     => [main => 'SELECT id, name FROM item ORDER BY id', 'max-bytes=200'],
    one_byte  => [main => 'SELECT id FROM item', 'max-bytes=1'],
    big_value => [main => 'SELECT name FROM item', 'format=value max-bytes=2'],
    changing  => [main => 'SELECT value FROM state'],
    post_only => [main => 'SELECT 1 AS a', 'methods=POST'],
    both      => [main => 'SELECT 1 AS a', 'methods=GET,POST,PUT'],
    endless   => [main => $ENDLESS, 'timeout=200ms'],
    other     => [main => 'SELECT 1 AS a'],
    no_table  => [main => 'SELECT a FROM hidden_table'],
    missing   => [missing   => 'SELECT name FROM item'],
    garbage   => [garbage   => 'SELECT name FROM item'],
    locked    => [locked    => 'SELECT name FROM item'],
    replaced  => [replaced  => 'SELECT name FROM item'],
);
for my $format (qw(objects arrays object value ndjson csv)) {
    $QUERIES{"f_$format"} = [main =>
        q{SELECT 1 AS id, 'a,"b"' AS name UNION ALL SELECT 2, NULL ORDER BY 1},
        "format=$format"];
    $QUERIES{"e_$format"} =
        [main => 'SELECT 1 AS a, 2 AS b WHERE 0', "format=$format"];
    $QUERIES{"n_$format"} =
        [main => 'SELECT id FROM item ORDER BY id', "format=$format max-rows=2"];
}

# What SQLite would do and a pool must not: accepted by the lexical check.
my %DENIED = (
    d_extension => q{SELECT load_extension('hidden.so')},
    d_tokenizer => q{SELECT hex(fts3_tokenizer('simple'))},
    d_page      => q{SELECT data FROM sqlite_dbpage},
    d_statement => q{SELECT sql FROM sqlite_stmt},
    d_stat      => q{SELECT * FROM dbstat},
);
# Refused when it is asked for: these tables ask for a PRAGMA only then.
my %REFUSED = (
    r_settings => q{SELECT * FROM pragma_database_list},
    r_pragma   => q{SELECT * FROM pragma_table_info('item')},
);
$QUERIES{$_} = [main => $DENIED{$_}]  for keys %DENIED;
$QUERIES{$_} = [main => $REFUSED{$_}] for keys %REFUSED;

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/hidden.db
ConnPoolDatabase missing sqlite:@DIR@/db/hidden-missing.db
ConnPoolDatabase garbage sqlite:@DIR@/db/hidden-garbage.db
ConnPoolDatabase locked sqlite:@DIR@/db/hidden-locked.db readonly=on busy=300ms
ConnPoolDatabase replaced sqlite:@DIR@/db/hidden-replaced.db
ConnPoolUpstream up http://127.0.0.1:9/
<Location "/unserved">
SetHandler connpool-query
</Location>
<Location "/unserved/but/here">
ConnPoolServe served
</Location>
<Location "/upstream">
SetHandler connpool-query
<If "true">
ConnPoolServe up
</If>
</Location>
<Location "/upstream/but/here">
ConnPoolServe served
</Location>
ConnPoolQuery served missing "SELECT 1"
CONF
for my $name (sort keys %QUERIES) {
    my ($database, $sql, $options) = @{$QUERIES{$name}};
    $options //= '';
    $sql =~ s/"/\\"/g;
    $conf .= "ConnPoolQuery $name $database \"$sql\" $options\n"
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

my $ITEMS = <<'SQL';
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300)
INSERT INTO item SELECT i, 'item ' || i FROM n;
CREATE TABLE state(value TEXT);
INSERT INTO state VALUES ('old');
SQL
sub named {
    my ($name) = @_;
    return "CREATE TABLE item(name TEXT); INSERT INTO item VALUES ('$name');";
}

my $server = ConnPoolTest->new(conf => $conf);
$server->make_sqlite('hidden', $ITEMS);
$server->make_sqlite('hidden-locked', named('locked'));
$server->make_sqlite('hidden-replaced', named('old'));
$server->write_file('db/hidden-garbage.db', 'This is no database. ' x 500);
$server->allow_log(
    qr/SQLite \d+\.\d|AH10159|AH00287/,
    qr/ConnPoolQuery (?:d_\w+|no_table) at \S+ cannot be prepared/,
    qr/query '(?:no_table|endless|missing|garbage|locked|replaced|[dr]_\w+)'/,
    qr/(?:database|pool) '(?:missing|garbage|locked|replaced)'/,
    qr/ConnPoolServe names no query here/,
);
$server->start;

sub body_is {
    my ($path, $expected, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $server->get($path);
    is($answer->{status},  200,       "$what: answered");
    is($answer->{content}, $expected, $what);
    return $answer;
}

# A problem as RFC 9457 wants it, with nothing in it that is nobody's business.
sub is_problem {
    my ($answer, $status, $detail, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, $status, "$what: $status");
    my $headers = $answer->{headers};
    is($headers->{'content-type'}, 'application/problem+json', '... type');
    is($headers->{'x-content-type-options'}, 'nosniff', '... nosniff');
    is($headers->{'cache-control'}, 'no-store', '... not to be cached');
    my $problem = ConnPoolTest::decode($answer, $what);
    is_deeply([sort grep { $_ ne 'errors' } keys %$problem],
        [qw(detail status title type)], '... members');
    is($problem->{status}, $status,       '... status again');
    is($problem->{type},   'about:blank', '... problem type');
    like($problem->{title},  qr/^[A-Z][\w ]+$/, '... title');
    like($problem->{detail}, $detail,           '... detail');
    unlike($answer->{content}, $SECRET, '... and no secret');
    if ($status == 503) {
        like($headers->{'retry-after'}, qr/^\d+$/, '... Retry-After');
    }
    return $problem;
}

# ---------------------------------------------------------------------------

subtest 'values' => sub {
    my $answer = body_is('/ints',
        '[{"a":9223372036854775807,"b":-9223372036854775808,"c":0,"d":-1}]',
        'integers are exact');
    is($answer->{headers}{'content-type'}, 'application/json', 'type');
    is($answer->{headers}{'x-content-type-options'}, 'nosniff', 'nosniff');
    is($answer->{headers}{'content-length'}, length $answer->{content}, 'length');
    my $reals = $server->get('/reals')->{content};
    my %real  = $reals =~ /"(\w)":([^,}]+)/g;
    is($real{a}, '0.1',                 'the shortest digits');
    is($real{b}, '0.30000000000000004', 'that read back equal');
    is($real{c}, '1.0',                 'a REAL stays one');
    is($real{f}, '-2.5',                'negative');
    my %exact = (d => '5e-324', e => '1.7976931348623157e308', g => '1e21',
        h => '9007199254740992');
    cmp_ok($real{$_}, '==', $exact{$_}, "$exact{$_} as $real{$_}")
        for sort keys %exact;
    ok(!(grep { length > 24 } values %real), 'none is padded');
    body_is('/infs', '[{"a":null,"b":null,"c":null}]', 'no number is null');
    body_is('/blobs', '[{"a":{"$base64":"AP8="},"b":{"$base64":""},'
        . '"c":{"$base64":"AAAA"}}]', 'blobs');
    body_is('/nulls', '[{"a":null}]', 'NULL');
    my $texts = $server->get('/texts')->{content};
    unlike($texts, qr/[^\x20-\x7f\xc2-\xf4\x80-\xbf]/, 'no raw control character');
    unlike($texts, qr{</script}, 'no tag for HTML');
    unlike($texts, qr/\xe2\x80[\xa8\xa9]/, 'no line separator for JavaScript');
    my ($text) = @{JSON::PP->new->utf8->decode($texts)};
    is_deeply($text, {
            a => 'plain', b => '', c => "\x{fffd}A\x{fffd}", d => '</script>',
            e => "\x{2028}\x{2029}", f => "a\0b", g => "\t\n\"\\\x7f",
            h => "\x{1f600}", i => "\x{fffd}\x{fffd}\x{fffd}",
        }, 'text of all kinds');
};

subtest 'names of columns' => sub {
    my $text = $server->get('/twins')->{content};
    my @names = $text =~ /"([^"]+)":/g;
    my %seen;
    $seen{$_}++ for @names;
    is(scalar @names, 5, 'five columns');
    is((grep { $_ > 1 } values %seen), 0, 'no key comes twice') or diag $text;
    like($text, qr/^\[\{"a":1,"[^"]+":2,"b":3,"A":4,"[^"]+":5\}\]$/, 'in order');
    body_is('/odd_names', '[{"a b":1,"\u003c":2,"3":3}]', 'odd names');
};

subtest 'formats' => sub {
    my %expected = (
        objects => '[{"id":1,"name":"a,\"b\""},{"id":2,"name":null}]',
        arrays  => '[[1,"a,\"b\""],[2,null]]',
        object  => '{"id":1,"name":"a,\"b\""}',
        value   => '1',
        ndjson  => qq({"id":1,"name":"a,\\"b\\""}\n{"id":2,"name":null}\n),
        csv     => qq(id,name\r\n1,"a,""b"""\r\n2,\r\n),
    );
    my %type = (ndjson => 'application/x-ndjson', csv => 'text/csv; charset=utf-8');
    for my $format (sort keys %expected) {
        my $answer = body_is("/f_$format", $expected{$format}, $format);
        is($answer->{headers}{'content-type'},
            $type{$format} // 'application/json', '... type');
        is($answer->{headers}{'connpool-truncated'}, undef, '... not cut');
    }
    body_is('/e_objects', '[]',      'no rows as objects');
    body_is('/e_arrays',  '[]',      'no rows as arrays');
    body_is('/e_ndjson',  '',        'no rows as ndjson');
    body_is('/e_csv',     "a,b\r\n", 'no rows as csv');
    is_problem($server->get("/e_$_"), 404, qr/no such row/i, "no row as $_")
        for qw(object value);
};

subtest 'limits' => sub {
    my $cut = $server->get('/many');
    is($cut->{status}, 200, 'too many rows');
    is($cut->{headers}{'connpool-truncated'}, 'rows', 'are cut, and said to be');
    is_deeply([map { $_->{id} } @{ConnPoolTest::decode($cut)}], [1 .. 100],
        'at max-rows');
    my $exact = $server->get('/exact');
    is(@{ConnPoolTest::decode($exact)}, 100, 'exactly max-rows');
    is($exact->{headers}{'connpool-truncated'}, undef, 'is not cut');
    my %two = (objects => '[{"id":1},{"id":2}]', arrays => '[[1],[2]]',
        ndjson => qq({"id":1}\n{"id":2}\n), csv => "id\r\n1\r\n2\r\n");
    for my $format (sort keys %two) {
        my $answer = body_is("/n_$format", $two{$format}, "$format cut");
        is($answer->{headers}{'connpool-truncated'}, 'rows', '... and said');
    }
    my $bytes = $server->get('/bytes');
    is($bytes->{headers}{'connpool-truncated'}, 'bytes', 'too many bytes');
    my $rows = ConnPoolTest::decode($bytes);
    cmp_ok(length $bytes->{content}, '<=', 201, 'cut at max-bytes');
    is($server->get('/big_value')->{status}, 413,
        'half a value is none at all');
    is_deeply([map { $_->{id} } @$rows], [1 .. @$rows], 'between rows');
    cmp_ok(scalar @$rows, '>', 3, 'not earlier than needed');
    body_is('/one_byte', '[]', 'no room for a row');
};

subtest 'HEAD' => sub {
    for my $path (qw(/few /f_csv /many /e_object)) {
        my ($get, $head) = ($server->get($path), $server->head($path));
        is($head->{content}, '', "$path: no body");
        is($head->{status}, $get->{status}, '... same status');
        delete $_->{headers}{date} for $get, $head;
        is_deeply($head->{headers}, $get->{headers}, '... same headers');
        is($head->{headers}{'content-length'}, length $get->{content},
            '... length of the body that GET has');
    }
};

subtest 'conditional requests' => sub {
    my $first = $server->get('/changing');
    my $etag  = $first->{headers}{etag};
    like($etag, qr/^"[^"]+"$/, 'a strong tag');
    my $again = sub { $server->request($_[0], '/changing',
            headers => {'If-None-Match' => $_[1]}) };
    my $same = $again->('GET', $etag);
    is($same->{status},        304,   'nothing new');
    is($same->{content},       '',    'nothing sent');
    is($same->{headers}{etag}, $etag, 'the tag again');
    is($again->('HEAD', $etag)->{status}, 304, 'HEAD as well');
    is($again->('GET', "\"x\", $etag")->{status}, 304, 'in a list');
    is($again->('GET', '*')->{status},            304, 'any');
    is($again->('GET', '"x"')->{status},          200, 'another one');
    is($server->get('/other', headers => {'If-None-Match' => $etag})->{status},
        200, 'that of another query');
    $server->sqlite('hidden', q{UPDATE state SET value = 'new'});
    my $changed = $again->('GET', $etag);
    is($changed->{status}, 200, 'after a change');
    is($changed->{content}, '[{"value":"new"}]', 'the new rows');
    isnt($changed->{headers}{etag}, $etag, 'a new tag');
};

subtest 'methods and places' => sub {
    my @cases = (['few', 'GET, HEAD', qw(POST PUT DELETE PATCH)],
        ['post_only', 'POST', qw(GET HEAD PUT)],
        ['both', 'GET, HEAD, POST, PUT', qw(DELETE)]);
    for my $case (@cases) {
        my ($name, $allow, @methods) = @$case;
        for my $method (@methods) {
            my $answer = $server->request($method, "/$name");
            is($answer->{headers}{allow}, "$allow, OPTIONS",
                "$method $name: Allow");
            if ($method eq 'HEAD') {
                is($answer->{status}, 405, 'HEAD: 405');
                next;
            }
            is_problem($answer, 405, qr/^Use \Q$allow\E\.$/, $method);
        }
        my $options = $server->request('OPTIONS', "/$name");
        is($options->{status},  200, 'OPTIONS');
        is($options->{content}, '',  'answers nothing');
        is($options->{headers}{allow}, "$allow, OPTIONS", '... but Allow');
    }
    is($server->post('/both')->{content}, '[{"a":1}]', 'a POST that is allowed');
    is($server->request('PUT', '/both')->{content}, '[{"a":1}]', 'and a PUT');
    is($server->get('/nowhere')->{status}, 404, 'an unknown path');
    is_problem($server->get('/unserved'), 404, qr/No query/, 'nothing served');
    is_problem($server->get('/upstream'), 404, qr/No query/, 'an upstream');
    is_problem($server->get('/few?id=1'), 400, qr/parameters/,
        'a parameter that is none');
};

subtest 'a deadline' => sub {
    my (@times, @answers);
    for (1 .. 5) {
        my $begin = time;
        push @answers, $server->get('/endless');
        push @times,   time - $begin;
    }
    @times = sort { $a <=> $b } @times;
    is_problem($answers[0], 504, qr/longer than its limit/, 'an endless query');
    is((grep { $_->{status} != 504 } @answers), 0, 'each time');
    cmp_ok($times[0],  '>=', 0.2, 'not before the deadline');
    cmp_ok($times[0],  '<=', 0.25 * slowness(), 'at most 50 ms behind it');
    cmp_ok($times[-1], '<=', 1.5 * slowness(), 'always soon');
    body_is('/other', '[{"a":1}]', 'the connection is good for others');
};

subtest 'SQL that may not run' => sub {
    for my $name (sort keys %DENIED) {
        ok($server->await_log(qr/ConnPoolQuery $name at \S+:\d+ cannot be prepared/),
            "$name is logged at the start");
        my $answer = $server->get("/$name");
        like($answer->{status}, qr/^(?:403|503)$/, '... and never runs');
        unlike($answer->{content}, $SECRET, '... nor says why');
    }
    is_problem($server->get("/$_"), 403, qr/does what is not allowed/, $_)
        for sort keys %REFUSED;
    ok($server->await_log(qr/ConnPoolQuery no_table at \S+ cannot be prepared: .*hidden_table/),
        'so is a table that is missing');
    is_problem($server->get('/no_table'), 503,
        qr/query 'no_table': the query does not fit the database\./,
        'asked for');
};

# ---------------------------------------------------------------------------

# Ask until it is answered (or refused) as expected; returns the seconds.
sub await_status {
    my ($path, $status, $what, $pattern) = @_;
    my $begin = time;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer;
    ok(await(sub {
                $answer = $server->get($path);
                return $answer->{status} == $status
                    && (!$pattern || $answer->{content} =~ $pattern);
            }, 10), $what)
        or diag("$answer->{status} $answer->{content}");
    return time - $begin;
}

subtest 'a file that is missing' => sub {
    is_problem($server->get('/missing'), 503,
        qr/query 'missing': the database cannot be opened\./, 'no file');
    ok(!-e $server->dir('db/hidden-missing.db'), 'none is made');
    ok($server->await_log(qr/pool 'missing': .*hidden-missing\.db/),
        'the log knows the path');
    $server->make_sqlite('hidden-missing', named('here'));
    my $seconds = await_status('/missing', 200, 'back without a restart');
    cmp_ok($seconds, '<', 5 * slowness(), 'soon');
    rename $server->dir('db/hidden-missing.db'), $server->dir('db/away');
    await_status('/missing', 503, 'gone again');
    rename $server->dir('db/away'), $server->dir('db/hidden-missing.db');
    await_status('/missing', 200, 'and back again', qr/here/);
};

subtest 'a file that is no database' => sub {
    is_problem($server->get('/garbage'), 503, qr/the file is not a database/,
        'garbage');
    unlink $server->dir('db/hidden-garbage.db');
    $server->make_sqlite('hidden-garbage', named('good'));
    await_status('/garbage', 200, 'a database in its place', qr/good/);
};

subtest 'a database that is locked' => sub {
    is($server->get('/locked')->{status}, 200, 'at first it is not');
    my $path = $server->dir('db/hidden-locked.db');
    my $pid = open(my $shell, '|-', 'sqlite3', '-batch', '-init', '/dev/null',
        $path) // die $!;
    $shell->autoflush(1);
    my $sign = $server->dir('locked');
    print {$shell} "BEGIN EXCLUSIVE;\n.shell touch $sign\n";
    ok(await(sub { -e $sign }, 10), 'somebody locks it');
    my $begin  = time;
    my $answer = $server->get('/locked');
    is_problem($answer, 503, qr/locked by another program/, 'locked');
    cmp_ok(time - $begin, '>=', 0.29, 'after the busy time');
    cmp_ok(time - $begin, '<=', 2 * slowness(), 'and soon');
    print {$shell} "COMMIT;\n.quit\n";
    close $shell;
    await_status('/locked', 200, 'free again');
};

subtest 'a file that is replaced' => sub {
    is($server->get('/replaced')->{content}, '[{"name":"old"}]', 'the old rows');
    $server->make_sqlite('new', named('new'));
    rename $server->dir('db/new.db'), $server->dir('db/hidden-replaced.db');
    my $begin = time;
    # Each child notices for itself.
    ok(await(sub {
                !grep { $_->{content} ne '[{"name":"new"}]' }
                    map { $server->get('/replaced') } 1 .. 10;
            }, 10), 'the new rows, and only those');
    cmp_ok(time - $begin, '<', 2.5 * slowness(), 'within two seconds');
};

$server->done;
done_testing;
