#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The page before axe-core (tests/a11y/fetch-axe.sh), idle and broken, wide and
# narrow, light and dark, with all that can be opened open: nothing serious, and
# what is less is told. Screenshots are left in $CONNPOOL_BUILD/a11y.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolBrowser;
use ConnPoolTest qw(await build_dir free_port);
use ConnPoolUpstream;
use File::Path ();
use Test::More;

my $AXE = build_dir() . '/tools/axe-core/axe.min.js';
plan skip_all => 'axe-core is not there: npm, or its network, was missing' if !-e $AXE;
plan skip_all => 'chromium is not installed' if !ConnPoolBrowser::find();

my ($shut, $reserved) = free_port();
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    children => 1,
    modules  => ['socache_shmcb'],
    load     => {cptest_module => 't/mod_cptest.so'},
    vars     => {SHUT => $shut, UPSTREAM => $upstream->url('')},
    conf     => <<'CONF',
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=3 leak=1s
ConnPoolDatabase app sqlite:@DIR@/db/events.db max=2 overflow=reject acquire=100ms
ConnPoolUpstream backend @UPSTREAM@/
ConnPoolUpstream silent http://127.0.0.1:@SHUT@/ retry=0
ConnPoolQuery by_id events "SELECT id, a FROM t WHERE id = :id" ttl=1s
ConnPoolParam by_id id integer required
ConnPoolQuery one app "SELECT count(*) FROM t"
ConnPoolQuery late app "SELECT a FROM later"
<Location "/by-id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
<Location "/one">
SetHandler connpool-query
ConnPoolServe one
</Location>
<Location "/fetch">
SetHandler connpool-fetch
ConnPoolServe backend
</Location>
<Location "/silent">
SetHandler connpool-fetch
ConnPoolServe silent
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe one backend
</Location>
<Location "/do">
SetHandler cptest
</Location>
CONF
);
$server->make_sqlite('events', <<'SQL');
CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE later(a);
INSERT INTO t VALUES (1, 'one');
SQL
$server->start;

open(my $in, '<', $AXE) or die "$AXE: $!";
my $axe = do { local $/ = undef; <$in> };
my $shots = build_dir() . '/a11y';
File::Path::make_path($shots);
my $browser = ConnPoolBrowser->start(dir => $server->dir('run'), csp => 0);

my $RUN = <<'JS';
axe.run(document, {resultTypes: ["violations"]}).then(function (found) {
  return found.violations.map(function (v) {
    return {id: v.id, impact: v.impact, help: v.help,
            where: v.nodes.slice(0, 3).map(function (n) { return n.html.slice(0, 160); })};
  });
})
JS

sub look {
    my ($state) = @_;
    for my $case (['desktop', 1280, 900, 0], ['desktop-dark', 1280, 900, 1],
        ['tablet', 800, 1000, 0], ['phone', 400, 844, 0], ['phone-dark', 400, 844, 1])
    {
        my ($name, $width, $height, $is_dark) = @$case;
        $browser->size($width, $height);
        $browser->dark($is_dark);
        $browser->open($server->url('/connpool-status?refresh=0'));
        $browser->screenshot("$shots/$state-$name.png");
        $browser->evaluate('document.querySelectorAll("details").forEach(d => { d.open = true; })');
        $browser->evaluate("$axe; true");
        my $found = $browser->evaluate($RUN);
        my @serious = grep { $_->{impact} =~ /serious|critical/ } @$found;
        is_deeply(\@serious, [], "$state, $name: nothing serious") or diag(explain(\@serious));
        diag("$state, $name: $_->{impact}: $_->{id}: $_->{help}: $_->{where}[0]")
            for grep { $_->{impact} !~ /serious|critical/ } @$found;
        is($browser->evaluate('document.documentElement.scrollWidth <= innerWidth'), 1,
            'nothing sticks out');
    }
    return;
}

look('idle');
$server->get("/by-id?id=$_") for 1, 1, 2;
$server->get($_) for '/fetch/text', '/silent', '/one', '/batch';
my $flag    = $server->dir('run/enough');
my @clients = map {
    my $socket = $server->connect or die 'no connection';
    print {$socket} "GET /do/$_?acquire=a:$_:read&await=$flag HTTP/1.0\r\n\r\n";
    $socket;
} qw(app events events);
ok(await(sub { $server->pool('app')->{busy} == 1 && @{$server->pool('events')->{leaks}} }, 20), 'broken');
$server->get('/one') for 1 .. 6;
$server->sqlite('events', 'DROP TABLE later');
ok(await(sub { $server->status_json->{state} eq 'down' }, 20), 'down');
look('broken');

# That it finds what is there to be found.
$browser->evaluate('document.querySelector("h1").style.color = "#900"; true');
ok((grep { $_->{id} eq 'color-contrast' } @{$browser->evaluate($RUN)}), 'a poor contrast is found');

$browser->end;
$server->write_file('run/enough', '');
$server->allow_log(qr/'(?:app|silent|late|one|events)'|ConnPoolQuery late/);
close $_ for @clients;
$server->done;
$upstream->stop;
done_testing;
