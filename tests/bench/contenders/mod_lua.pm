# SPDX-License-Identifier: Apache-2.0
# Lua in the threads of httpd, with mod_dbd's pool. States are kept with their thread.
use strict;
use warnings;

use Bench::Server::Dbd qw(dbd_conf dbd_missing);
use Bench::Server::Httpd;
use ConnPoolTest qw(root_dir);

my $SCRIPT = root_dir() . '/tests/bench/servers/events.lua';

return {
    title   => 'mod_lua and mod_dbd',
    kinds   => [qw(one fifty)],
    missing => sub {
        return dbd_missing() if dbd_missing();
        return -e ConnPoolTest::_libexecdir() . '/mod_lua.so' ? () : ('apache2-bin with mod_lua');
    },
    make => sub {
        my ($world, %option) = @_;
        return Bench::Server::Httpd->new(
            plain   => 1,
            modules => ['dbd', 'lua'],
            global  => "LuaScope thread\nLuaCodeCache forever\n",
            conf    => dbd_conf($world, delete $option{rows})
                . join('', map {"LuaMapHandler ^/$_\$ $SCRIPT $_\n"} qw(one fifty)),
            %option,
        );
    },
};
