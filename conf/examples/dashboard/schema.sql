-- SPDX-License-Identifier: Apache-2.0
-- What the dashboard adds of its own. Load it into a new file:
-- sqlite3 dashboard.db < schema.sql

BEGIN;

CREATE TABLE targets (
    name   TEXT PRIMARY KEY,
    target REAL NOT NULL,
    unit   TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO targets VALUES
('loaves a day', 120, 'pieces'), ('open tickets', 5, 'tickets'), ('oven', 240, '°C');

COMMIT;
