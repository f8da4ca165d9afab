#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# ttl=data: kept until the database changes, and never longer, whoever changes
# it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(await parallel slowness);
use File::Copy ();
use HTTP::Tiny ();
use IPC::Open2 qw(open2);
use Test::More;

my $conf = <<'CONF';
ConnPoolCacheLocal 64K
ConnPoolDatabase main sqlite:@DIR@/db/main.db
ConnPoolQuery value main "SELECT n FROM state" ttl=data format=value
ConnPoolQuery row main "SELECT n FROM state WHERE n = :n" ttl=data format=value
ConnPoolParam row n integer required
ConnPoolQuery text main "SELECT hex(zeroblob(:size / 2)) AS a, :i AS i" ttl=data
ConnPoolParam text size integer required
ConnPoolParam text i integer default=0
ConnPoolQuery view main "SELECT n, r IS NULL AS r FROM lottery" ttl=data
ConnPoolQuery day main "SELECT date(:at) AS day" ttl=data
ConnPoolParam day at text required
ConnPoolQuery hour main "SELECT strftime('%H', :at) AS hour" ttl=data
ConnPoolParam hour at blob required
ConnPoolQuery write main "UPDATE state SET n = :n" write=on
ConnPoolParam write n integer required
CONF
for my $name (qw(value row text write view day hour)) {
    $conf .= "<Location \"/$name\">\nSetHandler connpool-query\n"
        . "ConnPoolServe $name\n</Location>\n";
}
$conf .= <<'CONF';
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe value value
</Location>
CONF
my $server = ConnPoolTest->new(conf => $conf, children => 2);
my $file   = $server->make_sqlite('main',
    'PRAGMA journal_mode=WAL; CREATE TABLE state(n INTEGER); INSERT INTO state VALUES (0);'
    . 'CREATE VIEW lottery AS SELECT n, random() AS r FROM state;');
$server->start;

sub query {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

# Connections of their own, so that both children are asked.
my @clients =
    map { HTTP::Tiny->new(keep_alive => 1, timeout => 20 * slowness()) } 1 .. 4;

sub ask {
    my ($client, $path, %headers) = @_;
    return $client->get($server->url($path), {headers => \%headers});
}

subtest 'a hit costs no query' => sub {
    # On a busy machine the first question for the version may come too late.
    for my $client (@clients) {
        ok(await(sub {
            my $hits = query('value')->{cache}{hits};
            ask($client, '/value');
            return query('value')->{cache}{hits} > $hits;
        }, 20, 'a hit'), 'the child of this client keeps it');
    }
    my $before = query('value');
    for my $client (@clients) {
        is(ask($client, '/value')->{content}, 0, 'the value') for 1 .. 5;
    }
    my $query = query('value');
    is($query->{count}, $before->{count}, 'not run again');
    is($query->{cache}{hits}, $before->{cache}{hits} + 20, 'all were hits');
    my $etag = ask($clients[0], '/value')->{headers}{etag};
    my $same = ask($clients[0], '/value', 'If-None-Match' => $etag);
    is($same->{status}, 304, 'not modified');
    is($same->{headers}{'cache-control'}, 'no-cache', 'ask every time');
    ok(!defined ask($clients[0], '/value')->{headers}{age}, 'as good as new');
    is(query('value')->{count}, $query->{count}, 'without the query');
    is(ask($clients[0], '/row?n=7')->{status}, 404, 'no such row') for 1 .. 3;
    is(query('row')->{count}, 1, 'is an answer, too');
    is($server->get('/value', headers => {Cookie => 'a=b'})->{headers}{'cache-control'},
        'private, no-cache', 'credentials: private');
    is(query('value')->{count}, $query->{count} + 1, 'and run');
};

subtest 'what changes by itself' => sub {
    for my $path (qw(/view /day?at=now /day?at=NOW /day?at=subsec /hour?at=bm93 /hour?at=bm93AHg=)) {
        my ($name) = $path =~ m{^/(\w+)};
        my $before = query($name)->{count};
        is(ask($clients[0], $path)->{status}, 200, $path) for 1 .. 5;
        is(query($name)->{count}, $before + 5, 'is asked each time');
    }
    is(ask($clients[0], '/day?at=2024-02-29')->{content}, '[{"day":"2024-02-29"}]', 'a day')
        for 1 .. 5;
    cmp_ok(query('day')->{cache}{hits}, '>=', 1, 'stays the same');
};

subtest 'in a batch' => sub {
    my $before = query('value');
    my $items  = ConnPoolTest::decode(ask($clients[0], '/batch'));
    is_deeply([map { [$_->{status}, $_->{body}] } @$items], [[200, 0], [200, 0]], 'answered');
    my $after = query('value');
    is($after->{cache}{lookups}, $before->{cache}{lookups} + 2, 'items look as well');
    is($after->{count}, $before->{count}, 'and find') if $server->mpm ne 'prefork';
};

subtest 'a writer outside' => sub {
    my $pid = open2(my $out, my $in, 'sqlite3', '-batch', '-init', '/dev/null', $file);
    print {$in} ".timeout 10000\n";
    my ($stale, $wrong, $rounds) = (0, 0, 1000);
    for my $n (1 .. $rounds) {
        print {$in} "UPDATE state SET n = $n; SELECT n FROM state;\n";
        $in->flush;
        my $committed = <$out>;
        $wrong++ if $committed != $n;
        for my $client ($clients[$n % 4], $clients[$n % 4], $clients[($n + 1) % 4]) {
            my $answer = ask($client, '/value');
            $stale++ if $answer->{content} ne $n;
            $wrong++ if $answer->{status} != 200;
        }
    }
    close $in;
    waitpid $pid, 0;
    is($wrong, 0, 'all were written and answered');
    is($stale, 0, "no stale answer in $rounds writes");
    my $cache = query('value')->{cache};
    cmp_ok($cache->{hits}, '>=', 1000, 'and hits in between');
    is($cache->{hits} + $cache->{misses} + $cache->{stale} + $cache->{coalesced},
        $cache->{lookups}, 'counted');
};

subtest 'a writer inside' => sub {
    my $stale = 0;
    for my $n (2001 .. 2040) {
        $server->post('/write', content => {n => $n});
        $stale += grep { ask($_, '/value')->{content} ne $n } @clients;
    }
    is($stale, 0, 'no stale answer');
};

subtest 'readers and a writer at once' => sub {
    my @bad = parallel(5, sub {
        my ($i) = @_;
        my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 20 * slowness());
        my ($last, $backwards) = (0, 0);
        if ($i == 0) {
            $server->sqlite('main', "UPDATE state SET n = $_") for 3001 .. 3040;
            return 0;
        }
        for (1 .. 150) {
            my $n = ask($client, '/value')->{content};
            $backwards++ if $n < $last;
            $last = $n;
        }
        return $backwards;
    });
    is_deeply(\@bad, [(0) x 5], 'the value never goes back');
    is(ask($_, '/value')->{content}, 3040, 'and ends right') for @clients;
};

subtest 'another file' => sub {
    my $stale = 0;
    for my $n (4001 .. 4010) {
        my $other = $server->make_sqlite("other$n",
            "CREATE TABLE state(n INTEGER); INSERT INTO state VALUES ($n);");
        # A log beside the file would be applied to the other one.
        await(sub { !-s "$file-wal" }, 10, 'an empty log');
        rename $other, $file or die;
        $stale += grep { ask($_, '/value')->{content} ne $n } @clients, @clients;
    }
    is($stale, 0, 'no answer of the file before');
};

# Answers are kept when the version is known: after the file was replaced it may
# not be for a second, if a busy machine made opening it take too long.
subtest 'bounded' => sub {
    my $i = 0;
    my $cache = await(
        sub {
            for (1 .. 50) {
                my $answer = $server->get('/text?size=1000&i=' . ++$i);
                next if $answer->{status} == 200;
                fail('answered');
                diag($answer->{content}, $server->log);
            }
            my $found = $server->status_json->{cache};
            return $found->{evictions} > 0 && $found->{bytes} > 0 && $found;
        },
        20, 'evictions'
    );
    ok($cache, 'some are given up')
        or return diag(explain($server->status_json->{cache}, query('text')));
    cmp_ok($cache->{bytes}, '<=', 8 * 64 * 1024, 'within the bound of each child');
    my $large = query('text')->{count};
    is(length $server->get('/text?size=30000')->{content}, 30_016, 'too large to be kept')
        for 1 .. 2;
    is(query('text')->{count}, $large + 2, 'is run each time');
};

subtest 'the file is away' => sub {
    $server->allow_log(qr/connpool:error/);
    rename $file, "$file.away" or die;
    is($server->get('/value')->{status}, 503, 'nothing is claimed to be fresh');
    rename "$file.away", $file or die;
    await(sub { $server->get('/value')->{status} == 200 }, 10, 'the file is back');
};

$server->done;

subtest 'ConnPoolMemory' => sub {
    my $small = ConnPoolTest->new(children => 1, conf => <<'CONF');
ConnPoolMemory 1M
ConnPoolCacheLocal 16M
ConnPoolDatabase main sqlite:@DIR@/db/main.db max=2 cache=16K
ConnPoolQuery text main "SELECT hex(zeroblob(50000)) AS a, :i AS i" ttl=data
ConnPoolParam text i integer required
<Location "/text">
SetHandler connpool-query
ConnPoolServe text
</Location>
CONF
    $small->make_sqlite('main', 'CREATE TABLE t(a)');
    $small->allow_log(qr/ConnPoolMemory is reached/);
    $small->start;
    my ($i, $bad) = (0, 0);
    my $report = await(
        sub {
            $bad += grep { $small->get('/text?i=' . ++$i)->{status} != 200 } 1 .. 30;
            my $found = $small->status_json;
            return $found->{memory_shrunk} > 0 && $found;
        },
        20, 'by the bound'
    );
    ok($report, 'answers are given up');
    is($bad, 0, 'and not requests');
    is($report->{memory_refused}, 0, 'none was refused');
    my $bytes = await(sub { $small->status_json->{cache}{bytes} }, 5);
    cmp_ok($bytes, '<', 2_000_000 * $report->{children}, 'and the rest is small');
    $small->done;
};

done_testing;
