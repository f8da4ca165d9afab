# SPDX-License-Identifier: Apache-2.0
#
# Configuration of mod_dbd, for whoever uses it: the file, and the statements.
package Bench::Server::Dbd;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(dbd_conf dbd_missing);

# Three columns, as the handler writes them; values are bound as text.
my $SLOW = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s * 1) '
    . 'SELECT count(*), 1, 2 FROM n';

sub dbd_conf {
    my ($world, $rows) = @_;
    return "DBDriver sqlite3\nDBDParams \"@{[$world->database($rows)]}\"\nDBDMin 1\nDBDKeep 10\nDBDMax 10\n"
        . join('', map {"DBDPrepareSQL \"@{[$world->sql($_, '%s')]}\" $_\n"} qw(one fifty))
        . "DBDPrepareSQL \"$SLOW\" slow\n";
}

sub dbd_missing {
    return glob('/usr/lib/*/apr-util-1/apr_dbd_sqlite3.so') ? () : ('libaprutil1-dbd-sqlite3');
}

1;
