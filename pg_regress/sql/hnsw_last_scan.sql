-- What the last search of the session did.
SET walia.nearest_scan = off;
SELECT * FROM walia_last_scan();
CREATE TABLE item (id int, v vecf32(16)) PARTITION BY HASH (id);
CREATE TABLE item_0 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE item_1 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO item SELECT i, (SELECT array_agg(sin(i * j) ORDER BY j)::real[]::vecf32 FROM generate_series(1, 16) AS j)
    FROM generate_series(1, 2000) AS i;
CREATE INDEX ON item USING walia_hnsw (v);
ANALYZE item;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE FUNCTION last_scan() RETURNS TABLE (indexes int, rounds bigint, expands boolean, measures boolean, estimates boolean,
    reads boolean, first_run bigint, second_run bigint, takes_time boolean) LANGUAGE sql AS $$
    SELECT indexes, rounds, nodes_expanded BETWEEN 30 AND 1000, distances_measured BETWEEN 30 AND 1000,
        distances_estimated BETWEEN 300 AND 30000, pages BETWEEN 30 AND 2000, rows_of_first_run, rows_of_second_run,
        milliseconds > 0
    FROM walia_last_scan() $$;
SELECT count(*) FROM (SELECT id FROM item_0 ORDER BY v <~> array_fill(1, ARRAY[16])::vecf32 LIMIT 10) AS near;
SELECT * FROM last_scan();
-- Two indexes that are searched as one, twice as far as one round goes.
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> array_fill(1, ARRAY[16])::vecf32 LIMIT 100) AS near;
SELECT * FROM last_scan();
-- Without a walk: all rows by a pass over the index.
SELECT count(*) FROM (SELECT id FROM item_0 ORDER BY v <~> (SELECT NULL::vecf32) LIMIT 3) AS near;
SELECT indexes, rounds, nodes_expanded, rows_of_first_run, rows_of_second_run FROM walia_last_scan();
-- What sorts does not count.
SELECT id FROM item ORDER BY id LIMIT 1;
SELECT indexes, rounds FROM walia_last_scan();
-- Rows that the search tests itself.
SET walia.nearest_scan = on;
SELECT count(*) FROM (SELECT id FROM item_0 WHERE id <= 1000 ORDER BY v <~> array_fill(1, ARRAY[16])::vecf32 LIMIT 10) AS near;
SELECT rows_tested > 0, rows_failed > 0, rows_failed < rows_tested FROM walia_last_scan();
DROP TABLE item;
DROP FUNCTION last_scan;
