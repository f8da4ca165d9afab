# SPDX-License-Identifier: Apache-2.0
# What httpd costs by itself: a handler that answers from memory, always the same.
use strict;
use warnings;

use Bench::Server::Httpd;

return {
    title => 'empty handler',
    kinds => [qw(one fifty fetch)],
    blind => 1,
    make  => sub {
        my ($world, %option) = @_;
        delete $option{rows};
        my ($conf, %files) = ('');
        for my $kind (qw(one fifty fetch)) {
            $files{"$kind.json"} = $world->answer($kind, 77);
            $conf .= "<Location \"/$kind\">\nSetHandler bench-empty\nBenchBody \"\@DIR\@/$kind.json\"\n</Location>\n";
        }
        return Bench::Server::Httpd->new(
            plain => 1,
            load  => {bench_module => 't/mod_bench.so'},
            conf  => $conf,
            files => \%files,
            %option,
        );
    },
};
