#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# httpd -X: one process, which is parent and child. What the child has made goes
# before what the parent has made, and nothing crashes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolStates qw(place);
use ConnPoolTest;
use ConnPoolUpstream;
use Test::More;

my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    debug => 1,
    vars  => {UPSTREAM => $upstream->url('')},
    conf  => place('query', 'one', 'add') . place('fetch', 'up') . <<'CONF');
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=3 min=1
ConnPoolUpstream up @UPSTREAM@/
ConnPoolQuery one app "SELECT count(*) AS n FROM t" ttl=data
ConnPoolQuery add app "INSERT INTO t VALUES (1)" write=on
CONF
$server->make_sqlite('app', 'CREATE TABLE t(a)');
$server->start;
for my $round (1 .. 2) {
    is($server->post('/add')->{status}, 200, 'a write');
    is($server->get('/one')->{content}, qq([{"n":$round}]), 'a query');
    is($server->get('/up/text')->{status}, 200, 'a fetch');
}
is($server->status_json->{children}, 1, 'one process');
$server->done;
$upstream->stop;
done_testing;
