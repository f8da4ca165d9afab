#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Mistakes that would only show with a request, or never: handlers with nothing
# to serve, comments that take SQL away, SQL that SQLite cannot read, variables
# that nobody set, upstreams that no address can satisfy.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest;
use Test::More;

my $BASE = <<'CONF';
ConnPoolDatabase events sqlite:@DIR@/db/events.db
ConnPoolUpstream up http://127.0.0.1:9/
ConnPoolQuery by_id events "SELECT :id"
ConnPoolParam by_id id integer
CONF

my $server = ConnPoolTest->new(conf => $BASE, modules => ['socache_shmcb']);

sub refused {
    my ($lines, $pattern, $what) = @_;
    my ($exit, $text) = $server->configtest("$BASE$lines\n");
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    isnt($exit, 0, "refused: " . ($what // $lines)) or return;
    like($text, $pattern, '... saying why');
    return;
}

sub accepted {
    my ($lines, $what) = @_;
    my ($exit, $text) = $server->configtest("$BASE$lines\n");
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($exit, 0, 'accepted: ' . ($what // $lines)) or diag($text);
    return;
}

sub at {
    my ($section, @lines) = @_;
    my ($name) = $section =~ /^(\w+)/;
    return join "\n", "<$section>", @lines, "</$name>", '';
}

subtest 'handlers that do not exist' => sub {
    for my $case (['connpool-qeury', 'query'], ['connpool-querys', 'query'],
        ['connpool_query', 'query'], ['conpool-query', 'query'],
        ['connpool-fecth', 'fetch'], ['connpool-stauts', 'status'],
        ['connpoolhealth', 'health'], ['connpool-batches', 'batch'])
    {
        my ($wrong, $right) = @$case;
        refused(at('Location "/x"', "SetHandler $wrong", 'ConnPoolServe by_id'),
            qr/SetHandler \Q$wrong\E: there is no such handler; perhaps connpool-$right is meant; there are connpool-query, .* at \S+:\d+/,
            $wrong);
    }
    refused(at('Location "/x"', 'SetHandler connpool-something-else-that-is-long'),
        qr/there is no such handler; there are/);
    refused(at('Location "/x"', 'SetHandler connpool-'), qr/no such handler/);
    refused(at('Location "/x"', 'SetHandler "connpool-qeury"'), qr/no such/, 'quoted');
    refused("AddHandler connpool-qeury .q", qr/AddHandler connpool-qeury: .*no such/);
    refused(at('If "true"', 'SetHandler connpool-qeury'), qr/no such/, 'in <If>');
    refused(at('VirtualHost *:1', at('Location "/x"', 'SetHandler connpool-qeury')),
        qr/no such/, 'in a virtual host');
    refused(at('IfModule core.c', at('Location "/x"', 'SetHandler connpool-qeury')),
        qr/no such/, 'in <IfModule>');
    accepted(at('Location "/x"', "SetHandler $_"), $_)
        for 'server-status', 'none', 'default-handler', 'connection', 'pool',
        '"proxy:http://127.0.0.1/"', 'cgi-script';
    accepted(at('Location "/x"', "SetHandler connpool-$_")) for qw(status health STATUS);
    accepted(at('Location "/x"', 'SetHandler ConnPool-Query', 'ConnPoolServe by_id'));
    refused(at('Location "/x"', 'SetHandler ConnPool-Query', 'ConnPoolServe up'),
        qr/connpool-query serves queries, and 'up' is an upstream/);
    accepted("AddHandler CONNPOOL-query .q\n" . at('Files "*.q"', 'ConnPoolServe by_id'));
};

subtest 'handlers with nothing to serve' => sub {
    my $nothing = qr/SetHandler connpool-\w+: ConnPoolServe names (?:no query|no upstream|nothing) here that it could serve at \S+:\d+/;
    for my $handler (qw(query fetch batch)) {
        my $set = "SetHandler connpool-$handler";
        refused(at('Location "/x"', $set), $nothing, $handler);
        refused($set, $nothing, "$handler in the server");
        refused(at('LocationMatch "^/x"', $set), $nothing, "$handler by pattern");
        refused(at('Directory "@DIR@"', $set), $nothing, "$handler in a directory");
        refused(at('Files "x"', $set), $nothing, "$handler for files");
        refused(at('VirtualHost *:1', at('Location "/x"', $set)), $nothing,
            "$handler in a virtual host");
        refused(at('Location "/x"', $set)
                . at('Location "/y"', 'SetHandler connpool-batch', 'ConnPoolServe by_id up'),
            $nothing, "$handler beside another place");
        refused(at('Directory "@DIR@"', $set)
                . at('Location "/y"', 'SetHandler connpool-batch', 'ConnPoolServe by_id up'),
            $nothing, "$handler in a directory beside a location");
        refused(at('Location "/x"', $set)
                . at('Location "/x/y"', 'SetHandler connpool-batch', 'ConnPoolServe by_id up'),
            $nothing, "$handler above another handler");
    }
    my $query = 'SetHandler connpool-query';
    refused(at('Location "/x"', $query) . at('Location "/xy"', 'ConnPoolServe by_id'),
        $nothing, 'half a name');
    refused(at('Location /x', $query) . at('Location /xy', 'ConnPoolServe by_id'),
        $nothing, 'without quotes');
    refused(at('VirtualHost *:1', at('Location "/x"', $query))
            . at('VirtualHost *:2', at('Location "/x"', 'ConnPoolServe by_id')),
        $nothing, 'in another virtual host');
    refused(at('Location "/x"', $query) . at('Location "/x"', 'ConnPoolServe up'),
        $nothing, 'the wrong kind, elsewhere');
    refused(at('Location "/x"', 'SetHandler connpool-fetch')
            . at('Location "/x"', 'ConnPoolServe by_id'), $nothing, 'likewise');
    refused(at('Location "/x"', $query, 'ConnPoolServe up'),
        qr/connpool-query serves queries, and 'up' is an upstream/);
    refused('AddHandler connpool-query .q', qr/AddHandler connpool-query: .*no query/);

    my $serve = 'ConnPoolServe by_id';
    accepted(at('Location "/x"', $serve) . at('Location "/x/y"', $query), 'above');
    accepted(at('Location "/x"', $query) . at('Location "/x/y"', $serve), 'below');
    accepted(at('Location "/x"', $query) . at('Location "/x/"', $serve), 'beside');
    accepted(at('Location "/"', $serve) . at('Location "/x"', $query), 'from /');
    accepted(at('Location /', $serve) . at('Location /x', $query), 'without quotes');
    accepted(at('Directory /srv', $query) . at('Directory /srv/x', $serve), 'directories');
    accepted(at('Location "/x"', at('If "true"', $query), $serve), 'in <If>');
    accepted(at('Location "/x"', $query, at('If "true"', $serve)), 'from <If>');
    accepted(at('LocationMatch "x"', $serve) . at('Location "/x"', $query), 'a pattern');
    accepted(at('Directory "@DIR@"', $query, at('Files "x"', $serve)), 'files');
    accepted(at('Directory "@DIR@"', $query) . at('Location "/x"', $serve), 'both');
    accepted('AddHandler connpool-query .q' . "\n" . at('Files "*.q"', $serve), 'by type');
    accepted(at('Location "/x"', $serve)
            . at('VirtualHost *:1', at('Location "/x"', $query)), 'inherited');
    accepted($query . "\n" . at('Location "/x"', $serve), 'set in the server');
};

subtest 'variables' => sub {
    my $unset = qr/\$\{NO_SUCH\}' is not set in the environment, and no Define sets it/;
    refused($_, $unset)
        for 'ConnPoolDatabase d sqlite:${NO_SUCH}/x', 'ConnPoolDatabase ${NO_SUCH} sqlite:x',
        'ConnPoolDatabase d sqlite:x max=${NO_SUCH}',
        'ConnPoolDatabase d sqlite:x synchronous=${NO_SUCH}',
        'ConnPoolUpstream u http://${NO_SUCH}/', 'ConnPoolUpstream u http://127.0.0.1/${NO_SUCH}',
        'ConnPoolUpstream u http://127.0.0.1/?key=${NO_SUCH}',
        'ConnPoolUpstream u http://127.0.0.1/ headers=${NO_SUCH}',
        'ConnPoolUpstream u https://127.0.0.1/ ca=${NO_SUCH}/x',
        'ConnPoolQuery q events "SELECT * FROM ${NO_SUCH}"',
        'ConnPoolQuery q events "SELECT \'${NO_SUCH}\'"',
        'ConnPoolQuery q ${NO_SUCH} "SELECT 1"',
        "ConnPoolQuery q events \"SELECT :a\"\nConnPoolParam q a text default=\${NO_SUCH}",
        "ConnPoolQuery q events \"SELECT :a\"\nConnPoolParam q a text match=^\${NO_SUCH}\$",
        'ConnPoolEngine ${NO_SUCH}', 'ConnPoolDBMax ${NO_SUCH}', 'ConnPoolMemory ${NO_SUCH}',
        'ConnPoolEventLoop ${NO_SUCH}', 'ConnPoolBatchMax ${NO_SUCH}',
        'ConnPoolCache ${NO_SUCH}', 'ConnPoolCache shmcb:${NO_SUCH}',
        at('Location "/x"', 'SetHandler connpool-query', 'ConnPoolServe ${NO_SUCH}');
    accepted("Define SET 3\nConnPoolDatabase d sqlite:x max=\${SET}", 'one that is set');
    accepted("ConnPoolQuery q events \"SELECT :a\"\nConnPoolParam q a text match=^[\${1}]",
        'no variable');
};

subtest 'upstreams that no address can satisfy' => sub {
    my $clear   = qr/ConnPoolUpstream u: the host \S+ is a public address, and http: .*plaintext=allow/;
    my $inside  = qr/ConnPoolUpstream u: the host \S+ leads to this machine, .*private=allow/;
    my $strange = qr/ConnPoolUpstream u: the host \S+ is an address that is not public, in an unusual spelling/;
    my $nobody  = qr/ConnPoolUpstream u: the host \S+ is no host's address/;
    my $many    = qr/ConnPoolUpstream u: the host \S+ is the address of many/;
    refused("ConnPoolUpstream u http://$_/", $clear)
        for '1.1.1.1', '8.8.8.8:8080', '[2606:4700:4700::1111]',
        '[2606:4700:4700::1111]:81', '[::ffff:8.8.8.8]', '134744072', '0x8.0x8.0x8.0x8',
        '1.1';
    refused("ConnPoolUpstream u http://1.1.1.1/ private=allow", $clear);
    refused("ConnPoolUpstream u $_/", $inside)
        for 'http://localhost', 'https://localhost', 'http://LOCALHOST:81',
        'http://localhost.', 'http://app.localhost', 'http://localhost.localdomain',
        'http://ip6-localhost', 'http://%6cocalhost', 'http://localhost6';
    refused('ConnPoolUpstream u http://localhost/ plaintext=allow', $inside);
    refused("ConnPoolUpstream u $_/", $strange)
        for 'http://127.1', 'http://2130706433', 'https://0x7f.1', 'http://0177.0.0.1',
        'http://127.0.0.01', 'http://10.1', 'http://192.168.257';
    refused("ConnPoolUpstream u $_/", $nobody)
        for 'http://0', 'https://0', 'http://0:81', 'http://0x0', 'http://00', 'http://0.0',
        'http://0.0.0.0', 'http://[::]', 'http://0.0.0.1';
    refused('ConnPoolUpstream u http://0/ private=allow', $nobody);
    refused("ConnPoolUpstream u $_/", $many)
        for 'http://224.0.0.1', 'http://255.255.255.255', 'https://[ff02::1]';
    accepted("ConnPoolUpstream u $_")
        for 'http://127.0.0.1/', 'http://[::1]/', 'http://10.0.0.1/', 'https://1.1.1.1/',
        'http://1.1.1.1/ plaintext=allow', 'http://localhost/ private=allow',
        'https://localhost/ private=allow', 'http://127.1/ private=allow',
        'http://notlocalhost/', 'https://example.org/', 'http://localhost.example.org/',
        'http://0.example.org/', 'http://[fe80::1]/';
    refused("ConnPoolUpstream u http://127.0.0.1/ headers=$_",
        qr/ConnPoolUpstream u: headers: no header is named/, "headers=$_")
        for '', ',', '""', ',,';
    refused("ConnPoolQuery q events \"SELECT 1\" methods=$_", qr/no method is named/, $_)
        for '', ',';
    refused("ConnPoolQuery q events \"SELECT :a\"\nConnPoolParam q a text match=",
        qr/match= is empty/);
};

subtest 'comments in SQL' => sub {
    my $lost = qr/ConnPoolQuery q: the SQL has a comment that takes away the rest of it: -- .*\/\* comment \*\//;
    my %lost = (
        'a WHERE' => "SELECT a FROM t -- all of them \\\n WHERE a = 1",
        'a FROM'  => "SELECT a, -- the name \\\n b FROM t",
        'the rest' => "SELECT 1 -- x",
        'no blank' => "SELECT 1--x\\\nFROM t",
        'behind ;' => "SELECT 1; -- x \\\n FROM t",
        'behind another' => "SELECT /* -- */ 1 /**/ -- x",
        'a parenthesis' => "SELECT (1) -- ) \\\n",
        'the second' => "SELECT 1 /* a */-- b -- c",
    );
    refused("ConnPoolQuery q events \"$lost{$_}\"", $lost, $_) for sort keys %lost;
    refused("ConnPoolQuery q events \"DELETE FROM t -- \\\n WHERE a = 1\" write=on", $lost,
        'a DELETE');
    my %fine = (
        'in a text' => "SELECT '-- x'",
        'in a name' => 'SELECT 1 AS [-- x]',
        'the other kind' => "SELECT a /* all \\\n of them */ FROM t",
        'in the other kind' => "SELECT 1 /* -- x */",
        'nothing behind' => "SELECT 1 --",
        'blanks behind' => "SELECT 1 --  \\\n  ",
        'two minuses' => "SELECT 1 - -1",
    );
    accepted("ConnPoolQuery q events \"$fine{$_}\"", $_) for sort keys %fine;
    my $open = qr/ConnPoolQuery q: the SQL has a comment that is not closed/;
    refused("ConnPoolQuery q events \"$_\"", $open)
        for 'SELECT 1 /* x', 'SELECT /* 1', "SELECT a FROM t /* x \\\n WHERE a = 1",
        'SELECT 1 /*', 'SELECT 1 /*/', 'SELECT 1; /* x', '/* x', 'SELECT 1 /* x */ /* y';
};

subtest 'SQL that SQLite cannot read' => sub {
    my %wrong = (
        'SELECT a FORM t'                           => qr/near "t": syntax error|near "FORM"/,
        'SELECT a FROM t ORDR BY a'                 => qr/near "BY": syntax error/,
        'SELECT a FROM t WHERE b = 1 ADN c = 2'     => qr/syntax error/,
        'SELECT a, FROM t'                          => qr/near "FROM": syntax error/,
        'SELECT a FROM t WHERE a > now()'           => qr/no such function: now/,
        'SELECT x.a, lenght(y.b) FROM t x JOIN u y ON x.id = y.id' => qr/no such function: lenght/,
        'SELECT substr(a) FROM t'                   => qr/wrong number of arguments/,
        'SELECT a FROM t ORDER BY a COLLATE german' => qr/no such collation/,
    );
    refused("ConnPoolQuery q events \"$_\"",
        qr/ConnPoolQuery q: SQLite cannot read the SQL: .*$wrong{$_}/, $_)
        for sort keys %wrong;
    refused("ConnPoolQuery q events \"$_\" write=on",
        qr/ConnPoolQuery q: SQLite cannot read the SQL: /, $_)
        for 'INSERT t VALUES (1)', 'UPDATE t SET a = now()', 'DELETE t WHERE a = 1',
        'INSERT INTO t(a, b) VALUES (1)';
    my $below = "ConnPoolDatabase later sqlite:later.db";
    refused("ConnPoolQuery q later \"SELECT a FORM t\"\n$below",
        qr/ConnPoolQuery q: SQLite cannot read/, 'the database stands below');
    refused("ConnPoolQuery q later \"SELECT 1 -- a\"\n$below",
        qr/ConnPoolQuery q: the SQL has a comment/, 'likewise');
    accepted("ConnPoolQuery q events \"$_\"", $_)
        for 'SELECT a, u.b FROM no_such JOIN u USING (k) WHERE odd = lower(a)',
        'SELECT d ->> \'$.x\' AS x FROM docs WHERE docs MATCH \'y\'';
    is_deeply([glob $server->dir('db/*')], [], 'and no file is made');
};

$server->dismiss;
subtest 'a column without a name' => sub {
    my $told = sub {
        my ($select, @keys) = @_;
        my ($exit, $text) = $server->configtest(
            "${BASE}ConnPoolQuery total events \"$select\" @keys\n");
        is($exit, 0, "accepted: $select");
        return $text =~ /ConnPoolQuery total at \S+: a column of its answer has no/;
    };
    ok($told->('SELECT max(a), b FROM t'), '... but told');
    ok($told->('SELECT a, b + 1 FROM t WHERE c = 1'), '... but told');
    ok(!$told->('SELECT max(a) AS a, b FROM t'), '... it has one');
    ok(!$told->('SELECT max(a) FROM t', 'format=value'), '... nobody sees it');
};

done_testing;
