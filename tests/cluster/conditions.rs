//! Searches that test a query's conditions while they walk: as applications write them, against the same
//! without an index.

mod special;
mod written;

use std::collections::HashMap;

use crate::numbers::Numbers;
use crate::server::Cluster;
use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

const ROWS: usize = 6000;

/// A table of vectors in clusters, with NULLs in all columns, and rows that have died.
fn prepare(client: &mut Client) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION walia;
             SELECT setseed(0.3);
             CREATE TABLE items (
                 id int PRIMARY KEY, tenant int, price numeric, name text, flag bool, made timestamptz, tags int[],
                 doc jsonb, v vecf32(8), secret bool DEFAULT false
             );
             INSERT INTO items
             SELECT i, nullif(i % 40, 7), nullif(round((random() * 100)::numeric, 2), 3),
                 CASE WHEN i % 11 > 0 THEN 'name ' || i % 17 END, nullif(i % 3, 2) = 1,
                 timestamptz '2026-01-01' + i * interval '1 hour', CASE WHEN i % 9 > 0 THEN ARRAY[i % 5, i % 7] END,
                 jsonb_build_object('a', i % 13),
                 CASE WHEN i % 50 > 0 THEN (SELECT array_agg(i % 8 * 0.7 + random() + 0 * j)::vecf32
                                            FROM generate_series(1, 8) j) END
             FROM generate_series(1, {ROWS}) i;
             CREATE TABLE items_columns AS SELECT id, tenant, price, name, flag, made, tags, doc FROM items LIMIT 0;
             ALTER TABLE items_columns ALTER id SET NOT NULL;
             UPDATE items SET secret = true WHERE id % 10 = 4;
             DELETE FROM items WHERE id % 6 = 1;
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
             CREATE INDEX ON items (tenant);
             CREATE INDEX ON items (price);
             ANALYZE items;
             CREATE TABLE parts (LIKE items INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id);
             CREATE TABLE parts_0 (v vecf32(8), secret bool DEFAULT false, gone int, LIKE items_columns);
             ALTER TABLE parts_0 DROP COLUMN gone;
             ALTER TABLE parts ATTACH PARTITION parts_0 FOR VALUES WITH (MODULUS 3, REMAINDER 0);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 1) PARTITION BY LIST (id);
             CREATE TABLE parts_1_0 PARTITION OF parts_1 DEFAULT;
             CREATE TABLE parts_1_1 PARTITION OF parts_1 FOR VALUES IN (-1);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
             INSERT INTO parts SELECT * FROM items;
             DELETE FROM parts WHERE id % 7 = 2;
             CREATE INDEX ON parts USING walia_hnsw (v vecf32_l2_ops);
             CREATE INDEX ON parts (tenant);
             CREATE TABLE family (LIKE items INCLUDING DEFAULTS);
             CREATE TABLE child () INHERITS (family);
             INSERT INTO family SELECT * FROM items WHERE id % 5 = 0;
             INSERT INTO child SELECT * FROM items WHERE id % 5 > 0;
             CREATE INDEX ON family USING walia_hnsw (v vecf32_l2_ops) WITH (storage = sq8);
             CREATE INDEX ON child USING walia_hnsw (v vecf32_l2_ops);
             ANALYZE parts, family, child;
             CREATE TABLE others (number int, item int, weight float8);
             INSERT INTO others SELECT i, i * 3 % {ROWS}, i FROM generate_series(1, 500) i;
             ANALYZE others;
             CREATE FUNCTION is_cheap(numeric) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1 < 30; END';
             CREATE ROLE reader;
             GRANT SELECT ON items, parts, family, child, others TO reader;
             ALTER TABLE items ENABLE ROW LEVEL SECURITY;
             CREATE POLICY open ON items FOR SELECT TO reader USING (NOT secret);
             ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
             CREATE POLICY open ON parts FOR SELECT TO reader USING (NOT secret);
             SET work_mem = '64MB'; SET walia.ef_search = 1000"
        ))
        .unwrap();
}

/// Conditions, with numbers for `{a}` and `{b}` and the distance for `{d}`.
const CONDITIONS: [&str; 22] = [
    "true",
    "tenant = {a}",
    "tenant IN ({a}, {b}, 3)",
    "tenant BETWEEN {a} AND {a} + 9",
    "tenant IS NULL",
    "tenant IS DISTINCT FROM {a}",
    "price < {a}",
    "price > {a} OR tenant = {b}",
    "name = 'name {b}'",
    "name LIKE '%1{b}'",
    "name IS NOT NULL AND flag",
    "flag IS NOT TRUE",
    "made > timestamptz '2026-01-01' + {a} * interval '50 hours'",
    "tags @> ARRAY[{b} % 5]",
    "doc @> jsonb_build_object('a', {b} % 13)",
    "is_cheap(price)",
    "id % 97 = {a}",
    "id IN (SELECT item FROM others WHERE weight > {a})",
    "EXISTS (SELECT FROM others WHERE others.item = items.id AND others.weight < {a} * 10)",
    "{d} < 0.1 * {a}",
    "1.5 - {d} >= 0.2 AND tenant < {a}",
    "false",
];

/// Where the rows stand, with `{c}` for the condition, `{d}` for the distance and `{l}` for the limit.
const STATEMENTS: [&str; 12] = [
    "SELECT id, {d} FROM items WHERE {c} ORDER BY {d} {l}",
    "SELECT id, {d} FROM items WHERE {c} ORDER BY {d}, id {l}",
    "SELECT id, {d} FROM items WHERE {c} AND v IS NOT NULL ORDER BY 3 * {d} + 1 {l}",
    "SELECT id, {d} FROM items WHERE ({c}) AND 1 - {d} > 0 ORDER BY 1 - {d} DESC {l}",
    "SELECT id, d FROM (SELECT *, {d} AS d FROM items) AS items WHERE {c} ORDER BY d {l}",
    "SELECT items.id, {d} FROM items JOIN others ON others.item = items.id WHERE {c} ORDER BY {d} {l}",
    "SELECT items.id, {d} FROM items LEFT JOIN others ON others.item = items.id WHERE {c} ORDER BY {d} {l}",
    "WITH near AS MATERIALIZED (SELECT id, {d} AS d FROM items WHERE {c} ORDER BY {d} {l}) SELECT id, d FROM near",
    "SELECT id, {d} FROM items WHERE {c} ORDER BY {d} FETCH FIRST 7 ROWS WITH TIES",
    "SELECT id, {d} FROM items WHERE {c} ORDER BY {d} NULLS LAST {l} FOR UPDATE",
    "SELECT near.id, near.d FROM generate_series(1, 3) AS g(n),
         LATERAL (SELECT id, {d} AS d FROM items WHERE ({c}) AND tenant >= n ORDER BY {d} {l}) AS near ORDER BY n, d",
    "SELECT id, d FROM (SELECT id, {d} AS d, row_number() OVER (ORDER BY {d}) FROM items WHERE {c}) AS s ORDER BY d {l}",
];

/// What takes the place of the one table: none, partitions, inheritance, UNION ALL.
const TABLES: [&str; 4] = [
    "items",
    "parts AS items",
    "family AS items",
    "(SELECT * FROM ONLY family UNION ALL SELECT * FROM child) AS items",
];

const LIMITS: [&str; 8] = [
    "LIMIT 1",
    "LIMIT 10",
    "LIMIT 10 OFFSET 25",
    "LIMIT 200",
    "LIMIT (SELECT 12)",
    "LIMIT NULL",
    "OFFSET 3 LIMIT 5",
    "",
];

/// The rows of a statement: ids and distances.
pub fn rows(client: &mut Client, statement: &str) -> Vec<(i32, Option<f64>)> {
    let messages = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let second = |row: &SimpleQueryRow| {
        (row.len() > 1).then(|| row.get(1)).flatten().map(|value| value.parse().unwrap())
    };
    rows.map(|row| (row.get(0).unwrap().parse().unwrap(), second(row))).collect()
}

pub fn set_index(client: &mut Client, on: bool) {
    let settings = if on {
        "on; SET enable_seqscan = off; SET enable_sort = off"
    } else {
        "off; SET enable_seqscan = on; SET enable_sort = on"
    };
    client.batch_execute(&format!("SET enable_indexscan = {settings}")).unwrap();
}

pub fn plan(client: &mut Client, statement: &str) -> String {
    let lines = client.simple_query(&format!("EXPLAIN (COSTS OFF) {statement}")).unwrap();
    let lines = lines.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The rows of a statement as text.
pub fn texts(client: &mut Client, statement: &str) -> Vec<String> {
    let messages = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL"));
            Some(values.collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// Random statements give the right distances in the right order, and rows that belong there.
#[test]
fn random_statements() {
    compare(600, 11, (&["WaliaNearestScan"], 5), |_| ());
}

#[test]
#[ignore = "long: make conditions"]
fn many_random_statements() {
    compare(5000, 12, (&["WaliaNearestScan"], 5), |_| ());
}

/// Compares random statements with the same without indexes: of those about each kind of table more than one
/// of so many are executed by one of these scans.
pub fn compare(
    statements: usize,
    seed: u64,
    (scans, one_of): (&[&str], usize),
    prepare_more: impl Fn(&mut Client),
) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client);
    prepare_more(&mut client);
    let mut numbers = Numbers::new(seed);
    let (mut found, mut expected, mut walked) = (0, 0, [0; TABLES.len()]);
    for number in 0..statements {
        let query: Vec<String> =
            (0..8).map(|_| format!("{:.3}", numbers.below(6000) as f64 / 1000.0)).collect();
        let distance = format!("(v <-> '[{}]')", query.join(","));
        let mut statement = STATEMENTS[numbers.below(STATEMENTS.len())].to_owned();
        let condition = CONDITIONS[numbers.below(CONDITIONS.len())];
        statement = statement.replace("{c}", condition).replace("{l}", LIMITS[numbers.below(LIMITS.len())]);
        for (name, value) in [("{a}", numbers.below(40)), ("{b}", numbers.below(17))] {
            statement = statement.replace(name, &value.to_string());
        }
        let kind = numbers.below(TABLES.len());
        let can_lock = !TABLES[kind].contains("UNION");
        let kind = if statement.contains("FOR UPDATE") && !can_lock { 1 } else { kind };
        let statement =
            statement.replace("{d}", &distance).replace("FROM items", &format!("FROM {}", TABLES[kind]));
        let role = if number % 3 == 0 && !statement.contains("FOR UPDATE") { "reader" } else { "postgres" };
        client.batch_execute(&format!("SET ROLE {role}")).unwrap();
        set_index(&mut client, false);
        let exact = rows(&mut client, &statement);
        set_index(&mut client, number % 2 == 0);
        client.batch_execute("SET enable_indexscan = on").unwrap();
        let plan = plan(&mut client, &statement);
        let is_search = scans.iter().any(|scan| plan.contains(scan));
        walked[kind] += usize::from(is_search);
        let given = rows(&mut client, &statement);
        assert_eq!(given.len(), exact.len(), "{statement}\n{plan}");
        // Every row has its own distance, which the exact answer knows, or is among those as far.
        let all: HashMap<i32, Option<f64>> = exact.iter().copied().collect();
        let furthest = exact.iter().filter_map(|row| row.1).fold(f64::NEG_INFINITY, f64::max);
        let order = |row: &(i32, Option<f64>)| row.1.unwrap_or(f64::INFINITY);
        // Without a limit there may be two sorted runs.
        if is_search && statement.contains("LIMIT 10") && !statement.contains("generate_series") {
            assert!(given.is_sorted_by(|a, b| order(a) <= order(b)), "{statement}: {given:?}");
        }
        expected += exact.len();
        found += given
            .iter()
            .filter(|(id, distance)| {
                all.get(id).is_some_and(|known| known == distance) || distance.is_some_and(|d| d <= furthest)
            })
            .count();
    }
    let enough = statements / (one_of * TABLES.len());
    assert!(
        walked.iter().all(|walked| *walked > enough),
        "{walked:?} of {statements} statements were searched so"
    );
    assert!(found as f64 >= 0.99 * expected as f64, "{found} of {expected} rows were found");
}

/// A statement gives the same rows with the search as without any index, whichever way it takes.
pub fn assert_exact(client: &mut Client, statement: &str) {
    set_index(client, false);
    let mut expected = rows(client, statement);
    set_index(client, true);
    let mut given = rows(client, statement);
    expected.sort_by_key(|row| row.0);
    given.sort_by_key(|row| row.0);
    assert_eq!(given, expected, "{statement}\n{}", plan(client, statement));
}
