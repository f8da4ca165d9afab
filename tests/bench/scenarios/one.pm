# SPDX-License-Identifier: Apache-2.0
# One row by key, random keys: all ways to a database.
use strict;
use warnings;

use Bench::Column qw(COSTS LATENCY WHO);

my @WHO = qw(empty bare connpool mod_dbd mod_lua mod_php engine_off python_after python_before);

return {
    title   => 'One row by key',
    about   => '32 clients with random keys, one child of 64 threads; CPU of all processes of the '
        . 'server. Times at a fixed rate count from when a request was due.',
    columns => [WHO, @{+COSTS}, @{+LATENCY}],
    run     => sub {
        my ($run) = @_;
        my @cases = map {
            {contender => $run->contender($_), kind => 'one', clients => 32}
        } $run->present(@WHO);
        return {rows => $run->compare(\@cases, rate => 1000)};
    },
};
