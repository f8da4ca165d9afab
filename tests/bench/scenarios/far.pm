# SPDX-License-Identifier: Apache-2.0
# An upstream that lets each new connection wait: who keeps connections does not.
use strict;
use warnings;

use Bench::Column qw(LATENCY WHO);

my @WHO = qw(connpool loop_off mod_proxy_http nginx engine_off python_after python_before);

return {
    title   => 'One kilobyte from an upstream with 50 ms of connection latency',
    about   => '8 clients at a fixed rate; times count from when a request was due.',
    columns => [WHO, ['cpu_us', 'CPU, us a request', '%.0f'], @{+LATENCY}],
    run     => sub {
        my ($run) = @_;
        my @cases = map {
            {contender => $run->contender($_), kind => 'far', clients => 8}
        } $run->present(@WHO);
        return {rows => $run->compare(\@cases, rate => 60, seconds => 0.2, open_seconds => 0.8)};
    },
};
