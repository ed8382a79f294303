//! Errors of Postgres that pass through walia, and panics, as a client sees them.

use postgres::error::{DbError, SqlState};
use postgres::{Client, Error};

use crate::scan::by_index;
use crate::server::Cluster;

/// A server that has Rust's variable in its environment, and tables whose rows and indexes call functions
/// that may fail.
fn prepare() -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off"]);
    cluster.stop();
    cluster.run_with(&[("RUST_BACKTRACE", "full")]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            r#"CREATE EXTENSION walia;
            SET check_function_bodies = off;
            CREATE FUNCTION fail(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE SET search_path = public AS $$
            BEGIN
                CASE coalesce(current_setting('test.failure', true), '')
                WHEN 'raise' THEN
                    RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = 'it %s failed', DETAIL = 'A detail.', HINT = 'A hint.',
                        SCHEMA = 'a schema', TABLE = 'a table', COLUMN = 'a column', DATATYPE = 'a type', CONSTRAINT = 'a rule';
                WHEN 'division' THEN RETURN id / 0;
                WHEN 'syntax' THEN EXECUTE 'SELECT 1 WHERE nonsense here';
                WHEN 'again' THEN
                    BEGIN
                        RAISE EXCEPTION USING ERRCODE = 'P0098', MESSAGE = 'the first', TABLE = 'the first';
                    EXCEPTION WHEN OTHERS THEN
                        RAISE EXCEPTION USING ERRCODE = 'P0097', MESSAGE = 'the second', COLUMN = 'the second';
                    END;
                WHEN 'caught' THEN
                    BEGIN
                        RAISE EXCEPTION USING MESSAGE = 'never seen', TABLE = 'never seen';
                    EXCEPTION WHEN OTHERS THEN
                        PERFORM pg_sleep(0);
                    END;
                WHEN 'sleep' THEN PERFORM pg_sleep(60);
                ELSE RETURN id;
                END CASE;
                RETURN id;
            END $$;
            CREATE FUNCTION embed(id int) RETURNS vecf32 LANGUAGE plpgsql IMMUTABLE SET search_path = public AS $$
            BEGIN
                RETURN array_fill(sin(fail(id))::real, ARRAY[32])::vecf32;
            END $$;
            CREATE TABLE items (id int);
            INSERT INTO items SELECT generate_series(1, 300);
            CREATE INDEX items_v ON items USING walia_hnsw ((embed(id)::vecf32(32)) vecf32_l2_ops) WITH (storage = sq8);
            CREATE TABLE parted (id int, v vecf32(32)) PARTITION BY RANGE (id);
            CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
            CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (1000);
            INSERT INTO parted SELECT id, embed(id) FROM items;
            CREATE INDEX ON parted USING walia_hnsw (v vecf32_l2_ops);
            ANALYZE"#,
        )
        .unwrap();
    cluster
}

/// All that a client is told of an error, but for where it was raised in CONTEXT's outermost lines, which
/// differ with the plan.
fn told(error: &Error) -> Vec<(&'static str, String)> {
    let error: &DbError = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    let all = [
        ("severity", Some(error.severity().to_owned())),
        ("code", Some(error.code().code().to_owned())),
        ("message", Some(error.message().to_owned())),
        ("detail", error.detail().map(str::to_owned)),
        ("hint", error.hint().map(str::to_owned)),
        ("position", error.position().map(|position| format!("{position:?}"))),
        ("context", error.where_().map(str::to_owned)),
        ("schema", error.schema().map(str::to_owned)),
        ("table", error.table().map(str::to_owned)),
        ("column", error.column().map(str::to_owned)),
        ("type", error.datatype().map(str::to_owned)),
        ("constraint", error.constraint().map(str::to_owned)),
        ("file", error.file().map(str::to_owned)),
        ("line", error.line().map(|line| line.to_string())),
        ("routine", error.routine().map(str::to_owned)),
    ];
    all.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// The errors of a statement by the index, or through the custom scan, and of one without.
fn assert_same(client: &mut Client, with: &str, without: &str, failure: &str) {
    client.batch_execute(&format!("SET test.failure = '{failure}'")).unwrap();
    let [with, without] = [(true, with), (false, without)].map(|(index, statement)| {
        by_index(client, index);
        told(&client.simple_query(statement).expect_err(statement))
    });
    client.batch_execute("RESET test.failure").unwrap();
    assert_eq!(with, without, "{failure}");
}

const FAILURES: [&str; 4] = ["raise", "division", "syntax", "again"];

#[test]
fn of_postgres_lose_nothing_in_scans_and_builds() {
    let cluster = prepare();
    let mut client = cluster.connect();
    let build = "CREATE INDEX other ON items USING walia_hnsw ((embed(id)::vecf32(32)) vecf32_l2_ops)";
    let build_btree = "CREATE INDEX other ON items ((embed(id)::vecf32(32)))";
    // The index calls the function to tell the order of rows that its own vectors leave open; without it the
    // sort does.
    let scan =
        "SELECT id FROM items ORDER BY embed(id)::vecf32(32) <-> array_fill(0.3, ARRAY[32])::vecf32 LIMIT 5";
    let federated =
        "SELECT id FROM parted WHERE fail(id) > 0 ORDER BY v <-> array_fill(0.3, ARRAY[32])::vecf32 LIMIT 5";
    by_index(&mut client, true);
    for (query, nearest, node) in [
        (scan, "on", "Index Scan using items_v"),
        (federated, "on", "WaliaNearestScan"),
        (federated, "off", "WaliaFederatedScan"),
    ] {
        client.batch_execute(&format!("SET walia.nearest_scan = {nearest}")).unwrap();
        let plan = client.query(&format!("EXPLAIN {query}"), &[]).unwrap();
        let plan = plan.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
        assert!(plan.iter().any(|line| line.contains(node)), "{plan:#?}");
    }
    for failure in FAILURES {
        assert_same(&mut client, build, build_btree, failure);
        // From the outside of a function that does it.
        let inside = |query: &str| format!("DO $$ BEGIN PERFORM * FROM ({query}) AS s; END $$");
        for nearest in ["off", "on"] {
            client.batch_execute(&format!("SET walia.nearest_scan = {nearest}")).unwrap();
            for query in [scan, federated] {
                assert_same(&mut client, query, query, failure);
                assert_same(&mut client, &inside(query), &inside(query), failure);
            }
        }
    }
    client.batch_execute("SET statement_timeout = 100").unwrap();
    assert_same(&mut client, scan, scan, "sleep");
    assert_same(&mut client, federated, federated, "sleep");
    client.batch_execute("RESET statement_timeout").unwrap();
    // An error that the function has caught leaves nothing behind in one of walia's own.
    client.batch_execute("SET test.failure = 'caught'").unwrap();
    by_index(&mut client, true);
    client.simple_query(scan).unwrap();
    let wrong = "SELECT id FROM parted WHERE fail(id) > 0 ORDER BY v <-> '[1]' LIMIT 5";
    let error = client.simple_query(wrong).unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code(), error.table(), error.where_()), (&SqlState::DATA_EXCEPTION, None, None));
    assert_eq!(error.detail(), None);
    client.batch_execute("RESET test.failure").unwrap();
    // What a handler is told.
    let diagnostics = client
        .simple_query(&format!(
            "SET test.failure = 'raise';
             CREATE FUNCTION diagnose() RETURNS text LANGUAGE plpgsql AS $$
             DECLARE a text; b text; c text;
             BEGIN
                 PERFORM * FROM ({scan}) AS s;
                 RETURN NULL;
             EXCEPTION WHEN OTHERS THEN
                 GET STACKED DIAGNOSTICS a = COLUMN_NAME, b = CONSTRAINT_NAME, c = PG_EXCEPTION_CONTEXT;
                 RETURN concat_ws('|', a, b, c);
             END $$"
        ))
        .and_then(|_| client.query_one("SELECT diagnose()", &[]))
        .unwrap();
    let diagnostics: String = diagnostics.get(0);
    assert!(
        diagnostics.starts_with("a column|a rule|PL/pgSQL function fail(integer) line 5 at RAISE"),
        "{diagnostics}"
    );
    assert_eq!(diagnostics.matches("function embed").count(), 1, "{diagnostics}");
}

/// Only a function that is declared with wrong types, which takes a superuser, makes walia panic.
#[test]
fn that_are_bugs_ask_for_a_report() {
    let cluster = prepare();
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE FUNCTION misused(bytea, bytea) RETURNS bytea AS '$libdir/walia', 'vecf32_combine' LANGUAGE C STRICT",
        )
        .unwrap();
    for _ in 0..3 {
        let error = client.simple_query("SELECT misused('12345', '12345')").unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::INTERNAL_ERROR);
        assert!(error.message().starts_with("internal error in walia: "), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("report")), "{error:?}");
        assert_eq!((error.detail(), error.where_()), (None, None));
        assert!(error.file().is_some_and(|file| file.ends_with(".rs")), "{error:?}");
    }
    // The next error has nothing of it.
    let error = client.simple_query("SELECT 1 / 0").unwrap_err();
    assert_eq!(error.as_db_error().unwrap().hint(), None);
    assert!(!cluster.log().contains("stack backtrace"));
}
