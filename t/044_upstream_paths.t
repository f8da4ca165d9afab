# SPDX-License-Identifier: Apache-2.0
#
# The path that the upstream gets is the one that the client sent, to the last
# escape; what climbs out of the upstream's own path is refused in all disguises.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use ConnPoolTest     qw(parse_response);
use ConnPoolUpstream qw(fetch_conf);
use Test::More;

my $CRLF     = "\r\n";
my $upstream = ConnPoolUpstream->start;
my $base     = fetch_conf('echo', $upstream->url('/echo'))
    . fetch_conf('own', $upstream->url('/echo/own%2Fpath/?a=%2Fb'))
    . "<Directory \"\@DIR\@/htdocs/tree\">\nSetHandler connpool-fetch\n"
    . "ConnPoolServe echo\nAcceptPathInfo On\n</Directory>\n"
    . "RewriteEngine On\nRewriteRule ^/old/(.*) /echo/new/\$1 [PT]\n";

# Sent as it is: (status, what the upstream has seen).
sub ask {
    my ($server, $target) = @_;
    my $answer = parse_response($server->raw(
            "GET $target HTTP/1.1${CRLF}Host: x${CRLF}Connection: close$CRLF$CRLF"));
    return ($answer->{status}, '') if $answer->{status} != 200;
    return (200, ConnPoolTest::decode($answer, $target)->{target});
}

# Of every setting: with slashes that are encoded only where they may be.
my @plain = (
    '/',     '/a', '/a/', '/a/b', '/%20', '/a%3Bb;c', '/%25', '/%2525', '/%2B+', '/%26&', '/%3D=', '/%3A:@',
    '/%3f', '/%3F', '/%23', '/%C3%A4', '/%c3%a4', '/%FF', '/%5B%5D', '/%22%3C%3E', "/!\$&'()*,",
    '/%252F', '/%252f', '/a%252Fb', '/%252e%252e/x', '/..%252fx', '/.a', '/..a', '/a..', '/...',
);
my @slashes = ('/%2F', '/%2f', '/a%2Fb', '/a%2Fb%252Fc/d', '/%2F%2f', '/a%2F', '/%2Fa', '/%252F%2F');
# Decoded, and merged.
my %decoded = map { $_ => s{%2f}{/}gir =~ s{//+}{/}gr } @slashes;

my %settings = (
    Off      => [[@plain], [404, @slashes]],
    On       => [[@plain, @slashes]],
    NoDecode => [[@plain, @slashes]],
);

for my $setting (sort keys %settings) {
    subtest "AllowEncodedSlashes $setting" => sub {
        my $server = ConnPoolTest->new(modules => ['rewrite'],
            conf => "AllowEncodedSlashes $setting\n$base");
        mkdir $server->dir('htdocs/tree');
        $server->start;
        my ($kept, $refused) = @{$settings{$setting}};
        for my $path (@{$kept}) {
            my $seen = ($setting eq 'On' && $decoded{$path}) || $path;
            my ($status, $target) = ask($server, "/echo$path");
            is("$status $target", "200 /echo$seen", $path);
            ($status, $target) = ask($server, "/own$path?q=%2F&r=%C3%a4");
            is("$status $target", "200 /echo/own%2Fpath$seen?a=%2Fb&q=%2F&r=%C3%a4",
                "$path behind a path and a query");
        }
        my ($status, @paths) = @{$refused // []};
        is((ask($server, "/echo$_"))[0], $status, "$_ is httpd's to refuse") for @paths;

        is((ask($server, 'http://x/echo/a%3Bb?c'))[1], '/echo/a%3Bb?c', 'an absolute target');
        is((ask($server, '/echo/x//y'))[1],     '/echo/x/y',   'slashes are merged as httpd does');
        is((ask($server, '/echo/x/../y%3B'))[1], '/echo/y%3B', 'dots too');
        is((ask($server, '/%65cho/%61%3B'))[1], '/echo/a%3B', 'what needs no escape has none');
        is((ask($server, "/echo/\xc3\xa4|^"))[1], '/echo/%C3%A4%7C%5E', 'and what needs one has one');
        is((ask($server, '/echo'))[1], '/echo', 'no path at all');
        is((ask($server, '/old/a%20b'))[1], '/echo/new/a%20b', 'a rewritten path is encoded anew');
        is((ask($server, '/old/a%2Fb'))[1], '/echo/new/a%2Fb', 'with the slashes that httpd keeps')
            if $setting eq 'NoDecode';
        is((ask($server, '/tree/x/a%3Bb'))[1], '/echo/a%3Bb', 'served in a directory');

        my $before = $upstream->stats->{requests};
        for my $path ('/..%2fx', '/..%2Fx', '/%2e%2e%2fx', '/a/..%2F..%2Fx', '/a%2F..%2F..%2Fx',
            '/..%2f', '/%2e%2E%2F', '/..;%2fx', '/..%5cx', '/%00')
        {
            for my $up (qw(echo own)) {
                ($status) = ask($server, "/$up$path");
                cmp_ok($status, '>=', 400, "/$up$path is refused: $status");
                cmp_ok($status, '<',  500, 'as the client\'s fault');
            }
        }
        is($upstream->stats->{requests}, $before, 'the upstream saw none of these');
        $server->done;
    };
}

done_testing;
