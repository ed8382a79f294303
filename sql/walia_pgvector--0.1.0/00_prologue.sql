-- Stops psql where this file is run by hand.
\echo Use "CREATE EXTENSION walia_pgvector" to load this file. \quit

-- The names below are looked for in the schema that this extension goes to, and only then in those of the extensions that it
-- needs. Whoever may create objects there must not give a superuser's cast another type, or a class another operator.
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN
        SELECT pg_catalog.format('%s %s', kind, object)
        FROM (SELECT 'type', pg_catalog.format_type(type::pg_catalog.oid, NULL), 'pg_catalog.pg_type'::pg_catalog.regclass,
                     type::pg_catalog.oid, extension
              FROM (VALUES ('vector'::pg_catalog.regtype, 'vector'), ('halfvec', 'vector'), ('vecf32', 'walia'),
                           ('vecf16', 'walia')) AS types (type, extension)
              UNION ALL
              SELECT 'function', function::pg_catalog.text, 'pg_catalog.pg_proc'::pg_catalog.regclass,
                     function::pg_catalog.oid, extension
              FROM (VALUES ('cosine_distance(vector, vector)'::pg_catalog.regprocedure, 'vector'),
                           ('cosine_distance(halfvec, halfvec)', 'vector'),
                           ('l2_distance(vecf32, vecf32)', 'walia'), ('l2_distance(vecf16, vecf16)', 'walia'),
                           ('cosine_distance(vecf32, vecf32)', 'walia'), ('cosine_distance(vecf16, vecf16)', 'walia'),
                           ('l1_distance(vecf32, vecf32)', 'walia'), ('l1_distance(vecf16, vecf16)', 'walia'),
                           ('vecf32_negative_inner_product(vecf32, vecf32)', 'walia'),
                           ('vecf16_negative_inner_product(vecf16, vecf16)', 'walia')) AS functions (function, extension)
              UNION ALL
              SELECT 'operator', operator::pg_catalog.text, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                     operator::pg_catalog.oid, 'vector'
              FROM (VALUES ('<->(vector, vector)'::pg_catalog.regoperator), ('<->(halfvec, halfvec)'),
                           ('<#>(vector, vector)'), ('<#>(halfvec, halfvec)'), ('<=>(vector, vector)'),
                           ('<=>(halfvec, halfvec)'), ('<+>(vector, vector)'), ('<+>(halfvec, halfvec)')) AS operators (operator)
             ) AS names (kind, object, catalog, object_oid, extension)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend JOIN pg_catalog.pg_extension ON pg_extension.oid OPERATOR(pg_catalog.=) refobjid
            WHERE classid OPERATOR(pg_catalog.=) catalog::pg_catalog.oid AND objid OPERATOR(pg_catalog.=) object_oid
              AND refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
              AND deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog."char"
              AND extname::pg_catalog.text OPERATOR(pg_catalog.=) extension::pg_catalog.text
        )
    LOOP
        RAISE EXCEPTION '% does not belong to the extension that is needed', found USING
            ERRCODE = 'duplicate_object',
            HINT = 'Drop it, or create walia_pgvector in another schema.';
    END LOOP;
END $$;
