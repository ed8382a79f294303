//! Unlogged tables, which a crash empties.

use crate::scan::{assert_complete, assert_sound};
use crate::server::Cluster;

#[test]
fn is_empty_and_usable_after_a_crash() {
    let cluster = Cluster::start(&[]);
    let insert =
        "INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 500)";
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE UNLOGGED TABLE items (id bigserial PRIMARY KEY, v vecf32(3));
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    client.batch_execute(insert).unwrap();
    assert_complete(&mut client, "<->");
    drop(client);
    cluster.kill9();
    cluster.run();
    let mut client = cluster.connect();
    assert_eq!(client.query_one("SELECT count(*) FROM items", &[]).unwrap().get::<_, i64>(0), 0);
    client.batch_execute(insert).unwrap();
    assert_complete(&mut client, "<->");
    assert_sound(&mut client);
}
