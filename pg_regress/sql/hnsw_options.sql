-- Definitions that are refused, and what they are told.
CREATE TABLE item (id int, v vecf32(3), free vecf32, n int);
CREATE INDEX ON item USING walia_hnsw (v) WITH (m = 1);
CREATE INDEX ON item USING walia_hnsw (v) WITH (m = 101);
CREATE INDEX ON item USING walia_hnsw (v) WITH (ef_construction = 3);
CREATE INDEX ON item USING walia_hnsw (v) WITH (ef_construction = 1001);
CREATE INDEX ON item USING walia_hnsw (v) WITH (m = 16, ef_construction = 31);
CREATE INDEX ON item USING walia_hnsw (v) WITH (lists = 100);
CREATE INDEX ON item USING walia_hnsw (free);
CREATE INDEX ON item USING walia_hnsw (n);
CREATE INDEX ON item USING walia_hnsw (v, v);
CREATE INDEX ON item USING walia_hnsw (v) INCLUDE (id);
CREATE UNIQUE INDEX ON item USING walia_hnsw (v);
CREATE INDEX ON item USING walia_hnsw (v vecf16_l2_ops);
CREATE INDEX ON item USING walia_hnsw (v DESC);

-- What is allowed.
CREATE INDEX item_v ON item USING walia_hnsw (v) WITH (m = 8, ef_construction = 40);
SELECT reloptions FROM pg_class WHERE relname = 'item_v';
ALTER INDEX item_v SET (ef_construction = 15);
ALTER INDEX item_v SET (m = 4);
SELECT m, ef_construction FROM walia_info('item_v');
REINDEX INDEX item_v;
SELECT m, ef_construction FROM walia_info('item_v');
CREATE INDEX item_free ON item USING walia_hnsw ((free::vecf32(2))) WHERE vector_dims(free) = 2;
INSERT INTO item (id, free) VALUES (1, '[1,2]'), (2, '[1,2,3]'), (3, '[3,4]');
SET enable_seqscan = off;
SELECT id FROM item WHERE vector_dims(free) = 2 ORDER BY free::vecf32(2) <~> '[3,4]';
RESET enable_seqscan;

-- Properties of the access method, and operator classes that are complete.
SELECT name, pg_indexam_has_property(oid, name) FROM pg_am, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col',
    'can_exclude', 'can_include']) AS name WHERE amname = 'walia_hnsw';
SELECT name, pg_index_column_has_property('item_v', 1, name) FROM unnest(ARRAY['distance_orderable', 'orderable',
    'returnable', 'search_array', 'search_nulls']) AS name;
SELECT opcname, amvalidate(c.oid) FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = opcmethod WHERE amname = 'walia_hnsw'
    ORDER BY opcname;
CREATE OPERATOR CLASS wrong_ops FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <-> (vecf32, vecf32) FOR ORDER BY float_ops, FUNCTION 1 vector_dims(vecf32);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'wrong_ops';
CREATE INDEX ON item USING walia_hnsw (v wrong_ops);
DROP OPERATOR CLASS wrong_ops USING walia_hnsw;
CREATE OPERATOR CLASS wrong_ops FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <-> (vecf32, vecf32) FOR ORDER BY float_ops;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'wrong_ops';
DROP OPERATOR CLASS wrong_ops USING walia_hnsw;
CREATE OPERATOR CLASS wrong_ops FOR TYPE vecf32 USING walia_hnsw AS FUNCTION 1 l2_distance(vecf32, vecf32);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'wrong_ops';
DROP OPERATOR CLASS wrong_ops USING walia_hnsw;
DROP TABLE item;

-- Settings.
SHOW walia.ef_search;
SET walia.ef_search = 0;
SET walia.ef_search = 10001;
SHOW walia.iterative_scan;
SET walia.iterative_scan = 'on';
SHOW walia.max_scan_tuples;
SET walia.max_scan_tuples = 0;
SHOW walia.prefetch_depth;
SHOW walia.build_threads;
