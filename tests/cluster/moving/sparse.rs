//! Sparse vectors, with pgvector's type and operators.

use postgres::Client;
use postgres::error::SqlState;

use super::bits::{assert_all, distances};
use super::{moving, plan, rows};

const OPERATORS: [(&str, &str); 4] = [
    ("<->", "sparsevec_l2_ops"),
    ("<#>", "sparsevec_ip_ops"),
    ("<=>", "sparsevec_cosine_ops"),
    ("<+>", "sparsevec_l1_ops"),
];

/// Vectors of 5 to 29 elements about one of 20 topics; some twice, some zero, and some NULL. `first` to
/// `last` are ids.
fn vectors(table: &str, first: i32, last: i32) -> String {
    format!(
        "INSERT INTO {table} SELECT i, CASE WHEN i % 700 = 1 THEN '{{}}/500' WHEN i % 700 = 2 THEN NULL ELSE (
             SELECT '{{' || string_agg(format('%s:%s', k, w), ',') || '}}/500' FROM (
                 SELECT DISTINCT k, (1 + (hashint4(n * 37 + k) & 255)) / 64.0 AS w
                 FROM (SELECT CASE WHEN i % 10 = 3 THEN i / 40 ELSE i END AS n) AS numbers,
                      LATERAL (SELECT (n % 20 * 23 + j * j * 7 + (hashint4(n * 100 + j) & 3)) % 500 + 1 AS k
                               FROM generate_series(1, 5 + n % 25) AS j) AS indices) AS elements)
             END::sparsevec
         FROM generate_series({first}, {last}) AS i;"
    )
}

fn with_items() -> Option<(crate::server::Cluster, Client)> {
    let (cluster, mut client) = moving()?;
    let rows = vectors("items", 1, 3000);
    client
        .batch_execute(&format!(
            "CREATE TABLE items (id int PRIMARY KEY, s sparsevec(500)); {rows} ANALYZE items"
        ))
        .unwrap();
    Some((cluster, client))
}

/// The share of the nearest rows that a search finds, for queries that are rows about all topics.
fn recall(client: &mut Client, operator: &str, limit: usize) -> f64 {
    let queries = (10..3000).step_by(7);
    let mut near = 0;
    for id in queries.clone() {
        let query = format!(
            "SELECT id, s {operator} (SELECT s FROM items WHERE id = {id}) AS d FROM items ORDER BY d LIMIT {limit}"
        );
        let [found, expected] = distances(client, &query).map(|list| {
            list.into_iter().map(|distance| f64::from_bits(distance.unwrap())).collect::<Vec<_>>()
        });
        near += found.iter().filter(|distance| **distance <= expected[limit - 1]).count();
    }
    near as f64 / (limit * queries.count()) as f64
}

#[test]
fn every_class_gives_what_pgvector_gives() {
    let Some((_cluster, mut client)) = with_items() else { return };
    let query = "(SELECT s FROM items WHERE id = 17)";
    for (operator, class) in OPERATORS {
        client.batch_execute(&format!("CREATE INDEX moved ON items USING walia_hnsw (s {class})")).unwrap();
        let distance = format!("SELECT id, s {operator} {query} AS distance FROM items");
        assert_all(&mut client, &distance, "moved");
        // A zero vector is a vector like others, but under cosine; NULL is no vector. One may have more
        // elements than an index.
        for other in [
            "'{}/500'",
            "(SELECT NULL)",
            "(SELECT array_agg(sin(i)) FROM generate_series(1, 500) AS i)::vector",
        ] {
            let distance = format!("SELECT id, s {operator} {other}::sparsevec(500) AS distance FROM items");
            assert_all(&mut client, &distance, "moved");
        }
        for id in [400, 1999] {
            let bound = format!("(SELECT s {operator} {query} FROM items WHERE id = {id})");
            assert_all(&mut client, &format!("{distance} WHERE s {operator} {query} <= {bound}"), "moved");
        }
        // Conditions are tested inside the walk.
        let limited = format!("{distance} WHERE id % 7 = 0 ORDER BY 2 LIMIT 10");
        client.batch_execute("SET enable_seqscan = off").unwrap();
        assert!(plan(&mut client, &limited).contains("WaliaNearestScan"));
        let found = rows(&mut client, &limited);
        assert!(found.len() == 10 && found.iter().all(|row| row.0 % 7 == 0), "{found:?}");

        let info = "SELECT element_type, dimensions, metric, quantization, storage, nulls, zero_vectors
                    FROM walia_info('moved')";
        let info = client.query_one(info, &[]).unwrap();
        assert_eq!((info.get(0), info.get(1)), ("sparsevec", 500));
        assert_eq!((info.get(3), info.get(4), info.get(5)), (0, "f32", 5i64));
        assert_eq!(info.get::<_, i64>(6), if operator == "<=>" { 5 } else { 0 });
        let metric = match class {
            "sparsevec_ip_ops" => "inner_product",
            class => class.split('_').nth(1).unwrap(),
        };
        assert_eq!(info.get::<_, &str>(2), metric);
        let recall = "SELECT recall FROM walia_recall('moved', 10, 50)";
        let recall: f64 = client.query_one(recall, &[]).unwrap().get(0);
        assert!(recall > 0.9, "{class}: {recall}");

        // Rows that come and go afterwards.
        client.batch_execute(&vectors("items", 3001, 4000)).unwrap();
        client
            .batch_execute("UPDATE items SET id = -id WHERE id % 10 = 4; DELETE FROM items WHERE id % 10 = 5")
            .unwrap();
        for _ in 0..2 {
            client.batch_execute("VACUUM items").unwrap();
            assert_all(&mut client, &distance, "moved");
            client.batch_execute("SELECT walia_repair('moved')").unwrap();
            let wrong = "SELECT count(*) FROM walia_check('moved', true)";
            assert_eq!(client.query_one(wrong, &[]).unwrap().get::<_, i64>(0), 0, "{class}");
            client.batch_execute(&vectors("items", 4001, 4300)).unwrap();
            client.batch_execute("DELETE FROM items WHERE id > 4000 OR id % 10 = 6").unwrap();
        }
        client.batch_execute("REINDEX INDEX moved").unwrap();
        assert_all(&mut client, &distance, "moved");
        client.batch_execute("TRUNCATE items; DROP INDEX moved").unwrap();
        client.batch_execute(&vectors("items", 1, 3000)).unwrap();
    }
}

/// At an equal ef_search; graphs of several threads differ from build to build, by 0.003.
#[test]
fn recall_is_that_of_hnsw() {
    let Some((_cluster, mut client)) = with_items() else { return };
    client.batch_execute("DELETE FROM items WHERE s IS NULL OR l2_norm(s) = 0").unwrap();
    for (operator, class) in OPERATORS {
        let [theirs, ours] = [("hnsw", 1), ("walia_hnsw", 3)].map(|(method, builds)| {
            let recalls = (0..builds).map(|_| {
                client
                    .batch_execute(&format!(
                        "CREATE INDEX items_s ON items USING {method} (s {class});
                         SET hnsw.ef_search = 40; SET walia.ef_search = 40"
                    ))
                    .unwrap();
                let recall = recall(&mut client, operator, 10);
                client.batch_execute("DROP INDEX items_s").unwrap();
                recall
            });
            recalls.sum::<f64>() / f64::from(builds)
        });
        assert!(ours >= theirs - 0.005, "{class}: {ours}, and {theirs} of hnsw");
    }
}

/// A graph that does not fit memory is built in batches; the estimate of its memory is that of these vectors.
#[test]
fn little_memory_is_enough() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(&format!(
            "CREATE TABLE items (id int, s sparsevec(500)); {} ANALYZE items; SET maintenance_work_mem = '1MB'",
            vectors("items", 1, 4000)
        ))
        .unwrap();
    let estimate = "SELECT way, maintenance_work_mem, index_bytes
                    FROM walia_build_estimate('items', 's', 'sparsevec_ip_ops') ORDER BY chosen";
    let estimates = client.query(estimate, &[]).unwrap();
    let [whole, batches] = &estimates[..] else { panic!("{estimates:?}") };
    assert_eq!((whole.get(0), batches.get(0)), ("in memory", "in batches"));
    let (memory, bytes): (i64, i64) = (whole.get(1), whole.get(2));
    assert!((1 << 20..5 << 20).contains(&memory), "{memory}");
    let build = "CREATE INDEX items_s ON items USING walia_hnsw (s sparsevec_ip_ops)";
    let query = "SELECT id, s <#> (SELECT s FROM items WHERE id = 40) AS distance FROM items";
    for memory in [memory / 1024 + 1, 1024] {
        client.batch_execute(&format!("SET maintenance_work_mem = {memory}; {build}")).unwrap();
        assert_all(&mut client, query, "items_s");
        let size: i64 = client.query_one("SELECT pg_relation_size('items_s')", &[]).unwrap().get(0);
        assert!(memory == 1024 || size.abs_diff(bytes) * 10 < size as u64, "{size}, {bytes} told");
        let wrong = "SELECT count(*) FROM walia_check('items_s', true) WHERE severity = 'error'";
        assert_eq!(client.query_one(wrong, &[]).unwrap().get::<_, i64>(0), 0);
        client.batch_execute("DROP INDEX items_s").unwrap();
    }
}

/// The indexes of partitions are searched as one.
#[test]
fn partitions_are_searched_as_one() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (id int, s sparsevec(500)) PARTITION BY HASH (id);
             CREATE TABLE items_0 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE items_1 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        )
        .unwrap();
    client.batch_execute(&format!("{} ANALYZE items", vectors("items", 1, 3000))).unwrap();
    for (operator, class) in OPERATORS {
        client.batch_execute(&format!("CREATE INDEX items_s ON items USING walia_hnsw (s {class})")).unwrap();
        for condition in ["true", "id % 5 = 1"] {
            // Of one query builds by threads would decide.
            let ids = (40..3000).step_by(300);
            let mut near = 0;
            for id in ids.clone() {
                let query = format!(
                    "SELECT id, s {operator} (SELECT s FROM items WHERE id = {id}) AS d FROM items WHERE {condition} ORDER BY d LIMIT 20"
                );
                client.batch_execute("SET enable_seqscan = off; SET enable_sort = off").unwrap();
                let shown = plan(&mut client, &query);
                assert!(
                    shown.contains("WaliaFederatedScan") || shown.contains("WaliaNearestScan"),
                    "{shown}"
                );
                let [found, expected] = distances(&mut client, &query)
                    .map(|list| list.into_iter().map(|d| f64::from_bits(d.unwrap())).collect::<Vec<_>>());
                assert_eq!(found.len(), 20, "{query}");
                near += found.iter().filter(|distance| **distance <= expected[19]).count();
            }
            assert!(near >= 17 * ids.len(), "{operator} {condition}: {near} of {}", 20 * ids.len());
        }
        client.batch_execute("DROP INDEX items_s").unwrap();
    }
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (s sparsevec(2000), any_size sparsevec, v vector(3), widest sparsevec(1000000000));
             CREATE INDEX ON items USING walia_hnsw (s sparsevec_l2_ops); SET enable_seqscan = off; SET enable_sort = off",
        )
        .unwrap();
    let of = |count| {
        let zeros = 2000 - count;
        format!("SELECT (array_fill(1, ARRAY[{count}]) || array_fill(0, ARRAY[{zeros}]))::vector::sparsevec")
    };
    let (invalid, limit) = (SqlState::INVALID_PARAMETER_VALUE, SqlState::PROGRAM_LIMIT_EXCEEDED);
    for (statement, code, message, hint) in [
        (
            "CREATE INDEX ON items USING walia_hnsw (s)".to_owned(),
            SqlState::UNDEFINED_OBJECT,
            "data type sparsevec has no default operator class for access method \"walia_hnsw\"",
            Some(
                "You must specify an operator class for the index or define a default operator class for the data type.",
            ),
        ),
        (
            "CREATE INDEX ON items USING walia_hnsw (any_size sparsevec_l2_ops)".to_owned(),
            invalid.clone(),
            "column does not have dimensions",
            Some("Specify them in the type, as in sparsevec(384), or index an expression of such a type."),
        ),
        (
            "CREATE INDEX ON items USING walia_hnsw (s sparsevec_cosine_ops) WITH (quantization = 1)"
                .to_owned(),
            invalid.clone(),
            "quantization is not supported for type sparsevec",
            Some("Omit the option, or set it to \"none\"."),
        ),
        (
            "CREATE INDEX ON items USING walia_hnsw (s sparsevec_cosine_ops) WITH (storage = f16)".to_owned(),
            invalid,
            "storage is not supported for type sparsevec",
            Some("Omit the option, or set it to \"auto\"."),
        ),
        (
            format!("INSERT INTO items (s) {}", of(1001)),
            limit,
            "sparsevec cannot have more than 1000 non-zero elements for walia_hnsw index",
            None,
        ),
        (
            "SELECT FROM items ORDER BY s <-> '{1:1}/1999'".to_owned(),
            SqlState::DATA_EXCEPTION,
            "different sparsevec dimensions 2000 and 1999",
            None,
        ),
        (
            "SELECT walia_sparsevec_l1_distance('{1:1}/3', '{1:1}/4')".to_owned(),
            SqlState::DATA_EXCEPTION,
            "different sparsevec dimensions 3 and 4",
            None,
        ),
    ] {
        let error = client.batch_execute(&statement).unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}"));
        assert_eq!((error.code(), error.message(), error.hint()), (&code, message, hint), "{statement}");
    }
    client.batch_execute(&format!("INSERT INTO items (s) {}", of(1000))).unwrap();
    // The most dimensions that pgvector has.
    client
        .batch_execute(
            "CREATE INDEX widest ON items USING walia_hnsw (widest sparsevec_l2_ops);
             INSERT INTO items (widest) SELECT format('{%s:%s,1000000000:%s}/1000000000', i, i, i % 7 + 1)::sparsevec
             FROM generate_series(1, 300) AS i",
        )
        .unwrap();
    let query = "SELECT widest <-> '{1:1,1000000000:2}/1000000000' FROM items ORDER BY 1 LIMIT 1";
    assert!(plan(&mut client, query).contains("widest"));
    assert_eq!(client.query_one(query, &[]).unwrap().get::<_, f64>(0), 0.0);
    let dimensions = "SELECT dimensions FROM walia_info('widest')";
    assert_eq!(client.query_one(dimensions, &[]).unwrap().get::<_, i32>(0), 1_000_000_000);
}

/// But for what is added in another order.
#[test]
fn distances_are_those_of_pgvector() {
    let Some((_cluster, mut client)) = with_items() else { return };
    for (ours, operator) in [
        ("l2_distance", "<->"),
        ("negative_inner_product", "<#>"),
        ("cosine_distance", "<=>"),
        ("l1_distance", "<+>"),
    ] {
        let different = format!(
            "SELECT count(*) FROM items AS a CROSS JOIN items AS b
             CROSS JOIN LATERAL (SELECT walia_sparsevec_{ours}(a.s, b.s) AS d, a.s {operator} b.s AS e) AS both_distances
             WHERE a.id < 800 AND b.id % 97 = 3 AND (abs(d - e) > 1e-5 * (1 + abs(e)) OR (d = 'NaN') <> (e = 'NaN'))"
        );
        assert_eq!(client.query_one(&different, &[]).unwrap().get::<_, i64>(0), 0, "{operator}");
    }
}
