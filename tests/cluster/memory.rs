//! Sessions that get no more memory: a statement gives its result or an ERROR, and the session goes on.
//!
//! What a session may map is limited from outside, to what it has and an allowance that grows from nothing
//! until the statement succeeds. Wherever on its way it runs out of memory, there is nothing but an ERROR,
//! and it succeeds when the limit is lifted.

mod processes;

use std::fs;

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

use crate::server::{Cluster, as_user, run, wait_until};

const TABLES: &str = "
    CREATE EXTENSION walia;
    SELECT setseed(0.5);
    CREATE FUNCTION vector(dimensions int, seed int) RETURNS real[] LANGUAGE sql VOLATILE AS
        'SELECT array_agg(random() + 0 * seed)::real[] FROM generate_series(1, dimensions)';
    CREATE FUNCTION half(vecf32) RETURNS vecf32 LANGUAGE sql IMMUTABLE AS 'SELECT public.subvector($1, 1, 4)';
    CREATE TABLE items (id int, v vecf32(8)) WITH (autovacuum_enabled = off);
    INSERT INTO items SELECT i, CASE WHEN i % 40 > 0 THEN vector(8, i) END FROM generate_series(1, 2000) AS i;
    INSERT INTO items SELECT 10000 + id, v FROM items WHERE id <= 100;
    CREATE TABLE lossy (id int, v vecf32(64)) WITH (autovacuum_enabled = off);
    INSERT INTO lossy SELECT i, vector(64, i) FROM generate_series(1, 1500) AS i;
    CREATE TABLE wide (id int, v vecf32(16000)) WITH (autovacuum_enabled = off);
    INSERT INTO wide SELECT i, vector(16000, i) FROM generate_series(1, 12) AS i;
    CREATE TABLE parts (id int, v vecf32(8)) PARTITION BY HASH (id);
    DO $$ BEGIN FOR i IN 0..7 LOOP
        EXECUTE format('CREATE TABLE parts_%s PARTITION OF parts FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    END LOOP; END $$;
    INSERT INTO parts SELECT id, v FROM items;
    CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE INDEX lossy_v ON lossy USING walia_hnsw (v vecf32_l2_ops) WITH (storage = sq8);
    CREATE INDEX ON lossy USING walia_hnsw ((half(v)::vecf32(4)) vecf32_l2_ops);
    CREATE INDEX ON wide USING walia_hnsw (v vecf32_cosine_ops);
    CREATE INDEX ON parts USING walia_hnsw (v vecf32_l2_ops);
    ANALYZE";

const SETTINGS: &str = "
    LOAD 'walia'; SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off; SET jit = off;
    SET client_min_messages = error; SET max_parallel_workers_per_gather = 0; SET walia.build_threads = 3;";

/// A statement that is to run out of memory.
#[derive(Clone, Copy)]
struct Statement {
    /// What comes before it in another session, which leaves this one without memory of its own to use again.
    before: &'static str,
    settings: &'static str,
    text: &'static str,
    /// What must give the same afterwards.
    proof: &'static str,
}

/// A statement that changes nothing.
const fn query(settings: &'static str, text: &'static str) -> Statement {
    Statement { before: "", settings, text, proof: text }
}

const NEAR: &str = "'[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]'";

fn rows(client: &mut Client, query: &str) -> Result<Vec<String>, postgres::Error> {
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    };
    Ok(client.simple_query(query)?.into_iter().filter_map(row).collect())
}

/// Limits what a process may map to what it has and so many bytes; lifts the limit where that is `None`.
fn limit(process: i32, allowance: Option<u64>) {
    let limit = match allowance {
        Some(allowance) => {
            let pages: u64 = fs::read_to_string(format!("/proc/{process}/statm"))
                .unwrap()
                .split(' ')
                .next()
                .and_then(|pages| pages.parse().ok())
                .unwrap();
            (pages * 4096 + allowance).to_string()
        }
        None => "unlimited".to_owned(),
    };
    run(as_user("prlimit").arg(format!("--pid={process}")).arg(format!("--as={limit}:")));
}

/// Nothing, then more and more.
fn allowances(first: u64) -> impl Iterator<Item = u64> {
    std::iter::once(0).chain(std::iter::successors(Some(first), |bytes| Some(bytes + bytes / 2)))
}

/// Fails where a process of the server has crashed.
fn assert_no_crash(cluster: &Cluster, what: &str) {
    let log = cluster.log();
    for word in
        ["terminated by signal", "exited with exit code 127", "server process", "allocation of", "panicked"]
    {
        let line = log.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "{what}: {line:?}");
    }
}

/// Whether an ERROR says that there is no memory, or that threads or workers could not be had.
fn is_out_of_memory(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("53"))
}

/// Runs a statement with every allowance until it succeeds; returns how often it failed.
fn exhaust(
    cluster: &Cluster,
    Statement { before, settings, text, proof }: Statement,
    allowances: impl Iterator<Item = u64>,
) -> usize {
    let mut expected = None;
    let mut failures = 0;
    for allowance in allowances {
        let what = format!("{text} with {allowance} bytes");
        cluster.connect().batch_execute(before).unwrap();
        let mut client = cluster.connect();
        client.batch_execute(SETTINGS).unwrap();
        client.batch_execute(settings).unwrap();
        let process: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        limit(process, Some(allowance));
        let result = rows(&mut client, text);
        limit(process, None);
        if let Err(error) = &result {
            assert!(is_out_of_memory(error), "{what}: {error:?}");
            failures += 1;
        }
        assert_no_crash(cluster, &what);
        let done = result.is_ok();
        if !done {
            rows(&mut client, text).unwrap_or_else(|error| panic!("afterwards, {what}: {error:?}"));
        }
        let proven = rows(&mut client, proof).unwrap_or_else(|error| panic!("{proof}, {what}: {error:?}"));
        assert_eq!(*expected.get_or_insert_with(|| proven.clone()), proven, "{what}");
        if done {
            return failures;
        }
    }
    unreachable!("allowances grow without end")
}

fn exhaust_all(statements: &[Statement]) {
    let cluster = Cluster::start(&["autovacuum = off"]);
    cluster.connect().batch_execute(TABLES).unwrap();
    for statement in statements.iter().copied() {
        let started = std::time::Instant::now();
        let failures = exhaust(&cluster, statement, allowances(32 << 10));
        println!("{failures} failures in {:?}: {}", started.elapsed(), statement.text);
        assert!(failures > 0, "{} has never run out of memory", statement.text);
    }
}

#[test]
fn types() {
    exhaust_all(&[
        query("", "SELECT md5(('[' || repeat('1.5,', 15999) || '1]')::vecf32::text)"),
        query("", "SELECT md5(string_agg(vecf32_send(v), '' ORDER BY id)) FROM wide"),
        query(
            "",
            "SELECT md5(string_agg(v::vecf16::vecf32::real[]::vecf32::text, '' ORDER BY id)) FROM wide",
        ),
        query("", "SELECT md5(string_agg(((v + v) * (v - v) + l2_normalize(v))::text, '')) FROM wide"),
        query("", "SELECT sum(length((subvector(v, 1, 8000) || subvector(v, 8001, 8000))::text)) FROM wide"),
        query("", "SELECT md5(avg(v)::text) FROM wide"),
        query("", "SELECT sum(length(binary_quantize(v))) FROM wide"),
    ]);
}

/// Functions of types that are called in memory contexts which have grown: Postgres asks for a megabyte there
/// at least when it has to copy an ERROR into them.
#[test]
fn in_large_contexts() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    client
        .batch_execute(
            "CREATE TABLE many AS SELECT i AS id, ARRAY[i % 97, i % 7, i % 3, i % 11, 1]::vecf32(5) AS v
                 FROM generate_series(1, 21800) AS i;
             CREATE FUNCTION texts(count int) RETURNS text[] LANGUAGE plpgsql AS $$
                 BEGIN RETURN ARRAY(SELECT (ARRAY[i, 2]::vecf32)::text FROM generate_series(1, count) AS i); END $$",
        )
        .unwrap();
    // In small steps: what is fatal is where a context has just grown, and no larger block can be had.
    let steps = || (1..60).map(|step| step * (150 << 10)).chain(allowances(16 << 20).skip(1));
    for text in [
        "SELECT length(array_agg(v)::text) FROM many",
        "SELECT cardinality(array_agg(v)::vecf16[]) FROM many",
        "SELECT sum(length(x)) FROM (SELECT array_agg(v)::text AS x FROM many GROUP BY id % 2) AS texts",
        "SELECT cardinality(('{' || repeat('\"[1,2,3]\",', 60000) || '\"[1,2]\"}')::vecf32[])",
        "SELECT length(array_agg(vecf32_send(v))::text) FROM many",
        "SELECT sum(cardinality(texts(id))) FROM many WHERE id > 21790",
    ] {
        let failures = exhaust(&cluster, query("LOAD 'plpgsql'", text), steps());
        println!("{failures} failures: {text}");
        assert!(failures > 5, "{text} has run out of memory {failures} times");
    }
}

#[test]
fn builds() {
    const BUILD: &str = "CREATE INDEX built ON items USING walia_hnsw (v vecf32_l2_ops)";
    let build = |settings, text| Statement {
        before: "DROP INDEX IF EXISTS built",
        settings,
        text,
        proof: "SELECT count(*) FROM walia_check('built', true)",
    };
    exhaust_all(&[
        build("SET walia.build_threads = 1", BUILD),
        build("SET walia.build_threads = 4", BUILD),
        build(
            "SET maintenance_work_mem = '1MB'",
            "CREATE INDEX built ON lossy USING walia_hnsw (v vecf32_l2_ops) WITH (m = 24)",
        ),
        build(
            "SET walia.build_threads = 2",
            "CREATE INDEX built ON wide USING walia_hnsw (v vecf32_l2_ops) WITH (storage = f16)",
        ),
    ]);
}

#[test]
fn changes() {
    const NEW_TABLE: &str = "
        DROP TABLE IF EXISTS scratch;
        CREATE TABLE scratch (id int, v vecf32(8)) WITH (autovacuum_enabled = off);
        INSERT INTO scratch SELECT * FROM items WHERE id <= 1000;
        CREATE INDEX scratch_v ON scratch USING walia_hnsw (v vecf32_l2_ops)";
    let change = |before, text| Statement {
        before,
        settings: "",
        text,
        // A row whose insertion failed may have left a node that nothing leads to: a warning.
        proof: "SELECT count(*) FROM walia_check('scratch_v', true) WHERE severity = 'error'",
    };
    exhaust_all(&[
        change(NEW_TABLE, "INSERT INTO scratch SELECT * FROM items WHERE id > 1800"),
        change(NEW_TABLE, "UPDATE scratch SET id = id WHERE id % 10 = 0"),
        change(
            "DROP TABLE IF EXISTS scratch;
             CREATE TABLE scratch (id int, v vecf32(8)) WITH (autovacuum_enabled = off);
             INSERT INTO scratch SELECT * FROM items;
             CREATE INDEX scratch_v ON scratch USING walia_hnsw (v vecf32_l2_ops) WITH (m = 4);
             DELETE FROM scratch WHERE id % 8 > 0",
            "VACUUM scratch",
        ),
        query("", "SELECT lists_repaired + dead_links FROM walia_repair('items_v_idx')"),
    ]);
}

/// A statement that takes much memory in small pieces, in small steps: what libc does of its own accord when
/// the last piece has been taken, such as to remember what a thread drops at its end, must not end the
/// process.
#[test]
fn in_small_pieces() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    cluster.connect().batch_execute(TABLES).unwrap();
    let text = "SELECT count(*) || ' ' || sum(id) FROM (SELECT id FROM parts
                    ORDER BY v <-> '[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]' OFFSET 0) AS near";
    let statement = query("SET walia.ef_search = 5000; SET work_mem = '256MB'", text);
    let failures = exhaust(&cluster, statement, allowances(32 << 10));
    let last = allowances(32 << 10).nth(failures - 1).unwrap();
    let failures = exhaust(&cluster, statement, (1..).map(|step| last + step * (last / 300)));
    println!("{failures} failures");
}

#[test]
fn scans() {
    let near = |columns: &str, table: &str, rest: &str| -> &'static str {
        let text = format!(
            "SELECT {columns} FROM (SELECT id, v <-> {NEAR} AS d FROM {table} ORDER BY v <-> {NEAR} {rest}) AS near"
        );
        Box::leak(text.into_boxed_str())
    };
    let all = "count(*) || ' ' || sum(id)";
    exhaust_all(&[
        query("", near("string_agg(id::text, ' ')", "items", "LIMIT 10")),
        query("SET walia.ef_search = 10000; SET work_mem = '256MB'", near(all, "items", "LIMIT 1500")),
        query(
            "SET walia.max_scan_tuples = 1000000; SET work_mem = '256MB'; SET walia.ef_search = 500",
            near(all, "items", "OFFSET 0"),
        ),
        query("SET work_mem = '64kB'", near(all, "items", "OFFSET 0")),
        query(
            "SET work_mem = '64kB'",
            "SELECT count(*) || ' ' || sum(id) FROM (SELECT id FROM lossy
                 ORDER BY v <-> (SELECT v FROM lossy WHERE id = 7) OFFSET 0) AS near",
        ),
        query(
            "SET walia.ef_search = 1000",
            "SELECT count(*) || ' ' || sum(id) FROM (SELECT id FROM lossy
                 ORDER BY half(v)::vecf32(4) <-> '[0.5,0.5,0.5,0.5]' OFFSET 0) AS near",
        ),
        query(
            "",
            "SELECT string_agg(id::text, ' ') FROM (SELECT id FROM wide
                 ORDER BY v <=> (SELECT v FROM wide WHERE id = 7) LIMIT 8) AS near",
        ),
        query("", near("string_agg(id::text, ' ')", "parts", "LIMIT 10")),
        query("SET walia.ef_search = 5000; SET work_mem = '256MB'", near(all, "parts", "OFFSET 0")),
        query("", "SELECT count(*) FROM walia_check('items_v_idx', true)"),
        query("", "SELECT nodes || ' ' || heap_tids FROM walia_info('items_v_idx')"),
        query("SET walia.ef_search = 200", "SELECT recall > 0.9 FROM walia_recall('items_v_idx', 10, 300)"),
    ]);
}

/// Sizes that a caller makes up, and texts of any length.
#[test]
fn made_up_sizes() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    let process: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    limit(process, Some(512 << 20));
    for (call, code) in [
        ("vecf32_in('[1]'::cstring, 0, 2147483647)", SqlState::DATA_EXCEPTION),
        ("vecf32_in('[1]'::cstring, 0, -2147483648)", SqlState::DATA_EXCEPTION),
        ("subvector('[1]'::vecf32, -2147483648, 2147483647)", SqlState::DATA_EXCEPTION),
        ("repeat('x', 50000000)::vecf32", SqlState::INVALID_TEXT_REPRESENTATION),
        ("('[' || repeat('9', 50000000) || ']')::vecf32", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("('[' || repeat('1,', 20000) || '1]')::vecf32", SqlState::PROGRAM_LIMIT_EXCEEDED),
    ] {
        let error = rows(&mut client, &format!("SELECT {call}")).unwrap_err();
        assert_eq!(error.code(), Some(&code), "{call}: {error:?}");
        let message = error.as_db_error().unwrap().message();
        assert!(message.len() < 2000, "{call}: a message of {} bytes", message.len());
    }
    limit(process, None);
    assert_no_crash(&cluster, "made-up sizes");
}
