#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Libraries that are older than what is needed, at run time and for compilers:
# a sentence says so, and nothing is served.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(build_dir command root_dir);
use PostgresTest qw(pgsql_module);
use Test::More;

my $LAB = build_dir() . '/lab/versions.so';

sub server {
    my (%env) = @_;
    my $server = ConnPoolTest->new(
        env  => {LD_PRELOAD => $LAB, %env},
        load => {pgsql_module()},
        conf => <<'CONF');
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolDatabase pg "postgresql:host=@DIR@/run dbname=app"
ConnPoolUpstream up http://127.0.0.1:@PORT@/
CONF
    return $server;
}

my %OLD = (
    LAB_SQLITE => [3_034_001, qr/^ConnPoolDatabase app: SQLite \S+ is installed, and 3\.35 or newer is needed /m],
    LAB_CURL   => [0x075600,  qr/^ConnPoolUpstream up: libcurl of the lab is installed, and 7\.87 or newer is needed /m],
    LAB_LIBPQ  => [130_004,   qr/^ConnPoolDatabase pg: libpq 13 is installed, and 14 or newer is needed /m],
);

subtest 'too old at run time' => sub {
    for my $library (sort keys %OLD) {
        my ($version, $sentence) = @{$OLD{$library}};
        my $server = server($library => $version);
        my ($exit, $text) = $server->configtest($server->{conf});
        isnt($exit, 0, "$library: it does not start");
        like($text, $sentence, '... and says why');
    }
};

subtest 'older than what was compiled for' => sub {
    my $server = server(LAB_SQLITE => 3_035_000, LAB_CURL => 0x075700, LAB_LIBPQ => 140_000, LAB_ARES => '1.18.1');
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    like($server->log, qr/ with .*SQLite \S+ \(older than \S+, with which this was built\) and libcurl of the lab \(older than \S+, with which this was built\), no TLS, c-ares resolver/,
        'it is told, and who looks for names');
    $server->allow_log(qr/SQLite \S+ can lose committed rows/);
    $server->done;
};

# What the compiler says when a header tells of an older version.
sub compiled {
    my ($server, $file, $header, $macro, $value) = @_;
    $server->write_file("run/older/$header", "#include_next <$header>\n#undef $macro\n#define $macro $value\n");
    my @include = map { my (undef, $dir) = command('apxs', '-q', $_); $dir } qw(INCLUDEDIR APR_INCLUDEDIR APU_INCLUDEDIR);
    chomp(@include, my (undef, $pg) = command('pg_config', '--includedir'));
    my (undef, $flags) = command('apxs', '-q', 'EXTRA_CPPFLAGS');
    my (undef, $text) = command($ENV{CC} // 'gcc', '-fsyntax-only', '-std=gnu11', split(' ', $flags),
        map({ "-isystem$_" } $server->dir . '/run/older', @include, $pg), '-I' . root_dir() . '/mod_connpool',
        root_dir() . "/mod_connpool/$file");
    return $text;
}

subtest 'too old for the compiler' => sub {
    my @cases = (
        ['SQLite 3.35', 'database/sqlite/driver.c', 'sqlite3.h',   SQLITE_VERSION_NUMBER     => 3_034_001],
        ['libcurl 7.87', 'http/job/handle.c',       'curl/curl.h', LIBCURL_VERSION_NUM       => '0x075600'],
        ['libpq 14', 'database/pgsql/driver.c',     'pg_config.h', PG_VERSION_NUM            => 130_004],
        ['httpd 2.4.49', 'commands.c',              'httpd.h',     MODULE_MAGIC_NUMBER_MINOR => 109],
    );
    for my $case (@cases) {
        my ($what, @older) = @$case;
        my $said = compiled(ConnPoolTest->new(plain => 1), @older);
        like($said, qr/error: .*needs \Q$what\E or newer/, $what);
        is(scalar(() = $said =~ /error:/g), 1, '... and nothing else');
    }
};

done_testing;
