//! What EXPLAIN shows of index scans that no custom scan leads, and of insertions, where Postgres lets an
//! extension show it.

use postgres::{Client, SimpleQueryMessage};

use crate::server::Cluster;

const TABLE: &str = "CREATE EXTENSION walia;
    CREATE TABLE items (id bigserial, v vecf32(3));
    INSERT INTO items (v) SELECT ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32 FROM generate_series(1, 2000) AS i;
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE TABLE queries AS SELECT v AS query FROM items WHERE id <= 3;
    ANALYZE";
const PLAIN: &str = "SET enable_seqscan = off; SET enable_sort = off; SET walia.nearest_scan = off; SET walia.federated_scan = off";
const NEAR: &str = "SELECT id FROM items ORDER BY v <-> '[0.1, 0.2, 0.3]'";

/// The first column of a statement's rows.
fn lines(client: &mut Client, statement: &str) -> Vec<String> {
    let messages = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    let line = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().trim().to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(line).collect()
}

fn explain(client: &mut Client, options: &str, query: &str) -> Vec<String> {
    lines(client, &format!("EXPLAIN ({options}COSTS OFF) {query}"))
}

/// What is shown of a property, of each node that has it.
fn shown(plan: &[String], property: &str) -> Vec<String> {
    let of = |line: &String| line.strip_prefix(property)?.strip_prefix(": ").map(str::to_owned);
    plan.iter().filter_map(of).collect()
}

#[test]
fn plain_scans_show_what_they_did() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(PLAIN).unwrap();
    let has_hook = lines(&mut client, "SELECT current_setting('server_version_num')::int >= 180000") == ["t"];
    let near = format!("{NEAR} LIMIT 10");
    let plan = explain(&mut client, "ANALYZE, VERBOSE, ", &near);
    assert!(plan.iter().any(|line| line.contains("Index Scan using items_v")), "{plan:#?}");
    if !has_hook {
        assert_eq!(shown(&plan, "Nodes Expanded"), [""; 0]);
        return;
    }
    for (property, column) in [
        ("Nodes Expanded", "nodes_expanded"),
        ("Rounds", "rounds"),
        ("Distances Measured", "distances_measured"),
        ("Distances Estimated", "distances_estimated"),
        ("Index Pages", "pages"),
        ("Pages Prefetched", "pages_prefetched"),
        ("Prefetched Pages Used", "prefetched_pages_used"),
    ] {
        let counted = lines(&mut client, &format!("SELECT {column} FROM walia_last_scan()"));
        assert_eq!(shown(&plan, property), counted, "{property}: {plan:#?}");
    }
    assert_eq!(shown(&plan, "Second Run"), [""; 0]);
    // Nothing was done without ANALYZE, and a custom scan shows what the scans that it leads did.
    assert_eq!(shown(&explain(&mut client, "VERBOSE, ", &near), "Nodes Expanded"), [""; 0]);
    client.batch_execute("SET walia.nearest_scan = on").unwrap();
    let plan = explain(&mut client, "ANALYZE, ", &format!("{NEAR} LIMIT 10"));
    assert!(plan.iter().any(|line| line.contains("Custom Scan")), "{plan:#?}");
    assert_eq!(shown(&plan, "Nodes Expanded").len(), 1, "{plan:#?}");
}

#[test]
fn why_the_second_run_was_entered() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(PLAIN).unwrap();
    if lines(&mut client, "SELECT current_setting('server_version_num')::int < 180000") == ["t"] {
        return;
    }
    let none = "SELECT id FROM items ORDER BY v <-> (SELECT NULL::vecf32)";
    for (settings, query, reason, rows) in [
        ("walia.max_scan_tuples = 100", NEAR, "as the walk gave walia.max_scan_tuples rows", None),
        ("walia.max_scan_tuples = 100000", NEAR, "as no link led to further rows", Some("0")),
        ("work_mem = 64", NEAR, "as the walk needed more than work_mem times hash_mem_multiplier", None),
        ("work_mem = 4096", none, "as the query has no distance from any vector", Some("2000")),
    ] {
        client.batch_execute(&format!("SET hash_mem_multiplier = 1; SET {settings}")).unwrap();
        let plan = explain(&mut client, "ANALYZE, ", query);
        assert_eq!(shown(&plan, "Second Run"), [reason], "{plan:#?}");
        let counted = lines(&mut client, "SELECT rows_of_second_run FROM walia_last_scan()");
        assert_eq!(shown(&plan, "Rows of Second Run"), counted, "{plan:#?}");
        assert!(rows.is_none_or(|rows| counted == [rows]), "{reason}: {counted:?}");
    }
}

#[test]
fn scans_that_begin_anew_and_several_of_one_index() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(PLAIN).unwrap();
    if lines(&mut client, "SELECT current_setting('server_version_num')::int < 180000") == ["t"] {
        return;
    }
    let number = |shown: &str| shown.parse::<i64>().unwrap();
    let of = |client: &mut Client, query: &str| -> Vec<i64> {
        shown(&explain(client, "ANALYZE, ", query), "Nodes Expanded")
            .iter()
            .map(|shown| number(shown))
            .collect()
    };
    let one = |query: &str| format!("(SELECT id FROM items ORDER BY v <-> {query} LIMIT 10)");
    let queries = [1, 2, 3].map(|id| one(&format!("(SELECT v FROM items WHERE id = {id})")));
    let alone: Vec<i64> = queries.iter().flat_map(|query| of(&mut client, query)).collect();
    assert_eq!(alone.len(), 3);
    // Each scan of the index has its own.
    assert_eq!(of(&mut client, &queries.join(" UNION ALL ")), alone);
    // One that begins anew shows all that it did.
    let lateral = format!("SELECT * FROM queries, LATERAL {} AS near", one("query"));
    assert_eq!(of(&mut client, &lateral), [alone.iter().sum::<i64>()]);
    client.batch_execute("SET walia.max_scan_tuples = 5").unwrap();
    let plan = explain(&mut client, "ANALYZE, ", &lateral.replace("LIMIT 10", "LIMIT 200"));
    assert_eq!(shown(&plan, "Second Runs"), ["3"], "{plan:#?}");
}

#[test]
fn insertions_show_the_rows_that_joined() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let has_hook = lines(&mut client, "SELECT current_setting('server_version_num')::int >= 180000") == ["t"];
    let insert =
        "INSERT INTO items (v) SELECT ARRAY[cos(i), sin(i), 1]::vecf32 FROM generate_series(1, 1000) AS i";
    // Those of other statements do not count.
    client.batch_execute(insert).unwrap();
    let plan = explain(&mut client, "ANALYZE, TIMING OFF, ", insert);
    // The first 32 rows do not wait.
    assert_eq!(shown(&plan, "Rows Joined"), if has_hook { vec!["968"] } else { Vec::new() }, "{plan:#?}");
    assert_eq!(shown(&plan, "Join Time"), [""; 0]);
    if has_hook {
        let plan = explain(&mut client, "ANALYZE, ", insert);
        let [time] = &shown(&plan, "Join Time")[..] else { panic!("{plan:#?}") };
        assert!(time.strip_suffix(" ms").unwrap().parse::<f64>().unwrap() > 0.0, "{time}");
    }
    client.batch_execute("SET walia.batch_inserts = off").unwrap();
    assert_eq!(shown(&explain(&mut client, "ANALYZE, ", insert), "Rows Joined"), [""; 0]);
}
