#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# A URL that goes on behind the place that serves it: only connpool-fetch has a
# use for that.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use ConnPoolUpstream;
use JSON::PP ();
use Test::More;

my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    modules => ['rewrite'],
    vars    => {UP => $upstream->url},
    conf    => <<'CONF');
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolUpstream up @UP@
ConnPoolQuery one main "SELECT 1 AS one" format=object
ConnPoolQuery add main "INSERT INTO t VALUES (1)" write=on
Alias /dir @DIR@/htdocs/dir
<Location "/events">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location /bare>
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location /bare-up>
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/deep/er/events">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location /bare>
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location /bare/inner >
SetHandler connpool-query
</Location>
<Location /bare/deep/er>
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location '/single'>
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/slash/">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe one
</Location>
<Location "/connpool-status">
SetHandler connpool-status
</Location>
<Location "/connpool-health">
SetHandler connpool-health
</Location>
<Location "/up">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/split">
ConnPoolServe one
</Location>
<Location "/split/inner">
SetHandler connpool-query
</Location>
<Location "/turned">
SetHandler connpool-query
</Location>
<Location "/turned/inner">
ConnPoolServe one
</Location>
<Location "/if">
<If "true">
SetHandler connpool-query
ConnPoolServe one
</If>
</Location>
<Location "/open">
AcceptPathInfo On
SetHandler connpool-query
ConnPoolServe one
</Location>
<LocationMatch "^/match/[a-z]+$">
SetHandler connpool-query
ConnPoolServe one
</LocationMatch>
<Location ~ "^/regex">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/w?ld/*/x">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Directory "@DIR@/htdocs/dir">
DirectorySlash Off
SetHandler connpool-query
ConnPoolServe one
</Directory>
<Directory "@DIR@/htdocs/dir/open">
AcceptPathInfo On
</Directory>
<Files "real.json">
SetHandler connpool-query
ConnPoolServe one
</Files>
<Files "virtual.json">
SetHandler connpool-query
ConnPoolServe one
</Files>
AddHandler connpool-query .one
<Files "*.one">
ConnPoolServe one
</Files>
RewriteEngine On
RewriteRule "^/pretty/(\d+)$" "/events?" [PT]
CONF
$server->make_sqlite('main', 'CREATE TABLE t(a);');
$server->write_file("htdocs/$_", 'file')
    for 'real.json', 'a.one', 'dir/file', 'dir/open/file';
$server->start;

sub is_served {
    my ($path, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $server->get($path);
    return is("$answer->{status} $answer->{content}", '200 {"one":1}',
        $what // $path);
}

sub is_missing {
    my ($path, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = $server->get($path);
    is($answer->{status}, 404, $what // $path);
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... a problem');
    my $problem = JSON::PP->new->decode($answer->{content});
    return like($problem->{detail}, qr/^Nothing is served at this path\.$/, '... said');
}

subtest 'a location without quotes' => sub {
    is_served('/bare');
    is_missing('/bare/x');
    is($server->get('/bare-up/text')->{status}, 200, 'a fetch goes on');
};

subtest 'a location' => sub {
    for my $place ('/events', '/bare', '/bare/inner', '/bare/deep/er', '/single', '/deep/er/events', '/if', '/split/inner',
        '/turned/inner')
    {
        is_served($place);
        is_served("$place?");
        is_missing("$place$_")
            for '/xyz', '/', '//', '/xyz/abc', '/%78', '/xyz?a=1';
    }
    is($server->get('/eventsx')->{status}, 404, 'another name');
    is_served('/slash/');
    is_missing('/slash/x');
    is_served('/pretty/5', 'a rewritten URL');
    is($server->head('/events/xyz')->{status}, 404, 'HEAD');
    is($server->request('OPTIONS', '/events/xyz')->{status}, 404, 'OPTIONS');
};

subtest 'other handlers' => sub {
    is($server->get('/batch')->{status}, 200, '/batch');
    is_missing("/batch$_") for '/', '/x';
    for my $report ('status', 'health') {
        is($server->get("/connpool-$report")->{status}, 200, $report);
        is($server->get("/connpool-$report?format=json")->{status}, 200, '?');
        is_missing("/connpool-$report$_") for '/', '/x', '/x/y';
    }
    is($server->request('POST', '/add/x')->{status}, 404, 'a write');
    is($server->sqlite('main', 'SELECT count(*) FROM t'), 0, '... did not happen');
    is($server->request('POST', '/add')->{status}, 200, 'without');
    is($server->sqlite('main', 'SELECT count(*) FROM t'), 1, '... did');
    is($server->get('/up/text')->{status}, 200, 'a fetch appends it');
};

subtest 'who wants it' => sub {
    is_served("/open$_") for '', '/', '/x', '/x/y';
    is_served('/match/abc');
    is_served('/regex/abc');
    is_served('/wild/abc/x');
};

subtest 'files and directories' => sub {
    is_served('/real.json');
    is_missing('/real.json/x');
    is_served('/virtual.json');
    is_missing('/virtual.json/x');
    is_served('/a.one');
    is_missing('/a.one/x');
    is_served('/dir/');
    is_served('/dir/file');
    is_missing('/dir/file/x');
    is_missing('/dir/nothing');
    is_missing('/dir/nothing/x');
    is_served('/dir/open/file/x');
    is_served('/dir/open/nothing');
};

$server->done;
done_testing;
