# SPDX-License-Identifier: Apache-2.0
# PHP as most run it beside SQLite: mod_php under prefork, PDO connections that
# persist, opcache. (php-fpm would add a hop through mod_proxy_fcgi.) Debian's
# packages are unpacked below build/tools, for installed they would be switched on
# in the system's Apache.
use strict;
use warnings;

use Bench::Server::Httpd;
use ConnPoolTest qw(build_dir root_dir);

my $SCRIPT = root_dir() . '/tests/bench/servers/events.php';

sub found {
    my ($pattern) = @_;
    my ($path) = map { reverse sort glob "$_$pattern" } build_dir() . '/tools', '';
    return $path;
}

my $module   = found('/usr/lib/apache2/modules/libphp*.so');
my $database = found('/usr/lib/php/*/pdo_sqlite.so');

sub ini {
    my ($world, $rows) = @_;
    my $place = $database =~ s{/[^/]+$}{}r;
    my $ini   = "extension_dir=$place\nextension=pdo\nextension=pdo_sqlite\n";
    $ini .= "zend_extension=$place/opcache.so\n" if -e "$place/opcache.so";
    return $ini;
}

return {
    title   => 'mod_php, persistent PDO',
    kinds   => [qw(one fifty)],
    missing => sub {
        return (($module ? () : 'libapache2-mod-php'), ($database ? () : 'php-sqlite3'));
    },
    make => sub {
        my ($world, %option) = @_;
        my $path = $world->database(delete $option{rows});
        my $name = $module =~ /libphp7/ ? 'php7_module' : 'php_module';
        return Bench::Server::Httpd->new(
            plain  => 1,
            mpm    => 'prefork',
            load   => {$name => $module},
            files  => {'php.ini' => ini()},
            global => "PHPINIDir \"\@DIR\@\"\n",
            conf   => "SetEnv BENCH_DATABASE \"$path\"\n" . join('', map {
                "Alias /$_ $SCRIPT\n<Location \"/$_\">\nSetHandler application/x-httpd-php\n"
                    . "Require all granted\n</Location>\n"
            } qw(one fifty)),
            %option,
            # As many as others have threads, and all from the start.
            children => $option{single} ? 1 : 64, threads => 1,
        );
    },
};
