-- Functions of one vector.

-- The value as text, or the SQLSTATE and message of the ERROR.
CREATE FUNCTION pg_temp.evaluate(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT (%s)::text', expression) INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;

SELECT vector_dims('[1,2,3]'::vecf32), vector_dims('[1,2]'::vecf16);
SELECT vector_norm('[2,3,6]'), l2_norm('[2,3,6]'::vecf32), l2_norm('[-8,0,15]'::vecf16), l2_norm('[0,0]'::vecf16);
-- The squares of these leave float4, and the norm does not.
SELECT vector_norm('[3e30,4e30]')::real, vector_norm('[3e-30,4e-30]')::real;

SELECT l2_normalize('[3,-4]'::vecf32), l2_normalize('[0,0]'::vecf32), l2_normalize('[-0]'::vecf32), l2_normalize('[-1e38]'::vecf32);
SELECT l2_normalize('[3,-4]'::vecf16), l2_normalize('[0,0]'::vecf16), l2_normalize('[6e-8,0]'::vecf16);

-- A subvector takes what there is of the elements asked for.
SELECT start, count, pg_temp.evaluate(format('subvector(''[1,2,3,4,5]''::vecf32, %s, %s)', start, count)) AS vecf32,
    pg_temp.evaluate(format('subvector(''[1,2,3,4,5]''::vecf16, %s, %s)', start, count)) AS vecf16
FROM (VALUES
    (1, 5), (2, 3), (5, 1), (4, 100), (0, 2), (-3, 5), (-3, 4), (6, 1), (1, 0), (2, -1), (2147483647, 2147483647),
    (3, 2147483647), (-2147483647, 2147483647), (-2147483646, 2147483647), (-2147483645, 2147483647)
) AS parts (start, count);

-- Bits above zero, as bit(n).
SELECT binary_quantize('[1,-1,0,-0,0.001,2,-3,4]'::vecf32), binary_quantize('[5,-5,5]'::vecf16),
    binary_quantize('[1,1,1,1,1,1,1,1,-1,1]'::vecf32), length(binary_quantize(array_fill(1, ARRAY[16000])::vecf16));
SELECT pg_typeof(binary_quantize('[1]'::vecf32)), binary_quantize('[1,0,1]'::vecf32)::bit(3) # B'110' AS differing;

-- All of them are strict.
SELECT vector_dims(NULL::vecf32), l2_normalize(NULL::vecf16), subvector('[1]'::vecf32, NULL, 1), binary_quantize(NULL::vecf32);
SELECT '[1]'::vecf32 + NULL AS plus, '[1]'::vecf16 <-> NULL AS distance;

-- Values that are toasted, compressed or stored with a short header read the same.
CREATE TABLE stored (id int, v vecf32, h vecf16);
INSERT INTO stored SELECT n, array_fill(n, ARRAY[n])::vecf32, array_fill(n, ARRAY[n])::vecf16 FROM unnest(ARRAY[1, 2, 30, 31, 500, 2000, 16000]) AS n;
ALTER TABLE stored ALTER COLUMN v SET STORAGE main, ALTER COLUMN h SET STORAGE plain;
INSERT INTO stored SELECT id, v, h FROM stored WHERE id IN (1, 2000);
SELECT id, vector_dims(v), vector_dims(h), vector_norm(v) = id * sqrt(id) AS norm,
    v = array_fill(id, ARRAY[id])::vecf32 AND h = array_fill(id, ARRAY[id])::vecf16 AS equal
FROM stored ORDER BY id;
DROP TABLE stored;
