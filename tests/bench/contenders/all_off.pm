# SPDX-License-Identifier: Apache-2.0
# This module with all switched off: what each request needs is made for it.
use strict;
use warnings;

use Bench::Server::Connpool qw(connpool_kinds make_connpool);

return {
    title => 'mod_connpool, all off',
    kinds => connpool_kinds(),
    make  => sub { my ($world, %option) = @_; return make_connpool($world, "ConnPoolEngine Off\nConnPoolEventLoop Off\n", %option) },
};
