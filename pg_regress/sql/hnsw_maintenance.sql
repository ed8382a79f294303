-- Vacuum, reindexing, and tables of every kind.
CREATE TABLE item (id int, note text, v vecf32(3));
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
INSERT INTO item SELECT i, 'first', ARRAY[i, i % 7, i % 11]::vecf32 FROM generate_series(1, 2000) AS i;
INSERT INTO item SELECT i, 'none', NULL FROM generate_series(2001, 2300) AS i;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT nodes, heap_tids, nulls, tombstones FROM walia_info('item_v');
-- Updates of another column add heap TIDs to the nodes that are there.
UPDATE item SET note = 'second' WHERE id <= 100;
SELECT nodes, heap_tids >= 2000 AS more FROM walia_info('item_v');
DELETE FROM item WHERE id % 2 = 0;
VACUUM item;
SELECT nodes, heap_tids, nulls, tombstones FROM walia_info('item_v');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <-> '[5,5,5]' OFFSET 0) AS s;
SELECT id FROM item ORDER BY v <-> '[501,4,6]' LIMIT 3;
INSERT INTO item SELECT i, 'third', ARRAY[i, i % 7, i % 11]::vecf32 FROM generate_series(1, 2000) AS i WHERE i % 2 = 0;
VACUUM item;
SELECT nodes, heap_tids, nulls FROM walia_info('item_v');
SELECT * FROM walia_check('item_v') WHERE severity = 'error';
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <-> '[5,5,5]' OFFSET 0) AS s;
DELETE FROM item;
VACUUM item;
SELECT id FROM item ORDER BY v <-> '[5,5,5]' LIMIT 3;
INSERT INTO item VALUES (1, 'again', '[1,1,1]');
SELECT id FROM item ORDER BY v <-> '[5,5,5]' LIMIT 3;
-- Reindexing.
INSERT INTO item SELECT i, 'fourth', ARRAY[i, i % 7, i % 11]::vecf32 FROM generate_series(2, 500) AS i;
REINDEX INDEX item_v;
SELECT nodes, heap_tids, tombstones FROM walia_info('item_v');
REINDEX INDEX CONCURRENTLY item_v;
SELECT nodes, heap_tids, tombstones FROM walia_info('item_v');
CREATE INDEX CONCURRENTLY item_w ON item USING walia_hnsw (v vecf32_l1_ops);
SELECT nodes, heap_tids, metric FROM walia_info('item_w');
SELECT id FROM item ORDER BY v <+> '[300,6,3]' LIMIT 1;
DROP TABLE item;

-- An unlogged table.
CREATE UNLOGGED TABLE item (id int, v vecf32(3));
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
INSERT INTO item SELECT i, ARRAY[i, 0, 0]::vecf32 FROM generate_series(1, 100) AS i;
SELECT id FROM item ORDER BY v <-> '[50,0,0]' LIMIT 1;
ALTER TABLE item SET LOGGED;
SELECT id FROM item ORDER BY v <-> '[50,0,0]' LIMIT 1;
DROP TABLE item;

-- A temporary table.
CREATE TEMP TABLE item (id int, v vecf32(3));
INSERT INTO item SELECT i, ARRAY[i, 0, 0]::vecf32 FROM generate_series(1, 100) AS i;
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
INSERT INTO item SELECT i, ARRAY[i, 0, 0]::vecf32 FROM generate_series(101, 200) AS i;
DELETE FROM item WHERE id = 150;
VACUUM item;
SELECT id FROM item ORDER BY v <-> '[150.1,0,0]' LIMIT 2;
SELECT nodes FROM walia_info('item_v');
DROP TABLE item;

-- A partitioned table.
CREATE TABLE item (id int, v vecf32(3)) PARTITION BY RANGE (id);
CREATE TABLE item_low PARTITION OF item FOR VALUES FROM (0) TO (100);
CREATE TABLE item_high PARTITION OF item FOR VALUES FROM (100) TO (1000);
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
INSERT INTO item SELECT i, ARRAY[i, 0, 0]::vecf32 FROM generate_series(1, 200) AS i;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <-> '[99.4,0,0]' LIMIT 4;
SELECT id FROM item ORDER BY v <-> '[99.4,0,0]' LIMIT 4;
SELECT walia_info('item_v');
DROP TABLE item;

-- Vectors that do not fit into maintenance_work_mem move to a file; the rest of a graph that does not fit
-- either is joined to what is written.
CREATE TABLE item (id int, v vecf32(200));
INSERT INTO item SELECT i, array_fill(sin(i)::real, ARRAY[100]) || array_fill(cos(i * 3)::real, ARRAY[50])
    || array_fill(sin(sqrt(i) * 9)::real, ARRAY[50]) FROM generate_series(1, 3000) AS i;
ANALYZE item;
SET maintenance_work_mem = '1MB';
\set VERBOSITY terse
CREATE INDEX item_v ON item USING walia_hnsw (v);
\set VERBOSITY default
SELECT nodes, heap_tids FROM walia_info('item_v');
SELECT * FROM walia_check('item_v') WHERE severity = 'error';
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM item ORDER BY v <~> (SELECT v FROM item WHERE id = 77) OFFSET 0) AS s;
SELECT id FROM item ORDER BY v <~> (SELECT v FROM item WHERE id = 77) LIMIT 1;
DROP TABLE item;
