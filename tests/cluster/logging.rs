//! Searches that are logged: each once, with what it did, whichever way it went.

use postgres::Client;
use postgres::error::SqlState;

use crate::server::Cluster;

const TABLES: &str = "CREATE EXTENSION walia;
    CREATE TABLE parted (id int, kind int, v vecf32(3)) PARTITION BY HASH (id);
    CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER 0);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER 1);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER 2);
    CREATE TABLE parted_3 PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER 3);
    INSERT INTO parted SELECT i, i % 3, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32 FROM generate_series(1, 8000) AS i;
    CREATE INDEX parted_v ON parted USING walia_hnsw (v vecf32_l2_ops);
    CREATE TABLE coded AS SELECT * FROM parted;
    CREATE INDEX coded_code ON coded (kind, walia_code(v));
    ANALYZE coded;
    ANALYZE parted;
    SET enable_seqscan = off; SET enable_sort = off";

/// The lines of the log that tell of searches, from a place on.
fn logged(cluster: &Cluster, from: usize) -> Vec<String> {
    let log = cluster.log()[from..].to_owned();
    let lines = log.lines().filter_map(|line| line.split_once("walia scan: "));
    lines
        .map(|(before, indexes)| {
            let time = before.rsplit_once("duration: ").expect("a duration").1;
            let milliseconds: f64 =
                time.trim().strip_suffix("ms").expect("milliseconds").trim().parse().unwrap();
            assert!(milliseconds > 0.0);
            indexes.to_owned()
        })
        .collect()
}

/// What a query has logged.
fn after(cluster: &Cluster, client: &mut Client, query: &str) -> Vec<String> {
    let from = cluster.log().len();
    client.batch_execute(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    logged(cluster, from)
}

#[test]
fn each_search_is_logged_once() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    let near = |table: &str| format!("SELECT id FROM {table} ORDER BY v <-> '[0.1, 0.2, 0.3]' LIMIT 10");
    assert!(after(&cluster, &mut client, &near("parted_1")).is_empty());
    client.batch_execute("SET walia.log_min_scan_duration = 0").unwrap();
    let one = ["\"parted_1_v_idx\"".to_owned()];
    assert_eq!(after(&cluster, &mut client, &near("parted_1")), one);
    let detail = cluster.log();
    let detail =
        detail.lines().rfind(|line| line.contains("DETAIL:  Rounds: 1; nodes expanded: ")).expect("a detail");
    assert!(
        detail.contains("rows of the first run: ") && !detail.contains("distances measured: 0,"),
        "{detail}"
    );
    // The walk with conditions, of one table and of many.
    let kind = "SELECT id FROM parted WHERE kind = 1 ORDER BY v <-> '[0.1, 0.2, 0.3]' LIMIT 10";
    assert_eq!(after(&cluster, &mut client, &kind.replace("parted", "parted_1")), one);
    let some = after(&cluster, &mut client, kind);
    assert_eq!(some.len(), 1, "{some:?}");
    assert!(some[0].ends_with(", \"parted_3_v_idx\""), "{some:?}");
    // By the codes that a btree carries.
    let coded = kind.replace("parted", "coded");
    client.batch_execute("SET walia.nearest_scan = off").unwrap();
    assert_eq!(after(&cluster, &mut client, &coded), ["\"coded_code\""]);
    // The index's own scan, and many indexes that are searched as one, again and again.
    assert_eq!(after(&cluster, &mut client, &near("parted_1")), one);
    assert_eq!(after(&cluster, &mut client, &near("parted")), ["4 indexes"]);
    let each = "SELECT near.id FROM (VALUES ('[1,0,0]'::vecf32), ('[0,1,0]'), ('[0,0,1]')) AS q (q),
        LATERAL (SELECT id FROM parted ORDER BY v <-> q LIMIT 5) AS near";
    assert_eq!(after(&cluster, &mut client, each), ["4 indexes"; 3]);
    // A search that is fast enough is not.
    client.batch_execute("SET walia.log_min_scan_duration = '1h'").unwrap();
    assert!(after(&cluster, &mut client, &near("parted")).is_empty());
}

#[test]
fn superusers_say_what_is_logged() {
    let cluster = Cluster::start(&["walia.log_min_scan_duration = 0"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    client.batch_execute("CREATE ROLE nobody LOGIN; GRANT SELECT ON parted, parted_1 TO nobody").unwrap();
    let mut nobody = cluster.connect_as("nobody", "postgres");
    let search = "SET enable_seqscan = off; SELECT id FROM parted_1 ORDER BY v <-> '[1, 0, 0]' LIMIT 1";
    assert_eq!(after(&cluster, &mut nobody, search), ["\"parted_1_v_idx\""]);
    let error = nobody.batch_execute("SET walia.log_min_scan_duration = -1").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}
