# SPDX-License-Identifier: Apache-2.0
#
# What a report comes to in sentences: next to the bare way and to the proxy, and
# where others cost less.
package Bench::Verdict;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(distances losses);

sub _row {
    my ($report, $part, $contender, $kind) = @_;
    my ($found) = grep { $_->{name} eq $part } @{$report->{parts}};
    my ($row) = grep { $_->{contender} eq $contender && (!$kind || $_->{kind} eq $kind) } @{$found ? $found->{rows} : []};
    return $row;
}

# Lines of a list: how far from those that do least.
sub distances {
    my ($report) = @_;
    my @lines;
    for my $case (['one', 'a row by key'], ['fifty', 'fifty rows']) {
        my ($ours, $bare) = map { _row($report, $case->[0], $_) } qw(connpool bare);
        next if !$ours || !$bare;
        my $us   = $ours->{cpu_us}{median} - $bare->{cpu_us}{median};
        my $line = sprintf '- %s: %.0f us %s the bare pool', $case->[1], abs $us, $us < 0 ? 'below' : 'above';
        my ($more, $least) = map { _row($report, 'counts', $_, $case->[0]) } qw(connpool bare);
        $line .= sprintf ', %+.0f instructions, %+.1f system calls',
            $more->{instructions} - $least->{instructions}, $more->{calls} - $least->{calls}
            if $more && $least && $least->{instructions} && $least->{calls};
        push @lines, "$line\n";
    }
    my ($ours, $proxy) = map { _row($report, 'fetch', $_) } qw(connpool mod_proxy_http);
    if ($ours && $proxy) {
        my $line = sprintf '- a fetch: %.2f times the CPU of mod_proxy_http', $ours->{cpu_us}{median} / $proxy->{cpu_us}{median};
        my ($more, $least) = map { _row($report, 'counts', $_, 'fetch') } qw(connpool mod_proxy_http);
        $line .= sprintf ', %.2f times its system calls, %.2f times its instructions',
            $more->{calls_32} / $least->{calls_32}, $more->{instructions} / $least->{instructions}
            if $more && $least && $least->{instructions} && $least->{calls_32};
        push @lines, "$line\n";
    }
    return join '', @lines;
}

# Who costs less than mod_connpool as it comes, in one sentence a part.
sub losses {
    my ($report) = @_;
    my @lines;
    for my $part (grep { $_->{name} =~ /^(?:one|fifty|fetch|tls)$/ } @{$report->{parts}}) {
        my ($ours) = grep { $_->{contender} eq 'connpool' } @{$part->{rows}};
        next if !$ours;
        my @less = sort { $a->{cpu_us}{median} <=> $b->{cpu_us}{median} }
            grep { $_->{contender} ne 'connpool' && $_->{cpu_us}{median} < $ours->{cpu_us}{median} } @{$part->{rows}};
        push @lines, "- $part->{title}: " . (@less
            ? join(', ', map { sprintf '%s (%.2f of ours)', $_->{title}, $_->{cpu_us}{median} / $ours->{cpu_us}{median} } @less)
            : 'nobody') . "\n";
    }
    return join '', @lines;
}

1;
