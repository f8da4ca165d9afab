#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# coalesce=on: equal fetches of a child at one time share one.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(await parse_response read_until);
use ConnPoolUpstream qw(fetch_conf unchunk);
use Test::More;

my $upstream = ConnPoolUpstream->start(backlog => 511);
my $conf     = join '', "ListenBackLog 511\n",
    fetch_conf('shared', $upstream->url('/'), 'coalesce=on', 'retry=0', 'breaker=0', 'read=60s', 'total=60s',
    'headers=Accept-Language,Cookie'),
    fetch_conf('small', $upstream->url('/'), 'coalesce=on', 'max-body=1K'),
    fetch_conf('alone', $upstream->url('/'));
my $server;

sub start_server {
    my (%arg) = @_;
    $server = ConnPoolTest->new(conf => $conf . ($arg{more} // ''), %arg);
    $server->start;
    return;
}

sub figures {
    my ($name) = @_;
    my ($line) = grep { $_->{name} eq ($name // 'shared') } @{$server->status_json->{upstreams}};
    return $line;
}

# How often the upstream was asked for that path.
sub calls {
    my ($path) = @_;
    return $upstream->stats->{paths}{$path} // 0;
}

# One request on each of so many connections.
sub ask {
    my ($count, $path, @headers) = @_;
    my @sockets = map { $server->connect || die "connect: $!" } 1 .. $count;
    my $head    = join "\r\n", "GET $path HTTP/1.1", 'Host: a', 'Connection: close', @headers;
    print {$_} "$head\r\n\r\n" for @sockets;
    return @sockets;
}

# Their content without chunks; '' when the end is missing.
sub answers {
    my @answers = map { parse_response(read_until($_, undef, 60)) } @_;
    for my $answer (grep { $_->{headers}{'transfer-encoding'} } @answers) {
        my ($content, $is_whole) = unchunk($answer->{content});
        $answer->{content} = $is_whole ? $content : '';
    }
    return @answers;
}

# Until so many requests are being answered; the one that asks is another.
sub await_busy {
    my ($count) = @_;
    my $busy;
    my $ok = await(
        sub {
            my ($board) = $server->get('/server-status?auto')->{content} =~ /^Scoreboard: (.*)/m;
            $busy = ($board =~ tr/W//) - 1;
            return $busy == $count;
        },
        30
    );
    ok($ok, "$count at once") || diag("$busy are");
    return;
}

# Together in every child: the upstream answers nobody before all have come.
sub together {
    my ($count, @request) = @_;
    $upstream->freeze;
    my @sockets = ask($count, @request);
    await_busy($count);
    $upstream->thaw;
    return answers(@sockets);
}

if (ConnPoolTest->new->mpm eq 'prefork') {
    start_server(children => 4);
    my @answers = answers(ask(8, '/shared/delay/0.1'));
    is(scalar(grep { $_->{status} == 200 } @answers), 8, 'all are answered');
    is(calls('/delay/0.1'), 8, 'a child has one request at a time, and shares nothing');
    is(figures()->{coalesced}, 0, 'and counts nothing');
    $server->done;
    done_testing;
    exit 0;
}

subtest 'two children' => sub {
    start_server(children => 2, threads => 110);
    my @answers = together(200, '/shared/delay/0.3');
    is(scalar(grep { $_->{status} == 200 && $_->{content} eq "at last\n" } @answers),
        200, 'all are answered');
    is(scalar(grep { $_->{headers}{'content-type'} =~ m{^text/plain} } @answers),
        200, 'with the headers that are passed on');
    my $calls = calls('/delay/0.3');
    cmp_ok($calls, '>=', 1, 'asked');
    cmp_ok($calls, '<=', 2, 'once per child');
    my $figures = figures();
    is($figures->{count},     $calls,       'these are the fetches');
    is($figures->{coalesced}, 200 - $calls, 'the others are counted');
    $server->done;
};

start_server(threads => 64);

subtest 'by default' => sub {
    my @answers = together(5, '/alone/delay/0.2');
    is(scalar(grep { $_->{status} == 200 } @answers), 5, 'all are answered');
    is(calls('/delay/0.2'),           5, 'each by its own fetch');
    is(figures('alone')->{coalesced}, 0, 'which nobody shared');
};

subtest 'a failure' => sub {
    $server->allow_log(qr/upstream 'shared'/);
    my ($before) = figures();
    my @answers = together(30, '/shared/close-body?size=1000');
    is(scalar(grep { $_->{status} == 502 } @answers), 30, 'reaches all');
    is(calls('/close-body'), 1, 'of one fetch');
    my $figures = figures();
    is($figures->{errors} - $before->{errors},       1,  'which is one error');
    is($figures->{coalesced} - $before->{coalesced}, 29, 'that saved the others');
};

subtest 'a redirect' => sub {
    my @answers = together(5, '/shared/redirect?to=/text');
    is(scalar(grep { $_->{status} == 502 } @answers), 5, 'goes to nobody');
    is(calls('/redirect'), 1, 'of one fetch');
};

subtest 'too large' => sub {
    $server->allow_log(qr/upstream 'small'/);
    my @answers = together(5, '/small/large/100000');
    is(scalar(grep { $_->{status} == 502 } @answers), 5, 'is not collected');
};

subtest 'unlike requests' => sub {
    my $echo = calls('/echo');
    $upstream->freeze;
    my @sockets = (
        (map { ask(3, "/shared/echo?q=$_") } 1 .. 2),
        (map { ask(3, '/shared/echo?q=1', "Accept-Language: $_") } qw(de en)),
    );
    await_busy(12);
    $upstream->thaw;
    my @bodies = map { $_->{content} } answers(@sockets);
    is(calls('/echo') - $echo, 4, 'share with their like');
    like($bodies[$_], qr/q=1/, 'its own query') for 0 .. 2;
    like($bodies[$_], qr/q=2/, 'its own query') for 3 .. 5;
    like($bodies[$_], qr/"de"/, 'its own header') for 6 .. 8;
    like($bodies[$_], qr/"en"/, 'its own header') for 9 .. 11;
    my %kinds = map { $_ => 1 } @bodies;
    is(scalar(keys %kinds), 4, 'nothing is mixed');
};

subtest 'credentials' => sub {
    my $echo    = calls('/echo');
    my @answers = together(4, '/shared/echo', 'Cookie: id=1');
    is(scalar(grep { $_->{content} =~ /id=1/ } @answers), 4, 'reach the upstream');
    is(calls('/echo') - $echo, 4, 'with a fetch for each');
    @answers = together(4, '/shared/echo', 'Authorization: Basic eDp5');
    is(calls('/echo') - $echo, 5, 'those that are not handed on decide nothing');
};

subtest 'conditions' => sub {
    $upstream->freeze;
    my @sockets = (ask(2, '/shared/text?size=10'), ask(2, '/shared/text?size=10', 'If-Match: "x"'));
    await_busy(4);
    $upstream->thaw;
    is(join(' ', map { $_->{status} } answers(@sockets)), '200 200 412 412', 'are for each');
};

subtest 'the first leaves' => sub {
    $upstream->freeze;
    my ($first) = ask(1, '/shared/delay/0.7');
    await_busy(1);
    my @others = ask(10, '/shared/delay/0.7');
    await_busy(11);
    close $first;
    close pop @others for 1 .. 2;
    $upstream->thaw;
    is(scalar(grep { $_->{status} == 200 } answers(@others)), 8, 'the others are answered');
    is(calls('/delay/0.7'), 1, 'by the same fetch');
};

subtest 'all leave' => sub {
    my @sockets = ask(5, '/shared/hang');
    ok(await(sub { calls('/hang') == 1 }, 10), 'one fetch');
    close $_ for @sockets;
    ok(await(sub { !$upstream->stats->{busy} }, 10), 'which ends with them');
};

subtest 'large bodies' => sub {
    my @answers = together(6, '/shared/large/3000000');
    is(scalar(grep { length $_->{content} == 3_000_000 } @answers), 6, 'are whole for all');
    my %bodies = map { $_->{content} => 1 } @answers;
    is(scalar(keys %bodies),    1, 'and the same');
    is(calls('/large/3000000'), 1, 'fetched once');

    # ConnPoolMemory is 20M.
    my @statuses = map { $server->get('/shared/large/3000000')->{status} } 1 .. 12;
    is("@statuses", join(' ', (200) x 12), 'and forgotten');
};

ok($server->is_at_rest, 'nothing is left');
$server->done;

subtest 'without the event loop' => sub {
    start_server(threads => 40, more => "ConnPoolEventLoop Off\n");
    my @answers = together(30, '/shared/delay/0.4');
    is(scalar(grep { $_->{status} == 200 } @answers), 30, 'all are answered');
    is(calls('/delay/0.4'),    1,  'by one fetch');
    is(figures()->{coalesced}, 29, 'that is counted');
    $server->done;
};

subtest 'the end of a child' => sub {
    start_server(threads => 40);
    my $before  = calls('/hang');
    my @sockets = ask(30, '/shared/hang');
    ok(await(sub { calls('/hang') > $before }, 10), 'while many wait');
    ok($server->restart, 'a hard restart');
    close $_ for @sockets;
    is($server->get('/shared/text')->{status}, 200, 'and on it goes');
    $server->done;
};

done_testing;
