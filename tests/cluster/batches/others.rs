//! Rows that wait, beside other sessions and rolled back parts.

use std::io::Write;
use std::thread;

use postgres::Client;
use postgres::error::SqlState;

use super::{ON, TABLE, assert_rows, insert};
use crate::scan::by_index;
use crate::server::{Cluster, wait_until};
use crate::stop_points::{Stopper, run_to};

/// Rows that the index has entries of.
pub const HELD: &str = "SELECT heap_tids + nulls FROM walia_info('items_v')";

fn inserted(client: &mut Client) -> i64 {
    let query = "SELECT inserts FROM walia_stat_indexes WHERE indexrelid = 'items_v'::regclass";
    client.query_one(query, &[]).unwrap().get(0)
}

/// The index keeps its file while rows wait for it, and not after the part of the transaction that inserted
/// them.
#[test]
fn hold_their_index() {
    let cluster = Cluster::start(&[ON]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    client.batch_execute(TABLE).unwrap();
    let space = "SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''";
    for command in space.split("; ") {
        client.batch_execute(command).unwrap();
    }
    other.batch_execute("SET lock_timeout = '200ms'").unwrap();
    let (there, back) =
        ("ALTER INDEX items_v SET TABLESPACE elsewhere", "ALTER INDEX items_v SET TABLESPACE pg_default");
    client.batch_execute(&format!("BEGIN; {}", insert(1, 500))).unwrap();
    let error = other.batch_execute(there).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
    client.batch_execute("COMMIT").unwrap();
    other.batch_execute(there).unwrap();
    assert_rows(&mut client, 500);

    client.batch_execute("BEGIN; SAVEPOINT s").unwrap();
    client.batch_execute(&format!("{} ROLLBACK TO s", insert(501, 1000))).unwrap();
    other.batch_execute(back).unwrap();
    client.batch_execute(&insert(1001, 1500)).unwrap();
    let error = other.batch_execute(there).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
    client.batch_execute("COMMIT").unwrap();
    assert_rows(&mut client, 1000);
}

/// Heap TIDs of rows that are rolled back come to rows that a partial index leaves out, and to new versions
/// of rows that the index has: it has no entry for them.
#[test]
fn leave_their_heap_tids_when_they_are_rolled_back() {
    let cluster = Cluster::start(&[ON]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    for again in [
        "INSERT INTO items SELECT 10000 + i, array_fill(0.5::real, ARRAY[8])::vecf32 FROM generate_series(1, 400) AS i",
        "UPDATE items SET id = id + 10000 WHERE id BETWEEN 131 AND 150",
    ] {
        client.batch_execute(TABLE).unwrap();
        let partial = "DROP INDEX items_v; CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops) WHERE v <> array_fill(0.5::real, ARRAY[8])::vecf32";
        if again.starts_with("INSERT") {
            client.batch_execute(partial).unwrap();
        }
        client
            .batch_execute(&format!(
                "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s",
                insert(1, 150),
                insert(151, 600)
            ))
            .unwrap();
        other.batch_execute("VACUUM items").unwrap();
        client.batch_execute(&format!("{again}; COMMIT")).unwrap();
        by_index(&mut client, true);
        let rows = "SELECT count(id), count(DISTINCT id) FROM (SELECT id FROM items WHERE v <> array_fill(0.5::real, ARRAY[8])::vecf32
                    ORDER BY v <-> array_fill(0.5::real, ARRAY[8])::vecf32 OFFSET 0) AS s";
        // Those without a vector are not among them.
        let row = client.query_one(rows, &[]).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (149, 149), "{again}");
        let wrong = "SELECT count(*) FROM walia_check('items_v', true) WHERE severity = 'error'";
        assert_eq!(client.query_one(wrong, &[]).unwrap().get::<_, i64>(0), 0, "{again}");
        let held: i64 = client.query_one(HELD, &[]).unwrap().get(0);
        assert_eq!(held, if again.starts_with("INSERT") { 149 } else { 150 }, "{again}");
    }
}

/// What INSERT … ON CONFLICT inserts may be given up again: it does not wait.
#[test]
fn are_never_speculative() {
    let cluster = Cluster::start(&[ON]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    client.batch_execute(&format!("{TABLE}; CREATE UNIQUE INDEX items_id ON items (id)")).unwrap();
    client.batch_execute(&format!("BEGIN; {}", insert(1, 200))).unwrap();
    let before = inserted(&mut client);
    assert!(before < 100, "{before} rows were inserted at once");
    let on_conflict = |from, to| insert(from, to).replace(';', " ON CONFLICT (id) DO NOTHING;");
    client.batch_execute(&on_conflict(101, 400)).unwrap();
    // Every 97th has no vector.
    assert_eq!(inserted(&mut client) - before, 200);
    client.batch_execute("COMMIT").unwrap();
    assert_rows(&mut client, 400);

    // One is given up while a row of the other session appears.
    let mut stopper = Stopper::new(&cluster);
    thread::scope(|scope| {
        let row = "INSERT INTO items VALUES (1001, array_fill(3::real, ARRAY[8])::vecf32) ON CONFLICT (id) DO NOTHING";
        let command = format!(
            "SELECT setseed(0.25); BEGIN; SET LOCAL walia.stop_points = ''; {}
             SET LOCAL walia.stop_points = 'insert published'; {row}; SET LOCAL walia.stop_points = ''; {} COMMIT",
            insert(401, 600),
            insert(601, 700)
        );
        let cluster = &cluster;
        let session = scope.spawn(move || run_to(cluster, "", &command));
        stopper.wait_for(1, "the insertion");
        other
            .batch_execute("INSERT INTO items VALUES (1001, array_fill(4::real, ARRAY[8])::vecf32)")
            .unwrap();
        stopper.release();
        session.join().unwrap().unwrap();
    });
    assert_rows(&mut client, 701);
    client.batch_execute("VACUUM items").unwrap();
    assert_rows(&mut client, 701);
}

/// Who reads between an insertion and its join is found at the join: two that read what the other inserts
/// cannot both commit.
#[test]
fn are_serializable() {
    let cluster = Cluster::start(&[ON]);
    let (mut one, mut two) = (cluster.connect(), cluster.connect());
    one.batch_execute(TABLE).unwrap();
    one.batch_execute(&insert(1, 400)).unwrap();
    let near = |at: f64| {
        format!("SELECT id FROM items ORDER BY v <-> array_fill({at}::real, ARRAY[8])::vecf32 LIMIT 1")
    };
    for client in [&mut one, &mut two] {
        by_index(client, true);
        client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").unwrap();
    }
    one.query_one(&near(100.0), &[]).unwrap();
    // These do not wait, and lie far from where the other reads.
    let far = "INSERT INTO items SELECT i, array_fill(-50 - i, ARRAY[8])::real[]::vecf32 FROM generate_series(1001, 1032) AS i";
    one.batch_execute(far).unwrap();
    let waits = "INSERT INTO items SELECT i, array_fill(200, ARRAY[8])::real[]::vecf32 FROM generate_series(2001, 2050) AS i";
    one.batch_execute(waits).unwrap();
    two.query_one(&near(200.0), &[]).unwrap();
    two.batch_execute("INSERT INTO items VALUES (3001, array_fill(100::real, ARRAY[8])::vecf32)").unwrap();
    two.batch_execute("COMMIT").unwrap();
    let error = one.batch_execute("COMMIT").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
    one.batch_execute("BEGIN; SELECT 1; COMMIT").unwrap();
    assert_rows(&mut two, 401);
}

/// A COPY of many rows, and a statement that EXPLAIN ANALYZE runs, join them before they end.
#[test]
fn are_joined_where_a_statement_ends() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute("BEGIN").unwrap();
    let mut copy = client.copy_in("COPY items FROM STDIN").unwrap();
    for id in 1..=9000 {
        writeln!(copy, "{id}\t[{},{},0,1,2,3,4,5]", id % 95, id / 95).unwrap();
    }
    copy.finish().unwrap();
    assert_eq!(inserted(&mut client), 9000);
    client.batch_execute(&insert(9001, 9500)).unwrap();
    assert!(inserted(&mut client) < 9100, "rows of a small statement wait");
    client.batch_execute(&format!("EXPLAIN ANALYZE {}", insert(9501, 9600))).unwrap();
    assert_eq!(inserted(&mut client), 9600);
    client.batch_execute("COMMIT").unwrap();
    assert_rows(&mut client, 9600);
}

/// What triggers insert into a table that their command empties then; and files that are exchanged without a
/// command, as pg_repack does.
#[test]
fn follow_their_file() {
    let cluster = Cluster::start(&[ON, "allow_system_table_mods = on"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let create = "CREATE TABLE other (id bigint, v vecf32(8)) WITH (autovacuum_enabled = off);
        CREATE INDEX other_v ON other USING walia_hnsw (v vecf32_l2_ops);
        CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO items SELECT id, v FROM other; RETURN NULL; END $$;
        CREATE TRIGGER fill BEFORE TRUNCATE ON other EXECUTE FUNCTION fill()";
    client.batch_execute(create).unwrap();
    let others = insert(1, 500).replace("INTO items", "INTO other");
    for command in
        ["BEGIN; TRUNCATE other, items; COMMIT", "BEGIN; TRUNCATE items; TRUNCATE other, items; COMMIT"]
    {
        client.batch_execute(&others).unwrap();
        client.batch_execute(command).unwrap();
        assert_rows(&mut client, 0);
    }
    client.batch_execute(&insert(1, 300)).unwrap();
    client.batch_execute(&others).unwrap();
    let exchange = "UPDATE pg_class AS class SET relfilenode = partner.relfilenode FROM pg_class AS partner
        WHERE (class.relname, partner.relname) IN (('items', 'other'), ('other', 'items'), ('items_v', 'other_v'), ('other_v', 'items_v'))";
    client
        .batch_execute(&format!("BEGIN; {} {exchange}; COMMIT", others.replace("(1, 500)", "(501, 1000)")))
        .unwrap();
    assert_rows(&mut client, 1000);
    client
        .batch_execute(
            "DROP TABLE items; ALTER TABLE other RENAME TO items; ALTER INDEX other_v RENAME TO items_v",
        )
        .unwrap();
    assert_rows(&mut client, 300);
}

/// A process that is terminated in a join leaves its file to Postgres.
#[test]
fn end_with_their_process() {
    let cluster = Cluster::start(&[ON, "maintenance_work_mem = '1MB'"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(&insert(1, 400)).unwrap();
    let mut stopper = Stopper::new(&cluster);
    thread::scope(|scope| {
        let command = format!("BEGIN; {} SELECT count(*) FROM walia_info('items_v')", insert(401, 20_000));
        let cluster = &cluster;
        let session = scope.spawn(move || run_to(cluster, "batch page linked", &command));
        stopper.wait_for(1, "the join");
        let terminate =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        client.batch_execute(terminate).unwrap();
        let error = session.join().unwrap().unwrap_err();
        // Where both have come, the client tells of the connection's end and not of the message before it.
        assert!(error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN), "{error:?}");
    });
    stopper.release();
    assert_rows(&mut client, 400);
    let log = cluster.log();
    assert!(log.contains("FATAL:  terminating connection due to administrator command"), "{log}");
    assert!(
        !log.contains("not owned") && !log.contains("PANIC") && !log.contains("terminated by signal"),
        "{log}"
    );
    let files: i64 = client.query_one("SELECT count(*) FROM pg_ls_tmpdir()", &[]).unwrap().get(0);
    assert_eq!(files, 0);
}

/// A transaction of which a part has failed is rolled back by COMMIT, and nothing is joined for it; and the
/// body of a DO or of a procedure is one statement.
#[test]
fn are_joined_once() {
    let cluster = Cluster::start(&[ON]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute(&format!("BEGIN; {} SAVEPOINT s", insert(1, 200))).unwrap();
    client.batch_execute("SELECT 1 / 0").unwrap_err();
    client.batch_execute("COMMIT").unwrap();
    let held: i64 = client.query_one(HELD, &[]).unwrap().get(0);
    assert!(held < 100, "{held} rows of a transaction that had failed were joined");
    client.batch_execute("VACUUM items").unwrap();

    let row = "INSERT INTO items SELECT i, array_fill(i::real, ARRAY[8])::vecf32";
    let body = format!("FOR i IN 1..500 LOOP {row}; END LOOP");
    let seen =
        "INSERT INTO seen SELECT inserts FROM walia_stat_indexes WHERE indexrelid = 'items_v'::regclass";
    client
        .batch_execute(&format!(
            "CREATE TABLE seen (inserts bigint);
             CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN {body}; COMMIT; {body}; {seen}; END $$"
        ))
        .unwrap();
    let before = inserted(&mut client);
    client.batch_execute(&format!("DO $$ BEGIN {body}; {seen}; END $$")).unwrap();
    client.batch_execute("CALL fill()").unwrap();
    let seen: Vec<i64> = client
        .query("SELECT inserts FROM seen", &[])
        .unwrap()
        .iter()
        .map(|row| row.get::<_, i64>(0) - before)
        .collect();
    assert_eq!(seen, [32, 500 + 500 + 32]);
    assert_eq!(inserted(&mut client) - before, 1500);
    assert_rows(&mut client, 1500);
}

/// What a logical replica applies is in its index, a part that is rolled back and a TRUNCATE included, which
/// comes without a command: there nothing waits.
#[test]
fn are_applied_by_a_replica() {
    let publisher = Cluster::start(&["wal_level = logical", "logical_decoding_work_mem = '64kB'"]);
    let replica = Cluster::start(&[ON]);
    let (mut client, mut there) = (publisher.connect(), replica.connect());
    client.batch_execute(TABLE).unwrap();
    there.batch_execute(TABLE).unwrap();
    client.batch_execute(&insert(1, 1500)).unwrap();
    client.batch_execute("CREATE PUBLICATION p FOR TABLE items").unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} user=postgres dbname=postgres' PUBLICATION p WITH (streaming = on)",
        publisher.sockets().display()
    );
    there.batch_execute(&subscribe).unwrap();
    let mut arrive = |rows: i64| {
        let count = "SELECT count(*) FROM items";
        wait_until("rows arrive", || there.query_one(count, &[]).unwrap().get::<_, i64>(0) == rows);
        assert_rows(&mut there, rows);
    };
    arrive(1500);
    client
        .batch_execute(&format!(
            "BEGIN; {} TRUNCATE items; {} COMMIT",
            insert(1501, 2000),
            insert(2001, 2300)
        ))
        .unwrap();
    arrive(300);
    // The second of them empties the file that the first has made. Fewer rows than before tell that it came.
    let twice =
        format!("BEGIN; TRUNCATE items; {} TRUNCATE items; {} COMMIT", insert(1, 500), insert(2001, 2290));
    client.batch_execute(&twice).unwrap();
    arrive(290);
    // So large that it is sent before it ends.
    let parts = format!("BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s", insert(3001, 5000), insert(5001, 6000));
    client.batch_execute(&parts).unwrap();
    client.batch_execute(&format!("{} COMMIT", insert(6001, 6500))).unwrap();
    arrive(2790);
    there.batch_execute("DROP SUBSCRIPTION s").unwrap();
    assert!(!replica.log().contains("ERROR"), "{}", replica.log());
}
