-- Casts from arrays, to arrays, and between vecf32 and vecf16.

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

SELECT type, source, pg_temp.evaluate(format('%s::%s', source, type)) AS result
FROM (VALUES ('vecf32'), ('vecf16')) AS types (type), (VALUES
    (1, 'ARRAY[1, -2, 3]'), (2, 'ARRAY[1.5, 0.25]'), (3, 'ARRAY[1, 2]::real[]'), (4, 'ARRAY[0.1, 1e5]::float8[]'),
    (5, '''[5:6]={7,8}''::int[]'), (6, '''{}''::int[]'), (7, '''{{1,2}}''::real[]'), (8, 'ARRAY[1, NULL]'), (9, '''{NaN}''::real[]'),
    (10, '''{1,-Infinity}''::float8[]'), (11, '''{NaN}''::numeric[]'), (12, 'ARRAY[1e39]::float8[]'),
    (13, 'ARRAY[1e39]::numeric[]'), (14, 'ARRAY[70000]'), (15, 'ARRAY[1e-60]::float8[]'), (16, 'ARRAY[2147483647]'),
    (17, 'array_fill(1, ARRAY[16001])'), (18, 'ARRAY[''1'']::text[]')
) AS sources (number, source) ORDER BY type DESC, number;

-- The type modifier holds for a cast too.
SELECT ARRAY[1, 2]::vecf32(2), ARRAY[1, 2]::vecf16(2), '[1,2]'::vecf32::vecf16(2), '[1,2]'::vecf16::vecf32(2);
SELECT pg_temp.evaluate(expression) FROM (VALUES
    (1, 'ARRAY[1, 2]::vecf32(3)'), (2, 'ARRAY[1, 2]::float8[]::vecf16(1)'), (3, '''[1,2]''::vecf32::vecf32(3)'),
    (4, '''[1,2]''::vecf32::vecf16(3)'), (5, '''[1,2]''::vecf16::vecf32(3)'), (6, 'array_to_vecf32(ARRAY[1, 2], 3, true)')
) AS expressions (number, expression) ORDER BY number;

-- To arrays.
SELECT '[1,0.5,-3e+20]'::vecf32::real[], '[1,0.5,0.1]'::vecf16::real[], '[0.5]'::vecf32::real[]::float8[];

-- Between the types: to vecf16 a number is rounded to nearest, ties to even, and may be too large.
SELECT '[1,0.1,2049,2051,65519,1e-8]'::vecf32::vecf16, '[0.1,65504]'::vecf16::vecf32;
SELECT pg_temp.evaluate('''[1,65520]''::vecf32::vecf16'), pg_temp.evaluate('''[-1e+20]''::vecf32::vecf16');

-- What is implicit and what needs an assignment or a cast.
SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast
WHERE castsource IN ('vecf32'::regtype, 'vecf16'::regtype) OR casttarget IN ('vecf32'::regtype, 'vecf16'::regtype)
ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";
CREATE TABLE sources (v vecf32(2), h vecf16(2));
INSERT INTO sources VALUES (ARRAY[1, 2], ARRAY[3, 4]::float8[]);
INSERT INTO sources VALUES ('[5,6]'::vecf16, '[7,8]'::vecf32);
SELECT v, h, l2_distance(v, h) FROM sources WHERE false;
SELECT * FROM sources;
DROP TABLE sources;
