#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What the request itself tells a query: who asks, from where, with which header,
# at which path. No client can say it otherwise: nobody sees another's rows under
# hundreds of forged requests, alone, in batches, through caches.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(command parallel read_until parse_response);
use Digest::SHA  ();
use IO::Socket::INET;
use JSON::PP     ();
use MIME::Base64 qw(encode_base64);
use Test::More;

my $JSON  = JSON::PP->new->utf8->allow_nonref;
my @USERS = qw(alice bob carol);

my $AUTH = <<'CONF';
AuthType Basic
AuthName notes
AuthBasicProvider file
AuthUserFile @DIR@/users
Require valid-user
CONF

sub place {
    my ($path, $query, @more) = @_;
    return "<Location \"$path\">\nSetHandler connpool-query\nConnPoolServe $query\n"
        . join("\n", @more) . "\n</Location>\n";
}

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolCache shmcb:connpool(512000)
CONF
my $MINE = 'SELECT id, owner, body FROM note WHERE owner = :who AND id >= :from ORDER BY id';
my %CACHING = (
    mine      => '',
    kept      => ' ttl=data cache=shared',
    timed     => ' ttl=1h cache=shared',
    private   => ' ttl=1h',
    coalesced => ' coalesce=on',
);
for my $name (sort keys %CACHING) {
    $conf .= "ConnPoolQuery $name main \"$MINE\" methods=GET,POST$CACHING{$name}\n"
        . "ConnPoolParam $name who text required maxlen=20 from=\"%{REMOTE_USER}\"\n"
        . "ConnPoolParam $name from integer default=0\n"
        . place("/$name", $name, $AUTH);
}
$conf .= <<'CONF' . place('/open', 'mine');
ConnPoolQuery note main "SELECT id, owner, body FROM note WHERE id = :id AND owner = :who" format=object
ConnPoolParam note id integer min=1 max=1000 path=1
ConnPoolParam note who required from="%{REMOTE_USER}"
ConnPoolQuery add main "INSERT INTO note(owner, body) VALUES (:who, :body) RETURNING id, owner" write=on format=object
ConnPoolParam add who required from="%{REMOTE_USER}"
ConnPoolParam add body required
ConnPoolQuery edit main "UPDATE note SET body = :body WHERE id = :id AND owner = :who" write=on
ConnPoolParam edit id integer path=1
ConnPoolParam edit who required from="%{REMOTE_USER}"
ConnPoolParam edit body required
ConnPoolQuery any main "SELECT :who AS who"
ConnPoolParam any who
ConnPoolQuery tenant main "SELECT :t AS tenant" format=value
ConnPoolParam tenant t required maxlen=8 from="%{HTTP:X-Tenant}"
ConnPoolQuery number main "SELECT :n AS n, typeof(:n) AS t" format=object
ConnPoolParam number n integer min=1 max=9 from="%{HTTP:X-Number}"
ConnPoolQuery fallback main "SELECT :n AS n" format=value
ConnPoolParam fallback n integer default=7 from="%{HTTP:X-Number}"
ConnPoolQuery where main "SELECT :addr AS addr, :method AS method, :both AS b" format=object methods=GET,POST
ConnPoolParam where addr from="%{REMOTE_ADDR}"
ConnPoolParam where method from="%{REQUEST_METHOD}"
ConnPoolParam where both from="%{REQUEST_METHOD}-%{tolower:%{REMOTE_ADDR}}"
ConnPoolQuery matched main "SELECT :id AS id, typeof(:id) AS t" format=object
ConnPoolParam matched id integer required from="%{env:MATCH_ID}"
ConnPoolQuery one main "SELECT :a AS a" format=value
ConnPoolParam one a path=1
ConnPoolQuery two main "SELECT :b AS b, :a AS a" format=object
ConnPoolParam two b integer path=2
ConnPoolParam two a maxlen=10 path=1
ConnPoolQuery anon main "SELECT coalesce(:who, 'nobody') AS who" format=value
ConnPoolParam anon who from="%{REMOTE_USER}"
ConnPoolQuery ttl_tenant main "SELECT :t AS tenant, random() AS r" format=object ttl=1h
ConnPoolParam ttl_tenant t from="%{HTTP:X-Tenant}"
CONF
$conf .= place('/note', 'note', $AUTH) . place('/add', 'add', $AUTH)
    . place('/edit', 'edit', $AUTH)
    . join('', map { place("/$_", $_) } qw(tenant number fallback where one two anon ttl_tenant))
    . place('/slash/', 'one') . place('/two/inner', 'one') . place('/open-rest', 'one', 'AcceptPathInfo On');
$conf .= <<"CONF";
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe mine any add
$AUTH</Location>
<Location "/both">
SetHandler connpool-batch
ConnPoolServe mine any
$AUTH</Location>
<Location "/module">
SetHandler cptest
$AUTH</Location>
<Location "/module/open">
AuthType None
Require all granted
</Location>
<Location "/late-batch">
ConnPoolServe one
</Location>
<Location "/late-batch/here">
SetHandler connpool-batch
</Location>
<LocationMatch "^/m/(?<ID>[^/]+)\$">
SetHandler connpool-query
ConnPoolServe matched
</LocationMatch>
<LocationMatch "^/r/[a-z]+">
SetHandler connpool-query
ConnPoolServe one
</LocationMatch>
<Location ~ "^/s/[a-z]+/">
SetHandler connpool-query
ConnPoolServe one
</Location>
Alias /dir \@DIR\@/htdocs/files
<Directory "\@DIR\@/htdocs/files">
DirectorySlash Off
SetHandler connpool-query
ConnPoolServe one
</Directory>
<Files "real.json">
SetHandler connpool-query
ConnPoolServe two
</Files>
<VirtualHost 127.0.0.1:\@PORT\@>
ServerName first
AllowEncodedSlashes NoDecode
RewriteEngine On
RewriteRule "^/pretty/(.*)\$" "/one/\$1" [PT]
</VirtualHost>
<VirtualHost 127.0.0.1:\@PORT\@>
ServerName decodes
AllowEncodedSlashes On
RewriteEngine On
RewriteRule "^/pretty/(.*)\$" "/one/\$1" [PT]
</VirtualHost>
<VirtualHost 127.0.0.1:\@PORT\@>
ServerName refuses
AllowEncodedSlashes Off
</VirtualHost>
ErrorDocument 403 /one/forbidden
<Location "/closed">
Require all denied
</Location>
CONF

# The prefork MPM has too few threads for HTTP/2.
my $h2 = -x '/usr/bin/nghttp' && ($ENV{CONNPOOL_MPM} // '') ne 'prefork';
$conf = "Protocols h2c http/1.1\n$conf" if $h2;
my $server = ConnPoolTest->new(
    modules => ['auth_basic', 'rewrite', 'socache_shmcb', $h2 ? 'http2' : ()],
    threads => 8,
    load    => {cptest_module => 't/mod_cptest.so'},
    conf    => $conf);
$server->write_file('users', join '',
    map { "$_:{SHA}" . Digest::SHA::sha1_base64("pw-$_") . "=\n" } @USERS, 'a' x 30);
$server->write_file("htdocs/files/$_", 'x') for 'sub/file', 'plain';
$server->write_file('htdocs/real.json', 'x');
$server->make_sqlite('main', join "\n",
    'CREATE TABLE note(id INTEGER PRIMARY KEY, owner TEXT, body TEXT);',
    map { my $id = $_; "INSERT INTO note VALUES ($id, '$USERS[$id % 3]', 'note $id');" } 1 .. 30);
$server->allow_log(qr/AH00127|AH01630|AH01617/);
$server->start;

sub login {
    my ($user) = @_;
    return (authorization => 'Basic ' . encode_base64("$user:pw-$user", ''));
}

sub ask {
    my ($path, $user, %headers) = @_;
    return $server->request('GET', $path,
        headers => {$user ? login($user) : (), %headers}, keep_alive => 1);
}

# Bytes as they are: what no client library would send.
sub raw {
    my ($path, @lines) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port)
        // die "connect: $@";
    unshift @lines, 'Host: first' if !grep { /^Host:/ } @lines;
    print {$socket} join("\r\n", "GET $path HTTP/1.1", 'Connection: close', @lines)
        . "\r\n\r\n";
    return parse_response(read_until($socket, undef, 20));
}

sub is_answer {
    my ($answer, $status, $content, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $is_good = $answer->{status} == $status
        && (ref $content ? $answer->{content} =~ $content : $answer->{content} eq $content);
    return ok($is_good, $what) || diag("$answer->{status} $answer->{content}");
}

sub owners {
    my ($answer) = @_;
    my $rows = eval { $JSON->decode($answer->{content}) };
    my %owners = map { $_->{owner} => 1 } ref $rows eq 'ARRAY' ? @$rows : ();
    return join ',', sort keys %owners;
}

subtest 'who asks sees his own' => sub {
    for my $path (map { "/$_" } sort keys %CACHING) {
        for my $user (@USERS, @USERS) {
            my $answer = ask($path, $user);
            is("$answer->{status} " . owners($answer), "200 $user", "$path: $user");
            like($answer->{headers}{'cache-control'}, qr/^private\b/, '... and nobody else');
        }
        is(ask($path)->{status}, 401, '... with a password');
        is(scalar @{$JSON->decode(ask("$path?from=28", 'bob')->{content})}, 1, '... and a parameter');
    }
    my $answer = ask('/mine', 'alice');
    my $etag   = $answer->{headers}{etag};
    is(ask('/mine', 'alice', 'If-None-Match' => $etag)->{status}, 304, 'his tag');
    is(owners(ask('/mine', 'bob', 'If-None-Match' => $etag)), 'bob', "another's");
};

sub query_of {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

subtest 'nobody is refused' => sub {
    my $before = query_of('mine');
    my $answer = ask('/open');
    is_answer($answer, 403, qr/"param":"who","reason":"is missing"/, 'empty, and required');
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... a problem');
    is_answer(ask('/open', 'alice'), 403, qr/missing/, 'credentials that nobody has checked');
    is_answer(ask('/open?who=alice'), 403, qr/missing/, '... and a parameter');
    my $after = query_of('mine');
    is($after->{forbidden} - $before->{forbidden}, 3, '... each is counted');
    is($after->{count}, $before->{count}, '... as no run');
    like($server->get('/connpool-status')->{content},
        qr/3 requests without a fact that is required/, '... and shown on the page');
    is_answer(ask('/anon'), 200, '"nobody"', 'not required: NULL');
};

subtest 'a client cannot say it' => sub {
    my %json = ('content-type' => 'application/json');
    my %form = ('content-type' => 'application/x-www-form-urlencoded');
    for my $path (map { "/$_" } sort keys %CACHING) {
        my @answers = (
            ask("$path?who=bob", 'alice'),
            ask("$path?who=", 'alice'),
            ask("$path?%77ho=bob", 'alice'),
            ask("$path?from=1&who=bob", 'alice'),
            $server->request('POST', $path, headers => {login('alice'), %form}, content => 'who=bob'),
            $server->request('POST', $path, headers => {login('alice'), %json}, content => '{"who":"bob"}'),
            $server->request('POST', $path, headers => {login('alice'), %json}, content => '{"who":null}'),
        );
        is_answer($_, 400, qr/"param":"who","reason":"is not a parameter here"/, $path) for @answers;
    }
    is_answer(ask('/one/x?a=y'), 400, qr/"param":"a","reason":"is not a parameter here"/, 'a segment');
};

subtest 'batches' => sub {
    my @items = @{$JSON->decode($server->request('POST', '/batch',
        headers => {login('alice'), 'content-type' => 'application/json'},
        content => $JSON->encode([
            {name => 'mine'}, {name => 'mine', params => {who => 'bob'}},
            {name => 'any', params => {who => 'bob'}},
            {name => 'add', params => {body => 'x', who => 'bob'}},
            {name => 'add', params => {body => 'by a batch'}},
        ]))->{content})};
    is(join(' ', map { $_->{status} } @items), '200 400 200 400 200', 'statuses');
    is(join(',', map { $_->{owner} } @{$items[0]{body}}), join(',', ('alice') x 10), 'own rows');
    is($items[1]{error}{errors}[0]{reason}, 'is not a parameter here', 'named');
    is($items[4]{body}{owner}, 'alice', 'a write');
    my $other = <<'SQL';
SELECT count(*) FROM note WHERE owner NOT IN ('alice', 'bob', 'carol') OR body = 'x'
SQL
    is($server->sqlite('main', $other), 0, 'nothing else was written');
};

subtest 'a batch by GET' => sub {
    my $conf_get = ask('/batch?who=bob', 'alice');
    is($conf_get->{status}, 405, 'has a write');
    my $both = $JSON->decode(ask('/both?who=bob', 'alice')->{content});
    is(join(',', map { $_->{owner} } @{$both->[0]{body}}), join(',', ('alice') x 11), 'the fact of one');
    is($both->[1]{body}[0]{who}, 'bob', '... is a parameter of another');
    like(ask('/both', 'alice')->{headers}{'cache-control'}, qr/^private/, '... private');
    my $late = $JSON->decode($server->request('GET', '/late-batch/here')->{content});
    is($late->[0]{status}, 404, 'what has no path there');
    is_answer(ask('/late-batch/here/x'), 404, qr/Nothing is served/, 'nor with a path');
};

subtest 'other modules' => sub {
    my $rows = ask('/module?named=a:mine&bind=a:from:i:28&run=a&rows=a&end=a', 'alice')->{content};
    like($rows, qr/^run ok\n.*^row id=i:30 owner=t:alice.*^next eof$/ms, 'a fact');
    unlike($rows, qr/bob|carol/, '... and no others');
    my $forged = ask('/module?named=a:mine&bind=a:who:t:bob&run=a&error=a', 'alice')->{content};
    like($forged, qr/^run einval\n.*who is not a parameter here/ms, 'cannot be given');
    my $nobody = ask('/module/open?named=a:mine&run=a&error=a')->{content};
    like($nobody, qr/^run einval\n.*who is missing/ms, 'missing');
    like(ask('/module/5?named=a:one&run=a&rows=a&end=a', 'bob')->{content}, qr/^row a=t:5/m, 'a segment');
    like(ask('/module?named=a:one&run=a&error=a', 'bob')->{content}, qr/a is not in the path/, '... missing');
};

subtest 'requests within requests' => sub {
    my $part = ask('/module?sub=/mine', 'alice');
    is(owners({content => $part->{content} =~ /^(\[.*\])$/m}), 'alice', 'a subrequest');
    like($part->{content}, qr/^sub 200$/m, '... answers');
    like(ask('/module?sub=/open', 'alice')->{content}, qr/"status":403/, '... where nobody is known');
    like(ask('/module?sub=/one/a%252Fb', 'alice')->{content}, qr/^"a\/b"$|"status":404/m, '... has its own path');
    is(ask('/module?redirect=/mine', 'alice')->{status}, 200, 'an internal redirect');
    is(owners(ask('/module?redirect=/mine', 'alice')), 'alice', '... with his rows');
    like(ask('/module?redirect=/one/there', 'alice')->{content}, qr/"there"/, '... and its own path');
};

subtest 'HTTP/2' => sub {
    plan skip_all => 'no nghttp, or the prefork MPM' if !$h2;
    my $nghttp = sub {
        my ($path, @headers) = @_;
        my ($exit, $text) = command('nghttp', (map { ('-H', $_) } @headers), $server->url($path));
        return $text;
    };
    my $login = 'authorization: ' . {login('alice')}->{authorization};
    is(owners({content => $nghttp->('/mine', $login)}), 'alice', 'who asks');
    like($nghttp->('/mine?who=bob', $login), qr/is not a parameter here/, '... is no parameter');
    like($nghttp->('/two/a%2Fb/5'), qr/\{"b":5,"a":"a\/b"\}/, 'segments');
    like($nghttp->('/two/a/5/'), qr/"status":404/, '... and no more');
    like($nghttp->('/tenant', 'x-tenant: a', 'x-tenant: b'), qr/^"a, b"/m, 'headers');
};

subtest 'headers' => sub {
    my $answer = ask('/tenant', undef, 'X-Tenant' => 'acme');
    is_answer($answer, 200, '"acme"', 'a header');
    like($answer->{headers}{vary} // '', qr/X-Tenant/, '... decides: Vary');
    like($answer->{headers}{'cache-control'}, qr/^private/, '... and private');
    is_answer(ask('/tenant'), 403, qr/missing/, 'none');
    is_answer(raw('/tenant', 'X-Tenant: '), 403, qr/missing/, 'empty');
    is_answer(raw('/tenant', 'X-Tenant: a', 'X-Tenant: b'), 200, '"a, b"', 'two are neither');
    is_answer(raw('/tenant', 'X-Tenant: a', 'x-tenant: b'), 200, '"a, b"', '... in any case');
    is_answer(raw('/tenant', 'X_Tenant: acme'), 403, qr/missing/, 'an underscore is no dash');
    is_answer(raw('/tenant', 'X-Tenant: a,b'), 200, '"a,b"', 'a comma');
    is_answer(raw('/tenant', "X-Tenant: ac'--"), 200, qr/^"ac(?:'|\\u0027)--"$/, 'a quote is a value');
    is_answer(raw('/tenant', 'X-Tenant: ' . 'a' x 9), 400, qr/longer than 8 bytes/, 'too long');
    is_answer(raw('/tenant', "X-Tenant: \xff"), 400, qr/not valid UTF-8/, 'no UTF-8');
    is_answer(ask('/number', undef, 'X-Number' => '5'), 200, '{"n":5,"t":"integer"}', 'a number');
    is_answer(ask('/number', undef, 'X-Number' => $_->[0]), 400, $_->[1], "... '$_->[0]'")
        for ['x', qr/is not an integer/], ['10', qr/greater than 9/], ['1, 2', qr/is not an integer/];
    is_answer(ask('/number'), 200, '{"n":null,"t":"null"}', '... absent');
    is_answer(ask('/fallback'), 200, '7', 'a default');
    is_answer(ask('/fallback', undef, 'X-Number' => '8'), 200, '8', '... not needed');
    for my $tenant ('a', 'b') {
        my @answers = map { ask('/ttl_tenant', undef, 'X-Tenant' => $tenant)->{content} } 1 .. 3;
        like($answers[0], qr/"tenant":"$tenant"/, "kept for $tenant");
        is($answers[2], $answers[1], '... and kept');
    }
};

subtest 'other facts' => sub {
    is_answer(ask('/where'), 200, '{"addr":"127.0.0.1","method":"GET","b":"GET-127.0.0.1"}', 'GET');
    is_answer($server->request('POST', '/where'), 200, qr/"method":"POST"/, 'POST');
    is_answer(ask('/m/42'), 200, '{"id":42,"t":"integer"}', 'a named group');
    is_answer(ask('/m/x'), 400, qr/is not an integer/, '... of another type');
};

subtest 'paths' => sub {
    for my $path ('/one/%s', '/slash/%s', '/r/abc/%s', '/s/abc/%s', '/dir/%s', '/two/inner/%s',
        '/pretty/%s', '/open-rest/%s')
    {
        my $at = sub { ask(sprintf $path, $_[0]) };
        is_answer($at->('x'), 200, '"x"', "$path: one segment");
        is_answer($at->('a%20b'), 200, '"a b"', '... decoded');
        is_answer($at->('a+b'), 200, '"a+b"', '... no form');
        is_answer($at->('%C3%A9'), 200, "\"\xc3\xa9\"", '... UTF-8');
        is_answer($at->('%25'), 200, '"%"', '... once');
        is($at->($_)->{status}, 404, "... '$_' is not one")
            for '', 'x/', 'x/y', '/', 'x//', 'x/y/z', 'x/.', 'x/..', '.', '..', '%2e%2e', 'x%00y';
        next if $path =~ /pretty|dir/;
        is_answer($at->('a%2Fb'), 200, '"a/b"', '... an encoded slash is no slash');
        is_answer($at->('%2F'), 200, '"/"', '... alone');
        is_answer($at->('..%2F..'), 200, '"../.."', '... with dots');
        is_answer($at->('a%252Fb'), 200, '"a%2Fb"', '... encoded twice is text');
        is_answer($at->('%252e%252e'), 200, '"%2e%2e"', '... so are dots');
        is($at->('a%2Fb/c')->{status}, 404, '... and joins nothing');
        is($at->('a/%2Fb')->{status}, 404, '... nor hides one');
    }
    is(ask("/pretty/a%2Fb")->{status}, 404, 'rewritten: whose slash it was nobody can tell');
    is(ask("/pretty/a%252Fb")->{status}, 404, '... nor what became one');
    is(ask("/one$_")->{status}, 404, "/one$_") for '', 'x', '%2Fx', '%2fx';
    is(ask("/slash%2Fx")->{status}, 404, 'the slash of the place');
    is_answer(ask('/two/abc/5'), 200, '{"b":5,"a":"abc"}', 'two segments');
    is_answer(ask('/two/abc%2F5/6'), 200, '{"b":6,"a":"abc/5"}', '... a slash in one');
    is(ask("/two$_")->{status}, 404, "/two$_") for '', '/', '/a', '/a/', '/a/5/', '/a/5/6', '//5', '/a%2F5';
    is_answer(ask('/two/abc/x'), 400, qr/"param":"b","reason":"is not an integer"/, 'of another type');
    is_answer(ask('/two/' . 'a' x 11 . '/5'), 400, qr/longer than 10 bytes/, 'too long');
    # Also where a file of that name would be looked for.
    my $status = ask('/two/' . 'a' x 7000 . '/5')->{status};
    ok($status == 400 || $status == 403, 'much too long');
    is_answer(ask('/two/%FF/5'), 400, qr/not valid UTF-8/, 'no UTF-8');
    is_answer(ask('/real.json/a/5'), 200, '{"b":5,"a":"a"}', 'behind a file');
    is(ask("/real.json$_")->{status}, 404, "/real.json$_") for '', '/a', '/a/5/6';
    is_answer(ask('/dir/sub'), 200, '"sub"', 'a directory that exists');
    is_answer(ask('/dir/plain'), 200, '"plain"', 'a file that exists');
    is(ask('/dir/sub/file')->{status}, 404, '... below it');
    is(ask('/dir')->{status}, 404, 'the directory itself');
    is(raw('//one/x')->{status}, 200, 'slashes are merged, as everywhere');
    is(raw('/one/x/../y')->{content}, '"y"', 'dots are resolved before');
    is($server->request('HEAD', '/one/x')->{status}, 200, 'HEAD');
    is($server->request('POST', '/one/x')->{status}, 405, 'POST');
    is_answer(ask('/closed'), 403, '"forbidden"', 'an ErrorDocument has a path of its own');
};

subtest 'slashes that httpd has decoded' => sub {
    my $at = sub { raw($_[0], 'Host: decodes') };
    is_answer($at->('/one/a%2Fb'), 200, '"a/b"', 'are no slashes');
    is_answer($at->('/two/a%2Fb/5'), 200, '{"b":5,"a":"a/b"}', '... before one');
    is_answer($at->('/two/a/5%2F'), 400, qr/is not an integer/, '... behind one');
    is_answer($at->('/one/a%252Fb'), 200, '"a%2Fb"', 'encoded twice');
    is($at->($_)->{status}, 404, $_)
        for '/one%2Fa', '/slash%2Fa', '/two/a%2F5', '/one/%2F/', '/one/a%2F../b', '/pretty/a%2Fb', '/pretty/a/b';
    is_answer($at->('/pretty/a'), 200, '"a"', 'rewritten without');
    is(raw('/one/a%2Fb', 'Host: refuses')->{status}, 404, 'not allowed');
    is_answer(raw('/one/a%252Fb', 'Host: refuses'), 200, '"a%2Fb"', '... but text');
};

subtest 'a row by its path, one of his own' => sub {
    is_answer(ask('/note/3', 'alice'), 200, '{"id":3,"owner":"alice","body":"note 3"}', 'his');
    is_answer(ask('/note/4', 'alice'), 404, qr/no such row/, "another's");
    is_answer(ask('/note/0', 'alice'), 400, qr/less than 1/, 'a bound');
    my $edit = sub {
        my ($user, $id) = @_;
        return $server->request('POST', "/edit/$id", headers => {login($user),
                'content-type' => 'application/json'}, content => '{"body":"changed"}')->{content};
    };
    like($edit->('alice', 3), qr/"changes":1/, 'a write');
    like($edit->('alice', 4), qr/"changes":0/, "... to another's row");
};

# Everything that a stranger may try, with the rights of one user.
sub forged {
    my ($user, $other) = @_;
    my @ways = ("?who=$other", "?who=$other&who=$user", "?WHO=$other", '?%77%68%6f=' . $other,
        "?from=0&who=$other", '?who%00=x', "?who[]=$other", "?REMOTE_USER=$other", "?user=$other");
    my @lines = ("X-Remote-User: $other", "Remote-User: $other", "REMOTE_USER: $other",
        "X-Forwarded-User: $other", "Authorization: Basic " . encode_base64("$other:", ''),
        "Cookie: user=$other", "X-Original-URL: /mine?who=$other", "X-HTTP-Method-Override: POST");
    my @own = ('Authorization: ' . {login($user)}->{authorization});
    my $seen = 0;
    my $check = sub {
        my ($answer) = @_;
        $seen++;
        return $answer->{content} =~ /"owner":"(?!$user")/ ? 1 : 0;
    };
    my $leaks = 0;
    for my $place (map { "/$_" } sort keys %CACHING) {
        $leaks += $check->(raw("$place$_", @own)) for @ways, map { "/../$place$_" } @ways[0 .. 1];
        $leaks += $check->(raw($place, @own, $_)) for @lines;
        $leaks += $check->(raw($place, $_, @own)) for @lines;
        $leaks += $check->(raw($place, $_)) for @lines;
    }
    for my $id (1 .. 12) {
        $leaks += $check->(raw("/note/$_", @own)) for $id, "$id%2F", "$id/../" . ($id + 1),
            "%3$id", "$id?who=$other", "$id%20OR%201=1", "$id%00", "./$id", "$id%252e";
    }
    return [$seen, $leaks];
}

subtest 'forged requests' => sub {
    my @counts = parallel(3, sub {
        my ($i) = @_;
        return forged($USERS[$i], $USERS[($i + 1) % 3]);
    });
    for my $i (0 .. 2) {
        cmp_ok($counts[$i][0] // 0, '>', 250, "$USERS[$i]: $counts[$i][0] requests");
        is($counts[$i][1], 0, "... and no row of another");
    }
};

subtest 'configtest' => sub {
    my $base = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery q main "SELECT :a, :b"
CONF
    my $refused = sub {
        my ($lines, $pattern) = @_;
        my ($exit, $text) = $server->configtest("$base$lines\n");
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        ok($exit != 0 && $text =~ $pattern, "refused: $lines") || diag($text);
    };
    my $b = 'ConnPoolParam q b';
    $refused->('ConnPoolParam q a from="%{REMOTE_USER"', qr/ConnPoolParam q: a: from="%\{REMOTE_USER" is not an expression: /);
    $refused->('ConnPoolParam q a from="%{NO_SUCH}"', qr/ConnPoolParam q: a: from="%\{NO_SUCH\}" is not an expression: .*NO_SUCH/);
    $refused->('ConnPoolParam q a from="%{nofunc:x}"', qr/is not an expression: .*nofunc/);
    $refused->('ConnPoolParam q a from=', qr/from= is empty/);
    $refused->('ConnPoolParam q a from="%{REMOTE_USER}" path=1', qr/two sources/);
    $refused->('ConnPoolParam q a required default=x from="%{REMOTE_USER}"', qr/needs no default/);
    $refused->("ConnPoolParam q a path=$_", qr/ConnPoolParam q: a: path=: .*1.*16/) for 0, 17, 'x', '';
    $refused->("ConnPoolParam q a path=2\n$b", qr/ConnPoolQuery q: path=2 is declared, but no parameter has path=1/);
    $refused->("ConnPoolParam q a path=1\n$b path=1", qr/another parameter has path=1/);
    $refused->("ConnPoolParam q a path=1 default=x\n$b", qr/default= has no effect/);
    my $both = "ConnPoolParam q a path=1\n$b\n";
    $refused->("$both<Location \"/b\">\nSetHandler connpool-batch\nConnPoolServe q\n</Location>",
        qr/ConnPoolServe: 'q' has parameters with path=/);
    $refused->("$both<Location \"/b/*\">\nSetHandler connpool-query\nConnPoolServe q\n</Location>",
        qr/ConnPoolServe: 'q' has parameters with path=, but nothing is behind/);
    my ($exit, $text) = $server->configtest("$base${both}<Location \"/b\">\nSetHandler connpool-query\n"
        . "ConnPoolServe q\n</Location>\n");
    is($exit, 0, 'accepted') || diag($text);
};

$server->done;
done_testing;
