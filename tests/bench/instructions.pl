# SPDX-License-Identifier: Apache-2.0
#
# instructions.pl MODULE...: instructions that a request takes, counted by
# callgrind: for the same binary the same number, whatever else the machine
# does. Each module (mod_connpool.so of two builds, say) is run twice for each
# kind of request, with few and with many requests; the difference is theirs.
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

my ($FEW, $MANY) = (100, 400);
my ($HTTPD)  = grep {-x} qw(/usr/sbin/apache2 /usr/sbin/httpd);
my $MODULES  = '/usr/lib/apache2/modules';
my %REQUESTS = (
    'point query' => sub { '/point?id=' . (1 + $_[0] % 1000) },
    'range query' => sub { '/range?from=' . ($_[0] % 900) },
    'fetch'       => sub {'/fetch'},
);
die "usage: instructions.pl MODULE...\n" if !@ARGV || !$HTTPD;

sub free_port {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
    return $socket->sockport;
}

# An upstream of one answer; ends with its parent's pipe.
sub start_upstream {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8)
        or die "listen: $!\n";
    my $pid = fork // die "fork: $!\n";
    return ($listen->sockport, $pid) if $pid;
    alarm 600;
    while (my $client = $listen->accept) {
        while (defined(my $line = <$client>)) {
            next if $line ne "\r\n";
            print $client "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", 'x' x 1024;
            $client->flush;
        }
    }
    exit 0;
}

sub count {
    my ($module, $kind, $requests, $upstream) = @_;
    my $dir  = tempdir(CLEANUP => 1);
    my $port = free_port();
    system('sqlite3', "$dir/db", 'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b REAL);'
            . 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000)'
            . "INSERT INTO t SELECT i, 'name ' || i, i * 0.5 FROM n") == 0 or die "sqlite3\n";
    # Callgrind writes its file in the end, as whom it began.
    my @as = $> == 0 ? qw(setpriv --reuid=www-data --regid=www-data --clear-groups) : ();
    open(my $conf, '>', "$dir/conf") or die;
    print $conf <<"CONF";
ServerRoot $dir
ServerName localhost
Listen 127.0.0.1:$port
PidFile $dir/pid
ErrorLog $dir/log
LogLevel warn
LoadModule mpm_prefork_module $MODULES/mod_mpm_prefork.so
LoadModule authz_core_module $MODULES/mod_authz_core.so
LoadModule connpool_module $module
MaxKeepAliveRequests 0
ConnPoolEventLoop Off
ConnPoolDatabase db sqlite:$dir/db readonly=on
ConnPoolUpstream up http://127.0.0.1:$upstream/
ConnPoolQuery point db "SELECT id, a, b FROM t WHERE id = :id"
ConnPoolParam point id integer
ConnPoolQuery range db "SELECT id, a, b FROM t WHERE id > :from ORDER BY id LIMIT 50"
ConnPoolParam range from integer
<Location /point>
SetHandler connpool-query
ConnPoolServe point
</Location>
<Location /range>
SetHandler connpool-query
ConnPoolServe range
</Location>
<Location /fetch>
SetHandler connpool-fetch
ConnPoolServe up
</Location>
CONF
    close $conf;
    chmod 0777, $dir;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open(STDERR, '>', "$dir/valgrind");
        open(STDOUT, '>', '/dev/null');
        exec(@as, 'valgrind', '--tool=callgrind', "--callgrind-out-file=$dir/out",
            $HTTPD, '-X', '-f', "$dir/conf", '-k', 'start') or exit 127;
    }
    my $socket;
    for (1 .. 600) {
        $socket = IO::Socket::INET->new("127.0.0.1:$port") and last;
        sleep 0.1;
    }
    die "no server\n" if !$socket;
    for my $i (1 .. $requests) {
        print $socket 'GET ' . $REQUESTS{$kind}->($i) . " HTTP/1.1\r\nHost: x\r\n\r\n";
        my ($status, $length) = (scalar <$socket>, undef);
        while (defined(my $line = <$socket>)) {
            $length = $1 if $line =~ /^Content-Length: (\d+)/i;
            last         if $line eq "\r\n";
        }
        die "$kind: $status\n" if !$status || $status !~ / 200 / || !defined $length;
        read($socket, my $body, $length) == $length or die "short\n";
    }
    close $socket;
    kill 'TERM', $pid;
    waitpid $pid, 0;
    open(my $out, '<', "$dir/out") or die "callgrind wrote nothing\n";
    while (my $line = <$out>) {
        return $1 if $line =~ /^(?:summary|totals): (\d+)/;
    }
    die "callgrind counted nothing\n";
}

my ($upstream, $upstream_pid) = start_upstream();
printf "| %-12s | %s |\n", 'a request', join ' | ', @ARGV;
for my $kind (sort keys %REQUESTS) {
    my @each = map {
        my $module = $_;
        my ($few, $many) = map { count($module, $kind, $_, $upstream) } $FEW, $MANY;
        ($many - $few) / ($MANY - $FEW);
    } @ARGV;
    printf "| %-12s | %s |\n", $kind,
        join ' | ', map { sprintf '%.0f (%.3f)', $_, $_ / $each[0] } @each;
}
kill 'TERM', $upstream_pid;
