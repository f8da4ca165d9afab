#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Flags, environment, virtual hosts and exhaustion: the same answers in each
# phase of a roll-out, and numbers that say what is in force.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port slowness);
use Test::More;
use Time::HiRes qw(time);

my $ROWS = <<'SQL';
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO item VALUES (1, 'one'), (2, 'two'), (3, 'three'), (9, 'nine');
SQL
my $NOTHING_WRONG = qr/SQLite \d+\.\d|AH10159|AH00287|AH00484/;

# A location that serves the query or upstream of the same name.
sub place {
    my ($handler, @names) = @_;
    return join '', map {
        "<Location \"/$_\">\nSetHandler connpool-$handler\nConnPoolServe $_\n"
            . "</Location>\n"
    } @names;
}

my $SERVED = <<'CONF' . place('query', qw(all by_id none add)) . place('fetch', 'file');
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolUpstream file http://127.0.0.1:@PORT@/file.txt
ConnPoolQuery all main "SELECT id, name FROM item ORDER BY id"
ConnPoolQuery by_id main "SELECT name FROM item WHERE id = :id" format=object
ConnPoolParam by_id id integer required
ConnPoolQuery none main "SELECT name FROM item WHERE 0" format=object
ConnPoolQuery add main "REPLACE INTO item VALUES (9, :name) RETURNING id, name" write=on
ConnPoolParam add name text required
CONF

sub delta {
    my ($after, $before, $key) = @_;
    return $after->{$key} - $before->{$key} if $key !~ s/^closed\.//;
    return $after->{closed}{$key} - $before->{closed}{$key};
}

# ---------------------------------------------------------------------------

subtest 'phases of a roll-out' => sub {
    my $server = ConnPoolTest->new(children => 2, conf => $SERVED);
    $server->make_sqlite('main', $ROWS);
    my $file = $server->write_file('htdocs/file.txt', "from the file\n");
    # The tag of a file that has just been written is weak for a second.
    utime 1e9, 1e9, $file;
    $server->allow_log($NOTHING_WRONG);

    my @requests = (['GET', '/all'], ['GET', '/by_id?id=2'],
        ['GET', '/by_id?id=x'], ['GET', '/by_id?id=7'], ['GET', '/none'],
        ['POST', '/all'], ['POST', '/add?name=nine'], ['HEAD', '/all'],
        ['GET', '/file']);
    my $answers = sub {
        return join "\n", map {
            my ($method, $path) = @$_;
            my $answer = $server->request($method, $path);
            my $headers = $answer->{headers};
            join ' ', $method, $path, $answer->{status},
                (map { $headers->{$_} // '-' } qw(content-type content-length
                    etag)), $answer->{content};
        } @requests;
    };
    my @phases = (
        ['1: nothing is pooled', 'ConnPoolEngine Off', 0, 1, 1],
        ['2: HTTP', "ConnPoolDBPool Off\nConnPoolEventLoop Off", 1, 1, 0],
        ['3: HTTP and databases', 'ConnPoolEventLoop Off', 1, 1, 1],
        ['4: and the loop', 'ConnPoolEventLoop On', 1, 1, 1],
        ['5: all by default', '', 1, 1, 1],
    );
    my $expected;
    for my $phase (@phases) {
        my ($name, $flags, $engine, $http, $db) = @$phase;
        $server->conf("$flags\n$SERVED");
        if ($server->pid) {
            ok($server->restart, "$name: restarted");
        }
        else {
            $server->start;
        }
        my $before = $server->pool('main');
        my $text   = $answers->();
        $expected //= $text;
        is($text, $expected, "$name: the same answers");
        $answers->() for 1 .. 3;
        my $after = $server->pool('main');
        my ($made, $unpooled) =
            map { delta($after, $before, $_) } qw(created closed.unpooled);
        # Six of the requests get as far as a connection.
        is(delta($after, $before, 'acquired'), 6 * 4, '... acquired');
        if ($engine && $db) {
            cmp_ok($made, '<', 6 * 4, '... connections are kept');
            is($unpooled, 0, '... none is closed after its use');
        }
        else {
            is($made,        6 * 4, '... a connection for each');
            is($unpooled,    6 * 4, '... closed after its use');
            is($after->{open}, 0,   '... none is kept');
        }
        my $report = $server->status_json;
        my $loop   = $flags !~ /EventLoop Off|Engine Off/
            && ($server->mpm ne 'prefork' || $flags =~ /EventLoop On/);
        is(!!$report->{features}{engine},  !!$engine, '... engine');
        is(!!$report->{features}{db_pool}, !!($db && $engine), '... db_pool')
            if $engine;
        is(!!$report->{event_loop}{running}, !!$loop, '... loop');
        $server->is_at_rest("$name: at rest");
    }
    like($expected, qr/^GET \/file 200 \S+ .*from the file/m, 'fetched');
    like($expected, qr/^POST \/add\S+ 200 .*"nine"/m, 'written');
    $server->done;
};

# ---------------------------------------------------------------------------

subtest 'the environment' => sub {
    my %env = (ENABLE_CONNECTION_POOLING => 'no', ENABLE_SHARED_EVENT_LOOP => '0',
        HTTP_POOL_SIZE => 7, HTTP_PER_HOST => 5, DB_POOL_SIZE => 4);
    my $own = "ConnPoolDatabase own sqlite:\@DIR\@/db/main.db max=2\n"
        . "ConnPoolUpstream wide http://127.0.0.2:1/ perhost=50\n";
    my @cases = (
        ['defaults', {}, '',
            {main => 10, own => 2, file => 30, wide => 50}, 1, 1],
        ['environment', \%env, '',
            {main => 4, own => 2, file => 5, wide => 7}, 0, 0],
        ['directives come first', \%env, "ConnPoolEngine On\nConnPoolEventLoop On\n"
            . "ConnPoolHTTPMax 20\nConnPoolHTTPPerHost 9\nConnPoolDBMax 3\n",
            {main => 3, own => 2, file => 9, wide => 20}, 1, 1],
        ['some of them', {%env, ENABLE_CONNECTION_POOLING => 'TRUE'},
            "ConnPoolHTTPMax 3\n",
            {main => 4, own => 2, file => 3, wide => 3}, 1, 0],
    );
    for my $case (@cases) {
        my ($name, $env, $directives, $max, $engine, $loop) = @$case;
        my $server = ConnPoolTest->new(env => $env,
            conf => "$directives$SERVED$own");
        $server->make_sqlite('main', $ROWS);
        $server->allow_log($NOTHING_WRONG);
        $server->start;
        my $report = $server->status_json;
        my %found = map { $_->{name} => $_->{max} } @{$report->{pools}};
        is_deeply(\%found, $max, "$name: sizes");
        is(!!$report->{features}{engine}, !!$engine, '... engine');
        $loop = 0 if $server->mpm eq 'prefork' && $directives !~ /EventLoop On/;
        is(!!$report->{features}{event_loop}, !!$loop, '... loop');
        is($server->get('/by_id?id=1')->{content}, '{"name":"one"}', '... works');
        $server->done;
    }
};

# ---------------------------------------------------------------------------

subtest 'virtual hosts' => sub {
    my ($shared, $s1) = free_port();
    my ($direct, $s2) = free_port();
    my ($own, $s3)    = free_port();
    my $server = ConnPoolTest->new(children => 2,
        vars => {SHARED => $shared, DIRECT => $direct, OWN => $own},
        conf => $SERVED . <<'CONF' . place('query', 'all') . "</VirtualHost>\n");
Listen 127.0.0.1:@SHARED@
Listen 127.0.0.1:@DIRECT@
Listen 127.0.0.1:@OWN@
<VirtualHost 127.0.0.1:@SHARED@>
ServerName shared.test
</VirtualHost>
<VirtualHost 127.0.0.1:@DIRECT@>
ServerName direct.test
ConnPoolEngine Off
</VirtualHost>
<VirtualHost 127.0.0.1:@OWN@>
ServerName own.test
ConnPoolDatabase main sqlite:@DIR@/db/own.db max=3
ConnPoolQuery all main "SELECT name FROM item"
CONF
    $server->make_sqlite('main', $ROWS);
    $server->make_sqlite('own', q{CREATE TABLE item(name TEXT);
        INSERT INTO item VALUES ('mine');});
    $server->allow_log($NOTHING_WRONG);
    $server->start;

    my $all = sub { $server->get("http://127.0.0.1:$_[0]/all")->{content} };
    my $main_rows = $all->($server->port);
    like($main_rows, qr/three/, 'the main server');
    is($all->($shared), $main_rows,           'one that shares all');
    is($all->($direct), $main_rows,           'one without pools');
    is($all->($own),    '[{"name":"mine"}]',  'one with its own of that name');
    is($server->get("http://127.0.0.1:$own/by_id?id=1")->{content},
        '{"name":"one"}', 'where the query of the main server has its database');

    my $pools = sub {
        my @found = grep { $_->{name} eq 'main' } @{$server->status_json->{pools}};
        return map { ($_->{server} ? 'own' : 'main') => $_ } @found;
    };
    my %before = $pools->();
    is_deeply([sort keys %before], [qw(main own)], 'two pools, not four');
    is($before{own}{max},  3,  'with sizes of their own');
    is($before{main}{max}, 10, 'each');
    like($before{own}{server}, qr/^own\.test:$own$/, 'and whose it is');
    $all->($shared) for 1 .. 5;
    my %then = $pools->();
    is(delta($then{main}, $before{main}, 'acquired'), 5, 'counted in one place');
    is(delta($then{main}, $before{main}, 'closed.unpooled'), 0, 'kept');
    $all->($direct) for 1 .. 5;
    my %now = $pools->();
    is(delta($now{main}, $then{main}, 'acquired'), 5, 'the same pool');
    is(delta($now{main}, $then{main}, 'closed.unpooled'), 5,
        'but a connection for each');
    is(delta($now{own}, $before{own}, 'acquired'), 0, 'the other pool is alone');
    $all->($own);
    my %last = $pools->();
    is(delta($last{own},  $now{own},  'acquired'), 1, 'and counts its own');
    is(delta($last{main}, $now{main}, 'acquired'), 0, 'only');

    my @notices = $server->log =~
        /connpool:notice\].*?(pool '\w+' \(\w+\): at most .*)$/mg;
    my $children = $server->mpm eq 'prefork' ? 16 : 2;
    is_deeply([sort @notices], [sort
        "pool 'main' (sqlite): at most 10 connections (and 10 one-shot ones) in "
            . "each of $children children, worst case @{[20 * $children]} "
            . "connections; page cache of 5M in each child, "
            . "@{[5 * $children]}M in all",
        "pool 'main' (sqlite): at most 3 connections (and 10 one-shot ones) in "
            . "each of $children children, worst case @{[13 * $children]} "
            . "connections; page cache of 1536K in each child, "
            . ($children == 2 ? '3M' : '24M') . ' in all',
        "pool 'file' (http): at most 30 connections (and 10 one-shot ones) in "
            . "each of $children children, worst case @{[40 * $children]} "
            . 'connections; all upstreams of its server together 100 in each '
            . 'child'],
        'one line a pool says the worst case');
    $server->done;
};

# ---------------------------------------------------------------------------

subtest 'exhaustion' => sub {
    plan skip_all => 'a child of prefork serves one request'
        if ($ENV{CONNPOOL_MPM} // '') eq 'prefork';
    my %pools = (
        direct => 'acquire=300ms overflow=direct overflow-max=2',
        reject => 'acquire=300ms overflow=reject',
        hasty  => 'acquire=0 overflow=reject',
        queued => 'acquire=30s queue=1 overflow=reject',
        nobody => 'acquire=2s queue=0 overflow=reject',
    );
    my $conf = '';
    for my $pool (sort keys %pools) {
        $conf .= "ConnPoolDatabase $pool sqlite:\@DIR\@/db/main.db readonly=on "
            . "max=1 $pools{$pool}\n"
            . "ConnPoolQuery $pool $pool \"SELECT name FROM item WHERE id = 1\"\n"
            . "ConnPoolQuery hold_$pool $pool \"WITH RECURSIVE n(i) AS (SELECT 1 "
            . 'UNION ALL SELECT i + 1 FROM n) SELECT i, hex(zeroblob(500)) FROM n" '
            . "max-rows=1000000000 max-bytes=100G timeout=1min\n"
            . place('query', $pool, "hold_$pool");
    }
    my $server = ConnPoolTest->new(threads => 24, conf => $conf);
    $server->make_sqlite('main', $ROWS);
    $server->allow_log($NOTHING_WRONG, qr/query 'hold_\w+'/,
        qr/pool 'direct' is exhausted/,
        qr/pool '\w+': (?:no connection within|queue is full)/);
    $server->start;
    my $slack = 0.05;

    # Keep a connection of this pool busy, by an endless answer that nobody
    # reads: that takes no processor's time. The client's socket.
    my $hold = sub {
        my ($pool) = @_;
        my $socket = $server->connect;
        print {$socket} "GET /hold_$pool HTTP/1.0\r\n\r\n";
        return $socket;
    };
    my $is_refused = sub {
        my ($pool, $what) = @_;
        my $answer = $server->get("/$pool");
        is($answer->{status}, 503, "$what: 503");
        like($answer->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
            '... Retry-After');
        is($answer->{headers}{'content-type'}, 'application/problem+json',
            '... type');
        unlike($answer->{content}, qr/main\.db|SELECT/, '... no secret');
        return;
    };
    # The shortest of some refusals: longer ones had to wait for a processor.
    my $wait_of = sub {
        my ($pool) = @_;
        my @times = sort { $a <=> $b } map {
            my $begin = time;
            $server->get("/$pool");
            time - $begin
        } 1 .. 5;
        return $times[0];
    };

    subtest 'overflow=direct' => sub {
        my $mark = $server->log_mark;
        my @held = $hold->('direct');
        ok(await(sub { $server->pool('direct')->{busy} == 1 }, 5), 'exhausted');
        my $begin  = time;
        my $answer = $server->get('/direct');
        is($answer->{content}, '[{"name":"one"}]', 'answered all the same');
        cmp_ok(time - $begin, '>=', 0.3, 'after the wait');
        my $pool = $server->pool('direct');
        is($pool->{fallbacks}, 1, 'counted as a fallback');
        is($pool->{closed}{overflow}, 1, 'by a connection of its own');
        push @held, $hold->('direct') for 1 .. 2;
        ok(await(sub { $server->pool('direct')->{fallbacks} == 3 }, 5),
            'two at once');
        $is_refused->('direct', 'a third');
        is($server->pool('direct')->{fallbacks}, 3, '... is none');
        cmp_ok($server->pool('direct')->{timeouts}, '>=', 1, '... but a timeout');
        my @lines = grep { /pool 'direct' is exhausted \(max 1\): falling back/ }
            split /\n/, $server->log_since($mark);
        is(scalar @lines, 1, 'one warning');
        close $_ for @held;
    };

    subtest 'overflow=reject' => sub {
        my $held = $hold->('reject');
        ok(await(sub { $server->pool('reject')->{busy} == 1 }, 5), 'exhausted');
        my $before = $server->pool('reject');
        $is_refused->('reject', 'refused');
        my $shortest = $wait_of->('reject');
        cmp_ok($shortest, '>=', 0.3, 'not before the deadline');
        cmp_ok($shortest, '<=', 0.3 + $slack * slowness(), 'nor long behind it');
        my $after = $server->pool('reject');
        is(delta($after, $before, 'timeouts'), 6, 'timeouts');
        is($after->{fallbacks}, 0, 'no fallback');
        is(delta($after, $before, 'acquired'), 0, 'nothing acquired');
        ok($server->await_log(qr/pool 'reject': no connection within 300 ms \(open 1\/1, busy 1, waiting \d+\)/),
            'the log knows all about it');
        close $held;
    };

    subtest 'acquire=0' => sub {
        my $held = $hold->('hasty');
        ok(await(sub { $server->pool('hasty')->{busy} == 1 }, 5), 'exhausted');
        $is_refused->('hasty', 'refused');
        cmp_ok($wait_of->('hasty'), '<=', $slack * slowness(), 'at once');
        close $held;
    };

    subtest 'a queue without room' => sub {
        my @held = $hold->('nobody');
        ok(await(sub { $server->pool('nobody')->{busy} == 1 }, 5), 'exhausted');
        $is_refused->('nobody', 'queue=0');
        cmp_ok($wait_of->('nobody'), '<=', $slack * slowness(), 'at once');
        is($server->pool('nobody')->{rejected}, 6, 'counted as rejected');
        push @held, $hold->('queued');
        ok(await(sub { $server->pool('queued')->{busy} == 1 }, 5), 'exhausted');
        my $waiter = $server->connect;
        print {$waiter} "GET /queued HTTP/1.0\r\n\r\n";
        ok(await(sub { $server->pool('queued')->{waiting} == 1 }, 5), 'one waits');
        $is_refused->('queued', 'a second');
        is($server->pool('queued')->{rejected}, 1, 'counted as rejected');
        close $_ for @held;
        like(ConnPoolTest::read_until($waiter, undef, 10), qr/200 OK.*"one"/s,
            'the first gets its turn');
    };

    $server->is_at_rest('all at rest again', 10);
    is($server->get("/$_")->{content}, '[{"name":"one"}]', "$_ works again")
        for sort keys %pools;
    $server->done;
};

done_testing;
