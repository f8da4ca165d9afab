# SPDX-License-Identifier: Apache-2.0
#
# A page in Chromium, without a window, over its pipe for debuggers. Core Perl
# only.
#
#   my $chromium = ConnPoolBrowser::find() or plan skip_all => ...;
#   my $browser  = ConnPoolBrowser->start(dir => $dir, width => 390);
#   $browser->open($url);
#   is($browser->evaluate('document.title'), 'OK');
#   $browser->press('Tab');
#   $browser->screenshot('page.png');
#   $browser->end;
package ConnPoolBrowser;

use strict;
use warnings;

use IO::Select   ();
use JSON::PP     ();
use MIME::Base64 ();
use POSIX        ();
use Time::HiRes  qw(sleep time);

my $JSON    = JSON::PP->new->allow_nonref->utf8;
my $SECONDS = 60;

# The path of the program, or nothing.
sub find {
    my ($path) = grep {-x}
        map { ("$_/chromium", "$_/chromium-browser", "$_/google-chrome") } split /:/, $ENV{PATH};
    return $path;
}

# Arguments: dir (for the profile; needed), width, height, dark (1),
# script (0: none runs), csp (0: what the page forbids is allowed).
sub start {
    my ($class, %arg) = @_;
    my $program = find() // die "no chromium\n";
    local $^F = 1000;    # or exec would close the pipes
    pipe(my $theirs_in,  my $ours_out)   or die "pipe: $!";
    pipe(my $ours_in,    my $theirs_out) or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::setpgid(0, 0);
        close $ours_in;
        close $ours_out;
        # Out of the way of 3 and 4 first.
        POSIX::dup2(fileno $theirs_in,  200);
        POSIX::dup2(fileno $theirs_out, 201);
        POSIX::dup2(200, 3);
        POSIX::dup2(201, 4);
        POSIX::close($_) for 200, 201;
        open(STDIN,  '<',  '/dev/null');
        open(STDOUT, '>>', "$arg{dir}/browser.log");
        open(STDERR, '>&', \*STDOUT);
        exec($program, '--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu',
            '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
            '--disable-component-update', '--disable-sync', '--hide-scrollbars',
            "--user-data-dir=$arg{dir}/browser", 'about:blank')
            or POSIX::_exit(127);
    }
    close $theirs_in;
    close $theirs_out;
    binmode $ours_out;
    my $self = bless {pid => $pid, out => $ours_out, in => $ours_in, next => 1, text => '',
        events => []}, $class;
    $ours_out->autoflush(1);
    my $target = $self->call('Target.createTarget', url => 'about:blank')->{targetId};
    $self->{session} =
        $self->call('Target.attachToTarget', targetId => $target, flatten => JSON::PP::true)->{sessionId};
    $self->call("$_.enable") for qw(Page Runtime Log Network);
    $self->size($arg{width} // 1280, $arg{height} // 900);
    $self->dark($arg{dark}) if defined $arg{dark};
    $self->call('Emulation.setScriptExecutionDisabled', value => JSON::PP::true)
        if exists $arg{script} && !$arg{script};
    $self->call('Page.setBypassCSP', enabled => JSON::PP::true) if exists $arg{csp} && !$arg{csp};
    return $self;
}

sub _read {
    my ($self, $end) = @_;
    while ($self->{text} !~ /\0/) {
        my $left = $end - time;
        return if $left <= 0;
        next   if !IO::Select->new($self->{in})->can_read($left);
        my $got = sysread($self->{in}, $self->{text}, 1 << 20, length $self->{text});
        die "the browser has gone\n" if !$got;
    }
    $self->{text} =~ s/^([^\0]*)\0//;
    return $JSON->decode($1);
}

# Ask the browser for something; dies with its complaint.
sub call {
    my ($self, $method, %params) = @_;
    my $id  = $self->{next}++;
    my %ask = (id => $id, method => $method, params => \%params);
    $ask{sessionId} = $self->{session} if $self->{session} && $method !~ /^(?:Target|Browser)\./;
    my $out = $self->{out};
    print {$out} $JSON->encode(\%ask), "\0";
    my $end = time + $SECONDS;
    while (my $message = $self->_read($end)) {
        if (($message->{id} // 0) == $id) {
            die "$method: $message->{error}{message}\n" if $message->{error};
            return $message->{result};
        }
        push @{$self->{events}}, $message if $message->{method};
    }
    die "$method: no answer within $SECONDS s\n";
}

# Wait for an event of that name.
sub _await {
    my ($self, $method) = @_;
    my $end = time + $SECONDS;
    while (1) {
        for my $i (0 .. $#{$self->{events}}) {
            return splice @{$self->{events}}, $i, 1 if $self->{events}[$i]{method} eq $method;
        }
        push @{$self->{events}}, $self->_read($end) // die "no $method within $SECONDS s\n";
    }
}

sub open {
    my ($self, $url) = @_;
    $self->{events} = [];
    my $result = $self->call('Page.navigate', url => $url);
    die "$url: $result->{errorText}\n" if $result->{errorText};
    $self->_await('Page.loadEventFired');
    return;
}

sub size {
    my ($self, $width, $height) = @_;
    $self->call('Emulation.setDeviceMetricsOverride', width => $width, height => $height,
        deviceScaleFactor => 1, mobile => $width < 600 ? JSON::PP::true : JSON::PP::false);
    return;
}

sub dark {
    my ($self, $is_dark) = @_;
    $self->call('Emulation.setEmulatedMedia',
        features => [{name => 'prefers-color-scheme', value => $is_dark ? 'dark' : 'light'}]);
    return;
}

# The value of a JavaScript expression, or of the promise that it is.
sub evaluate {
    my ($self, $expression) = @_;
    my $answer = $self->call('Runtime.evaluate', expression => $expression,
        returnByValue => JSON::PP::true, awaitPromise => JSON::PP::true);
    die "$expression: ", $answer->{exceptionDetails}{exception}{description} // 'failed', "\n"
        if $answer->{exceptionDetails};
    return $answer->{result}{value};
}

# Press a key: Tab, Enter, or Space; with shift.
sub press {
    my ($self, $key, $is_shifted) = @_;
    my %code = (Tab => 9, Enter => 13, Space => 32);
    my %text = (Enter => "\r", Space => ' ');
    for my $type ('keyDown', 'keyUp') {
        $self->call(
            'Input.dispatchKeyEvent', type => $type, key => $key eq 'Space' ? ' ' : $key,
            code => $key, windowsVirtualKeyCode => $code{$key}, modifiers => $is_shifted ? 8 : 0,
            $type eq 'keyDown' && $text{$key} ? (text => $text{$key}) : ()
        );
    }
    return;
}

# What the page or the browser has complained of since it was opened.
sub complaints {
    my ($self) = @_;
    $self->evaluate('0');
    my @texts;
    for my $event (@{$self->{events}}) {
        my $params = $event->{params};
        push @texts, $params->{entry}{text} if $event->{method} eq 'Log.entryAdded';
        push @texts, join ' ', map { $_->{value} // '' } @{$params->{args}}
            if $event->{method} eq 'Runtime.consoleAPICalled';
        push @texts, $params->{exceptionDetails}{text}
            if $event->{method} eq 'Runtime.exceptionThrown';
    }
    return @texts;
}

# Whole pages: full => 1.
sub screenshot {
    my ($self, $path, %arg) = @_;
    my $data = $self->call('Page.captureScreenshot',
        $arg{full} ? (captureBeyondViewport => JSON::PP::true) : ())->{data};
    CORE::open(my $out, '>:raw', $path) or die "$path: $!";
    print {$out} MIME::Base64::decode($data);
    close $out or die "$path: $!";
    return;
}

sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} // return;
    eval { $self->call('Browser.close') };
    for (1 .. 50) {
        return if waitpid($pid, POSIX::WNOHANG()) == $pid;
        sleep 0.1;
    }
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    $self->end;
    return;
}

1;
