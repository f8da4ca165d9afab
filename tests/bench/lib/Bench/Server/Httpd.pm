# SPDX-License-Identifier: Apache-2.0
#
# A contender that lives in httpd: stock, with as few modules as it needs, event
# MPM, one child of 64 threads, unless told otherwise.
package Bench::Server::Httpd;

use strict;
use warnings;

use ConnPoolTest;
use POSIX ();

# Without what tests need and nobody runs in production; nobody's .htaccess is
# looked for, as Debian sets it up; the access log is on, but goes nowhere. With
# more clients than threads, event would close idle connections to make room.
my $LEAN = <<'CONF';
LogLevel warn
ExtendedStatus Off
KeepAliveTimeout 60
<IfModule mpm_event_module>
AsyncRequestWorkerFactor 64
</IfModule>
<Directory "/">
AllowOverride None
Options FollowSymLinks
</Directory>
CONF
my $HOST = <<'CONF';
<VirtualHost *:@PORT@>
ServerName bench
CustomLog /dev/null "%h %l %u %t \"%r\" %>s %b"
CONF

# Arguments: those of ConnPoolTest, with conf for the host and global before it,
# and files {name => content} below the server's directory.
sub new {
    my ($class, %arg) = @_;
    my $host  = delete $arg{conf} // '';
    my $first = delete $arg{global} // '';
    my $files = delete $arg{files} // {};
    delete $arg{single};    # -X does that
    my $server = ConnPoolTest->new(
        mpm      => 'event',
        children => 1,
        threads  => 64,
        status   => 0,
        # Memory that is filled on purpose costs time.
        env  => {MALLOC_PERTURB_ => 0},
        conf => "$LEAN$first$HOST$host</VirtualHost>\n",
        %arg,
    );
    $server->write_file($_, $files->{$_}) for keys %$files;
    return bless {server => $server}, $class;
}

sub start {
    my ($self) = @_;
    $self->{server}->start;
    return $self;
}

sub port {
    return $_[0]{server}->port;
}

sub pid {
    return $_[0]{server}->pid;
}

sub url {
    my ($self, $path) = @_;
    return $self->{server}->url($path);
}

sub dir {
    my ($self, $path) = @_;
    return $self->{server}->dir($path);
}

# The module's own report, of a server with status.
sub report {
    my ($self) = @_;
    return $self->{server}->status_json;
}

sub stop {
    my ($self) = @_;
    return $self->{server}->dismiss;
}

# For a tool that follows one process: how to run this server in one, as somebody
# whom it need not leave.
sub argv {
    my ($self) = @_;
    my ($exit, $text) = $self->{server}->configtest;
    die $text if $exit;
    my $dir = $self->dir;
    my @as;
    if ($> == 0) {
        my ($name, undef, $uid, $gid) = getpwnam 'www-data';
        chown $uid, $gid, $dir, map {"$dir/$_"} qw(logs run db);
        @as = ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups') if $name;
    }
    return ([@as], [ConnPoolTest::httpd(), '-X', '-d', $dir, '-f', "$dir/configtest.conf"]);
}

1;
