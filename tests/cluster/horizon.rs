//! Transaction numbers and snapshots: VACUUM takes none, waits for none, and removes nothing under a scan
//! that goes on.

use std::fs;
use std::thread;
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_plan, assert_sound, by_index};
use crate::server::{Cluster, wait_until};
use crate::stop_points::{Stopper, run_to};

/// A table whose rows are half dead, with three indexes.
const TABLE: &str = "CREATE EXTENSION IF NOT EXISTS walia;
    CREATE TABLE items (id bigserial, v vecf32(8)) WITH (vacuum_truncate = off);
    INSERT INTO items (v) SELECT (SELECT array_agg(random())::real[] FROM generate_series(1, 8 + 0 * i))
        FROM generate_series(1, 1000) AS i;
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE INDEX ON items USING walia_hnsw (v vecf32_cosine_ops);
    CREATE INDEX ON items USING walia_hnsw (v vecf32_l1_ops);
    DELETE FROM items WHERE id % 2 = 0";

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

/// Rows that died before a build beside others need not be in its index, though somebody may still see them.
#[test]
fn a_check_expects_no_rows_that_a_concurrent_build_has_left_out() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let mut other = cluster.connect();
    other.batch_execute("BEGIN; SELECT pg_current_xact_id()").unwrap();
    client.batch_execute("DELETE FROM items WHERE id % 3 = 0").unwrap();
    client
        .batch_execute("CREATE INDEX CONCURRENTLY late ON items USING walia_hnsw (v vecf32_l2_ops)")
        .unwrap();
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM walia_check('late', true) WHERE severity = 'error'"),
        0
    );
    // What this transaction has inserted counts as well.
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO items SELECT 0, v FROM items LIMIT 5",
        )
        .unwrap();
    assert_sound(&mut client);
    client.batch_execute("COMMIT").unwrap();
    other.batch_execute("COMMIT").unwrap();
    assert_sound(&mut client);
}

/// Neither VACUUM nor a repair takes a transaction number.
#[test]
fn vacuum_takes_no_transaction_number() {
    let cluster = Cluster::start(&["autovacuum = off", "min_parallel_index_scan_size = 0"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    for command in
        ["VACUUM (PARALLEL 0) items", "VACUUM (PARALLEL 2) items", "SELECT walia_repair('items_v')"]
    {
        client.batch_execute("DELETE FROM items WHERE random() < 0.2").unwrap();
        let before = number(&mut client, next);
        client.batch_execute(command).unwrap();
        assert_eq!(number(&mut client, next), before, "{command}");
    }
    assert_sound(&mut client);
}

/// As long as a VACUUM goes on, the oldest number that a standby with feedback needs goes on, too.
#[test]
fn a_long_vacuum_holds_nothing_back() {
    let primary = Cluster::start(&["autovacuum = off"]);
    let mut client = primary.connect();
    client.batch_execute(TABLE).unwrap();
    let standby = primary.standby(&["hot_standby_feedback = on", "wal_receiver_status_interval = 1s"]);
    thread::scope(|scope| {
        let mut stopper = Stopper::new(&primary);
        let vacuum = scope
            .spawn(|| run_to(&primary, "vacuum finished", "VACUUM (PARALLEL 0, INDEX_CLEANUP on) items"));
        stopper.wait_for(1, "VACUUM is done with the first of the indexes");
        let taken = number(&mut client, "SELECT pg_current_xact_id()::text::bigint");
        wait_until("the standby needs later transactions only", || {
            client.batch_execute("SELECT pg_current_xact_id()").unwrap();
            let needed = "SELECT coalesce(xmin::text::bigint, 0) FROM pg_replication_slots";
            number(&mut client, needed) > taken
        });
        stopper.release();
        vacuum.join().unwrap().unwrap();
    });
    primary.wait_for_replay(&standby);
    for cluster in [&primary, &standby] {
        assert_complete(&mut cluster.connect(), "<->");
    }
    assert_sound(&mut client);
}

/// Where the cluster gives no more transaction numbers, VACUUM must work: it is what helps. A table that is
/// as old as that is vacuumed without its indexes.
#[test]
fn vacuum_past_the_stop_limit() {
    let cluster = Cluster::start(&["autovacuum = off", "client_min_messages = error"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute("CREATE DATABASE other").unwrap();
    client
        .batch_execute("ALTER TABLE items RENAME TO old_items; ALTER INDEX items_v RENAME TO old_items_v")
        .unwrap();
    let mut other = cluster.connect_as("postgres", "other");
    other.batch_execute("CREATE TABLE held ()").unwrap();
    let file: String = other.query_one("SELECT pg_relation_filepath('held')", &[]).unwrap().get(0);
    let oldest = number(&mut client, "SELECT min(datfrozenxid::text::bigint) FROM pg_database");
    drop((client, other));
    cluster.stop();
    // Three million before the transactions of half the circle.
    cluster.set_next_transaction((oldest + 0x7fff_ffff - 3_000_000 - 500) as u32);
    // Autovacuum comes to help, whatever is configured, and fails here: so the limit stays.
    let file = cluster.data().join(file);
    fs::rename(&file, file.with_extension("away")).unwrap();
    cluster.run();

    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let burn = "DO $$ BEGIN LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    let past = Some(&SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(client.batch_execute(burn).unwrap_err().code(), past);
    client.batch_execute("VACUUM items").unwrap();
    assert_eq!(client.batch_execute("DELETE FROM items").unwrap_err().code(), past);
    assert_eq!(number(&mut client, "SELECT nodes FROM walia_info('items_v')"), 500);
    assert_sound(&mut client);
    assert_complete(&mut client, "<->");
    client.batch_execute("SELECT walia_repair('items_v')").unwrap();

    // The first one, by whomever, makes the table young without its indexes; the next one removes from them
    // what is dead.
    (0..2).for_each(|_| client.batch_execute("VACUUM old_items").unwrap());
    let log = cluster.log();
    assert!(
        log.contains("bypassing nonessential maintenance of table \"postgres.public.old_items\""),
        "{log}"
    );
    assert_eq!(number(&mut client, "SELECT heap_tids FROM walia_info('old_items_v')"), 500);
    assert_eq!(number(&mut client, "SELECT count(*) FROM walia_check('old_items_v', true)"), 0);
}

mod soak {
    use super::*;

    /// Up to Postgres 16, `old_snapshot_threshold` lets VACUUM remove what an old snapshot still sees. A scan
    /// by that must fail, also where nothing leads it to a page of the table. Postgres counts in minutes.
    #[test]
    #[ignore = "long: make soak"]
    fn a_snapshot_that_is_too_old() {
        let cluster = Cluster::start(&["autovacuum = off"]);
        let mut client = cluster.connect();
        if number(&mut client, "SELECT current_setting('server_version_num')::bigint") >= 170_000 {
            return;
        }
        drop(client);
        cluster.stop();
        cluster.configure("old_snapshot_threshold = 1min");
        cluster.run();
        let mut client = cluster.connect();
        client.batch_execute(TABLE).unwrap();
        let mut reader = cluster.connect();
        by_index(&mut reader, true);
        let scan = "SELECT id FROM items ORDER BY v <-> (SELECT array_fill(0.5::real, ARRAY[8])::vecf32)";
        assert_plan(&mut reader, scan, true);
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
        assert_eq!(reader.query(scan, &[]).unwrap().len(), 500);
        client.batch_execute("DELETE FROM items").unwrap();
        let removed = (0..60).any(|_| {
            thread::sleep(Duration::from_secs(5));
            client.batch_execute("SELECT pg_current_xact_id()").unwrap();
            client.batch_execute("VACUUM items").unwrap();
            number(&mut client, "SELECT heap_tids FROM walia_info('items_v')") == 0
        });
        assert!(removed, "VACUUM has not removed what the old snapshot sees");
        let found = reader.query(scan, &[]);
        let code = found.as_ref().map(Vec::len).map_err(|error| error.code().cloned());
        assert_eq!(code, Err(Some(SqlState::SNAPSHOT_TOO_OLD)));
        reader.batch_execute("ROLLBACK").unwrap();
        assert_eq!(reader.query(scan, &[]).unwrap().len(), 0);
        assert_complete(&mut client, "<->");
    }
}
