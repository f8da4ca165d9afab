-- SPDX-License-Identifier: Apache-2.0
-- Places with geometries in GeoJSON, and an index of where they lie. Load it into
-- a new file: sqlite3 map.db < schema.sql

BEGIN;

CREATE TABLE features (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    geometry   TEXT NOT NULL CHECK (json_extract(geometry, '$.type') IN ('Point', 'LineString',
        'Polygon', 'MultiPoint', 'MultiLineString', 'MultiPolygon')),
    properties TEXT NOT NULL CHECK (json_valid(properties))
);

-- Boxes around the geometries: what lies in a window is found without reading all.
CREATE VIRTUAL TABLE features_box USING rtree (id, west, east, south, north);

-- Every position [longitude, latitude] at any depth of the coordinates counts.
CREATE TRIGGER features_insert AFTER INSERT ON features BEGIN
    SELECT RAISE(ABORT, 'a geometry has positions [longitude, latitude]')
    WHERE NOT EXISTS (SELECT 1 FROM json_tree(new.geometry, '$.coordinates')
        WHERE type IN ('integer', 'real') AND key = 1);
    INSERT INTO features_box
    SELECT new.id, min(x), max(x), min(y), max(y) FROM (
        SELECT value AS x, (SELECT n.value FROM json_tree(new.geometry) n
            WHERE n.path = t.path AND n.key = 1) AS y
        FROM json_tree(new.geometry) t
        WHERE t.type IN ('integer', 'real') AND t.key = 0);
END;
CREATE TRIGGER features_delete AFTER DELETE ON features BEGIN
    DELETE FROM features_box WHERE id = old.id;
END;

CREATE TEMP TABLE cities (name, country, longitude, latitude);
INSERT INTO cities VALUES
('Amsterdam', 'Netherlands', 4.90, 52.37), ('Athens', 'Greece', 23.73, 37.98),
('Auckland', 'New Zealand', 174.76, -36.85), ('Bangkok', 'Thailand', 100.50, 13.76),
('Berlin', 'Germany', 13.40, 52.52), ('Bogotá', 'Colombia', -74.07, 4.71),
('Buenos Aires', 'Argentina', -58.38, -34.60), ('Cairo', 'Egypt', 31.24, 30.04),
('Cape Town', 'South Africa', 18.42, -33.92), ('Chicago', 'United States', -87.63, 41.88),
('Copenhagen', 'Denmark', 12.57, 55.68), ('Dakar', 'Senegal', -17.47, 14.72),
('Delhi', 'India', 77.21, 28.61), ('Dublin', 'Ireland', -6.26, 53.35),
('Helsinki', 'Finland', 24.94, 60.17), ('Istanbul', 'Türkiye', 28.98, 41.01),
('Jakarta', 'Indonesia', 106.85, -6.21), ('Kyiv', 'Ukraine', 30.52, 50.45),
('Lagos', 'Nigeria', 3.38, 6.52), ('Lima', 'Peru', -77.04, -12.05),
('Lisbon', 'Portugal', -9.14, 38.72), ('London', 'United Kingdom', -0.13, 51.51),
('Madrid', 'Spain', -3.70, 40.42), ('Manila', 'Philippines', 120.98, 14.60),
('Mexico City', 'Mexico', -99.13, 19.43), ('Montréal', 'Canada', -73.57, 45.50),
('Mumbai', 'India', 72.88, 19.08), ('Nairobi', 'Kenya', 36.82, -1.29),
('New York', 'United States', -74.01, 40.71), ('Oslo', 'Norway', 10.75, 59.91),
('Paris', 'France', 2.35, 48.86), ('Perth', 'Australia', 115.86, -31.95),
('Prague', 'Czechia', 14.44, 50.08), ('Reykjavík', 'Iceland', -21.94, 64.15),
('Rio de Janeiro', 'Brazil', -43.17, -22.91), ('Rome', 'Italy', 12.50, 41.90),
('San Francisco', 'United States', -122.42, 37.77), ('Santiago', 'Chile', -70.67, -33.45),
('Seoul', 'South Korea', 126.98, 37.57), ('Singapore', 'Singapore', 103.82, 1.35),
('Stockholm', 'Sweden', 18.07, 59.33), ('Sydney', 'Australia', 151.21, -33.87),
('Tokyo', 'Japan', 139.69, 35.69), ('Vienna', 'Austria', 16.37, 48.21),
('Warsaw', 'Poland', 21.01, 52.23), ('Zürich', 'Switzerland', 8.54, 47.37);

INSERT INTO features (kind, geometry, properties)
SELECT 'city', json_object('type', 'Point', 'coordinates', json_array(longitude, latitude)),
    json_object('name', name, 'country', country)
FROM cities ORDER BY name;

-- A line and an area, so that the index has something to do.
INSERT INTO features (kind, geometry, properties) VALUES
('line', '{"type":"LineString","coordinates":[[-180,0],[180,0]]}', '{"name":"Equator"}'),
('area', '{"type":"Polygon","coordinates":[[[-180,-23.44],[180,-23.44],[180,23.44],[-180,23.44],[-180,-23.44]]]}', '{"name":"Tropics"}');

COMMIT;

ANALYZE;
