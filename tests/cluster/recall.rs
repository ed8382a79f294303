//! Recall through SQL on ten thousand small vectors: after builds, concurrent inserts, deletes with vacuum,
//! and with many equal vectors, for both types and all operators.

use std::collections::HashSet;
use std::thread;

use postgres::Client;

use crate::scan;
use crate::server::Cluster;

const ROWS: usize = 10_000;
const LIMIT: usize = 20;
const TYPES: [&str; 2] = ["vecf32", "vecf16"];

/// An operator, the stem of its operator class, and the least recall. Random vectors of three dimensions have
/// few nearest ones by inner product, to which few links lead.
const OPERATORS: [(&str, &str, f64); 4] =
    [("<->", "l2", 0.99), ("<#>", "ip", 0.97), ("<~>", "cosine", 0.99), ("<+>", "l1", 0.99)];

/// Creates `items` without rows and twenty `queries`.
fn prepare(client: &mut Client, element: &str) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             DROP TABLE IF EXISTS items, queries;
             CREATE TABLE items (i int, v {element}(3));
             CREATE TABLE queries AS
             SELECT ARRAY[random(), random(), random()]::{element} AS v FROM generate_series(1, 20)"
        ))
        .unwrap();
}

/// An INSERT of random rows with the numbers `from..to`.
fn insert(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO items SELECT i, ARRAY[random() * random(), random() * random(), random() * random()]
         FROM generate_series({from}, {to} - 1) i"
    )
}

/// The numbers of the nearest rows of every query, by the index or by sequential scan.
fn nearest(client: &mut Client, operator: &str, by_index: bool) -> Vec<HashSet<i32>> {
    let query =
        format!("SELECT ARRAY(SELECT i FROM items ORDER BY v {operator} q.v LIMIT {LIMIT}) FROM queries q");
    scan::by_index(client, by_index);
    scan::assert_plan(client, &query, by_index);
    client
        .query(&query, &[])
        .unwrap()
        .iter()
        .map(|row| row.get::<_, Vec<i32>>(0).into_iter().collect())
        .collect()
}

/// Fails unless the index finds at least the share `least` of the nearest rows.
fn assert_recall(client: &mut Client, operator: &str, least: f64, when: &str) {
    let exact = nearest(client, operator, false);
    let found = nearest(client, operator, true);
    let expected: usize = exact.iter().map(HashSet::len).sum();
    let right: usize = exact.iter().zip(&found).map(|(exact, found)| exact.intersection(found).count()).sum();
    let recall = right as f64 / expected as f64;
    assert!(recall >= least, "{when}, {operator}: recall {recall:.4} is below {least}");
}

#[test]
fn after_a_build() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    for element in TYPES {
        prepare(&mut client, element);
        client.batch_execute(&insert(0, ROWS)).unwrap();
        for (operator, class, least) in OPERATORS {
            let mut settings = vec!["walia.build_threads = 1", "walia.build_threads = 4"];
            if class == "l2" {
                // It does not hold the graph: the build goes on in pages.
                settings.push("maintenance_work_mem = '1MB'");
            }
            for setting in settings {
                client
                    .batch_execute(&format!(
                        "SET {setting};
                         CREATE INDEX items_v ON items USING walia_hnsw (v {element}_{class}_ops);
                         RESET walia.build_threads; RESET maintenance_work_mem"
                    ))
                    .unwrap();
                assert_recall(&mut client, operator, least, &format!("{element}, built with {setting}"));
                client.batch_execute("DROP INDEX items_v").unwrap();
            }
        }
    }
}

#[test]
fn after_concurrent_inserts() {
    const CLIENTS: usize = 4;
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    for element in TYPES {
        for (operator, class, least) in OPERATORS {
            prepare(&mut client, element);
            client
                .batch_execute(&format!("CREATE INDEX ON items USING walia_hnsw (v {element}_{class}_ops)"))
                .unwrap();
            let share = ROWS / CLIENTS;
            thread::scope(|scope| {
                for number in 0..CLIENTS {
                    let mut client = cluster.connect();
                    scope.spawn(move || {
                        client.batch_execute(&insert(number * share, (number + 1) * share)).unwrap()
                    });
                }
            });
            assert_recall(&mut client, operator, least, &format!("{element}, inserted"));
        }
    }
}

#[test]
fn after_a_vacuum() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    for element in TYPES {
        prepare(&mut client, element);
        client.batch_execute(&insert(0, ROWS)).unwrap();
        client
            .batch_execute(&format!("CREATE INDEX ON items USING walia_hnsw (v {element}_l2_ops)"))
            .unwrap();
        client.batch_execute("DELETE FROM items WHERE i < 2500").unwrap();
        assert_recall(&mut client, "<->", 0.99, &format!("{element}, deleted"));
        client.batch_execute("VACUUM items").unwrap();
        assert_recall(&mut client, "<->", 0.99, &format!("{element}, vacuumed"));
        client.batch_execute(&insert(0, 2500)).unwrap();
        assert_recall(&mut client, "<->", 0.99, &format!("{element}, vacuumed and filled again"));
    }
}

#[test]
fn with_many_equal_vectors() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    for element in TYPES {
        prepare(&mut client, element);
        let equal = "INSERT INTO items SELECT i, ARRAY[1, 2, 3] FROM generate_series(1, 1000) i";
        let index = format!("CREATE INDEX ON items USING walia_hnsw (v {element}_l2_ops)");
        for statements in [[equal, &index], [&index, equal]] {
            client.batch_execute("DROP INDEX IF EXISTS items_v_idx; TRUNCATE items").unwrap();
            for statement in statements {
                client.batch_execute(statement).unwrap();
            }
            for found in nearest(&mut client, "<->", true) {
                assert_eq!(found.len(), LIMIT, "{element}");
            }
        }
    }
}

/// Vectors far from the origin need the column's precision, and one far outlier takes nothing from the
/// others' codes.
#[test]
fn of_vectors_far_from_the_origin_or_beside_an_outlier() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    for (middle, outlier, storage) in [(0, 1_000_000, "f16"), (10_000, 0, "f32")] {
        prepare(&mut client, "vecf32");
        let vector = format!(
            "(SELECT array_agg({middle} + random() + random() + random() + random() - 2 + 0 * (i + d))
              FROM generate_series(1, 128) d)::vecf32(128)"
        );
        client
            .batch_execute(&format!(
                "ALTER TABLE items ALTER v TYPE vecf32(128); DROP TABLE queries;
                 CREATE TABLE queries AS SELECT {vector} AS v FROM generate_series(1, 20) i;
                 INSERT INTO items SELECT i, {vector} FROM generate_series(1, 3000) i;
                 UPDATE items SET v = (SELECT array_agg({outlier} + 0 * d) FROM generate_series(1, 128) d)::vecf32(128)
                 WHERE i = 7 AND {outlier} > 0;
                 CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)"
            ))
            .unwrap();
        let info = client
            .query_one("SELECT storage, index_bytes::float8 / pg_relation_size('items_v') FROM walia_info('items_v'), walia_build_estimate('items_v') LIMIT 1", &[])
            .unwrap();
        assert_eq!(info.get::<_, &str>(0), storage, "around {middle}, outlier {outlier}");
        let ratio: f64 = info.get(1);
        assert!((0.95..1.05).contains(&ratio), "estimated size {ratio} of the real one");
        client.batch_execute("SET walia.ef_search = 100").unwrap();
        assert_recall(&mut client, "<->", 0.9, &format!("around {middle}, outlier {outlier}"));
    }
}
