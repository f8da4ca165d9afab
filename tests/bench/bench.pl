# SPDX-License-Identifier: Apache-2.0
#
# bench.pl [ROUNDS [SECONDS]]: what a request costs, next to other ways to the
# same answer on the same machine in the same run.
#
# Each server is stock httpd, MPM event, one child of 64 threads (with as few as clients,
# event would close idle connections to make room), and runs on
# the first processor; the client (h2load) and the upstream on the second. The
# rounds go through all cases in turn, each for about SECONDS, and medians
# count; the spread behind them is (max - min) / median. The figure to trust is
# the CPU time of the server's child, as the kernel counts it: requests per
# second also depend on the client.
#
# Results go to stdout and to bench/results.md in the build directory, as
# Markdown.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(command);
use ConnPoolUpstream;
use File::Path ();
use List::Util qw(max min sum0);
use Test::More;
use Time::HiRes qw(time);

my ($ROUNDS, $SECONDS) = (shift // 9, shift // 0.25);
my @CLIENTS = (1, 8, 32);
my $BUILD   = $ENV{CONNPOOL_BUILD} // "$FindBin::Bin/../../build";
my $HAS_TWO = (command('nproc'))[1] >= 2;

# ---------------------------------------------------------------------------
# Servers

# Without what tests need and nobody runs in production; nobody's .htaccess is
# looked for, as Debian sets it up; the access log is on, but goes nowhere.
my $LEAN = <<'CONF';
LogLevel warn
ExtendedStatus Off
KeepAliveTimeout 60
<Directory "/">
AllowOverride None
Options FollowSymLinks
</Directory>
<VirtualHost *:@PORT@>
ServerName bench
CustomLog /dev/null "%h %l %u %t \"%r\" %>s %b"
CONF

sub pin {
    my ($processor, @pids) = @_;
    return if !$HAS_TWO;
    for my $pid (@pids) {
        my ($exit, $text) = command('taskset', '-a', '-p', '-c', $processor, $pid);
        die "taskset: $text" if $exit != 0;
    }
    return;
}

sub start_pinned {
    my ($processor, %arg) = @_;
    my $conf   = delete $arg{conf} // '';
    my $server = ConnPoolTest->new(
        mpm      => 'event',
        children => 1,
        threads  => 64,
        status   => 0,
        # Memory that is filled on purpose costs time.
        env  => {MALLOC_PERTURB_ => 0},
        conf => "$LEAN$conf</VirtualHost>\n",
        %arg,
    );
    return ($server, sub {
        $server->start;
        pin($processor, $server->pid, $server->children);
        return $server;
    });
}

my ($upstream, $start_upstream) = start_pinned(1, plain => 1, threads => 128);
$upstream->write_file('htdocs/kilobyte.txt', 'x' x 1023 . "\n");
$start_upstream->();

my $COLUMNS = 'SELECT id, title, day FROM events WHERE id';
my %SQL     = (one => "$COLUMNS = :first", fifty => "$COLUMNS BETWEEN :first AND :last");
my $CONF    = <<"CONF";
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=10
ConnPoolUpstream other \@UPSTREAM\@/kilobyte.txt
ConnPoolQuery one events "$SQL{one}"
ConnPoolParam one first integer required
ConnPoolQuery fifty events "$SQL{fifty}"
ConnPoolParam fifty first integer required
ConnPoolParam fifty last integer required
DBDriver sqlite3
DBDParams \@DIR\@/db/events.db
DBDMin 1
DBDKeep 10
DBDMax 10
DBDPrepareSQL "$COLUMNS = %s" one
DBDPrepareSQL "$COLUMNS BETWEEN %s AND %s" fifty
ProxyPass "/proxy" "\@UPSTREAM\@/kilobyte.txt"
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe other
</Location>
CONF
$CONF .= <<"CONF" for qw(one fifty);
<Location "/connpool/$_">
SetHandler connpool-query
ConnPoolServe $_
</Location>
<Location "/dbd/$_">
SetHandler bench-dbd
BenchQuery $_
</Location>
<Location "/bare/$_">
SetHandler bench-bare
BenchBare \@DIR\@/db/events.db "$SQL{$_}"
</Location>
<Location "/empty/$_">
SetHandler bench-empty
BenchBody "\@DIR\@/$_.json"
</Location>
CONF

my $EVENTS = <<'SQL';
PRAGMA journal_mode = WAL;
CREATE TABLE events(id INTEGER PRIMARY KEY, title TEXT, day TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO events SELECT i, 'event number ' || i, date('2026-01-01', i || ' days') FROM n;
SQL

my %RANGE = (one => 'BETWEEN 77 AND 77', fifty => 'BETWEEN 77 AND 126');

# One server for each setting of the flags, so that their pools do not mix.
sub make_server {
    my ($flags) = @_;
    my ($server, $start) = start_pinned(
        0,
        modules => [qw(dbd proxy_http)],
        load    => {bench_module => 't/mod_bench.so'},
        vars    => {UPSTREAM => $upstream->url},
        conf    => $CONF,
    );
    $server->conf("$flags\n" . $server->conf);
    $server->make_sqlite('events', $EVENTS);
    # What all must answer, from a program that has no part in this.
    for my $name (keys %RANGE) {
        $server->write_file("$name.json", $server->sqlite('events',
            'SELECT json_group_array(json_object('
                . "'id', id, 'title', title, 'day', day)) FROM events "
                . "WHERE id $RANGE{$name}"));
    }
    return $start->();
}

# ---------------------------------------------------------------------------
# Measuring

# Of all threads, which live as long as their child: to the nanosecond, where
# /proc/PID/stat counts hundredths.
sub cpu_seconds {
    my ($server) = @_;
    my $nanoseconds = 0;
    for my $path (map { glob "/proc/$_/task/*/schedstat" } $server->children) {
        open(my $in, '<', $path) or next;
        $nanoseconds += (split ' ', <$in> // '')[0] // 0;
    }
    die "no /proc/PID/task/*/schedstat\n" if !$nanoseconds;
    return $nanoseconds / 1e9;
}

sub resident {
    my ($server) = @_;
    return sum0(map { $server->rss($_) } $server->children) / 1024;
}

# h2load: requests per second; dies unless every answer was a 2xx.
sub load {
    my ($url, $clients, $requests) = @_;
    my @pin = $HAS_TWO ? qw(taskset -c 1) : ();
    my ($exit, $text) =
        command(@pin, qw(h2load --h1 -t 1 -c), $clients, '-n', $requests, $url);
    die "h2load $url: $text"
        if $exit != 0 || $text !~ /^status codes: $requests 2xx/m;
    my ($rate) = $text =~ m{^finished in .*?, ([\d.]+) req/s}m;
    return $rate;
}

# Warm up, and set how many requests take about SECONDS.
sub prepare {
    my ($case, $clients) = @_;
    my $url  = $case->{server}->url($case->{path});
    my $rate = load($url, $clients, 500);
    $rate = load($url, $clients, max(500, int($rate / 10)));
    $case->{requests}{$clients} = max(200, int($rate * $SECONDS));
    $case->{resident} = resident($case->{server});
    return;
}

sub measure {
    my ($case, $clients) = @_;
    my ($server, $requests) = ($case->{server}, $case->{requests}{$clients});
    my $memory = resident($server);
    my $before = cpu_seconds($server);
    my $rate   = load($server->url($case->{path}), $clients, $requests);
    my $cpu    = (cpu_seconds($server) - $before) / $requests * 1e6;
    push @{$case->{cpu}{$clients}},  $cpu;
    push @{$case->{rate}{$clients}}, $rate;
    $case->{growth} += resident($server) - $memory;
    return;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

sub spread {
    return (max(@_) - min(@_)) / (median(@_) || 1) * 100;
}

my $REPORT = '';

sub report {
    my ($text) = @_;
    $REPORT .= $text;
    print $text;
    return;
}

sub report_group {
    my ($title, @cases) = @_;
    report("\n### $title\n\n| clients | answered by | CPU us/request | ratio | "
            . "requests/s | ratio | spread CPU, rate |\n"
            . "|---:|---|---:|---:|---:|---:|---:|\n");
    for my $clients (@CLIENTS) {
        my ($ours) = @cases;
        for my $case (@cases) {
            my ($cpu, $rate) = map { median(@{$case->{$_}{$clients}}) } qw(cpu rate);
            report(sprintf "| %d | %s | %.1f | %.2f | %.0f | %.2f | %.0f %%, %.0f %% |\n",
                $clients, $case->{name}, $cpu,
                $cpu / median(@{$ours->{cpu}{$clients}}), $rate,
                $rate / median(@{$ours->{rate}{$clients}}),
                spread(@{$case->{cpu}{$clients}}), spread(@{$case->{rate}{$clients}}));
        }
    }
    report(sprintf "\nGrowth of the child's memory after the warm-up: %s.\n",
        join ', ', map { sprintf '%s %+d KB', $_->{name}, $_->{growth} } @cases);
    return;
}

sub run_group {
    my ($title, $body, @cases) = @_;
    for my $case (@cases) {
        my $answer = $case->{server}->get($case->{path});
        die "$title: $case->{name}: $answer->{status} $answer->{content}"
            if $answer->{status} != 200 || $answer->{content} ne $body;
    }
    for my $clients (@CLIENTS) {
        prepare($_, $clients) for @cases;
        for my $round (1 .. $ROUNDS) {
            # Every other round backwards: what drifts hits all alike.
            measure($_, $clients) for $round % 2 ? @cases : reverse @cases;
        }
    }
    report_group($title, @cases);
    return;
}

# ---------------------------------------------------------------------------
# The memory of full pools

# A child that has answered on all its threads, then ten SQLite connections
# (nine readers, one writer) and a hundred idle ones to the upstream.
sub run_memory {
    my $slow = ConnPoolUpstream->start;
    my ($server, $start) = start_pinned(
        0,
        threads => 128,
        status  => 1,
        conf    => <<"CONF",
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=10
ConnPoolHTTPPerHost 100
ConnPoolUpstream slow @{[$slow->url]}/delay/2 keepalive=5min
ConnPoolQuery scan events "SELECT sum(length(title)), max(n.v) AS v FROM events, (WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c WHERE v < 200000) SELECT count(*) AS v FROM c) AS n"
ConnPoolQuery write events "UPDATE events SET title = title || '.'" write=on methods=POST
<Location "/scan">
SetHandler connpool-query
ConnPoolServe scan
</Location>
<Location "/write">
SetHandler connpool-query
ConnPoolServe write
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe slow
</Location>
CONF
    );
    # More than the caches hold.
    $server->make_sqlite('events', $EVENTS =~ s/10000/40000/r);
    $server->write_file('htdocs/nothing.txt', 'x' x 14);
    $start->();
    my $open = sub {
        my ($kind) = @_;
        return sum0(map { $_->{open} } grep { $_->{kind} =~ /$kind/ }
                @{$server->status_json->{pools}});
    };
    load($server->url('/nothing.txt'), 110, 20_000);
    $open->('sqlite');
    my @memory = (resident($server));
    load($server->url('/scan'), 9, 9 * 3);
    my $status = $server->request('POST', '/write',
        headers => {'Content-Length' => 0})->{status};
    die "write: $status" if $status != 200;
    my $databases = $open->('sqlite');
    push @memory, resident($server);
    load($server->url('/fetch'), 100, 100);
    my $fetchers = $open->('http');
    push @memory, resident($server);
    my $sockets = $slow->stats->{connections};
    die "$databases databases, $fetchers fetchers, $sockets sockets"
        if $databases != 10 || $fetchers != 100 || $sockets != 100;
    report(sprintf "\n### Memory of one child (128 threads)\n\n"
            . "| what | KB |\n|---|---:|\n"
            . "| after 20000 answers without a connection | %d |\n"
            . "| + %d SQLite connections with full caches | %+d |\n"
            . "| + %d idle connections to an upstream | %+d |\n"
            . "| both | %+d |\n",
        $memory[0], $databases, $memory[1] - $memory[0], $fetchers,
        $memory[2] - $memory[1], $memory[2] - $memory[0]);
    $server->stop;
    $slow->stop;
    return;
}

# ---------------------------------------------------------------------------
# Batches

# Middle of the times of so many runs, in milliseconds.
sub median_ms {
    my ($runs, $code) = @_;
    my @times = map {
        my $start = time;
        $code->();
        1000 * (time - $start);
    } 1 .. $runs;
    return median(@times);
}

# One client with one connection: ten requests, one after the other, and one
# batch that asks for the same.
sub run_batch {
    my $slow = ConnPoolUpstream->start;
    my %serve = (
        one   => ['a row by key',          '?first=77'],
        other => ['a kilobyte, upstream',  ''],
        slow  => ['20 ms, upstream',       ''],
    );
    my $conf = <<"CONF";
ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=10
ConnPoolUpstream other @{[$upstream->url('/kilobyte.txt')]}
ConnPoolUpstream slow @{[$slow->url('/delay/0.02')]}
ConnPoolQuery one events "$COLUMNS = :first"
ConnPoolParam one first integer required
ConnPoolBatchParallel 10
CONF
    for my $name (sort keys %serve) {
        my $kind = $name eq 'one' ? 'query' : 'fetch';
        my $ten  = join ' ', ($name) x 10;
        $conf .= <<"CONF";
<Location "/$name">
SetHandler connpool-$kind
ConnPoolServe $name
</Location>
<Location "/batch/$name">
SetHandler connpool-batch
ConnPoolServe $ten
</Location>
CONF
    }
    my ($server, $start) = start_pinned(0, conf => $conf);
    $server->make_sqlite('events', $EVENTS);
    $start->();
    my $get = sub {
        my ($path, $well) = @_;
        my $answer = $server->get($path, keep_alive => 1);
        my $found = () = $answer->{content} =~ /"status":200/g;
        die "$path: $answer->{status} $answer->{content}"
            if $answer->{status} != 200 || ($well && $found != $well);
    };
    report("\n### Ten in one request\n\n| ten times | ten requests | one batch "
            . "| ratio |\n|---|---:|---:|---:|\n");
    for my $name (qw(one other slow)) {
        my ($title, $args) = @{$serve{$name}};
        my (@single, @batch);
        for (0 .. $ROUNDS) {    # the first one opens connections
            push @single, median_ms(10, sub { $get->("/$name$args") for 1 .. 10 });
            push @batch, median_ms(10, sub { $get->("/batch/$name$args", 10) });
        }
        my ($single, $batch) = (median(@single), median(@batch));
        report(sprintf "| %s | %.2f ms | %.2f ms | %.2f |\n",
            $title, $single, $batch, $batch / $single);
    }
    $server->done;
    $slow->stop;
    return;
}

# ---------------------------------------------------------------------------
# Answers that are kept or shared

sub run_cache {
    my ($server, $start) = start_pinned(0, modules => ['socache_shmcb']);
    $server->make_sqlite('events', $EVENTS);
    my %kept = (plain => '', data => 'ttl=data', time => 'ttl=1h', together => 'coalesce=on');
    my $slow = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT :n)'
        . ' SELECT max(i) AS n FROM n';
    my $conf = "ConnPoolDatabase events sqlite:\@DIR\@/db/events.db max=10 acquire=60s\n";
    for my $name (sort keys %kept) {
        $conf .= <<"CONF";
ConnPoolQuery one_$name events "$COLUMNS = :first" $kept{$name}
ConnPoolParam one_$name first integer required
ConnPoolQuery slow_$name events "$slow" $kept{$name} timeout=60s
ConnPoolParam slow_$name n integer required
CONF
        $conf .= "<Location \"/$_$name\">\nSetHandler connpool-query\n"
            . "ConnPoolServe $_$name\n</Location>\n"
            for qw(one_ slow_);
    }
    $server->conf("$LEAN$conf</VirtualHost>\n");
    $start->();
    run_group(
        'One row by key, kept',
        $server->get('/one_plain?first=77')->{content},
        map {
            {
                name   => $kept{$_} ? "`$kept{$_}`" : 'connpool-query',
                server => $server, path => "/one_$_?first=77"
            }
        } qw(plain data time)
    );
    # So many steps as take 20 ms here.
    my $ask = sub { $server->get("/slow_$_[0]?n=$_[1]", keep_alive => 1) };
    my $n   = int(100_000 * 20 / median_ms(20, sub { $ask->('plain', 100_000) }));
    report("\n### A query of 20 ms, one client\n\n| kept | time |\n|---|---:|\n");
    for my $name (qw(plain data time)) {
        $ask->($name, $n);
        report(sprintf "| %s | %.2f ms |\n", $kept{$name} || 'not',
            median_ms(20, sub { $ask->($name, $n) }));
    }
    report("\n### The same for 200 clients at once\n\n| shared | time for all | CPU |\n"
            . "|---|---:|---:|\n");
    for my $name (qw(plain together)) {
        my (@times, @cpu);
        for (1 .. 3) {
            my $before = cpu_seconds($server);
            push @times, median_ms(1, sub { load($server->url("/slow_$name?n=$n"), 200, 200) });
            push @cpu, cpu_seconds($server) - $before;
        }
        report(sprintf "| %s | %.0f ms | %.0f ms |\n", $kept{$name} || 'not',
            median(@times), 1000 * median(@cpu));
    }
    $server->done;
    return;
}

# ---------------------------------------------------------------------------

sub first_match {
    my ($path, $pattern) = @_;
    open(my $in, '<', $path) or return '?';
    my ($found) = map { /$pattern/ ? $1 : () } <$in>;
    return $found // '?';
}

# On a machine that has other work, the figures say little.
sub report_surroundings {
    my ($when) = @_;
    report(sprintf "%s: load %s.\n", $when,
        first_match('/proc/loadavg', qr/^(\S+)/));
    return;
}

report(sprintf "%s, %s; %d rounds of %s s.\n",
    (command(ConnPoolTest::httpd(), '-v'))[1] =~ m{(Apache/\S+)},
    first_match('/proc/cpuinfo', qr/^model name\s*: (.*\S)/), $ROUNDS, $SECONDS);
report_surroundings('Before');

my $only    = $ENV{BENCH_ONLY} // '';    # one, fifty, fetch, batch, cache, memory
my $pooled  = make_server('ConnPoolEngine On');
my $direct  = make_server('ConnPoolEngine Off');
my $no_loop = make_server('ConnPoolEventLoop Off');

my %TITLE = (one => 'One row by key', fifty => 'Fifty rows by range');
for my $name (qw(one fifty)) {
    next if $only && $only ne $name;
    open(my $in, '<', $pooled->dir("$name.json")) or die $!;
    my $body  = do { local $/ = undef; <$in> };
    my $query = $name eq 'one' ? "$name?first=77" : "$name?first=77&last=126";
    run_group(
        $TITLE{$name},
        $body,
        {name => 'connpool-query', server => $pooled, path => "/connpool/$query"},
        {name => 'empty handler',  server => $pooled, path => "/empty/$query"},
        {name => 'bare apr_reslist', server => $pooled, path => "/bare/$query"},
        {name => 'connpool-query, `ConnPoolEngine Off`', server => $direct, path => "/connpool/$query"},
        {name => 'mod_dbd', server => $pooled, path => "/dbd/$query"},
    );
}
run_group(
    'One kilobyte from an upstream',
    'x' x 1023 . "\n",
    {name => 'connpool-fetch', server => $pooled, path => '/fetch'},
    {name => 'connpool-fetch, `ConnPoolEventLoop Off`', server => $no_loop, path => '/fetch'},
    {name => 'connpool-fetch, `ConnPoolEngine Off`', server => $direct, path => '/fetch'},
    {name => 'mod_proxy_http', server => $pooled, path => '/proxy'},
) if !$only || $only eq 'fetch';
run_batch() if !$only || $only eq 'batch';
run_cache() if !$only || $only eq 'cache';
run_memory() if !$only || $only eq 'memory';

report_surroundings("\nAfter");

File::Path::make_path("$BUILD/bench");
open(my $out, '>', "$BUILD/bench/results.md") or die "results.md: $!";
print {$out} $REPORT;
close $out;
$_->done for $pooled, $direct, $no_loop, $upstream;
done_testing;
