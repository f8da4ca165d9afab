# SPDX-License-Identifier: Apache-2.0
#
# A private PostgreSQL for one test file: its own cluster in a directory of its
# own, on a socket in it and a port of 127.0.0.1, run by a user without rights,
# and gone with the test. Core Perl only.
#
#   my $pg = PostgresTest->new;
#   $pg->start;
#   $pg->sql('CREATE TABLE t(a int)');
#   ... ConnPoolDatabase app "postgresql:@{[$pg->dsn]}"
#
# A standby of it: $pg->standby; PgBouncer in front of it: $pg->bouncer.
package PostgresTest;

use strict;
use warnings;

use Exporter   qw(import);
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use POSIX       ();
use Test::More  ();
use Time::HiRes qw(sleep time);

use ConnPoolTest qw(await free_port);

our @EXPORT_OK = qw(bouncer_program pgsql_module);

my $OWNER = $$;
my @ALL;

# The newest server that is installed; tests that need it say so by dying.
my ($BIN) = reverse sort { ($a =~ m{/(\d+)/})[0] <=> ($b =~ m{/(\d+)/})[0] }
    glob '/usr/lib/postgresql/*/bin';
my ($USER) = grep { defined getpwnam $_ } qw(postgres nobody);

# PgBouncer, where scripts/install-deps.sh has unpacked it; undef without.
sub bouncer_program {
    my ($found) = grep { -x } '/usr/sbin/pgbouncer',
        ConnPoolTest::build_dir() . '/tools/usr/sbin/pgbouncer';
    return $found;
}

# For the `load` of ConnPoolTest->new.
sub pgsql_module {
    return (connpool_pgsql_module => 'mod_connpool_pgsql.so');
}

# Run as the server's user, in the directory; the child's pid.
sub _spawn {
    my ($log, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    open(STDIN,  '<',  '/dev/null');
    open(STDOUT, '>>', $log) || POSIX::_exit(126);
    open(STDERR, '>&', \*STDOUT);
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam $USER)[2, 3];
        $) = "$gid $gid";
        $( = $gid;
        POSIX::setuid($uid);
    }
    delete @ENV{grep { /^PG/ } keys %ENV};
    $ENV{LC_ALL} = 'C.UTF-8';
    chdir '/';
    exec(@command) or POSIX::_exit(127);
}

sub _run {
    my ($self, @command) = @_;
    waitpid(_spawn($self->{log}, @command), 0);
    die "@command: failed\n" . $self->log if $?;
    return;
}

sub _make_directory {
    my $dir = File::Temp::tempdir('pg-XXXXXX', TMPDIR => 1);
    chmod 0755, $dir;
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam $USER)[2, 3];
        chown $uid, $gid, $dir;
    }
    return $dir;
}

sub _new {
    my ($class, %self) = @_;
    die "no PostgreSQL server is installed\n" if !$BIN;
    my $dir  = _make_directory();
    my ($port, $reserved) = free_port();
    my $self = bless {
        dir      => $dir,
        log      => "$dir/log",
        port     => $port,
        reserved => $reserved,
        %self
    }, $class;
    open(my $log, '>>', $self->{log}) || die "$self->{log}: $!\n";
    close $log;
    if ($> == 0) {
        chown((getpwnam $USER)[2, 3], $self->{log});
    }
    push @ALL, $self;
    return $self;
}

# settings => lines of postgresql.conf, hba => lines that go before those that
# trust everybody.
sub new {
    my ($class, %options) = @_;
    my $self = _new($class, %options);
    $self->_run("$BIN/initdb", '-D', "$self->{dir}/data", qw(-U postgres -A trust
        -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions));
    $self->_configure($options{settings} // '');
    if ($options{hba}) {
        my $file = "$self->{dir}/data/pg_hba.conf";
        $self->_write($file, $options{hba} . _slurp($file));
    }
    return $self;
}

sub _configure {
    my ($self, $more) = @_;
    my $file = "$self->{dir}/data/postgresql.conf";
    $self->_write($file, _slurp($file) . <<"CONF");
listen_addresses = '127.0.0.1'
port = $self->{port}
unix_socket_directories = '$self->{dir}'
fsync = off
max_wal_senders = 8
shared_buffers = 16MB
max_connections = 60
logging_collector = off
log_line_prefix = '%m [%p] %q%a '
$more
CONF
    return;
}

sub _slurp {
    my ($path) = @_;
    open(my $in, '<', $path) || die "$path: $!\n";
    local $/ = undef;
    my $text = <$in>;
    return $text // '';
}

sub _write {
    my ($self, $path, $text) = @_;
    open(my $out, '>', $path) || die "$path: $!\n";
    print {$out} $text;
    close $out;
    return;
}

sub log {
    my ($self) = @_;
    return _slurp($self->{log});
}

sub start {
    my ($self) = @_;
    $self->{pid} = _spawn($self->{log}, "$BIN/postgres", '-D', "$self->{dir}/data");
    await(sub { $self->is_ready }, 60)
        || die "PostgreSQL did not start\n" . $self->log;
    return $self;
}

sub is_ready {
    my ($self) = @_;
    return system("$BIN/pg_isready -q -h $self->{dir} -p $self->{port} -d postgres") == 0;
}

# fast, immediate, or smart.
sub stop {
    my ($self, $how) = @_;
    my %signals = (smart => 'TERM', fast => 'INT', immediate => 'QUIT');
    my $pid = delete $self->{pid} or return;
    kill 'CONT', $pid;
    kill $signals{$how // 'fast'}, $pid;
    # It is not ours when another process has started it.
    if (waitpid($pid, 0) < 0) {
        await(sub { !-e "/proc/$pid" || _slurp("/proc/$pid/stat") =~ /\) Z / }, 30);
    }
    return;
}

# Another process has restarted it.
sub adopt {
    my ($self) = @_;
    ($self->{pid}) = _slurp("$self->{dir}/data/postmaster.pid") =~ /^(\d+)/;
    return $self;
}

sub restart {
    my ($self, $how) = @_;
    $self->stop($how);
    return $self->start;
}

sub pid {
    my ($self) = @_;
    return $self->{pid};
}

sub port {
    my ($self) = @_;
    return $self->{port};
}

sub dir {
    my ($self) = @_;
    return $self->{dir};
}

# On the socket, or with tcp => 1 on 127.0.0.1.
sub dsn {
    my ($self, %options) = @_;
    my $where = $options{tcp} ? 'host=127.0.0.1 sslmode=disable' : "host=$self->{dir}";
    my $name  = $options{dbname} // 'postgres';
    return "$where port=$self->{port} dbname=$name user="
        . ($options{user} // 'postgres');
}

# What psql says, without the line's end; dies with its complaint.
sub sql {
    my ($self, $sql, %options) = @_;
    local @ENV{qw(PGOPTIONS LC_ALL)} = ('-c client_min_messages=warning', 'C.UTF-8');
    my $file = File::Temp->new;
    print {$file} $sql;
    close $file;
    my ($status, $said) = ConnPoolTest::command("$BIN/psql", qw(-X -q -A -t -v ON_ERROR_STOP=1),
        '-h', $self->{dir}, '-p', $self->{port}, '-U', $options{user} // 'postgres',
        '-d', $options{dbname} // 'postgres', '-f', "$file");
    die "psql: $said" if $status;
    chomp $said;
    return $said;
}

# How many backends of ours are there, in that state (all without).
sub backends {
    my ($self, $state) = @_;
    my $and = $state ? "AND state = '$state'" : '';
    return $self->sql("SELECT count(*) FROM pg_stat_activity"
        . " WHERE application_name LIKE 'connpool/%' $and");
}

# Another cluster that follows this one.
sub standby {
    my ($self) = @_;
    my $other = PostgresTest->_new;
    $self->_run("$BIN/pg_basebackup", '-D', "$other->{dir}/data", '-h', $self->{dir},
        '-p', $self->{port}, qw(-U postgres -X stream -R --no-sync -c fast));
    $other->_configure('');
    return $other->start;
}

sub promote {
    my ($self) = @_;
    $self->_run("$BIN/pg_ctl", '-D', "$self->{dir}/data", qw(promote -w -t 60));
    return;
}

# PgBouncer in front of it: an object with port and dsn.
sub bouncer {
    my ($self, %options) = @_;
    my $other = PostgresTest->_new(of => $self);
    my $more  = $options{settings} // '';
    my $file  = "$other->{dir}/bouncer.ini";
    $self->_write($file, <<"CONF");
[databases]
* = host=$self->{dir} port=$self->{port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $other->{port}
unix_socket_dir = $other->{dir}
auth_type = trust
auth_file = $other->{dir}/users
pool_mode = transaction
$more
CONF
    $self->_write("$other->{dir}/users", "\"postgres\" \"\"\n");
    $other->{pid} = _spawn($other->{log}, bouncer_program(), $file);
    await(sub { -S "$other->{dir}/.s.PGSQL.$other->{port}" }, 30)
        || die "PgBouncer did not start\n" . $other->log;
    return $other;
}

END {
    if ($$ == $OWNER) {
        my $status = $?;
        for my $it (reverse @ALL) {
            $it->stop($it->{of} ? 'smart' : 'immediate');
            if ($ENV{CONNPOOL_KEEP} || $status) {
                Test::More::diag("kept: $it->{dir}");
            }
            else {
                File::Path::remove_tree($it->{dir});
            }
        }
        $? = $status;
    }
}

1;
