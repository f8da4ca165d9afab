-- SPDX-License-Identifier: Apache-2.0
-- Short articles on HTTP, and an index over their words (FTS5). Load it into a new
-- file: sqlite3 search.db < schema.sql

BEGIN;

CREATE TABLE articles (
    id    INTEGER PRIMARY KEY,
    title TEXT NOT NULL UNIQUE,
    body  TEXT NOT NULL
);

-- The index holds no text of its own (content=), it reads that of the table for
-- snippets. porter: 'caching' finds 'cache'. Diacritics make no difference.
CREATE VIRTUAL TABLE articles_index USING fts5 (
    title, body, content = 'articles', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2', prefix = '2 3'
);

-- Without these the index would not hear of changes.
CREATE TRIGGER articles_insert AFTER INSERT ON articles BEGIN
    INSERT INTO articles_index (rowid, title, body) VALUES (new.id, new.title, new.body);
END;
CREATE TRIGGER articles_delete AFTER DELETE ON articles BEGIN
    INSERT INTO articles_index (articles_index, rowid, title, body)
    VALUES ('delete', old.id, old.title, old.body);
END;
CREATE TRIGGER articles_update AFTER UPDATE ON articles BEGIN
    INSERT INTO articles_index (articles_index, rowid, title, body)
    VALUES ('delete', old.id, old.title, old.body);
    INSERT INTO articles_index (rowid, title, body) VALUES (new.id, new.title, new.body);
END;

INSERT INTO articles (title, body) VALUES
('GET', 'Asks for a representation of a resource. It is safe: who asks wants nothing changed. Answers to it may be kept in caches, and it may be sent again when a connection breaks.'),
('HEAD', 'As GET, but the answer has no body. It tells what a GET would tell of length, type and date, so that a client can decide whether the transfer is worth it.'),
('POST', 'Hands something to a resource, which does with it what it does: a form is stored, a message is sent. It is not idempotent. A client that got no answer cannot know whether it was done, and must not send it again by itself.'),
('PUT', 'Replaces what is stored under a name by the body of the request, or creates it. Sent twice, it leaves the same state as sent once.'),
('PATCH', 'Changes a part of a resource. With If-Match it changes only what the client has seen, so that two people who edit the same page do not lose what the other wrote.'),
('DELETE', 'Removes what is stored under a name. A second one finds nothing, and that is the same state.'),
('OPTIONS', 'Asks which methods a resource has. Browsers send it before a request to another origin, to learn whether that may be sent: the preflight.'),
('200 OK', 'The request was done, and the body is what was asked for.'),
('201 Created', 'Something new exists. The Location header says where it is, so that the client need not guess the name.'),
('204 No Content', 'It was done, and there is nothing to say. A browser stays on the page that it shows.'),
('206 Partial Content', 'A range of the body, as the client asked with Range. Players jump in a film with it, and a download that was cut goes on where it ended.'),
('301 Moved Permanently', 'The resource has another address from now on. Browsers and caches remember it for a long time, so that it is hard to take back.'),
('304 Not Modified', 'What the client has in its cache is still right. The answer has no body: a few bytes instead of a page.'),
('400 Bad Request', 'The request itself is wrong: a parameter is missing, or no number where a number must be. To send it again without a change does not help.'),
('401 Unauthorized', 'Nobody knows who asks. The header WWW-Authenticate says how to log in.'),
('403 Forbidden', 'It is known who asks, and the answer is no. A login does not change that.'),
('404 Not Found', 'There is nothing under this name. It may also stand for what the server does not want to talk about.'),
('405 Method Not Allowed', 'The resource exists, but does not have that method. Allow lists those that it has.'),
('409 Conflict', 'The request contradicts what is stored: a name that must be unique is taken already, or a row that others refer to would be missing.'),
('412 Precondition Failed', 'The client has set a condition that does not hold, as with If-Match: somebody else has changed the resource meanwhile. Nothing was written.'),
('413 Content Too Large', 'The body is longer than the server wants to take.'),
('429 Too Many Requests', 'This client asks too often. Retry-After says when it may come again.'),
('500 Internal Server Error', 'The server failed, and does not say how. The cause stands in its log.'),
('502 Bad Gateway', 'A server that this one asked gave no usable answer. The fault lies behind it.'),
('503 Service Unavailable', 'The server cannot do it now: it has too much to do, or is being looked after. Retry-After says when it may be otherwise.'),
('504 Gateway Timeout', 'A server behind this one did not answer in time.'),
('ETag', 'A tag of one version of a resource. Caches send it back in If-None-Match and get 304 while it holds; editors send it back in If-Match. A weak tag, W/, says that two versions mean the same, not that their bytes are equal.'),
('Cache-Control', 'Says who may keep an answer, and how long. private is for one browser, max-age counts seconds, no-cache lets an answer be kept but asked for each time, no-store forbids it.'),
('Vary', 'Names the headers of a request that have decided over the answer. A cache keeps an answer for each of their values: one for each language, one for gzip.'),
('Content-Type', 'The media type of a body, with its charset. With X-Content-Type-Options: nosniff browsers believe it, and do not guess from the bytes.'),
('Retry-After', 'After how many seconds a client may come again, with 429 and 503. Clients that respect it spread their load by themselves.'),
('Range', 'Asks for a part of a body: bytes=0-499 are the first five hundred. With If-Range the part is sent only when the whole has not changed, else the whole.'),
('Origin', 'From whose page a request comes: scheme, host and port. A browser sets it, and no script can change it, so that a server can refuse the writes of strangers'' pages.'),
('Keep-alive', 'A connection that stays open after an answer, for the next request. Opening one costs a round trip, with TLS two, and more than most answers take to be computed.'),
('Connection pool', 'Connections that are opened once and lent to those who need one. A bound on their number protects what is behind them; who finds none waits in a queue, with a deadline, or is refused.'),
('Circuit breaker', 'Leaves a server that fails again and again alone for a while. Those who ask get an error at once instead of a timeout, and the sick server gets the rest that it needs.'),
('Idempotent', 'What has the same effect once and many times. PUT and DELETE are, POST is not; only what is idempotent may be repeated after a broken connection.'),
('Deadline', 'The moment after which nobody waits for an answer any more. Work that goes on after it is wasted, so each step gets what the steps before it have left.'),
('Back-off', 'Pauses that grow after each failure, with some chance in them, so that a thousand clients do not all come back in the same second.'),
('Write-ahead log', 'Changes are appended to a log before they reach the database''s file. Readers go on reading the state before, while one writer writes. A checkpoint brings the log home.');

COMMIT;

ANALYZE;
