//! VACUUM: by several processes, within its memory, and the space that it gives back.

use std::thread;

use postgres::Client;

use crate::scan::{assert_complete, assert_repairable, assert_sound};
use crate::server::{Cluster, wait_until};

/// An INSERT of random rows.
fn insert(dimensions: usize, rows: usize) -> String {
    format!(
        "INSERT INTO items (v) SELECT (SELECT array_agg(random())::real[] FROM generate_series(1, {dimensions} + 0 * i))
         FROM generate_series(1, {rows}) AS i"
    )
}

/// A table with `rows` rows, whose index is `items_v`.
fn create(client: &mut Client, dimensions: usize, rows: usize) {
    let insert = insert(dimensions, rows);
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             SELECT setseed(0.5);
             CREATE TABLE items (id bigserial, v vecf32({dimensions}));
             {insert};
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)"
        ))
        .unwrap();
}

/// VACUUM, again where it passed by a page that another process was writing.
fn vacuum(client: &mut Client) {
    wait_until("all dead rows have been removed", || {
        client.batch_execute("VACUUM items").unwrap();
        let query = "SELECT heap_tids - (SELECT count(*) FROM items) FROM walia_info('items_v')";
        number(client, query) == 0
    });
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

/// One process for each index, while others insert.
#[test]
fn in_parallel() {
    let cluster = Cluster::start(&[
        "autovacuum = off",
        "min_parallel_index_scan_size = 0",
        "max_parallel_maintenance_workers = 2",
        "log_min_messages = debug2",
    ]);
    let mut client = cluster.connect();
    create(&mut client, 8, 3000);
    client
        .batch_execute(
            "CREATE INDEX items_cosine ON items USING walia_hnsw (v vecf32_cosine_ops);
             CREATE INDEX items_l1 ON items USING walia_hnsw (v vecf32_l1_ops);
             DELETE FROM items WHERE id % 3 > 0",
        )
        .unwrap();
    thread::scope(|scope| {
        let mut inserter = cluster.connect();
        scope.spawn(move || {
            for _ in 0..20 {
                inserter.batch_execute(&insert(8, 10)).unwrap();
            }
        });
        client.batch_execute("VACUUM (PARALLEL 2) items").unwrap();
    });
    let log = cluster.log();
    assert!(log.contains("launched 2 parallel vacuum workers for index vacuuming"), "{log}");
    for index in ["items_v", "items_cosine", "items_l1"] {
        assert!(log.contains(&format!("index \"{index}\": removed ")), "{log}");
    }
    assert_sound(&mut client);
    for operator in ["<->", "<~>", "<+>"] {
        assert_complete(&mut client, operator);
    }
    client.batch_execute("VACUUM (PARALLEL 2) items").unwrap();
    assert_repairable(&mut client);
}

/// With the least maintenance_work_mem there is: of the tombstones, those that fit are dealt with before
/// others are made.
#[test]
fn in_little_memory() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    create(&mut client, 4, 12_000);
    let least = "SELECT min_val::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'";
    let least = number(&mut client, least);
    for command in
        [&format!("SET maintenance_work_mem = {least}"), "DELETE FROM items WHERE id % 4 > 0", "VACUUM items"]
    {
        client.batch_execute(command).unwrap();
    }
    assert_eq!(number(&mut client, "SELECT nodes FROM walia_info('items_v')"), 3000);
    assert_eq!(number(&mut client, "SELECT count(*) FROM walia_check('items_v', true)"), 0);
    let recall = "SELECT recall::float8 FROM walia_recall('items_v', samples => 200)";
    let recall: f64 = client.query_one(recall, &[]).unwrap().get(0);
    assert!(recall > 0.98, "{recall}");
}

/// The first transaction after VACUUM takes the places of the rows that are gone; while somebody may still
/// look at them, new pages are taken, and the places stay for later.
#[test]
fn gives_space_back() {
    // In one tuple, a page each, and apart from the node.
    for (dimensions, rows, pages_more) in [(64, 1000, 1.03), (1500, 200, 1.05), (3000, 100, 1.1)] {
        let cluster = Cluster::start(&["autovacuum = off"]);
        let mut client = cluster.connect();
        create(&mut client, dimensions, rows);
        let pages = "SELECT pg_relation_size('items_v') / 8192";
        let full = number(&mut client, pages) as f64;
        let gone =
            format!("DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY id LIMIT {rows} / 2)");
        let again = insert(dimensions, rows / 2);
        client.batch_execute(&gone).unwrap();
        vacuum(&mut client);
        client.batch_execute(&again).unwrap();
        let after = number(&mut client, pages) as f64;
        assert!(after <= full * pages_more, "{dimensions} dimensions: {full} and then {after} pages");

        let mut reader = cluster.connect();
        client.batch_execute(&gone).unwrap();
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
        vacuum(&mut client);
        client.batch_execute(&again).unwrap();
        let meanwhile = number(&mut client, pages) as f64;
        assert!(meanwhile > after * 1.3, "{dimensions} dimensions: {after} and then {meanwhile} pages");
        reader.batch_execute("COMMIT").unwrap();
        client.batch_execute(&again).unwrap();
        let later = number(&mut client, pages) as f64;
        let most = meanwhile + full * (pages_more - 1.0);
        assert!(later <= most, "{dimensions} dimensions: {meanwhile} and then {later} pages");
        assert_sound(&mut client);
        assert_complete(&mut client, "<->");
    }
}

/// What VACUUM leaves in the indexes when it is told to, the next one removes.
#[test]
fn without_indexes() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    create(&mut client, 8, 1000);
    client.batch_execute("DELETE FROM items WHERE id % 2 = 0").unwrap();
    client.batch_execute("VACUUM (INDEX_CLEANUP off) items").unwrap();
    assert_eq!(number(&mut client, "SELECT nodes FROM walia_info('items_v')"), 1000);
    client.batch_execute(&insert(8, 100)).unwrap();
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
    vacuum(&mut client);
    assert_eq!(number(&mut client, "SELECT nodes FROM walia_info('items_v')"), 600);
    assert_repairable(&mut client);
    assert_complete(&mut client, "<->");
}
