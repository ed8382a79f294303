//! How far checks and repairs are: what other sessions see meanwhile.

use std::thread;

use postgres::Client;
use postgres::error::SqlState;

use crate::server::Cluster;
use crate::stop_points::Stopper;

/// Whoever computes what the index holds waits for the lock of [`Stopper`].
const TABLE: &str = "CREATE EXTENSION walia;
    CREATE FUNCTION held_up(v vecf32) RETURNS vecf32 LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN
            PERFORM pg_advisory_lock_shared(512735603041), pg_advisory_unlock_shared(512735603041);
            RETURN v;
        END $$;
    CREATE TABLE items (v vecf32(3));
    INSERT INTO items SELECT ARRAY[sin(i), cos(i), 1]::vecf32 FROM generate_series(1, 1000) AS i;
    CREATE INDEX items_v ON items USING walia_hnsw ((held_up(v)::vecf32(3)) vecf32_l2_ops);
    CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN; GRANT pg_read_all_stats TO reader";

/// What is under way, as a text without the process.
fn under_way(client: &mut Client) -> Vec<String> {
    let query = "SELECT concat_ws(' ', datname, relid::regclass, indexrelid::regclass, command, phase, done, total, unit)
        FROM walia_stat_progress";
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// What others see while a statement waits; it is canceled then.
fn seen_during<R>(cluster: &Cluster, statement: &str, see: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        let mut stopper = Stopper::new(cluster);
        let mut worker = cluster.connect();
        let work = scope.spawn(move || {
            let error = worker.batch_execute(statement).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
            assert_eq!(under_way(&mut worker), [""; 0]);
        });
        stopper.wait_for(1, "the statement waits");
        let seen = see();
        stopper.cancel();
        work.join().unwrap();
        seen
    })
}

#[test]
fn checks_and_repairs_show_how_far_they_are() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    assert_eq!(under_way(&mut client), [""; 0]);

    let check = "SELECT * FROM walia_check('items_v', true)";
    let (seen, by_reader, by_nobody, elsewhere) = seen_during(&cluster, check, || {
        client.batch_execute("CREATE DATABASE other").unwrap();
        let mut other = cluster.connect_as("postgres", "other");
        other.batch_execute("CREATE EXTENSION walia").unwrap();
        let of = |role| under_way(&mut cluster.connect_as(role, "postgres"));
        (under_way(&mut client), of("reader"), of("nobody"), under_way(&mut other))
    });
    assert_eq!(seen, ["postgres items items_v walia_check comparing with table 0 1000 rows"]);
    assert_eq!(by_reader, seen);
    assert_eq!(by_nobody, [""; 0]);
    let [elsewhere] = &elsewhere[..] else { panic!("{elsewhere:?}") };
    assert!(
        elsewhere.starts_with("postgres ")
            && elsewhere.ends_with(" walia_check comparing with table 0 1000 rows")
    );

    let repair = "SET walia.stop_points = 'repair all mended'; SELECT * FROM walia_repair('items_v')";
    let pages: i64 = client
        .query_one("SELECT pg_relation_size('items_v') / current_setting('block_size')::bigint", &[])
        .unwrap()
        .get(0);
    let seen = seen_during(&cluster, repair, || under_way(&mut client));
    let last = pages - 1;
    assert_eq!(seen, [format!("postgres items items_v walia_repair mending links {last} {pages} pages")]);
}

#[test]
fn a_check_within_another_command_leaves_its_progress_alone() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLE).unwrap();
    let copy = "COPY (SELECT * FROM walia_check('items_v', true)) TO '/dev/null'";
    let copying = "SELECT command FROM pg_stat_progress_copy";
    let (seen, copied) = seen_during(&cluster, copy, || {
        (under_way(&mut client), client.query_one(copying, &[]).unwrap().get::<_, String>(0))
    });
    assert_eq!((seen, copied), (Vec::new(), "COPY TO".to_owned()));
    // And ends with the statement that began it, an ERROR that is caught or not.
    let caught = "DO $$ BEGIN PERFORM walia_check('items_v', true); EXCEPTION WHEN query_canceled THEN
        PERFORM 1 / (SELECT count(*) FROM walia_stat_progress); END $$";
    thread::scope(|scope| {
        let mut stopper = Stopper::new(&cluster);
        let mut worker = cluster.connect();
        let work = scope.spawn(move || worker.batch_execute(caught).unwrap_err());
        stopper.wait_for(1, "the statement waits");
        stopper.cancel();
        assert_eq!(work.join().unwrap().code(), Some(&SqlState::DIVISION_BY_ZERO));
    });
}

#[test]
fn rows_that_join_the_graph_show_how_far_they_are() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
            CREATE TABLE items (v vecf32(3));
            INSERT INTO items SELECT ARRAY[sin(i), cos(i), 1]::vecf32 FROM generate_series(1, 1000) AS i;
            CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    let insert = "SET walia.stop_points = 'batch page linked';
        INSERT INTO items SELECT ARRAY[sin(i), cos(i), 1]::vecf32 FROM generate_series(1001, 2000) AS i";
    let seen = seen_during(&cluster, insert, || under_way(&mut client));
    // The first rows do not wait.
    assert_eq!(seen, ["postgres items items_v batch insert joining graph 968 968 nodes"]);
}
