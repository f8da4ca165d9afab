# SPDX-License-Identifier: Apache-2.0
#
# The manual as a test reads it: pages, their sections, code blocks, links.
#
#   for my $page (ConnPoolDocs::pages()) {      # README.md, docs/*.md ...
#       for my $section (@{$page->{sections}}) { # {title, anchor, level, blocks, text}
#           ...                                  # block: {lang, text, line, mark}
#
# The mark of a block is the HTML comment in the line before it, as {word => reason}.
package ConnPoolDocs;

use strict;
use warnings;

use ConnPoolTest qw(root_dir);

sub slurp {
    my ($path) = @_;
    open(my $in, '<:raw', $path) or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

# Whom the reader is sent to, and from where.
sub pages {
    my $root = root_dir();
    my @files = (qw(README.md SECURITY.md CONTRIBUTING.md CHANGES.md mod_connpool/README.md),
        map { s{^\Q$root\E/}{}r } glob("$root/docs/*.md"), glob("$root/conf/examples/*.md"),
        glob("$root/conf/examples/*/*.md"));
    return map { page($_) } grep { -e "$root/$_" } @files;
}

sub page {
    my ($file) = @_;
    return {file => $file, sections => [sections(slurp(root_dir() . "/$file"))]};
}

# As GitHub and others make anchors of headings.
sub anchor {
    my ($title) = @_;
    my $anchor = lc($title) =~ s/[^\w\- ]//gr;
    return $anchor =~ s/ /-/gr;
}

sub sections {
    my ($text) = @_;
    my @sections = ({title => '', anchor => '', level => 0, blocks => [], text => ''});
    my ($block, $mark, $number) = (undef, {}, 0);
    for my $line (split /\n/, $text) {
        $number++;
        my $section = $sections[-1];
        if ($block) {
            if ($line eq '```') {
                push @{$section->{blocks}}, $block;
                undef $block;
                $mark = {};
            }
            else {
                $block->{text} .= "$line\n";
            }
        }
        elsif ($line =~ /^```(\w*)$/) {
            $block = {lang => $1, text => '', line => $number, mark => $mark};
        }
        elsif ($line =~ /^<!-- ([a-z -]+): (.*) -->$/) {
            $mark = {$1 => $2};
        }
        elsif ($line =~ /^(#+) (.*)$/) {
            push @sections,
                {title => $2, anchor => anchor($2), level => length $1, blocks => [], text => ''};
        }
        else {
            $section->{text} .= "$line\n";
            $mark = {};
        }
    }
    die "a block does not end: $block->{text}" if $block;
    return @sections;
}

# [text, address] of a page's links, those in code spans left out.
sub links {
    my ($page) = @_;
    my $text = join "\n", map { "$_->{title}\n$_->{text}" } @{$page->{sections}};
    $text =~ s/(`+).+?\1/code/gs;
    my @links;
    push @links, [$1, $2] while $text =~ /\[([^\[\]]*)\]\(([^()\s]*)\)/g;
    push @links, ['reference', $1] while $text =~ /^\[[^\]]+\]: (\S+)/mg;
    return @links;
}

1;
