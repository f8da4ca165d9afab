# SPDX-License-Identifier: Apache-2.0
# Ten in one request: connpool-batch saves the way there and back.
use strict;
use warnings;

use Bench::Number qw(figure);

my @PAIRS = (['one', 'batch', 'a row by key'], ['fetch', 'batch_up', 'one kilobyte from an upstream']);

return {
    title   => 'Ten requests, or one batch of ten',
    about   => 'One client with one connection, one request after the other.',
    columns => [
        ['title',      'ten times'],
        ['ten_ms',     'ten requests, ms', '%.2f'],
        ['batch_ms',   'one batch, ms',    '%.2f'],
        ['ten_cpu',    'CPU of ten, us',   '%.0f'],
        ['batch_cpu',  'of one batch, us', '%.0f'],
    ],
    run => sub {
        my ($run) = @_;
        my @rows;
        for my $pair (@PAIRS) {
            my ($kind, $batch, $title) = @$pair;
            my @cases = map {
                {contender => $run->contender('connpool'), kind => $_, clients => 1, seen => {}}
            } $kind, $batch;
            my ($one, $ten) = @{$run->compare(\@cases, seconds => 0.25, warm => 0.1)};
            my $each = sub {
                my ($row, $name, $code) = @_;
                return figure(map { $code->($_) } @{$row->{$name}{rounds}});
            };
            push @rows, {
                title     => $title,
                ten_ms    => $each->($one, 'per_second', sub { 10_000 / $_[0] }),
                batch_ms  => $each->($ten, 'per_second', sub { 1000 / $_[0] }),
                ten_cpu   => $each->($one, 'cpu_us', sub { 10 * $_[0] }),
                batch_cpu => $ten->{cpu_us},
            };
        }
        return {rows => \@rows};
    },
};
