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
    unreachable_nodes bigint,   -- nodes that no links lead to: a search misses them, a scan to the end does not; VACUUM links them
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

CREATE FUNCTION walia_repair(index regclass) RETURNS TABLE (
    lists_repaired bigint,      -- lists of links that were changed
    dead_links bigint,          -- links that led nowhere, replaced or removed
    duplicate_links bigint,     -- links that were there twice, or led from a node to itself, replaced or removed
    nodes_relinked bigint,      -- nodes that could not be reached
    nodes_removed bigint,       -- nodes without rows: what interrupted insertions left
    tombstones_freed bigint,    -- removed nodes whose space can be used again
    orphans_removed bigint      -- parts of nodes that are gone
) AS 'MODULE_PATHNAME', 'walia_repair_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_repair IS 'mends the graph of a walia_hnsw index: what VACUUM would, and every link that leads nowhere';

CREATE FUNCTION walia_recall(index regclass, k int DEFAULT 10, samples int DEFAULT 100) RETURNS TABLE (
    recall float8,              -- share of the k nearest other rows of each sampled row that the index finds; NULL without rows
    samples int,                -- rows that were sampled
    median_ms float8            -- time of one search by the index
) AS 'MODULE_PATHNAME', 'walia_recall_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_recall IS 'how much of what an exact search finds a walia_hnsw index finds, with the settings in force';

CREATE FUNCTION walia_last_scan() RETURNS TABLE (
    indexes int,                -- searched, as one where they are many
    rounds bigint,              -- of the walk: each finds ef_search results
    nodes_expanded bigint,      -- by the walk, on all layers
    distances_measured bigint,  -- from vectors in the index, by the walk
    distances_estimated bigint, -- from codes
    pages bigint,               -- of the index that were looked at, cached or not
    pages_prefetched bigint,    -- of index and table whose reading was begun ahead
    prefetched_pages_used bigint,   -- of those, read afterwards
    rows_of_first_run bigint,   -- that the walk gave
    rows_of_second_run bigint,  -- that a pass over the whole index gave
    rows_measured bigint,       -- read from the table because the index left their order open
    stale_links bigint,         -- met by the walk: they lead to nothing, or to tombstones
    healed_links bigint,        -- of those, replaced or removed when the scan ended
    milliseconds float8         -- in the access method
) AS 'MODULE_PATHNAME', 'walia_last_scan_wrapper' LANGUAGE C STRICT;
COMMENT ON FUNCTION walia_last_scan IS 'what the last search by walia_hnsw indexes in this session did';
