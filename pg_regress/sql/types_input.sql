-- Text and binary input and output of vecf32 and vecf16: what is taken, what is refused, and how it is
-- printed.

-- The value as text, or the SQLSTATE, message and DETAIL of the ERROR.
CREATE FUNCTION pg_temp.read(input text, type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    detail text;
BEGIN
    EXECUTE format('SELECT %L::%s::text', input, type) INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', SQLSTATE, SQLERRM, nullif(detail, ''));
END
$$;

-- Accepted forms.
SELECT input, pg_temp.read(input, 'vecf32') AS vecf32, pg_temp.read(input, 'vecf16') AS vecf16
FROM (VALUES
    (1, '[1]'), (2, '[1,2,3]'), (3, '[-1,+2,-0]'), (4, '[1.,.5,-.25,007]'), (5, '[1e3,1E-3,2.5e+2]'),
    (6, '[0.1,0.2,0.3]'), (7, '[100000,999999,-123456]'), (8, '[0.0001,0.00001]'), (9, '[2049,4097,8193]')
) AS inputs (number, input) ORDER BY number;

-- White space is allowed around every token, a vertical tab included.
SELECT E' \t[\n1 ,\r2\x0b,\f3 ] '::vecf32, E' \t[\n1 ,\r2\x0b,\f3 ] '::vecf16;

-- The ends of the ranges: the largest number, the first that rounds past it, subnormal numbers and what
-- rounds to zero.
SELECT pg_temp.read(input, 'vecf32') AS vecf32 FROM (VALUES
    (1, '[3.4028235e38,-3.4028235e38]'), (2, '[3.4028236e38]'), (3, '[-1e39]'), (4, '[1,1e99999]'),
    (5, '[1.17549435e-38,1e-45,-7e-46,1e-99999]'), (6, '[1e20,123456789,0.000123456789]'), (7, '[16777217]')
) AS inputs (number, input) ORDER BY number;
SELECT pg_temp.read(input, 'vecf16') AS vecf16 FROM (VALUES
    (1, '[65504,-65504,65519.99]'), (2, '[65520]'), (3, '[-65520]'), (4, '[1,1e39]'), (5, '[6.1035156e-05,5.9604645e-08]'),
    (6, '[2.9e-08,-2.9e-08]'), (7, '[0.1,3.14159,2047.5]')
) AS inputs (number, input) ORDER BY number;

-- Every element reads back as it was printed.
SELECT count(*) FROM generate_series(0, 31743) AS bits, int2send(bits::int2) AS half,
    LATERAL (SELECT (bits & 1023) * 2.0 ^ -24 AS subnormal,
        (1024 + (bits & 1023)) * 2.0 ^ ((bits >> 10) - 25) AS normal) AS value,
    LATERAL (SELECT ARRAY[CASE WHEN bits < 1024 THEN subnormal ELSE normal END]::vecf16 AS vector) AS stored
WHERE vecf16_send(vector) <> '\x00010000'::bytea || half OR vector::text::vecf16 <> vector;

-- Refused.
SELECT input, pg_temp.read(input, 'vecf32') AS error FROM (VALUES
    (1, ''), (2, ' '), (3, '1,2'), (4, '{1,2}'), (5, '['), (6, '[ '), (7, '[]'), (8, '[ ]'), (9, '[1'), (10, '[1,'), (11, '[1,]'),
    (12, '[,1]'), (13, '[1,,2]'), (14, '[1 2]'), (15, '[1;2]'), (16, '[1]2'), (17, '[1] ]'), (18, '[[1]]'), (19, '[x]'),
    (20, '[1x]'), (21, '[1e]'), (22, '[1e+]'), (23, '[.]'), (24, '[-]'), (25, '[+-1]'), (26, '[1.2.3]'), (27, '[1_000]'), (28, '[0x10]'),
    (29, '[nan]'), (30, '[1,NaN]'), (31, '[inf]'), (32, '[-Infinity]'), (33, '[infinite]'), (34, '[''1'']'), (35, '[½]')
) AS inputs (number, input) ORDER BY number;
SELECT input, pg_temp.read(input, 'vecf16') AS error FROM (VALUES
    (1, '1'), (2, '[]'), (3, '[1,]'), (4, '[1]2'), (5, '[NaN]'), (6, '[-inf]')
) AS inputs (number, input) ORDER BY number;

-- Dimensions: 1 to 16000, and as many as the type modifier says.
SELECT pg_temp.read(input, type) AS result FROM (VALUES
    (1, '[1,2,3]', 'vecf32(3)'), (2, '[1,2,3]', 'vecf32(2)'), (3, '[1,2,3]', 'vecf16(4)'), (4, '[1]', 'vecf32(0)'),
    (5, '[1]', 'vecf16(-1)'), (6, '[1]', 'vecf32(16001)'), (7, '[1]', 'vecf16(2,3)'), (8, '[1]', 'vecf32(many)'),
    (9, '[1]', 'vecf32(99999999999)')
) AS inputs (number, input, type) ORDER BY number;
SELECT type, dimensions, left(pg_temp.read('[' || repeat('1,', dimensions - 1) || '1]', type), 60) AS result
FROM (VALUES ('vecf32'), ('vecf16')) AS types (type), (VALUES (16000), (16001)) AS sizes (dimensions) ORDER BY 1, 2;
SELECT '{"[1,2]","[3,4]"}'::vecf32(2)[], pg_temp.read('{"[1,2]","[3]"}', 'vecf16(2)[]') AS error;

-- A column's modifier is enforced wherever a value is assigned, and a refused row changes nothing.
CREATE TABLE assigned (v vecf32(2), h vecf16(2));
INSERT INTO assigned VALUES ('[1,2]', '[3,4]');
INSERT INTO assigned VALUES ('[1,2]', '[3,4]'), ('[1,2,3]', '[3,4]');
INSERT INTO assigned (h) VALUES ('[1]');
INSERT INTO assigned (v) VALUES (ARRAY[1, 2, 3]);
INSERT INTO assigned (v) SELECT '[1]'::vecf32;
UPDATE assigned SET h = h || '[1]';
ALTER TABLE assigned ALTER COLUMN v TYPE vecf32(3);
SELECT * FROM assigned;
SELECT attname, format_type(atttypid, atttypmod), attstorage FROM pg_attribute
WHERE attrelid = 'assigned'::regclass AND attnum > 0 ORDER BY attnum;
DROP TABLE assigned;

-- The binary form is int16 dimensions, int16 zero and the elements, big-endian.
SELECT vecf32_send('[1,-2,0.5]'), vecf16_send('[1,-2,0.5]');
CREATE FUNCTION pg_temp.receive(message bytea, type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    copy bytea := '\x5047434f50590aff0d0a00' || int4send(0) || int4send(0)
        || int2send(1::int2) || int4send(length(message)) || message || int2send(-1::int2);
    octal text;
    result text;
BEGIN
    SELECT string_agg('\' || (byte >> 6) || (byte >> 3 & 7) || (byte & 7), '' ORDER BY place) INTO octal
    FROM generate_series(0, length(copy) - 1) AS place, get_byte(copy, place) AS byte;
    EXECUTE format('CREATE TEMP TABLE received (v %s) ON COMMIT DROP', type);
    EXECUTE format('COPY received FROM PROGRAM %L (FORMAT binary)', 'printf ''' || octal || '''');
    SELECT v::text INTO result FROM received;
    DROP TABLE received;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;
SELECT message, pg_temp.receive(message, type) AS result, type FROM (VALUES
    (1, '\x000200003f800000c0000000'::bytea, 'vecf32(2)'), (2, '\x000200003c00c000', 'vecf16(2)'),
    (3, '\x000200003f800000c0000000', 'vecf32(3)'), (4, '\x', 'vecf32'), (5, '\x0001', 'vecf32'), (6, '\x00000000', 'vecf32'),
    (7, '\xffff0000', 'vecf32'), (8, '\x3e810000', 'vecf32'), (9, '\x0001000000', 'vecf32'), (10, '\x000100013f800000', 'vecf32'),
    (11, '\x000200003f800000', 'vecf32'), (12, '\x000100003f80000000', 'vecf32'), (13, '\x000100007fc00000', 'vecf32'),
    (14, '\x00010000ff800000', 'vecf32'), (15, '\x000100007c00', 'vecf16'), (16, '\x00010000fe00', 'vecf16'),
    (17, '\x000100003c', 'vecf16')
) AS messages (number, message, type) ORDER BY number;
