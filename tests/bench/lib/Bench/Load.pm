# SPDX-License-Identifier: Apache-2.0
#
# One burst of requests at one contender, and what it cost the contender.
package Bench::Load;

use strict;
use warnings;

use Bench::Machine qw(CLIENT_CPU cpu_seconds pinned);
use Bench::Number  qw(percentile);
use ConnPoolTest   qw(build_dir command);
use Exporter       qw(import);
use JSON::PP       ();

our @EXPORT_OK = qw(burst);

my $SEED = 0;

# Arguments: port, path, keys [first, last], expect, clients, and seconds or
# requests, and rate (without: a closed loop), and under: a command that runs it.
# Returns what load printed, with
# rate, p50 and p99 (ms) and errors (a sentence, or nothing) beside it.
sub _load {
    my (%arg) = @_;
    my @argv = (
        build_dir() . '/bench/load', '--port', $arg{port}, '--path', $arg{path},
        '--clients', $arg{clients} // 1, '--seed', ++$SEED,
    );
    push @argv, '--keys', join(':', @{$arg{keys}}) if $arg{keys};
    for my $name (qw(expect seconds requests rate)) {
        push @argv, "--$name", $arg{$name} if defined $arg{$name};
    }
    my ($exit, $text) = command(@{$arg{under} // []}, pinned(CLIENT_CPU, @argv));
    die "load $arg{path}: $text" if $exit;
    my $result = JSON::PP->new->decode($text);
    $result->{per_second} = $result->{requests} / ($result->{seconds} || 1);
    $result->{"p$_"} = percentile($_, $result->{histogram}) / 1000 for 50, 99;
    my @errors;
    push @errors, "$result->{bad_status} answers with status $result->{last_status}"
        if $result->{bad_status};
    push @errors, "$result->{wrong} wrong answers" if $result->{wrong};
    push @errors, "$result->{lost} without answer" if $result->{lost};
    $result->{errors} = join ', ', @errors;
    return $result;
}

# The same for a contender that runs (see Bench::Contender), with what a request
# cost all its processes: cpu_us. `kind` says what is asked for.
sub burst {
    my ($contender, $kind, %arg) = @_;
    my $what   = $contender->request($kind, delete $arg{keys});
    my @pids   = $contender->pids;
    my $before = cpu_seconds(@pids);
    my $result = _load(port => $contender->port, %$what, %arg);
    my $cpu    = cpu_seconds(@pids) - $before;
    $result->{cpu_us} = 1e6 * $cpu / ($result->{requests} || 1);
    return $result;
}

1;
