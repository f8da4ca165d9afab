# SPDX-License-Identifier: Apache-2.0
#
# bench.pl [REQUESTS [ROUNDS]]: what a request costs, next to other ways to the
# same answer on the same server in the same run. Rounds go through all cases
# in turn and the median counts. The figure to trust is the CPU time of the
# server's children: client, server and upstream share the processors, which
# bends requests per second.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(command);
use List::Util   qw(sum0);
use POSIX        ();
use Test::More;

my ($REQUESTS, $ROUNDS) = (shift // 20_000, shift // 3);
my $TICKS = POSIX::sysconf(POSIX::_SC_CLK_TCK());

my $upstream =
    ConnPoolTest->new(plain => 1, status => 0, children => 1, threads => 32);
$upstream->write_file('htdocs/kilobyte.txt', 'x' x 1023 . "\n");
$upstream->conf("MaxKeepAliveRequests 0\nKeepAliveTimeout 60\n");
$upstream->start;

# One server for each setting of the engine, so that their pools do not mix.
sub make_server {
    my ($engine) = @_;
    my $server = ConnPoolTest->new(
        children => 2,
        threads  => 16,
        modules  => [qw(dbd proxy_http)],
        load     => {bench_module => 't/mod_bench.so'},
        vars     => {UPSTREAM => $upstream->url, ENGINE => $engine},
        conf     => <<'CONF',
LogLevel warn
CustomLog /dev/null "%s"
ConnPoolEngine @ENGINE@
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=16
ConnPoolUpstream other @UPSTREAM@/kilobyte.txt
ConnPoolQuery rows events "SELECT id, title, day FROM events WHERE id BETWEEN :id AND :id + :n - 1"
ConnPoolParam rows id integer required
ConnPoolParam rows n integer default=1
<Location "/connpool">
SetHandler connpool-query
ConnPoolServe rows
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe other
</Location>
<Location "/empty">
SetHandler bench-empty
</Location>
DBDriver sqlite3
DBDParams @DIR@/db/events.db
DBDMax 16
DBDKeep 16
DBDPrepareSQL "SELECT id, title, day FROM events WHERE id BETWEEN %s AND %s" rows
<Location "/dbd">
SetHandler bench-dbd
</Location>
ProxyPass "/proxy" "@UPSTREAM@/kilobyte.txt"
CONF
    );
    $server->make_sqlite('events', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE events(id INTEGER PRIMARY KEY, title TEXT, day TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO events SELECT i, 'event number ' || i, date('2026-01-01', i || ' days') FROM n;
SQL
    return $server->start;
}

sub cpu_seconds {
    my ($server) = @_;
    my $ticks = 0;
    for my $pid ($server->children) {
        open(my $in, '<', "/proc/$pid/stat") or next;
        my ($rest) = <$in> =~ /^.*\) (.*)$/s;
        $ticks += sum0((split ' ', $rest)[11, 12]);
    }
    return $ticks / $TICKS;
}

# (CPU microseconds per request, requests per second) of one case.
sub measure {
    my ($server, $path) = @_;
    my $before = cpu_seconds($server);
    my ($exit, $text) =
        command('ab', '-q', '-k', '-c', 8, '-n', $REQUESTS, $server->url($path));
    my $cpu = cpu_seconds($server) - $before;
    die "ab $path: $text" if $exit != 0 || $text =~ /^Non-2xx|^Failed requests:\s+[1-9]/m;
    my ($rate) = $text =~ /^Requests per second:\s+([\d.]+)/m;
    return [$cpu / $REQUESTS * 1e6, $rate];
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

my $pooled = make_server('On');
my $direct = make_server('Off');

my @groups = (
    [
        'one row by key',
        ['connpool-query',             $pooled, '/connpool?id=77'],
        ['empty handler',              $pooled, '/empty'],
        ['connpool-query, engine off', $direct, '/connpool?id=77'],
        ['mod_dbd',                    $pooled, '/dbd?id=77'],
    ],
    [
        'fifty rows by range',
        ['connpool-query',             $pooled, '/connpool?id=77&n=50'],
        ['connpool-query, engine off', $direct, '/connpool?id=77&n=50'],
        ['mod_dbd',                    $pooled, '/dbd?id=77&n=50'],
    ],
    [
        'fetch of one kilobyte',
        ['connpool-fetch',             $pooled, '/fetch'],
        ['connpool-fetch, engine off', $direct, '/fetch'],
        ['mod_proxy_http',             $pooled, '/proxy'],
    ],
);

for my $group (@groups) {
    my ($title, @cases) = @{$group};
    for my $case (@cases) {
        my ($name, $server, $path) = @{$case};
        is($server->get($path)->{status}, 200, "$title: $name")
            or BAIL_OUT('no figures of wrong answers');
    }
    if ($title =~ /row/) {
        is($pooled->get($cases[-1][2])->{content},
            $pooled->get($cases[0][2])->{content}, 'the same answer');
    }
    my %result;
    for my $round (1 .. $ROUNDS) {
        push @{$result{$_->[0]}}, measure($_->[1], $_->[2]) for @cases;
    }
    my $ours;
    printf "# %-28s %12s %8s %12s %8s\n", $title, 'CPU us', 'ratio',
        'requests/s', 'ratio';
    for my $case (@cases) {
        my $name = $case->[0];
        my $cpu  = median(map { $_->[0] } @{$result{$name}});
        my $rate = median(map { $_->[1] } @{$result{$name}});
        $ours //= [$cpu, $rate];
        printf "#   %-26s %12.1f %8.2f %12.0f %8.2f\n", $name, $cpu,
            $cpu / $ours->[0], $rate, $rate / $ours->[1];
    }
}
$_->done for $pooled, $direct, $upstream;
done_testing;
