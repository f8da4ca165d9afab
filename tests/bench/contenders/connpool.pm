# SPDX-License-Identifier: Apache-2.0
# This module, as it comes.
use strict;
use warnings;

use Bench::Server::Connpool qw(connpool_kinds make_connpool);

return {
    title => 'mod_connpool',
    kinds => connpool_kinds(),
    make  => sub { my ($world, %option) = @_; return make_connpool($world, '', %option) },
};
