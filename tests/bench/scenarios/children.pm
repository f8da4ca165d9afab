# SPDX-License-Identifier: Apache-2.0
# One, two and four children: each has pools of its own.
use strict;
use warnings;

use Bench::Column qw(WHO pivot);

my @CHILDREN = (1, 2, 4);
my @WHO      = qw(empty connpool mod_dbd);

return {
    title   => 'With 1, 2 and 4 children',
    about   => 'One row by key, 64 clients, children of 32 threads, all on one processor: '
        . 'CPU in us a request of all children together, then requests a second.',
    columns => [
        WHO,
        (map { ["cpu_us_$_", $_ == 1 ? 'CPU: 1' : $_, '%.0f'] } @CHILDREN),
        (map { ["per_second_$_", $_ == 1 ? 'rate: 1' : $_, '%.0f'] } @CHILDREN),
    ],
    run => sub {
        my ($run) = @_;
        my @cases;
        for my $name ($run->present(@WHO)) {
            push @cases, map {
                {
                    contender => $run->contender($name, children => $_, threads => 32),
                    kind      => 'one', clients => 64, children => $_,
                }
            } @CHILDREN;
        }
        my $rows = $run->compare(\@cases, seconds => 0.25, warm => 0.15);
        $run->release($_->{contender}) for @cases;
        return {rows => pivot($rows, 'children', ['contender'])};
    },
};
