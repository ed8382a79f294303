//! What searches, changes, errors and rescans leave behind in a session: nothing that grows.

use std::fs;

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::by_index;
use crate::server::Cluster;

/// Bytes that Postgres's caches may take by chance.
const CONTEXTS: i64 = 256 << 10;
/// Bytes that the process may take by chance,.
const PROCESS: i64 = 3 << 20;
/// pgrx 0.18.1 forgets the name of the message catalog, a string, with every ERROR of Postgres that passes
/// through it.
const ERROR_OF_POSTGRES: i64 = 32;

const VECTOR: &str =
    "ARRAY(SELECT sin(i * 1.7 + d * i * 0.37)::real FROM generate_series(1, 32) AS d)::vecf32(32)";

/// Tables with an index of each kind: `whole`, `lossy`, `computed` (which needs an expression for a row's
/// vector) and `parted`.
fn prepare() -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off", "max_parallel_workers_per_gather = 0", "jit = off"]);
    let mut client = cluster.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION walia;
             CREATE FUNCTION same(v vecf32) RETURNS vecf32 LANGUAGE plpgsql IMMUTABLE SET search_path = public AS 'BEGIN RETURN v; END';
             CREATE TABLE whole (id int PRIMARY KEY, v vecf32(32));
             INSERT INTO whole SELECT i, {VECTOR} FROM generate_series(1, 300) AS i;
             CREATE TABLE lossy AS TABLE whole;
             CREATE TABLE computed AS TABLE whole;
             CREATE TABLE parted (id int, v vecf32(32)) PARTITION BY RANGE (id);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
             CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (1000);
             INSERT INTO parted TABLE whole;
             CREATE INDEX ON whole USING walia_hnsw (v vecf32_l2_ops);
             CREATE INDEX ON lossy USING walia_hnsw (v vecf32_l2_ops) WITH (storage = sq8);
             CREATE INDEX ON computed USING walia_hnsw ((same(v)::vecf32(32)) vecf32_l2_ops) WITH (storage = sq8);
             CREATE INDEX ON parted USING walia_hnsw (v vecf32_l2_ops) WITH (storage = f16);
             CREATE TABLE long (id int, v vecf32(1000));
             INSERT INTO long SELECT i, array_fill(sin(i)::real, ARRAY[1000]) FROM generate_series(1, 500) AS i;
             ANALYZE"
        ))
        .unwrap();
    cluster
}

/// The nearest rows to a vector that differs with `g`.
fn nearest(table: &str) -> String {
    let column = if table == "computed" { "same(v)::vecf32(32)" } else { "v" };
    format!(
        "SELECT id FROM {table} ORDER BY {column} <-> array_fill((g % 10 / 10.0)::real, ARRAY[32])::vecf32 LIMIT 3"
    )
}

const TABLES: [(&str, &str); 4] = [
    ("whole", "Index Scan"),
    ("lossy", "Index Scan"),
    ("computed", "Index Scan"),
    ("parted", "WaliaFederatedScan"),
];

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// Bytes of all memory contexts of the session, and of its process, shared memory left out.
fn size(client: &mut Client) -> [i64; 2] {
    let process = number(client, "SELECT pg_backend_pid()::bigint");
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kilobytes: i64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    [number(client, "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts"), kilobytes << 10]
}

/// Fails if more of the same takes more memory that stays. `repeat` is given how often; each time, `allowed`
/// bytes are.
fn assert_constant(
    client: &mut Client,
    what: &str,
    times: i64,
    allowed: i64,
    mut repeat: impl FnMut(&mut Client, i64),
) {
    repeat(client, times / 10);
    let before = size(client);
    repeat(client, times);
    let after = size(client);
    let growth = [after[0] - before[0], after[1] - before[1]];
    println!("{what}, {times} times: {growth:?} bytes of contexts and process");
    assert!(
        growth[0] < CONTEXTS && growth[1] < PROCESS + times * allowed,
        "{what}: {growth:?} after {before:?}"
    );
}

#[test]
fn of_rescans_is_given_back() {
    let cluster = prepare();
    let mut client = cluster.connect();
    by_index(&mut client, true);
    for (table, node) in TABLES {
        let rescans = |times: i64| {
            // What is asked for last is answered when the scan has been begun for the last time, and has not
            // been ended.
            format!(
                "SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts)::bigint + 0 * count(s.id)
                 FROM (SELECT generate_series(1, {times}) AS g) AS queries, LATERAL ({}) AS s",
                nearest(table)
            )
        };
        let plan = client.query(&format!("EXPLAIN {}", rescans(10)), &[]).unwrap();
        let plan = plan.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
        assert!(plan.iter().any(|line| line.contains(node)), "{plan:#?}");
        let before = number(&mut client, &rescans(500));
        let during = number(&mut client, &rescans(10_000)) - before;
        println!("{table}: {during} bytes in 9,500 rescans");
        assert!(during < CONTEXTS, "{table}: {during} bytes more in 9,500 rescans");
        assert_constant(&mut client, table, 1000, 0, |client, times| {
            number(client, &rescans(times));
        });
    }
    // Detoasted copies.
    for aggregate in ["avg(v)", "sum(v)", "sum(v <-> v)", "count(v::vecf16)"] {
        let mut aggregated = |times: i64| {
            let query = format!(
                "SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts)::bigint, {aggregate}
                 FROM (SELECT generate_series(1, {times})) AS repeated, long"
            );
            number(&mut client, &query)
        };
        let growth = -aggregated(1) + aggregated(20);
        assert!(growth < CONTEXTS, "{aggregate}: {growth} bytes more for 20 times as many rows");
    }
}

#[test]
fn of_statements_is_given_back() {
    let cluster = prepare();
    let mut client = cluster.connect();
    by_index(&mut client, true);
    let in_loop = |statement: String| {
        move |client: &mut Client, times: i64| {
            let block = format!(
                "DO $$ DECLARE g int; BEGIN FOR g IN 1 .. {times} LOOP {statement}; END LOOP; END $$"
            );
            client.batch_execute(&block).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    };
    for (table, _) in TABLES {
        let search = in_loop(format!("PERFORM * FROM ({}) AS s", nearest(table)));
        assert_constant(&mut client, &format!("searches of {table}"), 2000, 0, search);
        // By an error of walia's own.
        let wrong = nearest(table).replace("ARRAY[32]", "ARRAY[1 + g % 3]");
        let fails = in_loop(format!(
            "BEGIN PERFORM * FROM ({wrong}) AS s; ASSERT false; EXCEPTION WHEN data_exception THEN NULL; END"
        ));
        assert_constant(&mut client, &format!("wrong vectors for {table}"), 20_000, 0, fails);
    }
    // By errors of Postgres, in the custom scan and in an expression.
    let failing = nearest("parted").replace("FROM parted", "FROM parted WHERE id / (id - id) > g");
    let fails = in_loop(format!(
        "BEGIN PERFORM * FROM ({failing}) AS s; ASSERT false; EXCEPTION WHEN division_by_zero THEN NULL; END"
    ));
    assert_constant(&mut client, "divisions by zero in a federated scan", 5000, ERROR_OF_POSTGRES, fails);
    let numeric = in_loop(
        "BEGIN PERFORM ARRAY[1e300 + g]::numeric[]::vecf32; ASSERT false; EXCEPTION WHEN numeric_value_out_of_range THEN NULL; END".into(),
    );
    assert_constant(&mut client, "numbers out of range", 20_000, ERROR_OF_POSTGRES, numeric);
    let parse = in_loop(
        "BEGIN PERFORM ('[' || g || ',x]')::vecf32; ASSERT false; EXCEPTION WHEN OTHERS THEN NULL; END"
            .into(),
    );
    assert_constant(&mut client, "texts that are no vectors", 30_000, 0, parse);
    let change = in_loop(format!(
        "BEGIN INSERT INTO lossy SELECT i, {VECTOR} FROM generate_series(1000 + g, 1000 + g) AS i; RAISE division_by_zero;
         EXCEPTION WHEN division_by_zero THEN NULL; END"
    ));
    assert_constant(&mut client, "insertions taken back", 2000, 0, change);
    let many = in_loop(format!(
        "INSERT INTO whole SELECT 1000000 + g, {VECTOR} FROM generate_series(1, 1) AS i; DELETE FROM whole WHERE id > 300"
    ));
    assert_constant(&mut client, "insertions of one vector", 2000, 0, many);
    for function in ["walia_info", "walia_check", "walia_repair", "walia_recall"] {
        let calls = in_loop(format!("PERFORM * FROM {function}('parted_1_v_idx')"));
        let times = if function == "walia_recall" { 50 } else { 500 };
        assert_constant(&mut client, function, times, 0, calls);
        let refused = in_loop(format!(
            "BEGIN PERFORM * FROM {function}('whole_pkey'); ASSERT false; EXCEPTION WHEN wrong_object_type THEN NULL; END"
        ));
        assert_constant(&mut client, &format!("{function}, refused"), 10_000, 0, refused);
    }
    assert_constant(&mut client, "vacuums", 50, 0, |client, times| {
        for _ in 0..times {
            client
                .batch_execute(&format!(
                    "DELETE FROM computed WHERE id < 30; INSERT INTO computed SELECT i, {VECTOR} FROM generate_series(1, 29) AS i"
                ))
                .unwrap();
            client.batch_execute("VACUUM computed").unwrap();
        }
    });
    assert_constant(&mut client, "builds", 100, 0, |client, times| {
        for _ in 0..times {
            client.batch_execute("REINDEX INDEX parted_1_v_idx").unwrap();
        }
    });
    let mut cancelled = 0;
    assert_constant(&mut client, "cancelled builds and scans", 200, ERROR_OF_POSTGRES, |client, times| {
        for number in 0..times {
            client.batch_execute(&format!("SET statement_timeout = {}", 1 + number % 8)).unwrap();
            for statement in
                ["REINDEX INDEX computed_same_idx", "SELECT * FROM walia_recall('computed_same_idx')"]
            {
                if let Err(error) = client.batch_execute(statement) {
                    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
                    cancelled += 1;
                }
            }
            // The end of the time may come to this statement, too.
            while client.batch_execute("SET statement_timeout = 0").is_err() {}
        }
    });
    assert!(cancelled > 50, "cancelled {cancelled} times");
}
