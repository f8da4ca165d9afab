-- SPDX-License-Identifier: Apache-2.0
-- Readings of sensors. Load it into a new file: sqlite3 sensors.db < schema.sql

BEGIN;

CREATE TABLE sensors (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 30),
    unit TEXT NOT NULL
) WITHOUT ROWID;

-- Sorted by sensor and time on disk: a chart reads one run of pages, which
-- matters on an SD card. Times are seconds of UTC.
CREATE TABLE readings (
    sensor TEXT NOT NULL REFERENCES sensors (name),
    at     INTEGER NOT NULL CHECK (typeof(at) = 'integer'),
    value  REAL NOT NULL CHECK (typeof(value) = 'real'),
    PRIMARY KEY (sensor, at)
) WITHOUT ROWID;

-- A board must not fill up: each new reading takes those away that are older
-- than 30 days, which is one at a time in the long run.
CREATE TRIGGER readings_limit AFTER INSERT ON readings BEGIN
    DELETE FROM readings WHERE sensor = new.sensor AND at < strftime('%s', 'now') - 30 * 86400;
END;

INSERT INTO sensors VALUES ('greenhouse', '°C'), ('cellar', '°C'), ('tank', '%');

-- Two days that are made up, a reading every five minutes.
WITH RECURSIVE times (at) AS (
    SELECT strftime('%s', 'now') / 300 * 300 - 2 * 86400
    UNION ALL
    SELECT at + 300 FROM times WHERE at + 300 < CAST(strftime('%s', 'now') AS INTEGER)
)
INSERT INTO readings
SELECT 'greenhouse', at, round(21 + 7 * sin(at % 86400 / 13751.0 - 1.8) + at * 7919 % 100 / 250.0, 1) FROM times
UNION ALL
SELECT 'cellar', at, round(11 + sin(at % 86400 / 13751.0 - 2.5) / 2 + at * 104729 % 100 / 500.0, 1) FROM times
UNION ALL
SELECT 'tank', at, round(90 - at % 172800 / 4320.0, 1) FROM times;

COMMIT;

ANALYZE;
