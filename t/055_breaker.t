# SPDX-License-Identifier: Apache-2.0
# An upstream that does not answer is left alone, costs nobody any time, and is
# used again when it is back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest     qw(await read_until);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;
use Time::HiRes qw(time);

my $upstream = ConnPoolUpstream->start;
my $conf     = join '',
    fetch_conf('dead',  '@UPSTREAM@/text',  'retry=0'),
    fetch_conf('never', '@UPSTREAM@/close', 'retry=0 breaker=0'),
    fetch_conf('slow',  '@UPSTREAM@/hang',  'retry=0 read=100ms'),
    fetch_conf('hang',  '@UPSTREAM@/hang',  'breaker=2'),
    fetch_conf('loop', '@UPSTREAM@/redirect?to=/redirect%3Fto=/text',
        'redirects=1 breaker=2'),
    fetch_conf('broken', '@UPSTREAM@/status/503', 'breaker=2');
my $server = ConnPoolTest->new(
    children => 2,
    vars     => {UPSTREAM => $upstream->url},
    conf     => $conf . <<'CONF',
<Location "/health">
SetHandler connpool-health
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe dead
</Location>
CONF
);
$server->start;
my $children = $server->children;

sub health {
    my $report = $server->json('/health');
    my ($pool) =
        grep { $_->{name} eq 'dead' } @{$report->{http_pool}{pools}};
    return $pool;
}

# Is that to be seen while somebody goes on asking? Without, a pause may be over
# before we look.
sub is_seen {
    my ($look) = @_;
    return await(sub { $server->get('/dead'); return $look->() }, 10);
}

# Ask until the breaker of each child is open: that many are refused in a row.
sub ask_until_refused {
    my ($path) = @_;
    my $refused = 0;
    my $answer;
    for (1 .. 500) {
        $answer  = $server->get($path);
        $refused = $answer->{headers}{'retry-after'} ? $refused + 1 : 0;
        return $answer if $refused >= 20;
    }
    return $answer;
}

# ---------------------------------------------------------------------------

subtest 'while it answers' => sub {
    is($server->get('/dead')->{status}, 200, 'fetched');
    is($server->upstream('dead')->{breaker}, 'closed', 'closed');
    is($server->metric('connpool_http_breaker_state{pool="dead",state="closed"}'), 1, 'as a metric');
    is(health()->{status}, 'ok', 'health');
};

subtest 'a thousand requests to a dead upstream' => sub {
    my $mark   = $server->log_mark;
    my $before = $server->upstream('dead');
    $upstream->stop;
    my $dead = ConnPoolUpstream->start(
        port   => $upstream->port,
        routes => {'/text' => sub { return ['close'] }},
    );
    my %seen;
    $seen{$server->get('/dead')->{status}}++ for 1 .. 1000;
    is_deeply(\%seen, {502 => 1000}, 'all are told so');
    my $attempts = $dead->stats->{requests};
    cmp_ok($attempts, '>=', 5, 'it was asked');
    cmp_ok($attempts, '<=', 15 * $server->children,
        "$attempts attempts only");
    my $after = $server->upstream('dead');
    is($after->{breaker_refused}, 1000 - $attempts, 'the others were refused');
    is($after->{count} - $before->{count}, 1000, 'all are counted');
    is($after->{errors} - $before->{errors}, 1000, 'as errors');
    is($after->{failed_us}{count} - $before->{failed_us}{count},
        $attempts, 'the times are those of attempts');
    cmp_ok($after->{breaker_opened}, '>=', 1, 'opened');
    cmp_ok($after->{breaker_opened}, '<=', $server->children, 'in each child');
    my $warnings = () = $server->log_since($mark) =~
        /:warn\].* upstream 'dead' did not answer 5 times in a row/g;
    is($warnings, $after->{breaker_opened}, 'logged as often');

    my $answer = ask_until_refused('/dead');
    like(ConnPoolTest::decode($answer)->{detail},
        qr/does not answer, it is asked again in [1-9]\d* s\.$/,
        'the answer says what is up');
    like($answer->{headers}{'retry-after'}, qr/^[1-9]\d*$/, 'Retry-After');
    ok(
        is_seen(
            sub {
                my ($item) = @{$server->json('/batch')};
                return ($item->{error}{retry_after} // '') =~ /^[1-9]\d*$/;
            }
        ),
        'and for an item of a batch'
    );
    ok(is_seen(sub { $server->upstream('dead')->{breaker} eq 'open' }), 'the report too');
    ok(is_seen(sub { $server->metric('connpool_http_breaker_state{pool="dead",state="open"}') == 1 }),
        'the metrics');
    is($server->metric('connpool_http_breaker_refused_total{pool="dead"}'),
        $server->upstream('dead')->{breaker_refused}, 'with the counter');
    ok(
        is_seen(
            sub {
                return $server->get('/connpool-status')->{content} =~
                    /<td data-label="Breaker">.*>open<.*refused/;
            }
        ),
        'and the page'
    );
    ok(
        is_seen(sub { (health()->{reason} // '') eq 'the breaker is open' }),
        'health gives the reason'
    );
    is(health()->{status}, 'degraded', 'and is degraded');
    $dead->stop;
};

subtest 'when it is back' => sub {
    my $mark = $server->log_mark;
    $upstream->restart;
    my $in_a_row = 0;
    ok(
        await(
            sub {
                my $is_back = $server->get('/dead')->{status} == 200;
                $in_a_row = $is_back ? $in_a_row + 1 : 0;
                return $in_a_row >= 20;
            },
            30
        ),
        'it is used again'
    );
    ok(await(sub { health()->{status} eq 'ok' }, 20), 'health is ok');
    like($server->await_log(qr/upstream 'dead' answers again/) // '',
        qr/:notice\].* after [\d.]+ s; \d+ fetches were refused/,
        'the log tells');
    isnt($server->upstream('dead')->{breaker}, 'open', 'not open any more');
};

subtest 'what opens it' => sub {
    my $answer = ask_until_refused('/slow');
    is($answer->{status}, 502, 'silence before the answer');
    cmp_ok($server->upstream('slow')->{breaker_opened}, '>=', 1, 'opened');
    is($server->get('/dead')->{status}, 200, 'others are not concerned');
};

subtest 'what does not' => sub {
    is($server->get('/broken')->{status}, 503, 'an answer of 503')
        for 1 .. 10;
    is($server->get('/loop')->{status}, 502, 'a redirect') for 1 .. 10;
    my $before = $upstream->stats->{requests};
    is($server->get('/never')->{status}, 502, 'breaker=0') for 1 .. 10;
    cmp_ok($upstream->stats->{requests} - $before, '>=', 10, 'always asked');
    for (1 .. 6) {
        my $client = $server->connect;
        my $asked  = $upstream->stats->{paths}{'/hang'};
        print {$client} "GET /hang HTTP/1.0\r\n\r\n";
        await(sub { $upstream->stats->{paths}{'/hang'} > $asked }, 5, 'asked');
        close $client;
        ok($server->is_at_rest, 'a client that goes away');
    }
    for my $name (qw(broken loop never hang)) {
        is($server->upstream($name)->{breaker_opened}, 0, "$name: did not open it");
    }
};

subtest 'configuration' => sub {
    for my $bad (qw(-1 x 1000001)) {
        my ($exit, $text) = $server->configtest(
            "ConnPoolUpstream u http://127.0.0.1/ breaker=$bad\n");
        isnt($exit, 0, "breaker=$bad");
        like($text, qr/breaker/, 'the error names it');
    }
};

$server->allow_log(qr/upstream '(?:dead|never|slow|loop|hang)'/);
$server->done;
done_testing;
