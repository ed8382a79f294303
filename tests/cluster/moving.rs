//! Moving from pgvector: its types under walia_hnsw, its settings, and the statements that move its indexes.
//!
//! pgvector is not part of walia. Where the server lacks it, the tests say that they are skipped.

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::by_index;
use crate::server::{Cluster, run_as_server_user};

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

/// Fails unless the index gives what a sequential scan does: all rows, as far away, and in order but for what pgvector
/// rounds. `query` has the columns id and distance, and no order.
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
            // Bounds that are the distance of a row: pgvector's, which the index does not compute to the last bit.
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
fn messages_name_the_types_of_columns() {
    let Some((_cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "CREATE TABLE items (v vector(3), open vector, h halfvec(3));
             INSERT INTO items VALUES ('[1,2,3]', '[1,2]', '[1,2,3]');
             CREATE INDEX ON items USING walia_hnsw (v vector_l2_ops);
             CREATE INDEX ON items USING walia_hnsw (h);
             SET enable_seqscan = off",
        )
        .unwrap();
    let mut refused = |statement: &str, code: SqlState, message: &str, hint: Option<&str>| {
        let error = client.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}"));
        assert_eq!((error.code(), error.message(), error.hint()), (&code, message, hint), "{statement}");
    };
    let type_mismatch = SqlState::DATATYPE_MISMATCH;
    refused(
        "CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)",
        type_mismatch.clone(),
        "operator class \"vecf32_l2_ops\" does not accept data type vector",
        Some("Use operator class \"vector_l2_ops\"."),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (h vecf16_cosine_ops)",
        type_mismatch.clone(),
        "operator class \"vecf16_cosine_ops\" does not accept data type halfvec",
        Some("Use operator class \"halfvec_cosine_ops\"."),
    );
    refused(
        "CREATE TABLE part (v vector(3)) PARTITION BY RANGE ((v::text)); CREATE INDEX ON part USING walia_hnsw (v vecf32_ip_ops)",
        type_mismatch,
        "operator class \"vecf32_ip_ops\" does not accept data type vector",
        Some("Use operator class \"vector_ip_ops\"."),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (open)",
        SqlState::INVALID_PARAMETER_VALUE,
        "column does not have dimensions",
        Some("Specify them in the type, as in vector(384), or index an expression of such a type."),
    );
    refused(
        "CREATE INDEX ON items USING walia_hnsw (h) WITH (storage = f32)",
        SqlState::INVALID_PARAMETER_VALUE,
        "storage \"f32\" is more precise than type halfvec",
        Some("Omit the option, or set it to \"f16\" or \"sq8\"."),
    );
    let exception = SqlState::DATA_EXCEPTION;
    let differs = "different vector dimensions 3 and 2";
    refused("SELECT * FROM items ORDER BY v <-> '[1,2]'", exception.clone(), differs, None);
    let differs = "different halfvec dimensions 3 and 2";
    refused("SELECT * FROM items ORDER BY h <=> '[1,2]'", exception, differs, None);
}

#[test]
fn columns_change_their_types_without_a_rewrite() {
    let Some((_cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client
        .batch_execute(
            "CREATE INDEX items_v ON items USING walia_hnsw (v); CREATE INDEX items_h ON items USING walia_hnsw (h);
             CREATE DOMAIN embedding AS vector(12); CREATE TABLE domains (v embedding); INSERT INTO domains SELECT v FROM items",
        )
        .unwrap();
    let file = |client: &mut Client, table: &str| -> u32 {
        client.query_one(&format!("SELECT pg_relation_filenode('{table}')"), &[]).unwrap().get(0)
    };
    let (before, of_domains) = (file(&mut client, "items"), file(&mut client, "domains"));
    client
        .batch_execute(
            "ALTER TABLE items ALTER v TYPE vecf32(12), ALTER h TYPE vecf16(12); ALTER TABLE domains ALTER v TYPE vecf32(12)",
        )
        .unwrap();
    assert_eq!((file(&mut client, "items"), file(&mut client, "domains")), (before, of_domains));
    // Literals, and parameters of pgvector's types as its clients send them.
    let query = "[1,0.5,-1,0.2,0.9,-0.3,0.1,0,0.4,-0.8,0.6,0.7]";
    for argument in [format!("'{query}'"), format!("'{query}'::vector"), format!("'{query}'::vector(12)")] {
        assert_same(&mut client, &format!("SELECT id, v <=> {argument} AS distance FROM items"), "items_v");
    }
    let argument = format!("'{query}'::halfvec");
    assert_same(&mut client, &format!("SELECT id, h <=> {argument} AS distance FROM items"), "items_h");
    // Another number of dimensions is looked for in every row, and back the table is written anew.
    let error = client.batch_execute("ALTER TABLE items ALTER v TYPE vecf32(11)").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DATA_EXCEPTION));
    client.batch_execute("ALTER TABLE items ALTER v TYPE vector(12), ALTER h TYPE halfvec(12)").unwrap();
    assert_same(&mut client, &format!("SELECT id, v <=> '{query}' AS distance FROM items"), "items_v");
}

/// What applications of pgvector write means the same with walia beside it.
#[test]
fn expressions_stay_unambiguous() {
    let Some((_cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client
        .batch_execute(
            "CREATE TABLE ours (id int, v vecf32(12), h vecf16(12)); INSERT INTO ours SELECT * FROM items",
        )
        .unwrap();
    for (expression, expected) in [
        ("v <-> '[1,2]'", "vector"),
        ("'[1,2]' <-> v", "vector"),
        ("v <-> v", "vector"),
        ("v <-> h", "halfvec"),
        ("h <-> v", "halfvec"),
        ("h <~> '[1,2]'", "halfvec"),
        ("v <~> '[1,2]'", "vector"),
        ("v <~> v", "vector"),
        ("v <=> ARRAY[1,2]::vector", "vector"),
        ("v <-> '[1,2]'::vecf32", "vecf32"),
        ("'[1,2]'::vecf32 <-> v", "vecf32"),
        ("h <-> '[1,2]'::vecf16", "vecf16"),
    ] {
        client
            .batch_execute(&format!("CREATE VIEW resolved AS SELECT {expression} AS d FROM items"))
            .unwrap();
        let operands = "SELECT DISTINCT oprleft::regtype::text || oprright::regtype::text FROM pg_operator
                        JOIN pg_depend ON refobjid = pg_operator.oid JOIN pg_rewrite ON pg_rewrite.oid = objid
                        WHERE refclassid = 'pg_operator'::regclass AND ev_class = 'resolved'::regclass";
        let operands: String = client.query_one(operands, &[]).unwrap().get(0);
        assert_eq!(operands, expected.repeat(2), "{expression}");
        client.batch_execute("DROP VIEW resolved").unwrap();
    }
    for statement in [
        "SELECT l2_distance(v, '[1,2,3,4,5,6,7,8,9,10,11,12]'), cosine_distance(v, v), inner_product(h, h), l1_distance(v, v) FROM items",
        "SELECT avg(v), sum(v), avg(h), sum(h) FROM items",
        "SELECT v + v, v - '[1,2,3,4,5,6,7,8,9,10,11,12]', v * v, v || v, v = v, v < '[1]', h + h FROM items",
        "SELECT vector_dims(v), vector_norm(v), l2_norm(h), l2_normalize(v), subvector(v, 1, 3), binary_quantize(v) FROM items",
        "SELECT v::halfvec, h::vector, v::sparsevec, v::real[], ARRAY[1,2]::vector, '{1,2}'::real[]::vector FROM items",
        "SELECT v FROM items UNION ALL SELECT '[1]' UNION ALL SELECT NULL",
        "SELECT coalesce(v, '[1]'), CASE WHEN true THEN v ELSE '[1]' END FROM items",
        "SELECT * FROM items WHERE v IN ('[1]', '[2]') OR v = ANY (ARRAY['[1]']::vector[])",
        "INSERT INTO items VALUES (4000, '[1,2,3,4,5,6,7,8,9,10,11,12]', ARRAY[1,2,3,4,5,6,7,8,9,10,11,12])",
        "INSERT INTO items SELECT id + 5000, v, h FROM ours LIMIT 5",
        "INSERT INTO ours SELECT * FROM items",
        "SELECT o.v <-> i.v, o.h <-> i.h FROM ours AS o JOIN items AS i USING (id)",
        "SELECT v FROM ours UNION ALL SELECT v FROM items",
        "PREPARE nearest AS SELECT id FROM items ORDER BY v <-> $1 LIMIT 3; EXECUTE nearest('[1,2,3,4,5,6,7,8,9,10,11,12]')",
        "PREPARE near AS SELECT id FROM ours ORDER BY v <-> $1 LIMIT 3; EXECUTE near('[1,2,3,4,5,6,7,8,9,10,11,12]')",
    ] {
        client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
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

#[test]
fn belongs_to_whoever_may_create_it() {
    let Some((cluster, mut client)) = moving() else { return };
    client
        .batch_execute(
            "DROP EXTENSION walia_pgvector; DROP EXTENSION vector; DROP EXTENSION walia;
             CREATE SCHEMA theirs; CREATE SCHEMA walia; CREATE SCHEMA taken; CREATE ROLE owner LOGIN;
             GRANT CREATE ON DATABASE postgres TO owner; ALTER SCHEMA taken OWNER TO owner;
             CREATE EXTENSION vector SCHEMA theirs; CREATE EXTENSION walia SCHEMA walia;
             GRANT USAGE ON SCHEMA theirs, walia TO owner",
        )
        .unwrap();
    let mut owner = cluster.connect_as("owner", "postgres");
    // What a user puts in the place of pgvector's objects gets no superuser's cast, nor a place in a class.
    for (object, drop) in [
        ("TYPE taken.vector AS RANGE (SUBTYPE = int)", "TYPE taken.vector"),
        (
            "FUNCTION taken.cosine_distance(theirs.vector, theirs.vector) RETURNS float8 LANGUAGE sql AS 'SELECT 0.0::float8'",
            "FUNCTION taken.cosine_distance",
        ),
        (
            "OPERATOR taken.<-> (LEFTARG = theirs.halfvec, RIGHTARG = theirs.halfvec, FUNCTION = theirs.l2_distance)",
            "OPERATOR taken.<-> (theirs.halfvec, theirs.halfvec)",
        ),
    ] {
        owner.batch_execute(&format!("CREATE {object}")).unwrap();
        let error = owner.batch_execute("CREATE EXTENSION walia_pgvector SCHEMA taken").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DUPLICATE_OBJECT), "{object}: {error}");
        owner.batch_execute(&format!("DROP {drop}")).unwrap();
    }
    owner.batch_execute("CREATE EXTENSION walia_pgvector SCHEMA taken").unwrap();
    owner.batch_execute("CREATE SCHEMA elsewhere").unwrap();
    // Operators belong to the superuser, as those of every trusted extension.
    client.batch_execute("ALTER EXTENSION walia_pgvector SET SCHEMA elsewhere").unwrap();
    // A search_path without any of the schemas: all names are qualified, and the index is used.
    owner
        .batch_execute(
            "SET search_path = pg_catalog;
             CREATE SCHEMA app;
             CREATE TABLE app.items (id int, v theirs.vector(3));
             INSERT INTO app.items SELECT i, format('[%s,%s,1]', i % 10, i)::theirs.vector FROM generate_series(1, 500) AS i;
             CREATE INDEX items_v ON app.items USING walia_hnsw (v elsewhere.vector_l2_ops);
             CREATE INDEX old ON app.items USING hnsw (v theirs.vector_l2_ops) WHERE v OPERATOR(theirs.<>) '[1,1,1]';
             SET enable_seqscan = off",
        )
        .unwrap();
    let query = "SELECT id, v OPERATOR(theirs.<->) '[3,3,1]' FROM app.items ORDER BY 2 LIMIT 1";
    assert!(plan(&mut owner, query).contains("items_v"));
    assert_eq!(rows(&mut owner, query), [(3, Some(0.0))]);
    let statements = owner.query("SELECT elsewhere.walia_migration_statements()", &[]).unwrap();
    for statement in &statements {
        owner.batch_execute(statement.get(0)).unwrap();
    }
    assert_eq!(statements.len(), 3);
    let moved = "SELECT amname::text FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE relname = 'old'";
    assert_eq!(owner.query_one(moved, &[]).unwrap().get::<_, String>(0), "walia_hnsw");
    // And without a trace.
    client
        .batch_execute("DROP TABLE app.items; DROP EXTENSION walia_pgvector; DROP EXTENSION walia; DROP EXTENSION vector")
        .unwrap();
}

#[test]
fn survives_a_dump() {
    let Some((cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client
        .batch_execute(
            "CREATE INDEX items_v ON items USING walia_hnsw (v vector_l2_ops) WITH (m = 10);
             CREATE INDEX items_half ON items USING walia_hnsw ((v::halfvec(12)) halfvec_cosine_ops) WHERE id < 2000;
             CREATE INDEX items_h ON items USING walia_hnsw (h)",
        )
        .unwrap();
    client.batch_execute("CREATE DATABASE restored").unwrap();
    let definitions = |client: &mut Client| -> Vec<String> {
        let query = "SELECT indexdef FROM pg_indexes WHERE tablename = 'items' ORDER BY 1";
        client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let dump = cluster.data().join("dump.sql");
    let (dump, sockets) = (dump.to_str().unwrap(), cluster.sockets().to_str().unwrap());
    run_as_server_user("pg_dump", &["-h", sockets, "-U", "postgres", "-d", "postgres", "-f", dump]);
    let restore =
        ["-h", sockets, "-U", "postgres", "-d", "restored", "-v", "ON_ERROR_STOP=1", "-X", "-q", "-f", dump];
    run_as_server_user("psql", &restore);
    let mut restored = cluster.connect_as("postgres", "restored");
    assert_eq!(definitions(&mut restored), definitions(&mut client));
    let query = "SELECT id, v <-> array_fill(1, ARRAY[12])::vector AS distance FROM items";
    assert_same(&mut restored, query, "items_v");
    // The extension's objects are its own: none of them is in the dump.
    assert!(!std::fs::read_to_string(dump).unwrap().contains("CREATE CAST"));
}

/// Every index of pgvector's becomes one of walia's, with its name and all that it was defined with.
#[test]
fn indexes_move() {
    let Some((_cluster, mut client)) = moving() else { return };
    client.batch_execute(ITEMS).unwrap();
    client
        .batch_execute(
            "CREATE INDEX items_v ON items USING hnsw (v vector_l2_ops) WITH (m = 20, ef_construction = 80);
             CREATE INDEX items_flat ON items USING ivfflat (v vector_ip_ops) WITH (lists = 10);
             CREATE INDEX \"Items half\" ON items USING hnsw ((v::halfvec(12)) halfvec_cosine_ops) WHERE id < 2000;
             CREATE INDEX items_bit ON items USING hnsw ((binary_quantize(v)::bit(12)) bit_hamming_ops);
             CREATE TABLE parts (id int, v vector(3)) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
             CREATE TABLE parts_2a PARTITION OF parts_2 FOR VALUES FROM (100) TO (150);
             CREATE TABLE parts_2b PARTITION OF parts_2 FOR VALUES FROM (150) TO (200);
             INSERT INTO parts SELECT i, ARRAY[i, i % 7, 1] FROM generate_series(0, 199) AS i;
             CREATE INDEX parts_v ON parts USING hnsw (v vector_cosine_ops)",
        )
        .unwrap();
    let report = "SELECT index_name::text, movable, reason FROM walia_migration_report()";
    let report: Vec<(String, bool, Option<String>)> =
        client.query(report, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(report.len(), 9, "{report:#?}");
    for (index, movable, reason) in &report {
        let expected = match index.as_str() {
            "items_bit" => Some("walia_hnsw has no operator class bit_hamming_ops for type bit"),
            part if part.starts_with("parts_") && part != "parts_v" => {
                Some("moves with the partitioned index that it belongs to")
            }
            _ => None,
        };
        assert_eq!((*movable, reason.as_deref()), (expected.is_none(), expected), "{index}");
    }
    let definitions = |client: &mut Client| -> Vec<String> {
        let query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef !~ 'UNIQUE|bit' ORDER BY indexname";
        client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let expected: Vec<String> = definitions(&mut client)
        .iter()
        .map(|definition| {
            let definition = definition
                .replace("USING hnsw", "USING walia_hnsw")
                .replace("USING ivfflat", "USING walia_hnsw");
            // The default class of walia_hnsw is not named.
            let definition = definition.replace(" vector_cosine_ops", "").replace(" halfvec_cosine_ops", "");
            definition
                .replace(" WITH (lists='10')", "")
                .replace("m='20', ef_construction='80'", "ef_construction='80', m='20'")
        })
        .collect();
    let run_statements = |client: &mut Client, arguments: &str, most: usize| {
        let statements = format!("SELECT * FROM walia_migration_statements({arguments})");
        let statements = client.query(&statements, &[]).unwrap();
        for statement in statements.iter().take(most) {
            client
                .batch_execute(statement.get(0))
                .unwrap_or_else(|error| panic!("{}: {error}", statement.get::<_, String>(0)));
        }
        statements.len()
    };
    // A table at a time, and what is interrupted goes on.
    assert_eq!(run_statements(&mut client, "'parts_1'", 99), 0);
    for done in [1, 3, 2, 1] {
        run_statements(&mut client, "'parts'", done);
    }
    run_statements(&mut client, "'parts'", 99);
    // An index that CREATE INDEX CONCURRENTLY has left invalid is made again.
    client
        .batch_execute(
            "CREATE INDEX items_v_walia ON items USING walia_hnsw (v vector_l2_ops);
             UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_v_walia'::regclass",
        )
        .unwrap();
    run_statements(&mut client, "", 99);
    assert_eq!(definitions(&mut client), expected);
    assert_eq!(run_statements(&mut client, "", 99), 0);
    let valid = "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid::regclass::text ~ '^(items|parts)'";
    assert!(client.query_one(valid, &[]).unwrap().get::<_, bool>(0));
    let query = "SELECT id, v <=> '[3,1,1]' AS distance FROM parts";
    client.batch_execute("SET enable_seqscan = off").unwrap();
    assert!(plan(&mut client, &format!("{query} ORDER BY 2 LIMIT 3")).contains("parts_1_v_idx"));
    // In one transaction, where no index may be made concurrently.
    client
        .batch_execute("DROP INDEX items_v, parts_v; CREATE INDEX items_v ON items USING hnsw (v vector_l2_ops); CREATE INDEX parts_v ON parts USING hnsw (v vector_cosine_ops); BEGIN")
        .unwrap();
    assert!(run_statements(&mut client, "concurrently => false", 99) > 10);
    client.batch_execute("COMMIT").unwrap();
    let left = "SELECT count(*) FROM walia_migration_report() WHERE movable";
    assert_eq!(client.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
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
