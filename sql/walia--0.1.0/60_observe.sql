-- What an index is and holds, and whether it is sound.

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

CREATE FUNCTION walia_check(index regclass) RETURNS TABLE (
    severity text,              -- error: may give wrong answers; warning: costs recall or space
    block bigint,
    slot int,                   -- 0 where the whole page is meant
    finding text
) AS 'MODULE_PATHNAME', 'walia_check_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_check IS 'what is wrong with a walia_hnsw index: no row where all is well';
