#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# format=raw: bodies of any type out of a table, with tags, ranges, file names,
# and what is stored in gzip; alone, from caches, and in batches.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await read_until slowness);
use IO::Compress::Gzip     ();
use IO::Uncompress::Gunzip ();
use MIME::Base64           ();
use Test::More;
use Time::HiRes qw(sleep time);

my $BY_ID = 'FROM file WHERE id = :id';

# name => [SQL, options, parameters]; each is served at /name.
my %QUERIES = (
    image   => ["SELECT body $BY_ID", 'format=raw type=image/png', 'id integer required'],
    plain   => ["SELECT body $BY_ID", 'format=raw', 'id integer required'],
    text    => ["SELECT body $BY_ID", 'format=raw type=text/html', 'id integer required'],
    latin   => ["SELECT body $BY_ID", 'format=raw type="text/plain; charset=latin1"',
        'id integer required'],
    svg     => ["SELECT body $BY_ID", 'format=raw type=image/svg+xml', 'id integer required'],
    named   => ["SELECT body, name $BY_ID", 'format=raw type=image/png', 'id integer required'],
    typed   => ["SELECT body, kind AS type, name $BY_ID", 'format=raw type=column',
        'id integer required'],
    typed2  => ["SELECT body, name, kind AS Mime_Type $BY_ID", 'format=raw type=column',
        'id integer required'],
    typed3  => ["SELECT body, kind $BY_ID", 'format=raw type=column', 'id integer required'],
    small   => ["SELECT body $BY_ID", 'format=raw max-bytes=10', 'id integer required'],
    tile    => ["SELECT body $BY_ID", 'format=raw type=application/x-protobuf encoding=gzip '
        . 'max-bytes=1M', 'id integer required'],
    tilekept => ["SELECT body $BY_ID", 'format=raw type=application/x-protobuf encoding=gzip '
        . 'ttl=data', 'id integer required'],
    tiletime => ["SELECT body $BY_ID", 'format=raw type=application/x-protobuf encoding=gzip '
        . 'ttl=1h', 'id integer required'],
    kept     => ["SELECT body, kind AS type, name $BY_ID", 'format=raw type=column ttl=data',
        'id integer required'],
    shared   => ["SELECT body, kind AS type, name $BY_ID", 'format=raw type=column ttl=1h',
        'id integer required'],
    together => ["SELECT body, kind AS type, name $BY_ID", 'format=raw type=column coalesce=on',
        'id integer required'],
    upload   => ['INSERT INTO file(body, name) VALUES (:body, :name) RETURNING '
        . q{'<li>' || name || '</li>'}, 'format=raw type=text/html write=on', 'body blob',
        'name text'],
    json     => ['SELECT body ' . $BY_ID, 'format=raw type=application/json',
        'id integer required'],
    toomany  => ["SELECT body, name, kind $BY_ID", 'format=raw', 'id integer required'],
    toofew   => ["SELECT body $BY_ID", 'format=raw type=column', 'id integer required'],
);

my $conf = <<'CONF';
ConnPoolDatabase main sqlite:@DIR@/db/main.db length=20M max=2 acquire=200ms overflow=reject
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe image text json tile
</Location>
<Location "/health">
SetHandler connpool-health
</Location>
<Location "/squeezed">
SetHandler connpool-query
ConnPoolServe text
SetOutputFilter DEFLATE
</Location>
ConnPoolDatabase map sqlite:@DIR@/db/map.db
ConnPoolQuery map map "SELECT tile_data FROM tiles WHERE zoom_level = :z AND tile_column = :x AND tile_row = (1 << :z) - 1 - :y" format=raw type=image/png ttl=data
ConnPoolParam map z integer required min=0 max=22
ConnPoolParam map x integer required min=0
ConnPoolParam map y integer required min=0
<Location "/map">
SetHandler connpool-query
ConnPoolServe map
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name main \"$sql\" $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params)
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}

sub gzip {
    my ($text) = @_;
    IO::Compress::Gzip::gzip(\$text => \my $packed, -Minimal => 1);
    return $packed;
}

my $PNG  = "\x89PNG\r\n\x1a\n\0" . join('', map { chr } 0 .. 255) x 4;
my $TILE = 'a tile ' x 1000;
my %FILES = (        # id => [body, name, type]
    1  => [$PNG,                 'picture.png',          'image/png'],
    2  => ['<p>"Grüß Gott"</p>', "Gr\xc3\xbc\xc3\x9f.html", 'text/html'],
    3  => ['',                   'empty',                'text/plain'],
    4  => [gzip($TILE),          'tile.pbf',             'application/x-protobuf'],
    5  => [substr(gzip($TILE), 0, -9), 'cut.pbf',        'application/x-protobuf'],
    6  => ['not packed',         'bare.pbf',             'application/x-protobuf'],
    7  => [gzip("\0" x 3_000_000), 'bomb.pbf',           'application/x-protobuf'],
    8  => ["{\"a\":1}",          'a.json',               'application/json; v="1;\\"2"'],
    9  => ['{"a":',              'b.json',               'image/*'],
    10 => ['x', "a\r\nSet-Cookie: b=c\r\n\r\n.txt", "text/html\r\nSet-Cookie: b=c"],
    11 => ['x', 'a"; filename="evil.exe',         'text/html; charset="'],
    12 => ['x', '../../etc/passwd',               'nonsense'],
    13 => ['x', "a%41\\b.txt",                    ''],
    14 => ['x', "\xff\xfe\xe2\x80\xaegpj.exe",    'text/html;charset=utf-8'],
    15 => ['x', "\x01\x02",                       "text/html\0x"],
    16 => ['x', 'n' x 300,                        'TEXT/Plain ; Charset=latin1'],
    17 => ['x', "\xf0\x9f\x98\x80" x 100,         'a/' . 'b' x 300],
);
my $sql = "CREATE TABLE file(id INTEGER PRIMARY KEY, body, name, kind);\n";
for my $id (sort { $a <=> $b } keys %FILES) {
    my ($body, $name, $type) = map { unpack 'H*', $_ } @{$FILES{$id}};
    $sql .= "INSERT INTO file VALUES ($id, x'$body', CAST(x'$name' AS TEXT), "
        . "CAST(x'$type' AS TEXT));\n";
}
$sql .= <<'SQL';
UPDATE file SET body = CAST(body AS TEXT) WHERE id IN (2, 8, 9);
INSERT INTO file VALUES (20, NULL, NULL, NULL), (21, 42, 7, 1.5), (22, 1.5, x'610062', x'612f62'),
    (30, zeroblob(6000000), 'big', 'image/png'), (31, zeroblob(9000000), 'huge', 'image/png'),
    (32, zeroblob(19999990), 'most', 'image/png');
SQL

my $server =
    ConnPoolTest->new(modules => ['socache_shmcb', 'deflate'], threads => 12, conf => $conf);
$server->make_sqlite('main', $sql);
$server->make_sqlite('map', <<'SQL');
CREATE TABLE tiles(zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB);
WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
INSERT INTO tiles SELECT 7, i / 100, i % 100, randomblob(500 + i % 700) || CAST(i AS BLOB) FROM n;
CREATE UNIQUE INDEX tile_index ON tiles(zoom_level, tile_column, tile_row);
SQL
$server->allow_log(
    qr/ConnPoolQuery toomany at .* cannot be prepared: format=raw: more columns than/,
    qr/ConnPoolQuery toofew at .* cannot be prepared: type=column: there is no second column/,
    qr/query '(?:toomany|toofew)': the query does not fit the database/,
    qr/query 'tile': what is stored is damaged/,
);
$server->start;

sub query_of {
    my ($name) = @_;
    my ($line) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $line;
}

sub ask {
    my ($path, %headers) = @_;
    return $server->get($path, headers => \%headers);
}

# ---------------------------------------------------------------------------

subtest 'bodies' => sub {
    my $answer = ask('/image?id=1');
    is($answer->{status},  200,  'an image');
    is($answer->{content}, $PNG, '... byte by byte');
    my $headers = $answer->{headers};
    is($headers->{'content-type'},           'image/png',    'type');
    is($headers->{'content-length'},         length $PNG,    'length');
    is($headers->{'x-content-type-options'}, 'nosniff',      'nosniff');
    is($headers->{'accept-ranges'},          'bytes',        'ranges');
    is($headers->{'cache-control'},          'no-cache',     'to be asked for again');
    is($headers->{'content-disposition'},    undef,          'no file name');
    like($headers->{etag}, qr/^"\w{16}"$/, 'a strong tag');
    my $head = $server->head('/image?id=1');
    is($head->{content}, '', 'HEAD has no body');
    is($head->{headers}{$_}, $headers->{$_}, "... but $_")
        for qw(content-type content-length etag accept-ranges x-content-type-options);

    is(ask('/plain?id=1')->{headers}{'content-type'}, 'application/octet-stream', 'no type=');
    is(ask('/text?id=2')->{headers}{'content-type'}, 'text/html; charset=utf-8', 'text is UTF-8');
    is(ask('/text?id=2')->{content}, $FILES{2}[0], '... from text');
    is(ask('/latin?id=2')->{headers}{'content-type'}, 'text/plain; charset=latin1',
        'unless it says what it is');
    is(ask('/svg?id=1')->{headers}{'content-type'}, 'image/svg+xml', 'XML says it itself');
    my $empty = ask('/image?id=3');
    is($empty->{status}, 200, 'an empty body');
    is($empty->{headers}{'content-length'}, 0, '... is one');
    is(ask('/image?id=21')->{content}, '42',  'an integer');
    is(ask('/image?id=22')->{content}, '1.5', 'a real');
    for my $id (20, 99) {
        my $none = ask("/image?id=$id");
        is($none->{status}, 404, $id == 20 ? 'NULL' : 'no row');
        is($none->{headers}{'content-type'}, 'application/problem+json', '... a problem');
    }
};

subtest 'conditions' => sub {
    my $tag = ask('/image?id=1')->{headers}{etag};
    my $same = ask('/image?id=1', 'If-None-Match' => $tag);
    is($same->{status}, 304, 'not modified');
    is($same->{headers}{etag}, $tag, '... with the tag');
    is(ask('/image?id=1', 'If-None-Match' => '"other"')->{status}, 200, 'another tag');
    is(ask('/image?id=1', 'If-Match'      => $tag)->{status},      200, 'If-Match');
    my $failed = ask('/named?id=1', 'If-Match' => '"other"');
    is($failed->{status}, 412, '... of another');
    is($failed->{headers}{'content-disposition'}, undef, '... is no file');
    isnt(ask('/image?id=2')->{headers}{etag}, $tag, 'another body, another tag');
};

subtest 'ranges' => sub {
    my $size   = length $PNG;
    my $tag    = ask('/image?id=1')->{headers}{etag};
    my $answer = ask('/image?id=1', Range => 'bytes=5-9');
    is($answer->{status}, 206, 'a part');
    is($answer->{headers}{'content-range'}, "bytes 5-9/$size", '... which');
    is($answer->{content}, substr($PNG, 5, 5), '... its bytes');
    is($answer->{headers}{etag}, $tag, '... and tag');
    is($answer->{headers}{'content-type'}, 'image/png', '... and type');
    is(ask('/image?id=1', Range => 'bytes=-7')->{content}, substr($PNG, -7), 'the end');
    is(ask('/image?id=1', Range => 'bytes=1000-')->{content}, substr($PNG, 1000), 'from there');
    is(ask('/image?id=1', Range => 'bytes=5-9', 'If-Range' => $tag)->{status}, 206, 'If-Range');
    my $whole = ask('/image?id=1', Range => 'bytes=5-9', 'If-Range' => '"other"');
    is($whole->{status},  200,  '... of another: all');
    is($whole->{content}, $PNG, '... of it');
    is(ask('/image?id=1', Range => 'bytes=5-9', 'If-Range' => "W/$tag")->{status}, 200,
        '... a weak one is none');
    my $beyond = ask('/image?id=1', Range => 'bytes=99999-');
    is($beyond->{status}, 416, 'beyond the end');
    is($beyond->{headers}{'content-range'}, "bytes */$size", '... how much there is');
    is($beyond->{headers}{'content-type'}, 'application/problem+json', '... a problem');
    is(ask('/image?id=1', Range => 'bytes=99999-', 'If-Range' => '"other"')->{status}, 200,
        '... not of what it is not');
    is(ask('/image?id=3', Range => 'bytes=0-')->{status}, 416, 'nothing of nothing');
    is(ask('/image?id=1', Range => 'bytes=9-5')->{status}, 200, 'what is no range: all');
    my $several = ask('/image?id=1', Range => 'bytes=0-3,500-503');
    is($several->{status}, 206, 'several');
    like($several->{headers}{'content-type'}, qr{^multipart/byteranges; boundary=},
        '... in parts');
    my $part = "bytes 500-503/$size\r\n\r\n" . substr($PNG, 500, 4) . "\r\n";
    like($several->{content}, qr{Content-type: image/png\r\n.*\Q$part\E}s, '... with its bytes');
    is(ask('/image?id=1', Range => 'apples=1-2')->{status}, 200, 'of another unit: all');
    is(ask('/image?id=1', Range => 'bytes=5-9', 'If-None-Match' => $tag)->{status}, 304,
        'conditions come first');
    is(ask('/image?id=30', Range => 'bytes=5999990-')->{content}, "\0" x 10,
        'of a body that waits in a file');
    for my $path ('/kept', '/shared', '/together') {
        is(ask("$path?id=1", Range => 'bytes=5-9')->{content}, substr($PNG, 5, 5), $path)
            for 1 .. 2;
    }
    my $posted = $server->post('/upload', json => {name => 'abc'},
        headers => {Range => 'bytes=1-2'});
    is($posted->{content}, '<li>abc</li>', 'a write has no parts');
};

subtest 'file names' => sub {
    my %expected = (
        1  => 'attachment; filename="picture.png"',
        2  => q{attachment; filename="Gr__.html"; filename*=UTF-8''Gr%C3%BC%C3%9F.html},
        10 => 'attachment; filename="aSet-Cookie: b=c.txt"',
        11 => q{attachment; filename="a_; filename=_evil.exe"; }
            . q{filename*=UTF-8''a%22%3B%20filename%3D%22evil.exe},
        12 => 'attachment; filename=".._.._etc_passwd"',
        13 => q{attachment; filename="a_41_b.txt"; filename*=UTF-8''a%2541_b.txt},
        14 => q{attachment; filename="__gpj.exe"; filename*=UTF-8''%EF%BF%BD%EF%BF%BDgpj.exe},
        15 => undef,
        16 => 'attachment; filename="' . 'n' x 255 . '"',
        17 => 'attachment; filename="' . '_' x 63 . q{"; filename*=UTF-8''} . '%F0%9F%98%80' x 63,
        21 => 'attachment; filename="7"',
        22 => 'attachment; filename="ab"',
    );
    for my $id (sort { $a <=> $b } keys %expected) {
        my $answer = ask("/named?id=$id");
        is($answer->{headers}{'content-disposition'}, $expected{$id}, "file $id");
        is($answer->{headers}{'set-cookie'}, undef, '... and no other header');
        is(ask("/$_?id=$id")->{headers}{'content-disposition'}, $expected{$id}, "... $_")
            for qw(typed typed2);
    }
};

subtest 'types from a column' => sub {
    my $unknown  = 'application/octet-stream';
    my %expected = (
        1  => 'image/png',
        2  => 'text/html; charset=utf-8',
        8  => $FILES{8}[2],
        9  => $unknown,
        10 => $unknown,
        11 => $unknown,
        12 => $unknown,
        13 => $unknown,
        14 => 'text/html;charset=utf-8',
        15 => $unknown,
        16 => 'TEXT/Plain ; Charset=latin1',
        17 => $unknown,
        21 => $unknown,
        22 => 'a/b',
    );
    for my $id (sort { $a <=> $b } keys %expected) {
        for my $path (qw(typed typed2 typed3)) {
            my $answer = ask("/$path?id=$id");
            is($answer->{headers}{'content-type'}, $expected{$id}, "$path of file $id");
            is($answer->{headers}{'x-content-type-options'}, 'nosniff', '... nosniff');
            is($answer->{headers}{'set-cookie'}, undef, '... and no other header');
        }
    }
    is(ask('/typed3?id=1')->{headers}{'content-disposition'}, undef, 'no column for a name');
};

subtest 'from caches' => sub {
    for my $path (qw(kept shared together)) {
        for my $time (1, 2) {
            my $answer = ask("/$path?id=2");
            is($answer->{status}, 200, "$path, $time");
            is($answer->{content}, $FILES{2}[0], '... body');
            is($answer->{headers}{'content-type'}, 'text/html; charset=utf-8', '... type');
            like($answer->{headers}{'content-disposition'}, qr/filename="Gr__.html"/, '... name');
            is($answer->{headers}{'accept-ranges'}, 'bytes', '... ranges');
            my $tag = $answer->{headers}{etag};
            is(ask("/$path?id=2", 'If-None-Match' => $tag)->{status}, 304, '... tag');
            is(ask("/$path?id=20")->{status}, 404, '... NULL');
        }
    }
    is(query_of($_)->{cache}{hits} > 0, 1, "$_ has hits") for qw(kept shared);
    $server->sqlite('main', q{UPDATE file SET kind = 'text/plain' WHERE id = 2});
    is(ask('/kept?id=2')->{headers}{'content-type'}, 'text/plain; charset=utf-8',
        'ttl=data sees the change');
    is(ask('/kept?id=30')->{headers}{'content-length'}, 6_000_000, 'a large one') for 1 .. 2;
};

subtest 'stored in gzip' => sub {
    for my $path (qw(tile tilekept tiletime)) {
        for my $time (1, 2) {
            my $packed = ask("/$path?id=4", 'Accept-Encoding' => 'br, gzip');
            is($packed->{status}, 200, "$path, $time");
            is($packed->{content}, $FILES{4}[0], '... as it is stored');
            is($packed->{headers}{'content-encoding'}, 'gzip', '... which it says');
            is($packed->{headers}{vary} =~ /Accept-Encoding/, 1, '... and what decided');
            my $plain = ask("/$path?id=4");
            is($plain->{content}, $TILE, 'decoded');
            is($plain->{headers}{'content-encoding'}, undef, '... which it says');
            is($plain->{headers}{vary} =~ /Accept-Encoding/, 1, '... and what decided');
            is($plain->{headers}{'content-length'}, length $TILE, '... its length');
            isnt($plain->{headers}{etag}, $packed->{headers}{etag}, '... another tag');
            is(ask("/$path?id=4", 'If-None-Match' => $plain->{headers}{etag})->{status}, 304,
                '... which is known');
            is(ask("/$path?id=4", 'If-None-Match' => $packed->{headers}{etag})->{status}, 200,
                '... the other is another');
            is(ask("/$path?id=4", 'If-None-Match' => $packed->{headers}{etag},
                    'Accept-Encoding' => 'gzip')->{status}, 304, 'packed, and known');
            is(ask("/$path?id=4", Range => 'bytes=2-5')->{content}, substr($TILE, 2, 4),
                'a part of the decoded');
            is(ask("/$path?id=4", Range => 'bytes=2-5', 'Accept-Encoding' => 'gzip')->{content},
                substr($FILES{4}[0], 2, 4), 'a part of the stored');
        }
    }
    my %accepts = (
        'gzip'                => 1,
        'GZIP;q=0.5'          => 1,
        'x-gzip'              => 1,
        'deflate, *;q=0.1'    => 1,
        'gzip;q=1.0, identity; q=0.5' => 1,
        'gzip;q=0'            => 0,
        'gzip ; q=0.000 , br' => 0,
        '*;q=0'               => 0,
        'gzip;q=0, *'         => 0,
        'identity'            => 0,
        'gzipped'             => 0,
        ''                    => 0,
    );
    for my $accept (sort keys %accepts) {
        my $answer = ask('/tile?id=4', 'Accept-Encoding' => $accept);
        is($answer->{headers}{'content-encoding'} ? 1 : 0, $accepts{$accept}, "'$accept'");
        is($answer->{content}, $accepts{$accept} ? $FILES{4}[0] : $TILE, '... its body');
    }
    my $bare = ask('/tile?id=6', 'Accept-Encoding' => 'gzip');
    is($bare->{content}, 'not packed', 'what is not packed');
    is($bare->{headers}{'content-encoding'}, undef, '... says so');
    is(ask('/tile?id=5', 'Accept-Encoding' => 'gzip')->{status}, 200, 'damaged, but as stored');
    is(ask('/tile?id=5')->{status}, 500, '... cannot be decoded');
    my $bomb = ask('/tile?id=7');
    is($bomb->{status}, 413, 'more than max-bytes, decoded');
    is($bomb->{headers}{'content-encoding'}, undef, '... a problem in no coding');
};

subtest 'a map of 10,000 tiles' => sub {
    my $wrong = 0;
    for my $i (map { $_ * 397 % 10_000 } 1 .. 50) {
        my ($x, $row) = (int($i / 100), $i % 100);
        my $tile = ask("/map?z=7&x=$x&y=" . (127 - $row));
        my $hex  = $server->sqlite('map',
            "SELECT hex(tile_data) FROM tiles WHERE tile_column = $x AND tile_row = $row");
        $wrong++ if $tile->{status} != 200 || uc(unpack('H*', $tile->{content})) ne $hex;
    }
    is($wrong, 0, 'each is the one that was asked for');
    is(ask('/map?z=7&x=100&y=0')->{status}, 404, 'beyond the edge');
    is(ask('/map?z=23&x=0&y=0')->{status},  400, 'beyond the bounds');
};

subtest 'too large' => sub {
    my $before = query_of('small')->{failures}{size};
    my $answer = ask('/small?id=1');
    is($answer->{status}, 413, 'more than max-bytes');
    is($answer->{headers}{'content-type'}, 'application/problem+json', '... is a problem');
    is($answer->{headers}{'connpool-truncated'}, undef, '... and nothing cut');
    is(query_of('small')->{failures}{size} - $before, 1, '... counted');
    is(ask('/image?id=30')->{headers}{'content-length'}, 6_000_000, 'up to 8M');
    is(ask("/image?id=$_")->{status}, 413, '... no more') for 31, 32;
};

subtest 'slow clients' => sub {
    my ($child) = $server->children;
    my @slow;
    for (1 .. 8) {
        my $socket = $server->connect;
        print {$socket} "GET /image?id=30 HTTP/1.1\r\nHost: x\r\n\r\n";
        like(read_until($socket, qr/\r\n\r\n/), qr/^HTTP\/1.1 200 .*Content-Length: 6000000/s,
            'a client that does not read on');
        push @slow, $socket;
    }
    ok(await(sub { $server->pool('main')->{busy} == 0 }), 'no connection is held');
    is(ask('/image?id=1')->{status}, 200, 'others are served') for 1 .. 4;
    is(scalar(grep { m{/connpool-\w+ \(deleted\)} } values %{$server->fds($child)}), 8,
        'what waits is in files');
    for my $socket (@slow) {
        my ($left, $got) = (6_000_000, 0);
        my $end = time + 20 * slowness();
        while (time < $end && sysread($socket, my $piece, 1_000_000)) {
            $got += length $piece;
            last if $got > 5_900_000;
        }
        cmp_ok($got, '>', 5_900_000, 'and each gets its body');
        close $socket;
    }
};

subtest 'in batches' => sub {
    my $items = ConnPoolTest::decode($server->post('/batch', json => [
            {name => 'image', params => {id => 1}},
            {name => 'text',  params => {id => 2}},
            {name => 'json',  params => {id => 8}},
            {name => 'json',  params => {id => 9}},
            {name => 'tile',  params => {id => 4}},
            {name => 'tile',  params => {id => 5}},
            {name => 'image', params => {id => 20}},
            {name => 'image', params => {id => 31}},
    ]));
    is_deeply([map { $_->{status} } @$items], [200, 200, 200, 200, 200, 500, 404, 413],
        'statuses');
    is(MIME::Base64::decode($items->[0]{body}{'$base64'}), $PNG, 'a blob');
    is(length $items->[1]{body}, 18, 'text');
    is_deeply($items->[2]{body}, {a => 1}, 'JSON');
    is($items->[3]{body}, '{"a":', 'what is no JSON');
    is($items->[4]{body}, $TILE,   'decoded');
};

subtest 'behind mod_deflate' => sub {
    my $packed = ask('/squeezed?id=1', 'Accept-Encoding' => 'gzip');
    is($packed->{headers}{'content-encoding'}, 'gzip', 'packed on the way');
    IO::Uncompress::Gunzip::gunzip(\$packed->{content} => \my $text);
    is($text, $PNG, '... the body');
    is(ask('/squeezed?id=1', 'Accept-Encoding' => 'gzip',
            'If-None-Match' => $packed->{headers}{etag})->{status}, 304, '... the tag');
};

subtest 'columns that do not fit' => sub {
    for my $name (qw(toomany toofew)) {
        is(ask("/$name?id=1")->{status}, 503, "$name: 503");
        my @causes = grep { $_->{name} eq $name } @{$server->json('/health')->{causes}};
        is($causes[0]{state}, 'degraded', '... degraded');
    }
};

subtest 'configtest' => sub {
    my $db    = 'ConnPoolDatabase main sqlite:@DIR@/db/main.db';
    my @wrong = (
        ['SELECT 1' => 'type=image/png' => qr/q: type: is for format=raw/],
        ['SELECT 1' => 'format=json type=image/png' => qr/q: type: is for format=raw/],
        ['SELECT 1' => 'format=raw type=png' => qr/q: type: 'png' is no media type/],
        ['SELECT 1' => 'format=raw type=image/' => qr/'image\/' is no media type/],
        ['SELECT 1' => 'format=raw type=image/*' => qr/'image\/\*' is no media type/],
        ['SELECT 1' => 'format=raw type="text/html; x"' => qr/is no media type/],
        ['SELECT 1' => 'format=raw encoding=br' => qr/encoding=br: .*identity.*gzip/],
        ['SELECT 1' => 'format=value encoding=gzip' => qr/q: encoding: gzip is for format=raw/],
        ['SELECT 1' => 'format=raw types=declared' => qr/q: types: no type is shown/],
        ['DELETE FROM file' => 'write=on format=raw' => qr/q: format=raw needs RETURNING/],
    );
    for my $case (@wrong) {
        my ($text, $options, $pattern) = @$case;
        my ($status, $said) = $server->configtest("$db\nConnPoolQuery q main \"$text\" $options\n");
        isnt($status, 0, "$options is refused");
        like($said, qr/ConnPoolQuery/, '... by the directive');
        like($said, $pattern, '... and told why');
    }
};

$server->done;
done_testing();
