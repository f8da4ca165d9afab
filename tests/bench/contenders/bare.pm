# SPDX-License-Identifier: Apache-2.0
# The least that a module of one's own would do: apr_reslist, and connections that
# keep their prepared statement.
use strict;
use warnings;

use Bench::Server::Httpd;

return {
    title => 'bare apr_reslist',
    kinds => [qw(one fifty)],
    make  => sub {
        my ($world, %option) = @_;
        my $path = $world->database(delete $option{rows});
        my $conf = join '', map {
            "<Location \"/$_\">\nSetHandler bench-bare\nBenchBare \"$path\" \"@{[$world->sql($_)]}\"\n</Location>\n"
        } qw(one fifty);
        return Bench::Server::Httpd->new(
            plain => 1,
            load  => {bench_module => 't/mod_bench.so'},
            conf  => $conf,
            %option,
        );
    },
};
