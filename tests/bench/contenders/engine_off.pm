# SPDX-License-Identifier: Apache-2.0
# This module with connections that are opened and closed for each request.
use strict;
use warnings;

use Bench::Server::Connpool qw(connpool_kinds make_connpool);

return {
    title => 'mod_connpool, ConnPoolEngine Off',
    kinds => connpool_kinds(),
    make  => sub { my ($world, %option) = @_; return make_connpool($world, "ConnPoolEngine Off\n", %option) },
};
