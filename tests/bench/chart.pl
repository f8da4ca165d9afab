# SPDX-License-Identifier: Apache-2.0
#
# chart.pl REPORT.json: the bars of a report of bench.pl, as SVG on stdout.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Bench::Chart qw(svg);
use JSON::PP ();

my $path = shift // die "usage: chart.pl REPORT.json\n";
open(my $in, '<', $path) or die "$path: $!\n";
print svg(JSON::PP->new->utf8->decode(do { local $/ = undef; <$in> }));
