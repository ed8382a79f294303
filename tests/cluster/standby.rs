//! A streaming standby: it answers as its primary does, and takes over.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::{DbError, SqlState};

use crate::numbers::Numbers;
use crate::scan::{assert_complete, assert_plan, assert_sound, by_index};
use crate::server::{Cluster, wait_until};
use crate::workload;

/// Sessions that write to the primary.
const WRITERS: i32 = 6;
/// Sessions that read from the standby.
const READERS: u64 = 2;

/// Replay compares every page that it changes with the primary's.
#[test]
fn follows_its_primary_and_takes_over() {
    let primary = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    let mut client = primary.connect();
    let insert =
        "INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 2000)";
    client
        .batch_execute("CREATE EXTENSION walia; CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3))")
        .unwrap();
    client.batch_execute(insert).unwrap();
    let standby = primary.standby(&[]);
    client.batch_execute("CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)").unwrap();
    for change in [insert, "DELETE FROM items WHERE id % 3 = 0", "VACUUM items", insert] {
        client.batch_execute(change).unwrap();
        primary.wait_for_replay(&standby);
        let query = "SELECT ARRAY(SELECT id FROM items ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 100)";
        let [here, there] = [&primary, &standby].map(|cluster| {
            let mut client = cluster.connect();
            by_index(&mut client, true);
            assert_plan(&mut client, query, true);
            client.query_one(query, &[]).unwrap().get::<_, Vec<i64>>(0)
        });
        assert_eq!(here, there, "after {change}");
        assert_complete(&mut standby.connect(), "<->");
    }
    primary.stop();
    standby.promote();
    standby.connect().batch_execute(insert).unwrap();
    assert_complete(&mut standby.connect(), "<->");
    assert_sound(&mut standby.connect());
}

#[test]
fn follows_under_load() {
    follow(Duration::from_secs(8), true);
    follow(Duration::from_secs(8), false);
}

#[test]
#[ignore = "long: make standby"]
fn follows_under_load_for_long() {
    let seconds = env::var("WALIA_SOAK_SECONDS").map_or(300, |seconds| seconds.parse().unwrap());
    follow(Duration::from_secs(seconds), true);
    follow(Duration::from_secs(seconds), false);
}

/// Long scans on a standby while its primary changes and vacuums what they read. With the standby's feedback,
/// the primary keeps the rows that a scan sees, and no scan fails for them; without, Postgres may cancel it,
/// but no row is wrong. Feedback does not spare a scan of any kind the conflict with replay that must prune
/// the very page of the table that the executor holds pinned: where replay is later than it may be, as in
/// long runs on few processors, Postgres cancels that scan at once.
fn follow(time: Duration, feedback: bool) {
    let primary = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    let mut client = primary.connect();
    workload::prepare(&mut client);
    // To give pages back to the system, VACUUM takes a lock that ends scans on a standby whatever they read.
    client.batch_execute("ALTER TABLE items SET (vacuum_truncate = off)").unwrap();
    let standby = primary.standby(&[
        &format!("hot_standby_feedback = {feedback}"),
        "wal_receiver_status_interval = 1s",
        "max_standby_streaming_delay = 500ms",
    ]);
    if feedback {
        let known = "SELECT xmin IS NOT NULL FROM pg_replication_slots";
        wait_until("the primary has the standby's feedback", || {
            client.query_opt(known, &[]).unwrap().is_some_and(|row| row.get(0))
        });
    }
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for session in 0..WRITERS {
            let primary = &primary;
            scope.spawn(move || workload::work(primary, session, 1, || Instant::now() < end).unwrap());
        }
        for reader in 0..READERS {
            let standby = &standby;
            scope.spawn(move || {
                let mut client = reader_of(standby);
                let mut numbers = Numbers::new(reader);
                while Instant::now() < end {
                    match scan_slowly(&mut client, &workload::query(&mut numbers)) {
                        Ok(()) => {}
                        Err(error) => {
                            // Where the conflict finds a session between two statements, Postgres ends the
                            // session.
                            let ended = client.is_closed();
                            let cancelled = error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
                            assert!(cancelled || ended, "{error:?}");
                            let detail = error.as_db_error().and_then(DbError::detail);
                            let pinned = detail == Some("User was holding shared buffer pin for too long.");
                            assert!(!feedback || pinned, "{error:?}");
                            if ended {
                                client = reader_of(standby);
                            }
                        }
                    }
                }
            });
        }
    });
    primary.wait_for_replay(&standby);
    let mut numbers = Numbers::new(1);
    for _ in 0..20 {
        let query = workload::query(&mut numbers);
        let [here, there] = [&primary, &standby].map(|cluster| nearest(&mut cluster.connect(), &query));
        assert_eq!(here, there);
    }
    assert_complete(&mut standby.connect(), "<->");
    workload::assert_ranked(&mut standby.connect());
    primary.stop();
    standby.promote();
    assert_sound(&mut standby.connect());
    let end = Instant::now() + Duration::from_secs(2);
    workload::work(&standby, 0, 2, || Instant::now() < end).unwrap();
    assert_complete(&mut standby.connect(), "<->");
    assert_sound(&mut standby.connect());
    workload::check_codes(&mut standby.connect());
    workload::assert_ranked(&mut standby.connect());
}

/// A session that reads by the index.
fn reader_of(standby: &Cluster) -> Client {
    let mut client = standby.connect();
    by_index(&mut client, true);
    client
}

/// Reads all rows by the index, half a millisecond each, and compares them with the table's own.
fn scan_slowly(client: &mut Client, query: &str) -> Result<(), postgres::Error> {
    let statement = format!(
        "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM items)
         FROM (SELECT id, pg_sleep(0.0005) FROM items ORDER BY v <-> '{query}' OFFSET 0) AS s"
    );
    let row = client.query_one(&statement, &[])?;
    let [found, different, all] = [0, 1, 2].map(|column| row.get::<_, i64>(column));
    assert_eq!(
        (found, different),
        (all, all),
        "rows found, different ones among them, and rows of the table"
    );
    Ok(())
}

fn nearest(client: &mut Client, query: &str) -> Vec<i64> {
    by_index(client, true);
    let statement = format!("SELECT ARRAY(SELECT id FROM items ORDER BY v <-> '{query}' LIMIT 100)");
    client.query_one(&statement, &[]).unwrap().get(0)
}
