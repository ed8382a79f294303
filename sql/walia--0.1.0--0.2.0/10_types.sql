-- The types.

-- A vector may be the key of a merge join, and an equality may lead to others: = is that of the btree operator class.
-- ALTER OPERATOR can say so from Postgres 17 on only.
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
