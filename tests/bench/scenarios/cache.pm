# SPDX-License-Identifier: Apache-2.0
# Answers that are kept, or shared by those who ask at once.
use strict;
use warnings;

use Bench::Load   qw(burst);
use Bench::Number qw(figure median);

my %KEPT = (one => 'not kept', data => 'ttl=data', time => 'ttl=1h');

# How many steps of the slow query take 20 ms here.
sub steps {
    my ($connpool) = @_;
    my $steps = 100_000;
    my $took  = burst($connpool, 'slow', requests => 10, keys => [$steps, $steps])->{p50};
    return int($steps * 20 / ($took || 1));
}

sub at_once {
    my ($run, $connpool, $kind, $steps) = @_;
    my $clients = int $run->scaled(200, 20);
    my (@ms, @cpu, $errors);
    for (1 .. 3) {
        my $result = burst($connpool, $kind,
            clients => $clients, requests => $clients, keys => [$steps, $steps]);
        push @ms,  1000 * $result->{seconds};
        push @cpu, $result->{cpu_us};
        $errors ||= $result->{errors};
    }
    return {
        title => ($kind eq 'slow' ? 'not shared' : 'coalesce=on') . ", a query of 20 ms, $clients at once",
        clients => $clients, cpu_us => figure(@cpu), all_ms => figure(@ms), $errors ? (errors => $errors) : (),
    };
}

return {
    title   => 'Answers that are kept or shared',
    about   => 'A row by key: one of a thousand keys, so that answers come again.',
    columns => [
        ['title',      'what'],
        ['clients',    'clients',           '%d'],
        ['cpu_us',     'CPU, us a request', '%.0f'],
        ['per_second', 'requests/s',        '%.0f'],
        ['all_ms',     'until all have it, ms', '%.0f'],
    ],
    run => sub {
        my ($run) = @_;
        my $connpool = $run->contender('connpool');
        my @cases = map {
            {contender => $connpool, kind => $_, clients => 32, keys => [1, 1000], title => "$KEPT{$_}, a row by key"}
        } qw(one data time);
        my $rows  = $run->compare(\@cases);
        my $steps = steps($connpool);
        my @slow  = map {
            {
                contender => $connpool, kind => $_, clients => 1, keys => [$steps, $steps],
                title => ($_ eq 'slow' ? 'not kept' : 'ttl=1h') . ', a query of 20 ms'
            }
        } qw(slow slow_kept);
        push @$rows, @{$run->compare(\@slow, seconds => 0.2, warm => 0.1)};
        push @$rows, map { at_once($run, $connpool, $_, $steps) } qw(slow slow_one);
        return {rows => $rows};
    },
};
