#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Writes that wait for the writer's connection are committed together: each has
# its own answer, nobody pays for what another one does, nobody is told of what
# is not committed.
# MPM: event
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults;
use ConnPoolTest qw(await read_until slowness);
use IPC::Open2   qw(open2);
use JSON::PP     ();
use POSIX        ();
use Test::More;
use Time::HiRes qw(sleep time);

my $ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'
    . ' INSERT INTO big(i) SELECT i FROM n';
my $THOUSAND = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n'
    . ' LIMIT 1000)';
my %QUERIES = (
    add => ['INSERT INTO note(title) VALUES (:title)', '', 'title text required'],
    own => ['INSERT INTO own(title) VALUES (:title)', '', 'title text required'],
    some => ['INSERT OR FAIL INTO note(title) VALUES (:title || 1), (:title)', '',
        'title text required'],
    drop => ['INSERT OR ROLLBACK INTO note(title) VALUES (:title)', '',
        'title text required'],
    slow   => [$ENDLESS,                       'timeout=400ms'],
    due    => ["$ENDLESS LIMIT 10",            'timeout=40ms'],
    raise  => ['INSERT INTO closed VALUES (1)', ''],
    child  => ['INSERT INTO child VALUES (:of)', '', 'of integer required'],
    parent => ['INSERT INTO parent VALUES (:id)', '', 'id integer required'],
    last   => ['INSERT INTO seen VALUES (last_insert_rowid()) RETURNING i',
        'format=value'],
    upsert => ['INSERT INTO own(id, title) VALUES (:id, :title) ON CONFLICT'
        . ' DO UPDATE SET title = :title', 'created=/own/{last_insert_rowid}',
        'id integer required', 'title text required'],
    made => ['INSERT INTO own(title) VALUES (:title) RETURNING id, title',
        'created=/own/{id} format=object', 'title text required'],
    edit => ['UPDATE own SET title = :title WHERE id = :id', 'none=404',
        'id integer required', 'title text required'],
    large => ["$THOUSAND INSERT INTO big(i) SELECT i FROM n RETURNING i,"
        . ' hex(zeroblob(500)) AS x', 'max-rows=1000'],
    cut => ["$THOUSAND INSERT INTO big(i) SELECT -i FROM n RETURNING i",
        'max-bytes=1000'],
);

my $lab  = ConnPoolFaults->new;
my $conf = <<'CONF';
ConnPoolDatabase notes sqlite:@DIR@/db/notes.db acquire=20s timeout=20s busy=20s max=4 queue=70 cache=4M
ConnPoolDatabase brief sqlite:@DIR@/db/notes.db acquire=3s busy=20s queue=2 timeout=20s
ConnPoolDatabase single sqlite:@DIR@/db/notes.db acquire=20s busy=20s group=off
ConnPoolDatabase one sqlite:@DIR@/db/notes.db acquire=20s busy=20s timeout=20s max=1
ConnPoolQuery count notes "SELECT count(*) FROM note" format=value ttl=data
ConnPoolQuery brief brief "INSERT INTO own(title) VALUES ('brief')" write=on
ConnPoolQuery single single "INSERT INTO own(title) VALUES ('single')" write=on
ConnPoolQuery one one "INSERT INTO own(title) VALUES ('one')" write=on
<Location "/atomic">
SetHandler connpool-batch
ConnPoolServe own add
ConnPoolBatchAtomic On
</Location>
<Location "/batch">
SetHandler connpool-batch
ConnPoolServe own add
</Location>
<Location "/api">
SetHandler cptest
</Location>
CONF
for my $name (sort keys %QUERIES) {
    my ($sql, $options, @params) = @{$QUERIES{$name}};
    $conf .= "ConnPoolQuery $name notes \"$sql\" write=on $options\n"
        . join('', map { "ConnPoolParam $name $_\n" } @params);
}
$conf .= "<Location \"/$_\">\nSetHandler connpool-query\nConnPoolServe $_\n</Location>\n"
    for sort keys %QUERIES, qw(count brief single one);

my $server = ConnPoolTest->new(
    children => 1,
    threads  => 80,
    env      => {$lab->env},
    load     => {cptest_module => 't/mod_cptest.so'},
    conf     => $conf
);
my $file = $server->make_sqlite('notes', <<'SQL');
PRAGMA journal_mode = WAL;
CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE);
CREATE TABLE own(id INTEGER PRIMARY KEY, title TEXT);
CREATE TABLE big(i INTEGER, x TEXT);
CREATE TABLE closed(i INTEGER);
CREATE TABLE seen(i INTEGER);
CREATE TABLE edits(id INTEGER);
CREATE TABLE parent(id INTEGER PRIMARY KEY);
CREATE TABLE child(of INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER refuse BEFORE INSERT ON closed
BEGIN SELECT raise(ROLLBACK, 'The shop is closed.'); END;
CREATE TRIGGER noted BEFORE UPDATE ON own
BEGIN INSERT INTO edits VALUES (old.id); END;
SQL
$server->start;

# --- helpers ---

sub query {
    my ($name) = @_;
    my ($query) = grep { $_->{name} eq $name } @{$server->status_json->{queries}};
    return $query;
}

sub groups {
    my $groups = $server->pool('notes')->{groups};
    my $sum    = 0;
    $sum += $_ for values %$groups;
    return $sum;
}

sub waiting {
    my ($pool) = @_;
    return $server->pool($pool // 'notes')->{waiting};
}

sub await_waiting {
    my ($count, $pool) = @_;
    return await(sub { waiting($pool) == $count }, 20, "$count wait");
}

# Another program that has SQLite's write lock until it is ended.
sub hold {
    my $pid = open2(my $out, my $in, 'sqlite3', '-batch', '-init', '/dev/null', $file);
    $in->autoflush(1);
    print {$in} "BEGIN IMMEDIATE;\nSELECT 'held';\n";
    my $line = <$out>;
    die 'no lock' if $line !~ /held/;
    return {pid => $pid, in => $in, out => $out};
}

sub release {
    my ($holder) = @_;
    # Those that ask have its input, too: it would not end by closing that.
    print {$holder->{in}} "ROLLBACK;\n.quit\n";
    close $holder->{in};
    waitpid $holder->{pid}, 0;
    return;
}

# A request from a process of its own.
sub ask {
    my ($code) = @_;
    my $pid = open(my $pipe, '-|') // die "fork: $!";
    return $pipe if $pid;
    my $answer = $code->();
    print STDOUT JSON::PP->new->encode($answer);
    close STDOUT;
    POSIX::_exit(0);
}

sub answer_of {
    my ($pipe) = @_;
    local $/ = undef;
    my $text = <$pipe>;
    close $pipe;
    return JSON::PP->new->decode($text);
}

sub write_of {
    my ($name, %values) = @_;
    return sub {
        return $server->post("/$name", content => \%values, timeout => 60);
    };
}

# All of them, in this order, while the first one waits for another program's
# lock: the others come in beside it. `meanwhile` is called when all wait.
# Returns the answers.
sub together {
    my ($writes, $meanwhile) = @_;
    my $holder = hold();
    my @asked;
    for my $write (@$writes) {
        push @asked, ask($write);
        if (@asked == 1) {
            await(sub { $server->pool('notes')->{busy_writers} == 1 }, 20,
                'the first has the writer');
        }
        else {
            await_waiting(@asked - 1);
        }
    }
    $meanwhile->() if $meanwhile;
    release($holder);
    return map { answer_of($_) } @asked;
}

my $serial = 0;

sub title {
    return 't' . ++$serial;
}

sub is_there {
    my ($table, $title) = @_;
    return $server->sqlite('notes', "SELECT count(*) FROM $table WHERE title = '$title'");
}

# [status, ...] of answers.
sub statuses {
    return [map { $_->{status} } @_];
}

sub problem {
    my ($answer) = @_;
    return ConnPoolTest::decode($answer, 'problem');
}

# The names of queries, what should come of each (a status), its parameters.
# Whoever is answered 200 has a row with its title, and nobody else, unless the
# title is another one's as well.
sub go_together {
    my ($what, @cases) = @_;
    my $groups = groups();
    my @writes;
    for my $case (@cases) {
        my ($name, $status, %values) = @$case;
        $values{title} //= title() if $name =~ /^(?:add|own|some|drop)$/;
        push @$case, title => $values{title} if $values{title};
        delete $values{is_shared};
        push @writes, write_of($name, %values);
    }
    my @answers = together(\@writes);
    is_deeply(statuses(@answers), [map { $_->[1] } @cases], "$what: statuses")
        or diag(map { "$_->{status} $_->{content}\n" } @answers);
    for my $case (@cases) {
        my ($name, $status, %values) = @$case;
        next if !$values{title} || $values{is_shared};
        is(is_there($name eq 'own' ? 'own' : 'note', $values{title}),
            $status == 200 ? 1 : 0, "... $name $values{title}");
    }
    return @answers;
}

# ---------------------------------------------------------------------------

subtest 'alone' => sub {
    my $answer = $server->post('/add', content => {title => title()});
    is($answer->{content}, '{"changes":1,"last_insert_rowid":1}', 'as ever');
    is(groups(),                 0, 'no group');
    is(query('add')->{grouped}, 0, '... of it');
};

subtest 'many at once' => sub {
    my $before = $server->pool('notes');
    my $rows   = $server->sqlite('notes', 'SELECT count(*) FROM note');
    my $holder = hold();
    my %asked;
    for (1 .. 64) {
        my $title = title();
        $asked{$title} = ask(write_of('add', title => $title));
    }
    await_waiting(63);
    cmp_ok($server->pool('notes')->{oldest_wait_us}, '>', 0, 'the oldest is told');
    release($holder);
    my %answers = map { $_ => answer_of($asked{$_}) } keys %asked;
    is_deeply([grep { $_->{status} != 200 } values %answers], [], 'all are answered');
    is($server->sqlite('notes', 'SELECT count(*) FROM note'), $rows + 64, 'rows = answers');
    my %id_of = map { split /\|/ } split /\n/,
        $server->sqlite('notes', 'SELECT title, id FROM note');
    my @wrong = grep {
        $answers{$_}{content} ne "{\"changes\":1,\"last_insert_rowid\":$id_of{$_}}"
    } keys %answers;
    is_deeply(\@wrong, [], 'each has its own row, and one change');
    my $after = $server->pool('notes');
    my $query = query('add');
    # Within 5 ms as many as this machine can.
    cmp_ok($query->{grouped}, '>=', 8,  "$query->{grouped} in groups");
    cmp_ok(groups(),          '>=', 1,  groups() . ' of them');
    cmp_ok($after->{acquired} - $before->{acquired}, '<', 64, 'the writer was lent less often');
    is($query->{count},   65, 'all are counted');
    is($query->{errors},  0,  'none as an error');
    is($after->{waiting}, 0,  'nobody waits');
    cmp_ok($query->{us}{max}, '<=', 1e6 * 60, 'their times are their own');
    is($server->get('/count')->{content}, $rows + 64, 'who reads sees them');
};

subtest 'a unique violation inside' => sub {
    my $title   = title();
    my @answers = go_together(
        'unique', ['own', 200],
        ['add', 200, title => $title],
        ['add', 409, title => $title, is_shared => 1],
        ['add', 200], ['own', 200]
    );
    is(problem($answers[2])->{constraint}, 'unique', 'which constraint');
    is(is_there('note', $title), 1, 'the row of the one before');
    is(query('add')->{retries}, 0, 'nothing was begun anew');
    # What it had done before it failed is undone.
    $server->post('/add', content => {title => 'twice'});
    go_together('OR FAIL', ['own', 200], ['some', 409, title => 'twice', is_shared => 1],
        ['add', 200]);
    is(is_there('note', 'twice1'), 0, 'no half');
    go_together('the first', ['some', 409, title => 'twice', is_shared => 1],
        ['add', 200], ['own', 200]);
    is(is_there('note', 'twice1'), 0, 'no half');
};

subtest 'a deadline inside' => sub {
    my $begin = time;
    go_together('deadline', ['own', 200], ['add', 200], ['slow', 504], ['own', 200],
        ['add', 200]);
    is($server->sqlite('notes', 'SELECT count(*) FROM big'), 0, 'it is undone');
    cmp_ok(query('add')->{retries} + query('own')->{retries}, '>', 0,
        'those before were begun anew');
    # Whoever is slow does not come along again.
    my $retries = query('add')->{retries};
    go_together('again', ['own', 200], ['add', 200], ['slow', 504], ['add', 200]);
    is(query('add')->{retries}, $retries, 'a slow one runs alone');
    go_together('due', ['own', 200], ['due', 200], ['add', 200]);
    my $due = query('due');
    is($due->{grouped} + $due->{retries}, 0, 'as does who is due soon');
};

subtest 'a trigger that rolls back' => sub {
    my @answers = go_together('RAISE(ROLLBACK)', ['own', 200], ['add', 200],
        ['raise', 400], ['add', 200]);
    is(problem($answers[2])->{detail}, 'The shop is closed.', 'in its words');
    @answers = go_together('first', ['raise', 400], ['add', 200], ['own', 200]);
    $server->post('/add', content => {title => 'there'});
    go_together('OR ROLLBACK', ['own', 200], ['add', 200],
        ['drop', 409, title => 'there', is_shared => 1], ['add', 200]);
    go_together('the last', ['own', 200], ['add', 200],
        ['drop', 409, title => 'there', is_shared => 1]);
};

subtest 'a deferred foreign key' => sub {
    my $grouped = query('add')->{grouped};
    my @answers = go_together('deferred', ['own', 200], ['add', 200],
        ['child', 409, of => 7], ['add', 200]);
    is(problem($answers[2])->{constraint}, 'foreign_key', 'which constraint');
    cmp_ok(query('add')->{grouped}, '>=', $grouped + 1, 'the others went together');
    go_together('first', ['child', 409, of => 7], ['add', 200], ['own', 200]);
    is($server->sqlite('notes', 'SELECT count(*) FROM child'), 0, 'none is there');
    # What comes later in the same group may be what was missing.
    go_together('repaired', ['own', 200], ['child', 200, of => 8],
        ['parent', 200, id => 8], ['add', 200]);
    is($server->sqlite('notes', 'SELECT of FROM child'), 8, 'it is there');
};

subtest 'the disk is full at the commit' => sub {
    $server->allow_log(qr/\[connpool:(?:error|warn)\]/);
    my $before = $server->sqlite('notes',
        'SELECT (SELECT count(*) FROM note) + (SELECT count(*) FROM own)');
    my $fault;
    my @answers = together(
        [map { write_of($_ % 2 ? 'add' : 'own', title => title()) } 1 .. 8],
        sub { $fault = $lab->inject(call => 'pwrite', name => '-wal', error => 'ENOSPC') }
    );
    $lab->heal($fault, 'a full disk');
    is_deeply(statuses(@answers), [(503) x 8], 'all are told');
    is_deeply([grep { !/disk is full/ } map { problem($_)->{detail} } @answers], [],
        'why');
    is_deeply([grep { !$_->{headers}{'retry-after'} } @answers], [], 'when to come again');
    is($server->sqlite('notes',
            'SELECT (SELECT count(*) FROM note) + (SELECT count(*) FROM own)'),
        $before, 'nothing is there');
    go_together('then', ['own', 200], ['add', 200], ['own', 200]);
    is($server->sqlite('notes', 'PRAGMA integrity_check'), 'ok', 'the file is sound');
};

subtest 'rows for a slow client' => sub {
    my $holder = hold();
    my $first  = ask(write_of('own', title => title()));
    await(sub { $server->pool('notes')->{busy_writers} == 1 }, 20, 'the first has it');
    my $slow = $server->connect;
    print {$slow} "POST /large HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
    await_waiting(1);
    my $next = ask(write_of('add', title => title()));
    await_waiting(2);
    release($holder);
    is_deeply(statuses(answer_of($first), answer_of($next)), [200, 200],
        'the others are answered while it has read nothing');
    # On a slow machine it may be cut, and be done again.
    is(query('large')->{grouped} + query('large')->{retries}, 1, 'it was one of them');
    is($server->post('/add', content => {title => title()})->{status}, 200,
        'and nobody waits for it');
    my $text = read_until($slow, undef, 20);
    like($text, qr{^HTTP/1.1 200 }, 'its answer');
    is(() = $text =~ /"i":/g, 1000, 'has all its rows');
    go_together('max-bytes=', ['own', 200], ['cut', 413], ['add', 200]);
    is($server->sqlite('notes', 'SELECT count(*) FROM big WHERE i < 0'), 0, 'is undone');
};

subtest 'a client that goes' => sub {
    my $holder = hold();
    my $first  = ask(write_of('own', title => title()));
    await(sub { $server->pool('notes')->{busy_writers} == 1 }, 20, 'the first has it');
    my ($gone, $title) = ($server->connect, title());
    my $body = "title=$title";
    print {$gone} "POST /add HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    await_waiting(1);
    my $next = ask(write_of('own', title => title()));
    await_waiting(2);
    shutdown $gone, 2;    # those that ask have it, too
    await_waiting(1);
    release($holder);
    is_deeply(statuses(answer_of($first), answer_of($next)), [200, 200], 'the others');
    is(is_there('note', $title), 0, 'its write was not done');
    is(query('add')->{failures}{cancelled}, 1, 'and is counted so');
};

subtest 'the one who leads goes' => sub {
    my $holder = hold();
    my ($gone, $title) = ($server->connect, title());
    my $body = "title=$title";
    print {$gone} "POST /add HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    await(sub { $server->pool('notes')->{busy_writers} == 1 }, 20, 'it has the writer');
    my @others = map { ask(write_of('own', title => title())) } 1 .. 3;
    await_waiting(3);
    shutdown $gone, 2;    # those that ask have it, too
    release($holder);
    is_deeply(statuses(map { answer_of($_) } @others), [200, 200, 200],
        'the others are answered');
    await(sub { $server->pool('notes')->{busy} == 0 }, 10, 'nothing is held');
};

subtest 'nothing of another one is seen' => sub {
    my @answers = together([
        write_of('own', title => title()),
        write_of('last'),
        write_of('own',    title => title()),
        write_of('last'),
        write_of('upsert', id    => 1, title => 'again'),
        write_of('made',   title => 'made'),
        write_of('edit',   id    => 987_654, title => 'x'),
        write_of('edit',   id    => 1, title => 'edited'),
    ]);
    is_deeply([map { $answers[$_]{content} } 1, 3], [0, 0], 'no last_insert_rowid()');
    is($answers[4]{status}, 200, 'an UPSERT that found its row');
    is($answers[4]{headers}{location}, undef, '... made none');
    my $id = $server->sqlite('notes', "SELECT id FROM own WHERE title = 'made'");
    is($answers[5]{content}, "{\"id\":$id,\"title\":\"made\"}", 'rows of its own');
    is($answers[5]{status}, 201, 'created');
    is($answers[5]{headers}{location}, "/own/$id", '... here');
    is($answers[6]{status}, 404, 'none=404');
    is($answers[7]{content}, '{"changes":1,"last_insert_rowid":0}', 'a change');
    is($server->sqlite('notes', 'SELECT title FROM own WHERE id = 1'), 'edited', '... is there');
    @answers = together([write_of('edit', id => 987_654, title => 'x'),
        write_of('own', title => 'behind')]);
    is_deeply(statuses(@answers), [404, 200], 'one that changes nothing leads');
    is(is_there('own', 'behind'), 1, '... and the other one is there');
};

subtest 'who waits too long' => sub {
    my $holder = hold();
    my $first  = ask(write_of('brief'));
    await(sub { $server->pool('brief')->{busy_writers} == 1 }, 20, 'the first has it');
    my $begin = time;
    my @late  = map { ask(write_of('brief')) } 1 .. 2;
    await_waiting(2, 'brief');
    my $full = $server->post('/brief');
    is($full->{status}, 503, 'queue= holds');
    my @answers = map { answer_of($_) } @late;
    my $took    = time - $begin;
    is_deeply(statuses(@answers), [503, 503], 'acquire= holds');
    cmp_ok($took, '>=', 3,              sprintf 'after %.2f s', $took);
    cmp_ok($took, '<',  3 + slowness(), '... not much later');
    my $pool = $server->pool('brief');
    is($pool->{timeouts}, 2, 'counted as such');
    is($pool->{rejected}, 1, '... each');
    release($holder);
    is(answer_of($first)->{status}, 200, 'who has it is served');
};

subtest 'who does not take part' => sub {
    my $holder = hold();
    my @asked  = ask(write_of('own', title => title()));
    await(sub { $server->pool('notes')->{busy_writers} == 1 }, 20, 'the first has it');
    my $mark  = title();
    my $items = [map { {name => $_, params => {title => "$mark$_"}} } qw(own add)];
    my $post  = sub {
        my ($path) = @_;
        return sub { return $server->post($path, json => $items, timeout => 60) };
    };
    push @asked, ask($post->('/atomic'));
    await_waiting(1);
    push @asked,
        ask(sub {
            $server->get('/api?named=a:own&bind=a:title:t:' . "${mark}api"
                    . '&run=a&next=a&end=a', timeout => 60);
        });
    await_waiting(2);
    my $before = query('own')->{grouped};
    release($holder);
    my @answers = map { answer_of($_) } @asked;
    is_deeply(statuses(@answers), [200, 200, 200], 'statuses');
    is(query('own')->{grouped}, $before, 'a batch as one, and calls of a module, run alone');
    is(is_there('own', "$mark$_"), 1, "... $_") for qw(own api);
    my $groups = $server->pool('single')->{groups};
    $holder = hold();
    @asked  = map { ask(write_of('single')) } 1 .. 4;
    await_waiting(3, 'single');
    release($holder);
    is_deeply(statuses(map { answer_of($_) } @asked), [(200) x 4], 'group=off: statuses');
    is(query('single')->{grouped}, 0, '... none in a group');
};

subtest 'a request that has the writer' => sub {
    my ($here, $go, $title) = ($server->dir('run/here'), $server->dir('run/go'), title());
    my $holding = ask(sub {
        $server->get("/api?acquire=a:notes:write&touch=$here&await=$go&named=b:own"
                . "&bind=b:title:t:$title&answer=b&release=a", timeout => 60);
    });
    await(sub { -e $here }, 20, 'it has the writer');
    my $leader = ask(write_of('own', title => title()));
    await_waiting(1);
    my $behind = ask(write_of('own', title => title()));
    await_waiting(2);
    my $begin = time;
    $server->write_file('run/go', '');
    my $held = answer_of($holding);
    like($held->{content}, qr/"changes":1/, 'it writes');
    # Who leads waits for what it has: it must not wait behind him.
    cmp_ok(time - $begin, '<', 5 * slowness(), 'at once');
    is_deeply(statuses(answer_of($leader), answer_of($behind)), [200, 200], 'then the others');
    is(is_there('own', $title), 1, 'and it is there');
};

subtest 'writes of a batch, each by itself' => sub {
    my ($one, $two) = (title(), title());
    my $before = query('own')->{grouped};
    my @answers = together([
        write_of('add', title => title()),
        sub {
            return $server->post('/batch', timeout => 60, json => [
                {name => 'own', params => {title => $one}},
                {name => 'add', params => {title => $two}}]);
        },
        write_of('add', title => title()),
    ]);
    is_deeply(statuses(@answers), [(200) x 3], 'statuses');
    is_deeply([map { $_->{status} } @{problem($answers[1])}], [200, 200], '... of items');
    is(is_there('own', $one) + is_there('note', $two), 2, 'both are there');
    is(query('own')->{grouped}, $before + 1, 'the first one came along');
};

subtest 'one connection for all' => sub {
    my $holder = hold();
    my @asked  = map { ask(write_of('one')) } 1 .. 5;
    await_waiting(4, 'one');
    release($holder);
    is_deeply(statuses(map { answer_of($_) } @asked), [(200) x 5], 'statuses');
    is($server->sqlite('notes', q{SELECT count(*) FROM own WHERE title = 'one'}), 5, 'rows');
    cmp_ok(query('one')->{grouped}, '>=', 2, 'in groups');
};

$server->done;
done_testing;
