# SPDX-License-Identifier: Apache-2.0
# What full pools take of a child's memory, once all its threads have worked.
use strict;
use warnings;

use Bench::Server::Connpool qw(make_connpool);
use Bench::Contender;
use Bench::Load    qw(burst);
use Bench::Machine qw(SERVER_CPU pin pss_bytes);
use List::Util     qw(sum0);

sub open_connections {
    my ($server, $kind) = @_;
    return sum0(map { $_->{open} } grep { $_->{kind} =~ /$kind/ } @{$server->report->{pools}});
}

return {
    title   => 'Memory of full pools',
    about   => 'PSS of one child of 128 threads.',
    columns => [['title', 'what'], ['connections', 'connections', '%d'], ['mb', 'MB', '%+.1f']],
    run     => sub {
        my ($run) = @_;
        my $server = make_connpool($run->world, "ConnPoolHTTPPerHost 100\n",
            threads => 128, status => 1, files => {'htdocs/static' => 'x' x 14});
        $server->start;
        my $contender = Bench::Contender->adopt('connpool', $run->world, $server);
        pin(SERVER_CPU, $contender->pids);
        my ($last, @rows) = (0);
        for my $step (
            ['answers without a connection', 'static', 110, int $run->scaled(20_000, 500)],
            ['SQLite readers with full caches', 'fifty', 64, int $run->scaled(10_000, 500), 'sqlite'],
            ['idle connections to an upstream', 'far', 100, 200, 'http'],
        ) {
            my ($title, $kind, $clients, $requests, $pool) = @$step;
            my $errors = burst($contender, $kind, clients => $clients, requests => $requests)->{errors};
            my $now = pss_bytes($contender->pids) / 2**20;
            push @rows, {
                title => $title, mb => $now - $last, $errors ? (errors => $errors) : (),
                $pool ? (connections => open_connections($server, $pool)) : (),
            };
            $last = $now;
        }
        $server->stop;
        return {rows => \@rows};
    },
};
