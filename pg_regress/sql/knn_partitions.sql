-- The indexes of partitions, inheritance children and UNION ALL branches are searched as one.
CREATE TABLE doc (id int, tenant int, v vecf32(4)) PARTITION BY LIST (tenant);
CREATE TABLE doc_1 PARTITION OF doc FOR VALUES IN (1);
CREATE TABLE doc_2 PARTITION OF doc FOR VALUES IN (2) PARTITION BY HASH (id);
CREATE TABLE doc_2_0 PARTITION OF doc_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE doc_2_1 PARTITION OF doc_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE doc_rest PARTITION OF doc DEFAULT;
INSERT INTO doc SELECT i, i % 5,
    CASE WHEN i % 100 <> 0 THEN ARRAY[sin(i), cos(i * 3), sin(i * 7), cos(i * 11)]::vecf32 END
    FROM generate_series(1, 2000) AS i;
CREATE INDEX ON doc USING walia_hnsw (v vecf32_l2_ops);
ANALYZE doc;
SET enable_seqscan = off;
SET enable_sort = off;

-- Whether a query gives the same rows, in the same order, as without indexes.
CREATE FUNCTION is_exact(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE found text; expected text;
BEGIN
    EXECUTE format('SELECT array_agg(row)::text FROM (SELECT ROW(query.*)::text AS row FROM (%s) AS query) AS rows', query) INTO found;
    SET LOCAL enable_indexscan = off;
    EXECUTE format('SELECT array_agg(row)::text FROM (SELECT ROW(query.*)::text AS row FROM (%s) AS query) AS rows', query) INTO expected;
    SET LOCAL enable_indexscan = on;
    RETURN found = expected AND found IS NOT NULL;
END $$;
-- The nodes of a query's plan, each kind of them once.
CREATE FUNCTION nodes(query text) RETURNS TABLE (node text) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        node := substring(line FROM '(Limit|Merge Append|Custom Scan \(\w+\)|Index Scan|Seq Scan|Sort|LockRows|Nested Loop|Result|Materialize)');
        CONTINUE WHEN node IS NULL OR line LIKE '%Sort Key%';
        RETURN NEXT;
    END LOOP;
END $$;

EXPLAIN (COSTS OFF) SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5;
SELECT id, round((v <-> '[1,0,0,1]')::numeric, 4) AS distance FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5;
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5$$);
SELECT is_exact($$SELECT *, v <-> '[1,0,0,1]' FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 40 OFFSET 30$$);
SELECT is_exact($$SELECT id FROM doc WHERE id % 7 = 3 ORDER BY v <-> '[1,0,0,1]' LIMIT 100$$);
-- Far beyond the first round, to the last row and the NULLs; there the order is that of two sorted runs.
SELECT count(*), count(DISTINCT id), count(v) FROM (SELECT * FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 3000) AS everything;
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM doc ORDER BY v <-> NULL LIMIT 3000) AS everything;
SET walia.max_scan_tuples = 100;
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 3000) AS everything;
RESET walia.max_scan_tuples;
-- Without further rounds the best ef_search of all.
SET walia.iterative_scan = off;
SELECT count(*) FROM (SELECT * FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 100) AS best;
RESET walia.iterative_scan;

-- Pruned when planned: what is left is searched as one, or is one index. Pruned when run: left to Postgres.
SELECT * FROM nodes($$SELECT id FROM doc WHERE tenant = 2 ORDER BY v <-> '[1,0,0,1]' LIMIT 5$$);
SELECT * FROM nodes($$SELECT id FROM doc WHERE tenant = 1 ORDER BY v <-> '[1,0,0,1]' LIMIT 5$$);
SET plan_cache_mode = force_generic_plan;
PREPARE of_tenant(int) AS SELECT id FROM doc WHERE tenant = $1 ORDER BY v <-> '[1,0,0,1]' LIMIT 5;
SELECT * FROM nodes('EXECUTE of_tenant(2)');
PREPARE of_part(int) AS SELECT id FROM doc WHERE tenant = 2 AND id = $1 ORDER BY v <-> '[1,0,0,1]' LIMIT 5;
SELECT * FROM nodes('EXECUTE of_part(7)');
-- Parameters elsewhere: in the query, the filter, LIMIT and OFFSET.
PREPARE page(vecf32, float8, int, int) AS
    SELECT id, tenant FROM doc WHERE vector_norm(v) > $2 ORDER BY v <-> $1 LIMIT $3 OFFSET $4;
SELECT * FROM nodes($$EXECUTE page('[1,0,0,1]', 1.5, 4, 2)$$);
EXECUTE page('[1,0,0,1]', 1.5, 4, 2);
EXECUTE page('[1,0,0,1]', 0, 4, 0);
SELECT count(*) FROM doc WHERE vector_norm(v) > 1.98;
EXECUTE page(NULL, 1.98, 1, 0);
RESET plan_cache_mode;

-- A scan for each row of another table.
SELECT is_exact($$SELECT q.id, near.id AS near FROM (SELECT * FROM doc_1 WHERE id < 50) AS q,
    LATERAL (SELECT id FROM doc ORDER BY v <-> q.v LIMIT 3) AS near$$);
SELECT is_exact($$SELECT id, (SELECT array_agg(near.id) FROM (SELECT id FROM doc ORDER BY v <-> q.v LIMIT 3) AS near)
    FROM doc_1 AS q WHERE id < 50$$);

-- A cursor that goes on, and back where it may.
BEGIN;
DECLARE near SCROLL CURSOR FOR SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]';
FETCH 3 FROM near;
MOVE 200 IN near;
FETCH 2 FROM near;
FETCH ABSOLUTE 2 FROM near;
COMMIT;

-- Rows that are locked, another order, several keys: Postgres's own plans.
SELECT * FROM nodes($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5 FOR UPDATE$$);
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5 FOR UPDATE$$);
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' DESC, id LIMIT 5$$);
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]', id LIMIT 5$$);
SET walia.federated_scan = off;
SELECT * FROM nodes($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5$$);
RESET walia.federated_scan;

-- A partition without an index is sorted and merged with the others.
DROP INDEX doc_v_idx;
CREATE INDEX ON doc_1 USING walia_hnsw (v vecf32_l2_ops);
CREATE INDEX ON doc_2_0 USING walia_hnsw (v vecf32_l2_ops);
CREATE INDEX ON doc_rest USING walia_hnsw (v vecf32_l2_ops) WITH (quantization = none);
SELECT * FROM nodes($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 5$$);
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 150$$);
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 3000) AS everything;

-- Row security.
CREATE ROLE regress_walia_tenant;
GRANT SELECT ON doc TO regress_walia_tenant;
ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON doc USING (id % 2 = 1);
SET ROLE regress_walia_tenant;
SELECT is_exact($$SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 30$$);
SELECT count(*) FILTER (WHERE id % 2 = 0) FROM (SELECT id FROM doc ORDER BY v <-> '[1,0,0,1]' LIMIT 30) AS near;
RESET ROLE;
DROP TABLE doc;
DROP ROLE regress_walia_tenant;

-- Three tables of their own; UNION ALL, by column and by expression; other types and distances among them.
CREATE TABLE vision (id int, v vecf32(3));
CREATE TABLE audio (id int, label text, v vecf32(3));
CREATE TABLE logic (v vecf16(3), id int);
INSERT INTO vision SELECT i, ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vecf32 FROM generate_series(1, 500) AS i;
INSERT INTO audio SELECT i, i::text, ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vecf32 FROM generate_series(501, 900) AS i;
INSERT INTO logic SELECT ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vecf16, i FROM generate_series(901, 1200) AS i;
CREATE INDEX ON vision USING walia_hnsw (v);
CREATE INDEX ON audio USING walia_hnsw (v);
CREATE INDEX ON logic USING walia_hnsw (v);
CREATE INDEX ON logic USING walia_hnsw (v vecf16_l2_ops);
ANALYZE vision, audio, logic;
SET walia.nearest_scan = off;
EXPLAIN (COSTS OFF, VERBOSE) SELECT modality, id FROM (
    SELECT 'vision' AS modality, id, v FROM vision UNION ALL SELECT 'audio', id, v FROM audio) AS every
    WHERE id % 2 = 0 ORDER BY v <~> '[1,2,3]' LIMIT 4;
RESET walia.nearest_scan;
SELECT modality, id FROM (
    SELECT 'vision' AS modality, id, v FROM vision UNION ALL SELECT 'audio', id, v FROM audio) AS every
    WHERE id % 2 = 0 ORDER BY v <~> '[1,2,3]' LIMIT 4;
SELECT is_exact($$SELECT modality, id FROM (
    SELECT 'vision' AS modality, id, v FROM vision UNION ALL SELECT 'audio', id, v FROM audio) AS every
    WHERE id % 2 = 0 ORDER BY v <~> '[1,2,3]' LIMIT 30$$);
SELECT * FROM nodes($$SELECT id, v <~> '[1,2,3]' AS d FROM vision UNION ALL SELECT id, v <~> '[1,2,3]' FROM audio
    UNION ALL SELECT id, v <~> '[1,2,3]' FROM logic ORDER BY d LIMIT 20$$);
SELECT is_exact($$SELECT id, v <~> '[1,2,3]' AS d FROM vision UNION ALL SELECT id, v <~> '[1,2,3]' FROM audio
    UNION ALL SELECT id, v <~> '[1,2,3]' FROM logic ORDER BY d LIMIT 20$$);
SELECT is_exact($$SELECT id, v <~> '[1,2,3]' AS d FROM vision UNION ALL SELECT id, v <~> '[3,2,1]' FROM audio
    UNION ALL SELECT id, v <-> '[1,2,3]' FROM logic ORDER BY d LIMIT 20$$);
SELECT is_exact($$SELECT id, v <~> '[1,2,3]' AS d FROM vision UNION ALL SELECT id, v <~> NULL FROM audio ORDER BY d LIMIT 20$$);

-- Inheritance.
CREATE TABLE vision_more () INHERITS (vision);
INSERT INTO vision_more SELECT i, ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vecf32 FROM generate_series(1201, 1500) AS i;
CREATE INDEX ON vision_more USING walia_hnsw (v);
ANALYZE vision_more;
EXPLAIN (COSTS OFF) SELECT id FROM vision ORDER BY v <~> '[1,2,3]' LIMIT 5;
SELECT is_exact($$SELECT id, tableoid FROM vision ORDER BY v <~> '[1,2,3]' LIMIT 40$$);
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM vision ORDER BY v <~> '[0,0,0]' LIMIT 2000) AS everything;
DROP TABLE vision, vision_more, audio, logic;
DROP FUNCTION is_exact, nodes;
