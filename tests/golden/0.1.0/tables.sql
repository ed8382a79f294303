-- Tables whose indexes the archive beside this file holds, a schema each. Paragraphs are run one by one.
-- Nothing here depends on chance, the machine or Postgres's version, so that rows lie where the indexes say: no row is
-- inserted or updated after a VACUUM. Vectors are multiples of a quarter, which every type holds whole.

CREATE FUNCTION public.numbers(seed int, dimensions int) RETURNS real[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(((seed * 7919 + d * 10477 + seed * d * 31) % 10007 % 41 - 20) / 4.0 ORDER BY d)::real[]
    FROM generate_series(1, dimensions) AS d
$$;

-- Nodes without codes; NULLs; rows that share a vector; rows inserted after the build; tombstones.
CREATE SCHEMA plain;
CREATE TABLE plain.items (id bigint PRIMARY KEY, v vecf32(3));
INSERT INTO plain.items SELECT i, numbers(i, 3) FROM generate_series(1, 240) AS i;
INSERT INTO plain.items SELECT i, NULL FROM generate_series(241, 250) AS i;
INSERT INTO plain.items SELECT i, numbers(i % 5, 3) FROM generate_series(251, 300) AS i;
CREATE INDEX items_v ON plain.items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO plain.items SELECT i, numbers(i, 3) FROM generate_series(301, 400) AS i;
INSERT INTO plain.items SELECT i, NULL FROM generate_series(401, 405) AS i;
DELETE FROM plain.items WHERE id % 10 = 3;

VACUUM plain.items;

-- Zero vectors under cosine; the fewest links, and so the most layers; rows that are dead and not vacuumed.
CREATE SCHEMA layers;
CREATE TABLE layers.items (id bigint PRIMARY KEY, v vecf32(8));
INSERT INTO layers.items SELECT i, numbers(i, 8) FROM generate_series(1, 300) AS i;
INSERT INTO layers.items SELECT i, array_fill(0, ARRAY[8]) FROM generate_series(301, 310) AS i;
CREATE INDEX items_v ON layers.items USING walia_hnsw (v) WITH (m = 2, ef_construction = 10);
INSERT INTO layers.items SELECT i, array_fill(0, ARRAY[8]) FROM generate_series(311, 315) AS i;
DELETE FROM layers.items WHERE id % 7 = 5;

-- One vector with more rows than its node has room for.
CREATE SCHEMA shared;
CREATE TABLE shared.items (id bigint PRIMARY KEY, v vecf16(4));
INSERT INTO shared.items SELECT i, numbers(i % 3, 4) FROM generate_series(1, 600) AS i;
CREATE INDEX items_v ON shared.items USING walia_hnsw (v vecf16_l1_ops);
INSERT INTO shared.items SELECT i, numbers(i % 3, 4) FROM generate_series(601, 1500) AS i;
DELETE FROM shared.items WHERE id % 4 = 1;

VACUUM shared.items;

-- An index on an empty table, which all rows were inserted into: a centroid of zero.
CREATE SCHEMA empty;
CREATE TABLE empty.items (id bigint PRIMARY KEY, v vecf32(20));
CREATE INDEX items_v ON empty.items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 6, ef_construction = 24);
INSERT INTO empty.items SELECT i, numbers(i, 20) FROM generate_series(1, 120) AS i;

-- Codes of 1, 2 and 4 bits, beside vectors stored in each precision.
CREATE SCHEMA bits1;
CREATE TABLE bits1.items (id bigint PRIMARY KEY, v vecf32(64));
INSERT INTO bits1.items SELECT i, numbers(i, 64) FROM generate_series(1, 150) AS i;
CREATE INDEX items_v ON bits1.items USING walia_hnsw (v vecf32_ip_ops)
    WITH (m = 8, ef_construction = 32, quantization = 1, storage = f32);
INSERT INTO bits1.items SELECT i, numbers(i, 64) FROM generate_series(151, 180) AS i;

CREATE SCHEMA bits2;
CREATE TABLE bits2.items (id bigint PRIMARY KEY, v vecf32(40));
INSERT INTO bits2.items SELECT i, numbers(i, 40) FROM generate_series(1, 150) AS i;
CREATE INDEX items_v ON bits2.items USING walia_hnsw (v vecf32_l2_ops)
    WITH (m = 8, ef_construction = 32, quantization = 2, storage = f16);
DELETE FROM bits2.items WHERE id % 10 = 7;

VACUUM bits2.items;

CREATE SCHEMA bits4;
CREATE TABLE bits4.items (id bigint PRIMARY KEY, v vecf32(33));
INSERT INTO bits4.items SELECT i, numbers(i, 33) FROM generate_series(1, 150) AS i;
INSERT INTO bits4.items VALUES (151, array_fill(0, ARRAY[33])), (152, NULL);
CREATE INDEX items_v ON bits4.items USING walia_hnsw (v vecf32_cosine_ops)
    WITH (m = 8, ef_construction = 32, quantization = 4, storage = sq8);
INSERT INTO bits4.items SELECT i, numbers(i, 33) FROM generate_series(153, 180) AS i;

-- Half precision with codes.
CREATE SCHEMA half;
CREATE TABLE half.items (id bigint PRIMARY KEY, v vecf16(24));
INSERT INTO half.items SELECT i, numbers(i, 24) FROM generate_series(1, 150) AS i;
CREATE INDEX items_v ON half.items USING walia_hnsw (v vecf16_ip_ops) WITH (m = 10, ef_construction = 40);

-- Codes asked for by nobody and given by none; every node and its neighbours at full precision.
CREATE SCHEMA whole;
CREATE TABLE whole.items (id bigint PRIMARY KEY, v vecf32(32));
INSERT INTO whole.items SELECT i, numbers(i, 32) FROM generate_series(1, 150) AS i;
CREATE INDEX items_v ON whole.items USING walia_hnsw (v vecf32_l2_ops) WITH (quantization = none);

-- Payloads apart from their nodes, on a page and on more than one.
CREATE SCHEMA apart;
CREATE TABLE apart.items (id bigint PRIMARY KEY, v vecf32(1500));
INSERT INTO apart.items SELECT i, numbers(i, 1500) FROM generate_series(1, 40) AS i;
CREATE INDEX items_v ON apart.items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 4, ef_construction = 16, storage = f32);
INSERT INTO apart.items SELECT i, numbers(i, 1500) FROM generate_series(41, 50) AS i;
DELETE FROM apart.items WHERE id % 10 = 3;

VACUUM apart.items;

CREATE SCHEMA pieces;
CREATE TABLE pieces.items (id bigint PRIMARY KEY, v vecf32(5000));
INSERT INTO pieces.items SELECT i, numbers(i, 5000) FROM generate_series(1, 12) AS i;
CREATE INDEX items_v ON pieces.items USING walia_hnsw (v vecf32_cosine_ops) WITH (m = 16, ef_construction = 40, storage = f32);
