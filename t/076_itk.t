#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# mpm_itk, which serves each connection in a process that it forks for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use ConnPoolUpstream;
use Test::More;

my $tools = ($ENV{CONNPOOL_BUILD} // ConnPoolTest::root_dir() . '/build') . '/tools';
my ($itk) = grep { -e } map { "$_/usr/lib/apache2/modules/mpm_itk.so" } $tools, '';
plan skip_all => 'mpm_itk is not installed' if !$itk;
plan skip_all => 'mpm_itk needs root'       if $> != 0;

$ENV{CONNPOOL_MPM} = 'prefork';
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    children => 2,
    threads  => 1,
    modules  => ['socache_shmcb'],
    load     => {mpm_itk_module => $itk},
    vars     => {UP => $upstream->url},
    conf     => <<'CONF');
ConnPoolDatabase main sqlite:@DIR@/db/main.db min=2
ConnPoolUpstream up @UP@/text
ConnPoolQuery all main "SELECT a FROM t ORDER BY a" format=arrays
ConnPoolQuery data main "SELECT count(*) AS n FROM t" ttl=data format=value
ConnPoolQuery add main "INSERT INTO t VALUES (:a)" write=on
ConnPoolParam add a integer required
<Location "/all">
SetHandler connpool-query
ConnPoolServe all
</Location>
<Location "/data">
SetHandler connpool-query
ConnPoolServe data
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe all up data
</Location>
<Location "/connpool-health">
SetHandler connpool-health
</Location>
CONF
$server->make_sqlite('main', 'CREATE TABLE t(a); INSERT INTO t VALUES (0);');
my $WARNING = qr/mpm_itk\.c runs requests in processes of their own/;
$server->allow_log($WARNING);
$server->start;

my $lines = () = $server->log =~ /$WARNING/g;
is($lines, 1, 'the log warns at start');

is($server->get('/all')->{content},  '[[0]]',          'a read');
is($server->get('/data')->{content}, '1',              'ttl=data');
is($server->get('/up')->{content},   "hello, world\n", 'a fetch');
is($server->get('/batch')->{status}, 200,              'a batch');
is($server->get("/connpool-health$_")->{status}, 200, "health$_") for '', '?live=1';
my @answers = ConnPoolTest::parallel(6, sub {
    my ($i) = @_;
    return join ' ', map {
        my $status = $server->request('POST', '/add?a=' . ($i * 10 + $_))->{status};
        my $read   = $server->get('/data')->{status};
        "$status $read"
    } 1 .. 5;
});
is_deeply(\@answers, [(join ' ', (200) x 10) x 6], 'writes and reads at once');
is($server->get('/data')->{content}, '31', 'each was written, and is read');
is($server->sqlite('main', 'PRAGMA integrity_check'), 'ok', 'the file is whole');

my $report = $server->json('/connpool-status?format=json');
for my $pool (@{$report->{pools}}) {
    is_deeply([@$pool{qw(open busy idle waiting acquired released created)}], [(0) x 7],
        "nothing is counted of $pool->{name}");
}
for my $pid ($server->children) {
    my @open = grep { defined && m{/db/} } map { readlink } glob "/proc/$pid/fd/*";
    is_deeply(\@open, [], 'a child has no database open');
    is(scalar(() = glob "/proc/$pid/task/*"), 1, 'and one thread');
}
unlike($server->log, qr/requests run in processes that a module has forked/,
    'what is known is not told again');
$server->done;
done_testing;
