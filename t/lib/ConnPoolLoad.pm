# SPDX-License-Identifier: Apache-2.0
#
# Many clients at once that ask a server until they are told to stop, and say
# afterwards exactly what they got.
#
#   my $load = ConnPoolLoad->start($server, clients => 8, request => sub {
#       my ($client, $i) = @_;
#       return {path => "/item?id=$i", name => 'item', expect => qr/^\{"id":$i,/};
#   });
#   ...
#   my $result = $load->finish;     # {good => {item => 1234}, lost => [], ...}
#
# A client keeps its connection for `keep` requests. A server may close a kept
# connection at any time, so a request that was sent on a used one and got not
# one byte back is sent again on a fresh one; a fresh one has no excuse.
package ConnPoolLoad;

use strict;
use warnings;

use IO::Select ();
use IO::Socket::INET;
use JSON::PP    ();
use POSIX       ();
use Time::HiRes qw(time);

my $SERIAL = 0;

# Arguments: request (see above; also method, body, type, status), clients (8),
# each (requests of a client at most; without: until finish), keep (25, 0: a
# connection is kept as long as it lasts), timeout (20 s).
sub start {
    my ($class, $server, %arg) = @_;
    my $self = bless {
        port    => $server->port,
        flag    => $server->dir('run/load-' . ++$SERIAL),
        request => $arg{request},
        each    => $arg{each} // 1_000_000,
        keep    => $arg{keep} // 25,
        timeout => $arg{timeout} // 20,
        pipes   => [],
    }, $class;
    for my $client (0 .. ($arg{clients} // 8) - 1) {
        my $pid = open(my $pipe, '-|') // die "fork: $!";
        if (!$pid) {
            my $result = eval { $self->_run($client) } // {died => "$@"};
            print STDOUT JSON::PP->new->encode($result);
            close STDOUT;
            POSIX::_exit(0);
        }
        push @{$self->{pipes}}, $pipe;
    }
    return $self;
}

# Reports seen one after the other, each judged against the one before:
#
#   my $watch = ConnPoolLoad->watch($server);
#   $watch->look while ...;
#   is_deeply($watch->{fallen}, []);    # counters that were higher before
#   is_deeply($watch->{unequal}, []);   # pools whose numbers did not agree
sub watch {
    my ($class, $server) = @_;
    my $watch = bless {
        server  => $server,
        last    => {},
        fallen  => [],
        unequal => [],
        reports => 0,
    }, 'ConnPoolLoad::Watch';
    $watch->look;
    return $watch;
}

# What is no counter: it may fall.
my $GAUGE = qr/^(?:open|busy|idle|waiting|reachable|busy_percent|one_shots|busy_writers|p50|p90|p99|max|oldest_wait_us|leaks|holders|last_1m|last_10m
    |loops|running|in_flight|lag_us|heartbeat_age_us|children|features|processes
    |memory|(?:memory|cache|schema|statement|wal)_bytes)$/x;

# Every counter of a report by its place: "/pools/events/closed/idle" => 3.
sub counters {
    my ($value, $path, $found) = @_;
    $path  //= '';
    $found //= {};
    if (ref $value eq 'HASH') {
        for my $key (keys %$value) {
            next if $key =~ $GAUGE && $path !~ m{/closed$};
            counters($value->{$key}, "$path/$key", $found);
        }
    }
    elsif (ref $value eq 'ARRAY') {
        counters($_, "$path/$_->{name}", $found) for @$value;
    }
    elsif (defined $value && !ref $value && $value =~ /^\d+$/) {
        $found->{$path} = $value;
    }
    return $found;
}

sub ConnPoolLoad::Watch::look {
    my ($self) = @_;
    my $report = eval { $self->{server}->status_json } or return;
    my $now    = counters($report);
    my $last   = $self->{last};
    $self->{reports}++;
    push @{$self->{fallen}}, map { "$_: $last->{$_}, then " . ($now->{$_} // 'none') }
        grep { ($now->{$_} // -1) < $last->{$_} } sort keys %$last;
    $self->{last} = $now;
    for my $pool (@{$report->{pools}}) {
        my $closed = 0;
        $closed += $_ for values %{$pool->{closed}};
        my $given = $pool->{released} + $pool->{busy} + $pool->{abandoned};
        push @{$self->{unequal}},
            "$pool->{name}: acquired $pool->{acquired}, accounted for $given"
            if $pool->{acquired} != $given;
        push @{$self->{unequal}}, "$pool->{name}: created $pool->{created}, "
            . "closed $closed, open $pool->{open}"
            if $pool->{created} != $closed + $pool->{open};
    }
    return $now;
}

# Tell the clients to stop after the request they are at, and add up: good
# {name => count}, lost [sentences], refused {"name status" => count}, again
# (requests sent twice), acked [what `key` of good requests was].
sub finish {
    my ($self) = @_;
    open(my $out, '>', $self->{flag}) or die "$self->{flag}: $!";
    close $out;
    return $self->wait;
}

# The same, when all `each` requests were made.
sub wait {
    my ($self) = @_;
    my %sum = (good => {}, refused => {}, lost => [], acked => [], again => 0);
    for my $pipe (@{$self->{pipes}}) {
        local $/ = undef;
        my $text = <$pipe>;
        close $pipe;
        my $part = $text ? JSON::PP->new->decode($text) : {died => 'a client'};
        push @{$sum{lost}}, "client died: $part->{died}" if $part->{died};
        for my $kind (qw(good refused)) {
            $sum{$kind}{$_} += $part->{$kind}{$_} for keys %{$part->{$kind}};
        }
        push @{$sum{$_}}, @{$part->{$_} // []} for qw(lost acked);
        $sum{again} += $part->{again} // 0;
    }
    unlink $self->{flag};
    return \%sum;
}

sub _run {
    my ($self, $client) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my %result =
        (good => {}, refused => {}, lost => [], acked => [], again => 0);
    for my $i (0 .. $self->{each} - 1) {
        last if -e $self->{flag};
        my $request = $self->{request}->($client, $i);
        my $name    = $request->{name};
        my ($status, $body) = $self->_ask($request, \%result);
        if (!$status) {
            push @{$result{lost}}, "$name $i of client $client: $body";
        }
        elsif ($status != ($request->{status} // 200)) {
            $result{refused}{"$name $status"}++;
        }
        elsif ($body !~ $request->{expect}) {
            push @{$result{lost}},
                "$name $i of client $client: wrong answer " . substr $body, 0,
                200;
        }
        else {
            $result{good}{$name}++;
            push @{$result{acked}}, $request->{key}
                if defined $request->{key};
        }
    }
    return \%result;
}

# One answer: (status, body), or (0, why there is none).
sub _ask {
    my ($self, $request, $result) = @_;
    my $body  = $request->{body} // '';
    my $type  = $request->{type} // 'application/x-www-form-urlencoded';
    my $bytes = ($request->{method} // 'GET')
        . " $request->{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        . (length $body
        ? "Content-Type: $type\r\n"
            . 'Content-Length: ' . length($body) . "\r\n"
        : '')
        . "\r\n$body";
    while (1) {
        my $is_fresh = !$self->{socket};
        $self->{socket} //= IO::Socket::INET->new(
            PeerAddr => '127.0.0.1',
            PeerPort => $self->{port},
            Timeout  => $self->{timeout}
        ) // return (0, "connect: $@");
        $self->{used} = $is_fresh ? 1 : $self->{used} + 1;
        my $got = '';
        my ($status, $text, $is_last) = $self->_exchange($bytes, \$got);
        if (!$status || $is_last || $self->{used} == $self->{keep}) {
            close delete $self->{socket};
        }
        return ($status, $text) if $status || $is_fresh || length $got;
        return ($status, $text) if $text eq 'timeout';
        $result->{again}++;
    }
}

sub _exchange {
    my ($self, $bytes, $got) = @_;
    my $socket = $self->{socket};
    syswrite($socket, $bytes) // return (0, "write: $!");
    my $end    = time + $self->{timeout};
    my $select = IO::Select->new($socket);
    while (1) {
        my ($head, $body) = split /\r\n\r\n/, $$got, 2;
        if (defined $body) {
            my $text = _whole_body($head, $body);
            my ($status) = $head =~ m{^HTTP/1\.1 (\d{3}) };
            return ($status // 0, $text, $head =~ /^Connection: close\r?$/mi)
                if defined $text;
        }
        $select->can_read($end - time) or return (0, 'timeout');
        my $count = sysread($socket, $$got, 65536, length $$got);
        next if $count;
        my $why = defined $count ? 'closed' : "read: $!";
        return (0, "$why after " . length($$got) . ' bytes');
    }
}

# The body without its framing, or undef when some of it is missing.
sub _whole_body {
    my ($head, $body) = @_;
    if ($head =~ /^Content-Length: (\d+)\r?$/mi) {
        return length $body >= $1 ? $body : undef;
    }
    return '' if $head =~ m{^HTTP/1\.1 (?:1\d\d|204|304) };
    my $text = '';
    pos($body) = 0;
    while ($body =~ /\G([0-9a-fA-F]+)\r\n/gc) {
        my $size = hex $1;
        return $text if $size == 0;
        return if length $body < pos($body) + $size + 2;
        $text .= substr $body, pos $body, $size;
        pos($body) += $size + 2;
    }
    return;
}

1;
