# SPDX-License-Identifier: Apache-2.0
#
# A scripted HTTP/1.1 server on 127.0.0.1 that behaves as badly as it is told.
# One process, one select loop; each answer is a list of steps.
#
#   my $upstream = ConnPoolUpstream->start;
#   my $url      = $upstream->url('/text?size=1024');
#   is($upstream->stats->{connections}, 1);
#
# Paths (numbers are seconds, bytes or counts):
#   /text?size=&type=         `size` bytes of text, default 13
#   /json                     {"answer":42}
#   /echo                     what was received, as JSON
#   /status/503               that status, with a small body; ?header=Name:value
#   /redirect?to=URL          302
#   /delay/1.5                nothing for so long, then /text
#   /large/1000000            so many bytes with Content-Length
#   /large-chunked/1000000    the same, chunked
#   /large-close/1000000      the same, ended by closing
#   /gzip/1000000             so many bytes, compressed
#   /trickle?n=10&pause=0.1   n chunks of ten bytes with pauses
#   /slow-head?pause=0.1      one header line at a time
#   /hang                     never answers
#   /hang-body?size=1000      announces size bytes, sends half, hangs
#   /close                    closes instead of an answer
#   /close-body?size=1000     announces size bytes, sends half, closes
#   /reset, /reset-body       as close, with a TCP reset
#   /last                     answers with Connection: close
#   /stale                    answers as if it kept the connection, then closes
#   /flaky?fail=2&key=x       the first `fail` requests with this key are reset
#   /raw?text=...             these bytes (percent-encoded), then closes
#   /stats                    the counters, as JSON (not counted themselves)
package ConnPoolUpstream;

use strict;
use warnings;

use Errno    qw(EAGAIN EWOULDBLOCK EINTR);
use Exporter qw(import);
use IO::Compress::Gzip ();
use IO::Select         ();
use IO::Socket::IP     ();
use JSON::PP           ();
use POSIX              ();
use Socket             qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_NODELAY);
use Time::HiRes        qw(time);

our @EXPORT_OK = qw(fetch_conf unchunk);

my $CRLF  = "\r\n";
my $PIECE = 65536;
my @RUNNING;
my $OWNER = $$;

# Arguments, all optional: address ('127.0.0.1'), port (0: any free one),
# backlog (128), routes {'/path' => sub { my ($request) = @_; return steps }}.
# A request is {method, path, query, params, headers, raw, number}.
# Steps: [send => bytes], [wait => seconds], [fill => bytes] (so many bytes,
# made while sending), ['keep'] (next request), ['close'], ['reset'], ['hang'].
sub start {
    my ($class, %arg) = @_;
    my $self = bless {
        address => $arg{address} // '127.0.0.1',
        backlog => $arg{backlog} // 128,
        routes  => $arg{routes} // {},
    }, $class;
    $self->_listen($arg{port} // 0);
    $self->_fork;
    push @RUNNING, $self;
    return $self;
}

sub port {
    return $_[0]{port};
}

sub pid {
    return $_[0]{pid};
}

sub url {
    my ($self, $path) = @_;
    my $host = $self->{address} =~ /:/ ? "[$self->{address}]" : $self->{address};
    return "http://$host:$self->{port}" . ($path // '');
}

# {connections, open, peak, requests, busy, busy_peak, paths => {'/text' => n}}:
# connections accepted so far, open now, and the most that were open at once;
# requests so far, being answered now, and the most at once.
sub stats {
    my ($self) = @_;
    my $socket = IO::Socket::IP->new(
        PeerHost => $self->{address},
        PeerPort => $self->{port},
        Timeout  => 5,
    ) // die "upstream: $@";
    print {$socket} "GET /stats HTTP/1.0$CRLF$CRLF";
    local $/ = undef;
    my (undef, $body) = split /\r\n\r\n/, scalar(<$socket>), 2;
    return JSON::PP->new->decode($body);
}

# Stop answering, and go on: connections stay open, the kernel accepts more.
sub freeze {
    my ($self) = @_;
    return kill 'STOP', $self->{pid};
}

sub thaw {
    my ($self) = @_;
    return kill 'CONT', $self->{pid};
}

# End the server: every connection is cut, new ones are refused.
sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} // return;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

# Start again on the same port, with fresh counters.
sub restart {
    my ($self) = @_;
    $self->stop;
    $self->_listen($self->{port});
    $self->_fork;
    return $self;
}

# Configuration: an upstream of this URL, served at /NAME.
sub fetch_conf {
    my ($name, $url, @options) = @_;
    return <<"CONF";
ConnPoolUpstream $name $url @options
<Location "/$name">
SetHandler connpool-fetch
ConnPoolServe $name
</Location>
CONF
}

# A chunked body as it came: (content, true if its end was there).
sub unchunk {
    my ($text) = @_;
    my $content = '';
    while ($text =~ s/^([0-9a-fA-F]+)\r\n//) {
        my $size = hex $1;
        return ($content, $text eq $CRLF) if $size == 0;
        my $piece = substr $text, 0, $size, '';
        $content .= $piece;
        return ($content, 0) if length $piece < $size || $text !~ s/^\r\n//;
    }
    return ($content, 0);
}

END {
    if ($$ == $OWNER) {
        my $exit = $?;
        $_->stop for @RUNNING;
        $? = $exit;    ## no critic: this is what END may set
    }
}

sub _listen {
    my ($self, $port) = @_;
    $self->{socket} = IO::Socket::IP->new(
        LocalHost => $self->{address},
        LocalPort => $port,
        Listen    => $self->{backlog},
        ReuseAddr => 1,
        Type      => Socket::SOCK_STREAM(),
    ) // die "upstream: $@";
    $self->{port} = $self->{socket}->sockport;
    return;
}

sub _fork {
    my ($self) = @_;
    my $parent = $$;
    my $pid    = fork // die "fork: $!";
    if (!$pid) {
        eval { _serve($self, $parent) };
        warn "upstream: $@" if $@;
        POSIX::_exit(1);
    }
    $self->{pid} = $pid;
    close delete $self->{socket};
    return;
}

# ---------------------------------------------------------------------------
# The server process

sub _serve {
    my ($self, $parent) = @_;
    local $SIG{PIPE} = 'IGNORE';
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
    my $listener = $self->{socket};
    my %clients;    # by fileno
    my $server = {
        routes => $self->{routes},
        stats  => {
            connections => 0, open => 0, peak      => 0, requests => 0,
            busy        => 0, busy_peak => 0, paths => {},
        },
        flaky => {},
    };
    while (getppid == $parent) {
        my ($timeout, $reads, $writes) = _interests($listener, \%clients);
        my ($readable, $writable) =
            IO::Select->select($reads, $writes, undef, $timeout);
        for my $socket (@{$readable // []}) {
            if ($socket == $listener) {
                _accept($listener, \%clients);
            }
            elsif (my $client = $clients{fileno $socket}) {
                _read($server, $client);
            }
        }
        for my $client (values %clients) {
            _advance($server, $client);
        }
        for my $number (keys %clients) {
            my $client = $clients{$number};
            next if !$client->{is_over};
            $server->{stats}{open}-- if $client->{is_counted};
            $server->{stats}{busy}-- if $client->{is_busy};
            delete $clients{$number};
            close $client->{socket};
        }
    }
    POSIX::_exit(0);
}

sub _interests {
    my ($listener, $clients) = @_;
    my $timeout = 1;
    my $reads   = IO::Select->new($listener);
    my $writes  = IO::Select->new;
    my $now     = time;
    for my $client (values %{$clients}) {
        $reads->add($client->{socket}) if !$client->{is_deaf};
        if ($client->{until}) {
            my $left = $client->{until} - $now;
            $timeout = $left > 0 ? $left : 0 if $left < $timeout;
        }
        elsif (length $client->{out}) {
            $writes->add($client->{socket});
        }
    }
    return ($timeout, $reads, $writes);
}

sub _accept {
    my ($listener, $clients) = @_;
    my $socket = $listener->accept or return;
    $socket->blocking(0);
    # Or each answer of several steps waits 40 ms for an acknowledgement.
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $clients->{fileno $socket} =
        {socket => $socket, in => '', out => '', steps => [], requests => 0};
    return;
}

sub _read {
    my ($server, $client) = @_;
    my $got =
        sysread($client->{socket}, $client->{in}, $PIECE, length $client->{in});
    return if !defined $got && ($!{EAGAIN} || $!{EINTR});
    # Half closed or gone: what is being sent goes on until a write fails, but
    # one that waits for nothing more is over.
    if (!$got) {
        $client->{is_deaf} = 1;
        $client->{is_over} = 1 if !length $client->{out};
    }
    return;
}

# Do what can be done for one client without waiting.
sub _advance {
    my ($server, $client) = @_;
    while (!$client->{is_over}) {
        if ($client->{until}) {
            return if time < $client->{until};
            delete $client->{until};
        }
        if (length $client->{out}) {
            my $sent = syswrite $client->{socket}, $client->{out};
            if (!defined $sent) {
                return if $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR};
                $client->{is_over} = 1;
                return;
            }
            substr $client->{out}, 0, $sent, '';
            next;
        }
        my $step = shift @{$client->{steps}};
        if (!$step) {
            return if !_next_request($server, $client);
            next;
        }
        _do_step($client, @{$step});
    }
    return;
}

sub _do_step {
    my ($client, $verb, $value) = @_;
    if ($verb eq 'send') {
        $client->{out} = $value;
    }
    elsif ($verb eq 'fill') {
        my $size = $value < $PIECE ? $value : $PIECE;
        $client->{out} = _filler($size);
        unshift @{$client->{steps}}, [fill => $value - $size] if $value > $size;
    }
    elsif ($verb eq 'wait') {
        $client->{until} = time + $value;
    }
    elsif ($verb eq 'hang') {
        $client->{until} = time + 3600;
    }
    elsif ($verb eq 'close') {
        $client->{is_over} = 1;
    }
    elsif ($verb eq 'reset') {
        setsockopt $client->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
        $client->{is_over} = 1;
    }
    elsif ($verb ne 'keep') {
        die "unknown step $verb\n";
    }
    return;
}

# Readable, and the same whatever the pieces: 64 bytes a line.
sub _filler {
    my ($size) = @_;
    my $line = join('', 'a' .. 'z', 'A' .. 'Z', 0 .. 9, '-') . "\n";
    return substr $line x (1 + int($size / length $line)), 0, $size;
}

sub _next_request {
    my ($server, $client) = @_;
    $server->{stats}{busy}-- if $client->{is_busy};
    $client->{is_busy} = 0;
    return 0 if $client->{in} !~ s/^(.*?\r\n)\r\n//s;
    my $raw = $1;
    my ($line, @lines) = split /\r\n/, $raw;
    my ($method, $target, $version) = split / /, $line;
    my %headers;
    for my $header (@lines) {
        my ($name, $value) = split /:\s*/, $header, 2;
        $headers{lc $name} = $value;
    }
    my ($path, $query) = split /\?/, $target, 2;
    my %params = map { _decode($_) }
        map { my ($name, $value) = split /=/, $_, 2; ($name // '', $value // '') }
        split /&/, $query // '';
    my $request = {
        method  => $method,
        target  => $target,
        path    => $path,
        query   => $query,
        params  => \%params,
        headers => \%headers,
        raw     => $raw,
        version => $version,
        number  => ++$client->{requests},
    };
    _count($server, $client, $path) if $path ne '/stats';
    my @steps = _answer($server, $request);
    push @steps, ['close']
        if $version eq 'HTTP/1.0' || ($headers{connection} // '') =~ /close/i;
    $client->{steps} = \@steps;
    return 1;
}

# A connection counts from its first request, so that asking for the numbers
# does not change them.
sub _count {
    my ($server, $client, $path) = @_;
    my $stats = $server->{stats};
    $stats->{requests}++;
    $stats->{paths}{$path}++;
    $client->{is_busy} = 1;
    $stats->{busy}++;
    $stats->{busy_peak} = $stats->{busy} if $stats->{busy} > $stats->{busy_peak};
    return if $client->{is_counted}++;
    $stats->{connections}++;
    $stats->{open}++;
    $stats->{peak} = $stats->{open} if $stats->{open} > $stats->{peak};
    return;
}

sub _decode {
    my ($text) = @_;
    $text =~ tr/+/ /;
    $text =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    return $text;
}

# ---------------------------------------------------------------------------
# The answers

sub _head {
    my ($status, @headers) = @_;
    my $text = "HTTP/1.1 $status Scripted$CRLF";
    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value$CRLF";
    }
    return [send => $text . $CRLF];
}

sub _whole {
    my ($status, $type, $body, @headers) = @_;
    return (
        _head(
            $status,
            'Content-Type'   => $type,
            'Content-Length' => length $body,
            @headers
        ),
        [send => $body],
    );
}

sub _chunk {
    my ($body) = @_;
    return [send => sprintf("%x$CRLF%s$CRLF", length $body, $body)];
}

my $LAST_CHUNK = [send => "0$CRLF$CRLF"];

sub _cut {
    my ($params, @end) = @_;
    my $size = $params->{size} || 1000;
    return (
        _head(200, 'Content-Type' => 'text/plain', 'Content-Length' => $size),
        [fill => int($size / 2)], @end
    );
}

my %ROUTES = (
    '/text' => sub {
        my (undef, $params) = @_;
        my $size = $params->{size};
        return _whole(200, $params->{type} // 'text/plain',
            defined $size ? _filler($size) : "hello, world\n");
    },
    '/json' => sub {
        return _whole(200, 'application/json', '{"answer":42}');
    },
    '/echo' => sub {
        my ($request) = @_;
        return _whole(200, 'application/json',
            JSON::PP->new->canonical->encode($request));
    },
    '/status' => sub {
        my (undef, $params, $status) = @_;
        my @headers = split /:\s*/, $params->{header} // '', 2;
        return _head($status, @headers) if $status =~ /^(?:1..|204|304)$/;
        return _whole($status, 'text/plain', "status $status\n", @headers);
    },
    '/redirect' => sub {
        my (undef, $params) = @_;
        return _whole(302, 'text/plain', "moved\n",
            'Location' => $params->{to} // '/text');
    },
    '/delay' => sub {
        my (undef, undef, $seconds) = @_;
        return ([wait => $seconds], _whole(200, 'text/plain', "at last\n"));
    },
    '/large' => sub {
        my (undef, undef, $size) = @_;
        return (
            _head(
                200,
                'Content-Type'   => 'text/plain',
                'Content-Length' => $size
            ),
            [fill => $size]
        );
    },
    '/large-chunked' => sub {
        my (undef, undef, $size) = @_;
        my @steps = _head(
            200,
            'Content-Type'      => 'text/plain',
            'Transfer-Encoding' => 'chunked'
        );
        while ($size > 0) {
            my $part = $size < $PIECE ? $size : $PIECE;
            push @steps, [send => sprintf "%x$CRLF", $part], [fill => $part],
                [send => $CRLF];
            $size -= $part;
        }
        return (@steps, $LAST_CHUNK);
    },
    '/large-close' => sub {
        my (undef, undef, $size) = @_;
        return (
            _head(200, 'Content-Type' => 'text/plain', 'Connection' => 'close'),
            [fill => $size], ['close']
        );
    },
    '/gzip' => sub {
        my (undef, undef, $size) = @_;
        my $plain = _filler($size);
        my $packed;
        IO::Compress::Gzip::gzip(\$plain, \$packed, -Level => 9);
        return _whole(200, 'text/plain', $packed, 'Content-Encoding' => 'gzip');
    },
    '/trickle' => sub {
        my (undef, $params) = @_;
        my @steps = _head(
            200,
            'Content-Type'      => 'text/plain',
            'Transfer-Encoding' => 'chunked'
        );
        for my $i (1 .. $params->{n} || 10) {
            push @steps, _chunk(sprintf "piece %3d\n", $i),
                [wait => $params->{pause} || 0.1];
        }
        return (@steps, $LAST_CHUNK);
    },
    '/slow-head' => sub {
        my (undef, $params) = @_;
        my $pause = [wait => $params->{pause} || 0.1];
        return (
            [send => "HTTP/1.1 200 Slow$CRLF"], $pause,
            [send => "Content-Type: text/plain$CRLF"], $pause,
            [send => "Content-Length: 5$CRLF"], $pause,
            [send => "${CRLF}slow\n"]
        );
    },
    '/hang'       => sub { return ['hang'] },
    '/hang-body'  => sub { return _cut($_[1], ['hang']) },
    '/close'      => sub { return ['close'] },
    '/close-body' => sub { return _cut($_[1], ['close']) },
    '/reset'      => sub { return ['reset'] },
    # What was sent must leave before the reset throws it away.
    '/reset-body' => sub { return _cut($_[1], [wait => 0.05], ['reset']) },
    '/last' => sub {
        return (
            _whole(200, 'text/plain', "the last\n", 'Connection' => 'close'),
            ['close']
        );
    },
    '/stale' => sub {
        return (_whole(200, 'text/plain', "kept?\n"), ['close']);
    },
    '/flaky' => sub {
        my (undef, $params, undef, $server) = @_;
        my $count = ++$server->{flaky}{$params->{key} // ''};
        return ['reset'] if $count <= ($params->{fail} // 1);
        return _whole(200, 'text/plain', "after $count\n");
    },
    '/raw' => sub {
        my (undef, $params) = @_;
        return ([send => $params->{text} // ''], ['close']);
    },
    '/stats' => sub {
        my (undef, undef, undef, $server) = @_;
        return (
            _whole(200, 'application/json',
                JSON::PP->new->canonical->encode($server->{stats})),
            ['close']
        );
    },
);

sub _answer {
    my ($server, $request) = @_;
    my $path  = $request->{path};
    my $route = $server->{routes}{$path} // $ROUTES{$path};
    my $rest;
    if (!$route && $path =~ m{^(/[^/]+)/(.*)$}) {
        $rest  = $2;
        $route = $server->{routes}{$1} // $ROUTES{$1};
    }
    return _whole(404, 'text/plain', "no such script\n") if !$route;
    my @steps = $route->($request, $request->{params}, $rest, $server);
    return $request->{method} eq 'HEAD' ? _without_body(@steps) : @steps;
}

# The steps up to the end of the head, and those that shape the connection.
sub _without_body {
    my @steps = @_;
    my @kept;
    my $is_head = 1;
    for my $step (@steps) {
        my ($verb) = @{$step};
        next if !$is_head && ($verb eq 'send' || $verb eq 'fill');
        push @kept, $step;
        $is_head = 0 if $verb eq 'send' && $step->[1] =~ /\r\n\r\n$/;
    }
    return @kept;
}

1;
