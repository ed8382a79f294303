//! Which way a search under a condition takes, where ranking all rows that pass seems to cost less than the
//! walk.

use crate::conditions::{plan, rows, set_index, texts};
use crate::server::Cluster;

/// Rows that pass lie around the query, or elsewhere: that is looked at first, and the answer is the same.
#[test]
fn it_looks_around_the_query_before_all_rows_are_ranked() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.5);
             CREATE TABLE items (i int, category int, pad text, v vecf32(16));
             INSERT INTO items SELECT i, i % 8, repeat('x', 200),
                 (SELECT array_agg(0.8 * sin(d * (1 + i % 8)) + random()) FROM generate_series(1, 16) d)::vecf32
                 FROM generate_series(1, 40000) i;
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops); CREATE INDEX ON items (category);
             ANALYZE items; SET walia.ef_search = 10",
        )
        .unwrap();
    let query: String = client.query_one("SELECT v::text FROM items WHERE i = 15", &[]).unwrap().get(0);
    for (category, way) in [(7, "walk"), (4, "exact, as the walk would have cost more")] {
        let statement = format!(
            "SELECT i, v <-> '{query}' FROM items WHERE category = {category} ORDER BY v <-> '{query}' LIMIT 10"
        );
        let explained = client.simple_query(&format!("EXPLAIN (ANALYZE) {statement}")).unwrap();
        assert!(format!("{explained:?}").contains(&format!("Search Method: {way}\"")), "{explained:#?}");
        let last: i64 = client.query_one("SELECT rows_tested FROM walia_last_scan()", &[]).unwrap().get(0);
        assert!(way == "walk" || last <= 24, "{last} rows were tested: {explained:#?}");
        let given = rows(&mut client, &statement);
        set_index(&mut client, false);
        assert!(!plan(&mut client, &statement).contains("Walia"));
        let exact = rows(&mut client, &statement);
        let right = given.iter().filter(|row| exact.contains(row)).count();
        assert!(right >= if way == "walk" { 8 } else { 10 }, "{given:?}\n{exact:?}");
        client.batch_execute("SET enable_indexscan = on").unwrap();
    }
    // Few rows are ranked at once.
    client.batch_execute("ALTER TABLE items ADD few int; UPDATE items SET few = i / 100; CREATE INDEX ON items (few); ANALYZE items").unwrap();
    let few = format!("SELECT i FROM items WHERE few = 3 ORDER BY v <-> '{query}' LIMIT 10");
    let plan = plan(&mut client, &few);
    assert!(!plan.contains("Walia"), "{plan}");
}

/// What is sorted are the columns that the query gives, and the vector only where it is one of them.
#[test]
fn rows_are_ranked_without_their_vectors() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.5);
             CREATE TABLE items (i int, category int, pad text, v vecf32(8), gone int, other vecf32(8));
             INSERT INTO items SELECT i, i % 200, repeat('x', 200),
                 (SELECT array_agg(random() + (i + d) % 7) FROM generate_series(1, 8) d)::vecf32, 1, '[1,2,3,4,5,6,7,8]'
                 FROM generate_series(1, 20000) i;
             ALTER TABLE items DROP gone;
             CREATE FUNCTION slow(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 + 1; END';
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops);
             CREATE INDEX ON items (category) INCLUDE (i)",
        )
        .unwrap();
    client.batch_execute("VACUUM ANALYZE items").unwrap();
    let query = "'[1,2,1,2,1,2,1,2]'::vecf32";
    for (given, order, has_vector) in [
        ("i", "v <-> $q", false),
        ("i, v <-> $q", "v <-> $q", false),
        ("i, v <-> $q", "v <-> $q, i", false),
        ("i, 2 * (v <-> $q) + i", "v <-> $q, i", true),
        ("i, 2 * (v <-> $q) + i", "v <-> $q", false),
        ("i, slow(v <-> $q)", "v <-> $q", false),
        ("i, slow(v <-> $q)", "v <-> $q, i", true),
        ("i, 0 * random() + (v <-> $q)", "v <-> $q, i DESC", true),
        ("i, (v <-> $q) > (SELECT avg(category) FROM items o WHERE o.i = items.i)", "v <-> $q, i", true),
        ("i, 1 - (v <-> $q) AS s", "s DESC", false),
        ("ctid, tableoid::regclass, i", "v <-> $q", false),
        ("1", "v <-> $q", false),
        ("i, v <-> other", "v <-> $q", true),
        ("i, v", "v <-> $q", true),
        ("items", "v <-> $q", true),
        ("i, length(v::text)", "v <-> $q", true),
        ("i, 2 * (v <-> $q)", "1 - (v <-> $q) DESC", true),
        ("i, (SELECT max(x) FROM (VALUES (v <-> $q), (v <-> other)) a(x))", "v <-> $q", true),
    ] {
        for condition in ["category = 7", "category IN (3, 4, 5) AND i % 2 = 0", "i > 19990"] {
            let select =
                format!("SELECT {given} FROM items WHERE {condition} ORDER BY {order} LIMIT 10 OFFSET 2");
            let select = select.replace("$q", query);
            set_index(&mut client, true);
            let explained = texts(&mut client, &format!("EXPLAIN (COSTS OFF, VERBOSE) {select}")).join("\n");
            assert!(explained.contains("WaliaNearestScan"), "{select}\n{explained}");
            let (_, ranking) = explained.split_once("->  Sort").expect("a second child");
            let output = ranking.lines().find(|line| line.trim_start().starts_with("Output:")).unwrap();
            let columns: Vec<&str> = output.split([',', ':']).map(str::trim).collect();
            let is_vector = |column: &&str| matches!(*column, "v" | "items.v" | "items.*");
            assert_eq!(columns.iter().any(is_vector), has_vector, "{select}\n{output}");
            client.batch_execute("SET walia.ef_search = 400").unwrap();
            let found = texts(&mut client, &select);
            set_index(&mut client, false);
            assert_eq!(found, texts(&mut client, &select), "{select}\n{explained}");
        }
    }
}
