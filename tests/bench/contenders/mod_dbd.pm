# SPDX-License-Identifier: Apache-2.0
# What httpd brings: mod_dbd's pool, asked by a handler in C.
use strict;
use warnings;

use Bench::Server::Dbd qw(dbd_conf dbd_missing);
use Bench::Server::Httpd;

return {
    title   => 'mod_dbd, in C',
    kinds   => [qw(one fifty slow)],
    missing => \&dbd_missing,
    make    => sub {
        my ($world, %option) = @_;
        return Bench::Server::Httpd->new(
            plain   => 1,
            modules => ['dbd'],
            load    => {bench_module => 't/mod_bench.so'},
            conf    => dbd_conf($world, delete $option{rows}) . join('', map {
                "<Location \"/$_\">\nSetHandler bench-dbd\nBenchQuery $_\n</Location>\n"
            } qw(one fifty slow)),
            %option,
        );
    },
};
