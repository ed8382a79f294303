//! The order of a scan serves ORDER BY, and nothing that needs rows with equal distances side by side:
//! grouping, DISTINCT, windows, merge joins and set operations give the same rows with an index as without,
//! whatever plans are forced.

use postgres::{Client, SimpleQueryMessage};

use crate::server::Cluster;

/// What the statements read: many rows with equal distances, of which a scan gives some in its second run.
struct Source {
    relation: &'static str,
    /// In place of `{d}`, with `$1` for the query vector.
    distance: &'static str,
    query: &'static str,
}

const SOURCES: [Source; 4] = [
    Source { relation: "points", distance: "v <-> $1", query: "array_fill(1, ARRAY[8])::vecf32" },
    Source { relation: "bits", distance: "v <+> $1", query: "array_fill(0, ARRAY[20])::vecf32" },
    Source { relation: "parts", distance: "v <-> $1", query: "array_fill(1, ARRAY[8])::vecf32" },
    Source { relation: "branches", distance: "v <-> $1", query: "array_fill(1, ARRAY[8])::vecf32" },
];

/// Settings under which plans rest on an order wherever they may.
const SETTINGS: [&str; 7] = [
    "",
    "SET enable_seqscan = off; SET enable_sort = off",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off; SET enable_incremental_sort = off",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off; SET enable_hashjoin = off;
     SET enable_nestloop = off",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off; SET enable_hashjoin = off;
     SET walia.iterative_scan = relaxed_order",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off; SET walia.max_scan_tuples = 300",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off; SET parallel_setup_cost = 0;
     SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
];

/// `{t}` is the relation, `{d}` the distance, and `{near}` all rows from a subquery of its own that orders
/// them.
const ROWS: [&str; 47] = [
    // Grouping.
    "SELECT {d}, count(*) FROM {t} GROUP BY {d}",
    "SELECT {d}, kind, count(*) FROM {t} GROUP BY {d}, kind",
    "SELECT {d}, count(DISTINCT kind), array_agg(id ORDER BY id) FROM {t} GROUP BY {d} HAVING count(*) > 1",
    "SELECT {d}, kind, count(*) FROM {t} GROUP BY ROLLUP ({d}, kind)",
    "SELECT {d}, kind, count(*) FROM {t} GROUP BY GROUPING SETS (({d}), (kind), ())",
    "SELECT d, count(*) FROM (SELECT {d} AS d, kind FROM {t} LIMIT 100000) AS s GROUP BY d",
    "SELECT {d} FROM {t} GROUP BY {d}",
    "SELECT array_agg(id ORDER BY {d}, id) FROM {t}",
    "SELECT kind, array_agg({d} ORDER BY {d}) FROM {t} GROUP BY kind",
    "SELECT percentile_disc(0.01) WITHIN GROUP (ORDER BY {d}), mode() WITHIN GROUP (ORDER BY {d}) FROM {t}",
    "SELECT min({d}), max({d}) FROM {t}",
    "SELECT kind, (SELECT min({d}) FROM {t} WHERE kind = k.kind) FROM generate_series(0, 4) AS k(kind)",
    // DISTINCT.
    "SELECT DISTINCT {d} FROM {t}",
    "SELECT DISTINCT {d}, kind FROM {t}",
    "SELECT count(DISTINCT {d}) FROM {t}",
    "SELECT DISTINCT ON ({d}) {d}, id FROM {t} ORDER BY {d}, id",
    // Windows.
    "SELECT id, count(*) OVER (PARTITION BY {d}) FROM {t}",
    "SELECT id, rank() OVER (ORDER BY {d}), dense_rank() OVER (ORDER BY {d}) FROM {t}",
    "SELECT id, sum(kind) OVER (ORDER BY {d}), row_number() OVER (ORDER BY {d}, id) FROM {t}",
    "SELECT id, rank() OVER (PARTITION BY kind ORDER BY {d}), rank() OVER (ORDER BY {d}) FROM {t}",
    "SELECT {d}, lag({d}) OVER (ORDER BY {d}) FROM {t}",
    "SELECT * FROM (SELECT id, rank() OVER (ORDER BY {d}) AS rank FROM {t}) AS s WHERE rank <= 50",
    // Joins.
    "SELECT id, x, n FROM {t} JOIN seen ON {d} = x",
    "SELECT id, x, n FROM {t} LEFT JOIN seen ON {d} = x",
    "SELECT id, x, n FROM {t} RIGHT JOIN seen ON {d} = x",
    "SELECT id, x, n FROM {t} FULL JOIN seen ON {d} = x",
    "SELECT id FROM {t} WHERE {d} IN (SELECT x FROM seen)",
    "SELECT id FROM {t} WHERE NOT EXISTS (SELECT FROM seen WHERE x = {d})",
    "SELECT x, n FROM seen WHERE x IN (SELECT {d} FROM {t})",
    "SELECT x, n FROM seen WHERE EXISTS (SELECT FROM {t} WHERE {d} = x)",
    "SELECT count(*) FROM {t} AS a FULL JOIN (SELECT {d} AS d FROM {t}) AS b ON b.d = a.kind",
    // Subqueries with an order of their own.
    "SELECT d, count(*) FROM {near} AS s GROUP BY d",
    "SELECT DISTINCT d FROM {near} AS s",
    "SELECT DISTINCT d FROM (SELECT d FROM {near} AS s WHERE id > 0 OFFSET 0) AS s",
    "SELECT id, count(*) OVER (PARTITION BY d), rank() OVER (ORDER BY d) FROM {near} AS s",
    "SELECT id, x, n FROM {near} AS s FULL JOIN seen ON d = x",
    "SELECT g, d, count(*) FROM generate_series(1, 2) AS g, LATERAL (SELECT {d} AS d FROM {t} WHERE kind = g
        ORDER BY {d} OFFSET 0) AS s GROUP BY d, g",
    "WITH s AS MATERIALIZED (SELECT * FROM {near} AS near ORDER BY d) SELECT d, count(*) FROM s GROUP BY d",
    "WITH s AS MATERIALIZED {near} SELECT id, x, n, rank() OVER (ORDER BY d) FROM s FULL JOIN seen ON d = x",
    "WITH s AS NOT MATERIALIZED {near} SELECT d, count(*) FROM s GROUP BY d",
    "SELECT d, count(*) FROM (WITH s AS MATERIALIZED {near} SELECT * FROM s ORDER BY d OFFSET 0) AS s GROUP BY d",
    // Set operations.
    "SELECT {d} FROM {t} UNION SELECT x FROM seen",
    "SELECT {d} FROM {t} INTERSECT ALL SELECT x FROM seen",
    "SELECT {d} FROM {t} EXCEPT SELECT x FROM seen",
    "SELECT d FROM {near} AS s UNION SELECT x FROM seen",
    "(SELECT {d} FROM {t} ORDER BY {d}) UNION (SELECT {d} FROM {t} WHERE kind = 1 ORDER BY {d} LIMIT 100000)",
    "WITH RECURSIVE s(d) AS (SELECT min({d}) FROM {t} UNION SELECT (SELECT min({d}) FROM {t} WHERE {d} > s.d) FROM s
        WHERE s.d < 4) SELECT d FROM s",
];

/// Rows whose order is given.
const SEQUENCES: [&str; 11] = [
    "SELECT {d}, count(*) FROM {t} GROUP BY {d} ORDER BY {d}",
    "SELECT {d}, count(*) FROM {t} GROUP BY {d} ORDER BY {d} LIMIT 200",
    "SELECT {d}, kind, count(*) FROM {t} GROUP BY {d}, kind ORDER BY {d}, kind LIMIT 200",
    "SELECT DISTINCT {d} AS d FROM {t} ORDER BY d LIMIT 100",
    "SELECT DISTINCT ON ({d}) {d}, id FROM {t} ORDER BY {d}, id LIMIT 100",
    "SELECT id, rank() OVER (ORDER BY {d}) FROM {t} ORDER BY {d}, id",
    "SELECT {d}, count(*) OVER (PARTITION BY {d}) FROM {t} ORDER BY {d} LIMIT 200",
    "SELECT {d}, sum(kind) OVER (ORDER BY {d}) FROM {t} ORDER BY {d} LIMIT 200",
    "SELECT {d}, id, x, n FROM {t} JOIN seen ON {d} = x ORDER BY {d}, id, n",
    "SELECT d, id FROM (SELECT {d} AS d, id FROM {t} ORDER BY {d}, id LIMIT 100000) AS s ORDER BY d, id",
    "SELECT id FROM (SELECT {d} AS d, id FROM {t} ORDER BY {d}, id LIMIT 100000) AS s WHERE d = 3 ORDER BY id",
];

/// How a statement is run.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    GenericPlan,
    Cursor,
}

#[test]
fn equal_distances_are_one_group() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client);
    let mut wrong = Vec::new();
    for source in &SOURCES {
        for (statements, ordered) in [(&ROWS[..], false), (&SEQUENCES[..], true)] {
            for statement in statements {
                let statement = source.fill(statement);
                let run = |client: &mut Client, form, settings: &str| {
                    client.batch_execute(settings).unwrap();
                    let mut rows = form_rows(client, form, &statement, source.query);
                    client.batch_execute("RESET ALL; SET jit = off").unwrap();
                    if let (Ok(rows), false) = (&mut rows, ordered) {
                        rows.sort_unstable();
                    }
                    rows
                };
                let expected = run(&mut client, Form::Plain, "SET enable_indexscan = off").unwrap();
                let plain = SETTINGS.map(|settings| (Form::Plain, settings));
                let others = [Form::GenericPlan, Form::Cursor].map(|form| (form, SETTINGS[2]));
                for (form, settings) in plain.into_iter().chain(others) {
                    let found = run(&mut client, form, settings);
                    if found.as_ref() != Ok(&expected) {
                        let found = found.map(|found| found.len());
                        wrong.push(format!(
                            "{form:?}, {settings:?}: {statement}: {found:?} of {} rows",
                            expected.len()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ from those without an index: {wrong:#?}", wrong.len());
}

impl Source {
    fn fill(&self, statement: &str) -> String {
        let near = "(SELECT id, kind, {d} AS d FROM {t} ORDER BY {d} OFFSET 0)";
        statement
            .replace("{near}", near)
            .replace("{d}", &format!("({})", self.distance))
            .replace("{t}", self.relation)
    }
}

fn prepare(client: &mut Client) {
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             SELECT setseed(0.5);
             CREATE FUNCTION random_vector(dimensions int, below int) RETURNS vecf32 LANGUAGE sql VOLATILE AS
                 'SELECT array_agg(floor(random() * below))::vecf32 FROM generate_series(1, dimensions)';
             -- Few links, so that the first run misses many rows.
             CREATE TABLE points (id int, kind int, v vecf32(8));
             INSERT INTO points SELECT i, i % 5, random_vector(8, 4) FROM generate_series(1, 1500) AS i;
             CREATE INDEX ON points USING walia_hnsw (v vecf32_l2_ops) WITH (m = 4, ef_construction = 8);
             CREATE TABLE bits (id int, kind int, v vecf32(20));
             INSERT INTO bits SELECT i, i % 5, random_vector(20, 2) FROM generate_series(1, 1500) AS i;
             CREATE INDEX ON bits USING walia_hnsw (v vecf32_l1_ops) WITH (m = 4, ef_construction = 8);
             CREATE TABLE parts (LIKE points) PARTITION BY LIST (kind);
             CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0, 1);
             CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
             INSERT INTO parts SELECT * FROM points;
             CREATE INDEX ON parts USING walia_hnsw (v vecf32_l2_ops) WITH (m = 4, ef_construction = 8);
             CREATE VIEW branches AS SELECT * FROM points WHERE id <= 1000 UNION ALL SELECT * FROM parts_1;
             CREATE TABLE seen (x float8, n int);
             INSERT INTO seen SELECT v <-> array_fill(1, ARRAY[8])::vecf32, id FROM points WHERE id % 97 = 0;
             INSERT INTO seen SELECT i, -i FROM generate_series(1, 30) AS i;
             ANALYZE",
        )
        .unwrap();
}

/// The rows as text, or the error.
fn form_rows(client: &mut Client, form: Form, statement: &str, query: &str) -> Result<Vec<String>, String> {
    let plain = statement.replace("$1", query);
    match form {
        Form::Plain => rows(client, &plain),
        Form::GenericPlan => {
            let prepare =
                format!("SET plan_cache_mode = force_generic_plan; PREPARE run(vecf32) AS {statement}");
            client.batch_execute(&prepare).unwrap();
            let found = rows(client, &format!("EXECUTE run({query})"));
            client.batch_execute("DEALLOCATE run").unwrap();
            found
        }
        Form::Cursor => {
            client.batch_execute(&format!("BEGIN; DECLARE run CURSOR FOR {plain}")).unwrap();
            let found = rows(client, "FETCH ALL FROM run");
            client.batch_execute("COMMIT").unwrap();
            found
        }
    }
}

fn rows(client: &mut Client, query: &str) -> Result<Vec<String>, String> {
    let messages = client.simple_query(query).map_err(|error| format!("{:?}", error.as_db_error()))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    Ok(rows.collect())
}
