//! Who may call the functions that take an index, what they answer for what is none, and that nobody waits
//! for a lock in vain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use postgres::error::{DbError, SqlState};
use postgres::{Client, Error};

use crate::scan::by_index;
use crate::server::{Cluster, wait_until};

/// All functions that take an index.
const FUNCTIONS: [&str; 5] = ["walia_info", "walia_check", "walia_repair", "walia_recall", "walia_prewarm"];

const TABLE: &str = "CREATE EXTENSION walia;
    CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3));
    INSERT INTO items (v) SELECT ARRAY[i, i % 7, i % 11] FROM generate_series(1, 100) AS i;
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE ROLE nobody LOGIN;
    CREATE ROLE keeper LOGIN";

/// What a function answers for an index by its OID.
fn answer(client: &mut Client, function: &str, index: u32) -> Result<(), Error> {
    client.batch_execute(&format!("SELECT * FROM {function}({index}::regclass)"))
}

fn refusal(client: &mut Client, function: &str, index: u32) -> DbError {
    let error = answer(client, function, index).expect_err(function);
    error.as_db_error().unwrap_or_else(|| panic!("{function}: {error}")).clone()
}

fn oid(client: &mut Client, relation: &str) -> u32 {
    client.query_one(&format!("SELECT '{relation}'::regclass::oid"), &[]).unwrap().get(0)
}

fn version(client: &mut Client) -> i32 {
    client.query_one("SELECT current_setting('server_version_num')::int", &[]).unwrap().get(0)
}

fn waiting(client: &mut Client) -> i64 {
    client.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted", &[]).unwrap().get(0)
}

#[test]
fn who_has_no_rights_waits_for_no_lock() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let index = oid(&mut client, "items_v");
    // Every lock conflicts with this one.
    client.batch_execute("BEGIN; LOCK TABLE items").unwrap();
    let done = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut watcher = cluster.connect();
            let mut waited = 0;
            while !done.load(Ordering::Relaxed) {
                waited = waited.max(waiting(&mut watcher));
            }
            waited
        });
        let mut nobody = cluster.connect_as("nobody", "postgres");
        nobody.batch_execute("SET lock_timeout = '1s'").unwrap();
        let codes = (0..200).map(|call| {
            let function = FUNCTIONS[call % FUNCTIONS.len()];
            (function, refusal(&mut nobody, function, index).code().clone())
        });
        let wrong = codes.filter(|(_, code)| *code != SqlState::INSUFFICIENT_PRIVILEGE).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        assert!(wrong.is_empty(), "{wrong:?}");
        watcher.join().unwrap()
    });
    assert_eq!(waited, 0);
}

#[test]
fn look_again_when_they_have_the_lock() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client.batch_execute("ALTER TABLE items OWNER TO keeper; GRANT SELECT ON items TO nobody").unwrap();
    let index = oid(&mut client, "items_v");
    let mut change_meanwhile = |role: &str, function: &str, change: &str| {
        client.batch_execute(&format!("BEGIN; {change}")).unwrap();
        let refused = thread::scope(|scope| {
            let mut caller = cluster.connect_as(role, "postgres");
            let refused = scope.spawn(move || refusal(&mut caller, function, index));
            let mut watcher = cluster.connect();
            wait_until("the function waits for the lock", || waiting(&mut watcher) > 0);
            client.batch_execute("COMMIT").unwrap();
            refused.join().unwrap()
        });
        (refused.code().clone(), refused.message().to_owned())
    };
    let denied = (SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for table items".to_owned());
    let take_away = "LOCK TABLE items; REVOKE SELECT ON items FROM nobody";
    assert_eq!(change_meanwhile("nobody", "walia_info", take_away), denied);
    assert_eq!(change_meanwhile("keeper", "walia_repair", "ALTER TABLE items OWNER TO postgres"), denied);
    let gone = (SqlState::UNDEFINED_TABLE, format!("relation with OID {index} does not exist"));
    assert_eq!(change_meanwhile("postgres", "walia_check", "DROP INDEX items_v"), gone);
}

#[test]
fn answer_for_what_is_no_index_of_walia() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    client
        .batch_execute(
            "CREATE VIEW a_view AS SELECT * FROM items;
             CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM items;
             CREATE TYPE a_type AS (v vecf32);
             CREATE FOREIGN DATA WRAPPER nowhere;
             CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
             CREATE FOREIGN TABLE a_foreign_table (v vecf32) SERVER nowhere;
             CREATE INDEX a_hash_index ON items USING hash (id);
             CREATE TABLE parted (id int, v vecf32(3)) PARTITION BY RANGE (id);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
             CREATE INDEX parted_id ON parted (id);
             CREATE INDEX parted_v ON parted USING walia_hnsw (v);
             -- The same method by another name.
             CREATE ACCESS METHOD another TYPE INDEX HANDLER walia_hnsw_handler;
             CREATE OPERATOR CLASS another_l2_ops FOR TYPE vecf32 USING another AS
                 OPERATOR 1 <-> (vecf32, vecf32) FOR ORDER BY float_ops, FUNCTION 1 l2_distance(vecf32, vecf32);
             CREATE INDEX items_another ON items USING another (v another_l2_ops)",
        )
        .unwrap();
    let mut no_index = vec![
        "items",
        "items_id_seq",
        "items_pkey",
        "a_view",
        "a_matview",
        "a_type",
        "a_foreign_table",
        "a_hash_index",
        "parted",
        "parted_id",
        "pg_class",
        "pg_class_oid_index",
        "pg_database_oid_index",
    ];
    if client.batch_execute("CREATE EXTENSION vector").is_ok() {
        client
            .batch_execute(
                "CREATE TABLE peer (v vector(3)); CREATE INDEX peer_v ON peer USING hnsw (v vector_l2_ops)",
            )
            .unwrap();
        no_index.push("peer_v");
    }
    for function in FUNCTIONS {
        for relation in &no_index {
            let oid = oid(&mut client, relation);
            let error = refusal(&mut client, function, oid);
            let expected = format!("\"{relation}\" is not a walia_hnsw index");
            assert_eq!((error.code(), error.message()), (&SqlState::WRONG_OBJECT_TYPE, expected.as_str()));
        }
        let parted = oid(&mut client, "parted_v");
        let error = refusal(&mut client, function, parted);
        assert_eq!(error.message(), "\"parted_v\" is a partitioned index");
        assert_eq!(error.hint(), Some("Ask for the index of a partition."));
        for nothing in [0, u32::MAX] {
            let error = refusal(&mut client, function, nothing);
            let expected = format!("relation with OID {nothing} does not exist");
            assert_eq!((error.code(), error.message()), (&SqlState::UNDEFINED_TABLE, expected.as_str()));
        }
        for index in ["items_v", "items_another"] {
            let oid = oid(&mut client, index);
            answer(&mut client, function, oid).unwrap();
        }
    }
}

#[test]
fn answer_for_indexes_that_cannot_be_read() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let mut other = cluster.connect();
    other
        .batch_execute(
            "CREATE TEMP TABLE mine (v vecf32(3)); INSERT INTO mine VALUES ('[1,2,3]');
             CREATE INDEX mine_v ON mine USING walia_hnsw (v)",
        )
        .unwrap();
    let temporary = oid(&mut other, "mine_v");
    // Fails before it has a single page.
    client
        .batch_execute("CREATE INDEX CONCURRENTLY failed_v ON items USING walia_hnsw ((ARRAY[1 / (id - 7), 1, 1]::int[]::vecf32(3)))")
        .unwrap_err();
    let failed = oid(&mut client, "failed_v");
    for function in FUNCTIONS {
        let message = refusal(&mut client, function, temporary).message().to_owned();
        assert_eq!(message, "cannot access temporary indexes of other sessions");
        let error = refusal(&mut client, function, failed);
        assert_eq!(error.message(), "index \"failed_v\" is not valid");
        assert_eq!(error.hint(), Some("REINDEX builds the index anew from its table."));
    }
    // Waits, before its build, for a transaction that writes to the table.
    other.batch_execute("BEGIN; DELETE FROM items WHERE id = 1").unwrap();
    let mut builder = cluster.connect();
    let build = thread::spawn(move || {
        builder.batch_execute("CREATE INDEX CONCURRENTLY unbuilt_v ON items USING walia_hnsw (v)")
    });
    wait_until("the build waits", || waiting(&mut client) > 0);
    let unbuilt = oid(&mut client, "unbuilt_v");
    // The others wait for the build, as VACUUM does.
    for function in ["walia_info", "walia_recall"] {
        let message = refusal(&mut client, function, unbuilt).message().to_owned();
        assert_eq!(message, "index \"unbuilt_v\" is not valid");
    }
    other.batch_execute("COMMIT").unwrap();
    build.join().unwrap().unwrap();
    for function in FUNCTIONS {
        // Pages of a temporary index are not in shared buffers.
        if function != "walia_prewarm" {
            answer(&mut other, function, temporary).unwrap();
        }
        answer(&mut client, function, unbuilt).unwrap();
    }
}

#[test]
fn mend_for_whom_vacuum_works() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let index = oid(&mut client, "items_v");
    let mut keeper = cluster.connect_as("keeper", "postgres");
    let mut may = |function| answer(&mut keeper, function, index).is_ok();
    assert!(!may("walia_repair") && !may("walia_check"));
    client.batch_execute("ALTER DATABASE postgres OWNER TO keeper").unwrap();
    assert!(may("walia_repair") && may("walia_check") && !may("walia_info"));
    client
        .batch_execute("ALTER DATABASE postgres OWNER TO postgres; GRANT SELECT ON items TO keeper")
        .unwrap();
    assert!(!may("walia_repair") && !may("walia_check") && may("walia_info"));
    client.batch_execute("ALTER TABLE items OWNER TO keeper").unwrap();
    assert!(may("walia_repair") && may("walia_check"));
    client.batch_execute("ALTER TABLE items OWNER TO postgres").unwrap();
    if version(&mut client) >= 170_000 {
        client.batch_execute("GRANT MAINTAIN ON items TO keeper").unwrap();
        assert!(may("walia_repair") && may("walia_check"));
    }
}

#[test]
fn write_nothing_where_nothing_may_be_written() {
    let primary = Cluster::start(&[]);
    let mut client = primary.connect();
    client.batch_execute(TABLE).unwrap();
    let index = oid(&mut client, "items_v");
    client.batch_execute("SET default_transaction_read_only = on").unwrap();
    let error = refusal(&mut client, "walia_repair", index);
    assert_eq!(error.message(), "cannot execute walia_repair() in a read-only transaction");
    let standby = primary.standby(&[]);
    primary.wait_for_replay(&standby);
    let mut client = standby.connect();
    for function in ["walia_repair", "walia_check"] {
        let error = refusal(&mut client, function, index);
        let expected = if function == "walia_repair" {
            // A standby's transactions are read-only.
            "cannot execute walia_repair() in a read-only transaction"
        } else {
            "cannot execute walia_check() during recovery"
        };
        assert_eq!((error.code(), error.message()), (&SqlState::READ_ONLY_SQL_TRANSACTION, expected));
    }
    answer(&mut client, "walia_info", index).unwrap();
    answer(&mut client, "walia_recall", index).unwrap();
}

/// The ways to set one of walia's settings for a function that the README names.
#[test]
fn settings_of_functions_are_for_everybody() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let version = version(&mut client);
    client
        .batch_execute("GRANT CREATE ON SCHEMA public TO nobody, keeper; GRANT SELECT ON items TO nobody")
        .unwrap();
    let create = "CREATE OR REPLACE FUNCTION nearest(query vecf32) RETURNS SETOF bigint STABLE LANGUAGE sql
                  SET walia.ef_search = 200 AS 'SELECT id FROM items ORDER BY v <-> query LIMIT 3'";
    // Without walia in the session: its settings are not known yet, and since 15 those are not for everybody.
    // The types of the function's arguments do not load the library.
    let refused = cluster.connect_as("nobody", "postgres").batch_execute(create);
    assert_eq!(refused.is_err(), version >= 150_000, "{refused:?}");
    // Whatever calls one of walia's functions loads it.
    let mut nobody = cluster.connect_as("nobody", "postgres");
    nobody.batch_execute("SELECT '[1]'::vecf32").unwrap();
    nobody.batch_execute(create).unwrap();
    by_index(&mut nobody, true);
    let nearest = nobody.query("SELECT nearest('[50,1,6]')", &[]).unwrap();
    assert_eq!(nearest.iter().map(|row| row.get::<_, i64>(0)).next(), Some(50));
    // Who only calls the function needs no right, nor a session that has the library.
    let mut caller = cluster.connect();
    assert_eq!(caller.query("SELECT nearest('[50,1,6]')", &[]).unwrap().len(), 3);
    client.batch_execute("DROP FUNCTION nearest").unwrap();
    if version >= 150_000 {
        client.batch_execute("GRANT SET ON PARAMETER walia.ef_search TO keeper").unwrap();
        cluster.connect_as("keeper", "postgres").batch_execute(create).unwrap();
        client.batch_execute("DROP FUNCTION nearest").unwrap();
    }
    client.batch_execute("ALTER DATABASE postgres SET session_preload_libraries = 'walia'").unwrap();
    cluster.connect_as("nobody", "postgres").batch_execute(create).unwrap();
    // What a role has been given counts from the session's beginning on.
    client.batch_execute("ALTER ROLE nobody SET walia.ef_search = 300").unwrap();
    let mut nobody = cluster.connect_as("nobody", "postgres");
    assert_eq!(nobody.query_one("SHOW walia.ef_search", &[]).unwrap().get::<_, String>(0), "300");
}
