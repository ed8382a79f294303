-- What walia_recall measures, and for whom; what walia_check says of rows.
SELECT setseed(0.5);
CREATE TABLE item (id int, label text, v vecf32(8), h vecf16(8));
INSERT INTO item SELECT i, CASE WHEN i % 3 = 0 THEN 'third' END, w, w::real[]::vecf16
    FROM (SELECT i, (SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, 8 + 0 * i)) AS w
        FROM generate_series(1, 2000) AS i) AS s;
INSERT INTO item SELECT id, label, v, h FROM item WHERE id <= 100;
INSERT INTO item VALUES (0, 'third', NULL, NULL), (0, 'third', array_fill(0, ARRAY[8])::vecf32, array_fill(0, ARRAY[8])::vecf16);
CREATE INDEX item_cosine ON item USING walia_hnsw (v);
CREATE INDEX item_l2 ON item USING walia_hnsw (v vecf32_l2_ops) WITH (storage = sq8);
CREATE INDEX item_ip ON item USING walia_hnsw (h vecf16_ip_ops);
CREATE INDEX item_l1 ON item USING walia_hnsw (v vecf32_l1_ops);
CREATE INDEX item_partial ON item USING walia_hnsw (v vecf32_l2_ops) WHERE label = 'third';
CREATE INDEX item_expression ON item USING walia_hnsw ((subvector(v, 3, 4)::vecf32(4)) vecf32_l2_ops);
-- Rows that were updated in place, deleted, and not committed.
CREATE TABLE changed (id int, note text, v vecf32(8)) WITH (fillfactor = 50);
INSERT INTO changed SELECT id, label, v FROM item;
CREATE INDEX changed_v ON changed USING walia_hnsw (v vecf32_l2_ops);
UPDATE changed SET note = 'again' WHERE id % 2 = 0;
UPDATE changed SET v = subvector(v, 5, 4) || subvector(v, 1, 4) WHERE id % 5 = 0;
DELETE FROM changed WHERE id % 7 = 0;
CREATE TABLE indexes AS SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid IN ('item'::regclass, 'changed'::regclass);
SELECT index, r.recall > 0.95 AS good, r.recall <= 1 AS possible, r.samples, r.median_ms > 0 AS timed
    FROM indexes, walia_recall(index) AS r ORDER BY index::text;
SELECT index, f.* FROM indexes, walia_check(index, heapallindexed => true) AS f WHERE f.severity = 'error';
-- The same rows are sampled again. Fewer candidates find less.
CREATE TEMP TABLE measured AS SELECT recall FROM walia_recall('item_l2');
SELECT m.recall = r.recall AS same FROM measured AS m, walia_recall('item_l2') AS r;
SET walia.ef_search = 10;
SET walia.iterative_scan = off;
SELECT m.recall > r.recall AS better FROM measured AS m, walia_recall('item_l2', 20) AS r;
RESET walia.ef_search;
RESET walia.iterative_scan;
-- The whole table can be sampled, and all rows can be asked for: the row itself is none of its neighbours.
SELECT recall, samples FROM walia_recall('item_partial', k => 1000, samples => 1000);
-- Rows of the transaction itself take part.
BEGIN;
TRUNCATE changed;
SELECT recall, samples, median_ms FROM walia_recall('changed_v');
INSERT INTO changed SELECT id, label, v FROM item WHERE id BETWEEN 1 AND 50;
SELECT recall, samples FROM walia_recall('changed_v', 49);
DELETE FROM changed WHERE id > 1;
SELECT recall, samples FROM walia_recall('changed_v');
SELECT * FROM walia_check('changed_v', true);
ROLLBACK;
SELECT * FROM walia_recall('item_l2', 0);
SELECT * FROM walia_recall('item_l2', 10001);
SELECT * FROM walia_recall('item_l2', samples => 0);
SELECT * FROM walia_recall('item_l2', samples => 2000000000);
SELECT * FROM walia_recall('item');
-- Who may.
CREATE ROLE walia_reader;
SET ROLE walia_reader;
SELECT samples FROM walia_recall('item_l2');
RESET ROLE;
GRANT SELECT ON item TO walia_reader;
SET ROLE walia_reader;
SELECT samples FROM walia_recall('item_l2');
SELECT * FROM walia_check('item_l2', true);
RESET ROLE;
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
SET ROLE walia_reader;
SELECT samples FROM walia_recall('item_l2');
RESET ROLE;
SELECT samples FROM walia_recall('item_l2');
-- Expressions are computed as the table's owner, whoever asks.
CREATE FUNCTION told(vecf32) RETURNS vecf32 LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'computed as %', current_user; RETURN $1; END $$;
CREATE TABLE owned (v vecf32(2));
INSERT INTO owned VALUES ('[1,2]'), ('[3,4]');
GRANT CREATE ON SCHEMA public TO walia_reader;
ALTER TABLE owned OWNER TO walia_reader;
SET client_min_messages = warning;
CREATE INDEX owned_v ON owned USING walia_hnsw ((public.told(v)::vecf32(2)) vecf32_l2_ops);
RESET client_min_messages;
SELECT * FROM walia_check('owned_v', true);
SELECT recall, samples FROM walia_recall('owned_v', 1, 1);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'owned_v'::regclass;
SELECT * FROM walia_check('owned_v', true);
SELECT * FROM walia_recall('owned_v');
DROP TABLE item, changed, indexes, measured, owned;
DROP FUNCTION told;
REVOKE CREATE ON SCHEMA public FROM walia_reader;
DROP ROLE walia_reader;
