#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The report: JSON, page and server-status over all children, whatever happens
# to them, and who may see it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port parallel);
use JSON::PP     ();
use Test::More;

my ($vhost_port, $vhost_socket) = free_port();
my ($plain_port, $plain_socket) = free_port();
my ($quiet_port, $quiet_socket) = free_port();

# Words that only the log may show: a path, SQL, a URL.
my $CANARY = 'canary';

my $server = ConnPoolTest->new(
    children => 4,
    modules  => ['remoteip'],
    vars     =>
        {VHOST => $vhost_port, PLAIN => $plain_port, QUIET => $quiet_port},
    conf     => <<'CONF',
Listen 127.0.0.1:@VHOST@
Listen 127.0.0.1:@PLAIN@
Listen 127.0.0.1:@QUIET@
ConnPoolDatabase events sqlite:@DIR@/db/canary.db max=4
ConnPoolUpstream static http://127.0.0.1:@PORT@/canary.txt
ConnPoolQuery by_id events "SELECT id, title FROM canary WHERE id = :id"
ConnPoolParam by_id id integer required
ConnPoolQuery missing events "SELECT no_column FROM no_canary"

<Location "/by-id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
<Location "/missing">
SetHandler connpool-query
ConnPoolServe missing
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe static
</Location>

# A client says in a header where it comes from.
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
<Location "/open">
SetHandler connpool-status
Require all granted
</Location>
<LocationMatch "^/range$">
SetHandler "connpool-status"
Require ip 192.0.2.0/24
</LocationMatch>
<Location "/nested">
SetHandler connpool-status
<RequireAll>
<RequireAny>
Require ip 192.0.2.0/24
Require local
</RequireAny>
Require not ip 192.0.2.9
</RequireAll>
</Location>
<Location "/writers">
SetHandler connpool-status
<LimitExcept GET>
Require all granted
</LimitExcept>
</Location>
<Directory "@DIR@/htdocs/report">
SetHandler connpool-status
Require all granted
</Directory>
<Directory "@DIR@/htdocs/files">
SetHandler connpool-status
</Directory>
<Location "/">
Header set X-Everywhere yes
</Location>

<VirtualHost 127.0.0.1:@VHOST@>
ServerName vhost.test
ConnPoolServerStatus Full
ConnPoolDBPool Off
ConnPoolDatabase events sqlite:@DIR@/db/canary.db
ConnPoolDatabase own sqlite:@DIR@/db/canary.db
</VirtualHost>
<VirtualHost 127.0.0.1:@PLAIN@>
ServerName plain.test
ConnPoolServerStatus Off
</VirtualHost>
<VirtualHost 127.0.0.1:@QUIET@>
ServerName quiet.test
</VirtualHost>
CONF
);
$server->make_sqlite('canary', <<'SQL');
CREATE TABLE canary(id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO canary VALUES (1, 'one'), (2, 'two');
SQL
$server->write_file('htdocs/canary.txt', "hello\n");
$server->write_file("htdocs/$_/index.html", '') for qw(report files);
# The query that fails is meant to; Debian's SQLite has a bug worth a warning.
$server->allow_log(qr/query 'missing'|ConnPoolQuery missing|SQLite \d/i);
$server->start;

sub by_name {
    my ($lines) = @_;
    return {map { $_->{name} => $_ } @$lines};
}

sub on_port {
    my ($port, $path) = @_;
    return $server->get("http://127.0.0.1:$port$path");
}

# Members that are there and not expected, or the other way round.
sub has_exactly {
    my ($object, $members, $what) = @_;
    return is_deeply([sort keys %$object], [sort split ' ', $members],
        "members of $what");
}

# ---------------------------------------------------------------------------

subtest 'shape of the JSON' => sub {
    my $answer = $server->get('/connpool-status?format=json');
    is($answer->{status}, 200, 'answered');
    is($answer->{headers}{'content-type'}, 'application/json', 'type');
    is($answer->{headers}{'cache-control'}, 'no-store', 'not cached');
    is($answer->{headers}{'x-content-type-options'}, 'nosniff', 'not guessed');
    my $report = ConnPoolTest::decode($answer);
    has_exactly($report,
        'version state causes children features pools queries upstreams event_loop batch '
            . 'cache processes request_us request_failed_us memory memory_shrunk memory_refused rate_refused',
        'the report');
    has_exactly($report->{memory}, 'bound used', 'memory');
    has_exactly($report->{cache},
        'provider failures timeouts skipped dropped too_large evictions bytes '
            . 'entries', 'cache');
    like($report->{version}, qr/^\d+\.\d+\.\d+$/, 'version');
    ok(await(sub { $server->status_json->{children} >= 4 }, 5), 'children');
    has_exactly($report->{features}, 'engine http_pool db_pool event_loop',
        'features');
    has_exactly($report->{event_loop},
        'running loops restarts in_flight lag_us inline_runs iterations '
            . 'heartbeat_age_us', 'event_loop');
    has_exactly($_,
        'pid rss_bytes rss_max_bytes growth_bytes memory_bytes descriptors',
        "process $_->{pid}")
        for @{$report->{processes}};
    is($report->{features}{event_loop} ? 1 : 0,
        $server->mpm eq 'prefork' ? 0 : 1, 'the loop is on but on prefork');

    my $spread   = 'count sum p50 p90 p99 max';
    my $lately   = "$spread last_1m last_10m";
    my $failures = 'input refused conflict size rate upstream capacity storage memory deadline '
        . 'cancelled internal';
    for my $pool (@{$report->{pools}}) {
        my $name   = $pool->{name};
        my $server = exists $pool->{server} ? 'server' : '';
        has_exactly($pool,
            "name $server kind state cause since max server_max reachable busy_percent open busy idle waiting acquired "
                . 'released abandoned timeouts rejected fallbacks one_shots created '
                . 'closed create_failures failures leaks_suspected leaks holders '
                . 'acquire_us refused_us hold_us create_us busy_max open_max waiting_max busy_writers groups '
                . 'oldest_wait_us memory_bytes cache_bytes schema_bytes '
                . 'statement_bytes wal_bytes', "pool $name");
        has_exactly($pool->{failures}, $failures, "failures of $name");
        has_exactly($pool->{closed},
            'idle lifetime dead flushed discarded unpooled overflow yielded shutdown '
                . 'killed', "closed of $name");
        for my $timer (qw(acquire_us refused_us hold_us create_us)) {
            has_exactly($pool->{$timer}, $lately, "$timer of $name");
            has_exactly($pool->{$timer}{$_}, 'count p50 p99 max', "$_ of it")
                for qw(last_1m last_10m);
        }
    }
    has_exactly($_, "name database state cause since count errors failures rows retries slow misfits forbidden grouped cache us failed_us", "query $_->{name}")
        for @{$report->{queries}};
    has_exactly($_->{cache},
        'lookups hits misses stale coalesced stores bypassed', "cache of $_->{name}")
        for @{$report->{queries}};
    has_exactly(
        $_,
        'name state cause since count errors reused retries rate_refused coalesced breaker transport breaker_opened '
            . 'breaker_refused handshakes bytes sent failovers statuses queue_us '
            . 'lookup_us connect_us tls_us first_byte_us us failed_us',
        "upstream $_->{name}"
        )
        for @{$report->{upstreams}};
    for my $line (@{$report->{queries}}, @{$report->{upstreams}}) {
        has_exactly($line->{$_}, $lately, "$_ of $line->{name}") for qw(us failed_us);
    }
    has_exactly($_->{tls_us}, $spread, "tls_us of $_->{name}") for @{$report->{upstreams}};
    has_exactly($report->{$_}, $lately, $_) for qw(request_us request_failed_us);

    # Numbers are digits, flags are booleans.
    my $text = $answer->{content};
    my ($loop) = $text =~ /"event_loop":\{([^}]*)\}/;
    like($loop, qr/^"running":(?:true|false)(?:,"\w+":\d+)+$/,
        'types in event_loop');
    like($text, qr/"features":\{(?:"\w+":(?:true|false),?)+\}/,
        'types in features');
    my ($first) = $text =~ /"pools":\[\s*(\{.*?\}),?$/m;
    $first =~ s/"(?:name|kind|state|server|since)":"[\w.:-]+"/""/g;
    $first =~ s/"cause":null/""/;
    unlike($first, qr/:(?![\d\{]|\[\])/, 'all other values of a pool are numbers');
};

subtest 'pools of all servers' => sub {
    my @seen = map { [@$_{qw(name kind state max server)}] }
        @{$server->status_json->{pools}};
    is_deeply(
        \@seen,
        [
            ['events', 'sqlite', 'ok',  4,  undef],
            ['static', 'http',   'ok',  30, undef],
            ['events', 'sqlite', 'off', 10, "vhost.test:$vhost_port"],
            ['own',    'sqlite', 'off', 10, "vhost.test:$vhost_port"],
        ],
        'the main server shows all'
    );
    my $vhost = ConnPoolTest::decode(
        on_port($vhost_port, '/connpool-status?format=json'));
    is_deeply(
        [map { [@$_{qw(name state server)}] } @{$vhost->{pools}}],
        [
            ['static', 'ok',  undef],
            ['events', 'off', "vhost.test:$vhost_port"],
            ['own',    'off', "vhost.test:$vhost_port"],
        ],
        'a virtual host shows what it may use'
    );
    ok(!$vhost->{features}{db_pool}, 'with its own features');
    ok($vhost->{features}{http_pool}, 'and inherited ones');
    for my $port ($plain_port, $quiet_port) {
        my $report = ConnPoolTest::decode(
            on_port($port, '/connpool-status?format=json'));
        is_deeply([map { $_->{name} } @{$report->{pools}}],
            [qw(events static)],
            'one without its own shows those of the main server');
    }
};

subtest 'counts of all children' => sub {
    my ($clients, $each) = (8, 25);
    my @counts = parallel(
        $clients,
        sub {
            my $good = 0;
            for my $i (1 .. $each) {
                $good++
                    if $server->get('/by-id?id=' . ($i % 2 + 1))->{status}
                    == 200;
            }
            return $good;
        }
    );
    my $sent = $clients * $each;
    is_deeply(\@counts, [($each) x $clients], "$sent queries answered");
    is($server->get('/fetch')->{status}, 200, 'fetched') for 1 .. 10;
    is($server->get('/missing')->{status}, 503, 'a query that fails')
        for 1 .. 3;
    $server->is_at_rest;
    my $report = $server->status_json;
    my $pool   = by_name([grep { !$_->{server} } @{$report->{pools}}]);
    my $query  = by_name($report->{queries});
    my $static = $report->{upstreams}[0];
    is($query->{by_id}{count},  $sent, 'runs of the query');
    is($query->{by_id}{rows},   $sent, 'rows');
    is($query->{by_id}{errors}, 0,     'no error');
    is($query->{by_id}{us}{count}, $sent, 'durations');
    is($query->{missing}{errors}, 3, 'errors');
    is($pool->{events}{acquired} + $pool->{events}{fallbacks}, $sent + 3,
        'acquired');
    is($pool->{static}{acquired}, 10, 'acquired for fetches');
    is($pool->{events}{hold_us}{count}, $pool->{events}{released}, 'held');
    is($static->{count}, 10, 'fetches');
    my $us = $query->{by_id}{us};
    cmp_ok($us->{p50}, '>', 0, 'p50');
    cmp_ok($us->{p50}, '<=', $us->{p99}, 'p50 <= p99');
    cmp_ok($us->{p99}, '<=', $us->{max}, 'p99 <= max');
    cmp_ok($pool->{events}{open}, '>=', 1, 'connections are kept');
    cmp_ok($pool->{events}{open}, '<=', 4 * $report->{children},
        'not more than max in each child');
    ok(await(sub { $server->pool('events')->{memory_bytes} > 0 }, 5),
        'they use memory');
};

# ---------------------------------------------------------------------------

# Clients that ask until the flag file is there: [number of 200s, of others].
sub begin_load {
    my ($clients, $flag) = @_;
    my @pipes;
    for (1 .. $clients) {
        my $pid = open(my $pipe, '-|') // die "fork: $!";
        if (!$pid) {
            my ($good, $bad) = (0, 0);
            for (1 .. 100_000) {
                last if -e $flag;
                my $answer = $server->get('/by-id?id=1');
                $answer->{status} == 200 ? $good++ : $bad++;
            }
            print STDOUT "$good $bad";
            close STDOUT;
            POSIX::_exit(0);
        }
        push @pipes, $pipe;
    }
    return @pipes;
}

# Every counter of the report by its place: "pools/events/closed/idle" => 3.
sub counters {
    my ($value, $path, $found) = @_;
    if (ref $value eq 'HASH') {
        for my $key (keys %$value) {
            next
                if $key =~ /^(?:open|busy|idle|waiting|reachable|busy_percent|one_shots|busy_writers|p50|p90|p99|max
                |oldest_wait_us|leaks|holders|last_1m|last_10m|loops|in_flight|lag_us|heartbeat_age_us
                |children|features|processes|memory
                |(?:memory|cache|schema|statement|wal)_bytes)$/x
                && $path !~ m{/closed$};
            counters($value->{$key}, "$path/$key", $found);
        }
    }
    elsif (ref $value eq 'ARRAY') {
        counters($value->[$_], "$path/$_", $found) for 0 .. $#$value;
    }
    elsif (defined $value && !ref $value && $value =~ /^\d+$/) {
        $found->{$path} = $value;
    }
    return $found;
}

subtest 'children are killed and replaced under load' => sub {
    my $before = $server->status_json;
    my $flag   = $server->dir('run/enough');
    my @pipes  = begin_load(4, $flag);
    my (@fallen, @unequal, $reports);
    my $last = counters($before, '', {});
    my $look = sub {
        my $report = eval { $server->status_json } or return;
        my $now = counters($report, '', {});
        push @fallen, grep { $now->{$_} < $last->{$_} } keys %$last;
        $last = $now;
        $reports++;
        for my $pool (@{$report->{pools}}) {
            my $closed = 0;
            $closed += $_ for values %{$pool->{closed}};
            push @unequal, $pool->{name}
                if $pool->{acquired}
                != $pool->{released} + $pool->{busy} + $pool->{abandoned}
                || $pool->{created} != $closed + $pool->{open};
        }
        return;
    };
    my $look_until_more = sub {
        my $start = $last->{'/queries/0/count'};
        return await(
            sub {
                $look->() for 1 .. 10;
                return $last->{'/queries/0/count'} > $start + 100;
            },
            10,
            'the load goes on'
        );
    };
    for my $round (1 .. 3) {
        ok($look_until_more->(), "load before kill $round");
        my ($pid) = $server->children;
        $server->kill_child('KILL', $pid);
        ok(
            await(
                sub {
                    $look->();
                    !grep { $_ == $pid } $server->children;
                },
                10
            ),
            "child $pid is gone"
        );
    }
    for my $round (1 .. 2) {
        ok($look_until_more->(), "load before restart $round");
        # The event MPM loses count of children that it tells to end twice.
        await(sub { $server->children >= 4 }, 10);
        ok($server->graceful(gone => 1), "graceful restart $round");
    }
    ok($look_until_more->(), 'load at the end');
    $server->write_file('run/enough', '');
    my $good = 0;
    for my $pipe (@pipes) {
        my ($count) = split ' ', readline($pipe) // '';
        $good += $count // 0;
        close $pipe;
    }
    cmp_ok($reports, '>', 50, "$reports reports under load");
    is_deeply(\@fallen,  [], 'no counter ever fell');
    is_deeply(\@unequal, [], 'the identities held in each of them');
    $server->is_at_rest;
    my $after = $server->status_json;
    my $more  = $after->{queries}[0]{count} - $before->{queries}[0]{count};
    # A killed child may have counted what no client got to see.
    cmp_ok($more, '>=', $good,      "$good answers, $more counted");
    cmp_ok($more, '<=', $good + 12, 'and hardly more');
    my ($pool) = grep { $_->{name} eq 'events' } @{$after->{pools}};
    cmp_ok($pool->{closed}{killed}, '>=', 1, 'killed connections are known');
    $server->allow_log(qr/AH00052|AH10159|AH00287|AH1039[23]/);
};

# ---------------------------------------------------------------------------

my $page = $server->get('/connpool-status');

subtest 'the page' => sub {
    is($page->{status}, 200, 'answered');
    is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'type');
    is($page->{headers}{'cache-control'}, 'no-store', 'not cached');
    is($page->{headers}{'x-content-type-options'}, 'nosniff', 'not guessed');
    like($page->{headers}{'content-security-policy'},
        qr/default-src 'none'; style-src 'self'/, 'policy');
    my $text = $page->{content};
    unlike($text, qr/<style|\sstyle=|\son\w+=|https?:/i,
        'nothing that the policy forbids');
    is_deeply([$text =~ /(<script[^>]*>[^<]*)/g], ['<script src="?asset=page.js" defer>'],
        'its script is a resource of its own');
    like($text, qr/<meta http-equiv="refresh" content="5">/,
        'it refreshes itself');
    for my $word (qw(events static own by_id missing Abandoned),
        "vhost.test:$vhost_port", 'Event loop')
    {
        like($text, qr/\Q$word\E/, "shows $word");
    }
    # Every element that is opened is closed, in order.
    my (@open, $is_balanced);
    $is_balanced = 1;
    while ($text =~ m{<(/?)(\w+)[^>]*>}g) {
        next if $2 =~ /^(?:meta|link)$/;
        if   (!$1) { push @open, $2 }
        else       { $is_balanced &&= (pop(@open) // '') eq $2 }
    }
    ok($is_balanced && !@open, 'elements are balanced');

    my ($href) = $text =~ /<link rel="stylesheet" href="([^"]+)"/;
    my $style = $server->get("/connpool-status$href");
    is($style->{status}, 200, 'style sheet');
    is($style->{headers}{'content-type'}, 'text/css; charset=utf-8',
        'of that type');
    like($style->{content}, qr/prefers-color-scheme:dark/, 'dark mode');
    is($style->{content} =~ tr/{//, $style->{content} =~ tr/}//,
        'braces match');
    like($server->get('/connpool-status?refresh=60')->{content},
        qr/<meta http-equiv="refresh" content="60">/, 'more seldom');
    unlike($server->get('/connpool-status?refresh=0')->{content},
        qr/http-equiv/, 'or never');
};

subtest 'requests of all kinds' => sub {
    my $head = $server->head('/connpool-status');
    is($head->{status},  200, 'HEAD');
    is($head->{content}, '',  'without a body');
    cmp_ok($head->{headers}{'content-length'}, '>', 1000, 'with its length');
    for my $method (qw(POST PUT DELETE)) {
        my $answer = $server->request($method, '/connpool-status');
        is($answer->{status}, 405, "$method is refused");
        is($answer->{headers}{'content-type'}, 'application/problem+json',
            'with a problem');
        is($answer->{headers}{allow}, 'GET, HEAD, OPTIONS', 'what is allowed');
        is(ConnPoolTest::decode($answer)->{detail}, 'Use GET, HEAD.', 'in words');
    }
    my $options = $server->request('OPTIONS', '/connpool-status');
    is("$options->{status} $options->{content}", '200 ', 'OPTIONS');
    is($options->{headers}{allow}, 'GET, HEAD, OPTIONS', 'lists what is allowed');
    for my $query (
        qw(format=xml format= refresh= refresh=x refresh=3601 refresh=-1
        refresh=5x refresh=99999999999999999999 format=%3Cb%3E)
        )
    {
        my $answer = $server->get("/connpool-status?$query");
        is($answer->{status}, 400, "?$query is refused");
        unlike($answer->{content}, qr/<b>/, 'and not repeated');
    }
    is($server->get('/connpool-status?asset=x')->{status}, 404, 'no asset');
    my $type = sub {
        $server->get('/connpool-status', headers => {Accept => $_[0]})
            ->{headers}{'content-type'};
    };
    is($type->('application/json'), 'application/json', 'JSON by Accept');
    like($type->('text/html,application/json;q=0.5'), qr{^text/html},
        'a browser gets the page');
    like($type->($_->[0]), $_->[1], "Accept: $_->[0]")
        for ['text/html;q=0.1, application/json', qr{^application/json}],
        ['application/json; q=0.5 , text/plain;q=0.8',         qr{^text/plain}],
        ['application/openmetrics-text;q=0, application/json', qr{/json}],
        ['text/html;q=0, text/plain;Q=0.001',       qr{^text/plain}],
        ['application/json;charset=x;q=1.000, text/html;q=0.999', qr{/json}],
        ['text/plain, application/json, */*',       qr{/json}],
        ['application/json;q=x, text/html;q=',      qr{^text/html}],
        ['application/jsonx',                       qr{^text/html}];
};

# ---------------------------------------------------------------------------

my @POOL_LINES = qw(Name Kind Max Open Busy Idle Waiting Acquired Released
    Timeouts Fallbacks State);

subtest 'server-status' => sub {
    my $text = $server->get('/server-status')->{content};
    my ($section) = $text =~ m{<h2>Connection pools</h2>(.*?</table>)}s;
    ok($section, 'has a table of pools');
    like($section, qr{<td>events</td><td>sqlite</td><td>ok</td><td>4</td>},
        'with a row');
    like($section, qr{<td>own on vhost\.test:$vhost_port</td>},
        'and whose it is');
    unlike($section, qr/[^\x0a\x20-\x7e]/, 'in ASCII');
    unlike($text, qr{<h2>Queries</h2>}, 'but no queries');

    my $plain = $server->get('/server-status?notable')->{content};
    my ($lines) = $plain =~ m{<h2>Connection pools</h2>(.*?)(?:<h|\z)}s;
    unlike($lines, qr/<t[ard]/, 'without a table when so wanted');
    like($lines, qr{<p>Name events, Kind sqlite, State ok, Max 4, Open \d+},
        'in words');

    my $auto = $server->get('/server-status?auto')->{content};
    my @found = $auto =~ /^(ConnPool\[0\].*)$/mg;
    is_deeply(
        [map { /^ConnPool\[0\](\w+): / ? $1 : $_ } @found],
        \@POOL_LINES, 'lines of ?auto'
    );
    is($found[0], 'ConnPool[0]Name: events', 'name');
    is($found[1], 'ConnPool[0]Kind: sqlite', 'kind');
    is($found[2], 'ConnPool[0]Max: 4',       'max');
    is(scalar(grep { !/: \d+$/ } @found[2 .. $#found - 1]), 0, 'numbers');
    is($found[-1], 'ConnPool[0]State: ok', 'state');
    like($auto, qr/^ConnPoolState: degraded$/m, 'that of all');
    like($auto, qr/^ConnPoolCause\[0\]Name: missing$/m, 'and why');
    my $pool = $server->pool('events');
    ok((grep { $_ eq "ConnPool[0]Acquired: $pool->{acquired}" } @found),
        'the same as in the JSON');
    like($auto, qr/^ConnPool\[1\]Name: static$/m, 'the next pool');
    unlike($auto, qr/ConnPoolQuery/, 'no queries');
};

subtest 'ConnPoolServerStatus' => sub {
    my $full = on_port($vhost_port, '/server-status?auto')->{content};
    like($full, qr/^ConnPool\[0\]Name: static$/m, 'Full: pools seen there');
    like($full, qr/^ConnPoolQuery\[0\]Name: by_id$/m,      'queries');
    like($full, qr/^ConnPoolQuery\[0\]Count: \d+$/m,       'counts');
    like($full, qr/^ConnPoolUpstream\[0\]Name: static$/m,  'upstreams');
    my $text = on_port($vhost_port, '/server-status')->{content};
    like($text, qr{<h2>Queries</h2>.*<td>by_id</td>}s, 'as a table too');
    like($text, qr{<h2>Upstreams</h2>.*<td>static</td>}s, 'both');
    my $off = on_port($plain_port, '/server-status?auto');
    is($off->{status}, 200, 'Off: the rest is there');
    unlike($off->{content}, qr/ConnPool/, 'but nothing of ours');
    unlike(on_port($plain_port, '/server-status')->{content},
        qr/Connection pools/, 'nowhere');
};

subtest 'no path, SQL or URL in any of them' => sub {
    for my $path (
        '/connpool-status',        '/connpool-status?format=json',
        '/connpool-status?asset=style.css', '/server-status?auto'
        )
    {
        for my $port ($server->port, $vhost_port) {
            my $answer = on_port($port, $path);
            is($answer->{status}, 200, "$path on $port");
            unlike($answer->{content}, qr/\Q$CANARY\E|SELECT|sqlite:/,
                'shows none');
        }
    }
};

# ---------------------------------------------------------------------------

subtest 'who may see it' => sub {
    my $from = sub {
        my ($path, $client) = @_;
        return $server->get($path,
            headers => $client ? {'X-Client' => $client} : {});
    };
    my ($near, $far, $ranged) = (undef, '198.51.100.7', '192.0.2.5');
    my $refused = $from->('/connpool-status', $far);
    is($refused->{status}, 403, 'nobody from elsewhere');
    is($refused->{headers}{'content-type'}, 'application/problem+json',
        'said by the handler');
    unlike($refused->{content}, qr/events/, 'without a name');
    for my $path ('/connpool-status?format=json',
        '/connpool-status?asset=style.css')
    {
        is($from->($path, $far)->{status}, 403, "nor $path");
    }
    my @expected = (
        ['/connpool-status', '127.0.0.9', 200, 'all of 127/8 is local'],
        ['/connpool-status', '::1',       200, 'and ::1'],
        ['/connpool-status', '10.0.0.1',  403, 'a private address is not'],
        ['/connpool-status', '64:ff9b::7f00:1', 403, 'nor 127.0.0.1 in NAT64'],
        ['/connpool-status', '2002:7f00:1::1',  403, 'or in 6to4'],
        ['/open',    $far,        200, 'opened by Require all granted'],
        ['/open',    $near,       200, 'for local ones too'],
        ['/range',   $ranged,     200, 'opened to a range'],
        ['/range',   $far,        403, 'and to nobody else'],
        ['/range',   $near,       403, 'not even to local ones'],
        ['/nested',  $ranged,     200, 'opened within <RequireAny>'],
        ['/nested',  '192.0.2.9', 403, 'with an exception'],
        ['/nested',  $near,       200, 'and to local ones'],
        ['/writers', $far,        403, 'a Require for other methods'],
        ['/writers', $near,       200, 'changes nothing'],
        ['/report/', $far,        200, 'in the section of the handler'],
        ['/files/',  $far,  403, 'that of the document root says nothing'],
        ['/files/',  $near, 200, 'for local ones that is no matter'],
    );
    for my $case (@expected) {
        my ($path, $client, $status, $what) = @$case;
        is($from->($path, $client)->{status}, $status, $what);
    }
    $server->allow_log(qr/AH01630/);
    my ($exit, $text) = $server->configtest("<Location \"/x\">\n"
            . "SetHandler connpool-status\nRequire nonsense\n</Location>\n");
    isnt($exit, 0, 'mod_authz_core still judges each Require');
    like($text, qr/Unknown Authz provider: nonsense/, 'in its words');
};

$server->done;

# ---------------------------------------------------------------------------

subtest 'a pool that is exhausted, and one that is orphaned' => sub {
    plan skip_all => 'one child serves one request' if $server->mpm eq 'prefork';
    my $small = ConnPoolTest->new(conf => <<'CONF');
ConnPoolDatabase slow sqlite:@DIR@/db/slow.db max=1 acquire=4s overflow=reject
ConnPoolQuery count slow "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=2s
<Location "/count">
SetHandler connpool-query
ConnPoolServe count
</Location>
CONF
    $small->make_sqlite('slow', 'CREATE TABLE t(a)');
    $small->start;
    is($small->pool('slow')->{state}, 'ok', 'at first all is well');
    my @clients = map { $small->connect } 1 .. 2;
    print {$_} "GET /count HTTP/1.0\r\n\r\n" for @clients;
    my $seen = await(
        sub {
            my $pool = $small->pool('slow');
            return $pool->{state} eq 'degraded' && $pool;
        },
        5
    );
    ok($seen, 'then it is exhausted');
    like($seen->{cause}, qr/^all 1 connections are busy; 1 waiting/, 'it says');
    is($seen->{busy},    1, 'one is busy');
    is($seen->{waiting}, 1, 'one waits');
    close $_ for @clients;
    $small->is_at_rest(undef, 10);
    is($small->pool('slow')->{state}, 'ok', 'and well again');

    my $busy = $small->connect;
    print {$busy} "GET /count HTTP/1.0\r\n\r\n";
    ok(await(sub { $small->pool('slow')->{busy} == 1 }, 5), 'busy once more');
    my $before = $small->pool('slow');
    $small->kill_child('KILL', $small->children);
    my $after;
    ok(
        await(
            sub {
                $after = eval { $small->pool('slow') };
                return $after && $after->{abandoned} == 1;
            },
            10
        ),
        'what a killed child had borrowed is abandoned'
    );
    is($after->{busy}, 0, 'and busy no more');
    is($after->{acquired}, $before->{acquired}, 'it stays acquired');
    is($after->{closed}{killed}, $before->{open}, 'and counts as closed');
    is($after->{open}, 0, 'not as open');
    $small->allow_log(qr/query 'count'|SQLite \d|AH00052|AH10159|AH00287/);
    $small->done;
};

done_testing;
