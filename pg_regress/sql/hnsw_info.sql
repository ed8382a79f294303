-- What walia_info and walia_check tell, and whom.
CREATE TABLE item (id int, v vecf32(3), h vecf16(5));
INSERT INTO item SELECT i, ARRAY[i % 300, i % 7, 1]::vecf32, NULL FROM generate_series(1, 1000) AS i;
INSERT INTO item VALUES (0, '[0,0,0]', '[1,2,3,4,5]');
CREATE INDEX item_v ON item USING walia_hnsw (v);
CREATE INDEX item_h ON item USING walia_hnsw (h vecf16_ip_ops) WITH (m = 5, ef_construction = 20);
CREATE INDEX item_id ON item (id);
SELECT format_version, element_type, dimensions, metric, m, m0, ef_construction, quantization, storage, nodes, nodes_by_level[1] < nodes AS has_levels,
    (SELECT sum(n) FROM unnest(nodes_by_level) AS n) = nodes AS adds_up, tombstones, unreachable_nodes, heap_tids, zero_vectors, nulls,
    pages * current_setting('block_size')::bigint = bytes AS pages_fit, bytes = pg_relation_size('item_v') AS bytes_fit,
    free_bytes < bytes AS some_free, kernel <> '' AS has_kernel FROM walia_info('item_v');
SELECT element_type, dimensions, metric, m, m0, ef_construction, nodes, nodes_by_level, heap_tids, nulls FROM walia_info('item_h');
SELECT * FROM walia_check('item_v');
SELECT * FROM walia_check('item_h');
SELECT * FROM walia_info('item_id');
SELECT * FROM walia_info('item');
SELECT * FROM walia_info(0);
SELECT * FROM walia_info(NULL);
CREATE ROLE walia_reader;
SET ROLE walia_reader;
SELECT nodes FROM walia_info('item_v');
RESET ROLE;
GRANT SELECT ON item TO walia_reader;
SET ROLE walia_reader;
SELECT nodes FROM walia_info('item_v');
SELECT * FROM walia_check('item_v');
RESET ROLE;
DROP TABLE item;
DROP ROLE walia_reader;
