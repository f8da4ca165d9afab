#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL behind PgBouncer, whose transactions change servers, and beside
# others who change what is prepared: no request fails, and none gets another's
# answer.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel);
use PostgresTest qw(bouncer_program pgsql_module);
use Test::More;

plan skip_all => 'no pgbouncer' if !bouncer_program();

my $pg = PostgresTest->new->start;
$pg->sql(q{CREATE TABLE note(id serial PRIMARY KEY, t text UNIQUE);
    CREATE TABLE wide(a int); INSERT INTO wide VALUES (1);
    CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$;
    CREATE TABLE account(id int PRIMARY KEY, n int);
    INSERT INTO account VALUES (1, 0), (2, 0)});
my $bouncer = $pg->bouncer(settings => "default_pool_size = 2\n");
my $pooled  = $bouncer->dsn;

my $conf = "ConnPoolDatabase pooled \"postgresql:$pooled\" pooler=transaction max=6 timeout=10s acquire=10s\n"
    . "ConnPoolDatabase app \"postgresql:@{[$pg->dsn]}\" max=8 timeout=10s acquire=10s\n"
    . "ConnPoolDatabase single \"postgresql:@{[$pg->dsn]}\" max=1\n"
    . "ConnPoolDatabase strict \"postgresql:@{[$pg->dsn]} options='-c default_transaction_isolation=serializable'\""
    . " max=8 timeout=10s acquire=10s\n";
my %QUERIES = (
    one   => ['pooled', 'SELECT :a AS a', 'format=value', 'a integer'],
    two   => ['pooled', 'SELECT :a || :b AS a', 'format=value', 'a text', 'b text'],
    add   => ['pooled', 'INSERT INTO note(t) VALUES (:t) RETURNING t', 'write=on format=value', 't text'],
    step  => ['pooled', q{SELECT setval('note_id_seq', 1000)}, 'format=value'],
    long  => ['pooled', 'SELECT pg_sleep(60)', 'timeout=300ms'],
    size  => ['pooled', 'SELECT i FROM generate_series(1, :n) i', 'format=arrays', 'n integer'],
    wide  => ['app',    'SELECT * FROM wide', 'format=objects'],
    widen => ['app',    'UPDATE wide SET a = a + 1 RETURNING *', 'write=on'],
    stale => ['single',    'SELECT count(*) FROM note WHERE t = :t', 'format=value', 't text'],
    again => ['single', 'INSERT INTO note(t) VALUES (:t)', 'write=on', 't text'],
    forget => ['single', 'SELECT forget()', 'write=on'],
    bump  => ['strict', 'UPDATE account SET n = n + (SELECT count(*) FROM account) WHERE id = :id', 'write=on',
        'id integer'],
);
for my $name (sort keys %QUERIES) {
    my ($db, $sql, $options, @params) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name $db \"$sql\" $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
}
my $server = ConnPoolTest->new(conf => $conf, threads => 16, load => {pgsql_module()});
$server->allow_log(qr/query '(?:long|step)'/);
$server->start;

sub status_of {
    my ($query, $field) = @_;
    my ($line) = grep { $_->{name} eq $query } @{$server->status_json->{queries}};
    return $line->{$field};
}

# ---------------------------------------------------------------------------

subtest 'transactions that change servers' => sub {
    my @wrong = grep { $_ } map { @$_ } parallel(3, sub {
        my ($i) = @_;
        my @bad;
        for my $n (1 .. 100) {
            my $one = $server->get("/one?a=$n");
            my $two = $server->get("/two?a=x&b=$n");
            push @bad, "$one->{status} $one->{content}" if $one->{content} ne "$n";
            push @bad, "$two->{status} $two->{content}" if $two->{content} ne "\"x$n\"";
        }
        return \@bad;
    });
    is_deeply(\@wrong, [], 'each gets its own answer');
    my @statuses = parallel(3, sub {
        my ($i) = @_;
        return scalar grep { $server->post('/add', content => {t => "$i-$_"})->{status} == 200 } 1 .. 30;
    });
    is_deeply(\@statuses, [30, 30, 30], 'writes');
    is($pg->sql('SELECT count(*) FROM note'), '90', 'are all there');
    is($server->post('/add', content => {t => '1-1'})->{status}, 409, 'a conflict');
    is($server->get('/step')->{status}, 403, 'a read does not write');
    is($server->get('/size?n=3')->{content}, '[[1],[2],[3]]', 'rows');
    is($pg->sql(q{SELECT count(*) FROM pg_prepared_statements}), '0', 'nothing is prepared');
};

subtest 'what nobody waits for' => sub {
    is($server->get('/long')->{status}, 504, 'the deadline');
    ok(await(sub { $pg->sql(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
        AND query LIKE 'SELECT pg_sleep%'}) == 0 }, 2), 'is cancelled at the server');
    is($server->get('/one?a=7')->{content}, '7', 'and others go on');
};

subtest 'altered under load' => sub {
    my @failed = parallel(4, sub {
        my ($i) = @_;
        if ($i == 0) {
            for my $n (1 .. 10) {
                $pg->sql("ALTER TABLE wide ADD COLUMN b$n int DEFAULT $n");
            }
            return 0;
        }
        my $bad = 0;
        for (1 .. 60) {
            $bad++ if $server->get('/wide')->{status} >= 500;
            $bad++ if $server->post('/widen')->{status} >= 500;
        }
        return $bad;
    });
    is_deeply(\@failed, [0, 0, 0, 0], 'no request fails');
    is($pg->sql('SELECT a FROM wide'), '181', 'and each write was made once');
};

# As another user of the session, behind some pooler, might do.
subtest 'statements that the server has forgotten' => sub {
    is($server->get('/stale?t=1-1')->{content}, '1', 'prepared');
    my $before = $server->pool('single')->{created};
    for (1 .. 3) {
        is($server->post('/forget')->{status}, 200, 'forgotten');
        is($server->get('/stale?t=none')->{content}, '0', 'and prepared anew');
        is($server->post('/forget')->{status}, 200, 'forgotten');
        is($server->post('/again', content => {t => "again $_"})->{content}, '{"changes":1}', 'for a write, too');
    }
    is($server->pool('single')->{created}, $before, 'on the same connection');
    is($pg->sql(q{SELECT count(*) FROM note WHERE t LIKE 'again%'}), '3', 'made once');
};

subtest 'serialization failures' => sub {
    my @done = parallel(6, sub {
        my ($i) = @_;
        return scalar grep { $server->post('/bump', content => {id => 1})->{status} == 200 } 1 .. 20;
    });
    my $sum = 0;
    $sum += $_ for @done;
    is($pg->sql('SELECT n FROM account WHERE id = 1'), 2 * $sum, 'what was acknowledged was made once');
    cmp_ok($sum, '>=', 100, 'most succeed');
    cmp_ok(status_of('bump', 'retries'), '>', 0, 'some were begun anew');
};

$server->done;
done_testing;
