# SPDX-License-Identifier: Apache-2.0
# The most memory that each takes with 64 clients: all its processes, pages that
# are shared divided by those who share them (PSS).
use strict;
use warnings;

use Bench::Column  qw(WHO);
use Bench::Load    qw(burst);
use Bench::Contender;
use Bench::Memory  qw(peak_while);
use Bench::Machine qw(pss_bytes);

my @WHO = qw(empty bare connpool engine_off mod_dbd mod_lua mod_php mod_proxy_http nginx
    python_after python_before);

return {
    title   => 'Memory',
    about   => 'PSS of all processes of the server, freshly started: at rest, and the most with 64 '
        . 'clients that ask for rows and for the upstream, as far as it can do both.',
    columns => [
        WHO,
        ['rest_mb',   'at rest, MB',    '%.1f'],
        ['one_mb',    'peak: rows, MB', '%.1f'],
        ['fetch_mb',  'peak: fetches, MB', '%.1f'],
        ['processes', 'processes',      '%d'],
    ],
    run => sub {
        my ($run) = @_;
        my @rows;
        for my $name ($run->present(@WHO)) {
            my $contender = $run->contender($name, threads => 64);
            my $row = {
                contender => $name, title => $contender->title,
                rest_mb => pss_bytes($contender->pids) / 2**20,
            };
            for my $kind (grep { Bench::Contender::can_do($name, $_) } qw(one fetch)) {
                $row->{"${kind}_mb"} = peak_while($contender, sub {
                    burst($contender, $kind, clients => 64, seconds => $run->scaled(0.6, 0.1))
                }) / 2**20;
            }
            $row->{processes} = scalar $contender->pids;
            push @rows, $row;
            $run->release($contender);
        }
        return {rows => \@rows};
    },
};
