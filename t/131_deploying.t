#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# What docs/deploying.md and conf/deploy say to those who deploy, read by the
# programs that it is for.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(build_dir command root_dir);
use File::Path ();
use File::Temp ();
use Test::More;

my $dir = File::Temp::tempdir(CLEANUP => 1);

sub slurp {
    my ($path) = @_;
    open(my $in, '<:raw', $path) or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

sub put {
    my ($path, $text) = @_;
    File::Path::make_path("$dir/$path" =~ s{/[^/]+\z}{}r);
    open(my $out, '>', "$dir/$path") or die "$path: $!";
    print {$out} $text;
    close $out;
    return "$dir/$path";
}

# The first block of code below a heading.
sub block {
    my ($heading) = @_;
    my ($section) = slurp(root_dir() . '/docs/deploying.md') =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms;
    my ($block) = $section =~ /^```\w*\n(.*?)^```/ms or die "no block in $heading";
    return $block;
}

subtest 'systemd' => sub {
    my ($analyze) = grep { -x } '/usr/bin/systemd-analyze';
    plan skip_all => 'no systemd-analyze' if !$analyze;
    my $unit = put('units/apache2.service', "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    put('units/apache2.service.d/connpool.conf', block('systemd'));
    my ($exit, $text) = command($analyze, 'verify', $unit);
    is("$exit $text", '0 ', 'it has nothing to say of the lines');
    put('units/apache2.service.d/connpool.conf', block('systemd') . "ReadWritePath=/x\n");
    (undef, $text) = command($analyze, 'verify', $unit);
    like($text, qr/ReadWritePath/, '... and would have of a wrong one');
};

subtest 'AppArmor' => sub {
    my $tools = build_dir() . '/tools';
    my ($parser) = grep { -x } '/usr/sbin/apparmor_parser', '/sbin/apparmor_parser', "$tools/usr/sbin/apparmor_parser",
        "$tools/sbin/apparmor_parser";
    plan skip_all => 'no apparmor_parser' if !$parser;
    my ($base) = grep { -d "$_/abstractions" } '/etc/apparmor.d', "$tools/etc/apparmor.d";
    my $profile = "include <tunables/global>\nprofile apache2 /usr/sbin/apache2 {\n  include <abstractions/base>\n%s}\n";
    my @command = ($parser, '--base', $base, '-Q', '-K', '-q');
    my ($exit, $text) = command(@command, put('profile', sprintf $profile, block('AppArmor')));
    is($exit, 0, 'a profile with the lines is one') or diag($text);
    ($exit) = command(@command, put('profile', sprintf $profile, '/var/lib/app rwq'));
    isnt($exit, 0, '... with others it is not');
};

subtest 'containers' => sub {
    my $file = slurp(root_dir() . '/conf/deploy/Dockerfile') =~ s/^#.*\n//mgr =~ s/\\\n//gr;
    my %known = map { $_ => 1 } qw(FROM COPY RUN VOLUME EXPOSE STOPSIGNAL CMD);
    is_deeply([grep { !$known{$_} } $file =~ /^(\S+)/mg], [], 'instructions that are there');
    my ($run) = $file =~ /^RUN (.*)/m;
    my ($exit, $text) = command('sh', '-n', '-c', $run);
    is($exit, 0, 'a script') or diag($text);
    my ($cmd) = $file =~ /^CMD \["(\w+)"/m;
    is($cmd, 'apachectl', 'runs what Debian runs');
};

done_testing;
