#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Writes as the web has them: PATCH, none= where nothing changed, 201 with
# Location, and preconditions that are never ignored.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel);
use Test::More;

# name => [SQL, options, parameters]; each is served at /name, and writes.
my %QUERIES = (
    edit   => ['UPDATE event SET title = :title WHERE id = :id', 'methods=PATCH,POST',
        'id integer required', 'title text required'],
    all    => ['UPDATE event SET title = :title WHERE id = :id', '', 'id integer required',
        'title text required'],
    create => ['INSERT INTO event(title) VALUES (:title)', 'created="/events/{last_insert_rowid}"',
        'title text required'],
    ignore => ['INSERT OR IGNORE INTO event(id, title) VALUES (:id, :title)',
        'created="/events/{last_insert_rowid}"', 'id integer required', 'title text required'],
    ignore409 => ['INSERT OR IGNORE INTO event(id, title) VALUES (:id, :title)',
        'created="/events/{last_insert_rowid}" none=409', 'id integer required',
        'title text required'],
    upsert => ['INSERT INTO event(id, title) VALUES (:id, :title) ON CONFLICT(id) DO UPDATE '
        . 'SET title = excluded.title', 'created="/events/{last_insert_rowid}"',
        'id integer required', 'title text required'],
    nothing => ['INSERT INTO event(id, title) VALUES (:id, :title) ON CONFLICT DO NOTHING '
        . 'RETURNING id', 'created="/events/{id}" none=409', 'id integer required',
        'title text required'],
    named  => ['INSERT INTO page(slug, body) VALUES (:slug, :body)', 'created="/pages/{:slug}?n={changes}#{last_insert_rowid}"',
        'slug text required', 'body text'],
    bare   => ['INSERT INTO page(slug, body) VALUES (:slug, :body)', 'created="/{:slug}/{:body}"',
        'slug text', 'body text'],
    rows   => ['INSERT INTO event(title) VALUES (:title), (:title) RETURNING id, title, id * 1.5 AS r, NULL AS n',
        'created="/events/{ID}/{title}/{r}" format=arrays', 'title text required'],
    missing => ['INSERT INTO event(title) VALUES (:title) RETURNING NULL AS n',
        'created="/events/{n}"', 'title text required'],
    many   => ['INSERT INTO event(title) VALUES (:title) RETURNING id, title',
        'created="/events/{id}" format=object', 'title text required'],
    html   => ['INSERT INTO event(title) VALUES (:title) RETURNING \'<li>\'',
        'created="/events/{last_insert_rowid}" format=raw type=text/html', 'title text required'],
    absent => ['INSERT INTO event(title) VALUES (:title) RETURNING id', 'created="/events/{ident}"',
        'title text required'],
    ret404 => ['UPDATE event SET title = :title WHERE id = :id RETURNING id, title',
        'none=404 format=object', 'id integer required', 'title text required'],
    ret200 => ['UPDATE event SET title = :title WHERE id = :id RETURNING id, title',
        'none=200 format=object', 'id integer required', 'title text required'],
    default => ['UPDATE event SET title = :title WHERE id = :id RETURNING id, title',
        'format=object', 'id integer required', 'title text required'],
    twice  => ['UPDATE counted SET n = n + 1 WHERE id = :id', 'none=404', 'id integer required'],
    trigger => ['INSERT OR IGNORE INTO watched(id) VALUES (:id)', 'none=409', 'id integer required'],
    lock   => [q{UPDATE note SET text = :text, version = version + 1 WHERE id = :id}
        . q{ AND :match = '\"' || version || '\"'}, 'methods=PATCH,PUT,POST none=412',
        'id integer required', 'text text required',
        'match required from="%{HTTP:If-Match}"'],
    fresh  => ['INSERT INTO note(id, text) SELECT :id, :text WHERE :none = \'*\' ON CONFLICT DO NOTHING',
        'methods=PUT none=412 created="/note/{:id}"', 'id integer required', 'text text required',
        q{none required from="%{req:If-None-Match}"}],
    drop   => ['DELETE FROM event WHERE id = :id', 'none=404', 'id integer required'],
);
$QUERIES{"none$_"} = ['UPDATE event SET title = :title WHERE id = :id', "none=$_",
    'id integer required', 'title text required']
    for 200, 403, 404, 409, 412;

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db acquire=30s timeout=30s
ConnPoolQuery one main "SELECT id, title FROM event WHERE id = :id" format=object
ConnPoolParam one id integer required
ConnPoolQuery search main "SELECT id FROM event WHERE title = :title" methods=POST
ConnPoolParam search title text required
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/search">
SetHandler connpool-query
ConnPoolServe search
</Location>
<Location "/patch-only">
SetHandler connpool-query
ConnPoolServe patch_only
</Location>
ConnPoolQuery patch_only main "UPDATE event SET title = 'x' WHERE id = 1" write=on methods=PATCH
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe none404 none412 create ignore409 edit patch_only one default many lock
</Location>
<Location "/together">
SetHandler connpool-batch
ConnPoolServe none404 create upsert
ConnPoolBatchAtomic On
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name main \"$sql\" write=on $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

my $server = ConnPoolTest->new(conf => $conf);
$server->make_sqlite('main', <<'SQL');
CREATE TABLE event(id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO event VALUES (1, 'first'), (2, 'second');
CREATE TABLE page(slug TEXT, body TEXT, UNIQUE(slug, body));
CREATE TABLE counted(id INTEGER PRIMARY KEY, n INTEGER);
INSERT INTO counted VALUES (1, 0);
CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, version INTEGER DEFAULT 1);
INSERT INTO note(id, text) VALUES (1, 'old');
CREATE TABLE watched(id INTEGER PRIMARY KEY);
CREATE TABLE log(id INTEGER PRIMARY KEY, what TEXT);
CREATE TRIGGER watch BEFORE INSERT ON watched BEGIN INSERT INTO log(what) VALUES (new.id); END;
SQL
$server->allow_log(
    qr/ConnPoolQuery absent at .* cannot be prepared: created=: its answer has no column 'ident'/,
    qr/query 'absent': the query does not fit the database/,
);
$server->start;

sub title_of {
    my ($id) = @_;
    return $server->sqlite('main', "SELECT title FROM event WHERE id = $id");
}

sub count_of {
    my ($table) = @_;
    return $server->sqlite('main', "SELECT count(*) FROM $table");
}

sub is_problem {
    my ($answer, $status, $detail, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, $status, "$what: $status");
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... type');
    my $problem = ConnPoolTest::decode($answer, $what);
    is($problem->{status}, $status, '... says so');
    like($problem->{detail}, $detail, '... detail');
    is($answer->{headers}{location}, undef, '... no Location');
    return $problem;
}

# ---------------------------------------------------------------------------

subtest 'PATCH' => sub {
    my %json = (headers => {'Content-Type' => 'application/json'});
    my $answer = $server->request('PATCH', '/edit?id=1', %json, content => '{"title":"patched"}');
    is($answer->{status}, 200, 'PATCH with JSON');
    is($answer->{content}, '{"changes":1,"last_insert_rowid":0}', '... as any write');
    is(title_of(1), 'patched', '... and it is done');
    is($server->request('PATCH', '/all', headers =>
            {'Content-Type' => 'application/x-www-form-urlencoded'},
        content => 'id=1&title=form')->{status}, 200, 'a form, without methods=');
    is(title_of(1), 'form', '... and it is done');
    is($server->request('PATCH', '/one?id=1')->{status}, 405, 'a read is not patched');
    my $refused = $server->request('PUT', '/edit?id=1&title=no');
    is($refused->{status}, 405, 'methods=PATCH,POST: no PUT');
    is($refused->{headers}{allow}, 'POST, PATCH, OPTIONS', '... Allow');
    is($server->request('OPTIONS', '/all')->{headers}{allow},
        'POST, PUT, PATCH, DELETE, OPTIONS', 'OPTIONS');
    is_problem($server->request('PATCH', '/edit?id=1&title=no',
            headers => {'Sec-Fetch-Site' => 'cross-site'}), 403, qr/Another site/, 'cross-site');
    is_problem($server->request('PATCH', '/edit?id=1', headers => {'Content-Type' => 'text/plain'},
            content => 'x'), 415, qr/Send/, 'another type');
    my $items = ConnPoolTest::decode($server->post('/batch', json => [
        {name => 'edit', params => {id => 1, title => 'batch'}}, {name => 'patch_only'}]));
    is_deeply([map { $_->{status} } @$items], [200, 405], 'a batch is a POST');
    is($server->request('PATCH', '/batch', %json, content => '[]')->{status}, 405,
        '... and takes no PATCH');
};

subtest 'none=' => sub {
    for my $status (403, 404, 409, 412) {
        is_problem($server->post("/none$status", json => {id => 99, title => 'x'}), $status,
            qr/Nothing was changed/, 'no such row');
        is($server->post("/none$status", json => {id => 2, title => "by $status"})->{content},
            '{"changes":1,"last_insert_rowid":0}', '... there is one');
    }
    for my $path ('/none200', '/all') {
        my $answer = $server->post($path, json => {id => 99, title => 'x'});
        is($answer->{status}, 200, "$path: 200");
        is($answer->{content}, '{"changes":0,"last_insert_rowid":0}', '... as ever');
    }
    is_problem($server->post('/ret404', json => {id => 99, title => 'x'}), 404,
        qr/Nothing was changed/, 'RETURNING nothing');
    is($server->post('/ret404', json => {id => 2, title => 'x'})->{content},
        '{"id":2,"title":"x"}', 'RETURNING a row');
    is_problem($server->post('/default', json => {id => 99, title => 'x'}), 404,
        qr/no such row/, 'one row that is not there');
    my $null = $server->post('/ret200', json => {id => 99, title => 'x'});
    is("$null->{status} $null->{content}", '200 null', '... unless none=200');
    is_problem($server->request('DELETE', '/drop?id=99'), 404, qr/Nothing/, 'DELETE');
    is($server->post('/trigger', json => {id => 1})->{status}, 200, 'a new row');
    is_problem($server->post('/trigger', json => {id => 1}), 409, qr/Nothing/, 'the same again');
    is(count_of('log'), 1, '... and nothing is nothing: what triggers did is undone');
    my @line = grep { $_->{name} eq 'none404' } @{$server->status_json->{queries}};
    is($line[0]{errors}, 0, 'no error of the query');
};

subtest 'one of many' => sub {
    my @codes = parallel(8, sub {
        my %seen;
        $seen{$server->post('/twice', json => {id => 1})->{status}}++ for 1 .. 25;
        $seen{$server->post('/twice', json => {id => 2})->{status}}++ for 1 .. 5;
        return \%seen;
    });
    is_deeply(\@codes, [({200 => 25, 404 => 5}) x 8], 'each is told what it did');
    is($server->sqlite('main', 'SELECT n FROM counted'), 200, 'and did it');
};

subtest '201 with Location' => sub {
    my $answer = $server->post('/create', json => {title => 'new'});
    is($answer->{status}, 201, 'created');
    my ($id) = $answer->{content} =~ /^\{"changes":1,"last_insert_rowid":(\d+)\}$/;
    ok($id, '... the body is as ever');
    is($answer->{headers}{location}, "/events/$id", '... and where');
    is($answer->{reason}, 'Created', '... in words');

    my $old = $server->post('/ignore', json => {id => 1, title => 'x'});
    is($old->{status}, 200, 'INSERT OR IGNORE of what is there');
    is($old->{headers}{location}, undef, '... is nowhere');
    is_problem($server->post('/ignore409', json => {id => 1, title => 'x'}), 409, qr/Nothing/,
        '... with none=409');
    is($server->post('/ignore', json => {id => 500, title => 'x'})->{headers}{location},
        '/events/500', '... of what is not');
    my $updated = $server->post('/upsert', json => {id => 1, title => 'up'});
    is($updated->{status}, 200, 'an UPSERT that updates');
    is($updated->{headers}{location}, undef, '... has no row of its own');
    is(title_of(1), 'up', '... but did it');
    my $inserted = $server->post('/upsert', json => {id => 501, title => 'up'});
    is("$inserted->{status} $inserted->{headers}{location}", '201 /events/501', '... that inserts');
    is_problem($server->post('/nothing', json => {id => 1, title => 'x'}), 409, qr/Nothing/,
        'DO NOTHING');
    my $returned = $server->post('/nothing', json => {id => 502, title => 'x'});
    is("$returned->{status} $returned->{headers}{location}", '201 /events/502', '... but something');

    my $rows = $server->post('/rows', json => {title => qq{a/b \x{fc}"}});
    my ($first) = $rows->{content} =~ /^\[\[(\d+),/;
    is($rows->{status}, 201, 'RETURNING');
    is($rows->{headers}{location}, "/events/$first/a%2Fb%20%C3%BC%22/" . $first * 1.5 . ($first % 2 ? '' : '.0'),
        '... the first row, whose names have any case');
    my $object = $server->post('/many', json => {title => 't'});
    like($object->{content}, qr/^\{"id":\d+,"title":"t"\}$/, 'as an object');
    like($object->{headers}{location}, qr{^/events/\d+$}, '... and where');
    my $html = $server->post('/html', json => {title => 't'});
    is("$html->{status} $html->{content}", '201 <li>', 'as a piece of a page');
    like($html->{headers}{location}, qr{^/events/\d+$}, '... and where');
    my $null = $server->post('/missing', json => {title => 't'});
    is($null->{status}, 200, 'a NULL leads nowhere');
    is($null->{headers}{location}, undef, '... so there is no Location');
    is($server->request('GET', '/create')->{status}, 405, 'a GET creates nothing');
};

subtest 'what stands in a Location' => sub {
    my %values = (
        'abc-._~'         => 'abc-._~',
        'a b'             => 'a%20b',
        '../x'            => '..%2Fx',
        '//evil.example/' => '%2F%2Fevil.example%2F',
        "a\r\nX: y"       => 'a%0D%0AX%3A%20y',
        '?q=1#f%'         => '%3Fq%3D1%23f%25',
        "\\evil"          => '%5Cevil',
        '{:slug}'         => '%7B%3Aslug%7D',
    );
    for my $value (sort keys %values) {
        my $answer = $server->post('/named', json => {slug => $value});
        is($answer->{status}, 201, 'created');
        like($answer->{headers}{location}, qr{^/pages/\Q$values{$value}\E\?n=1#\d+$}, '... encoded');
        is($answer->{headers}{x}, undef, '... and no other header');
    }
    for my $value ('', '.', '..', 'x' x 5000) {
        my $answer = $server->post('/named', json => {slug => $value});
        is($answer->{status}, 200, 'what cannot stand there: 200');
        is($answer->{headers}{location}, undef, '... nowhere');
    }
    is($server->post('/bare', json => {slug => '', body => 'evil.example'})->{headers}{location},
        undef, 'never another server');
    is($server->post('/bare', json => {body => 'x'})->{headers}{location}, undef, 'NULL');
    is_problem($server->post('/absent', json => {title => 'unseen'}), 503, qr/absent/,
        'a column that is not there');
    is($server->sqlite('main', q{SELECT count(*) FROM event WHERE title = 'unseen'}), 0,
        '... and nothing is written');
};

subtest 'preconditions' => sub {
    my $before = title_of(1);
    my %conditions = (
        'If-Match'            => ['"abc"', '*', 'W/"abc"', ''],
        'If-None-Match'       => ['*', '"abc"'],
        'If-Unmodified-Since' => ['Wed, 21 Oct 2015 07:28:00 GMT', 'nonsense'],
    );
    for my $header (sort keys %conditions) {
        for my $value (@{$conditions{$header}}) {
            for my $method (qw(POST PUT PATCH DELETE)) {
                is_problem($server->request($method, '/all?id=1&title=lost',
                        headers => {$header => $value}), 412,
                    qr/Nothing was written: the query does not look at \Q$header\E/,
                    "$method with $header: $value");
            }
        }
    }
    is(title_of(1), $before, 'nothing was written');
    is($server->post('/all', json => {id => 1, title => 'on'},
            headers => {'If-Modified-Since' => 'Wed, 21 Oct 2015 07:28:00 GMT'})->{status}, 200,
        'If-Modified-Since is of reads');
    is($server->post('/search', json => {title => 'on'}, headers => {'If-Match' => '"x"'})->{status},
        200, 'a POST that reads loses nothing');
    my $items = ConnPoolTest::decode($server->post('/batch', headers => {'If-Match' => '"x"'}, json => [
        {name => 'none404', params => {id => 1, title => 'lost'}},
        {name => 'one',     params => {id => 1}},
    ]));
    is_deeply([map { $_->{status} } @$items], [412, 200], 'in a batch');
    like($items->[0]{error}{detail}, qr/does not look at If-Match/, '... why');
    is(title_of(1), 'on', '... nothing was written');
    is($server->get('/one?id=1', headers => {'If-Match' => '"x"'})->{status}, 412,
        'a read looks by itself');
};

subtest 'optimistic locking' => sub {
    my $change = sub {
        my ($text, %headers) = @_;
        return $server->request('PATCH', "/lock?id=1&text=$text", headers => \%headers);
    };
    is($change->('first', 'If-Match' => '"1"')->{status}, 200, 'who has seen the latest');
    is_problem($change->('second', 'If-Match' => '"1"'), 412, qr/Nothing was changed/,
        'who has not');
    is($change->('third')->{status}, 403, 'who says nothing');
    is_problem($change->('fourth', 'If-Match' => '"2"', 'If-None-Match' => '"1"'), 412,
        qr/does not look at If-None-Match/, 'what only is read');
    is($change->('fifth', 'If-Match' => '"2"', 'If-Modified-Since' => 'x')->{status}, 200,
        'and the next');
    is($server->sqlite('main', 'SELECT text, version FROM note'), 'fifth|3', 'two writes');
    my @codes = parallel(8, sub {
        my %seen;
        for (1 .. 10) {
            my $now = $server->sqlite('main', 'SELECT version FROM note WHERE id = 1');
            $seen{$change->('x', 'If-Match' => "\"$now\"")->{status}}++;
        }
        return \%seen;
    });
    my $done = 0;
    $done += $_->{200} // 0 for @codes;
    is($server->sqlite('main', 'SELECT version FROM note WHERE id = 1'), 3 + $done,
        'no write is lost among many');
    my $items = ConnPoolTest::decode($server->post('/batch', headers => {'If-Match' => '"1"'},
        json => [{name => 'lock', params => {id => 1, text => 'late'}}]));
    is($items->[0]{status}, 412, 'in a batch');

    my $put = sub {
        my ($id, %headers) = @_;
        return $server->request('PUT', "/fresh?id=$id&text=new", headers => \%headers);
    };
    my $made = $put->(2, 'If-None-Match' => '*');
    is("$made->{status} $made->{headers}{location}", '201 /note/2', 'If-None-Match: * makes it');
    is_problem($put->(2, 'If-None-Match' => '*'), 412, qr/Nothing was changed/, '... once');
    is_problem($put->(3, 'If-Match' => '*'), 412, qr/does not look at If-Match/, 'another one');
};

subtest 'in batches' => sub {
    my $items = ConnPoolTest::decode($server->post('/batch', json => [
        {name => 'none404',   params => {id => 99, title => 'x'}},
        {name => 'none412',   params => {id => 99, title => 'x'}},
        {name => 'create',    params => {title => 'in a batch'}},
        {name => 'ignore409', params => {id => 1, title => 'x'}},
        {name => 'default',   params => {id => 99, title => 'x'}},
        {name => 'many',      params => {title => 'y'}},
    ]));
    is_deeply([map { $_->{status} } @$items], [404, 412, 201, 409, 404, 201], 'statuses');
    like($items->[$_]{error}{detail}, qr/Nothing was changed/, '... why') for 0, 1, 3;
    is($items->[2]{location}, "/events/$items->[2]{body}{last_insert_rowid}", '... where');
    is($items->[5]{location}, "/events/$items->[5]{body}{id}", '... where');
    is($items->[0]{location}, undef, '... or nowhere');
    is($server->post('/batch?strict=1', json => [{name => 'none404',
            params => {id => 99, title => 'x'}}])->{status}, 502, 'strict');
};

subtest 'in batches that are one transaction' => sub {
    my $count = count_of('event');
    my $items = ConnPoolTest::decode($server->post('/together', json => [
        {name => 'create',  params => {title => 'undone'}},
        {name => 'none404', params => {id => 99, title => 'x'}},
    ]));
    is_deeply([map { $_->{status} } @$items], [424, 404], 'nothing changed: nothing is done');
    is(count_of('event'), $count, '... at all');
    $items = ConnPoolTest::decode($server->post('/together', json => [
        {name => 'create', params => {title => 'done'}},
        {name => 'upsert', params => {id => 1, title => 'updated'}},
    ]));
    is_deeply([map { $_->{status} } @$items], [201, 200], 'each says what it did');
    is($items->[0]{location}, "/events/$items->[0]{body}{last_insert_rowid}", '... where');
    is($items->[1]{location}, undef, "... and not where another's row is");
    is($items->[1]{body}{last_insert_rowid}, 0, '... nor its number');
};

subtest 'configtest' => sub {
    my $db     = 'ConnPoolDatabase main sqlite:@DIR@/db/main.db';
    my $insert = 'INSERT INTO event(title) VALUES (:t)';
    my @wrong  = (
        ['SELECT :t' => 'none=404' => qr/q: none: is for a query with write=on/],
        ['SELECT :t' => 'created=/a' => qr/q: created: is for a query with write=on/],
        [$insert => 'write=on none=405' => qr/none=405: .*200.*403.*404.*409.*412/],
        [$insert => 'write=on none=off' => qr/none=off/],
        [$insert => 'write=on created=events/{:t}' => qr/q: created: it is a path/],
        [$insert => 'write=on created=//evil/{:t}' => qr/q: created: it is a path/],
        [$insert => 'write=on created=https://x/{:t}' => qr/q: created: it is a path/],
        [$insert => 'write=on created="/a b"' => qr/q: created: at ' b'/],
        [$insert => 'write=on created="/ä"' => qr/q: created: at/],
        [$insert => 'write=on created="/%zz"' => qr/q: created: at '%zz'/],
        [$insert => 'write=on created="/a{:t"' => qr/q: created: a \{ has no \}/],
        [$insert => 'write=on created="/a}"' => qr/q: created: at '\}'/],
        [$insert => 'write=on created="/{}"' => qr/q: created: there is no name/],
        [$insert => 'write=on created="/{:}"' => qr/q: created: there is no name/],
        [$insert => 'write=on created="/{:x}"' => qr/created: the SQL has no parameter :x/],
        [$insert => 'write=on created="/{t}"' =>
            qr/created: there is no \{t\}: without RETURNING there are \{last_insert_rowid\}/],
        ['SELECT :t' => 'methods=PATCH,GTE' => qr/GTE.*PATCH/],
    );
    for my $case (@wrong) {
        my ($text, $options, $pattern) = @$case;
        my ($status, $said) = $server->configtest("$db\nConnPoolQuery q main \"$text\" $options\n"
            . "ConnPoolParam q t\n");
        isnt($status, 0, "$options is refused");
        like($said, qr/ConnPoolQuery/, '... by the directive');
        like($said, $pattern, '... and told why');
    }
    my ($status, $said) = $server->configtest("$db\nConnPoolQuery q main \"$insert RETURNING id AS x\""
        . ' write=on created="/a/{x}/{:t}/{changes}?a=%20&b=(1)#c"' . "\nConnPoolParam q t\n");
    is($status, 0, 'all that may stand in it') or diag $said;
};

$server->done;
done_testing();
