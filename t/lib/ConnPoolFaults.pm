# SPDX-License-Identifier: Apache-2.0
#
# Faults of the system under a running server, switched on and off (the
# injector is tests/lab/faultlab.c), and rows of the table tests/FAULTS.md.
#
#   my $lab    = ConnPoolFaults->new;
#   my $server = ConnPoolTest->new(env => {$lab->env}, ...)->start;
#   my $fault  = $lab->inject(call => 'pwrite', name => '-wal',
#       error => 'ENOSPC');
#   is($server->post('/add', content => {a => 1})->{status}, 503, 'full');
#   $lab->heal($fault, 'the write was refused');     # a test: it has struck
#   fault_row('F23', fault => 'the disk is full', how => 'ENOSPC of pwrite',
#       expected => '503, nothing lost', seen => '503', figure => '...');
package ConnPoolFaults;

use strict;
use warnings;

use Errno          ();
use Exporter       qw(import);
use File::Basename ();
use File::Path     ();
use File::Temp     ();
use Socket         ();
use Test::More     ();

use ConnPoolTest qw(build_dir);

our @EXPORT_OK = qw(fault_row);

# As faultlab_rule_t, in faultlab.h.
my $RECORD     = 'L l Q Q Q Q q Q Q a16 a16 a160';
my $SIZE       = 256;
my $RULES      = 16;
my $AT_COUNTER = 48;                                 # seen, fired
my %CODES      = (EAI_AGAIN => Socket::EAI_AGAIN(), EAI_NONAME => Socket::EAI_NONAME());

sub library {
    return build_dir() . '/lab/faultlab.so';
}

# Nothing is injected yet. Dies without the library.
sub new {
    my ($class) = @_;
    die "no injector at " . library() . ": run make test-programs\n"
        if !-e library();
    my $file = File::Temp->new(TEMPLATE => 'faultlab-XXXXXX', TMPDIR => 1);
    binmode $file;
    syswrite $file, "\0" x ($SIZE * $RULES);
    chmod 0666, $file->filename;
    return bless {file => $file, used => []}, $class;
}

# What the server's environment must have.
sub env {
    my ($self) = @_;
    return (LD_PRELOAD => library(), FAULTLAB => $self->{file}->filename);
}

# Switch a fault on. Arguments:
#   call    malloc (calloc, realloc, too), open, read, pread, write, pwrite,
#           sync (fsync and fdatasync), ftruncate, mmap, unlink, connect, recv,
#           send, getaddrinfo, pthread_create, clock, openssl (the library's version)
#   name    part of the file's path, of "address:port" of the other side, of
#           the host that is looked up, or (malloc, pthread_create) of the
#           library that calls; default: any
#   error   'ENOSPC', ...: the call fails. Or one of
#   short   so many bytes are taken at most
#   lie     1: nothing is done, and success is told
#   shift   the wall clock is shifted by so many seconds (the version of
#           OpenSSL: by as many millions)
#   loopback  1: the host is 127.0.0.1
#   delay   seconds, before the call, alone or with one of the above
#   least   only calls of at least so many bytes
#   skip    the first so many matching calls pass; default 0
#   limit   so many are struck; default 0: all
# Returns the fault.
sub inject {
    my ($self, %arg) = @_;
    my ($number) = grep { !$self->{used}[$_] } 0 .. $RULES - 1;
    die "too many faults at once\n" if !defined $number;
    my $action =
          defined $arg{error} ? 'fail'
        : defined $arg{short} ? 'short'
        : $arg{lie}           ? 'lie'
        : defined $arg{shift} ? 'shift'
        : $arg{loopback}      ? 'loopback'
        :                       'delay';
    my $code = 0;
    if (defined $arg{error}) {
        my $errno = Errno->can($arg{error});
        $code = $CODES{$arg{error}} // ($errno && $errno->())
            // die "no error $arg{error}\n";
    }
    my $value =
        $action eq 'shift' ? int($arg{shift} * 1e6) : $arg{short} // 0;
    my @fields = ($code, $arg{least} // 0, $arg{skip} // 0, $arg{limit} // 0,
        int(1e6 * ($arg{delay} // 0)), $value, 0, 0, $arg{call}, $action,
        $arg{name} // '');
    $self->_write($number * $SIZE, pack $RECORD, 0, @fields);
    $self->_write($number * $SIZE, pack 'L', 1);
    $self->{used}[$number] = 1;
    return {number => $number, %arg};
}

# How many calls it has struck; how many it could have.
sub fired {
    my ($self, $fault) = @_;
    return ($self->_counters($fault))[1];
}

sub seen {
    my ($self, $fault) = @_;
    return ($self->_counters($fault))[0];
}

# Switch a fault off; returns how many calls it has struck.
sub end {
    my ($self, $fault) = @_;
    $self->_write($fault->{number} * $SIZE, pack 'L', 0);
    $self->{used}[$fault->{number}] = 0;
    return $self->fired($fault);
}

# The same, and a test: a fault that never struck proves nothing.
sub heal {
    my ($self, $fault, $name) = @_;
    my $fired = $self->end($fault);
    Test::More::cmp_ok($fired, '>', 0,
        ($name // 'the fault') . ": struck $fired times");
    return $fired;
}

sub _write {
    my ($self, $at, $bytes) = @_;
    sysseek $self->{file}, $at, 0;
    syswrite($self->{file}, $bytes) == length $bytes or die "faultlab: $!";
    return;
}

sub _counters {
    my ($self, $fault) = @_;
    sysseek $self->{file}, $fault->{number} * $SIZE + $AT_COUNTER, 0;
    sysread $self->{file}, my $bytes, 16;
    return unpack 'Q Q', $bytes;
}

# A row of tests/FAULTS.md: the first argument is its key, unlike all others,
# and written literally, so that a guard can find it; then fault, how,
# expected, seen, figure, all texts. To be called when the test has judged.
sub fault_row {
    my ($key, %row) = @_;
    my $dir = build_dir() . '/faults';
    File::Path::make_path($dir);
    my $test = File::Basename::basename($0, '.t');
    my @cells = map { ($row{$_} // '') =~ s/\s+/ /gr =~ s/\|/\\|/gr }
        qw(fault how expected seen figure);
    $cells[3] = "**not as expected**: $cells[3]"
        if !Test::More->builder->is_passing;
    open(my $out, '>', "$dir/$key.row") or die "$dir/$key.row: $!";
    print {$out} join("\t", $key, @cells, $test), "\n";
    close $out or die "$dir/$key.row: $!";
    return;
}

1;
