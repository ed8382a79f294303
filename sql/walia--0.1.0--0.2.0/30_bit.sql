-- Distances of bit strings. They tell walia_hnsw what the operator classes of walia_pgvector measure; the
-- operators are pgvector's, whose functions hamming_distance and jaccard_distance give the same.

CREATE FUNCTION bit_hamming_distance(bit, bit) RETURNS float8
    AS 'MODULE_PATHNAME', 'bit_hamming_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION bit_hamming_distance(bit, bit) IS 'number of bits that differ';
CREATE FUNCTION bit_jaccard_distance(bit, bit) RETURNS float8
    AS 'MODULE_PATHNAME', 'bit_jaccard_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION bit_jaccard_distance(bit, bit) IS '1 minus the share of common ones in all ones; 1 where there is no common one';
