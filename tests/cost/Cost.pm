# SPDX-License-Identifier: Apache-2.0
#
# What requests cost, counted by callgrind: instructions, and system calls, of
# which those that read a clock are counted apart (on real machines they are
# none). For the same binaries these are the same numbers, whatever else the
# machine does. Nothing is traced, so no right to trace is needed.
package Cost;
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep);

my $MODULES = '/usr/lib/apache2/modules';
my ($HTTPD) = grep {-x} qw(/usr/sbin/apache2 /usr/sbin/httpd);

# Each kind of request, and by whom it is answered.
my %SQL = (
    point => 'SELECT id, title, day FROM events WHERE id = :first',
    range => 'SELECT id, title, day FROM events WHERE id BETWEEN :first AND :last',
    many  => 'SELECT id, title, day FROM events WHERE id BETWEEN :first AND :last',
);
our %ARGS = (
    point => sub { '?first=' . (1 + $_[0] * 7 % 1000) },
    range => sub { my $first = 1 + $_[0] * 7 % 900; "?first=$first&last=" . ($first + 49) },
    many  => sub {'?first=1&last=10000'},
    fetch => sub {''},
    borrow => sub {'?100'},
    none   => sub {''},
);

sub free_port {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
        or die "listen: $!\n";
    return $socket->sockport;
}

# An upstream of one answer; ends with the pipe to its parent.
sub start_upstream {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8)
        or die "listen: $!\n";
    my $pid = fork // die "fork: $!\n";
    return ($listen->sockport, $pid) if $pid;
    alarm 600;
    local $SIG{PIPE} = 'IGNORE';
    while (my $client = $listen->accept) {
        next if fork;
        while (defined(my $line = <$client>)) {
            next if $line ne "\r\n";
            print {$client} "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", 'x' x 1024;
            $client->flush;
        }
        POSIX::_exit(0);
    }
    POSIX::_exit(0);
}

sub conf {
    my (%arg) = @_;
    my $dir   = $arg{dir};
    my $conf  = <<"CONF";
ServerRoot $dir
ServerName localhost
DocumentRoot $dir/htdocs
Listen 127.0.0.1:$arg{port}
PidFile $dir/pid
ErrorLog $dir/log
LogLevel warn
LoadModule mpm_$arg{mpm}_module $MODULES/mod_mpm_$arg{mpm}.so
LoadModule authz_core_module $MODULES/mod_authz_core.so
LoadModule connpool_module $arg{module}
LoadModule bench_module $arg{build}/t/mod_bench.so
LoadModule cost_module $arg{build}/t/mod_cost.so
MaxKeepAliveRequests 0
KeepAliveTimeout 60
<IfModule mpm_event_module>
ThreadsPerChild 4
ThreadLimit 4
</IfModule>
<Directory />
AllowOverride None
Options FollowSymLinks
</Directory>
ConnPoolDatabase db sqlite:$dir/db readonly=on
ConnPoolUpstream up http://127.0.0.1:$arg{upstream}/
<Location /mark>
SetHandler cost-mark
</Location>
<Location /borrow>
SetHandler cost-borrow
</Location>
<Location /empty>
SetHandler bench-empty
BenchBody $dir/body
</Location>
<Location /ours/fetch>
SetHandler connpool-fetch
ConnPoolServe up
</Location>
CONF
    for my $name (sort keys %SQL) {
        $conf .= <<"CONF";
ConnPoolQuery $name db "$SQL{$name}" max-rows=20000
ConnPoolParam $name first integer
@{[$SQL{$name} =~ /:last/ ? "ConnPoolParam $name last integer" : '']}
<Location /ours/$name>
SetHandler connpool-query
ConnPoolServe $name
</Location>
<Location /unwalked/$name>
SetHandler connpool-query
ConnPoolServe $name walk=off
</Location>
<Location /bare/$name>
SetHandler bench-bare
BenchBare $dir/db "$SQL{$name}"
</Location>
CONF
    }
    return $conf . ($arg{more} // '');
}

# new(module => PATH, build => DIRECTORY, mpm => NAME, more => CONF)
sub new {
    my ($class, %arg) = @_;
    my $self = bless {mpm => 'event', %arg, dir => tempdir(CLEANUP => 1), port => free_port()}, $class;
    my $dir  = $self->{dir};
    my @as   = ();
    mkdir "$dir/htdocs";
    system('sqlite3', '-cmd', '.output /dev/null', "$dir/db", 'PRAGMA journal_mode=WAL; CREATE TABLE events(id INTEGER PRIMARY KEY, title TEXT, day TEXT);'
            . 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<10000)'
            . "INSERT INTO events SELECT i, 'event number ' || i, date('2026-01-01', i || ' days') FROM n") == 0 or die "sqlite3\n";
    $self->write('body', '{"id":1,"a":"name 1","b":0.5}');
    @$self{qw(upstream upstream_pid)} = start_upstream();
    $self->write('conf', conf(%$self));
    if ($> == 0) {
        # Callgrind writes its files as whom it began.
        @as = qw(setpriv --reuid=www-data --regid=www-data --clear-groups);
        system('chown', '-R', 'www-data:www-data', $dir) == 0 or die "chown\n";
    }
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        open(STDERR, '>', "$dir/valgrind");
        open(STDOUT, '>', '/dev/null');
        exec(@as, qw(valgrind --tool=callgrind --collect-systime=yes --compress-pos=no --compress-strings=no),
            "--callgrind-out-file=$dir/out", $HTTPD, '-X', '-f', "$dir/conf", '-k', 'start')
            or POSIX::_exit(127);
    }
    for (1 .. 600) {
        $self->{socket} = IO::Socket::INET->new("127.0.0.1:$self->{port}") and last;
        die "the server has ended: ", $self->log if waitpid($self->{pid}, 1) > 0;
        sleep 0.1;
    }
    die "no server\n" if !$self->{socket};
    $self->{socket}->autoflush(1);
    return $self;
}

sub write {
    my ($self, $name, $text) = @_;
    open(my $out, '>', "$self->{dir}/$name") or die "$name: $!\n";
    print {$out} $text;
    close $out;
    return;
}

sub log {
    my ($self) = @_;
    my $text = '';
    for my $name (qw(log valgrind)) {
        open(my $in, '<', "$self->{dir}/$name") or next;
        local $/ = undef;
        $text .= <$in>;
    }
    return $text;
}

sub stop {
    my ($self) = @_;
    close $self->{socket};
    kill 'TERM', $self->{pid}, $self->{upstream_pid};
    waitpid $self->{pid}, 0;
    return;
}

sub get {
    my ($self, $path) = @_;
    my $socket = $self->{socket};
    print {$socket} "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    my ($status, $length, $body) = (scalar <$socket>, undef, '');
    while (defined(my $line = <$socket>)) {
        $length = $1 if $line =~ /^Content-Length: (\d+)/i;
        last         if $line eq "\r\n";
    }
    die "$path: ", $status // 'nothing', "\n", $self->log if !$status || $status !~ / 200 /;
    if (defined $length) {
        read($socket, $body, $length) == $length or die "$path: short\n";
        return $body;
    }
    while (my $size = hex(<$socket> =~ /^([0-9a-f]+)/i ? $1 : 0)) {
        read($socket, my $chunk, $size) == $size or die "$path: short\n";
        $body .= $chunk;
        <$socket>;
    }
    while (defined(my $line = <$socket>)) {
        last if $line eq "\r\n";
    }
    return $body;
}

# Are the three least of these costs about the same? Few are small.
sub agree {
    my ($what, @costs) = @_;
    my @sorted = sort { $a <=> $b } map { $_->{$what} } @costs;
    return $sorted[2] <= 1.01 * $sorted[0] + 2;
}

# What one such request costs: {instructions, ours, calls, clocks, file}, ours
# being those of the module itself. The cheapest of several blocks of requests
# counts, once two others agree: in the rest upkeep went on beside them, or
# threads met otherwise.
sub count {
    my ($self, $who, $kind) = @_;
    my $path     = {empty => '/empty/x', borrow => '/borrow'}->{$who} // "/$who/$kind";
    my $requests = $kind eq 'many' ? 2 : 20;
    my $ask = sub { $self->get($path . $ARGS{$kind}->($_)) for 1 .. $requests };
    my (%best, @seen);
    die "$who-$kind: another answer\n"
        if $who =~ /^(?:bare|unwalked)$/
        && $self->get($path . $ARGS{$kind}->(1)) ne $self->get("/ours/$kind" . $ARGS{$kind}->(1));
    $ask->();
    $self->get('/mark');
    for my $block (1 .. 60) {
        my $name = join '-', $who, $kind, $block;
        $ask->();
        $self->get("/mark?$name");
        my ($file) = grep { dumped($_) eq $name } glob("$self->{dir}/out.*");
        my $sums = sums($file, $self->{module});
        for my $what (keys %$sums) {
            my $each = $sums->{$what} / $requests;
            next if defined $best{$what} && $best{$what} <= $each;
            $best{$what} = $each;
            $best{file}  = $file if $what eq 'instructions';
        }
        push @seen, $sums;
        last if @seen >= 6 && !grep { !agree($_, @seen) } qw(instructions calls clocks);
    }
    return \%best;
}

# "desc: Trigger: Client Request: NAME"
sub dumped {
    my ($file) = @_;
    open(my $in, '<', $file) or die "$file: $!\n";
    while (my $line = <$in>) {
        return $1 if $line =~ /^desc: Trigger: Client Request: (.*)/;
        last if $line =~ /^fn=/;
    }
    return '';
}

# Of what each function did itself: lines of costs, but not those that follow a
# "calls=" line, which are what the called one did.
sub sums {
    my ($file, $module) = @_;
    my %sums = (instructions => 0, calls => 0, clocks => 0, ours => 0);
    my ($object, $function, $is_call) = ('', '', 0);
    open(my $in, '<', $file) or die "$file: $!\n";
    while (my $line = <$in>) {
        if ($line =~ /^ob=(.*)/) {
            $object = $1;
        }
        elsif ($line =~ /^fn=(.*)/) {
            $function = $1;
        }
        elsif ($line =~ /^calls=/) {
            $is_call = 1;
        }
        elsif ($line =~ /^\d+ (\d+)(?: (\d+))?/) {
            my ($instructions, $calls) = ($1, $2 // 0);
            if (!$is_call) {
                $sums{instructions} += $instructions;
                $sums{$function =~ /^(?:__)?(?:clock_gettime|gettimeofday|time)\b/ ? 'clocks' : 'calls'} += $calls;
                $sums{ours} += $instructions if $object eq $module;
            }
            $is_call = 0;
        }
    }
    return \%sums;
}

1;
