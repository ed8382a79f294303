//! Btrees that carry codes: the same rows as without an index, from every kind of condition, table and order.

mod dead;
mod odd;
mod tenants;

use crate::conditions::{assert_exact, compare, plan, rows, texts};
use crate::server::Cluster;
use postgres::Client;

/// Codes beside the columns of conditions, for all tables.
fn add_codes(client: &mut Client) {
    client
        .batch_execute(
            "CREATE INDEX ON items (tenant, walia_code(v));
             CREATE INDEX ON items (price, name, walia_code(v, 4));
             CREATE INDEX ON items (id, walia_code(v, 1));
             CREATE INDEX ON parts (tenant, walia_code(v));
             CREATE INDEX ON family (tenant, walia_code(v));
             CREATE INDEX ON child (tenant, flag, walia_code(v))",
        )
        .unwrap();
}

#[test]
fn random_statements() {
    compare(300, 21, (&["WaliaNearestScan", "WaliaCodeScan"], 5), add_codes);
}

#[test]
fn random_statements_without_a_graph() {
    compare(300, 22, (&["WaliaCodeScan"], 20), |client| {
        add_codes(client);
        client
            .batch_execute(
                "DROP INDEX items_v; SET walia.nearest_scan = off; SET walia.federated_scan = off;
                 ALTER TABLE items ALTER tenant SET STATISTICS 1000; ANALYZE items",
            )
            .unwrap();
    });
}

#[test]
#[ignore = "long: make conditions"]
fn random_statements_of_many_conditions() {
    compare(3000, 23, (&["WaliaNearestScan", "WaliaCodeScan"], 5), add_codes);
}

const ROWS: i32 = 12000;

/// Rows of tenants: some without a vector, some whose vector is zero, some dead.
fn prepare_tenants(client: &mut Client) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION IF NOT EXISTS walia;
             SELECT setseed(0.4);
             CREATE TABLE docs (
                 id int PRIMARY KEY, tenant int, status text, made timestamptz, open bool, v vecf32(24), h vecf16(24)
             );
             INSERT INTO docs
             SELECT i, i % 12, (ARRAY['new', 'open', 'done'])[i % 3 + 1], timestamptz '2026-01-01' + i * interval '1 min',
                 i % 5 > 0, v, v::vecf16
             FROM (SELECT i, CASE WHEN i % 100 = 0 THEN NULL WHEN i % 100 = 1 THEN array_fill(0, ARRAY[24])::vecf32
                 ELSE (SELECT array_agg(sin(i % 7 * j) + random()) FROM generate_series(1, 24) j)::vecf32 END AS v
                 FROM generate_series(1, {ROWS}) i) AS s;
             UPDATE docs SET open = NOT open WHERE id % 9 = 0;
             DELETE FROM docs WHERE id % 10 = 9;
             CREATE INDEX docs_tenant ON docs (tenant, made, walia_code(v));
             ANALYZE docs;
             SET walia.ef_search = 1000"
        ))
        .unwrap();
}

fn near(operator: &str) -> String {
    let vector: Vec<String> = (1..=24).map(|j| format!("{:.2}", (j as f64).sin() + 0.4)).collect();
    format!("v {operator} '[{}]'", vector.join(","))
}

fn is_code_scan(client: &mut Client, statement: &str) -> bool {
    client.batch_execute("SET enable_indexscan = on; RESET enable_seqscan; RESET enable_sort").unwrap();
    plan(client, statement).contains("WaliaCodeScan")
}

/// Asserts that a statement is executed by codes, and gives the rows and their order as without them.
fn assert_by_codes(client: &mut Client, statement: &str) {
    assert!(is_code_scan(client, statement), "{statement}\n{}", plan(client, statement));
    let given = rows(client, statement);
    client.batch_execute("SET enable_indexscan = off").unwrap();
    let exact = rows(client, statement);
    client.batch_execute("RESET enable_indexscan").unwrap();
    let distances = |rows: &[(i32, Option<f64>)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
    assert_eq!(distances(&given), distances(&exact), "{statement}");
    let ids = |mut rows: Vec<(i32, Option<f64>)>| {
        rows.sort_unstable_by_key(|row| row.0);
        rows.into_iter().map(|row| row.0).collect::<Vec<_>>()
    };
    // Of rows that are equally far any may be left out.
    if !statement.contains("zero") {
        assert_eq!(ids(given), ids(exact), "{statement}");
    }
}

#[test]
fn conditions_and_orders() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    for operator in ["<->", "<#>", "<~>", "<=>", "<+>"] {
        let d = near(operator);
        for condition in [
            "tenant = 3",
            "tenant IN (3, 4)",
            "tenant = ANY ('{5,7}'::int[])",
            "tenant = 3 AND made > '2026-01-03'",
            "tenant = 5 AND open AND status = 'open'",
            "tenant = 2 AND v IS NOT NULL",
            "tenant = (SELECT 4)",
            "(tenant = 1 OR 7 = tenant)",
            "(tenant = 1 OR tenant = NULL OR tenant = 7) AND made > '2026-01-03' AND open",
            "(tenant = 1 OR tenant = (SELECT 4))",
            "(tenant < 2 OR tenant < 1)",
        ] {
            for limit in ["LIMIT 10", "LIMIT 1", "LIMIT 3 OFFSET 17", "FETCH FIRST 5 ROWS WITH TIES"] {
                assert_by_codes(
                    &mut client,
                    &format!("SELECT id, {d} FROM docs WHERE {condition} ORDER BY {d} {limit}"),
                );
            }
        }
        // Orders that follow the distance, ties, bounds.
        for statement in [
            format!(
                "SELECT id, {d} FROM docs WHERE tenant = 3 AND v IS NOT NULL ORDER BY 1 - ({d}) DESC LIMIT 10 -- zero"
            ),
            format!(
                "SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY ({d}) * -2 DESC NULLS LAST LIMIT 10 -- zero"
            ),
            format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d}, id LIMIT 10"),
            format!(
                "SELECT id, s FROM (SELECT id, 1 - ({d}) AS s FROM docs WHERE tenant = 3) AS x ORDER BY s DESC LIMIT 10 -- zero"
            ),
            format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} NULLS FIRST LIMIT 20 -- zero"),
        ] {
            assert_by_codes(&mut client, &statement);
        }
    }
    let d = near("<->");
    // An OR is a key of the index, and is not tested again.
    let either = format!("SELECT id, {d} FROM docs WHERE (tenant = 1 OR tenant = 7) ORDER BY {d} LIMIT 10");
    let explained = plan(&mut client, &either);
    assert!(explained.contains("Index Cond: (tenant = ANY ('{1,7}'::integer[]))"), "{explained}");
    assert!(!explained.contains("Filter"), "{explained}");
    // Others are not keys, and cost more than what Postgres makes of them.
    for condition in [
        "(tenant = 1 OR status = 'open')",
        "(tenant = 1 OR tenant = 7::bigint)",
        "(tenant = 1 OR tenant > 9)",
        "(tenant = 1 OR tenant = id)",
        "(tenant = 1 OR tenant IS NULL)",
    ] {
        let statement = format!("SELECT id, {d} FROM docs WHERE {condition} ORDER BY {d} LIMIT 10");
        assert!(!is_code_scan(&mut client, &statement), "{}", plan(&mut client, &statement));
        assert_exact(&mut client, &statement);
    }
    let within = format!("SELECT id, {d} FROM docs WHERE tenant = 3 AND {d} < 5 ORDER BY {d}");
    assert_by_codes(&mut client, &format!("{within} LIMIT 10"));
    assert_exact(&mut client, &within);
    // Joins, a subquery for each of many rows, row security.
    assert_by_codes(
        &mut client,
        &format!(
            "SELECT docs.id, {d} FROM docs JOIN (VALUES (1), (2)) AS t (x) ON true WHERE tenant = 3 ORDER BY {d} LIMIT 6"
        ),
    );
    assert_by_codes(
        &mut client,
        "SELECT s.id, s.d FROM generate_series(0, 11) AS g(t), LATERAL
             (SELECT id, v <-> (SELECT v FROM docs WHERE id = 7 + t) AS d FROM docs WHERE tenant = t
              ORDER BY v <-> (SELECT v FROM docs WHERE id = 7 + t) LIMIT 4) AS s ORDER BY t, d",
    );
    client
        .batch_execute(
            "CREATE ROLE app; GRANT SELECT ON docs TO app; ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON docs FOR SELECT TO app USING (tenant = current_setting('app.tenant')::int AND id % 4 > 0);
             SET app.tenant = 6; SET ROLE app",
        )
        .unwrap();
    assert_by_codes(&mut client, &format!("SELECT id, {d} FROM docs ORDER BY {d} LIMIT 10"));
    let others = format!(
        "SELECT count(*)::int FROM (SELECT * FROM docs ORDER BY {d} LIMIT 50) AS s WHERE tenant <> 6"
    );
    assert_eq!(rows(&mut client, &others), [(0, None)]);
    // Where it is not for a query.
    client.batch_execute("RESET ROLE").unwrap();
    for statement in [
        format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 5 FOR UPDATE"),
        format!("SELECT id, {d} FROM docs WHERE tenant = 3 AND random() >= 0 ORDER BY {d} LIMIT 5"),
        format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} DESC LIMIT 5"),
        "SELECT id FROM docs WHERE tenant = 3 ORDER BY h <-> (SELECT h FROM docs WHERE id = 2) LIMIT 5"
            .to_owned(),
        format!("SELECT min({d})::int FROM docs WHERE tenant = 3"),
        format!("SELECT DISTINCT ON ({d}) id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 5"),
    ] {
        assert!(!is_code_scan(&mut client, &statement), "{statement}\n{}", plan(&mut client, &statement));
    }
    client.batch_execute("SET walia.code_scan = off").unwrap();
    assert!(!is_code_scan(
        &mut client,
        &format!("SELECT id FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 5")
    ));
}

#[test]
fn every_kind_of_index() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let (d, h) = (near("<=>"), near("<->").replace("v <->", "h <->"));
    let by_tenant = format!("SELECT id, {d} FROM docs WHERE tenant = 3 ORDER BY {d} LIMIT 10");
    for index in [
        "(tenant, walia_code(v, 1))",
        "(tenant, walia_code(v, 4))",
        "(walia_code(v)) WHERE tenant = 3",
        "(walia_code(v), tenant)",
        "(tenant) INCLUDE (code)",
        "(tenant, code)",
        "(tenant DESC NULLS LAST, walia_code(v) DESC)",
    ] {
        if index.contains("code)") && !index.contains("walia_code") {
            let column = "ALTER TABLE docs ADD COLUMN IF NOT EXISTS code veccode GENERATED ALWAYS AS (walia_code(v)) STORED";
            client.batch_execute(column).unwrap();
        }
        client
            .batch_execute(&format!(
                "DROP INDEX docs_tenant; CREATE INDEX docs_tenant ON docs {index}; ANALYZE docs"
            ))
            .unwrap();
        // Only conditions of the first column are found quickly.
        if index.contains("(walia_code(v), tenant)") {
            assert_exact(&mut client, &by_tenant);
        } else {
            assert_by_codes(&mut client, &by_tenant);
        }
    }
    client.batch_execute("CREATE INDEX ON docs (tenant, walia_code(h))").unwrap();
    assert_by_codes(&mut client, &format!("SELECT id, {h} FROM docs WHERE tenant = 3 ORDER BY {h} LIMIT 10"));
    // Codes of other dimensions say nothing.
    client
        .batch_execute(
            "CREATE TABLE any_dimensions (tenant int, v vecf32);
             INSERT INTO any_dimensions SELECT 1, array_fill(random(), ARRAY[1 + i % 2 * 2])::vecf32 FROM generate_series(1, 900) i;
             CREATE INDEX ON any_dimensions (tenant, walia_code(v)); ANALYZE any_dimensions; SET enable_seqscan = off",
        )
        .unwrap();
    let mixed =
        client.simple_query("SELECT 1 FROM any_dimensions WHERE tenant = 1 ORDER BY v <-> '[1,2,3]' LIMIT 5");
    assert!(format!("{mixed:?}").contains("different vecf32 dimensions"), "{mixed:?}");
}

#[test]
fn partitions_and_a_graph_beside() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let d = near("<=>");
    client
        .batch_execute(
            "CREATE TABLE parts (LIKE docs) PARTITION BY LIST (open);
             CREATE TABLE parts_open (gone int, LIKE docs); ALTER TABLE parts_open DROP gone;
             ALTER TABLE parts ATTACH PARTITION parts_open FOR VALUES IN (true);
             CREATE TABLE parts_closed PARTITION OF parts DEFAULT;
             INSERT INTO parts SELECT * FROM docs; CREATE INDEX ON parts (tenant, walia_code(v)); ANALYZE parts",
        )
        .unwrap();
    let by_tenant = format!("SELECT id, {d} FROM parts WHERE tenant = 3 ORDER BY {d} LIMIT 10");
    assert_by_codes(&mut client, &by_tenant);
    assert_eq!(plan(&mut client, &by_tenant).matches("WaliaCodeScan").count(), 2);
    assert_by_codes(
        &mut client,
        &format!("SELECT id, {d} FROM parts WHERE tenant = 3 ORDER BY {d}, id LIMIT 10"),
    );
    // With a graph: what the walk turns to, or what is better at once.
    client.batch_execute("CREATE INDEX ON docs USING walia_hnsw (v); ANALYZE docs").unwrap();
    assert_by_codes(&mut client, &by_tenant.replace("parts", "docs"));
    let many = format!("SELECT id, {d} FROM docs WHERE tenant < 11 ORDER BY {d} LIMIT 10");
    client.batch_execute("SET walia.ef_search = 40; SET enable_seqscan = off").unwrap();
    assert!(plan(&mut client, &many).contains("WaliaNearestScan"), "{}", plan(&mut client, &many));
    client.batch_execute("SET walia.ef_search = 1000").unwrap();
    assert_exact(&mut client, &many);
}

#[test]
fn all_rows_in_little_memory() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let d = near("<->");
    client.batch_execute("SET work_mem = '64kB'; SET enable_sort = off; SET walia.ef_search = 64").unwrap();
    client
        .batch_execute(&format!(
            "BEGIN; DECLARE near CURSOR FOR SELECT id, {d} FROM docs WHERE tenant < 9 ORDER BY {d}"
        ))
        .unwrap();
    let mut all = rows(&mut client, "FETCH 10 FROM near");
    assert!(all.is_sorted_by(|a, b| a.1 <= b.1), "{all:?}");
    all.extend(rows(&mut client, "FETCH ALL FROM near"));
    let explained = client.simple_query(&format!(
        "EXPLAIN (ANALYZE, VERBOSE) SELECT id FROM docs WHERE tenant < 9 ORDER BY {d}"
    ));
    let explained = format!("{explained:?}");
    assert!(explained.contains("WaliaCodeScan") && explained.contains("all rows were tested"), "{explained}");
    assert!(!explained.contains("Index Reads: 1\""), "{explained}");
    client.batch_execute("COMMIT; SET enable_indexscan = off; RESET enable_sort").unwrap();
    let mut ids: Vec<i32> = all.iter().map(|row| row.0).collect();
    ids.sort_unstable();
    let expected = rows(&mut client, "SELECT id FROM docs WHERE tenant < 9 ORDER BY id");
    assert_eq!(ids, expected.into_iter().map(|row| row.0).collect::<Vec<_>>());
    // Rows without a vector come last.
    assert!(all[all.len() - 30..].iter().all(|row| row.1.is_none()), "{:?}", &all[all.len() - 30..]);
}

#[test]
fn a_session_that_has_not_loaded_the_library() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let by_row = "SELECT s.id FROM docs AS t, LATERAL
        (SELECT id FROM docs WHERE tenant = t.tenant ORDER BY v <-> t.v LIMIT 4) AS s WHERE t.id = 77";
    let mut new = cluster.connect();
    assert!(plan(&mut new, by_row).contains("WaliaCodeScan"), "{}", plan(&mut new, by_row));
}

#[test]
fn one_plan_for_many_executions() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_tenants(&mut client);
    let d = near("<->").replace("v <-> ", "");
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE near(int[], vecf32, int) AS
                 SELECT id, v <-> $2 FROM docs WHERE tenant = ANY ($1) ORDER BY v <-> $2 LIMIT $3",
        )
        .unwrap();
    for arguments in [
        format!("'{{3}}', {d}, 10"),
        format!("'{{1,2,3,4}}', {d}, 300"),
        format!("'{{3}}', {d}, NULL"),
        format!("'{{}}', {d}, 5"),
        format!("'{{3,3,NULL}}', {d}, 5"),
        format!("NULL, {d}, 5"),
        format!("'{{3}}', {d}, 0"),
        "'{3}', NULL, 5000".to_owned(),
    ] {
        let execute = format!("EXECUTE near({arguments})");
        // Of an array that is not known the planner thinks that most rows pass.
        client
            .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
            .unwrap();
        assert!(plan(&mut client, &execute).contains("WaliaCodeScan"), "{}", plan(&mut client, &execute));
        let mut given = rows(&mut client, &execute);
        client.batch_execute("DISCARD PLANS; SET enable_indexscan = off").unwrap();
        let mut exact = rows(&mut client, &execute);
        client.batch_execute("DISCARD PLANS; SET enable_indexscan = on").unwrap();
        given.sort_by_key(|row| row.0);
        exact.sort_by_key(|row| row.0);
        assert_eq!(given, exact, "{arguments}");
    }
}
