//! Parallel workers that search while a build joins graphs to its index.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_sound};
use crate::server::{Cluster, wait_until};
use crate::stop_points::Stopper;

const BUILD: &str = "CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)";
/// So little that the graph is built in batches, and a point of a join.
const SETTINGS: &str = "SET maintenance_work_mem = '1MB'; SET client_min_messages = warning;
    SET walia.stop_points = 'batch page written'";

/// Rows around 100 centres; some vectors are there twice, some are NULL.
fn prepare(client: &mut Client, kind: &str, rows: u32, dimensions: u32) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             SELECT setseed(0.5);
             CREATE {kind} TABLE items (id bigint, v vecf32({dimensions}));
             INSERT INTO items SELECT i, (SELECT array_agg(sin((i % 100) * j) + random()) FROM generate_series(1, {dimensions}) AS j)::vecf32
                 FROM generate_series(1, {rows}) AS i;
             INSERT INTO items SELECT i + {rows}, v FROM items AS twice (i, v) WHERE i % 20 = 0;
             INSERT INTO items SELECT i + 2 * {rows}, NULL FROM generate_series(1, 100) AS i;
             ANALYZE items; {SETTINGS}"
        ))
        .unwrap();
}

/// The workers of the build that there is.
fn workers(client: &mut Client) -> Vec<i32> {
    let of_build = "SELECT activity.pid FROM pg_stat_activity AS activity
        JOIN pg_stat_progress_create_index AS build ON build.pid = activity.leader_pid
        WHERE backend_type = 'parallel worker'";
    client.query(of_build, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// Builds, and does something with the workers of the build while it joins a graph. How it ends.
fn build_beside(
    cluster: &Cluster,
    client: &mut Client,
    statement: &str,
    count: usize,
    work: impl FnOnce(&mut Client, &[i32]),
) -> Result<(), postgres::Error> {
    // Who is ended at a stop point may keep its lock.
    client.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    thread::scope(|scope| {
        let mut stopper = Stopper::new(cluster);
        let build = scope.spawn(|| client.batch_execute(statement));
        stopper.wait_for(1, statement);
        let mut other = cluster.connect();
        wait_until("all workers have started", || workers(&mut other).len() >= count);
        let workers = workers(&mut other);
        assert_eq!(workers.len(), count, "{statement}");
        work(&mut other, &workers);
        stopper.release();
        build.join().unwrap()
    })
}

#[test]
fn are_as_many_as_a_build_may_have() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    prepare(&mut client, "", 6000, 64);
    let concurrently = BUILD.replace("INDEX", "INDEX CONCURRENTLY");
    let reindex = "REINDEX INDEX CONCURRENTLY items_v";
    let recall = "SELECT recall::float8 FROM walia_recall('items_v', k => 10, samples => 300)";
    let mut recalls = Vec::new();
    for (setting, statement, count) in [
        ("max_parallel_maintenance_workers = 0", BUILD, 0),
        ("max_parallel_maintenance_workers = 3", BUILD, 3),
        ("max_parallel_maintenance_workers = 1", reindex, 1),
        ("max_parallel_maintenance_workers = 3", &concurrently, 3),
        ("walia.build_threads = 2", BUILD, 1),
        // None is to be had.
        ("max_parallel_workers = 0", BUILD, 0),
    ] {
        let drop = if statement == reindex { "" } else { "DROP INDEX IF EXISTS items_v;" };
        client.batch_execute(&format!("{drop} SET {setting}")).unwrap();
        build_beside(&cluster, &mut client, statement, count, |_, _| ()).unwrap();
        client.batch_execute("SET walia.ef_search = 20; SELECT setseed(0.25)").unwrap();
        recalls.push(client.query_one(recall, &[]).unwrap().get::<_, f64>(0));
        assert_sound(&mut client);
        assert_complete(&mut client, "<->");
    }
    assert!(recalls.iter().all(|recall| *recall >= recalls[0] - 0.02), "{recalls:?}");
    client.batch_execute("DROP TABLE items; SET max_parallel_maintenance_workers = 3").unwrap();
    // No other process reads the buffers of a temporary table.
    prepare(&mut client, "TEMPORARY", 6000, 64);
    build_beside(&cluster, &mut client, BUILD, 0, |_, _| ()).unwrap();
    assert_complete(&mut client, "<->");
}

#[test]
fn end_a_build_that_they_cannot_help_any_more() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    prepare(&mut client, "", 6000, 64);
    client.batch_execute("SET max_parallel_maintenance_workers = 2").unwrap();
    let none_left = || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
        let mut other = cluster.connect();
        wait_until("no worker is left", || other.query_one(left, &[]).unwrap().get::<_, i64>(0) == 0);
    };
    for (function, code) in
        [("pg_terminate_backend", SqlState::ADMIN_SHUTDOWN), ("pg_cancel_backend", SqlState::QUERY_CANCELED)]
    {
        let end = |other: &mut Client, workers: &[i32]| {
            let ended = other.query_one(&format!("SELECT {function}({})", workers[1]), &[]).unwrap();
            assert!(ended.get::<_, bool>(0));
        };
        let error = build_beside(&cluster, &mut client, BUILD, 2, end).unwrap_err();
        assert_eq!(error.code(), Some(&code), "{error:?}");
        none_left();
    }
    // Who goes on after a build that was cancelled may write again, and take a transaction number.
    let caught = format!(
        "CREATE TABLE after_it (id bigint);
         DO $$ BEGIN
             BEGIN {BUILD}; EXCEPTION WHEN query_canceled THEN INSERT INTO after_it VALUES (1); END;
             INSERT INTO after_it VALUES (2);
         END $$"
    );
    let cancel = |other: &mut Client, _: &[i32]| {
        let build = "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index";
        assert!(other.query_one(build, &[]).unwrap().get::<_, bool>(0));
    };
    build_beside(&cluster, &mut client, &caught, 2, cancel).unwrap();
    none_left();
    assert_eq!(client.query_one("SELECT count(*) FROM after_it", &[]).unwrap().get::<_, i64>(0), 2);
    build_beside(&cluster, &mut client, BUILD, 2, |_, _| ()).unwrap();
    none_left();
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
}

/// What one worker has found of so wide vectors has no room in its queue: it waits for the backend, which has
/// met an error.
#[test]
fn end_when_a_build_fails() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    prepare(&mut client, "", 4000, 500);
    client.batch_execute("SET max_parallel_maintenance_workers = 2").unwrap();
    let empty_files = |_: &mut Client, _: &[i32]| {
        for file in fs::read_dir(cluster.data().join("base/pgsql_tmp")).unwrap() {
            File::options().write(true).open(file.unwrap().path()).unwrap().set_len(0).unwrap();
        }
        // Both have searched by then.
        thread::sleep(Duration::from_millis(500));
    };
    let build = format!("{BUILD} WITH (ef_construction = 200)");
    let error = build_beside(&cluster, &mut client, &build, 2, empty_files).unwrap_err();
    let said = error.as_db_error().unwrap().message();
    assert!(said.contains("temporary file"), "{said}");
    build_beside(&cluster, &mut client, &build, 2, |_, _| ()).unwrap();
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
}
