-- What an index is and holds.

CREATE FUNCTION walia_info(index regclass) RETURNS TABLE (
    format_version int,
    element_type text,
    dimensions int,
    metric text,
    m int,
    m0 int,
    ef_construction int,
    nodes bigint,               -- distinct vectors
    nodes_by_level bigint[],    -- from level 0, each node at its top level
    tombstones bigint,          -- nodes without rows, waiting to be reused
    heap_tids bigint,           -- rows in the graph
    zero_vectors bigint,        -- rows outside of it: zero vectors under cosine distance
    nulls bigint,               -- rows outside of it: NULL
    pages bigint,
    bytes bigint,
    free_bytes bigint,          -- of pages that hold nodes
    kernel text                 -- instruction set of the distances on this server
) AS 'MODULE_PATHNAME', 'walia_info_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_info IS 'parameters, contents and size of a walia_hnsw index';
