#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The example of notes with logins: nobody sees or changes another's rows, whatever
# is forged: parameters, headers, paths with encoded slashes, batches, JSON,
# duplicates. The same requests find the rows when the SQL forgets whose they are.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(command parse_response root_dir);
use MIME::Base64 qw(encode_base64);
use Test::More;

my $CONF = do {
    open(my $in, '<', root_dir() . '/conf/examples/notes/httpd.conf') or die $!;
    local $/ = undef;
    <$in>;
};
my @USERS = qw(alice bob mallory);
my $MINE  = 'mallory';

# The example; batches beside it, and a host where encoded slashes stay what they are.
my $MORE = <<'CONF';
<Location "/api/batch">
    SetHandler connpool-batch
    ConnPoolServe notes_list notes_add
    AuthType Basic
    AuthName "notes"
    AuthBasicProvider file
    AuthUserFile "${CONNPOOL_DATA}/notes.htpasswd"
    Require valid-user
</Location>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName plain
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName slashes
    AllowEncodedSlashes NoDecode
</VirtualHost>
<VirtualHost 127.0.0.1:@PORT@>
    ServerName decoded
    AllowEncodedSlashes On
</VirtualHost>
CONF
my @HOSTS = qw(plain slashes decoded);

sub start_notes {
    my ($conf) = @_;
    my $server = ConnPoolTest->new(
        modules => ['auth_basic'], children => 2,
        conf    => "Define CONNPOOL_DATA \@DIR\@/db\n$conf$MORE");
    my $logins = $server->dir('db/notes.htpasswd');
    for my $user (@USERS) {
        my @create = $user eq $USERS[0] ? ('-c') : ();
        my ($exit, $text) = command('htpasswd', '-b', '-B', '-C', 4, @create, $logins, $user, "$user-password");
        is($exit, 0, "htpasswd: $user") or diag($text);
    }
    chmod 0644, $logins;
    my $schema = do {
        open(my $in, '<', root_dir() . '/conf/examples/notes/schema.sql') or die $!;
        local $/ = undef;
        <$in>;
    };
    my $rows = join ",\n", map {
        my $user = $_;
        map { "('$user', '$user-title-$_', '$user-body-$_')" } 1 .. 5
    } @USERS;
    $server->make_sqlite('notes', "$schema\nDELETE FROM notes; DELETE FROM sqlite_sequence;\n"
        . "INSERT INTO notes (owner, title, body) VALUES $rows;\nCREATE TABLE backup AS SELECT * FROM notes;");
    # What a wrong login, a bad path or an encoded slash is logged as.
    $server->allow_log(qr/AH0161[478]|AH00026|AH00036|AH10244|AH00127|AH00037|AH00566|AH01624/);
    return $server->start;
}

sub login {
    my ($user, $password) = @_;
    return 'Authorization: Basic ' . encode_base64("$user:" . ($password // "$user-password"), '');
}

# One request as it is written: method, target, lines of the head, body.
sub send_raw {
    my ($server, $method, $target, $lines, $body) = @_;
    my @head = @$lines;
    unshift @head, 'Host: plain' if !grep { /^Host:/i } @head;
    push @head, 'Content-Length: ' . length $body if defined $body && !grep { /^Content-Length:/i } @head;
    my $text = $server->raw(join("\r\n", "$method $target HTTP/1.1", @head, 'Connection: close', '', '') . ($body // ''));
    return parse_response($text);
}

my $FORM = 'Content-Type: application/x-www-form-urlencoded';
my $JSON = 'Content-Type: application/json';

# --- what is forged ------------------------------------------------------------

# Names by which somebody might be said to ask.
my @NAMES = ('owner', 'OWNER', 'Owner', ':owner', '@owner', '$owner', 'owner[]', 'owner%00', 'owner%20', 'user',
    'REMOTE_USER', 'remote_user', '%7B%7BREMOTE_USER%7D%7D', 'owner=alice;x');

sub forged_parameters {
    my @all;
    for my $name (@NAMES) {
        push @all, ['GET', "/api/notes?$name=alice"], ['GET', "/api/note/1?$name=alice"],
            ['POST', '/api/notes', [$FORM], "title=x&$name=alice"],
            ['POST', "/api/notes?$name=alice", [$FORM], 'title=x'],
            ['PATCH', '/api/note/1', [$FORM, 'If-Match: "1"'], "body=x&$name=alice"],
            ['DELETE', "/api/note/1?$name=alice"];
    }
    push @all, ['GET', "/api/notes?$_"] for 'owner=alice&owner=mallory', 'owner=mallory&owner=alice',
        'limit=1&limit=50', "limit=5%27%20OR%201=1--", 'after=alice', 'after=' . 'A' x 40, 'id=1', 'page=id',
        "owner='%20OR%20'1'='1", 'owner[$ne]=mallory', 'seen=%221%22';
    return @all;
}

sub forged_duplicates {
    my @all;
    push @all, ['PATCH', '/api/note/1', ['If-Match: "1"', $FORM], $_]
        for 'body=x&id=1', 'body=x&id=11&id=1', 'body=x&body=y', 'body=x&seen=%221%22', 'title=x&owner=alice&owner=bob';
    push @all, ['PATCH', '/api/note/1', ['If-Match: "9"', 'If-Match: "1"', $FORM], 'body=x'],
        ['PATCH', '/api/note/1', ['If-Match: "1"', 'If-Match: "1"', $FORM], 'body=x'],
        ['PATCH', '/api/note/1?id=11', ['If-Match: "1"', $FORM], 'body=x'];
    push @all, ['PATCH', '/api/note/1', ["If-Match: $_", $FORM], 'body=x']
        for '*', '"1"', 'W/"1"', '"1", "2"', q{"1" OR 1=1 --}, q{"' || 1 || '"}, '1', '""', '"1';
    return @all;
}

sub forged_headers {
    my @all;
    for my $name (qw(X-Remote-User Remote-User REMOTE_USER REMOTE-USER X-Forwarded-User X-User X-Auth-User
            X-WEBAUTH-USER X-Original-User From Cookie Proxy-Authorization X-Authenticated-Userid)) {
        push @all, ['GET', '/api/notes', ["$name: alice"]], ['GET', '/api/note/1', ["$name: alice"]],
            ['DELETE', '/api/note/1', ["$name: alice"]];
    }
    my $token = encode_base64('alice:alice-password', '');
    push @all, ['GET', '/api/note/1', [$_]]
        for 'X-Original-URL: /api/note/1', 'X-Rewrite-URL: /api/notes?owner=alice', 'X-HTTP-Method-Override: DELETE',
        'X-Method-Override: PATCH', 'Forwarded: for=alice', 'Cookie: REMOTE_USER=alice', "Proxy-Authorization: Basic $token",
        "X-Authorization: Basic $token", 'Authorization : x', "Range: bytes=0-100", 'If-None-Match: *', 'Accept: text/html',
        'Transfer-Encoding: identity', 'Expect: 100-continue', 'TE: trailers', 'Upgrade: h2c';
    return @all;
}

sub forged_logins {
    my @logins = (
        login('alice', ''), login('alice', 'x'), login('ALICE', 'alice-password'), login("alice\0"), login("mallory\0alice", 'mallory-password'),
        login('mallory:alice', 'mallory-password'), login('alice:mallory', 'mallory-password'), login('alice ', 'alice-password'),
        login('', ''), login("alice'--", ''), login("mallory' OR '1'='1", 'mallory-password'), 'Authorization: Basic',
        'Authorization: Basic !!!', 'Authorization: Bearer alice', 'Authorization: Negotiate alice', 'Authorization: alice',
        'Authorization: Basic YWxpY2U=',
    );
    return map { my $login = $_; ['GET', '/api/notes', [$login], undef, 1], ['GET', '/api/note/1', [$login], undef, 1] } @logins,
        'X-Nobody: 1';
}

# Other spellings of the path of alice's first note.
sub forged_paths {
    my @paths = map { "/api/note/$_" } '1', '%31', '01', '+1', '%2B1', '%201', '1%20', '1.0', '1e0', '0x1', '1;owner=alice',
        '1%3Bowner=alice', '1,11', '1%00', '1%0A', '%2531', '%252e%252e%252f1', '11/../1', '11%2F..%2F1', '11%2f1', '1%2F', '1%2F11', '%2F1',
        './1', '//1', '1/', '1//', '1/.', '1/..', '1/11', '11/1', '..%2Fnote%2F1', '1%5C11', '11%5C..%5C1', '%C0%AF1', '1?', '1?=', '1%3Fowner=alice',
        '1%23', '%EF%BC%91', '-1', '1%27%20OR%20%271%27=%271', '1%20OR%201=1', '1)--', '*', 'alice', 'null', '9223372036854775808';
    push @paths, '/api/note', '/api/note/', '/api//note/1', '//api/note/1', '/api/./note/1', '/api/notes/1', '/api/notes/../note/1',
        '/api/notes%2F..%2Fnote/1', '/API/NOTE/1', '/api/%6Eote/1', '/api/note%2F1', '/api%2Fnote%2F1', 'http://plain/api/note/1',
        'http://alice@plain/api/note/1';
    my @all;
    for my $path (@paths) {
        for my $host (@HOSTS) {
            push @all, ['GET', $path, ["Host: $host"]];
        }
        push @all, ['DELETE', $path, ['Host: slashes']],
            ['PATCH', $path, ['Host: decoded', 'If-Match: "1"', $FORM], 'body=x'];
    }
    return @all;
}

sub forged_json {
    my @bodies = ('{"owner":"alice"}', '{"title":"x","owner":"alice"}', '{"title":"x","owner":["alice"]}',
        '{"title":"x","owner":{"$eq":"alice"}}', '{"title":"x","title":"y"}', '{"title":"x","owner":null}', '{"body":"x","id":1}',
        '{"body":"x","id":11,"id":1}', '[{"title":"x"}]', '"alice"', '{"title":"x","\u006fwner":"alice"}', '{"body":"x","seen":"\"1\""}',
        '{"title":"x"} {"owner":"alice"}', '{"title":"x","owner\u0000":"alice"}', '{"__proto__":{"owner":"alice"},"title":"x"}');
    return map { ['POST', '/api/notes', [$JSON], $_], ['PATCH', '/api/note/1', [$JSON, 'If-Match: "1"'], $_] } @bodies;
}

sub forged_batches {
    my @bodies = map { qq([{"name":"notes_list","params":$_}]) } '{"owner":"alice"}', '{"owner":null}', '{"REMOTE_USER":"alice"}',
        '{"limit":50,"owner":["alice"]}', '{"after":"alice"}', '{"id":1}', '[]', '"owner"', '{"owner":"mallory","owner":"alice"}';
    push @bodies, '[{"name":"notes_list","owner":"alice"}]', '[{"name":"note","params":{"id":1}}]',
        '[{"name":"note_delete","params":{"id":1}}]', '[{"name":"note_edit","params":{"id":1,"body":"x"}}]',
        '[{"name":"note","params":{"path":"/1"}}]', '[{"name":"notes_list"},{"name":"notes_list","params":{"owner":"alice"}}]',
        '[{"name":"notes_add","params":{"title":"x","owner":"alice"}}]', '{"name":"notes_list"}',
        '[{"name":"notes_list","user":"alice","params":{}}]', '[{"name":"alice"}]', '[{"name":"notes_list","name":"note"}]';
    my @all = map { ['POST', '/api/batch', [$JSON], $_] } @bodies;
    push @all, ['GET', "/api/batch?$_"] for 'owner=alice', 'limit=50', 'after=x', 'title=x&owner=alice', 'owner=alice&owner=mallory';
    return @all;
}

my %FORGED = (
    parameters => [forged_parameters()],
    duplicates => [forged_duplicates()],
    headers    => [forged_headers()],
    logins     => [forged_logins()],
    paths      => [forged_paths()],
    json       => [forged_json()],
    batches    => [forged_batches()],
);

# --- who sees what -----------------------------------------------------------

# What belongs to the others, as it is stored.
sub others_rows {
    my ($server) = @_;
    return $server->sqlite('notes', "SELECT * FROM notes WHERE owner <> '$MINE' ORDER BY id");
}

# Sends all of one kind as mallory (those with their own login: as they are); what
# showed or changed another's, as lines.
sub leaks_of {
    my ($server, $kind) = @_;
    my @leaks;
    my $before = others_rows($server);
    for my $forged (@{$FORGED{$kind}}) {
        my ($method, $target, $lines, $body, $has_login) = @$forged;
        my @head = ($has_login ? () : login($MINE), @{$lines // []});
        my $answer = send_raw($server, $method, $target, \@head, $body);
        my $said   = join ' ', $method, $target, @head, $body // '';
        push @leaks, "$said: sees it" if join(' ', $answer->{content}, %{$answer->{headers}}) =~ /(?:alice|bob)-(?:title|body)/;
        push @leaks, "$said: status $answer->{status}" if $answer->{status} < 200 || $answer->{status} >= 500;
        my $after = others_rows($server);
        next if $after eq $before;
        push @leaks, "$said: changes it";
        $server->sqlite('notes', 'DELETE FROM notes; INSERT INTO notes SELECT * FROM backup');
    }
    return @leaks;
}

my $server = start_notes($CONF);

subtest 'everybody has their own' => sub {
    for my $user (@USERS) {
        my $answer = send_raw($server, 'GET', '/api/notes', [login($user)]);
        is($answer->{status}, 200, $user);
        my @titles = map { $_->{title} } @{ConnPoolTest::decode($answer)};
        is_deeply(\@titles, [map { "$user-title-$_" } reverse 1 .. 5], '... sees theirs');
        my ($n) = grep { $USERS[$_] eq $user } 0 .. $#USERS;
        my $id = 1 + 5 * $n;
        $answer = send_raw($server, 'GET', "/api/note/$id", [login($user)]);
        is(ConnPoolTest::decode($answer)->{body}, "$user-body-1", '... and one of them');
    }
};

my $count = 0;
$count += @$_ for values %FORGED;
cmp_ok($count, '>=', 300, "$count forged requests");
for my $kind (sort keys %FORGED) {
    my @leaks = leaks_of($server, $kind);
    is(scalar @leaks, 0, "forged $kind: " . @{$FORGED{$kind}} . ' requests show nothing and change nothing')
        or diag(join "\n", splice @leaks, 0, 10);
}

subtest "another's cursor" => sub {
    my $first = send_raw($server, 'GET', '/api/notes?limit=2', [login('alice')]);
    my ($after) = ($first->{headers}{link} // '') =~ /after=([^&>"]+)/;
    ok($after, 'alice has a second page') or return;
    is(send_raw($server, 'GET', "/api/notes?limit=2&after=$after", [login('alice')])->{status}, 200, '... and sees it');
    my $stolen = send_raw($server, 'GET', "/api/notes?limit=2&after=$after", [login($MINE)]);
    is($stolen->{status}, 400, 'it is no one else\'s');
    unlike($stolen->{content}, qr/alice-/, '... and shows nothing');
};

subtest 'after all that' => sub {
    for my $user (qw(alice bob)) {
        my $answer = send_raw($server, 'GET', '/api/notes', [login($user)]);
        is_deeply([map { "$_->{title} $_->{version}" } @{ConnPoolTest::decode($answer)}],
            [map { "$user-title-$_ 1" } reverse 1 .. 5], "$user has what they had");
    }
    my $owners = $server->sqlite('notes', 'SELECT group_concat(owner, "") FROM (SELECT DISTINCT owner FROM notes ORDER BY owner)');
    is($owners, 'alicebobmallory', 'nobody else has any');
};
$server->done;

# The proof that the requests above look where they should: the same application,
# whose SQL forgets whose rows they are, shows them.
subtest 'a careless application is found out' => sub {
    (my $careless = $CONF) =~ s/owner = :owner/(owner = :owner OR 1)/g;
    my $leaking = start_notes($careless);
    for my $kind (qw(duplicates headers paths)) {
        my @leaks = leaks_of($leaking, $kind);
        cmp_ok(scalar @leaks, '>', 0, "forged $kind find the rows") or diag(join "\n", @leaks);
    }
    $leaking->done;
};

done_testing;
