//! What builds are said to take, against what they take; and who may ask for what.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::server::{Cluster, wait_until};

const NUMBERS: &str = "(SELECT array_agg(sin((i % 50) * j) + random()) FROM generate_series(1, {d}) AS j)";

/// A way of a build as it is told.
struct Told {
    memory: i64,
    temporary: i64,
    index: i64,
    rows: i64,
    seconds: Option<f64>,
}

fn told(client: &mut Client, arguments: &str) -> Vec<(String, Told)> {
    let query = format!("SELECT * FROM walia_build_estimate({arguments})");
    let rows = client.query(&query, &[]).unwrap();
    let way = |row: postgres::Row| {
        let (memory, temporary, index) = (row.get(2), row.get(3), row.get(4));
        (row.get(0), Told { memory, temporary, index, rows: row.get(5), seconds: row.get(6) })
    };
    rows.into_iter().map(way).collect()
}

/// A table of rows, some of whose vectors are NULL or there twice.
fn prepare(client: &mut Client, element: &str, dimensions: u32, rows: u32, nulls: u32, twice: u32) {
    let numbers = NUMBERS.replace("{d}", &dimensions.to_string());
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             DROP TABLE IF EXISTS items;
             CREATE TABLE items (id bigint, v {element}({dimensions}));
             INSERT INTO items SELECT i, {numbers}::{element} FROM generate_series(1, {rows}) AS i;
             INSERT INTO items SELECT -i, v FROM items AS twice (i, v) WHERE i <= {twice};
             INSERT INTO items SELECT 0, NULL FROM generate_series(1, {nulls});
             ANALYZE items"
        ))
        .unwrap();
}

fn size(client: &mut Client) -> i64 {
    client.query_one("SELECT pg_relation_size('items_v')", &[]).unwrap().get(0)
}

#[test]
fn memory_and_size_are_as_told() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    for (element, dimensions, rows, nulls, twice) in [
        ("vecf32", 8, 40_000, 4_000, 0),
        ("vecf32", 48, 20_000, 0, 8_000),
        ("vecf32", 200, 8_000, 500, 300),
        ("vecf16", 384, 6_000, 0, 0),
        ("vecf32", 1536, 1_500, 0, 0),
    ] {
        prepare(&mut client, element, dimensions, rows, nulls, twice);
        let ways = told(&mut client, "'items'");
        let whole = &ways[0].1;
        assert_eq!(ways[0].0, "in memory");
        // Of each kind to a whole number.
        assert!((whole.rows - i64::from(rows + nulls + twice)).abs() <= 2, "{}", whole.rows);
        assert_eq!(whole.temporary, 0);
        assert!(whole.seconds.unwrap() > 0.0);
        for (share, fits) in [(0.9, false), (1.1, true)] {
            let memory = (whole.memory as f64 * share) as i64 / 1024;
            client.batch_execute(&format!("SET maintenance_work_mem = '{memory}kB'")).unwrap();
            notices.lock().unwrap().clear();
            client
                .batch_execute(
                    "CREATE INDEX items_v ON items USING walia_hnsw (v) WITH (ef_construction = 40)",
                )
                .unwrap();
            let notices = notices.lock().unwrap();
            assert_eq!(notices.is_empty(), fits, "{dimensions} dimensions in {share}: {notices:?}");
            assert!(fits || notices[0].contains("take"), "{notices:?}");
            drop(notices);
            let real = size(&mut client);
            assert!((real - whole.index).abs() * 20 <= real, "{dimensions}: {real}, told {}", whole.index);
            // A sample ends with its time: of a busy machine two may differ.
            wait_until("the index is told as its table is", || {
                let [of_index, of_table] =
                    ["'items_v'", "'items'"].map(|of| told(&mut client, of)[0].1.index);
                of_index == of_table
            });
            client.batch_execute("DROP INDEX items_v; RESET maintenance_work_mem").unwrap();
        }
    }
}

#[test]
fn tables_indexes_and_parts_of_them() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 20, 4_000, 0, 0);
    let all = told(&mut client, "'items'");
    let tenth = told(&mut client, "'items', predicate => 'id % 10 = 0'");
    assert_eq!(tenth[0].1.rows, 400);
    assert!(tenth[0].1.index < all[0].1.index / 8);
    let plain = told(&mut client, "'items', 'v', 'vecf32_l1_ops', '{m=8}'");
    assert_eq!(plain.len(), 1, "without codes nothing moves to a file");
    let halves = told(&mut client, "'items', 'v::vecf16(20)', 'vecf16_l2_ops'");
    assert!(halves[0].1.memory < all[0].1.memory);
    client
        .batch_execute(
            "CREATE TABLE parted (id bigint, v vecf32(20)) PARTITION BY RANGE (id);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1001);
             CREATE TABLE parted_2 (v vecf32(20), id bigint);
             ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (1001) TO (5000);
             INSERT INTO parted SELECT * FROM items",
        )
        .unwrap();
    // Not analyzed: a sample tells.
    let [parted, first, second] =
        ["'parted'", "'parted_1'", "'parted_2'"].map(|table| told(&mut client, table));
    assert_eq!((parted[0].1.rows, first[0].1.rows, second[0].1.rows), (4_000, 1_000, 3_000));
    assert_eq!(parted[0].1.index, first[0].1.index + second[0].1.index);
    assert_eq!(parted[0].1.memory, second[0].1.memory);
    client.batch_execute("CREATE INDEX parted_v ON parted USING walia_hnsw (v) WHERE id > 500").unwrap();
    assert_eq!(told(&mut client, "'parted_v'")[0].1.rows, 3_500);
    client.batch_execute("TRUNCATE items").unwrap();
    let nothing = told(&mut client, "'items'");
    assert_eq!((nothing[0].1.rows, nothing[0].1.seconds), (0, None));
    client.batch_execute("CREATE INDEX items_v ON items USING walia_hnsw (v)").unwrap();
    assert_eq!(nothing[0].1.index, size(&mut client));
    // Nothing is written.
    client.batch_execute("BEGIN READ ONLY; SELECT * FROM walia_build_estimate('parted'); COMMIT").unwrap();
}

#[test]
fn little_memory_leads_to_other_ways() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 200, 8_000, 0, 0);
    let mut chosen = |memory: &str| -> (String, i64) {
        client.batch_execute(&format!("SET maintenance_work_mem = '{memory}'")).unwrap();
        let query = "SELECT way, temporary_bytes FROM walia_build_estimate('items') WHERE chosen";
        let row = client.query_one(query, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(chosen("64MB"), ("in memory".into(), 0));
    let (way, file) = chosen("6MB");
    assert_eq!(way, "vectors on disk");
    assert!((3_000_000..8_000 * 800).contains(&file), "{file}");
    assert_eq!(chosen("1MB").0, "in batches");
}

#[test]
fn owners_may_ask() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 4, 100, 0, 0);
    client
        .batch_execute(
            "CREATE INDEX items_v ON items USING walia_hnsw (v);
             CREATE ROLE keeper LOGIN; CREATE ROLE nobody LOGIN;
             ALTER TABLE items OWNER TO keeper; GRANT SELECT ON items TO nobody",
        )
        .unwrap();
    let asks = ["'items'", "'items_v'"].map(|ask| format!("SELECT * FROM walia_build_estimate({ask})"));
    for ask in &asks {
        cluster.connect_as("keeper", "postgres").batch_execute(ask).unwrap();
        client.batch_execute(ask).unwrap();
        let error = cluster.connect_as("nobody", "postgres").batch_execute(ask).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{ask}");
    }
    // Expressions are computed as the owner, whoever asks.
    client
        .batch_execute(
            "CREATE FUNCTION who(vecf32) RETURNS vecf32(4) IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN IF current_user <> 'keeper' THEN RAISE 'as %', current_user; END IF; RETURN $1; END $$;
             SELECT * FROM walia_build_estimate('items', 'who(v)::vecf32(4)')",
        )
        .unwrap();
}

#[test]
fn wrong_arguments_are_named() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 4, 100, 0, 0);
    client
        .batch_execute(
            "ALTER TABLE items ADD w vecf16(4); CREATE INDEX items_v ON items USING walia_hnsw (v);
             CREATE VIEW a_view AS SELECT * FROM items;
             CREATE TABLE numbers (v int8); INSERT INTO numbers VALUES (5); CREATE TABLE three (v vecf32(3))",
        )
        .unwrap();
    for (arguments, message) in [
        ("'items'", "table \"items\" has 2 columns that walia_hnsw could index"),
        ("'a_view'", "\"a_view\" is not a table, materialized view, or walia_hnsw index"),
        (
            "'pg_class_oid_index'",
            "\"pg_class_oid_index\" is not a table, materialized view, or walia_hnsw index",
        ),
        ("'items_v', 'v'", "\"items_v\" is an index, which has its own definition"),
        ("'items', 'id'", "data type int8 has no default operator class for access method \"walia_hnsw\""),
        ("'items', 'nowhere'", "column \"nowhere\" does not exist"),
        ("'items', 'v), (w'", "an index has one key and one predicate"),
        ("'items', 'v', predicate => 'true) GROUP BY (v'", "an index has one key and one predicate"),
        (
            "'items', 'v', predicate => 'random() < 1'",
            "functions in index predicate must be marked IMMUTABLE",
        ),
        // A comment takes the table out of the query, and the text names another.
        (
            "'numbers', 'v) FROM three WHERE (true /*', predicate => '*/'",
            "an index has one key and one predicate",
        ),
        (
            "'items', 'v', predicate => 'ctid IS NOT NULL'",
            "index creation on system columns is not supported",
        ),
        ("'items', 'v', predicate => 'id IN (SELECT 1)'", "an index has one key and one predicate"),
        (
            "'items', 'v', 'no_ops'",
            "operator class \"no_ops\" does not exist for access method \"walia_hnsw\"",
        ),
        (
            "'items', 'v', 'vecf16_l2_ops'",
            "operator class \"vecf16_l2_ops\" does not accept data type vecf32",
        ),
        ("'items', 'v', options => '{m=1}'", "value 1 out of bounds for option \"m\""),
        ("'items', 'v', options => '{lists=1}'", "unrecognized parameter \"lists\""),
        ("'items', 'subvector(v, 1, 2)'", "column does not have dimensions"),
    ] {
        let query = format!("SELECT * FROM walia_build_estimate({arguments})");
        let error = client.batch_execute(&query).expect_err(arguments);
        assert_eq!(error.as_db_error().unwrap().message(), message, "{arguments}");
    }
}

/// Policies hide no row from CREATE INDEX.
#[test]
fn policies_hide_nothing() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 4, 500, 0, 0);
    client
        .batch_execute(
            "CREATE ROLE owner; ALTER TABLE items OWNER TO owner; ALTER TABLE items ENABLE ROW LEVEL SECURITY;
             CREATE POLICY nothing ON items USING (false); SET ROLE owner",
        )
        .unwrap();
    assert_eq!(told(&mut client, "'items'")[0].1.rows, 500);
    client.batch_execute("ALTER TABLE items FORCE ROW LEVEL SECURITY").unwrap();
    let error = client.batch_execute("SELECT * FROM walia_build_estimate('items')").unwrap_err();
    let message = "query would be affected by row-level security policy for table \"items\"";
    assert_eq!(error.as_db_error().unwrap().message(), message);
    let setting = client.query_one("SHOW row_security", &[]).unwrap();
    assert_eq!(setting.get::<_, &str>(0), "on");
}

#[test]
fn can_be_cancelled() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 200, 8_000, 0, 0);
    client.batch_execute("SET statement_timeout = '400ms'").unwrap();
    let begin = Instant::now();
    let error = client.batch_execute("SELECT * FROM walia_build_estimate('items')").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    assert!(begin.elapsed() < Duration::from_millis(1200), "{:?}", begin.elapsed());
}

/// The rows shown as done grow about as evenly as time passes, up to all of them; then pages do.
#[test]
fn progress_tells_how_much_is_left() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32", 64, 20_000, 2_000, 4_000);
    let build = "CREATE INDEX items_v ON items USING walia_hnsw (v) WITH (ef_construction = 200)";
    let (mut moments, mut pages) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let build = scope.spawn(|| cluster.connect().batch_execute(build).unwrap());
        let query = "SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index";
        wait_until("the build has ended", || {
            if let Some(row) = client.query_opt(query, &[]).unwrap() {
                let share = |place: usize| {
                    row.get::<_, i64>(place) as f64 / row.get::<_, i64>(place + 1).max(1) as f64
                };
                match row.get::<_, &str>(0) {
                    "building index: building graph" => moments.push((Instant::now(), share(1))),
                    "building index: writing pages" => pages.push(share(3)),
                    _ => {}
                }
            }
            build.is_finished()
        });
    });
    let (begin, end) = (moments[0].0, moments.last().unwrap().0);
    let taken = end.duration_since(begin).as_secs_f64();
    for (moment, done) in &moments {
        let passed = moment.duration_since(begin).as_secs_f64() / taken;
        assert!((done - passed).abs() < 0.4, "{done} of the rows after {passed} of the time");
    }
    assert!(moments.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert!(moments.last().unwrap().1 > 0.9, "{:?}", moments.last());
    assert!(pages.is_sorted() && pages.iter().all(|done| *done <= 1.0), "{pages:?}");
}
