//! Writers, a reader that scans to the end, and vacuums, all at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::Cluster;

const WRITERS: usize = 3;
const ROUNDS: usize = 40;

/// A vector that is random, one of few, or NULL.
const VECTOR: &str = "CASE WHEN random() < 0.02 THEN NULL
    WHEN random() < 0.1 THEN array_fill(floor(random() * 5)::real, ARRAY[8])::vecf32
    ELSE (SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, 8 + i * 0)) END";

#[test]
fn finds_every_row_once_while_others_write() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, writer int, note int DEFAULT 0, v vecf32(8));
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 8, ef_construction = 32)",
        )
        .unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Writers end this, also when one of them has failed.
            let mut client = cluster.connect();
            while !stop.load(Ordering::Relaxed) {
                client.batch_execute("VACUUM items").unwrap();
            }
        });
        scope.spawn(|| {
            let mut client = cluster.connect();
            by_index(&mut client, true);
            while !stop.load(Ordering::Relaxed) {
                let query = "SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items
                             ORDER BY v <-> array_fill(random()::real, ARRAY[8])::vecf32 OFFSET 0) AS s";
                let row = client.query_one(query, &[]).unwrap();
                assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "rows, and different ones among them");
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = cluster.connect();
                let some =
                    format!("id IN (SELECT id FROM items WHERE writer = {writer} ORDER BY random() LIMIT 8)");
                let changes = [
                    format!("INSERT INTO items (writer, v) SELECT {writer}, {VECTOR} FROM generate_series(1, 20) AS i"),
                    format!("UPDATE items SET v = array_fill(random()::real, ARRAY[8]) WHERE {some}"),
                    format!("UPDATE items SET note = note + 1 WHERE {some}"),
                    format!("DELETE FROM items WHERE {some}"),
                ];
                scope.spawn(move || {
                    for change in changes.iter().cycle().take(ROUNDS * changes.len()) {
                        client.batch_execute(change).unwrap();
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a writer has failed");
    });
    for _ in 0..2 {
        assert_complete(&mut client, "<->");
        assert_sound(&mut client);
        client.batch_execute("VACUUM items").unwrap();
    }
}
