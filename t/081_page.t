#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The report as a page: it says what the JSON says, shows who holds a
# connection too long and what clients put into names, and lives under its
# content security policy, also in a browser where there is one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command free_port);
use ConnPoolUpstream;
use JSON::PP   ();
use Test::More;

my ($vhost_port, $vhost_socket) = free_port();
my ($shut_port,  $shut_socket)  = free_port();    # nobody listens there
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    children => 2,
    load     => {cptest_module => 't/mod_cptest.so'},
    vars     => {
        UPSTREAM => $upstream->url(''),
        VHOST    => $vhost_port,
        SHUT     => $shut_port,
    },
    conf => <<'CONF',
Listen 127.0.0.1:@VHOST@
ConnPoolSlowLog 1ms
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=3
ConnPoolDatabase leaky sqlite:@DIR@/db/events.db max=3 leak=1s
ConnPoolUpstream backend @UPSTREAM@/
ConnPoolUpstream gone http://127.0.0.1:@SHUT@/
ConnPoolQuery by_id events "SELECT id, title FROM t WHERE id = :id"
ConnPoolParam by_id id integer required
ConnPoolQuery endless leaky "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(zeroblob(500)) FROM n" max-rows=1000000000 max-bytes=100G timeout=1min
ConnPoolQuery broken events "SELECT no_column FROM missing"
ConnPoolQuery count events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT count(*) FROM n"
<Location "/by-id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
<Location "/broken">
SetHandler connpool-query
ConnPoolServe broken
</Location>
<Location "/endless">
SetHandler connpool-query
ConnPoolServe endless
</Location>
<Location "/count">
SetHandler connpool-query
ConnPoolServe count
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe backend
</Location>
<Location "/gone">
SetHandler connpool-fetch
ConnPoolServe gone
</Location>
<Location "/do">
SetHandler cptest
</Location>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName "<b>\"&'x"
ConnPoolDatabase own sqlite:@DIR@/db/events.db max=2
</VirtualHost>
CONF
);
$server->make_sqlite('events', <<'SQL');
CREATE TABLE t(id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
SQL
$server->allow_log(qr/query 'broken'|ConnPoolQuery broken|is it leaked/,
    qr/slow: |query 'count'|upstream 'gone'|pool 'gone'/);
$server->start;

sub page {
    my ($query) = @_;
    return $server->get('/connpool-status?' . ($query // 'refresh=0'))
        ->{content};
}

# {title => {name => {label => text}}} of the tables; notes in small print
# become "value (note)".
sub tables {
    my ($html) = @_;
    my %tables;
    while ($html =~ m{<h2[^>]*>([^\n]*)</h2>\n<div class="card"[^>]*><table>(.*?)</table>}gs)
    {
        my ($title, $table) = (text($1), $2);
        while ($table =~ m{<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>}gs) {
            my ($name, $cells) = (text($1), $2);
            my %row = map { text($_) }
                $cells =~ m{<td data-label="([^"]*)">(.*?)</td>}gs;
            $tables{$title}{$name} = \%row;
        }
    }
    return \%tables;
}

sub text {
    my ($html) = @_;
    my %entity = (lt => '<', gt => '>', amp => '&', quot => '"');
    $html =~ s{<small>(.*?)</small>}{ ($1)}gs;
    $html =~ s/<[^>]*>//g;
    $html =~ s/&(\w+);/$entity{$1}/g;
    return $html;
}

# Digits in threes.
sub grouped {
    my ($number) = @_;
    1 while $number =~ s/^(\d+)(\d{3})/$1,$2/;
    return $number;
}

# "a 1, b 2" of the members that are not 0, as the page puts it.
sub listed {
    my ($object, @order) = @_;
    return join ', ', map { "$_ " . grouped($object->{$_}) } grep { $object->{$_} } @order;
}

sub noted {
    my ($value, $note) = @_;
    return $note ne '' ? "$value ($note)" : $value;
}

# ---------------------------------------------------------------------------

$server->get("/by-id?id=$_")->{status} == 200 or die 'no answer' for 1, 2, 2;
$server->get('/by-id?id=1', keep_alive => 1) for 1 .. 1100;
$server->get('/broken')      for 1 .. 2;
$server->get('/count')       for 1 .. 2;
$server->get('/fetch/text')  for 1 .. 3;
$server->get('/fetch/status/404');
$server->get('/gone');
$server->is_at_rest;

subtest 'the page says what the JSON says' => sub {
    my ($report, $before, $tables);
    # Maintenance measures meanwhile: until nothing was measured in between.
    my $is_steady = await(
        sub {
            $before = memory_of($server->status_json);
            $tables = tables(page());
            $report = $server->status_json;
            return memory_of($report) eq $before;
        },
        10
    );
    ok($is_steady, 'seen at rest');
    my @closed = qw(idle lifetime dead flushed discarded unpooled overflow
        shutdown killed);
    my @causes = qw(input refused size rate upstream capacity storage memory deadline
        cancelled internal);
    for my $pool (grep { !$_->{server} } @{$report->{pools}}) {
        my $name  = $pool->{name};
        my $row   = $tables->{Pools}{"$name ($pool->{kind})"};
        my $limit = $pool->{reachable};
        is($row->{State}, $pool->{state},              "state of $name");
        is($row->{Busy},  "$pool->{busy} of $limit",   'busy');
        is($row->{Waiting},     $pool->{waiting},      'waiting');
        is($row->{Acquired},    grouped($pool->{acquired}),     'acquired');
        is($row->{Fallbacks},   $pool->{fallbacks},    'fallbacks');
        is($row->{'Timed out'}, $pool->{timeouts},     'timeouts');
        is($row->{Rejected},    $pool->{rejected},     'rejected');
        is(
            $row->{'Peaks in a child'},
            "busy $pool->{busy_max} (open $pool->{open_max}, "
                . "waiting $pool->{waiting_max})",
            'peaks'
        );
        $row = $tables->{Connections}{$name};
        my $closed = 0;
        $closed += $_ for values %{$pool->{closed}};
        is($row->{Open},      $pool->{open},      'open');
        is($row->{Idle},      $pool->{idle},      'idle');
        is($row->{Created},   $pool->{created},   'created');
        is($row->{Abandoned}, $pool->{abandoned}, 'abandoned');
        is($row->{'Leaks suspected'}, $pool->{leaks_suspected}, 'leaks');
        is($row->{Closed}, noted($closed, listed($pool->{closed}, @closed)),
            'closed');
        is(
            $row->{'Failed to open'},
            noted(
                $pool->{create_failures}, listed($pool->{failures}, @causes)
            ),
            'failures'
        );
        is_deeply(
            [
                @{$tables->{'Memory of idle connections'}{$name}}{
                    'Memory', 'Page cache', 'Schema', 'Statements', 'WAL'
                }
            ],
            [
                map { sized($pool->{"${_}_bytes"}) }
                    qw(memory cache schema statement wal)
            ],
            'memory'
        );
    }
    like($tables->{Pools}{'events (sqlite)'}{Acquired}, qr/^1,\d{3}$/, 'in groups of digits');
    for my $query (@{$report->{queries}}) {
        my $row = $tables->{Queries}{$query->{name}};
        is($row->{Runs}, grouped($query->{count}), "runs of $query->{name}");
        is($row->{State}, $query->{state}, 'state');
        is($row->{Database}, $query->{database}, 'database');
        is($row->{Rows}, grouped($query->{rows}),  'rows');
        is($row->{Slow}, grouped($query->{slow}),  'slow ones');
        is($row->{Errors},
            noted($query->{errors}, listed($query->{failures}, @causes)),
            'errors');
    }
    is($tables->{Queries}{broken}{Errors}, '2 (storage 2)', 'by class');
    cmp_ok($tables->{Queries}{count}{Slow}, '>', 0, 'some were slow');
    for my $up (@{$report->{upstreams}}) {
        my $row      = $tables->{Upstreams}{$up->{name}};
        my %statuses = %{$up->{statuses}};
        $statuses{'no answer'} = delete $statuses{none};
        is(
            $row->{Fetches},
            noted(
                $up->{count},
                listed(\%statuses, 'no answer', map { "${_}xx" } 1 .. 5)
            ),
            "fetches from $up->{name}"
        );
        is($row->{Errors},  $up->{errors},  'errors');
        is($row->{Retries}, $up->{retries}, 'retries');
        is($row->{Reused},  $up->{reused},  'reused');
        is($row->{Coalesced}, $up->{coalesced}, 'coalesced');
        is($row->{'TLS handshakes'}, $up->{handshakes}, 'handshakes');
    }
    is($tables->{Upstreams}{backend}{Fetches}, '4 (2xx 3, 4xx 1)',
        'by status class');
    my $phases = $tables->{'Phases of fetches'}{backend};
    like($phases->{'First byte'}, qr{^\d\S* \S+ / \d}, 'phases');
    my ($loop) = values %{$tables->{'Event loop'}};
    is($loop->{Restarts}, $report->{event_loop}{restarts}, 'loop');
    my $children = $tables->{Children};
    is_deeply(
        [sort keys %$children],
        [sort map { $_->{pid} } @{$report->{processes}}],
        'children'
    );
    for my $child (@{$report->{processes}}) {
        my $row = $children->{$child->{pid}};
        is($row->{'Open descriptors'}, $child->{descriptors}, 'descriptors');
        is($row->{'Resident memory'},
            sized($child->{rss_bytes}), 'resident memory');
    }
};

# What maintenance measures, for comparing.
sub memory_of {
    my ($report) = @_;
    return JSON::PP->new->canonical->encode(
        [
            $report->{processes},
            map { [@$_{grep { /_bytes$/ } sort keys %$_}] } @{$report->{pools}}
        ]
    );
}

# A size as the page shows it.
sub sized {
    my ($bytes) = @_;
    return "$bytes B" if $bytes < 1024;
    my @units = qw(KiB MiB GiB);
    while (($bytes /= 1024) >= 1024) { shift @units }
    # APR rounds a half up, perl to the even digit.
    return sprintf '%.1f %s', $bytes + 1e-9, $units[0];
}

# ---------------------------------------------------------------------------

subtest 'nothing that the policy forbids' => sub {
    my $answer = $server->get('/connpool-status');
    my $html   = $answer->{content};
    like(
        $answer->{headers}{'content-security-policy'},
        qr/^default-src 'none'; style-src 'self'; base-uri 'none'/,
        'the policy'
    );
    unlike($html, qr/<(?:style|img|iframe|object|embed|base|form)\b/i,
        'no such element');
    is_deeply([$html =~ /(<script[^>]*>[^<]*)/g], ['<script src="?asset=page.js" defer>'],
        'its script is a resource of its own');
    (my $rest = $html) =~ s/<script src="\?asset=page\.js" defer>//;
    unlike($rest, qr/\s(?:style|on\w+|src|srcset|xlink:href)\s*=/i,
        'no such attribute');
    my @links = $html =~ /\shref="([^"]*)"/g;
    is_deeply([grep { !/^[?#]/ } @links], [], 'links lead nowhere else');
    my %ids = map { $_ => 1 } $html =~ /\sid="([^"]*)"/g;
    is_deeply([grep { /^#(.*)/ && !$ids{$1} } @links], [], 'those within the page to what is there');
    my $style = $server->get('/connpool-status?asset=style.css')->{content};
    unlike($style, qr/url\(|\@import|https?:/i, 'nor does the style sheet');
    my $script = $server->get('/connpool-status?asset=page.js');
    is($script->{headers}{'content-type'}, 'text/javascript; charset=utf-8', 'the script');
    unlike($script->{content}, qr/https?:|eval|innerHTML|document\.write|Function\(/,
        'makes no markup of text');
    for my $link (grep { !/^#/ } @links) {
        is($server->get("/connpool-status$link")->{status}, 200, "$link works");
    }
};

subtest 'charts' => sub {
    ok(
        await(
            sub {
                my @lines = page() =~ /<path class="line" d="[^"]*L/g;
                return @lines == 4;
            },
            10
        ),
        'four of them have begun'
    );
    my $html = page();
    my %ids;
    $ids{$_}++ for $html =~ /\sid="([^"]*)"/g;
    is_deeply([grep { $ids{$_} > 1 } keys %ids], [], 'each id once');
    my @charts = $html =~ m{(<figure .*?</figure>)}gs;
    is(scalar @charts, 4, 'four charts');
    for my $chart (@charts) {
        my ($labels) = $chart =~ /role="img" aria-labelledby="([^"]+)"/;
        is_deeply([grep { !$ids{$_} } split ' ', $labels // '?'],
            [], 'labelled by elements that exist');
        my ($now, $max) = $chart =~ m{<b>([\d.,]+)</b><small>most ([\d.,]+)<};
        like($chart, qr{<title id="[\w-]+">\w[^<]+</title>}, 'title');
        like($chart,
            qr{<desc[^>]*>now \Q$now\E, at most \Q$max\E in the last ten},
            'description');
        my @points =
            map { [split ' '] } $chart =~ /[ML](\d+ \d+)/g;
        is_deeply([grep { $_->[0] > 149 || $_->[1] > 100 } @points],
            [], 'all points lie inside');
    }
    # What has been measured once stays the highest for ten minutes.
    ok(
        await(
            sub {
                $server->get('/broken');
                return page() =~ m{class="card\ errors".*?<b>([\d.,]+)</b>
                    <small>most\ ([\d.,]+)<}sx && $2 > 0;
            },
            10
        ),
        'errors are seen'
    );
};

# ---------------------------------------------------------------------------

# A request that holds a connection until the flag is there.
sub hold {
    my ($path, $flag) = @_;
    my $socket = $server->connect or die 'no connection';
    print {$socket} "GET $path?acquire=a:leaky:read&await=$flag "
        . "HTTP/1.0\r\n\r\n";
    return $socket;
}

my @HOLDERS = ('/do/plain', qq{/do/<i title="a">'\n\tb\x{7f}&amp;</i>});

subtest 'who holds a connection too long' => sub {
    is_deeply($server->pool('leaky')->{leaks}, [], 'nobody at first');
    unlike(page(), qr/Suspected leaks/, 'nor on the page');
    my $flag = $server->dir('run/come-back');
    my @held = map {
        my $path = $_;
        $path =~ s/([^\/\w])/sprintf '%%%02X', ord $1/ge;
        hold($path, $flag);
    } @HOLDERS;
    my $leaks;
    ok(
        await(
            sub {
                $leaks = $server->pool('leaky')->{leaks};
                return @$leaks == 2;
            },
            10
        ),
        'both are listed'
    );
    is_deeply([sort map { $_->{holder} } @$leaks],
        [sort @HOLDERS], 'JSON has the very names');
    my %children = map { $_ => 1 } $server->children;
    for my $leak (@$leaks) {
        ok($children{$leak->{child}}, 'with its child');
        cmp_ok($leak->{held_us}, '>=', 1_000_000, 'and how long');
    }
    my $html = page();
    my $rows = tables($html)->{'Suspected leaks'};
    is_deeply(
        [sort keys %$rows],
        ['/do/<i title="a">\'%0A%09b%7F&amp;</i>', '/do/plain'],
        'the page shows them, and what would break a line'
    );
    like($html, qr{<bdi>/do/&lt;i title=&quot;a&quot;&gt;'%0A}, 'escaped');
    is($rows->{'/do/plain'}{Pool}, 'leaky', 'with the pool');
    like($rows->{'/do/plain'}{'Held for'}, qr/^\d+\.\d s$/, 'and how long');
    unlike($server->get("/connpool-status?format=$_")->{content},
        qr{/do/}, "$_ has no names of clients")
        for qw(text openmetrics);
    in_browser();
    $server->write_file('run/come-back', '');
    my $pool;
    ok(
        await(
            sub { $pool = $server->pool('leaky'); return $pool->{busy} == 0 },
            10
        ),
        'when they have come back'
    );
    is_deeply($pool->{leaks}, [], 'nobody is listed any more');
    is($pool->{leaks_suspected}, 2, 'but they were counted');
    close $_ for @held;
};

subtest 'a query that holds one too long' => sub {
    my $mark   = $server->log_mark;
    my $socket = $server->connect or die 'no connection';
    print {$socket} "GET /endless HTTP/1.0\r\n\r\n";
    my $leaks;
    ok(await(sub { @{$leaks = $server->pool('leaky')->{leaks}} == 1 }, 10),
        'listed');
    is($leaks->[0]{holder}, q{query 'endless'}, 'by its name');
    ok(exists tables(page())->{'Suspected leaks'}{q{query 'endless'}},
        'on the page');
    ok(
        $server->await_log(
            qr/held for \d+ ms by query 'endless'; is it leaked/, $mark
        ),
        'and in the log'
    );
    close $socket;
    ok(await(sub { $server->pool('leaky')->{busy} == 0 }, 10), 'given up');
    $server->allow_log(qr/query 'endless'/);
};

subtest 'a killed child leaks no more' => sub {
    plan skip_all => 'its neighbours would have to answer'
        if $server->mpm eq 'prefork';
    my $socket = hold('/do/doomed', $server->dir('run/never'));
    my $leaks;
    ok(await(sub { @{$leaks = $server->pool('leaky')->{leaks}} == 1 }, 10),
        'listed');
    $server->kill_child('KILL', $leaks->[0]{child});
    ok(
        await(
            sub {
                my $pool = eval { $server->pool('leaky') };
                return $pool && @{$pool->{leaks}} == 0;
            },
            10
        ),
        'and forgotten with its child'
    );
    close $socket;
    $server->allow_log(qr/AH00052|AH10159|AH00287/);
};

subtest 'names of virtual hosts are escaped' => sub {
    my $html = page();
    like($html, qr{on &lt;b&gt;&quot;&amp;'x:$vhost_port}, 'where it is shown');
    unlike($html, qr{<b>"}, 'and nowhere raw');
};

# ---------------------------------------------------------------------------

# The page in a browser, with whatever is held at the moment.
sub in_browser {
    my ($chromium) =
        grep { -x } map { ("$_/chromium", "$_/chromium-browser") }
        split /:/, $ENV{PATH};
    subtest 'in a browser' => sub {
        plan skip_all => 'chromium is not installed' if !$chromium;
        for my $case (['390,844', 1], ['1280,900', 0]) {
            my ($size, $scheme) = @$case;
            my ($exit, $text) = command(
                'timeout', 60, $chromium, '--headless=new', '--no-sandbox',
                '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
                '--disable-background-networking',
                '--user-data-dir=' . $server->dir('run/browser'),
                '--enable-logging=stderr', "--window-size=$size",
                "--blink-settings=preferredColorScheme=$scheme",
                '--virtual-time-budget=1000', '--dump-dom',
                $server->url('/connpool-status?refresh=0')
            );
            is($exit, 0, "opened at $size") or diag($text);
            unlike($text, qr/:CONSOLE|Content Security Policy/,
                'the console is empty');
            like($text, qr{</body>\s*</html>}, 'shown to its end');
            my $tables = tables($text);
            is_deeply(
                [sort keys %{$tables->{Connections}}],
                [sort keys %{tables(page())->{Connections}}],
                'as it was sent'
            );
            is(scalar(() = $text =~ /<bdi>[^<]*<[^\/]/g), 0,
                'no name became markup');
        }
    };
    return;
}

$server->done;
$upstream->stop;
done_testing;
