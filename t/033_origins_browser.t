#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Pages of other origins in a real browser: what it asks before, lets them read,
# and makes them write.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await command free_port slowness);
use JSON::PP   ();
use Test::More;

my ($chromium) =
    grep { -x } map { ("$_/chromium", "$_/chromium-browser") }
    split /:/, $ENV{PATH};
plan skip_all => 'chromium is not installed' if !$chromium;

my ($page_port, $page_socket) = free_port();
my $server = ConnPoolTest->new(
    modules => ['auth_basic'],
    vars    => {PAGES => $page_port},
    conf    => <<'CONF',
Listen 127.0.0.1:@PAGES@
ConnPoolDatabase notes sqlite:@DIR@/db/notes.db
ConnPoolQuery list notes "SELECT id, text FROM note ORDER BY id LIMIT 1"
ConnPoolQuery by_id notes "SELECT text FROM note WHERE id = :id" format=object
ConnPoolParam by_id id integer required
ConnPoolQuery add notes "INSERT INTO note(text) VALUES(:text)" write=on
ConnPoolParam add text text
ConnPoolQuery drop notes "DELETE FROM note WHERE text = :text" write=on methods=DELETE
ConnPoolParam drop text text
<Location "/named">
ConnPoolOrigins http://app.example:@PAGES@ http://localhost:@PAGES@
</Location>
<Location "/any">
ConnPoolOrigins any
</Location>
@PLACES@
<Location "/named/login">
SetHandler connpool-query
ConnPoolServe add
AuthType Basic
AuthName notes
AuthUserFile "@DIR@/users"
Require valid-user
</Location>
<VirtualHost 127.0.0.1:@PAGES@>
ServerName pages.example
DocumentRoot "@DIR@/pages"
<Directory "@DIR@/pages">
Require all granted
</Directory>
</VirtualHost>
CONF
);
my $places = '';
for my $kind (qw(named any unruled)) {
    $places .= "<Location \"/$kind/$_\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $_\n</Location>\n"
        for qw(list by_id add drop);
}
$server->{vars}{PLACES} = $places;
$server->make_sqlite('notes',
    q(CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT);)
        . q(INSERT INTO note(text) VALUES ('one');));
$server->write_file('users', "me:\$apr1\$salt\$VEpBc9VHGUKwI9.yg13Iu0\n");
$server->allow_log(qr/AH0161[78]/);
$server->write_file('pages/page.html', <<'HTML');
<!DOCTYPE html><title>page</title><pre id="out"></pre>
<script>
(async () => {
  const {base, cases} = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  const out = {};
  for (const [name, path, options] of cases) {
    try {
      const answer = await fetch(base + path, options);
      out[name] = [answer.status, await answer.text(),
                   answer.headers.get('ETag') ? 'tagged' : ''];
    } catch (e) {
      out[name] = ['refused'];
    }
  }
  document.getElementById('out').textContent = JSON.stringify(out) + ' done';
})();
</script>
HTML
$server->start;

# What became of these fetches on a page of that origin.
sub on_page {
    my ($host, $api, @cases) = @_;
    my $json = JSON::PP->new->ascii->encode(
        {base => "http://$api:" . $server->port, cases => \@cases});
    $json =~ s/([^A-Za-z0-9_.-])/sprintf '%%%02X', ord $1/ge;
    my @argv = (
        'timeout', 120, $chromium, '--headless=new', '--no-sandbox',
        '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
        '--disable-background-networking',
        '--user-data-dir=' . $server->dir('run/browser'),
        '--host-resolver-rules=MAP * 127.0.0.1',
        '--virtual-time-budget=20000', '--dump-dom',
        "http://$host:$page_port/page.html#$json"
    );
    my ($exit, $text) = command(@argv);
    is($exit, 0, "a page of $host") or diag($text);
    my ($out) = $text =~ m{<pre id="out">(.*) done</pre>}s;
    $out //= '{}';
    $out =~ s/&quot;/"/g;
    $out =~ s/&lt;/</g;
    $out =~ s/&gt;/>/g;
    $out =~ s/&amp;/&/g;
    my $results = JSON::PP->new->decode($out);
    diag($text) if !%$results;
    return $results;
}

sub count_of {
    my ($text) = @_;
    return $server->sqlite('notes',
        "SELECT count(*) FROM note WHERE text = '$text'");
}

sub sends {
    my ($text, %more) = @_;
    return {
        method  => 'POST',
        headers => {'Content-Type' => 'application/json', %more},
        body    => JSON::PP->new->encode({text => $text}),
    };
}

my $form = {
    method  => 'POST',
    mode    => 'no-cors',
    headers => {'Content-Type' => 'application/x-www-form-urlencoded'},
};

# With names, and with a host whose pages say Sec-Fetch-Site.
for my $case (['app.example', 'api.example'], ['localhost', '127.0.0.1']) {
    my ($host, $api) = @$case;
    subtest "a page of $host, which is named" => sub {
        my $results = on_page(
            $host, $api,
            ['read',   '/named/list'],
            ['login',  '/named/list', {credentials => 'include'}],
            ['error',  '/named/by_id?id=x'],
            ['post',   '/named/add',  sends("by $host")],
            ['keys',   '/named/add',
                {%{sends("with $host")}, credentials => 'include'}],
            ['delete', "/named/drop?text=with%20$host", {method => 'DELETE'}],
            ['put',    '/named/list', {method => 'PUT'}],
            ['nobody', '/named/login', sends('nobody')],
            ['me', '/named/login', sends("me at $host", Authorization => 'Basic bWU6c2VjcmV0')],
            ['any',    '/any/list'],
            ['any login', '/any/list', {credentials => 'include'}],
            ['unruled', '/unruled/list'],
            ['unruled post', '/unruled/add', sends('never')],
        );
        is_deeply($results->{read}, [200, '[{"id":1,"text":"one"}]', 'tagged'],
            'reads, its ETag too');
        is_deeply($results->{login}, $results->{read}, 'with credentials');
        is($results->{error}[0], 400, 'reads what was wrong');
        like($results->{error}[1], qr/is not an integer/, 'in words');
        is($results->{post}[0], 200, 'writes JSON');
        is($results->{keys}[0], 200, 'with credentials');
        is_deeply([count_of("by $host"), count_of("with $host")], [1, 0],
            'and deletes');
        is($results->{put}[0], 'refused', 'may not what the place does not');
        is($results->{nobody}[0], 401, 'reads that it has to log in');
        is($results->{me}[0],     200, 'and logs in');
        is(count_of("me at $host"), 1, 'to write');
        is($results->{any}[0],         200,       'reads what is anybody\'s');
        is($results->{'any login'}[0], 'refused', 'but not as its reader');
        is($results->{unruled}[0],     'refused', 'reads nothing else');
        is($results->{'unruled post'}[0], 'refused', 'nor writes');
        is(count_of('never'), 0, 'there');
    };
}

subtest 'a page of another origin' => sub {
    my $results = on_page(
        'evil.example', 'api.example',
        ['read', '/named/list'],
        ['post', '/named/add', sends('evil')],
        ['form', '/named/add', {%$form, body => 'text=evil'}],
        ['delete', '/named/drop?text=one', {method => 'DELETE'}],
        ['any',  '/any/add', sends('anybody')],
        ['any form', '/any/add', {%$form, body => 'text=anybody'}],
        ['unruled form', '/unruled/add', {%$form, body => 'text=evil'}],
    );
    is($results->{$_}[0], 'refused', "may not $_") for qw(read post delete);
    is($results->{form}[0], 0, 'a form is sent all the same');
    is_deeply([count_of('evil'), count_of('one')], [0, 1], 'and refused');
    is($results->{any}[0], 200, 'where anybody may');
    is(count_of('anybody'), 2, 'it writes');
    like($server->access_log, qr{ 403 POST /named/add}, 'a form was refused');
    like($server->access_log, qr{ 403 OPTIONS /named/add}, 'a preflight, too');
};

$server->done;
done_testing;
