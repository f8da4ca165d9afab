#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Children that are killed or that come and go: totals never fall and agree at
# rest, acknowledged rows are there, and the others go on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolLoad;
use ConnPoolTest qw(await);
use ConnPoolUpstream;
use Test::More;

my $upstream = ConnPoolUpstream->start;
my $CONF     = <<'CONF';
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=4 acquire=10s timeout=10s
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text?size=40
ConnPoolQuery item events "SELECT id, title FROM item WHERE id = :id" format=object
ConnPoolParam item id integer required
ConnPoolQuery add events "INSERT INTO note VALUES (:title)" write=on
ConnPoolParam add title text required
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
<Location "/item">
SetHandler connpool-query
ConnPoolServe item
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF

sub new_server {
    my (%arg) = @_;
    my $server = ConnPoolTest->new(
        vars => {UPSTREAM => $upstream->port},
        conf => $CONF . ($arg{more} // ''),
        %arg{grep { $_ ne 'more' } keys %arg}
    );
    $server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)
INSERT INTO item SELECT i, 'title ' || i FROM n;
CREATE TABLE note(title TEXT UNIQUE);
SQL
    # What the parent and a new child have to say about a killed one.
    $server->allow_log(
        qr/AH00052|AH10159|AH0028[78]|AH00161|AH00484|AH1039[23]|the process that held|recovered/);
    return $server;
}

sub reading {
    my ($client, $i) = @_;
    my $id = ($client * 31 + $i) % 100 + 1;
    return {name => 'text', path => '/text', expect => qr/^.{40}\z/s}
        if $i % 3 == 2;
    return {
        name   => 'item',
        path   => "/item?id=$id",
        expect => qr/^\{"id":$id,"title":"title $id"\}\s*\z/,
    };
}

sub writing {
    my ($client, $i) = @_;
    my $title = "$client-$i";
    return {
        name   => 'add',
        method => 'POST',
        path   => '/add',
        body   => "title=$title",
        key    => $title,
        expect => qr/"changes":1\b/,
    };
}

# Kill one child after the other while somebody asks: each is replaced.
sub kill_children {
    my ($server, $watch, $count, $place, $between) = @_;
    my $done = sub { ($watch->look // $watch->{last})->{$place} };
    my $bad  = 0;
    for my $round (1 .. $count) {
        my $mark = $done->();
        await(sub { $done->() > $mark + $between }, 10, 'the load goes on')
            or $bad++;
        my @children = $server->children;
        my $pid      = $children[rand @children];
        $server->kill_child('KILL', $pid);
        await(
            sub {
                $watch->look;
                return !grep { $_ == $pid } $server->children;
            },
            10,
            "child $pid is gone"
        ) or $bad++;
    }
    return $bad == 0;
}

# ---------------------------------------------------------------------------

subtest 'readers' => sub {
    my $server = new_server(children => 2, threads => 16)->start;
    my $watch  = ConnPoolLoad->watch($server);
    my $load   = ConnPoolLoad->start($server, request => \&reading);
    my $kills  = 12;
    ok(kill_children($server, $watch, $kills, '/queries/item/count', 300),
        "$kills children were killed and replaced");
    my $result = $load->finish;
    my $good   = $result->{good};
    my @wrong  = grep { !/: (?:closed|read: .*|write: .*) after|: write/ }
        @{$result->{lost}};
    is_deeply(\@wrong, [], 'no wrong answer, no timeout');
    is_deeply($result->{refused}, {}, 'none was refused');
    # At most what the 8 clients were at when a child was killed.
    cmp_ok(@{$result->{lost}}, '<=', 8 * $kills,
        'cut: ' . @{$result->{lost}} . ', by the kills');
    $server->is_at_rest;
    my $after = $watch->look;
    is_deeply($watch->{fallen},  [], 'no counter fell');
    is_deeply($watch->{unequal}, [], "numbers agree in $watch->{reports} reports");
    for my $name (qw(item text)) {
        my $kind  = $name eq 'text' ? 'upstreams' : 'queries';
        my $count = $after->{"/$kind/$name/count"};
        # A killed child may have counted what no client got to see.
        cmp_ok($count, '>=', $good->{$name}, "$name: $good->{$name}, all counted");
        cmp_ok($count, '<=', $good->{$name} + 8 * $kills, 'and hardly more');
    }
    cmp_ok($after->{'/pools/events/closed/killed'}, '>=', 1,
        'killed connections are known');
    my $events = $server->pool('events');
    is($events->{$_}, 0, "$_: none") for qw(busy waiting);
    cmp_ok($events->{open}, '<=', 4 * $server->status_json->{children},
        'open: only those of living children');
    $server->done;
};

subtest '64 writers' => sub {
    my $server = new_server(
        children => 4,
        threads  => 32
    )->start;
    my $watch = ConnPoolLoad->watch($server);
    my $load  = ConnPoolLoad->start(
        $server,
        request => \&writing,
        clients => 64,
        keep    => 0
    );
    my $kills = 10;
    ok(kill_children($server, $watch, $kills, '/queries/add/count', 100),
        "$kills children were killed, the others go on");
    my $mark = $watch->look->{'/queries/add/count'};
    ok(
        await(
            sub { $watch->look->{'/queries/add/count'} > $mark + 200 }, 10
        ),
        'to the end'
    );
    my $result = $load->finish;
    my %found  = map { $_ => 1 }
        split /\n/, $server->sqlite('events', 'SELECT title FROM note');
    my @acked = @{$result->{acked}};
    cmp_ok(@acked, '>', 1000, 'acknowledged: ' . @acked);
    is_deeply([grep { !$found{$_} } @acked], [], 'each is there');
    my @wrong = grep { !/: (?:closed|read: .*|write: .*) after|: write/ }
        @{$result->{lost}};
    is_deeply(\@wrong, [], 'no wrong answer, no timeout');
    # A row that was written when its child died is sent again and refused.
    my %refused = %{$result->{refused}};
    cmp_ok(delete $refused{'add 409'} // 0, '<=', $result->{again},
        'refused only as repeated');
    is_deeply(\%refused, {}, 'and nothing else');
    cmp_ok(
        keys(%found) - @acked, '<=',
        @{$result->{lost}} + $result->{again},
        'rows that nobody knows of: not more than were cut'
    );
    $server->is_at_rest;
    $watch->look;
    is_deeply($watch->{fallen},  [], 'no counter fell');
    is_deeply($watch->{unequal}, [], 'numbers agree');
    is($server->sqlite('events', 'PRAGMA integrity_check'), 'ok', 'whole');
    $server->done;
};

subtest 'children that serve twenty connections' => sub {
    my $server = new_server(
        # Children are replaced once a second, so there have to be many.
        children => 30,
        threads  => 2,
        more     => "MaxConnectionsPerChild 20\n"
    )->start;
    my $watch = ConnPoolLoad->watch($server);
    my $load  = ConnPoolLoad->start(
        $server,
        request => \&reading,
        clients => 6,
        each    => 500,
        keep    => 1
    );
    my $result = $load->wait;
    # While all children are being replaced httpd itself may reset a connection
    # that nobody has read from; the exact counts below tell that from ours.
    my @unread = grep { /after 0 bytes/ } @{$result->{lost}};
    cmp_ok(@unread, '<=', 30, 'connections that were not read: ' . @unread);
    is_deeply([grep { !/after 0 bytes/ } @{$result->{lost}}],
        [], 'no request was lost');
    is_deeply($result->{refused}, {}, 'none was refused');
    $server->is_at_rest;
    my $after = $watch->look;
    my $good  = $result->{good};
    is($good->{item} + $good->{text} + @unread, 3000, 'all have got theirs');
    is($after->{'/queries/item/count'},  $good->{item}, 'queries: exact');
    is($after->{'/upstreams/text/count'}, $good->{text}, 'fetches: exact');
    is_deeply($watch->{unequal}, [], 'numbers agree');
    my %served =
        map { /^(\d+) / ? ($1 => 1) : () } split /\n/, $server->access_log;
    cmp_ok(keys %served, '>=', 100, 'by ' . keys(%served) . ' children');
    $server->done;
};

done_testing;
