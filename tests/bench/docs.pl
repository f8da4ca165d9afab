# SPDX-License-Identifier: Apache-2.0
#
# docs.pl [REPORT.json [TREE]]: put what bench.pl found (build/bench.json) into the
# manual: docs/benchmarks.svg anew, and what stands between the lines
# <!-- bench:begin --> and <!-- bench:end --> of docs/benchmarks.md and README.md.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../t/lib";
use Bench::Chart    qw(svg);
use Bench::Criteria qw(criteria_table);
use Bench::Report   qw(markdown noise_sentence);
use Bench::Verdict  qw(distances losses);
use JSON::PP   ();
use Text::Wrap qw(wrap);

my $TREE   = $ARGV[1] // "$FindBin::Bin/../..";
my $SOURCE = $ARGV[0] // ($ENV{CONNPOOL_BUILD} // "$TREE/build") . '/bench.json';
my @NEEDED = qw(one fifty fetch counts criteria);

sub slurp {
    my ($path) = @_;
    open(my $in, '<', $path) or die "$path: $!\n";
    local $/ = undef;
    return <$in>;
}

sub write_file {
    my ($path, $text) = @_;
    open(my $out, '>', $path) or die "$path: $!\n";
    print {$out} $text;
    close $out or die "$path: $!\n";
    print "$path\n";
    return;
}

sub part {
    my ($report, $name) = @_;
    my ($part) = grep { $_->{name} eq $name } @{$report->{parts}};
    return $part;
}

# Where, when, how, and whether the machine was quiet.
sub surroundings {
    my ($report) = @_;
    my $machine = $report->{machine};
    my $noise   = noise_sentence($report->{noise});
    local $Text::Wrap::columns = 100;
    return wrap('', '', "$machine->{cpu}, $machine->{processors} processors (one for the server, one for clients and upstreams), "
        . "$machine->{system}, $machine->{httpd}, Linux $machine->{kernel}, $report->{date}; median of "
        . "$report->{settings}{rounds} rounds, file of $report->{settings}{rows} rows unless said otherwise. "
        . "`~` stands before figures whose rounds differ by more than 25 % of their median.\n")
        . ($noise ? "\n**$noise**\n" : '');
}

sub part_text {
    my ($part) = @_;
    my $noise = noise_sentence($part->{noise});
    return "### $part->{title}\n\n" . ($part->{about} ? "$part->{about}\n\n" : '')
        . markdown($part->{columns}, $part->{rows})
        . join('', map {"\n$_\n"} @{$part->{notes} // []})
        . join('', map {"\n$_->{title}: $_->{errors}\n"} grep { $_->{errors} } @{$part->{rows}})
        . ($noise ? "\n**$noise**\n" : '') . "\n";
}

sub manual {
    my ($report) = @_;
    my $missing = join '', map {"$_->{sentence}.\n"} @{$report->{missing}};
    return surroundings($report)
        . ($missing ? "\n$missing" : '')
        . "\n### Against the success criteria\n\n"
        . criteria_table(part($report, 'criteria'))
        . "\n### Next to those who do least\n\n" . distances($report)
        . "\n### Who needs less CPU\n\n" . losses($report) . "\n"
        . join('', map { part_text($_) } @{$report->{parts}}) =~ s/\n+\z/\n/r;
}

# The front page shows costs and criteria, and says where the rest is.
sub front_page {
    my ($report) = @_;
    my $machine = $report->{machine};
    my $quiet   = $report->{noise}{noisy} ? 'the machine was too noisy for its times to be trusted' : 'on a quiet machine';
    return "![Processor time of the server for one request](docs/benchmarks.svg)\n\n"
        . criteria_table(part($report, 'criteria'))
        . "\n$machine->{cpu}, $report->{date}, $quiet (~: rounds differ).\n";
}

sub replace_between {
    my ($path, $text) = @_;
    my $page = slurp($path);
    $page =~ s/(<!-- bench:begin -->\n).*?(<!-- bench:end -->)/$1$text$2/s
        or die "$path: no lines <!-- bench:begin --> and <!-- bench:end -->\n";
    write_file($path, $page);
    return;
}

my $report  = JSON::PP->new->utf8->decode(slurp($SOURCE));
my @missing = grep { !part($report, $_) } @NEEDED;
die "$SOURCE: parts are missing: @missing; run make bench without BENCH_ONLY\n" if @missing;
replace_between("$TREE/docs/benchmarks.md", manual($report));
replace_between("$TREE/README.md",          front_page($report));
write_file("$TREE/docs/benchmarks.svg", svg($report));
print 'note: ', noise_sentence($report->{noise}), "\n" if $report->{noise}{noisy};
