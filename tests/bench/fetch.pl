# SPDX-License-Identifier: Apache-2.0
#
# fetch.pl [MODULE...]: what a fetch of one kilobyte costs beside mod_proxy_http,
# counted: system calls by kind (strace), instructions (callgrind), and the CPU
# time of rounds that take turns. MPM event, one process, connections kept on
# both sides. Each module is a mod_connpool.so, the build's unless others are
# named. FETCH_ONLY=calls,instructions,cpu for parts, FETCH_CLIENTS=1,32,
# FETCH_JSON=FILE for programs.
use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(free_port);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use JSON::PP ();
use List::Util qw(sum0);
use Time::HiRes qw(sleep);

my ($HTTPD) = grep {-x} qw(/usr/sbin/apache2 /usr/sbin/httpd);
my $LIBEXEC = $ENV{FETCH_LIBEXEC} // '/usr/lib/apache2/modules';
my $BUILD   = $ENV{CONNPOOL_BUILD} // "$FindBin::Bin/../../build";
my @CLIENTS = split /,/, $ENV{FETCH_CLIENTS} // '1,32';
my %WANTED  = map { $_ => 1 } split /,/, $ENV{FETCH_ONLY} // 'calls,instructions,cpu';
my ($WARM, $CALLS, $FEW, $MANY, $ROUNDS, $ROUND) = (300, 3000, 200, 1000, 7, 3000);
my @MODULES = map { abs_path($_) // die "no $_\n" } @ARGV ? @ARGV : "$BUILD/mod_connpool.so";
# Not as root, which httpd wants to leave.
my @AS = $> == 0 ? qw(setpriv --reuid=www-data --regid=www-data --clear-groups) : ();
my ($OWNER, %running) = $$;

# httpd in the foreground; with `prefix` under another program.
sub start {
    my ($conf, @prefix) = @_;
    my ($port, $reserved) = free_port();
    my $dir = tempdir(CLEANUP => 1);
    chmod 0777, $dir;
    @prefix = map {s/\@DIR\@/$dir/r} @prefix;
    mkdir "$dir/htdocs";
    open(my $file, '>', "$dir/htdocs/kilobyte.txt") or die;
    print {$file} 'x' x 1023, "\n";
    close $file;
    open(my $out, '>', "$dir/conf") or die;
    print {$out} <<"CONF" . join '', map {"$_\n"} @$conf;
ServerRoot $dir
ServerName localhost
Listen 127.0.0.1:$port
PidFile $dir/pid
ErrorLog $dir/log
LogLevel warn
DocumentRoot $dir/htdocs
LoadModule mpm_event_module $LIBEXEC/mod_mpm_event.so
LoadModule authz_core_module $LIBEXEC/mod_authz_core.so
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
MaxKeepAliveRequests 0
KeepAliveTimeout 60
<Directory />
AllowOverride None
Options FollowSymLinks
</Directory>
CONF
    close $out;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open(STDERR, '>', "$dir/stderr");
        open(STDOUT, '>', '/dev/null');
        exec(@AS, @prefix, $HTTPD, '-X', '-f', "$dir/conf") or exit 127;
    }
    $running{$pid} = 1;
    for (1 .. 600) {
        last if IO::Socket::INET->new("127.0.0.1:$port");
        sleep 0.1;
    }
    return {pid => $pid, port => $port, reserved => $reserved, dir => $dir};
}

sub stop {
    my ($server) = @_;
    kill 'TERM', $server->{pid};
    waitpid $server->{pid}, 0;
    delete $running{$server->{pid}};
    return;
}

sub load {
    my ($server, $clients, $requests) = @_;
    my $text = `h2load --h1 -t 1 -c $clients -n $requests http://127.0.0.1:$server->{port}/fetch 2>&1`;
    die "h2load: $text", `cat $server->{dir}/log $server->{dir}/stderr` if $text !~ /^status codes: $requests 2xx/m;
    return;
}

# ---------------------------------------------------------------------------
# What is counted

# {kind => calls a request} of all threads.
sub calls {
    my ($contender, $clients) = @_;
    my $server = start($contender->{conf});
    load($server, $clients, $WARM);
    my $out = "$server->{dir}/strace";
    my $pid = fork // die;
    exec('strace', '-qq', '-f', '-c', '-U', 'name,calls', '-o', $out, '-p', $server->{pid})
        or exit 127
        if !$pid;
    sleep 0.05 while grep { is_untraced($_) } glob "/proc/$server->{pid}/task/*";
    load($server, $clients, $CALLS);
    kill 'INT', $pid;
    waitpid $pid, 0;
    stop($server);
    open(my $in, '<', $out) or die "strace: $!";
    return {map { /^(\w+)\s+(\d+)\s*$/ && $1 ne 'total' ? ($1 => $2 / $CALLS) : () } <$in>};
}

sub is_untraced {
    my ($task) = @_;
    open(my $in, '<', "$task/status") or return 0;
    return scalar grep {/^TracerPid:\s+0$/} <$in>;
}

sub instructions {
    my ($contender, $clients) = @_;
    my @total = map {
        my $requests = $_;
        my $server = start($contender->{conf}, 'valgrind', '--tool=callgrind',
            '--fair-sched=yes', '--callgrind-out-file=@DIR@/out');
        load($server, $clients, $requests);
        stop($server);
        open(my $in, '<', "$server->{dir}/out") or die "callgrind: $!";
        my ($count) = map { /^(?:summary|totals): (\d+)/ ? $1 : () } <$in>;
        $count // die "callgrind counted nothing\n";
    } $FEW, $MANY;
    return ($total[1] - $total[0]) / ($MANY - $FEW);
}

sub cpu_of {
    my ($server) = @_;
    my $nanoseconds = 0;
    for my $path (glob "/proc/$server->{pid}/task/*/schedstat") {
        open(my $in, '<', $path) or next;
        $nanoseconds += (split ' ', <$in> // '')[0] // 0;
    }
    return $nanoseconds / 1000;
}

# Microseconds a request, medians of rounds in turn.
sub cpu {
    my ($contenders, $clients) = @_;
    my @servers = map { start($_->{conf}) } @$contenders;
    my @us;
    load($_, $clients, $WARM) for @servers;
    for my $round (1 .. $ROUNDS) {
        for my $i ($round % 2 ? 0 .. $#servers : reverse 0 .. $#servers) {
            my $before = cpu_of($servers[$i]);
            load($servers[$i], $clients, $ROUND);
            push @{$us[$i]}, (cpu_of($servers[$i]) - $before) / $ROUND;
        }
    }
    stop($_) for @servers;
    return map { (sort { $a <=> $b } @$_)[$ROUNDS / 2] } @us;
}

# ---------------------------------------------------------------------------

END { kill 'TERM', keys %running if $$ == $OWNER }

my $upstream = start([]);
my $url      = "http://127.0.0.1:$upstream->{port}/kilobyte.txt";
my @contenders = (
    {   name => 'mod_proxy_http',
        conf => [(map {"LoadModule ${_}_module $LIBEXEC/mod_$_.so"} qw(proxy proxy_http)),
            "ProxyPass /fetch $url"],
    });
for my $module (@MODULES) {
    my @conf = ("LoadModule connpool_module $module", "ConnPoolUpstream up $url",
        '<Location /fetch>', 'SetHandler connpool-fetch', 'ConnPoolServe up', '</Location>');
    my $name = @MODULES > 1 ? "connpool-fetch of $module" : 'connpool-fetch';
    push @contenders, {name => $name, conf => \@conf},
        {name => "$name in the loop", conf => [map {s/^(ConnPoolUpstream .*)/$1 http2=on/r} @conf]};
}
my @results;
for my $clients (@CLIENTS) {
    my @cpu = $WANTED{cpu} ? cpu(\@contenders, $clients) : ();
    for my $i (0 .. $#contenders) {
        my $contender = $contenders[$i];
        my %result    = (name => $contender->{name}, clients => 0 + $clients);
        $result{cpu_us}       = $cpu[$i]                             if $WANTED{cpu};
        $result{instructions} = instructions($contender, $clients)   if $WANTED{instructions};
        if ($WANTED{calls}) {
            $result{calls} = calls($contender, $clients);
            $result{system_calls} = sum0(values %{$result{calls}});
        }
        push @results, \%result;
    }
}
for my $clients (@CLIENTS) {
    my @of = grep { $_->{clients} == $clients } @results;
    for my $result (@of) {
        printf "%2d clients, %s:\n", $clients, $result->{name};
        for my $what (grep { exists $result->{$_} } qw(system_calls instructions cpu_us)) {
            printf "  %-12s %10.1f (%.2f)\n", $what =~ s/_/ /r, $result->{$what},
                $result->{$what} / $of[0]{$what};
        }
        my $calls = $result->{calls} // next;
        printf "    %s\n", join ', ', map { sprintf '%s %.2f', $_, $calls->{$_} }
            grep { $calls->{$_} >= 0.05 } sort { $calls->{$b} <=> $calls->{$a} } keys %$calls;
    }
}
if ($ENV{FETCH_JSON}) {
    open(my $out, '>', $ENV{FETCH_JSON}) or die "$ENV{FETCH_JSON}: $!";
    print {$out} JSON::PP->new->canonical->pretty->encode(\@results);
}
stop($upstream);
