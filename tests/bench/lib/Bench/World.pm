# SPDX-License-Identifier: Apache-2.0
#
# What all contenders ask: files of events, and upstreams, near and far, with TLS
# and without.
package Bench::World;

use strict;
use warnings;

use Bench::Server::Httpd;
use Bench::Machine qw(CLIENT_CPU pin tree);
use ConnPoolTest   qw(build_dir command free_port);
use ConnPoolTLS;
use Cwd        ();
use File::Path ();
use File::Temp ();

# How long the far upstream lets every new connection wait.
use constant FAR_MS => 50;

my $LINES = {kilobyte => 'x' x 1023 . "\n"};
my %SQL   = (
    one   => 'SELECT id, title, day FROM events WHERE id = :first',
    fifty => 'SELECT id, title, day FROM events WHERE id BETWEEN :first AND :last',
);

sub new {
    my ($class, %arg) = @_;
    my $self = bless {rows => $arg{rows}, rows_max => $arg{rows_max}, dir => _data_dir()}, $class;
    return $self;
}

sub rows {
    return $_[0]{rows};
}

sub rows_max {
    return $_[0]{rows_max};
}

# What contenders run: by key, and by range.
sub sql {
    my ($self, $name, $mark) = @_;
    my $sql = $SQL{$name};
    $sql =~ s/:\w+/$mark/g if defined $mark;
    return $sql;
}

# ---------------------------------------------------------------------------
# Files

# Below build/, so that large files are made once; elsewhere where servers that
# run as somebody else cannot go there.
sub _data_dir {
    my $dir = Cwd::abs_path(build_dir()) . '/bench/data';
    File::Path::make_path($dir);
    for (my $at = $dir; $at ne '/'; $at = Cwd::abs_path("$at/..")) {
        return File::Temp::tempdir('bench-data-XXXXXX', TMPDIR => 1, CLEANUP => 1)
            if $> == 0 && !((stat $at)[2] & 0001);
    }
    return $dir;
}

sub has {
    my ($self, $rows) = @_;
    return -e "$self->{dir}/events-$rows.db";
}

sub free_bytes {
    my ($self) = @_;
    my (undef, $text) = command('df', '-Pk', $self->{dir});
    my ($free) = $text =~ /^\S+\s+\d+\s+\d+\s+(\d+)/m;
    return 1024 * ($free // 0);
}

# The path of a file of so many events, made unless it is there.
sub database {
    my ($self, $rows) = @_;
    $rows //= $self->{rows};
    my $path = "$self->{dir}/events-$rows.db";
    if (!-e $path) {
        unlink glob "$path.*";
        my ($exit, $text) = command('sqlite3', '-batch', '-init', '/dev/null', "$path.new", <<"SQL");
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE events(id INTEGER PRIMARY KEY, title TEXT, day TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $rows)
INSERT INTO events SELECT i, 'event number ' || i, date('2026-01-01', (i % 3650) || ' days') FROM n;
PRAGMA journal_mode = WAL;
SQL
        die "sqlite3: $text" if $exit;
        rename "$path.new", $path or die "$path: $!";
    }
    if ($> == 0) {
        my (undef, undef, $uid, $gid) = getpwnam 'www-data';
        chown $uid // 0, $gid // 0, $self->{dir}, glob "$path*";
    }
    return $path;
}

# The highest key that can be asked for.
sub last_key {
    my ($self, $kind, $rows) = @_;
    return ($rows // $self->{rows}) - 50;
}

# What the sqlite3 shell says must be answered for this key.
sub answer {
    my ($self, $kind, $key) = @_;
    return $LINES->{kilobyte} if $kind =~ /^(?:fetch|tls|far)$/;
    my $last = $kind eq 'fifty' ? $key + 49 : $key;
    my ($exit, $text) = command('sqlite3', '-readonly', '-batch', '-init', '/dev/null', $self->database,
        "SELECT json_group_array(json_object('id', id, 'title', title, 'day', day)) "
            . "FROM events WHERE id BETWEEN $key AND $last");
    die "sqlite3: $text" if $exit;
    chomp $text;
    return $text;
}

# ---------------------------------------------------------------------------
# Upstreams

# {fetch, tls, far, page_far: URLs; ca: whom to trust}
sub upstreams {
    my ($self) = @_;
    return $self->{upstreams} if $self->{upstreams};
    my $tls = ConnPoolTLS->new(File::Temp::tempdir('bench-tls-XXXXXX', TMPDIR => 1, CLEANUP => 1));
    # mod_ssl compares addresses with names.
    my ($cert, $key) = $tls->issue('upstream', 'DNS:localhost,DNS:127.0.0.1,IP:127.0.0.1');
    chmod 0755, $tls->{dir};
    my $near = $self->_upstream($tls->conf($cert, $key), '');
    my $far  = $self->_upstream($tls->conf($cert, $key), 'BenchConnectDelay ' . FAR_MS);
    $self->{upstreams} = {
        ca       => $tls->ca,
        fetch    => $near->{plain},
        tls      => $near->{tls},
        far      => $far->{plain},
        page_far => $far->{tls},
    };
    return $self->{upstreams};
}

sub _upstream {
    my ($self, $tls_conf, $global) = @_;
    my ($port, $reserved) = free_port();
    my $server = Bench::Server::Httpd->new(
        plain   => 1,
        threads => 256,
        modules => ['ssl'],
        load    => {bench_module => 't/mod_bench.so'},
        global  => "Listen 127.0.0.1:$port\n$global\n",
        conf    => "</VirtualHost>\n<VirtualHost *:$port>\nServerName localhost\nCustomLog /dev/null \"%h\"\n$tls_conf",
        files   => {'htdocs/kilobyte.txt' => $LINES->{kilobyte}},
    );
    $server->start;
    pin(CLIENT_CPU, tree($server->pid));
    push @{$self->{servers}}, $server, $reserved;
    return {plain => $server->url('/kilobyte.txt'), tls => "https://127.0.0.1:$port/kilobyte.txt"};
}

sub stop {
    my ($self) = @_;
    $_->stop for grep { ref $_ eq 'Bench::Server::Httpd' } @{delete $self->{servers} // []};
    return;
}

1;
