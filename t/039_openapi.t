#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# connpool-openapi: what a server serves, told from its configuration, and as
# public validators want it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(build_dir command free_port);
use JSON::PP ();
use Test::More;

my $definitions = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolUpstream up http://127.0.0.1:9/ methods=GET,POST
ConnPoolQuery events main "SELECT :month AS m, :n AS n, :b AS b, :d AS d, :x AS x, :t AS t" max-rows=50
ConnPoolParam events month text required match=^[0-9]{4}-[0-9]{2}$ maxlen=7
ConnPoolParam events n integer min=1 max=9 default=3
ConnPoolParam events b boolean default=true
ConnPoolParam events d date min=2020-01-01 max=2030-01-01
ConnPoolParam events x blob default=AAEC maxlen=3
ConnPoolParam events t real min=-0.5
ConnPoolQuery list main "SELECT a FROM t" format=csv
ConnPoolQuery one main "SELECT a FROM t" format=object methods=GET,POST
ConnPoolQuery add main "INSERT INTO t VALUES(:a, :b)" write=on methods=POST,PUT,DELETE
ConnPoolParam add a integer required
ConnPoolParam add b text
ConnPoolQuery back main "INSERT INTO t VALUES(1, 2) RETURNING a" write=on
ConnPoolQuery photo main "SELECT a FROM t" format=raw type=image/png
ConnPoolQuery file main "SELECT a, b FROM t" format=raw type=column
ConnPoolQuery tree main "SELECT a FROM t" format=json
ConnPoolQuery docs main "SELECT a FROM t" json=a
ConnPoolQuery made main "INSERT INTO t VALUES(1, 2)" write=on methods=PATCH created=/t/{last_insert_rowid} none=404
ConnPoolQuery note main "SELECT a FROM t WHERE a = :id AND b = :kind AND a = :who AND a = :q" methods=GET,POST
ConnPoolParam note id integer path=2 max=9
ConnPoolParam note kind path=1
ConnPoolParam note who required from="%{REMOTE_USER}"
ConnPoolParam note q json default=[1]
ConnPoolQuery pages main "SELECT a FROM t" page=a max-rows=40
ConnPoolDescription * "What the \"calendar\" offers." title="Calendar" version=2.1
ConnPoolDescription events "All events of a month: a=b." title="Events of a month"
ConnPoolDescription events month "The month, as 2026-11 (x=y)"
ConnPoolDescription up "Another server."
ConnPoolDescription pages limit "So many on a page."
ConnPoolDescription pages after "Where the page begins."
CONF

my $places = <<'CONF';
DocumentRoot "@DIR@/htdocs"
<Location "/photo">
SetHandler connpool-query
ConnPoolServe photo
</Location>
<Location "/file">
SetHandler connpool-query
ConnPoolServe file
</Location>
<Location "/tree">
SetHandler connpool-query
ConnPoolServe tree
</Location>
<Location "/docs">
SetHandler connpool-query
ConnPoolServe docs
</Location>
<Location "/made">
SetHandler connpool-query
ConnPoolServe made
</Location>
<Location "/events">
SetHandler connpool-query
ConnPoolServe events
</Location>
<Location "/notes">
SetHandler connpool-query
ConnPoolServe note
</Location>
<Location "/pages">
SetHandler connpool-query
ConnPoolServe pages
</Location>
<Location "/deep/list">
SetHandler connpool-query
ConnPoolServe list
</Location>
<Location "/a b{c}">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/group/">
SetHandler connpool-query
</Location>
<Location "/group/add">
ConnPoolServe add
</Location>
<Location "/again">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Directory "@DIR@/htdocs/dir">
SetHandler connpool-query
ConnPoolServe back
</Directory>
<LocationMatch "^/pattern">
SetHandler connpool-query
ConnPoolServe list
</LocationMatch>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
ConnPoolRateLimit 100/s
</Location>
<Location "/all">
SetHandler connpool-batch
ConnPoolServe events list up
</Location>
<Location "/writes">
SetHandler connpool-batch
ConnPoolServe events add
ConnPoolBatchAtomic On
</Location>
<Location "/openapi.json">
SetHandler connpool-openapi
</Location>
CONF

my $port   = free_port();
my $server = ConnPoolTest->new(vars => {OTHER => $port}, conf => "$definitions$places" . <<'CONF');
Listen 127.0.0.1:@OTHER@
<VirtualHost 127.0.0.1:@OTHER@>
ConnPoolQuery mine main "SELECT 1 AS one"
ConnPoolDescription * "The other host."
<Location "/mine">
SetHandler connpool-query
ConnPoolServe mine
</Location>
<Location "/events">
SetHandler connpool-query
ConnPoolServe mine
</Location>
</VirtualHost>
CONF
mkdir "$server->{dir}/htdocs/dir";
$server->make_sqlite('main', 'CREATE TABLE t(a, b)');
$server->start;

my $answer = $server->get('/openapi.json');
my $other  = $server->get("http://127.0.0.1:$port/openapi.json");
my $doc    = JSON::PP->new->decode($answer->{content});
my $paths  = $doc->{paths};

# The schema of a parameter in the URL, or of one in a JSON body.
sub in_url {
    my ($path, $name) = @_;
    my ($param) = grep { $_->{name} eq $name } @{$paths->{$path}{get}{parameters}};
    return $param;
}

sub in_body {
    my ($path, $method) = @_;
    return $paths->{$path}{$method}{requestBody}{content}{'application/json'}{schema};
}

subtest 'the document' => sub {
    is($answer->{status},                200,                    'answered');
    is($answer->{headers}{'content-type'}, 'application/json',   'as JSON');
    is($doc->{openapi},                  '3.1.0',                'OpenAPI 3.1');
    is_deeply($doc->{info},
        {title => 'Calendar', version => '2.1', description => 'What the "calendar" offers.'},
        'title, version and text');
    is_deeply(
        [sort keys %$paths],
        [sort qw(/events /deep/list /a%20b%7bc%7d /group/add /again /dir /up /all /writes
                /notes/{kind}/{id} /pages /photo /file /tree /docs /made)],
        'each place whose URL is known'
    );
    my $tag  = $answer->{headers}{etag};
    my $same = $server->get('/openapi.json', headers => {'If-None-Match' => $tag});
    is($same->{status},                                304, 'has a tag');
    is($server->post('/openapi.json')->{status},       405, 'and is only read');
    unlike($answer->{content}, qr/SELECT|INSERT|sqlite|127\.0\.0\.1|\Q$server->{dir}\E/,
        'no SQL, no path, no address');
};

subtest 'parameters' => sub {
    is_deeply(
        in_url('/events', 'month'),
        {   name        => 'month',
            in          => 'query',
            required    => JSON::PP::true,
            description => 'The month, as 2026-11 (x=y)',
            schema      => {type => 'string', maxLength => 7, pattern => '^[0-9]{4}-[0-9]{2}$'},
        },
        'text'
    );
    is_deeply(in_url('/events', 'n')->{schema},
        {type => 'integer', format => 'int64', minimum => 1, maximum => 9, default => 3}, 'integer');
    is_deeply(in_url('/events', 'b')->{schema}, {type => 'boolean', default => JSON::PP::true},
        'boolean');
    is_deeply(in_url('/events', 't')->{schema},
        {type => 'number', format => 'double', minimum => -0.5}, 'real');
    is_deeply(in_url('/events', 'x')->{schema},
        {type => 'string', contentEncoding => 'base64', maxLength => 4, default => 'AAEC'}, 'blob');
    my $date = in_url('/events', 'd')->{schema};
    is_deeply([map { $_->{format} } @{$date->{anyOf}}], ['date', 'date-time'], 'date');
    is_deeply([@$date{qw(formatMinimum formatMaximum)}], ['2020-01-01', '2030-01-01'], 'its bounds');
    my $body = in_body('/group/add', 'post');
    is_deeply($body->{required}, ['a'], 'required in a body');
    is_deeply($body->{properties}{b}{type}, ['string', 'null'], 'null, where it may be left out');
    is($paths->{'/group/add'}{delete}{parameters}[0]{in}, 'query', 'DELETE has no body');
};

subtest 'what the request itself tells' => sub {
    my $url = '/notes/{kind}/{id}';
    is_deeply([map { "$_->{in} $_->{name}" } @{$paths->{$url}{get}{parameters}}],
        ['path id', 'path kind', 'query q'], 'segments, and no facts');
    is_deeply(in_url($url, 'id'), {name => 'id', in => 'path', required => JSON::PP::true,
        schema => {type => 'integer', format => 'int64', maximum => 9}}, 'a segment');
    is_deeply([map { "$_->{in} $_->{name}" } @{$paths->{$url}{post}{parameters}}],
        ['path id', 'path kind'], '... beside a body');
    is_deeply(in_body($url, 'post')->{properties},
        {q => {type => ['array', 'object', 'null'], default => [1]}}, 'nested JSON');
    is_deeply(in_url($url, 'q')->{schema},
        {type => 'string', contentMediaType => 'application/json', maxLength => 65536, default => '[1]'},
        '... as text');
    ok($paths->{$url}{get}{responses}{403}, 'a fact may be missing');
};

subtest 'pages' => sub {
    is_deeply(in_url('/pages', 'limit')->{schema},
        {type => 'integer', format => 'int64', minimum => 1, maximum => 40, default => 40}, 'limit');
    is(in_url('/pages', 'after')->{schema}{type}, 'string', 'after');
    is(in_url('/pages', 'limit')->{description}, 'So many on a page.', 'described');
    is(in_url('/pages', 'after')->{description}, 'Where the page begins.', 'likewise');
    ok($paths->{'/pages'}{get}{responses}{200}{headers}{Link}, 'a link');
    ok(!$paths->{'/events'}{get}{responses}{200}{headers}{Link}, '... of these only');
};

subtest 'answers' => sub {
    my $ok = $paths->{'/events'}{get}{responses}{200}{content}{'application/json'}{schema};
    is($ok->{maxItems}, 50, 'as many as max-rows');
    ok($paths->{'/deep/list'}{get}{responses}{200}{content}{'text/csv; charset=utf-8'}, 'CSV');
    my $written = '#/components/schemas/Written';
    my $of      = sub {
        my ($path) = @_;
        return $paths->{$path}{post}{responses}{200}{content}{'application/json'}{schema}{'$ref'};
    };
    is($of->('/again'), $written, 'a write counts');
    isnt($of->('/dir') // '', $written, 'RETURNING gives rows');
    ok($paths->{'/again'}{post}{responses}{409}, 'a constraint may not hold');
    ok(!$paths->{'/events'}{get}{responses}{409}, 'of a write only');
    ok($paths->{'/up'}{get}{responses}{429}, 'a limited rate');
    ok(!$paths->{'/events'}{get}{responses}{429}, 'where there is one');
    is_deeply([sort keys %{$paths->{'/up'}}], ['get', 'post'], 'what an upstream may be asked with');
    my %ids;
    $ids{$_->{operationId}}++ for map { values %$_ } values %$paths;
    is_deeply([grep { $ids{$_} > 1 } sort keys %ids], [], 'each operation has its own name');
    is($paths->{'/events'}{get}{summary}, 'Events of a month', 'a title');
};

subtest 'bodies and writes' => sub {
    my $photo = $paths->{'/photo'}{get}{responses};
    is_deeply($photo->{200}{content}, {'image/png' => {schema => {}}}, 'a body of its type');
    ok($photo->{206} && $photo->{416}, 'and its ranges');
    ok($paths->{'/file'}{get}{responses}{200}{content}{'*/*'}, 'of any type');
    is_deeply($paths->{'/tree'}{get}{responses}{200}{content}{'application/json'}{schema}, {},
        'any JSON');
    is_deeply(
        $paths->{'/docs'}{get}{responses}{200}{content}{'application/json'}{schema}{items}
            {additionalProperties}, {}, 'any JSON in a column');
    my $made = $paths->{'/made'}{patch}{responses};
    ok($made->{201}{headers}{Location}, '201 with Location');
    ok($made->{404} && $made->{412} && $made->{200}, 'and what else there may be');
};

subtest 'batches' => sub {
    is_deeply([sort keys %{$paths->{'/all'}}], ['get', 'post'], 'both ways');
    is_deeply([sort keys %{$paths->{'/writes'}}], ['post'], 'GET is for reads');
    my $items = in_body('/writes', 'post')->{items}{oneOf};
    is_deeply([map { $_->{properties}{name}{const} } @$items], ['events', 'add'], 'their names');
    is_deeply($items->[1]{required}, ['name', 'params'], 'and what they need');
    ok(in_url('/all', 'month'), 'parameters are shared');
    like($paths->{'/writes'}{post}{responses}{200}{description}, qr/424/, 'one transaction');
};

subtest 'a virtual host' => sub {
    my $doc = JSON::PP->new->decode($other->{content});
    ok($doc->{paths}{'/mine'},    'has its own');
    ok($doc->{paths}{'/deep/list'}, 'and those of the main server');
    like($doc->{paths}{'/events'}{get}{operationId}, qr{^get_mine}, 'or instead of them');
    is($doc->{info}{description}, 'The other host.', 'describes itself');
    ok(!$paths->{'/mine'}, 'for itself alone');
};

subtest 'a public validator' => sub {
    my $validate = build_dir() . '/tools/node_modules/.bin/validate-api';
    plan skip_all => 'no openapi-schema-validator: npm was missing when make deps ran'
        if !-x $validate;
    for my $named (['main', $answer], ['other', $other]) {
        my ($name, $found) = @$named;
        my $file = "$server->{dir}/$name.json";
        open(my $out, '>', $file) or die;
        print {$out} $found->{content};
        close $out;
        my ($status, $text) = command($validate, $file);
        like($text, qr/"valid": true/, "$name is valid") or diag($text);
        is($status, 0, 'says the exit status');
    }
};

subtest 'DUMP_CONNPOOL_OPENAPI' => sub {
    my $file = $server->_write_conf('dump.conf', $server->conf);
    my ($status, $text) = command('sh', '-c', 'exec "$@" 2>/dev/null', 'sh', $server->httpd,
        '-t', '-d', $server->{dir}, '-f', $file, '-D', 'DUMP_CONNPOOL_OPENAPI');
    is($status, 0, 'at configtest');
    my $reader = JSON::PP->new;
    $reader->incr_parse($text);
    my @documents;
    while (my $document = $reader->incr_parse) {
        push @documents, $document;
    }
    is(scalar @documents, 2, 'one each for those that serve something of their own');
    is_deeply($documents[0], $doc, 'the same');
    is_deeply($documents[1], JSON::PP->new->decode($other->{content}), 'of each');
};

$server->done;

subtest 'configtest' => sub {
    my %bad = (
        'nobody "text"'             => qr/ConnPoolDescription nobody: no such query or upstream/,
        'events nothing "text"'     => qr/ConnPoolDescription events: nothing: no parameter nothing/,
        'events limit "text"'       => qr/ConnPoolDescription events: limit: no parameter limit/,
        'up month "text"'           => qr/ConnPoolDescription up: month: no parameter month/,
        'events'                    => qr/ConnPoolDescription: too few words/,
        'events "a" title="b" x=1'  => qr/ConnPoolDescription events: unknown key 'x'/,
        'events "a" version=1'      => qr/ConnPoolDescription events: version= is for \*/,
        '* month "text"'            => qr/ConnPoolDescription \*: month: the server itself/,
        'events "again"'            => qr/ConnPoolDescription events: described twice/,
    );
    for my $line (sort keys %bad) {
        my $broken = ConnPoolTest->new(conf => "${definitions}ConnPoolDescription $line\n");
        my ($status, $text) = $broken->configtest;
        isnt($status, 0, "$line is refused");
        like($text, $bad{$line}, 'with the reason');
    }
};

done_testing;
