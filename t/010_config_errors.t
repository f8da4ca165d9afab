#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# What configtest refuses, and in which words: the directive, the value, and
# what is allowed. And that it touches no database.
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

# The configuration is refused, and the text says this.
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

# ---------------------------------------------------------------------------

# All numbers of all directives: key, kind, and the allowed range as written
# in the message. Bounds are tried, too.
my @NUMBERS = (
    ['ConnPoolDatabase other sqlite:x.db', 'max',          int      => 1, 1000],
    ['ConnPoolDatabase other sqlite:x.db max=1000', 'min', int      => 0, 1000],
    ['ConnPoolDatabase other sqlite:x.db', 'queue',        int      => 0, 100_000],
    ['ConnPoolDatabase other sqlite:x.db', 'overflow-max', int      => 0, 1000],
    ['ConnPoolDatabase other sqlite:x.db', 'like',         int      => 1, 50_000],
    ['ConnPoolDatabase other sqlite:x.db', 'acquire',      duration => '0s', '1h'],
    ['ConnPoolDatabase other sqlite:x.db', 'idle',         duration => '0s', '168h'],
    ['ConnPoolDatabase other sqlite:x.db', 'lifetime',     duration => '0s', '168h'],
    ['ConnPoolDatabase other sqlite:x.db', 'check',        duration => '0s', '168h'],
    ['ConnPoolDatabase other sqlite:x.db', 'leak',         duration => '0s', '168h'],
    ['ConnPoolDatabase other sqlite:x.db', 'busy',         duration => '0s', '1h'],
    ['ConnPoolDatabase other sqlite:x.db', 'timeout',      duration => '1ms', '1h'],
    ['ConnPoolDatabase other sqlite:x.db', 'cache',        size     => '16K', '1G'],
    ['ConnPoolDatabase other sqlite:x.db', 'length',       size     => '1K', '1G'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'max',          int => 1, 10_000],
    ['ConnPoolUpstream other http://127.0.0.1/', 'perhost',      int => 1, 10_000],
    ['ConnPoolUpstream other http://127.0.0.1/', 'queue',        int => 0, 100_000],
    ['ConnPoolUpstream other http://127.0.0.1/', 'redirects',    int => 0, 10],
    ['ConnPoolUpstream other http://127.0.0.1/', 'retry',        int => 0, 10],
    ['ConnPoolUpstream other http://127.0.0.1/', 'overflow-max', int => 0, 1000],
    ['ConnPoolUpstream other http://127.0.0.1/', 'acquire',   duration => '0s', '1h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'connect',   duration => '1ms', '1h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'read',      duration => '1ms', '1h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'total',     duration => '1ms', '24h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'keepalive', duration => '0s', '168h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'lifetime',  duration => '0s', '168h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'leak',      duration => '0s', '168h'],
    ['ConnPoolUpstream other http://127.0.0.1/', 'max-body',  size => '1', '1024G'],
    ['ConnPoolQuery other events "SELECT 1"', 'max-rows',  int => 1, 1_000_000_000],
    ['ConnPoolQuery other events "SELECT 1"', 'max-bytes', size => '1', '1024G'],
    ['ConnPoolQuery other events "SELECT 1"', 'timeout',   duration => '1ms', '1h'],
    ['ConnPoolQuery other events "SELECT 1" ttl=1s', 'stale', duration => '0s', '168h'],
    ['ConnPoolQuery other events "SELECT 1" ttl=1s', 'stale-if-error', duration => '0s', '168h'],
    ['ConnPoolCacheLocal', undef, size => '64K', '1024G'],
    ["ConnPoolQuery other events \"SELECT :a\"\nConnPoolParam other a text",
        'maxlen', size => '1', '1M'],
    ['ConnPoolHTTPMax',            undef, int      => 1, 10_000],
    ['ConnPoolHTTPPerHost',        undef, int      => 1, 10_000],
    ['ConnPoolDBMax',              undef, int      => 1, 1000],
    ['ConnPoolHTTPConnectTimeout', undef, duration => '1ms', '1h'],
    ['ConnPoolHTTPReadTimeout',    undef, duration => '1ms', '1h'],
    ['ConnPoolHTTPKeepAlive',      undef, duration => '0s', '168h'],
);

my %ALLOWED = (
    int      => 'a whole number from %s to %s',
    duration => 'a duration from %s to %s (units ms, s, min, h)',
    size     => 'a size from %s to %s (units K, M, G)',
);

# No one takes these.
my @NEVER = ('-1', '9223372036854775808', '1e3', '5x');
my %BESIDES = (
    int      => ['10k', '4294967297'],
    duration => ['2147483648', '5m'],
    size     => ['10KB', '8796093022209'],
);

for my $case (@NUMBERS) {
    my ($line, $key, $kind, $min, $max) = @$case;
    my ($directive) = $line =~ /(ConnPool\w+)[^\n]*\z/;
    my $allowed = sprintf $ALLOWED{$kind}, $min, $max;
    my $prefix  = defined $key ? "$line $key=" : "$line ";
    subtest $directive . (defined $key ? " $key" : '') => sub {
        my @values = (@NEVER, @{$BESIDES{$kind}});
        push @values, '0' if $min =~ /^1/;
        for my $value (@values) {
            refused("$prefix$value",
                qr/\b$directive\b.*'\Q$value\E' is not \Q$allowed\E/, $value);
        }
        refused($prefix . '""',
            qr/\b$directive\b(?:.*'' is not \Q$allowed\E| takes one argument)/,
            'nothing');
        if (($key // '') eq 'min') {
            accepted("$prefix$max", $max);
        }
        else {
            accepted($_, $_) for "$prefix$min", "$prefix$max";
        }
    };
}

# ---------------------------------------------------------------------------

subtest 'flags and choices' => sub {
    my $on_off = qr/is not on or off/;
    for my $directive (qw(ConnPoolEngine ConnPoolHTTPPool ConnPoolDBPool
        ConnPoolEventLoop ConnPoolHTTPCleanup))
    {
        refused("$directive maybe", qr/$directive: 'maybe' $on_off/);
        refused("$directive 1",     qr/$directive: '1' $on_off/);
        refused("$directive",       qr/$directive takes one argument/);
        accepted("$directive oFF");
    }
    refused('ConnPoolServerStatus all',
        qr/ConnPoolServerStatus: 'all' is not one of off, on, full/);
    accepted('ConnPoolServerStatus Full');
    my @choices = (
        ['Database d sqlite:x', 'readonly=1', qr/'1' $on_off/],
        ['Database d sqlite:x', 'synchronous=extra',
            qr/'extra' is not one of off, normal, full/],
        ['Database d sqlite:x', 'overflow=maybe',
            qr/'maybe' is not one of reject, direct/],
        ['Upstream u http://127.0.0.1/', 'http2=yes', qr/'yes' $on_off/],
        ['Upstream u http://127.0.0.1/', 'private=yes',
            qr/'yes' is not one of refuse, allow/],
        ['Upstream u http://127.0.0.1/', 'plaintext=on',
            qr/'on' is not one of refuse, allow/],
        ['Upstream u http://127.0.0.1/', 'overflow=',
            qr/'' is not one of reject, direct/],
        ['Upstream u http://127.0.0.1/', 'ca=/nonexistent/ca.pem',
            qr{'/nonexistent/ca.pem' is not a file}],
        ['Upstream u http://127.0.0.1/', 'cert=@DIR@', qr/is not a file/],
        ['Upstream u http://127.0.0.1/', 'headers=Expect',
            qr/'Expect' cannot be handed on to an upstream/],
        ['Upstream u http://127.0.0.1/', 'headers=Host',
            qr/'Host' cannot be handed on/],
        ['Upstream u http://127.0.0.1/', 'headers=X-A,Content-Length',
            qr/'Content-Length' cannot be handed on/],
        ['Upstream u http://127.0.0.1/', '"headers=X A"',
            qr/'X A' is not a header's name/],
        ['Query q events "SELECT 1"', 'write=yes', qr/'yes' $on_off/],
        ['Query q events "SELECT 1"', 'format=xml',
            qr/'xml' is not one of objects, arrays, object, value, ndjson, csv, json, raw/],
        ['Query q events "SELECT 1"', 'methods=TRACE',
            qr/'TRACE' is not one of GET, POST, PUT, PATCH, DELETE/],
        ['Query q events "SELECT 1"', 'methods=', qr/no method is named/],
    );
    for my $case (@choices) {
        my ($definition, $option, $pattern) = @$case;
        my ($directive, $name) = split ' ', $definition;
        refused("ConnPool$definition $option",
            qr/ConnPool$directive $name: .*$pattern/s);
    }
    accepted('ConnPoolDatabase d sqlite:x READONLY=On overflow=REJECT',
        'in any case');
};

subtest 'keys and words' => sub {
    refused('ConnPoolDatabase d sqlite:x mxa=1',
        qr/ConnPoolDatabase d: unknown key 'mxa'; allowed are max, min, server-max, acquire/);
    refused('ConnPoolUpstream u http://127.0.0.1/ timeout=1',
        qr/ConnPoolUpstream u: unknown key 'timeout'; allowed are max, perhost/);
    refused('ConnPoolQuery q events "SELECT 1" rows=1',
        qr/ConnPoolQuery q: unknown key 'rows'; allowed are write, methods/);
    refused('ConnPoolParam by_id id integer size=1',
        qr/ConnPoolParam by_id.*(?:unknown key 'size'|declared twice)/);
    refused('ConnPoolDatabase d sqlite:x max=1 min=0 max=2',
        qr/ConnPoolDatabase d: max: given twice/);
    refused('ConnPoolDatabase d sqlite:x max=1 MAX=2',
        qr/ConnPoolDatabase d: max: given twice/, 'twice, in another case');
    refused('ConnPoolDatabase d sqlite:x fast',
        qr/ConnPoolDatabase d: 'fast' is not of the form key=value/);
    refused('ConnPoolDatabase d sqlite:x =1', qr/'=1' is not of the form/);
    refused('ConnPoolDatabase d', qr/ConnPoolDatabase: too few words; write/);
    refused('ConnPoolDatabase',   qr/ConnPoolDatabase: too few words; write/);
    refused('ConnPoolQuery q events', qr/ConnPoolQuery: too few words; write/);
    refused('ConnPoolParam by_id', qr/ConnPoolParam: too few words; write/);
    refused('ConnPoolQuery q events "SELECT :a"' . "\nConnPoolParam q a integer min=1 required",
        qr/ConnPoolParam q: a: write required in front of the keys/);
    refused('ConnPoolUpstream u', qr/ConnPoolUpstream: too few words; write/);
    refused('ConnPoolQuery q events "SELECT 1',
        qr/ConnPoolQuery: a quote is not closed/);
    for my $name ('1st', '-x', 'a/b', 'a b', 'ä', 'x' x 65, '') {
        refused("ConnPoolDatabase \"$name\" sqlite:x",
            qr/ConnPoolDatabase: '.*' is not a name \(a letter or _/,
            "the name '$name'");
    }
    accepted('ConnPoolDatabase ' . 'x' x 64 . ' sqlite:x', '64 letters');
};

subtest 'names' => sub {
    refused('ConnPoolDatabase events sqlite:x',
        qr/ConnPoolDatabase events: this name is defined twice in this server/);
    refused('ConnPoolUpstream up http://127.0.0.1/',
        qr/ConnPoolUpstream up: this name is defined twice in this server/);
    refused('ConnPoolQuery by_id events "SELECT 1"',
        qr/ConnPoolQuery by_id: this name is defined twice in this server/);
    refused('ConnPoolUpstream events http://127.0.0.1/',
        qr/ConnPoolUpstream events: .*defined twice/,
        'a database and an upstream: both name a pool');
    refused('ConnPoolQuery up events "SELECT 1"',
        qr/ConnPoolQuery up: .*defined twice/,
        'a query and an upstream: ConnPoolServe names either');
    accepted('ConnPoolQuery events events "SELECT 1"',
        'a query named as its database');
    accepted("<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolDatabase events "
            . "sqlite:x\n</VirtualHost>", 'the same name in another server');
    refused('ConnPoolQuery q nothing "SELECT 1"',
        qr/ConnPoolQuery q: database 'nothing' is not defined/);
    refused('ConnPoolQuery q up "SELECT 1"',
        qr/ConnPoolQuery q: database 'up' is not defined/, 'an upstream');
    refused('ConnPoolParam nothing id integer',
        qr/ConnPoolParam nothing: no such query is defined above/);
    refused("<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolParam by_id x\n"
            . '</VirtualHost>',
        qr/ConnPoolParam by_id: no such query is defined above in this server/,
        'a parameter for the query of another server');
    refused("<Location /x>\nConnPoolServe nothing\n</Location>",
        qr/ConnPoolServe: neither a query nor an upstream is named 'nothing'/);
    refused("<Location /x>\nSetHandler connpool-query\nConnPoolServe by_id by_id"
            . "\n</Location>", qr/ConnPoolServe: connpool-query serves one name/);
    refused("<Location /x>\nSetHandler connpool-query\nConnPoolServe up\n"
            . '</Location>', qr/connpool-query serves queries, and 'up' is/);
    refused("<Location /x>\nSetHandler connpool-fetch\nConnPoolServe by_id\n"
            . '</Location>', qr/connpool-fetch serves upstreams, and 'by_id' is/);
    refused("<Location /x>\nConnPoolServe by_id nothing\n</Location>",
        qr/'nothing'/, 'the second name');
    refused("<Location /x>\nConnPoolServe events\n</Location>",
        qr/neither a query nor an upstream is named 'events'/, 'a database');
    refused("<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolQuery own events "
            . "\"SELECT 1\"\n</VirtualHost>\n<Location /x>\nConnPoolServe own\n"
            . '</Location>', qr/is named 'own'/, 'one of another server');
    accepted("<VirtualHost 127.0.0.1:\@PORT\@>\n<Location /x>\n"
            . "ConnPoolServe by_id up\n</Location>\n</VirtualHost>",
        'those of the main server');
};

subtest 'batches' => sub {
    my $serve = sub {
        my ($names, $more) = @_;
        return "<Location /x>\nSetHandler connpool-batch\n"
            . ($more // '') . "\nConnPoolServe $names\n</Location>";
    };
    accepted($serve->('by_id up by_id'), 'queries and upstreams together');
    refused($serve->('by_id events'), qr/is named 'events'/, 'a database');
    refused(
        "<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolUpstream by_id http://127.0.0.1/\n"
            . $serve->('by_id') . "\n</VirtualHost>",
        qr/ConnPoolServe: 'by_id' is both a query and an upstream/,
        'ambiguous'
    );
    my $many = join ' ', ('by_id') x 21;
    refused($serve->($many),
        qr/ConnPoolServe: 21 names are more than ConnPoolBatchMax 20/);
    accepted($serve->($many, 'ConnPoolBatchMax 21'), 'more where it is allowed');
    accepted('ConnPoolBatchMax 21' . "\n" . $serve->($many), 'in the server');
    accepted("<Location />\nConnPoolBatchMax 30\n</Location>\n"
            . $serve->($many), 'perhaps in a place around it');
    refused("ConnPoolBatchMax 2\n" . $serve->('by_id by_id by_id'),
        qr/3 names are more than ConnPoolBatchMax 2/);
    refused("ConnPoolBatchMax 30\n" . $serve->('up up', 'ConnPoolBatchMax 1'),
        qr/2 names are more than ConnPoolBatchMax 1/, 'the place decides');
    refused("ConnPoolBatchMax $_", qr/ConnPoolBatchMax: .*1.*1000/, "Max $_")
        for 0, 1001, -1, 'x';
    refused("ConnPoolRateLimit $_", qr/ConnPoolRateLimit: .*(?:rate|burst|whole number|key)/, "RateLimit $_")
        for qw(0/s 20 20/d -1/s 1000001/s s /s 1.5/s 20/sec), '20/s 40',
        '20/s burst=0', '20/s burst=x', '20/s bursts=3', 'none burst=3';
    refused("ConnPoolUpstream r http://127.0.0.1/ rate=$_",
        qr/ConnPoolUpstream r: rate=?.*a rate/, "rate=$_")
        for qw(0/s 20 x);
    refused("ConnPoolBatchParallel $_", qr/ConnPoolBatchParallel: .*1.*100/,
        "Parallel $_")
        for 0, 101;
    refused("ConnPoolBatchBody $_", qr/ConnPoolBatchBody: /, "Body $_")
        for 0, '65M', 'x';
};

subtest 'databases and upstreams' => sub {
    for my $dsn ('x.db', 'sqlite:', 'postgres:x', 'sqlite3:x', 'SQLITE') {
        refused("ConnPoolDatabase d $dsn",
            qr/ConnPoolDatabase d: '\Q$dsn\E' is not sqlite:PATH/);
    }
    refused('ConnPoolDatabase d sqlite::memory:',
        qr/ConnPoolDatabase d: .*:memory:/);
    refused('ConnPoolDatabase d sqlite:${NO_SUCH_NAME}/x',
        qr/ConnPoolDatabase d: .*variable that is not set/);
    refused('ConnPoolDatabase d sqlite:x max=${NO_SUCH_NAME}',
        qr/\$\{NO_SUCH_NAME\}' is not set in the environment/);
    refused('ConnPoolDatabase d sqlite:x max=2 min=3',
        qr/ConnPoolDatabase d: min=3 is above max=2/);
    refused("ConnPoolDBMax 4\nConnPoolDatabase d sqlite:x min=5",
        qr/ConnPoolDatabase d: min=5 is above max=4/, 'min, max inherited');
    for my $url ('ftp://127.0.0.1/', 'file:///etc/passwd', '127.0.0.1',
        'http://', 'http://127.0.0.1:0/', 'http://127.0.0.1:65536/',
        'gopher://127.0.0.1/')
    {
        refused("ConnPoolUpstream u $url",
            qr/ConnPoolUpstream u: '\Q$url\E' must /, $url);
    }
    refused('ConnPoolUpstream u http://user:secret@127.0.0.1/',
        qr/ConnPoolUpstream u: the URL must not carry/, 'no password shown');
    $server->write_file('client.pem', 'x');
    refused('ConnPoolUpstream u https://127.0.0.1/ cert=@DIR@/client.pem',
        qr/ConnPoolUpstream u: cert= and key= belong together/);
};

subtest 'SQL' => sub {
    my @cases = (
        ['',                     qr/the SQL is empty/],
        ['-- nothing',           qr/the SQL is empty|no keyword/],
        ['SELECT 1; SELECT 2',   qr/more than one statement/],
        ['SELECT 1; DROP TABLE t', qr/more than one statement/],
        [q{SELECT 'open},        qr/a quote that is not closed/],
        ['SELECT 1 /* open',     qr/a comment that is not closed/],
        ['SELECT (1',            qr/a '\(' without its '\)'/],
        ['SELECT 1)',            qr/a '\)' without its '\('/],
        ['SELECT ?',             qr/a parameter that is not a :name/],
        ['SELECT ?1',            qr/a parameter that is not a :name/],
        ['SELECT @a',            qr/a parameter that is not a :name/],
        ['SELECT $a',            qr/a parameter that is not a :name/],
        ['SELECT :a',            qr/the SQL's parameter :a is not declared/],
        ['DELETE FROM t',        qr/without write=on .*SELECT or VALUES, not DELETE/],
        ['INSERT INTO t VALUES(1)', qr/without write=on .* not INSERT/],
        ['WITH a AS (SELECT 1) UPDATE t SET b = 1', qr/without write=on .* not UPDATE/],
        ['PRAGMA writable_schema=1', qr/without write=on .* not PRAGMA/],
        [q{ATTACH 'x' AS y},     qr/without write=on .* not ATTACH/],
        ['VACUUM INTO 1',        qr/without write=on .* not VACUUM/],
        ['CREATE TABLE t(a)',    qr/without write=on .* not CREATE/],
        ['BEGIN',                qr/without write=on .* not BEGIN/],
        ['EXPLAIN SELECT 1',     qr/without write=on .* not EXPLAIN/],
    );
    for my $case (@cases) {
        my ($sql, $pattern) = @$case;
        refused("ConnPoolQuery q events \"$sql\"",
            qr/ConnPoolQuery q: .*$pattern/, "\"$sql\"");
    }
    for my $sql ('SELECT 1', 'PRAGMA user_version=1', 'DROP TABLE t',
        q{ATTACH 'x' AS y}, 'VACUUM')
    {
        my ($verb) = $sql =~ /^(\w+)/;
        refused("ConnPoolQuery q events \"$sql\" write=on",
            qr/ConnPoolQuery q: with write=on .*REPLACE, not $verb/,
            "\"$sql\" as a write");
    }
    refused('ConnPoolQuery q events "DELETE FROM t" write=on methods=GET',
        qr/ConnPoolQuery q: methods: a query that writes cannot answer GET/);
    refused('ConnPoolQuery q events "DELETE FROM t" write=on methods=POST,get',
        qr/a query that writes cannot answer GET/, 'GET among others');
    refused("ConnPoolDatabase ro sqlite:x readonly=on\n"
            . 'ConnPoolQuery q ro "DELETE FROM t" write=on',
        qr/ConnPoolQuery q: write=on, but database 'ro' is readonly=on/);
    accepted("ConnPoolQuery q events \"$_\"", $_)
        for 'SELECT 1;', 'VALUES (1)', 'WITH a AS (SELECT 1) SELECT * FROM a',
        q{SELECT ':no', '?', '@' /* ? */}, 'select 1 /* ? */', 'SELECT [a:b]';
    accepted('ConnPoolQuery q events "DELETE FROM t RETURNING *" write=on');
};

subtest 'parameters' => sub {
    my $query = 'ConnPoolQuery q events "SELECT :a, :a"';
    refused("$query\nConnPoolParam q b integer",
        qr/ConnPoolParam q: b: the SQL has no parameter :b/, 'not used');
    refused("$query\nConnPoolParam q a integer\nConnPoolParam q a text",
        qr/ConnPoolParam q: a: declared twice/, 'twice');
    refused("$query\nConnPoolParam q a number",
        qr/ConnPoolParam q: a: 'number' is not one of integer, real, text, boolean, date, blob, json/,
        'an unknown type');
    refused("$query\nConnPoolParam q A integer",
        qr/the SQL has no parameter :A/, 'case counts');
    my @cases = (
        ['integer min=x',       qr/the bound 'x' is not an integer/],
        ['integer max=1e3',     qr/the bound '1e3' is not an integer/],
        ['integer max=9223372036854775808', qr/is not an integer of 64 bits/],
        ['real min=nan',        qr/the bound 'nan' is not a number/],
        ['date max=2023-02-29', qr/the bound '2023-02-29' is not a date/],
        ['text min=1',          qr/min and max are for integer, real and date/],
        ['boolean max=1',       qr/min and max are for integer, real and date/],
        ['integer min=2 max=1', qr/min=2 is above max=1/],
        ['date min=2024-01-02 max=2024-01-01', qr/min=2024-01-02 is above max/],
        ['text match=(',        qr/match='\(' is not a regular expression/],
        ['integer default=x',   qr/the default 'x' is not an integer/],
        ['integer min=5 default=4', qr/the default '4' is less than 5/],
        ['text match=^a$ default=b', qr/the default 'b' does not have the form/],
        ['text maxlen=1 default=bb', qr/the default 'bb' is longer than 1 bytes/],
        ['text required default=x', qr/a required parameter needs no default/],
        ['text match',          qr/'match' is not of the form key=value/],
        ['integer match=^1$',   qr/match= is for text and date/],
        ['boolean maxlen=3',    qr/maxlen= is for text, blob and json/],
    );
    for my $case (@cases) {
        my ($words, $pattern) = @$case;
        refused("$query\nConnPoolParam q a $words",
            qr/ConnPoolParam q: .*$pattern/, $words);
    }
    accepted("$query\nConnPoolParam q a $_", $_)
        for '', 'required', 'integer min=1 max=1 default=1',
        'date default=2024-02-29T10:00:00Z', 'blob default=AAE=',
        'text "match=^[a-z ]+$" "default=a b"';
};

subtest 'where directives may stand' => sub {
    my @server_only = (
        'ConnPoolEngine On', 'ConnPoolDBMax 1', 'ConnPoolDatabase d sqlite:x',
        'ConnPoolUpstream u http://127.0.0.1/',
        'ConnPoolQuery q events "SELECT 1"', 'ConnPoolParam by_id id',
        'ConnPoolEventLoop On', 'ConnPoolServerStatus On',
    );
    for my $line (@server_only) {
        my ($directive) = split ' ', $line;
        refused("<Location /x>\n$line\n</Location>",
            qr/$directive (?:cannot occur within <Location>|not allowed here|not allowed in)/,
            "$directive in <Location>");
    }
    refused("<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolEventLoop On\n</VirtualHost>",
        qr/ConnPoolEventLoop cannot occur within <VirtualHost> section/);
    refused('ConnPoolServe by_id', qr/ConnPoolServe not allowed/);
    refused("<Location /x>\nConnPoolServe\n</Location>",
        qr/ConnPoolServe requires at least one argument/);
    for my $line ('ConnPoolBatchMax 3', 'ConnPoolBatchParallel 2',
        'ConnPoolBatchBody 1K', 'ConnPoolRateLimit 20/s burst=40')
    {
        accepted($line, $line);
        accepted("<VirtualHost 127.0.0.1:\@PORT\@>\n$line\n</VirtualHost>",
            "$line in <VirtualHost>");
        accepted("<Location /x>\n$line\n</Location>", "$line in <Location>");
    }
    accepted("<VirtualHost 127.0.0.1:\@PORT\@>\nConnPoolEngine Off\n"
            . "ConnPoolDBMax 3\nConnPoolHTTPMax 3\n</VirtualHost>",
        'numbers and flags in <VirtualHost>');
};

subtest 'the environment' => sub {
    my %bad = (
        ENABLE_CONNECTION_POOLING => ['maybe', '2', ' '],
        ENABLE_SHARED_EVENT_LOOP  => ['maybe', '-1', 'enabled'],
        HTTP_POOL_SIZE            => ['0', '-1', '10001', '10k', 'x', ' '],
        HTTP_PER_HOST             => ['0', '2147483648', '1e3'],
        DB_POOL_SIZE              => ['0', '1001', '9223372036854775808', '5x'],
    );
    for my $name (sort keys %bad) {
        for my $value (@{$bad{$name}}) {
            local $server->{env} = {$name => $value};
            refused('', qr/environment variable $name: '\Q$value\E' is not (?:one of on, off|a whole number from 1 to)/,
                "$name=$value");
        }
    }
    local $server->{env} = {
        ENABLE_CONNECTION_POOLING => 'true', ENABLE_SHARED_EVENT_LOOP => '0',
        HTTP_POOL_SIZE => '10000', HTTP_PER_HOST => '1', DB_POOL_SIZE => '1000',
    };
    accepted('', 'good values');
    local $server->{env} = {map { $_ => '' } keys %bad};
    accepted('', 'empty ones, which are as good as none');
    local $server->{env} = {DB_POOL_SIZE => 'x'};
    accepted('ConnPoolDBMax 2', 'a bad one that a directive stands before');
};

subtest 'caching' => sub {
    my $read  = 'ConnPoolQuery c events "SELECT 1"';
    my $write = 'ConnPoolQuery c events "DELETE FROM t" write=on';
    refused("$write $_", qr/ConnPoolQuery c: ttl= and coalesce= are for reads/)
        for 'ttl=1s', 'ttl=data', 'coalesce=on';
    refused("$read ttl=x", qr/ttl: 'x' is not a duration from 1ms to 168h .*, or data/);
    refused("$read ttl=0", qr/ttl: '0' is not a duration/);
    refused("$read $_=1s", qr/stale= and stale-if-error= need ttl=DURATION/)
        for qw(stale stale-if-error);
    refused("$read ttl=data stale=1s", qr/stale= and stale-if-error= need ttl=DURATION/);
    refused("$read cache=shared",      qr/cache=shared needs ttl=/);
    refused("$read cache=public",      qr/'public' is not one of private, shared/);
    refused(qq{ConnPoolQuery c events "SELECT $_" ttl=data}, qr/ttl=data cannot work: (?:random|'now') in the SQL/)
        for 'random()', "date('now')";
    refused("$read coalesce=maybe", qr/coalesce/);
    accepted("$read ttl=1s stale=1s stale-if-error=1h cache=shared coalesce=on");
    accepted("$read ttl=DATA");
    refused('ConnPoolCache ":x"', qr/ConnPoolCache: ':x' is not PROVIDER/);
    accepted('ConnPoolCache nothing', 'a provider that no query needs');
    refused("ConnPoolCache nothing:1\n$read ttl=1s",
        qr/ConnPoolQuery c: ttl=: ConnPoolCache nothing: there is no such provider; load its module: LoadModule socache_nothing_module/);
    refused("ConnPoolCache redis:127.0.0.1:1\n$read ttl=1s", qr/LoadModule socache_redis_module/);
    refused("ConnPoolCache shmcb:x(1)\n$read ttl=1s", qr/ConnPoolCache shmcb:x\(1\): /);
    refused("<VirtualHost *:1>\nConnPoolCache shmcb\n</VirtualHost>", qr/ConnPoolCache/);
    my $bare = ConnPoolTest->new(conf => $BASE);
    my ($exit, $text) = $bare->configtest("$BASE$read ttl=1s\n");
    isnt($exit, 0, 'refused: the default without its module');
    like($text, qr/ConnPoolCache shmcb: there is no such provider; .*socache_shmcb_module/,
        '... saying what to load');
    ($exit, $text) = $bare->configtest("$BASE$read ttl=data coalesce=on\n");
    is($exit, 0, 'accepted: what needs no provider') or diag($text);
    $bare->dismiss;
};

# ---------------------------------------------------------------------------

sub listing {
    return join ' ', map { "$_:" . join ',', (stat $_)[1, 7, 9, 10] }
        $server->dir('db'), sort glob $server->dir('db') . '/*';
}

subtest 'configtest opens nothing' => sub {
    accepted('', 'without a database');
    is_deeply([glob $server->dir('db/*')], [], 'and makes none');
    $server->make_sqlite('events', 'CREATE TABLE t(a);');
    my $before = listing();
    accepted('ConnPoolQuery q events "SELECT no_column FROM no_table"',
        'what only the database could refuse');
    is(listing(), $before, 'nothing beside it, nothing written to it');
    unlink $server->dir('db/events.db');
    # Whoever opened this one would wait for its other end.
    is(system('mkfifo', $server->dir('db/events.db')), 0, 'a named pipe');
    accepted('', 'instead of the file');
    unlink $server->dir('db/events.db');
};

subtest 'not in .htaccess' => sub {
    $server->make_sqlite('events', 'CREATE TABLE t(a);');
    $server->conf($BASE . <<'CONF');
<Directory "@DIR@/htdocs/user">
AllowOverride All
</Directory>
CONF
    $server->allow_log(qr/\.htaccess: ConnPool\w+ not allowed here/,
        qr/SQLite \d/);
    $server->start;
    for my $line ('ConnPoolServe by_id', 'ConnPoolEngine Off',
        'ConnPoolDatabase d sqlite:x', 'ConnPoolQuery q events "SELECT 1"')
    {
        my ($directive) = split ' ', $line;
        my $mark = $server->log_mark;
        $server->write_file('htdocs/user/.htaccess', "$line\n");
        is($server->get('/user/')->{status}, 500, "$directive is refused");
        ok($server->await_log(qr/$directive not allowed here/, $mark), 'logged');
    }
    $server->done;
};

done_testing;
