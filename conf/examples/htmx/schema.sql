-- SPDX-License-Identifier: Apache-2.0
-- A list of things to do, as HTML. Load it into a new file:
-- sqlite3 htmx.db < schema.sql

BEGIN;

-- What people wrote is escaped where it is stored, once, so that no query can
-- forget it: queries that make HTML use title_html and never title.
CREATE TABLE tasks (
    id         INTEGER PRIMARY KEY,
    title      TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 100),
    is_done    INTEGER NOT NULL DEFAULT 0 CHECK (is_done IN (0, 1)),
    title_html TEXT NOT NULL GENERATED ALWAYS AS (
        replace(replace(replace(replace(replace(title, '&', '&amp;'),
            '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')) STORED
);

CREATE TRIGGER tasks_limit AFTER INSERT ON tasks BEGIN
    DELETE FROM tasks WHERE id <= new.id - 100;
END;

-- One task as one element, wherever it is shown.
CREATE VIEW task_items AS
SELECT id, is_done, printf('<li id="task-%d"%s><span>%s</span>'
    || ' <button hx-post="/tasks/toggle/%d" hx-target="#task-%d" hx-swap="outerHTML">%s</button>'
    || ' <button hx-post="/tasks/remove/%d" hx-target="#task-%d" hx-swap="outerHTML">Remove</button></li>',
    id, iif(is_done, ' class="done"', ''), title_html,
    id, id, iif(is_done, 'Undo', 'Done'), id, id) AS html
FROM tasks;

INSERT INTO tasks (title, is_done) VALUES
('Read the configuration', 1),
('Write <b>bold</b> & see that it stays text', 0),
('Copy what fits', 0);

COMMIT;
