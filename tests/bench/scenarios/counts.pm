# SPDX-License-Identifier: Apache-2.0
# System calls, context switches and instructions of a request: counts, which
# noise hardly touches.
use strict;
use warnings;

use Bench::Column qw(WHO);
use Bench::Count  qw(count_instructions count_system_calls counters);

my %WHO = (
    one   => [qw(empty bare connpool mod_dbd mod_lua mod_php engine_off python_after python_before)],
    fifty => [qw(bare connpool mod_dbd)],
    fetch => [qw(connpool loop_off mod_proxy_http nginx engine_off python_after)],
);
my %WHAT = (one => 'a row by key', fifty => 'fifty rows', fetch => 'a fetch');

sub count {
    my ($run, $tools, $name, $kind) = @_;
    my $row = {kind => $kind, what => $WHAT{$kind}, contender => $name};
    my $contender = $run->contender($name);
    $row->{title} = $contender->title;
    if ($tools->{calls}) {
        ($row->{calls}) = count_system_calls($tools->{calls}, $contender, $kind,
            clients => 1, requests => int $run->scaled(300, 50));
        ($row->{calls_32}, $row->{switches_32}) = count_system_calls($tools->{calls}, $contender, $kind,
            clients => 32, requests => int $run->scaled(3000, 100));
    }
    $row->{instructions} = count_instructions($name, $kind, $run->world, int $run->scaled(100, 40))
        if $tools->{instructions};
    delete @{$row}{grep { !defined $row->{$_} } keys %$row};
    return $row;
}

return {
    title   => 'System calls and instructions',
    about   => 'Of all threads of the server, for one request: with one client, and with 32.',
    columns => [
        ['what', 'what'], WHO,
        ['calls',        'system calls: 1 client', '%.1f'],
        ['calls_32',     '32 clients',             '%.1f'],
        ['switches_32',  'context switches: 32',   '%.1f'],
        ['instructions', 'instructions: 1 client', '%.0f'],
    ],
    run => sub {
        my ($run) = @_;
        my $tools = counters();
        my @rows;
        for my $kind (qw(one fifty fetch)) {
            for my $name ($run->present(@{$WHO{$kind}})) {
                push @rows, count($run, $tools, $name, $kind);
            }
            $run->say("counts: $WHAT{$kind}");
        }
        return {rows => \@rows, notes => $tools->{sentences}, tools => $tools};
    },
};
