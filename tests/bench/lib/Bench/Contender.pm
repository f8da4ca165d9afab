# SPDX-License-Identifier: Apache-2.0
#
# Those who are compared: each is a file in contenders/ that returns
#
#   {title   => what the tables say,
#    kinds   => what it can be asked for, see %KIND,
#    missing => sub { the packages that it needs and that are not here },
#    make    => sub { my ($world, %option) = @_; a Bench::Server::Httpd or a Bench::Server::Program }}
#
# Options are children and threads (of httpd), rows (of the database), and single
# (all in one process, for who is asked to run in one by argv()).
package Bench::Contender;

use strict;
use warnings;

use Bench::Machine qw(SERVER_CPU pin tree);
use File::Basename qw(dirname);
use Cwd            ();
use HTTP::Tiny     ();

# Who is asked for what asks at the same path in the same way, and gets the same.
my %KIND = (
    one       => {path => '/one?first={key}', expect => '[{"id":{key},"title":"event number {key}"'},
    fifty     => {path => '/fifty?first={key}&last={key+49}', expect => '"id":{key+49},"title":"event'},
    fetch     => {path => '/fetch', expect => 'xxxxxxxx'},
    tls       => {path => '/tls', expect => 'xxxxxxxx'},
    far       => {path => '/far', expect => 'xxxxxxxx'},
    page      => {path => '/page?first={key}&last={key+49}', expect => '"id":{key+49},"title":"event'},
    page_far  => {path => '/page_far?first={key}&last={key+49}', expect => '"id":{key+49},"title":"event'},
    batch     => {path => '/batch?first={key}', expect => '"id":{key},"title"'},
    batch_up  => {path => '/batch_up', expect => 'xxxxxxxx'},
    static    => {path => '/static', expect => 'xxxxxxxx'},
    time      => {path => '/time?first={key}', expect => '[{"id":{key},"title":"event number {key}"'},
    data      => {path => '/data?first={key}', expect => '[{"id":{key},"title":"event number {key}"'},
    slow      => {path => '/slow?first={key}', expect => '{key}'},
    slow_kept => {path => '/slow_kept?first={key}', expect => '"n":'},
    slow_one  => {path => '/slow_one?first={key}', expect => '"n":'},
);

my $PLACE = Cwd::abs_path(dirname(__FILE__) . '/../../contenders');

{
    my %seen;

    # What stands in its file.
    sub about {
        my ($name) = @_;
        $seen{$name} //= do "$PLACE/$name.pm" || die "$PLACE/$name.pm: ", $@ || $!;
        return $seen{$name};
    }
}

# Make and start it.
sub start {
    my ($class, $name, $world, %option) = @_;
    my $self = bless {name => $name, about => about($name), world => $world, %option}, $class;
    $self->{server} = $self->{about}{make}->($world, %option);
    $self->{server}->start;
    pin(SERVER_CPU, $self->pids);
    return $self;
}

# One whose server somebody else has started.
sub adopt {
    my ($class, $name, $world, $server) = @_;
    return bless {name => $name, about => about($name), world => $world, server => $server}, $class;
}

sub name {
    return $_[0]{name};
}

sub title {
    return $_[0]{about}{title};
}

# What it answers wrongly, as a sentence: it must be, byte for byte, what SQLite's
# shell says, or what the upstream has.
sub mistake {
    my ($self) = @_;
    return if $self->{about}{blind};
    for my $kind (grep { can_do($self->{name}, $_) } qw(one fifty fetch tls far)) {
        my $answer = $self->get($kind, 77);
        return "$kind: $answer->{status} $answer->{content}"
            if $answer->{status} != 200 || $answer->{content} ne $self->{world}->answer($kind, 77);
    }
    return;
}

sub can_do {
    my ($name, $kind) = @_;
    return scalar grep { $_ eq $kind } @{about($name)->{kinds}};
}

sub port {
    return $_[0]{server}->port;
}

sub pids {
    my ($self) = @_;
    return tree($self->{server}->pid // ());
}

sub stop {
    my ($self) = @_;
    return $self->{server}->stop;
}

# Arguments for load: what is asked, what is expected, and the keys.
sub request {
    my ($self, $kind, $keys) = @_;
    my $what = $KIND{$kind} // die "no kind $kind\n";
    return {
        path => $what->{path},
        # Who does not look has the same for every key.
        $self->{about}{blind} ? () : (expect => $what->{expect}),
        keys => $keys // [1, $self->{world}->last_key($kind, $self->{rows})],
    };
}

# One answer, as HTTP::Tiny shapes it.
sub get {
    my ($self, $kind, $key) = @_;
    my $path = $KIND{$kind}{path} =~ s/\{key(?:\+(\d+))?\}/$key + ($1 \/\/ 0)/ger;
    return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:" . $self->port . $path);
}

1;
