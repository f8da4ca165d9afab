# SPDX-License-Identifier: Apache-2.0
# One kilobyte from an upstream: all ways to it.
use strict;
use warnings;

use Bench::Column qw(COSTS LATENCY WHO);

my @WHO = qw(empty connpool loop_off mod_proxy_http nginx engine_off python_after python_before);

return {
    title   => 'One kilobyte from an upstream',
    about   => '32 clients; the upstream is httpd next door, on the processor of the clients.',
    columns => [WHO, @{+COSTS}, @{+LATENCY}],
    run     => sub {
        my ($run) = @_;
        my @cases = map {
            {contender => $run->contender($_), kind => 'fetch', clients => 32}
        } $run->present(@WHO);
        return {rows => $run->compare(\@cases, rate => 800)};
    },
};
