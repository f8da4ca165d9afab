# SPDX-License-Identifier: Apache-2.0
#
# One private httpd for one test file: its own ServerRoot, its own port on
# 127.0.0.1, and nothing left behind. Core Perl only.
#
#   my $server = ConnPoolTest->new(children => 2, conf => <<'CONF');
#   ConnPoolDatabase events sqlite:@DIR@/db/events.db
#   CONF
#   $server->make_sqlite('events', 'CREATE TABLE t(a)');
#   $server->start;
#   is($server->get('/')->{status}, 200);
#   $server->done;          # at rest, stops cleanly, log is clean
#   done_testing;
#
# In configurations @DIR@, @PORT@ and the names given as `vars` are replaced.
#
# Environment: CONNPOOL_BUILD (where make has built, default build),
# CONNPOOL_SO (another module to test), CONNPOOL_MPM (event, worker, prefork),
# CONNPOOL_ASAN=1 (the module was built with AddressSanitizer),
# CONNPOOL_KEEP=1 (never delete the server's directory).
package ConnPoolTest;

use strict;
use warnings;

use Cwd            ();
use Exporter       qw(import);
use File::Basename ();
use File::Path     ();
use File::Temp     ();
use HTTP::Tiny     ();
use IO::Select     ();
use IO::Socket::INET;
use JSON::PP    ();
use List::Util  qw(max min);
use POSIX       ();
use Test::More  ();
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(await build_dir free_port parallel parse_response
    read_until root_dir slowness command timed);

# What surrounds the tests must not steer the server or the client.
delete @ENV{
    qw(http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
        ENABLE_CONNECTION_POOLING ENABLE_SHARED_EVENT_LOOP HTTP_POOL_SIZE
        HTTP_PER_HOST DB_POOL_SIZE)
};

my $ROOT  = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../..');
my $BUILD = Cwd::abs_path($ENV{CONNPOOL_BUILD} // "$ROOT/build")
    // "$ROOT/build";
my @SERVERS;            # all that were made, for the END block
my $OWNER    = $$;      # forked clients never clean up
my $KEEP     = $ENV{CONNPOOL_KEEP};
my $IS_ROOT  = $> == 0;
my $RUN_USER = (grep { defined getpwnam $_ } qw(www-data nobody))[0];

# Modules that need others to be loaded before them.
my %NEEDS = (
    proxy_http    => ['proxy'],
    proxy_http2   => ['proxy', 'http2'],
    ssl           => ['socache_shmcb'],
    authn_file    => ['authn_core'],
    authz_user    => ['authn_core'],
    auth_basic    => ['authn_core', 'authn_file', 'authz_user'],
    deflate       => ['filter'],
    cache_disk    => ['cache'],
    cache_socache => ['cache', 'socache_shmcb'],
);
my @STOCK = qw(authz_core authz_host alias dir env headers mime setenvif
    status);

# A line that httpd or a module logged, and the levels that need an excuse.
my $BAD_LEVEL =
    qr/^\[[^\]]+\]\ \[(?:\w+)?:(?:emerg|alert|crit|error|warn)\]/x;
# What is not about the module: the versions of the machine's libraries (Debian
# may have built mod_ssl with a newer OpenSSL than the one that it installs), that
# a test has put all threads of its server to work, that a machine is slow, and
# that a test has many databases, and that its columns have no names.
my @ALWAYS_ALLOWED = (
    qr/\[connpool:warn\].* SQLite [\d.]+ can lose committed rows/,
    qr/\[ssl:warn\].* AH01882: Init: this version of mod_ssl was compiled against/,
    qr/(?:AH10159|AH00287): server is within MinSpareThreads/,
    qr/AH00(?:161|286|484): server reached MaxRequestWorkers/,
    qr/\[connpool:warn\].* column .*of its answer has no name/,
);
# What must never appear, in whatever form. The one excuse is kill_child().
my $FATAL = qr/exit\ signal|Assertion|AddressSanitizer|LeakSanitizer
    |ThreadSanitizer|UndefinedBehaviorSanitizer|runtime\ error:|core\ dump
    |stack\ smashing|glibc\ detected|double\ free|free\(\):|malloc\(\):
    |corrupted|segfault|Segmentation\ fault/x;

# ---------------------------------------------------------------------------
# Helpers that need no server

sub root_dir {
    return $ROOT;
}

# Where make has built what is tested.
sub build_dir {
    return $BUILD;
}

# How much longer things may take here than in a plain build on a machine that
# has nothing else to do. Measured: what the processor needs longer for a little
# work, since others want it, too, and what a sleep lasts longer. It is the worst
# that was seen so far, for a bound may be about what was before; and not more
# than ten, lest what hangs does so for long.
{
    my ($worst, $measured_at) = (1, 0);

    sub slowness {
        my $now = time;
        if ($now - $measured_at > 1) {
            $worst       = min(10, max($worst, _slowness_now()));
            $measured_at = time;
        }
        return $worst * ($ENV{CONNPOOL_ASAN} ? 4 : 1);
    }
}

sub _slowness_now {
    my ($began, $used) = (time, POSIX::clock());
    my $needed = 0.02 * POSIX::CLOCKS_PER_SEC();
    my $i = 0;
    $i++ while $i % 1000 || POSIX::clock() - $used < $needed;
    my $stretched = (time - $began) / 0.02;
    $began = time;
    sleep 0.01;
    my $late = (time - $began) / 0.01;
    # A sleep that lasts three times as long makes 30 ms of 10.
    return max(1, $stretched, $late / 3);
}

# Poll a condition. Returns its first true value, or false after `seconds`
# (with a diagnostic when `what` is given).
sub await {
    my ($condition, $seconds, $what) = @_;
    my $end   = time + ($seconds // 10) * slowness();
    my $pause = 0.005;
    while (1) {
        my $value = $condition->();
        return $value if $value;
        last          if time > $end;
        sleep $pause;
        $pause = $pause < 0.1 ? $pause * 1.5 : 0.1;
    }
    Test::More::diag("waited in vain: $what") if defined $what;
    return;
}

# What the code returns, and how many seconds that took.
sub timed {
    my ($code) = @_;
    my $began  = time;
    my $answer = $code->();
    return ($answer, time - $began);
}

# Run a program without a shell: (exit status, stdout and stderr together).
sub command {
    my @argv = @_;
    my $pid  = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open(STDERR, '>&', \*STDOUT);
        open(STDIN, '<', '/dev/null');
        exec(@argv) or POSIX::_exit(127);
    }
    local $/ = undef;
    my $text = <$out> // '';
    close $out;
    return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $text);
}

# A port that stays ours: a socket that is bound but does not listen keeps
# everybody who asks the kernel for any port away from it, and lets a server
# that names the port (with SO_REUSEADDR) bind it as well.
# In list context (port, socket); the port is reserved while the socket lives.
sub free_port {
    my ($address) = @_;
    my $socket = IO::Socket::INET->new(
        LocalAddr => $address // '127.0.0.1',
        LocalPort => 0,
        Proto     => 'tcp',
        ReuseAddr => 1,
    ) // die "no free port: $@";
    return wantarray ? ($socket->sockport, $socket) : $socket->sockport;
}

# Run code->(i) for i = 0 .. n-1 in n processes at once; the values they
# return, in order (undef for one that died). Values travel as JSON.
sub parallel {
    my ($n, $code) = @_;
    my @jobs;
    for my $i (0 .. $n - 1) {
        my $pid = open(my $pipe, '-|') // die "fork: $!";
        if (!$pid) {
            my $value = eval { [$code->($i)] };
            warn $@ if $@;
            print STDOUT JSON::PP->new->allow_nonref->encode($value)
                if $value;
            close STDOUT;
            POSIX::_exit($value ? 0 : 1);
        }
        push @jobs, $pipe;
    }
    my @values;
    for my $pipe (@jobs) {
        local $/ = undef;
        my $text = <$pipe>;
        close $pipe;
        push @values,
            length($text // '') ? JSON::PP->new->decode($text)->[0] : undef;
    }
    return @values;
}

# Read from a socket until the text matches, the other side closes, or the
# time is over. Returns what came.
sub read_until {
    my ($socket, $pattern, $seconds) = @_;
    my $end    = time + ($seconds // 10);
    my $text   = '';
    my $select = IO::Select->new($socket);
    while (!defined $pattern || $text !~ $pattern) {
        my $left = $end - time;
        last if $left <= 0 || !$select->can_read($left);
        my $got = sysread($socket, $text, 65536, length $text);
        last if !$got;
    }
    return $text;
}

# The parts of one raw answer, shaped as HTTP::Tiny shapes them; chunked
# bodies are left as they came.
sub parse_response {
    my ($text) = @_;
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my ($line, @lines) = split /\r\n/, $head // '';
    my ($status, $reason) =
        ($line // '') =~ m{^HTTP/1\.[01] (\d{3}) ?(.*)$};
    my %headers;
    for my $header (@lines) {
        my ($name, $value) = split /:\s*/, $header, 2;
        $name = lc $name;
        $headers{$name} =
            exists $headers{$name} ? "$headers{$name}, $value" : $value;
    }
    return {
        status  => $status // 0,
        reason  => $reason // '',
        headers => \%headers,
        content => $body // '',
    };
}

# ---------------------------------------------------------------------------
# Making and configuring

# Arguments, all optional:
#   conf      text of the configuration, see also conf()
#   mpm       event, worker or prefork; default CONNPOOL_MPM or event
#   children  processes at start (default 1)
#   threads   per process (default 8); prefork: may grow to children * threads
#   modules   stock modules beside the usual ones: [qw(dbd ssl)]
#   load      {name_module => path}: other modules; a path that does not
#             start with / is one below the build directory
#   plain     1: without the module under test
#   testing   1: with the module as compiled for fault injection
#   status    0: without /connpool-status and /server-status
#   env       {NAME => value} for the server
#   vars      {NAME => value}: @NAME@ in configurations
sub new {
    my ($class, %arg) = @_;
    my $self = bless {
        mpm      => $arg{mpm} // $ENV{CONNPOOL_MPM} // 'event',
        children => $arg{children} // 1,
        threads  => $arg{threads} // 8,
        modules  => $arg{modules} // [],
        load     => $arg{load} // {},
        plain    => $arg{plain},
        debug    => $arg{debug},    # httpd -X: one process
        status   => $arg{status} // 1,
        env      => $arg{env} // {},
        vars     => $arg{vars} // {},
        conf     => $arg{conf} // '',
        so       => $arg{testing} ? "$BUILD/testing/mod_connpool.so"
            : $ENV{CONNPOOL_SO} // "$BUILD/mod_connpool.so",
        allowed  => [@ALWAYS_ALLOWED],
        killed   => {},
        pids     => {},
    }, $class;
    $self->{so} = Cwd::abs_path($self->{so}) // $self->{so};
    if (!$self->{plain} && !-e $self->{so}) {
        die "no module at $self->{so}: run make, or set CONNPOOL_SO\n";
    }
    $self->{dir} = File::Temp::tempdir('connpool-XXXXXX', TMPDIR => 1);
    chmod 0755, $self->{dir};
    mkdir "$self->{dir}/$_" for qw(db htdocs logs run);
    $self->_give_to_server("$self->{dir}/$_") for qw(db run);
    ($self->{port}, $self->{reserved}) = free_port();
    push @SERVERS, $self;
    return $self;
}

sub dir {
    my ($self, $path) = @_;
    return defined $path ? "$self->{dir}/$path" : $self->{dir};
}

sub mpm {
    return $_[0]{mpm};
}

sub port {
    return $_[0]{port};
}

sub pid {
    return $_[0]{pid};
}

sub url {
    my ($self, $path) = @_;
    return "http://127.0.0.1:$self->{port}" . ($path // '');
}

# Set the configuration text (before start, or before graceful to change it).
sub conf {
    my ($self, $text) = @_;
    $self->{conf} = $text if defined $text;
    return $self->{conf};
}

# Write a file below the server's directory; returns its path.
sub write_file {
    my ($self, $name, $content) = @_;
    my $path = "$self->{dir}/$name";
    File::Path::make_path(File::Basename::dirname($path));
    open(my $out, '>:raw', $path) or die "$path: $!";
    print {$out} $content;
    close $out or die "$path: $!";
    return $path;
}

# A database db/NAME.db made by the sqlite3 shell; returns its path. SQL may
# be run again later on the same file.
sub make_sqlite {
    my ($self, $name, $sql) = @_;
    my $path   = "$self->{dir}/db/$name.db";
    my $script = $self->write_file("$name.sql", ".bail on\n$sql\n");
    my ($exit, $text) =
        command('sqlite3', '-batch', '-init', '/dev/null', $path,
            ".read '$script'");
    die "sqlite3: $text" if $exit != 0 || $text =~ /^(?:Parse |Runtime )?Error/mi;
    $self->_give_to_server($_) for grep { -e $_ } $path, "$path-wal", "$path-shm";
    return $path;
}

# What the sqlite3 shell answers to one query, without the last newline.
sub sqlite {
    my ($self, $name, $sql) = @_;
    my ($exit, $text) = command(
        'sqlite3', '-batch', '-init', '/dev/null', '-cmd', '.timeout 5000',
        "$self->{dir}/db/$name.db", $sql
    );
    die "sqlite3: $text" if $exit != 0;
    chomp $text;
    # A shell run by root must not leave files that the server cannot write.
    $self->_give_to_server($_) for grep { -e $_ } glob "$self->{dir}/db/*";
    return $text;
}

sub _give_to_server {
    my ($self, $path) = @_;
    return if !$IS_ROOT;
    my (undef, undef, $uid, $gid) = getpwnam $RUN_USER;
    chown $uid, $gid, $path;
    return;
}

sub _expand {
    my ($self, $text) = @_;
    my %vars = (DIR => $self->{dir}, PORT => $self->{port}, %{$self->{vars}});
    $text =~ s/\@([A-Z][A-Z0-9_]*)\@/$vars{$1} \/\/ die "unknown \@$1\@\n"/ge;
    return $text;
}

sub _load_lines {
    my ($self) = @_;
    my $libexec = _libexecdir();
    my (@names, %seen);
    my $add;
    $add = sub {
        for my $name (@_) {
            next if $seen{$name}++;
            $add->(@{$NEEDS{$name}}) if $NEEDS{$name};
            push @names, $name;
        }
    };
    $add->("mpm_$self->{mpm}", @STOCK, @{$self->{modules}});
    my $lines = '';
    for my $name (grep { !_is_static($_) } @names) {
        $lines .= "LoadModule ${name}_module $libexec/mod_$name.so\n";
    }
    $lines .= "LoadModule connpool_module $self->{so}\n" if !$self->{plain};
    for my $name (sort keys %{$self->{load}}) {
        my $path = $self->{load}{$name};
        $path = "$BUILD/$path" if $path !~ m{^/};
        $lines .= "LoadModule $name $path\n";
    }
    return $lines;
}

sub _mpm_lines {
    my ($self) = @_;
    my ($children, $threads) = ($self->{children}, $self->{threads});
    my $workers = $children * $threads;
    my $spare   = $workers + $threads;
    if ($self->{mpm} eq 'prefork') {
        return <<"CONF";
ServerLimit $workers
StartServers $children
MinSpareServers $children
MaxSpareServers $spare
MaxRequestWorkers $workers
CONF
    }
    # Room for the children of the generation before, during a graceful restart.
    my $limit = $children * 2 + 2;
    # So many that a child that has died is replaced.
    my $idle = $workers - $threads + 1;
    return <<"CONF";
ServerLimit $limit
StartServers $children
ThreadLimit $threads
ThreadsPerChild $threads
MinSpareThreads $idle
MaxSpareThreads $spare
MaxRequestWorkers $workers
CONF
}

sub _base_conf {
    my ($self) = @_;
    my $dir    = $self->{dir};
    my $user   = $IS_ROOT ? "User $RUN_USER\nGroup " . _run_group() : '';
    my $extra  = '';
    # Without a cache mod_ssl warns.
    $extra .= "SSLSessionCache \"shmcb:$dir/run/ssl(65536)\"\n"
        if grep { $_ eq 'ssl' } @{$self->{modules}};
    if ($self->{status}) {
        $extra .= "<Location \"/server-status\">\nSetHandler server-status\n"
            . "</Location>\n";
        $extra .= "<Location \"/connpool-status\">\n"
            . "SetHandler connpool-status\n</Location>\n"
            if !$self->{plain};
    }
    return $self->_load_lines . $self->_mpm_lines . <<"CONF" . $extra;
ServerName 127.0.0.1
Listen 127.0.0.1:$self->{port}
DefaultRuntimeDir "$dir/run"
CoreDumpDirectory "$dir/run"
PidFile "$dir/run/httpd.pid"
ErrorLog "$dir/logs/error_log"
CustomLog "$dir/logs/access_log" "%P %s %m %U%q %O %D"
LogLevel info
TypesConfig /dev/null
AddType text/html .html
AddType text/plain .txt
AddType application/json .json
$user
Timeout 20
KeepAliveTimeout 5
MaxKeepAliveRequests 0
ExtendedStatus On
DocumentRoot "$dir/htdocs"
<Directory "$dir/htdocs">
Require all granted
</Directory>
CONF
}

sub _run_group {
    my (undef, undef, undef, $gid) = getpwnam $RUN_USER;
    return scalar getgrgid $gid;
}

sub _write_conf {
    my ($self, $name, $text) = @_;
    return $self->write_file($name, $self->_base_conf . $self->_expand($text));
}

{
    my ($libexec, $binary, %static);

    sub _libexecdir {
        return $libexec if defined $libexec;
        my ($exit, $text) = command($ENV{APXS} // 'apxs', '-q', 'LIBEXECDIR');
        die "apxs: $text" if $exit != 0;
        chomp($libexec = $text);
        return $libexec;
    }

    sub httpd {
        return $binary if defined $binary;
        ($binary) = grep { defined && -x } $ENV{HTTPD},
            map { ("$_/apache2", "$_/httpd") }
            qw(/usr/sbin /usr/local/sbin /usr/local/apache2/bin);
        return $binary // die "no httpd found; set HTTPD\n";
    }

    sub _is_static {
        my ($name) = @_;
        if (!%static) {
            my (undef, $text) = command(httpd(), '-l');
            $static{$_} = 1 for $text =~ /^\s+(?:mod_)?(\w+)\.c$/mg;
        }
        return $static{$name};
    }
}

# ---------------------------------------------------------------------------
# Starting and stopping

sub _environment {
    my ($self) = @_;
    my %env = (
        PATH => $ENV{PATH},
        TZ   => 'UTC',
        LANG => 'C.UTF-8',
        TMPDIR => "$self->{dir}/run",
        # Fresh and freed memory is filled: reading it shows up early.
        MALLOC_PERTURB_ => 165,
        %{$self->{env}},
    );
    if ($ENV{CONNPOOL_ASAN}) {
        my (undef, $library) =
            command($ENV{CC} // 'gcc', '-print-file-name=libasan.so');
        chomp $library;
        delete $env{MALLOC_PERTURB_};
        # Before all others, or it refuses to work.
        $env{LD_PRELOAD}   = join ' ', $library, $env{LD_PRELOAD} // ();
        # Pools look like leaks to LeakSanitizer: valgrind looks for those.
        # httpd's own handler of signals would come first, and say nothing.
        $env{ASAN_OPTIONS} = join ':', 'abort_on_error=1', 'detect_leaks=0',
            'detect_stack_use_after_return=1', 'strict_string_checks=1',
            'handle_segv=2', "log_path=$self->{dir}/run/asan",
            $self->{env}{ASAN_OPTIONS} // ();
        $env{UBSAN_OPTIONS} = 'print_stacktrace=1:halt_on_error=1';
    }
    return %env;
}

# (exit status, text) of `httpd -t` with this text instead of conf(). The
# running server, if any, is not touched.
sub configtest {
    my ($self, $text) = @_;
    my $file = $self->_write_conf('configtest.conf', $text // $self->{conf});
    my %env  = $self->_environment;
    local %ENV = %env;
    my ($exit, $output) = command(httpd(), '-t', '-d', $self->{dir}, '-f', $file);
    return ($exit, $output);
}

# Start and wait until a request is answered and all children are there.
# Dies with the end of the log if that takes longer than 10 s.
sub start {
    my ($self) = @_;
    return $self if $self->try_start;
    my $reason = $self->{failure} // 'unknown';
    my $tail   = $self->_tail;
    $self->_kill;
    die "httpd did not start ($reason)\n$tail\n";
}

# As start(), but returns false when the server gives up; see log().
sub try_start {
    my ($self) = @_;
    die "already started\n" if $self->{pid};
    my $file = $self->_write_conf('httpd.conf', $self->{conf});
    my %env  = $self->_environment;
    my @argv = (httpd(), $self->{debug} ? '-X' : '-DFOREGROUND', '-d', $self->{dir}, '-f', $file);
    # If this process is killed, the server still ends.
    unshift @argv, qw(setpriv --pdeathsig TERM) if -x '/usr/bin/setpriv';
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        # At its end the prefork MPM sends SIGTERM to its whole process group.
        POSIX::setpgid(0, 0);
        %ENV = %env;
        open(STDIN,  '<',  '/dev/null');
        open(STDOUT, '>>', "$self->{dir}/logs/stderr");
        open(STDERR, '>&', \*STDOUT);
        exec(@argv) or POSIX::_exit(127);
    }
    $self->{pid}     = $pid;
    delete $self->{failure};
    my $is_up = await(sub { $self->_is_answering || $self->{failure} }, 10);
    $self->{failure} //= 'no answer within 10 s' if !$is_up;
    return if $self->{failure};
    if (!$self->{debug} && !await(sub { $self->children >= $self->{children} }, 10)) {
        $self->{failure} = 'children are missing';
        return;
    }
    return 1;
}

sub _is_answering {
    my ($self) = @_;
    if (waitpid($self->{pid}, POSIX::WNOHANG()) == $self->{pid}) {
        $self->{failure} = 'exit status ' . ($? >> 8) . ", signal " . ($? & 127);
        $self->{exit}    = $?;
        delete $self->{pid};
        return;
    }
    # A connection alone proves nothing: the port is open before the modules
    # have said yes to the configuration.
    my $socket = $self->connect or return;
    print {$socket} "OPTIONS * HTTP/1.0\r\n\r\n";
    return read_until($socket, qr/\r\n\r\n/, 2) =~ m{^HTTP/1\.1 \d};
}

# End the server: TERM or another signal, and KILL if it is still there after
# 10 s. Returns true if it ended by itself, with status 0.
sub stop {
    my ($self, $signal) = @_;
    my $pid = $self->{pid} // return 1;
    $self->_remember_children;
    kill $signal // 'TERM', $pid;
    my $is_gone = await(
        sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 10
    );
    $self->{exit} = $is_gone ? $? : -1;
    $self->_kill if !$is_gone;
    delete $self->{pid};
    return $self->{exit} == 0 && !$self->leftovers;
}

# Children that outlived the server.
sub leftovers {
    my ($self) = @_;
    my %alive = map { $_->{pid} => $_ } _processes();
    return grep { $alive{$_} && $alive{$_}{start} eq $self->{pids}{$_} }
        sort keys %{$self->{pids}};
}

sub _kill {
    my ($self) = @_;
    my $pid = delete $self->{pid};
    if ($pid) {
        kill 'STOP', $pid;      # or it would replace the children
        kill 'KILL', _children_of($pid);
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    kill 'KILL', $self->leftovers;
    return;
}

# Graceful restart with the present conf(); returns when the new generation
# has been announced. With (gone => 1) also until it has replaced the old one.
sub graceful {
    my ($self, %arg) = @_;
    return $self->_restart('USR1', %arg);
}

# The same, but hard: requests in flight are cut.
sub restart {
    my ($self, %arg) = @_;
    return $self->_restart('HUP', gone => 1, %arg);
}

sub _restart {
    my ($self, $signal, %arg) = @_;
    $self->_write_conf('httpd.conf', $self->{conf});
    my @old  = $self->children;
    my $mark = $self->log_mark;
    kill $signal, $self->{pid};
    await(sub { $self->log_since($mark) =~ /resuming normal operations/ },
        10, "restart by SIG$signal")
        or return;
    return 1 if !$arg{gone};
    return await(
        sub {
            my %now = map { $_ => 1 } $self->children;
            return keys %now >= $self->{children} && !grep { $now{$_} } @old;
        },
        $arg{seconds} // 15, 'end of the old children'
    );
}

# ---------------------------------------------------------------------------
# Processes

sub _processes {
    my @all;
    opendir(my $proc, '/proc') or die "/proc: $!";
    for my $pid (grep { /^\d+$/ } readdir $proc) {
        open(my $in, '<', "/proc/$pid/stat") or next;
        my $stat = <$in> // next;
        my ($rest) = $stat =~ /^.*\) (.*)$/s or next;
        my @field  = split ' ', $rest;
        next if $field[0] eq 'Z';
        push @all, {pid => $pid, parent => $field[1], start => $field[19]};
    }
    return @all;
}

sub _children_of {
    my ($pid) = @_;
    return map { $_->{pid} } grep { $_->{parent} == $pid } _processes();
}

sub _remember_children {
    my ($self) = @_;
    return if !$self->{pid};
    for my $process (_processes()) {
        $self->{pids}{$process->{pid}} = $process->{start}
            if $process->{parent} == $self->{pid};
    }
    return;
}

# Process ids of the server's children, sorted.
sub children {
    my ($self) = @_;
    return if !$self->{pid};
    $self->_remember_children;
    my @pids = sort { $a <=> $b } _children_of($self->{pid});
    return @pids;
}

# Open file descriptors of a process: {number => target}.
sub fds {
    my ($self, $pid) = @_;
    my %fds;
    for my $path (glob "/proc/$pid/fd/*") {
        my $target = readlink $path // next;
        $fds{File::Basename::basename($path)} = $target;
    }
    return \%fds;
}

# Resident memory of a process in bytes, and its threads.
sub rss {
    my ($self, $pid) = @_;
    return 1024 * ($self->_proc_status($pid, 'VmRSS') // 0);
}

sub thread_count {
    my ($self, $pid) = @_;
    return $self->_proc_status($pid, 'Threads');
}

sub _proc_status {
    my ($self, $pid, $key) = @_;
    open(my $in, '<', "/proc/$pid/status") or return;
    while (my $line = <$in>) {
        return $1 if $line =~ /^\Q$key\E:\s+(\d+)/;
    }
    return;
}

# ---------------------------------------------------------------------------
# Requests

# As HTTP::Tiny answers: {status, reason, headers, content}; status 599 means
# that there was no answer, and content says why. Options: headers, content,
# timeout (10 s), keep_alive (0). Not one redirect is followed.
sub request {
    my ($self, $method, $path, %option) = @_;
    my $timeout    = delete $option{timeout} // 10 * slowness();
    my $keep_alive = delete $option{keep_alive} // 0;
    my $url        = $path =~ m{^https?://} ? $path : $self->url($path);
    my $client     = $self->{clients}{"$$ $timeout $keep_alive"} //=
        HTTP::Tiny->new(
            agent        => 'connpool-test',
            keep_alive   => $keep_alive,
            max_redirect => 0,
            timeout      => $timeout,
        );
    my $answer = $client->request($method, $url, \%option);
    $answer->{content} //= '';
    return $answer;
}

sub get {
    my ($self, $path, %option) = @_;
    return $self->request('GET', $path, %option);
}

sub head {
    my ($self, $path, %option) = @_;
    return $self->request('HEAD', $path, %option);
}

# A form if content is a hash, JSON if it is said to be JSON by `json`.
sub post {
    my ($self, $path, %option) = @_;
    if (exists $option{json}) {
        $option{content} = JSON::PP->new->utf8->canonical->allow_nonref
            ->encode(delete $option{json});
        $option{headers}{'content-type'} //= 'application/json';
    }
    elsif (ref $option{content}) {
        $option{content} = HTTP::Tiny->new->www_form_urlencode($option{content});
        $option{headers}{'content-type'} //=
            'application/x-www-form-urlencoded';
    }
    return $self->request('POST', $path, %option);
}

# The decoded JSON body of a GET; dies when it is none.
sub json {
    my ($self, $path, %option) = @_;
    return decode($self->get($path, %option), $path);
}

# The decoded JSON body of an answer.
sub decode {
    my ($answer, $what) = @_;
    my $value =
        eval { JSON::PP->new->utf8->allow_nonref->decode($answer->{content}) };
    return $value if !$@;
    die sprintf "%s: no JSON in the answer %s: %.300s\n", $what // 'decode',
        $answer->{status}, $answer->{content};
}

# The report over all children.
sub status_json {
    my ($self) = @_;
    return $self->json('/connpool-status?format=json');
}

# The report's entry for one pool.
sub pool {
    my ($self, $name) = @_;
    my ($pool) = grep { $_->{name} eq $name } @{$self->status_json->{pools}};
    return $pool;
}

# The same of an upstream.
sub upstream {
    my ($self, $name) = @_;
    my ($upstream) = grep { $_->{name} eq $name } @{$self->status_json->{upstreams}};
    return $upstream;
}

# The value behind a name and its labels, as Prometheus reads it; or undef.
sub metric {
    my ($self, $name) = @_;
    my $text = $self->get('/connpool-status?format=text')->{content};
    return $text =~ /^\Q$name\E (\S+)$/m ? $1 : undef;
}

# A TCP connection to the server, or false.
sub connect {
    my ($self) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $self->{port},
        Proto    => 'tcp',
        Timeout  => 5,
    ) or return;
    $socket->autoflush(1);
    return $socket;
}

# Send these bytes and read until the server closes (or `seconds`): the text.
# For requests that no client library would make.
sub raw {
    my ($self, $bytes, $seconds) = @_;
    my $socket = $self->connect or return '';
    local $SIG{PIPE} = 'IGNORE';
    print {$socket} $bytes;
    return read_until($socket, undef, $seconds // 10);
}

# ---------------------------------------------------------------------------
# The log

sub log_file {
    my ($self) = @_;
    return "$self->{dir}/logs/error_log";
}

# A place in the log to read on from later.
sub log_mark {
    my ($self) = @_;
    return -s $self->log_file // 0;
}

sub log_since {
    my ($self, $mark) = @_;
    return _slurp($self->log_file, $mark);
}

# All that the server ever said, on stderr first.
sub log {
    my ($self) = @_;
    return _slurp("$self->{dir}/logs/stderr") . _slurp($self->log_file);
}

# Wait for a line; returns the matched line.
sub await_log {
    my ($self, $pattern, $mark, $seconds) = @_;
    return await(
        sub {
            my ($line) =
                grep { /$pattern/ } split /\n/, $self->log_since($mark // 0);
            return $line;
        },
        $seconds // 10,
        "log line $pattern"
    );
}

sub access_log {
    my ($self) = @_;
    return _slurp("$self->{dir}/logs/access_log");
}

sub _slurp {
    my ($path, $from) = @_;
    open(my $in, '<:raw', $path) or return '';
    seek $in, $from, 0 if $from;
    local $/ = undef;
    return <$in> // '';
}

sub _tail {
    my ($self) = @_;
    my @lines = split /\n/, $self->log;
    splice @lines, 0, @lines - 30 if @lines > 30;
    return join "\n", @lines;
}

# Lines that match may be errors or warnings: the test wanted them.
sub allow_log {
    my ($self, @patterns) = @_;
    push @{$self->{allowed}}, @patterns;
    return;
}

# Everything in logs and files that speaks against the server.
sub log_problems {
    my ($self) = @_;
    my $killed = join '|', keys %{$self->{killed}};
    my @problems;
    for my $line (split /\n/, $self->log) {
        if ($line =~ $FATAL) {
            push @problems, $line
                if $killed eq '' || $line !~ /child pid (?:$killed) exit signal/;
        }
        elsif ($line =~ $BAD_LEVEL) {
            push @problems, $line
                if !grep { $line =~ $_ } @{$self->{allowed}};
        }
    }
    for my $file (map { glob "$self->{dir}/$_" }
        qw(run/asan* run/ubsan* run/tsan* run/core* core*)) {
        push @problems, "$file: " . substr(_slurp($file), 0, 4000);
    }
    return @problems;
}

# Send a signal to a child. That it dies of it is no accident then.
sub kill_child {
    my ($self, $signal, $pid) = @_;
    $self->{killed}{$pid} = 1;
    return kill $signal, $pid;
}

# ---------------------------------------------------------------------------
# What must hold at the end

# The identities that do not hold, as sentences; none when all is at rest.
sub imbalances {
    my ($self) = @_;
    my $status = eval { $self->status_json };
    return "no status: $@" if !$status;
    my @wrong;
    for my $pool (@{$status->{pools}}) {
        my $name   = "pool '$pool->{name}'";
        my $closed = 0;
        $closed += $_ for values %{$pool->{closed}};
        push @wrong, "$name: busy $pool->{busy}"       if $pool->{busy};
        push @wrong, "$name: waiting $pool->{waiting}" if $pool->{waiting};
        my $given = $pool->{released} + $pool->{busy} + $pool->{abandoned};
        push @wrong, "$name: acquired $pool->{acquired}, but released + busy "
            . "+ abandoned is $given"
            if $pool->{acquired} != $given;
        my $made = $closed + $pool->{open};
        push @wrong, "$name: created $pool->{created}, but closed + open is "
            . "$made"
            if $pool->{created} != $made;
    }
    return @wrong;
}

# Test: every pool comes to rest within some seconds, and its numbers agree.
sub is_at_rest {
    my ($self, $name, $seconds) = @_;
    my @wrong;
    await(sub { @wrong = $self->imbalances; return !@wrong }, $seconds // 5);
    my $result = Test::More::ok(!@wrong, $name // 'pools are at rest');
    Test::More::diag($_) for @wrong;
    return $result;
}

# Tests at the end of a file: at rest, stopped by itself, nothing left, and
# no line in the log that the test did not ask for. (rest => 0) leaves the
# first out.
sub done {
    my ($self, %arg) = @_;
    my $has_status = !$self->{plain} && $self->{status} && $self->{pid};
    $self->is_at_rest if $has_status && ($arg{rest} // 1);
    my $was_running = $self->{pid};
    my $is_clean    = $self->stop;
    if ($was_running) {
        Test::More::ok($is_clean, 'the server ends by itself')
            or Test::More::diag("wait status $self->{exit}, left over: "
                . join(' ', $self->leftovers));
    }
    my @problems = $self->log_problems;
    my $is_silent = !@problems;
    Test::More::ok($is_silent, 'the log has no unexpected error or warning')
        or Test::More::diag(join "\n", splice @problems, 0, 20);
    $self->{is_done} = 1;
    return $is_silent && $is_clean;
}

# The test has judged the server itself: stop it, and look no further.
sub dismiss {
    my ($self) = @_;
    $self->{is_done} = 1;
    return $self->stop;
}

# A file of tests that forgets done() still gets its log judged.
sub _finish {
    my ($self) = @_;
    my $is_clean = $self->stop;
    return 1 if $self->{is_done};
    my @problems = $self->log_problems;
    push @problems, 'the server did not end by itself' if !$is_clean;
    Test::More::diag("$self->{dir}: $_") for @problems;
    return !@problems;
}

sub _dispose {
    my ($self, $has_failed) = @_;
    if (!$has_failed && !$KEEP) {
        File::Path::remove_tree($self->{dir});
        return;
    }
    Test::More::diag("server files are kept in $self->{dir}");
    Test::More::diag($self->_tail) if $has_failed && $ENV{CI};
    return;
}

# Ctrl-C and TERM run the END block.
$SIG{$_} = sub { exit 130 } for grep { !$SIG{$_} } qw(INT TERM HUP);

END {
    if ($$ == $OWNER) {
        my $exit = $?;
        for my $server (reverse @SERVERS) {
            my $is_clean = eval { $server->_finish };
            $exit ||= 1 if !$is_clean;
        }
        my $has_failed = $exit != 0 || !Test::More->builder->is_passing;
        $_->_dispose($has_failed) for @SERVERS;
        $? = $exit;    ## no critic: this is what END may set
    }
}

1;
