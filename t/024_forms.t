#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# What browsers make of forms: fields that nobody filled in, checkboxes, and a
# '+' that comes as a blank.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use JSON::PP ();
use Test::More;

my @TYPED = qw(integer real boolean date);
my %DEFAULT = (integer => 7, real => '2.5', boolean => 1, date => '"2026-01-02"');
my $conf = "ConnPoolDatabase main sqlite:\@DIR\@/db/main.db\n";

sub query {
    my ($name, $param) = @_;
    $conf .= "ConnPoolQuery $name main \"SELECT :v AS v\" methods=GET,POST"
        . " format=object\nConnPoolParam $name $param\n<Location \"/$name\">\n"
        . "SetHandler connpool-query\nConnPoolServe $name\n</Location>\n";
    return;
}

for my $type (@TYPED, 'text', 'blob') {
    query("${type}_may",  "v $type");
    query("${type}_must", "v $type required");
}
for my $type (@TYPED) {
    my ($default) = $DEFAULT{$type} =~ /([^"]+)/;
    query("${type}_else", "v $type default=$default");
}
query('text_else',   'v text default=x');
query('day_matched', 'v date match=^2026');
query('int_bounded', 'v integer min=1 max=9');
$conf .= <<'CONF';
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe integer_may date_else text_may
</Location>
CONF

my $server = ConnPoolTest->new(conf => $conf);
$server->make_sqlite('main', 'CREATE TABLE t(a);');
$server->start;
my $JSON = JSON::PP->new->utf8;

sub answers {
    my ($path, $pairs) = @_;
    my $sign = $path =~ /\?/ ? '&' : '?';
    return (
        ['query string', $server->get("$path$sign$pairs")],
        ['form', $server->request('POST', $path, content => $pairs, headers =>
            {'content-type' => 'application/x-www-form-urlencoded'})]);
}

sub gives {
    my ($path, $pairs, $value) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $way (answers($path, $pairs)) {
        my ($name, $answer) = @$way;
        is("$answer->{status} $answer->{content}", "200 {\"v\":$value}",
            "$path $pairs ($name)");
    }
    return;
}

sub complains {
    my ($path, $pairs, $pattern) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $way (answers($path, $pairs)) {
        my ($name, $answer) = @$way;
        is($answer->{status}, 400, "$path $pairs ($name)");
        my $errors = $JSON->decode($answer->{content})->{errors};
        like($errors->[0]{reason}, $pattern, '... with a reason');
        is(scalar @$errors, 1, '... just one');
    }
    return;
}

subtest 'a field that is left empty is not given' => sub {
    for my $type (@TYPED) {
        gives("/${type}_may",  $_, 'null') for 'v=', 'v';
        gives("/${type}_else", 'v=', $DEFAULT{$type});
        complains("/${type}_must", 'v=', qr/^is required$/);
        complains("/${type}_may", 'v=&v=', qr/^is given more than once$/);
        complains("/${type}_may", 'v=&v=1', qr/^is given more than once$/);
        complains("/${type}_may", 'v=%20', qr/^is not /);
    }
    gives('/day_matched', 'v=', 'null');
    gives('/int_bounded', 'v=', 'null');
};

subtest 'an empty text is a text, an empty blob a blob' => sub {
    gives("/text_$_", 'v=', '""') for qw(may must else);
    gives("/blob_$_", 'v=', '{"$base64":""}') for qw(may must);
};

subtest 'a checkbox' => sub {
    gives('/boolean_may', 'v=on',  1);
    gives('/boolean_may', 'v=off', 0);
    gives('/boolean_may', '',      'null');
    complains('/boolean_may', "v=$_", qr/^is not one of true, false, 1, 0, on, off$/)
        for qw(On ON yes onn o 2);
};

subtest 'a plus that was not escaped' => sub {
    my $hint = qr/; a '\+' in a URL or a form is written %2B$/;
    complains('/date_may', "v=2026-08-12T10:00:00+02:00", $hint);
    complains('/date_may', "v=2026-08-12%2010:00:00+02:00", $hint);
    complains('/date_may', "v=2026-08-12+10:00:00+02:00", $hint);
    complains('/date_may', "v=2026-08-12T10:00:00.123456+0230", qr/3339\)$/);
    complains('/date_may', "v=2026-08-12+", qr/3339\)$/);
    complains('/real_may', 'v=1e+5', $hint);
    complains('/real_may', 'v=1.5E+10', $hint);
    complains('/real_may', 'v=1+5', qr/^is not a number$/);
    complains('/blob_may', 'v=ab+/', $hint);
    complains('/blob_may', 'v=++++', $hint);
    complains('/integer_may', 'v=+5', qr/^is not an integer$/);
    complains('/day_matched', "v=2025-08-12T10:00+02:00", qr/3339\)$/);
    gives('/date_may', "v=2026-08-12T10:00:00%2B02:00",
        '"2026-08-12T10:00:00+02:00"');
    gives('/date_may', 'v=2026-08-12+10:00', '"2026-08-12 10:00"');
    gives('/real_may', 'v=1e%2B5', '100000.0');
};

subtest 'a batch' => sub {
    my $answer = $server->get('/batch?v=');
    is($answer->{status}, 200, 'shares it');
    my $items = $JSON->decode($answer->{content});
    is_deeply([map { $_->{body}{v} } @$items], [undef, '2026-01-02', ''],
        'each reads it by its own type');
};

subtest 'JSON says null, and an empty string is one' => sub {
    my $post = sub {
        my ($path, $json) = @_;
        return $server->request('POST', $path, content => $json,
            headers => {'content-type' => 'application/json'});
    };
    for my $type (@TYPED) {
        is($post->("/${type}_may", '{"v":""}')->{status}, 400, "$type");
        is($post->("/${type}_may", '{"v":null}')->{content}, '{"v":null}', 'null');
    }
    my $answer = $post->('/date_may', '{"v":"2026-08-12T10:00:00 02:00"}');
    unlike($answer->{content}, qr/%2B/, 'no word of URLs');
};

$server->done;
done_testing;
