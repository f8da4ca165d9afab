# SPDX-License-Identifier: Apache-2.0
# Requests within requests: pages that include answers, internal redirects and
# error documents, while the outer request holds the only connection.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(parallel);
use ConnPoolUpstream;
use Test::More;
use Time::HiRes qw(time);

# An upstream whose page includes another answer of the same upstream.
my $upstream = ConnPoolUpstream->start(
    routes => {
        '/page' => sub {
            my $body = "<p>outer</p>\n"
                . '<!--#include virtual="/up/inner" -->' . ("\n" . 'x' x 999) x 100;
            return [
                      send => "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
                    . 'Content-Length: '
                    . length($body)
                    . "\r\n\r\n$body"
            ], ['keep'];
        },
        '/inner' => sub {
            return [
                send => "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
                    . "Content-Length: 12\r\n\r\n<i>inner</i>"
            ], ['keep'];
        },
    }
);

# max=1: whoever waited for a second connection would wait in vain.
my $server = ConnPoolTest->new(
    modules => [qw(include rewrite)],
    load    => {cptest_module => 't/mod_cptest.so'},
    vars    => {UPSTREAM => $upstream->url('')},
    conf    => <<'CONF',
ConnPoolDatabase one sqlite:@DIR@/db/one.db max=1 acquire=8s overflow=reject
ConnPoolUpstream up @UPSTREAM@ max=2 acquire=8s overflow=reject
ConnPoolQuery all one "SELECT a FROM t ORDER BY a"
ConnPoolQuery row one "SELECT a FROM t WHERE a = :a" format=object
ConnPoolParam row a integer required
ConnPoolQuery page one "SELECT '<!--#include virtual=''/api/all'' -->' AS x UNION ALL SELECT hex(zeroblob(300000 + a)) FROM t UNION ALL SELECT '<!--#include virtual=''/api/row?a=2'' -->'" format=csv
ConnPoolQuery long one "SELECT hex(zeroblob(300000 + a)) AS x, hex(zeroblob(300000)) AS y FROM t" format=csv max-rows=1
ConnPoolQuery add one "INSERT INTO t VALUES(:a)" write=on methods=POST
ConnPoolParam add a integer required
<Location "/do">
SetHandler cptest
</Location>
<Location "/api/all">
SetHandler connpool-query
ConnPoolServe all
</Location>
<Location "/api/row">
SetHandler connpool-query
ConnPoolServe row
</Location>
<Location "/api/long">
SetHandler connpool-query
ConnPoolServe long
</Location>
<Location "/api/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/api/page">
SetHandler connpool-query
ConnPoolServe page
SetOutputFilter INCLUDES
Options +Includes
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
SetOutputFilter INCLUDES
Options +Includes
</Location>
<Directory "@DIR@/htdocs">
Options +Includes
AddOutputFilter INCLUDES .shtml
</Directory>
AddType text/html .shtml
ErrorDocument 404 /api/all
ErrorDocument 410 "/do?acquire=b:one:read&exec=b:SELECT%201"
RewriteEngine On
RewriteRule ^/nice/([0-9]+)$ /api/row?a=$1 [PT]
CONF
);
$server->make_sqlite('one',
    'CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES(1), (2);');
$server->write_file('htdocs/page.shtml', <<'HTML');
<!--#include virtual="/api/all" -->
<!--#include virtual="/api/row?a=2" -->
<!--#include virtual="/api/all" -->
HTML
$server->write_file('htdocs/long.shtml',
    "before\n" . "<!--#include virtual=\"/api/long\" -->\n" x 2 . "after\n");
$server->write_file('htdocs/nothing.shtml',
    "before\n<!--#include virtual=\"/api/row?a=9\" -->\nafter\n");
$server->start;

my $ALL = '[{"a":1},{"a":2}]';

sub steps {
    my @steps = @_;
    my $query = join '&', map {
        my ($name, $arg) = split /=/, $_, 2;
        $arg =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
        "$name=$arg"
    } @steps;
    return $server->get("/do?$query");
}

# Lines of the answer, without empty ones.
sub lines {
    return grep { $_ ne '' } split /\n/, steps(@_)->{content};
}

subtest 'a page that includes answers' => sub {
    my $answer = $server->get('/page.shtml');
    is($answer->{status}, 200, 'answered');
    is_deeply([grep { $_ ne '' } split /\n/, $answer->{content}],
        [$ALL, '{"a":2}', $ALL], 'with all of them');
    for my $header ('If-None-Match: *', 'If-Match: "x"') {
        my ($name, $value) = split /: /, $header;
        my $again = $server->get('/page.shtml', headers => {$name => $value});
        unlike($again->{content}, qr/error occurred/,
            "$name is for the page, not for what is in it")
            if $again->{status} == 200;
    }
    my $missing = $server->get('/nothing.shtml');
    is($missing->{status}, 200, 'one without a row does not change the status');
    like($missing->{content}, qr/before.*"status":404.*after/s, 'and is seen');
    is($server->head('/page.shtml')->{content}, '', 'HEAD');
    my $long = $server->raw("GET /long.shtml HTTP/1.1\r\nHost: x\r\n"
            . "Connection: close\r\n\r\n");
    cmp_ok(length $long, '>', 2_400_000, 'long answers stream');
    like(substr($long, -40), qr/\nafter\n\r\n0\r\n\r\n\z/,
        'and end nothing but themselves');
    unlike($long, qr/Truncated/, 'nor speak for the page');
    $server->is_at_rest;
};

subtest 'the only connection is held' => sub {
    my $start = time;
    is_deeply(
        [lines('acquire=a:one:read', 'sub=/api/all', 'exec=a:SELECT 1')],
        ['acquire ok', $ALL, 'sub 200', 'row 1', 'exec not an error'],
        'a query in a subrequest'
    );
    is_deeply(
        [
            lines('sql=c:one:read:SELECT a FROM t ORDER BY a', 'run=c', 'next=c',
                'sub=/api/all', 'rows=c', 'end=c')
        ],
        [
            'sql ok',  'run ok', 'row a=i:1', $ALL, 'sub 200', 'row a=i:2',
            'next eof', 'end ok changes=0 rowid=0'
        ],
        'in the middle of rows'
    );
    is_deeply(
        [lines('acquire=a:one:read', 'sub=/page.shtml')],
        ['acquire ok', $ALL, '{"a":2}', $ALL, 'sub 200'],
        'two levels down'
    );
    is_deeply([lines('acquire=a:one:write', 'sub=/api/all', 'release=a')],
        ['acquire ok', $ALL, 'sub 200', 'release'], 'as writer');
    like(steps('acquire=a:one:read', 'redirect=/api/all')->{content},
        qr/^\Q$ALL\E$/m, 'an internal redirect');
    cmp_ok(time - $start, '<', 6 * ConnPoolTest::slowness(), 'nobody waited');
    $server->is_at_rest;
};

subtest 'writes within' => sub {
    my $insert = 'sql=w:one:write:INSERT INTO t VALUES';
    my @lines  = lines(
        'sql=c:one:read:SELECT a FROM t ORDER BY a', 'run=c',
        'next=c',                                    "$insert(10)",
        'run=w',                                     'end=w',
        'rows=c',                                    'end=c'
    );
    like($lines[5], qr/^end ok changes=1/, 'a write while rows are read');
    is($lines[-1], 'end ok changes=0 rowid=0', 'which goes on')
        or diag("@lines");
    is($server->sqlite('one', 'SELECT count(*) FROM t WHERE a = 10'),
        1, 'committed');
    @lines = lines(
        'sql=c:one:read:SELECT a FROM t ORDER BY a', 'run=c',
        'next=c',                                    "$insert(11)",
        'run=w',                                     'rows=w',
        'next=c',                                    'end=c'
    );
    is($server->sqlite('one', 'SELECT count(*) FROM t WHERE a = 11'),
        0, 'without its end it is rolled back');
    is((lines('sql=a:one:read:DELETE FROM t', 'run=a'))[1],
        'run eacces', 'reading does not write, though it could');
    @lines = lines(
        'acquire=a:one:write',
        'exec=a:BEGIN IMMEDIATE',
        'exec=a:INSERT INTO t VALUES(12)',
        'sub=/do?sql=w:one:write:INSERT%20INTO%20t%20VALUES(13)&run=w&end=w',
        'sub=/do?sql=w:one:write:INSERT%20INTO%20t%20VALUES(14)&run=w&rows=w',
        'exec=a:COMMIT',
        'release=a'
    );
    is($server->sqlite('one', 'SELECT group_concat(a) FROM t WHERE a > 11'),
        '12,13', 'in a transaction: each subrequest is undone alone')
        or diag("@lines");
    $server->sqlite('one', 'DELETE FROM t WHERE a > 9');
    $server->is_at_rest;
};

subtest 'a subrequest that forgets' => sub {
    is_deeply(
        [
            lines(
                'acquire=a:one:read',
                'sub=/do?acquire=b:one:read',
                'exec=a:SELECT 1', 'release=a', 'sqlite=a',
                'acquire=a:one:write', 'release=a'
            )
        ],
        [
            'acquire ok', 'acquire ok', 'sub 200', 'row 1',
            'exec not an error', 'release', 'NULL', 'acquire ok', 'release'
        ],
        'disturbs nobody'
    );
    my ($json) = steps(
        'acquire=a:one:read', 'sub=/do?acquire=b:one:read',
        'release=a',          'sub=/connpool-status?format=json'
    )->{content} =~ /^(\{.*\})\n/ms;
    is_deeply(
        [
            map { "$_->{name} $_->{busy}" }
                @{ConnPoolTest::decode({content => $json})->{pools}}
        ],
        ['one 0', 'up 0'],
        'and gives back when it ends'
    );
    is_deeply(
        [
            lines(
                'acquire=a:one:read', 'sub=/do?acquire=b:one:read&discard=b:bad',
                'exec=a:SELECT 1'
            )
        ],
        ['acquire ok', 'acquire ok', 'discard', 'sub 200', 'row 1',
            'exec not an error'],
        'a discard waits for the outer one'
    );
    $server->is_at_rest;
};

subtest 'error documents' => sub {
    my $answer = $server->get('/not/there');
    is($answer->{status},  404,     'the status stays');
    is_deeply([split /\n/, $answer->{content}], [$ALL], 'the query answers');
    my $post = $server->post('/not/there', content => {a => 1});
    is($post->{status}, 404, 'POST too');
    is_deeply([split /\n/, $post->{content}], [$ALL], 'though it had a body');
    my $held = steps('acquire=a:one:read', 'status=404');
    like($held->{content}, qr/\Q$ALL\E/, 'while the first one holds it');
    my $gone = steps('acquire=a:one:read', 'status=410');
    like($gone->{content}, qr/row 1/, 'a handler as error document');
    my $head = $server->head('/not/there');
    is($head->{status}, 404, 'HEAD');
    $server->is_at_rest;
};

subtest 'rewritten' => sub {
    is($server->get('/nice/2')->{content} =~ s/\n//r, '{"a":2}', 'to a query');
    is($server->get('/nice/9')->{status}, 404, 'without a row');
};

subtest 'answers that include answers' => sub {
    my $page = $server->get('/api/page');
    is($page->{status}, 200, 'a query');
    like($page->{content}, qr/^x\r?\n\Q$ALL\E/, 'with another one at the head');
    cmp_ok(length $page->{content}, '>', 1_200_000, 'that streams');
    like(substr($page->{content}, -40), qr/\{"a":2\}/, 'one more at the end');
    my $start  = time;
    my $answer = $server->get('/up/page');
    is($answer->{status}, 200, 'an upstream');
    like($answer->{content}, qr{<p>outer</p>\n<i>inner</i>\n},
        'that includes itself while it is read');
    is(length $answer->{content}, 12 + 1 + 12 + 100 * 1000, 'whole');
    cmp_ok(time - $start, '<', 5 * ConnPoolTest::slowness(), 'at once');
    $server->is_at_rest;
};

subtest 'many at once' => sub {
    my @paths = (
        '/page.shtml', '/not/there', '/do?acquire=a:one:read&sub=/api/all',
        '/nice/1', '/do?acquire=a:one:write&redirect=/api/all'
    );
    my @counts = parallel(
        20,
        sub {
            my ($i) = @_;
            return
                scalar grep { $server->get($paths[($i + $_) % @paths])->{content}
                    =~ /"a":1/ } 0 .. 9;
        }
    );
    is_deeply(\@counts, [(10) x 20], 'each got what it asked for');
    $server->is_at_rest;
};

$server->done;
done_testing;
