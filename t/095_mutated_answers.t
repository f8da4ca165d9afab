#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# An upstream whose answers are damaged at random places and come in random
# pieces: each request is answered, no child ends, others are served.
# CONNPOOL_SEED repeats a run, CONNPOOL_MUTATIONS makes it longer.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults   qw(fault_row);
use ConnPoolTest     qw(parallel parse_response slowness);
use ConnPoolUpstream qw(fetch_conf);
use IO::Compress::Gzip ();
use Test::More;

my $SEED  = $ENV{CONNPOOL_SEED}      // time ^ $$;
my $COUNT = $ENV{CONNPOOL_MUTATIONS} // 400;
diag "CONNPOOL_SEED=$SEED";

my $CRLF  = "\r\n";
my $PLAIN = join '', map { "line $_ of a text\n" } 1 .. 60;
IO::Compress::Gzip::gzip(\$PLAIN, \my $packed);
my $SIZE    = length $PLAIN;
my $chunked = join '', map { sprintf "%x$CRLF%s$CRLF", length $_, $_ }
    $PLAIN =~ /(.{1,100})/gs;
my @ANSWERS = (
    "HTTP/1.1 200 OK${CRLF}Content-Type: text/plain${CRLF}Content-Length: $SIZE$CRLF$CRLF$PLAIN",
    "HTTP/1.1 200 OK${CRLF}Content-Type: text/plain${CRLF}Transfer-Encoding: chunked$CRLF$CRLF${chunked}0$CRLF$CRLF",
    "HTTP/1.1 200 OK${CRLF}Content-Encoding: gzip${CRLF}Content-Length: @{[length $packed]}$CRLF$CRLF$packed",
    "HTTP/1.1 103 Early Hints${CRLF}Link: </a>$CRLF${CRLF}HTTP/1.1 200 OK${CRLF}Content-Length: $SIZE$CRLF$CRLF$PLAIN",
    "HTTP/1.1 302 Found${CRLF}Location: /text${CRLF}Content-Length: 0$CRLF$CRLF",
    "HTTP/1.0 404 Not Found${CRLF}Set-Cookie: a=b${CRLF}Connection: X-Own${CRLF}X-Own: 1$CRLF${CRLF}nothing",
    "HTTP/1.1 304 Not Modified${CRLF}ETag: \"x\"$CRLF$CRLF",
);
my @WORDS = ("\0", $CRLF, "\n", ' ', ':', '-1', '99999999999999999999', '0x10', 'chunked',
    'gzip', 'Content-Length: 3', 'Transfer-Encoding: chunked', 'HTTP/1.1 100 X', "\xff" x 40,
    'x' x 70_000, 'Location: http://127.0.0.1:1/', 'Content-Encoding: br', $CRLF . $CRLF);

# The number decides all. Mostly the head is struck: the body may be anything.
sub answer_of {
    my ($number) = @_;
    srand $SEED + ($number =~ /(\d+)/ ? $1 : 0);    # a redirect may bring anything
    my $bytes = $ANSWERS[rand @ANSWERS];
    for (1 .. 1 + int rand 4) {
        my $end  = index($bytes, $CRLF . $CRLF) + 4;
        my $head = $end < 4 ? length $bytes : $end;
        my $at   = int rand(rand > 0.3 ? $head : length $bytes);
        my $way = int rand 5;
        if    ($way == 0) { substr($bytes, $at, 1) = chr int rand 256 }
        elsif ($way == 1) { substr($bytes, $at, 0) = $WORDS[rand @WORDS] }
        elsif ($way == 2) { substr($bytes, $at, int rand 12) = '' }
        elsif ($way == 3) { substr($bytes, $at, 0) = substr $bytes, int rand $head, 1 + int rand 40 }
        else              { substr($bytes, $at) = '' }
        last if !length $bytes;
    }
    my @steps;
    while (length $bytes) {
        push @steps, [send => substr $bytes, 0, 1 + int rand(rand > 0.5 ? 4000 : 30), ''];
        push @steps, [wait => 0.001] if rand > 0.9 && @steps < 40;
    }
    return (@steps, [rand > 0.9 ? 'reset' : 'close']);
}

my $upstream = ConnPoolUpstream->start(
    routes => {'/mutated' => sub { my ($request, undef, $rest) = @_; return answer_of($rest) }});
my $server = ConnPoolTest->new(
    threads => 16,
    conf    => fetch_conf('plain', $upstream->url('/'), 'breaker=0 read=2s total=5s')
        . fetch_conf('shared', $upstream->url('/'), 'breaker=0 read=2s total=5s coalesce=on')
        . fetch_conf('follows', $upstream->url('/'), 'breaker=0 read=2s total=5s redirects=3')
        . "<Location /batch>\nSetHandler connpool-batch\nConnPoolServe plain shared\n</Location>\n",
);
$server->allow_log(qr/\[connpool:(?:error|warn)\]/);
$server->start;
my @children = $server->children;

my @seen = parallel(4, sub {
    my ($part) = @_;
    my (%seen, @bad);
    for my $i (grep { $_ % 4 == $part } 1 .. $COUNT) {
        for my $name (qw(plain shared follows)) {
            my $answer = parse_response($server->raw(
                "GET /$name/mutated/$i HTTP/1.0$CRLF$CRLF", 20 * slowness()));
            $seen{$answer->{status}}++;
            # 0: an upstream's own status that httpd cannot say.
            push @bad, "$name $i: no answer" if $answer->{status} == 0;
            push @bad, "$name $i: $_ passes" for grep { $answer->{headers}{$_} }
                qw(set-cookie x-own transfer-encoding content-encoding);
        }
        next if $i % 10;
        my $batch = $server->post('/batch', timeout => 20 * slowness(), json => [
            map { {name => $_, params => {path => "/mutated/$i"}} } qw(plain shared)]);
        my $items = eval { ConnPoolTest::decode($batch) };
        push @bad, "batch $i: $batch->{status} $batch->{content}"
            if $batch->{status} != 200 || @{$items // []} != 2;
    }
    return {seen => \%seen, bad => \@bad};
});
my (%seen, @bad);
for my $part (@seen) {
    $seen{$_} += $part->{seen}{$_} for keys %{$part->{seen}};
    push @bad, @{$part->{bad}};
}
is_deeply([splice @bad, 0, 10], [], 'each request is answered, and nothing of the connection passes');
is_deeply([$server->children], \@children, 'no child has ended');
cmp_ok($seen{502} // 0, '>', 0, 'some were refused');
cmp_ok($seen{200} // 0, '>', 0, 'some were not harmed');
is($server->get('/plain/text')->{content}, "hello, world\n", 'the upstream is well again');
fault_row('F54', fault => 'answers of an upstream that are damaged at random', how => "$COUNT answers: bytes, words, cuts, repetitions, random pieces, resets",
    expected => 'each request answered, no crash, nothing of the connection passes',
    seen => join(', ', map { "$_ x$seen{$_}" } sort keys %seen) . ', 0 crashes',
    figure => 3 * $COUNT . ' fetches, ' . int($COUNT / 10) . ' batches');
$server->done;
done_testing;
