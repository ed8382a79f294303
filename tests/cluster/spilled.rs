//! Builds in less maintenance_work_mem than all vectors take, which move to a temporary file.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_sound};
use crate::server::{Cluster, wait_until};

const ROWS: u32 = 12_000;
const BUILD: &str = "CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)";
/// A third of what the graph takes with its vectors, and more than it takes without.
const LITTLE: &str = "SET maintenance_work_mem = '6MB'; SET client_min_messages = warning";

/// Rows around 300 centres; some vectors are there twice, some are NULL.
fn prepare(client: &mut Client, element: &str) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             DROP TABLE IF EXISTS items;
             CREATE TABLE items (id bigint, v {element}(200));
             SELECT setseed(0.5);
             INSERT INTO items SELECT i, (SELECT array_agg(sin((i % 300) * j) + 0.9 * random()) FROM generate_series(1, 200) AS j)::{element}
                 FROM generate_series(1, {ROWS}) AS i;
             INSERT INTO items SELECT i + {ROWS}, v FROM items AS twice (i, v) WHERE i % 20 = 0;
             INSERT INTO items SELECT i + 2 * {ROWS}, NULL FROM generate_series(1, 100) AS i;
             ANALYZE items"
        ))
        .unwrap();
}

/// Bytes of temporary files that are there.
fn temporary_files(cluster: &Cluster) -> u64 {
    let Ok(files) = fs::read_dir(cluster.data().join("base/pgsql_tmp")) else { return 0 };
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// A client learns of an error before the transaction has ended.
fn assert_no_temporary_file(cluster: &Cluster, when: &str) {
    let files = cluster.data().join("base/pgsql_tmp");
    wait_until(&format!("no temporary file is left {when}"), || {
        fs::read_dir(&files).map_or(0, Iterator::count) == 0
    });
}

/// The time of a build, and the recall that searches have.
fn build(client: &mut Client, statement: &str) -> (Duration, f64) {
    let begin = Instant::now();
    client.batch_execute(&format!("DROP INDEX IF EXISTS items_v; {statement}")).unwrap();
    let taken = begin.elapsed();
    client.batch_execute("SET walia.ef_search = 20; SELECT setseed(0.25)").unwrap();
    let query = "SELECT recall::float8 FROM walia_recall('items_v', k => 10, samples => 300)";
    (taken, client.query_one(query, &[]).unwrap().get(0))
}

#[test]
fn are_as_good_as_in_memory_and_hardly_slower() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    for element in ["vecf32", "vecf16"] {
        prepare(&mut client, element);
        let statement = BUILD.replace("vecf32", element);
        client.batch_execute("SET maintenance_work_mem = '64MB'").unwrap();
        notices.lock().unwrap().clear();
        let (whole_time, whole) = build(&mut client, &statement);
        assert_eq!(*notices.lock().unwrap(), ["index \"items_v\" does not exist, skipping"]);
        client.batch_execute("SET maintenance_work_mem = '6MB'").unwrap();
        let (time, recall) = build(&mut client, &statement);
        println!("{element}: {time:?} with a recall of {recall}, in memory {whole_time:?} with {whole}");
        let said = notices.lock().unwrap().pop().unwrap();
        assert!(said.starts_with("vectors no longer fit into maintenance_work_mem after "), "{said}");
        assert!(recall >= whole - 0.01, "recall {recall}, in memory {whole}");
        // Row by row it takes more than four times as long.
        assert!(time < 3 * whole_time, "{time:?}, in memory {whole_time:?}");
        assert_no_temporary_file(&cluster, "after a build");
        assert_sound(&mut client);
    }
    assert_complete(&mut client, "<->");
    for statement in ["REINDEX INDEX items_v", "REINDEX INDEX CONCURRENTLY items_v", "DROP INDEX items_v"] {
        client.batch_execute(statement).unwrap();
        assert_no_temporary_file(&cluster, statement);
    }
    let concurrently = BUILD.replace("INDEX", "INDEX CONCURRENTLY").replace("vecf32", "vecf16");
    client.batch_execute(&concurrently).unwrap();
    assert_no_temporary_file(&cluster, "after a build beside others");
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
}

/// Of batches after the first nothing more is said.
fn assert_is_said_once(notices: &[String]) {
    let begins = ["vectors no longer fit into", "hnsw graph no longer fits into"];
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{notices:?}");
}

/// What does not fit even so is built in batches, which are joined: of rows by cluster, where that is
/// foreseen.
#[test]
fn end_where_links_fill_memory() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    let too_many = format!("DELETE FROM items WHERE id % {ROWS} > 4000; SET maintenance_work_mem = '1MB'");
    // Rows without a direction, of which cosine is undefined.
    let zero = "UPDATE items SET v = array_fill(0, ARRAY[200])::ELEMENT WHERE id % 50 = 0; ANALYZE items";
    for (element, class, operator) in
        [("vecf32", "l2", "<->"), ("vecf16", "cosine", "<=>"), ("vecf32", "ip", "<#>")]
    {
        prepare(&mut client, element);
        client.batch_execute(&format!("{too_many}; {}", zero.replace("ELEMENT", element))).unwrap();
        notices.lock().unwrap().clear();
        client.batch_execute(&BUILD.replace("vecf32_l2", &format!("{element}_{class}"))).unwrap();
        let said = std::mem::take(&mut *notices.lock().unwrap());
        assert_is_said_once(&said);
        assert_no_temporary_file(&cluster, "after a build");
        assert_sound(&mut client);
        assert_complete(&mut client, operator);
    }
}

/// Memory that holds too few rows for a graph of the next is not filled again.
#[test]
fn end_where_memory_holds_few_rows() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    client
        .batch_execute(
            "CREATE EXTENSION walia; CREATE TABLE items (id bigint, v vecf32(16000));
             INSERT INTO items SELECT i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 16000) AS j)::vecf32
                 FROM generate_series(1, 60) AS i;
             SET maintenance_work_mem = '1MB'; CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    let said = std::mem::take(&mut *notices.lock().unwrap());
    assert_is_said_once(&said);
    let one_by_one = "\nThe remaining tuples are inserted one by one, which takes many times longer.";
    assert!(said[1].ends_with(one_by_one), "{said:?}");
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
}

/// Rows of a table that is larger than it is thought to be come as they are.
#[test]
fn end_where_more_rows_come_than_were_expected() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    prepare(&mut client, "vecf32");
    let too_many = format!("DELETE FROM items WHERE id % {ROWS} > 8000; SET maintenance_work_mem = '1MB'");
    client.batch_execute(&too_many).unwrap();
    client.batch_execute("VACUUM FULL items").unwrap();
    // All that a build samples.
    client
        .batch_execute(
            "DELETE FROM items WHERE (ctid::text::point)[0]::int IN (
                 SELECT pg_relation_size('items') / 8192 * range / 256 FROM generate_series(0, 255) AS range)",
        )
        .unwrap();
    notices.lock().unwrap().clear();
    client.batch_execute(BUILD).unwrap();
    assert_is_said_once(&notices.lock().unwrap());
    assert_no_temporary_file(&cluster, "after a build");
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
}

/// Rows that a partial index leaves out are not foreseen, nor more than there are in a table without
/// statistics.
#[test]
fn are_said_of_partial_indexes() {
    let cluster = Cluster::start(&[]);
    let (mut client, notices) = cluster.connect_with_notices();
    prepare(&mut client, "vecf32");
    client.batch_execute("SET maintenance_work_mem = '2MB'").unwrap();
    for (some, said) in [("id <= 300", None), ("id <= 2000", Some("vectors no longer fit into"))] {
        client.batch_execute(&format!("DROP INDEX IF EXISTS items_v; {BUILD} WHERE {some}")).unwrap();
        let last = notices.lock().unwrap().pop();
        let last = last.filter(|last| !last.ends_with("does not exist, skipping"));
        assert_eq!(last.is_some(), said.is_some(), "{some}: {last:?}");
        assert!(last.zip(said).is_none_or(|(last, said)| last.starts_with(said)), "{some}");
        assert_no_temporary_file(&cluster, "after a build");
        assert_sound(&mut client);
    }
}

#[test]
fn count_against_temp_file_limit() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32");
    client.batch_execute(LITTLE).unwrap();
    client.batch_execute("SET temp_file_limit = '3MB'").unwrap();
    let error = client.batch_execute(BUILD).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED), "{error:?}");
    assert_no_temporary_file(&cluster, "after an error");
    client.batch_execute(&format!("RESET temp_file_limit; {BUILD}")).unwrap();
    assert_sound(&mut client);
}

/// The process of a build whose temporary file has begun.
fn spilling(cluster: &Cluster) -> i32 {
    let mut client = cluster.connect();
    let mut process = None;
    wait_until("the build has moved vectors to a file", || {
        let query = "SELECT pid FROM pg_stat_progress_create_index";
        process = client.query_opt(query, &[]).unwrap().map(|row| row.get(0));
        process.is_some() && temporary_files(cluster) > 0
    });
    process.unwrap()
}

#[test]
fn leave_no_file_behind_when_they_end_early() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client, "vecf32");
    client.batch_execute(LITTLE).unwrap();
    // In any phase.
    let begin = Instant::now();
    client.batch_execute(BUILD).unwrap();
    let whole = begin.elapsed();
    for moment in 1..10 {
        client.batch_execute("RESET statement_timeout; DROP INDEX IF EXISTS items_v").unwrap();
        let limit = (whole * moment / 10).as_millis().max(1);
        client.batch_execute(&format!("SET statement_timeout = {limit}")).unwrap();
        let begin = Instant::now();
        if let Err(error) = client.batch_execute(BUILD) {
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
        }
        assert!(begin.elapsed() < Duration::from_millis(limit as u64) + Duration::from_secs(2));
        assert_no_temporary_file(&cluster, "after a timeout");
    }
    client.batch_execute("RESET statement_timeout; DROP INDEX IF EXISTS items_v").unwrap();
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        thread::scope(|scope| {
            let build = scope.spawn(|| cluster.connect().batch_execute(&format!("{LITTLE}; {BUILD}")));
            let process = spilling(&cluster);
            cluster.connect().execute(&format!("SELECT {function}({process})"), &[]).unwrap();
            build.join().unwrap().expect_err("the build was interrupted");
        });
        assert_no_temporary_file(&cluster, function);
    }
    assert!(!cluster.log().contains("terminated by signal"), "{}", cluster.log());
    thread::scope(|scope| {
        let build = scope.spawn(|| cluster.connect().batch_execute(&format!("{LITTLE}; {BUILD}")));
        spilling(&cluster);
        cluster.kill9();
        build.join().unwrap().expect_err("the server was killed");
    });
    cluster.run();
    assert_no_temporary_file(&cluster, "after a crash");
    let mut client = cluster.connect();
    client.batch_execute(BUILD).unwrap();
    assert_sound(&mut client);
}

/// A check that knows more than memory holds goes on in a file, and finds the same.
#[test]
fn checks_go_on_in_a_file() {
    let cluster = Cluster::start(&["log_temp_files = 0", "autovacuum = off"]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; CREATE TABLE items (id bigint, v vecf32(3));
             INSERT INTO items SELECT i, ARRAY[sin(i), cos(3 * i), sin(7 * i)]::real[]::vecf32 FROM generate_series(1, 30000) AS i;
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    let check = "SELECT count(*) FROM walia_check('items_v', true)";
    let before: i64 = client.query_one(check, &[]).unwrap().get(0);
    assert!(!cluster.log().contains("temporary file: path"));
    client.batch_execute("SET maintenance_work_mem = '1MB'").unwrap();
    assert_eq!(client.query_one(check, &[]).unwrap().get::<_, i64>(0), before);
    assert!(cluster.log().contains("temporary file: path"), "the check took no file");
    client.batch_execute("SET temp_file_limit = '100kB'").unwrap();
    let error = client.query_one(check, &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED), "{error:?}");
    client.batch_execute("RESET temp_file_limit").unwrap();
    assert_eq!(client.query_one(check, &[]).unwrap().get::<_, i64>(0), before);
    let files: i64 = client.query_one("SELECT count(*) FROM pg_ls_tmpdir()", &[]).unwrap().get(0);
    assert_eq!(files, 0);
}
