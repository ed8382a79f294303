//! pgvector's types beside walia's: messages, changes of a column's type, and expressions.

use postgres::Client;
use postgres::error::SqlState;

use super::{ITEMS, assert_same, moving};

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
