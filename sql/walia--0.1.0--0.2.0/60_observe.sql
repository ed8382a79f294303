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
