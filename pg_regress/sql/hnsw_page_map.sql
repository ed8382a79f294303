-- What the pages of an index and of a table hold.
CREATE TABLE item (id int, v vecf32(3));
INSERT INTO item SELECT i, ARRAY[i, i % 7, 1] FROM generate_series(1, 200) AS i;
INSERT INTO item VALUES (201, NULL);
CREATE INDEX item_v ON item USING walia_hnsw (v vecf32_l2_ops);
SELECT kind, sum(tombstones) AS tombstones, bool_and(cached) AS cached, bool_and(dirty) AS dirty
    FROM walia_page_map('item_v') GROUP BY kind ORDER BY kind;
SELECT kind, sum(tuples) AS tuples, sum(tombstones) AS tombstones FROM walia_page_map('item') GROUP BY kind;
DELETE FROM item WHERE id <= 20;
SELECT count(*) FROM item;
SELECT kind, sum(tuples) AS tuples, sum(tombstones) AS tombstones FROM walia_page_map('item') GROUP BY kind;
VACUUM (INDEX_CLEANUP ON) item;
SELECT sum(tombstones) FROM walia_page_map('item_v');
-- Ranges of so many pages are read whole.
SELECT (SELECT (sum(tuples), sum(tombstones), sum(free_bytes), count(*), count(*) FILTER (WHERE cached)) FROM walia_page_map('item_v'))
    = (SELECT (sum(tuples)::bigint, sum(tombstones)::bigint, sum(free_bytes)::bigint, sum(pages)::bigint, sum(cached)::bigint)
       FROM walia_page_map('item_v', 3)) AS equal;
SELECT count(*), bool_and(pages = 1 AND pages_read = 1) FROM walia_page_map('item', 10000) HAVING count(*) = pg_relation_size('item') / 8192;
-- A part of the pages, in ranges that stay where they are while the relation grows; without a sample nothing
-- is read.
CREATE FUNCTION mapped(first bigint, length bigint) RETURNS TABLE (equal boolean, pages bigint) LANGUAGE sql AS $$
    SELECT bool_and((r.kind, r.tuples, r.tombstones, r.free_bytes, r.cached, r.dirty) = (m.kind, m.tuples, m.tombstones, m.free_bytes, m.cached::int, m.dirty::int)
        AND r.pages = 1 AND r.pages_read = 1), count(*)
    FROM walia_page_map('item_v', 10000, first, length) r LEFT JOIN walia_page_map('item_v') m ON m.block = r.first_block $$;
SELECT * FROM mapped(1, 2);
SELECT equal, pages = pg_relation_size('item_v') / 8192 - 1 AS to_the_end FROM mapped(1, 0);
SELECT sum(pages) = pg_relation_size('item_v') / 8192 AS all_pages, min(pages) FILTER (WHERE first_block = 0), max(first_block % 2), sum(pages_read),
    count(kind), count(tuples), count(tombstones), count(free_bytes), sum(cached) = pg_relation_size('item_v') / 8192 AS all_cached
    FROM walia_page_map('item_v', 1000, pages => 2000, sampled_pages => 0);
SELECT count(*) FROM walia_page_map('item_v', 10, first_block => 4294967295);
SELECT * FROM walia_prewarm('item_v');
SELECT pages_loaded, pages_cached_before = pg_relation_size('item_v') / 8192 AS all_cached, pages_without_room FROM walia_prewarm('item_v', 'all');
-- An empty index, and pages in the session's own memory.
CREATE TEMP TABLE mine (v vecf32(3));
CREATE INDEX mine_v ON mine USING walia_hnsw (v);
SELECT block, kind, tuples, cached, dirty, usage_count FROM walia_page_map('mine_v');
SELECT count(*) FROM walia_page_map('mine');
SELECT count(*) FROM walia_page_map('mine', 4);
-- Refused.
SELECT * FROM walia_page_map('item', 0);
SELECT * FROM walia_page_map('item', 10001);
SELECT * FROM walia_page_map('item', 1, first_block => -1);
SELECT * FROM walia_page_map('item', 1, pages => 4294967297);
SELECT * FROM walia_page_map('item', 1, sampled_pages => -1);
SELECT * FROM walia_prewarm('item_v', 'lower');
SELECT * FROM walia_prewarm('item_v', NULL);
SELECT * FROM walia_prewarm('mine_v');
CREATE VIEW seen AS SELECT * FROM item;
SELECT * FROM walia_page_map('seen');
CREATE INDEX item_id ON item (id);
SELECT * FROM walia_page_map('item_id');
CREATE TABLE parted (v vecf32(3)) PARTITION BY RANGE (v);
CREATE INDEX parted_v ON parted USING walia_hnsw (v);
SELECT * FROM walia_page_map('parted');
SELECT * FROM walia_page_map('parted_v', 2);
SELECT * FROM walia_page_map(0::regclass);
DROP FUNCTION mapped;
DROP TABLE item, parted, mine CASCADE;
