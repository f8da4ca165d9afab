-- SPDX-License-Identifier: Apache-2.0
-- The tables of the demo for PostgreSQL; the events are those of calendar.sql.

CREATE TABLE events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day      text NOT NULL CHECK (day = to_char(day::date, 'YYYY-MM-DD')),
    category text NOT NULL,
    title    text NOT NULL,
    place    text,
    note     text,
    UNIQUE (day, title, place)
);

CREATE INDEX events_by_date ON events (substr(day, 6), day);
CREATE INDEX events_by_category ON events (category, day);

-- What visitors write. Only the newest 200 stay: a demo must not grow.
CREATE TABLE notes (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id bigint NOT NULL REFERENCES events (id),
    author   text NOT NULL CHECK (length(author) BETWEEN 1 AND 40),
    note     text NOT NULL CHECK (length(note) BETWEEN 1 AND 280),
    created  timestamptz(0) NOT NULL DEFAULT now()
);

CREATE FUNCTION limit_notes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM notes WHERE id <= new.id - 200;
    RETURN NULL;
END $$;

CREATE TRIGGER notes_limit AFTER INSERT ON notes
    FOR EACH ROW EXECUTE FUNCTION limit_notes();

GRANT SELECT ON events, notes TO demo;
GRANT INSERT, DELETE ON notes TO demo;
