#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# man 5 connpool.conf: made of the directives' page, without a word lost, rendered
# without a warning; and what make install puts there, make uninstall takes away.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolDocs;
use ConnPoolTest qw(build_dir command root_dir);
use File::Temp   ();
use Test::More;

my $ROOT = File::Temp::tempdir(CLEANUP => 1);
my $MAN  = "$ROOT/usr/share/man/man5/connpool.conf.5";
my @MAKE = ('make', '-s', '--no-print-directory', '-C', root_dir(), 'BUILD=' . build_dir(), "DESTDIR=$ROOT");

sub files {
    my (undef, $list) = command('find', $ROOT, '!', '-type', 'd');
    return sort map { s/^\Q$ROOT\E//r } split /\n/, $list;
}

my ($exit, $text) = command(@MAKE, 'install');
is($exit, 0, 'make install') or diag($text);
ok(-s $MAN, 'connpool.conf.5 is installed') or diag(join "\n", files());

sub words {
    my ($told) = @_;
    $told =~ s/\x{2010}\n\s*|-\n\s*/-/g;
    return grep { length } split /[^\w.=]+|\.(?=\s|$)/, $told;
}

# As man does for a terminal of that width, and for one who prints.
sub render {
    my ($width, @device) = @_;
    return command('groff', '-ww', '-t', '-man', '-K', 'utf8', "-rLL=${width}n", @device, $MAN);
}

SKIP: {
    skip 'no groff', 1 if (command('groff', '--version'))[0] != 0;
    for my $width (40, 80, 132) {
        my ($status, $page) = render($width, '-Tutf8', '-P-c');
        $page =~ s/.\x08//g;
        is($status, 0, "it is rendered, $width columns wide");
        # One long word does not fit into forty.
        my @warnings = grep { $width >= 80 || !/can(?:no|')t (?:adjust|break) line/ }
            $page =~ /^((?:troff|groff|grotty|tbl|<).*)$/mg;
        is_deeply(\@warnings, [], 'without a warning');
    }
    my ($status, $page) = render(80, '-Tutf8', '-P-cbou');
    $page =~ s/^\S.*File formats.*\n//gm;
    my %told = map { $_ => 1 } words($page);
    my $directives = ConnPoolDocs::slurp(root_dir() . '/docs/directives.md');
    my ($names, @missing) = (0);
    for my $name ($directives =~ /^## (\w+)/mg, $directives =~ /^\| `([a-z0-9_-]+=)` \|/mg) {
        $names++;
        push @missing, $name if $page !~ /(?<![\w-])\Q$name\E/;
    }
    cmp_ok($names, '>', 100, "$names directives and keys");
    is_deeply(\@missing, [], 'are all there');
    # Prose, too: what stands in a paragraph stands in the page.
    my $prose = join ' ', map { $_->{text} } ConnPoolDocs::sections($directives);
    $prose =~ s/\]\([^()]*\)|<[^>]*>|\\(?=\|)//g;
    my @lost = grep { !$told{$_} && !/^\d/ } words($prose);
    cmp_ok(scalar @lost, '<', 15, 'no text is lost') or diag(join ' ', @lost);
    unlike($page, qr/\]\(|\*\*|`|\\f/, 'no markup is left');
}

my ($edited) = grep { /mods-available\/connpool\.conf$/ } files();
open(my $out, '>>', "$ROOT$edited") or die "$edited: $!";
print {$out} "# edited\n";
close $out;
($exit, $text) = command(@MAKE, 'install');
like($text, qr/kept.*connpool\.conf/, 'make install replaces nothing that was edited');
($exit, $text) = command(@MAKE, 'uninstall');
is($exit, 0, 'make uninstall');
like($text, qr/kept.*connpool\.conf/, 'says what it keeps');
is_deeply([files()], [$edited], 'and leaves nothing else');

done_testing;
