//! Indexes with damaged bytes: every command gives an answer or an error, and no session dies of it.

use std::collections::BTreeMap;
use std::fs;

use postgres::error::SqlState;

use crate::numbers::Numbers;
use crate::server::Cluster;

const INDEXES: usize = 60;
const ROWS: usize = 200;
const PAGE: usize = 8192;

/// What may be said of a damaged index: by Postgres of a page, by walia of the index or of its format.
const EXPECTED: [SqlState; 3] =
    [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED, SqlState::FEATURE_NOT_SUPPORTED];
/// Where Postgres complains of a heap TID that leads out of the table, as it does for any index; without a code of its own.
const STORAGE_MANAGER: &str = "md.c";

#[test]
fn damaged_bytes_give_errors() {
    let cluster =
        Cluster::start(&["ignore_checksum_failure = on", "autovacuum = off", "client_min_messages = error"]);
    let mut client = cluster.connect();
    // The same vectors in the same graphs in every run, so that the same bytes are damaged.
    client.batch_execute("CREATE EXTENSION walia; SET walia.build_threads = 1; SELECT setseed(0.5)").unwrap();
    let mut files = Vec::new();
    for number in 0..INDEXES {
        // The first has payloads apart from the nodes, the others have them inside.
        let dimensions = if number % 4 == 0 { 2100 } else { 8 };
        client
            .batch_execute(&format!(
                "CREATE TABLE items_{number} (id int, v vecf32({dimensions}));
                 INSERT INTO items_{number} SELECT i, CASE WHEN i % 20 > 0 THEN
                     (SELECT array_agg(random())::real[] FROM generate_series(1, {dimensions} + 0 * i)) END
                     FROM generate_series(1, {ROWS}) AS i;
                 INSERT INTO items_{number} SELECT * FROM items_{number} LIMIT 50;
                 CREATE INDEX items_{number}_v ON items_{number} USING walia_hnsw (v vecf32_l2_ops) WITH (m = 5)"
            ))
            .unwrap();
        let path = format!("SELECT pg_relation_filepath('items_{number}_v')");
        files.push(cluster.data().join(client.query_one(&path, &[]).unwrap().get::<_, String>(0)));
    }
    drop(client);
    cluster.stop();
    let mut numbers = Numbers::new(1);
    for (number, file) in files.iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        for _ in 0..=number {
            // Page headers are for Postgres to check; of the rest, the first bytes of a page decide most.
            let page = numbers.below(bytes.len() / PAGE);
            let at = 24 + numbers.below(if number % 2 == 0 { 200 } else { PAGE - 24 });
            bytes[page * PAGE + at] ^= 1 << numbers.below(8);
        }
        fs::write(file, bytes).unwrap();
    }
    cluster.run();
    let mut said = BTreeMap::<String, usize>::new();
    let mut client = cluster.connect();
    client
        .batch_execute("SET enable_seqscan = off; SET enable_sort = off; SET statement_timeout = '60s'")
        .unwrap();
    for number in 0..INDEXES {
        let items = format!("items_{number}");
        for command in [
            format!("SELECT * FROM walia_check('{items}_v')"),
            format!("SELECT * FROM walia_info('{items}_v')"),
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
