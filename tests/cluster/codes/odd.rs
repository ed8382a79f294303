//! Columns of vectors that codes serve badly.

use super::*;

/// What a second reader broke.
#[test]
fn codes_of_many_lengths_and_rows_that_fail() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    // Behind a column of two bytes, longer codes stand elsewhere than shorter ones.
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.6);
             CREATE FUNCTION made(dimensions int, number int) RETURNS vecf32 LANGUAGE sql VOLATILE AS
                 'SELECT array_agg(random() - 0.5 + 0 * number)::vecf32 FROM generate_series(1, dimensions)';
             CREATE TABLE docs (id serial, g smallint, v vecf32);
             INSERT INTO docs (g, v) SELECT 1, made(1536, i) FROM generate_series(1, 100) i;
             INSERT INTO docs (g, v) SELECT 1, made(18, i) FROM generate_series(1, 3000) i;
             CREATE INDEX ON docs (g, walia_code(v, 1)); ANALYZE docs;
             SET walia.ef_search = 1000",
        )
        .unwrap();
    let d = format!("v <-> '[{}]'", vec!["0.1"; 18].join(","));
    let by_length = format!(
        "SELECT id, {d} FROM docs WHERE g = 1::smallint AND vector_dims(v) = 18 ORDER BY {d} LIMIT 5"
    );
    client
        .batch_execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off")
        .unwrap();
    assert!(plan(&mut client, &by_length).contains("WaliaCodeScan"));
    let given = rows(&mut client, &by_length);
    client.batch_execute("SET walia.code_scan = off; RESET enable_sort").unwrap();
    assert_eq!(given, rows(&mut client, &by_length));
    // Tests of rows can be cancelled.
    client
        .batch_execute(
            "SET walia.code_scan = on; SET enable_sort = off;
             CREATE FUNCTION is_rare(int) RETURNS bool LANGUAGE plpgsql STABLE COST 0.001 AS
                 'BEGIN PERFORM sum(i) FROM generate_series(1, 2000) i; RETURN false; END';
             SET statement_timeout = '300ms'",
        )
        .unwrap();
    let dear = format!(
        "SELECT id FROM docs WHERE g = 1::smallint AND vector_dims(v) = 18 AND is_rare(id) ORDER BY {d} LIMIT 5"
    );
    assert!(plan(&mut client, &dear).contains("WaliaCodeScan"));
    let started = std::time::Instant::now();
    let error = client.simple_query(&dear).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    client.batch_execute("RESET statement_timeout").unwrap();
    // Many dead rows with the vectors of live ones: the first query has them marked.
    client
        .batch_execute(
            "CREATE TABLE twins (id serial, g int, v vecf32(32));
             INSERT INTO twins (g, v) SELECT 1, made(32, i) FROM generate_series(1, 2000) i;
             CREATE INDEX ON twins (g, walia_code(v)); ANALYZE twins;
             INSERT INTO twins (g, v) SELECT 1, v FROM twins, generate_series(1, 100) WHERE id <= 10;
             DELETE FROM twins WHERE id > 2000",
        )
        .unwrap();
    let near = "SELECT id, v <-> (SELECT v FROM twins WHERE id = 3) FROM twins WHERE g = 1
                ORDER BY v <-> (SELECT v FROM twins WHERE id = 3) LIMIT 10";
    let first = rows(&mut client, near);
    let mut tested = 0;
    for _ in 0..3 {
        assert_eq!(rows(&mut client, near), first);
        let counts = rows(&mut client, "SELECT rows_tested::int, rounds FROM walia_last_scan()");
        tested = counts[0].0;
        assert_eq!(counts[0].1, Some(1.0), "the list was read once for the search itself: {counts:?}");
    }
    // Nor are the rows of all entries read to find more dead ones.
    let mut transaction = client.transaction().unwrap();
    let fetched = |transaction: &mut postgres::Transaction| {
        let statement = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'twins'";
        transaction.query_one(statement, &[]).unwrap().get::<_, i64>(0)
    };
    let before = fetched(&mut transaction);
    transaction.simple_query(near).unwrap();
    let live = fetched(&mut transaction) - before;
    assert!((10..500).contains(&live), "{live} live rows were read");
    transaction.commit().unwrap();
    client.batch_execute("VACUUM twins").unwrap();
    rows(&mut client, near);
    let vacuumed = rows(&mut client, "SELECT rows_tested::int FROM walia_last_scan()")[0].0;
    assert!(
        (vacuumed..vacuumed + 64).contains(&tested),
        "{tested} rows were tested, {vacuumed} after a vacuum"
    );
}

/// Under L1 too, and where codes tell nothing.
#[test]
fn vectors_that_codes_tell_little_of() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.7);
             CREATE TABLE docs AS SELECT i AS id, 1 AS g, (SELECT array_agg(5 + 0.1 * random() + 0 * i * j)::vecf32
                 FROM generate_series(1, 6) j) AS v FROM generate_series(1, 4000) i;
             CREATE INDEX ON docs (g, walia_code(v)); ANALYZE docs; SET walia.ef_search = 1000;
             SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off",
        )
        .unwrap();
    for operator in ["<->", "<#>", "<=>", "<+>"] {
        let d = format!("v {operator} '[5.1,5,5,5.02,5,5.1]'");
        let statement = format!("SELECT id, {d} FROM docs WHERE g = 1 ORDER BY {d} LIMIT 10");
        client.batch_execute("SET walia.code_scan = on; SET enable_sort = off").unwrap();
        assert!(plan(&mut client, &statement).contains("WaliaCodeScan"));
        let given = rows(&mut client, &statement);
        client.batch_execute("SET walia.code_scan = off; RESET enable_sort").unwrap();
        assert_eq!(given, rows(&mut client, &statement), "{operator}");
    }
}

/// A code stands where the columns before it end, or where that is aligned, whatever these are.
#[test]
fn behind_columns_of_every_kind() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia; SET walia.ef_search = 1000").unwrap();
    for (dimensions, rows_of_value) in [(24, 700), (600, 150)] {
        for (kind, value) in [
            ("smallint", "7"),
            ("bool", "true"),
            ("bigint", "7"),
            ("\"char\"", "'x'"),
            ("text", "'seven'"),
            ("interval", "'7 days'"),
        ] {
            client
                .batch_execute(&format!(
                    "DROP TABLE IF EXISTS docs;
                     CREATE TABLE docs (id serial, kind {kind}, v vecf32({dimensions}));
                     INSERT INTO docs (kind, v)
                     SELECT CASE WHEN i % 10 = 0 THEN NULL ELSE {value}::{kind} END, (
                         SELECT array_agg(sin(i * j) + sin(i / 2 * j))::vecf32 FROM generate_series(1, {dimensions}) j
                     )
                     FROM generate_series(1, {rows_of_value}) i;
                     CREATE INDEX ON docs (kind, walia_code(v)); ANALYZE docs;
                     SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off"
                ))
                .unwrap();
            let d = format!("v <-> '[{}]'", vec!["0.1"; dimensions].join(","));
            for condition in [format!("kind = {value}::{kind}"), "kind IS NULL".to_string()] {
                let nearest = format!("SELECT id, {d} FROM docs WHERE {condition} ORDER BY {d} LIMIT 5");
                client.batch_execute("SET walia.code_scan = on; SET enable_sort = off").unwrap();
                assert!(plan(&mut client, &nearest).contains("WaliaCodeScan"), "{kind}, {condition}");
                let given = rows(&mut client, &nearest);
                client.batch_execute("SET walia.code_scan = off; RESET enable_sort").unwrap();
                assert_eq!(given, rows(&mut client, &nearest), "{kind}, {dimensions}, {condition}");
            }
        }
    }
}
