#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# ttl=data with PostgreSQL: kept until anything is committed, and never longer,
# whoever commits, over crashes and failovers; and not where it would be wrong.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use IPC::Open2 qw(open2);
use PostgresTest qw(pgsql_module);
use Test::More;

my $pg = PostgresTest->new->start;
$pg->sql(q{
    CREATE TABLE state(n int, v int); INSERT INTO state VALUES (0, 1);
    CREATE VIEW plain AS SELECT n FROM state;
    CREATE VIEW lottery AS SELECT n, random() AS r FROM state;
    CREATE VIEW today AS SELECT n, CURRENT_DATE AS d FROM state;
    CREATE VIEW deep AS SELECT n FROM lottery;
    CREATE FUNCTION hidden() RETURNS int LANGUAGE sql STABLE AS $$ SELECT extract(epoch FROM now())::int $$;
    CREATE FUNCTION wild() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
    CREATE FUNCTION tame(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + 1 $$;
    CREATE TABLE guarded(n int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
});
my %QUERIES = (
    value   => 'SELECT n FROM state',
    row     => 'SELECT n FROM state WHERE n = :n',
    plain   => 'SELECT n FROM plain',
    tame    => 'SELECT tame(n) FROM state',
    lottery => 'SELECT n FROM lottery',
    today   => 'SELECT n FROM today',
    deep    => 'SELECT n FROM deep',
    hidden  => 'SELECT hidden() AS n',
    wild    => 'SELECT wild() AS n',
    guarded => 'SELECT count(*) FROM guarded',
);
my $conf = "ConnPoolDatabase main \"postgresql:@{[$pg->dsn]}\" max=4\n";
for my $name (sort keys %QUERIES) {
    $conf .= "ConnPoolQuery $name main \"$QUERIES{$name}\" ttl=data format=value\n"
        . ($name eq 'row' ? "ConnPoolParam row n integer required\n" : '')
        . "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}
my $server = ConnPoolTest->new(conf => $conf, children => 2, load => {pgsql_module()});
$server->allow_log(qr/pool 'main'|query '\w+'|database 'main'/);
$server->start;

sub query {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

my @clients = map { HTTP::Tiny->new(keep_alive => 1, timeout => 20 * slowness()) } 1 .. 4;

sub ask {
    my ($client, $path) = @_;
    return $client->get($server->url($path));
}

subtest 'configuration' => sub {
    my $check = sub {
        my ($keys, $sql, $expected) = @_;
        my $it = ConnPoolTest->new(load => {pgsql_module()},
            conf => "ConnPoolDatabase a \"postgresql:host=/x\" $keys\nConnPoolQuery q a \"$sql\" ttl=data\n");
        my ($status, $text) = $it->configtest;
        isnt($status, 0, "$keys $sql: refused");
        like($text, $expected, 'why');
        $it->dismiss;
    };
    $check->('pooler=transaction', 'SELECT 1', qr/ttl=data cannot work: pooler=transaction/);
    $check->('', 'SELECT now()',        qr/ttl=data cannot work: now/);
    $check->('', 'SELECT current_date', qr/ttl=data cannot work: current_date/);
};

subtest 'a hit costs no query' => sub {
    for my $name (qw(value plain tame)) {
        ask($clients[$_ % 4], "/$name") for 1 .. 20;
        my $query = query($name);
        cmp_ok($query->{count}, '<=', 4, "$name: run once per child");
        cmp_ok($query->{cache}{hits}, '>=', 16, "$name: all others were hits");
    }
};

subtest 'what else decides' => sub {
    for my $name (qw(lottery today deep hidden wild guarded)) {
        my $before = query($name)->{count};
        is(ask($clients[0], "/$name")->{status}, 200, $name) for 1 .. 5;
        is(query($name)->{count}, $before + 5, "$name is asked each time");
    }
};

# A session that commits, and says when it has.
sub session {
    my $pid = open2(my $out, my $in, (glob '/usr/lib/postgresql/*/bin/psql')[-1], qw(-X -q -A -t),
        '-h', $pg->dir, '-p', $pg->port, qw(-U postgres postgres));
    $in->autoflush(1);
    return sub {
        my ($sql) = @_;
        return if !print {$in} "$sql\n";
        my $line = <$out> // return;
        chomp $line;
        return $line;
    };
}

subtest 'a writer outside' => sub {
    my $write = session();
    my ($stale, $wrong, $rounds) = (0, 0, 10_000);
    for my $n (1 .. $rounds) {
        $wrong++ if $write->("UPDATE state SET n = $n; SELECT n FROM state;") ne $n;
        $stale++ if ask($clients[$n % 4], '/value')->{content} ne $n;
        $stale++ if $n % 5 == 0 && ask($clients[$n % 4], '/value')->{content} ne $n;
    }
    is($wrong, 0, "$rounds writes");
    is($stale, 0, 'no answer is older than what was committed before it');
    cmp_ok(query('value')->{cache}{hits}, '>', 1000, 'and there were hits');
};

subtest 'crashes' => sub {
    my $stale = 0;
    for my $round (1 .. 3) {
        my $n = $pg->sql('SELECT n FROM state');
        is(ask($clients[0], '/value')->{content}, $n, 'the value') for 1 .. 2;
        my ($victim) = split /\n/, $pg->sql(q{SELECT pid FROM pg_stat_activity
            WHERE application_name = 'connpool/main' LIMIT 1});
        kill 'KILL', $victim;
        await(sub { eval { $pg->sql("UPDATE state SET n = n + 1"); 1 } }, 20) || die 'no recovery';
        $n = $pg->sql('SELECT n FROM state');
        for my $client (@clients) {
            my $answer;
            await(sub { $answer = ask($client, '/value'); $answer->{status} == 200 }, 20);
            $stale++ if $answer->{content} ne $n;
        }
    }
    is($stale, 0, 'no stale answer');
};

subtest 'a table that is altered' => sub {
    $pg->sql('ALTER TABLE state ADD COLUMN w int');
    is(ask($clients[0], '/plain')->{status}, 200, 'goes on');
    $pg->sql('CREATE OR REPLACE VIEW plain AS SELECT (n + random() * 0)::int AS n FROM state');
    ask($clients[0], '/plain') for 1 .. 3;
    my $before = query('plain')->{count};
    ask($clients[0], '/plain') for 1 .. 3;
    is(query('plain')->{count}, $before + 3, 'a view that has become volatile is asked each time');
};

$server->done;
done_testing;
