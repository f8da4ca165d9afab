# SPDX-License-Identifier: Apache-2.0
# Where HTTP pooling is off, each fetch has a connection of its own - with the
# loop, too, which keeps those of others open.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(free_port);
use ConnPoolUpstream;
use Test::More;

my $upstream = ConnPoolUpstream->start;
my ($off, $reserved) = free_port();
my $server = ConnPoolTest->new(
    vars => {OFF => $off, UPSTREAM => $upstream->url});

sub fetches {
    my ($url) = @_;
    my $before = $upstream->stats->{connections};
    my @codes  = map { $server->get($url)->{status} } 1 .. 5;
    is_deeply(\@codes, [(200) x 5], '... fetched');
    return $upstream->stats->{connections} - $before;
}

my $SERVED = <<'CONF';
ConnPoolUpstream other @UPSTREAM@/text
<Location "/other">
SetHandler connpool-fetch
ConnPoolServe other
</Location>
CONF
my $HOST = <<'CONF';
Listen 127.0.0.1:@OFF@
<VirtualHost 127.0.0.1:@OFF@>
ServerName off.test
ConnPoolHTTPPool Off
</VirtualHost>
CONF

for my $loop (qw(On Off)) {
    $server->conf("ConnPoolEventLoop $loop\n$SERVED$HOST");
    ok($server->pid ? $server->restart : $server->start, "loop $loop: started");
    is(fetches('/other'), 1, '... pooled: one connection')
        if $loop eq 'On';
    is(fetches("http://127.0.0.1:$off/other"), 5, '... one for each');
}
$server->done;
$upstream->stop;
done_testing;
