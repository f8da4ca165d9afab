#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# ConnPoolOrigins: what browsers are told of each answer, what they may ask
# before, and whose pages may write, also behind proxies.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(free_port parse_response);
use ConnPoolUpstream;
use Test::More;

my $APP  = 'https://app.example';
my $EVIL = 'https://evil.example';
my ($vhost_port, $vhost_socket) = free_port();

sub said {
    my ($body, @lines) = @_;
    return [send => join("\r\n", 'HTTP/1.1 200 OK', 'Content-Type: text/plain',
            'Content-Length: ' . length $body, @lines, '', $body)];
}

my $upstream = ConnPoolUpstream->start(
    routes => {
        '/cors' => sub {
            return said('x', 'Access-Control-Allow-Origin: *', 'X-Told: yes',
                'Vary: Accept');
        },
        '/cache' => sub {
            return said('x', 'Cache-Control: max-age=60', 'Vary: Accept');
        },
    }
);
my $server   = ConnPoolTest->new(
    modules => [qw(auth_basic cache_socache remoteip)],
    vars    => {UP => $upstream->url(''), VHOST => $vhost_port},
    conf    => <<'CONF',
Listen 127.0.0.1:@VHOST@
ConnPoolDatabase notes sqlite:@DIR@/db/notes.db
ConnPoolUpstream up @UP@ answer-headers=Access-Control-Allow-Origin,X-Told
ConnPoolQuery list notes "SELECT text FROM note ORDER BY id LIMIT 2" format=arrays
ConnPoolQuery by_id notes "SELECT text FROM note WHERE id = :id" format=object
ConnPoolParam by_id id integer required
ConnPoolQuery kept notes "SELECT count(*) FROM note WHERE id < 3" format=value ttl=data
ConnPoolQuery add notes "INSERT INTO note(text) VALUES('new')" write=on
ConnPoolQuery change notes "UPDATE note SET text = 'x' WHERE id = 99" write=on methods=PUT,DELETE
ConnPoolQuery search notes "SELECT count(*) FROM note" format=value methods=GET,POST
Alias "/files" "@DIR@/files"
<Directory "@DIR@/files">
Require all granted
AddHandler connpool-query .q
ConnPoolServe add
ConnPoolOrigins https://app.example
</Directory>
<Location "/named">
ConnPoolOrigins https://app.example HTTP://Other.Example:8080 https://[2001:DB8::1]
</Location>
<Location "/same">
ConnPoolOrigins same
</Location>
<Location "/any">
ConnPoolOrigins any
</Location>
@PLACES@
<Location "/named/limited">
SetHandler connpool-query
ConnPoolServe list
ConnPoolRateLimit 1/h
</Location>
<Location "/named/login">
SetHandler connpool-query
ConnPoolServe add
AuthType Basic
AuthName notes
AuthUserFile "@DIR@/users"
Require valid-user
</Location>
<Location "/named/search">
SetHandler connpool-query
ConnPoolServe search
</Location>
<Location "/named/inner">
SetHandler connpool-query
ConnPoolServe add
ConnPoolOrigins same
</Location>
<Location "/named/status">
SetHandler connpool-status
</Location>
<Location "/named/health">
SetHandler connpool-health
</Location>
<Location "/named/cached">
SetHandler connpool-fetch
ConnPoolServe up
</Location>
<Location "/named/plain">
Redirect 404
</Location>
<Location "/proxied">
SetHandler connpool-query
ConnPoolServe add
ConnPoolOrigins same
ConnPoolTrustedProxies 192.0.2.0/24 127.0.0.1
</Location>
<Location "/unruled">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/unruled/proxied">
SetHandler connpool-query
ConnPoolServe add
ConnPoolTrustedProxies 127.0.0.0/8 ::1
</Location>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName https://public.example
ConnPoolOrigins https://vhost.example
<Location "/same">
ConnPoolOrigins same
</Location>
</VirtualHost>
CacheSocache shmcb
CacheEnable socache "/named/cached"
CONF
);
my $places = '';
for my $kind (qw(named same any)) {
    for my $query (qw(list by_id kept add change)) {
        $places .= "<Location \"/$kind/$query\">\nSetHandler connpool-query\n"
            . "ConnPoolServe $query\n</Location>\n";
    }
    $places .= "<Location \"/$kind/up\">\nSetHandler connpool-fetch\n"
        . "ConnPoolServe up\n</Location>\n"
        . "<Location \"/$kind/batch\">\nSetHandler connpool-batch\n"
        . "ConnPoolServe list add\n</Location>\n";
}
$server->{vars}{PLACES} = $places;
$server->make_sqlite('notes', <<'SQL');
CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT);
INSERT INTO note(text) VALUES ('one'), ('two');
SQL
# "secret"
$server->write_file('users',
    "me:\$apr1\$salt\$C/dhmVTt/lzb5o9dspuDE/\n");
$server->write_file("files/x.$_", "x\n") for qw(txt q);
$server->allow_log(qr/AH016\d\d|ConnPoolRateLimit|upstream 'up'/);
$server->start;

my $HOST = '127.0.0.1:' . $server->port;

# One request, as it is said; the lines of its head, too.
sub ask {
    my ($method, $path, %headers) = @_;
    my $content = delete $headers{content} // '';
    my $port    = delete $headers{port};
    my $host    = delete $headers{Host} // $HOST;
    my $text    = "$method $path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n"
        . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers)
        . (length $content ? "Content-Type: application/json\r\n" : '')
        . "Content-Length: " . length($content) . "\r\n\r\n$content";
    my $reply = $port ? raw_to($port, $text) : $server->raw($text);
    my $answer = parse_response($reply);
    $answer->{text} = $reply;
    return $answer;
}

sub raw_to {
    my ($port, $text) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp') or die $@;
    $socket->autoflush(1);
    print {$socket} $text;
    return ConnPoolTest::read_until($socket, undef, 10);
}

# Told so, to pages of this origin (or to none), with one Vary.
sub is_told {
    my ($answer, $origin, $name) = @_;
    my $head = $answer->{headers};
    is($head->{'access-control-allow-origin'}, $origin, "$name: who may read");
    my $is_named = defined $origin && $origin ne '*';
    is($head->{'access-control-allow-credentials'},
        $is_named ? 'true' : undef, "$name: with credentials");
    return;
}

sub varies {
    my ($answer, $name) = @_;
    my @lines = $answer->{text} =~ /^Vary: *([^\r]*)/mg;
    ok((grep { /(?:^|,\s*)Origin(?:,|$)/ } @lines) == 1, "$name: Vary")
        or diag(join "\n", @lines);
    return;
}

subtest 'an origin that is named' => sub {
    my $answer = ask(GET => '/named/list', Origin => $APP);
    is($answer->{status}, 200, 'reads');
    is_told($answer, $APP, 'it');
    varies($answer, 'it');
    for my $name ('ETag', 'Location', 'Link', 'ConnPool-Truncated', 'Retry-After') {
        like($answer->{headers}{'access-control-expose-headers'},
            qr/(?:^|, )\Q$name\E(?:,|$)/, "may see $name");
    }
    for my $origin ('https://app.example:443', 'HTTPS://APP.example',
        'https://app.example.', 'http://other.example:8080',
        'https://[2001:db8::1]', 'https://[2001:DB8:0:0::1]:443')
    {
        is_told(ask(GET => '/named/list', Origin => $origin), $origin, $origin);
    }
    for my $origin ($EVIL, 'http://app.example', 'https://app.example:444',
        'https://www.app.example', 'https://app.example.evil.example',
        'null', '', 'https://app.example/', 'https://app.example,https://x',
        'http://other.example', "http://$HOST")
    {
        $answer = ask(GET => '/named/list', Origin => $origin);
        is($answer->{status}, 200, "$origin reads");
        is_told($answer, undef, 'unread');
        varies($answer, 'it');
    }
    $answer = ask(GET => '/named/list');
    is_told($answer, undef, 'no origin');
    varies($answer, 'it');
};

subtest 'answers of all kinds' => sub {
    my $tag = ask(GET => '/named/list')->{headers}{etag};
    my $big = '[' . ('{"name":"list"},' x 100) . '{}]';
    for my $case (
        [304, 'not modified', GET => '/named/list', 'If-None-Match' => $tag],
        [412, 'a condition',  GET => '/named/list', 'If-Match' => '"x"'],
        [400, 'a parameter',  GET => '/named/by_id?id=x'],
        [404, 'no row',       GET => '/named/by_id?id=77'],
        [404, 'a path',       GET => '/named/by_id/77?id=1'],
        [405, 'a method',     PUT => '/named/list'],
        [200, 'a kept answer', GET => '/named/kept'],
        [200, 'the same again', GET => '/named/kept'],
        [200, 'HEAD',          HEAD => '/named/list'],
        [200, 'a fetch',       GET => '/named/up/text'],
        [503, 'a fetch of an error', GET => '/named/up/status/503'],
        [502, 'a fetch that fails',  GET => '/named/up/close'],
        [200, 'a batch',       POST => '/named/batch', content => '[{"name":"list"}]'],
        [400, 'a batch that is none', POST => '/named/batch', content => '{}'],
        [400, 'a large batch',        POST => '/named/batch', content => $big],
        [413, 'a large body', POST => '/named/batch', content => 'x' x 1_100_000],
        [401, 'nobody',       POST => '/named/login'],
        [200, 'a plain OPTIONS', OPTIONS => '/named/list'],
        [200, 'within the rate', GET => '/named/limited'],
        [429, 'too often',       GET => '/named/limited'],
        )
    {
        my ($status, $name, $method, $path, @headers) = @$case;
        my $answer = ask($method => $path, Origin => $APP, @headers);
        is($answer->{status}, $status, $name);
        is_told($answer, $APP, $name);
        varies($answer, $name);
    }
    my $failed = ask(GET => '/named/up/close', Origin => $APP);
    is($failed->{headers}{vary}, 'Origin', 'what an upstream fails with');
    for my $path ('/named/status', '/named/health', '/files/x.txt') {
        my $answer = ask(GET => $path, Origin => $APP);
        is($answer->{status}, 200, $path);
        is_told($answer, undef, "$path is not asked");
    }
};

subtest 'headers of an upstream' => sub {
    my $answer = ask(GET => '/named/up/cors', Origin => $APP);
    is_told($answer, $APP, 'ours');
    is(scalar(() = $answer->{text} =~ /^Access-Control-Allow-Origin:/mg),
        1, 'alone');
    is($answer->{headers}{'x-told'}, 'yes', 'others pass');
    is($answer->{headers}{vary}, 'Accept,Origin', 'Vary is one');
    $answer = ask(GET => '/same/up/cors', Origin => $EVIL);
    is_told($answer, undef, 'none');
};

subtest 'preflights' => sub {
    my %asks = ('Access-Control-Request-Method' => 'POST');
    for my $case (
        ['/named/add',    'POST, PUT, PATCH, DELETE'],
        ['/named/change', 'PUT, DELETE'],
        ['/named/list',   'GET, HEAD'],
        ['/named/search', 'GET, HEAD, POST'],
        ['/named/batch',  'POST'],
        ['/named/up',     'GET, HEAD'],
        ['/named/login',  'POST, PUT, PATCH, DELETE'],
        ['/any/add',      'POST, PUT, PATCH, DELETE'],
        )
    {
        my ($path, $methods) = @$case;
        my $answer = ask(
            OPTIONS => $path, %asks, Origin => $APP,
            'Access-Control-Request-Headers' => 'content-type, x-tenant'
        );
        my $head = $answer->{headers};
        is($answer->{status}, 204, $path);
        is($answer->{content}, '', 'nothing else');
        is($head->{'access-control-allow-methods'}, $methods, 'its methods');
        is($head->{'access-control-allow-headers'},
            'content-type, x-tenant', 'the headers that are asked for');
        like($head->{'access-control-max-age'}, qr/^\d+$/, 'for a while');
        is_told($answer, $path =~ /any/ ? '*' : $APP, 'it');
    }
    for my $case (['/named/add', $EVIL], ['/named/login', $EVIL],
        ['/named/add', 'null'], ['/same/add', $APP], ['/named/inner', $APP],
        ['/proxied', $EVIL])
    {
        my ($path, $origin) = @$case;
        my $answer = ask(OPTIONS => $path, %asks, Origin => $origin);
        is($answer->{status}, 403, "$origin may not ask $path");
        is_told($answer, undef, 'it');
        ok(!$answer->{headers}{'access-control-allow-methods'}, 'nor what');
        unlike($answer->{content}, qr/notes|add|login/, 'nor what there is');
    }
    for my $list ('a b, c', "x\x01y", '<script>', 'x' x 2000, '') {
        my $answer = ask(OPTIONS => '/named/add', %asks, Origin => $APP,
            'Access-Control-Request-Headers' => $list);
        next if $answer->{status} == 400;
        is($answer->{status}, 204, 'headers that are none');
        if ($list ne 'a b, c') {
            ok(!$answer->{headers}{'access-control-allow-headers'}, 'are not told');
        }
    }
    my $answer = ask(OPTIONS => '/unruled', %asks, Origin => $APP);
    is($answer->{status}, 200, 'without the directive it is a plain OPTIONS');
    is($answer->{headers}{allow}, 'POST, PUT, PATCH, DELETE, OPTIONS', 'with Allow');
    is_told($answer, undef, 'it');
    $answer = ask(OPTIONS => '/same/add', %asks, Origin => "http://$HOST");
    is($answer->{status}, 204, 'a page of its own');
    ask(OPTIONS => '/named/limited', %asks, Origin => $APP) for 1 .. 5;
    $answer = ask(OPTIONS => '/named/limited', %asks, Origin => $APP);
    is($answer->{status}, 204, 'counts against no rate');
    ok(!$answer->{headers}{ratelimit}, 'and tells none');
    $answer = ask(OPTIONS => '/files/x.q', %asks, Origin => $APP);
    is($answer->{status}, 204, 'where AddHandler says so');
    is_told($answer, $APP, 'it');
    is_told(ask(GET => '/files/x.q/y', Origin => $APP), $APP, 'behind it');
    $answer = ask(OPTIONS => '/files/x.q', %asks, Origin => $EVIL);
    is($answer->{status}, 403, 'or not');
    $answer = ask(OPTIONS => '/named/status', %asks, Origin => $APP);
    is_told($answer, undef, 'the report');
};

subtest 'anybody' => sub {
    for my $origin ($APP, $EVIL, 'null', undef) {
        my @headers = defined $origin ? (Origin => $origin) : ();
        my $answer  = ask(GET => '/any/list', @headers);
        is_told($answer, '*', $origin // 'no origin');
        unlike($answer->{headers}{vary} // '', qr/Origin/, 'all the same');
    }
    is(ask(GET => '/any/by_id?id=x', Origin => $EVIL)
            ->{headers}{'access-control-allow-origin'}, '*', 'errors, too');
};

# Who may write: [status, path, headers].
subtest 'writes' => sub {
    my $own = "http://$HOST";
    my @cases = (
        [200, '/named/add'],
        [200, '/named/add', Origin => $APP],
        [200, '/named/add', Origin => $APP, 'Sec-Fetch-Site' => 'cross-site'],
        [200, '/named/add', Origin => $APP, Cookie => 'a=b'],
        [200, '/named/add', Origin => $own],
        [200, '/named/add', Origin => 'https://other', 'Sec-Fetch-Site' => 'same-origin'],
        [200, '/named/add', 'Sec-Fetch-Site' => 'none'],
        [403, '/named/add', Origin => $EVIL],
        [403, '/named/add', Origin => $EVIL, 'Sec-Fetch-Site' => 'same-site'],
        [403, '/named/add', Origin => 'null'],
        [403, '/named/add', Origin => ''],
        [403, '/named/add', 'Sec-Fetch-Site' => 'cross-site'],
        [403, '/named/add', 'Sec-Fetch-Site' => 'same-site'],
        [200, '/same/add', Origin => $own],
        [200, '/same/add', Origin => "HTTP://$HOST"],
        [200, '/same/add', Origin => 'http://app.example', Host => 'App.Example:80'],
        [200, '/same/add', Origin => 'http://app.example:80', Host => 'app.example.'],
        [200, '/same/add', Origin => 'http://[::1]:8080', Host => '[0:0::1]:8080'],
        [403, '/same/add', Origin => $APP],
        [403, '/same/add', Origin => "https://$HOST"],
        [403, '/same/add', Origin => 'http://127.0.0.1:1'],
        [403, '/same/add', Origin => "$own.evil.example"],
        [403, '/same/add', Origin => "$own/"],
        [403, '/same/add', Origin => 'null'],
        [403, '/same/add', Origin => 'null', Host => 'null'],
        [200, '/any/add', Origin => $EVIL],
        [200, '/any/add', Origin => 'null'],
        [200, '/any/add', Origin => $EVIL, Authorization => 'Bearer x'],
        [403, '/any/add', Origin => $EVIL, Cookie => 'session=1'],
        [403, '/any/add', Origin => $EVIL, Authorization => 'Basic eDp5'],
        [200, '/any/add', Origin => $own, Cookie => 'session=1'],
    );
    for my $case (@cases) {
        my ($status, $path, %headers) = @$case;
        my $what = join ', ', $path, map { "$_: $headers{$_}" } sort keys %headers;
        my $answer = ask(POST => $path, %headers);
        is($answer->{status}, $status, $what);
        like($answer->{content}, qr/may not write here/, 'refused so')
            if $status == 403;
    }
    my $batch = '[{"name":"add"},{"name":"list"}]';
    for (['/named/batch', $EVIL, 403], ['/named/batch', $APP, 200]) {
        my ($path, $origin, $status) = @$_;
        my $items = ConnPoolTest::decode(
            ask(POST => $path, Origin => $origin, content => $batch));
        is($items->[0]{status}, $status, "$origin writes by a batch");
        is($items->[1]{status}, 200, 'and reads');
    }
    is(ask(GET => '/same/list', Origin => $EVIL)->{status}, 200, 'reading is free');
};

subtest 'behind proxies' => sub {
    my @cases = (
        [200, '/proxied', Origin => $APP, 'X-Forwarded-Host' => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [200, '/proxied', Origin => $APP, 'X-Forwarded-Host' => 'app.example:443',
            'X-Forwarded-Proto' => 'HTTPS'],
        [200, '/proxied', Origin => $APP, 'X-Forwarded-Host' => 'x, app.example',
            'X-Forwarded-Proto' => 'http,https'],
        [200, '/proxied', Origin => $APP, Host => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [200, '/proxied', Origin => 'http://app.example',
            'X-Forwarded-Host' => 'app.example'],
        [403, '/proxied', Origin => $APP, 'X-Forwarded-Host' => 'app.example'],
        [403, '/proxied', Origin => $APP, 'X-Forwarded-Host' => 'app.example, other',
            'X-Forwarded-Proto' => 'https'],
        [403, '/proxied', Origin => $EVIL, 'X-Forwarded-Host' => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [403, '/proxied', Origin => 'null', 'X-Forwarded-Host' => 'null'],
        [403, '/proxied', Origin => $APP, 'X-Forwarded-Host' => '',
            'X-Forwarded-Proto' => 'https'],
        [403, '/same/add', Origin => $APP, 'X-Forwarded-Host' => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [403, '/unruled', Origin => $APP, 'X-Forwarded-Host' => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [200, '/unruled/proxied', Origin => $APP, 'X-Forwarded-Host' => 'app.example',
            'X-Forwarded-Proto' => 'https'],
        [200, '/unruled', Origin => $APP, Host => 'app.example:443'],
        [403, '/unruled', Origin => $APP, Host => 'app.example:444'],
    );
    for my $case (@cases) {
        my ($status, $path, %headers) = @$case;
        my $what = join ', ', $path, map { "$_: $headers{$_}" } sort keys %headers;
        is(ask(POST => $path, %headers)->{status}, $status, $what);
    }
    for my $case (
        [200, Origin => 'https://public.example', Host => 'inner:8080'],
        [200, Origin => 'https://inner',          Host => 'inner'],
        [403, Origin => 'http://public.example',  Host => 'inner:8080'],
        [403, Origin => 'https://public.example:8443', Host => 'inner:8080'],
        )
    {
        my ($status, %headers) = @$case;
        is(ask(POST => '/same/add', port => $vhost_port, %headers)->{status},
            $status, "$headers{Origin} at ServerName https://public.example");
    }
};

subtest 'virtual hosts' => sub {
    my $answer = ask(GET => '/unruled', port => $vhost_port,
        Origin => 'https://vhost.example');
    is($answer->{status}, 405, 'an answer');
    is_told($answer, 'https://vhost.example', 'of the virtual host');
    is_told(ask(GET => '/unruled', Origin => 'https://vhost.example'),
        undef, 'of another');
};

subtest 'caches' => sub {
    my %seen;
    for my $round (1 .. 2) {
        for my $origin ($APP, 'http://other.example:8080', $EVIL, undef) {
            my $answer = ask(
                GET => '/named/cached/cache',
                defined $origin ? (Origin => $origin) : ()
            );
            is($answer->{status}, 200, 'answered');
            is_told($answer, $origin && $origin ne $EVIL ? $origin : undef,
                $origin // 'no origin');
            $seen{exists $answer->{headers}{age} ? 'kept' : 'new'}++;
        }
    }
    is($seen{kept}, 4, 'by mod_cache, an answer for each') or diag explain \%seen;
    for my $origin ($APP, 'http://other.example:8080', $EVIL, $APP) {
        is_told(ask(GET => '/named/kept', Origin => $origin),
            $origin eq $EVIL ? undef : $origin, "$origin of what is kept");
    }
};

subtest 'configuration' => sub {
    my $refuse = sub {
        my ($line, $pattern) = @_;
        my ($exit, $text) = $server->configtest("$line\n");
        isnt($exit, 0, "$line: refused");
        like($text, $pattern, 'and why');
    };
    for my $case (
        ['https://app.example/', qr/'\S+' has a path/],
        ['https://app.example/x', qr/has a path/],
        ['https://*.example',    qr/has a wildcard/],
        ['*',                    qr/neither https/],
        ['ftp://app.example',    qr/neither https/],
        ['app.example',          qr/neither https/],
        ['null',                 qr/without an origin/],
        ['https://u@app.example', qr/has a user/],
        ['https://app.example:0', qr/has a port/],
        ['https://app.example:70000', qr/has a port/],
        ['https://',                  qr/has no host/],
        ["https://b\xc3\xbccher.example", qr/xn--/],
        ['any https://app.example', qr/beside others/],
        ['https://app.example any', qr/beside others/],
        ['same any',                qr/beside others/],
        ['https://app.example none', qr/'none' begins/],
        )
    {
        my ($words, $pattern) = @$case;
        $refuse->("ConnPoolOrigins $words",
            qr/ConnPoolOrigins: .*$pattern.*allowed are https:.*same, any/s);
    }
    for my $word ('app.example', '10', '10.0.0.0/33', '10.0.0.0/', '10.0.0.256',
        '::1/129', 'all', '127.0.0.1:80')
    {
        $refuse->("ConnPoolTrustedProxies $word",
            qr/ConnPoolTrustedProxies: '\Q$word\E' is neither/);
    }
    $refuse->('ConnPoolOrigins', qr/ConnPoolOrigins/);
    my ($exit, $text) = $server->configtest(<<'CONF');
ConnPoolOrigins same https://app.example
ConnPoolOrigins http://localhost:3000
ConnPoolTrustedProxies 10.0.0.0/8 192.0.2.1 ::1 fd00::/8 10.0.0.0/255.0.0.0
CONF
    is($exit, 0, 'what is good') or diag $text;
};

$server->done;
$upstream->stop;
done_testing;
