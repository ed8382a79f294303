-- A scan gives two sorted runs: they serve ORDER BY, but nothing that takes equal distances for neighbours,
-- whatever is disabled.
SET walia.nearest_scan = off;
CREATE TABLE item (id int, kind int, v vecf32(3));
INSERT INTO item SELECT i, i % 4, ARRAY[i % 11, i * 7 % 13, i * 3 % 17]::vecf32 FROM generate_series(1, 3000) AS i;
CREATE INDEX ON item USING walia_hnsw (v vecf32_l2_ops);
CREATE TABLE seen AS SELECT sqrt(i) AS x FROM generate_series(1, 40) AS i;
CREATE VIEW near AS SELECT id, kind, v <-> '[5,5,5]' AS d FROM item ORDER BY v <-> '[5,5,5]';
ANALYZE item, seen;
CREATE FUNCTION by_index(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE plan text;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN plan LIKE '%"Index Scan"%';
END $$;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_hashagg = off;
SET enable_hashjoin = off;

-- By the index: the query's own ORDER BY.
SELECT by_index($$SELECT id FROM item ORDER BY v <-> '[5,5,5]'$$);
SELECT by_index($$SELECT id FROM item ORDER BY v <-> '[5,5,5]' FETCH FIRST 5 ROWS WITH TIES$$);
SELECT by_index($$SELECT id, count(*) OVER () FROM item ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, x FROM item JOIN seen ON x = id ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, x FROM item LEFT JOIN seen ON x = id ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
-- The rank of the nearest rows, in the order in which they are given.
SELECT by_index($$SELECT id, rank() OVER (ORDER BY v <-> '[5,5,5]') FROM item ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, row_number() OVER w, dense_rank() OVER w FROM item WINDOW w AS (ORDER BY v <-> '[5,5,5]')
    ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
-- Subqueries with an ORDER BY of their own, whatever is done with their rows.
SELECT by_index($$SELECT d, count(*) FROM (SELECT * FROM near LIMIT 20) AS s GROUP BY d$$);
SELECT by_index($$SELECT DISTINCT d FROM near$$);
SELECT by_index($$SELECT min(d) FROM near$$);
SELECT by_index($$WITH s AS MATERIALIZED (SELECT * FROM near LIMIT 20) SELECT d, x FROM s FULL JOIN seen ON x = d$$);
SELECT by_index($$(SELECT d FROM near LIMIT 5) UNION (SELECT x FROM seen)$$);
SELECT by_index($$(SELECT v <-> '[5,5,5]' AS d FROM item ORDER BY d LIMIT 5) EXCEPT (SELECT x FROM seen)$$);
SELECT by_index($$SELECT id FROM near ORDER BY d LIMIT 5$$);
EXPLAIN (COSTS OFF) SELECT id FROM near ORDER BY d LIMIT 5;

-- Without it.
SELECT by_index($$SELECT v <-> '[5,5,5]' AS d, count(*) FROM item GROUP BY d$$);
SELECT by_index($$SELECT v <-> '[5,5,5]' AS d, count(*) FROM item GROUP BY d ORDER BY d LIMIT 5$$);
SELECT by_index($$SELECT v <-> '[5,5,5]' AS d, count(*) FROM item GROUP BY ROLLUP (d)$$);
SELECT by_index($$SELECT array_agg(id ORDER BY v <-> '[5,5,5]') FROM item$$);
SELECT by_index($$SELECT DISTINCT v <-> '[5,5,5]' AS d FROM item ORDER BY d LIMIT 5$$);
SELECT by_index($$SELECT DISTINCT ON (v <-> '[5,5,5]') id FROM item ORDER BY v <-> '[5,5,5]', id$$);
SELECT by_index($$SELECT min(v <-> '[5,5,5]') FROM item$$);
SELECT by_index($$SELECT kind, (SELECT min(v <-> '[5,5,5]') FROM item WHERE kind = k.kind) FROM generate_series(0, 3) AS k(kind)$$);
SELECT by_index($$SELECT id, rank() OVER (ORDER BY v <-> '[5,5,5]') FROM item$$);
SELECT by_index($$SELECT id, rank() OVER (ORDER BY v <-> '[5,5,5]') FROM item ORDER BY v <-> '[5,5,5]' LIMIT ALL$$);
SELECT by_index($$SELECT id, sum(kind) OVER (ORDER BY v <-> '[5,5,5]') FROM item ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, rank() OVER (PARTITION BY v <-> '[5,5,5]') FROM item ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, x FROM item JOIN seen ON x = v <-> '[5,5,5]' ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT id, x FROM item FULL JOIN seen ON x = v <-> '[5,5,5]'$$);
SELECT by_index($$SELECT id, x FROM item LEFT JOIN seen ON x = v <-> '[5,5,5]' ORDER BY v <-> '[5,5,5]' LIMIT 5$$);
SELECT by_index($$SELECT v <-> '[5,5,5]' FROM item UNION SELECT x FROM seen$$);

-- Ranks are those among the rows of the answer.
SELECT count(*), count(*) FILTER (WHERE rank <> among_answer) FROM (
    SELECT rank, rank() OVER (ORDER BY d) AS among_answer FROM (
        SELECT v <-> '[5,5,5]' AS d, rank() OVER (ORDER BY v <-> '[5,5,5]') FROM item ORDER BY v <-> '[5,5,5]' LIMIT 50) AS answer) AS ranks;
DROP VIEW near;
DROP TABLE item, seen;
DROP FUNCTION by_index;
