# SPDX-License-Identifier: Apache-2.0
#
# The design that this module comes from, as a server in Python: before, and after.
package Bench::Server::Python;

use strict;
use warnings;

use Bench::Server::Program;
use ConnPoolTest qw(command root_dir);
use Exporter     qw(import);

our @EXPORT_OK = qw(make_python python_kinds python_missing);

# Debian's, for which its packages are: another one may come first in PATH.
my ($PYTHON) = grep { -x } '/usr/bin/python3', '/usr/local/bin/python3';
my $SERVER = root_dir() . '/tests/bench/servers/design.py';

sub python_kinds {
    return [qw(one fifty fetch tls far page page_far)];
}

sub python_missing {
    return 'python3' if !$PYTHON;
    return map {"python3-$_"} grep { (command($PYTHON, '-c', "import $_"))[0] } qw(aiohttp aiosqlite);
}

sub make_python {
    my ($world, $which, %option) = @_;
    my $up = $world->upstreams;
    return Bench::Server::Program->new(
        argv => sub {
            my ($port) = @_;
            return ($PYTHON, $SERVER, $which, $port, $world->database($option{rows}), $up->{ca},
                @{$up}{qw(fetch tls far page_far)});
        },
    );
}

1;
