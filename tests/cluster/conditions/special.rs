//! Statements that are not made at random.

use super::*;

/// What readers of the search have found wrong with it.
#[test]
fn special_statements() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client);
    let near = "v <-> '[1,2,1,2,1,2,1,2]'";
    // Ranking is dear, so that the walk is taken.
    client.batch_execute("SET cpu_operator_cost = 0.3").unwrap();
    // Conditions that say the same of all rows.
    for condition in ["current_setting('work_mem') = '64MB'", "(SELECT count(*) FROM pg_class) > 0"] {
        assert_exact(
            &mut client,
            &format!("SELECT id FROM items WHERE {condition} AND tenant < 30 ORDER BY {near} LIMIT 5"),
        );
    }
    // System columns are those of the rows.
    let rows_by_place = format!(
        "SELECT id FROM items WHERE ctid = ANY (ARRAY(SELECT ctid FROM items WHERE tenant < 20 ORDER BY {near} LIMIT 7))"
    );
    assert_exact(&mut client, &rows_by_place);
    let tables = format!("SELECT id FROM items WHERE tableoid = 'items'::regclass ORDER BY {near} LIMIT 3");
    assert_exact(&mut client, &tables);
    // Zero vectors have no distance, which is greater than every number.
    client
        .batch_execute(
            "CREATE TABLE angles (id int, v vecf32(3));
             INSERT INTO angles SELECT i, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32 FROM generate_series(1, 9000) i;
             INSERT INTO angles SELECT 9000 + i, '[0,0,0]' FROM generate_series(1, 5) i;
             CREATE INDEX ON angles USING walia_hnsw (v vecf32_cosine_ops);
             ANALYZE angles",
        )
        .unwrap();
    for bound in ["1 - (v <=> '[1,1,1]') > 0.9999", "-(v <=> '[1,1,1]') >= -0.001", "v <=> '[1,1,1]' < 0.001"]
    {
        for order in ["v <=> '[1,1,1]'", "1 - (v <=> '[1,1,1]') DESC"] {
            assert_exact(
                &mut client,
                &format!("SELECT id FROM angles WHERE {bound} ORDER BY {order} LIMIT 60"),
            );
        }
    }
    // A setting that changes after planning.
    let prepared = "SET plan_cache_mode = force_generic_plan;
         PREPARE by_vector(vecf32) AS SELECT id FROM items WHERE tenant < 20 ORDER BY v <-> $1 LIMIT 3;
         EXECUTE by_vector('[1,2,1,2,1,2,1,2]'); SET walia.iterative_scan = off;
         EXECUTE by_vector('[1,2,1,2,1,2,1,2]'); RESET walia.iterative_scan";
    client.batch_execute(prepared).unwrap();
    // A limit that changes between executions of one plan, with the exact way.
    client
        .batch_execute(
            "RESET cpu_operator_cost;
             CREATE TABLE three AS SELECT generate_series(1, 3) AS x;
             CREATE FUNCTION rare(int) RETURNS bool IMMUTABLE COST 1 LANGUAGE plpgsql AS 'BEGIN RETURN $1 % 300 = 9; END';
             SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
             SET join_collapse_limit = 1",
        )
        .unwrap();
    let limits = format!(
        "SELECT i, (SELECT count(*) FROM three LEFT JOIN
             (SELECT id FROM items WHERE rare(id) ORDER BY {near} LIMIT i) AS s ON true)
         FROM (VALUES (1), (3), (9)) AS v(i)"
    );
    assert_eq!(rows(&mut client, &limits), [(1, Some(3.0)), (3, Some(9.0)), (9, Some(27.0))]);
}

/// Many tables at once: rows of the right tables, further rows, parameters, and where it is left to others.
#[test]
fn statements_about_many_tables() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client);
    client.batch_execute("SET cpu_operator_cost = 0.3").unwrap();
    let near = "v <-> '[1,2,1,2,1,2,1,2]'";
    let is_searched = |client: &mut Client, statement: &str| {
        set_index(client, true);
        plan(client, statement).contains("WaliaNearestScan")
    };
    let branches = TABLES[3];
    for statement in [
        // Row types and system columns are those of the rows' own tables.
        format!("SELECT (parts).id, (parts).tenant FROM parts WHERE flag ORDER BY {near} LIMIT 9"),
        format!("SELECT id, tableoid::int FROM parts WHERE tenant < 20 ORDER BY {near} LIMIT 30"),
        format!("SELECT id, tableoid::int FROM family WHERE tenant < 20 ORDER BY {near} LIMIT 300"),
        format!(
            "SELECT id, x FROM (SELECT 1 AS x, * FROM ONLY family UNION ALL SELECT 2, * FROM child) AS u
                 WHERE tenant < 20 ORDER BY {near} LIMIT 30"
        ),
        // More rows than a search keeps, all rows, and those without a vector.
        format!("SELECT id FROM parts WHERE tenant < 30 ORDER BY {near} LIMIT 2000 OFFSET 10"),
        format!("SELECT id FROM parts ORDER BY {near} LIMIT 1500"),
        format!("SELECT id FROM parts WHERE id % 2 = 0 ORDER BY {near}"),
        format!("SELECT id FROM {branches} WHERE tenant < 30 ORDER BY {near} LIMIT 50"),
        format!("SELECT id FROM parts WHERE tenant < 30 AND {near} < 1.5 ORDER BY {near}"),
        format!(
            "SELECT id, tenant FROM parts WHERE 2 - ({near}) > 0.5 AND tenant < 30 ORDER BY 2 - ({near}) DESC LIMIT 40"
        ),
        format!("SELECT id FROM parts WHERE tenant < 30 ORDER BY {near}, id LIMIT 40"),
        // One partition alone.
        format!("SELECT id FROM parts_1 WHERE tenant < 30 ORDER BY {near} LIMIT 20"),
        // Another table above.
        format!(
            "SELECT parts.id FROM parts LEFT JOIN others ON number = parts.id WHERE tenant < 9 ORDER BY {near} LIMIT 20"
        ),
    ] {
        assert!(is_searched(&mut client, &statement), "{statement}\n{}", plan(&mut client, &statement));
        assert_exact(&mut client, &statement);
    }
    for statement in [
        format!("SELECT id FROM parts WHERE tenant < 30 ORDER BY {near} LIMIT 5 FOR UPDATE"),
        format!("SELECT id FROM parts WHERE tenant < 30 AND random() >= 0 ORDER BY {near} LIMIT 5"),
        format!("SELECT id FROM parts ORDER BY {near} LIMIT 5"),
        format!("SELECT id FROM (SELECT id, {near} AS d FROM parts UNION ALL SELECT id, ({near}) + 1 FROM child) AS u
                 WHERE id > 9 ORDER BY d LIMIT 5"),
        format!("SELECT id FROM (SELECT id, {near} AS d FROM parts UNION ALL SELECT number, 1 FROM others) AS u
                 WHERE id > 9 ORDER BY d LIMIT 5"),
    ] {
        assert!(!is_searched(&mut client, &statement), "{statement}\n{}", plan(&mut client, &statement));
        assert_exact(&mut client, &statement);
    }
    // One plan for every vector and limit; a partition that is known only when it is run.
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE nearest(vecf32, int, int) AS
                 SELECT id, v <-> $1 FROM parts WHERE tenant < $3 ORDER BY v <-> $1 LIMIT $2;
             PREPARE one(vecf32, int) AS SELECT id, v <-> $1 FROM parts WHERE id = $2 ORDER BY v <-> $1 LIMIT 1",
        )
        .unwrap();
    for execute in [
        "EXECUTE nearest('[1,2,1,2,1,2,1,2]', 3, 30)",
        "EXECUTE nearest('[3,2,1,2,1,2,1,2]', 1200, 35)",
        "EXECUTE nearest('[3,2,1,2,1,2,1,2]', NULL, 5)",
        "EXECUTE nearest('[0,0,0,0,0,0,0,0]', 0, 5)",
        "EXECUTE nearest(NULL, 10000, 30)",
    ] {
        assert!(is_searched(&mut client, execute), "{}", plan(&mut client, execute));
        assert_exact(&mut client, execute);
    }
    assert!(!is_searched(&mut client, "EXECUTE one('[1,2,1,2,1,2,1,2]', 12)"));
    assert_exact(&mut client, "EXECUTE one('[1,2,1,2,1,2,1,2]', 12)");
    // A cursor goes on to the last row, each once.
    client
        .batch_execute(&format!(
            "BEGIN; DECLARE near CURSOR FOR SELECT id, {near} FROM parts WHERE tenant < 30 ORDER BY {near}"
        ))
        .unwrap();
    let mut all = rows(&mut client, "FETCH 7 FROM near");
    all.extend(rows(&mut client, "FETCH 900 FROM near"));
    assert!(all.is_sorted_by(|a, b| a.1 <= b.1), "{all:?}");
    all.extend(rows(&mut client, "FETCH ALL FROM near"));
    client.batch_execute("COMMIT").unwrap();
    let mut ids: Vec<i32> = all.into_iter().map(|row| row.0).collect();
    ids.sort_unstable();
    set_index(&mut client, false);
    let expected = rows(&mut client, "SELECT id FROM parts WHERE tenant < 30 ORDER BY id");
    assert_eq!(ids, expected.into_iter().map(|row| row.0).collect::<Vec<_>>());
    // What was searched is counted together.
    set_index(&mut client, true);
    rows(&mut client, &format!("SELECT id FROM parts WHERE tenant < 30 ORDER BY {near} LIMIT 5"));
    assert_eq!(rows(&mut client, "SELECT indexes FROM walia_last_scan()"), [(4, None)]);
}

/// More rows than a search keeps, and no condition: the walk is not priced as a scan of the table, nor thinks
/// so itself.
#[test]
fn many_rows_without_conditions() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.2);
             CREATE TABLE items AS SELECT i AS id, (SELECT array_agg(random() + 0 * i * j)::vecf32(32)
                 FROM generate_series(1, 32) j) AS v FROM generate_series(1, 20000) i;
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops); ANALYZE items",
        )
        .unwrap();
    let near = "v <-> (SELECT v FROM items WHERE id = 77)";
    for (condition, limit) in
        [("true", 50), ("true", 100), ("true", 200), ("id > 2000", 100), ("id < 18000", 70)]
    {
        let statement = format!("SELECT id FROM items WHERE {condition} ORDER BY {near} LIMIT {limit}");
        let explained = client.simple_query(&format!("EXPLAIN ANALYZE {statement}")).unwrap();
        assert!(format!("{explained:?}").contains("Search Method: walk\""), "{statement}: {explained:?}");
        client.batch_execute("SET enable_indexscan = off").unwrap();
        let exact = rows(&mut client, &statement);
        client.batch_execute("SET enable_indexscan = on").unwrap();
        let given = rows(&mut client, &statement);
        let found = given.iter().filter(|row| exact.contains(row)).count();
        assert!(found as f64 >= 0.93 * exact.len() as f64, "{statement}: {found} of {}", exact.len());
    }
}

/// Rows that are numbered in the order of the answer are as many as the LIMIT says: the search knows it, and
/// their places are those of their distances.
#[test]
fn numbered_rows() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia; SELECT setseed(0.2);
             CREATE TABLE items AS SELECT i AS id, (SELECT array_agg(random() + 0 * i * j)::vecf32(48)
                 FROM generate_series(1, 48) j) AS v FROM generate_series(1, 12000) i;
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops); ANALYZE items;
             SET cpu_operator_cost = 0.3",
        )
        .unwrap();
    let near = "v <-> array_fill(0.4::real, ARRAY[48])::vecf32";
    let tested = |client: &mut Client, statement: &str| {
        let statement = statement.replace("{d}", near);
        set_index(client, false);
        let exact = rows(client, &statement);
        set_index(client, true);
        assert!(plan(client, &statement).contains("WaliaNearestScan"), "{}", plan(client, &statement));
        let given = rows(client, &statement);
        let tested = rows(client, "SELECT rows_tested::int FROM walia_last_scan()")[0].0;
        assert!(given.is_sorted_by(|one, other| one.1 <= other.1), "{statement}: {given:?}");
        let found = given.iter().filter(|row| exact.contains(row)).count();
        assert!(found as f64 >= 0.98 * exact.len() as f64, "{statement}: {found} of {}", exact.len());
        tested
    };
    for (condition, limit) in
        [("id % 10 = 3", "LIMIT 300"), ("id % 2 = 0", "LIMIT 100 OFFSET 50"), ("true", "LIMIT 200")]
    {
        let plain = format!("SELECT id, {{d}} FROM items WHERE {condition} ORDER BY {{d}} {limit}");
        let most = tested(&mut client, &plain) * 11 / 10 + 20;
        for windows in [
            "row_number() OVER (ORDER BY {d})",
            "rank() OVER (ORDER BY {d}), dense_rank() OVER (ORDER BY {d})",
        ] {
            for order in ["ORDER BY {d}", "", "ORDER BY {d}, id"] {
                let statement =
                    format!("SELECT id, {{d}}, {windows} FROM items WHERE {condition} {order} {limit}");
                let tested = tested(&mut client, &statement);
                assert!(tested <= most, "{statement}: {tested} rows were tested, {most} at most without");
            }
        }
    }
}
