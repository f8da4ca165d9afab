# SPDX-License-Identifier: Apache-2.0
#
# An HTTP/1.1 server on 127.0.0.1, or on a Unix socket, that takes bodies, each
# connection in a process of its own, and writes down what came.
#
#   my $sink = ConnPoolSink->start;              # or (path => '/tmp/app.sock')
#   my $url  = $sink->url('/take');
#   my ($seen) = $sink->seen;                    # [{method, path, size, ...}]
#
# Paths (numbers are bytes or seconds):
#   /take                     reads all, answers what it was as JSON
#   /empty/204                that status, no body; ?Name=value are headers
#   /answer/201               that status and a body; ?Name=value are headers
#   /early/413?stay=1         answers before it reads the body, then closes; or
#                             reads the body as well
#   /slow?pause=0.01          takes 16 KB at a time, with such pauses
#   /cut?after=1000           closes with a reset after so many bytes of the body
#   /drop                     closes as soon as the head is there
#   /deaf                     never reads the body, never answers
#   /mirror                   sends each piece back as soon as it comes
#   /range                    knows Range: bytes=A-B of 1000 bytes
#   /hello                    "hello from NAME", the one it was started with
package ConnPoolSink;

use strict;
use warnings;

use Digest::MD5 ();
use Fcntl       qw(:flock);
use File::Temp  ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP    ();
use POSIX       ();
use Socket      qw(SOCK_STREAM SOL_SOCKET SO_LINGER);
use Time::HiRes qw(sleep);

my $CRLF  = "\r\n";
my $OWNER = $$;
my @RUNNING;

sub start {
    my ($class, %arg) = @_;
    my $self = bless {
        name => $arg{name} // 'sink',
        path => $arg{path},
        log  => File::Temp->new(TEMPLATE => 'connpool-sink-XXXXXX', TMPDIR => 1),
    }, $class;
    $self->_listen($arg{port} // 0);
    $self->_fork;
    push @RUNNING, $self;
    return $self;
}

sub port { return $_[0]{port} }
sub pid  { return $_[0]{pid} }

sub url {
    my ($self, $path) = @_;
    return "http://127.0.0.1:$self->{port}" . ($path // '');
}

# End it: connections are cut, new ones are refused.
sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} // return;
    kill 'TERM', $pid;
    waitpid $pid, 0;
    unlink $self->{path} if defined $self->{path};
    return;
}

sub restart {
    my ($self) = @_;
    $self->stop;
    $self->_listen($self->{port});
    $self->_fork;
    return $self;
}

# All that came so far, in order: a hash for each head, and one for each body
# that was read ("body" is true, "whole" whether its end came).
sub seen {
    my ($self) = @_;
    open(my $in, '<', $self->{log}->filename) or die "sink: $!";
    return map { JSON::PP->new->decode($_) } <$in>;
}

sub heads {
    my ($self, $path) = @_;
    return grep { !$_->{body} && (!defined $path || $_->{path} eq $path) }
        $self->seen;
}

sub bodies {
    my ($self, $path) = @_;
    return grep { $_->{body} && (!defined $path || $_->{path} eq $path) }
        $self->seen;
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
    if (defined $self->{path}) {
        unlink $self->{path};
        $self->{socket} = IO::Socket::UNIX->new(
            Local  => $self->{path},
            Listen => 64,
            Type   => SOCK_STREAM,
        ) // die "sink: $!";
        chmod 0777, $self->{path};
        return;
    }
    $self->{socket} = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        Listen    => 64,
        ReuseAddr => 1,
    ) // die "sink: $@";
    $self->{port} = $self->{socket}->sockport;
    return;
}

sub _fork {
    my ($self) = @_;
    my $parent = $$;
    my $pid    = fork // die "fork: $!";
    if (!$pid) {
        eval { _serve($self, $parent) };
        POSIX::_exit(1);
    }
    $self->{pid} = $pid;
    close delete $self->{socket};
    return;
}

sub _serve {
    my ($self, $parent) = @_;
    my %children;
    local $SIG{PIPE} = 'IGNORE';
    local $SIG{INT}  = 'DEFAULT';
    local $SIG{CHLD} = 'DEFAULT';
    local $SIG{TERM} = sub {
        kill 'KILL', keys %children;
        POSIX::_exit(0);
    };
    my $select = '';
    vec($select, fileno $self->{socket}, 1) = 1;
    while (getppid == $parent) {
        while ((my $gone = waitpid -1, POSIX::WNOHANG()) > 0) {
            delete $children{$gone};
        }
        my $ready = $select;
        next if select($ready, undef, undef, 0.5) <= 0;
        my $client = $self->{socket}->accept or next;
        my $pid    = fork // next;
        if (!$pid) {
            $SIG{TERM} = 'DEFAULT';
            close $self->{socket};
            alarm 120;
            my $buffer = '';
            while (_one($self, $client, \$buffer)) { }
            POSIX::_exit(0);
        }
        $children{$pid} = 1;
        close $client;
    }
    kill 'KILL', keys %children;
    POSIX::_exit(0);
}

sub _write_down {
    my ($self, $what) = @_;
    open(my $out, '>>', $self->{log}->filename) or return;
    flock $out, LOCK_EX;
    syswrite $out, JSON::PP->new->canonical->encode($what) . "\n";
    close $out;
    return;
}

sub _send {
    my ($client, $bytes) = @_;
    while (length $bytes) {
        my $sent = syswrite $client, $bytes;
        return 0 if !$sent;
        substr $bytes, 0, $sent, '';
    }
    return 1;
}

sub _answer {
    my ($client, $status, $body, @headers) = @_;
    my $text = "HTTP/1.1 $status Sunk$CRLF";
    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value$CRLF";
    }
    $text .= 'Content-Length: ' . length($body) . $CRLF if defined $body;
    return _send($client, $text . $CRLF . ($body // ''));
}

# Read the body in pieces, each given to code->(piece), until code says no or
# the end: (bytes, true if the end was there).
sub _body {
    my ($client, $buffer, $headers, $code) = @_;
    my ($size, $left) = (0, $headers->{'content-length'} // 0);
    my $is_chunked = ($headers->{'transfer-encoding'} // '') eq 'chunked';
    my $more       = sub {
        return sysread $client, ${$buffer}, 16384, length ${$buffer};
    };
    while (1) {
        if ($is_chunked) {
            until (${$buffer} =~ /^[0-9a-fA-F]+\r\n/) {
                return ($size, 0) if !$more->();
            }
            ${$buffer} =~ s/^([0-9a-fA-F]+)\r\n//;
            $left = hex $1;
        }
        my $is_last = $is_chunked ? $left == 0 : 1;
        while ($left > 0) {
            return ($size, 0) if !length ${$buffer} && !$more->();
            my $piece = substr ${$buffer}, 0,
                $left < length ${$buffer} ? $left : length ${$buffer}, '';
            $size += length $piece;
            $left -= length $piece;
            return ($size, 0) if !$code->($piece, $size);
        }
        if ($is_chunked) {
            until (length ${$buffer} >= 2) {
                return ($size, 0) if !$more->();
            }
            substr ${$buffer}, 0, 2, '';
        }
        return ($size, 1) if $is_last;
    }
}

sub _reset {
    my ($client) = @_;
    setsockopt $client, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    close $client;
    return 0;
}

# One request; true: there may be another.
sub _one {
    my ($self, $client, $buffer) = @_;
    until (${$buffer} =~ /\r\n\r\n/) {
        return 0 if !sysread $client, ${$buffer}, 16384, length ${$buffer};
    }
    ${$buffer} =~ s/^(.*?\r\n)\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my ($method, $target) = split / /, $line;
    my ($path, $query) = split /\?/, $target, 2;
    my (%headers, %params);
    for my $header (@lines) {
        my ($name, $value) = split /:\s*/, $header, 2;
        $name = lc $name;
        $headers{$name} =
            exists $headers{$name} ? "$headers{$name}, $value" : $value;
    }
    for my $pair (split /&/, $query // '') {
        my ($name, $value) = split /=/, $pair, 2;
        ($params{$name} = $value // '') =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    }
    my %what = (
        method  => $method,
        path    => $path,
        query   => $query,
        headers => \%headers,
        name    => $self->{name},
    );
    _write_down($self, \%what);
    my ($verb, $rest) = $path =~ m{^/([\w-]+)/?(.*)$};
    my $code = __PACKAGE__->can('_do_' . ($verb // '')) // \&_do_none;
    return $code->($self, $client, $buffer, \%what, \%params, $rest);
}

sub _read_all {
    my ($self, $client, $buffer, $what, $code) = @_;
    my $md5 = Digest::MD5->new;
    my ($size, $is_whole) = _body(
        $client, $buffer,
        $what->{headers},
        sub {
            my ($piece, $so_far) = @_;
            $md5->add($piece);
            return $code ? $code->($piece, $so_far) : 1;
        }
    );
    my %body = (
        body   => 1,
        method => $what->{method},
        path   => $what->{path},
        size   => $size,
        whole  => $is_whole,
        md5    => $md5->hexdigest,
    );
    _write_down($self, \%body);
    return \%body;
}

sub _do_none {
    my ($self, $client) = @_;
    _answer($client, 404, "no such script\n", 'Connection' => 'close');
    return 0;
}

sub _do_take {
    my ($self, $client, $buffer, $what) = @_;
    my $body = _read_all($self, $client, $buffer, $what);
    return 0 if !$body->{whole};
    my $json = JSON::PP->new->canonical->encode({%{$what}, %{$body}});
    return _answer($client, 200, $what->{method} eq 'HEAD' ? undef : $json,
        'Content-Type' => 'application/json');
}

sub _do_empty {
    my ($self, $client, $buffer, $what, $params, $status) = @_;
    _read_all($self, $client, $buffer, $what)->{whole} or return 0;
    return _answer($client, $status, $status eq '205' ? '' : undef, %{$params});
}

sub _do_answer {
    my ($self, $client, $buffer, $what, $params, $status) = @_;
    _read_all($self, $client, $buffer, $what)->{whole} or return 0;
    return _answer($client, $status, "status $status\n",
        'Content-Type' => 'text/plain', %{$params});
}

sub _do_early {
    my ($self, $client, $buffer, $what, $params, $status) = @_;
    _answer($client, $status, "early $status\n",
        'Content-Type' => 'text/plain', 'Connection' => 'close');
    _read_all($self, $client, $buffer, $what) if $params->{stay};
    return 0;
}

sub _do_slow {
    my ($self, $client, $buffer, $what, $params) = @_;
    my $body = _read_all($self, $client, $buffer, $what,
        sub { sleep($params->{pause} || 0.01); return 1 });
    return $body->{whole} && _answer($client, 200, "slowly $body->{size}\n");
}

sub _do_cut {
    my ($self, $client, $buffer, $what, $params) = @_;
    _read_all($self, $client, $buffer, $what,
        sub { return $_[1] < ($params->{after} || 1000) });
    return _reset($client);
}

sub _do_drop {
    return 0;
}

sub _do_deaf {
    my ($self, $client) = @_;
    sleep 1 while getppid != 1;
    return 0;
}

sub _do_mirror {
    my ($self, $client, $buffer, $what) = @_;
    _send($client, "HTTP/1.1 200 Sunk${CRLF}Content-Type: text/plain$CRLF"
            . "Transfer-Encoding: chunked$CRLF$CRLF");
    my $body = _read_all($self, $client, $buffer, $what,
        sub {
            return _send($client,
                sprintf "%x$CRLF%s$CRLF", length $_[0], $_[0]);
        });
    return $body->{whole} && _send($client, "0$CRLF$CRLF");
}

sub _do_range {
    my ($self, $client, $buffer, $what) = @_;
    my $text = join '', map { sprintf '%04d', $_ } 0 .. 249;
    my @more = ('Content-Type' => 'text/plain', 'ETag' => '"r1"',
        'Accept-Ranges' => 'bytes');
    my $range    = $what->{headers}{range}      // '';
    my $if_range = $what->{headers}{'if-range'} // '"r1"';
    if ($if_range eq '"r1"' && $range =~ /^bytes=(\d+)-(\d+)$/) {
        return _answer($client, 416, "none\n", @more,
            'Content-Range' => 'bytes */1000')
            if $1 >= 1000;
        return _answer($client, 206, substr($text, $1, $2 - $1 + 1),
            @more, 'Content-Range' => "bytes $1-$2/1000");
    }
    return _answer($client, 200, $text, @more);
}

sub _do_hello {
    my ($self, $client, $buffer, $what) = @_;
    _read_all($self, $client, $buffer, $what)->{whole} or return 0;
    return _answer($client, 200,
        $what->{method} eq 'HEAD' ? undef : "hello from $self->{name}\n",
        'Content-Type' => 'text/plain');
}

1;
