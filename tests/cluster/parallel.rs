//! One search over many tables by several processes: the same answer, however many they are, and whatever
//! becomes of them.

use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

use crate::server::{Cluster, wait_until};

/// Partitions enough for all processes to claim some. A tenth of the rows has no vector.
const ITEMS: &str = "
    CREATE EXTENSION walia;
    CREATE FUNCTION vector(seed int) RETURNS vecf32 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        'SELECT array_agg(sin(seed * 1.7 + i * seed * 0.37) ORDER BY i)::real[]::vecf32 FROM generate_series(1, 16) AS i';
    CREATE TABLE items (id int, tenant int, v vecf32(16)) PARTITION BY HASH (id);
    DO $$ BEGIN FOR i IN 0..11 LOOP
        EXECUTE format('CREATE TABLE items_%s PARTITION OF items FOR VALUES WITH (MODULUS 12, REMAINDER %s)', i, i);
    END LOOP; END $$;
    INSERT INTO items SELECT i, i % 4, CASE WHEN i % 10 > 0 THEN vector(i) END FROM generate_series(1, 3000) AS i;
    CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops);
    ANALYZE items";

/// A search of such small tables is not worth a worker, were it not for these. Conditions are otherwise
/// tested by one process.
const FAVOUR_WORKERS: &str = "
    SET enable_seqscan = off; SET enable_sort = off; SET jit = off; SET walia.ef_search = 1000;
    SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET max_parallel_workers_per_gather = 3;
    SET walia.nearest_scan = off";

/// Each passing row takes its time.
const SLOW: &str =
    "SELECT id FROM items WHERE pg_sleep(0.1) IS NOT NULL ORDER BY v <-> vector(5000) LIMIT 100";

fn prepare() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(ITEMS).unwrap();
    client.batch_execute(FAVOUR_WORKERS).unwrap();
    (cluster, client)
}

fn near(filter: &str, limit: &str) -> String {
    format!(
        "SELECT id, v <-> vector(5000) AS distance FROM items WHERE {filter} ORDER BY v <-> vector(5000) {limit}"
    )
}

fn try_rows(client: &mut Client, query: &str) -> Result<Vec<String>, postgres::Error> {
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    Ok(client.simple_query(query)?.into_iter().filter_map(row).collect())
}

fn rows(client: &mut Client, query: &str) -> Vec<String> {
    try_rows(client, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn has_workers(client: &mut Client, query: &str) -> bool {
    let plan = rows(client, &format!("EXPLAIN {query}")).join("\n");
    let parallel = plan.contains("Parallel Custom Scan (WaliaFederatedScan)");
    assert_eq!(parallel, plan.contains("Gather Merge"), "{plan}");
    parallel
}

#[test]
fn workers_change_nothing() {
    let (_cluster, mut client) = prepare();
    let queries = [
        near("true", "LIMIT 1"),
        near("true", "LIMIT 10"),
        near("true", "LIMIT 25 OFFSET 40"),
        near("tenant = 2", "LIMIT 30"),
        near("id % 97 = 3", "LIMIT 20"),
        near("id < 30", "LIMIT 50"),
        near("id < 0", "LIMIT 5"),
        near("v IS NOT NULL", "LIMIT 1000"),
        // With rows that have no distance, which only the second run gives.
        near("id % 10 < 2", "LIMIT 550"),
        near("true", "LIMIT 10").replace("vector(5000)", "(SELECT v FROM items WHERE id = 77)"),
        format!("SELECT count(*), sum(distance) FROM ({}) AS near", near("tenant > 0", "LIMIT 12")),
    ];
    for query in queries {
        assert!(has_workers(&mut client, &query), "{query}");
        client.batch_execute("SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0").unwrap();
        let expected = rows(&mut client, &query);
        client.batch_execute("RESET enable_indexscan; SET max_parallel_workers_per_gather = 3").unwrap();
        for circumstances in [
            "SET parallel_leader_participation = on; SET max_parallel_workers = 8",
            "SET parallel_leader_participation = off; SET max_parallel_workers = 8",
            "SET parallel_leader_participation = off; SET max_parallel_workers = 1",
            "SET parallel_leader_participation = on; SET max_parallel_workers = 0",
        ] {
            client.batch_execute(circumstances).unwrap();
            assert!(has_workers(&mut client, &query), "{circumstances}; {query}");
            assert_eq!(
                distances(&rows(&mut client, &query)),
                distances(&expected),
                "{circumstances}; {query}"
            );
        }
        client.batch_execute("RESET parallel_leader_participation; RESET max_parallel_workers").unwrap();
    }
}

/// Rows without their first column: of equal distance any may be given.
fn distances(rows: &[String]) -> Vec<String> {
    rows.iter().map(|row| row.split_once(' ').map_or("", |(_, distance)| distance).to_owned()).collect()
}

#[test]
fn each_execution_begins_anew() {
    let (_cluster, mut client) = prepare();
    client.batch_execute("SET enable_material = off").unwrap();
    let near = near("tenant < 3", "LIMIT 7");
    let expected = rows(&mut client, &near);
    let again = format!(
        "SELECT near.* FROM generate_series(1, 5) AS i LEFT JOIN LATERAL ({near}) AS near ON i % 2 > 0"
    );
    assert!(has_workers(&mut client, &again));
    let found = rows(&mut client, &again);
    let none = vec!["NULL NULL".to_owned()];
    assert_eq!(found, [&expected[..], &none, &expected, &none, &expected].concat());

    client.batch_execute(&format!("CREATE TABLE copy AS {near}")).unwrap();
    assert_eq!(rows(&mut client, "SELECT * FROM copy ORDER BY distance"), expected);
    let function = format!(
        "CREATE FUNCTION nearest() RETURNS SETOF copy LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY {near}; END $$"
    );
    client.batch_execute(&function).unwrap();
    assert_eq!(rows(&mut client, "SELECT * FROM nearest()"), expected);
    client.batch_execute(&format!("BEGIN; DECLARE near SCROLL CURSOR WITH HOLD FOR {near}; COMMIT")).unwrap();
    assert_eq!(rows(&mut client, "FETCH ALL FROM near"), expected);
    assert_eq!(rows(&mut client, "FETCH ABSOLUTE 3 FROM near"), expected[2..3]);
}

#[test]
fn prepared_statements_have_workers_where_their_limit_is_known() {
    let (_cluster, mut client) = prepare();
    let expected = rows(&mut client, &near("tenant = 1", "LIMIT 9"));
    let near = near("tenant = $1", "LIMIT $2").replace("vector(5000)", "$3");
    client.batch_execute(&format!("PREPARE near(int, int, vecf32) AS {near}")).unwrap();
    for (mode, workers) in [("force_custom_plan", true), ("force_generic_plan", false)] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).unwrap();
        let execute = "EXECUTE near(1, 9, vector(5000))";
        assert_eq!(has_workers(&mut client, execute), workers);
        assert_eq!(rows(&mut client, execute), expected, "{mode}");
    }
}

#[test]
fn workers_see_what_their_role_may_see() {
    let (cluster, mut client) = prepare();
    client
        .batch_execute(
            "CREATE ROLE reader LOGIN; GRANT SELECT ON items TO reader; ALTER TABLE items ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON items TO reader USING (tenant = current_setting('my.tenant')::int)",
        )
        .unwrap();
    let mut reader = cluster.connect_as("reader", "postgres");
    reader.batch_execute(FAVOUR_WORKERS).unwrap();
    reader.batch_execute("SET my.tenant = 3").unwrap();
    assert!(has_workers(&mut reader, &near("true", "LIMIT 20")));
    let seen = rows(&mut reader, &near("true", "LIMIT 20"));
    assert_eq!(seen, rows(&mut client, &near("tenant = 3", "LIMIT 20")));
}

#[test]
fn workers_are_planned_only_where_they_may_and_pay() {
    let (_cluster, mut client) = prepare();
    let near_ten = near("true", "LIMIT 10");
    for (not_offered, why) in [
        (near("true", ""), "all rows are wanted"),
        (near("true", "LIMIT (SELECT 10)"), "the limit is not known"),
        (near("random() < 2", "LIMIT 10"), "a condition is not safe"),
        (near("true", "LIMIT 10 FOR UPDATE"), "rows are locked"),
        (near("true", "FETCH FIRST 10 ROWS WITH TIES"), "the number of rows is not known"),
        (near("id % 12 = probe", "LIMIT 10"), "a correlated subquery"),
    ] {
        let query = format!(
            "SELECT probe, (SELECT count(*) FROM ({not_offered}) AS near) FROM generate_series(1, 2) AS probe"
        );
        let query = if not_offered.contains("probe") { query } else { not_offered };
        assert!(!has_workers(&mut client, &query), "{why}: {query}");
    }
    client.batch_execute("RESET parallel_setup_cost; RESET parallel_tuple_cost").unwrap();
    assert!(!has_workers(&mut client, &near_ten), "the tables are small");
    client.batch_execute("SET effective_cache_size = '8kB'; SET random_page_cost = 100").unwrap();
    client.batch_execute("SET effective_io_concurrency = 16").unwrap();
    assert!(!has_workers(&mut client, &near_ten), "one process reads as fast as the storage can");
    client.batch_execute("SET effective_io_concurrency = 200").unwrap();
    assert!(has_workers(&mut client, &near_ten), "several processes read faster");
    client.batch_execute("SET max_parallel_workers_per_gather = 0").unwrap();
    assert!(!has_workers(&mut client, &near_ten), "workers are not allowed");
}

#[test]
fn counters_are_those_of_all_processes() {
    let (_cluster, mut client) = prepare();
    client.batch_execute("SET parallel_leader_participation = off").unwrap();
    let explained = rows(&mut client, &format!("EXPLAIN (ANALYZE, VERBOSE) {}", near("true", "LIMIT 10")));
    let number = |label: &str| {
        let line = explained.iter().find_map(|line| line.trim().strip_prefix(&format!("{label}: ")));
        line.unwrap_or_else(|| panic!("{label} in {explained:#?}")).parse::<u64>().unwrap()
    };
    assert_eq!(number("Indexes Searched as One"), 12);
    assert_eq!(number("Indexes Searched by Leader"), 0);
    let by_workers: u64 = (0..3).map(|worker| number(&format!("Indexes Searched by Worker {worker}"))).sum();
    assert_eq!(by_workers, 12);
    assert!(number("Nodes Expanded") > 0 && number("Index Pages") > 0);

    let last = rows(&mut client, "SELECT indexes, nodes_expanded, pages > 0 FROM walia_last_scan()");
    assert_eq!(last, [format!("12 {} t", number("Nodes Expanded"))]);
}

#[test]
fn a_plan_for_workers_has_its_vector_once() {
    let (cluster, mut client) = prepare();
    let query = near("v <-> vector(5000) < 100", "LIMIT 10");
    let expected = |client: &mut Client, workers: i32| {
        client.batch_execute(&format!("SET max_parallel_workers_per_gather = {workers}")).unwrap();
        let plan = rows(client, &format!("EXPLAIN (VERBOSE, COSTS OFF) {query}"));
        let of_children = plan.iter().map(|line| line.trim());
        let lines = of_children.filter(|line| line.starts_with("Order By: ") || line.starts_with("Filter: "));
        (lines.map(str::to_owned).collect::<Vec<_>>(), rows(client, &query))
    };
    let (lines, nearest) = expected(&mut client, 0);
    assert!(lines.len() == 2 * 12 && lines.iter().all(|line| line.contains("::vecf32")), "{lines:#?}");
    assert_eq!(expected(&mut client, 3), (lines, nearest.clone()));

    let vecf32: u32 = client.query_one("SELECT 'vecf32'::regtype::oid", &[]).unwrap().get(0);
    let before = cluster.log().len();
    client.batch_execute(&format!("SET debug_print_plan = on; PREPARE near AS {query}")).unwrap();
    for _ in 0..2 {
        assert_eq!(rows(&mut client, "EXECUTE near"), nearest);
    }
    let log = cluster.log().split_off(before);
    let plan = log.split("DETAIL:").find(|plan| plan.contains("{CUSTOMSCAN")).expect("a plan");
    let vectors = plan.matches(&format!(":consttype {vecf32} ")).count();
    assert!((1..12).contains(&vectors), "{vectors} vectors: {plan}");
}

#[test]
fn a_setting_outlives_the_loading_of_the_library_by_a_parallel_query() {
    let (cluster, mut client) = prepare();
    client.batch_execute("CREATE TABLE plain AS SELECT * FROM items").unwrap();
    let mut fresh = cluster.connect();
    fresh.batch_execute(FAVOUR_WORKERS).unwrap();
    fresh.batch_execute("SET enable_seqscan = on; SET min_parallel_table_scan_size = 0").unwrap();
    let query = "SELECT v FROM plain WHERE id = 7";
    let plan = rows(&mut fresh, &format!("EXPLAIN {query}")).join("\n");
    assert!(plan.contains("Gather"), "{plan}");
    assert_eq!(rows(&mut fresh, query).len(), 1);
    assert_eq!(rows(&mut fresh, "SHOW walia.ef_search"), ["1000"]);
}

#[test]
fn a_failure_of_any_process_ends_the_query_alone() {
    let (cluster, mut client) = prepare();
    let near_ten = near("true", "LIMIT 10");
    let expected = rows(&mut client, &near_ten);
    assert!(has_workers(&mut client, SLOW));
    let mut other = cluster.connect();
    let workers = |other: &mut Client| {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
        other.query_one(query, &[]).unwrap().get::<_, i64>(0)
    };
    for (failure, code) in [
        (
            "SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE backend_type = 'parallel worker'",
            SqlState::ADMIN_SHUTDOWN,
        ),
        (
            "SELECT pg_cancel_backend(leader_pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker'",
            SqlState::QUERY_CANCELED,
        ),
        ("SELECT 'statement_timeout'", SqlState::QUERY_CANCELED),
    ] {
        if failure.contains("timeout") {
            client.batch_execute("SET statement_timeout = '500ms'").unwrap();
        }
        let started = Instant::now();
        let error = thread::scope(|scope| {
            let query = scope.spawn(|| try_rows(&mut client, SLOW).expect_err(failure));
            wait_until("the workers search", || workers(&mut other) > 0);
            thread::sleep(Duration::from_millis(200));
            other.batch_execute(failure).unwrap();
            query.join().unwrap()
        });
        assert_eq!(error.code(), Some(&code), "{failure}: {error}");
        assert!(started.elapsed() < Duration::from_secs(8), "{failure}");
        client.batch_execute("RESET statement_timeout").unwrap();
        wait_until("the workers are gone", || workers(&mut other) == 0);
        assert_eq!(rows(&mut client, &near_ten), expected, "after {failure}");
    }
}
