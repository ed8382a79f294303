//! Inserts, updates and deletes by several sessions at once, then a scan to the end.

use std::env;
use std::thread;

use crate::numbers::Numbers;
use crate::scan::{assert_complete, assert_sound};
use crate::server::Cluster;

const SESSIONS: u64 = 4;
/// Rows that one statement of a session changes.
const BATCH: u64 = 50;

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
fn mix(operations: u64) {
    let cluster = Cluster::start(&["autovacuum_naptime = 1s", "autovacuum_vacuum_cost_delay = 0"]);
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(8))
             WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = -1);
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 8, ef_construction = 32);
             CREATE FUNCTION vector() RETURNS vecf32 LANGUAGE sql VOLATILE AS
             'SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, 8)'",
        )
        .unwrap();
    let change = |session: u64| {
        let mut client = cluster.connect();
        let insert =
            format!("INSERT INTO items (v) SELECT vector() FROM generate_series(1, {BATCH}) RETURNING id");
        let insert = client.prepare(&insert).unwrap();
        let update = client.prepare("UPDATE items SET v = vector() WHERE id = ANY($1)").unwrap();
        let delete = client.prepare("DELETE FROM items WHERE id = ANY($1)").unwrap();
        // A session changes rows of its own, so that none waits for another's lock.
        let mut ids = Vec::<i64>::new();
        let mut numbers = Numbers::new(session);
        let mut done = 0;
        while done < operations / SESSIONS {
            for deletes in [false, true] {
                let inserted = client.query(&insert, &[]).unwrap();
                ids.extend(inserted.iter().map(|row| row.get::<_, i64>(0)));
                let chosen: Vec<i64> =
                    (0..BATCH).map(|_| ids.swap_remove(numbers.below(ids.len()))).collect();
                let then = if deletes { &delete } else { &update };
                done += inserted.len() as u64 + client.execute(then, &[&chosen]).unwrap();
                if !deletes {
                    ids.extend(chosen);
                }
            }
        }
        done
    };
    let done: u64 = thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS).map(|session| scope.spawn(move || change(session))).collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    println!("{done} operations");
    assert!(done >= operations / SESSIONS * SESSIONS);
    assert_complete(&mut cluster.connect(), "<->");
    cluster.connect().batch_execute("VACUUM items").unwrap();
    assert_complete(&mut cluster.connect(), "<->");
    assert_sound(&mut cluster.connect());
}
