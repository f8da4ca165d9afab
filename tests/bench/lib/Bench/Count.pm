# SPDX-License-Identifier: Apache-2.0
#
# What does not depend on noise: system calls, context switches, instructions.
package Bench::Count;

use strict;
use warnings;

use Bench::Contender;
use Bench::Load    qw(burst);
use Bench::Machine qw(SERVER_CPU pinned);
use ConnPoolTest   qw(await build_dir command);
use Exporter       qw(import);
use File::Temp     ();
use IO::Handle     ();
use POSIX          ();

our @EXPORT_OK = qw(count_instructions count_system_calls counters);

# Which tools there are: {calls => 'perf'|'strace'|'', instructions => 'callgrind'|''},
# and sentences about what is missing.
sub counters {
    my $file = File::Temp->new;
    my ($has_perf) = !(command('perf', 'stat', '-x,', '-o', "$file", '-e',
            'raw_syscalls:sys_enter', 'true'))[0]
        && _read("$file") =~ /^\d+,/m;
    my $has_strace    = !(command('strace', '-V'))[0] && _may_attach();
    my $has_callgrind = !(command('valgrind', '--version'))[0]
        && -e build_dir() . '/bench/marks.so';
    return {
        calls        => $has_perf ? 'perf' : $has_strace ? 'strace' : '',
        instructions => $has_callgrind ? 'callgrind' : '',
        sentences    => [
            $has_perf ? ()
            : $has_strace ? 'Without perf and its tracepoints, strace counts the system calls; '
                . 'context switches are not counted.'
            : 'System calls are not counted: there is neither perf with its tracepoints, '
                . 'nor strace that may attach to other processes.',
            $has_callgrind ? () : 'Instructions are not counted: there is no valgrind (or its header).',
        ],
    };
}

sub _may_attach {
    return $> == 0 || _read('/proc/sys/kernel/yama/ptrace_scope') !~ /^[1-3]/;
}

sub _read {
    my ($path) = @_;
    open(my $in, '<', $path) or return '';
    local $/ = undef;
    return <$in> // '';
}

# ---------------------------------------------------------------------------
# System calls

# (calls, switches) that a request of this kind took, over so many of them.
sub count_system_calls {
    my ($with, $contender, $kind, %load) = @_;
    burst($contender, $kind, %load, requests => 10 * ($load{clients} // 1));
    return $with eq 'perf' ? _by_perf($contender, $kind, %load) : _by_strace($contender, $kind, %load);
}

sub _by_perf {
    my ($contender, $kind, %load) = @_;
    my $file   = File::Temp->new;
    my $result = burst($contender, $kind, %load,
        under => ['perf', 'stat', '-x,', '-o', "$file", '-e', 'raw_syscalls:sys_enter,context-switches',
            '-p', join(',', $contender->pids), '--']);
    my ($calls, $switches) = _read("$file") =~ /^(\d+),/mg;
    return map { defined $_ ? $_ / $result->{requests} : undef } $calls, $switches;
}

sub _by_strace {
    my ($contender, $kind, %load) = @_;
    my $file = File::Temp->new;
    my @argv = ('strace', '-qq', '-f', '-c', '-o', "$file", map { ('-p', $_) } $contender->pids);
    my $pid  = fork // die "fork: $!";
    if (!$pid) {
        open(STDERR, '>', '/dev/null');
        exec(@argv) or POSIX::_exit(127);
    }
    await(sub { _is_traced($contender->pids) }, 5) or return;
    my $result = burst($contender, $kind, %load);
    kill 'INT', $pid;
    waitpid $pid, 0;
    my ($calls) = _read("$file") =~ /^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s.*total$/m;
    return defined $calls ? $calls / $result->{requests} : undef;
}

# Each thread, or the first requests would not be counted.
sub _is_traced {
    my (@pids) = @_;
    for my $path (map { glob "/proc/$_/task/*/status" } @pids) {
        return if _read($path) =~ /^TracerPid:\t0$/m;
    }
    return 1;
}

# ---------------------------------------------------------------------------
# Instructions

# That a request of this kind takes, by callgrind: one client, so many requests
# after as many that warm up. Counted is what happens between two dumps, all
# threads of the server taken together.
sub count_instructions {
    my ($name, $kind, $world, $requests) = @_;
    my $about  = Bench::Contender::about($name);
    my $server = $about->{make}->($world, threads => 4, single => 1);
    my $dir    = File::Temp::tempdir('bench-count-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0777, $dir;
    POSIX::mkfifo("$dir/marks", 0666) or die "mkfifo: $!";
    chmod 0666, "$dir/marks";
    my $pid   = _start_counted($server, $dir);
    my $count = eval {
        my $contender = Bench::Contender->adopt($name, $world, $server);
        _between_dumps($contender, $kind, $dir, $requests);
    };
    my $why = $@;
    kill 'TERM', $pid;
    if (!await(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 10)) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    $server->stop;
    warn "$name: instructions: $why" if !defined $count;
    return $count;
}

sub _start_counted {
    my ($server, $dir) = @_;
    my ($as, $argv) = $server->argv;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    POSIX::setpgid(0, 0);
    open(STDIN,  '<', '/dev/null');
    open(STDOUT, '>', "$dir/output");
    open(STDERR, '>&', \*STDOUT);
    $ENV{MALLOC_PERTURB_} = 0;
    # Only who is counted has it: setpriv does not work with threads.
    my @preload = ('env', "BENCH_MARKS=$dir/marks", 'LD_PRELOAD=' . build_dir() . '/bench/marks.so');
    exec(pinned(SERVER_CPU, @$as, @preload, 'valgrind', '--tool=callgrind', '--instr-atstart=no',
        "--callgrind-out-file=$dir/out", @$argv)) or POSIX::_exit(127);
}

sub _between_dumps {
    my ($contender, $kind, $dir, $requests) = @_;
    await(sub { $contender->get($kind, 1)->{status} == 200 }, 25)
        or die 'no answer within 25 s: ', _read("$dir/output"), "\n";
    sysopen(my $marks, "$dir/marks", POSIX::O_WRONLY() | POSIX::O_NONBLOCK())
        or die "marks.so does not listen: $!\n";
    $marks->autoflush(1);
    my @counted;
    print {$marks} 'b';
    for my $dump (1, 2) {
        my $result = burst($contender, $kind, requests => $requests);
        die "$result->{errors}\n" if $result->{errors};
        print {$marks} 'd';
        my $file = "$dir/out.$dump";
        push @counted, await(sub { (_read($file) =~ /^totals: (\d+)/m)[0] }, 10)
            // die "callgrind wrote nothing\n";
    }
    return $counted[1] / $requests;
}

1;
