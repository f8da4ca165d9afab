#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The pages of the examples, as make run serves them, before axe-core
# (tests/a11y/fetch-axe.sh): wide and narrow, light and dark, nothing is found.
# Screenshots are left in $CONNPOOL_BUILD/a11y.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolBrowser;
use ConnPoolTest qw(await build_dir free_port root_dir);
use File::Path ();
use File::Temp ();
use POSIX      ();
use Test::More;

my $AXE = build_dir() . '/tools/axe-core/axe.min.js';
plan skip_all => 'axe-core is not there: npm, or its network, was missing' if !-e $AXE;
plan skip_all => 'chromium is not installed' if !ConnPoolBrowser::find();

open(my $in, '<', $AXE) or die "$AXE: $!";
my $axe   = do { local $/ = undef; <$in> };
my $shots = build_dir() . '/a11y';
my $build = File::Temp::tempdir(CLEANUP => 1);
chmod 0755, $build;
File::Path::make_path($shots, "$build/browser");
symlink(build_dir() . '/mod_connpool.so', "$build/mod_connpool.so") or die $!;
my $browser = ConnPoolBrowser->start(dir => "$build/browser", csp => 0);

my $RUN = <<'JS';
axe.run(document, {resultTypes: ["violations"]}).then(function (found) {
  return found.violations.map(function (v) {
    return v.impact + ": " + v.id + ": " + v.help + ": " + v.nodes[0].html.slice(0, 160);
  });
})
JS

# All that is sent when the page loads is answered: the last one, too.
my $ANSWERED = <<'JS';
[...document.querySelectorAll("main form[action]")].every(function (form) {
  var waits = form.dataset.wait !== undefined
    || ((form.dataset.method || form.method).toLowerCase() !== "get" && form.dataset.now === undefined);
  var result = form.parentNode.querySelector("[role=status]");
  return waits || (result && result.textContent !== "");
})
JS

sub look {
    my ($name, $url) = @_;
    for my $case (['desktop', 1280, 0], ['desktop-dark', 1280, 1], ['phone', 400, 0], ['phone-dark', 400, 1]) {
        my ($size, $width, $is_dark) = @$case;
        $browser->size($width, 900);
        $browser->dark($is_dark);
        $browser->open($url);
        ok(await(sub { $browser->evaluate($ANSWERED) }, 20), "$name, $size: all is answered");
        $browser->screenshot("$shots/example-$name-$size.png", full => 1);
        $browser->evaluate("$axe; true");
        is_deeply($browser->evaluate($RUN), [], '... nothing is found');
        is($browser->evaluate('document.documentElement.scrollWidth <= innerWidth'), 1, '... nothing sticks out');
    }
    return;
}

for my $name (map { m{([^/]+)/schema\.sql$} } glob root_dir() . '/conf/examples/*/schema.sql') {
    my ($port, $reserved) = free_port();
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open(STDERR, '>&', \*STDOUT);
        @ENV{qw(EXAMPLE BUILD PORT)} = ($name, $build, $port);
        exec(root_dir() . '/scripts/run-demo.sh') or POSIX::_exit(127);
    }
    like(ConnPoolTest::read_until($out, qr/Ctrl-C ends it/, 60), qr/Ctrl-C ends it/, "$name runs");
    look($name, "http://127.0.0.1:$port/");
    kill 'TERM', $pid;
    close $out;
}

# That it finds what is there to be found.
$browser->open('data:text/html,<title>t</title><h1 style="color:%23ddd">pale</h1>');
$browser->evaluate("$axe; true");
ok((grep { /color-contrast/ } @{$browser->evaluate($RUN)}), 'a poor contrast is found');

$browser->end;
done_testing;
