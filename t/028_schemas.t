#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# MPM: event
# Files of ordinary applications are read and written as they come; hostile
# ones call nothing of other modules.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ConnPoolTest qw(command);
use Test::More;

# Each: a schema, and steps in order: [SQL, values of its parameters (all text),
# what it answers, status 200 unless said]. Reads answer rows as arrays.
my %APPS = (
    django => [<<'SQL',
CREATE TABLE "auth_user" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "username" varchar(150) NOT NULL UNIQUE, "is_active" bool NOT NULL,
    "date_joined" datetime NOT NULL DEFAULT (datetime('now')));
CREATE TABLE "app_profile" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "data" text NOT NULL CHECK ((JSON_VALID("data") OR "data" IS NULL)),
    "age" integer unsigned NOT NULL CHECK ("age" >= 0),
    "user_id" integer NOT NULL UNIQUE REFERENCES "auth_user" ("id")
        DEFERRABLE INITIALLY DEFERRED);
CREATE INDEX "app_profile_age" ON "app_profile" ("age") WHERE "age" > 17;
CREATE INDEX "app_profile_city" ON "app_profile" (JSON_EXTRACT("data", '$.city'));
INSERT INTO auth_user(username, is_active) VALUES ('ann', 1);
SQL
        ['INSERT INTO app_profile(data, age, user_id) VALUES (:d, 20, :u)',
            {d => '{"city":"Bonn"}', u => 1}, qr/"changes":1/],
        ['INSERT INTO app_profile(data, age, user_id) VALUES (:d, 20, :u)',
            {d => '{"city"', u => 1}, qr/"constraint":"check"/, 400],
        ['INSERT INTO app_profile(data, age, user_id) VALUES (:d, 20, :u)',
            {d => '{}', u => 77}, qr/"constraint":"foreign_key"/, 409],
        [q{SELECT user_id FROM app_profile WHERE JSON_EXTRACT(data, '$.city') = :c},
            {c => 'Bonn'}, '[[1]]'],
    ],
    rails => [<<'SQL',
CREATE TABLE "schema_migrations" ("version" varchar NOT NULL PRIMARY KEY);
CREATE TABLE "posts" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    "title" varchar COLLATE NOCASE, "settings" json DEFAULT '{}',
    "slug" varchar GENERATED ALWAYS AS (lower(replace(title, ' ', '-'))) STORED,
    "theme" varchar GENERATED ALWAYS AS (settings ->> '$.theme') VIRTUAL,
    "created_at" datetime(6) DEFAULT CURRENT_TIMESTAMP NOT NULL);
CREATE UNIQUE INDEX "index_posts_on_slug" ON "posts" ("slug");
CREATE INDEX "index_posts_on_theme" ON "posts" ("theme");
CREATE TABLE "comments" ("id" integer PRIMARY KEY, "post_id" integer NOT NULL,
    CONSTRAINT "fk_rails_1" FOREIGN KEY ("post_id") REFERENCES "posts" ("id")
    ON DELETE CASCADE);
SQL
        ['INSERT INTO posts(title, settings) VALUES (:t, :s)',
            {t => 'Hello World', s => '{"theme":"dark"}'}, qr/"changes":1/],
        ['INSERT INTO posts(title) VALUES (:t)', {t => 'hello world'},
            qr/"constraint":"unique","columns":\["posts\.slug"\]/, 409],
        [q{INSERT INTO posts(title, settings) VALUES (:t, :s)},
            {t => 'Other', s => 'not json'}, qr/refused the values/, 400],
        ['SELECT slug, theme FROM posts WHERE title = :t', {t => 'HELLO WORLD'},
            '[["hello-world","dark"]]'],
        ['INSERT INTO comments(post_id) SELECT id FROM posts', {}, qr/"changes":1/],
        ['DELETE FROM posts', {}, qr/"changes":1/],
        ['SELECT count(*) AS n FROM comments', {}, '[[0]]'],
    ],
    datasette => [<<'SQL',
CREATE TABLE [doc] ([id] INTEGER PRIMARY KEY, [title] TEXT, [body] TEXT);
CREATE VIRTUAL TABLE [doc_fts] USING FTS5 ([title], [body], tokenize='porter',
    content=[doc], content_rowid=[id]);
CREATE TRIGGER [doc_ai] AFTER INSERT ON [doc] BEGIN
  INSERT INTO [doc_fts] (rowid, [title], [body]) VALUES (new.rowid, new.[title], new.[body]);
END;
CREATE TRIGGER [doc_ad] AFTER DELETE ON [doc] BEGIN
  INSERT INTO [doc_fts] ([doc_fts], rowid, [title], [body])
    VALUES('delete', old.rowid, old.[title], old.[body]);
END;
CREATE TRIGGER [doc_au] AFTER UPDATE ON [doc] BEGIN
  INSERT INTO [doc_fts] ([doc_fts], rowid, [title], [body])
    VALUES('delete', old.rowid, old.[title], old.[body]);
  INSERT INTO [doc_fts] (rowid, [title], [body]) VALUES (new.rowid, new.[title], new.[body]);
END;
CREATE VIEW [found] AS SELECT rowid AS id, snippet(doc_fts, 1, '*', '*', '...', 5) AS shown,
    bm25(doc_fts) AS rank FROM doc_fts WHERE doc_fts MATCH 'running';
SQL
        ['INSERT INTO doc(title, body) VALUES (:t, :b)',
            {t => 'One', b => 'he runs home'}, qr/"changes":1/],
        ['SELECT id, shown FROM found', {}, '[[1,"he *runs* home"]]'],
        ['SELECT rowid FROM doc_fts WHERE doc_fts MATCH :q ORDER BY rank',
            {q => 'home'}, '[[1]]'],
        ['SELECT rowid FROM doc_fts WHERE doc_fts MATCH :q', {q => '"'},
            qr/refused the values/, 400],
        ['UPDATE doc SET body = :b', {b => 'she walks'}, qr/"changes":1/],
        ['SELECT id FROM found', {}, '[]'],
        ['DELETE FROM doc', {}, qr/"changes":1/],
        [q{SELECT count(*) AS n FROM doc_fts('walks')}, {}, '[[0]]'],
    ],
    nextcloud => [<<'SQL',
CREATE TABLE oc_filecache (fileid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    storage BIGINT DEFAULT 0 NOT NULL, path VARCHAR(4000) DEFAULT NULL,
    path_hash VARCHAR(32) DEFAULT '' NOT NULL, mtime BIGINT DEFAULT 0 NOT NULL,
    permissions INTEGER DEFAULT 0);
CREATE UNIQUE INDEX fs_storage_path_hash ON oc_filecache (storage, path_hash);
CREATE TABLE oc_jobs (id INTEGER PRIMARY KEY, argument CLOB COLLATE BINARY,
    at INTEGER DEFAULT (strftime('%s', 'now')), r INTEGER DEFAULT (abs(random() % 9)));
CREATE TABLE oc_appconfig (appid VARCHAR(32) NOT NULL, configkey VARCHAR(64) NOT NULL,
    configvalue CLOB, PRIMARY KEY(appid, configkey)) WITHOUT ROWID;
SQL
        ['INSERT INTO oc_filecache(storage, path, path_hash) VALUES (1, :p, :h)',
            {p => 'a/b', h => 'x'}, qr/"changes":1/],
        ['INSERT INTO oc_filecache(storage, path, path_hash) VALUES (1, :p, :h)',
            {p => 'a/b', h => 'x'},
            qr/"columns":\["oc_filecache\.storage","oc_filecache\.path_hash"\]/, 409],
        ['INSERT INTO oc_jobs(argument) VALUES (:a)', {a => 'x'}, qr/"changes":1/],
        ['SELECT r BETWEEN 0 AND 8 AND at > 0 AS ok FROM oc_jobs', {}, '[[1]]'],
        ['INSERT INTO oc_appconfig VALUES (:a, :a, :a) ON CONFLICT DO UPDATE SET '
            . 'configvalue = excluded.configvalue', {a => 'x'}, qr/"changes":1/],
        ['SELECT configvalue FROM oc_appconfig WHERE appid = :a', {a => 'x'}, '[["x"]]'],
    ],
    mail => [<<'SQL',
CREATE TABLE mail(id INTEGER PRIMARY KEY, body TEXT);
CREATE VIRTUAL TABLE mail_fts USING fts4(body, content="mail", tokenize=unicode61);
CREATE TRIGGER mail_bu BEFORE UPDATE ON mail BEGIN DELETE FROM mail_fts WHERE docid=old.id; END;
CREATE TRIGGER mail_bd BEFORE DELETE ON mail BEGIN DELETE FROM mail_fts WHERE docid=old.id; END;
CREATE TRIGGER mail_au AFTER UPDATE ON mail BEGIN
    INSERT INTO mail_fts(docid, body) VALUES(new.id, new.body); END;
CREATE TRIGGER mail_ai AFTER INSERT ON mail BEGIN
    INSERT INTO mail_fts(docid, body) VALUES(new.id, new.body); END;
CREATE VIEW hits AS SELECT docid, offsets(mail_fts) AS o, hex(matchinfo(mail_fts)) AS m
    FROM mail_fts WHERE mail_fts MATCH 'hello';
SQL
        ['INSERT INTO mail(body) VALUES (:b)', {b => 'Hello there'}, qr/"changes":1/],
        ['SELECT docid, o FROM hits', {}, '[[1,"0 0 0 5"]]'],
        ['UPDATE mail SET body = :b', {b => 'bye'}, qr/"changes":1/],
        ['SELECT docid FROM mail_fts WHERE body MATCH :q', {q => 'bye'}, '[[1]]'],
        ['DELETE FROM mail', {}, qr/"changes":1/],
    ],
    places => [<<'SQL',
CREATE TABLE place(id INTEGER PRIMARY KEY, name TEXT, lat REAL, lon REAL);
CREATE VIRTUAL TABLE place_box USING rtree(id, lat0, lat1, lon0, lon1);
CREATE TRIGGER place_ai AFTER INSERT ON place BEGIN
    INSERT INTO place_box VALUES (new.id, new.lat, new.lat, new.lon, new.lon); END;
CREATE TRIGGER place_ad AFTER DELETE ON place BEGIN
    DELETE FROM place_box WHERE id = old.id; END;
CREATE VIEW near AS SELECT name FROM place JOIN place_box USING (id)
    WHERE lat0 > 50 AND lat1 < 52;
SQL
        ['INSERT INTO place(name, lat, lon) VALUES (:n, 51, 7)', {n => 'Bonn'},
            qr/"changes":1/],
        ['SELECT name FROM near', {}, '[["Bonn"]]'],
        ['DELETE FROM place', {}, qr/"changes":1/],
        ['SELECT name FROM near', {}, '[]'],
    ],
    audit => [<<'SQL',
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price INT) STRICT;
CREATE TABLE audit(at TEXT DEFAULT CURRENT_TIMESTAMP, what TEXT, old TEXT, new TEXT);
CREATE TRIGGER item_ai AFTER INSERT ON item BEGIN
    INSERT INTO audit(what, new) VALUES ('insert', json_object('name', new.name, 'tags', json_array(1, 2)));
END;
CREATE TRIGGER item_au AFTER UPDATE ON item WHEN old.price IS NOT new.price BEGIN
    INSERT INTO audit(what, old, new) VALUES ('update', json_object('price', old.price),
        json_set('{}', '$.price', new.price));
END;
CREATE VIEW history AS SELECT what, json_extract(new, '$.name') AS name,
    (SELECT group_concat(value) FROM json_each(new, '$.tags')) AS tags FROM audit;
CREATE VIEW summary AS SELECT json_group_array(json_object('id', id)) AS all_ids FROM item;
SQL
        ['INSERT INTO item(name, price) VALUES (:n, 3)', {n => 'tea'}, qr/"changes":1/],
        ['SELECT * FROM history', {}, '[["insert","tea","1,2"]]'],
        ['SELECT * FROM summary', {}, qr/\[\["\[\{\\"id\\":1\}\]"\]\]/],
        ['UPDATE item SET price = 4 WHERE name = :n', {n => 'tea'}, qr/"changes":1/],
        ['SELECT new FROM audit WHERE what = :w', {w => 'update'},
            '[["{\\"price\\":4}"]]'],
        ['INSERT INTO item(name, price) VALUES (:n, :p)', {n => 'x', p => 'dear'},
            qr/"constraint":"datatype","columns":\["item\.price"\]/, 400],
    ],
    library => [<<'SQL',
CREATE TABLE author(first TEXT, last TEXT, PRIMARY KEY(first, last)) WITHOUT ROWID;
CREATE TABLE book(isbn TEXT PRIMARY KEY, meta TEXT NOT NULL DEFAULT '{}' CHECK (json_type(meta) = 'object'),
    first TEXT, last TEXT, gone INT DEFAULT 0, added TEXT DEFAULT (date('now')),
    title TEXT AS (json_extract(meta, '$.title')) STORED,
    tags TEXT AS (meta -> '$.tags'),
    FOREIGN KEY(first, last) REFERENCES author ON UPDATE CASCADE ON DELETE SET NULL,
    CONSTRAINT isbn_length CHECK (length(isbn) IN (10, 13)));
CREATE UNIQUE INDEX book_title ON book(title COLLATE NOCASE) WHERE gone = 0;
CREATE INDEX book_tag ON book(meta ->> '$.tags[0]') WHERE json_valid(meta);
CREATE VIEW books AS SELECT b.isbn, b.title, t.value AS tag, row_number() OVER (ORDER BY isbn) AS n
    FROM book b LEFT JOIN json_each(b.tags) t;
CREATE VIEW keys AS SELECT DISTINCT j.key AS k FROM book, json_tree(meta) j WHERE j.key IS NOT NULL;
CREATE TRIGGER books_insert INSTEAD OF INSERT ON books BEGIN
    INSERT INTO book(isbn, meta) VALUES (new.isbn, json_object('title', new.title, 'tags', json_array(new.tag)))
    ON CONFLICT(isbn) DO UPDATE SET meta = json_set(meta, '$.title', new.title);
    SELECT RAISE(IGNORE) WHERE new.title = 'ignored';
END;
CREATE VIRTUAL TABLE word USING fts5(t, content='', tokenize='trigram');
CREATE VIRTUAL TABLE words USING fts5vocab('word', 'row');
CREATE VIRTUAL TABLE old_word USING fts4(t, notindexed=t);
CREATE VIRTUAL TABLE old_terms USING fts4aux(old_word);
CREATE TRIGGER book_words AFTER INSERT ON book BEGIN
    INSERT INTO word(rowid, t) VALUES (new.rowid, new.title);
    INSERT INTO old_word(docid, t) VALUES (new.rowid, new.title); END;
INSERT INTO author VALUES ('Jane', 'Austen');
SQL
        ['INSERT INTO books(isbn, title, tag) VALUES (:i, :t, :g)',
            {i => '1234567890', t => 'Emma', g => 'novel'}, qr/"changes"/],
        ['INSERT INTO books(isbn, title, tag) VALUES (:i, :t, :g)',
            {i => '1234567890', t => 'Emma 2', g => 'x'}, qr/"changes"/],
        ['SELECT isbn, title, tag, n FROM books', {},
            '[["1234567890","Emma 2","novel",1]]'],
        ['SELECT group_concat(k) AS all_keys FROM (SELECT k FROM keys ORDER BY k)',
            {}, qr/tags,title/],
        ['INSERT INTO books(isbn, title) VALUES (:i, :t)',
            {i => '1', t => 'Short'},
            qr/"constraint":"check","name":"isbn_length"/, 400],
        ['INSERT INTO books(isbn, title) VALUES (:i, :t)',
            {i => '1234567890123', t => 'EMMA 2'},
            qr/"constraint":"unique","columns":\["book\.title"\]/, 409],
        ['INSERT INTO book(isbn, meta) VALUES (:i, :m)',
            {i => '1234567890124', m => '[]'}, qr/"constraint":"check"\}/, 400],
        ['INSERT INTO book(isbn, meta) VALUES (:i, :m)',
            {i => '1234567890124', m => '{'}, qr/refused the values/, 400],
        ['UPDATE book SET first = :f, last = :l', {f => 'Jane', l => 'Eyre'},
            qr/"constraint":"foreign_key"/, 409],
        ['UPDATE book SET first = :f, last = :l', {f => 'Jane', l => 'Austen'},
            qr/"changes":1/],
        ['UPDATE author SET last = :l', {l => 'A.'}, qr/"changes":1/],
        ['SELECT last FROM book', {}, '[["A."]]'],
        ['DELETE FROM author', {}, qr/"changes":1/],
        ['SELECT last, added = date() AS today FROM book', {}, '[[null,1]]'],
        [q{SELECT count(*) AS n FROM word WHERE word MATCH :q}, {q => 'emm'}, '[[1]]'],
        ['SELECT count(*) > 0 AS some FROM words', {}, '[[1]]'],
        ['SELECT count(*) >= 0 AS some FROM old_terms', {}, '[[1]]'],
        [q{SELECT isbn FROM book WHERE meta ->> '$.tags[0]' = :t AND json_valid(meta)},
            {t => 'novel'}, '[["1234567890"]]'],
    ],
    replaced => [<<'SQL',
CREATE TABLE note(id INTEGER PRIMARY KEY, slug TEXT UNIQUE, body TEXT);
CREATE VIRTUAL TABLE note_fts USING fts5(body);
CREATE TRIGGER note_ad AFTER DELETE ON note BEGIN DELETE FROM note_fts WHERE rowid = old.id; END;
CREATE TRIGGER note_ai AFTER INSERT ON note BEGIN
    INSERT INTO note_fts(rowid, body) VALUES (new.id, new.body); END;
SQL
        ['REPLACE INTO note(slug, body) VALUES (:s, :b)', {s => 'a', b => 'old'},
            qr/"changes":1/],
        ['REPLACE INTO note(slug, body) VALUES (:s, :b)', {s => 'a', b => 'new'},
            qr/"changes":1/],
        ['SELECT body FROM note_fts WHERE note_fts MATCH :q', {q => 'old'}, '[]'],
    ],
);
my %KEYS = (replaced => 'recursive_triggers=on');

my ($conf, %steps) = ('');
for my $app (sort keys %APPS) {
    my ($schema, @steps) = @{$APPS{$app}};
    $conf .= "ConnPoolDatabase $app sqlite:\@DIR\@/db/$app.db max=3 "
        . ($KEYS{$app} // '') . "\n";
    for my $i (0 .. $#steps) {
        my ($sql, $values) = @{$steps[$i]};
        my $name  = "${app}_$i";
        my $write = $sql =~ /^SELECT/ ? 'format=arrays' : 'write=on';
        $conf .= "ConnPoolQuery $name $app \"$sql\" $write\n"
            . join('', map { "ConnPoolParam $name $_ text\n" } sort keys %$values)
            . "<Location \"/$name\">\nSetHandler connpool-query\n"
            . "ConnPoolServe $name\n</Location>\n";
    }
}

my $server = ConnPoolTest->new(conf => $conf);
$server->make_sqlite($_, $APPS{$_}[0]) for sort keys %APPS;
$server->start;
for my $app (sort keys %APPS) {
    subtest $app => sub {
        my (undef, @steps) = @{$APPS{$app}};
        for my $i (0 .. $#steps) {
            my ($sql, $values, $expected, $status) = @{$steps[$i]};
            my $answer =
                $sql =~ /^SELECT/
                ? $server->get("/${app}_$i?" . join '&',
                map { "$_=" . $values->{$_} =~ s/([^\w])/sprintf '%%%02X', ord $1/egr }
                    sort keys %$values)
                : $server->post("/${app}_$i", content => $values);
            is($answer->{status}, $status // 200, $sql)
                or diag $answer->{content};
            ref $expected
                ? like($answer->{content}, $expected, '... answers')
                : is($answer->{content}, $expected, '... answers');
            unlike($answer->{content}, qr/damaged/, '... and calls nothing so')
                if $answer->{status} != 200;
        }
        is($server->sqlite($app, 'PRAGMA integrity_check'), 'ok', 'sound');
    };
}
$server->done;

# ---------------------------------------------------------------------------

subtest 'another module of the process, and a hostile schema' => sub {
    my $hostile = ConnPoolTest->new(
        load => {cpforeign_module => 't/mod_cpforeign.so'},
        conf => <<'CONF',
ForeignMemory 30
ConnPoolMemory 20M
ConnPoolDatabase bad sqlite:@DIR@/db/bad.db max=2
ConnPoolDatabase told sqlite:@DIR@/db/told.db max=2 schema=trusted
ConnPoolQuery view bad "SELECT a FROM v"
ConnPoolQuery sound bad "SELECT a FROM good" format=value
ConnPoolQuery add bad "INSERT INTO t(a) VALUES ('@DIR@/run/harm-add')" write=on
ConnPoolQuery trusted told "SELECT a FROM v" format=value
ConnPoolQuery own told "SELECT create_file('@DIR@/run/own') AS a" format=value
<Location "/own">
SetHandler connpool-query
ConnPoolServe own
</Location>
<Location "/view">
SetHandler connpool-query
ConnPoolServe view
</Location>
<Location "/sound">
SetHandler connpool-query
ConnPoolServe sound
</Location>
<Location "/add">
SetHandler connpool-query
ConnPoolServe add
</Location>
<Location "/trusted">
SetHandler connpool-query
ConnPoolServe trusted
</Location>
CONF
    );
    my $dir = $hostile->dir('run');
    my $view = "CREATE VIEW v AS SELECT create_file('$dir/%s') AS a;";
    my $schema = "CREATE TABLE good(a); INSERT INTO good VALUES (5);"
        . "CREATE TABLE t(a);"
        . "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT create_file(new.a); END;";
    $hostile->make_sqlite('bad',  $schema . sprintf $view, 'harm-view');
    $hostile->make_sqlite('told', $schema . sprintf $view, 'done');
    $hostile->allow_log(qr/query '(?:view|add)'|ConnPoolQuery (?:view|add) /);
    $hostile->start;
    chmod 0777, $dir;
    is($hostile->get('/sound')->{content}, '5',
        'served, whatever others hold in SQLite');
    is($hostile->get('/view')->{status}, 403, 'a view');
    my ($status, $text) = $hostile->configtest($hostile->{conf}
            . "\nConnPoolQuery mine bad \"SELECT create_file('x') AS a\"\n");
    isnt($status, 0, 'a query that calls it itself');
    like($text, qr/ConnPoolQuery mine: .*no such function: create_file/, 'is told why');
    is($hostile->post('/add')->{status}, 403, 'a trigger');
    is_deeply([glob "$dir/harm-*"], [], 'nothing was called');
    is($hostile->get('/trusted')->{content}, '1', 'schema=trusted');
    ok(-e "$dir/done", 'calls it');
    is($hostile->get('/own')->{content}, '1', 'and so may its queries');
    like($hostile->log, qr/schema=trusted/, 'the log names the key');
    my $memory = $hostile->status_json->{memory};
    cmp_ok($memory->{used}, '<', 5 * 1024 * 1024 * $hostile->status_json->{children},
        'only our own is counted');
    is($hostile->status_json->{memory_refused}, 0, 'nobody was refused');
    $hostile->done;
};

subtest 'configuration' => sub {
    for my $bad ('schema=maybe', 'foreign_keys=2', 'recursive_triggers=x',
        'immutable=x')
    {
        my ($exit, $text) = ConnPoolTest->new(conf => '')->configtest(
            "ConnPoolDatabase x sqlite:x.db $bad\n");
        isnt($exit, 0, $bad);
        like($text, qr/ConnPoolDatabase x: \Q$bad\E/, '... named');
    }
};

done_testing;
