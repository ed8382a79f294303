//! Builds that are watched, cancelled and terminated.

use std::fs;
use std::thread;
use std::time::Duration;

use postgres::error::SqlState;

use crate::server::{Cluster, wait_until};

const BUILD: &str = "CREATE INDEX item_v ON item USING walia_hnsw (v) WITH (ef_construction = 500)";

/// A table whose index takes seconds to build.
fn prepare(cluster: &Cluster) {
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE item (id int, v vecf32(32));
             INSERT INTO item SELECT i, (SELECT array_agg(sin(i * j) + random()) FROM generate_series(1, 32) AS j)::vecf32
                 FROM generate_series(1, 20000) AS i;
             ANALYZE item",
        )
        .unwrap();
}

/// The process that builds the index, once its graph grows.
fn builder(cluster: &Cluster) -> i32 {
    let mut client = cluster.connect();
    let mut process = None;
    wait_until("the build shows its progress", || {
        let query = "SELECT pid FROM pg_stat_progress_create_index
                     WHERE phase = 'building index: building graph' AND tuples_total > 0 AND tuples_done > 0";
        process = client.query_opt(query, &[]).unwrap().map(|row| row.get(0));
        process.is_some()
    });
    process.unwrap()
}

/// Ends a running build by a function of Postgres, and gives the SQLSTATE that it ended with, if any.
fn interrupt(cluster: &Cluster, function: &str) -> Option<SqlState> {
    thread::scope(|scope| {
        let build = scope.spawn(|| cluster.connect().batch_execute(BUILD));
        let process = builder(cluster);
        thread::sleep(Duration::from_millis(50));
        cluster.connect().execute(&format!("SELECT {function}({process})"), &[]).unwrap();
        let error = build.join().unwrap().expect_err("the build was interrupted");
        error.code().cloned()
    })
}

#[test]
fn ends_when_cancelled_or_terminated() {
    let cluster = Cluster::start(&[]);
    prepare(&cluster);
    assert_eq!(interrupt(&cluster, "pg_cancel_backend"), Some(SqlState::QUERY_CANCELED));
    // Where the connection ends at once, the client library does not look at why.
    let ended = interrupt(&cluster, "pg_terminate_backend");
    assert!(ended.is_none_or(|code| code == SqlState::ADMIN_SHUTDOWN));
    assert!(cluster.log().contains("FATAL:  terminating connection due to administrator command"));
    let mut client = cluster.connect();
    wait_until("the terminated backend is gone", || {
        client.query("SELECT 1 FROM pg_stat_progress_create_index", &[]).unwrap().is_empty()
    });
    assert!(!cluster.log().contains("terminated by signal"), "{}", cluster.log());
    client.batch_execute("SET statement_timeout = '300ms'").unwrap();
    let error = client.batch_execute(BUILD).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    client.batch_execute("RESET statement_timeout; TRUNCATE item").unwrap();
    client.batch_execute(BUILD).unwrap();
}

/// Whatever a user wishes for: no more than the pool of workers has, and one.
#[test]
fn takes_no_more_threads_than_the_server_has_workers() {
    let cluster = Cluster::start(&["max_worker_processes = 2"]);
    prepare(&cluster);
    for setting in ["walia.build_threads = 1024", "max_parallel_maintenance_workers = 1024"] {
        thread::scope(|scope| {
            let build = scope.spawn(|| {
                cluster.connect().batch_execute(&format!("SET {setting}; {BUILD}; DROP INDEX item_v"))
            });
            let process = builder(&cluster);
            let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().count();
            build.join().unwrap().unwrap();
            // The backend's own thread only reads the table.
            assert_eq!(threads - 1, 3, "with {setting}");
        });
    }
}
