# SPDX-License-Identifier: Apache-2.0
#
# Columns that several parts have.
package Bench::Column;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(COSTS LATENCY WHO pivot);

use constant {
    WHO   => ['title', 'answered by'],
    COSTS => [
        ['cpu_us',        'CPU, us a request', '%.0f'],
        ['cpu_us/spread', 'spread',            '%d'],
        ['per_second',    'requests/s',        '%.0f'],
    ],
    LATENCY => [
        ['rate',          'at a rate of', '%.0f'],
        ['p50_ms',        'p50, ms',      '%.2f'],
        ['p50_ms/spread', 'spread',       '%d'],
        ['p99_ms',        'p99, ms',      '%.2f'],
    ],
};

# One row for those that differ in one member only: its figures get that member's
# value behind their names (cpu_us_64).
sub pivot {
    my ($rows, $member, $keys) = @_;
    my (@order, %wide);
    for my $row (@$rows) {
        my $key = join "\0", map { $row->{$_} // '' } @$keys;
        push @order, $key if !$wide{$key};
        my $into = $wide{$key} //= {map { $_ => $row->{$_} } @$keys, 'title'};
        $into->{"${_}_$row->{$member}"} = $row->{$_} for grep { ref $row->{$_} } keys %$row;
        $into->{errors} //= "$row->{$member} $member: $row->{errors}" if $row->{errors};
    }
    return [map { $wide{$_} } @order];
}

1;
