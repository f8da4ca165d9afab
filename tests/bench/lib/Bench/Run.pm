# SPDX-License-Identifier: Apache-2.0
#
# A run of the benchmark: who is there, who runs, how long rounds take, what was
# found. Scenarios get this, see bench.pl.
package Bench::Run;

use strict;
use warnings;

use Bench::Contender;
use Bench::Load   qw(burst);
use Bench::Number qw(figure percentile);
use Time::HiRes   qw(time);

# Arguments: world, machine, rounds, scale (of times and counts), with ({name => 1}:
# only these contenders), silent.
sub new {
    my ($class, %arg) = @_;
    return bless {%arg, running => {}, missing => {}, began => time}, $class;
}

sub world {
    return $_[0]{world};
}

sub machine {
    return $_[0]{machine};
}

sub rounds {
    return $_[0]{rounds};
}

# A time, or a count, as this run is long.
sub scaled {
    my ($self, $value, $least) = @_;
    my $scaled = $value * $self->{scale};
    return defined $least && $scaled < $least ? $least : $scaled;
}

# The share of its time that is left for a part, if that is less than all of it.
sub hurry {
    my ($self, $share) = @_;
    $share = 1    if $share > 1;
    $share = 0.15 if $share < 0.15;
    $self->{full} //= $self->{scale};
    $self->{scale} = $self->{full} * $share;
    $self->say(sprintf 'late: times are cut to %.0f %%', 100 * $share) if $share < 0.9;
    return;
}

sub say {
    my ($self, $text) = @_;
    return if $self->{silent};
    printf STDERR "[%4.0f s] %s\n", time - $self->{began}, $text;
    return;
}

# ---------------------------------------------------------------------------
# Contenders

# Those of these names that are wanted, installed, and answer as they must; who is
# missing is noted.
sub present {
    my ($self, @names) = @_;
    my $with = $self->{with};
    return grep { (!$with || $with->{$_}) && !$self->_is_missing($_) } @names;
}

sub _is_missing {
    my ($self, $name) = @_;
    if (!exists $self->{missing}{$name}) {
        my $about    = Bench::Contender::about($name);
        my @packages = $about->{missing} ? $about->{missing}->() : ();
        my $why      = @packages ? 'there is no ' . join(', no ', @packages) : $self->_defect($name);
        $self->{missing}{$name} = $why && {
            contender => $about->{title},
            packages  => \@packages,
            sentence  => "$about->{title} is left out: $why",
        };
        $self->say($self->{missing}{$name}{sentence}) if $why;
    }
    return $self->{missing}{$name};
}

# Why one that is installed cannot be compared.
sub _defect {
    my ($self, $name) = @_;
    my $mistake = eval { $self->contender($name)->mistake // '' } // "it does not start: $@";
    return if !length $mistake;
    return substr($mistake, 0, 400) =~ s/\s+/ /gr;
}

sub missing {
    my ($self) = @_;
    return [map { $self->{missing}{$_} // () } sort keys %{$self->{missing}}];
}

# A contender that runs, the same for all who ask with the same options.
sub contender {
    my ($self, $name, %option) = @_;
    my $key = join ' ', $name, map {"$_=$option{$_}"} sort keys %option;
    $self->{running}{$key} //= Bench::Contender->start($name, $self->{world}, %option);
    return $self->{running}{$key};
}

# End those with options: their scenario is over.
sub release {
    my ($self, $contender) = @_;
    for my $key (grep { $self->{running}{$_} == $contender } keys %{$self->{running}}) {
        delete $self->{running}{$key};
        $contender->stop;
    }
    return;
}

sub stop {
    my ($self) = @_;
    $_->stop for values %{$self->{running}};
    $self->{running} = {};
    return;
}

# ---------------------------------------------------------------------------
# Rounds

# The code for each case in turn, in each round; every other round backwards, so
# that what drifts hits all alike. The machine is calibrated between rounds.
sub interleave {
    my ($self, $cases, $code, $rounds) = @_;
    $rounds //= $self->{rounds};
    for my $round (1 .. $rounds) {
        $self->say("    round $round of $rounds");
        $self->{machine}->calibrate;
        $code->($_) for $round % 2 ? @$cases : reverse @$cases;
    }
    return;
}

# Bursts of each case {contender, kind, clients, title, ...}, closed loop, and,
# with rate, open loop at a fixed rate below what the case can do. Returns rows.
sub compare {
    my ($self, $cases, %arg) = @_;
    $self->_warm_up($_, %arg) for @$cases;
    $self->interleave($cases, sub { $self->_measure($_[0], %arg) });
    return [map { _row($_) } @$cases];
}

sub _burst {
    my ($self, $case, %arg) = @_;
    my $result = burst($case->{contender}, $case->{kind},
        clients => $case->{clients}, keys => $case->{keys}, %arg);
    $case->{errors} ||= $result->{errors};
    return $result;
}

# What a burst needs to last so long; and the rate of the open loop: the one that
# was asked for, or half of what this case reaches.
sub _warm_up {
    my ($self, $case, %arg) = @_;
    $self->_burst($case, seconds => $self->scaled($arg{warm} // 0.25, 0.05));
    delete $case->{errors};
    return if !$arg{rate};
    my $reached = $self->_burst($case, seconds => $self->scaled(0.25, 0.05))->{per_second};
    $case->{rate} = $reached * 0.6 > $arg{rate} ? $arg{rate} : int($reached / 2) || 1;
    return;
}

sub _measure {
    my ($self, $case, %arg) = @_;
    my $seen  = $case->{seen} //= {};
    my $burst = $self->_burst($case, seconds => $self->scaled($arg{seconds} // 0.3, 0.05));
    push @{$seen->{cpu_us}},     $burst->{cpu_us};
    push @{$seen->{per_second}}, $burst->{per_second};
    return if !$arg{rate};
    my $open = $self->_burst($case,
        rate => $case->{rate}, seconds => $self->scaled($arg{open_seconds} // 0.6, 0.1));
    push @{$seen->{p50_ms}},    $open->{p50};
    push @{$seen->{p99_ms}},    $open->{p99};
    push @{$seen->{histogram}}, $open->{histogram};
    return;
}

sub _row {
    my ($case) = @_;
    my $seen = $case->{seen};
    my %row  = (contender => $case->{contender}->name, title => $case->{title} // $case->{contender}->title);
    $row{$_} = $case->{$_} for grep { defined $case->{$_} } qw(clients children rows kind what rate);
    $row{errors} = $case->{errors} if $case->{errors};
    $row{$_} = figure(@{$seen->{$_}}) for grep { $seen->{$_} } qw(cpu_us per_second p50_ms p99_ms);
    # Of all rounds together: one round has too few answers for a hundredth.
    $row{p99_ms}{median} = percentile(99, @{$seen->{histogram}}) / 1000 if $seen->{histogram};
    return \%row;
}

1;
