#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# make-man.pl VERSION <docs/directives.md >connpool.conf.5: the directives' page for
# man(1). Of Markdown it knows what that page uses. Converters make of a table of keys
# one that is wider than a terminal, and would have to be installed for `make install`;
# here each row is a paragraph with its key before it.
use strict;
use warnings;

my ($version) = @ARGV;
defined $version or die "usage: $0 VERSION <PAGE\n";
my @lines = map { chomp; $_ } <STDIN>;

# Markup within a paragraph, as roff. Code spans come first: nothing in them is markup.
sub inline {
    my ($text) = @_;
    my @parts = split /(`[^`]+`)/, $text;
    for my $part (@parts) {
        if ($part =~ /^`(.+)`$/) {
            $part = '\fB' . escape($1 =~ s/\\\|/|/gr, 1) . '\fP';
            next;
        }
        $part = escape($part);
        $part =~ s/\*\*(.+?)\*\*/\\fB$1\\fP/g;
        $part =~ s/\*(\S.*?)\*/\\fI$1\\fP/g;
    }
    my $line = join '', @parts;
    # Where a link leads within the manual is said at the end of the page.
    $line =~ s/\[([^\[\]]+)\]\((https?:[^()]+)\)/$1 ($2)/g;
    $line =~ s/\[([^\[\]]+)\]\([^()]+\)/$1/g;
    return $line;
}

sub escape {
    my ($text, $is_code) = @_;
    $text =~ s/\\(?!\|)/\\e/g;
    $text =~ s/\\\|/|/g;
    $text =~ s/-/\\-/g if $is_code;
    return $text;
}

# A line of text must not begin as a request does.
sub say_text {
    my ($text) = @_;
    $text =~ s/^([.'])/\\&$1/;
    print "$text\n";
    return;
}

sub cells {
    my ($row) = @_;
    my @cells = map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, $row, -1;
    return @cells[1 .. $#cells - 1];
}

sub item {
    my ($tag, $text) = @_;
    print ".TP\n";
    say_text($tag);
    say_text($text);
    return;
}

# A row is an item: its first cell, and behind it the others, with what they are.
sub table {
    my ($head, undef, @rows) = @_;
    my @names = cells($head);
    for my $row (map { [cells($_)] } @rows) {
        my ($first, @rest) = map { inline($_) } @$row;
        if ($names[1] eq 'default') {
            item("$first (default: $rest[0])", $rest[1]);
            next;
        }
        my @told = map { @rest > 1 && $names[$_ + 1] ne '' ? inline($names[$_ + 1]) . ": $rest[$_]" : $rest[$_] }
            0 .. $#rest;
        item($first eq '' ? '\(em' : $first, join '; ', @told);
    }
    print ".PP\n";
    return;
}

sub code {
    my @code = @_;
    print ".PP\n.in +4n\n.nf\n";
    say_text(escape($_, 1)) for @code;
    print ".fi\n.in\n.PP\n";
    return;
}

# "Syntax: ... · Default: ... · Context: ..."
sub head {
    my ($text) = @_;
    for my $part (split /\s*\xc2\xb7\s*/, $text) {
        my ($what, $value) = $part =~ /^(\w+): (.*)$/ or die "no head: $part";
        print ".TP 14n\n$what:\n";
        say_text(inline($value));
        print ".PD 0\n";
    }
    print ".PD\n.PP\n";
    return;
}

print <<"ROFF";
.\\" Made of docs/directives.md.
.TH CONNPOOL.CONF 5 "" "mod_connpool $version" "File formats"
.ad l
.nh
.SH NAME
connpool.conf \\- directives of mod_connpool, pools of connections for the Apache HTTP server
.SH SYNOPSIS
.nf
/etc/apache2/mods\\-available/connpool.conf
/etc/apache2/conf\\-available/*.conf
.fi
.SH DESCRIPTION
ROFF

while (@lines) {
    my $line = shift @lines;
    if ($line =~ /^# /) {
        next;
    }
    elsif ($line =~ /^(##+) (.*)/) {
        print $1 eq '##' ? ".SH $2\n" : ".SS $2\n";
    }
    elsif ($line =~ /^```/) {
        my @code;
        push @code, shift @lines while @lines && $lines[0] ne '```';
        shift @lines;
        code(@code);
    }
    elsif ($line =~ /^\|/) {
        my @rows = ($line);
        push @rows, shift @lines while @lines && $lines[0] =~ /^\|/;
        table(@rows);
    }
    elsif ($line =~ /^\s*$/) {
        print ".PP\n" if @lines && $lines[0] =~ /^[^#|`<\s-]/;
    }
    elsif ($line !~ /^<!--/) {
        my @text = ($line =~ s/^- //r);
        my $is_item = $line =~ /^- /;
        push @text, shift(@lines) =~ s/^\s+//r while @lines && $lines[0] =~ /^[^#|\s]|^  \S/ && $lines[0] !~ /^(?:- |```)/;
        my $text = join ' ', @text;
        if    ($text =~ /^Syntax: /) { head($text) }
        elsif ($is_item)             { item('\(bu', inline($text)) }
        else                         { say_text(inline($text)) }
    }
}

print <<'ROFF';
.SH FILES
.TP
.I /usr/share/doc/libapache2\-mod\-connpool/docs
The manual, a page for each subject: handlers, caching, databases, outgoing HTTP,
monitoring, troubleshooting by log line, and more.
.SH SEE ALSO
.BR apache2 (8),
.BR a2enmod (8),
.BR apache2ctl (8)
ROFF
