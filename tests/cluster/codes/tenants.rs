//! Many tenants: a query for each of a thousand, parallel plans beside, prepared statements, and row
//! security.

use super::*;

const TENANTS: i32 = 1000;

/// A thousand tenants of a dozen rows, in one table and in partitions by tenant, and a query for each of
/// them: some without a vector, and some of no tenant.
fn prepare_many(client: &mut Client) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION walia; SELECT setseed(0.8);
             CREATE TABLE docs (id int PRIMARY KEY, tenant int NOT NULL, status text, v vecf32(16));
             INSERT INTO docs SELECT i, i % {TENANTS}, (ARRAY['new', 'open', 'done'])[i % 7 % 3 + 1],
                 CASE WHEN i % 90 > 0 THEN (SELECT array_agg(random() + 0 * i * j) FROM generate_series(1, 16) j)::vecf32 END
             FROM generate_series(1, 12 * {TENANTS}) i;
             DELETE FROM docs WHERE id % 11 = 5;
             CREATE INDEX ON docs (tenant, walia_code(v));
             CREATE INDEX ON docs (tenant, status, walia_code(v));
             CREATE TABLE parts (LIKE docs) PARTITION BY HASH (tenant);
             CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
             CREATE TABLE parts_1 (v vecf32(16), status text, id int NOT NULL, tenant int NOT NULL);
             ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
             INSERT INTO parts SELECT * FROM docs;
             CREATE INDEX ON parts (tenant, walia_code(v));
             CREATE TABLE asked (tenant int, other int, query vecf32(16));
             INSERT INTO asked SELECT nullif(i, 50), i * 7 % {TENANTS},
                 CASE WHEN i <> 60 THEN (SELECT array_agg(random() + 0 * i * j) FROM generate_series(1, 16) j)::vecf32 END
             FROM generate_series(0, {TENANTS} + 20) i;
             ANALYZE docs, parts, asked;
             SET walia.ef_search = 1000"
        ))
        .unwrap();
}

/// Rows are so few that codes are hardly worth it.
const BY_CODES: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";

/// A statement, whose order is whole, gives the same with codes as without them.
fn assert_same(client: &mut Client, statement: &str) -> Vec<String> {
    let given = texts(client, statement);
    let without = "BEGIN; DISCARD PLANS; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = on;
                   SET LOCAL enable_sort = on";
    client.batch_execute(without).unwrap();
    let exact = texts(client, statement);
    client.batch_execute("ROLLBACK; DISCARD PLANS").unwrap();
    assert_eq!(given.len(), exact.len(), "{statement}");
    let different: Vec<_> =
        given.iter().zip(&exact).filter(|(given, exact)| given != exact).take(3).collect();
    assert!(different.is_empty(), "{statement}: {different:?}");
    given
}

/// One statement asks for the nearest rows of each of a thousand tenants.
#[test]
fn a_query_for_each_of_a_thousand_tenants() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_many(&mut client);
    client.batch_execute(BY_CODES).unwrap();
    for table in ["docs", "parts"] {
        let near = |condition: &str| {
            format!(
                "SELECT asked.tenant, asked.other, near.* FROM asked {{join}} LATERAL
                     (SELECT id, v <-> query AS d FROM {table} WHERE {condition} ORDER BY v <-> query, id LIMIT 3) AS near
                 {{on}} ORDER BY asked.tenant, asked.other, near.d, near.id"
            )
        };
        for (condition, rows) in [
            ("tenant = asked.tenant", 3 * TENANTS - 9),
            ("(tenant = asked.tenant OR tenant = asked.other)", 3 * TENANTS),
            ("tenant = ANY (ARRAY[asked.tenant, NULL, asked.other])", 3 * TENANTS),
            ("tenant = asked.tenant AND status IN ('open', 'new')", 2 * TENANTS),
            ("tenant = asked.tenant AND v <-> query < 1.5", TENANTS),
        ] {
            let inner = near(condition).replace("{join}", "CROSS JOIN").replace("{on}", "");
            let outer = near(condition).replace("{join}", "LEFT JOIN").replace("{on}", "ON true");
            let explained = texts(&mut client, &format!("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {inner}"));
            let is_scan = |line: &&String| line.contains("WaliaCodeScan") && line.contains("loops=");
            let loops = explained.iter().filter(is_scan).filter_map(|line| line.split("loops=").nth(1));
            let loops: i32 = loops.map(|loops| loops.trim_end_matches(')').parse::<i32>().unwrap()).sum();
            assert!(loops >= TENANTS, "{explained:#?}");
            let given = assert_same(&mut client, &inner);
            assert!(given.len() as i32 >= rows, "{condition}: {} rows", given.len());
            // Tenants without rows are there too.
            assert!(assert_same(&mut client, &outer).len() >= given.len());
        }
    }
}

/// Plans whose other parts have workers: codes serve what one process does.
#[test]
fn parallel_plans_beside() {
    let cluster = Cluster::start(&["max_parallel_workers_per_gather = 3"]);
    let mut client = cluster.connect();
    prepare_many(&mut client);
    client
        .batch_execute(
            "CREATE TABLE wide AS SELECT id, tenant, repeat('x', 200) AS body FROM docs; ANALYZE wide;
             SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET min_parallel_index_scan_size = 0; SET enable_bitmapscan = off; SET enable_sort = off",
        )
        .unwrap();
    let is_15 = texts(&mut client, "SHOW server_version_num")[0].starts_with("15");
    let debug = if is_15 { "force_parallel_mode" } else { "debug_parallel_query" };
    let near = |table: &str, limit: u32| {
        format!(
            "SELECT id, tenant, v <-> (SELECT v FROM docs WHERE id = 77) AS d FROM {table} WHERE tenant IN (3, 77)
             ORDER BY v <-> (SELECT v FROM docs WHERE id = 77), id LIMIT {limit}"
        )
    };
    for (statement, has_workers) in [
        // The outer side of a join, each of whose rows asks for others.
        (
            "WITH wanted AS MATERIALIZED (SELECT id, tenant FROM wide WHERE id % 100 = 3 AND body LIKE '%x')
             SELECT wanted.id, near.id, near.d FROM wanted CROSS JOIN LATERAL
                 (SELECT id, v <-> (SELECT v FROM docs WHERE id = 77) AS d FROM docs WHERE tenant = wanted.tenant
                  ORDER BY v <-> (SELECT v FROM docs WHERE id = 77), id LIMIT 2) AS near ORDER BY 1, 3, 2"
                .to_owned(),
            true,
        ),
        // Both sides of a join, a subquery in a condition, and aggregates.
        (
            format!(
                "SELECT near.id, near.d, count(*) FROM ({}) AS near JOIN wide ON wide.tenant = near.tenant
                 WHERE wide.body LIKE '%x' GROUP BY 1, 2 ORDER BY 2, 1",
                near("docs", 9)
            ),
            true,
        ),
        (format!("SELECT count(*) FROM wide WHERE id IN (SELECT id FROM ({}) AS near)", near("docs", 7)), true),
        (
            format!(
                "SELECT count(*), (SELECT array_agg(id) FROM ({}) AS near) FROM wide WHERE body LIKE '%x'",
                near("parts", 6)
            ),
            true,
        ),
        // Partitions, some of which workers read.
        (
            format!(
                "SELECT count(*), min(parts.id) FROM parts, ({}) AS near WHERE parts.status = 'open' AND parts.id <> near.id",
                near("docs", 5)
            ),
            true,
        ),
        (format!("({}) UNION ALL ({}) ORDER BY 3, 1", near("docs", 4), near("parts", 5)), false),
        (near("parts", 20), false),
    ] {
        for settings in ["off", "on", "regress"] {
            client.batch_execute(&format!("SET {debug} = {settings}")).unwrap();
            let explained = plan(&mut client, &statement);
            assert!(explained.contains("WaliaCodeScan"), "{settings}: {statement}\n{explained}");
            assert!(!has_workers || explained.contains("Gather"), "{settings}: {statement}\n{explained}");
            assert_same(&mut client, &statement);
        }
    }
}

/// Parameters that are NULL, equal, or of no row, in plans for one execution and for all.
#[test]
fn prepared_statements() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_many(&mut client);
    let query = format!("'[{}]'", vec!["0.4"; 16].join(","));
    client.batch_execute(BY_CODES).unwrap();
    let mut by_codes = 0;
    for (types, condition, arguments) in [
        (
            "int, int",
            "(tenant = $1 OR tenant = $2)",
            &["3, 8", "3, 3", "3, NULL", "NULL, NULL", "-1, 5000"][..],
        ),
        ("int, int", "tenant IN ($1, $2, 9)", &["3, 8", "NULL, 8", "9, 9", "NULL, NULL"]),
        ("int, int", "(tenant = $1 OR $2 = tenant OR tenant = NULL)", &["3, 8", "NULL, 8"]),
        (
            "int, text",
            "(tenant = $1 OR tenant = 4) AND (status = $2 OR status = 'done')",
            &["3, 'open'", "NULL, 'new'", "3, NULL"],
        ),
        (
            "int[], int",
            "tenant = ANY ($1)",
            &["'{3,8}', 1", "'{}', 1", "NULL, 1", "'{NULL}', 1", "'{3,NULL,3,8}', 1"],
        ),
        ("int[], int", "(tenant = ANY ($1) OR tenant = $2)", &["'{3,8}', 1", "'{}', NULL", "NULL, 4"]),
        (
            "int[], text[]",
            "tenant = ANY ($1) AND status = ANY ($2)",
            &["'{3,8,9}', '{open,NULL}'", "'{3}', NULL"],
        ),
        ("int, int", "tenant BETWEEN $1 AND $2", &["3, 5", "5, 3", "NULL, 5", "3, NULL"]),
        ("bigint, numeric", "(tenant = $1 OR tenant = $2)", &["3, 8", "NULL, 8.5"]),
        ("bigint, bigint", "(tenant = $1 OR tenant = $2)", &["3, 8", "5000000000, 8", "NULL, NULL"]),
        ("bigint, bigint", "tenant = ANY (ARRAY[$1, $2])", &["3, 8", "5000000000, 8"]),
    ] {
        for table in ["docs", "parts"] {
            client
                .batch_execute(&format!(
                    "PREPARE near ({types}, vecf32, bigint) AS SELECT id, v <-> $3 FROM {table} WHERE {condition}
                     ORDER BY v <-> $3, id LIMIT $4"
                ))
                .unwrap();
            for mode in ["force_custom_plan", "force_generic_plan", "auto"] {
                client.batch_execute(&format!("SET plan_cache_mode = {mode}")).unwrap();
                for (query, limit) in
                    [(query.as_str(), "5"), (query.as_str(), "NULL"), ("NULL", "40"), (query.as_str(), "0")]
                {
                    for given in arguments {
                        let execute = format!("EXECUTE near({given}, {query}, {limit})");
                        by_codes += usize::from(plan(&mut client, &execute).contains("WaliaCodeScan"));
                        assert_same(&mut client, &execute);
                    }
                }
            }
            client.batch_execute("DEALLOCATE near").unwrap();
        }
    }
    assert!(by_codes > 300, "{by_codes} were executed by codes");
}

/// A role that sees its tenants' rows only, whatever it asks for; what it asks is not told of others' rows.
#[test]
fn row_security_by_tenant() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare_many(&mut client);
    client
        .batch_execute(
            "CREATE INDEX ON docs USING walia_hnsw (v vecf32_l2_ops); CREATE INDEX ON parts USING walia_hnsw (v vecf32_l2_ops);
             CREATE ROLE app; GRANT SELECT ON docs, parts TO app;
             ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON docs TO app USING (tenant = current_setting('app.tenant')::int OR tenant = 500);
             CREATE POLICY own ON parts TO app USING (tenant = ANY (ARRAY[current_setting('app.tenant')::int, 500]));
             CREATE FUNCTION spy(int) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN
                 IF $1 NOT IN (current_setting('app.tenant')::int, 500) THEN RAISE 'told of tenant %', $1; END IF;
                 RETURN true; END $$;
             CREATE FUNCTION quiet_spy(int) RETURNS bool LANGUAGE plpgsql STABLE COST 0.0001 AS $$ BEGIN RETURN spy($1); END $$;
             SET app.tenant = 7",
        )
        .unwrap();
    let query = format!("'[{}]'", vec!["0.4"; 16].join(","));
    let mut by_codes = 0;
    for table in ["docs", "parts"] {
        for condition in [
            "true",
            "tenant = 7",
            "tenant = 8",
            "(tenant = 7 OR tenant = 8)",
            "tenant = ANY ('{7,8,NULL,500}')",
            "(tenant = 7 OR status = 'open')",
            "tenant IN (7, 500) AND status = 'open'",
            "tenant > 400",
            "v <-> {q} < 1.4",
        ] {
            for spies in ["", " AND spy(tenant)", " AND quiet_spy(tenant)"] {
                let near = |more: &str| {
                    format!(
                        "SELECT id, tenant, v <-> {query} FROM {table} WHERE {condition}{more}
                         ORDER BY v <-> {query}, id LIMIT 15"
                    )
                    .replace("{q}", &query)
                };
                client
                    .batch_execute("RESET ALL; SET app.tenant = 7; SET enable_indexscan = off; RESET ROLE")
                    .unwrap();
                let expected = texts(&mut client, &near(" AND tenant IN (7, 500)"));
                for settings in [
                    "",
                    "SET enable_seqscan = off; SET enable_sort = off",
                    "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off",
                ] {
                    client
                        .batch_execute(&format!("RESET ALL; SET app.tenant = 7; SET ROLE app; SET walia.ef_search = 1000; {settings}"))
                        .unwrap();
                    let near = near(spies);
                    let explained = plan(&mut client, &near);
                    let given = texts(&mut client, &near);
                    by_codes += usize::from(explained.contains("WaliaCodeScan"));
                    // What is volatile is asked after the search of a graph, which may then miss rows.
                    if explained.contains("_v_idx") && !explained.contains("WaliaNearestScan") {
                        let is_own = |row: &String| row.contains(" 7 ") || row.contains(" 500 ");
                        assert!(given.iter().all(is_own), "{near}\n{explained}\n{given:?}");
                    } else {
                        assert_eq!(given, expected, "{near}\n{explained}");
                    }
                }
            }
        }
    }
    assert!(by_codes > 30, "{by_codes} were executed by codes");
}
