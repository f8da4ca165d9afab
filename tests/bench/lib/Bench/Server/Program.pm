# SPDX-License-Identifier: Apache-2.0
#
# A contender that is a program of its own and listens on a port of 127.0.0.1.
package Bench::Server::Program;

use strict;
use warnings;

use ConnPoolTest qw(await free_port);
use File::Path  ();
use File::Temp  ();
use HTTP::Tiny  ();
use POSIX       ();

my @RUNNING;
my $OWNER = $$;

# Arguments: argv (sub that gets the port and a directory, and returns the
# command), env {NAME => value}.
sub new {
    my ($class, %arg) = @_;
    my $self = bless {%arg, dir => File::Temp::tempdir('bench-XXXXXX', TMPDIR => 1)}, $class;
    ($self->{port}, $self->{reserved}) = free_port();
    push @RUNNING, $self;
    return $self;
}

sub start {
    my ($self) = @_;
    my @argv = $self->{argv}->($self->{port}, $self->{dir});
    unshift @argv, qw(setpriv --pdeathsig TERM) if -x '/usr/bin/setpriv';
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        POSIX::setpgid(0, 0);
        $ENV{$_} = $self->{env}{$_} for keys %{$self->{env} // {}};
        open(STDIN,  '<', '/dev/null');
        open(STDOUT, '>', "$self->{dir}/output");
        open(STDERR, '>&', \*STDOUT);
        exec(@argv) or POSIX::_exit(127);
    }
    my $client = HTTP::Tiny->new(timeout => 5);
    await(sub { $client->get("http://127.0.0.1:$self->{port}/")->{status} != 599 }, 20)
        or die "$argv[-1] does not answer: ", $self->output;
    return $self;
}

sub output {
    my ($self) = @_;
    open(my $in, '<', "$self->{dir}/output") or return '';
    local $/ = undef;
    return <$in>;
}

sub port {
    return $_[0]{port};
}

sub pid {
    return $_[0]{pid};
}

sub argv {
    my ($self) = @_;
    return ([], [$self->{argv}->($self->{port}, $self->{dir})]);
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid};
    if ($pid) {
        kill 'TERM', $pid;
        if (!await(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 5)) {
            kill 'KILL', $pid;
            waitpid $pid, 0;
        }
    }
    File::Path::remove_tree($self->{dir});
    return;
}

END {
    if ($$ == $OWNER) {
        my $exit = $?;
        $_->stop for @RUNNING;
        $? = $exit;    ## no critic: this is what END may set
    }
}

1;
