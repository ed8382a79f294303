//! Indexes with damaged bytes: every command gives an answer or an error, and no session dies of it.

use std::collections::BTreeMap;
use std::{env, fs};

use postgres::error::SqlState;

use crate::numbers::Numbers;
use crate::server::Cluster;

const ROWS: usize = 200;
/// Types and dimensions of the indexes in turn: payloads apart from the nodes, without codes, with codes; and
/// sparse vectors, where the server has pgvector.
const TYPES: [(&str, usize); 5] =
    [("vecf32", 2100), ("vecf32", 8), ("vecf32", 40), ("vecf32", 8), ("sparsevec", 60)];
/// Indexes of one cluster.
const INDEXES: usize = 60;
const PAGE: usize = 8192;

/// What may be said of a damaged index: by Postgres of a page, by walia of the index, of its format, or of
/// vectors that have other dimensions than its meta page says.
const EXPECTED: [SqlState; 4] = [
    SqlState::DATA_CORRUPTED,
    SqlState::INDEX_CORRUPTED,
    SqlState::FEATURE_NOT_SUPPORTED,
    SqlState::DATA_EXCEPTION,
];
/// Where Postgres complains of a heap TID that leads out of the table, as it does for any index; without a
/// code of its own.
const STORAGE_MANAGER: &str = "md.c";

/// More and more damage.
#[test]
fn damaged_bytes_give_errors() {
    damage(INDEXES, &mut Numbers::new(1), |number, pages, numbers| {
        (0..=number).map(|_| (numbers.below(pages), 1)).collect()
    });
}

/// A page of each index, in which some bytes are changed.
#[test]
#[ignore = "long: make damage"]
fn damaged_pages_give_errors() {
    let pages = env::var("WALIA_DAMAGED_PAGES").map_or(1000, |pages| pages.parse().unwrap());
    let mut numbers = Numbers::new(pages as u64);
    for done in (0..pages).step_by(INDEXES) {
        let damage_one = |_, pages, numbers: &mut Numbers| vec![(numbers.below(pages), 1 + numbers.below(8))];
        damage(INDEXES.min(pages - done), &mut numbers, damage_one);
    }
}

/// Uses copies of an index after `choose` has said for the number of the copy, and its number of pages, in
/// which pages how many bytes are to be changed. Checksums are ignored, so that walia sees the damage.
fn damage(
    indexes: usize,
    numbers: &mut Numbers,
    choose: impl Fn(usize, usize, &mut Numbers) -> Vec<(usize, usize)>,
) {
    let cluster =
        Cluster::start(&["ignore_checksum_failure = on", "autovacuum = off", "client_min_messages = error"]);
    let mut client = cluster.connect();
    // The same vectors in the same graphs in every run, so that the same bytes are damaged.
    client.batch_execute("CREATE EXTENSION walia; SET walia.build_threads = 1; SELECT setseed(0.5)").unwrap();
    let pgvector = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    let types = if client.query_one(pgvector, &[]).unwrap().get::<_, i64>(0) > 0 {
        client.batch_execute("CREATE EXTENSION walia_pgvector CASCADE").unwrap();
        &TYPES[..]
    } else {
        println!("no sparse vectors: this server has no pgvector");
        &TYPES[..4]
    };
    let mut files = Vec::new();
    for number in 0..indexes {
        let (name, dimensions) = types[number % types.len()];
        // Half of a sparse vector's elements are none.
        let element = if name == "sparsevec" { "greatest(random() - 0.5, 0)" } else { "random()" };
        client
            .batch_execute(&format!(
                "CREATE TABLE items_{number} (id int, v {name}({dimensions}));
                 INSERT INTO items_{number} SELECT i, CASE WHEN i % 20 > 0 THEN
                     (SELECT array_agg({element})::real[] FROM generate_series(1, {dimensions} + 0 * i)) END
                     FROM generate_series(1, {ROWS}) AS i;
                 INSERT INTO items_{number} SELECT * FROM items_{number} LIMIT 50;
                 CREATE INDEX items_{number}_v ON items_{number} USING walia_hnsw (v {name}_l2_ops) WITH (m = 5)"
            ))
            .unwrap();
        let path = format!("SELECT pg_relation_filepath('items_{number}_v')");
        files.push(cluster.data().join(client.query_one(&path, &[]).unwrap().get::<_, String>(0)));
    }
    drop(client);
    cluster.stop();
    for (number, file) in files.iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        for (page, changes) in choose(number, bytes.len() / PAGE, numbers) {
            for _ in 0..changes {
                // Page headers are for Postgres to check; of the rest, the first bytes of a page decide most.
                let range = if numbers.below(2) == 0 { 200 } else { PAGE - 24 };
                let at = 24 + numbers.below(range);
                bytes[page * PAGE + at] ^= 1 << numbers.below(8);
            }
        }
        fs::write(file, bytes).unwrap();
    }
    cluster.run();
    let mut said = BTreeMap::<String, usize>::new();
    let mut client = cluster.connect();
    client
        .batch_execute("SET enable_seqscan = off; SET enable_sort = off; SET statement_timeout = '60s'")
        .unwrap();
    for number in 0..indexes {
        let items = format!("items_{number}");
        for command in [
            format!("SELECT * FROM walia_check('{items}_v', heapallindexed => true)"),
            format!("SELECT * FROM walia_info('{items}_v')"),
            format!("SELECT * FROM walia_recall('{items}_v', samples => 5)"),
            format!(
                "SELECT id FROM {items} ORDER BY v <-> (SELECT v FROM {items} WHERE id = 3 LIMIT 1) LIMIT 10"
            ),
            format!(
                "SELECT count(*) FROM (SELECT id FROM {items} ORDER BY v <-> (SELECT v FROM {items} WHERE id = 3 LIMIT 1) OFFSET 0) AS s"
            ),
            format!("INSERT INTO {items} SELECT id, v FROM {items} WHERE id < 20"),
            format!("INSERT INTO {items} SELECT id, l2_normalize(v) FROM {items} WHERE id BETWEEN 20 AND 50"),
            format!("DELETE FROM {items} WHERE id % 3 = 0"),
            format!("VACUUM {items}"),
        ] {
            let Err(error) = client.simple_query(&command) else { continue };
            assert!(!command.contains("walia_check"), "the check tells, and does not fail: {error:?}");
            let code =
                error.code().unwrap_or_else(|| panic!("{command}: {error}; {}", cluster.log())).clone();
            let raised_in = error.as_db_error().and_then(|error| error.file());
            assert!(EXPECTED.contains(&code) || raised_in == Some(STORAGE_MANAGER), "{command}: {error:?}");
            *said.entry(code.code().to_owned()).or_default() += 1;
        }
        client.batch_execute(&format!("REINDEX INDEX {items}_v")).unwrap();
        let sound = format!("SELECT count(*) FROM walia_check('{items}_v')");
        assert_eq!(client.query_one(&sound, &[]).unwrap().get::<_, i64>(0), 0);
    }
    assert!(said.contains_key(SqlState::INDEX_CORRUPTED.code()), "{said:?}");
    assert!(!cluster.log().contains("terminated by signal"), "{}", cluster.log());
}
