# SPDX-License-Identifier: Apache-2.0
#
# Another module of the process bounds SQLite's memory: queries fail, and the
# log says for what reason, once.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest;
use Test::More;

my $server = ConnPoolTest->new(
    load => {cptest_module => 't/mod_cptest.so'},
    conf => <<'CONF');
ConnPoolDatabase db sqlite:@DIR@/db/db.db
ConnPoolQuery q db "SELECT count(*) AS n FROM (SELECT a FROM t ORDER BY a DESC)"
<Location /q>
SetHandler connpool-query
ConnPoolServe q
</Location>
<Location /do>
SetHandler cptest
</Location>
CONF
$server->make_sqlite('db', 'CREATE TABLE t AS WITH RECURSIVE c(i) AS '
        . '(SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < 1000) SELECT hex(randomblob(100)) AS a FROM c');
$server->start;

my $warning = qr/\[connpool:warn\].*hard heap limit.*sqlite3_hard_heap_limit64.* of 1000 bytes/;

sub count {
    my $text = $server->log;
    return scalar(() = $text =~ /$warning/g);
}

is($server->get('/q')->{status}, 200, 'a query');
like($server->get('/do?heap=1000')->{content}, qr/heap 1000/, 'another module sets a limit');
for my $n (1 .. 3) {
    my $answer = $server->get('/q');
    is($answer->{status}, 503, 'no memory');
    like($answer->{content}, qr/out of memory/, 'says the answer');
}
my $children = $server->mpm eq 'prefork' ? scalar($server->children) : 1;
cmp_ok(count(), '>=', 1, 'the log names the limit');
cmp_ok(count(), '<=', $children, 'once for a child');
$server->get('/do?heap=0') for 1 .. 4 * $children;
is($server->get('/q')->{status}, 200, 'without it all is well');
$server->allow_log(qr/hard heap limit|out of memory|pool 'db'/);
$server->done;
done_testing;
