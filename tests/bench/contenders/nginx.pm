# SPDX-License-Identifier: Apache-2.0
# nginx as a proxy that keeps its connections to upstreams: one worker, as all others
# have one child. Debian's package is unpacked below build/tools, for installed it
# would start a service.
use strict;
use warnings;

use Bench::Server::Program;
use ConnPoolTest qw(build_dir);

my ($program) = grep { -x } build_dir() . '/tools/usr/sbin/nginx', '/usr/sbin/nginx';

sub conf {
    my ($world, $port, $dir, $single) = @_;
    my $up   = $world->upstreams;
    my $user = $> == 0 ? 'user www-data;' : '';
    my $master = $single ? 'master_process off;' : '';
    my ($pools, $places) = ('', '');
    for my $kind (qw(fetch tls far)) {
        my ($scheme, $authority, $path) = $up->{$kind} =~ m{^(\w+)://([^/]+)(/.*)$};
        $pools .= "upstream $kind { server $authority; keepalive 64; keepalive_requests 1000000; }\n";
        $places .= "location = /$kind { proxy_pass $scheme://$kind$path; }\n";
    }
    return <<"CONF";
$user
worker_processes 1;
daemon off;
$master
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 2048; }
http {
    access_log /dev/null;
    keepalive_requests 1000000;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_ssl_trusted_certificate $up->{ca};
    proxy_ssl_verify on;
    proxy_ssl_name localhost;
    $pools
    server { listen 127.0.0.1:$port backlog=511; $places }
}
CONF
}

return {
    title   => 'nginx, keepalive',
    kinds   => [qw(fetch tls far)],
    missing => sub { return $program ? () : ('nginx') },
    make    => sub {
        my ($world, %option) = @_;
        return Bench::Server::Program->new(
            argv => sub {
                my ($port, $dir) = @_;
                chmod 0755, $dir;
                open(my $out, '>', "$dir/nginx.conf") or die "nginx.conf: $!";
                print {$out} conf($world, $port, $dir, $option{single});
                close $out;
                return ($program, '-e', "$dir/error.log", '-c', "$dir/nginx.conf");
            },
        );
    },
};
