#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Warnings and errors that the module logs, and the causes of failures that it names,
# beside docs/troubleshooting.md: each has an entry, and each entry has a line. What is
# told apart by numbers and names is `...` on the page, which may end a line early.
use strict;
use warnings;

my $PAGE   = 'docs/troubleshooting.md';
my $LEVEL  = qr/\b(?:APLOG_(?:WARNING|ERR|CRIT|ALERT|EMERG)|CP_LOG_(?:WARNING|ERROR)|level)\b/;
my $STRING = qr/"(?:[^"\\]|\\.)*"/;

# Where the cause of a failure is named, whose class is one that the log hears of.
my $CAUSING = qr/CP_ERR_(?:REFUSED|UPSTREAM|STORAGE|MEMORY|DEADLINE|INTERNAL|CAPACITY)\s*,\s*
    (?:[\w&>.()-]+,\s*)?|cause\ =\ |error_deadline\(t,\s*/x;

# Lines whose words come from elsewhere, and what the page calls them.
my %WRAPPED = (
    "config/line/option.c: ..."            => ["ConnPool...: ..."],
    "child/verify.c: ...: ..."             => ["the database cannot be opened: database '...': ..."],
    "database/sqlite/write.c: ..."         => ["database '...': ... (checkpoint)"],
    "parent.c: ..."                        => ["SQLite ... can lose committed rows"],
    "pool/refuse.c: ..."                   => ["pool '...': no connection within ... ms", "pool '...': queue is full"],
    "report/lines/sample.c: ... is ...: ..." => ["pool '...' is down: ..."],
    "request/problem.c: ...: ... (...)..." => ["query '...': ... (...)", "upstream '...': ... (...)"],
    "serve/fetch.c: ...: the answer is cut: ..." => ["upstream '...': the answer is cut: ..."],
);

# Causes that no line tells of: nobody is there any more who would ask.
my %UNTOLD = map { $_ => 1 } ('the server is stopping', 'nobody waits for the answer', '');

# Handlers of lines for others: what they log has had its level and words before.
my %SINK = map { $_ => 1 } qw(child.c mod_connpool_pgsql.c);

my $status = 0;

sub complain {
    print STDERR "log lines: $_[0]\n";
    $status = 1;
    return;
}

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

# A format as the page writes it.
sub plain {
    my ($format) = @_;
    $format =~ s/\\"/"/g;
    $format =~ s/%(?:\.\*|[-+ 0#]*[\d.]*)(?:l|ll|z|h)?[a-zA-Z]/.../g;
    $format =~ s/(?:\.\.\.)+(?: ?\.\.\.)*/.../g;
    return $format;
}

# Strings that stand behind one another are one; macros between them are values.
sub joined {
    my ($text) = @_;
    my ($first) = $text =~ /((?:$STRING\s*(?:[A-Z_0-9]+_FMT\s*)?)+)/ or return;
    $first =~ s/%"\s*[A-Z_0-9]+_FMT\s*/%d"/g;
    return join '', map { s/^"|"$//gr } $first =~ /($STRING)/g;
}

my (%lines, %causes);
my %macro;
my @files = sort split /\n/, `find mod_connpool -name '*.[ch]'`;
for my $file (@files) {
    my $text = slurp($file);
    $macro{$1} = $2 while $text =~ /^#define ([A-Z_]+)\s+"([^"]*)"/mg;
}
for my $file (grep { /\.c$/ } @files) {
    my $text  = slurp($file);
    my $short = $file =~ s{^mod_connpool/}{}r;
    my %own   = (%macro, $text =~ /^#define ([A-Z_]+)\s+"([^"]*)"/mg);
    while ($text =~ /\b(?:ap_log_r?error|cp_log)(\((?:[^()"]|$STRING|(?1))*\))/g) {
        my $call = $1;
        next if $call !~ $LEVEL || ($SINK{$short} && $call !~ $STRING);
        my $format = joined($call) // next;
        my $line = plain($format);
        $lines{$line =~ /^(?:\.\.\.|[ :()]|is|the answer is cut)+$/ ? "$short: $line" : $line} = $file;
    }
    while ($text =~ /(?:$CAUSING)((?:(?:$STRING|[A-Z_]{4,})\s*)+)/g) {
        my $cause = join '', map { /^"(.*)"$/ ? $1 : $own{$_} // '' } $1 =~ /($STRING|[A-Z_]{4,})/g;
        $causes{$cause} = $file if !$UNTOLD{$cause};
    }
}

# Entries: code spans before the colon of an item; causes: those of the first cells of
# the tables under "Causes".
my ($first, $second) = slurp($PAGE) =~ /\A(.*?)^## Causes\n(.*)\z/ms or die "$PAGE has no causes\n";
my %entries;
for my $item ($first =~ /^- (`.*?(?:\n  .*?)*?`):(?:\s)/mg) {
    $entries{$_ =~ s/\s+/ /gr} = 1 for $item =~ /`([^`]+)`/g;
}
my %told;
for my $cell ($second =~ /^\| (`.*?) \| /mg) {
    $told{$_} = 1 for $cell =~ /`([^`]+)`/g;
}
(keys %lines > 50 && keys %causes > 40) or complain('the lines were not found in the sources');

sub is_entry_of {
    my ($entry, $line) = @_;
    my $begin = $entry =~ s/(?:\.\.\.)?$//r;
    return $line eq $entry || (length($begin) >= 8 && index($line, $begin) == 0);
}

my %used;
for my $line (sort keys %lines) {
    my @wanted = $WRAPPED{$line} ? @{$WRAPPED{$line}} : ();
    my @found  = @wanted ? grep { $entries{$_} } @wanted : grep { is_entry_of($_, $line) } keys %entries;
    $used{$_} = 1 for @found;
    next if @wanted ? @found == @wanted : @found;
    complain("$lines{$line}: no entry in $PAGE: `$line`");
}
for my $entry (sort keys %entries) {
    complain("$PAGE: nothing logs `$entry`") if !$used{$entry};
}
for my $cause (sort keys %causes) {
    complain("$causes{$cause}: no such cause in $PAGE: `$cause`") if !$told{$cause};
}
for my $cause (sort keys %told) {
    complain("$PAGE: there is no cause `$cause`") if !$causes{$cause};
}
exit $status;
