//! Why an index is or is not used, case by case: what is said of a query, and that it is planned only.

use postgres::Client;
use postgres::error::SqlState;

use crate::server::Cluster;

const TABLES: &str = "CREATE EXTENSION walia;
    CREATE TABLE items (id bigint, kind int, v vecf32(3), other vecf32(3));
    INSERT INTO items SELECT i, i % 1000, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32, ARRAY[cos(i), sin(i), 1]::vecf32
      FROM generate_series(1, 12000) AS i;
    CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE INDEX items_kind ON items (kind);
    CREATE TABLE bare AS SELECT * FROM items LIMIT 1000;
    CREATE TABLE small AS SELECT * FROM items LIMIT 30;
    CREATE INDEX small_v ON small USING walia_hnsw (v vecf32_l2_ops);
    CREATE TABLE part (id bigint, kind int, v vecf32(3));
    INSERT INTO part SELECT id, kind % 2, v FROM items;
    CREATE INDEX part_v ON part USING walia_hnsw (v vecf32_l2_ops) WHERE kind = 1;
    CREATE TABLE cast_to_half (id bigint, v vecf32(3));
    INSERT INTO cast_to_half SELECT id, v FROM items;
    CREATE INDEX cast_to_half_v ON cast_to_half USING walia_hnsw ((v::vecf16(3)) vecf16_l2_ops);
    CREATE TABLE parted (id bigint, v vecf32(3)) PARTITION BY HASH (id);
    CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO parted SELECT id, v FROM items;
    CREATE INDEX parted_0_v ON parted_0 USING walia_hnsw (v vecf32_l2_ops);
    CREATE TABLE holed (id bigint, v vecf32(3));
    INSERT INTO holed SELECT id, CASE WHEN id % 7 > 0 THEN v END FROM items;
    CREATE INDEX holed_v ON holed USING walia_hnsw (v vecf32_l2_ops);
    CREATE VIEW seen AS SELECT id, v FROM items WHERE id > 0;
    ANALYZE";

/// What is said: the index, whether it is used, why, and what may be done.
type Said = (Option<String>, bool, String, Option<String>);

fn advice(client: &mut Client, query: &str) -> Vec<Said> {
    let rows = client
        .query("SELECT index, used, reason, advice FROM walia_advise($1)", &[&query])
        .unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Checks what is said of the only ordering of a query.
fn check(client: &mut Client, query: &str, index: Option<&str>, used: bool, reason: &str, advised: &str) {
    let said = advice(client, query);
    let [(named, is_used, why, what)] = said.as_slice() else { panic!("{query}: {said:?}") };
    assert_eq!((named.as_deref(), *is_used), (index, used), "{query}: {said:?}");
    assert!(why.contains(reason), "{query}: {why}");
    assert!(what.as_deref().unwrap_or_default().contains(advised), "{query}: {what:?}");
}

#[test]
fn says_why_an_index_is_used_or_not() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    const Q: &str = "'[0.1, 0.2, 0.3]'";
    let cases = [
        (
            "SELECT id FROM items ORDER BY v <-> Q LIMIT 10",
            Some("items_v"),
            true,
            "gives the rows in this order",
            "",
        ),
        (
            "SELECT 1 - (v <-> Q) AS s FROM items WHERE v IS NOT NULL ORDER BY s DESC LIMIT 10",
            Some("items_v"),
            true,
            "",
            "",
        ),
        ("SELECT id FROM seen ORDER BY Q <-> v LIMIT 10", Some("items_v"), true, "", ""),
        (
            "SELECT id FROM (SELECT * FROM items ORDER BY v <-> (SELECT v FROM small LIMIT 1) LIMIT 10) AS near",
            Some("items_v"),
            true,
            "",
            "",
        ),
        (
            "SELECT id FROM bare ORDER BY v <-> Q LIMIT 10",
            None,
            false,
            "Table bare has no walia_hnsw index.",
            "CREATE INDEX ON bare USING walia_hnsw (v vecf32_l2_ops)",
        ),
        (
            "SELECT id FROM items ORDER BY v <~> Q LIMIT 10",
            Some("items_v"),
            false,
            "Index items_v has operator class vecf32_l2_ops, which orders by <->; the query orders by <~>.",
            "(v vecf32_cosine_ops)",
        ),
        (
            "SELECT id FROM items ORDER BY v <-> Q DESC LIMIT 10",
            None,
            false,
            "the furthest rows first",
            "without DESC",
        ),
        (
            "SELECT id FROM items ORDER BY 1 - (v <-> Q) LIMIT 10",
            None,
            false,
            "the furthest rows first",
            "without DESC",
        ),
        (
            "SELECT id FROM items ORDER BY other <-> Q LIMIT 10",
            Some("items_v"),
            false,
            "Index items_v is on v, and the query orders by the distance of other.",
            "(other vecf32_l2_ops)",
        ),
        (
            "SELECT id FROM items ORDER BY v::vecf16(3) <-> Q LIMIT 10",
            Some("items_v"),
            false,
            "of operator class vecf32_l2_ops",
            "((v)::vecf16(3)) vecf16_l2_ops)",
        ),
        (
            "SELECT id FROM cast_to_half ORDER BY v <-> Q LIMIT 10",
            Some("cast_to_half_v"),
            false,
            "",
            "(v vecf32_l2_ops)",
        ),
        (
            "SELECT id FROM cast_to_half ORDER BY v::vecf16(3) <-> Q LIMIT 10",
            Some("cast_to_half_v"),
            true,
            "",
            "",
        ),
        (
            "SELECT id FROM items ORDER BY l2_distance(v, Q) LIMIT 10",
            None,
            false,
            "by a function",
            "the operator <->",
        ),
        (
            "SELECT id FROM items ORDER BY round((v <-> Q)::numeric, 2) LIMIT 10",
            None,
            false,
            "an expression of the distance",
            "<-> alone",
        ),
        (
            "SELECT id FROM items ORDER BY kind, v <-> Q LIMIT 10",
            None,
            false,
            "not the first key",
            "Put the distance first.",
        ),
        (
            "SELECT id FROM items ORDER BY v <-> other LIMIT 10",
            None,
            false,
            "columns of the same row",
            "one vector",
        ),
        (
            "SELECT items.id FROM items, small ORDER BY items.v <-> small.v LIMIT 10",
            None,
            false,
            "tables that are joined",
            "LATERAL",
        ),
        (
            "WITH few AS MATERIALIZED (SELECT * FROM items) SELECT id FROM few ORDER BY v <-> Q LIMIT 10",
            None,
            false,
            "a subquery, a CTE or a function",
            "within the subquery",
        ),
        ("SELECT id FROM items ORDER BY v <-> Q", None, false, "no LIMIT", "Add a LIMIT."),
        (
            "SELECT id FROM items ORDER BY v <-> '[1, 2]' LIMIT 10",
            Some("items_v"),
            true,
            "2 dimensions and the column 3",
            "3 dimensions",
        ),
        (
            "SELECT id FROM part ORDER BY v <-> Q LIMIT 10",
            Some("part_v"),
            false,
            "partial",
            "Add (kind = 1) to the WHERE",
        ),
        ("SELECT id FROM part WHERE kind = 1 ORDER BY v <-> Q LIMIT 10", Some("part_v"), true, "", ""),
        (
            "SELECT id FROM items WHERE kind = 7 ORDER BY v <-> Q LIMIT 10",
            None,
            false,
            "Few of about 12000 rows",
            "ANALYZE",
        ),
        (
            "SELECT id FROM small ORDER BY v <-> Q LIMIT 10",
            None,
            false,
            "about 30 rows",
            "Nothing need be done",
        ),
        (
            "SELECT DISTINCT kind, v <-> Q AS d FROM items ORDER BY d LIMIT 10",
            None,
            false,
            "after DISTINCT",
            "in a subquery",
        ),
        (
            "SELECT id FROM parted ORDER BY v <-> Q LIMIT 10",
            Some("parted_0_v"),
            true,
            "Table parted_1 has no walia_hnsw index. Of 2 tables 1 lack one.",
            "CREATE INDEX ON parted_1 USING walia_hnsw (v vecf32_l2_ops)",
        ),
        (
            "SELECT a.id FROM items AS a JOIN bare AS b USING (id) ORDER BY a.v <-> Q LIMIT 5",
            None,
            false,
            "The table, of about 12000 rows, is joined",
            "in a subquery",
        ),
        (
            "SELECT kind, min(v <-> Q) AS d FROM items GROUP BY kind ORDER BY d LIMIT 10",
            None,
            false,
            "after GROUP BY",
            "in a subquery",
        ),
        (
            "SELECT id FROM holed ORDER BY v <-> Q NULLS FIRST LIMIT 10",
            None,
            false,
            "begins with rows that have no distance",
            "IS NOT NULL",
        ),
        (
            "SELECT q.id, near.id FROM small AS q, LATERAL (SELECT id FROM items ORDER BY items.v <-> q.v LIMIT 3) AS near",
            Some("items_v"),
            true,
            "",
            "",
        ),
    ];
    for (query, index, used, reason, advised) in cases {
        check(&mut client, &query.replace('Q', Q), index, used, reason, advised);
    }
    let near = |table: &str| format!("SELECT id FROM {table} ORDER BY v <-> {Q} LIMIT 10");
    client.batch_execute("CREATE INDEX parted_1_v ON parted_1 USING walia_hnsw (v vecf32_l2_ops)").unwrap();
    check(&mut client, &near("parted"), Some("parted_0_v, parted_1_v"), true, "2 indexes give the rows", "");
    let union = format!(
        "SELECT id FROM (SELECT id, v FROM parted_0 UNION ALL SELECT id, v FROM parted_1) AS u ORDER BY v <-> {Q} LIMIT 10"
    );
    check(&mut client, &union, Some("parted_0_v, parted_1_v"), true, "", "");
    // Each of several orderings, whatever the other does.
    let two = format!(
        "SELECT * FROM ({}) AS a UNION ALL SELECT * FROM ({} ) AS b",
        near("items"),
        near("items").replace(" LIMIT", " DESC LIMIT")
    );
    let mut used: Vec<bool> = advice(&mut client, &two).iter().map(|said| said.1).collect();
    used.sort();
    assert_eq!(used, [false, true]);
    // Settings, statistics, and what is left of a build that failed.
    client.batch_execute("SET enable_indexscan = off").unwrap();
    check(&mut client, &near("items"), None, false, "enable_indexscan is off", "RESET enable_indexscan");
    client.batch_execute("RESET enable_indexscan; CREATE TABLE fresh AS SELECT * FROM small; CREATE INDEX fresh_v ON fresh USING walia_hnsw (v vecf32_l2_ops)").unwrap();
    client.batch_execute("UPDATE pg_class SET reltuples = -1 WHERE relname = 'fresh'").unwrap();
    let said = advice(&mut client, &near("fresh"));
    assert!(said[0].1 || said[0].3.as_deref() == Some("Run ANALYZE fresh."), "{said:?}");
    client
        .batch_execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_v'::regclass")
        .unwrap();
    check(&mut client, &near("items"), Some("items_v"), false, "is invalid", "REINDEX INDEX items_v");
    // What orders by no distance, and what has none.
    for query in ["SELECT id FROM items ORDER BY id LIMIT 10", "SELECT 1", "DELETE FROM items"] {
        assert!(advice(&mut client, query).is_empty(), "{query}");
    }
}

#[test]
fn plans_and_does_not_run() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    let mut refused = |query: &str| {
        let error = client.query("SELECT * FROM walia_advise($1)", &[&query]).expect_err(query);
        error.code().unwrap().clone()
    };
    for query in ["SELECT 1; DROP TABLE items", "", "SELECT 1 ORDER", "SELECT 1 /*"] {
        assert_eq!(refused(query), SqlState::SYNTAX_ERROR, "{query}");
    }
    for query in ["DROP TABLE items", "EXPLAIN ANALYZE DELETE FROM items", "ANALYZE items", "EXECUTE x"] {
        assert_eq!(refused(query), SqlState::FEATURE_NOT_SUPPORTED, "{query}");
    }
    assert_eq!(refused("SELECT * FROM nowhere"), SqlState::UNDEFINED_TABLE);
    // Neither rows nor side effects come of it, nor do settings stay.
    client.batch_execute("CREATE SEQUENCE numbers").unwrap();
    let changes = [
        "INSERT INTO bare SELECT nextval('numbers'), kind, v, other FROM items ORDER BY v <~> '[1, 2, 3]' LIMIT 5 -- all",
        "WITH gone AS (DELETE FROM bare RETURNING *) SELECT * FROM gone ORDER BY v <-> '[1, 2, 3]' LIMIT 5",
    ];
    for query in changes {
        assert_eq!(advice(&mut client, query).len(), 1, "{query}");
    }
    let state = client.query_one(
        "SELECT (SELECT count(*) FROM bare), pg_sequence_last_value('numbers') IS NULL, current_setting('enable_seqscan')", &[]);
    let state = state.unwrap();
    assert_eq!(
        (state.get::<_, i64>(0), state.get::<_, bool>(1), state.get::<_, &str>(2)),
        (1000, true, "on")
    );
    // With the caller's rights.
    client.batch_execute("CREATE ROLE nobody LOGIN").unwrap();
    let mut nobody = cluster.connect_as("nobody", "postgres");
    let query = "SELECT id FROM items ORDER BY v <-> '[1, 2, 3]' LIMIT 10";
    let error = nobody.query("SELECT * FROM walia_advise($1)", &[&query]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    // Parameters, as of a prepared statement.
    let parameters = "SELECT id FROM items ORDER BY v <-> $1 LIMIT $2";
    let number: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).unwrap().get(0);
    if number >= 160_000 {
        check(&mut client, parameters, Some("items_v"), true, "", "");
    }
    // A standby plans, too.
    let standby = cluster.standby(&[]);
    check(&mut standby.connect(), query, Some("items_v"), true, "", "");
}
