-- What defines an index and builds none, and could not be built later.
SET walia.nearest_scan = off;
CREATE TABLE item (id int, v vecf32(3), h vecf16(3));
INSERT INTO item SELECT i, ARRAY[i, i % 7, 1], ARRAY[i % 10, 1, 2] FROM generate_series(1, 50) AS i;
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
CREATE INDEX item_v_l1 ON item USING walia_hnsw (v vecf32_l1_ops);
CREATE INDEX item_h ON item USING walia_hnsw (h) WITH (m = 4);
-- Without dimensions: no value changes, and Postgres would keep the indexes' files.
ALTER TABLE item ALTER COLUMN v TYPE vecf32;
CREATE DOMAIN any_vector AS vecf32;
ALTER TABLE item ALTER COLUMN v TYPE any_vector;
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'item'::regclass AND attname = 'v';
-- With other ones, or as a domain with the same: the indexes are built anew, or stay.
CREATE DOMAIN three AS vecf32(3) CHECK (vector_dims(VALUE) < 100);
CREATE DOMAIN also_three AS three;
ALTER TABLE item ALTER COLUMN v TYPE also_three;
SELECT dimensions, nodes, heap_tids FROM walia_info('item_v');
SELECT * FROM walia_check('item_v', true);
REINDEX INDEX item_v;
REINDEX INDEX CONCURRENTLY item_v;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <-> '[3,3,1]' LIMIT 2;
SELECT id FROM item ORDER BY v <-> '[3,3,1]' LIMIT 2;
INSERT INTO item VALUES (51, '[3,3,2]', NULL);
SELECT id FROM item ORDER BY v <-> '[3,3,2]' LIMIT 1;
RESET enable_seqscan;
ALTER TABLE item ALTER COLUMN v TYPE vecf32(2) USING subvector(v, 1, 2);
SELECT dimensions, nodes, heap_tids FROM walia_info('item_v');
-- Options that do not fit the column or the operator class.
ALTER INDEX item_v_l1 SET (quantization = 2);
ALTER INDEX item_h SET (storage = f32);
ALTER INDEX item_h SET (storage = sq8, ef_construction = 30);
ALTER INDEX item_h RESET (storage);
ALTER INDEX item_h RENAME TO item_half;
REINDEX TABLE item;
-- A column of a domain, and an expression.
CREATE TABLE of_domain (id int, v also_three, free any_vector);
CREATE INDEX of_domain_v ON of_domain USING walia_hnsw (v);
CREATE INDEX of_domain_free ON of_domain USING walia_hnsw (free);
CREATE INDEX of_domain_expression ON of_domain USING walia_hnsw ((free::three) vecf32_ip_ops);
INSERT INTO of_domain SELECT i, ARRAY[i, 1, 2], ARRAY[i, 2, 1] FROM generate_series(1, 20) AS i;
SELECT relname, dimensions, nodes FROM pg_class CROSS JOIN walia_info(oid) WHERE relname LIKE 'of\_domain\__%' ORDER BY 1;
SELECT * FROM walia_check('of_domain_v', true);
DROP TABLE of_domain;
-- Partitioned tables.
CREATE TABLE parted (id int, v vecf32, w vecf32(3)) PARTITION BY RANGE (id);
CREATE INDEX ON parted USING walia_hnsw (v);
CREATE INDEX ON ONLY parted USING walia_hnsw (w vecf32_l1_ops) WITH (quantization = 1);
CREATE INDEX parted_w ON parted USING walia_hnsw (w vecf32_l1_ops);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
ALTER TABLE parted ALTER COLUMN w TYPE vecf32;
CREATE TABLE likewise (LIKE parted INCLUDING ALL);
SELECT indexdef FROM pg_indexes WHERE tablename IN ('parted', 'parted_1', 'likewise') ORDER BY 1;
-- Told by its handler: an access method of another name is none else.
CREATE ACCESS METHOD other_name TYPE INDEX HANDLER walia_hnsw_handler;
CREATE OPERATOR CLASS other_ops DEFAULT FOR TYPE vecf32 USING other_name AS
    OPERATOR 1 <-> (vecf32, vecf32) FOR ORDER BY float_ops, FUNCTION 1 l2_distance(vecf32, vecf32);
CREATE TABLE other (v vecf32(3));
CREATE INDEX other_v ON other USING other_name (v);
ALTER TABLE other ALTER COLUMN v TYPE vecf32;
DROP TABLE item, parted, likewise, other;
DROP ACCESS METHOD other_name CASCADE;
DROP DOMAIN also_three, three, any_vector;
