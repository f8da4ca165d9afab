# SPDX-License-Identifier: Apache-2.0
#
# Figures out of rounds: medians, spreads, percentiles of merged histograms.
package Bench::Number;

use strict;
use warnings;

use Exporter   qw(import);
use JSON::PP   ();
use List::Util qw(max min sum0);

our @EXPORT_OK = qw(figure is_doubtful median percentile spread);

# From this spread on (in percent of the median) a figure is doubtful.
use constant DOUBTFUL => 25;

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return 0 if !@sorted;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

sub spread {
    return 0 if !@_;
    return 100 * (max(@_) - min(@_)) / (median(@_) || 1);
}

# What a report shows of one thing that was measured in rounds.
sub figure {
    my (@rounds) = @_;
    return if !@rounds;
    my $spread = spread(@rounds);
    return {
        median => _short(median(@rounds)),
        spread => _short($spread),
        rounds => [map { _short($_) } @rounds],
        $spread > DOUBTFUL ? (doubtful => JSON::PP::true()) : (),
    };
}

# Six digits say all there is to say.
sub _short {
    return 0 + sprintf '%.6g', $_[0];
}

sub is_doubtful {
    my ($figure) = @_;
    return ref $figure eq 'HASH' && $figure->{doubtful};
}

# Of histograms [[value, count], ...], taken together.
sub percentile {
    my ($percent, @histograms) = @_;
    my @all  = sort { $a->[0] <=> $b->[0] } map {@$_} @histograms;
    my $left = sum0(map { $_->[1] } @all) * $percent / 100;
    for my $bucket (@all) {
        $left -= $bucket->[1];
        return $bucket->[0] if $left <= 0;
    }
    return 0;
}

1;
