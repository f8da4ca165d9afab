#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Graceful restarts while clients ask: nothing is lost, totals are exact and
# never fall, and the new children hold no more than the first ones did.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolLoad;
use ConnPoolTest qw(await);
use ConnPoolUpstream;
use Test::More;

my ($RESTARTS, $REQUESTS) = (12, 20_000);

my $upstream = ConnPoolUpstream->start;

# One path for each pool and one for an upstream.
sub conf {
    my (@pools) = @_;
    my $conf = <<'CONF';
ConnPoolUpstream text http://127.0.0.1:@UPSTREAM@/text?size=40
<Location "/text">
SetHandler connpool-fetch
ConnPoolServe text
</Location>
CONF
    for my $pool (@pools) {
        my ($name) = split ' ', $pool;
        my ($options) = $pool =~ / (.*)/;
        $conf .= "ConnPoolDatabase $name sqlite:\@DIR\@/db/$name.db $options\n"
            . "ConnPoolQuery $name $name "
            . "\"SELECT id, title FROM item WHERE id = :id\" format=object\n"
            . "ConnPoolParam $name id integer required\n"
            . "<Location \"/$name\">\nSetHandler connpool-query\n"
            . "ConnPoolServe $name\n</Location>\n";
    }
    return $conf;
}

my $server = ConnPoolTest->new(
    children => 2,
    threads  => 16,
    vars     => {UPSTREAM => $upstream->port},
    conf     => conf('one max=4', 'two max=3'),
);
$server->make_sqlite($_, <<'SQL') for qw(one two three);
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, title TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)
INSERT INTO item SELECT i, 'title ' || i FROM n;
SQL
$server->start;

# What each child has open before the first request, by kind: the numbers of
# ports and inodes differ from child to child.
sub holdings {
    my @kinds;
    for my $pid ($server->children) {
        my $fds = $server->fds($pid);
        push @kinds, join ' ', sort map { s/\d+/N/gr } values %$fds;
    }
    return \@kinds;
}

sub expectation {
    my ($client, $i) = @_;
    my $id   = ($client * 31 + $i) % 100 + 1;
    my $name = (qw(one two text))[$i % 3];
    return {name => $name, path => '/text', expect => qr/^.{40}\z/s}
        if $name eq 'text';
    return {
        name   => $name,
        path   => "/$name?id=$id",
        expect => qr/^\{"id":$id,"title":"title $id"\}\s*\z/,
    };
}

# ---------------------------------------------------------------------------

# Each looks at its queries first.
my $baseline;
await(sub { ($baseline) = reverse sort @{holdings()}; $baseline !~ m{/db/} }, 20);

subtest 'restarts under load' => sub {
    my $watch  = ConnPoolLoad->watch($server);
    my $before = $watch->{last};
    my $load   = ConnPoolLoad->start($server, request => \&expectation);
    my %seen   = map { $_ => 1 } $server->children;
    my $sum    = sub {
        my $now = $watch->look // return 0;
        my $all = 0;
        $all += $now->{"/queries/$_/count"} for qw(one two);
        return $all + $now->{'/upstreams/text/count'};
    };
    for my $round (1 .. $RESTARTS) {
        my $mark  = $sum->();
        my @old   = $server->children;
        await(sub { $sum->() > $mark + 300 }, 10, 'the load goes on');
        ok($server->graceful, "restart $round");
        my $is_new = await(
            sub {
                $sum->();
                my %now = map { $_ => 1 } $server->children;
                $seen{$_} = 1 for keys %now;
                return keys %now >= 2 && !grep { $now{$_} } @old;
            },
            15,
            'end of the old children'
        );
        ok($is_new, 'a new generation');
    }
    ok(await(sub { $sum->() >= $REQUESTS }, 60, 'all requests'), 'enough');
    my $result = $load->finish;

    is_deeply($result->{lost},    [], 'no request was lost');
    is_deeply($result->{refused}, {}, 'none was refused');
    $server->is_at_rest;
    my $after = $watch->look;
    is_deeply($watch->{fallen},  [], 'no counter fell');
    is_deeply($watch->{unequal}, [], "numbers agree in $watch->{reports} reports");
    my $good = $result->{good};
    for my $name (qw(one two)) {
        is($after->{"/queries/$name/count"}, $good->{$name},
            "$name: $good->{$name} answers, all counted");
        is($after->{"/queries/$name/errors"}, 0, 'without an error');
        is($after->{"/queries/$name/rows"}, $good->{$name}, 'one row each');
        is(
            $after->{"/pools/$name/acquired"} + $after->{"/pools/$name/fallbacks"},
            $good->{$name}, 'and a connection for each'
        );
    }
    is($after->{'/upstreams/text/count'}, $good->{text},
        "text: $good->{text} answers, all counted");
    is($after->{'/upstreams/text/errors'}, 0, 'without an error');
    is($upstream->stats->{requests},
        $good->{text} + $after->{'/upstreams/text/retries'},
        'and the upstream saw as many');
    my (%served, $lines);
    for my $line (split /\n/, $server->access_log) {
        my ($pid, $path) = $line =~ m{^(\d+) \d{3} GET /(one|two|text)\b};
        next if !$pid;
        $served{$pid}++;
        $lines++;
    }
    my $all = 0;
    $all += $_ for values %$good;
    is($lines, $all, "the access log has $all lines, too");
    cmp_ok(scalar keys %served, '>', $RESTARTS,
        'children of all generations served');
};

subtest 'new children are like the first ones' => sub {
    ok($server->graceful(gone => 1), 'restarted');
    my $seen;
    my $is_equal = await(
        sub {
            $seen = holdings();
            return @$seen == grep { $_ eq $baseline } @$seen;
        },
        5
    );
    ok($is_equal, 'the same files and sockets')
        or diag("first: $baseline\nnow: ", join "\n", @$seen);
};

subtest 'two restarts at once' => sub {
    my $watch  = ConnPoolLoad->watch($server);
    my $before = $watch->{last};
    my @old    = $server->children;
    my $load   = ConnPoolLoad->start(
        $server,
        request => \&expectation,
        clients => 4
    );
    for (1 .. 3) {
        kill 'USR1', $server->pid for 1 .. 2;
        my $mark = $server->log_mark;
        kill 'USR1', $server->pid;
        ok($server->await_log(qr/resuming normal operations/, $mark),
            'restarted');
        kill 'USR1', $server->pid;
        $watch->look for 1 .. 5;
    }
    my $is_new = await(
        sub {
            $watch->look;
            my %now = map { $_ => 1 } $server->children;
            return keys %now >= 2 && !grep { $now{$_} } @old;
        },
        20,
        'end of the old children'
    );
    ok($is_new, 'a new generation');
    my $result = $load->finish;
    is_deeply($result->{lost},    [], 'no request was lost');
    is_deeply($result->{refused}, {}, 'none was refused');
    $server->is_at_rest;
    my $after = $watch->look;
    is_deeply($watch->{fallen},  [], 'no counter fell');
    is_deeply($watch->{unequal}, [], 'numbers agree');
    for my $name (qw(one two)) {
        my $place = "/queries/$name/count";
        is($after->{$place} - $before->{$place}, $result->{good}{$name},
            "$name: exact");
    }
};

subtest 'another configuration' => sub {
    my $before = ConnPoolLoad::counters($server->status_json);
    $server->conf(conf('three max=2', 'one max=6'));
    ok($server->graceful(gone => 1), 'one pool added, one removed, one larger');
    is($server->get('/three?id=5')->{status}, 200, 'the new one serves');
    is($server->get('/one?id=5')->{status},   200, 'as the old one does');
    is($server->get('/two?id=5')->{status},   404, 'the removed one is gone');
    $server->is_at_rest;
    my %pools  = map { $_->{name} => $_ } @{$server->status_json->{pools}};
    is_deeply([sort keys %pools], [qw(one text three)], 'pools');
    is($pools{one}{max},        6, 'the new maximum');
    is($pools{three}{acquired}, 1, 'a new pool begins at nothing');
    is($pools{one}{acquired}, $before->{'/pools/one/acquired'} + 1,
        'the others go on');
    is($pools{text}{acquired}, $before->{'/pools/text/acquired'},
        'each with its own');
    my $after = ConnPoolLoad::counters($server->status_json);
    is($after->{'/queries/one/count'}, $before->{'/queries/one/count'} + 1,
        'queries, too');

    $server->conf(conf('two max=3', 'one max=4'));
    ok($server->graceful(gone => 1), 'and back');
    is($server->get('/two?id=5')->{status}, 200, 'the removed one is back');
    $server->is_at_rest;
    $after = ConnPoolLoad::counters($server->status_json);
    is($after->{'/pools/one/acquired'}, $before->{'/pools/one/acquired'} + 1,
        'and nothing was mixed up');
    is($after->{'/queries/two/count'} // 0,
        $before->{'/queries/two/count'} + 1,
        'its totals go on as well');
};

$server->done;
done_testing;
