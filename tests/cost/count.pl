# SPDX-License-Identifier: Apache-2.0
#
# count.pl [mpm=NAME] [keep=DIRECTORY] [KIND...] MODULE...: what a request costs
# with each of these builds of the module, beside a bare pool and an empty
# handler.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Cost;
use File::Copy qw(copy);

my (%option, @modules, @kinds);
for my $word (@ARGV) {
    if    ($word =~ /^(mpm|keep)=(.*)/)  { $option{$1} = $2 }
    elsif (exists $Cost::ARGS{$word}) { push @kinds,   $word }
    else                              { push @modules, $word }
}
die "usage: $0 [mpm=NAME] [keep=DIRECTORY] [KIND...] MODULE...\n" if !@modules;
@kinds = qw(point range many fetch) if !@kinds;
my $build = abs_path($ENV{CONNPOOL_BUILD} // "$FindBin::Bin/../../build");
use Cwd qw(abs_path);
my @servers = map { Cost->new(module => abs_path($_), build => $build, mpm => $option{mpm} // 'event') } @modules;

printf "%-8s %-24s %12s %10s %8s %8s\n", qw(kind who instructions ours calls clocks);
sub row {
    my ($server, $who, $kind, $name) = @_;
    my $cost = $server->count($who, $kind);
    printf "%-8s %-24s %12.0f %10.0f %8.2f %8.2f\n", $kind, $name, @$cost{qw(instructions ours calls clocks)};
    copy($cost->{file}, "$option{keep}/$name-$kind") if $option{keep};
    return;
}
for my $kind (@kinds) {
    row($servers[0], 'empty', $kind, 'empty') if $kind ne 'many';
    row($servers[0], 'bare', $kind, 'bare') if $kind ne 'fetch';
    for my $i (0 .. $#servers) {
        row($servers[$i], 'ours', $kind, 'ours' . ($i || ''));
        row($servers[$i], 'unwalked', $kind, 'unwalked' . ($i || '')) if $kind ne 'fetch';
    }
}
$_->stop for @servers;
