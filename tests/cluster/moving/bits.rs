//! Bit strings, with pgvector's operators: Hamming `<~>` and Jaccard `<%>`.

use postgres::Client;
use postgres::error::SqlState;

use super::{assert_same, moving, plan, rows};
use crate::scan::by_index;

const OPERATORS: [(&str, &str); 2] = [("<~>", "bit_hamming_ops"), ("<%>", "bit_jaccard_ops")];

/// Bit strings of 67 bits, a third of them ones; two of them of zeros, some twice, and a NULL. `$first` to
/// `$last` are ids.
fn bits(first: i32, last: i32) -> String {
    format!(
        "INSERT INTO items SELECT i, CASE WHEN i % 700 = 1 THEN repeat('0', 67) WHEN i % 700 = 2 THEN NULL ELSE
             (SELECT string_agg((hashint4(CASE WHEN i % 10 = 3 THEN i / 40 ELSE i END * 100 + j) % 3 = 0)::int::text, '' ORDER BY j)
              FROM generate_series(1, 67) AS j) END::bit(67)
         FROM generate_series({first}, {last}) AS i;"
    )
}

fn with_items() -> Option<(crate::server::Cluster, Client)> {
    let (cluster, mut client) = moving()?;
    let rows = bits(1, 3000);
    client
        .batch_execute(&format!("CREATE TABLE items (id int PRIMARY KEY, b bit(67)); {rows} ANALYZE items"))
        .unwrap();
    Some((cluster, client))
}

/// The distances of the first rows by an index, and those of the nearest.
pub(super) fn distances(client: &mut Client, query: &str) -> [Vec<Option<u64>>; 2] {
    [
        "SET enable_seqscan = off; SET enable_sort = off",
        "RESET enable_seqscan; RESET enable_sort; SET enable_indexscan = off",
    ]
    .map(|settings| {
        client.batch_execute(settings).unwrap();
        let shown = plan(client, query);
        let by_index = settings.contains("enable_seqscan = off");
        assert_eq!(shown.contains("Index Scan using"), by_index, "{query}\n{shown}");
        let found = rows(client, query).into_iter().map(|row| row.1.map(f64::to_bits)).collect();
        client.batch_execute("RESET enable_indexscan").unwrap();
        found
    })
}

/// Fails unless a scan of the index to its end gives every row once and as far away. Its order may be that of
/// two runs.
pub(super) fn assert_all(client: &mut Client, query: &str, index: &str) {
    let ordered = format!("{query} ORDER BY distance");
    let mut all = |on: bool| {
        by_index(client, on);
        assert_eq!(plan(client, &ordered).contains(&format!("Index Scan using {index} ")), on, "{ordered}");
        let mut found: Vec<_> =
            rows(client, &ordered).into_iter().map(|row| (row.0, row.1.map(f64::to_bits))).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(all(true), all(false), "{ordered}");
    client.batch_execute("RESET enable_indexscan; RESET enable_seqscan; RESET enable_sort").unwrap();
}

#[test]
fn every_class_gives_what_pgvector_gives() {
    let Some((_cluster, mut client)) = with_items() else { return };
    let query = "(SELECT b FROM items WHERE id = 13)";
    let zeros = "repeat('0', 67)::bit(67)";
    for (operator, class) in OPERATORS {
        client.batch_execute(&format!("CREATE INDEX moved ON items USING walia_hnsw (b {class})")).unwrap();
        let distance = format!("SELECT id, b {operator} {query} AS distance FROM items");
        assert_all(&mut client, &distance, "moved");
        // Far from all rows: the order is that of two runs, of which a LIMIT sees the first.
        for limit in [10, 300] {
            let limited = format!(
                "SELECT id, b {operator} {zeros} AS distance FROM items ORDER BY distance LIMIT {limit}"
            );
            let [found, expected] = distances(&mut client, &limited);
            assert_eq!(found, expected, "{limited}");
        }
        // Bounds that are the distance of a row, and so of many.
        for id in [17, 400, 1999] {
            let bound = format!("(SELECT b {operator} {query} FROM items WHERE id = {id})");
            assert_all(&mut client, &format!("{distance} WHERE b {operator} {query} <= {bound}"), "moved");
            assert_all(&mut client, &format!("{distance} WHERE b {operator} {query} < {bound}"), "moved");
        }
        // Conditions are tested inside the walk.
        let limited = format!("{distance} WHERE id % 7 = 0 ORDER BY 2 LIMIT 10");
        client.batch_execute("SET enable_seqscan = off").unwrap();
        assert!(plan(&mut client, &limited).contains("WaliaNearestScan"));
        let [found, expected] = distances(&mut client, &limited);
        assert_eq!(found, expected, "{limited}");

        let info =
            "SELECT element_type, dimensions, metric, quantization, storage, nulls FROM walia_info('moved')";
        let info = client.query_one(info, &[]).unwrap();
        let metric = class.split('_').nth(1).unwrap();
        assert_eq!((info.get(0), info.get(1), info.get(2)), ("bit", 67, metric));
        assert_eq!((info.get(3), info.get(4), info.get(5)), (0, "bit", 5i64));
        let recall = "SELECT recall FROM walia_recall('moved', 10, 50)";
        let recall: f64 = client.query_one(recall, &[]).unwrap().get(0);
        assert!(recall > 0.95, "{class}: {recall}");

        // Rows that come and go afterwards.
        client.batch_execute(&bits(3001, 4000)).unwrap();
        client
            .batch_execute("UPDATE items SET id = -id WHERE id % 10 = 4; DELETE FROM items WHERE id % 10 = 5")
            .unwrap();
        client.batch_execute("VACUUM items").unwrap();
        let distance = format!("SELECT id, b {operator} {query} AS distance FROM items");
        assert_all(&mut client, &distance, "moved");
        let wrong = "SELECT count(*) FROM walia_check('moved', true) WHERE severity = 'error'";
        assert_eq!(client.query_one(wrong, &[]).unwrap().get::<_, i64>(0), 0, "{class}");
        client.batch_execute("REINDEX INDEX moved").unwrap();
        assert_all(&mut client, &distance, "moved");
        client.batch_execute("TRUNCATE items; DROP INDEX moved").unwrap();
        client.batch_execute(&bits(1, 3000)).unwrap();
    }
}

/// Distances are small integers: far more rows than a search keeps are as near as each other.
#[test]
fn ties_are_no_obstacle() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (id int, b bit(8));
             INSERT INTO items SELECT i, (hashint4(i) & 255)::bit(8) FROM generate_series(1, 6000) AS i;
             CREATE TABLE wide (id int, b bit(300));
             INSERT INTO wide SELECT i, set_bit(set_bit(repeat('0', 300)::bit(300), i % 300, 1), i * 7 % 299, 1) FROM generate_series(1, 6000) AS i;
             ANALYZE items, wide",
        )
        .unwrap();
    for (operator, class) in OPERATORS {
        client
            .batch_execute(&format!(
                "CREATE INDEX items_b ON items USING walia_hnsw (b {class}); CREATE INDEX wide_b ON wide USING walia_hnsw (b {class})"
            ))
            .unwrap();
        for (ef, limit) in [(1, 5), (10, 10), (40, 40), (40, 300), (200, 2000)] {
            client.batch_execute(&format!("SET walia.ef_search = {ef}")).unwrap();
            for query in [
                format!("SELECT id, b {operator} B'10110001' AS d FROM items ORDER BY d LIMIT {limit}"),
                format!(
                    "SELECT id, b {operator} B'00000000' AS d FROM items WHERE id % 3 = 0 ORDER BY d LIMIT {limit}"
                ),
                format!(
                    "SELECT id, b {operator} B'10000001' AS d FROM items WHERE b {operator} B'10000001' < 3 ORDER BY d LIMIT {limit}"
                ),
            ] {
                let [found, expected] = distances(&mut client, &query);
                assert_eq!(found, expected, "{query} at {ef}");
            }
        }
        client.batch_execute("RESET walia.ef_search").unwrap();
        // All but a few rows are equally far from this one.
        let query = format!(
            "SELECT id, b {operator} (SELECT b FROM wide WHERE id = 77) AS d FROM wide ORDER BY d LIMIT 20"
        );
        let [found, expected] = distances(&mut client, &query);
        assert_eq!(found, expected, "{query}");
        client.batch_execute("DROP INDEX items_b, wide_b").unwrap();
    }
}

/// As pgvector's documents have it: nearest by bits, then by vectors.
#[test]
fn quantized_vectors_are_ranked_again() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (id int PRIMARY KEY, v vector(64), h halfvec(64));
             INSERT INTO items SELECT i, v, v::halfvec FROM (
                 SELECT i, (SELECT array_agg(sin(i * (j + 0.37)) + cos(i * 0.11 * j) ORDER BY j)::vector FROM generate_series(1, 64) AS j) AS v
                 FROM generate_series(1, 3000) AS i) AS vectors;
             CREATE INDEX items_v ON items USING walia_hnsw ((binary_quantize(v)::bit(64)) bit_hamming_ops);
             CREATE INDEX items_h ON items USING walia_hnsw ((binary_quantize(h)::bit(64)) bit_jaccard_ops) WHERE id > 5;
             ANALYZE items",
        )
        .unwrap();
    for (query, index) in [
        (
            "SELECT id, binary_quantize(v)::bit(64) <~> binary_quantize((SELECT v FROM items WHERE id = 9)) AS distance FROM items",
            "items_v",
        ),
        (
            "SELECT id, binary_quantize(h)::bit(64) <%> binary_quantize((SELECT v FROM items WHERE id = 9)) AS distance FROM items WHERE id > 5",
            "items_h",
        ),
    ] {
        assert_same(&mut client, query, index);
    }
    let nearest = "SELECT id, v <=> (SELECT v FROM items WHERE id = 9) AS d FROM (
                       SELECT * FROM items ORDER BY binary_quantize(v)::bit(64) <~> binary_quantize((SELECT v FROM items WHERE id = 9)) LIMIT 400
                   ) AS candidates ORDER BY d LIMIT 10";
    client.batch_execute("SET enable_seqscan = off").unwrap();
    assert!(plan(&mut client, nearest).contains("Index Scan using items_v"));
    client.batch_execute("RESET enable_seqscan").unwrap();
    let exact = rows(
        &mut client,
        "SELECT id, v <=> (SELECT v FROM items WHERE id = 9) AS d FROM items ORDER BY d LIMIT 10",
    );
    let found = rows(&mut client, nearest);
    assert!(found.iter().filter(|row| exact.contains(row)).count() >= 8, "{found:?}, {exact:?}");
}

/// The indexes of partitions are searched as one.
#[test]
fn partitions_are_searched_as_one() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (id int, b bit(67)) PARTITION BY HASH (id);
             CREATE TABLE items_0 PARTITION OF items FOR VALUES WITH (MODULUS 3, REMAINDER 0);
             CREATE TABLE items_1 PARTITION OF items FOR VALUES WITH (MODULUS 3, REMAINDER 1);
             CREATE TABLE items_2 PARTITION OF items FOR VALUES WITH (MODULUS 3, REMAINDER 2)",
        )
        .unwrap();
    client.batch_execute(&format!("{} ANALYZE items", bits(1, 3000))).unwrap();
    for (operator, class) in OPERATORS {
        client.batch_execute(&format!("CREATE INDEX items_b ON items USING walia_hnsw (b {class})")).unwrap();
        for condition in ["true", "id % 5 = 1"] {
            let query = format!(
                "SELECT id, b {operator} (SELECT b FROM items WHERE id = 40) AS d FROM items WHERE {condition} ORDER BY d LIMIT 20"
            );
            client.batch_execute("SET enable_seqscan = off; SET enable_sort = off").unwrap();
            let shown = plan(&mut client, &query);
            assert!(shown.contains("WaliaFederatedScan") || shown.contains("WaliaNearestScan"), "{shown}");
            let [found, expected] = distances(&mut client, &query);
            // An approximate search: a row further than the nearest may take the place of one.
            let furthest = expected.iter().flatten().max();
            let near = found.iter().flatten().filter(|distance| Some(*distance) <= furthest).count();
            assert!(found.len() == 20 && near >= 18 && found.is_sorted(), "{query}: {near}");
        }
        client.batch_execute("DROP INDEX items_b").unwrap();
    }
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (b bit(9), varying varbit(9), v vector(3), long bit(64001));
             CREATE INDEX ON items USING walia_hnsw (b bit_hamming_ops); SET enable_seqscan = off; SET enable_sort = off",
        )
        .unwrap();
    let mut refused = |statement: &str, code: SqlState, message: &str, hint: Option<&str>| {
        let error = client.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}"));
        assert_eq!((error.code(), error.message(), error.hint()), (&code, message, hint), "{statement}");
    };
    refused(
        "CREATE INDEX ON items USING walia_hnsw (b)",
        SqlState::UNDEFINED_OBJECT,
        "data type bit has no default operator class for access method \"walia_hnsw\"",
        Some(
            "You must specify an operator class for the index or define a default operator class for the data type.",
        ),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (varying bit_hamming_ops)",
        SqlState::DATATYPE_MISMATCH,
        "operator class \"bit_hamming_ops\" does not accept data type varbit",
        Some("Cast the column to type bit in the index and in queries."),
    );
    let invalid = SqlState::INVALID_PARAMETER_VALUE;
    refused(
        "CREATE INDEX ON items USING walia_hnsw (binary_quantize(v) bit_hamming_ops)",
        invalid.clone(),
        "column does not have dimensions",
        Some("Specify them in the type, as in bit(384), or index an expression of such a type."),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (long bit_jaccard_ops)",
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        "column cannot have more than 64000 dimensions for walia_hnsw index",
        None,
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (b bit_hamming_ops) WITH (quantization = 1)",
        invalid.clone(),
        "quantization is not supported for type bit",
        Some("Omit the option, or set it to \"none\"."),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (b bit_hamming_ops) WITH (storage = f16)",
        invalid,
        "storage is not supported for type bit",
        Some("Omit the option, or set it to \"auto\"."),
    );
    // Of as many bytes, too.
    let insert = "INSERT INTO items (b) VALUES (B'101010101')";
    client.batch_execute(insert).unwrap();
    for (query, length) in
        [("B'1010101010'", 10), ("B'1'", 1), ("repeat('1', 65545)::varbit::bit(65545)", 65545)]
    {
        let error = client.batch_execute(&format!("SELECT FROM items ORDER BY b <~> {query}")).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::DATA_EXCEPTION);
        assert_eq!(error.message(), format!("different bit lengths 9 and {length}"));
    }
    let wrong = "SELECT bit_hamming_distance(B'1', B'10')";
    let error = client.batch_execute(wrong).unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "different bit lengths 1 and 2");
    // The most that pgvector has.
    client
        .batch_execute(
            "CREATE TABLE longest (id int, b bit(64000));
             INSERT INTO longest SELECT i, repeat(to_char(100 + (i & 1) + 10 * (i >> 1 & 1), 'FM000'), 22000)::bit(64000)
             FROM generate_series(1, 40) AS i;
             CREATE INDEX longest_b ON longest USING walia_hnsw (b bit_hamming_ops)",
        )
        .unwrap();
    let query = "SELECT id, b <~> repeat('1', 64000)::bit(64000) AS distance FROM longest";
    assert_same(&mut client, query, "longest_b");
}

/// walia's own functions give what pgvector's operators give, to the bit.
#[test]
fn distances_are_those_of_pgvector() {
    let Some((_cluster, mut client)) = moving() else { return };
    let different = "
        WITH strings AS (
            SELECT n, (SELECT string_agg((hashint4(n * 1000 + seed * 100000 + j) % (1 + seed) = 0)::int::text, '')
                       FROM generate_series(1, n) AS j)::varbit::bit(2000) AS b, seed
            FROM generate_series(0, 200) AS n, generate_series(0, 4) AS seed)
        SELECT count(*), count(*) FILTER (WHERE bit_hamming_distance(x.b, y.b) IS DISTINCT FROM x.b <~> y.b
                                             OR bit_jaccard_distance(x.b, y.b) IS DISTINCT FROM x.b <%> y.b)
        FROM strings AS x JOIN strings AS y USING (n)";
    let row = client.query_one(different, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (5025, 0));
}
