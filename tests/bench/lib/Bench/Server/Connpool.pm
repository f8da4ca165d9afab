# SPDX-License-Identifier: Apache-2.0
#
# This module as a contender, with whatever is switched off.
package Bench::Server::Connpool;

use strict;
use warnings;

use Bench::Server::Httpd;
use Exporter qw(import);

our @EXPORT_OK = qw(connpool_kinds make_connpool);

my @KINDS = qw(one fifty fetch tls far page page_far batch batch_up time data slow slow_kept slow_one);
my $SLOW  = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT :first) '
    . 'SELECT max(i) AS n FROM n';

# Served as: a query, an upstream, or several at once.
my %SERVED = (
    (map { $_ => ['query', $_] } qw(one fifty time data slow slow_kept slow_one)),
    (map { $_ => ['fetch', $_] } qw(fetch tls far)),
    page     => ['batch', 'fifty fetch'],
    page_far => ['batch', 'fifty page_far'],
    batch    => ['batch', join ' ', ('one') x 10],
    batch_up => ['batch', join ' ', ('fetch') x 10],
);

sub connpool_kinds {
    return [@KINDS];
}

sub _conf {
    my ($world, $rows) = @_;
    my $up   = $world->upstreams;
    my $one  = $world->sql('one');
    my $conf = 'ConnPoolDatabase events "sqlite:' . $world->database($rows) . "\" max=10 acquire=20s\n"
        . "ConnPoolBatchParallel 10\n";
    for my $name (qw(fetch tls far page_far)) {
        $conf .= "ConnPoolUpstream $name $up->{$name}"
            . ($up->{$name} =~ /^https/ ? " ca=$up->{ca}" : '') . "\n";
    }
    $conf .= <<"CONF";
ConnPoolQuery one events "$one"
ConnPoolQuery time events "$one" ttl=1h
ConnPoolQuery data events "$one" ttl=data
ConnPoolQuery fifty events "@{[$world->sql('fifty')]}"
ConnPoolParam fifty last integer required
ConnPoolQuery slow events "$SLOW" timeout=60s
ConnPoolQuery slow_kept events "$SLOW" timeout=60s ttl=1h
ConnPoolQuery slow_one events "$SLOW" timeout=60s coalesce=on
CONF
    $conf .= "ConnPoolParam $_ first integer required\n" for qw(one time data fifty slow slow_kept slow_one);
    for my $kind (@KINDS) {
        my ($handler, $names) = @{$SERVED{$kind}};
        $conf .= "<Location \"/$kind\">\nSetHandler connpool-$handler\nConnPoolServe $names\n</Location>\n";
    }
    return $conf;
}

sub make_connpool {
    my ($world, $flags, %option) = @_;
    my $rows = delete $option{rows};
    return Bench::Server::Httpd->new(
        modules => ['socache_shmcb'],
        global  => $flags,
        conf    => _conf($world, $rows),
        %option,
    );
}

1;
