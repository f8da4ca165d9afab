#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Answers with ttl=DURATION, kept on this machine for all children.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel);
use Test::More;
use Time::HiRes qw(sleep time);

my %QUERIES = (
    cached => ['SELECT value FROM state', 'ttl=60s'],
    open   => ['SELECT value FROM state', 'ttl=60s cache=shared'],
    short  => ['SELECT value FROM state', 'ttl=1s'],
    old    => ['SELECT value FROM state', 'ttl=1s stale=60s'],
    slow   => [
        'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000)'
            . ' SELECT value, (SELECT count(*) FROM n) AS n FROM state',
        'ttl=1s stale=60s'
    ],
    error => ['SELECT value FROM state', 'ttl=1s stale-if-error=60s'],
    text  => ['SELECT :a AS a, :b AS b, typeof(:a) AS t', 'ttl=60s cache=shared'],
    row   => ['SELECT value FROM state WHERE rowid = :id', 'ttl=60s format=object'],
    large => [q{SELECT hex(zeroblob(:n / 2)) AS a}, 'ttl=60s'],
    plain => ['SELECT value FROM state', ''],
);

my $conf = <<'CONF';
ConnPoolCache shmcb:cache(4000000)
ConnPoolDatabase main sqlite:@DIR@/db/main.db
LogFormat "%U %s %{connpool-cache}n" outcome
CustomLog "@DIR@/logs/outcome_log" outcome
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name main \"$sql\" $options\n"
        . "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}
$conf .= <<'CONF';
ConnPoolParam text a text required
ConnPoolParam text b text required
ConnPoolParam row id integer required
ConnPoolParam large n integer required
<VirtualHost *:@PORT@>
ServerName one
ConnPoolDatabase here sqlite:@DIR@/db/one.db
ConnPoolQuery twin here "SELECT value FROM state" ttl=60s
<Location "/twin">
SetHandler connpool-query
ConnPoolServe twin
</Location>
</VirtualHost>
<VirtualHost *:@PORT@>
ServerName two
ConnPoolDatabase here sqlite:@DIR@/db/two.db
ConnPoolQuery twin here "SELECT value FROM state" ttl=60s
<Location "/twin">
SetHandler connpool-query
ConnPoolServe twin
</Location>
</VirtualHost>
CONF

my $server = ConnPoolTest->new(
    conf     => $conf,
    children => 2,
    modules  => ['socache_shmcb'],
);
$server->make_sqlite($_, "CREATE TABLE state(value TEXT); INSERT INTO state VALUES ('$_ 1');")
    for qw(main one two);
$server->start;

sub query {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

sub outcomes {
    my ($name) = @_;
    open(my $in, '<', $server->dir('logs/outcome_log')) or return;
    return map { m{^/\Q$name\E \d+ (\S+)} ? $1 : () } <$in>;
}

sub set {
    my ($value, $database) = @_;
    $server->sqlite($database // 'main', "UPDATE state SET value = '$value'");
    return;
}

subtest 'one run for all children' => sub {
    my $first = $server->get('/cached');
    is($first->{status},  200,                    'answered');
    is($first->{content}, '[{"value":"main 1"}]', 'with the rows');
    ok(!defined $first->{headers}{age}, 'a new answer has no Age');
    set('main 2');
    my %pids;
    my @answers = parallel(8, sub { [map { $server->get('/cached')->{content} } 1 .. 5] });
    is_deeply([map { @$_ } @answers], [($first->{content}) x 40], 'the same for all');
    my $query = query('cached');
    is($query->{count}, 1, 'the query was run once');
    is_deeply(
        $query->{cache},
        {lookups => 41, hits => 40, misses => 1, stale => 0, stores => 1, coalesced => 0,
            bypassed => 0},
        'counted exactly'
    );
    is(query('plain')->{cache}{lookups}, 0, 'nothing for other queries');
    is_deeply([outcomes('cached')], ['miss', ('hit') x 40], 'and noted for the log');
};

subtest 'all at once' => sub {
    my @answers = parallel(12, sub { $server->get('/open')->{content} });
    is_deeply(\@answers, [('[{"value":"main 2"}]') x 12], 'all are answered');
    my $query = query('open');
    cmp_ok($query->{count}, '<=', $server->mpm eq 'prefork' ? 12 : 2,
        'at most one run per child');
    my $cache = $query->{cache};
    is($cache->{hits} + $cache->{misses} + $cache->{stale} + $cache->{coalesced},
        $cache->{lookups}, 'every lookup has one end');
};

subtest 'headers' => sub {
    my $answer = $server->get('/cached');
    my ($max_age) = $answer->{headers}{'cache-control'} =~ /^max-age=(\d+)$/;
    ok(defined $max_age, 'max-age alone') or diag($answer->{headers}{'cache-control'});
    cmp_ok($max_age, '>=', 54 - 1, 'at most a tenth less than the ttl');
    cmp_ok($max_age, '<=', 60,     'never more');
    like($answer->{headers}{age}, qr/^\d+$/, 'Age');
    is($answer->{headers}{vary}, 'Cookie,Authorization', 'Vary');
    my $etag = $answer->{headers}{etag};
    like($etag, qr/^"[0-9a-f]{16}"$/, 'a strong tag');
    my $same = $server->get('/cached', headers => {'If-None-Match' => $etag});
    is($same->{status},  304, 'not modified');
    is($same->{content}, '',  'without a body');
    is($same->{headers}{vary}, 'Cookie,Authorization', 'with Vary');
    like($same->{headers}{'cache-control'}, qr/^max-age=\d+$/, 'and Cache-Control');
    my $head = $server->head('/cached');
    is($head->{content},                   '',    'HEAD has no body');
    is($head->{headers}{'content-length'}, 20,    'but its length');
    is($head->{headers}{etag},             $etag, 'and the tag');
    is(query('cached')->{count},           1,     'all without the query');
    like($server->get('/old')->{headers}{'cache-control'},
        qr/^max-age=\d, stale-while-revalidate=60$/, 'stale=');
    like($server->get('/error')->{headers}{'cache-control'},
        qr/^max-age=\d, stale-if-error=60$/, 'stale-if-error=');
    is($server->get('/open')->{headers}{vary}, 'Authorization', 'Vary of a shared one');
    is($server->get('/plain')->{headers}{'cache-control'}, 'no-cache', 'others as ever');
};

subtest 'credentials' => sub {
    set('main 3');
    for my $name (qw(Cookie Authorization)) {
        my $answer = $server->get('/cached', headers => {$name => 'a=b'});
        is($answer->{content}, '[{"value":"main 3"}]', "$name: not from the cache");
        like($answer->{headers}{'cache-control'}, qr/^private, max-age=\d+$/, 'private');
    }
    is($server->get('/cached')->{content}, '[{"value":"main 1"}]', 'nor into it');
    is(query('cached')->{cache}{bypassed}, 2, 'counted');
    is((outcomes('cached'))[-2], 'bypass', 'noted');
    my $open = $server->get('/open', headers => {Cookie => 'a=b'});
    is($open->{content}, '[{"value":"main 2"}]', 'cache=shared: from the cache');
    like($open->{headers}{'cache-control'}, qr/^max-age=/, 'for everybody');
    $open = $server->get('/open', headers => {Authorization => 'x'});
    is($open->{content}, '[{"value":"main 2"}]', 'with Authorization as well');
    like($open->{headers}{'cache-control'}, qr/^private, max-age=/, 'but for nobody else');
};

subtest 'the time is over' => sub {
    set('short 1');
    my $began = time;
    is($server->get('/short')->{content}, '[{"value":"short 1"}]', 'kept');
    set('short 2');
    my $end;
    await(sub { $server->get('/short')->{content} =~ /short 2/ && ($end = time) }, 5,
        'the new value');
    cmp_ok($end - $began, '>=', 0.9, 'not before a tenth less than the ttl');
};

subtest 'stale=' => sub {
    set('old 1');
    $server->get('/slow');
    set('old 2');
    sleep 1.1;
    my @values = parallel(6, sub {
        my $answer = $server->get('/slow');
        [$answer->{content} =~ /(old \d)/, $answer->{headers}{'cache-control'}];
    });
    my $cache = query('slow')->{cache};
    is(scalar(grep { $_->[0] eq 'old 2' } @values),
        $cache->{misses} - 1 + $cache->{hits} + $cache->{coalesced},
        'new values for those who refreshed');
    if ($server->mpm eq 'prefork') {
        pass('a child has one request');
    }
    else {
        cmp_ok($cache->{stale}, '>=', 1, 'old values for others meanwhile');
        cmp_ok($cache->{misses}, '<=', 3, 'one refresh per child');
    }
};

subtest 'stale-if-error=' => sub {
    $server->allow_log(qr/connpool:error/);
    set('error 1');
    await(sub { $server->get('/error')->{content} =~ /error 1/ }, 5, 'the new value');
    $server->get('/old');
    my $file = $server->dir('db/main.db');
    rename $file, "$file.away" or die;
    sleep 1.1;
    my $answer = await(
        sub {
            my $found = $server->get('/error');
            return defined $found->{headers}{age} && $found;
        },
        5, 'an old answer'
    );
    is($answer->{status},  200,                     'answered');
    is($answer->{content}, '[{"value":"error 1"}]', 'with what was there');
    await(sub { query('error')->{cache}{stale} > 0 && !query('error')->{cache}{failures} }, 5);
    cmp_ok(query('error')->{cache}{stale}, '>', 0, 'counted');
    is($server->get('/plain')->{status}, 503, 'while the database is away');
    is($server->get('/short')->{status}, 503, 'and without the key nothing is old enough');
    rename "$file.away", $file or die;
    await(sub { $server->get('/plain')->{status} == 200 }, 10, 'the database is back');
};

subtest 'virtual hosts' => sub {
    for my $round (1, 2) {
        for my $host (qw(one two)) {
            my $text = $server->raw("GET /twin HTTP/1.1\r\nHost: $host\r\n"
                    . "Connection: close\r\n\r\n");
            is(ConnPoolTest::parse_response($text)->{content},
                "[{\"value\":\"$host 1\"}]", "$host has its own, round $round");
        }
    }
};

subtest 'keys' => sub {
    # Pairs of values whose plain concatenations meet.
    my @pairs = (
        ['a', 'bc'], ['ab', 'c'], ['', 'abc'], ['abc', ''], ["a\x{1}", 'b'], ['a', "\x{1}b"],
        ['1', '1'], ['01', '1'], ['1', '01'], ['a&b=c', ''], ['a', 'b=c'], ['a%00', 'b'],
    );
    push @pairs, ['x' x $_, 'x' x (250 - $_)] for 1 .. 249;
    push @pairs, map { [$_, reverse($_) . ''] } map { sprintf '%04d', $_ * 7 } 1 .. 239;
    is(scalar @pairs, 500, '500 pairs');
    my $wrong = 0;
    for my $round (1, 2) {
        my @counts = parallel(4, sub {
            my ($i) = @_;
            my $bad = 0;
            for (my $n = $i; $n < @pairs; $n += 4) {
                my ($first, $second) = @{$pairs[$n]};
                my $form = HTTP::Tiny->new->www_form_urlencode({a => $first, b => $second});
                my $answer = $server->get("/text?$form", keep_alive => 1);
                my $rows = eval { ConnPoolTest::decode($answer) } // [{}];
                $bad++ if $rows->[0]{a} ne $first || $rows->[0]{b} ne $second;
            }
            return $bad;
        });
        $wrong += $_ for @counts;
    }
    is($wrong, 0, 'each has its own answer');
    my $cache = query('text')->{cache};
    is($cache->{lookups}, 1000, 'all looked');
    cmp_ok($cache->{hits}, '>', 400, 'and found');
};

subtest 'not kept' => sub {
    for (1, 2) {
        is($server->get('/row?id=99')->{status}, 404, 'no such row');
    }
    is(query('row')->{count},         2, 'is asked for again');
    is(query('row')->{cache}{stores}, 0, 'not stored');
    $server->allow_log(qr/socache_shmcb|AH0083[0-9]|larger/);
    for (1, 2) {
        is(length $server->get('/large?n=500000')->{content}, 500_010, 'larger than the cache');
    }
    is(query('large')->{count}, 2, 'is asked for again');
    cmp_ok($server->status_json->{cache}{too_large}, '>=', 2, 'counted');
    is($server->get('/large?n=10')->{content}, '[{"a":"0000000000"}]', 'smaller ones')
        for 1, 2;
    is(query('large')->{count}, 3, 'are kept');
};

subtest 'restarts' => sub {
    my $before = query('cached')->{cache}{lookups};
    ok($server->graceful(gone => 1), 'graceful restart');
    is($server->get('/cached')->{status}, 200, 'answered') for 1, 2;
    is(query('cached')->{cache}{lookups}, $before + 2, 'counters go on');
    ok($server->restart, 'hard restart');
    is($server->get('/cached')->{status}, 200, 'answered') for 1, 2;
};

$server->done;

subtest 'dbm' => sub {
    my $other = ConnPoolTest->new(children => 2, modules => ['socache_dbm'], conf => <<'CONF');
Mutex file:@DIR@/run connpool-cache
ConnPoolCache dbm:@DIR@/run/cache
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery value main "SELECT value FROM state WHERE :n > 0" ttl=60s
ConnPoolParam value n integer default=1
<Location "/value">
SetHandler connpool-query
ConnPoolServe value
</Location>
CONF
    $other->make_sqlite('main',
        'CREATE TABLE state(value TEXT); INSERT INTO state VALUES (1);');
    $other->start;
    is($other->get('/value')->{content}, '[{"value":"1"}]', 'answered') for 1 .. 5;
    is($other->status_json->{queries}[0]{cache}{hits}, 4, 'by a file as well');

    # Not the entry's size was the reason: the cache works again afterwards.
    $other->allow_log(qr/ConnPoolCache dbm|socache_dbm/);
    my ($file) = glob $other->dir . '/run/cache*';
    rename $file, "$file.away" or die "$file: $!";
    mkdir $file or die;
    is($other->get('/value?n=2')->{status}, 200, 'a file that cannot be opened') for 1 .. 8;
    rmdir $file or die;
    rename "$file.away", $file or die;
    my $before = $other->status_json->{queries}[0]{cache}{stores};
    is($other->get('/value?n=3')->{status}, 200, 'and can be again') for 1 .. 8;
    cmp_ok($other->status_json->{queries}[0]{cache}{stores}, '>', $before, 'keeps answers again');
    $other->done;
};

done_testing;
