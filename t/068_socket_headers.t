# SPDX-License-Identifier: Apache-2.0
# Upstreams behind a Unix socket, headers that each request is sent with, and
# parts of an answer.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use ConnPoolSink;
use ConnPoolUpstream qw(fetch_conf);
use Test::More;

my $secret = 'open-sesame-4711';
my $sink   = ConnPoolSink->start;
my $old    = ConnPoolUpstream->start;

my $conf = join '',
    fetch_conf('local', 'http://app.example/', 'socket=@DIR@/run/app.sock',
    'methods=GET,POST breaker=3'),
    fetch_conf('local2', 'http://app.example/', 'socket=@DIR@/run/other.sock'),
    fetch_conf('tcp',    '@SINK@/'),
    fetch_conf('keyed', '@SINK@/', 'methods=GET,POST', 'coalesce=on',
    'headers=X-Own,X-Kept,Authorization',
    '"set-headers=Authorization: Bearer @@DIR@/token; X-Own: ours;;too;'
        . ' X-Name: @@me; Content-Type: text/fixed; User-Agent: tester"'),
    fetch_conf('listed', '@SINK@/', 'set-headers=@@DIR@/headers'),
    fetch_conf('ranged', '@SINK@/', 'headers=Range,If-Range coalesce=on'),
    fetch_conf('packed', '@OLD@/', 'headers=Range'),
    fetch_conf('whole',  '@SINK@/');
my $server = ConnPoolTest->new(
    vars => {SINK => $sink->url, OLD => $old->url},
    conf => "LogLevel trace8\n" . $conf . <<'CONF',
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe ranged local keyed
</Location>
CONF
);
my $path  = $server->dir('run/app.sock');
my $app   = ConnPoolSink->start(name => 'app', path => $path);
my $other = ConnPoolSink->start(
    name => 'other',
    path => $server->dir('run/other.sock')
);
my $token = $server->write_file('token', "$secret\r\n");
chmod 0600, $token;
my $headers = $server->write_file('headers',
    "# the application's\n\nX-Api-Key: $secret\nX-More: a; b @ c\n");
chmod 0600, $headers;
$server->start;

sub seen {
    my ($url, %option) = @_;
    return ConnPoolTest::decode($server->get($url, %option));
}

subtest 'a Unix socket' => sub {
    for (1 .. 3) {
        is($server->get('/local/hello')->{content}, "hello from app\n", 'one');
        is($server->get('/local2/hello')->{content},
            "hello from other\n", 'another, although the URL is the same');
    }
    my $answer = $server->post('/local/take', content => 'x' x 100000);
    my $seen   = ConnPoolTest::decode($answer);
    is($seen->{size},          100000,        'a body');
    is($seen->{headers}{host}, 'app.example', 'the host is the URL\'s');
    is($server->upstream('local')->{transport}, 'unix', 'the report tells');
    is($server->upstream('tcp')->{transport},   'tcp',  'of others as well');
    cmp_ok($server->upstream('local')->{reused}, '>=', 2, 'connections are kept');
    unlike($server->get("/connpool-status$_")->{content}, qr/\Q$path\E/,
        "no path in $_")
        for '', '?format=json', '?format=text';
    like($server->get('/connpool-status')->{content}, qr/Unix socket/,
        'the page, too');
};

subtest 'one that is gone' => sub {
    $app->stop;
    my $answer = $server->get('/local/hello');
    is($answer->{status}, 502, 'nobody there');
    like(ConnPoolTest::decode($answer)->{detail}, qr/refused/, 'said');
    unlike($answer->{content}, qr/\Q$path\E/, 'without the path');
    for (1 .. 40) {
        $answer = $server->get('/local/hello');
        last if $answer->{headers}{'retry-after'};
    }
    ok($answer->{headers}{'retry-after'}, 'the breaker opens');
    $app->restart;
    ok(
        await(sub { $server->get('/local/hello')->{status} == 200 }, 30),
        'it is back'
    );
    is($server->get('/local2/hello')->{content},
        "hello from other\n", 'the other one went on');
};

subtest 'fixed headers' => sub {
    my $seen = seen(
        '/keyed/take',
        headers => {
            authorization => 'Bearer forged',
            'x-own'       => 'theirs',
            'x-kept'      => 'kept',
            'x-name'      => 'theirs'
        }
    );
    my $sent = $seen->{headers};
    is($sent->{authorization}, "Bearer $secret", 'from a file, cut at its end');
    is($sent->{'x-own'},  'ours;too', 'instead of the client\'s');
    is($sent->{'x-name'}, '@me',      'a literal @');
    is($sent->{'x-kept'}, 'kept',     'others are handed on');
    is($sent->{'user-agent'}, 'tester', 'ours can be set, too');
    $seen = ConnPoolTest::decode(
        $server->post(
            '/keyed/take',
            content => 'x',
            headers => {'content-type' => 'text/theirs'}
        )
    );
    is($seen->{headers}{'content-type'}, 'text/fixed', 'of a body as well');
    $sent = seen('/listed/take')->{headers};
    is($sent->{'x-api-key'}, $secret,    'a file of headers');
    is($sent->{'x-more'},    'a; b @ c', 'as they are there');
    my (undef, undef, $item) = @{$server->json('/batch')};
    is($item->{name}, 'keyed', 'a batch');
    $server->get('/keyed/take');
    is((($sink->heads)[-1])->{headers}{authorization},
        "Bearer $secret", 'sends them, too');
};

subtest 'secrets' => sub {
    for my $where ('', '?format=json', '?format=text') {
        unlike($server->get("/connpool-status$where")->{content},
            qr/$secret/, "not in the report$where");
    }
    $sink->stop;
    unlike($server->get('/keyed/take')->{content}, qr/$secret/,
        'not in an error');
    $sink->restart;
    unlike($server->log, qr/$secret/, 'not in the log, whatever its level');
    my ($exit, $text) = $server->configtest;
    is($exit, 0, 'configtest');
    unlike($text, qr/$secret|may read/, 'is silent of it');
    chmod 0644, $token;
    ($exit, $text) = $server->configtest;
    is($exit, 0, 'a file that everybody may read');
    like($text, qr/everybody may read the file \S*token/, 'is told of');
    unlike($text, qr/$secret/, 'without what it says');
    chmod 0600, $token;
};

subtest 'another secret' => sub {
    $server->write_file('token', "another-$secret\n");
    chmod 0600, $token;
    is(seen('/keyed/take')->{headers}{authorization},
        "Bearer $secret", 'is not looked for');
    $server->graceful;
    ok(
        await(
            sub {
                my $seen = eval { seen('/keyed/take') } // return 0;
                return $seen->{headers}{authorization} eq
                    "Bearer another-$secret";
            },
            20
        ),
        'before a graceful restart'
    );
};

subtest 'ranges' => sub {
    my $part = $server->get('/ranged/range',
        headers => {range => 'bytes=4-11', 'accept-encoding' => 'gzip'});
    is($part->{status},  206,        'a part');
    is($part->{content}, '00010002', 'those bytes');
    is($part->{headers}{'content-range'}, 'bytes 4-11/1000', 'said which');
    is($part->{headers}{'accept-ranges'}, 'bytes', 'and that there are');
    is((($sink->heads)[-1])->{headers}{'accept-encoding'},
        'identity', 'a part is not asked for in a coding');
    is($server->get('/ranged/range')->{content} =~ tr/0-9//, 1000, 'all');
    is((($sink->heads)[-1])->{headers}{'accept-encoding'},
        'gzip', 'which may be coded');
    my $none = $server->get('/ranged/range',
        headers => {range => 'bytes=2000-2001'});
    is($none->{status}, 416, 'none');
    is($none->{headers}{'content-range'}, 'bytes */1000', 'said how many');
    my $changed = $server->get('/ranged/range',
        headers => {range => 'bytes=4-11', 'if-range' => '"r0"'});
    is($changed->{status},                  200,  'If-Range of another one');
    is(length $changed->{content}, 1000, 'is all of it');
    my $same = $server->get('/ranged/range',
        headers => {range => 'bytes=4-11', 'if-range' => '"r1"'});
    is($same->{status}, 206, 'of this one');
    my $known = $server->get('/ranged/range',
        headers => {range => 'bytes=4-11', 'if-none-match' => '"r1"'});
    is($known->{status}, 304, 'what is known already');
    $server->get('/whole/range', headers => {range => 'bytes=4-11'});
    ok(!exists((($sink->heads)[-1])->{headers}{range}),
        'not handed on unless it is said so');
    my $before = $sink->heads;
    $server->get('/batch', headers => {range => 'bytes=0-1'});
    my @asked = $sink->heads;
    splice @asked, 0, $before;
    cmp_ok(scalar @asked, '>=', 1, 'a batch asks');
    ok(!grep({ exists $_->{headers}{range} } @asked), 'for no ranges');
    my @answers = ConnPoolTest::parallel(
        8,
        sub {
            my ($i) = @_;
            my $from = 4 * $i;
            my $to   = $from + 3;
            return $server->get('/ranged/range',
                headers => {range => "bytes=$from-$to"})->{content};
        }
    );
    is_deeply(\@answers, [map { sprintf '%04d', $_ } 0 .. 7],
        'parts are not mistaken for each other');
    is($server->get('/packed/gzip/1000', headers => {range => 'bytes=0-9'})
            ->{status},
        502, 'a coding that was not asked for');
};

subtest 'configuration' => sub {
    my $dir = $server->dir;
    $server->write_file('empty', "\n");
    $server->write_file('bad',   "X: $secret\x01\n");
    $server->write_file('long',  'x' x 20000);
    my %bad = (
        'socket=run/app.sock'                => qr/absolute path/,
        'socket=/' . ('x' x 200)             => qr/longer than/,
        "socket=$dir/token"                  => qr/is not a socket/,
        'set-headers=X'                      => qr/Name: value/,
        'set-headers='                       => qr/no header is named/,
        '"set-headers=Host: x"'              => qr/'Host' cannot be set/,
        '"set-headers=content-length: 1"'    => qr/'content-length' cannot/,
        '"set-headers=Transfer-Encoding: x"' => qr/cannot be set/,
        '"set-headers=Connection: x"'        => qr/cannot be set/,
        '"set-headers=X: a; x: b"'           => qr/'x' is set twice/,
        '"set-headers=X Y: a"'               => qr/Name: value/,
        '"set-headers=X:"'                   => qr/'X' is empty/,
        "\"set-headers=X: \@$dir/none\""     => qr/'\Q$dir\E\/none' cannot be read/,
        "\"set-headers=X: \@$dir/empty\""    => qr/'X' is empty/,
        "\"set-headers=X: \@$dir/bad\""      => qr/'X' is empty, or holds/,
        "\"set-headers=X: \@$dir/long\""     => qr/16K/,
        "\"set-headers=X: \@$dir\""          => qr/cannot be read/,
        "set-headers=\@$dir/none"            => qr/cannot be read/,
        "set-headers=\@$dir/bad"             => qr/bad': the value of 'X'/,
    );
    for my $key (sort keys %bad) {
        my ($exit, $text) =
            $server->configtest("ConnPoolUpstream u http://127.0.0.1/ $key\n");
        isnt($exit, 0, substr $key, 0, 50);
        like($text, qr/ConnPoolUpstream u.*$bad{$key}/, 'says why');
        unlike($text, qr/$secret/, 'and tells no secret');
    }
    my ($exit, $text) = $server->configtest(
        "ConnPoolUpstream u http://public.example/ socket=$dir/run/no.sock\n");
    is($exit, 0, 'http: over a socket that is not there yet');
    like($text, qr/socket=\S*no\.sock is not there/, 'is told of');
    unlike($text, qr/plaintext|private/, 'and has no address');
};

$server->allow_log(qr/upstream '(?:local|keyed|packed)'/,
    qr/everybody may read/);
$server->done;
done_testing;
