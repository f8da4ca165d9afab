# SPDX-License-Identifier: Apache-2.0
# The functions for other modules, called by one: t/handler/mod_cptest.c runs
# the steps that a query string lists.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel);
use ConnPoolUpstream;
use IO::Handle ();
use Test::More;

my $upstream = ConnPoolUpstream->start;
my ($gone, $reserved) = ConnPoolTest::free_port();
our $server = ConnPoolTest->new(
    threads => 16,
    load    => {cptest_module => 't/mod_cptest.so'},
    vars    => {UPSTREAM => $upstream->url(''), GONE => $gone},
    conf    => <<'CONF',
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=4
ConnPoolDatabase static sqlite:@DIR@/db/static.db readonly=on max=2
ConnPoolDatabase small sqlite:@DIR@/db/small.db max=2 acquire=300ms queue=1 overflow=reject
ConnPoolDatabase leaky sqlite:@DIR@/db/small.db max=2 leak=1s
ConnPoolUpstream up @UPSTREAM@/ max=3
ConnPoolUpstream text @UPSTREAM@/text?size=20
ConnPoolUpstream gone http://127.0.0.1:@GONE@/
ConnPoolUpstream turning @UPSTREAM@/ redirects=1
ConnPoolUpstream brief @UPSTREAM@/ total=200ms
ConnPoolUpstream rare @UPSTREAM@/ rate=1/h
ConnPoolQuery by_id events "SELECT id, name, weight, data, NULL AS nil FROM event WHERE id = :id"
ConnPoolParam by_id id integer required min=1 max=100
ConnPoolQuery add events "INSERT INTO event(name) VALUES(:name) RETURNING id, name" write=on methods=POST
ConnPoolParam add name text required match=^[a-z]+$
ConnPoolQuery object events "SELECT id, name FROM event WHERE id = :id" format=object
ConnPoolParam object id integer required
ConnPoolQuery kept events "SELECT name FROM event WHERE id = :id" format=value ttl=data
ConnPoolParam kept id integer required
ConnPoolQuery few events "SELECT id FROM event ORDER BY id" format=csv max-rows=1
ConnPoolQuery slow events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n" timeout=100ms
ConnPoolQuery who events "SELECT :tenant AS tenant, :zone AS zone" format=object
ConnPoolParam who tenant required from="%{HTTP:X-Tenant}"
ConnPoolParam who zone from="%{HTTP:X-Zone}"
ConnPoolQuery paged events "SELECT id FROM event WHERE id < 3" page=id format=arrays
ConnPoolQuery none events "SELECT name FROM event WHERE id = 0" format=arrays
@PLACES@
<Location "/do">
SetHandler cptest
</Location>
CONF
);
$server->{vars}{PLACES} = join '', map {
    "<Location \"/$_\">\nSetHandler connpool-query\nConnPoolServe $_\n</Location>\n"
} qw(by_id object kept few slow none add who paged);
$server->make_sqlite('events', <<'SQL');
CREATE TABLE event(id INTEGER PRIMARY KEY, name TEXT UNIQUE, weight REAL, data BLOB);
INSERT INTO event VALUES(1, 'one', 1.5, x'616263'), (2, 'two', -2.25, NULL);
SQL
$server->make_sqlite($_, 'CREATE TABLE t(a); INSERT INTO t VALUES(7);')
    for qw(static small);
$server->start;

# Run these steps in one request; its answer, or the lines of it.
sub run_steps {
    my @steps = @_;
    my $query = join '&', map {
        my ($name, $arg) = split /=/, $_, 2;
        $arg =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
        "$name=$arg"
    } @steps;
    return $server->get("/do?$query");
}

sub steps {
    my $answer = run_steps(@_);
    return ("status $answer->{status}", $answer->{content})
        if $answer->{status} != 200;
    return split /\n/, $answer->{content};
}

sub runs_as {
    my ($steps, $lines, $name) = @_;
    is_deeply([steps(@$steps)], $lines, $name);
    return;
}

sub count_of {
    my ($where) = @_;
    return $server->sqlite('events',
        'SELECT count(*) FROM event' . ($where ? " WHERE $where" : ''));
}

subtest 'a named query' => sub {
    runs_as(
        ['named=a:by_id', 'bind=a:id:i:1', 'run=a', 'rows=a', 'end=a'],
        [
            'named ok',
            'run ok',
            'row id=i:1 name=t:one weight=r:1.5 data=b:abc nil=n',
            'next eof',
            'end ok changes=0 rowid=0',
        ],
        'rows with their types'
    );
    is((steps('named=a:by_id', 'bind=a:id:t:2', 'run=a', 'next=a', 'end=a'))[2],
        'row id=i:2 name=t:two weight=r:-2.25 data=n nil=n',
        'a text is parsed as the parameter wants');
    runs_as(['named=a:nowhere'], ['named notfound'], 'no such query');
    for my $case (
        ['bind=a:id:i:0',   'less than 1', 'too small'],
        ['bind=a:id:t:x',   'id is',      'not a number'],
        ['bind=a:id:b:x',   'id is',      'a blob'],
        ['bind=a:id:r:1.5', 'id is',      'a fraction'],
        ['bind=a:id:n:',    'is required', 'null'],
        ['bind=b:id:n:',    'is required', 'nothing'],
        )
    {
        my ($bind, $reason, $name) = @$case;
        my @lines =
            steps('named=a:by_id', 'named=b:by_id', $bind, 'run=a', 'error=a');
        is($lines[2], 'run einval', $name);
        like($lines[3], qr/^error query 'by_id': .*\Q$reason\E/, 'and why');
    }
    is(
        (
            steps('named=a:by_id', 'bind=a:id:i:1', 'bind=a:other:i:1', 'run=a')
        )[1],
        'run notfound',
        'a parameter that it does not have'
    );
    is((steps('named=a:add', 'bind=a:name:t:UPPER', 'run=a'))[1],
        'run einval', 'match= holds for modules too');
};

subtest 'a named write' => sub {
    my @lines = steps('named=a:add', 'bind=a:name:t:three', 'run=a', 'rows=a',
        'end=a');
    is($lines[2], 'row id=i:3 name=t:three', 'RETURNING');
    is($lines[4], 'end ok changes=1 rowid=3', 'counted');
    is(count_of(q(name = 'three')), 1, 'and committed');
};

subtest 'SQL of the module' => sub {
    runs_as(
        [
            'sql=a:events:read:SELECT :i AS i, :r AS r, :t AS t, :b AS b, :n AS n',
            'bind=a:i:i:-9223372036854775808',
            'bind=a:r:r:1.25',
            'bind=a:t:t:text',
            'bind=a:b:b:blob',
            'bind=a:n:i:5',
            'bind=a:n:n:',
            'run=a',
            'rows=a',
            'end=a',
            'end=a',
        ],
        [
            'sql ok',
            'run ok',
            'row i=i:-9223372036854775808 r=r:1.25 t=t:text b=b:blob n=n',
            'next eof',
            'end ok changes=0 rowid=0',
            'end ok changes=0 rowid=0',
        ],
        'all kinds of values; the last bound counts; ending twice'
    );
    my @lines = steps(
        'sql=a:events:write:INSERT INTO event(name, weight, data) VALUES(:t, :r, :b)',
        'bind=a:t:t:four', 'bind=a:r:r:4', 'bind=a:b:b:raw', 'run=a', 'end=a'
    );
    is($lines[2], 'end ok changes=1 rowid=4', 'a write');
    is($server->sqlite('events', 'SELECT weight, data FROM event WHERE id = 4'),
        '4.0|raw', 'with its values');
    runs_as(['sql=a:nowhere:read:SELECT 1'], ['sql notfound'], 'no database');
    runs_as(['sql=a:static:write:DELETE FROM t'],
        ['sql eacces'], 'a database that is read-only');
    @lines = steps('sql=a:events:read:DELETE FROM event', 'run=a', 'error=a');
    is($lines[1], 'run eacces', 'a write that says it reads');
    @lines = steps('sql=a:events:read:SELEC 1', 'run=a', 'error=a');
    is($lines[1], 'run error', 'nonsense');
    like($lines[2], qr/syntax error/, 'explained');
    @lines = steps('sql=a:events:read:SELECT 1', 'next=a', 'run=a', 'run=a',
        'end=a', 'next=a', 'run=a', 'rows=a', 'end=a');
    is_deeply(
        [@lines[1 .. 5]],
        ['next einval', 'run ok', 'run ebusy', 'end ok changes=0 rowid=0',
            'next einval'],
        'out of order'
    );
    is($lines[7], 'row 1=i:1', 'and run again');
    is_deeply(
        [
            (
                steps('sql=a:events:read:SELECT :x, :y', 'bind=a:x:i:1', 'run=a',
                    'rows=a')
            )[2]
        ],
        ['row :x=i:1 :y=n'],
        'what is not bound is NULL'
    );
    is((steps('sql=a:events:read:SELECT 1', 'bind=a:z:i:1', 'run=a'))[1],
        'run notfound', 'what is bound must exist');
};

subtest 'a write that is not ended, or fails' => sub {
    my $before = count_of();
    my @lines  = steps('sql=a:events:write:DELETE FROM event', 'run=a', 'rows=a');
    is($lines[2], 'next eof', 'it did its work');
    $server->is_at_rest('the connection came back');
    is(count_of(), $before, 'but it was rolled back');
    @lines = steps(
        q(sql=a:events:write:INSERT INTO event(name) VALUES('one')),
        'run=a', 'end=a', 'error=a', 'constraint=a');
    like($lines[2], qr/^end error/, 'a constraint');
    like($lines[3], qr/UNIQUE constraint/, 'explained');
    is($lines[4], 'constraint unique: event.name', 'and told');
    is(count_of(), $before, 'nothing written');
};

subtest 'fetches' => sub {
    my @lines = steps('fetch=up:/text:size=5', 'fetch=up:/status/503',
        'fetch=nowhere::', 'fetch=up:/close:');
    my ($missing, $failed) = @lines[-2, -1];
    is($lines[0], 'fetch 200 text/plain 5', 'path and query');
    is(length $lines[1], 5, 'body');
    like($lines[2], qr/^fetch 503 /, 'any status is an answer');
    is($missing, 'fetch notfound there is no such upstream', 'no upstream');
    like($failed, qr/^fetch \w+ \S.*: ./, 'a failure is explained');
};

subtest 'why a fetch failed' => sub {
    runs_as(
        ['fetchfailure=', 'fetch=up:/text:size=5', 'fetchfailure='],
        ['fetchfailure none 0 0 -', 'fetch 200 text/plain 5', 'abcde', 'fetchfailure none 0 0 -'],
        'it did not'
    );
    for my $case (
        ['up:/close:',     'upstream 502 0 the upstream closed the connection too early'],
        ['gone:/:',        'upstream 502 0 the upstream refused the connection'],
        ["turning:/redirect:to=http://127.0.0.1:$gone/", 'refused 403 0 '],
        ['brief:/hang:', 'deadline 504 0 the upstream'],
        ['rare:/text:',    'rate 429 3600 '],
        ['up:/a b:',       'input 400 0 '],
        )
    {
        my ($fetch, $failure) = @$case;
        steps("fetch=$fetch") if $fetch =~ /^rare/;
        like((steps("fetch=$fetch", 'fetchfailure='))[-1], qr/^fetchfailure \Q$failure\E/, $fetch);
    }
    is((steps('fetch=up:/close:', 'fetch=nowhere::', 'fetchfailure='))[-1],
        'fetchfailure none 0 0 -', 'nor is it of the last but one');
};

subtest 'connections: reading' => sub {
    my @lines = steps(
        'acquire=a:events:read', 'exec=a:SELECT name FROM event WHERE id < 3',
        'exec=a:DELETE FROM event', 'curl=a',
        'release=a',             'sqlite=a',
        'acquire=a:nowhere:read'
    );
    is_deeply(
        \@lines,
        [
            'acquire ok', 'row one', 'row two', 'exec not an error',
            'exec attempt to write a readonly database',
            'NULL', 'release', 'NULL', 'acquire notfound'
        ],
        'use, wrong use, and use after release'
    );
    my $mark = $server->log_mark;
    is_deeply([steps('acquire=a:events:read', 'release=a', 'release=a')],
        ['acquire ok', 'release', 'release'], 'released twice');
    ok(
        $server->await_log(
            qr/pool 'events': a connection was given back twice/, $mark),
        'is logged'
    );
    $server->is_at_rest('and harmless');
    $server->allow_log(qr/was given back twice/);
    runs_as(
        ['acquire=a:static:read', 'exec=a:SELECT a FROM t',
            'acquire=b:static:write'],
        ['acquire ok', 'row 7', 'exec not an error', 'acquire eacces'],
        'a read-only database has no writer'
    );
};

subtest 'connections: writing' => sub {
    my $before = count_of();
    runs_as(
        [
            'acquire=a:events:write',
            'exec=a:BEGIN IMMEDIATE',
            q(exec=a:INSERT INTO event(name) VALUES('five')),
            q(exec=a:INSERT INTO event(name) VALUES('six')),
            'exec=a:COMMIT',
            'release=a',
        ],
        ['acquire ok', ('exec not an error') x 4, 'release'],
        'a transaction of several statements'
    );
    is(count_of(), $before + 2, 'is there');
    steps(
        'acquire=a:events:write',
        'exec=a:BEGIN IMMEDIATE',
        'exec=a:DELETE FROM event',
        'release=a'
    );
    is(count_of(), $before + 2, 'without COMMIT it is rolled back');
    steps('acquire=a:events:write', 'exec=a:BEGIN IMMEDIATE',
        'exec=a:DELETE FROM event');
    $server->is_at_rest('forgotten altogether: it comes back');
    is(count_of(), $before + 2, 'rolled back as well');
    my @lines = steps('named=a:add', 'bind=a:name:t:seven', 'run=a', 'end=a');
    is($lines[2], "end ok changes=1 rowid=" . ($before + 3),
        'the next writer is not disturbed');
};

subtest 'connections: a statement left open' => sub {
    runs_as(
        ['acquire=a:events:read', 'open=a:SELECT * FROM event', 'close=a',
            'release=a'],
        ['acquire ok', 'open another row available', 'close', 'release'],
        'finished'
    );
    steps('acquire=a:events:read', 'open=a:SELECT * FROM event', 'release=a');
    $server->is_at_rest('left open');
    my @lines = steps('named=a:add', 'bind=a:name:t:eight', 'run=a', 'end=a');
    like($lines[2], qr/^end ok changes=1/, 'it blocks nobody');
    $server->allow_log(qr/closed with statements of its user left open/);
};

subtest 'connections: broken' => sub {
    my $before = $server->pool('events');
    my $mark   = $server->log_mark;
    runs_as(
        ['acquire=a:events:read', 'discard=a:the test says so', 'sqlite=a',
            'acquire=a:events:read', 'exec=a:SELECT 1', 'discard=a:'],
        ['acquire ok', 'discard', 'NULL', 'acquire ok', 'row 1',
            'exec not an error', 'discard'],
        'discarded'
    );
    ok($server->await_log(qr/discarded: the test says so/, $mark), 'and why');
    $server->is_at_rest;
    my $after = $server->pool('events');
    is($after->{closed}{discarded} - $before->{closed}{discarded},
        2, 'both were closed');
};

subtest 'connections: curl' => sub {
    my @lines = steps(
        'acquire=a:text:read', 'sqlite=a', 'curl=a', 'perform=a',
        'perform=a',           'release=a', 'curl=a', 'perform=a'
    );
    is_deeply([@lines[0 .. 2]], ['acquire ok', 'NULL', 'curl'], 'acquired');
    is(length $lines[3], 20, 'the URL is set');
    is($lines[4], 'perform 200 No error', 'answered');
    is($lines[6], 'perform 200 No error', 'and again');
    is_deeply([@lines[7 .. 9]], ['release', 'NULL', 'perform NULL'],
        'nothing after the release');
    $server->is_at_rest;
    @lines = steps(
        'acquire=a:text:read', 'useragent=a:stranger', 'acquire=b:text:read',
        'same=a:b',            'release=a',            'perform=b',
        'fetch=text::size=3',  'perform=b'
    );
    is($lines[3], 'same', 'acquired twice: shared');
    is_deeply([grep { /^(?:perform|fetch)/ } @lines],
        ['perform 200 No error', 'fetch 200 text/plain 20',
            'perform 200 No error'],
        'a fetch beside it has a handle of its own');
};

subtest 'one request, one connection' => sub {
    my $before = count_of();
    runs_as(
        ['acquire=a:events:read', 'acquire=b:events:read', 'same=a:b',
            'release=a', 'sqlite=a', 'exec=b:SELECT 1', 'release=b'],
        ['acquire ok', 'acquire ok', 'same', 'release', 'NULL', 'row 1',
            'exec not an error', 'release'],
        'the last one gives it back'
    );
    runs_as(
        ['acquire=a:events:read', 'acquire=b:events:read', 'discard=b:broken',
            'exec=a:SELECT 1', 'sqlite=b', 'release=a'],
        ['acquire ok', 'acquire ok', 'discard', 'row 1', 'exec not an error',
            'NULL', 'release'],
        'a discard takes it from nobody else'
    );
    my $insert = 'write:INSERT INTO event(name) VALUES';
    my @lines  = steps(
        "sql=a:events:$insert('outer')", "sql=b:events:$insert('inner')",
        'run=a', 'run=b', 'end=b', 'end=a'
    );
    like($lines[4], qr/^end ok changes=1/, 'the inner of two writes');
    like($lines[5], qr/^end ok changes=1/, 'and the outer');
    is(count_of(), $before + 2, 'are both there');
    @lines = steps(
        "sql=a:events:$insert('stays')", "sql=b:events:$insert('outer')",
        'run=a', 'run=b', 'end=b', 'end=a'
    );
    like($lines[4], qr/^end error/,       'an inner one that fails');
    like($lines[5], qr/^end ok changes=1/, 'leaves the outer one alone');
    is(count_of(q(name = 'stays')), 1, 'it is there');
    steps(
        "sql=a:events:$insert('gone')", "sql=b:events:$insert('gonetoo')",
        'run=a', 'run=b', 'end=b'
    );
    is(count_of(q(name LIKE 'gone%')), 0, 'an outer one undoes the inner one');
    @lines = steps(
        'acquire=a:events:write', 'acquire=b:events:write',
        'exec=b:BEGIN',           'exec=b:DELETE FROM event',
        'release=b',              "sql=c:events:$insert('raw')",
        'run=c',                  'end=c',
        'exec=a:SELECT count(*) > 5 FROM event', 'release=a'
    );
    like($lines[7], qr/^end ok changes=1/, 'a call beside a raw writer');
    is($lines[8], 'row 1',
        'what an inner user leaves open does not become the outer one\'s');
    is(count_of(q(name = 'raw')), 1, 'the call committed');
    $server->is_at_rest;
};

# A request that holds a connection until the file is there.
sub hold {
    my ($steps, $flag) = @_;
    my $socket = $server->connect;
    my $here   = "$flag.here";
    print {$socket} "GET /do?$steps&touch=$here&await=$flag HTTP/1.0\r\n\r\n";
    await(sub { -e $here }, 10, 'the holder holds');
    return $socket;
}

sub finish {
    my ($flag, @sockets) = @_;
    $server->write_file("run/$flag", '');
    return map { ConnPoolTest::read_until($_, undef, 20) } @sockets;
}

subtest 'a pool without free connections' => sub {
    plan skip_all => 'a child of prefork serves one request'
        if $server->mpm eq 'prefork';
    my $flag   = $server->dir('run/full');
    my $holder = hold('acquire=a:small:read', $flag);
    is_deeply([steps('acquire=a:small:read', 'sql=b:small:read:SELECT 1', 'run=b')],
        ['acquire timeup', 'sql ok', 'run timeup'], 'a deadline');
    my %seen;
    await(
        sub {
            $seen{$_}++ for parallel(4, sub { (steps('acquire=a:small:read'))[0] });
            return $seen{'acquire enospc'};
        },
        10
    );
    ok($seen{'acquire enospc'}, 'the queue has a limit');
    ok(!$seen{'acquire ok'}, 'nobody gets what is held');
    my $load = qr/no connection within 300 ms \(open 1\/1, busy 1, waiting \d\)/;
    ok($server->await_log(qr/pool 'small' \(readers\): $load/),
        'the log says which part of the pool');
    is((steps('acquire=a:small:write'))[0], 'acquire ok', 'the writer is free');
    my $flag2  = $server->dir('run/written');
    my $writer = hold('acquire=a:small:write', $flag2);
    is((steps('acquire=a:small:write'))[0], 'acquire timeup', 'until it is not');
    finish('written', $writer);
    my ($text) = finish('full', $holder);
    like($text, qr/await ok/, 'the holder went on');
    my $parts = qr/(?:readers|writer)/;
    $server->allow_log(
        qr/pool 'small' \($parts\): (?:no connection|queue is full)/);
    # The log repeats nothing so soon, but the writer's limits are its own.
    like($server->log, qr/pool 'small' \(writer\): $load/, 'which it said, too');
    $server->is_at_rest;
};

subtest 'a connection that is held for long' => sub {
    my $flag   = $server->dir('run/leak');
    my $mark   = $server->log_mark;
    my $before = $server->pool('leaky')->{leaks_suspected};
    my $holder = hold('acquire=a:leaky:read', $flag);
    my $line   = $server->await_log(qr/pool 'leaky': .* held for/, $mark);
    like($line, qr{held for \d+ ms by /do; is it leaked}, 'is reported')
        or diag($line);
    # Another one is reported later: the first is not reported again.
    my $flag2  = $server->dir('run/leak2');
    my $holder2 = hold('acquire=a:leaky:write', $flag2);
    ok(
        await(
            sub { $server->pool('leaky')->{leaks_suspected} == $before + 2 }, 10
        ),
        'and counted'
    );
    my @lines = $server->log_since($mark) =~ /pool 'leaky': .* held for/g;
    is(scalar @lines, 2, 'each once');
    finish('leak',  $holder);
    finish('leak2', $holder2);
    $server->allow_log(qr/is it leaked/);
    $server->is_at_rest;
};

subtest 'a hundred at once' => sub {
    my $clients = $server->mpm eq 'prefork' ? 16 : 100;
    my $insert  = 'write:INSERT INTO event(name) VALUES(:name)';
    my $count   = count_of();
    my @good    = parallel(
        $clients,
        sub {
            my ($i) = @_;
            my @kinds = (
                ['named=a:by_id', 'bind=a:id:i:1', 'run=a', 'rows=a', 'end=a'],
                ['named=a:by_id', 'bind=a:id:i:2', 'run=a', 'next=a'],
                ["sql=a:events:$insert", "bind=a:name:t:mixed$i-N", 'run=a', 'end=a'],
                ["sql=a:events:$insert", "bind=a:name:t:lost$i-N",  'run=a'],
                ['fetch=up:/text:size=100'],
                ['acquire=a:events:read', 'open=a:SELECT 1', 'close=a', 'discard=a:x'],
                ['acquire=a:text:read', 'perform=a', 'fetch=up:/text:', 'release=a'],
                ['acquire=a:events:read', 'acquire=b:events:read', 'release=a',
                    'named=c:by_id', 'bind=c:id:i:1', 'run=c', 'rows=c'],
            );
            my $good = 0;
            for my $n (0 .. 7) {
                my @steps = @{$kinds[($i + $n) % @kinds]};
                s/-N$/-$n/ for @steps;
                my @lines = steps(@steps);
                $good++
                    if @lines && !grep { /^status|error\b.*|timeup|enospc/
                        && !/not an error|No error/i } @lines;
            }
            return $good;
        }
    );
    my $sum = 0;
    $sum += $_ // 0 for @good;
    is($sum, 8 * $clients, 'all are answered well');
    $server->is_at_rest(undef, 10);
    is(count_of(q(name LIKE 'mixed%')), $clients, 'what was ended is there');
    is(count_of(q(name LIKE 'lost%')),  0,        'what was forgotten is not');
    $server->allow_log(qr/is exhausted \(max/);
};

subtest 'batches' => sub {
    runs_as(
        [
            'named=a:by_id', 'bind=a:id:i:1',
            'sql=b:events:read:SELECT :x AS x', 'bind=b:x:t:why',
            'batch=0', 'addfetch=up:/delay/0.2:', 'addcall=a', 'addcall=b',
            'addfetch=up:/text:size=5', 'result=0', 'waitall=-1',
            map({ "result=$_" } 0 .. 4), 'endbatch=', 'endbatch=',
        ],
        [
            'named ok', 'sql ok', 'batch ok', 'addfetch ok', 'addcall ok',
            'addcall ok', 'addfetch ok', 'result eagain ', 'waitall ok',
            'result 200 text/plain 8', 'at last',
            '',
            'result 200 application/json 73',
            '[{"id":1,"name":"one","weight":1.5,"data":{"$base64":"YWJj"},"nil":null}]',
            'result 200 application/json 13', '[{"x":"why"}]',
            'result 200 text/plain 5',        'abcde',
            'result notfound ',
            'endbatch', 'endbatch',
        ],
        'all of them, read in order'
    );
    my $is_prefork = $server->mpm eq 'prefork';
    my @lines = steps(
        'batch=4', 'addfetch=up:/delay/0.3:', 'addfetch=up:/text:',
        'waitnext=5000', 'waitnext=5000', 'waitnext=5000', 'endbatch='
    );
    is_deeply(
        [@lines[3 .. 5]],
        [
            $is_prefork
            ? ('waitnext ok 0', 'waitnext ok 1')
            : ('waitnext ok 1', 'waitnext ok 0'),
            'waitnext eof -1'
        ],
        'the first that is done, the next, no more'
    );
    @lines = steps(
        'named=a:by_id', 'bind=a:id:i:1', 'batch=4', 'addfetch=up:/delay/0.4:',
        'addcall=a',  'waitall=0', 'result=1', 'waitall=100', 'result=0',
        'waitall=-1', 'result=0', 'endbatch='
    );
    is($lines[4], 'waitall timeup', 'until a deadline: none');
    is($lines[5], 'result eagain ', 'begins no query');
    is($lines[6], 'waitall timeup', 'until a deadline');
    is($lines[7], 'result eagain ', 'it goes on');
    is($lines[8], 'waitall ok',     'until it is done');
    is($lines[9], 'result 200 text/plain 8', 'and is there');
    @lines = steps(
        'named=a:by_id', 'bind=a:id:t:x', 'named=b:by_id', 'batch=0',
        'addcall=a', 'addcall=b', 'addfetch=nowhere::', 'addfetch=up:/../x:',
        'waitall=-1', 'result=0', 'result=1', 'endbatch='
    );
    is_deeply([@lines[3 .. 5]],
        ['addcall einval', 'addcall einval', 'addfetch notfound'],
        'what cannot run is no item');
    like($lines[8], qr/^result einval .*the upstream's own/, 'a failure');
    is($lines[9], 'result notfound ', 'of the one item');
    @lines = steps(
        'named=a:add', 'bind=a:name:t:batched', 'batch=0', 'addcall=a',
        'addcall=a', 'waitall=-1', 'result=0', 'result=1'
    );
    like($lines[6], qr/"name":"batched"/, 'a write');
    like($lines[7], qr/^result error query 'add': /, 'and one that fails');
    is(count_of(q(name = 'batched')), 1, 'was committed');
    runs_as(
        [
            'batch=0',   'addfetch=up:/text:', 'waitall=-1', 'endbatch=',
            'result=0',  'addfetch=up:/text:', 'waitall=-1', 'waitnext=-1',
        ],
        [
            'batch ok',         'addfetch ok', 'waitall ok', 'endbatch',
            'result notfound ', 'addfetch ok', 'waitall eof', 'waitnext eof -1',
        ],
        'nothing goes on after the end'
    );
};

subtest 'batches that are left' => sub {
    for my $end ('endbatch=', 'touch=/dev/null', 'waitnext=2000') {
        my $start = time;
        my @lines = steps(
            'batch=8', (map { 'addfetch=up:/hang:' } 1 .. 2),
            'addfetch=up:/text:', 'waitall=50', $end
        );
        is($lines[4], 'waitall timeup', "under way, then $end");
        cmp_ok(time - $start, '<', 5 * ConnPoolTest::slowness(), 'nobody waits for it');
        $server->is_at_rest;
    }
    ok(await(sub { $upstream->stats->{busy} == 0 }, 5), 'the upstream knows');
};

subtest 'versions' => sub {
    runs_as(['version='], ['version 3 of 3'], 'of the header, and of the module');
};

subtest 'why a call failed' => sub {
    $server->allow_log(qr/upstream 'up'|query 'slow'/);
    runs_as(
        ['named=a:by_id', 'failure=a', 'bind=a:id:i:1', 'run=a', 'end=a', 'failure=a'],
        [
            'named ok', 'failure none 0 0', 'run ok', 'end ok changes=0 rowid=0',
            'failure none 0 0'
        ],
        'it did not'
    );
    for my $case (
        ['input 400 0', 'named=a:by_id', 'bind=a:id:i:0', 'run=a'],
        ['input 400 0', 'named=a:by_id', 'bind=a:x:i:0',  'run=a'],
        ['conflict 409 0', 'named=a:add', 'bind=a:name:t:one', 'run=a', 'end=a'],
        ['refused 403 0', 'sql=a:events:read:DELETE FROM event', 'run=a'],
        ['storage 503 1', 'sql=a:events:read:SELECT x FROM nowhere', 'run=a'],
        ['deadline 504 0', 'named=a:slow', 'run=a', 'rows=a', 'end=a'],
        )
    {
        my ($failure, @steps) = @$case;
        is((steps(@steps, 'failure=a'))[-1], "failure $failure", "$steps[-1] of $steps[0]");
    }
    is((steps('named=a:by_id', 'bind=a:id:i:0', 'run=a', 'bind=a:id:i:1', 'run=a',
                'failure=a'))[-1], 'failure none 0 0', 'it is forgotten');
    my @lines = steps('named=a:add', 'bind=a:name:t:one', 'named=b:by_id',
        'bind=b:id:i:1', 'batch=0', 'addcall=a', 'addcall=b', 'addfetch=up:/close:',
        'itemfailure=0', 'waitall=-1', map { "itemfailure=$_" } 0 .. 3);
    is_deeply(
        [grep { /^itemfailure/ } @lines],
        [
            'itemfailure none 0 0', 'itemfailure conflict 409 0',
            'itemfailure none 0 0', 'itemfailure upstream 502 0',
            'itemfailure none 0 0'
        ],
        'items of a batch, too'
    );
};

# What the function gives: outcome, status, type, ETag, Retry-After, body.
sub answer_of {
    my ($query, %values) = @_;
    my $text = run_steps("named=a:$query",
        (map { "bind=a:$_:$values{$_}" } sort keys %values), 'answer=a')->{content};
    my ($outcome, $etag, $retry, $status, $type, $size, $body) = $text =~
        /^answer (\S+) (\S+) (\S+)\nresponse (\d+) (.*) (\d+)\n(.*)\z/ms;
    return {
        outcome => $outcome,
        status  => $status,
        type    => $type,
        etag    => $etag eq '-' ? undef : $etag,
        retry   => $retry eq '-' ? undef : $retry,
        body    => substr($body, 0, $size),
        rest    => substr($body, $size),
    };
}

subtest 'whole answers' => sub {
    for my $case (
        ['by_id',  'ok', 200, id => 'i:1'],
        ['by_id',  'ok', 200, id => 't:2'],
        ['object', 'ok', 200, id => 'i:2'],
        ['object', 'ok', 404, id => 'i:100000'],
        ['few',    'ok', 200],
        ['none',   'ok', 200],
        ['kept',   'ok', 200, id => 'i:1'],
        ['kept',   'ok', 200, id => 'i:1'],
        ['kept',   'ok', 404, id => 'i:100000'],
        ['by_id',  'einval', 400, id => 't:0'],
        ['by_id',  'einval', 400, id => 't:x'],
        ['by_id',  'einval', 400],
        ['who',    'einval', 403],
        ['paged',  'ok',     200],
        ['paged',  'ok',     200, limit => 'i:1'],
        ['paged',  'einval', 400, limit => 'i:0'],
        ['paged',  'einval', 400, after => 't:wrong'],
        ['slow',   'error',  504],
        )
    {
        my ($query, $outcome, $status, %values) = @$case;
        my $args = join '&', map { "$_=" . substr $values{$_}, 2 } keys %values;
        my $ours = answer_of($query, %values);
        my $sent = $server->get("/$query?$args");
        my $name = "$query?$args";
        is($ours->{status}, $status, "$name: status");
        is($ours->{outcome}, $outcome, "$name: outcome") if $status != 504;
        is($ours->{body}, $sent->{content}, "$name: what the handler sends");
        is($ours->{rest}, "\n", "$name: a NUL, no more");
        is($ours->{type}, $sent->{headers}{'content-type'}, "$name: type");
        is($ours->{etag}, $sent->{headers}{etag},           "$name: tag");
        is($ours->{retry}, $sent->{headers}{'retry-after'}, "$name: when again");
    }
    my ($query) = grep { $_->{name} eq 'kept' } @{$server->status_json->{queries}};
    is($query->{cache}{lookups}, 6, 'what is kept is looked for');
    # Each child keeps its own.
    is($query->{count}, 2, 'and read once') if $server->mpm ne 'prefork';
    is((steps('named=a:paged', 'bind=a:limit:i:1', 'run=a'))[1],
        'run notfound', 'pages are of answers alone');
    my $ours = answer_of('add', name => 't:whole');
    is($ours->{status}, 200, 'a write');
    like($ours->{body}, qr/"name":"whole"/, 'with its row');
    is(count_of(q(name = 'whole')), 1, 'is committed');
    $ours = answer_of('add', name => 't:whole');
    my $sent = $server->post('/add', content => {name => 'whole'});
    is($ours->{status}, 409, 'once');
    is($ours->{body}, $sent->{content}, 'and says which constraint');
    my @lines = steps('sql=a:events:read:SELECT :x AS x', 'bind=a:x:i:7', 'answer=a');
    is($lines[3], '[{"x":7}]', 'SQL of the module');
    @lines = steps('sql=a:events:read:SELECT x FROM nowhere', 'answer=a', 'failure=a');
    like($lines[1], qr/^answer error - 1$/, 'that fails says when again');
    is($lines[-1], 'failure storage 503 1', 'and why');
    @lines = steps('sql=a:events:read:SELECT 1', 'run=a', 'answer=a', 'end=a', 'answer=a');
    is($lines[2], 'answer ebusy', 'not while it runs');
    like($lines[4], qr/^answer ok/, 'but after');
    $server->is_at_rest;
};

$server->done;

subtest 'a module that was built with the first header' => sub {
    my $old = ConnPoolTest->new(
        load => {cptest_module => 't/first/mod_cptest.so'},
        vars => {UPSTREAM => $upstream->url('')},
        conf => <<'CONF',
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=4
ConnPoolUpstream up @UPSTREAM@/ max=3
ConnPoolQuery add events "INSERT INTO event(name) VALUES(:name) RETURNING id, name" write=on methods=POST
ConnPoolParam add name text required
<Location "/do">
SetHandler cptest
</Location>
CONF
    );
    $old->make_sqlite('events',
        q(CREATE TABLE event(id INTEGER PRIMARY KEY, name TEXT UNIQUE);)
            . q(INSERT INTO event(name) VALUES('one');));
    $old->start;
    local $server = $old;
    runs_as(['version='], ['unknown step version'], 'knows nothing new');
    runs_as(
        [
            'named=a:add', 'bind=a:name:t:two', 'run=a', 'rows=a', 'end=a',
            'named=b:add', 'bind=b:name:t:two', 'run=b', 'end=b', 'constraint=b',
            'sql=c:events:read:SELECT :i AS i, :r AS r, :b AS b, :n AS n',
            'bind=c:i:i:1', 'bind=c:r:r:1.5', 'bind=c:b:b:x', 'bind=c:n:n:',
            'run=c', 'next=c', 'end=c', 'fetch=up:/text:size=5',
        ],
        [
            'named ok', 'run ok', 'row id=i:2 name=t:two', 'next eof',
            'end ok changes=1 rowid=2',
            'named ok', 'run ok', 'end error changes=0 rowid=0',
            'constraint unique: event.name',
            'sql ok', 'run ok', 'row i=i:1 r=r:1.5 b=b:x n=n',
            'end ok changes=0 rowid=0', 'fetch 200 text/plain 5', 'abcde',
        ],
        'calls and fetches'
    );
    runs_as(
        [
            'sql=a:events:read:SELECT count(*) AS n FROM event', 'batch=2',
            'addcall=a', 'addfetch=up:/text:size=5', 'waitnext=5000',
            'waitall=-1', 'result=0', 'result=1', 'endbatch=',
        ],
        [
            'sql ok', 'batch ok', 'addcall ok', 'addfetch ok', 'waitnext ok 0',
            'waitall ok', 'result 200 application/json 9', '[{"n":2}]',
            'result 200 text/plain 5', 'abcde', 'endbatch',
        ],
        'batches'
    );
    runs_as(
        [
            'acquire=a:events:write', 'sqlite=a', 'exec=a:DELETE FROM event',
            'acquire=b:events:write', 'same=a:b', 'release=b', 'discard=a:old',
            'acquire=c:up:read', 'curl=c', 'release=c',
        ],
        [
            'acquire ok', 'sqlite', 'exec not an error', 'acquire ok', 'same',
            'release', 'discard', 'acquire ok', 'curl', 'release',
        ],
        'connections'
    );
    $old->allow_log(qr/given back broken|discarded/);
    $old->done;
};

subtest 'without the module' => sub {
    my $bare = ConnPoolTest->new(
        plain => 1,
        load  => {cptest_module => 't/mod_cptest.so'},
        conf  => "<Location \"/do\">\nSetHandler cptest\n</Location>\n",
    );
    $bare->start;
    is($bare->get('/do?acquire=a:x:read')->{content},
        "mod_connpool is missing\n", 'the functions are missing, not the server');
    $bare->done;
};

done_testing;
