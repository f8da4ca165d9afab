#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The page as somebody uses it: the last minutes, who holds and who waits, the
# settings in effect, and, in a browser where there is one, that a refresh takes
# nothing from its reader.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolBrowser;
use ConnPoolStates qw(plain);
use ConnPoolTest qw(await free_port);
use ConnPoolUpstream;
use JSON::PP   ();
use Test::More;

my $MINUTE = 6;    # seconds, of this server
my ($shut, $reserved) = free_port();
my ($vhost, $vhost_socket) = free_port();
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    testing => 1,
    load    => {cptest_module => 't/mod_cptest.so'},
    env     => {CONNPOOL_TEST_MINUTE_MS => 1000 * $MINUTE},
    vars    => {SHUT => $shut, UPSTREAM => $upstream->url(''), VHOST => $vhost},
    conf    => <<'CONF',
Listen 127.0.0.1:@VHOST@
ConnPoolDatabase events sqlite:@DIR@/db/secret-place.db max=4 acquire=20s idle=90s cache=1M queue=7 leak=1h
ConnPoolDatabase one sqlite:@DIR@/db/secret-place.db max=2 acquire=20s leak=1h readonly=on
ConnPoolUpstream backend @UPSTREAM@/ headers=X-Secret-Header total=11s max-body=3M rate=1000/s
ConnPoolUpstream silent http://127.0.0.1:@SHUT@/ retry=0
ConnPoolQuery by_id events "SELECT id, a FROM t WHERE id = :id" max-rows=55 timeout=3s
ConnPoolParam by_id id integer required
ConnPoolQuery add events "INSERT INTO t(a) VALUES (:a)" write=on
ConnPoolParam add a text default=x
ConnPoolQuery long events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(zeroblob(500)) FROM n" max-rows=1000000000 max-bytes=100G timeout=1min
<Location "/by-id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
<Location "/long">
SetHandler connpool-query
ConnPoolServe long
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe backend
</Location>
<Location "/silent">
SetHandler connpool-fetch
ConnPoolServe silent
</Location>
<Location "/do">
SetHandler cptest
</Location>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName other.test
</VirtualHost>
CONF
);
$server->make_sqlite('secret-place', <<'SQL');
CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
SQL
$server->allow_log(qr/upstream 'silent'|pool 'silent'|event loop: no heartbeat/);
$server->start;

sub page {
    return $server->get('/connpool-status?refresh=0')->{content};
}

# What opens below the row of that pool or query in that section: its parts by
# their headings, the settings as a hash.
sub details {
    my ($section, $name) = @_;
    my ($part) = page() =~ m{<section id="$section">(.*?)</section>}s;
    my ($html) = $part =~ m{<tr class="more" data-key="more of \Q$name\E">(.*?)</tr>}s
        or return {};
    my %details = (summary => plain($html =~ m{<summary>(.*?)</summary>}s));
    while ($html =~ m{<h3>(.*?)</h3>\n(.*?)(?=<h3>|</details>)}gs) {
        $details{$1} = $2;
    }
    my ($settings) = grep { /^Settings/ } keys %details;
    $details{settings} = {$details{$settings} =~ m{<dt>(.*?)</dt><dd>(.*?)</dd>}g};
    return \%details;
}

# A request that holds a connection until the flag is there.
sub hold {
    my ($path, $pool, $flag) = @_;
    my $socket = $server->connect or die 'no connection';
    print {$socket} "GET $path?acquire=a:$pool:read&await=" . $server->dir("run/$flag")
        . "&password=sesame HTTP/1.0\r\n\r\n";
    return $socket;
}

sub query_of {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{$server->status_json->{queries}})[0];
}

# ---------------------------------------------------------------------------

subtest 'the last minute, the last ten, and ever' => sub {
    is($server->get("/by-id?id=$_")->{status}, 200, 'served') for (1, 2) x 10;
    $server->get('/fetch/text') for 1 .. 3;
    $server->is_at_rest;
    my $report = $server->status_json;
    my ($query) = grep { $_->{name} eq 'by_id' } @{$report->{queries}};
    my ($pool)  = grep { $_->{name} eq 'events' } @{$report->{pools}};
    my ($up)    = grep { $_->{name} eq 'backend' } @{$report->{upstreams}};
    for my $case (['query', $query->{us}, 20], ['acquire', $pool->{acquire_us}, 20],
        ['hold', $pool->{hold_us}, 20], ['fetch', $up->{us}, 3])
    {
        my ($what, $us, $count) = @$case;
        for my $window (qw(last_1m last_10m)) {
            is($us->{$window}{count}, $count, "$what: $window");
            is($us->{$window}{$_}, $us->{$_}, "$_ as of all") for qw(p50 p99 max);
        }
    }
    like(
        page(),
        qr{<bdi>by_id</bdi></th>.*?<td data-label="Time p50 / p99 / max"><span class="spread"><small>1 min</small><span>\d.*?</span><small>10 min</small><span>\d.*?</span><small>ever</small><span>\d}s,
        'the page has all three'
    );
    my $us;
    ok(
        await(
            sub { $us = query_of('by_id')->{us}; return $us->{last_1m}{count} == 0 },
            3 * $MINUTE
        ),
        'the minute passes though nobody asks'
    );
    is_deeply($us->{last_1m}, {count => 0, p50 => 0, p99 => 0, max => 0}, 'empty is 0');
    is($us->{last_10m}{count}, 20, 'the last ten have them still');
    is($us->{count}, 20, 'and ever');
    like(page(), qr{<bdi>by_id</bdi></th>.*?<small>1 min</small><span>\342\200\223</span>}s,
        'the page shows a dash');
    is($server->get('/by-id?id=1')->{status}, 200, 'one more');
    $us = query_of('by_id')->{us};
    is($us->{last_1m}{count},  1,  'is in the last minute');
    is($us->{last_10m}{count}, 21, 'and in the last ten');
    ok($server->graceful(gone => 1), 'children are replaced');
    $us = query_of('by_id')->{us};
    is($us->{last_10m}{count}, 21, 'the numbers stay');
};

subtest 'settings in effect' => sub {
    my $pool = details('pools', 'events');
    my %expected = (
        pooling => 'on', max => 4, min => 0, acquire => '20s', idle => '90s', lifetime => '1h',
        queue => 7, leak => '1h', cache => '1M', overflow => 'direct', busy => '5s',
        synchronous => 'normal', readonly => 'off'
    );
    is($pool->{settings}{$_}, $expected{$_}, "$_ of a database") for sort keys %expected;
    is(details('pools', 'one')->{settings}{readonly}, 'on', 'of another one');
    my $up = details('pools', 'backend')->{settings};
    is("@$up{qw(total max-body retry max perhost)}", '11s 3M 1 30 30', 'of an upstream');
    is("$up->{headers} $up->{rate}", 'set set', 'texts are not told');
    my $query = details('queries', 'by_id')->{settings};
    is("@$query{qw(max-rows timeout write answers format)}", '55 3s off GET objects',
        'of a query');
    is($query->{':id'}, 'integer, required', 'with its parameter');
    my $add = details('queries', 'add')->{settings};
    is("@$add{qw(write timeout :a)}", 'on 5s text, has a default', 'of another one');
    is($add->{answers}, 'POST, PUT, PATCH, DELETE', 'and its methods');
    unlike(page(), qr/secret|SELECT|127\.0\.0\.1:$shut|\/db\//i, 'no path, SQL, URL, header');
};

subtest 'who holds and who waits' => sub {
    like(details('pools', 'events')->{summary}, qr/^Who holds \(0\), who waits \(0\), settings of events$/,
        'a click away');
    like(details('pools', 'events')->{'Who holds a connection'}, qr/^<p>Nobody\.</, 'nobody holds');
    my @clients = map { hold($_, 'one', 'enough') } '/do/first', '/do/<b>';
    my $holders;
    ok(await(sub { @{$holders = $server->pool('one')->{holders}} == 2 }, 10), 'both are listed');
    is_deeply([sort map { $_->{request} } @$holders], ['GET /do/<b>', 'GET /do/first'],
        'method and path, and no more');
    is_deeply($server->pool('one')->{leaks}, [], 'they are no leaks');
    cmp_ok($holders->[0]{held_us}, '>=', $holders->[1]{held_us}, 'the oldest first');
    my %children = map { $_ => 1 } $server->children;
    ok($children{$holders->[0]{child}}, 'with the child');
    my $waiting = $server->connect;
    print {$waiting} "GET /do/third?acquire=a:one:read HTTP/1.0\r\n\r\n";
    my $pool;
    ok(await(sub { ($pool = $server->pool('one'))->{oldest_wait_us} > 100_000 }, 10), 'a third one waits');
    my $details = details('pools', 'one');
    like($details->{summary}, qr/^Who holds \(2\), who waits \(1\)/, 'summed up');
    like($details->{'Who holds a connection'},
        qr{<li><code>GET /do/first</code>, held for \d\S* \S+ in child $holders->[0]{child}</li>},
        'who, since when, where');
    like($details->{'Who holds a connection'}, qr{<code>GET /do/&lt;b&gt;</code>}, 'escaped');
    like($details->{'Who waits for one'}, qr{<p>1 request, the oldest for \d\S* m?s; at most 1 at once},
        'who waits, and how long');
    unlike(page(), qr/sesame|password/, 'no query string');
    ok(await(sub { page() =~ /at most 2 busy and 1 waiting in the last ten minutes/ }, 10), 'sampled');
    $server->write_file('run/enough', '');
    ok(await(sub { $server->pool('one')->{busy} == 0 }, 10), 'they come back');
    is_deeply($server->pool('one')->{holders}, [], 'and are not listed any more');
    close $_ for @clients, $waiting;

    my $socket = $server->connect;
    print {$socket} "GET /long HTTP/1.0\r\n\r\n";
    ok(await(sub { @{$holders = $server->pool('events')->{holders}} == 1 }, 10), 'a query');
    is($holders->[0]{holder}, q{query 'long'}, 'has a name');
    is($holders->[0]{request}, 'GET /long', 'and the request that runs it');
    like(details('pools', 'events')->{'Who holds a connection'},
        qr{<code>GET /long</code> for query 'long', held}, 'on the page, too');
    close $socket;
    ok(await(sub { @{$server->pool('events')->{holders}} == 0 }, 10), 'given up');
    $server->allow_log(qr/query 'long'/);
};

subtest 'axes, sparklines, captions' => sub {
    my $html   = page();
    my @charts = $html =~ m{(<figure .*?</figure>)}gs;
    my @units  = map { m{<div class="unit"[^>]*>([^<]+)<} } @charts;
    is_deeply(\@units, ['connections', 'requests', 'per second', 'errors per second'], 'units');
    for my $chart (@charts) {
        my ($top, $half) = $chart =~ m{<div class="y"[^>]*><span>([\d.,]+)</span><span>([\d.,]*)</span><span>0</span></div>};
        my ($most) = $chart =~ m{<small>most ([\d.,]+)<};
        s/,//g for $top, $half, $most;
        cmp_ok($top, '>=', $most, "the axis to $top covers $most");
        ok($half eq '' || 2 * $half == $top, 'with its half');
        like($chart, qr{<span>10 min ago</span><span>5 min</span><span>now</span>}, 'and the time');
    }
    my @sparks = $html =~ m{(<svg class="spark".*?</svg>)}gs;
    is(scalar @sparks, 4, 'a sparkline of each pool');
    like($sparks[1], qr/aria-label="at most 2 busy and 1 waiting in the last ten minutes"/, 'in words');
    like($sparks[1], qr/class="spark-busy" d="M\d/, 'and drawn');
    my @tables = $html =~ m{<table>\n(.*?)</table>}gs;
    is_deeply([grep { !/^<caption>\w[^<]+<\/caption>/ } @tables], [], 'each table has a caption');
};

# ---------------------------------------------------------------------------

sub in_browser {
    my $browser = ConnPoolBrowser->start(dir => $server->dir('run'), width => 400, height => 500);
    my $url     = $server->url('/connpool-status?refresh=1');
    my $age     = 'document.querySelector("#about p").textContent';

    subtest 'a refresh takes nothing away' => sub {
        $browser->open($url);
        $browser->press('Tab') for 1 .. 3;
        isnt($browser->evaluate('document.activeElement.nodeName'), 'BODY', 'keys reach something');
        isnt(
            $browser->evaluate('getComputedStyle(document.activeElement).outlineStyle'),
            'none', 'and it is seen'
        );
        my @stops;
        for (1 .. 60) {
            $browser->press('Tab');
            push @stops, $browser->evaluate(
                'document.activeElement.nodeName + " " + (document.activeElement.closest("tr") || {dataset: {}}).dataset.key'
            );
            last if $stops[-1] eq 'SUMMARY more of one';
        }
        is($stops[-1], 'SUMMARY more of one', 'a summary, too');
        $browser->press('Enter');
        is($browser->evaluate('document.activeElement.parentNode.open'), 1, 'which opens by a key');
        $browser->evaluate('window.kept = document.activeElement; scrollBy(0, 30); getSelection().selectAllChildren(document.querySelector("#queries caption")); 0');
        my $before = $browser->evaluate('JSON.stringify([scrollY, getSelection().toString()])');
        my $then   = $browser->evaluate($age);
        ok(await(sub { $browser->evaluate($age) ne $then }, 20), 'it was refreshed');
        $then = $browser->evaluate($age);
        ok(await(sub { $browser->evaluate($age) ne $then }, 20), 'more than once');
        is($browser->evaluate('document.activeElement === window.kept'), 1, 'the focus stays');
        is($browser->evaluate('window.kept.isConnected && window.kept.parentNode.open'), 1, 'what is open, too');
        is($browser->evaluate('JSON.stringify([scrollY, getSelection().toString()])'), $before,
            'and where the reader is, and what is selected');
        is_deeply([$browser->complaints], [], 'nothing to complain of');
    };

    subtest 'a refresh shows what has changed' => sub {
        is($browser->evaluate('document.title'), 'OK', 'all is well');
        is($browser->evaluate('!!document.getElementById("wrong")'), 0, 'nothing is wrong');
        $server->get('/silent');
        ok(await(sub { $browser->evaluate('document.title') eq 'DEGRADED: silent' }, 20), 'the title');
        is($browser->evaluate('document.querySelector("h1").className'), 'verdict is-degraded', 'the verdict');
        like($browser->evaluate('document.querySelector("h1 + section").innerText'),
            qr/What is wrong.*silent.*the last fetch got no answer.*upstream, /s, 'what is wrong comes first');
        is($browser->evaluate('document.activeElement === window.kept && window.kept.parentNode.open'), 1,
            'the focus stays, and what is open');
        # The same as the page that is loaded anew.
        my $same = '(async function () { const fresh = new DOMParser().parseFromString('
            . 'await (await fetch(location.href)).text(), "text/html");'
            . 'const shape = d => Array.from(d.querySelectorAll("main *")).map(e => e.nodeName + "#" + e.id).join(" ");'
            . 'return shape(fresh) === shape(document); })()';
        ok(await(sub { $browser->evaluate($same) }, 10), 'element for element what was sent');
    };

    subtest 'a phone sees it on the first screen' => sub {
        $browser->size(400, 844);
        my $bottom = 'document.querySelector("#wrong tbody tr").getBoundingClientRect().bottom + scrollY';
        cmp_ok($browser->evaluate($bottom), '<', 844, 'verdict and what is wrong');
        cmp_ok($browser->evaluate('document.querySelector("h1").getBoundingClientRect().top + scrollY'), '<', 60,
            'from the top');
        is($browser->evaluate('document.documentElement.scrollWidth <= innerWidth'), 1, 'nothing sticks out');
        for my $width (320, 700, 1000, 1280) {
            $browser->size($width, 800);
            is($browser->evaluate('document.documentElement.scrollWidth <= innerWidth'), 1, "nor at $width");
        }
    };

    subtest 'a server that does not answer' => sub {
        kill 'STOP', $server->pid, $server->children;
        ok(await(sub { $browser->evaluate('document.title') =~ /^NO ANSWER\. DEGRADED/ }, 30), 'the title says so');
        like($browser->evaluate('document.getElementById("stale").innerText'),
            qr/^No answer since [\dT:-]+Z: these numbers are old\.$/, 'and the page');
        kill 'CONT', $server->children, $server->pid;
        ok(await(sub { $browser->evaluate('document.title') !~ /NO ANSWER/ }, 30), 'it is back');
        is($browser->evaluate('document.getElementById("stale").hidden'), 1, 'so is the page');
    };
    $browser->end;

    subtest 'without a script' => sub {
        my $plain = ConnPoolBrowser->start(dir => $server->dir('run'), script => 0);
        $plain->open($url);
        my $then = $plain->evaluate($age);
        ok(await(sub { (eval { $plain->evaluate($age) } // $then) ne $then }, 20), 'it is loaded again');
        $plain->end;
    };
    return;
}

if (ConnPoolBrowser::find()) {
    in_browser();
}
else {
    subtest 'in a browser' => sub { plan skip_all => 'chromium is not installed' };
}

$server->done;
$upstream->stop;
done_testing;
