# SPDX-License-Identifier: Apache-2.0
#
# A report's bars as SVG: what a request costs, by who answers it. Plain, and to be
# read on light and on dark pages alike: its colours follow the reader's choice.
package Bench::Chart;

use strict;
use warnings;

use Bench::Number qw(is_doubtful);
use Exporter      qw(import);
use List::Util    qw(max);

our @EXPORT_OK = qw(svg);

my %LAYOUT = (width => 780, names => 282, bar => 14, row => 22, head => 34, gap => 18, top => 94, value => 70);
my @PANELS = qw(one fifty fetch);

my $STYLE = <<'CSS';
  .page { fill: #ffffff; } .text { fill: #1f2328; } .soft { fill: #59636e; }
  .bar { fill: #8c959f; } .ours { fill: #0969da; } .line { stroke: #d1d9e0; }
  text { font: 13px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; }
  .panel { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } .text { fill: #f0f6fc; } .soft { fill: #9198a1; }
    .bar { fill: #656c76; } .ours { fill: #4493f8; } .line { stroke: #3d444d; }
  }
CSS

sub _escape {
    my ($text) = @_;
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;');
    return $text =~ s/([&<>"])/$entity{$1}/gr;
}

sub _text {
    my ($x, $y, $class, $text, $more) = @_;
    return sprintf qq{<text x="%d" y="%d" class="%s"%s>%s</text>\n}, $x, $y, $class, $more // '', _escape($text);
}

sub _bar {
    my ($row, $y, $scale) = @_;
    my $value  = $row->{cpu_us}{median};
    my $width  = max(1, $value * $scale);
    my $middle = $y + $LAYOUT{bar} - 3;
    my $class  = $row->{contender} eq 'connpool' ? 'ours' : 'bar';
    return _text($LAYOUT{names} - 10, $middle, 'text', $row->{title}, ' text-anchor="end"')
        . sprintf(qq{<rect x="%d" y="%d" width="%.1f" height="%d" class="%s"/>\n},
        $LAYOUT{names}, $y, $width, $LAYOUT{bar}, $class)
        . _text($LAYOUT{names} + $width + 8, $middle, 'text',
        (is_doubtful($row->{cpu_us}) ? '~' : '') . sprintf '%.0f', $value);
}

# A part, least cost first; returns (text, where the next one begins).
sub _panel {
    my ($part, $y) = @_;
    my @rows  = sort { $a->{cpu_us}{median} <=> $b->{cpu_us}{median} } grep { $_->{cpu_us} } @{$part->{rows}};
    my $most  = max(1, map { $_->{cpu_us}{median} } @rows);
    my $scale = ($LAYOUT{width} - $LAYOUT{names} - $LAYOUT{value}) / $most;
    my $text  = _text(16, $y + 14, 'text panel', $part->{title});
    $y += $LAYOUT{head} - 8;
    my $begin = $y;
    for my $row (@rows) {
        $text .= _bar($row, $y, $scale);
        $y += $LAYOUT{row};
    }
    $text .= sprintf qq{<line x1="%d" y1="%d" x2="%d" y2="%d" class="line"/>\n},
        $LAYOUT{names}, $begin - 4, $LAYOUT{names}, $y - 4;
    return ($text, $y + $LAYOUT{gap});
}

sub svg {
    my ($report) = @_;
    my ($body, $y) = ('', $LAYOUT{top});
    for my $name (@PANELS) {
        my ($part) = grep { $_->{name} eq $name } @{$report->{parts}};
        next if !$part;
        my ($text, $next) = _panel($part, $y);
        ($body, $y) = ($body . $text, $next);
    }
    my $machine = $report->{machine};
    my $where   = "$machine->{cpu}, $machine->{processors} processors, $machine->{httpd}, $report->{date}";
    my $note    = "Microseconds, median of $report->{settings}{rounds} rounds, less is better"
        . ($report->{noise}{noisy} ? '; the machine was noisy: read counts, not times' : '; ~: rounds differ');
    my $title = 'Processor time of the server for one request';
    return qq{<svg xmlns="http://www.w3.org/2000/svg" width="$LAYOUT{width}" height="$y" }
        . qq{viewBox="0 0 $LAYOUT{width} $y" role="img" aria-labelledby="title">\n}
        . qq{<title id="title">$title</title>\n<style>\n$STYLE</style>\n}
        . qq{<rect width="$LAYOUT{width}" height="$y" class="page"/>\n}
        . _text(16, 28, 'text title', $title)
        . _text(16, 50, 'soft',       $note)
        . _text(16, 70, 'soft',       $where)
        . $body
        . "</svg>\n";
}

1;
