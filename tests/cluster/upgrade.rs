//! A library over the script of another version: nothing dies of it, and ALTER EXTENSION gives what a fresh
//! install gives.

use postgres::Client;
use postgres::error::SqlState;

use crate::scan::assert_complete;
use crate::server::Cluster;

/// All objects of the database that a user or an extension has made, by identity and without an OID, a line
/// each.
const OBJECTS: &str = "
WITH objects (class, identity, contents) AS (
    SELECT 'pg_proc', p.oid::regprocedure::text, to_jsonb(p) - '{oid,prorettype,proargtypes,proallargtypes}'::text[]
      || jsonb_build_object('result', pg_get_function_result(p.oid), 'arguments', pg_get_function_arguments(p.oid)) FROM pg_proc AS p
      WHERE p.oid >= 16384
    UNION ALL
    SELECT 'pg_aggregate', aggfnoid::text || pg_get_function_identity_arguments(aggfnoid),
      to_jsonb(a) - '{aggsortop,aggtranstype}'::text[] || jsonb_build_object('state', aggtranstype::regtype) FROM pg_aggregate AS a
      WHERE aggfnoid::oid >= 16384
    UNION ALL
    SELECT 'pg_type', oid::regtype::text, to_jsonb(t) - '{oid,typarray,typelem,typrelid}'::text[]
      || jsonb_build_object('element', typelem::regtype, 'array', typarray::regtype) FROM pg_type AS t WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_operator', oid::regoperator::text, to_jsonb(o) - '{oid,oprleft,oprright,oprcom,oprnegate,oprresult}'::text[]
      || jsonb_build_object('result', oprresult::regtype, 'commutator', oprcom::regoperator, 'negator', oprnegate::regoperator) FROM pg_operator AS o
      WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_cast', format('%s AS %s', castsource::regtype, casttarget::regtype),
      to_jsonb(c) - '{oid,castsource,casttarget,castfunc}'::text[] || jsonb_build_object('function', castfunc::regprocedure)
      FROM pg_cast AS c WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_am', amname::text, to_jsonb(m) - 'oid' FROM pg_am AS m WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_opclass', format('%s USING %s', opcname, amname), to_jsonb(c) - '{oid,opcmethod,opcfamily,opcintype}'::text[]
      || jsonb_build_object('type', opcintype::regtype, 'family', opfname)
      FROM pg_opclass AS c JOIN pg_am ON pg_am.oid = opcmethod JOIN pg_opfamily ON pg_opfamily.oid = opcfamily WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_opfamily', format('%s USING %s', opfname, amname), to_jsonb(f) - '{oid,opfmethod}'::text[]
      FROM pg_opfamily AS f JOIN pg_am ON pg_am.oid = opfmethod WHERE f.oid >= 16384
    UNION ALL
    SELECT 'pg_amop', format('%s %s', opfname, amopopr::regoperator), to_jsonb(o)
      - '{oid,amopfamily,amoplefttype,amoprighttype,amopopr,amopmethod}'::text[]
      FROM pg_amop AS o JOIN pg_opfamily AS f ON f.oid = amopfamily WHERE o.oid >= 16384
    UNION ALL
    SELECT 'pg_amproc', format('%s %s', opfname, amproc), to_jsonb(p) - '{oid,amprocfamily,amproclefttype,amprocrighttype}'::text[]
      FROM pg_amproc AS p JOIN pg_opfamily AS f ON f.oid = amprocfamily WHERE p.oid >= 16384
    UNION ALL
    SELECT 'pg_description', pg_describe_object(classoid, objoid, objsubid), to_jsonb(description) FROM pg_description
      WHERE objoid >= 16384
    UNION ALL
    SELECT 'pg_init_privs', pg_describe_object(classoid, objoid, objsubid), to_jsonb(initprivs) FROM pg_init_privs
      WHERE objoid >= 16384
    UNION ALL
    SELECT 'pg_depend', pg_describe_object(classid, objid, objsubid), to_jsonb(pg_describe_object(refclassid, refobjid, refobjsubid)
      || deptype::text) FROM pg_depend WHERE objid >= 16384
    UNION ALL
    SELECT 'pg_extension', extname::text, to_jsonb(e) - 'oid' FROM pg_extension AS e WHERE oid >= 16384
)
SELECT format('%s %s %s', class, identity, contents) FROM objects ORDER BY 1";

fn objects(client: &mut Client) -> Vec<String> {
    client.query(OBJECTS, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn updated_objects_are_those_of_a_fresh_install() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    let versions =
        "SELECT source::text FROM pg_extension_update_paths('walia') WHERE path IS NOT NULL AND target = $1";
    let versions: Vec<String> =
        client.query(versions, &[&env!("CARGO_PKG_VERSION")]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!versions.is_empty());
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    let fresh = objects(&mut client);
    assert!(
        fresh.iter().any(|line| line.contains(&format!("\"extversion\": \"{}\"", env!("CARGO_PKG_VERSION"))))
    );
    for version in versions {
        client.batch_execute(&format!("CREATE DATABASE \"from {version}\"")).unwrap();
        let mut client = cluster.connect_as("postgres", &format!("from {version}"));
        client.batch_execute(&format!("CREATE EXTENSION walia VERSION '{version}'")).unwrap();
        let before = objects(&mut client);
        // More than the version differs, and the comparison sees it.
        let differing = before.iter().filter(|line| !fresh.contains(line)).count();
        assert!(differing > 1, "{version}: {differing} objects differ");
        client.batch_execute("ALTER EXTENSION walia UPDATE").unwrap();
        assert_eq!(objects(&mut client), fresh, "{version}");
    }
}

/// The functions that return rows, with their arguments.
const FUNCTIONS: [(&str, &str, &str); 10] = [
    ("walia_info", "regclass", "'items_v'"),
    ("walia_check", "regclass, boolean", "'items_v', true"),
    ("walia_repair", "regclass", "'items_v'"),
    ("walia_recall", "regclass, integer, integer", "'items_v', 10, 10"),
    ("walia_last_scan", "", ""),
    ("walia_page_map", "regclass", "'items_v'"),
    ("walia_prewarm", "regclass, text", "'items_v', 'all'"),
    ("walia_stat_get_index", "oid", "'items_v'::regclass"),
    ("walia_stat_latency_buckets", "", ""),
    ("walia_advise", "text", "'SELECT 1'"),
];

/// Results that none of the functions has.
const RESULTS: [&str; 4] = [
    "TABLE (format_version int, text text)",
    "TABLE (a text, b text, c text, d text, e text, f text, g text, h text, i text, j text, k text, l text, m text, n text,
        o text, p text, q text, r text, s text, t text, u text, v text, w text, x text, y text, z text)",
    "SETOF int",
    "SETOF items",
];

/// What is said of a function that is declared otherwise, as SQLSTATE, DETAIL and HINT.
fn refusal(client: &mut Client, query: &str) -> (String, String) {
    let error = client.simple_query(query).expect_err(query);
    let said = error.as_db_error().unwrap_or_else(|| panic!("{query}: {error}"));
    assert_eq!(*said.code(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{query}: {said}");
    assert!(said.message().contains("is not declared as the library"), "{query}: {said}");
    (said.detail().unwrap().to_owned(), said.hint().unwrap().to_owned())
}

#[test]
fn functions_of_another_script_are_refused() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(3));
             INSERT INTO items (v) SELECT ARRAY[random(), random(), random()] FROM generate_series(1, 100);
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
             -- Another one of the name.
             ALTER EXTENSION walia DROP FUNCTION walia_page_map(regclass, int, bigint, bigint, int);
             DROP FUNCTION walia_page_map(regclass, int, bigint, bigint, int);
             -- What would go with a function.
             ALTER EXTENSION walia DROP VIEW walia_stat_indexes;
             DROP VIEW walia_stat_indexes",
        )
        .unwrap();
    for (name, types, arguments) in FUNCTIONS {
        let call = format!("SELECT * FROM {name}({arguments})");
        client.simple_query(&call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let declared: String = client
            .query_one(&format!("SELECT pg_get_function_result('{name}({types})'::regprocedure)"), &[])
            .unwrap()
            .get(0);
        // The last column has another type, another name, or is missing, or there is one more.
        let (rest, last) = declared.rsplit_once(", ").unwrap();
        let (column, last_type) = last.split_once(' ').unwrap();
        let last_type = last_type.trim_end_matches(')');
        let other_type = if last_type == "text" { "bigint" } else { "text" };
        let mut results: Vec<String> = RESULTS.iter().map(|result| result.to_string()).collect();
        results.push(format!("{rest}, {column} {other_type})"));
        results.push(format!("{rest}, other {last_type})"));
        results.push(format!("{rest})"));
        results.push(format!("{rest}, {column} {last_type}, further bigint)"));
        let replace = |client: &mut Client, types: &str, result: &str| {
            client
                .batch_execute(&format!(
                    "ALTER EXTENSION walia DROP FUNCTION {name}; DROP FUNCTION {name};
                     CREATE FUNCTION {name}({types}) RETURNS {result} AS '$libdir/walia', '{name}_wrapper' LANGUAGE C STRICT;
                     ALTER EXTENSION walia ADD FUNCTION {name}"
                ))
                .unwrap_or_else(|error| panic!("{name} {result}: {error:?}"));
        };
        for result in &results {
            replace(&mut client, types, result);
            refusal(&mut client, &call);
            refusal(&mut client, &format!("SELECT {name}({arguments})"));
        }
        // Other arguments.
        replace(&mut client, "text, text", &declared);
        refusal(&mut client, &format!("SELECT * FROM {name}('items_v', 'x')"));
        // What is to be done depends on who is older.
        for (version, hint) in [
            ("0.1.0", "Run ALTER EXTENSION walia UPDATE."),
            ("1000.0.0", "Install the library of walia 1000.0.0, and begin a new session."),
            (env!("CARGO_PKG_VERSION"), "Drop the function, and create it as the scripts of walia"),
        ] {
            client.batch_execute(&format!("UPDATE pg_extension SET extversion = '{version}'")).unwrap();
            let (_, said) = refusal(&mut client, &format!("SELECT * FROM {name}('items_v', 'x')"));
            assert!(said.starts_with(hint), "{version}: {said}");
        }
        replace(&mut client, types, &declared);
        client.simple_query(&call).unwrap();
    }
    assert_complete(&mut client, "<->");
}
