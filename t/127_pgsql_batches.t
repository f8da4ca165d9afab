#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Batches whose queries go to PostgreSQL in one go: what is saved, and that each
# of them is answered as if it had been asked alone.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness timed);
use IO::Select;
use IO::Socket::INET;
use JSON::PP     ();
use POSIX        ();
use PostgresTest qw(pgsql_module);
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Time::HiRes qw(sleep time);

my $JSON = JSON::PP->new->utf8;
my $pg   = PostgresTest->new->start;
$pg->sql(<<'SQL');
CREATE TABLE item(id int PRIMARY KEY, name text NOT NULL, data bytea);
INSERT INTO item SELECT n, 'name ' || n, decode(lpad(to_hex(n), 4, '0'), 'hex') FROM generate_series(1, 200) AS n;
CREATE TABLE note(id serial PRIMARY KEY, t text);
CREATE TABLE wide(a int); INSERT INTO wide VALUES (1);
CREATE FUNCTION fail(how text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = how; END $$;
SQL

# A wire that is two milliseconds long, and counts how often the server is
# waited for: what goes to it behind what came from it.
my $door = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20) || die "no socket: $@";
open(my $count_file, '+>', undef) || die "no file: $!\n";
my $wire = fork // die "fork: $!";
if (!$wire) {
    my ($turns, %peer, %is_client, %answered) = (0);
    my $in = IO::Select->new($door);
    while (1) {
        for my $from ($in->can_read(10)) {
            if ($from == $door) {
                my $client = $door->accept or next;
                my $to = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $pg->port) or next;
                setsockopt($_, IPPROTO_TCP, TCP_NODELAY, 1) for $client, $to;
                @peer{$client, $to} = ($to, $client);
                ($is_client{$client}, $answered{$client}) = (1, 1);
                $in->add($client, $to);
                next;
            }
            my $client = $is_client{$from} ? $from : $peer{$from};
            sleep 0.002 if $is_client{$from};
            if (sysread($from, my $text, 65536)) {
                $turns++ if $is_client{$from} && $answered{$client};
                $answered{$client} = !$is_client{$from};
                sysseek($count_file, 0, 0);
                syswrite($count_file, pack('N', $turns));
                syswrite($peer{$from}, $text);
            }
            else {
                $in->remove($from, $peer{$from});
                shutdown($peer{$from}, 2);
                close $from;
            }
        }
        POSIX::_exit(0) if getppid() == 1;
    }
}

sub turns {
    sysseek($count_file, 0, 0);
    sysread($count_file, my $text, 4);
    return unpack('N', $text);
}

my %QUERIES = (
    item  => ['SELECT id, name FROM item WHERE id = :id', 'format=object', 'id integer required'],
    name  => ['SELECT name FROM item WHERE id = :id', 'format=value', 'id integer required'],
    named => ['SELECT id FROM item WHERE name = :name', 'format=value', 'name text'],
    blob  => ['SELECT id FROM item WHERE data = :x', 'format=value', 'x blob'],
    maybe => [q{SELECT coalesce(:t, 'none') AS t}, 'format=value', 't text'],
    quot  => ['SELECT 10 / :n AS n', 'format=value', 'n integer required'],
    fails => ['SELECT fail(:how)', 'format=value', 'how text'],
    lacks => ['SELECT * FROM missing', ''],
    cast  => ['SELECT :t::int AS n', 'format=value', 't text'],
    rows  => ['SELECT n FROM generate_series(1, :n::int) AS n', 'format=arrays max-rows=3', 'n integer required'],
    large => [q{SELECT repeat('x', 1000) AS t FROM generate_series(1, :n::int) AS n}, 'format=arrays max-rows=3',
        'n integer required'],
    bytes => [q{SELECT repeat('x', 1000) AS t FROM generate_series(1, :n::int) AS n}, 'format=arrays max-bytes=5000',
        'n integer required'],
    nap   => ['SELECT pg_sleep(:s::float8), 7 AS n', 'format=object timeout=1s', 's real required'],
    dies  => ['SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)', ''],
    wide  => ['SELECT * FROM wide', 'format=object'],
    kept  => ['SELECT name FROM item WHERE id = :id', 'format=value ttl=1min', 'id integer required'],
    data  => ['SELECT name FROM item WHERE id = :id', 'format=value ttl=data', 'id integer required'],
    count => ['SELECT count(*) FROM note', 'format=value'],
    add   => ['INSERT INTO note(t) VALUES (:t)', 'write=on', 't text'],
    pid   => ['SELECT pg_backend_pid()', 'format=value'],
);

my %DATABASES = (
    app => '', far => '', pooled => 'pooler=transaction ',
);
my $bouncer = $pg->bouncer(settings => "default_pool_size = 2\nmax_client_conn = 100\n");
my %DSN     = (
    app    => $pg->dsn,
    far    => "host=127.0.0.1 port=@{[$door->sockport]} dbname=postgres user=postgres sslmode=disable",
    pooled => $bouncer->dsn,
);
my $conf = "ConnPoolBatchMax 40\n";
for my $db (sort keys %DATABASES) {
    $conf .= "ConnPoolDatabase $db \"postgresql:$DSN{$db}\" $DATABASES{$db}max=4 acquire=3s\n";
    for my $name (sort keys %QUERIES) {
        my ($sql, $options, @params) = @{$QUERIES{$name}};
        next if $db eq 'pooled' && $options =~ /ttl=data/;
        $conf .= "ConnPoolQuery ${db}_$name $db \"$sql\" $options\n";
        $conf .= "ConnPoolParam ${db}_$name $_\n" for @params;
    }
    my $serve = join ' ', map { "${db}_$_" } grep { $db ne 'pooled' || $_ ne 'data' } sort keys %QUERIES;
    $conf .= "<Location \"/$db\">\nSetHandler connpool-batch\nConnPoolServe $serve\n</Location>\n";
    $conf .= "<Location \"/atomic-$db\">\nSetHandler connpool-batch\nConnPoolBatchAtomic On\nConnPoolServe $serve\n</Location>\n";
}
my $server = ConnPoolTest->new(conf => $conf, threads => 8, load => {pgsql_module()}, modules => ['socache_shmcb']);
$server->allow_log(qr/query '\w+_(?:lacks|fails|nap|dies|quot|cast)'|ConnPoolQuery \w+_lacks|pool '\w+'/);
$server->start;

# [name, {parameters}], ... -> the items of the answer.
sub batch {
    my ($db, @items) = @_;
    my $answer = $server->post($db =~ /-(\w+)/ ? "/$db" : "/$db",
        content => $JSON->encode([map { {name => ($db =~ s/^atomic-//r) . "_$_->[0]", params => $_->[1] // {}} } @items]),
        headers => {'Content-Type' => 'application/json'});
    is($answer->{status}, 200, 'a batch') || diag($answer->{content});
    return @{$JSON->decode($answer->{content})};
}

sub statuses {
    return join ' ', map { $_->{status} } @_;
}

sub bodies {
    return join ' ', map { ref $_->{body} ? $JSON->canonical->encode($_->{body}) : $_->{body} // '-' } @_;
}

sub pipelined {
    return $server->status_json->{batch}{pipelined};
}

subtest 'ways to the server' => sub {
    my @ten = map { ['item', {id => $_}] } 1 .. 10;
    batch('far', @ten) for 1 .. 2;
    my (@items, $took, $ways);
    # A child that has just begun may have a look at its queries meanwhile.
    for (1 .. 8) {
        my ($before, $sent) = (turns(), pipelined());
        my (undef, $seconds) = timed(sub { @items = batch('far', @ten); 0 });
        my $seen = turns() - $before;
        $ways = $seen    if !defined $ways || $seen < $ways;
        $took = $seconds if !defined $took || $seconds < $took;
        is(bodies(@items), join(' ', map { qq({"id":$_,"name":"name $_"}) } 1 .. 10), 'ten answers, in order');
        is(pipelined() - $sent, 10, 'they are counted');
    }
    is($ways, 1, 'one way to the server and back for ten queries');
    note(sprintf 'ten lookups over a wire of 2 ms: %.1f ms', 1000 * $took);
    my @slow = (['nap', {s => 0.3}], @ten[0 .. 8]);
    my $least;
    for (1 .. 4) {
        my (undef, $seconds) = timed(sub { @items = batch('far', @slow); 0 });
        $least = $seconds if !$least || $seconds < $least;
    }
    note(sprintf 'one of 300 ms and nine lookups: %.1f ms', 1000 * $least);
    is(statuses(@items), join(' ', (200) x 10), 'a slow one in front of nine');
};

for my $db (qw(app pooled)) {
    subtest "each for itself: $db" => sub {
        my @ask = (['item', {id => 1}], ['quot', {n => 0}], ['item', {id => 2}], ['fails', {how => '40002'}],
            ['name', {id => 3}], ['cast', {t => 'x'}], ['item', {id => 999}], ['quot', {n => 5}], ['item', {id => 4}]);
        batch($db, @ask) for 1 .. 2;
        my ($sent, $created) = (pipelined(), $server->pool($db)->{created});
        my @items = batch($db, @ask);
        is(statuses(@items), '200 400 200 503 200 400 404 200 200', 'errors of some');
        is($server->pool($db)->{created}, $created, 'no connection is lost by them');
        is(bodies(@items[0, 2, 4, 7, 8]),
            '{"id":1,"name":"name 1"} {"id":2,"name":"name 2"} name 3 2 {"id":4,"name":"name 4"}', 'answers of others');
        is(pipelined() - $sent, $db eq 'app' ? 9 : 0, $db eq 'app' ? 'in one go' : 'one by one, for a pooler');
        @items = batch($db, ['name', {id => 1}], ['lacks'], ['name', {id => 2}], ['lacks'], ['name', {id => 3}]);
        is(statuses(@items), '200 503 200 503 200', 'what cannot be prepared');
        @items = batch($db, ['maybe', {t => 'a'}], ['maybe', {t => undef}], ['named', {name => 'name 7'}],
            ['blob', {x => 'AAg='}], ['blob', {x => 'AAk='}], ['maybe', {t => 'x' x 5000}], ['maybe', {t => "\x{fc}"}]);
        is(bodies(@items), 'a none 7 8 9 ' . 'x' x 5000 . " \x{fc}", 'values of all kinds');
        @items = batch($db, map { ['item', {id => $_}] } 1 .. 40);
        is(bodies(@items), join(' ', map { qq({"id":$_,"name":"name $_"}) } 1 .. 40), 'more than go at once');
    };

    subtest "what is cut: $db" => sub {
        my @items = batch($db, ['rows', {n => 2}], ['rows', {n => 10}], ['name', {id => 1}], ['bytes', {n => 20}],
            ['name', {id => 2}], ['large', {n => 50000}], ['name', {id => 3}], ['rows', {n => 4}]);
        is(statuses(@items), join(' ', (200) x 8), 'all are answered');
        is(bodies(@items[0, 1, 2, 4, 6, 7]), '[[1],[2]] [[1],[2],[3]] name 1 name 2 name 3 [[1],[2],[3]]', 'their rows');
        is(join(' ', map { $_->{truncated} // '-' } @items), '- rows - bytes - rows - rows', 'and what is cut');
        is(scalar @{$items[5]{body}}, 3, 'of a large one, too');
    };

    subtest "a slow one: $db" => sub {
        my (@items, $took);
        ($_, $took) = timed(sub { @items = batch($db, ['name', {id => 1}], ['nap', {s => 30}], ['name', {id => 2}],
                    ['name', {id => 3}]); 0 });
        is(statuses(@items), '200 504 200 200', 'is over at its deadline, the others are answered');
        cmp_ok($took, '<', 1 + 0.6 * slowness(), 'in time');
        ok(await(sub { $pg->sql(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
            AND query LIKE 'SELECT pg_sleep%'}) == 0 }, 3), 'and ends at the server');
        # Each has its own time: together they may take longer than one may.
        @items = batch($db, map { ['nap', {s => 0.4}] } 1 .. 4);
        is(statuses(@items), join(' ', (200) x 4), 'four that take their time');
    };

    subtest "a connection that is lost: $db" => sub {
        my @items = batch($db, ['name', {id => 1}], ['dies'], ['name', {id => 2}], ['name', {id => 3}]);
        is(join(' ', map { $_->{status} } @items[0, 2, 3]), '200 200 200', 'the others are answered');
        cmp_ok($items[1]{status}, '>=', 500, 'who ends his own is not');
    };

    subtest "a table that changes: $db" => sub {
        batch($db, map { ['wide'] } 1 .. 3) for 1 .. 2;
        my $n = $db eq 'app' ? 2 : 3;
        $pg->sql("ALTER TABLE wide ADD COLUMN b$n int DEFAULT $n");
        my @items = batch($db, ['wide'], ['name', {id => 1}], ['wide']);
        is(statuses(@items), '200 200 200', 'between two batches');
        is($items[0]{body}{"b$n"}, $n, 'is seen');
    };

    subtest "beside writes: $db" => sub {
        $pg->sql('TRUNCATE note');
        my @items = batch($db, ['count'], ['name', {id => 1}], ['add', {t => 'a'}], ['count'], ['count'], ['add', {t => 'b'}],
            ['count']);
        is(bodies(@items[0, 3, 4, 6]), '0 1 1 2', 'reads behind a write see it, those before do not');
        @items = batch("atomic-$db", ['count'], ['add', {t => 'c'}], ['count'], ['add', {t => 'd'}]);
        is(bodies(@items[0, 2]), '4 4', 'of an atomic batch all do');
    };
}

subtest 'answers that are kept' => sub {
    my $sent = pipelined();
    my @ask = (['name', {id => 1}], ['kept', {id => 2}], ['data', {id => 3}], ['name', {id => 4}]);
    my @items = map { batch('app', @ask) } 1 .. 2;
    is(bodies(@items), join(' ', ('name 1 name 2 name 3 name 4') x 2), 'are what they were');
    is(pipelined() - $sent, 4, 'the others go together');
    my %of = map { $_->{name} => $_->{cache} } @{$server->status_json->{queries}};
    cmp_ok($of{"app_$_"}{hits}, '>=', 1, "$_: found again") for qw(kept data);
};

subtest 'through a pooler, with clients that wait for its servers' => sub {
    my @bad = parallel(3, sub {
        my ($i) = @_;
        my $bad = 0;
        for my $n (1 .. 40) {
            my @ids = map { 1 + ($i * 61 + $n * 7 + $_) % 200 } 0 .. 9;
            my $answer = $server->post('/pooled',
                content => $JSON->encode([map { {name => 'pooled_name', params => {id => $_}} } @ids]),
                headers => {'Content-Type' => 'application/json'});
            my $got = $answer->{status} == 200 ? bodies(@{$JSON->decode($answer->{content})}) : $answer->{content};
            $bad++ if $got ne join ' ', map { "name $_" } @ids;
        }
        return $bad;
    });
    is_deeply(\@bad, [0, 0, 0], 'no answer is another one\'s');
};

subtest 'nobody waits any more' => sub {
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) || die "no socket: $@";
    my $body = $JSON->encode([(map { {name => 'app_name', params => {id => $_}} } 1 .. 3),
        {name => 'app_nap', params => {s => 0.9}}, {name => 'app_nap', params => {s => 0.91}}]);
    print {$socket} "POST /app HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
    ok(await(sub { $pg->sql(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
        AND query LIKE 'SELECT pg_sleep%'}) }, 10), 'it runs');
    close $socket;
    ok(await(sub { $pg->sql(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
        AND query LIKE 'SELECT pg_sleep%'}) == 0 }, 3), 'and ends');
    ok(await(sub { $server->pool('app')->{busy} == 0 }, 5), 'nothing is busy');
};

my $app = $server->pool('app');
is($app->{acquired}, $app->{released} + $app->{busy} + $app->{abandoned}, 'what was lent has come back');
kill 'TERM', $wire;
waitpid($wire, 0);
$server->done;
done_testing;
