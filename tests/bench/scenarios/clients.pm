# SPDX-License-Identifier: Apache-2.0
# How cost and throughput change with the number of clients.
use strict;
use warnings;

use Bench::Column qw(WHO pivot);

my @CLIENTS = (1, 8, 64, 512);
my @WHO     = (
    (map { ['one', 'a row by key', $_] } qw(connpool bare mod_dbd)),
    (map { ['fetch', 'a fetch', $_] } qw(connpool mod_proxy_http nginx)),
);

return {
    title   => 'With 1, 8, 64 and 512 clients',
    about   => 'CPU in us a request, then requests a second; one child of 64 threads.',
    columns => [
        ['what', 'what'], WHO,
        (map { ["cpu_us_$_", $_ == 1 ? 'CPU: 1' : $_, '%.0f'] } @CLIENTS),
        (map { ["per_second_$_", $_ == 1 ? 'rate: 1' : $_, '%.0f'] } @CLIENTS),
    ],
    run => sub {
        my ($run) = @_;
        my @cases;
        for my $who (@WHO) {
            my ($kind, $what, $name) = @$who;
            next if !$run->present($name);
            push @cases, map {
                {contender => $run->contender($name), kind => $kind, clients => $_, what => $what}
            } @CLIENTS;
        }
        my $rows = $run->compare(\@cases, seconds => 0.2, warm => 0.1);
        return {rows => pivot($rows, 'clients', [qw(kind what contender)])};
    },
};
