# SPDX-License-Identifier: Apache-2.0
#
# connpool-batch: what it takes, what it answers, and what it refuses.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest qw(await parse_response read_until slowness);
use ConnPoolUpstream;
use JSON::PP    ();
use MIME::Base64 qw(decode_base64);
use Test::More;
use Time::HiRes qw(sleep time);

my $CRLF = "\r\n";

sub typed {
    my ($type, $body) = @_;
    return [send => "HTTP/1.1 200 OK${CRLF}Content-Type: $type$CRLF"
            . 'Content-Length: '
            . length($body)
            . "$CRLF$CRLF$body"];
}

my $BINARY = join '', map { chr } 0 .. 255;

my $upstream = ConnPoolUpstream->start(
    routes => {
        '/binary'   => sub { return typed('image/png',        $BINARY) },
        '/zeros'    => sub { return typed('text/plain',       "a\0b") },
        '/latin'    => sub { return typed('text/plain; charset=iso-8859-1', "caf\xe9") },
        '/utf8'     => sub { return typed('text/html',        "caf\xc3\xa9 <b>\n") },
        '/bad-json' => sub { return typed('application/json', '{"a":1,}') },
        '/two-json' => sub { return typed('application/json', '1],[2') },
        '/problem'  => sub {
            return typed('application/problem+json; charset=utf-8', '{ "a" : 1 }');
        },
        '/ndjson' => sub { return typed('application/x-ndjson', "{}\n{}\n") },
        '/empty'  => sub { return typed('text/plain',           '') },
    }
);

my $server = ConnPoolTest->new(
    vars => {UP => $upstream->url},
    conf => <<'CONF',
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=3
ConnPoolUpstream up @UP@/ headers=X-Told max-body=100K
ConnPoolUpstream json @UP@/json
ConnPoolUpstream text @UP@/text
ConnPoolUpstream slow @UP@/delay/5 total=300ms
ConnPoolUpstream hang @UP@/hang read=20s total=20s
ConnPoolUpstream gone http://127.0.0.1:9/ connect=1s
ConnPoolUpstream heavy @UP@/large/6000000
ConnPoolQuery by_id events "SELECT id, name FROM event WHERE id = :id" format=object
ConnPoolParam by_id id integer required min=1
ConnPoolQuery after events "SELECT name FROM event WHERE id > :id ORDER BY id LIMIT :n"
ConnPoolParam after id integer required
ConnPoolParam after n integer default=10 max=100
ConnPoolQuery count events "SELECT count(*) FROM event" format=value
ConnPoolQuery few events "SELECT id FROM event ORDER BY id" max-rows=1 format=arrays
ConnPoolQuery table events "SELECT id, name FROM event WHERE id < 3 ORDER BY id" format=csv
ConnPoolQuery add events "INSERT INTO event(name) VALUES(:name)" write=on
ConnPoolParam add name text required maxlen=20
ConnPoolQuery put events "INSERT INTO event(name) VALUES(:name)" write=on methods=PUT
ConnPoolParam put name text
ConnPoolQuery long events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n" timeout=200ms
<Location "/all">
SetHandler connpool-batch
ConnPoolServe by_id text after count json
</Location>
<Location "/any">
SetHandler connpool-batch
ConnPoolServe up by_id after add put few table json count slow gone heavy long
ConnPoolBatchMax 25
ConnPoolBatchBody 2K
</Location>
<Location "/writes">
SetHandler connpool-batch
ConnPoolServe count add
</Location>
<Location "/hanging">
SetHandler connpool-batch
ConnPoolServe count hang
</Location>
ConnPoolQuery stay events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n" timeout=3s
ConnPoolUpstream brief @UP@/large/2000000 total=2s
ConnPoolUpstream single @UP@/text max=1 acquire=1s overflow=reject
<Location "/busy">
SetHandler connpool-batch
ConnPoolServe stay brief single
</Location>
<Location "/single">
SetHandler connpool-fetch
ConnPoolServe single
</Location>
<Location "/nothing">
SetHandler connpool-batch
</Location>
<Location "/nothing/but/here">
ConnPoolServe single
</Location>
CONF
);
$server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE event(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO event VALUES (1, 'one'), (2, 'two'), (3, 'three');
SQL
$server->start;
$server->allow_log(qr/\[connpool:/);

sub decoded {
    my ($answer) = @_;
    return ConnPoolTest::decode($answer, 'batch');
}

# POST these items: [name, params], ...
sub post {
    my ($path, @items) = @_;
    return $server->post(
        $path,
        json => [
            map { {name => $_->[0], $_->[1] ? (params => $_->[1]) : ()} } @items
        ]
    );
}

# What became of one item.
sub one {
    my ($name, $params) = @_;
    my $answer = post('/any', [$name, $params]);
    is($answer->{status}, 200, "$name: answered") or diag $answer->{content};
    return decoded($answer)->[0];
}

subtest 'GET' => sub {
    my $answer = $server->get('/all?id=1');
    is($answer->{status}, 200, 'answered');
    is($answer->{headers}{'content-type'}, 'application/json', 'as JSON');
    my $items = decoded($answer);
    is(join(' ', map { $_->{name} } @$items),
        'by_id text after count json', 'in order');
    is(join(' ', map { $_->{status} } @$items), '200 200 200 200 200', 'all well');
    is_deeply($items->[0]{body}, {id => 1, name => 'one'}, 'a query');
    is($items->[1]{body}, "hello, world\n", 'text is a string');
    is_deeply($items->[2]{body}, [{name => 'two'}, {name => 'three'}],
        'the parameter is shared');
    is($items->[3]{body}, 3, 'a value');
    is_deeply($items->[4]{body}, {answer => 42}, 'JSON is JSON');
    like($answer->{content}, qr/"ms":\d+\.\d{3},/, 'times of three decimals');
    is_deeply(
        [sort keys %{$items->[0]}],
        [qw(body ms name status)],
        'nothing else'
    );
    $items = decoded($server->get('/all?id=0&n=1'));
    is($items->[0]{status}, 400, 'a value that one of them forbids');
    is($items->[0]{error}{errors}[0]{param}, 'id', 'and why');
    is_deeply($items->[2]{body}, [{name => 'one'}], 'is good for the other');
    $items = decoded($server->get('/all'));
    is($items->[0]{error}{errors}[0]{reason}, 'is required', 'missing');
    is($items->[3]{body}, 3, 'who needs none is not touched');
};

subtest 'GET refused' => sub {
    my $answer = $server->get('/all?id=1&other=2');
    is($answer->{status}, 400, 'a parameter that none declares');
    is_deeply(
        decoded($answer)->{errors},
        [{param => 'other', reason => 'is not a parameter here'}],
        'is named'
    );
    is($server->get('/all?id=%')->{status}, 400, 'broken encoding');
    $answer = $server->get('/writes');
    is($answer->{status}, 405, 'something that writes');
    like(decoded($answer)->{detail}, qr/'add'/, 'is named');
    is($answer->{headers}{allow}, 'POST, OPTIONS', 'and what to use');
    $answer = $server->request('PUT', '/all');
    is($answer->{status}, 405, 'PUT');
    is(decoded($answer)->{detail}, 'Use GET, HEAD, POST.', 'what to use');
    for (['/all', 'GET, HEAD, POST, OPTIONS'], ['/writes', 'POST, OPTIONS']) {
        my ($path, $allow) = @$_;
        $answer = $server->request('OPTIONS', $path);
        is("$answer->{status} $answer->{content}", '200 ', "OPTIONS $path");
        is($answer->{headers}{allow}, $allow, 'allowed methods');
        is($server->request('PUT', $path)->{headers}{allow}, $allow, '... of PUT');
    }
    is($server->get('/nothing')->{status}, 404, 'nothing is served');
};

subtest 'HEAD and conditions' => sub {
    my $answer = $server->head('/all?id=1');
    is($answer->{status}, 200, 'HEAD');
    is($answer->{content}, '', 'has no body');
    $answer = $server->get('/all?id=1');
    my $tag = $answer->{headers}{etag};
    like($tag, qr{^W/"[0-9a-f]{16}"$}, 'a weak tag');
    is($server->get('/all?id=1')->{headers}{etag},
        $tag, 'that the time it took does not change');
    $answer = $server->get('/all?id=1', headers => {'If-None-Match' => $tag});
    is($answer->{status}, 304, 'not modified');
    $answer = $server->get('/all?id=2', headers => {'If-None-Match' => $tag});
    is($answer->{status}, 200, 'modified');
    ok(!post('/any', ['count'])->{headers}{etag}, 'none for POST');
};

subtest 'POST' => sub {
    my $before = $server->sqlite('events', 'SELECT count(*) FROM event');
    my $items  = decoded(
        post(
            '/any', ['by_id', {id => 2}],
            ['up',    {path => '/echo', query => 'a=1&b=%20'}],
            ['by_id', {id   => 1}],
            ['add',   {name => 'four'}],
            ['count'],
            ['few'],
            ['table'],
        )
    );
    is(join(' ', map { $_->{name} } @$items),
        'by_id up by_id add count few table', 'in order, one of them twice');
    is($items->[0]{body}{name},   'two', 'each has');
    is($items->[2]{body}{name},   'one', 'its own parameters');
    is($items->[1]{body}{target}, '/echo?a=1&b=%20', 'path and query');
    is($items->[3]{body}{changes}, 1,           'a write');
    is($items->[4]{body},          $before + 1, 'is seen by the next one');
    is_deeply($items->[5]{body}, [[1]], 'cut');
    is($items->[5]{truncated}, 'rows', 'and said so');
    is($items->[6]{body}, "id,name\r\n1,one\r\n2,two\r\n", 'CSV is a string');
    my $told = $server->post(
        '/any',
        json    => [{name => 'up', params => {path => 'echo'}}],
        headers => {'X-Told' => 'yes', 'X-Secret' => 'no', 'Content-Type' => 'application/json'}
    );
    my $seen = decoded($told)->[0]{body}{headers};
    is($seen->{'x-told'}, 'yes', 'headers= are handed on');
    ok(!$seen->{'x-secret'}, 'no others');
    is(one('up', {path => '/text'})->{body}, "hello, world\n", 'no query');
    $server->sqlite('events', 'DELETE FROM event WHERE id > 3');
};

subtest 'bodies' => sub {
    my $binary = one('up', {path => '/binary'})->{body};
    is(decode_base64($binary->{'$base64'}), $BINARY, 'binary');
    is(decode_base64(one('up', {path => '/zeros'})->{body}{'$base64'}),
        "a\0b", 'zeros are no text');
    is(decode_base64(one('up', {path => '/latin'})->{body}{'$base64'}),
        "caf\xe9", 'nor is what is not UTF-8');
    is(one('up', {path => '/utf8'})->{body}, "caf\x{e9} <b>\n", 'UTF-8');
    is(one('up', {path => '/bad-json'})->{body}, '{"a":1,}',
        'what is no JSON stays text');
    is(one('up', {path => '/two-json'})->{body}, '1],[2', 'whatever it would do');
    is_deeply(one('up', {path => '/problem'})->{body}, {a => 1}, '+json');
    is(one('up', {path => '/ndjson'})->{body}, "{}\n{}\n", 'lines of JSON');
    is(one('up', {path => '/empty'})->{body}, '', 'nothing');
    my $item = one('up', {path => '/status/404'});
    is($item->{status}, 404, q(the upstream's status));
    is($item->{body}, "status 404\n", 'with its body');
};

subtest 'item errors' => sub {
    my %error = (
        nobody => [404, qr/Nothing of that name/],
        up     => [400, qr/leaves the upstream's own/, {path => '/../x'}],
        by_id  => [404, qr/no such row/,               {id   => 99}],
        put    => [405, qr/'put' does not answer POST/],
        slow   => [504, qr/upstream 'slow': /],
        gone   => [502, qr/upstream 'gone': /],
        long   => [504, qr/query 'long': /],
    );
    my @names = sort keys %error;
    my $answer =
        post('/any', ['count'], (map { [$_, $error{$_}[2]] } @names), ['count']);
    is($answer->{status}, 200, 'the whole is well');
    my $items = decoded($answer);
    is($items->[0]{body},  3, 'the first');
    is($items->[-1]{body}, 3, 'and the last are answered');
    for my $i (0 .. $#names) {
        my ($status, $detail) = @{$error{$names[$i]}};
        my $item = $items->[$i + 1];
        is($item->{name},          $names[$i], $names[$i]);
        is($item->{status},        $status, '... status');
        is($item->{error}{status}, $status, '... in the problem, too');
        like($item->{error}{detail}, $detail, '... detail');
        is($item->{error}{type}, 'about:blank', '... type');
        ok($item->{error}{title}, '... title');
        ok(!exists $item->{body}, '... no body');
    }
    my $item = one('up', {path => '/redirect'});
    is($item->{status}, 502, 'a redirect');
    $item = one('up', {path => '/large/200000'});
    is($item->{status}, 502, 'larger than max-body');
    for my $case (
        ['by_id', {id    => 'x'},               'id'],
        ['by_id', {id    => 1, other => 1},     'other'],
        ['by_id', {},                           'id'],
        ['up',    {path  => 1},                 'path'],
        ['up',    {query => "a\0b"},            'query'],
        ['up',    {host  => 'example.com'},     'host'],
        )
    {
        my ($name, $params, $param) = @$case;
        $item = one($name, $params);
        is($item->{status}, 400, "$name: $param");
        is($item->{error}{errors}[0]{param}, $param, '... is named');
    }
};

subtest 'strict' => sub {
    for my $path ('/any?strict=1', '/any?strict=0', '/any') {
        my $answer = post($path, ['count'], ['nobody']);
        my $is_strict = $path =~ /=1/;
        is($answer->{status}, $is_strict ? 502 : 200, "$path with a failure");
        is(decoded($answer)->[0]{body}, 3, 'the array is there');
        ok(!$answer->{headers}{etag}, 'no tag');
    }
    is(post('/any?strict=1', ['count'])->{status}, 200, 'without a failure');
    is($server->get('/all?strict=1&id=1')->{status},  200, 'GET');
    my $answer = $server->get('/all?strict=1&id=99');
    is($answer->{status}, 502, 'GET, no row');
    ok(!$answer->{headers}{etag}, 'a failure has no tag');
};

subtest 'too large together' => sub {
    my $items = decoded(post('/any', map { ['heavy'] } 1 .. 4));
    my @well = grep { $_->{status} == 200 } @$items;
    is(scalar @well, 2, 'what fits is there');
    is(length $_->{body}, 6_000_000, 'whole') for @well;
    for my $item (grep { $_->{status} != 200 } @$items) {
        is($item->{status}, 413, 'what does not is an error');
        like($item->{error}{detail}, qr/too large together/, 'that says so');
    }
};

sub refused {
    my ($content, $status, $errors, $name, %option) = @_;
    my $answer = $server->post(
        $option{path} // '/any',
        content => $content,
        headers => {'Content-Type' => $option{type} // 'application/json'}
    );
    is($answer->{status}, $status, $name) or diag $answer->{content};
    my $problem = decoded($answer);
    is($problem->{status}, $status, '... a problem');
    is_deeply($problem->{errors}, $errors, '... what is wrong') if $errors;
    return $problem;
}

subtest 'POST refused' => sub {
    refused('[]', 415, undef, 'another type', type => 'text/plain');
    refused('[{"name":"count"}]' . ' ' x 3000, 413, undef, 'a long body');
    refused($_, 400, undef, "not a list: $_")
        for '', '{}', '1', '[', '[]', '[{"name":"count","name":"count"}]',
        '[' x 2000;
    refused('[' . join(',', ('{"name":"count"}') x 26) . ']',
        400, undef, 'more than ConnPoolBatchMax');
    refused('[1]', 400, [{param => '[0]', reason => 'is not an object'}],
        'not an object');
    refused('[{"name":"count"},{}]', 400,
        [{param => '[1].name', reason => 'is required'}], 'no name');
    refused('[{"name":7}]', 400,
        [{param => '[0].name', reason => 'is not a string'}],
        'a name that is none');
    refused(
        '[{"name":"count\\u0000"}]',
        400,
        [{param => '[0].name', reason => 'holds a NUL character'}],
        'a name with a NUL'
    );
    refused('[{"name":"count","params":[]}]', 400,
        [{param => '[0].params', reason => 'is not an object'}],
        'parameters that are none');
    refused('[{"name":"count","parms":{}}]', 400,
        [{param => '[0].parms', reason => 'is not known here'}],
        'an unknown key');
    refused('[{"name":"count"}]', 400,
        [{param => 'id', reason => 'is not a parameter here'}],
        'parameters in the URL', path => '/any?id=1');
    my $problem = refused('[' . join(',', (1) x 25) . ']',
        400, undef, 'many errors');
    is(@{$problem->{errors}}, 20, '... are not all told');
};

subtest 'another site' => sub {
    my $items = decoded(
        $server->post(
            '/any',
            json    => [{name => 'add', params => {name => 'x'}}, {name => 'count'}],
            headers => {
                'Sec-Fetch-Site' => 'cross-site',
                'Content-Type'   => 'application/json'
            }
        )
    );
    is($items->[0]{status}, 403, 'may not write');
    is($items->[1]{body},   3,   'nothing was written');
};

subtest 'fetches go on while a query runs' => sub {
    my $socket = $server->connect;
    print {$socket} "GET /busy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    ok(
        await(
            sub {
                my ($pool) = grep { $_->{name} eq 'events' }
                    @{$server->status_json->{pools}};
                return $pool->{busy} > 0;
            },
            10
        ),
        'a query is running'
    );
    is($server->get('/single')->{status},
        200, 'the one connection to an upstream is not kept from others');
    my $answer = parse_response(read_until($socket, undef, 30));
    my ($stay, $brief, $single) = map { $_->{status} } @{decoded($answer)};
    is($stay, 504, 'the query took all of its time');
    # Without the loop queries come first.
    is($brief,  200, 'of an upstream what it sent in time');
    is($single, 200, 'and the other');
};

subtest 'client gone' => sub {
    my $socket = $server->connect;
    print {$socket} "GET /hanging HTTP/1.1\r\nHost: x\r\n\r\n";
    ok(await(sub { $upstream->stats->{busy} > 0 }, 5), 'under way');
    close $socket;
    ok(await(sub { $upstream->stats->{busy} == 0 }, 3),
        'the fetch is given up');
    $server->is_at_rest;
};

$server->done;
done_testing;
