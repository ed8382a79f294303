-- The default btree operator classes: indexes, sorts, unique constraints, joins.

CREATE TABLE ordered (id int PRIMARY KEY, v vecf32, h vecf16);
INSERT INTO ordered VALUES (1, '[2,1]', '[2,1]'), (2, '[1,9]', '[1,9]'), (3, '[1]', '[1]'), (4, NULL, NULL), (5, '[-1,5]', '[-1,5]'),
    (6, '[1,-9]', '[1,-9]'), (7, '[1,9,0]', '[1,9,0]');
CREATE INDEX ordered_v ON ordered (v);
CREATE UNIQUE INDEX ordered_h ON ordered (h);

SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id, v FROM ordered ORDER BY v;
SELECT id, v FROM ordered ORDER BY v;
SELECT id, h FROM ordered ORDER BY h DESC;
EXPLAIN (COSTS OFF) SELECT id FROM ordered WHERE h = '[1,9]';
SELECT id FROM ordered WHERE h = '[1,9]';
SELECT id FROM ordered WHERE v > '[1]' AND v <= '[1,9]' ORDER BY v;
RESET enable_sort;
RESET enable_seqscan;

INSERT INTO ordered VALUES (8, '[0]', '[1,9]');
INSERT INTO ordered VALUES (8, '[0]', '[-0]'), (9, '[-0]', '[0,0]');
SELECT count(v), count(DISTINCT v) FROM ordered;
SELECT a.id, b.id FROM ordered AS a JOIN ordered AS b ON a.v = b.v AND a.id < b.id;
-- Joined by merging.
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT a.id, b.id FROM ordered AS a JOIN ordered AS b USING (v);
SELECT a.id, b.id FROM ordered AS a JOIN ordered AS b USING (v) WHERE a.id < b.id;
RESET enable_nestloop;
DROP TABLE ordered;
