# SPDX-License-Identifier: Apache-2.0
# What httpd brings for upstreams: its proxy, with connections that stay open.
use strict;
use warnings;

use Bench::Server::Httpd;

return {
    title => 'mod_proxy_http',
    kinds => [qw(fetch tls far)],
    make  => sub {
        my ($world, %option) = @_;
        delete $option{rows};
        my $up = $world->upstreams;
        return Bench::Server::Httpd->new(
            plain   => 1,
            modules => ['proxy_http', 'ssl'],
            conf    => "SSLProxyEngine on\nSSLProxyCACertificateFile \"$up->{ca}\"\nSSLProxyVerify require\n"
                . join('', map {"ProxyPass /$_ $up->{$_}\n"} qw(fetch tls far)),
            %option,
        );
    },
};
