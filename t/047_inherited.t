# SPDX-License-Identifier: Apache-2.0
#
# Programs that somebody executes in a child inherit nothing that the module
# has opened, and nothing that its libraries have.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;

my $O_CLOEXEC = oct '02000000';
my $upstream  = ConnPoolUpstream->start;

# What a program would inherit from the server's first child.
sub inherited {
    my ($server) = @_;
    my ($child)  = $server->children;
    my $fds      = $server->fds($child);
    my @found;
    for my $fd (sort { $a <=> $b } keys %{$fds}) {
        open my $in, '<', "/proc/$child/fdinfo/$fd" or next;
        my ($flags) = map { /^flags:\s+(\d+)/ ? oct $1 : () } <$in>;
        push @found, $fds->{$fd} =~ s{^/tmp/[^/]+}{}r =~ s/\[\d+\]//r if defined $flags && !($flags & $O_CLOEXEC);
    }
    return join ' ', sort @found;
}

my $plain = ConnPoolTest->new(plain => 1, status => 0);
$plain->start;
my $expected = inherited($plain);
$plain->stop;

my $base = fetch_conf('literal', $upstream->url('/'))
    . fetch_conf('named', 'http://localhost:' . $upstream->port . '/', 'private=allow')
    . fetch_conf('again', $upstream->url('/'), 'keepalive=7s')
    . fetch_conf('unknown', 'http://no-such-host.invalid/', 'breaker=0')
    . "ConnPoolDatabase db sqlite:\@DIR\@/db/db.db\n"
    . "ConnPoolQuery q db \"SELECT * FROM t\" ttl=data\n"
    . "ConnPoolQuery w db \"INSERT INTO t VALUES (1)\" write=on methods=POST\n"
    . "<Location /q>\nSetHandler connpool-query\nConnPoolServe q\n</Location>\n"
    . "<Location /w>\nSetHandler connpool-query\nConnPoolServe w\n</Location>\n";
my %flags = ('loop' => '', 'no loop' => "ConnPoolEventLoop Off\n", 'no pools' => "ConnPoolEngine Off\n");

for my $what (sort keys %flags) {
    subtest $what => sub {
        my $server = ConnPoolTest->new(conf => $flags{$what} . $base);
        $server->make_sqlite('db', 'CREATE TABLE t(a)');
        $server->allow_log(qr/upstream 'unknown'/);
        $server->start;
        is(inherited($server), $expected, 'at the start');
        for my $path (qw(literal/text named/text again/text literal/gzip/100000 literal/large/3000000)) {
            is($server->get("/$path")->{status}, 200, $path);
            is(inherited($server), $expected, "after $path");
        }
        is($server->get('/unknown')->{status}, 502, 'a name that is none');
        is($server->get('/q')->{status}, 200, 'a query');
        is($server->post('/w', content => '')->{status}, 200, 'a write');
        is(inherited($server), $expected, 'after queries');
        my $client = $server->connect;
        print {$client} "GET /named/delay/60 HTTP/1.0\r\n\r\n";
        ok(await(sub { $upstream->stats->{busy} == 1 }, 20), 'while a fetch is under way');
        is(inherited($server), $expected, 'nothing is open to others');
        close $client;
        $server->done;
    };
}

done_testing;
