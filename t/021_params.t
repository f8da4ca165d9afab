#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Parameters: each type from query string, form and JSON; what is refused, in
# which words; and that no byte of a request ever becomes SQL.
use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(parse_response);
use JSON::PP     ();
use Test::More;

my @TYPES = qw(integer real text boolean date blob);

# Each answers with the value and the type that SQLite saw.
my %PARAMS = (
    (map { $_ => "v $_" } @TYPES),
    bounded   => 'v integer min=-5 max=10',
    bounded_r => 'v real min=0.5 max=1.5',
    bounded_d => 'v date min=2024-01-01 max=2024-12-31',
    short     => 'v text maxlen=5',
    short_b   => 'v blob maxlen=3',
    matched   => 'v text match=^[a-z]+$',
    defaults  => 'v integer default=7',
    required  => 'v text required',
);

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery two main "SELECT :a AS a, :b AS b" methods=GET,POST
ConnPoolParam two a integer required
ConnPoolParam two b integer required
ConnPoolQuery find main "SELECT name FROM item WHERE name = :v" methods=GET,POST
ConnPoolParam find v text required
<Location "/two">
SetHandler connpool-query
ConnPoolServe two
</Location>
<Location "/find">
SetHandler connpool-query
ConnPoolServe find
</Location>
CONF
for my $name (sort keys %PARAMS) {
    $conf .= "ConnPoolQuery $name main \"SELECT :v AS v, typeof(:v) AS t\""
        . " methods=GET,POST format=object\nConnPoolParam $name $PARAMS{$name}\n"
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

my $server = ConnPoolTest->new(conf => $conf);
$server->make_sqlite('main', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO item(name) VALUES ('one'), ('two'), ('three');
SQL
$server->allow_log(qr/SQLite \d+\.\d|AH10159|AH00287/);
$server->start;

my $JSON = JSON::PP->new->utf8->allow_nonref;

sub escape {
    my ($bytes) = @_;
    utf8::encode($bytes) if utf8::is_utf8($bytes);
    $bytes =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
    return $bytes;
}

sub send_json {
    my ($path, $body, $type) = @_;
    utf8::encode($body) if utf8::is_utf8($body);
    return $server->request('POST', $path, content => $body,
        headers => {'content-type' => $type // 'application/json'});
}

sub send_form {
    my ($path, $body) = @_;
    return send_json($path, $body, 'application/x-www-form-urlencoded');
}

# The value as text, by query string and by form: two answers.
sub by_text {
    my ($name, $value) = @_;
    my $pair = 'v=' . escape($value);
    return ($server->get("/$name?$pair", keep_alive => 1),
        send_form("/$name", $pair));
}

# A 400 that names the parameter and the reason, and nothing more.
sub is_refused {
    my ($answer, $reason, $what, $param) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $problem = eval { $JSON->decode($answer->{content}) } // {};
    my $errors  = $problem->{errors};
    my $is_good = $answer->{status} == 400
        && $answer->{headers}{'content-type'} eq 'application/problem+json'
        && ref $errors eq 'ARRAY' && @$errors == 1
        && $errors->[0]{param} eq ($param // 'v')
        && $errors->[0]{reason} =~ $reason;
    return ok($is_good, $what)
        || diag("$answer->{status} $answer->{content}");
}

# Refused as a whole: no parameter can be blamed.
sub is_unreadable {
    my ($answer, $status, $detail, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $problem = eval { $JSON->decode($answer->{content}) } // {};
    my $is_good = $answer->{status} == $status
        && $answer->{headers}{'content-type'} eq 'application/problem+json'
        && ($problem->{detail} // '') =~ $detail;
    return ok($is_good, $what)
        || diag("$answer->{status} $answer->{content}");
}

sub is_taken {
    my ($answer, $content, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    utf8::encode($content) if utf8::is_utf8($content);
    my $is_good = $answer->{status} == 200 && $answer->{content} eq $content;
    return ok($is_good, $what)
        || diag("$answer->{status} $answer->{content}, wanted $content");
}

sub printable {
    my ($text) = @_;
    $text =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
    return length $text > 40 ? substr($text, 0, 40) . '...' : $text;
}

# ---------------------------------------------------------------------------

# text that came => what is expected of the type, if it takes it.
my %GOOD = (
    integer => {
        (map { $_ => $_ } 0, -1, 1, 42, 1234, 2024, 4294967296,
            9007199254740993),
        '007' => 7, '-0' => 0,
        '9223372036854775807'  => '9223372036854775807',
        '-9223372036854775808' => '-9223372036854775808',
    },
    real => {
        '0' => '0.0', '1.5' => '1.5', '-2.25' => '-2.25', '1e3' => '1000.0',
        '1E-2' => '0.01', '42' => '42.0', '007' => '7.0', '-1' => '-1.0',
        '9007199254740993' => '9007199254740992.0', '-0' => '-0.0',
        '2.5e-1' => '0.25', '9223372036854775807' => undef,
        '-9223372036854775808' => undef, '9223372036854775808' => undef,
        '4294967296' => '4294967296.0', '1.0' => '1.0', '1' => '1.0',
        '9' x 100 => undef, '2024' => '2024.0', '1234' => '1234.0',
        '-9223372036854775809' => undef,
    },
    boolean => {'true' => 1, 'false' => 0, '1' => 1, '0' => 0, 'on' => 1,
        'off' => 0},
    date => {map { $_ => qq("$_") } '2024-02-29', '1999-12-31',
        '2024-01-01T00:00:00Z', '2024-01-01 23:59', '0000-01-01',
        '2024-06-01T12:30:15.123456+02:00', '9999-12-31T23:59:59Z'},
    blob => {
        '' => '{"$base64":""}', 'AAE=' => '{"$base64":"AAE="}',
        'true' => '{"$base64":"true"}', 'TRUE' => '{"$base64":"TRUE"}',
        '2024' => '{"$base64":"2024"}',
        '////' => '{"$base64":"////"}', 'null' => '{"$base64":"null"}',
        map { $_ => qq({"\$base64":"$_"}) } '1234', 'True', 'NULL', '0x10',
        'Infinity', '9007199254740993', '9' x 100,
    },
);
my %SQL_TYPE = (integer => 'integer', real => 'real', text => 'text',
    boolean => 'integer', date => 'text', blob => 'blob');
my %REASON = (
    integer => qr/^is not an integer(?: of 64 bits)?$/,
    real    => qr/^is (?:not a|too large a) number$/,
    boolean => qr/^is not one of true, false, 1, 0, on, off$/,
    date    => qr/^is not a date \(YYYY-MM-DD or RFC 3339\)$/,
    blob    => qr/^is not standard base64$/,
);

# Tried on every type; %GOOD says which type takes which.
my @VALUES = (
    (map { keys %$_ } values %GOOD),
    ' ', ' 1', '1 ', "1\n", '+1', '--1', '-', '1.', '.5', '1.5.2', '1e',
    '1e+', 'e3', '0x10', '0b1', '0o7', '1_000', '1,000', '1e400', '-1e400',
    '9223372036854775808', '-9223372036854775809', '9' x 100, '4294967296',
    'NaN', 'nan', 'Infinity', 'inf', '-inf', '٣', '1', '½', 'TRUE', 'True',
    'yes', 'on', 'null', 'NULL', 'undefined', '[]', '{}', '[1]', '"1"', q{'1'},
    "1'--", '1;2', '1 OR 1=1', '2023-02-29', '2024-13-01', '2024-00-10',
    '2024-01-32', '2024-1-1', '24-01-01', '2024-01-01T24:00:00Z',
    '2024-01-01T12:60', '2024-01-01T12', '2024-01-01Z', '2024-01-01T12:00+15:00',
    '2024-01-01x', 'AAE', 'AAE=x', 'A===', 'AAF=', 'AA-_', 'AA E=', '====',
    '1.0', '2024',
);

subtest 'every value for every type, as text' => sub {
    my %seen;
    my @values = grep { !$seen{$_}++ } @VALUES;
    cmp_ok(scalar @values, '>=', 90, scalar(@values) . ' values');
    for my $type (@TYPES) {
        for my $value (@values) {
            next if $value eq '' && $type ne 'text' && $type ne 'blob';
            my $what = "$type '" . printable($value) . "'";
            my ($query, $form) = by_text($type, $value);
            my $is_good = $type eq 'text' || exists $GOOD{$type}{$value};
            if (!$is_good) {
                is_refused($query, $REASON{$type}, "$what in the query string");
                is_refused($form,  $REASON{$type}, "$what in a form");
                next;
            }
            my $shown = $type eq 'text'
                ? $JSON->encode("$value") : $GOOD{$type}{$value};
            if (!defined $shown) {
                is($query->{status}, 200, $what);
                my ($number) = $query->{content} =~ /"v":([^,]+),/;
                cmp_ok(abs($number / $value - 1), '<', 1e-15, '... as a number');
                next;
            }
            utf8::decode($shown) if $type eq 'text';
            # The answer escapes more than JSON must.
            $shown =~ s/([<>])/sprintf '\\u%04x', ord $1/ge;
            my $object = qq({"v":$shown,"t":"$SQL_TYPE{$type}"});
            is_taken($query, $object, $what);
            is_taken($form,  $object, '... in a form');
        }
    }
};

subtest 'JSON values' => sub {
    my %good = (
        integer => ['0', '-1', '9223372036854775807', '-9223372036854775808'],
        real    => ['0', '1.5', '-1e3', '1', '1e-400'],
        text    => ['""', '"a"', '"\u00e4"', '"\ud83d\ude00"', '"[1]"'],
        boolean => ['true', 'false'],
        date    => ['"2024-02-29"'],
        blob    => ['"AAE="', '{"$base64":"AAE="}', '{"$base64":""}', '""'],
    );
    my %refused = (
        integer => ['"1"', '1.0', '1.5', '1e3', 'true', '[]', '{}', '[1]',
            '{"$base64":"AAE="}', '""'],
        real    => ['"1"', 'true', '[]', '{}', '"NaN"'],
        text    => ['1', '1.5', 'true', 'false', '[]', '{}', '["a"]',
            '{"$base64":"AAE="}'],
        boolean => ['0', '1', '"true"', '"1"', '[]', '{}', '1.0'],
        date    => ['1', '"2023-02-29"', 'true', '[]', '20240229'],
        blob    => ['1', '"AAE"', 'true', '[]', '{}', '{"$base64":1}',
            '{"$base64":"*"}', '{"base64":"AAE="}'],
    );
    for my $type (@TYPES) {
        is(send_json("/$type", qq({"v":$_}))->{status}, 200, "$type $_")
            for @{$good{$type}};
        is_taken(send_json("/$type", '{"v":null}'), '{"v":null,"t":"null"}',
            "$type null");
        is_refused(send_json("/$type", qq({"v":$_})), qr/^is (?:a JSON|not )/,
            "$type not $_")
            for @{$refused{$type}};
    }
    is_taken(send_json('/integer', '{"v":9223372036854775807}'),
        '{"v":9223372036854775807,"t":"integer"}', 'an exact integer');
    is_taken(send_json('/boolean', '{"v":true}'), '{"v":1,"t":"integer"}', 'true');
    is_taken(send_json('/blob', '{"v":{"$base64":"AP8="}}'),
        '{"v":{"$base64":"AP8="},"t":"blob"}', 'a blob as it goes out');
    is_refused(send_json('/required', '{"v":null}'), qr/required/,
        'null is no value');
    is_refused(send_json('/matched', '{"v":"A"}'), qr/form that is asked for/,
        'the pattern counts');
    is_refused(send_json('/text', '{"v":"a\u0000b"}'), qr/NUL byte/, 'NUL');
};

subtest 'bounds, patterns, defaults' => sub {
    my @cases = (
        ['bounded',   '-5',  200], ['bounded', '10', 200],
        ['bounded',   '-6',  qr/^is less than -5$/],
        ['bounded',   '11',  qr/^is greater than 10$/],
        ['bounded_r', '0.5', 200], ['bounded_r', '1.5', 200],
        ['bounded_r', '0.49', qr/^is less than 0\.5$/],
        ['bounded_r', '2',    qr/^is greater than 1\.5$/],
        ['bounded_d', '2024-01-01', 200], ['bounded_d', '2024-12-31T23:59Z', 200],
        ['bounded_d', '2023-12-31', qr/^is before 2024-01-01$/],
        ['bounded_d', '2025-01-01', qr/^is after 2024-12-31$/],
        ['short',     'abcde',  200],
        ['short',     'abcdef', qr/^is longer than 5 bytes$/],
        ['short',     'ääa',    200],
        ['short',     'äää',    qr/^is longer than 5 bytes$/],
        ['short_b',   'AAAA',     200],
        ['short_b',   'AAAAAA==', qr/^is longer than 3 bytes$/],
        ['matched',   'abc',      200],
        ['matched',   'abc1',     qr/^does not have the form that is asked for$/],
        ['matched',   '',         qr/^does not have the form/],
        ['matched',   "abc\n",    qr/^does not have the form/],
        ['text',      'x' x 65_536, 200],
    );
    for my $case (@cases) {
        my ($name, $value, $expected) = @$case;
        my $what = "$name " . printable($value);
        for my $answer ($name eq 'text' ? (by_text($name, $value))[1]
            : by_text($name, $value))
        {
            if (ref $expected) {
                is_refused($answer, $expected, $what);
            }
            else {
                is($answer->{status}, $expected, $what);
            }
        }
    }
    is_refused(send_form('/text', 'v=' . 'x' x 65_537),
        qr/^is longer than 65536 bytes$/, 'text longer than the default');
    is_refused(send_json('/bounded', '{"v":11}'), qr/^is greater than 10$/,
        'bounds hold for JSON');
    is_taken($server->get('/defaults'), '{"v":7,"t":"integer"}', 'the default');
    is_taken($server->get('/defaults?v=8'), '{"v":8,"t":"integer"}', 'not needed');
    is_taken($server->get('/defaults?v='), '{"v":7,"t":"integer"}',
        'left empty: the default');
    is_taken($server->get('/integer'), '{"v":null,"t":"null"}', 'absent: NULL');
    is_taken(send_json('/defaults', '{}'), '{"v":7,"t":"integer"}', 'in JSON');
    is_taken(send_json('/defaults', '{"v":null}'), '{"v":null,"t":"null"}',
        'null is not absent');
};

subtest 'missing, repeated, unknown' => sub {
    is_refused($server->get('/required'), qr/^is required$/, 'missing');
    is_refused(send_form('/required', ''), qr/^is required$/, 'an empty form');
    is_refused(send_json('/required', '{}'), qr/^is required$/, 'empty JSON');
    is_refused($server->get('/text?v=1&v=1'), qr/^is given more than once$/,
        'twice');
    is_refused(send_form('/text', 'v=1&v=2'), qr/^is given more than once$/,
        'twice in a form');
    is_refused(send_form('/text?v=1', 'v=1'), qr/^is given more than once$/,
        'in the query string and in a form');
    is_refused(send_json('/text?v=1', '{"v":"1"}'),
        qr/^is given more than once$/, 'in the query string and in JSON');
    is_refused($server->get('/text?w=1'), qr/^is not a parameter here$/,
        'unknown', 'w');
    is_refused(send_json('/text', '{"w":1}'), qr/^is not a parameter here$/,
        'unknown in JSON', 'w');
    is_refused($server->get('/text?V=1'), qr/^is not a parameter here$/,
        'case counts', 'V');
    is_refused($server->get('/text?v[]=1'), qr/^is not a parameter here$/,
        'no arrays', 'v[]');
    is_refused($server->get('/text?' . 'x' x 500), qr/^is not a parameter here$/,
        'a long name is cut', 'x' x 64);
    is_refused($server->get('/text?%3Cscript%3E=1'), qr/not a parameter/,
        'markup', '<script>');
    unlike($server->get('/text?%3Cscript%3E=1')->{content}, qr/<script/,
        '... is escaped');
    is_refused($server->get('/text?%ff=1'), qr/not a parameter/,
        'a name that is no text', '?');
    my $both = $JSON->decode($server->get('/two?a=x&c=1')->{content});
    is_deeply([sort map { $_->{param} } @{$both->{errors}}], [qw(a b c)],
        'all errors are told at once');
    is($server->get('/two?b=2&a=1')->{content}, '[{"a":1,"b":2}]', 'any order');
    is($server->get('/two?a=1&&b=2&')->{content}, '[{"a":1,"b":2}]',
        'empty pairs do not count');
    is(send_form('/two?a=1', 'b=2')->{content}, '[{"a":1,"b":2}]', 'both places');
    is_taken($server->get('/integer?v'), '{"v":null,"t":"null"}', 'without =');
    is_taken($server->get('/text?v=a=b'), '{"v":"a=b","t":"text"}', 'a second =');
    is_taken($server->get('/text?v=a+b%20c'), '{"v":"a b c","t":"text"}',
        'plus is a blank');
};

subtest 'bytes' => sub {
    my $get = sub { $server->get("/text?v=$_[0]") };
    is_refused($get->($_), qr/not valid URL encoding|NUL byte/, "escape $_")
        for '%', '%4', '%zz', 'a%0', '%00', 'a%00b', '%u0041';
    is_refused($get->($_), qr/^is not valid UTF-8$/, "UTF-8 $_")
        for '%ff', '%c3', '%c0%80', '%ed%a0%80', '%f4%90%80%80', 'a%80';
    is_taken($get->('%c3%a4'), '{"v":"ä","t":"text"}', 'good UTF-8');
    is_taken($get->('%0d%0aX-Injected:%201'),
        '{"v":"\r\nX-Injected: 1","t":"text"}', 'a line end is text');
    is_refused(send_form('/text', 'v=%00'), qr/NUL/, 'NUL escaped in a form');
    is_unreadable(send_form('/text', "v=a\0b"), 400, qr/NUL/, 'NUL in a form');
    is_refused(send_form('/text', "v=\xff"), qr/^is not valid UTF-8$/,
        'a raw byte in a form');
    my $raw = parse_response($server->raw(
        "GET /text?v=\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    is($raw->{status}, 400, 'a raw byte in the query string');
};

subtest 'JSON bodies' => sub {
    my %bad = (
        'nothing'          => '',
        'no JSON'          => '{v:1}',
        'half'             => '{"v":1',
        'two'              => '{"v":1}{"v":2}',
        'a comma'          => '{"v":1,}',
        'a key twice'      => '{"v":1,"v":2}',
        'single quotes'    => "{'v':1}",
        'a bad number'     => '{"v":01}',
        'NaN'              => '{"v":NaN}',
        'a big integer'    => '{"v":' . '9' x 30 . '}',
        'a big number'     => '{"v":1e999}',
        'a megabyte of 9'  => '{"v":' . '9' x 1_000_000 . '}',
        'invalid UTF-8'    => qq({"v":"\xff"}),
        'a lone surrogate' => '{"v":"\ud800"}',
        'a raw NUL'        => "{\"v\":\"\0\"}",
        'a NUL behind it'  => "{\"v\":1}\0",
        'NUL in a key'     => '{"v\u0000":1}',
        'deep arrays'      => '{"v":' . '[' x 100_000,
        'deep objects'     => '{"v":' x 100_000,
        'deep and whole'   => '{"v":' . '[' x 5000 . ']' x 5000 . '}',
        'a byte order mark' => "\xef\xbb\xbf{\"v\":1}",
    );
    for my $what (sort keys %bad) {
        next if $what eq 'nothing';
        is_unreadable(send_json('/integer', $bad{$what}), 400,
            qr/^The JSON body cannot be read: /, $what);
    }
    for my $body ('[]', '[{"v":1}]', '"v"', '1', 'null', 'true') {
        is_unreadable(send_json('/integer', $body), 400,
            qr/^The JSON body (?:is not an object|cannot be read)/, "only $body");
    }
    is_refused(send_json('/text', '{"v":"a\u0000b"}'), qr/^contains a NUL byte$/,
        'NUL in text');
    my $wide = '{' . join(',', map { "\"k$_\":1" } 1 .. 20_000) . '}';
    is(send_json('/integer', $wide)->{status}, 400, 'twenty thousand keys');
    cmp_ok(length send_json('/integer', $wide)->{content}, '<', 20_000,
        '... are not all told of');
    is(send_json('/integer', '{"v":[[[[1]]]]}')->{status}, 400, 'arrays');
    is_taken(send_json('/integer', " \r\n{ \"v\" : 1 }\n"),
        '{"v":1,"t":"integer"}', 'white space');
    is_taken(send_json('/integer', '{"v":1}', 'Application/JSON; charset=utf-8'),
        '{"v":1,"t":"integer"}', 'the type in any case, with a charset');
};

subtest 'sizes and types' => sub {
    my $large = 'v=' . 'x' x (1024 * 1024);
    is_unreadable(send_form('/text', $large), 413, qr/larger than 1M/, 'a form');
    is_unreadable(send_json('/text', "{\"v\":\"$large\"}"), 413,
        qr/larger than 1M/, 'JSON');
    my $chunk = sprintf "%x\r\n%s\r\n", length $large, $large;
    my $raw   = parse_response($server->raw(
        "POST /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            . "Content-Type: application/x-www-form-urlencoded\r\n"
            . "Transfer-Encoding: chunked\r\n\r\n$chunk$chunk" . "0\r\n\r\n"));
    is($raw->{status}, 413, 'chunks');
    my $small = parse_response($server->raw(
        "POST /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            . "Content-Type: application/x-www-form-urlencoded\r\n"
            . "Transfer-Encoding: chunked\r\n\r\n3\r\nv=a\r\n1\r\nb\r\n0\r\n\r\n"));
    is($small->{content}, '{"v":"ab","t":"text"}', 'small chunks');
    is_unreadable(send_json('/text', 'v=1', $_), 415, qr/^Send application/, $_)
        for 'text/plain', 'multipart/form-data; boundary=x', 'application/jsonx',
        'application/xml';
    my $untyped = parse_response($server->raw(
        "POST /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            . "Content-Length: 3\r\n\r\nv=1"));
    is($untyped->{status}, 415, 'without a type');
    for my $type ('application/json', 'application/x-www-form-urlencoded') {
        my $coded = sub {
            my ($coding) = @_;
            return $server->post(
                '/text',
                content => $type =~ /json/ ? '{"v":"a"}' : 'v=a',
                headers => {
                    'content-type'     => $type,
                    'content-encoding' => $coding
                }
            );
        };
        my $gzip = $coded->('gzip');
        is_unreadable($gzip, 415, qr/without Content-Encoding/, "gzip of $type");
        is($gzip->{headers}{'accept-encoding'}, 'identity', '... what is read');
        is_taken($coded->('Identity'), '{"v":"a","t":"text"}', 'identity');
    }
    # The body of a refused request is not taken for the next one.
    for my $refused (['two', 405, 'PUT'], ['text', 415, 'POST']) {
        my ($path, $status, $method) = @$refused;
        my $body = "GET /text?v=smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        my $both = $server->raw("$method /$path HTTP/1.1\r\nHost: x\r\n"
                . 'Content-Length: ' . length($body) . "\r\n\r\n$body"
                . "GET /text?v=next HTTP/1.1\r\nHost: x\r\n"
                . "Connection: close\r\n\r\n");
        like($both, qr{^HTTP/1\.1 $status .*\{"v":"next","t":"text"\}\s*$}s,
            "a body behind $status");
        unlike($both, qr/smuggled/, '... is not read as a request');
    }
    my $broken = $server->raw("POST /text HTTP/1.1\r\nHost: x\r\n"
            . "Content-Type: application/json\r\n"
            . "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n");
    like($broken, qr{^HTTP/1\.1 400 }, 'chunks that are none');
    unlike($broken, qr/"type":"about:blank"/, '... httpd says so, alone');
    is_taken($server->request('POST', '/text?v=1'), '{"v":"1","t":"text"}',
        'without a body');
    is($server->pool('main')->{busy}, 0, 'none of them holds a connection');
};

# ---------------------------------------------------------------------------

subtest 'SQL injection' => sub {
    my @payloads = (
        q{' OR '1'='1}, q{' OR 1=1 --}, q{'; DROP TABLE item; --},
        q{' UNION SELECT sql FROM sqlite_schema --}, q{one' --}, q{one'/*},
        q{" OR ""="}, q{'||'one}, q{:v}, q{?}, q{?1}, q{$v}, q{@v}, q{%},
        q{_}, q{o%}, q{\\' OR 1=1 --}, q{one;}, q{one\\}, q{1 OR 1=1},
        q{')) OR (('1'='1}, q{'; ATTACH 'x' AS y; --}, q{x'6f6e65'},
        q{char(111,110,101)}, q{'+load_extension('x')+'}, q{one"}, q{`one`},
        q{[one]}, q{-- }, q{/* */}, q{one -- }, "one\n", "one\t", 'ONE', ' one',
        'one ', "one\x{a0}", "\x{ff07}", "\x{2019} OR 1=1",
        q{'||(SELECT name FROM item LIMIT 1)||'}, q{${HOME}}, q{%s%n}, q{{{7*7}}},
        q{' AND randomblob(1000000000) --}, q{%27 OR 1=1}, q{1' ORDER BY 9--},
        q{';PRAGMA writable_schema=1;--}, q{',NULL,'}, q{null}, q{''}, q{'},
    );
    my $schema = $server->sqlite('main', 'SELECT sql FROM sqlite_schema');
    for my $payload (@payloads) {
        utf8::upgrade($payload);
        my $what = printable($payload);
        for my $answer (by_text('find', $payload),
            send_json('/find', $JSON->encode({v => $payload})))
        {
            is_taken($answer, '[]', "finds nothing: $what");
        }
        my ($echo) = by_text('text', $payload);
        is($JSON->decode($echo->{content})->{v}, $payload, '... is what it is');
    }
    cmp_ok(scalar @payloads, '>', 50, 'all payloads');
    is($server->get('/find?v=one')->{content}, '[{"name":"one"}]', 'a name');
    is($server->sqlite('main', 'SELECT sql FROM sqlite_schema'), $schema,
        'the schema is as before');
    is($server->sqlite('main', 'SELECT count(*) FROM item'), 3, 'and the rows');
};

$server->done;
done_testing;
