# SPDX-License-Identifier: Apache-2.0
#
# The most memory that a contender had while something was done to it.
package Bench::Memory;

use strict;
use warnings;

use Bench::Machine qw(pss_bytes);
use Exporter       qw(import);
use POSIX          ();

our @EXPORT_OK = qw(peak_while);

my $PAUSE = 0.05;

# Looks all the time from a process of its own; PSS has no high-water mark in /proc.
sub peak_while {
    my ($contender, $code) = @_;
    pipe(my $end, my $keep) or die "pipe: $!";
    my $pid = open(my $said, '-|') // die "fork: $!";
    if (!$pid) {
        close $keep;
        print STDOUT _watch($contender, $end);
        close STDOUT;
        POSIX::_exit(0);
    }
    close $end;
    $code->();
    close $keep;
    my $peak = <$said>;
    close $said;
    my $now = pss_bytes($contender->pids);
    return $now > $peak ? $now : $peak;
}

# Until the other end of the pipe is closed.
sub _watch {
    my ($contender, $end) = @_;
    my $peak = 0;
    while (1) {
        my $now = pss_bytes($contender->pids);
        $peak = $now if $now > $peak;
        my $bits = '';
        vec($bits, fileno $end, 1) = 1;
        return $peak if select $bits, undef, undef, $PAUSE;
    }
}

1;
