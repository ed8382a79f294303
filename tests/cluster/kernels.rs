//! Servers that use narrower kernels than their machine has.

use crate::scan::{assert_complete, assert_plan, assert_sound, by_index};
use crate::server::Cluster;
use postgres::Client;

/// What `WALIA_KERNEL` may name; a machine has some of them.
const KERNELS: [&str; 4] = ["scalar", "neon", "avx2", "avx512"];
const OPERATORS: [(&str, &str); 4] = [("<->", "l2"), ("<#>", "ip"), ("<~>", "cosine"), ("<+>", "l1")];
/// Rows of the queries that are compared, and how many each server adds.
const ROWS: usize = 500;
const ADDED: usize = 50;
/// No multiple of any kernel's width.
const DIMENSIONS: usize = 101;
/// Relative to the larger of a distance and 1: sums of so many f32 in different orders differ by less.
const ROUNDING: f64 = 1e-5;

/// The distances of the nearest ten rows to each of twenty.
fn answers(client: &mut Client, operator: &str) -> Vec<f64> {
    let query = format!(
        "SELECT near.distance FROM (SELECT * FROM items WHERE id <= 20 ORDER BY id) AS q, LATERAL (
             SELECT v {operator} q.v AS distance FROM items WHERE id <= {ROWS} ORDER BY 1 LIMIT 10
         ) AS near"
    );
    by_index(client, true);
    assert_plan(client, &query, true);
    client.query(&query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn give_the_same_answers_up_to_rounding() {
    let cluster = Cluster::start(&["autovacuum = off", "walia.ef_search = 1000"]);
    let insert = |rows| {
        format!(
            "INSERT INTO items (v) SELECT (SELECT array_agg(random() - 0.4) FROM generate_series(1, {DIMENSIONS} + i * 0))
             FROM generate_series(1, {rows}) AS i"
        )
    };
    cluster.connect().batch_execute("CREATE EXTENSION walia").unwrap();
    for element in ["vecf32", "vecf16"] {
        let mut client = cluster.connect();
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS items;
                 CREATE TABLE items (id bigserial PRIMARY KEY, v {element}({DIMENSIONS}))"
            ))
            .unwrap();
        client.batch_execute(&insert(ROWS)).unwrap();
        for (_, class) in OPERATORS {
            let index =
                format!("CREATE INDEX items_{class} ON items USING walia_hnsw (v {element}_{class}_ops)");
            client.batch_execute(&index).unwrap();
        }
        let expected = OPERATORS.map(|(operator, _)| answers(&mut client, operator));
        drop(client);
        let mut used = 0;
        for kernel in KERNELS {
            cluster.stop();
            cluster.run_with(&[("WALIA_KERNEL", kernel)]);
            let mut client = cluster.connect();
            let in_use: String =
                client.query_one("SELECT kernel FROM walia_info('items_l2')", &[]).unwrap().get(0);
            if in_use != kernel {
                continue;
            }
            used += 1;
            for ((operator, _), expected) in OPERATORS.iter().zip(&expected) {
                let found = answers(&mut client, operator);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let difference = (found - expected).abs() / expected.abs().max(1.0);
                    assert!(difference <= ROUNDING, "{kernel}, {element} {operator}: {found}, {expected}");
                }
            }
            client.batch_execute(&insert(ADDED)).unwrap();
            for (operator, _) in OPERATORS {
                assert_complete(&mut client, operator);
            }
            assert_sound(&mut client);
        }
        assert!(used > 0);
        cluster.stop();
        cluster.run();
    }
}
