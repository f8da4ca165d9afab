# SPDX-License-Identifier: Apache-2.0
# arrows.pl SOURCES OBJECTS <output of nm -A -g
# Proves the arrows between folders and files; see check_arrows.sh.
use strict;
use warnings;

use File::Find ();

my ($sources, $objects) = @ARGV;
my $status = 0;

sub complain {
    my ($text) = @_;
    print STDERR "arrows: $text\n";
    $status = 1;
    return;
}

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) || die "arrows: $path: $!\n";
    local $/ = undef;
    return scalar <$in>;
}

# The folder of "database/sqlite/write.c" is "database/sqlite"; of files beside
# the map it is "root".
sub folder {
    my ($file) = @_;
    return $file =~ m{^(.*)/} ? $1 : 'root';
}

# --- the map: "| folder | one sentence | what it may use |" ---

my %may;        # folder -> {what it may use: folders, or single headers}
for (split /\n/, slurp("$sources/README.md")) {
    my ($folder, $uses) = /^\|\s*`([\w\/]+)`\s*\|.*\|\s*([^|]*?)\s*\|\s*$/ or next;
    $may{$folder} = {map { $_ => 1 } $uses =~ /`([\w\/.]+)`/g};
}
die "arrows: the map has no table of folders\n" if keys %may < 5;

# --- what includes what, and what needs whose symbols ---

my (%uses, %files);         # file -> {file -> why}
File::Find::find(
    {   no_chdir => 1,
        wanted   => sub {
            m{\Q$sources\E/(.+\.[ch])$} or return;
            my $file = $1;
            $files{$file} = 1;
            for my $header (slurp($_) =~ /^\s*#\s*include\s+"([^"]+)"/mg) {
                $uses{$file}{$header} = 'includes it';
            }
        },
    },
    $sources
);
die "arrows: no sources found\n" if keys %files < 10;

my (%defined, @needed);
while (<STDIN>) {
    my ($file, $type, $symbol) = m{^\Q$objects\E/(.+)\.o:\S*\s+([A-Za-z])\s+(\S+)$}
        or next;
    if    ($type eq 'U') { push @needed, ["$file.c", $symbol] }
    elsif ($type ne 'w') { $defined{$symbol} = "$file.c" }
}
die "arrows: nm told nothing\n" if !@needed;

# Objects of files that are no more say nothing about the tree.
my %links;
for (@needed) {
    my ($file, $symbol) = @$_;
    my $owner = $defined{$symbol} // next;
    next if $owner eq $file || !$files{$file} || !$files{$owner};
    $links{$file}{$owner} = "needs $symbol";
}

# --- arrows between folders ---

sub is_allowed {
    my ($from, $file) = @_;
    my $to = folder($file);
    return 1 if $from eq $to || $file =~ /^(?:glue\.[ch]|mod_connpool\.h)$/;
    return 1 if $from eq 'root' || $may{$from}{$to} || $may{$from}{$file};
    # "http/" is http and the rooms in it.
    my $above = $to;
    do { return 1 if $may{$from}{"$above/"} } while $above =~ s{/[^/]+$}{};
    return 0;
}

for my $graph (\%uses, \%links) {
    for my $file (sort keys %$graph) {
        my $from = folder($file);
        complain("$file: the map has no folder $from") if !$may{$from} && $from ne 'root';
        for my $other (sort keys %{$graph->{$file}}) {
            complain("$file -> $other ($graph->{$file}{$other}), which the map does not allow")
                if !is_allowed($from, $other);
        }
    }
}

# --- circles: Tarjan's strongly connected components ---

sub circles {
    my ($graph) = @_;
    my ($count, %index, %low, %on, @stack, @found) = (0);
    my $visit;
    $visit = sub {
        my ($node) = @_;
        $index{$node} = $low{$node} = $count++;
        push @stack, $node;
        $on{$node} = 1;
        for my $next (sort keys %{$graph->{$node} || {}}) {
            if (!defined $index{$next}) {
                $visit->($next);
                $low{$node} = $low{$next} if $low{$next} < $low{$node};
            }
            elsif ($on{$next} && $index{$next} < $low{$node}) {
                $low{$node} = $index{$next};
            }
        }
        return if $low{$node} != $index{$node};
        my @component;
        do {
            push @component, pop @stack;
            $on{$component[-1]} = 0;
        } while ($component[-1] ne $node);
        push @found, [sort @component] if @component > 1;
    };
    for my $node (sort keys %$graph) {
        $visit->($node) if !defined $index{$node};
    }
    return @found;
}


sub of_folders {
    my ($graph) = @_;
    my %folders;
    for my $file (keys %$graph) {
        for my $other (grep { !m{^(glue\.|mod_connpool\.h)} } keys %{$graph->{$file}}) {
            my ($from, $to) = (folder($file), folder($other));
            $folders{$from}{$to} = 1 if $from ne $to;
        }
    }
    return \%folders;
}

my %both = map { $_ => {%{$uses{$_} || {}}, %{$links{$_} || {}}} } keys %uses, keys %links;
complain("headers include each other: @$_") for circles(\%uses);
complain("files need each other: @$_")      for circles(\%links);
complain("folders use each other: @$_")     for circles(of_folders(\%both));

# --- sizes ---

my %in_folder;
for my $file (sort keys %files) {
    my $lines = () = slurp("$sources/$file") =~ /\n/g;
    # What others include is one file, however much it offers.
    my $most = $file eq 'mod_connpool.h' ? 300 : $file =~ /\.h$/ ? 250 : 600;
    complain("$file has $lines lines, more than $most: cut it") if $lines > $most;
    $in_folder{folder($file)}++;
}
for my $folder (sort keys %in_folder) {
    complain("$folder has $in_folder{$folder} files: make rooms") if $in_folder{$folder} > 15;
}
exit $status;
