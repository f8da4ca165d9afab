#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# walk=off: no file is looked for, and nothing else is another. Each case is
# asked of two servers, which differ in walk= alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command);
use ConnPoolUpstream;
use File::Path ();
use MIME::Base64 qw(encode_base64);
use Test::More;

my $upstream = ConnPoolUpstream->start;
my $BASE     = <<'CONF';
LogFormat "%U %f" files
CustomLog "@DIR@/logs/files_log" files
<Directory "/">
AllowOverride None
Options FollowSymLinks
Require all denied
</Directory>
<Location "/connpool-status">
Require local
</Location>
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolUpstream up @UP@/text
ConnPoolQuery one main "SELECT 1 AS one" format=object
ConnPoolQuery part main "SELECT :part AS part" format=object
ConnPoolParam part part path=1
ConnPoolQuery write main "INSERT INTO t VALUES (1)" write=on methods=POST
CONF

# Locations with a query and whatever else stands there.
sub location {
    my ($path, $more, $what, $handler) = @_;
    $what    //= 'one';
    $handler //= 'connpool-query';
    return "<Location \"$path\">\nSetHandler $handler\nConnPoolServe $what \@WALK\@\n"
        . ($more // '') . "\n</Location>\n";
}

my $CONF = $BASE
    . join '',
    location('/open'),
    location('/deep/er/open'),
    location('/local', "Require ip 127.0.0.1"),
    location('/denied',  'Require all denied'),
    location('/foreign', 'Require ip 192.0.2.1'),
    location('/not-get', "<Limit POST>\nRequire all denied\n</Limit>", 'one'),
    location('/who', <<'CONF'),
AuthType Basic
AuthName who
AuthUserFile "@DIR@/users"
Require valid-user
CONF
    location('/up', '', 'up', 'connpool-fetch'),
    location('/batch', '', 'one up', 'connpool-batch'),
    location('/part', '', 'part'),
    location('/write', '', 'write'),
    location('/with blank'),
    location('/hidden.secret'),
    location('/header'),
    location('/aliased'),
    location('/rewritten'),
    location('/target'),
    location('/static/none',      'SetHandler none'),
    location('/static/page.html', 'SetHandler none'),
    location('/served'),
    <<'CONF';
<LocationMatch "^/pattern/[0-9]+$">
SetHandler connpool-query
ConnPoolServe one @WALK@
</LocationMatch>
<Files "hidden.secret">
Require all denied
</Files>
<DirectoryMatch "/htdocs/denied-by-pattern">
Require all denied
</DirectoryMatch>
CONF
$CONF .= location('/denied-by-pattern') . <<'CONF';
<Location "/header">
Header set X-Place location
</Location>
<Directory "@DIR@/htdocs">
Header set X-Place directory
Header set X-Root yes
</Directory>
<Files "header">
Header set X-File yes
</Files>
Alias "/aliased" "@DIR@/elsewhere/file.txt"
<Directory "@DIR@/elsewhere">
Require all denied
</Directory>
RewriteEngine On
RewriteRule "^/moved$" "/open" [PT]
RewriteRule "^/rewritten$" "/target" [PT]
RewriteRule "^/served$" "/static/other.html" [PT]
RewriteRule "^/inside$" "@DIR@/htdocs/static/page.html"
<Location "/page">
ErrorDocument 404 /open
</Location>
CONF

sub start {
    my ($walk, $conf, %arg) = @_;
    my $server = ConnPoolTest->new(
        modules => [qw(alias rewrite headers include auth_basic authn_core authn_file authz_user authz_host)],
        vars    => {WALK => $walk, UP => $upstream->url},
        conf    => $conf,
        %arg
    );
    $server->allow_log(qr/AH01630: client denied|AH01617: user ann|AH00037: Symbolic link|unable to include|which is there, does not hold/);
    $server->make_sqlite('main', 'CREATE TABLE t(x)');
    File::Path::make_path($server->dir('htdocs/static'), $server->dir('elsewhere'));
    $server->write_file('htdocs/static/page.html',  'a page');
    $server->write_file('htdocs/static/other.html', 'another page');
    $server->write_file('elsewhere/file.txt',      'a file');
    # crypt() of "secret", by openssl: each httpd knows MD5 of its own kind.
    my (undef, $hash) = command(qw(openssl passwd -apr1 -salt 12345678 secret));
    $server->write_file('users', "ann:$hash");
    return $server->start;
}

my %server = map { $_ => start("walk=$_", $CONF) } qw(on off);

# Status, and what tells which configuration held.
sub answer {
    my ($server, $method, $path, $headers) = @_;
    my $answer = $server->request($method, $path, headers => $headers // {});
    my ($h, $body) = @$answer{qw(headers content)};
    $body = '' if $answer->{status} >= 300;
    return join ' ', $answer->{status}, map { $_ // '-' } $body,
        @$h{qw(content-type etag www-authenticate x-place x-root x-file)};
}

my $ann = {Authorization => 'Basic ' . encode_base64('ann:secret', '')};
my $bob = {Authorization => 'Basic ' . encode_base64('ann:wrong',  '')};
for my $case (
    [200, GET  => '/open'],
    [200, HEAD => '/open'],
    [200, GET  => '/deep/er/open'],
    [200, GET  => '/local'],
    [403, GET  => '/denied'],
    [403, POST => '/denied'],
    [403, GET  => '/foreign'],
    [200, GET  => '/not-get'],
    [401, GET  => '/who'],
    [401, GET  => '/who', $bob],
    [200, GET  => '/who', $ann],
    [200, GET  => '/up'],
    [200, GET  => '/up/path/info?x=1'],
    [200, GET  => '/batch'],
    [200, GET  => '/part/wood'],
    [200, GET  => '/part/a%20b'],
    [404, GET  => '/part/a%2Fb'],
    [200, POST => '/write', {'Content-Length' => 0}],
    [405, GET  => '/write'],
    [200, GET  => '/with%20blank'],
    [403, GET  => '/hidden.secret'],
    [403, GET  => '/denied-by-pattern'],
    [404, GET  => '/open/more'],
    [404, GET  => '/open/'],
    [200, GET  => '/./open'],
    [200, GET  => '//open'],
    [200, GET  => '/header'],
    [200, GET  => '/pattern/12'],
    [404, GET  => '/pattern/x'],
    [403, GET  => '/aliased'],
    [200, GET  => '/rewritten'],
    [200, GET  => '/moved'],
    [200, GET  => '/inside'],
    [200, GET  => '/static/page.html'],
    [404, GET  => '/static/none'],
    [200, GET  => '/static/other.html'],
    [200, GET  => '/served'],
    [404, GET  => '/page'],
    [400, GET  => '/open?x=1'],
    )
{
    my ($status, $method, $path, $headers) = @$case;
    my ($on, $off) = map { answer($server{$_}, $method, $path, $headers) } qw(on off);
    my $name = "$method $path" . ($headers && $headers->{Authorization} ? ' as somebody' : '');
    like($on, qr/^$status /, "$name: $status");
    # Times are no two servers', nor are files.
    s{"ms":[\d.]+|(?:W/)?"[0-9a-f]+-[0-9a-f]{10,}"}{}g for $on, $off;
    is($off, $on, "$name: the same with walk=off");
}

# What the log calls the request's file is the same, too.
my %files = map {
    my $server = $server{$_};
    my $dir    = $server->dir('');
    await(sub { -s $server->dir('logs/files_log') });
    open(my $in, '<', $server->dir('logs/files_log')) or die $!;
    ($_ => [grep {m{^/(?:open|part|deep|denied)}} map {s/\Q$dir\E//r} <$in>])
} qw(on off);
is_deeply($files{off}, $files{on}, 'r->filename is the same');

# What there is at the URL's path in the file system: the difference.
for my $walk (qw(on off)) {
    my $root = $server{$walk}->dir('htdocs');
    symlink "$root/nowhere", "$root/deep" or die $!;
    my $status = $server{$walk}->get('/deep/er/open')->{status};
    is($status, $walk eq 'on' ? 403 : 200, "walk=$walk: a symbolic link that leads nowhere: $status");
    unlink "$root/deep" or die $!;
}

# .htaccess of the document root, which is always there, holds; what lies below
# it is not looked for.
my $HTACCESS = $BASE . location('/open') . location('/sub/open') . <<'CONF';
<Directory "@DIR@/htdocs">
AllowOverride All
</Directory>
CONF
for my $walk (qw(on off)) {
    my $server = start("walk=$walk", $HTACCESS);
    $server->write_file('htdocs/.htaccess', "Require all denied\n");
    is($server->get('/open')->{status}, 403, "walk=$walk: .htaccess of the document root denies");
    unlink $server->dir('htdocs/.htaccess') or die $!;
    is($server->get('/open')->{status}, 200, "walk=$walk: it is gone");
    File::Path::make_path($server->dir('htdocs/sub'));
    $server->write_file('htdocs/sub/.htaccess', "Require all denied\n");
    is($server->get('/sub/open')->{status}, $walk eq 'on' ? 403 : 200,
        "walk=$walk: .htaccess below it");
    $server->done;
}

# A document root that is denied denies; one that is not there is taken for one
# that is.
for my $walk (qw(on off)) {
    my $server = start("walk=$walk", $BASE . location('/open') . location('/own', 'Require all granted') . <<'CONF');
<Directory "@DIR@/htdocs">
Require all denied
</Directory>
CONF
    is($server->get('/open')->{status}, 403, "walk=$walk: a document root that is denied");
    is($server->get('/own')->{status},  200, "walk=$walk: but for what its location grants");
    $server->done;
    my $missing = start("walk=$walk", $BASE . location('/open'));
    File::Path::remove_tree($missing->dir('htdocs'));
    my $status = $walk eq 'on' ? 403 : 200;
    is($missing->get('/open')->{status}, $status, "walk=$walk: a document root that has gone: $status");
    $missing->done;
}

# Subrequests and internal redirects: of ours, and of files.
for my $walk (qw(on off)) {
    my $server = start("walk=$walk", $BASE . location('/open') . location('/bad', 'Require all denied') . <<'CONF');
<Directory "@DIR@/htdocs/pages">
Options +Includes
AddOutputFilter INCLUDES .shtml
</Directory>
ErrorDocument 403 /open
CONF
    File::Path::make_path($server->dir('htdocs/pages'));
    $server->write_file('htdocs/pages/a.txt', 'A');
    $server->write_file('htdocs/pages/x.shtml',
        '<!--#include virtual="/open" -->,<!--#include virtual="/bad" -->,<!--#include file="a.txt" -->');
    is($server->get('/pages/x.shtml')->{content} =~ s/\[an error[^\]]*\]/ERROR/gr,
        '{"one":1},ERROR,A', "walk=$walk: included");
    my $answer = $server->get('/bad');
    is("$answer->{status} $answer->{content}", '403 {"one":1}', "walk=$walk: redirected to");
    $server->done;
}

# --- what configtest says ---

my $any = ConnPoolTest->new(modules => ['rewrite'], conf => '');

sub configtest {
    my ($place, $more) = @_;
    my ($exit, $text) = $any->configtest(<<"CONF");
ConnPoolDatabase main sqlite:\@DIR\@/db/main.db
ConnPoolQuery one main "SELECT 1"
$place
SetHandler connpool-query
ConnPoolServe one walk=$more
CONF
    return "$exit $text";
}
like(configtest('<Location "/x">', "maybe\n</Location>"),
    qr/^[1-9].*ConnPoolServe: walk=maybe: .*\bon\b.*\boff\b/s, 'neither on nor off');
like(configtest('<Location "/x">', "on run=off\n</Location>"),
    qr/^[1-9].*ConnPoolServe: unknown key 'run'; allowed are walk/s, 'an unknown key');
like(configtest('<Directory "/srv/x">', "off\n</Directory>"),
    qr/^[1-9].*ConnPoolServe: walk=off: stands in a <Location> or a <LocationMatch>/s,
    'a directory is found by the walk');
like(configtest('<Directory "/srv/x">', "on\n</Directory>"), qr/^0 /, 'which walk=on is');
for my $section ('htdocs/x', 'htdocs/x/y', 'htdocs/x/y/z') {
    my $text = configtest('<Location "/x/y">', "off\n</Location>\n<Directory \"\@DIR\@/$section\">\nRequire all denied\n</Directory>");
    like($text, qr{^[1-9].*ConnPoolServe one: with walk=off <Directory \S*/$section/?> would not hold here}s,
        "a section for $section is refused");
}
for my $section ('htdocs', 'htdocs/other', 'elsewhere/x', 'htdocs/*/y') {
    my $text = configtest('<Location "/x/y">', "off\n</Location>\n<Directory \"\@DIR\@/$section\">\nRequire all denied\n</Directory>");
    like($text, qr/^0 /, "one for $section is not");
}
File::Path::make_path($any->dir('htdocs/there'));
like(configtest('<Location "/there/x">', "off\n</Location>"),
    qr{^0 .*what .htaccess files and patterns say of \S*/htdocs/there, which is there, does not hold}s,
    'what is there is warned of');
unlike(configtest('<Location "/there/x">', "on\n</Location>"), qr/which is there/, 'but not with walk=on');

$_->done for values %server;
$upstream->stop;
done_testing;
