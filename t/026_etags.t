#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Conditional requests behind mod_deflate and mod_brotli, which change the ETag
# with the coding: who asks with the tag that he got is told that he has it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use ConnPoolUpstream;
use Test::More;

my $BODY = 'x' x 5000;

sub tagged {
    my ($tag) = @_;
    return sub {
        return [send => "HTTP/1.1 200 OK\r\nETag: $tag\r\nContent-Type: text/plain\r\n"
                . "Content-Length: 5000\r\n\r\n$BODY"];
    };
}
my $upstream = ConnPoolUpstream->start(
    routes => {'/tagged' => tagged('"up"'), '/weak' => tagged('W/"up"')});
my $has_brotli = -e '/usr/lib/apache2/modules/mod_brotli.so';
my $filters    = join "\n", map {
    my ($path, @lines) = @$_;
    join "\n", "<Location \"/$path\">", 'SetHandler connpool-query',
        'ConnPoolServe all', @lines, "</Location>"
    } (['plain'], ['add', 'SetOutputFilter DEFLATE'],
    $has_brotli ? ['br', 'SetOutputFilter BROTLI_COMPRESS'] : ());
my $conf = <<"CONF";
ConnPoolDatabase main sqlite:\@DIR\@/db/main.db
ConnPoolQuery all main "SELECT a FROM t ORDER BY a"
ConnPoolQuery kept main "SELECT a FROM t ORDER BY a" ttl=data
ConnPoolQuery write main "INSERT INTO t VALUES (-1)" write=on
ConnPoolUpstream up \@UP\@
$filters
<Location "/kept">
SetHandler connpool-query
ConnPoolServe kept
SetOutputFilter DEFLATE
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe all
SetOutputFilter DEFLATE
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
SetOutputFilter DEFLATE
</Location>
<Location "/write">
SetHandler connpool-query
ConnPoolServe write
</Location>
CONF

sub start {
    my ($setting) = @_;
    my $new = ConnPoolTest->new(
        modules => ['deflate', $has_brotli ? 'brotli' : ()],
        vars    => {UP => $upstream->url},
        conf    => "$setting\n$conf",
    );
    $new->make_sqlite('main', "CREATE TABLE t(a);\nINSERT INTO t WITH RECURSIVE"
        . ' n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000)'
        . ' SELECT i FROM n;');
    $new->start;
    return $new;
}
my $server = start('');

my %GZIP = ('Accept-Encoding' => 'gzip');

sub ask {
    my ($path, %headers) = @_;
    return $server->get($path, headers => \%headers);
}

# The answer to what a client has that got this tag: 304, with that very tag.
sub is_known {
    my ($path, $tag, %headers) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = ask($path, %GZIP, 'If-None-Match' => $tag, %headers);
    is("$answer->{status} $answer->{content}", '304 ', "$path $tag: 304");
    my ($first) = $tag =~ /((?:W\/)?"[^"]*")/;
    return is($answer->{headers}{etag}, $first, '... with that tag');
}

subtest 'what a browser does' => sub {
    for my $path (qw(add kept batch up/tagged up/weak), $has_brotli ? 'br' : ()) {
        my %accept = ('Accept-Encoding' => $path eq 'br' ? 'br' : 'gzip');
        my $first  = ask("/$path", %accept);
        is($first->{status}, 200, "/$path");
        is($first->{headers}{'content-encoding'}, $accept{'Accept-Encoding'}, 'is encoded');
        my $tag = $first->{headers}{etag};
        like($tag, qr/-(?:gzip|br)"$/, "its tag $tag");
        is_known("/$path", $tag, %accept);
        is_known("/$path", $tag, 'Accept-Encoding' => 'identity');
        is($server->head("/$path", headers => {%accept, 'If-None-Match' => $tag})->{status},
            304, 'HEAD');
        my $whole = ask("/$path", 'Accept-Encoding' => 'identity');
        my $plain = $whole->{headers}{etag};
        is($whole->{headers}{'content-encoding'}, undef, 'and not encoded');
        is_known("/$path", $plain, 'Accept-Encoding' => 'identity');
        my $again = ask("/$path", %accept, 'If-None-Match' => '"other"');
        is($again->{headers}{etag}, $tag, 'the same tag again');
    }
};

subtest 'other forms of a tag' => sub {
    my ($plain) = ask('/plain')->{headers}{etag} =~ /"(\w+)"/;
    is_known('/plain', $_)
        for qq("$plain"), qq("$plain-gzip"), qq("$plain-br"), qq("$plain-zstd"),
        qq("$plain;gzip"), qq("$plain--gzip"), qq("$plain-deflate"), qq(W/"$plain-gzip"),
        qq("$plain-GZIP");
    for my $list (qq("x", "$plain-gzip"), qq("$plain-gzip","x"), qq(W/"x" , W/"$plain-br", "y"),
        qq("a,b", "$plain;br"), qq("x-gzip", "$plain-gzip", "$plain-br"))
    {
        my $answer = ask('/plain', 'If-None-Match' => $list);
        is($answer->{status}, 304, $list);
        like($answer->{headers}{etag}, qr/"\Q$plain\E[-;]/, '... with the one of them');
    }
    my $both = ask('/plain', 'If-None-Match' => qq("$plain-gzip", "$plain"));
    is("$both->{status} $both->{headers}{etag}", qq(304 "$plain"), 'both');
    is(ask('/plain', 'If-None-Match' => '*')->{status}, 304, '*');
    for my $other ('"x-gzip"', qq("$plain-"), qq("$plain-x"), qq("$plain-gzip-x"),
        qq("x$plain-gzip"), qq("$plain"x), qq("$plain.gzip"), qq($plain-gzip), '"-gzip"',
        qq("${plain}gzip"), '"', '""', qq("$plain;"), qq("$plain--"))
    {
        next if $other eq qq("$plain"x);
        is(ask('/plain', 'If-None-Match' => $other)->{status}, 200, "not $other");
    }
};

subtest 'If-Match' => sub {
    my ($plain) = ask('/plain')->{headers}{etag} =~ /"(\w+)"/;
    my $tag = ask('/add', %GZIP)->{headers}{etag};
    my $answer = ask('/add', %GZIP, 'If-Match' => $tag);
    is("$answer->{status} $answer->{headers}{etag}", "200 $tag", 'the one that came');
    is(ask('/add', 'If-Match' => qq("x", "$plain-br"))->{status}, 200, 'in a list');
    is(ask('/add', 'If-Match' => '"x-gzip"')->{status},     412, 'another');
    is(ask('/add', 'If-Match' => qq(W/"$plain-gzip"))->{status}, 412, 'a weak one');
    is(ask('/add', 'If-Match' => '*')->{status}, 200, '*');
};

subtest 'when it changes' => sub {
    my %tags = map { $_ => ask("/$_", %GZIP)->{headers}{etag} } qw(add kept batch);
    is($server->request('POST', '/write')->{status}, 200, 'written');
    for my $path (sort keys %tags) {
        my $answer = ask("/$path", %GZIP, 'If-None-Match' => $tags{$path});
        is($answer->{status}, 200, "/$path is new");
        isnt($answer->{headers}{etag}, $tags{$path}, 'with a tag of its own');
        is_known("/$path", $answer->{headers}{etag});
    }
};

$server->done;

subtest 'other settings of mod_deflate' => sub {
    $server = start('DeflateAlterETag NoChange');
    my $first = ask('/add', %GZIP);
    like($first->{headers}{etag}, qr/^"\w+"$/, 'a tag as it was');
    is($first->{headers}{'content-encoding'}, 'gzip', 'of an encoded answer');
    is_known('/add', $first->{headers}{etag});
    $server->done;
    $server = start('DeflateAlterETag Remove');
    $first = ask('/add', %GZIP);
    is($first->{headers}{etag}, undef, 'no tag');
    is($first->{headers}{'content-encoding'}, 'gzip', 'of an encoded answer');
    my ($plain) = ask('/plain')->{headers}{etag} =~ /"(\w+)"/;
    is(ask('/add', %GZIP, 'If-None-Match' => qq("$plain-gzip"))->{status}, 304,
        'one of before');
    $server->done;
};

done_testing;
