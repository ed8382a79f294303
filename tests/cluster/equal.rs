//! Many rows that share a vector: what they cost, how work on them is cancelled, and many sessions that
//! insert them at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::{Cluster, wait_until};

const BUILD: &str = "CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)";

/// Fills `items` with so many equal rows.
fn fill(client: &mut Client, rows: u32) {
    let insert = format!("INSERT INTO items SELECT i, '[1,2,3]' FROM generate_series(1, {rows}) AS i");
    for statement in ["TRUNCATE items", &insert, "VACUUM ANALYZE items"] {
        client.batch_execute(statement).unwrap();
    }
}

fn create(client: &mut Client, persistence: &str) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia; DROP TABLE IF EXISTS items;
             CREATE {persistence} TABLE items (id bigint, v vecf32(3)) WITH (autovacuum_enabled = off)"
        ))
        .unwrap();
}

fn time(client: &mut Client, statement: &str) -> Duration {
    let begin = Instant::now();
    client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    begin.elapsed()
}

/// Lifts `statement_timeout`; a limit that was set for something else may end that too where the machine is
/// busy.
fn lift_limit(client: &mut Client) {
    while let Err(error) = client.batch_execute("RESET statement_timeout") {
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    }
}

/// Builds, scans, deletions, vacuums and checks of twenty times as many rows take no more than sixty times as
/// long; in the square of the rows they would take four hundred times as long.
#[test]
fn time_grows_with_the_rows() {
    const ROWS: u32 = 40_000;
    let cluster = Cluster::start(&["max_wal_size = '4GB'", "maintenance_work_mem = '256MB'"]);
    let mut client = cluster.connect();
    create(&mut client, "UNLOGGED");
    let work = [
        BUILD,
        "SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[1,2,3]' OFFSET 0) AS s",
        "SELECT * FROM walia_check('items_v', true)",
        "SELECT * FROM walia_info('items_v')",
        "VACUUM items",
        "SELECT * FROM walia_check('items_v', true)",
    ];
    let run = |client: &mut Client, rows: u32, limits: &[Duration]| -> Vec<Duration> {
        client.batch_execute("RESET statement_timeout; DROP INDEX IF EXISTS items_v").unwrap();
        fill(client, rows);
        by_index(client, true);
        let mut times = Vec::new();
        for (number, statement) in work.into_iter().enumerate() {
            if statement.starts_with("VACUUM") {
                client.batch_execute("RESET statement_timeout; DELETE FROM items WHERE id % 2 = 0").unwrap();
            }
            if let Some(limit) = limits.get(number) {
                client.batch_execute(&format!("SET statement_timeout = {}", limit.as_millis())).unwrap();
            }
            times.push(time(client, statement));
        }
        times
    };
    let times = run(&mut client, ROWS, &[]);
    let limits: Vec<Duration> = times.iter().map(|time| *time * 60 + Duration::from_secs(1)).collect();
    println!("{ROWS} rows: {times:?}");
    println!("{} rows: {:?}", 20 * ROWS, run(&mut client, 20 * ROWS, &limits));

    client
        .batch_execute("RESET statement_timeout; SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 10")
        .unwrap();
    let pages: i64 = client.query_one("SELECT pages FROM walia_last_scan()", &[]).unwrap().get(0);
    assert!(pages < 50, "{pages} pages for ten rows");
}

/// Whatever a build, a vacuum or a check is at, it ends soon when it is cancelled, and leaves nothing behind.
#[test]
fn work_on_them_can_be_cancelled() {
    const ROWS: u32 = 400_000;
    const MOMENTS: u32 = 6;
    let cluster = Cluster::start(&["max_wal_size = '4GB'"]);
    let mut client = cluster.connect();
    // In memory, unlogged and logged, and row by row.
    for (persistence, memory) in [("UNLOGGED", "256MB"), ("", "256MB"), ("UNLOGGED", "1MB")] {
        create(&mut client, persistence);
        client
            .batch_execute(&format!(
                "SET maintenance_work_mem = '{memory}'; SET client_min_messages = warning"
            ))
            .unwrap();
        fill(&mut client, ROWS / if memory == "1MB" { 8 } else { 1 });
        let mut work = |statement: &str, prepare: &str| {
            lift_limit(&mut client);
            let whole = time(&mut client, statement);
            for moment in 1..=MOMENTS {
                let limit = (whole * moment / MOMENTS).max(Duration::from_millis(50));
                lift_limit(&mut client);
                client.batch_execute(prepare).unwrap();
                client
                    .batch_execute(&format!("SET statement_timeout = {}", limit.as_millis().max(1)))
                    .unwrap();
                let begin = Instant::now();
                let result = client.batch_execute(statement);
                let late = begin.elapsed().saturating_sub(limit);
                if let Err(error) = result {
                    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
                }
                assert!(
                    late < Duration::from_secs(2),
                    "{statement} ended {late:?} after {limit:?} of {whole:?}"
                );
            }
            lift_limit(&mut client);
        };
        work(BUILD, "DROP INDEX IF EXISTS items_v");
        work(&format!("DROP INDEX IF EXISTS items_v; {BUILD}"), "");
        work("SELECT * FROM walia_check('items_v', true)", "");
        work(
            "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[1,2,3]' OFFSET 0) AS s",
            "",
        );
        work("VACUUM items", "DELETE FROM items WHERE id IN (SELECT id FROM items LIMIT 10000)");
        assert_sound(&mut client);
    }

    // The same for a backend that is terminated.
    client.batch_execute("DROP INDEX items_v; SET maintenance_work_mem = '256MB'").unwrap();
    fill(&mut client, ROWS);
    let whole = time(&mut client, BUILD);
    client.batch_execute("DROP INDEX items_v").unwrap();
    let mut ended = false;
    for moment in 1..=MOMENTS {
        thread::scope(|scope| {
            let mut builder = cluster.connect();
            let process: i32 = builder.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
            let build = scope.spawn(move || builder.batch_execute(BUILD));
            thread::sleep(whole * moment / (MOMENTS + 1));
            client.execute(&format!("SELECT pg_terminate_backend({process})"), &[]).unwrap();
            wait_until("the terminated backend is gone", || {
                client
                    .query(&format!("SELECT 1 FROM pg_stat_activity WHERE pid = {process}"), &[])
                    .unwrap()
                    .is_empty()
            });
            ended |= build.join().unwrap().is_err();
        });
        client.batch_execute("DROP INDEX IF EXISTS items_v").unwrap();
    }
    assert!(ended, "no build was terminated");
    assert!(!cluster.log().contains("terminated by signal"), "{}", cluster.log());
    // Files are gone for good with the checkpoint after they were removed.
    for statement in ["DROP TABLE items", "CHECKPOINT"] {
        client.batch_execute(statement).unwrap();
    }
    let left = "SELECT name FROM pg_database, pg_ls_dir('base/' || oid) AS name
                WHERE datname = current_database() AND name ~ '^[0-9]+'
                  AND NOT EXISTS (SELECT FROM pg_class WHERE pg_relation_filenode(oid)::text = (regexp_match(name, '^[0-9]+'))[1])";
    let left: Vec<String> = client.query(left, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Sessions that insert, update and delete rows of one vector beside scans and vacuums.
#[test]
fn sessions_insert_the_same_vector() {
    const SESSIONS: i64 = 5;
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    create(&mut client, "");
    client
        .batch_execute("CREATE UNIQUE INDEX ON items (id); INSERT INTO items VALUES (0, '[1,2,3]')")
        .unwrap();
    client.batch_execute(BUILD).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=SESSIONS)
            .map(|session| {
                let mut client = cluster.connect();
                scope.spawn(move || {
                    for row in 0..400 {
                        let id = session * 100_000 + row;
                        client.batch_execute(&format!("INSERT INTO items VALUES ({id}, '[1,2,3]')")).unwrap();
                        match row % 4 {
                            0 => client
                                .batch_execute(&format!("DELETE FROM items WHERE id = {}", id - 2))
                                .unwrap(),
                            1 => client
                                .batch_execute(&format!("UPDATE items SET id = {id} + 50000 WHERE id = {id}"))
                                .unwrap(),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        let (mut reader, mut vacuum) = (cluster.connect(), cluster.connect());
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                vacuum.batch_execute("VACUUM items").unwrap();
            }
        });
        let reading = scope.spawn(move || {
            by_index(&mut reader, true);
            let scan = "(SELECT id FROM items ORDER BY v <-> '[1,2,3]' OFFSET 0) AS s";
            let query = format!("SELECT (SELECT count(*) FROM {scan}), (SELECT count(DISTINCT id) FROM {scan}), (SELECT count(id) FROM items)");
            while !done.load(Ordering::Relaxed) {
                let row = reader.query_one(&query, &[]).unwrap();
                let [found, different, all] = [0, 1, 2].map(|column| row.get::<_, i64>(column));
                assert_eq!((found, different), (all, all), "rows found, different ones, and rows of the table");
            }
        });
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        written.into_iter().for_each(|result| result.unwrap());
        reading.join().unwrap();
    });
    assert_complete(&mut client, "<->");
    assert_sound(&mut client);
}
