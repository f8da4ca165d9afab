# SPDX-License-Identifier: Apache-2.0
#
# The success criteria of the design, out of the part of that name: what was wanted,
# what was saved, in Python and here.
package Bench::Criteria;

use strict;
use warnings;

use Bench::Number qw(is_doubtful);
use Exporter      qw(import);

our @EXPORT_OK = qw(criteria_table);

# [member, criterion, what is wanted, from which saving on it is met, format]
my @CRITERIA = (
    ['peak_mb', 'memory',         '30 to 50 MB less',   30,  '%.1f MB'],
    ['p50_ms',  'time a request', '150 to 200 ms less', 150, '%.1f ms'],
    ['cpu_us',  'CPU a request',  '20 % less',          20,  '%.0f us'],
);
# Before, after: the design, this module, and from the one to the other.
my @PAIRS = (
    ['Python: before, after',           'python_before', 'python_after'],
    ['this module: all off, all on',    'all_off',       'connpool'],
    ['Python before, this module on',   'python_before', 'connpool'],
);

sub _saving {
    my ($criterion, $before, $after) = @_;
    my ($member, undef, undef, $wanted, $format) = @$criterion;
    return 'not measured' if !$before || !$after;
    my ($was, $is) = map { $_->{$member}{median} } $before, $after;
    my $percent = $was ? 100 * ($was - $is) / $was : 0;
    my $saved   = $member eq 'cpu_us' ? $percent : $was - $is;
    my $doubt   = (grep { is_doubtful($_->{$member}) } $before, $after) ? '~' : '';
    my $less    = $saved >= 0 ? 'less' : 'more';
    my $amount  = $member eq 'cpu_us' ? sprintf('%.0f %%', abs $percent) : sprintf $format, abs $saved;
    return sprintf "%s$format to $format: %s %s, **%s**", $doubt, $was, $is, $amount, $less,
        $saved >= $wanted ? 'met' : 'not met';
}

# Markdown, from the part "criteria".
sub criteria_table {
    my ($part) = @_;
    my (%where, @order);
    for my $row (@{$part->{rows}}) {
        push @order, $row->{where} if !$where{$row->{where}};
        $where{$row->{where}}{$row->{contender}} = $row;
    }
    my $text = '| criterion | wanted | upstream | ' . join(' | ', map { $_->[0] } @PAIRS) . " |\n"
        . '|---|---|---|' . '---|' x @PAIRS . "\n";
    for my $criterion (@CRITERIA) {
        for my $where (@order) {
            $text .= "| $criterion->[1] | $criterion->[2] | $where | "
                . join(' | ', map { _saving($criterion, @{$where{$where}}{@$_[1, 2]}) } @PAIRS) . " |\n";
        }
    }
    return $text;
}

1;
