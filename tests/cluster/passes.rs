//! Linear passes, over an index that is larger than shared buffers: a scan to its end, the check, the
//! statistics, VACUUM.

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_plan, assert_repairable, assert_sound, by_index};
use crate::server::Cluster;

/// A table whose index, `items_v`, has some 1,000 pages.
fn prepare(shared_buffers: &str) -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off", &format!("shared_buffers = {shared_buffers}")]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial, v vecf32(64));
             INSERT INTO items (v) SELECT (SELECT array_agg(random())::real[] FROM generate_series(1, 64 + 0 * i))
             FROM generate_series(1, 6000) AS i;
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    cluster
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

#[test]
fn read_all_pages_with_and_without_read_ahead() {
    let cluster = prepare("2MB");
    for depth in [-1, 0] {
        let mut client = cluster.connect();
        client.batch_execute(&format!("SET walia.prefetch_depth = {depth}")).unwrap();
        assert_complete(&mut client, "<->");
        assert_sound(&mut client);
        client.batch_execute("DELETE FROM items WHERE id % 3 = 0").unwrap();
        client.batch_execute("VACUUM items").unwrap();
        assert_eq!(
            number(&mut client, "SELECT heap_tids - (SELECT count(*) FROM items) FROM walia_info('items_v')"),
            0
        );
        assert_repairable(&mut client);
        assert_complete(&mut client, "<->");
    }
}

/// From Postgres 17 on, pages that lie side by side are read together; 18 tells how many that were.
#[test]
fn read_several_pages_at_a_time() {
    // A stream pins no more than its share of the buffers of all sessions that there may be: few buffers are
    // too few.
    let cluster = prepare("64MB");
    let mut client = cluster.connect();
    if number(&mut client, "SELECT current_setting('server_version_num')::bigint") < 180_000 {
        return;
    }
    drop(client);
    let reads_of = |depth: i32| {
        cluster.stop();
        cluster.run();
        let mut client = cluster.connect();
        by_index(&mut client, true);
        client
            .batch_execute(&format!("SET walia.nearest_scan = off; SET walia.prefetch_depth = {depth}"))
            .unwrap();
        // Without a query vector a scan is a pass, and nothing else but the rows of the table, a fifth of all
        // pages.
        let scan = "SELECT id FROM items ORDER BY v <-> (SELECT NULL::vecf32) OFFSET 10000";
        assert_plan(&mut client, scan, true);
        client.batch_execute(scan).unwrap();
        let query = "SELECT sum(reads)::bigint, (sum(read_bytes) / 8192)::bigint FROM pg_stat_io
                     WHERE backend_type = 'client backend' AND object = 'relation'";
        client.batch_execute("SELECT pg_stat_force_next_flush()").unwrap();
        let row = client.query_one(query, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (reads, pages) = reads_of(-1);
    assert!(pages > 500 && reads * 2 < pages, "{reads} reads of {pages} pages with read-ahead");
    let (reads, pages) = reads_of(0);
    assert!(pages > 500 && reads * 2 > pages, "{reads} reads of {pages} pages without");
}

/// A pass that is cancelled leaves nothing pinned.
#[test]
fn are_cancelled_at_any_moment() {
    let cluster = prepare("2MB");
    let mut client = cluster.connect();
    by_index(&mut client, true);
    let (mut cancelled, mut time) = (0, 1);
    loop {
        // The limit is one of the scan alone, not of the command that sets the next one.
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(&format!("SET LOCAL statement_timeout = {time}")).unwrap();
        let scan = "SELECT count(*) FROM (SELECT FROM items ORDER BY v <-> array_fill(0.5, ARRAY[64])::vecf32 OFFSET 0) AS s";
        match transaction.query_one(scan, &[]) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}"),
        }
        cancelled += 1;
        time += 1 + time / 8;
    }
    assert!(cancelled > 3, "cancelled {cancelled} times");
    assert_complete(&mut client, "<->");
    drop(client);
    let log = cluster.log();
    assert!(!log.contains("WARNING"), "{log}");
}
