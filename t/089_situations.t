#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What breaks is broken one after another; all outputs say the same of it, the
# log names the cause in words, and when it is mended all is well again. The manual has a table of these situations, which is that of this test.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults;
use ConnPoolStates qw(all_say hold place);
use ConnPoolTest qw(await free_port root_dir);
use ConnPoolTLS;
use ConnPoolUpstream;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

my $lab      = ConnPoolFaults->new;
my $upstream = ConnPoolUpstream->start;
my ($shut,  $shut_socket)  = free_port();
my ($cache, $cache_socket) = free_port();

# A server with a certificate that nobody has issued.
my $far = ConnPoolTest->new(plain => 1, status => 0, mpm => 'event', modules => ['ssl']);
my ($tls_port, $tls_socket) = free_port();
my $stranger = ConnPoolTLS->new($far->dir('stranger'));
$far->conf(join "\n", "Listen 127.0.0.1:$tls_port", "<VirtualHost 127.0.0.1:$tls_port>",
    $stranger->conf($stranger->issue('far', 'DNS:localhost,IP:127.0.0.1')), '</VirtualHost>', '');
$far->allow_log(qr/ \[ssl:\w+\] | AH0[12]\d{3}: /x);
$far->start;

# What "the last 30 seconds" are here.
my $MEMORY = 3;
my $server = ConnPoolTest->new(
    testing => 1,
    threads => 16,
    modules => ['socache_memcache'],
    load    => {cptest_module => 't/mod_cptest.so'},
    vars    => {UPSTREAM => $upstream->port, SHUT => $shut, TLS => $tls_port, CACHE => $cache},
    env     => {$lab->env, CONNPOOL_TEST_MEMORY_MS => 1000 * $MEMORY},
    conf    => <<'CONF' .
ConnPoolServerStatus Full
ConnPoolMemory 3M
ConnPoolCache memcache:127.0.0.1:@CACHE@
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=3 busy=100ms timeout=300ms
ConnPoolQuery see app "SELECT a FROM t"
ConnPoolQuery add app "INSERT INTO t VALUES (2)" write=on
ConnPoolQuery later app "SELECT a FROM u"
ConnPoolDatabase tight sqlite:@DIR@/db/fine.db max=1 overflow=reject acquire=20ms
ConnPoolQuery one tight "SELECT a FROM t"
ConnPoolDatabase waits sqlite:@DIR@/db/fine.db max=1 overflow=reject acquire=20s
ConnPoolQuery slowly waits "SELECT a FROM t"
ConnPoolDatabase short sqlite:@DIR@/db/fine.db max=1 overflow=reject acquire=20s queue=1
ConnPoolQuery queued short "SELECT a FROM t"
ConnPoolDatabase spill sqlite:@DIR@/db/fine.db max=1 acquire=20ms
ConnPoolQuery spilled spill "SELECT a FROM t"
ConnPoolDatabase big sqlite:@DIR@/db/big.db cache=16M
ConnPoolQuery join big "SELECT count(*) FROM item a, item b WHERE a.x > b.x" timeout=100s
ConnPoolQuery kept app "SELECT a FROM t" ttl=1h
ConnPoolUpstream well http://127.0.0.1:@UPSTREAM@/text
ConnPoolUpstream shut http://127.0.0.1:@SHUT@/ retry=0 breaker=0
ConnPoolUpstream silent http://127.0.0.1:@UPSTREAM@/hang retry=0 breaker=0 total=200ms
ConnPoolUpstream sick http://127.0.0.1:@UPSTREAM@/status/500 retry=0 breaker=0
ConnPoolUpstream cut http://127.0.0.1:@UPSTREAM@/reset retry=0 breaker=0
ConnPoolUpstream false https://127.0.0.1:@TLS@/ retry=0 breaker=0
ConnPoolUpstream nameless http://nowhere.invalid:@UPSTREAM@/ retry=0 breaker=0 plaintext=allow private=allow
ConnPoolUpstream alone http://127.0.0.1:@SHUT@/ retry=0 breaker=1
<Location "/health">
SetHandler connpool-health
</Location>
<Location "/do">
SetHandler cptest
</Location>
CONF
        place('query', qw(see add later one slowly queued spilled join kept))
        . place('fetch', qw(well shut silent sick cut false nameless alone)),
);
$server->{env}{CONNPOOL_TEST_FAULTS} = $server->dir('run');
$server->make_sqlite('app',  'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE TABLE u(a);');
$server->make_sqlite('fine', 'CREATE TABLE t(a); INSERT INTO t VALUES (1);');
$server->make_sqlite('big', <<'SQL');
CREATE TABLE item(id INTEGER PRIMARY KEY, x TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000)
INSERT INTO item SELECT i, hex(randomblob(500)) FROM n;
SQL
$server->allow_log(qr/./);    # judged below, situation by situation
$server->start;

# ---------------------------------------------------------------------------

my $app = $server->dir('db/app.db');
my (@clients, %undo);

# Requests that go on until it is mended: what was a moment ago is soon past.
my $poking;

sub poke {
    my (@requests) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        for (1 .. 2000) {
            for my $request (@requests) {
                my ($method, $path) = $request =~ /^(POST) (.*)/ ? ($1, $2) : ('GET', $request);
                $server->request($method, $path, timeout => 10);
            }
            sleep 0.05;
        }
        POSIX::_exit(0);
    }
    $poking = $pid;
    return;
}

sub poke_no_more {
    if ($poking) {
        kill 'KILL', $poking;
        waitpid $poking, 0;
    }
    undef $poking;
    return;
}

sub files_of {
    return grep { -e } map { "$app$_" } '', '-wal', '-shm';
}

sub away {
    rename $_, "$_.away" or die "$_: $!" for files_of();
    return;
}

sub back {
    unlink files_of();
    rename "$_.away", $_ for grep { -e "$_.away" } map { "$app$_" } '', '-wal', '-shm';
    return;
}

sub hold_one {
    my ($pool) = @_;
    unlink $server->dir('run/enough');
    push @clients, hold($server, $pool);
    ok(await(sub { $server->pool($pool)->{busy} == 1 }, 10), "the one of $pool is busy");
    return;
}

sub let_go {
    $server->write_file('run/enough', '');
    ok(await(sub { !grep { $_->{busy} } @{$server->status_json->{pools}} }, 30), 'all come back');
    @clients = ();
    return;
}

sub ask {
    my ($path) = @_;
    my $client = $server->connect or die 'no connection';
    print {$client} "GET $path HTTP/1.0\r\n\r\n";
    push @clients, $client;
    return;
}

sub fault_again {
    my ($name, $content) = @_;
    my $path = $server->dir("run/$name");
    my $pid  = fork // die "fork: $!";
    if (!$pid) {
        for (1 .. 10_000) {
            if (!-e $path) {
                $server->write_file('run/making', $content);
                rename $server->dir('run/making'), $path;
            }
            sleep 0.02;
        }
        POSIX::_exit(0);
    }
    $poking = $pid;
    return;
}

my $no_answer = 'the last fetch got no answer';

sub dead_upstream {
    my ($name) = @_;
    return {"pool $name" => "degraded: $no_answer", "upstream $name" => "degraded: $no_answer"};
}

# name: of the row of the manual; say: what all say, by kind and name; count: a
# metric that tells it, too; log: what a line of the log says. N is a number,
# "..." anything.
my @SITUATIONS = (
    {
        name   => 'its file is gone',
        break  => sub { away(); poke('/see') },
        mend   => sub { back() },
        state  => 'down',
        say    => {'pool app' => 'down: no connection can be opened'},
        title  => 'DOWN: app (storage)',
        count  => 'connpool_create_failures_total{pool="app",class="storage"}',
        log    => "pool 'app': cannot open a connection: the database cannot be opened: ...No such file or directory",
    },
    {
        name   => 'its file cannot be read',
        break  => sub { away(); $server->write_file('db/app.db', 'no matter ' x 1000); chmod 0, $app; poke('/see') },
        mend   => sub { back() },
        state  => 'down',
        say    => {'pool app' => 'down: no connection can be opened'},
        title  => 'DOWN: app (storage)',
        count  => 'connpool_create_failures_total{pool="app",class="storage"}',
        log    => "pool 'app': cannot open a connection: the database cannot be opened: ...Permission denied",
    },
    {
        name   => 'its file is no database',
        break  => sub { away(); $server->write_file('db/app.db', 'no database ' x 1000); chmod 0666, $app; poke('/see') },
        mend   => sub { back() },
        state  => 'down',
        say    => {'pool app' => 'down: no connection can be opened'},
        title  => 'DOWN: app (storage)',
        count  => 'connpool_create_failures_total{pool="app",class="storage"}',
        log    => "pool 'app': cannot open a connection: the file is not a database: ...",
    },
    {
        name   => 'its file cannot be written',
        break  => sub { chmod 0444, $app; poke('POST /add') },
        mend   => sub { chmod 0644, $app },
        state  => 'degraded',
        say    => {'pool app' => 'degraded: no connection can be opened for writing'},
        title  => 'DEGRADED: app',
        count  => 'connpool_create_failures_total{pool="app",class="storage"}',
        log    => "pool 'app': cannot open a connection: the database cannot be written: ...must be writable for the server's user",
    },
    {
        name   => 'the disk is full',
        break  => sub { $undo{full} = $lab->inject(call => 'pwrite', name => 'app.db-wal', error => 'ENOSPC'); poke('POST /add') },
        mend   => sub { $lab->end($undo{full}) },
        state  => 'down',
        say    => {'query add' => 'down: N of N runs of the last 30 seconds failed because of the database'},
        title  => 'DOWN: add (storage)',
        count  => 'connpool_query_errors_total{query="add",class="storage"}',
        log    => "query 'add': the disk is full (storage): ...",
    },
    {
        name   => 'another program keeps it locked',
        break  => sub {
            $undo{lock} = open(my $shell, '|-', 'sqlite3', '-batch', '-init', '/dev/null', $app) // die $!;
            $undo{shell} = $shell;
            $shell->autoflush(1);
            print {$shell} "BEGIN EXCLUSIVE; INSERT INTO t VALUES (0);\n";
            poke('POST /add');
        },
        mend   => sub { print {$undo{shell}} "ROLLBACK;\n"; close $undo{shell} },
        state  => 'down',
        say    => {'query add' => 'down: N of N runs of the last 30 seconds failed because of the database'},
        title  => 'DOWN: add (storage)',
        count  => 'connpool_query_errors_total{query="add",class="storage"}',
        log    => "query 'add': the database is locked by another program (storage): ...",
    },
    {
        name   => 'a table is lost',
        break  => sub { $server->sqlite('app', 'DROP TABLE u'); $server->get('/later') },
        mend   => sub { $server->sqlite('app', 'CREATE TABLE u(a)') },
        state  => 'degraded',
        say    => {'query later' => 'degraded: it cannot be prepared'},
        title  => 'DEGRADED: later',
        count  => 'connpool_query_errors_total{query="later",class="storage"}',
        log    => "query 'later': the query does not fit the database (storage): ...no such table: u",
    },
    {
        name   => 'all connections are busy, and somebody waits',
        break  => sub { hold_one('waits'); ask('/slowly') },
        mend   => sub { let_go() },
        state  => 'degraded',
        say    => {'pool waits' => 'degraded: all 1 connections are busy; 1 waiting, the first for N s'},
        title  => 'DEGRADED: waits',
        count  => 'connpool_waiters{pool="waits"}',
        log    => "pool 'waits' is degraded: all 1 connections are busy",
    },
    {
        name   => 'some requests are refused',
        break  => sub {
            hold_one('tight');
            $server->get('/one');
            let_go();
            poke('/one');    # these are served
        },
        state  => 'degraded',
        say    => {'pool tight' => 'degraded: N of N requests of the last 30 seconds were refused'},
        title  => 'DEGRADED: tight',
        count  => 'connpool_refused_seconds_count{pool="tight"}',
        log    => "pool 'tight': no connection within 20 ms (open 1/1, busy 1, waiting N)",
        is_passing => 1,
    },
    {
        name   => 'most requests are refused',
        break  => sub { hold_one('tight'); poke('/one') },
        mend   => sub { let_go() },
        state  => 'down',
        say    => {'pool tight' => 'down: N of N requests of the last 30 seconds were refused'},
        title  => 'DOWN: tight (refused)',
        count  => 'connpool_acquire_timeouts_total{pool="tight"}',
        log    => "pool 'tight': no connection within 20 ms (open 1/1, busy 1, waiting N)",
    },
    {
        name   => 'its queue is full',
        break  => sub { hold_one('short'); ask('/queued'); await(sub { $server->pool('short')->{waiting} }, 5); poke('/queued') },
        mend   => sub { let_go() },
        state  => 'down',
        say    => {'pool short' => 'down: N of N requests of the last 30 seconds were refused'},
        title  => 'DOWN: short (refused)',
        count  => 'connpool_rejected_total{pool="short"}',
        log    => "pool 'short': queue is full (open 1/1, busy 1, waiting 1)",
    },
    {
        name   => 'one-shot connections stand in',
        break  => sub { hold_one('spill'); poke('/spilled') },
        mend   => sub { let_go() },
        state  => 'degraded',
        say    => {'pool spill' => 'degraded: one-shot connections were used'},
        title  => 'DEGRADED: spill',
        count  => 'connpool_fallbacks_total{pool="spill"}',
        log    => "pool 'spill' is exhausted (max 1): falling back to one-shot connections",
    },
    {
        name   => 'an upstream refuses connections',
        break  => sub { poke('/shut') },
        state  => 'degraded',
        say    => dead_upstream('shut'),
        title  => 'DEGRADED: shut',
        count  => 'connpool_http_requests_total{pool="shut",code_class="none"}',
        log    => "upstream 'shut': the upstream refused the connection (upstream): ...",
    },
    {
        name   => 'an upstream is silent',
        break  => sub { poke('/silent') },
        state  => 'degraded',
        say    => dead_upstream('silent'),
        title  => 'DEGRADED: silent',
        count  => 'connpool_http_failed_seconds_count{pool="silent"}',
        log    => "upstream 'silent': the upstream took too long to answer (deadline)",
    },
    {
        name   => 'an upstream breaks off',
        break  => sub { poke('/cut') },
        state  => 'degraded',
        say    => dead_upstream('cut'),
        title  => 'DEGRADED: cut',
        count  => 'connpool_http_requests_total{pool="cut",code_class="none"}',
        log    => "upstream 'cut': the upstream closed the connection too early (upstream): ...",
    },
    {
        name   => 'an upstream answers with 500',
        break  => sub { $server->get('/sick') for 1 .. 5 },
        state  => 'ok',
        say    => {},
        title  => 'OK',
        count  => 'connpool_http_requests_total{pool="sick",code_class="5xx"}',
    },
    {
        name   => 'the certificate of an upstream is not trusted',
        break  => sub { poke('/false') },
        state  => 'degraded',
        say    => dead_upstream('false'),
        title  => 'DEGRADED: false',
        count  => 'connpool_http_requests_total{pool="false",code_class="none"}',
        log    => "upstream 'false': the upstream's certificate was not accepted (upstream): ...",
    },
    {
        name   => 'the name of an upstream is not known',
        break  => sub { poke('/nameless') },
        state  => 'degraded',
        say    => dead_upstream('nameless'),
        title  => 'DEGRADED: nameless',
        count  => 'connpool_http_requests_total{pool="nameless",code_class="none"}',
        log    => "upstream 'nameless': the upstream's name could not be resolved (upstream): ...",
    },
    {
        name   => 'an upstream is left alone',
        break  => sub {
            # Its pause becomes longer, and then it is surely seen while it lasts.
            await(sub {
                $server->get('/alone');
                my ($up) = grep { $_->{name} eq 'alone' } @{$server->status_json->{upstreams}};
                return $up->{breaker} eq 'open' && $up->{breaker_refused} > 100;
            }, 30);
            poke('/alone');
        },
        state  => 'degraded',
        say    => {'pool alone' => 'degraded: the breaker is open', 'upstream alone' => 'degraded: the breaker is open'},
        title  => 'DEGRADED: alone',
        count  => 'connpool_http_breaker_refused_total{pool="alone"}',
        log    => "upstream 'alone' did not answer N times in a row and is left alone for a while",
    },
    {
        name   => 'the event loop dies again and again',
        break  => sub { fault_again('loop-die', '') },
        state  => 'degraded',
        say    => {'event_loop event_loop' => 'degraded: no event loop runs in 1 of 1 children'},
        title  => 'DEGRADED: event_loop',
        count  => 'connpool_loop_restarts_total',
        log    => "event loop: the thread ended",
        is_passing => 1,
        is_again   => 1,    # each has a line, as it should
    },
    {
        name   => 'the event loop is stuck',
        break  => sub { fault_again('loop-stall', '60000') },
        mend   => sub { unlink $server->dir('run/loop-stall') },
        state  => 'degraded',
        say    => {'event_loop event_loop' => 'degraded: no event loop runs in 1 of 1 children'},
        title  => 'DEGRADED: event_loop',
        count  => 'connpool_loop_restarts_total',
        log    => "event loop: no heartbeat for 2 s, thread abandoned",
        is_passing => 1,
    },
    {
        name   => 'a child is above ConnPoolMemory',
        break  => sub { ask('/join'); await(sub { $server->status_json->{state} ne 'ok' }, 20) },
        mend   => sub { $server->restart },
        state  => 'degraded',
        say    => {'memory memory' => 'degraded: a child uses N MiB, more than its bound of N MiB'},
        title  => 'DEGRADED: memory',
        count  => 'connpool_memory_shrunk_total',
        log    => "ConnPoolMemory is reached: this child used N MiB of N MiB",
    },
    {
        name   => 'the cache is away',
        break  => sub { poke('/kept') },
        state  => 'degraded',
        say    => {'cache memcache' => 'degraded: N calls of the last 30 seconds failed or were not tried'},
        title  => 'DEGRADED: memcache',
        count  => 'connpool_cache_failures_total',
        log    => "ConnPoolCache memcache: a lookup failed; queries are run",
    },
    {
        name   => 'a child is killed',
        break  => sub {
            $server->get('/see');
            my ($child) = $server->children;
            $server->kill_child('KILL', $child);
            await(sub { my @now = $server->children; @now == 1 && $now[0] != $child && $server->connect }, 20);
        },
        state  => 'ok',
        say    => {},
        title  => 'OK',
        count  => 'connpool_closed_total{reason="killed"}',
    },
);

# ---------------------------------------------------------------------------
# One line a cause, in words, that does not repeat itself.

# What a line says, without its time and where it is from.
sub message {
    my ($line) = @_;
    return $line =~ s/^\[[^\]]+\] \[[^\]]+\] \[pid [^\]]+\] (?:\[(?:client|remote) [^\]]+\] )?//r;
}

# Three words that come twice in one sentence.
sub repetition {
    my ($message) = @_;
    my @words = map { lc } $message =~ /[\w'.\/-]+/g;
    my %seen;
    for my $i (0 .. $#words - 2) {
        my $three = join ' ', @words[$i .. $i + 2];
        return $three if $seen{$three}++;
    }
    return;
}

sub judge_log {
    my ($situation, $text) = @_;
    my @lines = grep { /\[connpool:(?:error|warn|notice|crit)\]/ } split /\n/, $text;
    my @said  = map { message($_) } @lines;
    my @again = map { my $three = repetition($_); $three ? "'$three': $_" : () } @said;
    is_deeply(\@again, [], 'no line repeats its own words');
    is_deeply([grep { /\(0 more/ } @said], [], 'or says what was not');
    my %times;
    @said = () if $situation->{is_again};
    $times{s/\d+/N/gr}++ for grep { !/more like this/ } @said;
    is_deeply([grep { $times{$_} > 2 } sort keys %times], [], 'and none comes again and again') or diag(join "\n", @said);
    note(map { "$_\n" } @said);
    return;
}

sub metric {
    my ($selector) = @_;
    my ($name, $labels) = $selector =~ /^(\w+)(?:\{(.*)\})?$/;
    my %wanted = ($labels // '') =~ /(\w+)="([^"]*)"/g;
    my $sum = 0;
    for my $line (split /\n/, $server->get('/connpool-status?format=openmetrics')->{content}) {
        my ($of, $value) = $line =~ /^\Q$name\E(?:\{(.*)\})? (\S+)$/ or next;
        my %has = ($of // '') =~ /(\w+)="([^"]*)"/g;
        $sum += $value if !grep { ($has{$_} // '') ne $wanted{$_} } keys %wanted;
    }
    return $sum;
}

sub pattern {
    my ($text) = @_;
    my $pattern = quotemeta $text;
    $pattern =~ s/\bN\b/\\d[\\d.]*/g;
    $pattern =~ s/(?:\\\.){3}/.*/g;
    return $pattern;
}

# ---------------------------------------------------------------------------
# The manual.

my $MANUAL = root_dir() . '/docs/monitoring-situations.md';

sub row {
    my ($situation) = @_;
    my ($state, $say, $log) = @$situation{qw(state say log)};
    my @names   = sort keys %$say;
    my $code    = $state eq 'down' ? 503 : 200;
    my @causes  = map { my $cause = $say->{$_} =~ s/^\w+: //r; "$_: $cause" } @names;
    my @metrics = map {
        my ($kind, $name) = split / /;
        my ($level) = $say->{$_} =~ /^(\w+)/;
        qq(`connpool_state{kind="$kind",name="$name",state="$level"} 1`);
    } @names;
    my @cells = (
        $situation->{name}, join('; ', "$code `$state`", @causes), $situation->{title},
        join('<br>', @metrics, "`$situation->{count}`"), $log ? "`$log`" : '-'
    );
    return '| ' . join(' | ', map { s/\|/\\|/gr } @cells) . ' |';
}

sub manual_rows {
    open my $in, '<', $MANUAL or die "$MANUAL: $!";
    my @rows = grep { /^\| / && !/^\| (?:Situation|---)/ } <$in>;
    chomp @rows;
    return @rows;
}

is_deeply([manual_rows()], [map { row($_) } @SITUATIONS], 'the manual has these situations')
    or diag(map { row($_) . "\n" } @SITUATIONS);
cmp_ok(scalar @SITUATIONS, '>=', 20, 'at least twenty');

# ---------------------------------------------------------------------------

# Others use this machine, too: once in three times must do.
sub health_answers {
    my ($code) = @_;
    my ($took, $answer);
    for (1 .. 3) {
        my $began = time;
        $answer = $server->get('/health');
        $took   = time - $began;
        last if $took < 2;
    }
    cmp_ok($took, '<', 2, 'health answers within 2 s');
    return $answer->{status} == $code;
}

my @only = split /,/, $ENV{SITUATION} // '';
for my $situation (@SITUATIONS) {
    next if @only && !grep { $situation->{name} =~ /$_/ } @only;
    subtest $situation->{name} => sub {
        all_say($server, 'ok', {}, qr/^OK$/);
        my $mark = $server->log_mark;
        my $before = metric($situation->{count});
        $situation->{break}->();
        my $say  = {map { $_ => do { my $said = pattern($situation->{say}{$_}); qr/^$said/ } } keys %{$situation->{say}}};
        all_say($server, $situation->{state}, $say, qr/^\Q$situation->{title}\E$/);
        my $is_so = health_answers($situation->{state} eq 'down' ? 503 : 200);
        ok($is_so, 'with its status') if !$situation->{is_passing};
        ok(await(sub { metric($situation->{count}) > $before }, 10), "metric $situation->{count}");
        my $log = $situation->{log} && pattern($situation->{log});
        ok(await(sub { $server->log_since($mark) =~ /$log/ }, 15), 'told') if $log;
        poke_no_more();
        $situation->{mend}->() if $situation->{mend};
        all_say($server, 'ok', {}, qr/^OK$/);
        judge_log($situation, $server->log_since($mark));
    };
}

poke_no_more();
$server->dismiss;
$far->stop;
$upstream->stop;
done_testing;
