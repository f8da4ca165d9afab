#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# The dry run: what httpd -t -D DUMP_CONNPOOL and DUMP_CONNPOOL_JSON print of
# what is configured, where it comes from, whether it could serve, and what the
# exit status is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolFaults;
use ConnPoolTest qw(command slowness);
use IO::Handle ();
use JSON::PP   ();
use POSIX      ();
use Test::More;
use Time::HiRes qw(time);

my $IS_ROOT = $> == 0;
my $server  = ConnPoolTest->new(children => 3, status => 0);
my $DIR     = $server->dir;

my $ROWS = 'WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < %d) INSERT INTO %s SELECT i, i, i FROM n;';
$server->make_sqlite('app', join "\n",
    'CREATE TABLE big(id INTEGER PRIMARY KEY, plain, keyed);',
    'CREATE INDEX by_key ON big(keyed);',
    sprintf($ROWS, 12345, 'big'),
    'CREATE TABLE small(id INTEGER PRIMARY KEY, plain, keyed);',
    sprintf($ROWS, 9999, 'small'),
    'CREATE TABLE sparse(id INTEGER PRIMARY KEY, plain);',
    'INSERT INTO sparse VALUES (1000000, 1);',
    'CREATE TABLE norow(id PRIMARY KEY, plain, keyed) WITHOUT ROWID;',
    sprintf($ROWS, 11111, 'norow'),
    'CREATE TABLE "2026 days"(id INTEGER PRIMARY KEY, plain, keyed);',
    sprintf($ROWS, 10500, '"2026 days"'),
    'CREATE VIEW some AS SELECT * FROM big b WHERE b.plain > 0;',
    'CREATE VIRTUAL TABLE words USING fts4(text);');

# --- running it ---------------------------------------------------------------

# (exit, stdout, stderr, seconds) of httpd -t with these lines and -D words.
sub dry {
    my ($conf, %arg) = @_;
    my $file = $server->_write_conf('dry.conf', $conf);
    my @argv = ($server->httpd, '-t', '-d', $DIR, '-f', $file,
        map { ('-D', $_) } @{$arg{defines} // ['DUMP_CONNPOOL']});
    unshift @argv, @{$arg{before}} if $arg{before};
    my %env = ($server->_environment, %{$arg{env} // {}});
    my @to  = ("$DIR/run/stdout", "$DIR/run/stderr");
    my $began = time;
    my $pid   = fork // die "fork: $!";
    if (!$pid) {
        %ENV = %env;
        open(STDIN,  '<', '/dev/null');
        open(STDOUT, '>', $to[0]);
        open(STDERR, '>', $to[1]);
        exec(@argv) or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $exit = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($exit, (map { ConnPoolTest::_slurp($_) } @to), time - $began);
}

# The section of the text that begins with this line.
sub section {
    my ($text, $heading) = @_;
    my ($found) = $text =~ /^(\Q$heading\E(?: at [^\n]*)?\n(?:  [^\n]*\n)*)/m;
    return $found // '';
}

sub json_of {
    my ($conf, %arg) = @_;
    my ($exit, $out) = dry($conf, %arg, defines => ['DUMP_CONNPOOL_JSON']);
    my $facts = eval { JSON::PP->new->utf8->decode($out) };
    diag($@, $out) if !$facts;
    return wantarray ? ($facts, $exit) : $facts;
}

sub named {
    my ($list, $name, $of) = @_;
    my ($found) = grep { $_->{name} eq $name && $_->{server} eq ($of // '') } @$list;
    return $found;
}

my $DB = "ConnPoolDatabase app sqlite:\@DIR\@/db/app.db\n";

sub fails {
    my ($conf, $heading, $pattern, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($exit, $out, $err) = dry($conf);
    is($exit, 1, "$what: exit 1");
    like(section($out, $heading), $pattern, '... saying why') or diag($out, $err);
    like($out, qr/^mod_connpool: [1-9]\d* errors?, \d+ warnings?: it could not serve all of this\n\z/m,
        '... and the sum, at the end');
    unlike($err, qr/Syntax OK/, '... not called OK');
    my ($facts, $code) = json_of($conf);
    is($code, 1, '... as JSON, too');
    ok(!$facts->{ok} && $facts->{errors} > 0, '... which says so');
    return ($out, $facts);
}

sub serves {
    my ($conf, $what, %arg) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($exit, $out, $err) = dry($conf, %arg);
    is($exit, 0, "$what: exit 0") or diag($out, $err);
    like($out, qr/^mod_connpool: 0 errors, \d+ warnings?\n\z/m, '... and no error');
    like($err, qr/Syntax OK/, '... OK');
    return $out;
}

# --- what is fine -------------------------------------------------------------

my $GOOD = $DB . <<'CONF';
ConnPoolUpstream up http://127.0.0.1:9/v1/ read=3s headers=Accept
ConnPoolQuery by_id app "SELECT * FROM big WHERE id = :id"
ConnPoolParam by_id id integer required max=99
ConnPoolQuery add app "INSERT INTO small VALUES (NULL, :text, 1)" write=on
ConnPoolParam add text maxlen=10
<Location "/api/by_id">
SetHandler connpool-query
ConnPoolServe by_id
</Location>
CONF

subtest 'all is well' => sub {
    my $out = serves($GOOD, 'all is well');
    my $app = section($out, 'database app');
    like($app, qr/^  address +sqlite:\Q$DIR\E\/db\/app\.db \[\Q$DIR\E\/dry\.conf:\d+\]$/m, 'address');
    like($app, qr/^  max +10 +\[default of ConnPoolDBMax\]$/m, 'a key by default');
    like($app, qr/^  busy +5s +\[default\]$/m, 'one of the driver');
    like($app, qr/^  file +\S+app\.db, \d+ bytes, mode 0644, owner \S+, group \S+: may be read and written$/m, 'rights');
    like($app, qr/^  directory +\S+\/db, mode 0755, /m, 'of the directory');
    like($app, qr/^  journal mode +delete: the server puts it in WAL mode$/m, 'journal mode');
    like($app, qr/^  log size +0 bytes$/m, 'log size');
    like($app, qr/^  connections +at worst 20 in each of \d+ children \(10 one-shot ones included\), (\d+) in all/m, 'connections');
    my $by_id = section($out, 'query by_id');
    like($by_id, qr/^  sql +SELECT \* FROM big WHERE id = :id /m, 'SQL');
    like($by_id, qr/^  timeout +5s +\[default of timeout= of its database\]$/m, 'timeout');
    like($by_id, qr/^  served +connpool-query in <Location "\/api\/by_id"> at \S+:\d+$/m, 'where it is served');
    like($by_id, qr/^  plan +SEARCH .*big USING INTEGER PRIMARY KEY/m, 'plan');
    unlike($by_id, qr/warning/, 'no warning');
    like($out, qr/^  parameter id at \S+:\d+\n    type +integer +\[\S+:\d+\]\n    required +on +\[\S+:\d+\]\n    max +99 +\[\S+:\d+\]$/m, 'parameter');
    like($out, qr/^  parameter text at \S+:\d+\n    type +text +\[default\]\n    required +off +\[default\]\n    maxlen +10 +\[\S+\]$/m, 'by default');
    like(section($out, 'query add'), qr/^  methods +POST,PUT,PATCH,DELETE +\[default\]$/m, 'methods');
    like(section($out, 'query add'), qr/^  served +nowhere$/m, 'served nowhere');
    my $up = section($out, 'upstream up');
    like($up, qr/^  read +3s +\[\S+:\d+\]$/m, 'a key that is written');
    like($up, qr/^  max +30 +\[default of ConnPoolHTTPPerHost\]$/m, 'the lower limit');
    like($up, qr/^  address +127\.0\.0\.1$/m, 'its address');
    like($out, qr/^  user +\S+ \(uid \d+\)$/m, 'as whom');
    like($out, qr/^  library +SQLite 3\.\d+/m, 'what it runs with');
    like($out, qr/^  memory +at worst, over all children: \d+\w* in caches of databases, /m, 'memory');
    is($server->sqlite('app', 'PRAGMA journal_mode'), 'delete', 'nothing was changed');
};

subtest 'the same for programs' => sub {
    my (undef, $out) = dry($GOOD);
    my ($facts, $exit) = json_of($GOOD);
    is($exit, 0, 'exit 0');
    ok($facts->{ok}, 'ok');
    like($out, qr/^mod_connpool: $facts->{errors} errors, $facts->{warnings} warning/m, 'the same sum');
    my %nouns = (servers => 'server', databases => 'database', upstreams => 'upstream', queries => 'query');
    my $count = 0;
    for my $kind (sort keys %nouns) {
        for my $one (@{$facts->{$kind}}) {
            my $text = section($out, "$nouns{$kind} $one->{name}");
            my @params = @{$one->{params} // []};
            for my $part ($one, @params) {
                while (my ($key, $setting) = each %{$part->{settings}}) {
                    my $from = $setting->{where} // ($setting->{from} eq 'default' ? 'default' : '?');
                    $count++;
                    like($text, qr/^ +\Q$key\E +\Q$setting->{text}\E +\[[^\]\n]*\Q$from\E[^\]\n]*\]$/m,
                        "$kind $one->{name}: $key");
                }
                for my $found (@{$part->{findings}}) {
                    my $line = $found->{severity} eq 'info'
                        ? qr/^ +\Q$found->{name}\E +\Q$found->{value}\E$/m
                        : qr/^ +$found->{severity}: \Q$found->{name}: $found->{value}\E$/m;
                    like($text, $line, "... $found->{name}");
                }
            }
        }
    }
    cmp_ok($count, '>', 90, "$count settings agree");
    my $app = named($facts->{databases}, 'app');
    is($app->{settings}{max}{value}, 10, 'a number');
    is($app->{settings}{busy}{value}, 5000, 'a duration');
    is($app->{settings}{busy}{unit}, 'ms', '... in ms');
    is($app->{settings}{cache}{value}, 512 * 1024, 'a size');
    ok(JSON::PP::is_bool($app->{settings}{readonly}{value}), 'a flag');
    is($facts->{upstreams}[0]{settings}{ca}{value}, undef, 'nothing is null');
    my $children = $facts->{module}{numbers}{children};
    cmp_ok($children, '>=', 3, 'children');
    is($app->{numbers}{connections}, 20 * $children, 'connections of all children');
    is($app->{numbers}{bytes}, 20 * 512 * 1024 * $children, 'their caches');
    is($facts->{module}{numbers}{database_connections}, 20 * $children, 'of all databases');
    is($facts->{module}{numbers}{upstream_connections}, 40 * $children, 'of all upstreams');
};

subtest 'limits over all children' => sub {
    my $limited = "ConnPoolDatabase app sqlite:\@DIR\@/db/app.db max=10 min=2 server-max=4\n";
    my $facts   = json_of($limited);
    my $app     = named($facts->{databases}, 'app');
    is($app->{settings}{'server-max'}{value}, 4, 'server-max=');
    is($app->{numbers}{connections}, 4, 'bounds the connections');
    is($app->{numbers}{bytes}, 4 * 512 * 1024, '... and their memory');
    is($facts->{module}{numbers}{database_connections}, 4, '... of all');
    my @found = grep { $_->{severity} eq 'warning' } @{$app->{findings}};
    like($found[0]{value}, qr/^min=2 in each of \d+ children are more than server-max=4/, 'and min=');
    my $upstreams = "ConnPoolHTTPMax 7\nConnPoolUpstream a http://127.0.0.1:9/ overflow-max=1\n"
        . "ConnPoolUpstream b http://127.0.0.1:9/ overflow=reject\n";
    $facts = json_of($upstreams);
    is($facts->{module}{numbers}{upstream_connections}, 8 * $facts->{module}{numbers}{children},
        'upstreams share ConnPoolHTTPMax');
    is(named(json_of($DB)->{databases}, 'app')->{settings}{'server-max'}{value}, undef, 'none by default');
};

subtest 'stdout is for the program' => sub {
    my ($exit, $out, $err) = dry($GOOD,
        defines => [qw(DUMP_CONNPOOL_JSON DUMP_VHOSTS DUMP_RUN_CFG DUMP_MODULES DUMP_CONNPOOL)]);
    is($exit, 0, 'exit 0');
    ok(eval { JSON::PP->new->utf8->decode($out) }, 'nothing but JSON') or diag($out);
    like($err, qr/VirtualHost configuration|ServerRoot/, 'other dumps are on stderr');
    like($err, qr/connpool_module/, '... all of them');
    like($err, qr/^query by_id at/m, '... ours for people, too');
    ($exit, $out, $err) = dry($GOOD, defines => [qw(DUMP_CONNPOOL DUMP_MODULES)]);
    like($out, qr/connpool_module.*^query by_id at/ms, 'without JSON all of it is on stdout');
    ($exit, $out, $err) = dry($GOOD, defines => []);
    is("$exit $out", '0 ', 'nothing is printed that nobody asks for');
};

subtest 'nothing there, or switched off' => sub {
    my $out = serves('', 'nothing is defined');
    like($out, qr/^  nothing +no server defines a ConnPoolDatabase/m, 'says so');
    my $facts = json_of('');
    is_deeply($facts->{databases}, [], 'an empty list');
    $out = serves("ConnPoolEngine Off\n$GOOD", 'engine off');
    like(section($out, 'server main'), qr/^  ConnPoolEngine +off +\[\S+:\d+\]$/m, 'off');
    like(section($out, 'server main'), qr/^  ConnPoolEngine Off +each request opens its connections/m, 'what that means');
    like(section($out, 'database app'), qr/^  open +a connection can be opened/m, 'looked at nevertheless');
    my $plain = ConnPoolTest->new(plain => 1, status => 0);
    my $text  = $plain->_write_conf('plain.conf', "<IfModule connpool_module>\nConnPoolEngine On\n</IfModule>\n");
    my ($exit, $said) = command($plain->httpd, '-t', '-d', $plain->dir, '-f', $text, '-D', 'DUMP_CONNPOOL');
    is($exit, 0, 'without the module: exit 0');
    is($said, "Syntax OK\n", '... and httpd knows of nothing');
    $plain->dismiss;
};

# --- where values come from ---------------------------------------------------

subtest 'directives, the environment, virtual hosts' => sub {
    my $conf = <<'CONF' . $GOOD;
ConnPoolHTTPMax 12
ConnPoolBatchMax 7
ConnPoolRateLimit 20/s
<VirtualHost *:81>
ServerName own.test
ConnPoolDBMax 3
ConnPoolHTTPPerHost 5
ConnPoolDatabase mine sqlite:@DIR@/db/app.db cache=2M
ConnPoolUpstream far http://127.0.0.1:8/ max=40
ConnPoolQuery mine_q mine "SELECT 1 AS one"
ConnPoolQuery theirs app "SELECT 2 AS two"
</VirtualHost>
<VirtualHost *:82>
ServerName plain.test
</VirtualHost>
CONF
    my $out = serves($conf, 'virtual hosts',
        env => {DB_POOL_SIZE => 6, HTTP_PER_HOST => 9, ENABLE_CONNECTION_POOLING => 'true'});
    my $main = section($out, 'server main');
    like($main, qr/^  ConnPoolHTTPMax +12 +\[\Q$DIR\E\/dry\.conf:\d+\]$/m, 'a directive');
    like($main, qr/^  ConnPoolDBMax +6 +\[environment variable DB_POOL_SIZE\]$/m, 'the environment');
    like($main, qr/^  ConnPoolEngine +on +\[environment variable ENABLE_CONNECTION_POOLING\]$/m, '... a flag');
    like($main, qr/^  ConnPoolMemory +20M +\[default\]$/m, 'a default');
    like($main, qr/^  ConnPoolBatchMax +7 +\[\S+:\d+\]$/m, 'of places');
    like($main, qr/^  ConnPoolRateLimit +20\/s +\[\S+:\d+\]$/m, 'a rate');
    my $own = section($out, 'server own.test:81');
    like($own, qr/^server own\.test:81 at \S+dry\.conf:\d+$/m, 'where a virtual host is');
    like($own, qr/^  ConnPoolHTTPMax +12 +\[inherited, \S+:\d+\]$/m, 'inherited');
    like($own, qr/^  ConnPoolDBMax +3 +\[\S+dry\.conf:\d+\]$/m, 'its own');
    like($own, qr/^  ConnPoolEngine +on +\[environment variable ENABLE_CONNECTION_POOLING\]$/m, 'the environment');
    like($own, qr/^  ConnPoolBatchMax +7 +\[inherited, \S+:\d+\]$/m, 'of places');
    like($own, qr/^  ConnPoolRateLimit +20\/s +\[inherited, \S+:\d+\]$/m, 'a rate');
    like($own, qr/^  databases +mine, app \(of the main server\)$/m, 'what it sees');
    my $plain = section($out, 'server plain.test:82');
    like($plain, qr/^  ConnPoolHTTPMax +12 +\[inherited, \S+:\d+\]$/m, 'a host without a directive');
    like($plain, qr/^  queries +by_id \(of the main server\), add \(of the main server\)$/m, '... sees the main server\'s');
    like(section($out, 'database app'), qr/^  max +6 +\[environment variable DB_POOL_SIZE\]$/m, 'a key by the environment');
    my $mine = section($out, 'database mine of own.test:81');
    like($mine, qr/^  max +3 +\[ConnPoolDBMax at \S+:\d+\]$/m, 'a key by its server');
    like($mine, qr/^  cache +2M +\[\S+dry\.conf:\d+\]$/m, 'a key that is written');
    like(section($out, 'upstream far of own.test:81'), qr/^  max +5 +\[ConnPoolHTTPPerHost at \S+:\d+\]$/m,
        'a limit that is lower than what is written');
    like(section($out, 'upstream up'), qr/^  max +9 +\[environment variable HTTP_PER_HOST\]$/m, '... by the environment');
    like(section($out, 'query theirs of own.test:81'), qr/^  database +app /m, 'a query of the main server\'s database');
    my $facts = json_of($conf, env => {DB_POOL_SIZE => 6});
    my $max   = named($facts->{servers}, 'main')->{settings}{ConnPoolDBMax};
    is($max->{from},     'environment',  'JSON: from');
    is($max->{variable}, 'DB_POOL_SIZE', '... which');
    my $inherited = named($facts->{servers}, 'own.test:81', 'own.test:81')->{settings}{ConnPoolHTTPMax};
    ok($inherited->{inherited}, '... inherited');
    like($inherited->{where}, qr/dry\.conf:\d+$/, '... from where');
    is(named($facts->{databases}, 'mine', 'own.test:81')->{settings}{max}{by}, 'ConnPoolDBMax', '... by what');
};

subtest 'no secrets' => sub {
    my $conf = <<'CONF';
ConnPoolUpstream up "http://127.0.0.1:9/path?key=s3cr3t&x=1" headers=X-Key,Accept
CONF
    my ($exit, $out, $err) = dry($conf);
    unlike($out . $err, qr/s3cr3t/, 'a query');
    like($out, qr{^  url +http://127\.0\.0\.1:9/path\?\(hidden\) }m, 'the rest is shown');
    like($out, qr/^  headers +X-Key,Accept /m, 'names of headers are none');
    (undef, $out) = dry($conf, defines => ['DUMP_CONNPOOL_JSON']);
    unlike($out, qr/s3cr3t/, 'nor as JSON');
};

# --- databases that could not serve -------------------------------------------

my $Q = "ConnPoolQuery q app \"SELECT 1 AS one\"\n";

subtest 'files' => sub {
    fails("ConnPoolDatabase gone sqlite:\@DIR\@/db/gone.db\nConnPoolQuery q gone \"SELECT 1 AS one\"\n",
        'database gone', qr/^  error: open: .*No such file or directory/m, 'a missing file');
    ok(!-e "$DIR/db/gone.db", '... which is not made');
    fails("ConnPoolDatabase dir sqlite:\@DIR\@/db\n", 'database dir', qr/^  error: open: .*directory/m, 'a directory');
    $server->write_file('db/text.db', "This is no database, but a text that is long enough.\n" x 20);
    fails("ConnPoolDatabase text sqlite:\@DIR\@/db/text.db\n", 'database text',
        qr/^  error: open: .*not a database/m, 'another file');
    fails($DB . "ConnPoolDatabase gone sqlite:\@DIR\@/db/gone.db\n$Q", 'database gone',
        qr/^  error: open:/m, 'one of two');
    my (undef, $out) = dry($DB . "ConnPoolDatabase gone sqlite:\@DIR\@/db/gone.db\n$Q");
    like(section($out, 'database app'), qr/^  open +a connection can be opened/m, '... the other can be opened');
};

subtest 'rights of the server\'s user' => sub {
    plan skip_all => 'needs root' if !$IS_ROOT;
    my $copy = sub {
        my ($name, $mode) = @_;
        mkdir "$DIR/$name";
        command('cp', "$DIR/db/app.db", "$DIR/$name/app.db");
        chmod $mode, "$DIR/$name/app.db";
        return "ConnPoolDatabase app sqlite:\@DIR\@/$name/app.db";
    };
    my $db = $copy->('unread', 0600);
    my ($out) = fails("$db\n$Q", 'database app', qr/^  error: open: .*Permission denied/m, 'a file of root');
    like($out, qr/^  file +\S+, \d+ bytes, mode 0600, owner root, group root: may be neither read nor written$/m,
        '... its rights as the user has them');
    like(section($out, 'query q'), qr/^  prepare +not tried: its database cannot be opened$/m, '... and its query');
    fails("$db readonly=on\n$Q", 'database app', qr/^  error: open: .*Permission denied/m, '... readonly=on');

    $db = $copy->('readable', 0644);
    fails("$db\n$Q", 'database app', qr/^  error: rights: .*must be writable.*Permission denied; or say readonly=on/m,
        'a file and directory that cannot be written');
    serves("$db readonly=on\n$Q", '... readonly=on');

    $db = $copy->('fixed', 0666);
    ($out) = fails("$db\nConnPoolQuery w app \"DELETE FROM small\" write=on\n", 'database app',
        qr/^  error: rights: .*Permission denied/m, 'a directory that cannot be written');
    like($out, qr/^  directory +\S+fixed, mode 0755, owner root, group root: may be read, not written$/m, '... its rights');

    mkdir "$DIR/closed", 0700;
    command('cp', "$DIR/db/app.db", "$DIR/closed/app.db");
    fails("ConnPoolDatabase app sqlite:\@DIR\@/closed/app.db\n", 'database app',
        qr/^  error: open: .*Permission denied/m, 'a directory that cannot be entered');

    my ($user) = grep { defined getpwnam $_ } qw(www-data nobody);
    my $said = serves("ConnPoolDatabase app sqlite:\@DIR\@/readable/app.db readonly=on\n$Q", 'not as root', before => [qw(setpriv --reuid=65533 --regid=65533 --clear-groups)]);
    like($said, qr/^  warning: user: files were looked at as \S+ \(uid 65533\), not as the server's user $user: run this as root/m,
        '... a warning') if 0 + (getpwnam $user)[2] != 65533;
};

subtest 'nothing is left, nothing is changed' => sub {
    $server->make_sqlite('wal', 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);');
    unlink "$DIR/db/wal.db-wal", "$DIR/db/wal.db-shm";
    my $conf = "ConnPoolDatabase app sqlite:\@DIR\@/db/wal.db\nConnPoolQuery q app \"SELECT a FROM t\"\n"
        . "ConnPoolQuery w app \"INSERT INTO t VALUES (2)\" write=on\n";
    my @before = map { "$_ " . (stat $_)[7] . ' ' . (stat $_)[9] } sort glob "$DIR/db/*";
    my $out    = serves($conf, 'a file in WAL mode');
    my @after  = map { "$_ " . (stat $_)[7] . ' ' . (stat $_)[9] } sort glob "$DIR/db/*";
    like(section($out, 'database app'), qr/^  journal mode +wal$/m, 'its mode');
    is_deeply(\@after, \@before, 'the directory is as it was');
    is($server->sqlite('wal', 'SELECT count(*) FROM t'), 1, 'no row more');
};

subtest 'a log' => sub {
    my $pid = open(my $shell, '|-', 'sqlite3', '-batch', '-init', '/dev/null', "$DIR/db/wal.db") // die "sqlite3: $!";
    $shell->autoflush(1);
    print {$shell} "BEGIN; INSERT INTO t SELECT randomblob(100000); COMMIT;\n";
    ok(ConnPoolTest::await(sub { -s "$DIR/db/wal.db-wal" }), 'a log with something in it');
    $server->_give_to_server($_) for glob "$DIR/db/wal.db*";
    my $size = -s "$DIR/db/wal.db-wal";
    my $out  = serves("ConnPoolDatabase app sqlite:\@DIR\@/db/wal.db\n", 'somebody else has it open');
    like(section($out, 'database app'), qr/^  log size +$size bytes$/m, 'its size');
    like(section($out, 'database app'), qr/^  log index +\S+-shm, \d+ bytes/m, 'its index');
    is(-s "$DIR/db/wal.db-wal", $size, 'it is left alone');
    $out = serves("ConnPoolDatabase app sqlite:\@DIR\@/db/wal.db immutable=on\n", 'immutable=on');
    like($out, qr/^  warning: log size: what the write-ahead log holds is not seen with immutable=on$/m, 'a warning');
    close $shell;
};

subtest 'somebody keeps it locked' => sub {
    my $pid = open(my $shell, '|-', 'sqlite3', '-batch', '-init', '/dev/null', "$DIR/db/app.db") // die "sqlite3: $!";
    $shell->autoflush(1);
    print {$shell} "BEGIN EXCLUSIVE; CREATE TABLE lock(a);\n.shell touch $DIR/run/locked\n";
    ok(ConnPoolTest::await(sub { -e "$DIR/run/locked" }), 'locked');
    my ($exit, $out, undef, $took) = dry($DB . $Q);
    is($exit, 1, 'exit 1');
    like(section($out, 'database app'), qr/^  error: open: .*(?:busy|locked)/m, 'why');
    cmp_ok($took, '<', 6 * slowness(), 'it does not wait for long');
    print {$shell} "ROLLBACK;\n";
    close $shell;
    serves($DB . $Q, 'afterwards');
};

# --- queries ------------------------------------------------------------------

subtest 'queries that do not fit' => sub {
    for my $case (['SELECT * FROM nope', qr/no such table: nope/], ['SELECT nope FROM big', qr/no such column: nope/],
        ['SELECT nope.id FROM big', qr/no such column/], ['SELECT * FROM sqlite_stmt', qr/not allowed|no such/])
    {
        my ($sql, $why) = @$case;
        fails($DB . "ConnPoolQuery q app \"$sql\"\n", 'query q', qr/^  error: prepare: .*$why/m, $sql);
    }
    fails($DB . "ConnPoolQuery q app \"INSERT INTO nope VALUES (1)\" write=on\n", 'query q',
        qr/^  error: prepare: .*no such table: nope/m, 'a write');
    my $host = "<VirtualHost *:81>\nServerName v\nConnPoolQuery q app \"SELECT * FROM nope\"\n</VirtualHost>\n";
    fails($DB . $host, 'query q of v:81', qr/^  error: prepare: .*no such table: nope/m, 'in a virtual host');
    my $trusting = "ConnPoolDatabase app sqlite:\@DIR\@/db/app.db schema=trusted\n"
        . "ConnPoolQuery q app \"SELECT someday(id) AS x FROM small\"\n";
    like(serves($trusting, 'a function that a module may bring'), qr/^  warning: prepare: .*no such function: someday/m,
        'a warning');
};

# A query's warnings.
sub scan {
    my ($sql, $more) = @_;
    my (undef, $out) = dry($DB . "ConnPoolQuery q app \"$sql\" " . ($more // '') . "\n"
            . join '', map { "ConnPoolParam q $_ integer\n" } $sql =~ /:(\w+)/g);
    my @warnings = section($out, 'query q') =~ /^  warning: full scan: each run reads all of table (.*): it wants an index$/mg;
    diag($out) if $out !~ /^  plan /m;
    return join '; ', sort @warnings;
}

subtest 'plans' => sub {
    my $big = 'big (about 12345 rows)';
    is(scan('SELECT * FROM big WHERE plain = :x'),               $big, 'a column without an index');
    is(scan('SELECT * FROM big WHERE keyed = :x'),               '',   'a column with one');
    is(scan('SELECT * FROM big WHERE id = :x'),                  '',   'the key');
    is(scan('SELECT * FROM big WHERE plain = :x LIMIT 5'),       $big, 'it looks for some');
    is(scan('SELECT * FROM small WHERE plain = :x'),             '',   'a table that is not large');
    is(scan('SELECT * FROM sparse WHERE plain = :x'),            '',   'large keys are no rows');
    is(scan('SELECT count(*) AS n FROM big'),                    $big, 'all are counted');
    is(scan('SELECT * FROM big'),                                $big, 'all are asked for');
    is(scan('SELECT * FROM big ORDER BY plain LIMIT 3'),         $big, 'all are sorted');
    is(scan('SELECT * FROM big ORDER BY id DESC LIMIT 3'),       '',   'the last few');
    is(scan('SELECT * FROM big ORDER BY id LIMIT :n'),           '',   'the first few');
    is(scan('SELECT * FROM big ORDER BY keyed LIMIT :n'),        '',   '... by an index');
    is(scan('SELECT max(id) AS x FROM big'),                     '',   'the largest');
    is(scan('SELECT * FROM norow WHERE plain = :x'),             'norow (10000 rows or more)', 'a table without rowids');
    is(scan('SELECT * FROM norow WHERE id = :x'),                '',   '... by its key');
    is(scan('SELECT * FROM some WHERE id > 0 AND plain = 4'),    '',   'a view by a key');
    is(scan('SELECT * FROM some WHERE plain = :x'), 'big, here called b (about 12345 rows)', 'a view');
    is(scan('SELECT * FROM big AS b WHERE b.plain = :x'), 'big, here called b (about 12345 rows)', 'by another name');
    is(scan('SELECT * FROM big \"odd name\" WHERE \"odd name\".plain = :x'),
        'big, here called odd name (about 12345 rows)', '... that is odd');
    is(scan('SELECT * FROM small s, big b WHERE b.keyed = s.plain'), '', 'joined by an index');
    is(scan('SELECT * FROM small s JOIN big b ON b.plain = s.plain'), $big, 'joined without one');
    is(scan('SELECT * FROM small s LEFT JOIN big b ON b.plain > s.plain'), $big, 'joined on the left');
    is(scan('SELECT * FROM \"2026 days\" WHERE plain = :x'), '2026 days (about 10500 rows)', 'a name that begins with a number');
    is(scan('SELECT * FROM (VALUES (1), (2))'),                  '', 'constants');
    is(scan('SELECT * FROM big x, big y WHERE x.plain = :x AND y.id = x.keyed'),
        'big, here called x (about 12345 rows)', 'with itself');
    is(scan('SELECT * FROM big WHERE plain = 1 UNION SELECT * FROM norow WHERE plain = 2'),
        "$big; norow (10000 rows or more)", 'two');
    is(scan('SELECT * FROM small WHERE plain IN (SELECT plain FROM big)'), $big, 'within another');
    is(scan("SELECT * FROM words WHERE text MATCH 'a'"),         '', 'full-text');
    is(scan('SELECT 1 AS one'),                                  '', 'no table');
    is(scan('UPDATE big SET plain = 1 WHERE plain = :x', 'write=on'), $big, 'a write');
    is(scan('DELETE FROM big WHERE id = :x', 'write=on'),        '', '... by the key');
    $server->sqlite('app', 'ANALYZE');
    is(scan('SELECT * FROM norow WHERE plain = :x'), 'norow (about 11111 rows)', 'as ANALYZE has it');
    my $facts = json_of($DB . "ConnPoolQuery q app \"SELECT * FROM big WHERE plain = 1\"\n");
    my @found = grep { $_->{name} eq 'full scan' } @{$facts->{queries}[0]{findings}};
    is($found[0]{severity}, 'warning', 'JSON: a warning');
    ok($facts->{ok}, '... is no error');
};

subtest 'pages' => sub {
    my $out = serves($DB . "ConnPoolQuery q app \"SELECT id, keyed FROM big\" page=id\n"
            . "ConnPoolQuery r app \"SELECT id, plain FROM big\" page=plain,id\n", 'pages');
    my $q = section($out, 'query q');
    like($q, qr/^  page +the first one\n(?:  plan .*\n)+  page +those behind it\n(?:  plan .*\n)*  plan +SEARCH big /m, 'both plans');
    unlike($q, qr/warning/, 'by the key');
    like(section($out, 'query r'), qr/^  page +the first one\n(?:  plan .*\n)*  warning: full scan: .* table big/m, 'without an index');
    like($out, qr/^  parameter after at \S+:\d+\n    type +text +\[page= at \S+:\d+\]$/m, 'the parameters that come with them');
    fails($DB . "ConnPoolQuery q app \"SELECT nope AS id FROM big\" page=id\n", 'query q',
        qr/^  error: prepare: .*no such column: nope/m, 'pages of what is not there');
};

# --- upstreams ----------------------------------------------------------------

my $lab = ConnPoolFaults->new;
my %LAB = $lab->env;

subtest 'upstreams' => sub {
    my $none = $lab->inject(call => 'getaddrinfo', name => 'unknown.lab', error => 'EAI_NONAME');
    my $here = $lab->inject(call => 'getaddrinfo', name => 'here.lab',    loopback => 1);
    my ($exit, $out) = dry("ConnPoolUpstream up https://unknown.lab/ \nConnPoolUpstream fine http://127.0.0.1:9/\n", env => \%LAB);
    is($exit, 1, 'a name that is none: exit 1');
    like(section($out, 'upstream up'), qr/^  error: address: the name unknown\.lab has no address: /m, 'why');
    like(section($out, 'upstream fine'), qr/^  address +127\.0\.0\.1$/m, 'the other is fine');
    ($exit, $out) = dry("ConnPoolUpstream up https://here.lab/\n", env => \%LAB);
    is($exit, 1, 'an address that is refused: exit 1');
    like(section($out, 'upstream up'), qr/^  address +refused: 127\.0\.0\.1 \(loopback\)\n  error: address: none of its addresses/m, 'why');
    ($exit, $out) = dry("ConnPoolUpstream up https://here.lab/ private=allow\n", env => \%LAB);
    is($exit, 0, 'one that is allowed') or diag($out);
    like(section($out, 'upstream up'), qr/^  address +127\.0\.0\.1$/m, 'it');
    ($exit, $out) = dry("ConnPoolUpstream up http://here.lab/\n", env => \%LAB);
    like(section($out, 'upstream up'), qr/^  warning: reach: http: to a name without private=allow and plaintext=allow/m, 'http: to a name');
    $lab->heal($none, 'names');
    $lab->end($here);
};

subtest 'names that take their time' => sub {
    my $slow = $lab->inject(call => 'getaddrinfo', name => 'slow.lab', loopback => 1, delay => 600);
    my $conf = join '', map { "ConnPoolUpstream up$_ https://n$_.slow.lab/ private=allow\n" } 1 .. 30;
    my ($exit, $out, undef, $took) = dry($conf . "ConnPoolUpstream short https://s.slow.lab/ connect=100ms\n$DB$Q", env => \%LAB);
    is($exit, 1, 'exit 1');
    my @late = $out =~ /^  error: look: its name was not resolved within 2s$/mg;
    is(scalar @late, 30, 'all are late');
    like(section($out, 'upstream short'), qr/^  error: look: its name was not resolved within 100ms$/m, 'connect= is shorter');
    like(section($out, 'database app'), qr/^  open +a connection can be opened/m, 'the database was looked at');
    cmp_ok($took, '<', 6 * slowness(), 'all at once');
    $lab->end($slow);
};

subtest 'storage that does not answer' => sub {
    $server->make_sqlite('stuck', 'CREATE TABLE t(a)');
    my $stuck = $lab->inject(call => 'pread', name => 'stuck.db', delay => 600);
    my ($exit, $out, undef, $took) = dry("ConnPoolDatabase stuck sqlite:\@DIR\@/db/stuck.db\n$DB$Q", env => \%LAB);
    is($exit, 1, 'exit 1');
    like(section($out, 'database stuck'), qr/^  error: look: the look at it did not end in time/m, 'why');
    like(section($out, 'database stuck'), qr/^  file +\S+stuck\.db, /m, 'what was known before');
    like(section($out, 'query q'), qr/^  plan /m, 'the other was looked at');
    cmp_ok($took, '<', 10 + 5 * slowness(), 'it ends');
    $lab->heal($stuck, 'the storage');
};

subtest 'certificates' => sub {
    plan skip_all => 'needs root' if !$IS_ROOT;
    $server->write_file("run/$_.pem", "PEM\n") for qw(ca cert key);
    chmod 0600, "$DIR/run/key.pem";
    my $conf = 'ConnPoolUpstream up https://127.0.0.1:9/ ca=@DIR@/run/ca.pem cert=@DIR@/run/cert.pem key=@DIR@/run/key.pem' . "\n";
    my ($out) = fails($conf, 'upstream up', qr/^  error: key: \S+key\.pem cannot be read by the server's user \(uid \d+\): Permission denied$/m,
        'a key of root alone');
    like($out, qr/^  cert +\S+cert\.pem can be read$/m, '... the certificate can be read');
    chmod 0644, "$DIR/run/key.pem";
    serves($conf, '... after chmod');
};

# --- other drivers ------------------------------------------------------------

subtest 'a driver that is a module' => sub {
    my $conf = "LoadModule connpool_script_module " . ConnPoolTest::build_dir() . "/t/mod_connpool_script.so\n"
        . "ConnPoolDatabase d script:word down=\@DIR\@/run/down\nConnPoolQuery q d \"rows 2\"\nConnPoolQuery slow d \"sleep 3\"\n";
    my $out = serves($conf, 'a script');
    like($out, qr/^  library +a script$/m, 'its library');
    like(section($out, 'database d'), qr/^  down +\S+\/run\/down +\[\S+:\d+\]$/m, 'its keys');
    like(section($out, 'query q'), qr/^  plan +rows$/m, 'its plan');
    like(section($out, 'query slow'), qr/^  warning: plan: sleep$/m, 'its warning');
    $server->write_file('run/down', '');
    fails($conf, 'database d', qr/^  error: open: .*the script says so$/m, 'it cannot be opened');
    unlink "$DIR/run/down";
};

subtest 'beside a server that runs' => sub {
    $server->conf($DB . $Q);
    $server->start;
    serves($DB . $Q, 'a dry run');
    $server->done;
};

done_testing;
