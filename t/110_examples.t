#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Each of conf/examples with its own configuration: what its README says to try,
# what its page asks for, and what the example is for. And the script of `make run`.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(build_dir command free_port root_dir);
use File::Temp   ();
use HTTP::Tiny   ();
use IO::Socket::INET;
use JSON::PP     ();
use MIME::Base64 qw(encode_base64);
use POSIX        ();
use Test::More;

my $EXAMPLES = root_dir() . '/conf/examples';
my @NAMES    = map { m{([^/]+)/schema\.sql$} } glob "$EXAMPLES/*/schema.sql";
my $JSON     = JSON::PP->new->utf8;
my @MODULES  = qw(auth_basic dir);

is_deeply([sort @NAMES], [qw(calendar dashboard htmx map notes search sensors tiles)],
    'the examples');

sub slurp {
    my ($path) = @_;
    open(my $in, '<:raw', $path) or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

# A server with the example's files and configuration; its page is the DocumentRoot.
sub example {
    my ($name, %option) = @_;
    my $conf = "Define CONNPOOL_DATA \@DIR\@/db\nDefine CONNPOOL_PORT \@PORT\@\n"
        . ($option{before} // '') . "Include $EXAMPLES/$name/httpd.conf\n";
    $conf .= "Include $EXAMPLES/$name/others.conf\n" if -e "$EXAMPLES/$name/others.conf";
    my $server = ConnPoolTest->new(
        modules => \@MODULES, children => 2, threads => 16, conf => $conf);
    make_files($server, $name);
    $server->start;
    return $server;
}

sub make_files {
    my ($server, $name) = @_;
    my ($exit, $text) =
        command(root_dir() . '/scripts/make-example.sh', $name, $server->dir('db'));
    is($exit, 0, "$name: its files are made") or diag($text);
    my ($uid, $gid) = (stat $server->dir('db'))[4, 5];
    chown $uid, $gid, grep { -f } glob $server->dir('db') . '/*';
    command('cp', '-R', "$EXAMPLES/$name/htdocs", $server->dir);
    return;
}

# Every line with curl in the README, as it stands there, for another port.
sub readme_works {
    my ($server, $name) = @_;
    my @lines = grep { /^curl / } split /\n/, slurp("$EXAMPLES/$name/README.md");
    ok(@lines >= 3, "$name: the README says what to try");
    for my $line (@lines) {
        my $port = $server->port;
        (my $run = $line) =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/ or fail("$line: where?");
        my ($exit, $text) = command('sh', '-c', "$run -s -S -w '\n%{http_code}'");
        my ($status) = $text =~ /(\d+)\s*\z/;
        # Those that fail do so on purpose.
        my $wanted = $line =~ /412/ ? 412 : $line =~ m{tiles/4/99|bob.*note/1} ? 404
            : $line =~ m{services/tickets} ? 403 : qr/^20[01]$/;
        ok($exit == 0 && $status =~ /^(?:$wanted)$/, $line) or diag($text);
    }
    return;
}

# What a page asks for is served, by lines that its page can show.
sub page_fits {
    my ($server, $name) = @_;
    my $page = slurp("$EXAMPLES/$name/htdocs/index.html");
    my $conf = join '', map { slurp($_) } glob "$EXAMPLES/$name/*.conf";
    my %place = map { $_ => 1 } $conf =~ /^<Location "?([^">]+)/mg;
    for my $action ($page =~ /<form[^>]* action="([^"]+)"/g) {
        (my $path = $action) =~ s{/\{.*|/[a-z]+\.json$}{};
        $path = $action if $place{$action};
        ok($place{$path}, "$name: the page's $action has a section");
    }
    like($page, qr/<h2 id="error">/, "$name: the page shows an error");
    unlike($page, qr{(?:src|href)="(?:https?:)?//}, "$name: nothing comes from elsewhere");
    is($server->get('/')->{status}, 200, "$name: the page");
    for my $file (grep { !m{^/common/} } $page =~ /(?:src|href)="([^"?]+\.(?:js|css|json))"/g) {
        is($server->get("/$file")->{status}, 200, "$name: the page's $file");
    }
    return;
}

sub starts {
    my ($name, %option) = @_;
    my $server = example($name, %option);
    page_fits($server, $name);
    return $server;
}

sub problem {
    my ($answer, $status, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, $status, $what) or diag($answer->{content});
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... a problem');
    return ConnPoolTest::decode($answer);
}

subtest calendar => sub {
    my $server = starts('calendar');
    readme_works($server, 'calendar');
    my $error = problem($server->get('/api/between?from=2026-02-30&to=soon'), 400, 'no such days');
    is_deeply([map { $_->{param} } @{$error->{errors}}], [qw(from to)], 'both are named');
    is(scalar @{$server->json('/api/notes')}, 1, 'a note was left');
    my $page = $server->json('/api/page?limit=3&month=7&day=20');
    is_deeply([map { "$_->{name} $_->{status}" } @$page],
        ['upcoming 200', 'on_this_day 200', 'categories 200', 'planets 200'], 'the batch');
    is($server->json('/api/page?limit=3&month=13&day=20')->[1]{status}, 400, '... one fails alone');
    $server->done;
};

subtest sensors => sub {
    # The profile for small boards bounds its pools, too; what it says of the MPM is
    # for a whole server.
    (my $small = slurp(root_dir() . '/conf/connpool-small.conf')) =~
        s{<IfModule mpm_event_module>.*?</IfModule>}{}s;
    my $server = starts('sensors', before => $small);
    readme_works($server, 'sensors');
    is($server->pool('sensors')->{max}, 3, 'three connections in a child');
    my $written = ConnPoolTest::decode($server->post('/api/reading',
        content => {sensor => 'cellar', value => '12.5', at => 1700000000 + 86400 * 30 * 100}));
    is_deeply($written, {sensor => 'cellar', at => 1959200000, value => 12.5}, 'a reading with its time');
    $server->post('/api/reading', content => {sensor => 'cellar', value => 13, at => 1959200000});
    my ($cellar) = grep { $_->{name} eq 'cellar' } @{$server->json('/api/sensors')};
    is($cellar->{value}, 13, 'sent again, it replaces the first, and is the last one');
    my $count = sub { return $server->sqlite('sensors', "SELECT count(*) FROM readings WHERE sensor = 'tank'") };
    $server->sqlite('sensors', "DELETE FROM readings WHERE sensor = 'tank'");
    my @rows = map { {ago => 7 * $_ + 1, value => $_} } 1 .. 200;
    my $many = $server->post('/api/readings', json => {sensor => 'tank', rows => \@rows});
    is(ConnPoolTest::decode($many)->{changes}, 200, 'two hundred readings at once');
    is($count->(), 200, '... are stored');
    push @rows, {ago => 1, value => 'much'};
    $rows[$_]{ago} += 3 for 0 .. $#rows;
    problem($server->post('/api/readings', json => {sensor => 'tank', rows => \@rows}), 400, 'one is no number');
    is($count->(), 200, '... and none is stored');
    my $chart = $server->json('/api/chart?sensor=greenhouse&hours=48&step=3600');
    ok(@$chart >= 47 && @$chart <= 50, 'an hour a point') or diag(scalar @$chart);
    is((grep { $_->[2] > $_->[1] || $_->[1] > $_->[3] } @$chart), 0, 'each mean is between low and high');
    $server->post('/api/reading', content => {sensor => 'tank', value => 1, at => 1600000000});
    is($server->sqlite('sensors', 'SELECT count(*) FROM readings WHERE at = 1600000000'), 0,
        'what is older than thirty days goes');
    is(problem($server->post('/api/reading', content => {sensor => 'attic', value => 1}), 409, 'an unknown sensor')
            ->{constraint}, 'foreign_key', '... by its key');
    problem($server->get('/api/chart?sensor=cellar&hours=9000'), 400, 'more hours than are kept');
    $server->done;
};

subtest tiles => sub {
    my $server = starts('tiles');
    readme_works($server, 'tiles');
    my %stored = map { /^(\S+) (\S+)$/ } split /\n/, sql($server, 'tiles.mbtiles',
        q{SELECT zoom_level || '/' || tile_column || '/' || ((1 << zoom_level) - 1 - tile_row)
          || ' ' || hex(tile_data) FROM tiles});
    is(scalar keys %stored, 341, 'the tiles of five zooms');
    my @wrong = grep {
        my $answer = $server->get("/tiles/$_", keep_alive => 1);
        $answer->{status} != 200 || $answer->{content} ne pack('H*', $stored{$_})
            || $answer->{headers}{'content-type'} ne 'image/png'
    } sort keys %stored;
    is("@wrong", '', 'each as it is stored');
    my $tile = $server->get('/tiles/2/1/1');
    like($tile->{content}, qr/^\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\x01\0\x08\x03/, 'a PNG image');
    is($tile->{headers}{'cache-control'}, 'public, max-age=3600', 'kept by browsers');
    is($server->get('/tiles/2/1/1', headers => {'If-None-Match' => $tile->{headers}{etag}})->{status},
        304, 'not sent again');
    problem($server->get('/tiles/2/4/1'), 404, 'beyond the edge');
    problem($server->get('/tiles/2/1/1.png'), 400, 'no number');
    problem($server->get('/tiles/2/1'), 404, 'half a name');
    unlike($server->get('/tiles/2/4/1')->{headers}{'cache-control'} // '', qr/public/,
        'what is missing is not kept');
    is($server->json('/tiles.json')->{maxzoom}, 4, 'the set');
    $server->done;
};

# The answer of the sqlite3 shell over a file of another name than NAME.db.
sub sql {
    my ($server, $file, $sql) = @_;
    my ($exit, $text) = command('sqlite3', '-batch', '-init', '/dev/null', '-readonly', $server->dir("db/$file"), $sql);
    die $text if $exit;
    return $text;
}

subtest notes => sub {
    my $server = starts('notes');
    $server->allow_log(qr/AH01617|AH01618/);
    readme_works($server, 'notes');
    my $as = sub { return {Authorization => 'Basic ' . encode_base64("$_[0]:$_[1]", '')} };
    my ($alice, $bob) = ($as->('alice', 'alice'), $as->('bob', 'bob'));
    is($server->get('/api/notes')->{status}, 401, 'nobody');
    is($server->get('/api/notes', headers => $as->('alice', 'bob'))->{status}, 401, 'a wrong password');
    is_deeply([map { $_->{title} } @{$server->json('/api/notes', headers => $bob)}], ['Secret'], "bob's");
    my $new = $server->post('/api/notes', content => {title => 'Mine'}, headers => {%$bob,
        'Content-Type' => 'application/x-www-form-urlencoded'});
    is($new->{status}, 201, 'a new one') or diag($new->{content});
    my $place = $new->{headers}{location} // '';
    like($place, qr{^/api/note/\d+$}, '... and where it is');
    is($server->json($place, headers => $bob)->{title}, 'Mine', '... is where it is');
    problem($server->get($place, headers => $alice), 404, "... and not alice's");
    my $edit = sub {
        my ($who, $seen, $form) = @_;
        return $server->request('PATCH', $place, content => $form, headers => {%$who,
            'Content-Type' => 'application/x-www-form-urlencoded',
            defined $seen ? ('If-Match' => $seen) : ()});
    };
    is($edit->($bob, '"1"', 'body=one')->{status}, 200, 'changed as it was seen');
    problem($edit->($bob, '"1"', 'body=two'), 412, 'somebody was faster');
    problem($edit->($bob, undef, 'body=two'), 403, 'not seen at all');
    problem($edit->($alice, '"2"', 'body=two'), 412, "another's");
    is_deeply([@{$server->json($place, headers => $bob)}{qw(title body version)}], ['Mine', 'one', 2],
        'what was not given stays, and nothing else was written');
    problem($server->request('DELETE', $place, headers => $alice), 404, "another's is not deleted");
    is($server->request('DELETE', $place, headers => $bob)->{status}, 200, 'deleted');
    problem($server->request('DELETE', $place, headers => $bob), 404, 'once');
    for my $origin ('https://elsewhere.example', 'null') {
        problem($server->request($_->[0], $_->[1], content => 'title=x', headers => {%$bob, Origin => $origin,
            'If-Match' => '"1"', 'Content-Type' => 'application/x-www-form-urlencoded'}), 403, "$_->[0] by a page of $origin")
            for ['POST', '/api/notes'], ['PATCH', '/api/note/3'], ['DELETE', '/api/note/3'];
    }
    is($server->post('/api/notes', content => 'title=x', headers => {%$bob, Origin => $server->url,
        'Content-Type' => 'application/x-www-form-urlencoded'})->{status}, 201, 'but by our own');
    my $page = $server->get('/api/notes?limit=1', headers => $alice);
    like($page->{headers}{link} // '', qr/rel="next"/, 'pages');
    is(problem($server->get('/api/notes?owner=bob', headers => $alice), 400, 'an owner that is said')
            ->{errors}[0]{param}, 'owner', '... is no parameter');
    $server->done;
};

subtest search => sub {
    my $server = starts('search');
    readme_works($server, 'search');
    my $find = sub { return $server->json('/api/search-articles?limit=50&q=' . $_[0]) };
    my $found = $find->('cache');
    like($found->[0]{title}, qr/^\x02Cache\x03-Control$/, 'a title counts for more');
    is((grep { "$_->{title} $_->{snippet}" !~ /\x02cach\w*\x03/i } @$found), 0, 'each shows where');
    is_deeply([map { $_->{score} } @$found], [sort { $b <=> $a } map { $_->{score} } @$found], 'by their rank');
    is(scalar @{$find->('preconditions')}, 1, 'by the stem of a word');
    is_deeply($find->('caching+xyzzy'), [], 'all words must be there');
    # A user's quotes and operators are no syntax.
    for my $odd ('"', 'a"b', '"keep-alive AND (', 'NEAR(a b', 'title:', 'x^', '-a', 'a*b', 'OR', "a\tb", "it's", '{a}', 'a"*',
        "\x{e9}t\x{e9}", 'a' x 60, '"" a ""', 'NOT NOT', "a\\", 'a:b:c', "o'; DROP TABLE articles; --") {
        my $q = join '', map { sprintf '%%%02X', ord } split //, do { my $copy = $odd; utf8::encode($copy); $copy };
        my $answer = $server->get("/api/search-articles?q=$q");
        my $wanted = $odd =~ /[[:alnum:]]/ ? 200 : 400;
        is($answer->{status}, $wanted, "searched for: $odd") or diag($answer->{content});
        is($server->get("/api/suggest?q=$q")->{status}, $wanted, '... and suggested');
    }
    is_deeply([map { $_->[0] } @{$server->json('/api/suggest?q=circ')}], ['Circuit breaker'], 'suggestions');
    # The index hears of what changes, also by another program.
    $server->sqlite('search', q{INSERT INTO articles (title, body) VALUES ('Xyzzy', 'A word <b>that</b> nobody says.')});
    is(scalar @{$find->('xyzzy')}, 1, 'a new article is found');
    $server->sqlite('search', q{UPDATE articles SET title = 'Plugh' WHERE title = 'Xyzzy'});
    is_deeply([scalar @{$find->('xyzzy')}, scalar @{$find->('plugh')}], [0, 1], 'a changed one by its new words');
    $server->sqlite('search', q{DELETE FROM articles WHERE title = 'Plugh'});
    is(scalar @{$find->('plugh')}, 0, 'one that went is not');
    is($server->json('/api/article/27')->{title}, 'ETag', 'one article');
    problem($server->get('/api/article/2700'), 404, 'no article');
    problem($server->get('/api/search-articles?q=--'), 400, 'nothing to search for');
    $server->done;
};

subtest map => sub {
    my $server = starts('map');
    readme_works($server, 'map');
    my $file = $server->get('/api/map.geojson');
    is($file->{headers}{'content-type'}, 'application/geo+json', 'its type');
    my $all = ConnPoolTest::decode($file);
    is($all->{type}, 'FeatureCollection', 'a collection');
    is((grep { $_->{type} ne 'Feature' || ref $_->{geometry}{coordinates} ne 'ARRAY' || ref $_->{properties} ne 'HASH' }
            @{$all->{features}}), 0, '... of features');
    my %window = (west => -10, east => 20, south => 45, north => 60);
    my $query = join '&', 'kind=city', map { "$_=$window{$_}" } sort keys %window;
    my $found = $server->json("/api/window?$query");
    is_deeply(
        [map { $_->{id} } @$found],
        [map { $_->{id} } grep { inside($_->{geometry}, %window) } @{$all->{features}}[0 .. 45]],
        'the cities of a window'
    );
    ok(@$found > 5 && @$found < 46, '... some, not all');
    is(ref $found->[0]{geometry}, 'HASH', 'geometries are JSON');
    my ($munich) = grep { ($_->{properties}{name} // '') eq 'Munich' } @{$server->json('/api/window?west=11&east=12&south=48&north=49')};
    ok($munich, 'what was added is found') or return;
    is_deeply($server->json("/api/feature/$munich->{id}"), $munich, '... by its number, too');
    my $line = $server->post('/api/add-feature', json => {geometry => {type => 'LineString',
        coordinates => [[100, -50], [120, -40.5], [110, -60]]}});
    is($line->{status}, 201, 'a line');
    is($server->json($line->{headers}{location})->{geometry}{coordinates}[1][1], -40.5, '... is where it is said to be');
    is_deeply([map { $_->{id} } @{$server->json('/api/window?west=119&east=121&south=-41&north=-40&kind=mark')}],
        [ConnPoolTest::decode($line)->{id}], '... and found by its box');
    problem($server->post('/api/add-feature', json => {geometry => $_}), 400, $JSON->encode($_))
        for {type => 'Point'}, {type => 'Circle', coordinates => [1, 2]}, {type => 'Point', coordinates => ['a', 'b']}, {};
    problem($server->post('/api/add-feature', content => {geometry => 'POINT(1 2)'}), 400, 'no JSON');
    problem($server->get('/api/window?north=100'), 400, 'beyond the pole');
    $server->done;
};

sub inside {
    my ($geometry, %window) = @_;
    my ($x, $y) = @{$geometry->{coordinates}};
    return $x >= $window{west} && $x <= $window{east} && $y >= $window{south} && $y <= $window{north};
}

subtest htmx => sub {
    my $server = starts('htmx');
    readme_works($server, 'htmx');
    my $list = $server->get('/tasks');
    is($list->{headers}{'content-type'}, 'text/html; charset=utf-8', 'HTML');
    is($list->{headers}{'x-content-type-options'}, 'nosniff', '... believed');
    like($list->{content}, qr/&lt;script&gt;alert\(1\)/, 'what the README adds is there');
    my $evil = q{<img src=x onerror='alert("&amp;")'>};
    is($server->post('/tasks/add', content => {title => $evil})->{status}, 200, 'added');
    my $text = $server->get('/tasks')->{content};
    like($text, qr/&lt;img src=x onerror=&#39;alert\(&quot;&amp;amp;&quot;\)&#39;&gt;/, 'text stays text');
    unlike($text, qr/<(?!\/?(?:li|span|button)\b)/, 'no element but our own');
    my ($id) = $text =~ /<li id="task-(\d+)"><span>&lt;img/;
    my $done = $server->post("/tasks/toggle/$id");
    like($done->{content}, qr/^<li id="task-$id" class="done"><span>&lt;img.*Undo/, 'the changed element');
    like($server->post("/tasks/toggle/$id")->{content}, qr/^<li id="task-$id"><span>&lt;img.*>Done</, '... and back');
    my $gone = $server->post("/tasks/remove/$id");
    is("$gone->{status} $gone->{content}", '200 ', 'nothing stands in the place of what was removed');
    problem($server->post("/tasks/remove/$id"), 404, 'removed once');
    problem($server->post('/tasks/add', content => {title => ' '}), 400, 'nothing to do');
    $server->sqlite('htmx', 'DELETE FROM tasks');
    my $empty = $server->get('/tasks');
    is("$empty->{status} $empty->{content}", '200 ', 'an empty list is no error');
    $server->done;
};

subtest dashboard => sub {
    my $server = starts('dashboard');
    $server->allow_log(qr/AH01630/, qr/upstream 'stock#1'/);
    readme_works($server, 'dashboard');
    my $secret = (stat $server->dir('db/tickets.token'))[2] & 0777;
    is(sprintf('%o', $secret), 600, 'the secret is for its owner');
    for my $round (1 .. 5) {
        my $all = $server->json('/api/dashboard');
        is_deeply([map { "$_->{name} $_->{status}" } @$all],
            ['weather 200', 'stock 200', 'tickets 200', 'targets 200'], "round $round")
            or diag($JSON->encode($all));
    }
    my $status = $server->status_json;
    my ($stock) = grep { $_->{name} eq 'stock' } @{$status->{upstreams}};
    ok($stock->{failovers} >= 3, 'the first machine of the stock is down, the second answers');
    unlike($server->get('/connpool-status?format=json')->{content}, qr/demonstration/, 'the secret is shown nowhere');
    unlike($server->log, qr/demonstration/, '... nor logged');
    is($server->get('/services/tickets')->{status}, 403, 'without it nobody is answered');
    my $some = ConnPoolTest::decode($server->post('/api/dashboard',
        json => [{name => 'targets'}, {name => 'weather', params => {path => '/nowhere'}}]));
    is_deeply([map { $_->{status} } @$some], [200, 404], 'one that fails spoils no other');
    $server->done;
};

subtest 'all in one server' => sub {
    my $server = ConnPoolTest->new(modules => \@MODULES);
    make_files($server, $_) for @NAMES;
    my $include = join '', map { "Include $EXAMPLES/$_/httpd.conf\n" } @NAMES;
    my ($exit, $text) = $server->configtest("Define CONNPOOL_DATA \@DIR\@/db\n$include");
    is($exit, 0, 'no name is used twice') or diag($text);
    # As they are copied: without a word about where the data are.
    for my $name (@NAMES) {
        ($exit, $text) = $server->configtest("Include $EXAMPLES/$name/httpd.conf\n");
        if ($name eq 'dashboard') {
            like($text, qr{ConnPoolUpstream.*/var/lib/connpool/tickets\.token}s, 'the secret is missing');
        }
        else {
            is($exit, 0, "$name: copied as it is") or diag($text);
        }
    }
    $server->dismiss;
};

subtest 'a broken data set is not used' => sub {
    my $server = ConnPoolTest->new;
    my $copy = $server->dir('copy');
    command('mkdir', '-p', "$copy/conf/examples", "$copy/scripts");
    command('cp', '-R', "$EXAMPLES/map", "$copy/conf/examples/");
    command('cp', root_dir() . '/scripts/make-example.sh', "$copy/scripts/");
    my $make = sub { return command("$copy/scripts/make-example.sh", 'map', $server->dir('db')) };
    open(my $out, '>>', "$copy/conf/examples/map/schema.sql") or die $!;
    print {$out} "INSERT INTO nowhere VALUES (1);\n";
    close $out;
    my ($exit) = $make->();
    isnt($exit, 0, 'an error in the schema is told');
    ok(!-e $server->dir('db/map.db'), '... and leaves no database');
    command('cp', "$EXAMPLES/map/schema.sql", "$copy/conf/examples/map/schema.sql");
    ($exit) = $make->();
    is($exit, 0, 'mended');
    ok(-s $server->dir('db/map.db'), '... it is made');
    $server->sqlite('map', 'CREATE TABLE mark(a)');
    my $marked = sub { return sql($server, 'map.db', q{SELECT count(*) FROM sqlite_schema WHERE name = 'mark'}) + 0 };
    $make->();
    is($marked->(), 1, 'once');
    utime time + 10, time + 10, "$copy/conf/examples/map/schema.sql";
    $make->();
    is($marked->(), 0, 'and again when the schema is newer');
    $server->dismiss;
};

# --- make run ----------------------------------------------------------------

# The script in the background, until it says how to end it: (pid, what it said).
sub run_demo {
    my ($dir, %env) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open(STDERR, '>&', \*STDOUT);
        @ENV{keys %env} = values %env;
        exec(root_dir() . '/scripts/run-demo.sh') or POSIX::_exit(127);
    }
    my $text = ConnPoolTest::read_until($out, qr/Ctrl-C ends it/, 60);
    return ($pid, $text, $out);
}

subtest 'make run' => sub {
    my (undef, $dry) = command('make', '-s', '-n', '-C', root_dir(), 'run', 'EXAMPLE=tiles', 'PORT=8123');
    like($dry, qr/PORT='8123' DATABASE='' EXAMPLE='tiles' exec scripts\/run-demo\.sh/, 'the example is handed on');
    (undef, $dry) = command('make', '-s', '-n', '-C', root_dir(), 'run');
    like($dry, qr/EXAMPLE='calendar'/, 'the calendar is the default');

    my $build = File::Temp::tempdir(CLEANUP => 1);
    chmod 0755, $build;
    symlink(build_dir() . '/mod_connpool.so', "$build/mod_connpool.so") or die $!;
    for my $name ('', 'nothing', '../examples/map') {
        my $port = free_port();
        my ($pid, $text, $out) = run_demo($build, EXAMPLE => $name || 'x y', BUILD => $build, PORT => $port);
        close $out;
        isnt($?, 0, "no example: '$name'");
        like($text, qr/none of: calendar dashboard htmx map notes search sensors tiles/, '... says which there are');
    }
    for my $name (@NAMES) {
        my ($port, $reserved) = free_port();
        my ($pid, $text, $out) = run_demo($build, EXAMPLE => $name, BUILD => $build, PORT => $port);
        like($text, qr/^  curl .*127\.0\.0\.1:$port/m, "$name: says what to try") or next;
        my $client = HTTP::Tiny->new(timeout => 10);
        my $get    = sub { return $client->get("http://127.0.0.1:$port$_[0]") };
        like($get->('/')->{content}, qr/<h1>/, "$name: the page");
        my $lines = $get->('/httpd.conf');
        is($lines->{content}, slurp("$EXAMPLES/$name/httpd.conf"), "$name: the page can show the configuration");
        like($lines->{headers}{'content-type'}, qr{^text/plain}, '... as text');
        is($get->("/common/$_")->{status}, 200, "$name: $_") for qw(page.css page.js);
        is($get->($_)->{status}, 404, "$name: not $_") for '/schema.sql', '/README.md', '/common/../notes/schema.sql';
        cmp_ok($JSON->decode($get->('/connpool-status?format=json')->{content})->{children}, '<=', 2, "$name: two children");
        is(JSON::PP->new->decode($get->('/connpool-health')->{content})->{status}, 'ok', "$name: healthy");
        if ($name eq 'sensors') {
            my %workers = $get->('/server-status?auto')->{content} =~ /^(Busy|Idle)Workers: (\d+)/mg;
            cmp_ok($workers{Busy} + $workers{Idle}, '<=', 25, 'no more threads than a board of 512 MB has');
        }
        browse($name, $port, $build);
        kill 'TERM', $pid;
        close $out;
        is($? >> 8, 143, "$name: ended by a signal");
        ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port), "$name: and its server with it");
    }
};

# Each endpoint of a page has its lines beside it and its answer below it.
sub browse {
    my ($name, $port, $build) = @_;
    my ($chromium) = grep { -x } map { ("$_/chromium", "$_/chromium-browser") } split /:/, $ENV{PATH};
    SKIP: {
        skip 'chromium is not installed', 1 if !$chromium;
        my ($exit, $text) = command(
            'timeout', 60, $chromium, '--headless=new', '--no-sandbox', '--disable-gpu',
            '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
            "--user-data-dir=$build/browser", '--enable-logging=stderr',
            '--virtual-time-budget=10000', '--dump-dom', "http://127.0.0.1:$port/"
        );
        is($exit, 0, "$name: in a browser");
        my @forms = $text =~ /<form[^>]* action="/g;
        my @lines = $text =~ /<summary[^>]*>Configuration<\/summary><pre[^>]*>[^<]*ConnPoolServe/g;
        is(scalar @lines, scalar @forms, "$name: each endpoint shows its lines");
        my ($twice) = map { "@{[sort /ConnPoolQuery (\S+)/g]}" =~ /\b(\w+) \1\b/ } $text =~ /<pre[^>]*>([^<]*ConnPoolServe)/g;
        is($twice, undef, "$name: ... and each once");
        my ($refused) = $text =~ /id="error">.*?role="status">([^<]*)/s;
        like($refused, $name eq 'notes' ? qr/^$/ : $name eq 'dashboard' ? qr/^200 / : qr/^4\d\d /, "$name: ... an error is shown");
        unlike($text, qr/No answer|Uncaught|Content Security Policy/, "$name: nothing went wrong")
            or diag(grep { /CONSOLE/ } split /^/, $text);
    }
    return;
}

done_testing;
