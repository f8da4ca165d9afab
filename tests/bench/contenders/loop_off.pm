# SPDX-License-Identifier: Apache-2.0
# This module with fetches in the threads of requests.
use strict;
use warnings;

use Bench::Server::Connpool qw(connpool_kinds make_connpool);

return {
    title => 'mod_connpool, ConnPoolEventLoop Off',
    kinds => connpool_kinds(),
    make  => sub { my ($world, %option) = @_; return make_connpool($world, "ConnPoolEventLoop Off\n", %option) },
};
