-- The types.

-- A vector may be the key of a merge join, and an equality may lead to others: = is that of the btree
-- operator class. ALTER OPERATOR can say so from Postgres 17 on only.
UPDATE pg_catalog.pg_operator SET oprcanmerge = true
    WHERE oid IN ('=(vecf32,vecf32)'::pg_catalog.regoperator, '=(vecf16,vecf16)'::pg_catalog.regoperator);

-- Comments that were missing.
COMMENT ON OPERATOR < (vecf32, vecf32) IS 'less than, by element and then by length';
COMMENT ON OPERATOR <= (vecf32, vecf32) IS 'less than or equal, by element and then by length';
COMMENT ON OPERATOR = (vecf32, vecf32) IS 'equal';
COMMENT ON OPERATOR <> (vecf32, vecf32) IS 'not equal';
COMMENT ON OPERATOR >= (vecf32, vecf32) IS 'greater than or equal, by element and then by length';
COMMENT ON OPERATOR > (vecf32, vecf32) IS 'greater than, by element and then by length';
COMMENT ON FUNCTION l2_distance(vecf32, vecf32) IS 'Euclidean distance';
COMMENT ON FUNCTION inner_product(vecf32, vecf32) IS 'inner product';
COMMENT ON FUNCTION cosine_distance(vecf32, vecf32) IS 'cosine distance';
COMMENT ON FUNCTION l1_distance(vecf32, vecf32) IS 'sum of absolute differences';
COMMENT ON OPERATOR < (vecf16, vecf16) IS 'less than, by element and then by length';
COMMENT ON OPERATOR <= (vecf16, vecf16) IS 'less than or equal, by element and then by length';
COMMENT ON OPERATOR = (vecf16, vecf16) IS 'equal';
COMMENT ON OPERATOR <> (vecf16, vecf16) IS 'not equal';
COMMENT ON OPERATOR >= (vecf16, vecf16) IS 'greater than or equal, by element and then by length';
COMMENT ON OPERATOR > (vecf16, vecf16) IS 'greater than, by element and then by length';
COMMENT ON FUNCTION l2_distance(vecf16, vecf16) IS 'Euclidean distance';
COMMENT ON FUNCTION inner_product(vecf16, vecf16) IS 'inner product';
COMMENT ON FUNCTION cosine_distance(vecf16, vecf16) IS 'cosine distance';
COMMENT ON FUNCTION l1_distance(vecf16, vecf16) IS 'sum of absolute differences';

-- A cast that enforces the number of dimensions which its argument has anyway is left out: ALTER TABLE … TYPE
-- rewrites nothing.
CREATE FUNCTION walia_coercion_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'walia_coercion_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walia_coercion_support(internal) IS 'planner support for casts that enforce a number of dimensions';
ALTER FUNCTION vecf32(vecf32, integer, boolean) SUPPORT walia_coercion_support;
ALTER FUNCTION vecf16(vecf16, integer, boolean) SUPPORT walia_coercion_support;
