//! Several sessions at once for a long time; afterwards the index is sound, complete, and as good as a new
//! one.

mod filtered;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::numbers::Numbers;
use crate::scan::{assert_complete, assert_repairable, assert_sound};
use crate::server::Cluster;
use crate::workload;

const SESSIONS: u64 = 4;
/// Rows that one statement of a session changes.
const BATCH: u64 = 50;

/// Sessions that insert, update, delete, search and vacuum.
const MIXED_SESSIONS: i32 = 8;

#[test]
fn stays_sound() {
    mix_all(Duration::from_secs(10), 1);
}

#[test]
#[ignore = "long: make soak"]
fn stays_sound_for_long() {
    let number = |name, default| env::var(name).map_or(default, |value| value.parse().unwrap());
    mix_all(Duration::from_secs(number("WALIA_SOAK_SECONDS", 600)), number("WALIA_SOAK_SEED", 1));
}

fn mix_all(time: Duration, seed: u64) {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    workload::prepare(&mut client);
    let end = Instant::now() + time;
    let operations: u64 = thread::scope(|scope| {
        let work = |session| workload::work(&cluster, session, seed, || Instant::now() < end).unwrap();
        let sessions: Vec<_> =
            (0..MIXED_SESSIONS).map(|session| scope.spawn(move || work(session))).collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
    workload::check_codes(&mut client);
    workload::assert_ranked(&mut client);
    let number = |client: &mut Client, query: &str| -> f64 { client.query_one(query, &[]).unwrap().get(0) };
    let recall = "SELECT recall FROM walia_recall('items_v', samples => 1000)";
    let nodes = number(&mut client, "SELECT nodes::float8 FROM walia_info('items_v')");
    let warnings = number(&mut client, "SELECT count(*)::float8 FROM walia_check('items_v')");
    assert_repairable(&mut client);
    let found = number(&mut client, recall);
    client.batch_execute("REINDEX INDEX items_v").unwrap();
    let expected = number(&mut client, recall);
    println!(
        "{operations} operations, {nodes} nodes, {warnings} warnings, recall {found}, of a new index {expected}"
    );
    assert!(warnings <= nodes / 1000.0);
    assert!(found >= expected - 0.01);
}

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
