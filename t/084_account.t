#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What a request has cost: notes for the access log, Server-Timing for the
# browser, the log of slow queries. And the directives about it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await free_port);
use ConnPoolUpstream;
use Test::More;

my ($vhost_port, $vhost_socket) = free_port();
my $upstream = ConnPoolUpstream->start;
my $server   = ConnPoolTest->new(
    children => 1,
    vars     => {UPSTREAM => $upstream->port, VHOST => $vhost_port},
    conf     => <<'CONF',
LogFormat "%U|%>s|%{connpool-wait-us}n|%{connpool-db-us}n|%{connpool-http-us}n|%{connpool-fallback}n|%D" account
CustomLog "@DIR@/logs/account" account
Listen 127.0.0.1:@VHOST@
ConnPoolSlowLog 100ms
ConnPoolDatabase events sqlite:@DIR@/db/events.db max=4
ConnPoolQuery quick events "SELECT a FROM t"
ConnPoolQuery slow events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT :n) SELECT count(*), :t, :r, :b, :x FROM n"
ConnPoolParam slow n integer required
ConnPoolParam slow t text
ConnPoolParam slow r real
ConnPoolParam slow b blob
ConnPoolParam slow x text
ConnPoolQuery many events "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i, 'some text to make it long' FROM n" max-rows=100000
ConnPoolQuery broken events "SELECT no_column FROM nowhere"
ConnPoolDatabase one sqlite:@DIR@/db/one.db max=1 overflow=reject acquire=20s
ConnPoolQuery queued one "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=1s
ConnPoolDatabase tight sqlite:@DIR@/db/one.db max=1 acquire=50ms
ConnPoolQuery beside tight "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT count(*) FROM n" timeout=1s
ConnPoolUpstream delay http://127.0.0.1:@UPSTREAM@/delay/0.15
<LocationMatch "^/(?<name>quick|slow|many|broken|queued|beside)$">
SetHandler connpool-query
</LocationMatch>
<Location "/quick">
ConnPoolServe quick
</Location>
<Location "/slow">
ConnPoolServe slow
</Location>
<Location "/many">
ConnPoolServe many
</Location>
<Location "/broken">
ConnPoolServe broken
</Location>
<Location "/queued">
ConnPoolServe queued
</Location>
<Location "/beside">
ConnPoolServe beside
</Location>
<Location "/delay">
SetHandler connpool-fetch
ConnPoolServe delay
</Location>
<Location "/lost">
ErrorDocument 404 /quick
</Location>
<VirtualHost 127.0.0.1:@VHOST@>
ServerName timed.test
ConnPoolServerTiming On
ConnPoolSlowLog 0
</VirtualHost>
CONF
);
$server->make_sqlite($_, 'CREATE TABLE t(a); INSERT INTO t VALUES (1);')
    for qw(events one);
$server->write_file('htdocs/plain.txt', "plain\n");
$server->allow_log(qr/query 'broken'|ConnPoolQuery broken/);
$server->start;

# Lines of the account, as hashes.
sub accounts {
    my ($path) = @_;
    open(my $in, '<', $server->dir('logs/account')) or return;
    my @found;
    while (my $line = <$in>) {
        chomp $line;
        my %account;
        @account{qw(path status wait db http fallback took)} =
            split /\|/, $line;
        push @found, \%account if $account{path} eq $path;
    }
    return @found;
}

# The accounts of a path, when there are as many as asked for.
sub await_accounts {
    my ($path, $count) = @_;
    await(sub { accounts($path) >= $count }, 5, "$count lines for $path");
    return accounts($path);
}

sub query {
    my ($name) = @_;
    my ($query) =
        grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

sub timed {
    my ($path) = @_;
    return $server->get("http://127.0.0.1:$vhost_port$path");
}

# A recursion of so many rounds takes long enough to be slow here, each time.
my $ROUNDS = 20_000;
sub is_quick {
    my $timing = timed("/slow?n=$ROUNDS")->{headers}{'server-timing'};
    return $timing =~ /db;dur=([\d.]+)/ && $1 < 200;
}
$ROUNDS *= 2 while is_quick() || is_quick();
my $SLOW = "/slow?n=$ROUNDS";

# ---------------------------------------------------------------------------

subtest 'slow queries' => sub {
    my $before = query('slow')->{slow};
    my $mark   = $server->log_mark;
    timed("$SLOW&t=secret") for 1 .. 2;
    is(query('slow')->{slow}, $before, 'ConnPoolSlowLog 0: nothing is slow');
    unlike($server->log_since($mark), qr/was slow/, 'nor logged');

    my $path = "$SLOW&t=secret&r=2.75&b=c2VjcmV0";
    is($server->get($path)->{status}, 200, 'a slow one') for 1 .. 3;
    is(query('slow')->{slow}, $before + 3, 'counted');
    my @lines = grep { /query 'slow' was slow/ } split /\n/, $server->log;
    my %children = map { /\[pid (\d+):/ ? ($1 => 1) : () } @lines;
    cmp_ok(@lines, '>=', 1, 'logged');
    is(@lines, keys %children, 'once in a child, though not each time');
    like(
        $lines[0] // '',
        qr/\[connpool:notice\].*\ query\ 'slow'\ was\ slow:\ \d{3,}\ ms
            \ \(waited\ \d+\ ms\ before\)\ for\ 1\ rows;\ parameters:
            \ n\ integer,\ t\ text\(6\),\ r\ real,\ b\ blob\(6\),\ x\ null$/x,
        'with its time, and the types of its parameters'
    );
    unlike($server->log, qr/secret|c2VjcmV0|2\.75|$ROUNDS/,
        'no value is in the log');
    $server->get('/quick');
    # On a busy machine one may be: then its time says so, too.
    my $quick = query('quick');
    is($quick->{slow} > 0, $quick->{us}{max} >= 100_000, 'quick ones are not slow');
    my $text = $server->get('/connpool-status?format=text')->{content};
    like($text, qr/^connpool_query_slow_total\{query="slow"\} @{[$before + 3]}$/m,
        'in the metrics, too');
    $server->allow_log(qr/query '\w+' was slow/);
};

subtest 'notes for the access log' => sub {
    my $before  = query('quick');
    my @earlier = await_accounts('/quick', 1);
    is($server->get('/quick')->{status}, 200, 'a query') for 1 .. 10;
    my @lines = await_accounts('/quick', 10 + @earlier);
    splice @lines, 0, scalar @earlier;
    is(@lines, 10, 'a line for each');
    my ($db, $is_bounded) = (0, 1);
    for my $line (@lines) {
        $db += $line->{db};
        $is_bounded &&= $line->{wait} + $line->{db} <= $line->{took};
    }
    is($db, query('quick')->{us}{sum} - $before->{us}{sum},
        'their times are those of the report, to the microsecond');
    ok($is_bounded, 'and less than the requests took');
    is_deeply(
        [map { "$_->{http} $_->{fallback}" } @lines],
        [('0 0') x 10], 'no fetch, no fallback'
    );

    is($server->get('/delay')->{status}, 200, 'a fetch');
    my ($fetch) = await_accounts('/delay', 1);
    cmp_ok($fetch->{http}, '>=', 150_000,        'its time');
    cmp_ok($fetch->{http}, '<=', $fetch->{took}, 'not more than all of it');
    is($fetch->{db}, 0, 'no query');

    is($server->get('/plain.txt')->{status}, 200, 'a file');
    my ($plain) = await_accounts('/plain.txt', 1);
    is_deeply([@{$plain}{qw(wait db http fallback)}], ['-', '-', '-', '-'],
        'has no account');
    $server->get('/broken');
    my ($broken) = await_accounts('/broken', 1);
    is($broken->{status}, 503, 'an error');
    like($broken->{db}, qr/^\d+$/, 'has one');
    is($server->get('/lost')->{content}, '[{"a":1}]', 'an internal redirect');
    my ($redirected) = await_accounts('/lost', 1);
    cmp_ok($redirected->{db}, '>', 0, 'has one, too');
};

subtest 'waiting and falling back' => sub {
    plan skip_all => 'one child serves one request' if $server->mpm eq 'prefork';
    for my $path (qw(/queued /beside)) {
        my @clients = map { $server->connect } 1 .. 2;
        print {$_} "GET $path HTTP/1.0\r\n\r\n" for @clients;
        ConnPoolTest::read_until($_, undef, 10) for @clients;
    }
    my @queued = sort { $a->{wait} <=> $b->{wait} } await_accounts('/queued', 2);
    is(@queued, 2, 'two requests for one connection');
    cmp_ok($queued[1]{wait}, '>=', 250_000, 'one has waited for the other');
    cmp_ok($queued[0]{wait}, '<', $queued[1]{wait} / 2, 'which has not');
    my @beside = await_accounts('/beside', 2);
    is_deeply([sort map { $_->{fallback} } @beside], [0, 1],
        'one of two used a one-shot connection');
    $server->allow_log(qr/query '(?:queued|beside)'|pool 'tight'/);
};

subtest 'Server-Timing' => sub {
    my $header = 'server-timing';
    my $form   = qr/^wait;dur=(\d+\.\d{3}), db;dur=(\d+\.\d{3}), http;dur=(\d+\.\d{3})$/;
    for my $path (qw(/quick /delay /broken), $SLOW, '/many') {
        is($server->get($path)->{headers}{$header}, undef, "Off: not for $path");
    }
    my ($wait, $db, $http) = timed('/quick')->{headers}{$header} =~ $form;
    cmp_ok($db,   '>', 0, 'On: a query has taken some time');
    cmp_ok($http, '==', 0, 'and none for fetches');
    ($wait, $db, $http) = timed($SLOW)->{headers}{$header} =~ $form;
    cmp_ok($db, '>=', 100, 'a slow one more');
    ($wait, $db, $http) = timed('/delay')->{headers}{$header} =~ $form;
    cmp_ok($http, '>=', 150, 'a fetch');
    my $broken = timed('/broken');
    is($broken->{status}, 503, 'an error');
    like($broken->{headers}{$header}, $form, 'has it');
    my $many = timed('/many');
    cmp_ok(length $many->{content}, '>', 1_000_000, 'a stream');
    like($many->{headers}{$header}, $form, 'has it');
    is($server->get("http://127.0.0.1:$vhost_port/plain.txt")
            ->{headers}{$header}, undef, 'a file has none');
};

# ---------------------------------------------------------------------------

# ---------------------------------------------------------------------------

subtest 'mistakes in the configuration' => sub {
    my $config_error = sub {
        my ($line) = @_;
        my ($exit, $text) = $server->configtest("$line\n");
        return $exit == 0 ? 'accepted' : $text;
    };
    my %refused = (
        'ConnPoolMemory 512K'       => qr/ConnPoolMemory: '512K' is not .*1M/,
        'ConnPoolMemory lots'       => qr/ConnPoolMemory: 'lots' is not /,
        'ConnPoolMemory'            => qr/ConnPoolMemory takes one argument/,
        'ConnPoolMemory -1'         => qr/ConnPoolMemory: '-1' is not /,
        'ConnPoolSlowLog 2h'        => qr/ConnPoolSlowLog: '2h' is not .*1h/,
        'ConnPoolSlowLog -5ms'      => qr/ConnPoolSlowLog: '-5ms' is not /,
        'ConnPoolSlowLog fast'      => qr/ConnPoolSlowLog: 'fast' is not /,
        'ConnPoolServerTiming Full' => qr/ConnPoolServerTiming: 'Full' is not /,
        'ConnPoolServerTiming'      =>
            qr/ConnPoolServerTiming takes one argument/,
        "<Location \"/\">\nConnPoolMemory 30M\n</Location>" =>
            qr/ConnPoolMemory .*Location/,
        "<Location \"/\">\nConnPoolSlowLog 1s\n</Location>" =>
            qr/ConnPoolSlowLog .*Location/,
        "<Location \"/\">\nConnPoolServerTiming On\n</Location>" =>
            qr/ConnPoolServerTiming .*Location/,
    );
    for my $line (sort keys %refused) {
        like($config_error->($line), $refused{$line}, $line =~ s/\n/ /gr);
    }
    for my $line (
        'ConnPoolMemory 1M', 'ConnPoolMemory 2G', 'ConnPoolSlowLog 0',
        'ConnPoolSlowLog 1h', 'ConnPoolSlowLog 5', 'ConnPoolServerTiming On',
        "<VirtualHost *:80>\nConnPoolSlowLog 1s\nConnPoolServerTiming On\n"
        . "</VirtualHost>"
        )
    {
        is($config_error->($line), 'accepted', $line =~ s/\n/ /gr);
    }
};

$server->done;
done_testing;
