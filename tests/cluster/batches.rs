//! Rows of a big transaction, which wait and join the graph together: whatever the transaction does, each row
//! is in the index once, and found by whoever may see it.

mod others;
mod random;

use std::thread;

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::{Cluster, wait_until};
use crate::stop_points::{Stopper, run_to};

const ON: &str = "walia.batch_inserts = on";

const TABLE: &str = "CREATE EXTENSION IF NOT EXISTS walia; DROP TABLE IF EXISTS items;
    CREATE TABLE items (id bigint, v vecf32(8)) WITH (autovacuum_enabled = off);
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)";

/// Inserts rows with these ids, every tenth of which has the vector of all tens, every 97th none.
fn insert(from: u32, to: u32) -> String {
    format!(
        "INSERT INTO items SELECT i, CASE WHEN i % 97 = 0 THEN NULL WHEN i % 10 = 0 THEN array_fill(1::real, ARRAY[8])
             ELSE (SELECT array_agg(random() + 0 * i + 0 * j)::real[] FROM generate_series(1, 8) AS j) END::vecf32
         FROM generate_series({from}, {to}) AS i;"
    )
}

fn count_by_index(client: &mut Client) -> i64 {
    by_index(client, true);
    let query = "SELECT count(id) FROM (SELECT id FROM items ORDER BY v <-> array_fill(0.5::real, ARRAY[8])::vecf32 OFFSET 0) AS s";
    client.query_one(query, &[]).unwrap().get(0)
}

/// Fails unless the index is sound, and holds so many visible rows, each once.
fn assert_rows(client: &mut Client, rows: i64) {
    assert_eq!(count_by_index(client), rows);
    by_index(client, false);
    assert_eq!(count_by_index(client), rows);
    assert_complete(client, "<->");
    assert_sound(client);
}

/// A search, a check and a cursor of the transaction itself see what it has inserted; others see it after the
/// commit.
#[test]
fn are_seen_by_their_transaction() {
    let cluster = Cluster::start(&[ON, "max_prepared_transactions = 2"]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(&format!("BEGIN; {}", insert(1, 2000))).unwrap();
    assert_eq!(count_by_index(&mut client), 2000);
    client.batch_execute(&insert(2001, 2500)).unwrap();
    assert_sound(&mut client);
    client.batch_execute(&insert(2501, 3000)).unwrap();
    let query =
        "DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> array_fill(1::real, ARRAY[8])::vecf32";
    client.batch_execute(query).unwrap();
    client.batch_execute(&insert(3001, 3500)).unwrap();
    // The cursor is older than the last rows.
    assert_eq!(client.query("FETCH ALL FROM c", &[]).unwrap().len(), 3000);
    assert_eq!(count_by_index(&mut other), 0);
    client.batch_execute(&format!("{} COMMIT", insert(3501, 4000))).unwrap();
    assert_rows(&mut other, 4000);

    // What a single statement leaves, and a prepared transaction.
    other.batch_execute(&insert(4001, 4500)).unwrap();
    assert_rows(&mut client, 4500);
    client.batch_execute(&format!("BEGIN; {} PREPARE TRANSACTION 'p'", insert(4501, 5000))).unwrap();
    assert_eq!(count_by_index(&mut other), 4500);
    other.batch_execute("COMMIT PREPARED 'p'").unwrap();
    assert_rows(&mut client, 5000);
}

/// Workers of a parallel query do not see what the leader keeps.
#[test]
fn are_seen_by_parallel_workers() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let version: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int / 10000", &[]).unwrap().get(0);
    let setting = if version >= 16 { "debug_parallel_query" } else { "force_parallel_mode" };
    client.batch_execute(&format!("SET {setting} = on; BEGIN; {}", insert(1, 1000))).unwrap();
    assert_eq!(count_by_index(&mut client), 1000);
    client.batch_execute("COMMIT").unwrap();
    assert_rows(&mut client, 1000);
}

/// A row of a subtransaction that is rolled back, whose heap TID a vacuum gives away, takes no other row's
/// place.
#[test]
fn are_looked_at_before_they_join() {
    let cluster = Cluster::start(&[ON]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    for searches in [false, true] {
        client.batch_execute(TABLE).unwrap();
        client.batch_execute(&format!("{} BEGIN; {}", insert(1, 10), insert(11, 500))).unwrap();
        client.batch_execute(&format!("SAVEPOINT s; {} ROLLBACK TO s", insert(501, 3000))).unwrap();
        // Line pointers of rows that are rolled back are free now. The other session takes some, this one
        // takes others.
        other.batch_execute("VACUUM items").unwrap();
        other.batch_execute(&insert(10_001, 10_300)).unwrap();
        client.batch_execute(&insert(20_001, 20_400)).unwrap();
        if searches {
            assert_eq!(count_by_index(&mut client), 500 + 300 + 400);
        }
        client.batch_execute("DELETE FROM items WHERE id BETWEEN 11 AND 20; SAVEPOINT t").unwrap();
        client.batch_execute("DELETE FROM items WHERE id BETWEEN 21 AND 30; ROLLBACK TO t; COMMIT").unwrap();
        assert_rows(&mut client, 500 + 300 + 400 - 10);
        client.batch_execute("VACUUM items").unwrap();
        assert_rows(&mut client, 500 + 300 + 400 - 10);
    }
}

/// Rows are for one file of an index, which a command may replace, and ROLLBACK TO brings back.
#[test]
fn stay_with_their_file() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    let commands = [
        ("TRUNCATE items", 0),
        ("REINDEX INDEX items_v", 1000),
        ("DROP INDEX items_v; CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)", 1000),
        ("ALTER TABLE items ALTER id TYPE numeric; ALTER TABLE items ALTER id TYPE bigint", 1000),
        ("ALTER INDEX items_v SET TABLESPACE pg_default", 1000),
        ("CLUSTER items USING items_id", 1000),
        ("DO $$ BEGIN TRUNCATE items; END $$", 0),
    ];
    for (command, rows) in commands {
        for back in [false, true] {
            client.batch_execute(&format!("{TABLE}; CREATE INDEX items_id ON items (id)")).unwrap();
            client.batch_execute(&format!("BEGIN; {} SAVEPOINT s", insert(1, 1000))).unwrap();
            client.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error}"));
            client.batch_execute(&insert(1001, 1300)).unwrap();
            client.batch_execute(if back { "ROLLBACK TO s" } else { "SAVEPOINT t" }).unwrap();
            client.batch_execute(&format!("{} COMMIT", insert(2001, 2300))).unwrap();
            println!("{command}, back: {back}");
            assert_rows(&mut client, if back { 1300 } else { rows + 600 });
        }
    }
    client.batch_execute(&format!("{TABLE}; BEGIN; {} DROP TABLE items; COMMIT", insert(1, 500))).unwrap();
}

/// A join that is cancelled inside an error that is caught loses no row, and takes none twice.
#[test]
fn survive_a_join_that_fails() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    let has_stop_points = "SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'walia.stop_points')";
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(&insert(1, 400)).unwrap();
    assert!(client.query_one(has_stop_points, &[]).unwrap().get::<_, bool>(0), "the tests need stop points");
    let mut inserted = 400;
    // A graph that is joined, and rows that are inserted one by one.
    for (points, rows) in [
        ("batch page written", 900),
        ("batch page linked", 900),
        ("insert published", 50),
        ("insert joined", 50),
    ] {
        let mut stopper = Stopper::new(&cluster);
        thread::scope(|scope| {
            // Vectors of their own, which join no node. The first rows do not wait: they are inserted before
            // the session stops anywhere.
            let seed = f64::from(inserted) / 10_000.0;
            let command = format!(
                "SELECT setseed({seed}); BEGIN; SET LOCAL walia.stop_points = ''; {} SET LOCAL walia.stop_points = '{points}';
                 DO $$ BEGIN PERFORM walia_info('items_v');
                       RAISE 'the join was not cancelled';
                    EXCEPTION WHEN query_canceled THEN NULL; END $$;
                 SET LOCAL walia.stop_points = ''; {} COMMIT",
                insert(inserted + 1, inserted + rows),
                insert(inserted + rows + 1, inserted + rows + 100)
            );
            let cluster = &cluster;
            let session = scope.spawn(move || run_to(cluster, "", &command));
            stopper.wait_for(1, points);
            stopper.cancel();
            session.join().unwrap().unwrap_or_else(|error| panic!("{points}: {error:?}"));
        });
        stopper.release();
        inserted += rows + 100;
        println!("{points}");
        assert_rows(&mut client, inserted.into());
    }

    // At the commit it is the transaction that fails.
    let mut stopper = Stopper::new(&cluster);
    thread::scope(|scope| {
        let command = format!("SELECT setseed(0.75); BEGIN; {} COMMIT", insert(inserted + 1, inserted + 900));
        let cluster = &cluster;
        let session = scope.spawn(move || run_to(cluster, "batch page written", &command));
        stopper.wait_for(1, "the commit");
        stopper.cancel();
        let error = session.join().unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    });
    stopper.release();
    assert_rows(&mut client, inserted.into());

    // And where the server is killed, nobody sees a row of it.
    let mut stopper = Stopper::new(&cluster);
    thread::scope(|scope| {
        let command = format!("SELECT setseed(0.75); BEGIN; {} COMMIT", insert(inserted + 1, inserted + 900));
        let cluster = &cluster;
        let session = scope.spawn(move || run_to(cluster, "batch page linked", &command));
        stopper.wait_for(1, "the kill");
        cluster.kill9();
        session.join().unwrap().unwrap_err();
    });
    drop(stopper);
    cluster.run();
    let mut client = cluster.connect();
    assert_rows(&mut client, inserted.into());
    client.batch_execute("VACUUM items").unwrap();
    assert_rows(&mut client, inserted.into());
}

/// Triggers, functions, procedures and concurrent builds find what they must.
#[test]
fn are_joined_for_whoever_asks() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client
        .batch_execute(
            "CREATE TABLE found (rows bigint);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO found SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> array_fill(0::real, ARRAY[8])::vecf32
                     LIMIT 100000) AS s;
                 RETURN NULL; END $$;
             CREATE TRIGGER after AFTER INSERT ON items EXECUTE FUNCTION look();
             CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                 WHEN (NEW.id = 1000) EXECUTE FUNCTION look();
             SET enable_seqscan = off; SET enable_sort = off",
        )
        .unwrap();
    client.batch_execute(&format!("BEGIN; {} {} COMMIT", insert(1, 1000), insert(1001, 1500))).unwrap();
    let found: Vec<i64> =
        client.query("SELECT rows FROM found", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(found, [1000, 1500, 1500]);
    client.batch_execute("DROP TRIGGER after ON items; DROP TRIGGER deferred ON items").unwrap();

    // RETURNING looks from inside of the statement, which does not see its own rows.
    let seen = "(SELECT count(*) FROM (SELECT 1 FROM items ORDER BY v <-> array_fill(0::real, ARRAY[8])::vecf32 LIMIT 100000) AS s)";
    let returning = format!("{} RETURNING {seen}", insert(1501, 2000).trim_end_matches(';'));
    let rows = client.query(&returning, &[]).unwrap();
    assert!(rows.iter().all(|row| row.get::<_, i64>(0) == 1500));

    // A procedure that commits.
    client
        .batch_execute(&format!(
            "CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN {} COMMIT; {} ROLLBACK; {} END $$",
            insert(2001, 2300),
            insert(2301, 2600),
            insert(2601, 2900)
        ))
        .unwrap();
    client.batch_execute("CALL fill()").unwrap();
    assert_rows(&mut client, 2600);

    // One builds an index while the other's rows wait for it.
    let mut other = cluster.connect();
    other.batch_execute(&format!("BEGIN; {}", insert(3001, 3200))).unwrap();
    thread::scope(|scope| {
        let build = scope.spawn(|| {
            client.batch_execute("CREATE INDEX CONCURRENTLY items_w ON items USING walia_hnsw (v)").unwrap();
        });
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'CONCURRENTLY'";
        let mut third = cluster.connect();
        wait_until("the build waits", || third.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0);
        third.batch_execute(&insert(4001, 4300)).unwrap();
        other.batch_execute(&format!("{} COMMIT", insert(3201, 3300))).unwrap();
        build.join().unwrap();
    });
    assert_rows(&mut client, 3200);
}

/// With little memory rows wait in a file, and many indexes share one limit; a file left behind is none.
#[test]
fn keep_within_their_memory() {
    let cluster = Cluster::start(&[ON, "maintenance_work_mem = '1MB'", "log_temp_files = 0"]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigint, v vecf32(8)) PARTITION BY HASH (id);
             CREATE FUNCTION make(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 0..n-1 LOOP
                 EXECUTE format('CREATE TABLE items_%s PARTITION OF items FOR VALUES WITH (MODULUS %s, REMAINDER %s)', i, n, i);
             END LOOP; END $$;
             SELECT make(40);
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    client.batch_execute(&insert(1, 20_000)).unwrap();
    client
        .batch_execute(&format!("BEGIN; SAVEPOINT s; {} RELEASE s; COMMIT", insert(20_001, 30_000)))
        .unwrap();
    let sound = "SELECT count(*) FROM pg_index, walia_check(indexrelid, true) AS finding
                 WHERE indrelid::regclass::text LIKE 'items\\__%' AND finding.severity = 'error'";
    assert_eq!(client.query_one(sound, &[]).unwrap().get::<_, i64>(0), 0);
    assert_eq!(count_by_index(&mut client), 30_000);

    // Vectors that are large beside their codes move to a file, which a subtransaction does not take with it.
    client
        .batch_execute(
            "CREATE TABLE wide (id bigint, v vecf32(1000));
             CREATE INDEX wide_v ON wide USING walia_hnsw (v vecf32_l2_ops);
             CREATE FUNCTION vector(i int) RETURNS vecf32 LANGUAGE sql AS
                 'SELECT array_agg(sin(i * j))::real[]::vecf32 FROM generate_series(1, 1000) AS j';
             BEGIN; SAVEPOINT s; INSERT INTO wide SELECT i, vector(i) FROM generate_series(1, 300) AS i; RELEASE s;
             SAVEPOINT t; INSERT INTO wide SELECT i, vector(i) FROM generate_series(301, 400) AS i; ROLLBACK TO t;
             INSERT INTO wide SELECT i, vector(i) FROM generate_series(501, 600) AS i; COMMIT",
        )
        .unwrap();
    let findings = "SELECT count(*) FROM walia_check('wide_v', true) WHERE severity = 'error'";
    assert_eq!(client.query_one(findings, &[]).unwrap().get::<_, i64>(0), 0);
    assert_eq!(client.query_one("SELECT count(*) FROM wide", &[]).unwrap().get::<_, i64>(0), 400);
    let log = cluster.log();
    assert!(log.contains("temporary file: path"), "no rows have waited in a file");
    client.batch_execute("SET temp_file_limit = '100kB'").unwrap();
    let insert = "INSERT INTO wide SELECT i, vector(i) FROM generate_series(1001, 1300) AS i";
    let error = client.batch_execute(insert).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED), "{error:?}");
    assert_eq!(client.query_one(findings, &[]).unwrap().get::<_, i64>(0), 0);
    let files = "SELECT count(*) FROM pg_ls_tmpdir()";
    assert_eq!(client.query_one(files, &[]).unwrap().get::<_, i64>(0), 0);
}

/// Pages are changed once for many rows: a COPY writes a part of the WAL that rows inserted one by one write.
#[test]
fn write_less_wal() {
    let cluster = Cluster::start(&[ON, "full_page_writes = off"]);
    let mut client = cluster.connect();
    let mut written = |batches: bool| -> i64 {
        client.batch_execute(TABLE).unwrap();
        client.batch_execute(&format!("SET walia.batch_inserts = {batches}; {}", insert(1, 3000))).unwrap();
        let now = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn";
        let position = |client: &mut Client| -> i64 {
            client.query_one(&format!("SELECT ({now})::bigint", now = &now[7..]), &[]).unwrap().get(0)
        };
        let before = position(&mut client);
        client.batch_execute(&insert(3001, 5000)).unwrap();
        position(&mut client) - before
    };
    let (one_by_one, together) = (written(false), written(true));
    println!("{one_by_one} bytes of WAL one by one, {together} together");
    assert!(together * 2 < one_by_one, "{together} of {one_by_one} bytes");
    assert_rows(&mut client, 5000);
}
