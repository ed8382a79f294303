//! Scans forced one way or the other, and the check that a scan by the index is complete.

use postgres::Client;

/// Makes the session answer `ORDER BY distance` by the index only, or without it.
pub fn by_index(client: &mut Client, on: bool) {
    let off = !on;
    let settings =
        format!("SET enable_indexscan = {on}; SET enable_seqscan = {off}; SET enable_sort = {off}");
    client.batch_execute(&settings).unwrap();
}

/// Fails unless a query's plan uses an index, or uses none.
pub fn assert_plan(client: &mut Client, query: &str, index: bool) {
    let plan: Vec<String> =
        client.query(&format!("EXPLAIN {query}"), &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(plan.iter().any(|line| line.contains("Index Scan")), index, "{plan:#?}");
}

/// Fails unless a scan of `items (id, v)` by the index, run to its end, gives every row once and with the
/// distance that a sequential scan gives.
pub fn assert_complete(client: &mut Client, operator: &str) {
    let query =
        format!("SELECT id, v {operator} (SELECT v FROM items ORDER BY id LIMIT 1) AS distance FROM items");
    let ordered = format!("{query} ORDER BY 2");
    // Bits, as a distance may be NaN, which differs from itself.
    let mut rows = |query: &str, index| -> Vec<(i64, Option<u64>)> {
        by_index(client, index);
        assert_plan(client, query, index);
        let distance = |row: &postgres::Row| row.get::<_, Option<f64>>(1).map(f64::to_bits);
        client.query(query, &[]).unwrap().iter().map(|row| (row.get(0), distance(row))).collect()
    };
    let (mut found, mut expected) = (rows(&ordered, true), rows(&query, false));
    found.sort_unstable_by_key(|row| row.0);
    expected.sort_unstable_by_key(|row| row.0);
    let difference = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!(difference, None, "found and expected of {} and {} rows", found.len(), expected.len());
    assert_eq!(found.len(), expected.len());
}

/// Repairs the index `items_v`; fails unless nothing at all is wrong with it then.
pub fn assert_repairable(client: &mut Client) {
    client.batch_execute("SELECT * FROM walia_repair('items_v')").unwrap();
    let findings =
        "SELECT format('block %s, slot %s: %s', block, slot, finding) FROM walia_check('items_v', true)";
    let findings: Vec<String> = client.query(findings, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(findings.is_empty(), "{} findings: {:#?}", findings.len(), &findings[..findings.len().min(10)]);
}

/// Fails unless the indexes of `items` are sound and hold all of its rows. What costs recall or space only is
/// no failure: a crash, and a change that is at work, leave such things.
pub fn assert_sound(client: &mut Client) {
    let query = "SELECT format('%s: block %s, slot %s: %s', indexrelid::regclass, block, slot, finding)
                 FROM (SELECT indexrelid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                         JOIN pg_am ON pg_am.oid = relam
                       WHERE indrelid = 'items'::regclass AND amname = 'walia_hnsw' OFFSET 0) AS indexes,
                     walia_check(indexrelid, heapallindexed => true)
                 WHERE severity = 'error' LIMIT 10";
    let findings: Vec<String> = client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}
