//! Moving from pgvector: its types under walia_hnsw, and its settings.
//!
//! pgvector is not part of walia. Where the server lacks it, the tests say that they are skipped.

use postgres::Client;

use crate::scan::by_index;
use crate::server::Cluster;

mod bits;
mod indexes;
mod sparse;
mod types;

/// A cluster with pgvector, walia and what joins them; `None` where there is no pgvector.
fn moving() -> Option<(Cluster, Client)> {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    if client.query_one(available, &[]).unwrap().get::<_, i64>(0) == 0 {
        println!("skipped: this server has no pgvector");
        return None;
    }
    client.batch_execute("CREATE EXTENSION walia_pgvector CASCADE").unwrap();
    Some((cluster, client))
}

/// A table with both types: vectors of 12 dimensions, a zero vector and rows with NULL.
const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v vector(12), h halfvec(12));
    INSERT INTO items SELECT i, v, v::halfvec FROM (
        SELECT i, (SELECT array_agg(sin(i * (j + 0.37)) + cos(i * 0.11 * j))::vector FROM generate_series(1, 12) AS j) AS v
        FROM generate_series(1, 3000) AS i) AS vectors;
    INSERT INTO items VALUES (3001, array_fill(0, ARRAY[12])::vector, array_fill(0, ARRAY[12])::halfvec), (3002, NULL, NULL);
    ANALYZE items;";

/// The ids and distances of rows.
fn rows(client: &mut Client, query: &str) -> Vec<(i32, Option<f64>)> {
    let rows = client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The lines of a plan.
fn plan(client: &mut Client, query: &str) -> String {
    let lines = client.query(&format!("EXPLAIN (COSTS OFF, VERBOSE) {query}"), &[]).unwrap();
    lines.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

/// Fails unless the index gives what a sequential scan does: all rows, as far away, and in order but for what
/// pgvector rounds. `query` has the columns id and distance, and no order.
fn assert_same(client: &mut Client, query: &str, index: &str) {
    let ordered = format!("{query} ORDER BY distance");
    by_index(client, false);
    let mut expected = rows(client, &ordered);
    by_index(client, true);
    let shown = plan(client, &ordered);
    assert!(shown.contains(&format!("Index Scan using {index} ")), "{ordered}\n{shown}");
    let mut found = rows(client, &ordered);
    let close = |one: &Option<f64>, other: &Option<f64>| match (one, other) {
        (Some(one), Some(other)) if !one.is_nan() => (one - other).abs() <= 1e-6 * (1.0 + other.abs()),
        (Some(one), Some(other)) => one.is_nan() && other.is_nan(),
        (one, other) => one.is_none() && other.is_none(),
    };
    for (found, expected) in found.iter().zip(&expected) {
        assert!(close(&found.1, &expected.1), "{ordered}: {found:?}, not {expected:?}");
    }
    let bits = |row: &(i32, Option<f64>)| (row.0, row.1.map(f64::to_bits));
    for rows in [&mut found, &mut expected] {
        rows.sort_unstable_by_key(|row| row.0);
    }
    assert!(found.iter().map(bits).eq(expected.iter().map(bits)), "{ordered}: other rows");
    client.batch_execute("RESET enable_indexscan; RESET enable_seqscan; RESET enable_sort").unwrap();
}

#[test]
fn every_class_gives_what_pgvector_gives() {
    let Some((_cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    let query = "'[1,0.5,-1,0.2,0.9,-0.3,0.1,0,0.4,-0.8,0.6,0.7]'";
    for (column, class, operators) in [
        ("v", "vector_l2_ops", &["<->"][..]),
        ("v", "vector_ip_ops", &["<#>"]),
        ("v", "vector_cosine_ops", &["<=>", "<~>"]),
        ("v", "vector_l1_ops", &["<+>"]),
        ("h", "halfvec_l2_ops", &["<->"]),
        ("h", "halfvec_ip_ops", &["<#>"]),
        ("h", "halfvec_cosine_ops", &["<=>", "<~>"]),
        ("h", "halfvec_l1_ops", &["<+>"]),
        // Expressions, as pgvector's documents have them.
        ("(v::halfvec(12))", "halfvec_l2_ops", &["<->"]),
    ] {
        client
            .batch_execute(&format!("CREATE INDEX moved ON items USING walia_hnsw ({column} {class})"))
            .unwrap();
        for operator in operators {
            let distance = format!("SELECT id, {column} {operator} {query} AS distance FROM items");
            assert_same(&mut client, &distance, "moved");
            // Bounds that are the distance of a row: pgvector's, which the index does not compute to the last
            // bit.
            for id in [17, 400, 1999] {
                let bound = format!("(SELECT {column} {operator} {query} FROM items WHERE id = {id})");
                assert_same(
                    &mut client,
                    &format!("{distance} WHERE {column} {operator} {query} <= {bound}"),
                    "moved",
                );
            }
            client.batch_execute("SET enable_seqscan = off").unwrap();
            let limited = rows(&mut client, &format!("{distance} WHERE id % 7 = 0 ORDER BY 2 LIMIT 10"));
            assert_eq!(limited.len(), 10);
            assert!(limited.iter().all(|row| row.0 % 7 == 0));
            client.batch_execute("RESET enable_seqscan").unwrap();
        }
        let named: String =
            client.query_one("SELECT element_type FROM walia_info('moved')", &[]).unwrap().get(0);
        assert_eq!(named, class.split('_').next().unwrap());
        client
            .batch_execute("REINDEX INDEX moved; DELETE FROM items WHERE id = 5; VACUUM items")
            .unwrap_err();
        client.batch_execute("REINDEX INDEX moved").unwrap();
        client.batch_execute("UPDATE items SET v = v WHERE id % 10 = 0").unwrap();
        let wrong = "SELECT count(*) FROM walia_check('moved', true) WHERE severity = 'error'";
        assert_eq!(client.query_one(wrong, &[]).unwrap().get::<_, i64>(0), 0, "{column} {class}");
        client.batch_execute("DROP INDEX moved").unwrap();
    }
    client
        .batch_execute(
            "CREATE INDEX cosine ON items USING walia_hnsw (v); CREATE INDEX ON items USING walia_hnsw (h)",
        )
        .unwrap();
    let default = "SELECT pg_get_indexdef('cosine'::regclass)";
    assert!(!client.query_one(default, &[]).unwrap().get::<_, String>(0).contains("ops"));
    // Partial, and beside an index of pgvector's: either way the same rows.
    client
        .batch_execute(
            "DROP INDEX cosine;
             CREATE INDEX part ON items USING walia_hnsw (v) WHERE id < 1000;
             CREATE INDEX theirs ON items USING hnsw (v vector_cosine_ops)",
        )
        .unwrap();
    assert_same(
        &mut client,
        &format!("SELECT id, v <=> {query} AS distance FROM items WHERE id < 1000"),
        "part",
    );
    client.batch_execute("SET enable_seqscan = off").unwrap();
    let nearest = format!("SELECT id, v <=> {query} FROM items ORDER BY v <=> {query} LIMIT 5");
    assert!(plan(&mut client, &nearest).contains("theirs"));
    let by_theirs = rows(&mut client, &nearest);
    client.batch_execute("CREATE INDEX ours ON items USING walia_hnsw (v); DROP INDEX theirs").unwrap();
    assert!(plan(&mut client, &nearest).contains("ours"));
    assert_eq!(rows(&mut client, &nearest), by_theirs);
}

#[test]
fn settings_of_pgvector_count() {
    let Some((cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client.batch_execute("CREATE INDEX items_v ON items USING walia_hnsw (v vector_l2_ops)").unwrap();
    let query = "SELECT id, v <-> array_fill(1, ARRAY[12])::vector AS d FROM items WHERE id % 2 = 0 ORDER BY d LIMIT 3";
    let shown = |client: &mut Client, set: &str| -> Option<String> {
        client.batch_execute(&format!("SET enable_seqscan = off; {set}")).unwrap();
        let plan = plan(client, query);
        assert!(plan.contains("WaliaNearestScan"), "{plan}");
        let line = plan.lines().find_map(|line| line.trim().strip_prefix("pgvector Settings: "));
        line.map(str::to_owned)
    };
    assert_eq!(shown(&mut client, "SELECT '[1]'::vector"), None);
    let set = "hnsw.ef_search = '300'".to_owned();
    assert_eq!(shown(&mut client, "SET hnsw.ef_search = 300"), Some(set.clone()));
    assert_eq!(shown(&mut client, "SET walia.ef_search = 64"), None);
    assert_eq!(shown(&mut client, "RESET walia.ef_search"), Some(set.clone()));
    assert_eq!(shown(&mut client, "SET walia.pgvector_settings = off"), None);
    let both = "hnsw.iterative_scan = 'relaxed_order', hnsw.max_scan_tuples = '500'".to_owned();
    let set_both = "RESET ALL; SET enable_seqscan = off; SET hnsw.iterative_scan = relaxed_order; SET hnsw.max_scan_tuples = 500";
    assert_eq!(shown(&mut client, set_both), Some(both));
    // It says how far searches go: with as many candidates as there are rows, all nodes are expanded.
    let mut expanded = |set: &str| -> i64 {
        client.batch_execute(&format!("RESET ALL; SET enable_seqscan = off; {set}")).unwrap();
        let nearest = "SELECT id FROM items ORDER BY v <-> array_fill(1, ARRAY[12])::vector LIMIT 3";
        client.query(nearest, &[]).unwrap();
        client.query_one("SELECT nodes_expanded FROM walia_last_scan()", &[]).unwrap().get(0)
    };
    let (few, many) = (expanded("SET hnsw.ef_search = 5"), expanded("SET hnsw.ef_search = 1000"));
    assert!(few < 100 && many > 500, "{few}, {many}");
    assert_eq!(expanded("SET hnsw.ef_search = 1000; SET walia.ef_search = 5"), few);
    let unset = expanded("");
    assert!(few < unset && unset < many, "{unset}");
    client.batch_execute("RESET ALL; SET enable_seqscan = off; SET hnsw.iterative_scan = off").unwrap();
    assert!(!plan(&mut client, query).contains("WaliaNearestScan"));
    // Set before pgvector's library is there, which an index on vecf32 never loads, and by a role.
    client
        .batch_execute(
            "CREATE ROLE client LOGIN; GRANT SELECT ON items TO client; ALTER ROLE client SET hnsw.ef_search = 200;
             DROP INDEX items_v; ALTER TABLE items ALTER v TYPE vecf32(12);
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    let query = query.replace("::vector", "::vecf32");
    let mut client = cluster.connect_as("client", "postgres");
    let lines = |client: &mut Client, set: &str| {
        client.batch_execute(&format!("SET enable_seqscan = off; {set}")).unwrap();
        plan(client, &query)
    };
    assert!(lines(&mut client, "").contains("hnsw.ef_search = '200'"));
    assert!(lines(&mut client, "SET hnsw.ef_search = 77").contains("hnsw.ef_search = '77'"));
    // Whatever a session without the library may say.
    for wrong in ["'many'", "0", "20000", "''"] {
        assert!(
            !lines(&mut client, &format!("SET hnsw.ef_search = {wrong}")).contains("pgvector Settings"),
            "{wrong}"
        );
    }
}

/// Btrees carry codes of pgvector's types, and its operators are answered by them.
#[test]
fn codes_of_their_types() {
    let Some((_cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client
        .batch_execute(
            "CREATE INDEX ON items ((id % 4), walia_code(v)); CREATE INDEX ON items ((id % 4), walia_code(h, 4)); ANALYZE items;
             SET walia.ef_search = 1000",
        )
        .unwrap();
    let vector = "'[1,2,3,4,5,6,7,8,9,10,11,12]'";
    for distance in ["v <-> ", "v <=> ", "v <~> ", "v <#> ", "v <+> ", "h <-> ", "h <=> ", "h <#> ", "h <+> "]
    {
        let distance = format!("{distance}{vector}");
        let query = format!("SELECT id, {distance} FROM items WHERE id % 4 = 3 ORDER BY {distance} LIMIT 10");
        client.batch_execute("SET enable_sort = off").unwrap();
        let shown = plan(&mut client, &query);
        assert!(shown.contains("WaliaCodeScan"), "{query}\n{shown}");
        let found = rows(&mut client, &query);
        client
            .batch_execute("RESET enable_sort; SET walia.code_scan = off; SET enable_indexscan = off")
            .unwrap();
        assert_eq!(found, rows(&mut client, &query), "{query}");
        client.batch_execute("RESET walia.code_scan; RESET enable_indexscan").unwrap();
    }
}
