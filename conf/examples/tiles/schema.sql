-- SPDX-License-Identifier: Apache-2.0
-- A tile set as MBTiles 1.3 has it. Tools like tippecanoe, tilelive and QGIS make
-- such files; make-data.pl prints some made-up tiles:
-- (cat schema.sql; perl make-data.pl) | sqlite3 tiles.mbtiles

PRAGMA application_id = 0x4d504258;

BEGIN;

CREATE TABLE metadata (name TEXT, value TEXT);

CREATE TABLE tiles (
    zoom_level  INTEGER,
    tile_column INTEGER,
    tile_row    INTEGER,
    tile_data   BLOB
);

CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row);

COMMIT;
