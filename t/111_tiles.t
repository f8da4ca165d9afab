#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The example of a tile server with a map of ten thousand tiles: each as it is
# stored, and as the web wants images: types, tags, ranges, conditions. ab and a new
# map beside.
#
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Compress::Zlib qw(compress crc32);
use ConnPoolTest   qw(await command parallel root_dir);
use HTTP::Tiny     ();
use Test::More;

my ($ZOOM, $FIRST, $EDGE) = (7, 10, 100);
my $LAST = 2**$ZOOM - 1;

sub chunk {
    my ($type, $data) = @_;
    return pack('N', length $data) . $type . $data . pack('N', crc32($type . $data));
}

# A grey image of its own for each place; one in a hundred is large, since noise
# cannot be compressed.
sub png {
    my ($x, $y, $salt) = @_;
    my $seed = ($x * 131 + $y * 7919 + $salt) % 65_521;
    my $size = ($x + $y) % 100 ? 16 : 200;
    my @rows = map {
        my $row = '';
        for (1 .. $size) {
            $seed = ($seed * 75 + 74) % 65_537;
            $row .= chr($seed & 255);
        }
        "\0$row"
    } 1 .. $size;
    return "\x89PNG\r\n\x1a\n" . chunk('IHDR', pack('NNCCCCC', $size, $size, 8, 0, 0, 0, 0))
        . chunk('tEXt', "Title\0$x $y")
        . chunk('IDAT', compress(join '', @rows)) . chunk('IEND', '');
}

# Ten thousand of them, as an MBTiles file by the name that the server reads.
sub make_map {
    my ($server, $name, $salt) = @_;
    my $path = $server->write_file("$name.sql", '');
    open(my $sql, '>', $path) or die $!;
    open(my $schema, '<', root_dir() . '/conf/examples/tiles/schema.sql') or die $!;
    print {$sql} <$schema>, "BEGIN;\nINSERT INTO metadata VALUES ('name', '$name'), ('format', 'png');\n";
    for my $x ($FIRST .. $FIRST + $EDGE - 1) {
        for my $y ($FIRST .. $FIRST + $EDGE - 1) {
            printf {$sql} "INSERT INTO tiles VALUES (%d, %d, %d, X'%s');\n",
                $ZOOM, $x, $LAST - $y, unpack 'H*', png($x, $y, $salt);
        }
    }
    print {$sql} "COMMIT;\n";
    close $sql or die $!;
    my $file = $server->dir("db/$name.mbtiles");
    my ($exit, $text) = command('sh', '-c', 'sqlite3 -batch -bail -init /dev/null "$1" <"$2"', 'sh', $file, $path);
    is($exit, 0, "the map $name is made") or diag($text);
    # The server only reads it.
    chmod 0444, $file;
    return $file;
}

my $server = ConnPoolTest->new(children => 2, threads => 16, conf => <<'CONF' . 'Include ' . root_dir() . "/conf/examples/tiles/httpd.conf\n");
Define CONNPOOL_DATA @DIR@/db
CONF
make_map($server, 'tiles', 0);
$server->start;

sub at {
    my ($i) = @_;
    return ($FIRST + $i % $EDGE, $FIRST + int($i / $EDGE));
}

sub path {
    my ($i) = @_;
    return join '/', '/tiles', $ZOOM, at($i);
}

sub ask {
    my ($path, %headers) = @_;
    return $server->get($path, keep_alive => 1, headers => \%headers);
}

subtest 'ten thousand tiles' => sub {
    my $clients = 4;
    my $all     = $EDGE * $EDGE;
    my @reports = parallel($clients, sub {
        my ($n) = @_;
        my (%wrong, @etags);
        for (my $i = $n; $i < $all; $i += $clients) {
            my $answer  = ask(path($i));
            my $headers = $answer->{headers};
            $wrong{status}++ if $answer->{status} != 200;
            $wrong{bytes}++  if $answer->{content} ne png(at($i), 0);
            $wrong{type}++   if ($headers->{'content-type'} // '') ne 'image/png';
            $wrong{length}++ if ($headers->{'content-length'} // -1) != length $answer->{content};
            $wrong{nosniff}++ if ($headers->{'x-content-type-options'} // '') ne 'nosniff';
            $wrong{etag}++ if ($headers->{etag} // '') !~ /^"[^"]+"$/;
            push @etags, $headers->{etag};
        }
        return {wrong => \%wrong, etags => \@etags};
    });
    is((grep { defined } @reports), $clients, 'all clients have reported');
    is_deeply($_->{wrong}, {}, 'each right: status, bytes, type, length, nosniff, a strong tag') for @reports;
    my %tags = map { $_ => 1 } map { @{$_->{etags}} } @reports;
    is(scalar keys %tags, $all, 'each version has a tag of its own');
};

subtest 'what was seen' => sub {
    my %wrong;
    for my $i (map { $_ * 37 } 0 .. 269) {
        my $tile = ask(path($i));
        my $etag = $tile->{headers}{etag};
        my $same = ask(path($i), 'If-None-Match' => $etag);
        $wrong{304}++ if $same->{status} != 304 || $same->{content} ne '' || $same->{headers}{etag} ne $etag;
        $wrong{list}++ if ask(path($i), 'If-None-Match' => qq{"other", $etag})->{status} != 304;
        $wrong{other}++ if ask(path($i), 'If-None-Match' => '"other"')->{content} ne $tile->{content};
        my $head = $server->head(path($i), keep_alive => 1);
        $wrong{head}++ if $head->{status} != 200 || $head->{headers}{etag} ne $etag
            || $head->{headers}{'content-length'} != length $tile->{content};
    }
    is_deeply(\%wrong, {}, '304 for 270 tiles that were seen, and HEAD as GET');
};

subtest 'ranges' => sub {
    my %wrong;
    for my $i (0, 100, 5050, map { $_ * 131 } 1 .. 76) {
        my $whole  = png(at($i), 0);
        my $length = length $whole;
        my $etag   = ask(path($i))->{headers}{etag};
        for my $case (["0-9", 0, 10], ["8-", 8, $length - 8], ["-12", $length - 12, 12],
            ['0-' . 10 * $length, 0, $length], [sprintf('%d-%d', $length - 1, $length - 1), $length - 1, 1]) {
            my ($range, $from, $count) = @$case;
            my $part = ask(path($i), Range => "bytes=$range");
            $wrong{"status of $range"}++ if $part->{status} != 206;
            $wrong{"bytes of $range"}++  if $part->{content} ne substr $whole, $from, $count;
            my $told = sprintf 'bytes %d-%d/%d', $from, $from + $count - 1, $length;
            $wrong{"range of $range"}++ if ($part->{headers}{'content-range'} // '') ne $told;
            $wrong{"type of $range"}++  if $part->{headers}{'content-type'} ne 'image/png';
        }
        my $beyond = ask(path($i), Range => "bytes=$length-");
        $wrong{416}++ if $beyond->{status} != 416;
        $wrong{'If-Range'}++ if ask(path($i), Range => 'bytes=0-9', 'If-Range' => $etag)->{status} != 206;
        my $old = ask(path($i), Range => 'bytes=0-9', 'If-Range' => '"old"');
        $wrong{'If-Range of another'}++ if $old->{status} != 200 || $old->{content} ne $whole;
    }
    is_deeply(\%wrong, {}, 'parts of 79 tiles');
    my $two = ask(path(100), Range => 'bytes=0-7,16-19');
    like($two->{headers}{'content-type'}, qr{^multipart/byteranges}, 'two parts');
    my $whole = png(at(100), 0);
    like($two->{content}, qr/\Q@{[substr $whole, 0, 8]}\E.*\Q@{[substr $whole, 16, 4]}\E/s, '... are both there');
};

subtest 'what is not on the map' => sub {
    for my $path ("/tiles/$ZOOM/9/10", "/tiles/$ZOOM/110/50", '/tiles/6/20/20', '/tiles/0/0/0',
        "/tiles/$ZOOM/50", "/tiles/$ZOOM/50/50/1", "/tiles/$ZOOM/50/50/", '/tiles', "/tiles/$ZOOM//50") {
        is(ask($path)->{status}, 404, "no $path");
    }
    for my $path ("/tiles/$ZOOM/-1/50", '/tiles/25/0/0', '/tiles/x/0/0', "/tiles/$ZOOM/50/50.png",
        "/tiles/$ZOOM/50/5e1", "/tiles/$ZOOM/50/99999999999999999999", "/tiles/$ZOOM/50/50?z=1") {
        my $answer = ask($path);
        is($answer->{status}, 400, "wrong: $path") or diag($answer->{content});
        unlike($answer->{headers}{'cache-control'} // '', qr/public/, '... and not kept');
    }
};

# (failed requests, requests a second) of ab, or nothing where there is none.
sub ab {
    my ($path, $requests) = @_;
    my ($exit, $text) = command('ab', '-q', '-k', '-n', $requests, '-c', 8, $server->url($path));
    return if $exit == 127;
    my ($failed) = $text =~ /^Failed requests:\s+(\d+)/m;
    my ($bad)    = $text =~ /^Non-2xx responses:\s+(\d+)/m;
    my ($rate)   = $text =~ /^Requests per second:\s+([\d.]+)/m;
    return (($failed // 1) + ($bad // 0) + ($exit ? 1 : 0), $rate);
}

subtest 'under load' => sub {
    $server->write_file('htdocs/tile.png', png(at(101), 0));
    my ($failed, $rate) = ab(path(101), 3000);
    plan skip_all => 'ab is not installed' if !defined $failed;
    is($failed, 0, 'three thousand times, by eight clients');
    my (undef, $static) = ab('/tile.png', 3000);
    note(sprintf '%.0f tiles a second, %.0f of a static file: %.0f %%', $rate, $static, 100 * $rate / $static);
    ok(await(sub { $server->pool('tiles')->{busy} == 0 }), 'at rest');
};

subtest 'a new map' => sub {
    my $etag = ask(path(7))->{headers}{etag};
    my $new  = make_map($server, 'new', 1);
    rename $new, $server->dir('db/tiles.mbtiles') or die $!;
    ok(await(sub { ask(path(7))->{content} eq png(at(7), 1) }), 'is served when it is moved over the old one');
    ok(await(sub {
        (grep { ask(path(7), 'If-None-Match' => $etag)->{status} == 200 } 1 .. 20) == 20
    }), '... by all children, and what was seen is old');
    is(ask('/tiles.json')->{status}, 200, 'and the set');
    ok(await(sub { $server->json('/tiles.json')->{name} eq 'new' }), '... has its new name');
};

$server->done;
done_testing;
