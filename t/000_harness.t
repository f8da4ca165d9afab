# SPDX-License-Identifier: Apache-2.0
# The harness itself: what it must catch, it has to be seen catching.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command free_port parallel parse_response);
use ConnPoolFaults;
use ConnPoolTLS;
use ConnPoolUpstream;
use HTTP::Tiny ();
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $server = ConnPoolTest->new(plain => 1, children => 2, conf => <<'CONF');
<Directory "@DIR@/htdocs/closed">
Require all denied
</Directory>
CONF
$server->write_file('htdocs/hello.txt', "hello\n");
$server->write_file('htdocs/closed/secret.txt', "secret\n");

subtest 'ports are reserved' => sub {
    my @reserved = map { [free_port()] } 1 .. 50;
    my %ports    = map { $_->[0] => 1 } @reserved;
    is(scalar keys %ports, 50, 'fifty ports, all different');
    ok(!$ports{$server->port}, 'none is the one of the server');
    my $probe = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $server->port
    );
    ok(!$probe, 'nobody listens before the start');
};

subtest 'configtest' => sub {
    my ($exit, $text) = $server->configtest;
    is($exit, 0, 'the good one passes');
    like($text, qr/Syntax OK/, 'and says so');
    ($exit, $text) = $server->configtest("NoSuchDirective on\n");
    isnt($exit, 0, 'a bad one does not');
    like($text, qr/Invalid command 'NoSuchDirective'/, 'and says why');
};

subtest 'requests' => sub {
    $server->start;
    is(scalar $server->children, 2, 'two children');
    my $answer = $server->get('/hello.txt');
    is($answer->{status},  200,       'GET');
    is($answer->{content}, "hello\n", 'body');
    like($answer->{headers}{'content-type'}, qr{^text/plain}, 'header');
    is($server->head('/hello.txt')->{content}, '', 'HEAD has no body');
    is($server->get('/none')->{status},        404, 'not found');
    my $raw = $server->raw("GET /hello.txt HTTP/1.0\r\n\r\n");
    is(parse_response($raw)->{status},  200,       'raw: status');
    is(parse_response($raw)->{content}, "hello\n", 'raw: body');
    my @codes = parallel(4, sub { $server->get('/hello.txt')->{status} });
    is_deeply(\@codes, [200, 200, 200, 200], 'four clients at once');
    like($server->access_log, qr{ 404 GET /none }, 'access log');
};

subtest 'graceful restart' => sub {
    my @old = $server->children;
    ok($server->graceful(gone => 1), 'restarted');
    my %new = map { $_ => 1 } $server->children;
    is((scalar grep { $new{$_} } @old), 0, 'by new children');
    is($server->get('/hello.txt')->{status}, 200, 'and still answers');
};

subtest 'errors in the log' => sub {
    is_deeply([$server->log_problems], [], 'none so far');
    my $mark = $server->log_mark;
    is($server->get('/closed/secret.txt')->{status}, 403, 'refused');
    ok($server->await_log(qr/AH01630/, $mark), 'logged');
    is(scalar(my @found = $server->log_problems), 1, 'and noticed');
    $server->allow_log(qr/AH01630/);
    is_deeply([$server->log_problems], [], 'unless it was declared');
};

subtest 'a child that dies' => sub {
    my ($first, $second) = $server->children;
    $server->kill_child('ABRT', $first);
    ok($server->await_log(qr/child pid $first exit signal/), 'logged');
    is_deeply([$server->log_problems], [], 'the test did that');
    kill 'ABRT', $second;
    ok($server->await_log(qr/child pid $second exit signal/), 'logged');
    is(scalar(my @found = $server->log_problems), 1, 'nobody said why');
    $server->kill_child(0, $second);
    is_deeply([$server->log_problems], [], 'now somebody did');
    ok(await(sub { $server->children == 2 }, 10), 'new children come');
};

subtest 'databases' => sub {
    my $path = $server->make_sqlite('toy',
        'CREATE TABLE t(a); INSERT INTO t VALUES(1),(2);');
    ok(-s $path, 'made');
    is($server->sqlite('toy', 'SELECT sum(a) FROM t'), 3, 'asked');
    ok(!eval { $server->make_sqlite('bad', 'CREATE NONSENSE'); 1 },
        'bad SQL dies');
};

subtest 'leaves nothing behind' => sub {
    my @pids = ($server->pid, $server->children);
    ok($server->stop, 'stops by itself');
    is_deeply([grep { kill 0, $_ } @pids], [], 'no process');
    my $probe = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $server->port,
        ReuseAddr => 1,
        Listen    => 1
    );
    ok($probe, 'the port is free');
};
$server->done;

# Run a test file of its own and look at what prove would see.
sub run_script {
    my ($body) = @_;
    my $file = $server->write_file('planted.t', <<"PERL" . $body);
use lib '$FindBin::Bin/lib';
use ConnPoolTest;
use Test::More;
PERL
    local $ENV{CONNPOOL_KEEP} = 0;
    my ($exit, $text) = command($^X, $file);
    my ($dir) = $text =~ /files are kept in (\S+)/;
    my $has_dir = defined $dir && -d $dir;
    command('rm', '-rf', $dir) if $has_dir;
    my ($pid) = $text =~ /# pid (\d+)/;
    return ($exit, $text, $has_dir, $pid);
}

subtest 'a file that forgets done()' => sub {
    my ($exit, $text, $has_dir, $pid) = run_script(<<'PERL');
my $s = ConnPoolTest->new(plain => 1, conf => <<'CONF')->start;
<Location "/closed">
Require all denied
</Location>
CONF
diag('pid ' . $s->pid);
is($s->get('/closed')->{status}, 403);
done_testing;
PERL
    isnt($exit, 0, 'fails for the error in the log');
    like($text, qr/AH01630/, 'which is shown');
    ok($has_dir,       'the files are kept');
    ok(!kill(0, $pid), 'the server is gone');
};

subtest 'a file that dies' => sub {
    my ($exit, $text, $has_dir, $pid) = run_script(<<'PERL');
my $s = ConnPoolTest->new(plain => 1)->start;
diag('pid ' . $s->pid);
die "planted\n";
PERL
    isnt($exit, 0, 'fails');
    ok($has_dir,       'the files are kept');
    ok(!kill(0, $pid), 'the server is gone');
};

subtest 'a file that is killed' => sub {
    plan skip_all => 'no setpriv' if !-x '/usr/bin/setpriv';
    my (undef, undef, undef, $pid) = run_script(<<'PERL');
my $s = ConnPoolTest->new(plain => 1)->start;
diag('pid ' . $s->pid);
diag('files are kept in ' . $s->dir);
kill 'KILL', $$;
PERL
    ok(await(sub { !kill 0, $pid }, 10), 'the server ends');
};

subtest 'a server that does not start' => sub {
    my ($exit, $text) = run_script(<<'PERL');
ConnPoolTest->new(plain => 1, conf => "NoSuchDirective on\n")->start;
PERL
    isnt($exit, 0, 'fails');
    like($text, qr/did not start.*NoSuchDirective/s, 'and says why');
};

# The lane with sanitizers is worth nothing if it is blind.
subtest 'a module that reads beyond its memory' => sub {
    plan skip_all => 'not a run with AddressSanitizer' if !$ENV{CONNPOOL_ASAN};
    my $bugged = ConnPoolTest->new(plain => 1, status => 0);
    my $source = $bugged->write_file('mod_planted.c', <<'C');
#include <stdlib.h>
#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
static int handler(request_rec *r)
{
    if (strcmp(r->uri, "/planted") != 0) {
        return DECLINED;
    }
    char *volatile text = calloc(1, 8);
    ap_rprintf(r, "%d\n", text[8 + r->header_only]);
    free(text);
    return OK;
}
static void hooks(apr_pool_t *p)
{
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_FIRST);
}
AP_DECLARE_MODULE(planted) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks};
C
    my @include = map { chomp; "-I$_" }
        map { (command('apxs', '-q', $_))[1] } qw(INCLUDEDIR APR_INCLUDEDIR);
    my ($exit, $text) = command(
        $ENV{CC} // 'gcc', qw(-g -O1 -fPIC -shared -D_GNU_SOURCE),
        '-fsanitize=address', @include, '-o', $bugged->dir('mod_planted.so'),
        $source
    );
    is($exit, 0, 'compiles') or diag($text);
    $bugged->{load} = {planted_module => $bugged->dir('mod_planted.so')};
    $bugged->start;
    $bugged->get('/planted');
    ok($bugged->await_log(qr/exit signal/), 'kills the child');
    like(join("\n", $bugged->log_problems),
        qr/AddressSanitizer: heap-buffer-overflow/, 'and is reported');
    $bugged->dismiss;
};

subtest 'upstream' => sub {
    my $upstream = ConnPoolUpstream->start;
    my $client   = HTTP::Tiny->new(timeout => 5);
    my $get      = sub { $client->get($upstream->url($_[0])) };
    is($get->('/text')->{content}, "hello, world\n", 'text');
    is(length $get->('/large/200001')->{content}, 200_001, 'large');
    is(length $get->('/large-chunked/200001')->{content}, 200_001, 'chunked');
    is($get->('/status/418')->{status}, 418, 'status');
    is($get->('/flaky?fail=1')->{status}, 599, 'reset');
    is($get->('/flaky?fail=1')->{status}, 200, 'once');
    is($get->('/close')->{status},        599, 'closed');
    my $before = time;
    is($get->('/delay/0.3')->{content}, "at last\n", 'delayed');
    cmp_ok(time - $before, '>=', 0.3, 'by as much');
    is($client->head($upstream->url('/large/1000'))->{headers}
            {'content-length'},
        1000, 'HEAD');
    my $stats = $upstream->stats;
    is($stats->{requests}, 9 + 1, 'requests counted');
    is($stats->{paths}{'/text'}, 1, 'by path');
    is($stats->{peak}, 1, 'one connection at a time');

    my $impatient = HTTP::Tiny->new(timeout => 0.3);
    is($impatient->get($upstream->url('/hang'))->{status}, 599, 'hangs');
    like($impatient->get($upstream->url('/hang-body'))->{content},
        qr/timed out/i, 'hangs in the body');
    my $fresh = $upstream->stats->{connections};
    my @codes = parallel(
        8,
        sub {
            HTTP::Tiny->new(timeout => 5)
                ->get($upstream->url('/delay/0.2'))->{status};
        }
    );
    is((scalar grep { $_ == 200 } @codes), 8, 'eight at once');
    is($upstream->stats->{connections}, $fresh + 8, 'connections counted');
    $upstream->restart;
    is($get->('/json')->{content}, '{"answer":42}', 'restarted');
    $upstream->stop;
    is($get->('/json')->{status}, 599, 'stopped');
};

subtest 'TLS' => sub {
    my $tls = ConnPoolTLS->new($server->dir('tls'));
    my ($cert, $key) = $tls->issue('good', 'DNS:localhost,IP:127.0.0.1');
    my $https = ConnPoolTest->new(
        plain   => 1,
        status  => 0,
        modules => ['ssl'],
        conf    => "Listen 127.0.0.1:\@TLS_PORT\@ https\n"
            . "<VirtualHost 127.0.0.1:\@TLS_PORT\@>\nServerName localhost\n"
            . $tls->conf($cert, $key)
            . "</VirtualHost>\n",
        vars => {TLS_PORT => scalar free_port()},
    );
    $https->write_file('htdocs/hello.txt', "hello\n");
    $https->start;
    my $url = "https://127.0.0.1:$https->{vars}{TLS_PORT}/hello.txt";
    my ($exit, $text) = command('curl', '-sS', '--cacert', $tls->ca, $url);
    is($exit, 0,         'verified');
    is($text, "hello\n", 'fetched');
    ($exit) = command('curl', '-sS', $url);
    is($exit, 60, 'not trusted by others');
    my ($old) = $tls->issue('old', 'DNS:localhost', days => -1);
    ($exit) = command('openssl', 'x509', '-checkend', 0, '-noout', '-in', $old);
    is($exit, 1, 'one that has expired');
    $https->done;
};

# On a fresh machine mod_ssl may have been built with a newer OpenSSL than the
# one that Debian installs, and warns. No other warning of it is forgiven.
subtest 'a machine with an older OpenSSL' => sub {
    my $lab   = ConnPoolFaults->new;
    my $https = ConnPoolTest->new(
        plain   => 1,
        status  => 0,
        modules => ['ssl'],
        env     => {$lab->env},
    );
    my $fault = $lab->inject(call => 'openssl', shift => -1);
    $https->start;
    ok($https->await_log(qr/\[ssl:warn\].* AH01882: /), 'mod_ssl warns');
    $lab->heal($fault);
    is_deeply([$https->log_problems], [], 'and is forgiven');
    open(my $log, '>>', $https->log_file) or die $!;
    print {$log} "[x] [ssl:warn] [pid 1:tid 1] AH01909: another warning\n";
    close $log;
    is(scalar $https->log_problems, 1, 'for this alone');
    $https->dismiss;
};

done_testing;
