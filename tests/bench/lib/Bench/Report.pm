# SPDX-License-Identifier: Apache-2.0
#
# A report as tables: Markdown, which a terminal and the manual both can show.
package Bench::Report;

use strict;
use warnings;

use Bench::Number qw(is_doubtful);
use Exporter      qw(import);

our @EXPORT_OK = qw(markdown noise_sentence print_foot print_head print_part shown);

# A figure as a table shows it; "~" before one whose rounds differ too much.
# Columns are [key, heading, format]; format is that of printf, or a sub.
sub shown {
    my ($value, $format) = @_;
    return '' if !defined $value;
    my $mark = is_doubtful($value) ? '~' : '';
    $value = $value->{median} if ref $value eq 'HASH';
    return $mark . (defined $format && length $format ? sprintf $format, $value : $value);
}

sub _cell {
    my ($row, $column) = @_;
    my ($key, undef, $format) = @$column;
    my ($name, $wants_spread) = $key =~ /^(\w+)(\/spread)?$/;
    return shown($row->{$name}, $format) if !$wants_spread;
    return ref $row->{$name} eq 'HASH' ? sprintf '%.0f %%', $row->{$name}{spread} : '';
}

# A table with columns as wide as they must be.
sub markdown {
    my ($columns, $rows) = @_;
    my @lines = ([map { $_->[1] } @$columns]);
    for my $row (@$rows) {
        push @lines, [map { _cell($row, $_) } @$columns];
    }
    my @width = map {
        my $i = $_;
        my $most = 3;
        for my $line (@lines) {
            $most = length $line->[$i] if length $line->[$i] > $most;
        }
        $most;
    } 0 .. $#$columns;
    my @is_text = map { ($_->[2] // '%s') =~ /s/ } @$columns;
    splice @lines, 1, 0, [map { $is_text[$_] ? '-' x $width[$_] : '-' x ($width[$_] - 1) . ':' } 0 .. $#width];
    return join '', map {
        my $line = $_;
        '| ' . join(' | ', map { sprintf $is_text[$_] ? '%-*s' : '%*s', $width[$_], $line->[$_] } 0 .. $#width) . " |\n"
    } @lines;
}

sub noise_sentence {
    my ($noise) = @_;
    return '' if !$noise || !$noise->{noisy};
    return "The machine was too noisy: $noise->{why}. Read counts, not times.";
}

sub print_head {
    my ($report) = @_;
    my $machine = $report->{machine};
    print "$machine->{httpd}, $machine->{system}, $machine->{cpu}, $machine->{processors} processors; ",
        "$report->{settings}{rounds} rounds; load before: $machine->{load}.\n",
        "~ before a figure: its rounds differ by more than ", Bench::Number::DOUBTFUL, " % of their median.\n";
    return;
}

sub print_part {
    my ($part) = @_;
    print "\n### $part->{title}\n\n";
    print "$part->{about}\n\n" if $part->{about};
    print markdown($part->{columns}, $part->{rows});
    print "\n$_\n" for @{$part->{notes} // []};
    for my $row (grep { $_->{errors} } @{$part->{rows}}) {
        print "\n$row->{title}: $row->{errors}\n";
    }
    my $noise = noise_sentence($part->{noise});
    print "\n**$noise**\n" if $noise;
    return;
}

sub print_foot {
    my ($report, $path) = @_;
    print "\n$_->{sentence} (scripts/install-deps.sh bench)\n" for @{$report->{missing}};
    print "\nThe part $_->{name} failed: $_->{why}\n" for @{$report->{failed} // []};
    my $noise = noise_sentence($report->{noise});
    print "\n**$noise**\n" if $noise;
    print "\n$report->{seconds} seconds; all figures: $path\n";
    return;
}

1;
