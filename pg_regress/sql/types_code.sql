-- veccode: text and binary form, order, what is refused.
CREATE EXTENSION IF NOT EXISTS walia;

SELECT walia_code('[1,2,3]'::vecf32);
SELECT walia_code('[1,2,3]'::vecf32, 1), walia_code('[1,2,3]'::vecf32, 4);
SELECT walia_code('[1,2,3]'::vecf32) = walia_code('[1,2,3]'::vecf16) AS same_code;
SELECT walia_code(NULL::vecf32) IS NULL AS is_null;
SELECT walia_code('[0,0]'::vecf32);
SELECT pg_column_size(walia_code(array_fill(0.5, ARRAY[384])::vecf32)) AS bytes,
    pg_column_size(walia_code(array_fill(0.5, ARRAY[16000])::vecf32, 4)) AS most_bytes;
SELECT walia_code('[1,2,3]'::vecf32, 3);
SELECT walia_code('[1,2,3]'::vecf32, NULL) IS NULL AS is_null;

-- What is read is what was written.
SELECT walia_code('[1,2,3]'::vecf32)::text::veccode = walia_code('[1,2,3]'::vecf32) AS same;
SELECT encode(veccode_send(walia_code('[1,2,3]'::vecf32)), 'hex');
SELECT '\x01020300'::veccode;
SELECT 'abc'::veccode;
SELECT '\x0'::veccode;
SELECT '\xzz'::veccode;
SELECT '\x+1+2030051776f405177efbe02030002'::veccode;
SELECT ''::veccode;
-- Another version, no bits, no dimensions, too long.
SELECT '\x0202030065216f40391a4fbf1b000000'::veccode;
SELECT '\x0100030065216f40391a4fbf1b000000'::veccode;
SELECT '\x0102000065216f40391a4fbf1b000000'::veccode;
SELECT '\x0102030065216f40391a4fbf1b00000000'::veccode;

-- An order of bytes.
SELECT a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt
FROM (VALUES ('\x0102030065216f40391a4fbf1b000000'::veccode, '\x0102030065216f40391a4fbf1c000000'::veccode)) AS v (a, b);
CREATE TABLE code (c veccode PRIMARY KEY);
INSERT INTO code SELECT walia_code(ARRAY[i, 1]::vecf32) FROM generate_series(1, 5) i;
INSERT INTO code SELECT walia_code('[3,1]'::vecf32);
SELECT count(*) FROM code AS a JOIN code AS b USING (c);
DROP TABLE code;

-- The order of rows without a distance.
CREATE TABLE tenant_row (id int, tenant int, v vecf32(2));
INSERT INTO tenant_row SELECT i, 1, ARRAY[i, 10]::vecf32 FROM generate_series(1, 400) i;
INSERT INTO tenant_row VALUES (0, 1, '[0,0]'), (-1, 1, NULL), (-2, 2, '[1,1]');
CREATE INDEX ON tenant_row (tenant, walia_code(v));
ANALYZE tenant_row;
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY v <=> '[1,0]' LIMIT 3;
SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY v <=> '[1,0]' LIMIT 3;
SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY v <=> '[1,0]' OFFSET 399;
SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY v <=> '[1,0]' NULLS FIRST LIMIT 2;
SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY 1 - (v <=> '[1,0]') DESC LIMIT 4;
SELECT id FROM tenant_row WHERE tenant = 1 AND 1 - (v <=> '[1,0]') > 0.99965 ORDER BY v <=> '[1,0]';
SELECT id FROM tenant_row WHERE tenant = 1 AND v <=> '[1,0]' <= 'NaN' ORDER BY 1 - (v <=> '[1,0]') DESC LIMIT 2;
SELECT count(*) FROM (SELECT * FROM tenant_row WHERE tenant = 1 ORDER BY v <=> NULL LIMIT 1000) AS s;
SELECT id FROM tenant_row WHERE tenant = 1 ORDER BY v <=> '[1,0,0]' LIMIT 3;
DROP TABLE tenant_row;
