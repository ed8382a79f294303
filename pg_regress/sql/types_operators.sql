-- Arithmetic, comparison and distances.

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

-- Arithmetic is by element.
SELECT '[1,2,-3]'::vecf32 + '[0.5,-2,3]' AS add, '[1,2,-3]'::vecf32 - '[0.5,2,3]' AS subtract,
    '[1,2,-3]'::vecf32 * '[0.5,-2,3]' AS multiply, '[1,2]'::vecf32 || '[3]' AS concatenate;
SELECT '[1,2,-3]'::vecf16 + '[0.5,-2,3]' AS add, '[1,2,-3]'::vecf16 - '[0.5,2,3]' AS subtract,
    '[1,2,-3]'::vecf16 * '[0.5,-2,3]' AS multiply, '[1,2]'::vecf16 || '[3]' AS concatenate;
SELECT vector_dims(array_fill(1, ARRAY[8000])::vecf32 || array_fill(2, ARRAY[8000])::vecf32);
SELECT '[0,-0]'::vecf32 * '[1e-30,5]' AS zeros, '[2048]'::vecf16 + '[1]' AS rounded;

SELECT expression, pg_temp.evaluate(expression) AS error FROM (VALUES
    (1, '''[1,2]''::vecf32 + ''[1]'''), (2, '''[1]''::vecf32 - ''[1,2]'''), (3, '''[1,2]''::vecf16 * ''[1,2,3]'''),
    (4, '''[3e38]''::vecf32 + ''[3e38]'''), (5, '''[-3e38]''::vecf32 - ''[3e38]'''), (6, '''[1,1e20]''::vecf32 * ''[1,-1e20]'''),
    (7, '''[1e-30]''::vecf32 * ''[1e-30]'''), (8, '''[65504]''::vecf16 + ''[16]'''), (9, '''[-65504]''::vecf16 - ''[16]'''),
    (10, '''[300]''::vecf16 * ''[300]'''), (11, '''[0.0001]''::vecf16 * ''[0.0001]'''),
    (12, 'array_fill(1, ARRAY[16000])::vecf32 || ''[1]'''), (13, 'array_fill(1, ARRAY[16000])::vecf16 || ''[1]''')
) AS expressions (number, expression) ORDER BY number;

-- Comparison: by element, then by length; -0 equals 0.
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, vecf32_cmp(a, b) AS cmp
FROM (VALUES
    (1, '[1,2]'::vecf32, '[1,2]'::vecf32), (2, '[1,2]', '[1,3]'), (3, '[2]', '[1,9]'), (4, '[1]', '[1,-5]'), (5, '[-0]', '[0]')
) AS pairs (number, a, b) ORDER BY number;
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, vecf16_cmp(a, b) AS cmp
FROM (VALUES
    (1, '[1,2]'::vecf16, '[1,2]'::vecf16), (2, '[1,2]', '[1,3]'), (3, '[2]', '[1,9]'), (4, '[1]', '[1,-5]'), (5, '[-0]', '[0]')
) AS pairs (number, a, b) ORDER BY number;

-- Distances; their sums are exact here.
SELECT '[1,2,3]'::vecf32 <-> '[4,6,3]' AS l2, '[1,2,3]'::vecf32 <#> '[4,-6,0.5]' AS ip, '[1,2,3]'::vecf32 <+> '[4,-6,0.5]' AS l1,
    '[3,0]'::vecf32 <~> '[0,2]' AS cosine, '[3,0]'::vecf32 <=> '[-4,0]' AS opposite;
SELECT '[1,2,3]'::vecf16 <-> '[4,6,3]' AS l2, '[1,2,3]'::vecf16 <#> '[4,-6,0.5]' AS ip, '[1,2,3]'::vecf16 <+> '[4,-6,0.5]' AS l1,
    '[3,0]'::vecf16 <~> '[0,2]' AS cosine, '[3,0]'::vecf16 <=> '[-4,0]' AS opposite;
SELECT inner_product('[1,0]'::vecf32, '[0,1]') AS zero, '[3,4]'::vecf32 <~> '[3,4]' AS same, '[1,2]'::vecf32 <~> '[0,0]' AS undefined;
SELECT l2_distance(v, w), inner_product(v, w), cosine_distance(v, w)::real, l1_distance(v, w)
FROM (SELECT array_agg(i % 8)::vecf32 AS v, array_agg((i + 4) % 8)::vecf32 AS w FROM generate_series(1, 1600) AS i) AS vectors;
SELECT l2_distance(v, w), inner_product(v, w), cosine_distance(v, w)::real, l1_distance(v, w)
FROM (SELECT array_agg(i % 8)::vecf16 AS v, array_agg((i + 4) % 8)::vecf16 AS w FROM generate_series(1, 1600) AS i) AS vectors;

SELECT expression, pg_temp.evaluate(expression) AS error FROM (
    SELECT format('''[1,2]''::%s %s ''[1]''', type, operator) AS expression
    FROM (VALUES ('vecf32'), ('vecf16')) AS types (type), (VALUES ('<->'), ('<#>'), ('<~>'), ('<=>'), ('<+>')) AS operators (operator)
) AS expressions ORDER BY expression COLLATE "C";

-- Every distance commutes and is declared so.
SELECT oprleft::regtype, oprname, oprcom = pg_operator.oid AS commutes, provolatile, proisstrict, proparallel
FROM pg_operator JOIN pg_proc ON pg_proc.oid = oprcode
WHERE oprleft IN ('vecf32'::regtype, 'vecf16'::regtype) AND oprresult = 'float8'::regtype
ORDER BY oprleft::regtype::text COLLATE "C", oprname COLLATE "C";
