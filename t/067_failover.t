# SPDX-License-Identifier: Apache-2.0
# Several URLs of one upstream: the first that is well is asked, what it does
# not answer is asked of the next, and nothing is asked twice that must not be.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use ConnPoolSink;
use Test::More;
use Time::HiRes qw(time);

my ($first, $second) = map { ConnPoolSink->start(name => $_) } qw(one two);
my %vars = (ONE => $first->url, TWO => $second->url);
my $all  = 'methods=GET,POST,PUT,DELETE max-request=10M';

sub place {
    my ($name, $urls, @options) = @_;
    return <<"CONF";
ConnPoolUpstream $name "$urls" @options
<Location "/$name">
SetHandler connpool-fetch
ConnPoolServe $name
</Location>
CONF
}

my $server = ConnPoolTest->new(
    vars => \%vars,
    conf => join(
        '',
        place('app', '@ONE@/ @TWO@/', $all, 'breaker=3 retry=2'),
        place('try', '@ONE@/ @TWO@/', $all, 'breaker=0 retry=2'),
        place('late', '@ONE@/ @TWO@/', $all,
            'breaker=0 connect=300ms read=20s total=10s'),
        place('host', '@ONE@/ @TWO@/', 'perhost=2 overflow=reject acquire=5s'),
        <<'CONF') );
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe app
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
CONF
$server->start;

subtest 'all are well' => sub {
    is($server->get('/app/hello')->{content}, "hello from one\n", 'the first')
        for 1 .. 5;
    is(scalar $second->seen, 0, 'the second is not asked');
    is($server->upstream('app')->{count},   5, 'counted for the upstream');
    is($server->upstream('app#1')->{count}, 5, 'and for the URL');
    is($server->upstream('app#2')->{count}, 0, 'not for the other');
    is($server->upstream("app#$_")->{breaker}, 'closed', "the breaker of URL $_") for 1, 2;
    is($server->pool('app')->{max}, 60, 'as many connections for each');
};

subtest 'the first is gone' => sub {
    $first->stop;
    for my $method (qw(GET POST PUT DELETE)) {
        my $began  = time;
        my $answer = $server->request(
            $method,
            '/try/take',
            ($method eq 'GET' ? () : (content => "the $method"))
        );
        is($answer->{status}, 200, "$method is answered");
        my $seen = ConnPoolTest::decode($answer);
        is($seen->{name}, 'two', 'by the second');
        is($seen->{size}, length "the $method", 'with its body')
            if $method ne 'GET';
    }
    is($server->upstream('try')->{failovers}, 4, 'counted');
    is($server->upstream('try')->{errors},    0, 'without an error');
    is($server->upstream('try')->{count},     4, 'as so many fetches');
    is($server->upstream('try#1')->{errors},  4, 'of the URL it is one');
};

subtest 'the breaker of a URL' => sub {
    is($server->get('/app/hello')->{content}, "hello from two\n", 'answered')
        for 1 .. 10;
    is($server->upstream('app#1')->{breaker_opened}, 1, 'that of the first has opened');
    isnt($server->upstream('app#1')->{breaker}, 'closed', 'and is shown');
    is($server->upstream('app#2')->{breaker}, 'closed', 'that of the second has not');
    is($server->upstream('app')->{breaker}, 'closed', 'nor the whole');
    ok(
        await(
            sub {
                $server->get('/app/hello');
                return ($server->metric('connpool_http_breaker_state{pool="app#1",state="open"}') // 0)
                    == 1;
            },
            10
        ),
        'as a metric'
    );
    is($server->metric('connpool_http_breaker_state{pool="app#2",state="closed"}'), 1, 'by name');
    ok(
        await(
            sub {
                $server->get('/app/hello');
                my $health = $server->json('/health');
                return $health->{status} eq 'degraded'
                    && grep { $_->{name} eq 'app#1' } @{$health->{causes}};
            },
            10
        ),
        'health names it'
    );
    my $report = $server->get('/connpool-status')->{content};
    like($report, qr/app#1/, 'so does the page');
    my $port = $first->port;
    for my $path ('/connpool-status', '/connpool-status?format=json',
        '/connpool-status?format=text', '/health')
    {
        unlike($server->get($path)->{content}, qr/127\.0\.0\.1:$port|:$port/,
            "no URL in $path");
    }
    my ($item) = @{$server->json('/batch')};
    is($item->{status}, 404, 'a batch asks the second, too');
};

subtest 'all are gone' => sub {
    $second->stop;
    my $answer = $server->get('/try/hello');
    is($answer->{status}, 502, 'an error');
    like(ConnPoolTest::decode($answer)->{detail},
        qr/^upstream 'try': none of the upstream's URLs answers\.$/,
        'in one sentence');
    for (1 .. 30) {
        $answer = $server->get('/app/hello');
        last if $answer->{headers}{'retry-after'};
    }
    is($answer->{status}, 502, 'with open breakers');
    like($answer->{headers}{'retry-after'}, qr/^[1-9]/, 'with Retry-After');
    like(ConnPoolTest::decode($answer)->{detail}, qr/^[^.]+\.$/,
        'in one sentence, too');
};

subtest 'they are back' => sub {
    $second->restart;
    ok(await(sub { $server->get('/app/hello')->{content} =~ /two/ }, 30),
        'the second');
    $first->restart;
    ok(await(sub { $server->get('/app/hello')->{content} =~ /one/ }, 30),
        'the first is preferred again');
    is($server->upstream('app#1')->{breaker}, 'closed', 'its breaker is closed');
    ok(await(sub { $server->json('/health')->{status} eq 'ok' }, 60),
        'health is well');
};

subtest 'what is asked again' => sub {
    $first->stop;
    my $dropping = ConnPoolSink->start(name => 'drops', port => $first->port);
    is($server->get('/try/drop')->{status}, 502, 'GET, when both cut it off');
    is(scalar $dropping->heads('/drop'), 1, 'asked once of the first');
    cmp_ok(scalar $second->heads('/drop'), '>=', 1, 'and of the second');
    for my $case (['POST', ''], ['POST', 'body'], ['PUT', 'x' x 100000]) {
        my ($method, $content) = @{$case};
        my @before = (scalar $dropping->heads('/cut'),
            scalar $second->heads('/cut'));
        is(
            $server->request($method, '/try/cut?after=1', content => $content)
                ->{status},
            502, "$method of " . length $content
        );
        is(scalar($dropping->heads('/cut')) - $before[0], 1, 'sent once');
        is(scalar($second->heads('/cut')) - $before[1], 0, 'and to one');
    }
    my $before = $second->heads('/answer/503');
    is($server->get('/try/answer/503')->{status}, 503, 'an answer is one');
    is(scalar $second->heads('/answer/503'), $before, 'whatever it says');
    $dropping->stop;
    $first->restart;
};

subtest 'one that hangs' => sub {
    $first->stop;
    # Connections are accepted by the kernel, and nobody reads.
    my $hanging = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $first->port,
        Listen    => 64,
        ReuseAddr => 1
    ) // die $@;
    my $began = time;
    is($server->get('/late/hello')->{content}, "hello from two\n",
        'no answer within connect=');
    cmp_ok(time - $began, '<', 5, 'in time');
    is($server->post('/late/hello', content => 'x', timeout => 30)->{status},
        504, 'a POST may be under way: it waits, and fails');
    close $hanging;
    $first->restart;
};

subtest 'limits' => sub {
    my @answers = ConnPoolTest::parallel(8,
        sub { return $server->get('/host/slow')->{status} });
    is_deeply(\@answers, [(200) x 8], 'more than perhost= wait');
    cmp_ok($server->pool('host')->{busy_max}, '<=', 2, 'as before');
};

subtest 'configuration' => sub {
    my %bad = (
        '"http://127.0.0.1/ ftp://127.0.0.2/"'       => qr/ftp:/,
        '"http://127.0.0.1/ http://127.0.0.1/"'      => qr/named twice/,
        '""'                                         => qr/no URL|form/,
        '"http://127.0.0.1/ http://u:p@127.0.0.1/x"' => qr/user name/,
        '"http://127.0.0.1/ http://localhost/"'      => qr/localhost/,
        '"' . join(' ', map { "http://127.0.0.$_/" } 1 .. 9) . '"' =>
            qr/more than 8/,
        '"http://127.0.0.1/ http://127.0.0.2/" socket=/x' => qr/socket.*one URL/,
    );
    for my $urls (sort keys %bad) {
        my ($exit, $text) = $server->configtest("ConnPoolUpstream u $urls\n");
        isnt($exit, 0, $urls);
        like($text, qr/ConnPoolUpstream u.*$bad{$urls}/, 'says why');
        unlike($text, qr/u:p/, 'but no password');
    }
};

$server->allow_log(qr/upstream '(?:app|try|late|host)(?:#\d)?'/);
$server->done;
done_testing;
