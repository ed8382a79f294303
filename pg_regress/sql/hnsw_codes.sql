-- Codes beside links and payloads in fewer bits: which options make them, and that nobody sees them in an
-- answer.
SET walia.nearest_scan = off;
SET walia.build_threads = 1;

-- A scan by the index, run to its end, beside a sort: rows that are missing or given twice, how often the
-- distance falls from one row to the next (once at most: where the second run begins), and whether distances
-- are those of the sort, in its order.
CREATE FUNCTION compare(relation text, distance text, ef_search int DEFAULT 1000, OUT plan text, OUT given bigint,
    OUT wrong bigint, OUT two_runs boolean, OUT as_sorted boolean) LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT id, %s AS d FROM %s ORDER BY %1$s', distance, relation);
    ids int[]; found float8[]; sorted_ids int[]; sorted float8[]; explained json;
BEGIN
    PERFORM set_config('walia.ef_search', ef_search::text, true);
    PERFORM set_config('enable_indexscan', 'off', true);
    EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) AS q', query) INTO sorted_ids, sorted;
    PERFORM set_config('enable_indexscan', 'on', true);
    PERFORM set_config('enable_seqscan', 'off', true);
    PERFORM set_config('enable_sort', 'off', true);
    EXECUTE format('EXPLAIN (FORMAT JSON) %s', query) INTO explained;
    EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) AS q', query) INTO ids, found;
    plan := explained->0->'Plan'->>'Node Type';
    given := cardinality(ids);
    wrong := (SELECT count(*) FROM (SELECT unnest(ids) AS id) AS a FULL JOIN (SELECT unnest(sorted_ids) AS id) AS b USING (id)
        WHERE a.id IS NULL OR b.id IS NULL) + given - (SELECT count(DISTINCT id) FROM unnest(ids) AS id);
    two_runs := (SELECT count(*) FROM (SELECT d < lag(d) OVER (ORDER BY n) AS falls
        FROM unnest(found) WITH ORDINALITY AS u (d, n)) AS f WHERE falls) <= 1;
    as_sorted := found = sorted;
END $$;

-- Vectors whose mean is far from zero. Every other is one of six that differ by less than half precision
-- tells.
CREATE FUNCTION near(dimensions int, i int) RETURNS vecf32 LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(CASE i % 2 WHEN 0 THEN 1 + sin(i * j) ELSE 1.5 + sin(i % 12 * j) / 2 + i * 1e-7 END ORDER BY j)::real[]::vecf32
    FROM generate_series(1, dimensions) AS j $$;

-- Words that are no options, and options that do not go together.
CREATE TABLE item (id int, category int, v vecf32(40), h vecf16(40));
CREATE INDEX ON item USING walia_hnsw (v) WITH (quantization = 3);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON item USING walia_hnsw (v) WITH (quantization = on);
CREATE INDEX ON item USING walia_hnsw (v) WITH (storage = f64);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON item USING walia_hnsw (h) WITH (storage = f32);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON item USING walia_hnsw (v vecf32_l1_ops) WITH (quantization = 1);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX item_l1 ON item USING walia_hnsw (v vecf32_l1_ops) WITH (quantization = none, storage = sq8);
ALTER INDEX item_l1 SET (quantization = 2);
REINDEX INDEX item_l1;
DROP INDEX item_l1;
CREATE INDEX item_option ON item USING walia_hnsw (v) WITH (quantization = '2', storage = 'F16');
SELECT reloptions FROM pg_class WHERE relname = 'item_option';
SELECT quantization, storage FROM walia_info('item_option');
ALTER INDEX item_option SET (quantization = none, storage = auto);
SELECT quantization, storage FROM walia_info('item_option');
REINDEX INDEX item_option;
SELECT quantization, storage FROM walia_info('item_option');
DROP INDEX item_option;

-- What is chosen by dimension, for an empty table.
CREATE TABLE shape (dimensions int, options text, type text);
INSERT INTO shape SELECT d, options, type FROM unnest(ARRAY[15, 16, 74, 75, 349, 350, 384, 768, 1536, 3072, 16000]) AS d,
    unnest(ARRAY['', '(storage = sq8)']) AS options, unnest(ARRAY['vecf32', 'vecf16']) AS type;
INSERT INTO shape VALUES (384, '(m = 32)', 'vecf32'), (384, '(m = 100, ef_construction = 200)', 'vecf32'),
    (384, '(quantization = 4)', 'vecf32'), (384, '(quantization = none)', 'vecf32'), (384, '(storage = f32)', 'vecf32'),
    (8, '(quantization = 1)', 'vecf32');
CREATE FUNCTION info(shape) RETURNS TABLE (m0 int, quantization int, code_dimensions int, code_bytes int, storage text)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE shaped (v %s(%s))', $1.type, $1.dimensions);
    EXECUTE format('CREATE INDEX shaped_v ON shaped USING walia_hnsw (v) %s', 'WITH ' || nullif($1.options, ''));
    RETURN QUERY SELECT i.m0, i.quantization, i.code_dimensions, i.code_bytes, i.storage FROM walia_info('shaped_v') AS i;
    DROP TABLE shaped;
END $$;
SELECT type, dimensions, options, i.* FROM shape, info(shape) AS i ORDER BY options, type, dimensions;
DROP TABLE shape CASCADE;

-- Duplicates, NULLs, zero vectors; every metric and payload; searches that are wide and that are narrow.
INSERT INTO item SELECT i, i % 3, near(40, i) FROM generate_series(1, 600) AS i;
INSERT INTO item SELECT 600 + i, i % 3, near(40, i) FROM generate_series(1, 600, 13) AS i;
INSERT INTO item SELECT 2000 + i, i % 3, NULL FROM generate_series(1, 7) AS i;
INSERT INTO item SELECT 3000 + i, i % 3, array_fill(0, ARRAY[40])::vecf32 FROM generate_series(1, 5) AS i;
UPDATE item SET h = v::vecf16;
CREATE FUNCTION compare_all(distance text, opclass text, type text DEFAULT 'v')
    RETURNS TABLE (quantization text, storage text, ef_search int, plan text, given bigint, wrong bigint, two_runs boolean,
        as_sorted boolean, findings bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR quantization, storage IN SELECT q, s FROM unnest(ARRAY['1', '2', '4', 'none']) AS q, unnest(ARRAY['f16', 'sq8']) AS s LOOP
        EXECUTE format('CREATE INDEX compared ON item USING walia_hnsw (%s %s) WITH (quantization = %s, storage = %s)',
            type, opclass, quantization, storage);
        findings := (SELECT count(*) FROM walia_check('compared'));
        FOREACH ef_search IN ARRAY ARRAY[1000, 3] LOOP
            SELECT * INTO plan, given, wrong, two_runs, as_sorted FROM compare('item', distance, ef_search);
            as_sorted := as_sorted OR ef_search = 3;
            RETURN NEXT;
        END LOOP;
        DROP INDEX compared;
    END LOOP;
END $$;
SELECT * FROM compare_all('v <-> near(40, 5)', 'vecf32_l2_ops');
SELECT * FROM compare_all('v <~> near(40, 5)', 'vecf32_cosine_ops');
SELECT * FROM compare_all('v <#> near(40, 5)', 'vecf32_ip_ops');
-- The same by searches that test rows themselves.
SET walia.nearest_scan = on;
SELECT DISTINCT plan, given, wrong, two_runs FROM compare_all('v <-> near(40, 5)', 'vecf32_l2_ops');
SELECT DISTINCT plan, given, wrong, two_runs FROM compare_all('v <~> near(40, 5)', 'vecf32_cosine_ops');
SET walia.nearest_scan = off;
SELECT * FROM compare_all('h <-> near(40, 5)::vecf16', 'vecf16_l2_ops', 'h');
CREATE INDEX compared ON item USING walia_hnsw (v vecf32_l1_ops) WITH (storage = sq8);
SELECT * FROM compare('item', 'v <+> near(40, 5)');
DROP INDEX compared;

-- Queries without a distance; few rows given before the second run; a walk without order; one that is not to
-- go on.
CREATE INDEX item_v ON item USING walia_hnsw (v) WITH (storage = sq8);
SELECT plan, given, wrong FROM compare('item', 'v <~> (SELECT NULL::vecf32)');
SELECT plan, given, wrong FROM compare('item', 'v <~> array_fill(0, ARRAY[40])::vecf32');
SET walia.max_scan_tuples = 20;
SELECT plan, given, wrong, two_runs FROM compare('item', 'v <~> near(40, 2)', 5);
SET walia.iterative_scan = relaxed_order;
SELECT plan, given, wrong FROM compare('item', 'v <~> near(40, 2)', 5);
RESET walia.max_scan_tuples;
SET walia.iterative_scan = off;
SELECT plan, given BETWEEN 30 AND 60 AS few FROM compare('item', 'v <~> near(40, 2)', 30);
RESET walia.iterative_scan;
DROP INDEX item_v;

-- Partial indexes, and indexes on expressions: the exact distance is that of the expression.
CREATE INDEX item_v ON item USING walia_hnsw (v) WITH (storage = sq8) WHERE category = 1;
SELECT * FROM compare('item WHERE category = 1', 'v <~> near(40, 5)');
DROP INDEX item_v;
CREATE INDEX item_v ON item USING walia_hnsw ((v::vecf16(40)) vecf16_l2_ops) WITH (storage = sq8);
SELECT * FROM compare('item', 'v::vecf16(40) <-> near(40, 5)::vecf16');
DROP INDEX item_v;
CREATE INDEX item_v ON item USING walia_hnsw ((subvector(v, 3, 20)::vecf32(20)) vecf32_l2_ops) WITH (storage = f16);
SELECT * FROM compare('item', 'subvector(v, 3, 20)::vecf32(20) <-> subvector(near(40, 5), 3, 20)');
DROP INDEX item_v;

-- A cursor goes on under the snapshot that it began with, whatever becomes of the rows; then updates, deletes
-- and a vacuum.
CREATE INDEX item_v ON item USING walia_hnsw (v) WITH (storage = f16);
SET enable_seqscan = off;
SET enable_sort = off;
DO $$
DECLARE
    rows CURSOR FOR SELECT id, v <~> near(40, 5) AS d FROM item ORDER BY v <~> near(40, 5);
    item record; last float8; given int := 0; falls int := 0; before int := (SELECT count(*) FROM item);
BEGIN
    OPEN rows;
    FETCH rows INTO item;
    DELETE FROM item WHERE id % 4 = 1;
    UPDATE item SET v = near(40, id + 1) WHERE id % 4 = 2 AND id < 2000;
    INSERT INTO item SELECT 5000 + i, 0, near(40, 5) FROM generate_series(1, 20) AS i;
    LOOP
        given := given + 1;
        falls := falls + coalesce(item.d < last, false)::int;
        last := item.d;
        FETCH rows INTO item;
        EXIT WHEN NOT FOUND;
    END LOOP;
    RAISE NOTICE 'all rows of the snapshot: %, in two runs: %', given = before, falls <= 1;
END $$;
SELECT * FROM compare('item', 'v <~> near(40, 5)');
UPDATE item SET category = category + 1 WHERE id % 5 = 0;
SELECT * FROM compare('item', 'v <~> near(40, 5)', 7);
VACUUM item;
SELECT * FROM compare('item', 'v <~> near(40, 5)');
BEGIN;
DELETE FROM item WHERE id % 2 = 0;
SAVEPOINT deleted;
UPDATE item SET v = near(40, id) WHERE id % 3 = 0;
SELECT * FROM compare('item', 'v <~> near(40, 5)');
ROLLBACK TO deleted;
SELECT * FROM compare('item', 'v <~> near(40, 5)');
ROLLBACK;
SELECT * FROM compare('item', 'v <~> near(40, 5)');
-- Vectors that hardly differ are hard to link: a repair puts those that no path leads to on one.
SELECT dead_links, duplicate_links FROM walia_repair('item_v');
SELECT * FROM walia_check('item_v');
RESET enable_seqscan;
RESET enable_sort;
DROP TABLE item;

-- An index on an empty table has its centroid at zero, and says that it would be better with another.
CREATE TABLE late (id int, v vecf32(64));
CREATE INDEX late_l2 ON late USING walia_hnsw (v vecf32_l2_ops);
CREATE INDEX late_cosine ON late USING walia_hnsw (v);
CREATE INDEX late_ip ON late USING walia_hnsw (v vecf32_ip_ops);
CREATE INDEX late_none ON late USING walia_hnsw (v) WITH (quantization = none);
SELECT centroid_drift, reindex_recommended FROM walia_info('late_l2');
INSERT INTO late SELECT i, near(64, i) FROM generate_series(1, 300) AS i;
CREATE FUNCTION drift(index regclass) RETURNS TABLE (drift text, reindex_recommended boolean) LANGUAGE sql AS $$
    SELECT CASE WHEN centroid_drift < 0.01 THEN 'none' WHEN centroid_drift > 1 THEN 'large' ELSE centroid_drift::text END,
        reindex_recommended FROM walia_info(index) $$;
SELECT index, d.* FROM unnest(ARRAY['late_l2', 'late_cosine', 'late_ip', 'late_none']) AS index, drift(index) AS d;
SELECT plan, given, wrong, two_runs FROM compare('late', 'v <-> near(64, 5)');
REINDEX TABLE late;
SELECT index, d.* FROM unnest(ARRAY['late_l2', 'late_cosine', 'late_ip', 'late_none']) AS index, drift(index) AS d;
UPDATE late SET v = v + array_fill(9, ARRAY[64])::vecf32;
VACUUM late;
SELECT index, d.* FROM unnest(ARRAY['late_l2', 'late_cosine', 'late_ip', 'late_none']) AS index, drift(index) AS d;
DROP TABLE late;

-- Vectors whose payloads lie on other pages.
CREATE TABLE wide (id int, a vecf32(2500), b vecf32(3072), c vecf32(16000));
INSERT INTO wide SELECT i, near(2500, i), near(3072, i), near(16000, i) FROM generate_series(1, 30) AS i;
CREATE INDEX wide_a ON wide USING walia_hnsw (a) WITH (storage = f32);
CREATE INDEX wide_b ON wide USING walia_hnsw (b vecf32_l2_ops);
CREATE INDEX wide_c ON wide USING walia_hnsw (c vecf32_ip_ops);
INSERT INTO wide SELECT i, near(2500, i), near(3072, i), near(16000, i) FROM generate_series(31, 45) AS i;
DELETE FROM wide WHERE id % 10 = 3;
VACUUM wide;
SELECT * FROM compare('wide', 'a <~> near(2500, 5)');
SELECT * FROM compare('wide', 'b <-> near(3072, 5)');
SELECT plan, given, wrong, two_runs FROM compare('wide', 'b <-> near(3072, 5)', 2);
SELECT * FROM compare('wide', 'c <#> near(16000, 5)');
SELECT index, f.* FROM unnest(ARRAY['wide_a', 'wide_b', 'wide_c']) AS index, walia_check(index) AS f;
DROP TABLE wide;
DROP FUNCTION compare, compare_all, near, drift;
RESET walia.build_threads;
