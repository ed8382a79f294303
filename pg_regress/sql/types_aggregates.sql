-- avg and sum.

SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2]', '[2,4]', NULL, '[6,-3]']::vecf32[]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2]', '[2,4]', NULL, '[6,-3]']::vecf16[]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[NULL]::vecf32[]) AS v;
SELECT avg(v), sum(v) FROM unnest('{}'::vecf16[]) AS v;

-- The mean is computed in float8: a sum out of the elements' range is no error, the sum itself is.
SELECT avg(v) FROM unnest(ARRAY['[3e38,1]', '[3e38,2]']::vecf32[]) AS v;
SELECT avg(v) FROM unnest(ARRAY['[65504]', '[65504]']::vecf16[]) AS v;
SELECT sum(v) FROM unnest(ARRAY['[3e38,1]', '[3e38,2]']::vecf32[]) AS v;
SELECT sum(v) FROM unnest(ARRAY['[65504]', '[65504]']::vecf16[]) AS v;

-- All vectors have the same number of dimensions.
SELECT avg(v) FROM unnest(ARRAY['[1,2]', '[1,2,3]']::vecf32[]) AS v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]', '[1]']::vecf16[]) AS v;

-- By group, over a window, and twice over the same state.
SELECT i % 2 AS odd, avg(ARRAY[i, -i]::vecf32), sum(ARRAY[i, -i]::vecf16), count(*) FROM generate_series(1, 6) AS i GROUP BY 1 ORDER BY 1;
SELECT i, avg(v) OVER (ORDER BY i) AS running, sum(v) OVER (ORDER BY i ROWS 1 PRECEDING) AS pair
FROM generate_series(1, 4) AS i, LATERAL (SELECT ARRAY[i, i * i]::vecf32) AS vectors (v);
SELECT avg(v), avg(v) * '[2,2]' AS twice, avg(DISTINCT v) FROM unnest(ARRAY['[1,2]', '[1,2]', '[4,8]']::vecf32[]) AS v;

-- The functions behind avg check the state that they are given.
SELECT vecf32_accum('{0}', '[1,2]'), vecf32_accum('{2,3,4}', '[1,2]'), vecf16_accum('[0:2]={2,3,4}', '[1,2]');
SELECT vecf32_accum('{1,2}', '[1,2]');
SELECT vecf32_accum('{}', '[1]');
SELECT vecf16_accum('{{0}}', '[1]');
SELECT vecf16_accum('{NULL,1}', '[1]');
SELECT vecf32_combine('{1,2,3}', '{2,5,-1}'), vecf32_combine('{0}', '{2,5}'), vecf16_combine('{2,5}', '{0}'), vecf16_combine('{0}', '{0}');
SELECT vecf32_combine('{1,2}', '{1,2,3}');
SELECT vecf32_combine('{1,1.5e308}', '{1,1.5e308}');
SELECT vecf16_combine('{1}', '{}');
SELECT vecf32_avg('{4,1,2}'), vecf16_avg('{0}'), vecf16_avg('{0,1,2}');
SELECT vecf32_avg('{1}');
SELECT vecf16_avg('{1,70000}');
SELECT vecf32_avg(array_fill(1, ARRAY[16002]));
SELECT vecf32_avg('{1,NaN}');
-- A state outside of an aggregate is not changed in place.
WITH states AS MATERIALIZED (SELECT '{1,2}'::float8[] AS state)
SELECT vecf32_accum(state, '[5]'), vecf32_combine(state, state), state FROM states;

-- Workers' states are combined, those of workers that saw no row included.
CREATE TABLE measured (v vecf32(3), h vecf16(3));
INSERT INTO measured SELECT ARRAY[i, -i, 1], ARRAY[i % 2, i % 4, 1] FROM generate_series(1, 4000) AS i;
ALTER TABLE measured SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v), avg(h) FROM measured;
SELECT avg(v), sum(v), avg(h) FROM measured;
SELECT avg(v), sum(v), avg(h) FROM measured WHERE vector_norm(v) < 0;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
DROP TABLE measured;
