#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# coalesce=on: who asks while the query runs gets its answer.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await read_until slowness);
use IO::Select ();
use Test::More;
use Time::HiRes qw(time);

my $COUNT = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n %s)'
    . ' SELECT count(*) AS n FROM n';
my $slow    = sprintf $COUNT, 'LIMIT 4000000';
my $endless = sprintf $COUNT, '';
my $conf    = <<"CONF";
ConnPoolDatabase main sqlite:\@DIR\@/db/main.db
ConnPoolQuery slow main "$slow" coalesce=on timeout=60s
ConnPoolQuery kept main "$slow" ttl=data timeout=60s
ConnPoolQuery endless main "$endless" coalesce=on timeout=1s
ConnPoolQuery by main "SELECT :a AS a, count(*) AS n FROM ($slow)" coalesce=on timeout=60s
ConnPoolParam by a text required
ConnPoolQuery lottery main "SELECT n FROM lottery" ttl=data timeout=60s
ListenBackLog 511
CONF
for my $name (qw(slow kept endless by lottery)) {
    $conf .= "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}
my $server = ConnPoolTest->new(conf => $conf, children => 2, threads => 110);
plan skip_all => 'a child has one request at a time' if $server->mpm eq 'prefork';
$server->make_sqlite('main',
    "CREATE TABLE t(a); CREATE VIEW lottery AS SELECT n, random() AS r FROM ($slow);");
$server->start;

sub query {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

# One request on each of so many connections, all at once.
sub send_all {
    my ($count, $path) = @_;
    my @sockets = map { $server->connect || die "connect: $!" } 1 .. $count;
    print {$_} "GET $path HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" for @sockets;
    return @sockets;
}

sub receive_all {
    return map { ConnPoolTest::parse_response(read_until($_, undef, 60)) } @_;
}

for my $name (qw(slow kept)) {
    subtest "$name: 200 at once" => sub {
        my @answers = receive_all(send_all(200, "/$name"));
        is(scalar(grep { $_->{content} eq '[{"n":4000000}]' } @answers), 200, 'all are answered');
        is(scalar(grep { $_->{headers}{etag} } @answers), 200, 'with a tag');
        my $query = query($name);
        cmp_ok($query->{count}, '<=', 2, 'one run per child');
        is($query->{cache}{coalesced} + $query->{cache}{hits}, 200 - $query->{count},
            'the others got its answer');
    };
}

subtest 'a failure' => sub {
    $server->allow_log(qr/connpool:error.*endless/);
    my @answers = receive_all(send_all(40, '/endless'));
    is(scalar(grep { $_->{status} == 504 } @answers), 40, 'reaches all');
    cmp_ok(query('endless')->{count}, '<=', 2, 'of one run per child');
};

subtest 'one leaves' => sub {
    my $before  = query('slow')->{count};
    my @leavers = send_all(4, '/slow');
    my @others  = send_all(20, '/slow');
    close $_ for @leavers;
    my @answers = receive_all(@others);
    is(scalar(grep { $_->{status} == 200 } @answers), 20, 'the others are answered');
    cmp_ok(query('slow')->{count} - $before, '<=', 4, 'still together');
};

subtest 'other values' => sub {
    my @sockets = map { send_all(3, "/by?a=$_") } qw(x y z);
    my @values  = map { $_->{content} =~ /"a":"(.)"/ } receive_all(@sockets);
    is(join('', @values), 'xxxyyyzzz', 'each gets its own');
};

subtest 'answers that are good for one only' => sub {
    my @sockets = send_all(8, '/lottery'); # of nine readers;
    my $busy    = 0;
    await(
        sub {
            my $now = $server->pool('main')->{busy};
            $busy = $now if $now > $busy;
            return $busy > 2 || query('lottery')->{count} == 8;
        },
        60, 'the queries'
    );
    cmp_ok($busy, '>', 2, 'nobody waits for them (each child has a leader)');
    is(scalar(grep { $_->{status} == 200 } receive_all(@sockets)), 8, 'all are answered');
};

subtest 'the end of a child' => sub {
    my @sockets = send_all(30, '/slow');
    ok($server->restart, 'hard restart while many wait');
    close $_ for @sockets;
    is($server->get('/slow')->{status}, 200, 'and on it goes');
};

$server->done;
done_testing;
