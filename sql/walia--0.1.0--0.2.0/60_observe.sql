-- The functions about an index.

-- They give a row and not a thousand. In a parallel query the leader calls them: what the session's last search did, and the
-- pages of temporary tables, are known to it alone. walia_repair writes, and stays what no parallel query may call.
ALTER FUNCTION walia_info(regclass) ROWS 1 PARALLEL RESTRICTED;
ALTER FUNCTION walia_check(regclass, boolean) ROWS 1 PARALLEL RESTRICTED;
ALTER FUNCTION walia_repair(regclass) ROWS 1;
ALTER FUNCTION walia_recall(regclass, integer, integer) ROWS 1 PARALLEL RESTRICTED;

-- The nearest scan tests rows while it walks.
DROP FUNCTION walia_last_scan();
CREATE FUNCTION walia_last_scan() RETURNS TABLE (
    indexes int,                -- searched, as one where they are many
    rounds bigint,              -- of the walk
    nodes_expanded bigint,      -- by the walk, on all layers
    distances_measured bigint,  -- from vectors in the index, by the walk
    distances_estimated bigint, -- from codes
    pages bigint,               -- of the index that were looked at, cached or not
    pages_prefetched bigint,    -- of index and table whose reading was begun ahead
    prefetched_pages_used bigint,   -- of those, read afterwards
    rows_of_first_run bigint,   -- that the walk gave
    rows_of_second_run bigint,  -- that a pass over the whole index gave
    rows_measured bigint,       -- read from the table because the index left their order open
    rows_tested bigint,         -- read from the table to see whether they pass, where the search does that
    rows_failed bigint,         -- of those, not visible, or not what the query's conditions say
    stale_links bigint,         -- met by the walk: they lead to nothing, or to tombstones
    healed_links bigint,        -- of those, replaced or removed when the scan ended
    milliseconds float8         -- in the access method
) AS 'MODULE_PATHNAME', 'walia_last_scan_wrapper' LANGUAGE C STRICT ROWS 1 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_last_scan IS 'what the last search by walia_hnsw indexes in this session did';

CREATE FUNCTION walia_build_estimate(
    relation regclass,                  -- an index as it is defined, or a table
    key text DEFAULT NULL,              -- of a table: a column or an expression; by default its only column of walia's types
    operator_class text DEFAULT NULL,   -- by default that of the type
    options text[] DEFAULT NULL,        -- as in WITH: '{m=16,storage=f16}'
    predicate text DEFAULT NULL         -- as in WHERE
) RETURNS TABLE (
    way text,                       -- of the build: "in memory", "vectors on disk", or "in batches" where the present setting leads to it
    chosen boolean,                 -- whether the present maintenance_work_mem leads to it
    maintenance_work_mem bigint,    -- bytes that it needs, for the largest partition
    temporary_bytes bigint,         -- of its temporary file
    index_bytes bigint,             -- of the index, of all partitions
    rows bigint,                    -- that it holds
    seconds float8,                 -- that it takes, measured on a sample; NULL without vectors
    seconds_least float8,           -- it may well be as few
    seconds_most float8             -- or as many
) AS 'MODULE_PATHNAME', 'walia_build_estimate_wrapper' LANGUAGE C ROWS 2 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_build_estimate IS 'what the build of a walia_hnsw index takes: memory, disk and time, in each of its ways';

CREATE FUNCTION walia_page_map(relation regclass) RETURNS TABLE (
    block bigint,
    kind text,                  -- what most bytes of the page are used for; of a table: table
    tuples int,                 -- but for tombstones; of a table: row versions
    tombstones int,             -- nodes without rows, waiting to be reused; of a table: row versions that the page knows to be deleted
    free_bytes int,             -- for new tuples
    cached boolean,             -- in shared buffers, before this function read the page; NULL for temporary relations
    dirty boolean,              -- there, and not yet written; NULL where the page was not cached
    usage_count int             -- there; NULL where the page was not cached
) AS 'MODULE_PATHNAME', 'walia_page_map_wrapper' LANGUAGE C STRICT ROWS 100000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_page_map(regclass) IS 'what each page of a walia_hnsw index or a table holds, and whether it is in shared buffers';

CREATE FUNCTION walia_page_map(
    relation regclass,
    buckets int,                    -- ranges of pages
    first_block bigint DEFAULT 0,   -- of the first of them
    pages bigint DEFAULT 0,         -- that they cover together, though the relation may end before; 0 for all to its end
    sampled_pages int DEFAULT 2048  -- that are read in all, but for one of each range; 0 for none
) RETURNS TABLE (
    first_block bigint,
    pages bigint,               -- from there on
    pages_read int,             -- of those, on which kind, tuples, tombstones and free_bytes rest: NULL where there are none
    kind text,                  -- of most pages
    tuples bigint,              -- on all pages, if they are as those that were read
    tombstones bigint,          -- the same
    free_bytes bigint,          -- the same
    cached bigint,              -- pages in shared buffers, counted; NULL for temporary relations
    dirty bigint,               -- of those, not yet written
    usage_count float8          -- of those, on average
) AS 'MODULE_PATHNAME', 'walia_page_map_ranges_wrapper' LANGUAGE C STRICT ROWS 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_page_map(regclass, int, bigint, bigint, int) IS 'what ranges of pages of a walia_hnsw index or a table hold, by a sample, and how many are in shared buffers';

CREATE FUNCTION walia_prewarm(index regclass, what text DEFAULT 'links') RETURNS TABLE (
    pages_loaded bigint,        -- into shared buffers
    pages_cached_before bigint, -- that were there already
    pages_without_room bigint   -- that did not fit
) AS 'MODULE_PATHNAME', 'walia_prewarm_wrapper' LANGUAGE C STRICT ROWS 1 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_prewarm IS 'loads pages of a walia_hnsw index into shared buffers: those of the upper layers, all with links, or all';
