-- The functions about an index.

-- They give a row and not a thousand. In a parallel query the leader calls them: what the session's last
-- search did, and the pages of temporary tables, are known to it alone. walia_repair writes, and stays what
-- no parallel query may call.
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

CREATE FUNCTION walia_stat_get_index(index oid) RETURNS TABLE (
    searches bigint,            -- whose scan has ended
    rounds bigint,              -- of their walks
    nodes_expanded bigint,      -- by the walks, on all layers
    distances_measured bigint,  -- from vectors in the index, by the walks
    distances_estimated bigint, -- from codes
    pages_hit bigint,           -- of the index that searches looked at and found in shared buffers
    pages_read bigint,          -- of the index that they looked at and had to read
    pages_prefetched bigint,    -- of index and table whose reading was begun ahead
    prefetched_pages_used bigint,   -- of those, read afterwards
    rows_measured bigint,       -- read from the table because the index left their order open
    rows_tested bigint,         -- read from the table to see whether they pass, where the search does that
    rows_failed bigint,         -- of those, not visible, or not what the query's conditions say
    second_runs bigint,         -- searches that went on with a pass over the whole index
    stale_links bigint,         -- met by walks: they lead to nothing, or to tombstones
    links_healed bigint,        -- of those, replaced or removed when the scan ended
    inserts bigint,             -- rows that were inserted
    links_pruned bigint,        -- that gave way to links to new vectors
    total_ms float8,            -- of all searches, in the access method
    p50_ms float8,              -- half of the searches took less, by their histogram; NULL without searches
    p99_ms float8,              -- 99 of 100 took less
    latency bigint[],           -- searches in each bucket of walia_stat_latency_buckets
    all_sessions boolean,       -- whether what all sessions do is counted, not this one alone
    stats_reset timestamptz     -- since when; NULL where nothing was counted
) AS 'MODULE_PATHNAME', 'walia_stat_get_index_wrapper' LANGUAGE C STRICT ROWS 1 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_stat_get_index IS 'what was counted of a walia_hnsw index: see the view walia_stat_indexes';

CREATE FUNCTION walia_stat_latency_buckets() RETURNS TABLE (
    bucket int,                 -- subscript in the column latency
    least_ms float8,            -- searches that took as long
    below_ms float8             -- and less than this
) AS 'MODULE_PATHNAME', 'walia_stat_latency_buckets_wrapper' LANGUAGE C STRICT ROWS 98 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_stat_latency_buckets IS 'bounds of the buckets of latencies in walia_stat_indexes';

CREATE FUNCTION walia_stat_reset_indexes(index regclass DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'walia_stat_reset_indexes_wrapper' LANGUAGE C PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_stat_reset_indexes IS 'begins to count anew a walia_hnsw index, or all of this database whose tables the caller owns';

CREATE VIEW walia_stat_indexes AS
    SELECT pg_index.indrelid AS relid, pg_index.indexrelid, pg_namespace.nspname AS schemaname, of_table.relname,
        of_index.relname AS indexrelname, counted.*
    FROM pg_am
    JOIN pg_class of_index ON of_index.relam = pg_am.oid AND of_index.relkind = 'i'
    JOIN pg_index ON pg_index.indexrelid = of_index.oid
    JOIN pg_class of_table ON of_table.oid = pg_index.indrelid
    JOIN pg_namespace ON pg_namespace.oid = of_table.relnamespace
    CROSS JOIN LATERAL walia_stat_get_index(of_index.oid) AS counted
    WHERE pg_am.amhandler = 'walia_hnsw_handler'::regproc;
GRANT SELECT ON walia_stat_indexes TO PUBLIC;
COMMENT ON VIEW walia_stat_indexes IS 'what was counted of each walia_hnsw index whose table the caller owns; of all for roles with privileges of pg_read_all_stats';

CREATE FUNCTION walia_stat_get_progress() RETURNS TABLE (
    pid int,
    datid oid,
    indexrelid oid,
    command text,               -- walia_check, walia_repair or batch insert
    phase text,                 -- NULL before the first
    done bigint,                -- of this phase
    total bigint,               -- NULL where it is not known
    unit text                   -- of both: pages, nodes or rows
) AS 'MODULE_PATHNAME', 'walia_stat_get_progress_wrapper' LANGUAGE C STRICT ROWS 1 PARALLEL RESTRICTED;
COMMENT ON FUNCTION walia_stat_get_progress IS 'how far checks, repairs and batch inserts are: see the view walia_stat_progress';

CREATE VIEW walia_stat_progress AS
    SELECT under_way.pid, under_way.datid, pg_database.datname, pg_index.indrelid AS relid, under_way.indexrelid,
        under_way.command, under_way.phase, under_way.done, under_way.total, under_way.unit
    FROM walia_stat_get_progress() AS under_way
    LEFT JOIN pg_database ON pg_database.oid = under_way.datid
    -- That of another database has no name here.
    LEFT JOIN pg_index ON pg_index.indexrelid = under_way.indexrelid AND pg_database.datname = current_database();
GRANT SELECT ON walia_stat_progress TO PUBLIC;
COMMENT ON VIEW walia_stat_progress IS 'checks, repairs and batch inserts under way, and how far they are';

CREATE FUNCTION walia_advise(query text) RETURNS TABLE (
    ordering text,              -- a distance in an ORDER BY of the query or of its subqueries
    relation text,              -- the table, or tables, whose rows are ordered
    index text,                 -- that is used, or that the reason speaks of
    used boolean,               -- whether an index gives the order, by the plan that the planner has chosen
    reason text,                -- why, or why not
    advice text                 -- what may be done; NULL where nothing need be
) AS 'MODULE_PATHNAME', 'walia_advise_wrapper' LANGUAGE C STRICT ROWS 1;
COMMENT ON FUNCTION walia_advise IS 'whether indexes serve the orders by distance of a query, and why not; the query is planned and not run';
