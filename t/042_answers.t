# SPDX-License-Identifier: Apache-2.0
# What HTTP asks of an answer: conditions, methods, headers of the upstream,
# encoded paths, and clients that come by HTTP/2 or go away.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command parse_response);
use ConnPoolUpstream;
use Test::More;

my $OLD      = 'Mon, 06 Jul 2020 10:00:00 GMT';
my $NEWER    = 'Tue, 07 Jul 2020 10:00:00 GMT';
my $OLDER    = 'Sun, 05 Jul 2020 10:00:00 GMT';
my $upstream = ConnPoolUpstream->start(
    routes => {
        '/dated' => sub {
            return [
                send => join "\r\n", 'HTTP/1.1 200 OK', 'Content-Type: text/plain',
                "Last-Modified: $OLD", 'ETag: "first"', 'ETag: "second"',
                'Vary: A', 'Vary: B', 'Cache-Control: max-age=1',
                'Cache-Control: public', 'Set-Cookie: a=b', 'X-Own: 1',
                'Content-Length: 6', '', "hello\n"
            ], ['keep'];
        },
    }
);
# The prefork MPM has too few threads for HTTP/2.
my $h2 = -x '/usr/bin/nghttp' && ($ENV{CONNPOOL_MPM} // '') ne 'prefork';
my $server = ConnPoolTest->new(
    modules => [qw(include), $h2 ? 'http2' : ()],
    load    => {cptest_module => 't/mod_cptest.so'},
    vars    => {UPSTREAM => $upstream->url('')},
    conf    => <<'CONF' . ($h2 ? "Protocols h2c http/1.1\n" : ''),
AllowEncodedSlashes On
ConnPoolDatabase one sqlite:@DIR@/db/one.db max=2
ConnPoolUpstream up @UPSTREAM@ max=4
ConnPoolQuery all one "SELECT a FROM t ORDER BY a"
ConnPoolQuery long one "SELECT a, hex(zeroblob(200000)) AS x FROM t, (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)"
ConnPoolQuery add one "INSERT INTO t VALUES(:a)" write=on methods=POST
ConnPoolParam add a integer required
<Location "/do">
SetHandler cptest
</Location>
<Location "/api/all">
SetHandler connpool-query
ConnPoolServe all
</Location>
<Location "/api/long">
SetHandler connpool-query
ConnPoolServe long
</Location>
<Location "/api/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
CONF
);
$server->make_sqlite('one',
    'CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES(1), (2);');
$server->start;

my $ALL = '[{"a":1},{"a":2}]';

sub status_with {
    my ($path, %headers) = @_;
    return $server->get($path, headers => \%headers)->{status};
}

subtest 'conditions on a query' => sub {
    my $etag = $server->get('/api/all')->{headers}{etag};
    like($etag, qr/^"[^"]+"$/, 'a strong tag');
    is($server->head('/api/all')->{headers}{etag}, $etag, 'HEAD has it too');
    my $same = $server->get('/api/all', headers => {'If-None-Match' => $etag});
    is($same->{status},        304,   'unchanged');
    is($same->{content},       '',    'without a body');
    is($same->{headers}{etag}, $etag, 'with the tag');
    is(status_with('/api/all', 'If-None-Match' => '"x"'), 200, 'another');
    my $other = $server->get('/api/all', headers => {'If-Match' => '"x"'});
    is($other->{status}, 412, 'If-Match');
    is($other->{headers}{'content-type'}, 'application/problem+json',
        'which says so as a problem');
    is(status_with('/api/all', 'If-Match'      => $etag), 200, 'which holds');
    $server->is_at_rest;
};

subtest 'conditions are not for what is included' => sub {
    for my $path ('/api/all', '/up/dated') {
        for my $header (['If-None-Match' => '*'], ['If-Match' => '"x"']) {
            my ($name, $value) = @$header;
            my $answer =
                $server->get("/do?sub=$path", headers => {$name => $value});
            like($answer->{content}, qr/^(?:\Q$ALL\E|hello)\n/,
                "$name, $path");
        }
    }
};

subtest 'headers of the upstream' => sub {
    my $head = $server->get('/up/dated')->{headers};
    is($head->{'last-modified'}, $OLD,                 'Last-Modified');
    is($head->{etag},            '"second"',           'one ETag');
    like($head->{vary}, qr/^A, ?B$/, 'all of Vary');
    like($head->{'cache-control'}, qr/^max-age=1, ?public$/,
        'all of Cache-Control');
    is($head->{'set-cookie'},    undef,                'no cookie');
    is($head->{'x-own'},         undef,                'none of its own');
};

subtest 'conditions on a fetch' => sub {
    my $before = $server->pool('up')->{closed}{discarded};
    is(status_with('/up/dated', 'If-None-Match' => '"second"'), 304, 'its tag');
    is(status_with('/up/dated', 'If-Modified-Since' => $OLD), 304, 'its date');
    is(status_with('/up/dated', 'If-Modified-Since' => $OLDER),
        200, 'an older date');
    is(status_with('/up/dated', 'If-Unmodified-Since' => $NEWER),
        200, 'unmodified since');
    is(status_with('/up/dated', 'If-Unmodified-Since' => $OLDER),
        412, 'modified since');
    $server->is_at_rest;
    is($server->pool('up')->{closed}{discarded},
        $before, 'no handle is thrown away for it');
    my ($counted) =
        grep { $_->{name} eq 'up' } @{$server->status_json->{upstreams}};
    is($counted->{errors}, 0, 'and no error counted');
};

subtest 'paths' => sub {
    my $path_of = sub {
        my $echo = $server->json("/up/echo$_[0]");
        return $echo->{path} . (length($echo->{query} // '') ? "?$echo->{query}" : '');
    };
    is($path_of->(''), '/echo', 'plain');
    for my $tail ('?a=%26&b=%20+c', '?a=/../%2e') {
        is($path_of->($tail), "/echo$tail", "query $tail as it came");
    }
    my $raw = sub {
        my ($path) = @_;
        return parse_response($server->raw("GET $path HTTP/1.0\r\n\r\n"));
    };
    for my $tail ('a%20b', 'a%25b', 'a%3Fb', 'a%23b', '%C3%A4') {
        my $answer = $raw->("/up/status/200$tail");
        is($answer->{status}, 200, "/status/200$tail is passed on");
        my @seen = keys %{$upstream->stats->{paths}};
        is((scalar grep { lc($_) eq lc("/status/200$tail") } @seen),
            1, 'encoded as it came');
    }
};

subtest 'what a form holds is read once' => sub {
    my $answer = $server->post('/api/add', content => {a => 5});
    is($answer->{status}, 200, 'a write');
    is_deeply(ConnPoolTest::decode($answer),
        {changes => 1, last_insert_rowid => 5}, 'answered');
    $answer = $server->get('/api/add?a=6');
    is($answer->{status}, 405, 'not by GET');
    $server->sqlite('one', 'DELETE FROM t WHERE a > 2');
};

subtest 'HTTP/2' => sub {
    plan skip_all => 'no nghttp, or the prefork MPM' if !$h2;
    my $get = sub {
        my (undef, $text) = command('nghttp', '-t', '10', $server->url($_[0]));
        return $text;
    };
    is($get->('/api/all'), $ALL, 'a query');
    is($get->('/up/dated'), "hello\n", 'a fetch');
    my $long = $get->('/api/long');
    cmp_ok(length $long, '>', 8 * 400_000, 'a long answer');
    like(substr($long, -10), qr/0"\}\]\n?\z/, 'whole');
    my (undef, $many) =
        command('nghttp', '-t', '10', '-m', '10', $server->url('/api/all'));
    is(scalar(() = $many =~ /\Q$ALL\E/g), 10, 'many on one connection');
    my ($exit) = command('timeout', '0.3', 'nghttp', '-n', '-w', '1',
        $server->url('/up/hang'));
    isnt($exit, 0, 'a client went away');
    $server->is_at_rest('its fetch was given up', 8);
};

subtest 'a client that goes away' => sub {
    my $socket = $server->connect;
    print {$socket} "GET /up/hang HTTP/1.1\r\nHost: x\r\n\r\n";
    ok(await(sub { $server->pool('up')->{busy} == 1 }, 5), 'waits');
    close $socket;
    $server->is_at_rest('and its fetch was given up', 8);
};

$server->done;
done_testing;
