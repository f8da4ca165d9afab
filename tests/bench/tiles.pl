#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What a tile out of an MBTiles file costs beside the same bytes in a file: requests
# a second as ab counts them, with connections that stay open, and the processor's
# time that the server took for each, which is the truer figure where ab itself is
# the slower one or the machine has other work. Prints a table in Markdown. The map
# and the configuration are those of conf/examples/tiles.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use ConnPoolTest qw(command root_dir);
use List::Util   qw(sum);
use POSIX        ();

my $ROUNDS   = $ENV{BENCH_ROUNDS}   // 5;
my $REQUESTS = $ENV{BENCH_REQUESTS} // 20_000;
my $CLIENTS  = 8;
my $TILE     = '4/3/5';
my $EXAMPLE  = root_dir() . '/conf/examples/tiles/httpd.conf';

# The example, and the same query with answers that are kept until the map changes.
my $server = ConnPoolTest->new(
    mpm => 'event', children => 1, threads => 16, status => 0,
    conf => <<"CONF",
Define CONNPOOL_DATA \@DIR\@/db
Include $EXAMPLE
LogLevel warn
ConnPoolQuery kept tiles "SELECT tile_data FROM tiles WHERE zoom_level = :z \\
    AND tile_column = :x AND tile_row = (1 << :z) - 1 - :y" format=raw type=image/png ttl=data
ConnPoolParam kept z integer path=1 min=0 max=24
ConnPoolParam kept x integer path=2 min=0
ConnPoolParam kept y integer path=3 min=0
<Location "/kept">
    SetHandler connpool-query
    ConnPoolServe kept
</Location>
CONF
);
my ($exit, $text) = command(root_dir() . '/scripts/make-example.sh', 'tiles', $server->dir('db'));
die $text if $exit;
$server->start;
my $tile = $server->get("/tiles/$TILE");
die "no tile: $tile->{status} $tile->{content}\n" if $tile->{status} != 200;
$server->write_file('htdocs/tile.png', $tile->{content});

# Seconds that the server's children have computed.
sub computed {
    my $ticks = 0;
    for my $pid ($server->children) {
        open(my $in, '<', "/proc/$pid/stat") or next;
        my ($rest) = <$in> =~ /^.*\) (.*)$/;
        $ticks += sum((split ' ', $rest)[11, 12]);
    }
    return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Requests a second, and microseconds that one took; every answer must be whole.
sub rate {
    my ($path, @more) = @_;
    my $before = computed();
    my ($code, $said) =
        command('ab', '-q', '-k', '-n', $REQUESTS, '-c', $CLIENTS, @more, $server->url($path));
    die "ab: $said" if $code != 0 || $said !~ /^Failed requests:\s+0$/m;
    my ($rate) = $said =~ /^Requests per second:\s+([\d.]+)/m;
    return ($rate, 1e6 * (computed() - $before) / $REQUESTS);
}

my $static = $server->get('/tile.png')->{headers}{etag};
my @cases = (
    ['static file', '/tile.png'],
    ['tile', "/tiles/$TILE"],
    ['tile, ttl=data', "/kept/$TILE"],
    ['static file, 304', '/tile.png', '-H', "If-None-Match: $static"],
    ['tile, 304', "/tiles/$TILE", '-H', "If-None-Match: $tile->{headers}{etag}"],
);

# In turns, so that what else the machine does strikes all of them.
my (%rates, %costs);
for my $round (0 .. $ROUNDS) {
    for my $case (@cases) {
        my ($name, @ask) = @$case;
        my ($rate, $cost) = rate(@ask);
        next if $round == 0;    # warms up
        push @{$rates{$name}}, $rate;
        push @{$costs{$name}}, $cost;
    }
}
sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[@sorted / 2];
}
printf "\n### A tile of %d bytes, %d clients, connections kept open\n\n"
    . "| answered by | requests a second | to the static file | processor, us each | to the static file |\n"
    . "|---|---:|---:|---:|---:|\n",
    length $tile->{content}, $CLIENTS;
my $base_rate = median(@{$rates{'static file'}});
my $base_cost = median(@{$costs{'static file'}});
for my $case (@cases) {
    my $rate = median(@{$rates{$case->[0]}});
    my $cost = median(@{$costs{$case->[0]}});
    printf "| %s | %.0f | %.0f %% | %.0f | %.0f %% |\n",
        $case->[0], $rate, 100 * $rate / $base_rate, $cost, 100 * $cost / $base_cost;
}
print "\n";
$server->stop;
