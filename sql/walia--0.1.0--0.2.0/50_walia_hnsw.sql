-- The access method and its operator classes.

COMMENT ON FUNCTION walia_hnsw_handler(internal) IS 'walia_hnsw index access method handler';
COMMENT ON OPERATOR CLASS vecf32_cosine_ops USING walia_hnsw IS 'cosine distance: <~> and <=>';
COMMENT ON OPERATOR CLASS vecf32_l2_ops USING walia_hnsw IS 'Euclidean distance: <->';
COMMENT ON OPERATOR CLASS vecf32_ip_ops USING walia_hnsw IS 'negative inner product: <#>';
COMMENT ON OPERATOR CLASS vecf32_l1_ops USING walia_hnsw IS 'sum of absolute differences: <+>';
COMMENT ON OPERATOR CLASS vecf16_cosine_ops USING walia_hnsw IS 'cosine distance: <~> and <=>';
COMMENT ON OPERATOR CLASS vecf16_l2_ops USING walia_hnsw IS 'Euclidean distance: <->';
COMMENT ON OPERATOR CLASS vecf16_ip_ops USING walia_hnsw IS 'negative inner product: <#>';
COMMENT ON OPERATOR CLASS vecf16_l1_ops USING walia_hnsw IS 'sum of absolute differences: <+>';
