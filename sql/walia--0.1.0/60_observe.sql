-- What an index is and holds, and whether it is sound.

CREATE FUNCTION walia_info(index regclass) RETURNS TABLE (
    format_version int,
    element_type text,
    dimensions int,
    metric text,
    m int,
    m0 int,
    ef_construction int,
    quantization int,           -- bits a dimension of the codes beside links; 0 without codes
    code_dimensions int,        -- dimensions that codes cover, after rotation
    code_bytes int,             -- of one code
    storage text,               -- precision of the vectors in the index: f32, f16 or sq8
    nodes bigint,               -- distinct vectors
    nodes_by_level bigint[],    -- from level 0, each node at its top level
    tombstones bigint,          -- nodes without rows, waiting to be reused
    heap_tids bigint,           -- rows in the graph
    zero_vectors bigint,        -- rows outside of it: zero vectors under cosine distance
    nulls bigint,               -- rows outside of it: NULL
    pages bigint,
    bytes bigint,
    free_bytes bigint,          -- of pages that hold nodes
    centroid_drift float8,      -- how far the vectors have moved from the codes' centroid, in variances; NULL without codes
    reindex_recommended boolean,    -- whether that is so far that REINDEX would make searches notably better
    kernel text                 -- instruction set of the distances on this server
) AS 'MODULE_PATHNAME', 'walia_info_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_info IS 'parameters, contents and size of a walia_hnsw index';

CREATE FUNCTION walia_check(index regclass, heapallindexed boolean DEFAULT false) RETURNS TABLE (
    severity text,              -- error: may give wrong answers; warning: costs recall or space
    block bigint,               -- 0, the meta page, where no other page is meant
    slot int,                   -- 0 where the whole page is meant
    finding text
) AS 'MODULE_PATHNAME', 'walia_check_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_check IS 'what is wrong with a walia_hnsw index: no row where all is well';

CREATE FUNCTION walia_recall(index regclass, k int DEFAULT 10, samples int DEFAULT 100) RETURNS TABLE (
    recall float8,              -- share of the k nearest other rows of each sampled row that the index finds; NULL without rows
    samples int,                -- rows that were sampled
    median_ms float8            -- time of one search by the index
) AS 'MODULE_PATHNAME', 'walia_recall_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_recall IS 'how much of what an exact search finds a walia_hnsw index finds, with the settings in force';
