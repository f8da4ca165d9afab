#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Parameters of type json: arrays and objects, as JSON text in query strings and
# forms, nested in JSON bodies; checked, bounded, and bound as text.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use JSON::PP ();
use Test::More;

my $server = ConnPoolTest->new(conf => <<'CONF');
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery text main "SELECT :v AS v, typeof(:v) AS t" methods=GET,POST format=arrays
ConnPoolParam text v json
ConnPoolQuery pick main "SELECT id, name FROM item WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id" methods=GET,POST format=arrays
ConnPoolParam pick ids json required maxlen=200
ConnPoolQuery many main "INSERT INTO item(id, name) SELECT value->>'id', value->>'name' FROM json_each(:rows)" write=on
ConnPoolParam many rows json required
ConnPoolQuery default main "SELECT :v AS v" methods=GET,POST format=value
ConnPoolParam default v json default=[1,2]
ConnPoolQuery head main "SELECT :v AS v" format=value
ConnPoolParam head v json from="%{HTTP:X-Filter}"
<Location "/text">
SetHandler connpool-query
ConnPoolServe text
</Location>
<Location "/pick">
SetHandler connpool-query
ConnPoolServe pick
</Location>
<Location "/many">
SetHandler connpool-query
ConnPoolServe many
</Location>
<Location "/default">
SetHandler connpool-query
ConnPoolServe default
</Location>
<Location "/head">
SetHandler connpool-query
ConnPoolServe head
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe pick text
</Location>
CONF
$server->make_sqlite('main', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO item VALUES (1, 'one'), (2, 'two'), (3, 'three');
SQL
$server->start;

my $JSON = JSON::PP->new->utf8->allow_nonref;

sub escape {
    my ($bytes) = @_;
    $bytes =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
    return $bytes;
}

sub post {
    my ($path, $body, $type) = @_;
    return $server->request('POST', $path, content => $body,
        headers => {'content-type' => $type // 'application/json'});
}

# The three ways in; the last one nests the text itself.
sub ways {
    my ($path, $name, $text) = @_;
    my $pair = "$name=" . escape($text);
    return ($server->get("$path?$pair"),
        post($path, $pair, 'application/x-www-form-urlencoded'),
        post($path, "{\"$name\":$text}"));
}

sub refused {
    my ($answer, $reason, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($answer->{status} == 400 && $answer->{content} =~ $reason, $what)
        || diag("$answer->{status} $answer->{content}");
}

subtest 'arrays and objects' => sub {
    my $bytes = "{\"k\":[\"\xc3\xa9\",\"</b>\",\"\\\"\\\\\"],\"a\":null}";
    for my $text ('[]', '{}', '[1,2,3]', '{"a":{"b":[true,false,null]},"A":-1}', '[0.1,1.5,1e300,-0.5]',
        '[9223372036854775807,-9223372036854775808]', $bytes, '[' x 128 . ']' x 128, '[' x 128 . '1' . ']' x 128, '{"z":1,"a":2,"m":3}')
    {
        for my $answer (ways('/text', 'v', $text)) {
            my $rows = eval { $JSON->decode($answer->{content}) };
            my ($v, $t) = ref $rows ? @{$rows->[0]} : ();
            utf8::encode($v) if defined $v;
            is(($t // '') . ' ' . ($v // $answer->{content}), "text $text", substr $text, 0, 40);
        }
    }
    is($JSON->decode(($server->get('/text?v=%20%5B1%5D%0A'))->{content})->[0][0], " [1]\n",
        'text stays as it came');
    is($server->get('/text?v=')->{content}, "[[null,\"null\"]]", 'empty: NULL');
    is(post('/text', '{"v":null}')->{content}, "[[null,\"null\"]]", 'null: NULL');
};

subtest 'used by json_each' => sub {
    is($_->{content}, '[[1,"one"],[3,"three"]]', 'rows') for ways('/pick', 'ids', '[1,3]');
    is($_->{content}, '[]', 'none') for ways('/pick', 'ids', '[]');
    is($_->{content}, '[]', 'a quote is a value') for ways('/pick', 'ids', '["1) OR 1=1 --\'"]');
    is(post('/many', '{"rows":[{"id":10,"name":"a"},{"id":11,"name":"b"}]}')->{content},
        '{"changes":2,"last_insert_rowid":11}', 'many rows in one write');
    my $items = $JSON->decode(post('/batch',
        '[{"name":"pick","params":{"ids":[10]}},{"name":"text","params":{"v":7}}]')->{content});
    is($JSON->encode($items->[0]{body}), '[[10,"a"]]', 'in a batch');
    is($items->[1]{status}, 400, '... checked there, too');
};

subtest 'what is no array or object' => sub {
    my $no = qr/"param":"v","reason":"is not a JSON array or object"/;
    for my $text ('1', '"x"', 'true', '1.5', '"[1]"') {
        refused($_, $no, "a scalar: $text") for ways('/text', 'v', $text);
    }
    for my $text ('x', '[1,', '[1]]', "[1,]", '{a:1}', "['a']", '[01]', '[1] [2]', "[\"\xff\"]", '[NaN]',
        '[' x 129 . ']' x 129, '[' x 20_000, '[' x 20_000 . ']' x 20_000)
    {
        refused($server->get('/text?v=' . escape($text)), qr/is not JSON, or too deep \(128 levels\)|UTF-8/,
            substr $text, 0, 20) if length $text < 2000;
        refused(post('/text', 'v=' . escape($text), 'application/x-www-form-urlencoded'),
            qr/is not JSON|UTF-8/, '... in a form');
    }
    refused(post('/text', '{"v":' . '[' x 129 . ']' x 129 . '}'), qr/too deep/, 'nested too deep');
    refused(post('/text', '{"v":' . '[' x 2000 . ']' x 2000 . '}'), qr/too deep/, '... much too deep');
    refused(post('/text', '{"v":' . '[' x 20_000 . ']' x 20_000 . '}'), qr/cannot be read/, '... hopelessly');
    refused($_, qr/contains a NUL character/, 'NUL') for ways('/text', 'v', '["a\u0000"]');
    is($_->{status}, 200, 'a backslash before it') for ways('/text', 'v', '["a\\\\u0000"]');
    refused($_, qr/longer than 200 bytes/, 'too long') for ways('/pick', 'ids', '[' . join(',', 1 .. 100) . ']');
    refused($server->get('/pick'), qr/is required/, 'required');
    refused(post('/pick', '{"ids":null}'), qr/is required/, '... and null');
    refused(post('/text', '{"v":{"a":1,"a":2}}'), qr/duplicate/, 'a key twice');
};

subtest 'defaults and facts' => sub {
    is($server->get('/default')->{content}, '"[1,2]"', 'a default');
    is(post('/default', '{"v":{"a":1}}')->{content}, '"{\"a\":1}"', '... not needed');
    is($server->request('GET', '/head', headers => {'X-Filter' => '{"a":[1]}'})->{content},
        '"{\"a\":[1]}"', 'from a header');
    refused($server->request('GET', '/head', headers => {'X-Filter' => 'x'}), qr/is not JSON/, '... checked');
    my ($exit, $text) = $server->configtest(<<'CONF');
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery q main "SELECT :v"
ConnPoolParam q v json default=1
CONF
    ok($exit != 0 && $text =~ /ConnPoolParam q: v: the default '1' is not a JSON array or object/,
        'a default that is none') || diag($text);
};

$server->done;
done_testing;
