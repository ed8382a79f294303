-- A scan streams: a LIMIT is filled through a WHERE, and a scan to the end gives every row once.
SET walia.nearest_scan = off;
CREATE TABLE item (id int PRIMARY KEY, category int, v vecf32(3));
INSERT INTO item SELECT i, i % 1000, ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vecf32 FROM generate_series(1, 5000) AS i;
INSERT INTO item VALUES (5001, 1, '[0,0,0]'), (5002, 1, NULL);
CREATE INDEX item_v ON item USING walia_hnsw (v);
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM (SELECT id FROM item WHERE category = 5 ORDER BY v <~> '[1,2,3]' LIMIT 5) AS s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s;
SELECT array_agg(id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 5000) AS s;

-- The settings of the iteration.
SET walia.ef_search = 10;
SET walia.iterative_scan = off;
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' LIMIT 100) AS s;
SET walia.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s;
SET walia.iterative_scan = strict_order;
SET walia.max_scan_tuples = 50;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s;
-- The first run is in order, and so is the second.
SELECT count(*) AS runs FROM (SELECT d < lag(d) OVER () AS lower FROM
    (SELECT v <~> '[1,2,3]' AS d FROM item WHERE id <= 5000 ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s) AS s WHERE lower;
SET work_mem = '64kB';
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s;
RESET work_mem;
RESET walia.max_scan_tuples;
RESET walia.ef_search;
SET walia.prefetch_depth = 0;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' OFFSET 0) AS s;
RESET walia.prefetch_depth;

-- Queries without a distance give all rows; queries of another dimension are refused as the operator does.
PREPARE near(vecf32) AS SELECT id FROM item ORDER BY v <~> $1 LIMIT 3;
SET plan_cache_mode = force_generic_plan;
EXECUTE near('[0.84147098,-0.9899925,0.6569866]');
SELECT count(*) FROM item, LATERAL (SELECT 1) AS s WHERE v <~> '[0,0,0]' IS NOT NULL;
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> '[0,0,0]' OFFSET 0) AS s;
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> (SELECT NULL::vecf32) OFFSET 0) AS s;
EXECUTE near('[1,2]');
EXECUTE near(NULL::vecf32);
RESET plan_cache_mode;
SELECT id FROM item ORDER BY v <~> '[1,2]' LIMIT 1;

-- A cursor sees what it saw when it was opened, and survives changes made meanwhile.
SET walia.ef_search = 10000;
BEGIN;
DECLARE nearest CURSOR FOR SELECT id FROM item WHERE id <= 10 ORDER BY v <~> '[1,2,3]';
FETCH 2 FROM nearest;
DELETE FROM item WHERE id <= 10;
INSERT INTO item SELECT i, 1, '[1,2,3]' FROM generate_series(6001, 6010) AS i;
FETCH 100 FROM nearest;
ROLLBACK;
RESET walia.ef_search;
-- An error in the middle of a scan, then the same scan again; a savepoint around it.
BEGIN;
SAVEPOINT s;
SELECT 1 / (id - id) FROM item ORDER BY v <~> '[1,2,3]' LIMIT 3;
ROLLBACK TO s;
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> '[1,2,3]' LIMIT 300) AS s;
COMMIT;
-- Statistics count scans.
SELECT pg_stat_force_next_flush();
SELECT idx_scan > 0 AS counted FROM pg_stat_user_indexes WHERE indexrelname = 'item_v';
DROP TABLE item;
