# SPDX-License-Identifier: Apache-2.0
# One row by key while another client runs a long query on the same file: what a
# pool is for. mod_dbd's driver runs one statement at a time in a process.
use strict;
use warnings;

use Bench::Column qw(WHO);
use Bench::Load   qw(burst);
use Bench::Number qw(figure);
use POSIX         ();

my @WHO   = qw(connpool mod_dbd);
my $STEPS = 1_000_000;

# The times of short queries, in milliseconds, while a child process runs long ones.
sub beside {
    my ($run, $contender) = @_;
    my $seconds = $run->scaled(1.5, 0.3);
    my $pid     = fork // die "fork: $!";
    if (!$pid) {
        burst($contender, 'slow', seconds => $seconds + 0.5, keys => [$STEPS, $STEPS]);
        POSIX::_exit(0);
    }
    select undef, undef, undef, 0.2;    # the long one is under way
    my $result = burst($contender, 'one', seconds => $seconds);
    waitpid $pid, 0;
    return $result;
}

return {
    title   => 'One row by key, while another client runs long queries',
    about   => "One child; the long query takes $STEPS steps.",
    columns => [
        WHO,
        ['p50_ms', 'p50, ms', '%.2f'], ['p50_ms/spread', 'spread', '%d'],
        ['p99_ms', 'p99, ms', '%.2f'], ['p99_ms/spread', 'spread', '%d'],
    ],
    run => sub {
        my ($run) = @_;
        my @cases = map { {contender => $run->contender($_)} } $run->present(@WHO);
        $run->interleave(\@cases, sub {
            my ($case) = @_;
            my $result = beside($run, $case->{contender});
            push @{$case->{$_}}, $result->{$_} for qw(p50 p99);
            $case->{errors} ||= $result->{errors};
        }, 3);
        return {rows => [map {
            {
                contender => $_->{contender}->name,
                title     => $_->{contender}->title,
                p50_ms    => figure(@{$_->{p50}}),
                p99_ms    => figure(@{$_->{p99}}),
                $_->{errors} ? (errors => $_->{errors}) : (),
            }
        } @cases]};
    },
};
