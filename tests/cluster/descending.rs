//! Orders that begin with rows without a distance: always exact, and searched by an index that holds none.

use std::io::Write;
use std::thread;

use postgres::Client;

use crate::conditions::texts;
use crate::server::Cluster;
use crate::stop_points::{Stopper, run_to};

/// Orders of a distance, and what they begin with: rows with NULL, and those whose distance is not defined.
const ORDERS: [(&str, bool, bool); 12] = [
    ("1 - (v {op} {q}) DESC", true, true),
    ("1 - (v {op} {q}) DESC, id", true, true),
    ("1 - (v {op} {q}) DESC NULLS LAST", false, true),
    ("(v {op} {q}) * -1 DESC", true, true),
    ("-(v {op} {q}) DESC", true, true),
    ("1 - ({q} {op} v) / 2 DESC", true, true),
    ("v {op} {q}", false, false),
    ("v {op} {q} NULLS FIRST", true, false),
    ("similarity DESC", true, true),
    ("similarity DESC NULLS LAST", false, true),
    ("likeness(v, {q}) DESC", true, true),
    ("likeness({q}, v) DESC NULLS LAST", false, true),
];

/// Rows of vectors, in the order of which no two are as far from a query.
fn create(client: &mut Client, table: &str, operators: &str) {
    client
        .batch_execute(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, v vecf32(4));
             INSERT INTO {table} SELECT i, ARRAY[sin(i), cos(i), sin(i * 0.7), 0.5 + sin(i * 0.3)]::vecf32
             FROM generate_series(1, 3000) i;
             CREATE INDEX ON {table} USING walia_hnsw (v vecf32_{operators}_ops);
             ANALYZE {table}"
        ))
        .unwrap();
}

fn connect(cluster: &Cluster) -> Client {
    let mut client = cluster.connect();
    // Ranking all rows is dear.
    client.batch_execute("SET walia.ef_search = 400; SET cpu_operator_cost = 0.5").unwrap();
    client
}

fn start() -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let functions = ["<->", "<#>", "<=>"].map(|operator| {
        let body = format!("SELECT 1 - ($1 {operator} $2)");
        (operator, body)
    });
    let mut client = cluster.connect();
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    for (schema, (_, body)) in ["l2", "ip", "cosine"].into_iter().zip(functions) {
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; CREATE FUNCTION {schema}.likeness(vecf32, vecf32) RETURNS float8
                 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS '{body}'"
            ))
            .unwrap();
    }
    cluster
}

const QUERY: &str = "vecf32 '[0.3,0.2,-0.5,0.9]'";

/// Whether a statement's plan has the search.
fn is_searched(client: &mut Client, statement: &str) -> bool {
    let plan = texts(client, &format!("EXPLAIN (COSTS OFF) {statement}"));
    plan.iter().any(|line| line.contains("WaliaNearestScan"))
}

/// A statement gives the rows that it gives without the index. Only ids may differ, of rows equally far.
fn assert_exact(client: &mut Client, statement: &str) {
    let given = texts(client, statement);
    client.batch_execute("SET walia.nearest_scan = off; SET enable_indexscan = off").unwrap();
    let exact = texts(client, statement);
    client.batch_execute("RESET walia.nearest_scan; RESET enable_indexscan").unwrap();
    assert_eq!(given, exact, "{statement}");
}

/// Orders of a table by `operator`, of whose rows some have no vector and some no defined distance.
fn assert_orders(client: &mut Client, table: &str, operator: &str, nulls: bool, undefined: bool) {
    let schema = match operator {
        "<->" => "l2",
        "<#>" => "ip",
        _ => "cosine",
    };
    client.batch_execute(&format!("SET search_path = {schema}, public")).unwrap();
    for (order, begins_with_null, begins_with_undefined) in ORDERS {
        for (condition, excludes_nulls) in
            [("true", false), ("id % 3 < 2", false), ("v IS NOT NULL", true), ("v <> '[1,1,1,1]'", true)]
        {
            let order = order.replace("{op}", operator).replace("{q}", QUERY);
            // What has no distance is as any other of these: ids are not compared.
            let statement = format!(
                "SELECT CASE WHEN similarity < 'Infinity' THEN id END, similarity
                 FROM (SELECT *, 1 - (v {operator} {QUERY}) AS similarity FROM {table}) AS s
                 WHERE {condition} ORDER BY {order} LIMIT 12"
            );
            let is_expected =
                !(nulls && begins_with_null && !excludes_nulls || undefined && begins_with_undefined);
            assert_eq!(is_searched(client, &statement), is_expected, "{table}: {statement}");
            assert_exact(client, &statement);
        }
    }
}

#[test]
fn orders_are_searched_while_no_row_precedes() {
    let cluster = start();
    let mut client = connect(&cluster);
    let vacuum = |client: &mut Client, table: &str| {
        client.batch_execute(&format!("VACUUM (INDEX_CLEANUP ON) {table}")).unwrap();
    };
    for (operator, operators, undefined) in [
        ("<=>", "cosine", Some("'[0,0,0,0]'")),
        ("<->", "l2", None),
        ("<#>", "ip", Some("'[3e38,3e38,-3e38,1]'")),
    ] {
        let table = format!("t_{operators}");
        client.batch_execute("RESET search_path").unwrap();
        create(&mut client, &table, operators);
        assert_orders(&mut client, &table, operator, false, false);
        // An aborted insertion counts until it is vacuumed.
        client.batch_execute(&format!("BEGIN; INSERT INTO {table} VALUES (9001, NULL); ROLLBACK")).unwrap();
        assert_orders(&mut client, &table, operator, true, false);
        vacuum(&mut client, &table);
        assert_orders(&mut client, &table, operator, false, false);
        let mut copy = client.copy_in(&format!("COPY {table} FROM STDIN")).unwrap();
        copy.write_all(b"9001\t\\N\n").unwrap();
        copy.finish().unwrap();
        assert_orders(&mut client, &table, operator, true, false);
        if let Some(undefined) = undefined {
            client.batch_execute(&format!("INSERT INTO {table} VALUES (9002, {undefined})")).unwrap();
            assert_orders(&mut client, &table, operator, true, true);
            client.batch_execute(&format!("DELETE FROM {table} WHERE id = 9001")).unwrap();
            vacuum(&mut client, &table);
            assert_orders(&mut client, &table, operator, false, true);
        }
        // They are filled in.
        client
            .batch_execute(&format!("UPDATE {table} SET v = '[0.2,-0.1,0.4,0.3]' WHERE id > 9000"))
            .unwrap();
        assert_orders(&mut client, &table, operator, undefined.is_none(), undefined.is_some());
        for _ in 0..2 {
            vacuum(&mut client, &table);
            client.batch_execute(&format!("DELETE FROM {table} WHERE id > 9000")).unwrap();
        }
        assert_orders(&mut client, &table, operator, false, false);
        // What a build meets, and what comes while an index is built concurrently.
        client
            .batch_execute(&format!("INSERT INTO {table} VALUES (9003, NULL); REINDEX TABLE {table}"))
            .unwrap();
        assert_orders(&mut client, &table, operator, true, false);
        client.batch_execute(&format!("DELETE FROM {table} WHERE v IS NULL")).unwrap();
        client.batch_execute(&format!("REINDEX TABLE {table}")).unwrap();
        assert_orders(&mut client, &table, operator, false, false);
    }
}

/// A query vector of which no distance is defined, and one of which some may not be.
#[test]
fn special_queries() {
    let cluster = start();
    let mut client = connect(&cluster);
    create(&mut client, "items", "cosine");
    create(&mut client, "products", "ip");
    client.batch_execute("SET plan_cache_mode = force_generic_plan").unwrap();
    for (table, operator) in [("items", "<=>"), ("products", "<#>")] {
        for (number, order) in ["DESC", "DESC NULLS LAST"].into_iter().enumerate() {
            let name = format!("{table}_{number}");
            let prepare = format!(
                "PREPARE {name}(vecf32) AS SELECT 1 - (v {operator} $1) FROM {table} ORDER BY 1 - (v {operator} $1) {order} LIMIT 5"
            );
            client.batch_execute(&prepare).unwrap();
            for query in ["NULL", "'[0,0,0,0]'", "'[3e38,-3e38,3e38,3e38]'", "'[1,2,3,4]'"] {
                let execute = format!("EXECUTE {name}({query})");
                assert!(is_searched(&mut client, &execute));
                let given = texts(&mut client, &execute);
                let literal = format!(
                    "SELECT 1 - (v {operator} {query}::vecf32) AS s FROM {table} ORDER BY s {order} LIMIT 5"
                );
                client.batch_execute("SET walia.nearest_scan = off").unwrap();
                assert_eq!(given, texts(&mut client, &literal), "{execute}");
                client.batch_execute("RESET walia.nearest_scan").unwrap();
            }
        }
    }
}

/// A plan that was made when there was no NULL, after the first one; a snapshot of before it; on a standby as
/// well.
#[test]
fn a_plan_outlives_the_first_null() {
    let cluster = start();
    let mut client = connect(&cluster);
    create(&mut client, "items", "cosine");
    let standby = cluster.standby(&[]);
    cluster.wait_for_replay(&standby);
    let mut replica = connect(&standby);
    let prepare = "SET plan_cache_mode = force_generic_plan;
         PREPARE near(vecf32) AS SELECT id FROM items ORDER BY 1 - (v <=> $1) DESC LIMIT 3";
    let execute = "EXECUTE near('[1,2,3,4]')";
    let nearest = texts(&mut client, "SELECT id FROM items ORDER BY v <=> '[1,2,3,4]' LIMIT 3");
    let mut old = connect(&cluster);
    for session in [&mut client, &mut replica, &mut old] {
        session.batch_execute(prepare).unwrap();
        assert!(is_searched(session, execute));
        assert_eq!(texts(session, execute), nearest);
    }
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM items LIMIT 1").unwrap();
    client.batch_execute("INSERT INTO items VALUES (9001, NULL), (9002, '[0,0,0,0]')").unwrap();
    let first = ["9001", "9002", nearest[0].as_str()];
    cluster.wait_for_replay(&standby);
    for session in [&mut client, &mut replica] {
        assert!(is_searched(session, execute), "the plan is the one of before");
        assert_eq!(texts(session, execute), first);
    }
    assert_eq!(texts(&mut old, execute), nearest);
    old.batch_execute("COMMIT").unwrap();
    client.batch_execute("UPDATE items SET v = '[-1,-2,-3,-4]' WHERE id > 9000; COMMIT").unwrap();
    client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
    // What has no transaction number may be written later.
    client.batch_execute("SELECT pg_switch_wal()").unwrap();
    cluster.wait_for_replay(&standby);
    for session in [&mut client, &mut replica] {
        assert!(is_searched(session, execute));
        assert_eq!(texts(session, execute), nearest);
        let walked = texts(session, &format!("EXPLAIN (ANALYZE, COSTS OFF) {execute}"));
        assert!(walked.iter().any(|line| line.contains("Search Method: walk")), "{walked:#?}");
    }
}

/// While a vacuum looks, and when it has died, nothing is known; a row that comes meanwhile is not forgotten.
#[test]
fn a_vacuum_is_held_up() {
    let cluster = start();
    let mut client = connect(&cluster);
    let order = "SELECT id FROM items ORDER BY 1 - (v <=> '[1,2,3,4]') DESC LIMIT 3";
    for point in ["vacuum clearing", "vacuum all cleaned"] {
        for (comes, dies) in [(false, false), (true, false), (false, true), (true, true)] {
            client.batch_execute("DROP TABLE IF EXISTS items").unwrap();
            create(&mut client, "items", "cosine");
            client
                .batch_execute("INSERT INTO items SELECT i, NULL FROM generate_series(9001, 9200) i; DELETE FROM items WHERE id > 2000")
                .unwrap();
            thread::scope(|scope| {
                let mut stopper = Stopper::new(&cluster);
                let vacuum = scope.spawn(|| run_to(&cluster, point, "VACUUM (INDEX_CLEANUP ON) items"));
                stopper.wait_for(1, point);
                if comes {
                    client.batch_execute("INSERT INTO items VALUES (9300, NULL)").unwrap();
                }
                assert_eq!(is_searched(&mut client, order), point != "vacuum clearing" && !comes);
                assert_exact(&mut client, order);
                if dies {
                    stopper.cancel();
                    vacuum.join().unwrap().unwrap_err();
                } else {
                    stopper.release();
                    vacuum.join().unwrap().unwrap();
                }
            });
            let is_known = !dies || point != "vacuum clearing";
            assert_eq!(is_searched(&mut client, order), is_known && !comes, "{point} {comes} {dies}");
            assert_exact(&mut client, order);
            // Nothing has died since: the next one finds out all the same.
            client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
            assert_eq!(is_searched(&mut client, order), !comes, "{point} {comes} {dies}");
            assert_exact(&mut client, order);
        }
    }
}

/// Tables without WAL, and indexes that are built past their memory or of some rows.
#[test]
fn other_tables_and_indexes() {
    let cluster = start();
    let mut client = connect(&cluster);
    let order = "ORDER BY 1 - (v <=> '[1,2,3,4]') DESC LIMIT 3";
    let filled = "SELECT i AS id, ARRAY[sin(i), cos(i), sin(i * 0.7), 0.5 + sin(i * 0.3)]::vecf32(4) AS v
                  FROM generate_series(1, 3000) i";
    client
        .batch_execute(&format!(
            "CREATE UNLOGGED TABLE items (id int, v vecf32(4)); CREATE INDEX ON items USING walia_hnsw (v vecf32_cosine_ops);
             INSERT INTO items {filled}; INSERT INTO items VALUES (9001, NULL); ANALYZE items"
        ))
        .unwrap();
    let statement = format!("SELECT id FROM items {order}");
    assert!(!is_searched(&mut client, &statement));
    assert_exact(&mut client, &statement);
    drop(client);
    cluster.kill9();
    cluster.run();
    let mut client = connect(&cluster);
    client.batch_execute(&format!("INSERT INTO items {filled}; ANALYZE items")).unwrap();
    assert!(is_searched(&mut client, &statement));
    assert_exact(&mut client, &statement);
    client.batch_execute(&format!("CREATE TEMPORARY TABLE brief AS {filled}; CREATE INDEX ON brief USING walia_hnsw (v vecf32_cosine_ops); ANALYZE brief")).unwrap();
    let brief = format!("SELECT id FROM brief {order}");
    assert!(is_searched(&mut client, &brief));
    client.batch_execute("INSERT INTO brief VALUES (9001, NULL)").unwrap();
    assert!(!is_searched(&mut client, &brief));
    assert_exact(&mut client, &brief);
    // The index holds some rows, and the conditions want no others.
    client.batch_execute("CREATE TABLE few AS SELECT * FROM brief; CREATE INDEX ON few USING walia_hnsw (v vecf32_cosine_ops) WHERE id < 9000; ANALYZE few").unwrap();
    assert!(is_searched(&mut client, &format!("SELECT id FROM few WHERE id < 9000 {order}")));
    assert!(!is_searched(&mut client, &format!("SELECT id FROM few {order}")));
    // Rows past the memory of a build are inserted one by one.
    client.batch_execute("SET maintenance_work_mem = '1MB'").unwrap();
    for (nulls, is_expected) in [("", true), ("UNION ALL SELECT 9001, NULL", false)] {
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS large; CREATE TABLE large (id int, v vecf32(256)); INSERT INTO large
                     SELECT i AS id, (ARRAY[sin(i), cos(i), sin(i * 0.7), 0.5 + sin(i * 0.3)]::real[] || array_fill(0.01, ARRAY[252])::real[])::vecf32(256) AS v
                     FROM generate_series(1, 1500) i {nulls};
                 CREATE INDEX ON large USING walia_hnsw (v vecf32_cosine_ops); ANALYZE large"
            ))
            .unwrap();
        let query = "array_fill(0.4::real, ARRAY[256])::vecf32";
        let statement = format!("SELECT id FROM large ORDER BY 1 - (v <=> {query}) DESC LIMIT 3");
        assert_eq!(is_searched(&mut client, &statement), is_expected);
        assert_exact(&mut client, &statement);
    }
}

/// A column that is NOT NULL now has NULLs that are dead.
#[test]
fn a_column_without_nulls() {
    let cluster = start();
    let mut client = connect(&cluster);
    create(&mut client, "items", "l2");
    client.batch_execute("INSERT INTO items VALUES (9001, NULL); DELETE FROM items WHERE v IS NULL").unwrap();
    let order = "SELECT id FROM items ORDER BY 1 - (v <-> '[1,2,3,4]') DESC LIMIT 3";
    assert!(!is_searched(&mut client, order));
    client.batch_execute("ALTER TABLE items ALTER v SET NOT NULL").unwrap();
    assert!(is_searched(&mut client, order));
    assert_exact(&mut client, order);
}

/// Vectors of which float4 does not hold the squared norm are in the graph, and in nobody's way once a vacuum
/// has removed them. A bound that is NaN is greater than the distance of all of them, and of zero vectors.
#[test]
fn great_vectors_go() {
    let cluster = start();
    let mut client = connect(&cluster);
    create(&mut client, "items", "cosine");
    let order =
        "SELECT id FROM items WHERE id <> 7 AND v IS NOT NULL ORDER BY 1 - (v <=> '[1,2,3,4]') DESC LIMIT 3";
    let unbounded =
        "SELECT id FROM items WHERE v <=> '[1,2,3,4]' <= 'NaN' ORDER BY 1 - (v <=> '[1,2,3,4]') DESC LIMIT 3";
    assert!(is_searched(&mut client, order));
    for come_and_go in [
        "INSERT INTO items VALUES (-5, '[1e19,1e19,1e19,1]'); DELETE FROM items WHERE id < 0",
        "BEGIN; INSERT INTO items VALUES (-5, '[1e19,1e19,1e19,1]'); ROLLBACK",
    ] {
        client.batch_execute(come_and_go).unwrap();
        assert!(!is_searched(&mut client, order), "{come_and_go}");
        assert_exact(&mut client, order);
        client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
        assert!(is_searched(&mut client, order), "{come_and_go}");
    }
    // One that stays, beside a dead row with the same vector.
    client
        .batch_execute(
            "INSERT INTO items VALUES (-5, '[1e19,1e19,1e19,1]'), (-6, '[1e19,1e19,1e19,1]');
             DELETE FROM items WHERE id = -6",
        )
        .unwrap();
    client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
    assert!(!is_searched(&mut client, order));
    client.batch_execute("INSERT INTO items VALUES (-1, '[0,0,0,0]')").unwrap();
    assert_exact(&mut client, unbounded);
    client.batch_execute("DELETE FROM items WHERE id < 0").unwrap();
    client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
    assert_exact(&mut client, unbounded);
    client
        .batch_execute(
            "PREPARE bounded(float8) AS SELECT id FROM items WHERE v <=> '[1,2,3,4]' <= $1
         ORDER BY 1 - (v <=> '[1,2,3,4]') DESC LIMIT 3; INSERT INTO items VALUES (-1, '[0,0,0,0]')",
        )
        .unwrap();
    for bound in ["'NaN'", "0.5", "NULL"] {
        assert_exact(&mut client, &format!("EXECUTE bounded({bound})"));
    }
}
