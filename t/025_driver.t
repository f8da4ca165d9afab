#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A database of another kind, whose driver is a module of its own: served,
# limited, failing, counted and reported as the one that is built in.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use Test::More;

my %QUERIES = (
    rows  => 'scripted "rows 2"',
    typed => 'scripted "echo :a :b"',
    slow  => 'scripted "sleep 600000" timeout=200ms',
    list  => 'scripted "list" format=arrays',
    kept  => 'scripted "list" format=arrays ttl=data',
    add   => 'scripted "add :name" write=on',
    spoil => 'scripted "fail commit" write=on',
    heal  => 'scripted "heal" write=on',
    other => 'events "SELECT a FROM t"',
);

my $conf = <<'CONF';
ConnPoolDatabase scripted script:word max=3 timeout=2s down=@DIR@/run/down
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=2
<Location "/health">
SetHandler connpool-health
</Location>
CONF
for my $name (sort keys %QUERIES) {
    $conf .= "ConnPoolQuery $name $QUERIES{$name}\n"
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}
$conf .= "ConnPoolParam typed a integer\nConnPoolParam typed b text\n"
    . "ConnPoolParam add name text required\n";

my $server = ConnPoolTest->new(
    conf => $conf,
    load => {connpool_script_module => 't/mod_connpool_script.so'},
);
$server->make_sqlite('events', 'CREATE TABLE t(a); INSERT INTO t VALUES (7);');
$server->allow_log(
    qr/query '(?:slow|spoil|rows)'/,
    qr/database 'scripted'/,
    qr/pool 'scripted'/,
);
$server->start;

sub pool_of {
    my ($name) = @_;
    my ($line) = grep { $_->{name} eq $name } @{$server->status_json->{pools}};
    return $line;
}

sub health_of {
    my ($name) = @_;
    my $health = ConnPoolTest::decode($server->get('/health'));
    my ($line) = grep { $_->{name} eq $name } @{$health->{db_pool}{pools}};
    return $line->{status};
}

sub answers {
    my ($path, $status, $content, $what) = @_;
    my $answer = $server->get($path);
    is($answer->{status}, $status, "$what: status");
    is($answer->{content}, $content, $what) if defined $content;
    return $answer;
}

sub write_to {
    my ($path, $form) = @_;
    return $server->post($path, content => $form // {});
}

subtest 'configuration' => sub {
    my $check = sub {
        my ($lines, $pattern, $what) = @_;
        my $other = ConnPoolTest->new(
            conf => $lines,
            load => {connpool_script_module => 't/mod_connpool_script.so'},
        );
        my ($exit, $text) = $other->configtest;
        isnt($exit, 0, "$what: refused");
        like($text, $pattern, $what);
    };
    $check->('ConnPoolDatabase d script:a/b', qr/script: takes one word/,
        'the address is the driver\'s');
    $check->('ConnPoolDatabase d script:a down=x',
        qr/down= takes an absolute path/, 'so is the check');
    $check->('ConnPoolDatabase d script:a busy=1s',
        qr/unknown key 'busy'; allowed are .*\bmax\b.*\bdown\b/,
        'keys of another driver are unknown');
    $check->("ConnPoolDatabase d script:a\nConnPoolQuery q d \"SELECT 1\"",
        qr/is a ROWS, ECHO, SLEEP, LIST or NOW, not SELECT/,
        'the dialect is the driver\'s');
    $check->("ConnPoolDatabase d script:a\nConnPoolQuery q d \"now\" ttl=data",
        qr/ttl=data cannot work: now /, 'and what is volatile');
    $check->("ConnPoolDatabase d script:a\nConnPoolQuery q d \"list\" page=name",
        qr/ConnPoolQuery q: page=name: cannot be used with script/, 'and whether it has pages');
    $check->("ConnPoolQuery q d \"SELECT 1\"\nConnPoolDatabase d script:a",
        qr/ConnPoolQuery q: .* not SELECT at /,
        'a query above its database is checked as well');
    $check->('ConnPoolDatabase d ghost:x',
        qr/LoadModule connpool_ghost_module/, 'a driver that is not loaded');
    $check->('ConnPoolDatabase d stale:x',
        qr/driver for stale: is of another version of mod_connpool/,
        'a driver of another version');
    $check->('ConnPoolDatabase d ghost:password=hidden', qr/'ghost:\.\.\.'/,
        'no password in the complaint');
};

subtest 'start' => sub {
    my $log = $server->log;
    like($log, qr/pool 'scripted' \(script\): at most 3 connections/, 'the pool');
    unlike($log, qr/pool 'scripted' .*cache/, 'without a page cache');
    unlike($log, qr/cannot be prepared/, 'queries were prepared');
};

subtest 'reading' => sub {
    answers('/rows', 200, '[{"n":1,"name":"row 1"},{"n":2,"name":"row 2"}]',
        'rows');
    answers('/typed?a=12&b=x', 200, '[{"a":12,"b":"x"}]', 'parameters');
    answers('/typed?a=twelve', 400, undef, 'parameters are checked');
    answers('/other', 200, '[{"a":7}]', 'SQLite beside it');
};

subtest 'writing' => sub {
    my $answer = write_to('/add', {name => 'one'});
    is($answer->{status}, 200, 'answered');
    is($answer->{content}, '{"changes":1}', 'without a row that it cannot tell');
    answers('/list', 200, '[["one"]]', 'it is there');
    is(write_to('/add')->{status}, 400, 'a parameter is missing');
    is(write_to('/spoil')->{status}, 503, 'a commit that fails');
    is(write_to('/add', {name => 'two'})->{status}, 503, 'so do the next');
    answers('/list', 200, '[["one"]]', 'nothing was kept');
};

subtest 'kept until the data change' => sub {
    is(write_to('/heal')->{status}, 200, 'commits succeed again');
    answers('/kept', 200, '[["one"]]', 'ran');
    answers('/kept', 200, '[["one"]]', 'kept');
    is(write_to('/add', {name => 'two'})->{status}, 200, 'another row');
    answers('/kept', 200, '[["one"],["two"]]', 'ran anew');
    my ($query) = grep { $_->{name} eq 'kept' } @{$server->status_json->{queries}};
    is($query->{cache}{hits}, 1, 'one answer was kept');
};

subtest 'limits' => sub {
    my $answer = answers('/slow', 504, undef, 'the deadline');
    is($answer->{headers}{'content-type'}, 'application/problem+json',
        'a problem');
};

subtest 'reports' => sub {
    my $pool = pool_of('scripted');
    is($pool->{kind}, 'script', 'kind');
    is($pool->{max}, 3, 'max: no writer is set apart');
    ok(await(sub { (pool_of('scripted')->{script_rows} // 0) == 2 }, 10),
        'its own gauge');
    is(pool_of('scripted')->{wal_bytes}, 0, 'and none of SQLite');
    is(pool_of('events')->{script_rows}, 0, 'which has none of its');
    is(health_of('scripted'), 'ok', 'health');
    like($server->get('/connpool-status?format=openmetrics')->{content},
        qr/^connpool_script_rows\{[^}]*pool="scripted"[^}]*\} 2$/m, 'metric');
    like($server->get('/server-status?auto')->{content},
        qr/^ConnPool\[\d\]Kind: script$/m, 'server-status');
};

subtest 'gone and back' => sub {
    $server->write_file('run/down', '');
    ok(await(sub { health_of('scripted') eq 'down' }, 10), 'health: down');
    is($server->get('/health')->{status}, 503, 'of all');
    my $answer = answers('/rows', 503, undef, 'cannot be opened');
    unlike($answer->{content}, qr/script says/, 'no detail for the client');
    is(pool_of('scripted')->{state}, 'down', 'state');
    answers('/other', 200, '[{"a":7}]', 'SQLite beside it');
    unlink $server->dir('run/down');
    ok(await(sub { health_of('scripted') eq 'ok' }, 10), 'health: ok');
    answers('/rows', 200, undef, 'open again');
};

$server->done;
done_testing;
