//! Indexes of pgvector's that become walia's; who may do it, and what a dump keeps.

use postgres::Client;
use postgres::error::SqlState;

use super::{ITEMS, assert_same, moving, plan, rows};
use crate::server::run_as_server_user;

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
             CREATE INDEX items_sparse ON items USING walia_hnsw ((v::sparsevec(12)) sparsevec_l1_ops);
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
    let query =
        "SELECT id, v::sparsevec(12) <+> array_fill(1, ARRAY[12])::vector::sparsevec AS distance FROM items";
    assert_same(&mut restored, query, "items_sparse");
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
             CREATE INDEX items_jaccard ON items USING hnsw ((binary_quantize(h)::bit(12)) bit_jaccard_ops) WHERE id > 7;
             CREATE INDEX items_flat_bit ON items USING ivfflat ((binary_quantize(h)::bit(12)) bit_hamming_ops) WITH (lists = 10);
             CREATE INDEX items_sparse ON items USING hnsw ((v::sparsevec(12)) sparsevec_l2_ops) WHERE id > 9;
             CREATE OPERATOR CLASS own_ops FOR TYPE vector USING hnsw AS OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
                 FUNCTION 1 vector_l2_squared_distance(vector, vector);
             CREATE INDEX items_own ON items USING hnsw (v own_ops);
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
    assert_eq!(report.len(), 13, "{report:#?}");
    for (index, movable, reason) in &report {
        let expected = match index.as_str() {
            "items_own" => Some("walia_hnsw has no operator class own_ops for type public.vector"),
            part if part.starts_with("parts_") && part != "parts_v" => {
                Some("moves with the partitioned index that it belongs to")
            }
            _ => None,
        };
        assert_eq!((*movable, reason.as_deref()), (expected.is_none(), expected), "{index}");
    }
    let estimates = "SELECT index_name::text, rows FROM walia_migration_report() AS r,
                       walia_build_estimate(r.table_name, r.key, r.operator_class, r.options, r.predicate)
                     WHERE movable AND chosen AND maintenance_work_mem > 0 AND index_bytes > 0";
    let estimates: Vec<(String, i64)> =
        client.query(estimates, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(estimates.len(), report.iter().filter(|(_, movable, _)| *movable).count(), "{estimates:#?}");
    assert!(estimates.contains(&("parts_v".into(), 200)), "{estimates:#?}");
    let definitions = |client: &mut Client| -> Vec<String> {
        let query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef !~ 'UNIQUE|own_ops' ORDER BY indexname";
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
