#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# page=: answers that come page by page, behind a cursor. All rows come, each
# once, in order, whatever the columns hold; and no cursor is taken for another.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use Digest::SHA  ();
use JSON::PP     ();
use MIME::Base64 qw(encode_base64 encode_base64url decode_base64url);
use Test::More;
use Time::HiRes qw(time);

my $JSON  = JSON::PP->new->utf8->allow_nonref;
my @SORTS = ('v,id', 'v:desc,id', 'v,id:desc', 'v:desc,id:desc', 'v:asc,w:desc,id', 'id', 'id:desc');
my $AUTH  = <<'CONF';
AuthType Basic
AuthName notes
AuthBasicProvider file
AuthUserFile @DIR@/users
Require valid-user
CONF

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolCache shmcb:connpool(512000)
ConnPoolQuery big main "SELECT id, day, title FROM event WHERE (:q IS NULL OR title LIKE :q) ORDER BY day" page=day,id max-rows=500
ConnPoolParam big q
ConnPoolQuery back main "SELECT id, day FROM event" page=day:desc,id:desc max-rows=500
ConnPoolQuery tied main "SELECT v, id FROM mixed" page=v
ConnPoolQuery mine main "SELECT id, owner FROM note WHERE owner = :who AND id > :from AND kind = :kind" page=id methods=GET,POST
ConnPoolParam mine who required from="%{REMOTE_USER}"
ConnPoolParam mine kind path=1
ConnPoolParam mine from integer default=0
ConnPoolQuery kinds main "SELECT id, :t AS t, :r AS r, :b AS b, :d AS d, :x AS x FROM note" page=id
ConnPoolParam kinds t
ConnPoolParam kinds r real
ConnPoolParam kinds b boolean
ConnPoolParam kinds d date
ConnPoolParam kinds x blob
ConnPoolQuery kept main "SELECT id FROM note" page=id ttl=data
ConnPoolQuery timed main "SELECT id FROM note" page=id ttl=1h
ConnPoolQuery lines main "SELECT id, owner FROM note" page=id format=ndjson
ConnPoolQuery sheet main "SELECT id, owner FROM note" page=id format=csv
ConnPoolQuery grouped main "SELECT owner, count(*) AS n FROM note GROUP BY owner HAVING count(*) > :least;" page=owner
ConnPoolParam grouped least integer default=0
ConnPoolQuery named main "SELECT id AS 'a `b`, c', owner FROM note" page=owner,id2
ConnPoolQuery odd main "SELECT id AS [the `id`] FROM note" "page=The `ID`"
ConnPoolQuery united main "WITH u AS (SELECT id FROM note UNION SELECT -id FROM note) SELECT id FROM u ORDER BY id DESC LIMIT 20" page=id
ConnPoolQuery long main "SELECT t FROM long" page=t
ConnPoolQuery small main "SELECT id, t FROM wide" page=id max-bytes=3000
CONF
$conf =~ s/^ConnPoolQuery named .*\n//m;
for my $i (0 .. $#SORTS) {
    $conf .= "ConnPoolQuery sort$i main \"SELECT id, v, w FROM mixed\" page=$SORTS[$i] format=arrays max-rows=100\n";
}
sub place {
    my ($path, $query, $more) = @_;
    return "<Location \"$path\">\nSetHandler connpool-query\nConnPoolServe $query\n" . ($more // '') . "</Location>\n";
}
$conf .= place("/$_", $_)
    for qw(big back tied kinds kept timed lines sheet grouped odd united long small), map { "sort$_" } 0 .. $#SORTS;
$conf .= place('/mine', 'mine', $AUTH) . <<'CONF';
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe kept sheet
</Location>
<Location "/module">
SetHandler cptest
</Location>
RewriteEngine On
RewriteRule "^/pretty/(.*)$" "/kinds?t=$1" [PT,QSA,B]
CONF

my $server = ConnPoolTest->new(
    modules => ['auth_basic', 'rewrite', 'socache_shmcb'],
    load    => {cptest_module => 't/mod_cptest.so'},
    conf    => $conf);
$server->write_file('users', join '',
    map { "$_:{SHA}" . Digest::SHA::sha1_base64("pw-$_") . "=\n" } 'alice', 'bob');

# All that SQLite keeps in a column without a type, and ties.
my @VALUES = ('NULL', 'NULL', 'NULL', '-9223372036854775808', '-1', '0', '0', '1', '1', '1.5', '1.0000000000000002',
    '9007199254740993', '9007199254740992', '9223372036854775807', '-1e300', '1e300', "''", "'a'", "'a'", "'A'",
    "'\xc3\xa9'", "'a'||char(10)||'b'", "'it''s'", "x''", "x'00'", "x'00ff'", "x'00ff'");
$server->make_sqlite('main', join "\n", <<'SQL',
CREATE TABLE event(id INTEGER PRIMARY KEY, day TEXT, title TEXT);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000)
INSERT INTO event SELECT i, date('2000-01-01', (i * 7919 % 9000) || ' days'), 'title ' || i FROM c;
UPDATE event SET day = NULL WHERE id % 1000 = 7;
CREATE INDEX event_day ON event(day, id);
CREATE TABLE mixed(id INTEGER PRIMARY KEY, v, w);
CREATE TABLE note(id INTEGER PRIMARY KEY, owner TEXT, kind TEXT);
INSERT INTO note SELECT id, CASE id % 2 WHEN 0 THEN 'alice' ELSE 'bob' END, 'a b/c' FROM event WHERE id <= 40;
CREATE TABLE long(t TEXT);
INSERT INTO long VALUES (hex(zeroblob(2500))), ('x'), (hex(zeroblob(2600)));
CREATE TABLE wide(id INTEGER PRIMARY KEY, t TEXT);
INSERT INTO wide SELECT id, hex(zeroblob(500)) FROM event WHERE id <= 10;
INSERT INTO wide VALUES (11, hex(zeroblob(2000)));
SQL
    map { "INSERT INTO mixed(v, w) VALUES ($VALUES[$_], " . ($_ % 3 ? $_ % 2 : 'NULL') . ');' } 0 .. $#VALUES);
$server->allow_log(qr/page=|cannot be told apart/);
$server->start;

my @LOGIN;

sub ask {
    my ($path, %headers) = @_;
    return $server->request('GET', $path, headers => {@LOGIN, %headers}, keep_alive => 1);
}

sub next_of {
    my ($answer) = @_;
    my ($link) = ($answer->{headers}{link} // '') =~ /^<([^<>" ]+)>; rel="next"$/;
    return $link;
}

# All pages from a path on; the answers.
sub walk {
    my ($path) = @_;
    my @answers;
    while (defined $path && @answers < 1000) {
        push @answers, ask($path);
        last if $answers[-1]{status} != 200;
        $path = next_of($answers[-1]);
    }
    return @answers;
}

sub rows {
    return map { @{$JSON->decode($_->{content})} } @_;
}

sub cursor {
    my ($path) = @_;
    my ($cursor) = (next_of(ask($path)) // '') =~ /[?&]after=([^&]+)/;
    return $cursor;
}

sub is_refused {
    my ($answer, $param, $reason, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $is_good = $answer->{status} == 400 && $answer->{content} =~ /"param":"$param","reason":"[^"]*$reason/;
    return ok($is_good, $what) || diag("$answer->{status} $answer->{content}");
}

subtest 'every row once, in order' => sub {
    for my $i (0 .. $#SORTS) {
        my $order = join ', ', map { s/:/ /r } split /,/, $SORTS[$i];
        my @ids = split /\n/, $server->sqlite('main', "SELECT id FROM mixed ORDER BY $order");
        for my $limit (1, 2, 3, 5, 26, 27, 28, 100) {
            my @answers = walk("/sort$i?limit=$limit");
            my @got = map { $_->[0] } rows(@answers);
            is_deeply(\@got, \@ids, "$SORTS[$i] by $limit");
            is(scalar @answers, int((@ids + $limit - 1) / $limit), '... in so many pages');
            ok(!grep({ $_->{headers}{'connpool-truncated'} } @answers), '... none is cut');
        }
    }
};

subtest 'links' => sub {
    my $link = next_of(ask('/big?limit=10&q=title%205%25'));
    like($link, qr{^/big\?q=title%205%25&limit=10&after=[\w-]+$}, 'own parameters stay');
    my @rows = rows(walk('/big?limit=300&q=title%205%25'));
    is(scalar @rows, 11_111, 'the same rows as without pages');
    ok(!grep({ $_->{title} !~ /^title 5/ } @rows), '... and no others');
    is(next_of(ask('/big?q=nothing')), undef, 'none behind the last');
    my $all = ask('/big');
    is(scalar rows($all), 500, 'without a limit: max-rows');
    like(next_of($all), qr/limit=500/, '... and a link');
    $link = next_of(ask('/kinds?limit=1&t=%3E%22%26%3D%C3%A9+%2B&r=0.1&b=true&d=2026-08-12&x=AP%2B%2F'));
    my ($first, $second) = map { rows(ask($_)) } '/kinds?limit=1&t=%3E%22%26%3D%C3%A9+%2B&r=0.1&b=true&d=2026-08-12&x=AP%2B%2F', $link;
    is($second->{id}, $first->{id} + 1, 'parameters of all types');
    delete $_->{id} for $first, $second;
    is_deeply($second, $first, '... with the same values');
    like(next_of(ask('/pretty/x%20y?limit=1')), qr{^/pretty/x%20y\?}, 'the path that the client asked for');
    is(next_of($server->request('HEAD', '/big?limit=10')), next_of(ask('/big?limit=10')), 'HEAD');
};

subtest 'limits' => sub {
    is_refused(ask("/big?limit=$_->[0]"), 'limit', $_->[1], "limit=$_->[0]")
        for ['0', 'is less than 1'], ['501', 'is greater than 500'], ['-1', 'is less than 1'],
        ['x', 'is not an integer'], ['99999999999999999999', 'is not an integer'];
    is_refused(ask('/big?limit=1&limit=2'), 'limit', 'more than once', 'twice');
    is(scalar rows(ask('/big?limit=')), 500, 'empty');
};

subtest 'cursors' => sub {
    my $cursor = cursor('/big?limit=10');
    my $raw = decode_base64url($cursor);
    is(ask("/big?limit=10&after=$cursor")->{status}, 200, 'its own');
    is(ask("/big?limit=99&after=$cursor")->{status}, 200, '... with another limit');
    my @forged = ('', 'x', 'AAAA', "$cursor=", "$cursor.", "${cursor}A", substr($cursor, 0, -1), substr($cursor, 1),
        lc $cursor, '%00', "%FF", "' OR 1=1 --", '../../etc/passwd', 'a' x 6001,
        encode_base64url('{"day":"2020-01-01","id":5}'), encode_base64url("\0" x 8),
        encode_base64url("\0" x 8 . "\1" . "\0" x 8 . "\1" . "\0" x 8));
    for my $bit (0 .. 8 * length($raw) - 1) {
        my $other = $raw;
        vec($other, $bit, 1) ^= 1;
        push @forged, encode_base64url($other);
    }
    my $bad = 0;
    for my $forged (@forged) {
        my $answer = ask('/big?limit=10&after=' . $forged =~ s/([ '=])/sprintf '%%%02X', ord $1/ger);
        next if $answer->{status} == 400 && $answer->{content} =~ /"param":"after"|not valid URL/;
        $bad++;
        diag("after=$forged: $answer->{status} " . substr $answer->{content}, 0, 100);
    }
    is($bad, 0, scalar @forged . ' that nobody has made');
    is_refused(ask("/big?after=$cursor&q=x"), 'after', 'is no cursor of this query', 'of other parameters');
    is_refused(ask('/back?after=' . $cursor), 'after', 'is no cursor of this query', 'of another query');
    is_refused(ask('/big?after=' . cursor('/kept?limit=1')), 'after', 'is no cursor', '... and another');
    is_refused(ask("/big?after=$cursor&after=$cursor"), 'after', 'more than once', 'twice');
    is_refused($server->request('GET', "/big?connpool_1=x"), 'connpool_1', 'is not a parameter here', 'what is inside');
    # Rows that come and go between two pages move no other.
    my @before = map { $_->{id} } rows(walk('/kept?limit=7'));
    my $page = ask('/kept?limit=7');
    $server->sqlite('main', 'DELETE FROM note WHERE id = 7; INSERT INTO note(id) VALUES (-5);');
    is((rows(ask(next_of($page))))[0]{id}, 8, 'its row is gone, the next one is not');
    $server->sqlite('main', "INSERT INTO note VALUES (7, 'bob', 'a b/c'); DELETE FROM note WHERE id = -5;");
};

subtest 'facts and paths' => sub {
    @LOGIN = (authorization => 'Basic ' . encode_base64('alice:pw-alice', ''));
    my $first = ask('/mine/a%20b%2Fc?limit=5&from=4');
    is($first->{status}, 404, 'an encoded slash is not allowed here');
    $server->sqlite('main', "UPDATE note SET kind = 'a b'");
    $first = ask('/mine/a%20b?limit=5&from=4');
    my $link = next_of($first);
    like($link, qr{^/mine/a%20b\?from=4&limit=5&after=[\w-]+$}, 'neither stands in the link');
    unlike(decode_base64url($link =~ /after=(.*)/), qr/alice/, '... nor in the cursor');
    is(scalar rows(walk('/mine/a%20b?limit=5&from=4')), 18, 'all rows');
    ok(!grep({ $_->{owner} ne 'alice' } rows(walk('/mine/a%20b?limit=5&from=4'))), '... of hers');
    like($first->{headers}{'cache-control'}, qr/^private/, '... private');
    is_refused(ask($link =~ s/a%20b/other/r), 'after', 'is no cursor', 'at another path');
    @LOGIN = (authorization => 'Basic ' . encode_base64('bob:pw-bob', ''));
    is_refused(ask($link), 'after', 'is no cursor', "another's cursor");
    is_refused(ask('/mine/a%20b?who=alice'), 'who', 'is not a parameter here', 'nor is the fact a parameter');
    my $posted = $server->request('POST', '/mine/a%20b', content => '{"limit":3,"from":10}',
        headers => {@LOGIN, 'content-type' => 'application/json'});
    is(scalar rows($posted), 3, 'as JSON');
    is(next_of($posted) =~ s/after=.*//r, '/mine/a%20b?from=10&limit=3&', '... with a link');
    @LOGIN = ();
};

subtest 'other shapes' => sub {
    my @answers = walk('/lines?limit=15');
    is(join('', map { $_->{content} } @answers) =~ tr/\n//, 40, 'NDJSON');
    @answers = walk('/sheet?limit=15');
    is(scalar grep({ $_->{content} =~ /^id,owner\r\n/ } @answers), 3, 'CSV: each with its header');
    is(join(',', map { "$_->{owner}=$_->{n}" } rows(walk('/grouped?limit=1'))), 'alice=20,bob=20', 'groups, and a semicolon');
    is(scalar rows(walk('/odd?limit=9')), 40, 'a name that needs quotes, in another case');
    is_deeply([map { $_->{id} } rows(walk('/united?limit=3'))], [21 .. 40], 'a union with a LIMIT of its own');
    my @pages = walk('/small?limit=100');
    is_deeply([map { $_->{id} } rows(grep { $_->{status} == 200 } @pages)], [1 .. 10], 'max-bytes makes pages smaller');
    is($pages[-1]{status}, 413, '... a row that is too large for one is told');
};

subtest 'caches' => sub {
    for my $name ('kept', 'timed') {
        my @first  = walk("/$name?limit=7");
        my @second = walk("/$name?limit=7");
        is(scalar rows(@first), 40, "$name: all rows");
        is_deeply([map { [$_->{content}, next_of($_), $_->{headers}{etag}] } @second],
            [map { [$_->{content}, next_of($_), $_->{headers}{etag}] } @first], '... the same again');
        is(ask("/$name?limit=7", 'If-None-Match' => $first[0]{headers}{etag})->{status}, 304, '... 304');
    }
    my $last = ask('/lines?limit=40');
    my $tag  = $last->{headers}{etag};
    is(next_of($last), undef, 'a last page');
    $server->sqlite('main', "INSERT INTO note VALUES (41, 'bob', 'x')");
    my $more = ask('/lines?limit=40', 'If-None-Match' => $tag);
    is($more->{status}, 200, '... that is not the last any more: another tag');
    ok(next_of($more), '... and a link');
    $server->sqlite('main', 'DELETE FROM note WHERE id = 41');
};

subtest 'what would be lost is told' => sub {
    my @pages = walk('/tied?limit=1');
    is($pages[-1]{status}, 500, 'two rows that are equal in the columns of page=');
    await(sub { $server->log =~ /query 'tied'.*page=v: two rows are equal in all these columns/ }, 5, 'the log');
    @pages = walk('/long?limit=1');
    is($pages[0]{status}, 500, 'values that no cursor can hold');
};

subtest 'batches and modules' => sub {
    my $batch = $JSON->decode(ask('/batch?limit=3')->{content});
    is(scalar @{$batch->[0]{body}}, 3, 'a page in a batch');
    my $post = sub {
        return @{$JSON->decode($server->request('POST', '/batch', content => $JSON->encode([@_]),
                headers => {'content-type' => 'application/json'})->{content})};
    };
    my ($item, $bad) = $post->({name => 'kept', params => {limit => 3, after => $batch->[0]{next}}},
        {name => 'sheet', params => {limit => 3, after => $batch->[0]{next}}});
    is(join(',', map { $_->{id} } @{$item->{body}}), '4,5,6', '... its next one');
    is("$bad->{status} $bad->{error}{errors}[0]{param}", '400 after', "... another's");
    my $rows = ask('/module?named=a:kept&run=a&rows=a&end=a')->{content};
    is(scalar(() = $rows =~ /^row /mg), 40, 'a module gets all rows');
    like(ask('/module?named=a:kept&bind=a:limit:i:3&run=a')->{content}, qr/run notfound/, '... and no pages');
};

subtest 'one page costs the same everywhere' => sub {
    my %cost;
    for my $path ('/big?limit=100', '/back?limit=100') {
        my ($at, $link) = (0, $path);
        my @best = (9e9, 9e9);
        for (1 .. 60) {    # at the beginning, and from row 100,000 * $_ / 60 on
            my $began = time;
            my $answer = ask($link);
            my $took = time - $began;
            $best[$_ <= 30 ? 0 : 1] = $took if $took < $best[$_ <= 30 ? 0 : 1];
            if ($_ == 30) {    # far behind: by steps of 500
                my $far = $link;
                $far = next_of(ask($far =~ s/limit=\d+/limit=500/r)) // last for 1 .. 150;
                $link = $far =~ s/limit=\d+/limit=100/r;
            }
            else {
                $link = next_of($answer) // last;
            }
        }
        note(sprintf '%s: %.2f ms at the beginning, %.2f ms behind 75,000 rows', $path, map { 1000 * $_ } @best);
        cmp_ok($best[1], '<', 5 * $best[0] + 0.003, "$path: as fast behind 75,000 rows");
    }
};

subtest 'configtest' => sub {
    my $base = "ConnPoolDatabase main sqlite:\@DIR\@/db/main.db\n";
    my $refused = sub {
        my ($lines, $pattern) = @_;
        my ($exit, $text) = $server->configtest("$base$lines\n");
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        ok($exit != 0 && $text =~ $pattern, "refused: $lines") || diag($text);
    };
    my $q = 'ConnPoolQuery q main "SELECT id, day FROM event"';
    $refused->("$q page=nope", qr/ConnPoolQuery q: page=nope: the answer of the SQL has no column 'nope'/);
    $refused->("$q page=day,nope:desc", qr/ConnPoolQuery q: page=day,nope:desc: .*no column 'nope'/);
    $refused->("$q page=$_->[0]", $_->[1])
        for ['day,', qr/a column has no name/], ['day,Day', qr/column 'Day' is named twice/],
        ['a,b,c,d,e', qr/more than 4 columns/], ['', qr/page=: a column has no name/];
    $refused->("$q page=id format=$_", qr/ConnPoolQuery q: page=id: is for answers of many rows, not for format=$_/)
        for 'object', 'value';
    $refused->('ConnPoolQuery q main "INSERT INTO t VALUES (1)" write=on page=id',
        qr/ConnPoolQuery q: page=id: is for reads, not with write=on/);
    $refused->("ConnPoolQuery q main \"SELECT id FROM t WHERE id = :$_\" page=id\nConnPoolParam q $_ integer",
        qr/page=id: needs the name of parameter :$_ for itself/) for 'limit', 'after', 'connpool_1';
    for my $sql ('SELECT * FROM event', 'SELECT e.* FROM event e JOIN note n ON n.id = e.id',
        'WITH x AS (SELECT id FROM event) SELECT id FROM x', 'SELECT id FROM event ;')
    {
        my ($exit, $text) = $server->configtest("${base}ConnPoolQuery q main \"$sql\" page=id\n");
        is($exit, 0, "accepted: $sql") || diag($text);
    }
};

subtest 'a column that is not there' => sub {
    my $other = ConnPoolTest->new(conf => <<'CONF');
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery q main "SELECT * FROM t" page=nope
<Location "/q">
SetHandler connpool-query
ConnPoolServe q
</Location>
CONF
    $other->make_sqlite('main', 'CREATE TABLE t(a);');
    $other->allow_log(qr/nope/);
    $other->start;
    ok(await(sub { $other->log =~ /ConnPoolQuery q at \S+ cannot be prepared: .*no such column: connpool_page\.nope/ },
        10, 'the log'), 'told at the start');
    is($other->get('/q')->{status}, 503, '... and to clients');
    $other->done;
};

$server->done;
done_testing;
