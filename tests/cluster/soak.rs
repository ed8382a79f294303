//! Inserts, updates and deletes by several sessions at once, then a scan to the end.

use std::env;
use std::thread;

use crate::scan::{assert_complete, assert_sound};
use crate::server::Cluster;

const SESSIONS: u32 = 4;
/// Rows that one statement of a session changes.
const BATCH: u32 = 50;

#[test]
fn stays_complete() {
    mix(10_000);
}

#[test]
#[ignore = "long: make soak"]
fn stays_complete_for_long() {
    mix(env::var("WALIA_SOAK_OPERATIONS").map_or(1_000_000, |operations| operations.parse().unwrap()));
}

/// Half of the operations insert, a quarter updates and a quarter deletes. Autovacuum runs all the time.
fn mix(operations: u32) {
    let cluster = Cluster::start(&["autovacuum_naptime = 1s", "autovacuum_vacuum_cost_delay = 0"]);
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, session int, v vecf32(8))
             WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = -1);
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops);
             CREATE FUNCTION vector() RETURNS vecf32 LANGUAGE sql VOLATILE AS
             'SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, 8)'",
        )
        .unwrap();
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let mut client = cluster.connect();
            scope.spawn(move || {
                // A session changes rows of its own, so that none waits for another's lock.
                let some = format!(
                    "id IN (SELECT id FROM items WHERE session = {session} ORDER BY random() LIMIT {BATCH})"
                );
                let insert =
                    format!("INSERT INTO items (session, v) SELECT {session}, vector() FROM generate_series(1, {BATCH})");
                let update = format!("UPDATE items SET v = vector() WHERE {some}");
                let delete = format!("DELETE FROM items WHERE {some}");
                for _ in 0..operations / SESSIONS / BATCH / 4 {
                    for statement in [&insert, &update, &insert, &delete] {
                        client.batch_execute(statement).unwrap();
                    }
                }
            });
        }
    });
    assert_complete(&mut cluster.connect(), "<->");
    cluster.connect().batch_execute("VACUUM items").unwrap();
    assert_complete(&mut cluster.connect(), "<->");
    assert_sound(&mut cluster.connect());
}
