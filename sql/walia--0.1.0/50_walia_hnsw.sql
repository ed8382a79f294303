-- The access method and its operator classes. Support function 1 tells metric and element type.

CREATE FUNCTION walia_hnsw_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'walia_hnsw_handler' LANGUAGE C;

CREATE ACCESS METHOD walia_hnsw TYPE INDEX HANDLER walia_hnsw_handler;
COMMENT ON ACCESS METHOD walia_hnsw IS 'HNSW graph for nearest-neighbour search';

CREATE OPERATOR CLASS vecf32_cosine_ops DEFAULT FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <~> (vecf32, vecf32) FOR ORDER BY float_ops,
    OPERATOR 2 <=> (vecf32, vecf32) FOR ORDER BY float_ops,
    FUNCTION 1 cosine_distance(vecf32, vecf32);
CREATE OPERATOR CLASS vecf32_l2_ops FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <-> (vecf32, vecf32) FOR ORDER BY float_ops,
    FUNCTION 1 l2_distance(vecf32, vecf32);
CREATE OPERATOR CLASS vecf32_ip_ops FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <#> (vecf32, vecf32) FOR ORDER BY float_ops,
    FUNCTION 1 vecf32_negative_inner_product(vecf32, vecf32);
CREATE OPERATOR CLASS vecf32_l1_ops FOR TYPE vecf32 USING walia_hnsw AS
    OPERATOR 1 <+> (vecf32, vecf32) FOR ORDER BY float_ops,
    FUNCTION 1 l1_distance(vecf32, vecf32);

CREATE OPERATOR CLASS vecf16_cosine_ops DEFAULT FOR TYPE vecf16 USING walia_hnsw AS
    OPERATOR 1 <~> (vecf16, vecf16) FOR ORDER BY float_ops,
    OPERATOR 2 <=> (vecf16, vecf16) FOR ORDER BY float_ops,
    FUNCTION 1 cosine_distance(vecf16, vecf16);
CREATE OPERATOR CLASS vecf16_l2_ops FOR TYPE vecf16 USING walia_hnsw AS
    OPERATOR 1 <-> (vecf16, vecf16) FOR ORDER BY float_ops,
    FUNCTION 1 l2_distance(vecf16, vecf16);
CREATE OPERATOR CLASS vecf16_ip_ops FOR TYPE vecf16 USING walia_hnsw AS
    OPERATOR 1 <#> (vecf16, vecf16) FOR ORDER BY float_ops,
    FUNCTION 1 vecf16_negative_inner_product(vecf16, vecf16);
CREATE OPERATOR CLASS vecf16_l1_ops FOR TYPE vecf16 USING walia_hnsw AS
    OPERATOR 1 <+> (vecf16, vecf16) FOR ORDER BY float_ops,
    FUNCTION 1 l1_distance(vecf16, vecf16);
