#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Files and directories that the server may not write: what can be read is, the
# log says the system's reason and what to do, and repair needs no restart.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await);
use Test::More;

my %DATABASES = (
    wal       => 'readonly=on',
    frozen    => 'immutable=on',
    repaired  => '',
    hidden    => '',
);
my $conf = '';
for my $name (sort keys %DATABASES) {
    $conf .= <<"CONF";
ConnPoolDatabase $name sqlite:\@DIR\@/$name/x.db max=3 busy=300ms $DATABASES{$name}
ConnPoolQuery $name $name "SELECT a FROM t" format=value
<Location "/$name">
SetHandler connpool-query
ConnPoolServe $name
</Location>
CONF
}
$conf .= <<'CONF';
ConnPoolQuery add repaired "INSERT INTO t VALUES (2)" write=on
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
CONF
my $server = ConnPoolTest->new(conf => $conf);

# A file of its own directory, in that mode of journal, which nobody may write.
sub make {
    my ($name, $mode) = @_;
    $server->make_sqlite($name,
        "PRAGMA journal_mode=$mode; CREATE TABLE t(a); INSERT INTO t VALUES (7);");
    my ($old, $new) = map { $server->dir($_) } "db/$name.db", $name;
    mkdir $new or die "$new: $!";
    rename $old, "$new/x.db" or die "$old: $!";
    unlink "$old-wal", "$old-shm";
    chmod 0444, "$new/x.db";
    chmod 0555, $new;
    return;
}
make('wal',      'WAL');
make('frozen',   'WAL');
make('repaired', 'DELETE');
make('hidden',   'DELETE');
chmod 0, $server->dir('hidden') . '/x.db';
$server->allow_log(qr/\[connpool:(?:warn|error)\]/);
$server->start;

sub journal_mode {
    my ($name) = @_;
    open(my $file, '<:raw', $server->dir($name) . '/x.db') or return '';
    seek $file, 18, 0;
    read $file, my $byte, 1;
    return ord $byte == 2 ? 'wal' : 'delete';
}

subtest 'in WAL mode, where no log can be made' => sub {
    my $mark   = $server->log_mark;
    my $answer = $server->get('/wal');
    is($answer->{status}, 503, 'cannot be read as it is');
    unlike($answer->{content}, qr/written|damaged/, 'nobody wanted to write');
    my $line = $server->await_log(qr/'wal'.*immutable=on/, $mark);
    ok($line, 'the log names the key');
    is($server->get('/frozen')->{content}, '7', 'which reads it');
    $server->write_file('frozen/more', 'x');
    chmod 0755, $server->dir('frozen');
    rename $server->dir('frozen/more'), $server->dir('frozen/x.db-wal');
    ok($server->await_log(qr/'frozen': immutable=on, but there is a log/, $mark),
        'without what a log holds');
    my ($exit, $text) =
        $server->configtest($conf . 'ConnPoolQuery no frozen "DELETE FROM t" write=on');
    isnt($exit, 0, 'but has no writer');
};

subtest 'no permission at all' => sub {
    my $mark = $server->log_mark;
    is($server->get('/hidden')->{status}, 503, 'cannot be read');
    ok($server->await_log(qr/'hidden'.*Permission denied/, $mark),
        'for this reason');
};

subtest 'permissions repaired' => sub {
    my $mark = $server->log_mark;
    is($server->get('/repaired')->{content}, '7', 'can be read');
    is($server->post('/add')->{status},      503, 'not written');
    ok($server->await_log(qr/WAL mode \(Permission denied\)/), 'which the log told');
    ok($server->await_log(qr/must be writable.*: Permission denied/, $mark),
        'and tells again');
    is(journal_mode('repaired'), 'delete', 'as it was');
    chmod 0777, $server->dir('repaired');
    chmod 0666, $server->dir('repaired') . '/x.db';
    ok(await(sub { journal_mode('repaired') eq 'wal' }, 20, 'WAL mode'),
        'goes into WAL mode without a request');
    ok(await(sub { $server->post('/add')->{status} == 200 }, 10, 'a write'),
        'and can be written');
};

$server->done;
done_testing;
