#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# The reports of servers that are well, broken or idle are what the schemas in
# share/schema say, as a public validator reads them; a member that no schema
# names is an error.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolStates qw(hold place);
use ConnPoolTest   qw(await command free_port root_dir);
use JSON::PP       ();
use PostgresTest   qw(pgsql_module);
use Test::More;

my $PYTHON = '/usr/bin/python3';
my ($missing) = command($PYTHON, '-c', 'import jsonschema');
plan skip_all => 'no python3-jsonschema' if $missing && !$ENV{CI};

my %said;    # by schema: what all servers said, for the last subtest

# What a document is to the validator: 'ok', or what is wrong.
sub verdict {
    my ($schema, $document, @options) = @_;
    my $file = File::Temp->new;
    print {$file} ref $document ? JSON::PP->new->encode($document) : $document =~ tr/\n//dr, "\n";
    close $file;
    my (undef, $out) = command('/bin/sh', '-c',
        'exec "$1" "$2/tests/schema/validate.py" ${4:+"$4"} "$2/share/schema/$3.schema.json" <"$5"', 'sh', $PYTHON,
        root_dir(), $schema, $options[0] // '', $file->filename);
    return $out =~ s/\n\z//r;
}

sub fits {
    my ($schema, $document, $what) = @_;
    is(verdict($schema, $document), 'ok', "$schema: $what");
    push @{$said{$schema}}, JSON::PP->new->decode($document);
}

my $REPORTS = <<'CONF';
<Location "/health">
SetHandler connpool-health
</Location>
<Location "/do">
SetHandler cptest
</Location>
CONF

sub reports {
    my ($server, $what) = @_;
    fits('status', $server->get('/connpool-status?format=json')->{content}, $what);
    fits('health', $server->get('/health')->{content},                      $what);
}

sub dump_of {
    my ($server, $what) = @_;
    my %env = (%ENV, $server->_environment);
    local %ENV = %env;
    my (undef, $out) = command($server->httpd, '-t', '-d', $server->dir, '-f',
        $server->dir('httpd.conf'), '-D', 'DUMP_CONNPOOL_JSON');
    fits('dump', $out =~ /(\{.*\})/s, $what);
}

subtest 'idle' => sub {
    my $server = ConnPoolTest->new(conf => $REPORTS =~ s/<Location "\/do">.*//sr);
    $server->start;
    reports($server, 'nothing is configured');
    dump_of($server, 'nothing is configured');
    $server->done;
};

subtest 'off' => sub {
    my $server = ConnPoolTest->new(
        env  => {DB_POOL_SIZE => 3},
        conf => "ConnPoolEngine Off\nConnPoolDatabase app sqlite:\@DIR\@/db/app.db\n" . ($REPORTS =~ s/<Location "\/do">.*//sr));
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    reports($server, 'ConnPoolEngine Off');
    dump_of($server, '... and a limit from the environment');
    $server->done;
};

subtest 'well' => sub {
    my ($port, $socket) = free_port();
    my $server = ConnPoolTest->new(
        children => 2,
        testing  => 1,
        vars     => {VHOST => $port},
        load     => {cptest_module => 't/mod_cptest.so'},
        conf     => $REPORTS . place('query', 'one', 'add') . place('fetch', 'up') . place('batch', 'both') . <<'CONF');
Listen 127.0.0.1:@VHOST@
ConnPoolServerStatus Full
ConnPoolDatabase app sqlite:@DIR@/db/app.db max=3 server-max=20 leak=100ms
ConnPoolUpstream up http://127.0.0.1:@PORT@/page.txt
ConnPoolQuery one app "SELECT :n AS n" ttl=data coalesce=on
ConnPoolParam one n integer default=1
ConnPoolQuery add app "INSERT INTO t VALUES(1)" write=on
ConnPoolQuery who app "SELECT :who AS w, :id AS i"
ConnPoolParam who who from="%{REMOTE_USER}"
ConnPoolParam who id integer path=1
<Location "/pair">
SetHandler connpool-batch
ConnPoolServe one up
</Location>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName other.test
ConnPoolDBMax 2
ConnPoolDatabase own sqlite:@DIR@/db/app.db
ConnPoolQuery mine own "SELECT 1 AS one"
ConnPoolUpstream far http://127.0.0.1:@PORT@/
</VirtualHost>
CONF
    close $socket;
    $server->conf($server->{conf} =~ s/<Location "\/both">.*?<\/Location>\n//sr);
    $server->write_file('htdocs/page.txt', "text\n");
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    $server->get($_) for qw(/one /one?n=2 /one /up /pair);
    $server->post("/add");
    my $client = hold($server, 'app');
    ok(await(sub { @{$server->pool('app')->{leaks}} }), 'one is held for long');
    reports($server, 'all that there is');
    dump_of($server, 'all that there is');
    $server->write_file('run/enough', '');
    close $client;
    $server->allow_log(qr/held|leak/);
    $server->done;
};

subtest 'broken' => sub {
    my ($port, $socket) = free_port();
    my $server = ConnPoolTest->new(
        vars => {NOBODY => $port},
        load => {pgsql_module()},
        conf => ($REPORTS =~ s/<Location "\/do">.*//sr) . place('query', 'one', 'bad', 'far') . place('fetch', 'up') . <<'CONF');
ConnPoolServerStatus Full
ConnPoolDatabase app sqlite:@DIR@/db/app.db
ConnPoolDatabase gone sqlite:@DIR@/db/gone.db
ConnPoolDatabase remote "postgresql:host=127.0.0.1 port=@NOBODY@ dbname=app"
ConnPoolUpstream up http://127.0.0.1:@NOBODY@/
ConnPoolQuery one gone "SELECT 1 AS one"
ConnPoolQuery bad app "SELECT x FROM nowhere"
ConnPoolQuery far remote "SELECT 1 AS one"
CONF
    close $socket;
    $server->make_sqlite('app', 'CREATE TABLE t(a)');
    $server->start;
    for my $path (qw(/one /bad /far /up)) {
        $server->get($path) for 1 .. 6;
    }
    isnt($server->status_json->{state}, 'ok', 'it is not well');
    reports($server, 'all is broken');
    dump_of($server, 'all is broken');
    $server->allow_log(qr/./);
    $server->done;
};

# --- that this would be noticed --------------------------------------------------

subtest 'strict' => sub {
    for my $schema (sort keys %said) {
        my ($largest) = sort { length(JSON::PP->new->encode($b)) <=> length(JSON::PP->new->encode($a)) } @{$said{$schema}};
        is(verdict($schema, $largest, '--closed'), 'ok', "$schema: a member more is noticed wherever it is");
        for my $member (sort keys %$largest) {
            my %less = %$largest;
            delete $less{$member};
            like(verdict($schema, \%less), qr/'\Q$member\E' is a required property/, "... and that $member is gone");
        }
    }
};

subtest 'installed' => sub {
    my @schemas = glob root_dir() . '/share/schema/*.schema.json';
    is(scalar @schemas, scalar keys %said, 'each schema is tried here');
};

done_testing;
