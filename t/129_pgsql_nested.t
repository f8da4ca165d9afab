#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Queries within queries of one request: a module that asks PostgreSQL while it
# reads rows, pages that include answers, with one connection for all of it.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(slowness);
use PostgresTest qw(pgsql_module);
use Test::More;
use Time::HiRes qw(time);

my $pg = PostgresTest->new->start;
$pg->sql('CREATE TABLE t(a int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)');

my $server = ConnPoolTest->new(
    modules => [qw(include)],
    load    => {cptest_module => 't/mod_cptest.so', pgsql_module()},
    conf    => <<"CONF");
ConnPoolDatabase one "postgresql:@{[$pg->dsn]}" max=1 acquire=8s overflow=reject
ConnPoolQuery all one "SELECT a FROM t ORDER BY a"
<Location "/do">
SetHandler cptest
</Location>
<Location "/api/all">
SetHandler connpool-query
ConnPoolServe all
</Location>
<Directory "\@DIR\@/htdocs">
Options +Includes
AddOutputFilter INCLUDES .shtml
</Directory>
AddType text/html .shtml
CONF
$server->write_file('htdocs/page.shtml', qq(<!--#include virtual="/api/all" -->\n) x 2);
$server->allow_log(qr/within another one/);
$server->start;

sub steps {
    my @steps = @_;
    my $query = join '&', map {
        my ($name, $arg) = split /=/, $_, 2;
        $arg =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
        "$name=$arg"
    } @steps;
    return grep { $_ ne '' } split /\n/, $server->get("/do?$query")->{content};
}

my $ALL = '[{"a":1},{"a":2},{"a":3}]';
my @READ = ('sql=c:one:read:SELECT a FROM t ORDER BY a', 'run=c', 'next=c');

my $began = time;
subtest 'reads' => sub {
    is_deeply([grep { $_ } split /\n/, $server->get('/page.shtml')->{content}], [$ALL, $ALL], 'pages that include answers');
    is_deeply([steps(@READ, 'sub=/api/all', 'rows=c', 'end=c')],
        ['sql ok', 'run ok', 'row a=i:1', $ALL, 'sub 200', 'row a=i:2', 'row a=i:3', 'next eof', 'end ok changes=0 rowid=0'],
        'in the middle of rows');
    is_deeply([steps('sql=c:one:read:SELECT a FROM t ORDER BY a', 'run=c', 'sub=/api/all', 'rows=c', 'end=c')],
        ['sql ok', 'run ok', $ALL, 'sub 200', 'row a=i:1', 'row a=i:2', 'row a=i:3', 'next eof', 'end ok changes=0 rowid=0'],
        'before the first');
    my @lines = steps(@READ, 'sql=d:one:read:SELECT a + 10 AS b FROM t ORDER BY a', 'run=d', 'next=d', 'next=c',
        'next=d', 'rows=c', 'rows=d', 'end=d', 'end=c');
    is_deeply([grep {/^row|eof/} @lines],
        ['row a=i:1', 'row b=i:11', 'row a=i:2', 'row b=i:12', 'row a=i:3', 'next eof', 'row b=i:13', 'next eof'],
        'two in turns') || diag("@lines");
    @lines = steps('sql=c:one:read:SELECT 6 / (2 - a) AS a FROM generate_series(1, 3) AS a', 'run=c', 'next=c', 'sub=/api/all', 'next=c', 'end=c');
    is_deeply([@lines[0 .. 4]], ['sql ok', 'run ok', 'row a=i:6', $ALL, 'sub 200'], 'an error behind');
    unlike($lines[5], qr/^row|eof/, 'is told to who reads on');
    is($server->get('/api/all')->{content}, $ALL, 'and to nobody else');
};

subtest 'writes' => sub {
    my $insert = 'sql=w:one:write:INSERT INTO t VALUES';
    my @lines = steps(@READ, "$insert(10)", 'run=w', 'end=w', 'rows=c', 'end=c');
    like("@lines", qr/end ok changes=1/, 'a write while rows are read');
    is_deeply([grep {/^row/} @lines], ['row a=i:1', 'row a=i:2', 'row a=i:3'], 'which go on') || diag("@lines");
    is($pg->sql('SELECT count(*) FROM t WHERE a = 10'), 1, 'committed');
    steps(@READ, "$insert(11)", 'run=w', 'rows=w', 'next=c', 'end=c');
    is($pg->sql('SELECT count(*) FROM t WHERE a = 11'), 0, 'without its end it is rolled back');
    @lines = steps('sql=w:one:write:INSERT INTO t VALUES (20), (21) RETURNING a', 'run=w', 'next=w',
        'sql=v:one:write:INSERT INTO t VALUES (22)', 'run=v', 'end=v', 'rows=w', 'end=w');
    is_deeply([grep {/^row/} @lines], ['row a=i:20', 'row a=i:21'], 'a write within one that returns rows') || diag("@lines");
    is($pg->sql('SELECT count(*) FROM t WHERE a BETWEEN 20 AND 22'), 3, 'all of them');
};

subtest 'too many rows' => sub {
    my @lines = steps('sql=c:one:read:SELECT a FROM generate_series(1, 50000) AS a', 'run=c', 'next=c',
        'sql=d:one:read:SELECT 1 AS a', 'run=d', 'next=c', 'end=c');
    is($lines[2], 'row a=i:1', 'a row');
    is($lines[4], 'run enotimpl', 'another query is refused');
    is($lines[5], 'row a=i:2', 'and the first goes on') || diag("@lines");
    my $count = grep {/^row/} steps('sql=c:one:read:SELECT a FROM generate_series(1, 20000) AS a', 'run=c', 'next=c',
        'sql=d:one:read:SELECT 1 AS b', 'run=d', 'rows=c', 'end=c');
    is($count, 20000, 'to its end');
    is($server->get('/api/all')->{status}, 200, 'the connection is well');
};
cmp_ok(time - $began, '<', 8 * slowness(), 'nobody waited');
is($server->pool('one')->{open}, 1, 'one connection');
$server->done;
done_testing;
