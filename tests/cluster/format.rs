//! Indexes in a format that this version does not read.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use postgres::error::SqlState;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::Cluster;

/// Where the meta page's contents begin, which is where FORMAT.md counts its fields from.
const META: u64 = 24;

#[test]
fn are_refused_until_they_are_built_anew() {
    let cluster = Cluster::start(&["ignore_checksum_failure = on", "autovacuum = off"]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3));
             INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 100);
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    drop(client);
    for (offset, value, detail) in [
        (4, 0u32, "Its format has version 0."),
        (4, 1000, "Its format has version 1000."),
        (12, 1 << 31, "It uses unknown features (0x80000000)."),
    ] {
        let path = "SELECT pg_relation_filepath('items_v')";
        let file = cluster.data().join(cluster.connect().query_one(path, &[]).unwrap().get::<_, String>(0));
        cluster.stop();
        let index = OpenOptions::new().write(true).open(file).unwrap();
        index.write_all_at(&value.to_le_bytes(), META + offset).unwrap();
        cluster.run();
        let mut client = cluster.connect();
        by_index(&mut client, true);
        for command in [
            "SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 1",
            "INSERT INTO items (v) VALUES ('[1,2,3]')",
            "VACUUM items",
            "SELECT * FROM walia_info('items_v')",
            "SELECT * FROM walia_check('items_v')",
        ] {
            let error = client.simple_query(command).expect_err(command);
            let said = error.as_db_error().unwrap_or_else(|| panic!("{command}: {error}"));
            assert_eq!(*said.code(), SqlState::FEATURE_NOT_SUPPORTED, "{command}: {said}");
            assert_eq!(
                said.message(),
                "index \"items_v\" cannot be read by this version of walia",
                "{command}"
            );
            assert_eq!(said.detail(), Some(detail), "{command}");
            assert_eq!(said.hint(), Some("REINDEX builds the index anew from its table."), "{command}");
        }
        client.batch_execute("REINDEX INDEX items_v").unwrap();
        assert_complete(&mut client, "<->");
        assert_sound(&mut client);
    }
}
