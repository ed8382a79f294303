//! Rows that have died, and their entries.

use super::*;

/// Rows that are updated again and again leave dead entries, which are passed over as a plain index scan
/// does.
#[test]
fn dead_entries() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let d = near("<->");
    let by_tenant = format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 10");
    for _ in 0..12 {
        client.batch_execute("UPDATE docs SET v = v + '[0.001,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' WHERE tenant = 3").unwrap();
    }
    let tested = |client: &mut Client| {
        assert_by_codes(client, &by_tenant);
        rows(client, &by_tenant);
        rows(client, "SELECT rows_tested::int FROM walia_last_scan()")[0].0
    };
    tested(&mut client);
    let after = tested(&mut client);
    assert!(after < 200, "{after} rows were tested");
}

/// Entries of rows far from the query, which are never measured, are passed over as well.
#[test]
fn dead_entries_that_no_query_is_near() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let d = near("<->");
    let by_tenant = format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 10");
    let read = |client: &mut Client| {
        client.batch_execute("SET walia.ef_search = 64").unwrap();
        assert!(is_code_scan(client, &by_tenant));
        let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {by_tenant}");
        let lines: Vec<String> = client.query(&explain, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        let line = lines.iter().find_map(|line| line.trim().strip_prefix("Codes Read: ")).unwrap();
        line.parse::<usize>().unwrap()
    };
    let before = read(&mut client);
    // Far away, and on pages with room, which are pruned.
    for version in 0..400 {
        let away = format!(
            "UPDATE docs SET v = (SELECT array_agg(100 + j + {version} % 7) FROM generate_series(1, 24) j)::vecf32
             WHERE id IN (3, 15, 27, 51, 63, 75, 87, 111, 123, 135)"
        );
        client.batch_execute(&away).unwrap();
    }
    read(&mut client);
    let after = read(&mut client);
    assert!(after < 2 * before, "{after} codes were read, {before} before");
    assert_by_codes(&mut client, &by_tenant);
}

/// Versions of a row whose vector stays have one code, and an entry each: the dead ones are marked beside the
/// one that lives, for all sessions.
#[test]
fn dead_rows_with_the_codes_of_rows_that_live() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.5);
             CREATE TABLE docs (id int, tenant int, changes int, v vecf32(24));
             INSERT INTO docs SELECT i, i % 3, 0,
                 (SELECT array_agg(random() + 0 * (i + j)) FROM generate_series(1, 24) AS j)::vecf32
             FROM generate_series(1, 1500) AS i;
             CREATE INDEX ON docs (tenant, walia_code(v));
             CREATE INDEX ON docs (changes);
             ANALYZE docs",
        )
        .unwrap();
    // As statements name columns, and as object-relational mappers name all of them.
    for columns in ["changes = changes + 1", "changes = changes + 1, tenant = tenant, v = v"].repeat(20) {
        client.batch_execute(&format!("UPDATE docs SET {columns} WHERE tenant = 1")).unwrap();
    }
    let d = near("<->");
    let by_tenant = format!("SELECT id, {d} FROM docs WHERE tenant = 1 ORDER BY {d} LIMIT 10");
    let pages = |client: &mut Client| {
        let lines: Vec<String> = client
            .query(&format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {by_tenant}"), &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let of = |name: &str| {
            let line = lines.iter().find_map(|line| line.trim().strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
        };
        (of("Buffers: shared hit="), of("Rows Removed by Test: "))
    };
    assert!(is_code_scan(&mut client, &by_tenant));
    let (first, dead) = pages(&mut client);
    assert!(dead > 64, "{dead} dead rows were tested");
    let mut other = cluster.connect();
    assert!(is_code_scan(&mut other, &by_tenant));
    let (second, dead) = pages(&mut other);
    assert!(dead < 16, "{dead} dead rows were tested again");
    assert!(2 * second < first, "{first} pages were read first, and then {second}");
    assert_by_codes(&mut other, &by_tenant);
    client.batch_execute("CREATE EXTENSION amcheck").unwrap();
    client.batch_execute("SELECT bt_index_check('docs_tenant_walia_code_idx', true)").unwrap();
}

/// Rows of which more lie on a page than of those that are near: nothing is dead, and no query looks for it
/// twice.
#[test]
fn short_rows_that_are_alive() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE docs (tenant int, body text, v vecf32(24));
             ALTER TABLE docs ALTER body SET STORAGE external;
             INSERT INTO docs SELECT 1, CASE WHEN i % 20 = 0 THEN repeat('long ', 350) END,
                 (SELECT array_agg(CASE WHEN i % 20 = 0 THEN 0 ELSE 50 END + random() * 5 + 0 * j)
                  FROM generate_series(1, 24) AS j)::vecf32
             FROM generate_series(1, 6000) AS i;
             INSERT INTO docs SELECT 2 FROM generate_series(1, 6000);
             INSERT INTO docs SELECT 2, repeat('long ', 200), '[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24]'
                 FROM generate_series(1, 300);
             CREATE INDEX ON docs (tenant, walia_code(v));
             SET enable_seqscan = off; SET enable_sort = off",
        )
        .unwrap();
    client.batch_execute("VACUUM ANALYZE docs").unwrap();
    let mut buffers = |tenant: i32| {
        let statement = format!(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM docs WHERE tenant = {tenant} ORDER BY {} LIMIT 10",
            near("<->")
        );
        let row = client.simple_query(&statement).unwrap();
        let text = row.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        let text = text.unwrap();
        assert!(text.contains("WaliaCodeScan"), "{text}");
        let hits = text.lines().find_map(|line| line.trim().strip_prefix("\"Shared Hit Blocks\": ")).unwrap();
        hits.trim_end_matches(',').parse::<usize>().unwrap()
    };
    for tenant in [1, 2] {
        buffers(tenant);
        let again = buffers(tenant);
        assert!(again < 1500, "{again} pages were read for tenant {tenant}");
    }
}

/// What was found dead may have been vacuumed since, and its place be a new row's.
#[test]
fn places_of_dead_rows_that_are_used_again() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    prepare_tenants(&mut client);
    let d = near("<->");
    // The table has no place but what the rows leave that die now.
    let fill = "INSERT INTO docs SELECT -i, 11, 'new', '2026-01-01', true,
                     (SELECT array_agg(50 + i + j) FROM generate_series(1, 24) j)::vecf32
                 FROM generate_series(1, 3500) i";
    for statement in ["VACUUM (INDEX_CLEANUP on, TRUNCATE off) docs", fill] {
        other.batch_execute(statement).unwrap();
    }
    // Every fourth row dies: the first row costs a few of them, and the rest many.
    let near_ones = format!(
        "SELECT id, row_number() OVER (ORDER BY {d}) % 4 AS kept FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 800"
    );
    other
        .batch_execute(&format!(
            "DELETE FROM docs WHERE id IN (SELECT id FROM ({near_ones}) AS s WHERE kept = 0)"
        ))
        .unwrap();
    client
        .batch_execute("SET walia.ef_search = 10; SET enable_seqscan = off; SET enable_sort = off")
        .unwrap();
    client
        .batch_execute(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT id FROM docs WHERE tenant = 3 ORDER BY {d}; FETCH 1 FROM c"
        ))
        .unwrap();
    other.batch_execute("VACUUM (INDEX_CLEANUP on, TRUNCATE off) docs").unwrap();
    let again = "INSERT INTO docs SELECT 100000 + i, 3, 'new', '2026-01-01', true,
                     (SELECT array_agg(50 + i + j) FROM generate_series(1, 24) j)::vecf32
                 FROM generate_series(1, 140) i";
    other.batch_execute(again).unwrap();
    client.batch_execute("FETCH ALL FROM c; COMMIT; RESET ALL; SET enable_seqscan = off").unwrap();
    let count = "SELECT count(*)::int FROM docs WHERE tenant = 3 AND made = '2026-01-01' AND status = 'new'";
    assert!(plan(&mut client, count).contains("docs_tenant"));
    assert_eq!(rows(&mut client, count)[0].0, 140);
}
