//! Indexes whose meta page this version cannot read, or should not believe.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use postgres::error::SqlState;

use postgres::Client;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::Cluster;

/// Where the meta page's contents begin, which is where FORMAT.md counts its fields from.
const META: u64 = 24;

fn cluster_with_an_index() -> Cluster {
    let cluster = Cluster::start(&["ignore_checksum_failure = on", "autovacuum = off"]);
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3));
             INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 100);
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    cluster
}

/// Writes to the meta page while the server is stopped.
fn overwrite(cluster: &Cluster, offset: u64, bytes: &[u8]) {
    let path = "SELECT pg_relation_filepath('items_v')";
    let file = cluster.data().join(cluster.connect().query_one(path, &[]).unwrap().get::<_, String>(0));
    cluster.stop();
    let index = OpenOptions::new().write(true).open(file).unwrap();
    index.write_all_at(bytes, META + offset).unwrap();
    cluster.run();
}

/// Fails unless the check has one finding that begins so, of the meta page.
fn assert_found(client: &mut Client, expected: &str) {
    let query =
        "SELECT format('%s: block %s: %s', severity, block, finding) FROM walia_check('items_v', true)";
    let found: Vec<String> = client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let expected = format!("error: block 0: {expected}");
    assert!(found.iter().any(|finding| finding.starts_with(&expected)), "{expected} is not among {found:?}");
}

#[test]
fn are_refused_until_they_are_built_anew() {
    let cluster = cluster_with_an_index();
    for (offset, value, detail, finding) in [
        (4, 0u32, "The index has format version 0.", "format version 0 is not supported"),
        (4, 1000, "The index has format version 1000.", "format version 1000 is not supported"),
        (
            12,
            1 << 31,
            "The index uses unknown features (0x80000000).",
            "unknown incompatible features 0x80000000",
        ),
    ] {
        overwrite(&cluster, offset, &value.to_le_bytes());
        let mut client = cluster.connect();
        by_index(&mut client, true);
        for command in [
            "SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 1",
            "INSERT INTO items (v) VALUES ('[1,2,3]')",
            "VACUUM items",
            "SELECT * FROM walia_info('items_v')",
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
            assert_eq!(said.hint(), Some("Rebuild the index with REINDEX."), "{command}");
        }
        assert_found(&mut client, finding);
        client.batch_execute("REINDEX INDEX items_v").unwrap();
        assert_complete(&mut client, "<->");
        assert_sound(&mut client);
    }
}

/// The check tells of a damaged meta page, and does not fail.
#[test]
fn are_found_by_the_check() {
    let cluster = cluster_with_an_index();
    let other = "meta page with other dimensions, element type or metric than the column's";
    for (offset, byte, finding) in [
        (0, 0, "meta page without walia's magic"),
        (16, 0, "meta page with impossible parameters"),
        (16, 4, other),
        (16, 200, other),
        (24, 2, other),
        (24, 200, "unknown metric"),
    ] {
        overwrite(&cluster, offset, &[byte]);
        let mut client = cluster.connect();
        assert_found(&mut client, finding);
        client.batch_execute("REINDEX INDEX items_v").unwrap();
        assert_sound(&mut client);
    }
}
