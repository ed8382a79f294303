-- The planner takes the index for ORDER BY … LIMIT, and leaves it where something else is cheaper.
-- Where few rows pass, the walk looks first whether they lie around the query.
CREATE TABLE item (id int PRIMARY KEY, category int, v vecf32(3));
INSERT INTO item SELECT i, i % 100, ARRAY[sin(i), cos(i * 3), sin(sqrt(i) * 9)]::vecf32 FROM generate_series(1, 20000) AS i;
CREATE INDEX item_v ON item USING walia_hnsw (v);
ANALYZE item;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <=> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM item WHERE category = 5 ORDER BY v <~> '[1,2,3]' LIMIT 10;
-- One row by its key: sorted, not searched.
EXPLAIN (COSTS OFF) SELECT id FROM item WHERE id = 5 ORDER BY v <~> '[1,2,3]' LIMIT 10;
-- All rows: sorted.
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[1,2,3]';
-- Another operator, another direction, two operators at once, no order at all.
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[1,2,3]' DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[1,2,3]', v <=> '[3,2,1]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT count(*) FROM item WHERE v IS NOT NULL;
-- The other side of the operator, a nested loop's parameter, a join.
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY '[1,2,3]' <~> v LIMIT 10;
EXPLAIN (COSTS OFF) SELECT q.id, near.id FROM (SELECT * FROM item WHERE id < 3) AS q,
    LATERAL (SELECT id FROM item ORDER BY v <~> q.v LIMIT 2) AS near;
SELECT q.id, near.id FROM (SELECT * FROM item WHERE id < 4) AS q,
    LATERAL (SELECT id FROM item ORDER BY v <~> q.v LIMIT 1) AS near ORDER BY 1;
-- A partial index without ORDER BY still answers, should it be forced.
CREATE INDEX item_part ON item USING walia_hnsw (v) WHERE category = 7;
DROP INDEX item_v;
EXPLAIN (COSTS OFF) SELECT id FROM item WHERE category = 7 ORDER BY v <~> '[1,2,3]' LIMIT 10;
SET enable_seqscan = off;
SELECT count(*) FROM item WHERE category = 7;
RESET enable_seqscan;
-- A thousand rows, all of them wanted: sorted.
CREATE TABLE small AS SELECT * FROM item LIMIT 1000;
ALTER TABLE small ALTER v TYPE vecf32(3);
CREATE INDEX ON small USING walia_hnsw (v);
ANALYZE small;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <~> '[1,2,3]';
DROP TABLE small, item;

-- With codes a search reads one page a hop, and the planner knows; it reads no page to learn that.
CREATE TABLE coded (id int, v vecf32(24));
INSERT INTO coded SELECT i, (SELECT array_agg(sin(i * j) ORDER BY j)::real[]::vecf32 FROM generate_series(1, 24) AS j)
    FROM generate_series(1, 10000) AS i;
ANALYZE coded;
CREATE INDEX coded_v ON coded USING walia_hnsw (v vecf32_l2_ops);
SET walia.nearest_scan = off;
CREATE FUNCTION cost_of_first_row() RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE explained json;
BEGIN
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT id FROM coded ORDER BY v <-> %L LIMIT 10', array_fill(1, ARRAY[24])::vecf32)
        INTO explained;
    RETURN CASE explained->0->'Plan'->'Plans'->0->>'Node Type' WHEN 'Index Scan' THEN explained->0->'Plan'->'Startup Cost' END;
END $$;
SELECT cost_of_first_row() AS codes \gset
ALTER INDEX coded_v SET (quantization = none);
SELECT cost_of_first_row() AS no_codes \gset
SELECT :codes < :no_codes / 1.3 AS codes_save_pages;
DROP TABLE coded;
DROP FUNCTION cost_of_first_row;
