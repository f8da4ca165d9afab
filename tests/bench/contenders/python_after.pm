# SPDX-License-Identifier: Apache-2.0
# The design in Python that this module comes from, after it: aiohttp and aiosqlite.
use strict;
use warnings;

use Bench::Server::Python qw(make_python python_kinds python_missing);

return {
    title   => 'Python design, after',
    kinds   => python_kinds(),
    missing => \&python_missing,
    make    => sub { my ($world, %option) = @_; return make_python($world, 'after', %option) },
};
