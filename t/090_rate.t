# SPDX-License-Identifier: Apache-2.0
#
# ConnPoolRateLimit and rate=: exact over all children, however many ask at
# once; who is one client and who is not; what the refused are told.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await parallel);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;

my $upstream = ConnPoolUpstream->start;

# So slow that no test sees one come back, but where it wants to.
my $conf = <<'CONF';
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery one main "SELECT 1 AS a"
ConnPoolRateLimit 3/h burst=5
<Location />
ConnPoolServe one
</Location>
<Location /one>
SetHandler connpool-query
</Location>
<Location /free>
SetHandler connpool-query
ConnPoolRateLimit none
</Location>
<Location /inherits>
SetHandler connpool-query
</Location>
<Location /crowd>
SetHandler connpool-query
ConnPoolRateLimit 1/h burst=50
</Location>
<Location /quick>
SetHandler connpool-query
ConnPoolRateLimit 4/s burst=1
</Location>
<Location /net>
SetHandler connpool-query
ConnPoolRateLimit 1/h burst=2
</Location>
Alias /redirected @DIR@/redirected
RewriteEngine On
RewriteRule ^/redirected$ /crowd2 [PT]
<Location /crowd2>
SetHandler connpool-query
ConnPoolRateLimit 2/h
</Location>
ErrorDocument 404 /crowd2
CONF
$conf .= fetch_conf('slow', $upstream->url('/text'), 'rate=2/h');
$conf .= fetch_conf('free_up', $upstream->url('/text'), '');
$conf .= "<Location /batch>\nSetHandler connpool-batch\nConnPoolRateLimit none\n"
    . "ConnPoolServe slow free_up\n</Location>\n"
    . "<LocationMatch ^/(slow|free_up)>\nConnPoolRateLimit none\n</LocationMatch>\n";

my $server = ConnPoolTest->new(
    children => 3,
    modules  => [qw(remoteip rewrite)],
    conf     => $conf
);
$server->make_sqlite('main', 'CREATE TABLE t(a)');
$server->start;

sub get {
    my ($path, $client) = @_;
    return $server->get($path, headers => {'X-Client' => $client // '192.0.2.1'});
}

subtest 'a burst, and then no more' => sub {
    for my $left (4, 3, 2, 1, 0) {
        my $answer = get('/one');
        is($answer->{status}, 200, "$left are left");
        is($answer->{headers}{'ratelimit-policy'}, '"client";q=5;w=6000', 'the policy');
        like($answer->{headers}{ratelimit}, qr/^"client";r=$left;t=\d+$/, 'what is left');
    }
    my $answer = get('/one');
    is($answer->{status}, 429, 'one too many');
    is($answer->{headers}{'content-type'}, 'application/problem+json', 'is a problem');
    my $problem = ConnPoolTest::decode($answer);
    is($problem->{status}, 429, 'with its status');
    is($problem->{title}, 'Too Many Requests', 'its title');
    like($problem->{detail}, qr/3\/h burst=5.*Come again in \d+ s/, 'and what to do');
    like($answer->{headers}{'retry-after'}, qr/^1(?:19\d|200)$/, 'Retry-After');
    like($answer->{headers}{ratelimit}, qr/^"client";r=0;t=1(?:19\d|200)$/, 'RateLimit');
    is($server->head('/one', headers => {'X-Client' => '192.0.2.1'})->{status},
        429, 'HEAD too');
    is(get('/inherits')->{status}, 429, 'places that inherit a limit share it');
    is(get('/free')->{status}, 200, 'none: no limit');
    is(get('/one', '192.0.2.2')->{status}, 200, 'others are others');
    $server->await_log(qr/ConnPoolRateLimit 3\/h burst=5 at \S+: this client comes too often/);
};

subtest 'exact, however many ask at once' => sub {
    my $many = sub {
        my %count;
        $count{get('/crowd')->{status}}++ for 1 .. 20;
        return \%count;
    };
    my %count;
    for my $each (parallel(10, $many)) {
        $count{$_} += $each->{$_} for keys %$each;
    }
    is_deeply(\%count, {200 => 50, 429 => 150}, 'over all children');
};

subtest 'a client is an address, or a network of 64 bits' => sub {
    is(get('/net', '2001:db8:1:2::1')->{status},      200, 'the first');
    is(get('/net', '2001:db8:1:2:ffff::9')->{status}, 200, 'another host of it');
    is(get('/net', '2001:db8:1:2:3::77')->{status},   429, 'a third');
    is(get('/net', '2001:db8:1:3::1')->{status},      200, 'the next network');
    is(get('/net', '198.51.100.7')->{status},         200, 'IPv4');
    is(get('/net', '198.51.100.8')->{status},         200, 'its neighbour');
    is(get('/net', '198.51.100.7')->{status},         200, 'the second');
    is(get('/net', '198.51.100.7')->{status},         429, 'the third');
    is(get('/net', '::ffff:198.51.100.7')->{status},  429, 'written as IPv6');
};

subtest 'it comes back with time' => sub {
    is(get('/quick')->{status}, 200, 'one');
    my $answer;
    ok(await(sub { $answer = get('/quick'); $answer->{status} == 200 }, 10,
            'another one'),
        'and another, by and by');
};

subtest 'a request counts once' => sub {
    is(get('/redirected')->{status}, 200, 'after a rewrite');
    is(get('/not/there')->{status},  404, 'as an error document');
    is(get('/crowd2')->{status},     429, 'two were all');
};

subtest 'an upstream' => sub {
    is(get('/slow')->{status}, 200, "asked $_ times") for 1, 2;
    my $answer = get('/slow');
    is($answer->{status}, 429, 'and no more');
    like($answer->{headers}{'retry-after'}, qr/^1(?:79\d|800)$/, 'Retry-After');
    like(ConnPoolTest::decode($answer)->{detail}, qr/^upstream 'slow': .*as often as it may be/,
        'names it');
    is(get('/slow', '192.0.2.99')->{status}, 429, 'whoever asks');
    is(get('/free_up')->{status}, 200, 'others are free');
    my $items = $server->json('/batch');
    is($items->[0]{status}, 429, 'in a batch');
    is($items->[1]{status}, 200, 'with others');
};

subtest 'it outlives restarts and children' => sub {
    my ($victim) = $server->children;
    $server->kill_child('KILL', $victim);
    await(
        sub {
            my @now = $server->children;
            return @now == 3 && !grep { $_ == $victim } @now;
        },
        10, 'another child'
    );
    is(get('/one')->{status}, 429, 'a killed child');
    $server->graceful(gone => 1);
    is(get('/one')->{status}, 429, 'a graceful restart');
    is(get('/slow')->{status}, 429, 'the upstream, too');
};

subtest 'all of it is counted' => sub {
    my $report = $server->status_json;
    my ($slow) = grep { $_->{name} eq 'slow' } @{$report->{upstreams}};
    cmp_ok($report->{rate_refused}, '>=', 150, 'clients');
    cmp_ok($slow->{rate_refused},   '>=', 3,   'an upstream');
    my $metrics = $server->get('/connpool-status?format=openmetrics')->{content};
    my ($total) = $metrics =~ /^connpool_rate_refused_total (\d+)/m;
    is($total, $report->{rate_refused}, 'metrics say the same');
};

$server->done;
done_testing;
