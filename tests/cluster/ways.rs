//! Which way a search under a condition takes, where ranking all rows that pass seems to cost less than the
//! walk.

use crate::conditions::{plan, rows, set_index};
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
