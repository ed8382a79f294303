-- Bits and sparse vectors, of pgvector's types; what 0.1.0 had is unchanged, and in its archive. Paragraphs are run one by one,
-- and what is said in that archive's tables.sql of chance and order is true here too.

CREATE EXTENSION walia_pgvector CASCADE;

-- Hamming, with a last byte that is not full; NULLs, shared vectors, rows inserted after the build, tombstones.
CREATE SCHEMA bits;
CREATE FUNCTION bits.numbers(seed int, dimensions int) RETURNS varbit LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(((seed * 7919 + d * 10477 + seed::bigint * d * 31) % 10007 % 3 / 2)::text, '' ORDER BY d)::varbit
    FROM generate_series(1, dimensions) AS d
$$;
CREATE TABLE bits.items (id bigint PRIMARY KEY, v bit(77));
INSERT INTO bits.items SELECT i, bits.numbers(i, 77) FROM generate_series(1, 240) AS i;
INSERT INTO bits.items SELECT i, NULL FROM generate_series(241, 250) AS i;
INSERT INTO bits.items SELECT i, bits.numbers(i % 5, 77) FROM generate_series(251, 300) AS i;
CREATE INDEX items_v ON bits.items USING walia_hnsw (v bit_hamming_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO bits.items SELECT i, bits.numbers(i, 77) FROM generate_series(301, 400) AS i;
DELETE FROM bits.items WHERE id % 10 = 3;

VACUUM bits.items;

-- Jaccard, with bits of which none is one, and payloads apart from their nodes.
CREATE SCHEMA jaccard;
CREATE FUNCTION jaccard.numbers(seed int, dimensions int) RETURNS varbit LANGUAGE sql IMMUTABLE AS 'SELECT bits.numbers(seed, dimensions)';
CREATE TABLE jaccard.items (id bigint PRIMARY KEY, v bit(40000));
INSERT INTO jaccard.items SELECT i, bits.numbers(i, 40000) FROM generate_series(1, 40) AS i;
INSERT INTO jaccard.items VALUES (41, repeat('0', 40000)::varbit);
CREATE INDEX items_v ON jaccard.items USING walia_hnsw (v bit_jaccard_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO jaccard.items SELECT i, bits.numbers(i, 40000) FROM generate_series(42, 50) AS i;

-- Sparse vectors of 0 to 8 elements, with more dimensions than 16 bits tell.
CREATE SCHEMA sparse;
CREATE FUNCTION sparse.numbers(seed int, dimensions int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{%s}/%s', string_agg(format('%s:%s', d * (dimensions / 8), (seed * d * 31 + d) % 41 / 4.0 + 0.25), ',' ORDER BY d), dimensions)::sparsevec
    FROM generate_series(1, 8) AS d WHERE (seed * 7919 + d * 10477 + seed * d * 31) % 10007 % 2 = 0
$$;
CREATE TABLE sparse.items (id bigint PRIMARY KEY, v sparsevec(70000));
INSERT INTO sparse.items SELECT i, sparse.numbers(i, 70000) FROM generate_series(1, 240) AS i;
INSERT INTO sparse.items VALUES (241, NULL), (242, '{}/70000');
CREATE INDEX items_v ON sparse.items USING walia_hnsw (v sparsevec_l2_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO sparse.items SELECT i, sparse.numbers(i, 70000) FROM generate_series(243, 400) AS i;
DELETE FROM sparse.items WHERE id % 10 = 3;

VACUUM sparse.items;

-- Zero vectors under cosine, and as many elements as an index takes, whose payload fills a page nearly.
CREATE SCHEMA full_pages;
CREATE FUNCTION full_pages.numbers(seed int, dimensions int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{%s}/%s', string_agg(format('%s:%s', seed % 3 + d * 3 + 1, (seed * 7919 + d * 10477 + seed * d * 31) % 41 / 4.0 + 0.25), ',' ORDER BY d), dimensions)::sparsevec
    FROM generate_series(1, 1000) AS d
$$;
CREATE TABLE full_pages.items (id bigint PRIMARY KEY, v sparsevec(3100));
INSERT INTO full_pages.items SELECT i, full_pages.numbers(i, 3100) FROM generate_series(1, 40) AS i;
INSERT INTO full_pages.items VALUES (41, '{}/3100');
CREATE INDEX items_v ON full_pages.items USING walia_hnsw (v sparsevec_cosine_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO full_pages.items SELECT i, full_pages.numbers(i, 3100) FROM generate_series(42, 50) AS i;
INSERT INTO full_pages.items VALUES (51, '{}/3100');
