#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A database file that another one replaces by rename, after writes: the log
# that lay beside the old file must not be applied to the new one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use Test::More;

my $server = ConnPoolTest->new(children => 2, threads => 8, conf => <<'CONF');
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolQuery titles app "SELECT title FROM item ORDER BY id" format=arrays
ConnPoolQuery add app "INSERT INTO item(title) VALUES (:title)" write=on
ConnPoolParam add title text required
<Location "/titles">
SetHandler connpool-query
ConnPoolServe titles
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF
my $schema = 'CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);';
$server->make_sqlite('app', $schema);
$server->start;
my $file = $server->dir('db/app.db');

for my $round (1 .. 2) {
    for my $i (1 .. 20) {
        is($server->post("/add", content => {title => "old$i"})->{status}, 200, "write $i")
            or last;
    }
    ok(await(sub { !-s "$file-wal" }, 10, 'an empty log'),
        'the log is emptied when nobody writes any more');

    $server->make_sqlite('new',
        "$schema INSERT INTO item(title) VALUES ('new$round');");
    rename $server->dir('db/new.db'), $file or die "rename: $!";
    ok(await(sub {
        $server->get('/titles')->{content} eq qq([["new$round"]]);
    }, 10, 'the new file'), 'the new file is served');
    is(`sqlite3 '$file' 'PRAGMA integrity_check'`, "ok\n", 'and is sound');
}
is($server->get('/titles')->{status}, 200, 'and goes on');
$server->done;
done_testing;
