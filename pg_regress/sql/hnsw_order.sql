-- Every operator class gives all rows in the order of its operator; zero vectors and NULLs come last.
SET walia.nearest_scan = off;
CREATE TABLE item (id int, v vecf32(3), h vecf16(3));
INSERT INTO item (id, v) VALUES
    (1, '[1,2,3]'), (2, '[1,1,1]'), (3, '[-1,2,0]'), (4, '[3,2,1]'), (5, '[0,0,0]'), (6, NULL), (7, '[9,9,8]'), (8, NULL),
    (9, '[1,1,1]'), (10, '[0,0,0]'), (11, '[0.5,-2,4]');
UPDATE item SET h = v::vecf16;
SET enable_seqscan = off;
SET enable_sort = off;

CREATE INDEX item_v ON item USING walia_hnsw (v);
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[1,2,2]';
SELECT id, round((v <~> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY v <~> '[1,2,2]';
SELECT id, round((v <=> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY v <=> '[1,2,2]';
DROP INDEX item_v;
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
SELECT id, round((v <-> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY v <-> '[1,2,2]';
DROP INDEX item_v;
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_ip_ops);
SELECT id, round((v <#> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY v <#> '[1,2,2]';
DROP INDEX item_v;
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l1_ops);
SELECT id, round((v <+> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY v <+> '[1,2,2]';

CREATE INDEX item_h ON item USING walia_hnsw (h);
SELECT id, round((h <~> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY h <~> '[1,2,2]';
SELECT id, round((h <=> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY h <=> '[1,2,2]';
DROP INDEX item_h;
CREATE INDEX item_h ON item USING walia_hnsw (h vecf16_l2_ops);
SELECT id, round((h <-> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY h <-> '[1,2,2]';
DROP INDEX item_h;
CREATE INDEX item_h ON item USING walia_hnsw (h vecf16_ip_ops);
SELECT id, round((h <#> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY h <#> '[1,2,2]';
DROP INDEX item_h;
CREATE INDEX item_h ON item USING walia_hnsw (h vecf16_l1_ops);
SELECT id, round((h <+> '[1,2,2]')::numeric, 4) AS distance FROM item ORDER BY h <+> '[1,2,2]';
DROP TABLE item;

-- Rows that are inserted later come at their places, into an index that was empty.
CREATE TABLE item (id int, v vecf32(3));
CREATE INDEX ON item USING walia_hnsw (v vecf32_l2_ops);
SELECT id FROM item ORDER BY v <-> '[0,0,0]';
INSERT INTO item VALUES (1, '[1,0,0]'), (2, '[3,0,0]'), (3, NULL), (4, '[2,0,0]'), (5, '[1,0,0]'), (6, '[0,0,0]');
SELECT id FROM item ORDER BY v <-> '[0,0,0]', id;
UPDATE item SET v = '[9,0,0]' WHERE id = 1;
UPDATE item SET v = '[0,0,1]' WHERE id = 3;
DELETE FROM item WHERE id = 4;
SELECT id FROM item ORDER BY v <-> '[0,0,0]', id;

-- An index of a thousand rows agrees with a sort; the number of dimensions is anything up to 16000.
TRUNCATE item;
INSERT INTO item SELECT i, ARRAY[i % 10, i / 10 % 10, i / 100] FROM generate_series(0, 999) AS i;
SET walia.ef_search = 1000;
WITH sorted AS MATERIALIZED (SELECT array_agg(v <-> '[4.1,5.2,6.3]' ORDER BY v <-> '[4.1,5.2,6.3]') AS a FROM item),
    scanned AS MATERIALIZED (SELECT array_agg(d) AS a FROM (SELECT v <-> '[4.1,5.2,6.3]' AS d FROM item ORDER BY 1) s)
SELECT cardinality(scanned.a), sorted.a = scanned.a AS equal FROM sorted, scanned;
RESET walia.ef_search;
CREATE TABLE wide (id int, v vecf32(16000), h vecf16(2000));
INSERT INTO wide SELECT i, array_fill(i::real, ARRAY[16000]), array_fill(i::real, ARRAY[2000]) FROM generate_series(1, 5) AS i;
CREATE INDEX ON wide USING walia_hnsw (v vecf32_l2_ops);
CREATE INDEX ON wide USING walia_hnsw (h vecf16_l1_ops);
INSERT INTO wide SELECT i, array_fill(i::real, ARRAY[16000]), array_fill(i::real, ARRAY[2000]) FROM generate_series(6, 9) AS i;
SELECT id FROM wide ORDER BY v <-> array_fill(6.2::real, ARRAY[16000])::vecf32 LIMIT 4;
SELECT id FROM wide ORDER BY h <+> array_fill(3.2::real, ARRAY[2000])::vecf16 LIMIT 4;
DROP TABLE wide, item;
