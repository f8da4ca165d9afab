#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# make-data.pl [ZOOM]: prints the SQL of a made-up world, as tiles from zoom 0 to
# ZOOM (4): PNG images of 256 x 256 pixels. Core Perl only.
use strict;
use warnings;

use Compress::Zlib qw(compress crc32);

my $last_zoom = shift // 4;
my $SIZE      = 256;
my $BLOCK     = 8;

# Sea, shallows, beach, meadow, wood, rock, snow; and the frame of a tile.
my @COLOURS = (
    [38, 84, 140], [70, 130, 180], [226, 209, 161], [139, 178, 101],
    [82, 125, 75], [134, 122, 108], [240, 240, 240], [0, 0, 0],
);
my $FRAME = $#COLOURS;

# How high it is at a place between 0 and 1. The smaller waves come with the zoom.
sub height {
    my ($x, $y, $zoom) = @_;
    my $sum    = 0;
    my $weight = 1;
    my $waves  = 7;
    for my $octave (0 .. 2 + $zoom) {
        $sum += $weight * sin($waves * $x + 3 * $octave + 1.7 * cos($waves * $y + $octave));
        $weight *= 0.55;
        $waves  *= 2.1;
    }
    return $sum;
}

sub colour {
    my ($height) = @_;
    my $n = 0;
    for my $bound (-0.2, 0.1, 0.2, 0.7, 1.2, 1.6) {
        $n++ if $height > $bound;
    }
    return $n;
}

sub chunk {
    my ($type, $data) = @_;
    return pack('N', length $data) . $type . $data . pack('N', crc32($type . $data));
}

# An image with a palette, 8 bits a pixel; each row begins with its filter, 0.
sub png {
    my (@rows) = @_;
    return "\x89PNG\r\n\x1a\n"
        . chunk('IHDR', pack('NNCCCCC', $SIZE, $SIZE, 8, 3, 0, 0, 0))
        . chunk('PLTE', pack('C*', map { @$_ } @COLOURS))
        . chunk('IDAT', compress(join('', map { "\0$_" } @rows)))
        . chunk('IEND', '');
}

sub tile {
    my ($zoom, $column, $row) = @_;
    my $world  = $SIZE * 2**$zoom;
    my @blocks = map { $_ * $BLOCK } 0 .. $SIZE / $BLOCK - 1;
    my @rows;
    for my $y (@blocks) {
        my $line = join '', map {
            my $height = height(($column * $SIZE + $_) / $world, ($row * $SIZE + $y) / $world, $zoom);
            chr(colour($height)) x $BLOCK
        } @blocks;
        substr($line, 0, 1, chr $FRAME);
        push @rows, ($line) x $BLOCK;
    }
    $rows[0] = chr($FRAME) x $SIZE;
    return png(@rows);
}

print "BEGIN;\n";
my %metadata = (
    name        => 'A made-up world',
    format      => 'png',
    minzoom     => 0,
    maxzoom     => $last_zoom,
    bounds      => '-180,-85.0511,180,85.0511',
    attribution => 'Nobody was there',
);
print "INSERT INTO metadata VALUES ('$_', '$metadata{$_}');\n" for sort keys %metadata;
for my $zoom (0 .. $last_zoom) {
    my $last = 2**$zoom - 1;
    for my $column (0 .. $last) {
        for my $row (0 .. $last) {
            # MBTiles counts rows from the south.
            printf "INSERT INTO tiles VALUES (%d, %d, %d, X'%s');\n",
                $zoom, $column, $last - $row, unpack 'H*', tile($zoom, $column, $row);
        }
    }
}
print "COMMIT;\n";
