#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL behind the same names: queries, types, parameters, writes, errors.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use PostgresTest qw(pgsql_module);
use Test::More;

my $pg = PostgresTest->new;
$pg->start;
$pg->sql(<<'SQL');
CREATE TABLE item(id bigint PRIMARY KEY, name text NOT NULL, price numeric(12,4));
INSERT INTO item VALUES (1, 'one', 1.5), (2, 'two', 2), (3, 'three', NULL);
SQL

my $conf = <<"CONF";
ConnPoolDatabase app "postgresql:@{[$pg->dsn]}" max=4
ConnPoolQuery item app "SELECT id, name, price FROM item WHERE id = :id"
ConnPoolParam item id integer required
<Location "/item">
SetHandler connpool-query
ConnPoolServe item
</Location>
CONF

my $server = ConnPoolTest->new(conf => $conf, load => {pgsql_module()});
$server->start;

my $answer = $server->get('/item?id=1');
is($answer->{status}, 200, 'status');
is($answer->{content}, '[{"id":1,"name":"one","price":1.5000}]', 'a row');

$server->done;
done_testing;
