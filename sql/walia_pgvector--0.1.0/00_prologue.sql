-- Stops psql where this file is run by hand.
\echo Use "CREATE EXTENSION walia_pgvector" to load this file. \quit

-- The names below are looked for in the schema that this extension goes to, and only then in those of the
-- extensions that it needs. Whoever may create objects there must not give a superuser's cast another type,
-- or a class another operator.
DO $$
DECLARE
    wrong text;
BEGIN
    SELECT pg_catalog.format('%s %s', kind, name) INTO wrong
    FROM (SELECT 'type', name, 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid,
                 pg_catalog.to_regtype(name)::pg_catalog.oid, extension
          FROM (VALUES ('vector', 'vector'), ('halfvec', 'vector'), ('sparsevec', 'vector'), ('vecf32', 'walia'), ('vecf16', 'walia')) AS types (name, extension)
          UNION ALL
          SELECT 'function', name, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid,
                 pg_catalog.to_regprocedure(name)::pg_catalog.oid, extension
          FROM (VALUES ('cosine_distance(vector,vector)', 'vector'), ('cosine_distance(halfvec,halfvec)', 'vector'),
                       ('l2_distance(vecf32,vecf32)', 'walia'), ('l2_distance(vecf16,vecf16)', 'walia'),
                       ('cosine_distance(vecf32,vecf32)', 'walia'), ('cosine_distance(vecf16,vecf16)', 'walia'),
                       ('l1_distance(vecf32,vecf32)', 'walia'), ('l1_distance(vecf16,vecf16)', 'walia'),
                       ('vecf32_negative_inner_product(vecf32,vecf32)', 'walia'),
                       ('vecf16_negative_inner_product(vecf16,vecf16)', 'walia'),
                       ('bit_hamming_distance(bit,bit)', 'walia'), ('bit_jaccard_distance(bit,bit)', 'walia')) AS functions (name, extension)
          UNION ALL
          SELECT 'operator', name, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid,
                 pg_catalog.to_regoperator(name)::pg_catalog.oid, 'vector'
          FROM (VALUES ('<->(vector,vector)'), ('<->(halfvec,halfvec)'), ('<#>(vector,vector)'), ('<#>(halfvec,halfvec)'),
                       ('<=>(vector,vector)'), ('<=>(halfvec,halfvec)'), ('<+>(vector,vector)'),
                       ('<+>(halfvec,halfvec)'), ('<->(sparsevec,sparsevec)'), ('<#>(sparsevec,sparsevec)'),
                       ('<=>(sparsevec,sparsevec)'), ('<+>(sparsevec,sparsevec)'), ('<~>(bit,bit)'), ('<%>(bit,bit)')) AS operators (name)
         ) AS names (kind, name, catalog, object, extension)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend JOIN pg_catalog.pg_extension ON pg_extension.oid OPERATOR(pg_catalog.=) refobjid
        WHERE classid OPERATOR(pg_catalog.=) catalog AND objid OPERATOR(pg_catalog.=) object
          AND refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
          AND deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog."char"
          AND extname::pg_catalog.text OPERATOR(pg_catalog.=) extension
    )
    LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '% is not that of vector or walia', wrong USING
            ERRCODE = 'duplicate_object',
            DETAIL = 'Another object of this name comes first in the schema that walia_pgvector is created in.',
            HINT = 'Drop the other object, or create the extension in another schema.';
    END IF;
END $$;
