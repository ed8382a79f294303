//! What is counted of indexes: by whom, for whom, and how long.

use postgres::Client;
use postgres::error::SqlState;

use crate::server::Cluster;

const TABLE: &str = "CREATE EXTENSION walia;
    CREATE TABLE items (id bigserial, kind int, v vecf32(3));
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
    INSERT INTO items (kind, v) SELECT i % 100, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32 FROM generate_series(1, 2000) AS i;
    INSERT INTO items (v) VALUES (NULL);
    ANALYZE items";

const SEARCH: &str =
    "SET enable_seqscan = off; SELECT id FROM items ORDER BY v <-> '[0.1, 0.2, 0.3]' LIMIT 10";

/// A column, or an expression of columns, of what was counted of an index.
fn counted<T: for<'a> postgres::types::FromSql<'a>>(client: &mut Client, what: &str) -> T {
    let query = format!("SELECT {what} FROM walia_stat_indexes WHERE indexrelname = 'items_v'");
    client.query_one(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}

/// Whether sessions of this server count together without the library being preloaded.
fn shares(client: &mut Client) -> bool {
    let number: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).unwrap().get(0);
    number >= 170_000
}

#[test]
fn each_search_and_row_is_counted() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    assert_eq!(counted::<i64>(&mut client, "inserts"), 2001);
    assert!(counted::<i64>(&mut client, "links_pruned") > 0);
    assert_eq!(counted::<i64>(&mut client, "searches"), 0);
    assert_eq!(counted::<Option<f64>>(&mut client, "p99_ms"), None);
    assert!(counted::<bool>(&mut client, "now() - stats_reset < '1 hour'"));
    // The walk with a goal, with a condition, and the index's own scan.
    let condition = SEARCH.replace("ORDER BY", "WHERE kind < 50 ORDER BY");
    let last = "SELECT nodes_expanded, distances_measured, distances_estimated, pages, rows_tested, rows_failed,
        (SELECT count(*) FROM walia_stat_latency_buckets() WHERE milliseconds >= least_ms AND milliseconds < below_ms),
        (SELECT bucket FROM walia_stat_latency_buckets() WHERE milliseconds >= least_ms AND milliseconds < below_ms)::bigint
        FROM walia_last_scan()";
    const SUMS: &str =
        "ARRAY[nodes_expanded, distances_measured, distances_estimated, pages_hit + pages_read,
        rows_tested, rows_failed]";
    let mut sums = vec![0; 6];
    let statements = [SEARCH, &condition, &format!("SET walia.nearest_scan = off; {SEARCH}")];
    for (number, statement) in (1..).zip(statements) {
        client.batch_execute(statement).unwrap();
        let row = client.query_one(last, &[]).unwrap();
        sums.iter_mut().enumerate().for_each(|(column, sum)| *sum += row.get::<_, i64>(column));
        assert_eq!(counted::<i64>(&mut client, "searches"), number, "{statement}");
        assert_eq!(counted::<Vec<i64>>(&mut client, SUMS), sums, "{statement}");
        // The search is in the bucket of its time.
        assert_eq!(row.get::<_, i64>(6), 1);
        let bucket: i64 = row.get(7);
        assert!(counted::<i64>(&mut client, &format!("latency[{bucket}]")) > 0, "{statement}");
    }
    assert!(sums[4] > 0 && sums[5] > 0, "{sums:?}");
    assert_eq!(counted::<i64>(&mut client, "(SELECT sum(n)::bigint FROM unnest(latency) AS n)"), 3);
    assert!(counted::<bool>(&mut client, "0 < p50_ms AND p50_ms <= p99_ms AND p50_ms <= total_ms"));
    // All rows, the walk's and those of the pass over the whole index.
    assert_eq!(counted::<i64>(&mut client, "second_runs"), 0);
    client.batch_execute("SELECT id FROM items ORDER BY v <-> '[0.1, 0.2, 0.3]'").unwrap();
    assert_eq!(counted::<i64>(&mut client, "second_runs"), 1);
    // What is read anew is not a hit. Nothing is counted of a search that fails.
    let (hit, read) = (counted::<i64>(&mut client, "pages_hit"), counted::<i64>(&mut client, "pages_read"));
    drop(client);
    cluster.stop();
    cluster.run();
    let mut client = cluster.connect();
    client.batch_execute(SEARCH).unwrap();
    assert!(counted::<i64>(&mut client, "pages_read") > 0);
    assert!(hit > 0 && read == 0, "{hit} {read}");
    client.batch_execute("SELECT id / 0 FROM items ORDER BY v <-> '[1, 2, 3]' LIMIT 10").unwrap_err();
    assert_eq!(counted::<i64>(&mut client, "searches"), 1);
}

#[test]
fn the_indexes_of_partitions_are_counted_each() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE parted (id int, v vecf32(3)) PARTITION BY HASH (id);
             CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             INSERT INTO parted SELECT i, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32 FROM generate_series(1, 4000) AS i;
             CREATE INDEX ON parted USING walia_hnsw (v);
             ANALYZE parted; SET enable_seqscan = off; SET enable_sort = off;
             SELECT id FROM parted ORDER BY v <~> '[0.1, 0.2, 0.3]' LIMIT 10;
             SELECT id FROM parted WHERE id % 3 = 1 ORDER BY v <~> '[0.1, 0.2, 0.3]' LIMIT 10;
             SELECT id FROM parted_1 ORDER BY v <~> '[0.1, 0.2, 0.3]' LIMIT 10",
        )
        .unwrap();
    let counted = client
        .query("SELECT indexrelname::text, searches, rounds, nodes_expanded > 0 FROM walia_stat_indexes ORDER BY 1", &[])
        .unwrap();
    let counted: Vec<(String, i64, i64, bool)> =
        counted.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let expected = [("parted_0_v_idx", 2), ("parted_1_v_idx", 3)];
    assert_eq!(counted, expected.map(|(name, searches)| (name.to_owned(), searches, searches, true)));
}

/// What the sessions of a cluster count, where they do so together.
fn count_together(cluster: &Cluster) {
    let mut sessions: Vec<Client> = (0..3).map(|_| cluster.connect()).collect();
    for session in &mut sessions {
        session.batch_execute(SEARCH).unwrap();
        session.batch_execute("INSERT INTO items (v) VALUES ('[1, 2, 3]')").unwrap();
    }
    for session in &mut sessions {
        assert!(counted::<bool>(session, "all_sessions AND searches = 3 AND inserts = 2004"));
    }
    // Sessions that know the entry go on with it when it begins anew.
    sessions[0].batch_execute("SELECT walia_stat_reset_indexes('items_v')").unwrap();
    sessions[1].batch_execute(SEARCH).unwrap();
    assert!(counted::<bool>(&mut sessions[2], "searches = 1 AND inserts = 0"));
    // A new file is a new index.
    sessions[0].batch_execute("REINDEX INDEX items_v").unwrap();
    assert_eq!(counted::<i64>(&mut sessions[1], "searches"), 0);
    sessions[1].batch_execute(SEARCH).unwrap();
    assert_eq!(counted::<i64>(&mut sessions[2], "searches"), 1);
    sessions[0].batch_execute("BEGIN; TRUNCATE items; ROLLBACK").unwrap();
    assert_eq!(counted::<i64>(&mut sessions[2], "searches"), 1);
    // Nothing of one extension is left to the next one.
    let table = TABLE.replace("CREATE TABLE", "DROP TABLE items; CREATE TABLE");
    sessions[0].batch_execute(&format!("DROP EXTENSION walia CASCADE; {table}")).unwrap();
    assert!(counted::<bool>(&mut sessions[0], "searches = 0 AND inserts = 2001"));
    sessions[1].batch_execute(SEARCH).unwrap();
    assert!(counted::<bool>(&mut sessions[2], "searches = 1 AND inserts = 2001"));
}

#[test]
fn sessions_count_together_as_far_as_postgres_lets_them() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    if shares(&mut client) {
        return count_together(&cluster);
    }
    let mut other = cluster.connect();
    other.batch_execute(SEARCH).unwrap();
    assert!(counted::<bool>(&mut other, "NOT all_sessions AND searches = 1 AND inserts = 0"));
    assert!(counted::<bool>(&mut client, "NOT all_sessions AND searches = 0 AND inserts = 2001"));
}

#[test]
fn sessions_of_a_server_that_preloads_the_library_count_together() {
    let cluster = Cluster::start(&["shared_preload_libraries = 'walia'"]);
    cluster.connect().batch_execute(TABLE).unwrap();
    count_together(&cluster);
    // A crash forgets, and is survived.
    cluster.kill9();
    cluster.run();
    let mut client = cluster.connect();
    assert!(counted::<bool>(&mut client, "all_sessions AND searches = 0 AND stats_reset IS NULL"));
    client.batch_execute(SEARCH).unwrap();
    assert_eq!(counted::<i64>(&mut client, "searches"), 1);
}

#[test]
fn thousands_of_indexes_are_dropped_and_made_again() {
    const INDEXES: usize = 64;
    let cluster = Cluster::start(&["shared_preload_libraries = 'walia'"]);
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    // More than there is room for at a time.
    let indexes = (0..INDEXES).map(|i| format!("CREATE INDEX i{i} ON items USING walia_hnsw (v)"));
    let make = indexes.collect::<Vec<_>>().join("; ");
    for _ in 0..80 {
        client
            .batch_execute(&format!(
                "CREATE TABLE items (v vecf32(3)); {make}; INSERT INTO items VALUES ('[1, 2, 3]')"
            ))
            .unwrap();
        let row = client
            .query_one("SELECT count(*), min(inserts), max(inserts) FROM walia_stat_indexes", &[])
            .unwrap();
        let counted: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(counted, [INDEXES as i64, 1, 1]);
        client.batch_execute("DROP TABLE items").unwrap();
    }
}

#[test]
fn counts_are_for_owners_and_who_monitors() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client
        .batch_execute(
            "CREATE ROLE keeper LOGIN; CREATE ROLE watcher LOGIN; CREATE ROLE reader LOGIN;
             GRANT pg_monitor TO watcher; GRANT SELECT ON items TO reader; ALTER TABLE items OWNER TO keeper;
             CREATE TABLE other (v vecf32(3)); CREATE INDEX other_v ON other USING walia_hnsw (v);
             INSERT INTO other VALUES ('[1, 2, 3]')",
        )
        .unwrap();
    let names = |client: &mut Client| -> Vec<String> {
        let query = "SELECT indexrelname::text FROM walia_stat_indexes ORDER BY 1";
        client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    for (role, sees) in
        [("keeper", vec!["items_v"]), ("watcher", vec!["items_v", "other_v"]), ("reader", vec![])]
    {
        let mut session = cluster.connect_as(role, "postgres");
        assert_eq!(names(&mut session), sees, "{role}");
        let of = |index: &str| format!("SELECT * FROM walia_stat_get_index('{index}'::regclass)");
        assert_eq!(
            session.query(&of("other_v"), &[]).unwrap().len(),
            usize::from(role == "watcher"),
            "{role}"
        );
        let reset = session.batch_execute("SELECT walia_stat_reset_indexes('items_v')");
        let code = reset.err().map(|error| error.code().unwrap().clone());
        assert_eq!(code, (role != "keeper").then_some(SqlState::INSUFFICIENT_PRIVILEGE), "{role}");
    }
    for (relation, code) in [("'items'", SqlState::WRONG_OBJECT_TYPE), ("1::oid", SqlState::UNDEFINED_TABLE)]
    {
        let error =
            client.batch_execute(&format!("SELECT walia_stat_reset_indexes({relation})")).unwrap_err();
        assert_eq!(error.code(), Some(&code));
    }
    assert!(client.query("SELECT * FROM walia_stat_get_index('items'::regclass)", &[]).unwrap().is_empty());
    // All of those that the caller owns, and no others.
    client.batch_execute("INSERT INTO items (v) VALUES ('[1, 2, 3]')").unwrap();
    client.batch_execute("SET ROLE keeper; SELECT walia_stat_reset_indexes(); RESET ROLE").unwrap();
    let inserts = "SELECT array_agg(inserts ORDER BY indexrelname) FROM walia_stat_indexes";
    assert_eq!(client.query_one(inserts, &[]).unwrap().get::<_, Vec<i64>>(0), [0, 1]);
    client.batch_execute("SELECT walia_stat_reset_indexes()").unwrap();
    assert_eq!(client.query_one(inserts, &[]).unwrap().get::<_, Vec<i64>>(0), [0, 0]);
}

#[test]
fn a_standby_counts_its_own_searches_and_temporary_indexes_count() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let standby = cluster.standby(&[]);
    let mut reader = standby.connect();
    reader.batch_execute(SEARCH).unwrap();
    assert!(counted::<bool>(&mut reader, "searches = 1 AND inserts = 0 AND nodes_expanded > 0"));
    assert_eq!(counted::<i64>(&mut client, "searches"), 0);
    client
        .batch_execute(
            "CREATE TEMP TABLE own (v vecf32(3)); CREATE INDEX own_v ON own USING walia_hnsw (v);
             INSERT INTO own VALUES ('[1, 2, 3]')",
        )
        .unwrap();
    let own = "SELECT inserts FROM walia_stat_indexes WHERE indexrelname = 'own_v'";
    assert_eq!(client.query_one(own, &[]).unwrap().get::<_, i64>(0), 1);
}
