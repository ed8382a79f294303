//! What others see between any two write units: a backend is held up at a stop point, and the server is
//! killed, or others work.
//!
//! The schedules are those of core's tests (`core/tests/operations/interleaved.rs`), with Postgres's locks,
//! buffers and WAL.

use std::thread;

use postgres::Client;
use postgres::error::SqlState;
use walia_core::page::StopPoint;

use crate::scan::{assert_complete, assert_repairable, assert_sound, by_index};
use crate::server::{Cluster, wait_until};

/// The advisory lock for which a backend waits at its stop points (`src/store/stop.rs`).
pub const LOCK: &str = "512735603041";

/// Rows with payloads apart, every second node with links of upper layers, equal vectors and NULLs.
const TABLE: &str = "DROP TABLE IF EXISTS items;
    CREATE TABLE items (id bigserial, v vecf32(2100));
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops) WITH (m = 2, quantization = none)";
const INSERT: &str = "INSERT INTO items (v) SELECT CASE WHEN i % 15 = 0 THEN NULL
        WHEN i % 4 = 0 THEN array_fill(0.5::real, ARRAY[2100])
        ELSE (SELECT array_agg(random())::real[] FROM generate_series(1, 2100 + 0 * i)) END::vecf32
    FROM generate_series(1, 60) AS i";
const REPAIR: &str = "SELECT * FROM walia_repair('items_v')";
/// To its end.
const SCAN: &str =
    "SELECT count(id) FROM (SELECT id FROM items ORDER BY v <-> array_fill(0.4::real, ARRAY[2100])::vecf32
    OFFSET 0) AS s";
const QUERY: &str = "array_fill(0.4::real, ARRAY[2100])::vecf32";

/// What a graph must not have when all is done: errors, links that lead nowhere or twice to one node, a wrong
/// entry point. A vacuum beside an insertion leaves tuples that no node knows, and lists with few places
/// nodes to which none leads: for the next vacuum.
const UNWANTED: &str = "SELECT finding FROM walia_check('items_v', true)
    WHERE severity = 'error' OR finding ~ '^(link|stale|duplicate|entry|no entry)'";

/// Sessions that wait at stop points as long as this one has their lock. Made inside of a scope of threads:
/// when a test fails there, the scope waits for those threads, which can go on when this is dropped.
pub struct Stopper(Client);

impl Stopper {
    /// Takes the lock.
    pub fn new(cluster: &Cluster) -> Self {
        let mut stopper = Self(cluster.connect());
        stopper.hold();
        stopper
    }

    fn hold(&mut self) {
        self.0.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).unwrap();
    }

    /// Lets them go on, all the way.
    pub fn release(mut self) {
        self.0.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).unwrap();
    }

    /// Lets the one that waits go on to its next stop point: it gets the lock before this session gets it
    /// again.
    fn step(&mut self) {
        self.0.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).unwrap();
        self.hold();
    }

    /// Waits until so many wait.
    pub fn wait_for(&mut self, sessions: i64, at: &str) {
        wait_until(at, || self.waiting() == sessions);
    }

    /// Cancels the commands that wait.
    pub fn cancel(&mut self) {
        let waiting =
            "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        self.0.batch_execute(waiting).unwrap();
    }

    /// How many wait.
    fn waiting(&mut self) -> i64 {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        self.0.query_one(waiting, &[]).unwrap().get(0)
    }
}

/// Runs a command that stops at the stop points of these names.
pub fn run_to(cluster: &Cluster, points: &str, command: &str) -> Result<(), postgres::Error> {
    let mut client = cluster.connect();
    by_index(&mut client, true);
    client.batch_execute("SELECT setseed(0.25)")?;
    client.batch_execute(&format!("SET walia.stop_points = '{points}'"))?;
    client.batch_execute(command)
}

/// Fills the table so that the command that this gives comes to a stop point.
fn prepare(cluster: &Cluster, client: &mut Client, point: &str) -> &'static str {
    for command in ["SELECT setseed(0.5)", TABLE, INSERT] {
        client.batch_execute(command).unwrap();
    }
    let (changes, command): (&[&str], _) = match point {
        // The slots of all nodes may be used again, and there is no entry point.
        "insert entry point set" | "insert aside written" | "tombstone removed" => {
            (&["DELETE FROM items", "VACUUM items"], INSERT)
        }
        // Half of the nodes will be taken by the next vacuum.
        _ if point.starts_with("insert") => (&["DELETE FROM items WHERE id % 2 = 0"], INSERT),
        _ if point.starts_with("repair") => {
            (&["DELETE FROM items WHERE id % 10 > 0", "VACUUM items"], REPAIR)
        }
        _ => (&["DELETE FROM items WHERE id % 10 > 0"], "VACUUM items"),
    };
    // Where nobody looks, VACUUM removes its tombstones itself.
    let mut reader = cluster.connect();
    for change in changes {
        client.batch_execute(change).unwrap();
        if point == "tombstone removed" && *change == "DELETE FROM items" {
            reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
        }
    }
    for command in ["COMMIT", "SELECT pg_current_xact_id()"] {
        reader.batch_execute(command).unwrap();
    }
    command
}

/// All but those of healing, of builds and of joining graphs, which have tests of their own.
fn stop_points() -> impl Iterator<Item = &'static str> {
    let others = ["heal", "build", "batch"];
    let is_of_another = move |point: &&str| others.iter().any(|other| point.starts_with(other));
    StopPoint::ALL.iter().map(|point| point.name()).filter(move |point| !is_of_another(point))
}

fn start() -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    cluster.connect().batch_execute("CREATE EXTENSION walia").unwrap();
    cluster
}

/// Fails where something is wrong that no schedule may leave.
fn assert_linked(client: &mut Client, schedule: &str) {
    let unwanted: Vec<String> = client.query(UNWANTED, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(unwanted.is_empty(), "{schedule}: {unwanted:?}");
}

/// Kills a server with a session at a stop point, all of whose WAL has been written, and looks at what
/// recovers.
fn crash(cluster: &Cluster, stopper: &mut Stopper) {
    stopper.0.batch_execute("SELECT pg_switch_wal()").unwrap();
    cluster.kill9();
    cluster.run();
    let mut client = cluster.connect();
    assert_sound(&mut client);
    for command in [INSERT, "VACUUM items"] {
        client.batch_execute(command).unwrap();
        assert_sound(&mut client);
        assert_complete(&mut client, "<->");
    }
    assert_repairable(&mut client);
}

#[test]
fn a_crash() {
    let cluster = start();
    for point in stop_points() {
        let command = prepare(&cluster, &mut cluster.connect(), point);
        thread::scope(|scope| {
            let mut stopper = Stopper::new(&cluster);
            scope.spawn(|| run_to(&cluster, point, command).unwrap_err());
            stopper.wait_for(1, point);
            crash(&cluster, &mut stopper);
        });
    }
}

/// What a cancelled command leaves behind, the next VACUUM puts right.
#[test]
fn a_cancelled_command() {
    let cluster = start();
    let mut client = cluster.connect();
    for point in stop_points() {
        let command = prepare(&cluster, &mut client, point);
        thread::scope(|scope| {
            let mut stopper = Stopper::new(&cluster);
            let held = scope.spawn(|| run_to(&cluster, point, command).unwrap_err());
            stopper.wait_for(1, point);
            stopper.cancel();
            assert_eq!(held.join().unwrap().code(), Some(&SqlState::QUERY_CANCELED), "{point}");
        });
        assert_sound(&mut client);
        assert_complete(&mut client, "<->");
        for command in [INSERT, "VACUUM items"] {
            client.batch_execute(command).unwrap();
            assert_sound(&mut client);
            assert_complete(&mut client, "<->");
        }
        assert_repairable(&mut client);
    }
}

/// A build in batches that ends before its time leaves the index that was there.
#[test]
fn a_build_that_joins_graphs() {
    const ROWS: &str = "DROP TABLE IF EXISTS items; SELECT setseed(0.5);
        CREATE TABLE items (id bigserial, v vecf32(3));
        INSERT INTO items (v) SELECT CASE WHEN i % 50 > 0 THEN ARRAY[random(), random(), random()]::real[] END
            FROM generate_series(1, 10000) AS i;
        CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)";
    const BUILD: &str = "SET maintenance_work_mem = '1MB'; REINDEX INDEX items_v";
    let cluster = start();
    for point in StopPoint::ALL.iter().map(|point| point.name()).filter(|point| point.starts_with("batch")) {
        for is_killed in [false, true] {
            cluster.connect().batch_execute(ROWS).unwrap();
            thread::scope(|scope| {
                let mut stopper = Stopper::new(&cluster);
                let held = scope.spawn(|| run_to(&cluster, point, BUILD).unwrap_err());
                stopper.wait_for(1, point);
                if is_killed {
                    stopper.0.batch_execute("SELECT pg_switch_wal()").unwrap();
                    cluster.kill9();
                    cluster.run();
                } else {
                    stopper.cancel();
                    assert_eq!(held.join().unwrap().code(), Some(&SqlState::QUERY_CANCELED), "{point}");
                }
            });
            let mut client = cluster.connect();
            assert_sound(&mut client);
            assert_complete(&mut client, "<->");
            client.batch_execute(BUILD).unwrap();
            assert_sound(&mut client);
            assert_complete(&mut client, "<->");
            assert_repairable(&mut client);
        }
    }
}

/// A scan mends links that lead to tombstones: their nodes were removed between an insertion's search and its
/// first link.
///
/// With lists so short a walk may miss the new node, whatever it begins with: then all begins anew.
#[test]
fn a_crash_while_a_scan_heals() {
    let cluster = start();
    let crashed = (0..10).any(|_| {
        let mut client = cluster.connect();
        let insert = prepare(&cluster, &mut client, "insert chosen");
        thread::scope(|scope| {
            let mut stopper = Stopper::new(&cluster);
            scope.spawn(|| run_to(&cluster, "insert chosen, insert neighbour linked", insert));
            stopper.wait_for(1, "insert chosen");
            // VACUUM passes by a page of the table that is just being written: then neighbours that were
            // chosen may be left.
            let removed = "SELECT heap_tids = (SELECT count(v) FROM items) FROM walia_info('items_v')";
            wait_until("all nodes have been removed", || {
                client.batch_execute("VACUUM items").unwrap();
                client.query_one(removed, &[]).unwrap().get(0)
            });
            stopper.step();
            stopper.wait_for(1, "insert neighbour linked");
            // The link to the new node is near one of the rows.
            let mut scans = (1..=60).map(|row| {
                let near = SCAN.replace(QUERY, &format!("(SELECT v FROM items WHERE id = {row})"));
                run_to(&cluster, "heal list mended", &near)
            });
            let scans = scope.spawn(move || scans.any(|result| result.is_err()));
            wait_until("a scan has mended a list", || scans.is_finished() || stopper.waiting() == 2);
            let stopped = !scans.is_finished();
            if stopped {
                crash(&cluster, &mut stopper);
            }
            stopped
        })
    });
    assert!(crashed, "no scan has mended a list");
}

/// Rows are inserted and found, and what may be removed is, while a command waits at any of its stop points.
/// Afterwards no link is stale or there twice, none leads to a tombstone, and the entry point is a live node
/// of the highest level.
#[test]
fn others_at_work() {
    let cluster = start();
    let mut client = cluster.connect();
    by_index(&mut client, true);
    for point in stop_points() {
        let command = prepare(&cluster, &mut client, point);
        thread::scope(|scope| {
            let mut stopper = Stopper::new(&cluster);
            let held = scope.spawn(|| run_to(&cluster, point, command));
            stopper.wait_for(1, point);
            client.batch_execute(INSERT).unwrap();
            // Another vacuum, or repair, would wait for the one that is held.
            if command == INSERT {
                client.batch_execute("VACUUM items").unwrap();
            }
            assert_complete(&mut client, "<->");
            client.batch_execute(INSERT).unwrap();
            stopper.release();
            held.join().unwrap().unwrap();
        });
        assert_linked(&mut client, point);
        assert_complete(&mut client, "<->");
        client.batch_execute("VACUUM items").unwrap();
        assert_repairable(&mut client);
    }
}

/// The races that pgvector had to mend, one by one.
#[test]
fn races_that_pgvector_fixed() {
    const ROW: &str = "INSERT INTO items (v) VALUES (array_fill(0.45::real, ARRAY[2100]))";
    const NEAR_ROW: &str = "INSERT INTO items (v) VALUES (array_fill(0.4500001::real, ARRAY[2100]))";
    let (all, half) = ("DELETE FROM items", "DELETE FROM items WHERE id % 2 = 0");
    let cluster = start();
    let mut client = cluster.connect();
    for (race, change, held, point, others) in [
        ("the entry point is dead when a row is inserted", all, "VACUUM items", "vacuum all cleaned", ROW),
        ("the entry point goes before the row is there", all, ROW, "insert chosen", "VACUUM items"),
        ("the entry point goes before the row takes its place", all, ROW, "insert confirmed", "VACUUM items"),
        ("a chosen neighbour dies", half, ROW, "insert chosen", "VACUUM items"),
        ("a neighbour dies after the row was published", half, ROW, "insert published", "VACUUM items"),
        ("a row is linked while lists are mended", half, "VACUUM items", "list mended", INSERT),
        ("a row is linked after lists were mended", half, "VACUUM items", "vacuum all mended", INSERT),
        ("two rows choose each other", half, ROW, "insert published", NEAR_ROW),
        ("two rows are one vector", half, ROW, "insert chosen", ROW),
    ] {
        prepare(&cluster, &mut client, "");
        for command in ["VACUUM items", INSERT, change] {
            client.batch_execute(command).unwrap();
        }
        thread::scope(|scope| {
            let mut stopper = Stopper::new(&cluster);
            let held = scope.spawn(|| run_to(&cluster, point, held));
            stopper.wait_for(1, point);
            client.batch_execute(others).unwrap();
            stopper.release();
            held.join().unwrap().unwrap();
        });
        assert_linked(&mut client, race);
        assert_complete(&mut client, "<->");
    }
}
