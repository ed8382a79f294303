//! Updates of other columns: the new version of a row joins the node that holds its vector.

use crate::scan::{assert_complete, assert_sound};
use crate::server::Cluster;

const ROWS: i64 = 500;
const UPDATES: i64 = 5;

#[test]
fn of_another_column_add_no_nodes() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    // In the row, out of line, and one vector for all rows.
    for (dimensions, different) in [(100, ROWS), (1000, ROWS), (8, 1)] {
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS items;
                 SELECT setseed(0.5);
                 CREATE TABLE items (id bigint, note int DEFAULT 0, v vecf32({dimensions}));
                 CREATE INDEX ON items (note);
                 CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
                 CREATE TEMP TABLE vectors AS SELECT i % {different} AS number,
                     (SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, {dimensions} + 0 * i)) AS v
                     FROM generate_series(1, {different}) AS i;
                 INSERT INTO items (id, v) SELECT i, v FROM generate_series(1, {ROWS}) AS i, vectors
                     WHERE number = i % {different};
                 DROP TABLE vectors"
            ))
            .unwrap();
        let mut assert_holds = |versions: i64| {
            let row = client.query_one("SELECT nodes, heap_tids FROM walia_info('items_v')", &[]).unwrap();
            let (nodes, heap_tids): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(heap_tids, ROWS * versions, "{dimensions} dimensions");
            // The search for the node is one of a graph: a few are not found, and get a second node.
            assert!(
                (different..=different + ROWS / 50).contains(&nodes),
                "{nodes} nodes of {dimensions} dimensions"
            );
            assert_sound(&mut client);
            assert_complete(&mut client, "<->");
        };
        assert_holds(1);
        for update in 0..UPDATES {
            cluster.connect().batch_execute("UPDATE items SET note = note + 1").unwrap();
            assert_holds(update + 2);
        }
        cluster.connect().batch_execute("VACUUM items").unwrap();
        assert_holds(1);
    }
}
