-- Operator classes under pgvector's names, with its operators and walia's <~>. Support function 1, a distance
-- of walia's, tells metric and element type; it is called for its address only, so that the types of its
-- arguments do not matter.

-- pgvector has <~> for bit only, where it is the Hamming distance.
CREATE OPERATOR <~> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = cosine_distance, COMMUTATOR = <~>);
CREATE OPERATOR <~> (LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = cosine_distance, COMMUTATOR = <~>);
COMMENT ON OPERATOR <~> (vector, vector) IS 'cosine distance';
COMMENT ON OPERATOR <~> (halfvec, halfvec) IS 'cosine distance';

CREATE OPERATOR CLASS vector_cosine_ops DEFAULT FOR TYPE vector USING walia_hnsw AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
    OPERATOR 2 <~> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 cosine_distance(vecf32, vecf32);
CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING walia_hnsw AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 l2_distance(vecf32, vecf32);
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING walia_hnsw AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 vecf32_negative_inner_product(vecf32, vecf32);
CREATE OPERATOR CLASS vector_l1_ops FOR TYPE vector USING walia_hnsw AS
    OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 l1_distance(vecf32, vecf32);
COMMENT ON OPERATOR CLASS vector_cosine_ops USING walia_hnsw IS 'cosine distance: <=> and <~>';
COMMENT ON OPERATOR CLASS vector_l2_ops USING walia_hnsw IS 'Euclidean distance: <->';
COMMENT ON OPERATOR CLASS vector_ip_ops USING walia_hnsw IS 'negative inner product: <#>';
COMMENT ON OPERATOR CLASS vector_l1_ops USING walia_hnsw IS 'sum of absolute differences: <+>';

CREATE OPERATOR CLASS halfvec_cosine_ops DEFAULT FOR TYPE halfvec USING walia_hnsw AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
    OPERATOR 2 <~> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 cosine_distance(vecf16, vecf16);
CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING walia_hnsw AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 l2_distance(vecf16, vecf16);
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING walia_hnsw AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 vecf16_negative_inner_product(vecf16, vecf16);
CREATE OPERATOR CLASS halfvec_l1_ops FOR TYPE halfvec USING walia_hnsw AS
    OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 l1_distance(vecf16, vecf16);
COMMENT ON OPERATOR CLASS halfvec_cosine_ops USING walia_hnsw IS 'cosine distance: <=> and <~>';
COMMENT ON OPERATOR CLASS halfvec_l2_ops USING walia_hnsw IS 'Euclidean distance: <->';
COMMENT ON OPERATOR CLASS halfvec_ip_ops USING walia_hnsw IS 'negative inner product: <#>';
COMMENT ON OPERATOR CLASS halfvec_l1_ops USING walia_hnsw IS 'sum of absolute differences: <+>';

-- Distances of sparse vectors by the functions that the index measures with: pgvector's own, but for their
-- last digits.
CREATE FUNCTION walia_sparsevec_l2_distance(sparsevec, sparsevec) RETURNS float8
    AS '$libdir/walia' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION walia_sparsevec_negative_inner_product(sparsevec, sparsevec) RETURNS float8
    AS '$libdir/walia' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION walia_sparsevec_cosine_distance(sparsevec, sparsevec) RETURNS float8
    AS '$libdir/walia' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION walia_sparsevec_l1_distance(sparsevec, sparsevec) RETURNS float8
    AS '$libdir/walia' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walia_sparsevec_l2_distance(sparsevec, sparsevec) IS 'Euclidean distance';
COMMENT ON FUNCTION walia_sparsevec_negative_inner_product(sparsevec, sparsevec) IS 'negative inner product';
COMMENT ON FUNCTION walia_sparsevec_cosine_distance(sparsevec, sparsevec) IS 'cosine distance';
COMMENT ON FUNCTION walia_sparsevec_l1_distance(sparsevec, sparsevec) IS 'sum of absolute differences';

-- No class is the default for sparsevec and bit, as with pgvector.
CREATE OPERATOR CLASS sparsevec_l2_ops FOR TYPE sparsevec USING walia_hnsw AS
    OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 walia_sparsevec_l2_distance(sparsevec, sparsevec);
CREATE OPERATOR CLASS sparsevec_ip_ops FOR TYPE sparsevec USING walia_hnsw AS
    OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 walia_sparsevec_negative_inner_product(sparsevec, sparsevec);
CREATE OPERATOR CLASS sparsevec_cosine_ops FOR TYPE sparsevec USING walia_hnsw AS
    OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 walia_sparsevec_cosine_distance(sparsevec, sparsevec);
CREATE OPERATOR CLASS sparsevec_l1_ops FOR TYPE sparsevec USING walia_hnsw AS
    OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 walia_sparsevec_l1_distance(sparsevec, sparsevec);
COMMENT ON OPERATOR CLASS sparsevec_l2_ops USING walia_hnsw IS 'Euclidean distance: <->';
COMMENT ON OPERATOR CLASS sparsevec_ip_ops USING walia_hnsw IS 'negative inner product: <#>';
COMMENT ON OPERATOR CLASS sparsevec_cosine_ops USING walia_hnsw IS 'cosine distance: <=>';
COMMENT ON OPERATOR CLASS sparsevec_l1_ops USING walia_hnsw IS 'sum of absolute differences: <+>';

CREATE OPERATOR CLASS bit_hamming_ops FOR TYPE bit USING walia_hnsw AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 bit_hamming_distance(bit, bit);
CREATE OPERATOR CLASS bit_jaccard_ops FOR TYPE bit USING walia_hnsw AS
    OPERATOR 1 <%> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 bit_jaccard_distance(bit, bit);
COMMENT ON OPERATOR CLASS bit_hamming_ops USING walia_hnsw IS 'Hamming distance: <~>';
COMMENT ON OPERATOR CLASS bit_jaccard_ops USING walia_hnsw IS 'Jaccard distance: <%>';
