-- SPDX-License-Identifier: Apache-2.0
-- Notes that belong to whoever wrote them. Load it into a new file:
-- sqlite3 notes.db < schema.sql

BEGIN;

CREATE TABLE notes (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    owner   TEXT NOT NULL,
    title   TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 80),
    body    TEXT NOT NULL DEFAULT '' CHECK (length(body) <= 2000),
    version INTEGER NOT NULL DEFAULT 1,
    changed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- Each query asks for the rows of one owner, the newest first.
CREATE INDEX notes_by_owner ON notes (owner, id);

-- Nobody fills the disk: the newest 500 of each stay.
CREATE TRIGGER notes_limit AFTER INSERT ON notes BEGIN
    DELETE FROM notes WHERE owner = new.owner AND id <= (
        SELECT id FROM notes WHERE owner = new.owner ORDER BY id DESC LIMIT 1 OFFSET 500);
END;

INSERT INTO notes (owner, title, body) VALUES
('alice', 'Shopping', 'Bread, olives, a lamp.'),
('alice', 'The lamp', 'Forty watts, not more.'),
('bob', 'Secret', 'Alice has a birthday on Friday. A lamp?');

COMMIT;
