# SPDX-License-Identifier: Apache-2.0
# The success criteria of the design that this module comes from: memory saved, time
# saved, CPU saved, before and after. The same work for all: a page of fifty rows of
# the database and one kilobyte of an upstream.
use strict;
use warnings;

use Bench::Load    qw(burst);
use Bench::Memory  qw(peak_while);
use Bench::Number  qw(figure);

my @WHO = (
    ['python_before', 'Python design, before'],
    ['python_after',  'Python design, after'],
    ['all_off',       'mod_connpool, all off'],
    ['connpool',      'mod_connpool, all on'],
);
my @WHERE = (
    ['page',     'next door',                      100],
    ['page_far', 'TLS, 50 ms to connect', 25],
);

sub measure {
    my ($run, $case) = @_;
    my ($contender, $kind, $seen) = @{$case}{qw(contender kind seen)};
    my $peak = peak_while($contender, sub {
        my $result = burst($contender, $kind, clients => 32, seconds => $run->scaled(0.8, 0.2));
        push @{$seen->{cpu_us}}, $result->{cpu_us};
        $case->{errors} ||= $result->{errors};
    });
    push @{$seen->{peak_mb}}, $peak / 2**20;
    my $result = burst($contender, $kind,
        clients => 16, rate => $case->{rate}, seconds => $run->scaled(1, 0.2));
    push @{$seen->{p50_ms}}, $result->{p50};
    $case->{errors} ||= $result->{errors};
    return;
}

return {
    title   => 'The success criteria of the design',
    about   => 'A page of fifty rows and one kilobyte of an upstream. CPU and the peak of memory (PSS of all '
        . 'processes) with 32 clients, p50 at a fixed rate.',
    columns => [
        ['where',   'upstream'],
        ['title',   'answered by'],
        ['peak_mb', 'peak, MB',          '%.1f'],
        ['rate',    'at a rate of',      '%.0f'],
        ['p50_ms',  'p50, ms',           '%.2f'],
        ['p50_ms/spread', 'spread', '%d'],
        ['cpu_us',  'CPU, us a request', '%.0f'],
        ['cpu_us/spread', 'spread', '%d'],
    ],
    run => sub {
        my ($run) = @_;
        my @rows;
        for my $where (@WHERE) {
            my ($kind, $title, $rate) = @$where;
            my %title = map { $_->[0] => $_->[1] } @WHO;
            # Fresh ones: what was before would count in the peak.
            my @cases = map {
                {
                    contender => $run->contender($_, threads => 64, children => 1), kind => $kind,
                    seen => {}, rate => $rate, title => $title{$_}
                }
            } $run->present(map { $_->[0] } @WHO);
            $run->interleave(\@cases, sub { measure($run, $_[0]) });
            push @rows, map {
                my $case = $_;
                {
                    contender => $case->{contender}->name, kind => $kind, where => $title,
                    title => $case->{title}, rate => $rate,
                    (map { $_ => figure(@{$case->{seen}{$_}}) } qw(peak_mb p50_ms cpu_us)),
                    $case->{errors} ? (errors => $case->{errors}) : (),
                }
            } @cases;
            $run->release($_->{contender}) for @cases;
        }
        return {rows => \@rows};
    },
};
