//! A streaming standby: it answers as its primary does, and takes over.

use crate::scan::{assert_complete, assert_plan, assert_sound, by_index};
use crate::server::Cluster;

/// Replay compares every page that it changes with the primary's.
#[test]
fn follows_its_primary_and_takes_over() {
    let primary = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    let mut client = primary.connect();
    let insert =
        "INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 2000)";
    client
        .batch_execute("CREATE EXTENSION walia; CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3))")
        .unwrap();
    client.batch_execute(insert).unwrap();
    let standby = primary.standby();
    client.batch_execute("CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)").unwrap();
    for change in [insert, "DELETE FROM items WHERE id % 3 = 0", "VACUUM items", insert] {
        client.batch_execute(change).unwrap();
        primary.wait_for_replay(&standby);
        let query = "SELECT ARRAY(SELECT id FROM items ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 100)";
        let [here, there] = [&primary, &standby].map(|cluster| {
            let mut client = cluster.connect();
            by_index(&mut client, true);
            assert_plan(&mut client, query, true);
            client.query_one(query, &[]).unwrap().get::<_, Vec<i64>>(0)
        });
        assert_eq!(here, there, "after {change}");
        assert_complete(&mut standby.connect(), "<->");
    }
    primary.stop();
    standby.promote();
    standby.connect().batch_execute(insert).unwrap();
    assert_complete(&mut standby.connect(), "<->");
    assert_sound(&mut standby.connect());
}
