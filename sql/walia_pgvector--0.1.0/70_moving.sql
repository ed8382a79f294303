-- Moving the indexes of hnsw and ivfflat to walia_hnsw.
--
-- The functions look at the catalogs alone, and by their search_path nobody else's objects take the place of
-- Postgres's; names in the statements that they give are qualified.

CREATE FUNCTION walia_migration_report() RETURNS TABLE (
    table_name regclass,
    index_name regclass,
    access_method text,
    operator_class text,
    bytes bigint,               -- of the index as it is; 0 for a partitioned one
    movable boolean,            -- whether walia_migration_statements gives statements for it
    reason text,                -- why not
    key text,                   -- what it indexes; this and what follows are arguments of walia_build_estimate
    options text[],             -- those that walia_hnsw has too
    predicate text              -- which rows; NULL for all
) LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.indrelid::regclass, i.indexrelid::regclass, am.amname::text, old_class.opcname::text,
           coalesce(pg_relation_size(i.indexrelid), 0), reason IS NULL, reason, pg_get_indexdef(i.indexrelid, 1, false),
           ARRAY(SELECT format('%s=%s', option_name, option_value) FROM pg_options_to_table(c.reloptions)
                 WHERE option_name IN ('m', 'ef_construction') ORDER BY option_name),
           pg_get_expr(i.indpred, i.indrelid)
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am am ON am.oid = c.relam
    JOIN pg_depend d ON d.classid = 'pg_am'::regclass AND d.objid = am.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'vector'
    JOIN pg_opclass old_class ON old_class.oid = i.indclass[0]
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN c.relpersistence = 't' AND c.relnamespace <> pg_my_temp_schema() THEN 'belongs to a temporary table of another session'
            WHEN c.relispartition THEN 'moves with the partitioned index that it belongs to'
            WHEN NOT EXISTS (
                SELECT FROM pg_opclass new_class
                JOIN pg_am new_am ON new_am.oid = new_class.opcmethod
                JOIN pg_proc handler ON handler.oid = new_am.amhandler AND handler.prosrc = 'walia_hnsw_handler'
                WHERE new_class.opcname = old_class.opcname AND new_class.opcintype = old_class.opcintype
            ) THEN format('walia_hnsw has no operator class %s for type %s', old_class.opcname, format_type(old_class.opcintype, NULL))
            WHEN EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid) THEN 'belongs to a constraint'
        END
    ) AS reasons (reason)
    ORDER BY i.indrelid::regclass::text, c.relname
$$;
COMMENT ON FUNCTION walia_migration_report() IS 'the hnsw and ivfflat indexes, and which of them can become walia_hnsw indexes';

CREATE FUNCTION walia_migration_statements("table" regclass DEFAULT NULL, "concurrently" boolean DEFAULT true) RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
    -- The indexes that move with an index: itself, or the tree of a partitioned one.
    WITH members AS (
        SELECT i.indexrelid AS root, m.indexrelid AS member, m.parent, m.level, m.is_leaf, i.indrelid, am.oid AS old_method,
               row_number() OVER (ORDER BY i.indrelid::regclass::text, c.relname, i.indexrelid, m.level, m.indexrelid) AS number
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid AND NOT c.relispartition
        JOIN pg_am am ON am.oid = c.relam
        JOIN pg_depend d ON d.classid = 'pg_am'::regclass AND d.objid = am.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'vector'
        CROSS JOIN LATERAL (
            SELECT i.indexrelid, NULL::oid, 0, true WHERE c.relkind = 'i'
            UNION ALL
            SELECT relid, parentrelid, level, isleaf FROM pg_partition_tree(i.indexrelid) WHERE c.relkind = 'I'
        ) AS m (indexrelid, parent, level, is_leaf)
        WHERE (i.indrelid = "table" OR "table" IS NULL)
          AND (c.relpersistence <> 't' OR c.relnamespace = pg_my_temp_schema())
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
    ),
    -- What each of them is called, and what it is to become.
    described AS (
        SELECT members.*, twin.oid AS twin, twin_index.indisvalid AS twin_is_valid, am.amname AS new_method,
               c.relname AS name, left(c.relname, 57) || '_walia' AS new_name,
               quote_ident(n.nspname) AS schema, format('%I.%I', table_n.nspname, t.relname) AS table_name,
               pg_get_indexdef(member, 1, false) AS key, format('%I.%I', class_n.nspname, new_class.opcname) AS class,
               (SELECT string_agg(format('%s = %s', option_name, option_value), ', ' ORDER BY option_name)
                FROM pg_options_to_table(c.reloptions) WHERE option_name IN ('m', 'ef_construction')) AS options,
               space.spcname, pg_get_expr(i.indpred, i.indrelid) AS predicate
        FROM members
        JOIN pg_index i ON i.indexrelid = member
        JOIN pg_class c ON c.oid = member
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace table_n ON table_n.oid = t.relnamespace
        JOIN pg_opclass old_class ON old_class.oid = i.indclass[0]
        JOIN pg_opclass new_class ON new_class.opcname = old_class.opcname AND new_class.opcintype = old_class.opcintype
        JOIN pg_namespace class_n ON class_n.oid = new_class.opcnamespace
        JOIN pg_am am ON am.oid = new_class.opcmethod
        JOIN pg_proc handler ON handler.oid = am.amhandler AND handler.prosrc = 'walia_hnsw_handler'
        LEFT JOIN pg_tablespace space ON space.oid = c.reltablespace
        -- A run that was interrupted has left what is not made again.
        LEFT JOIN (pg_class twin JOIN pg_index twin_index ON twin_index.indexrelid = twin.oid)
          ON twin.relname = left(c.relname, 57) || '_walia' AND twin.relnamespace = c.relnamespace AND twin.relam = am.oid
            AND twin_index.indrelid = i.indrelid
    ),
    statements AS (
        SELECT root, 1 AS step, number, format('DROP INDEX %s%s.%I', CASE WHEN "concurrently" THEN 'CONCURRENTLY ' END, schema, new_name) AS statement
        FROM described WHERE is_leaf AND NOT twin_is_valid
        UNION ALL
        SELECT root, 2 + is_leaf::int, number,
               format('CREATE INDEX %s%I ON %s%s USING %I (%s %s)', CASE WHEN is_leaf AND "concurrently" THEN 'CONCURRENTLY ' END, new_name,
                      CASE WHEN NOT is_leaf THEN 'ONLY ' END, table_name, new_method, key, class)
                 || coalesce(' WITH (' || options || ')', '') || coalesce(' TABLESPACE ' || quote_ident(spcname), '')
                 || coalesce(' WHERE ' || predicate, '')
        FROM described WHERE twin IS NULL OR is_leaf AND NOT twin_is_valid
        UNION ALL
        SELECT child.root, 4, -child.number,
               format('ALTER INDEX %s.%I ATTACH PARTITION %s.%I', parent.schema, parent.new_name, child.schema, child.new_name)
        FROM described child JOIN described parent ON parent.member = child.parent
        UNION ALL
        SELECT root, 5, number, format('DROP INDEX %s%s.%I', CASE WHEN is_leaf AND "concurrently" THEN 'CONCURRENTLY ' END, schema, name)
        FROM described WHERE level = 0
        UNION ALL
        SELECT root, 6, number, format('ALTER INDEX %s.%I RENAME TO %I', schema, new_name, name) FROM described
    )
    SELECT statement FROM statements ORDER BY min(number) FILTER (WHERE number > 0) OVER (PARTITION BY root), step, number
$$;
COMMENT ON FUNCTION walia_migration_statements(regclass, boolean)
    IS 'the statements that make walia_hnsw indexes of the hnsw and ivfflat indexes of a table, or of all';
