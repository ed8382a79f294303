//! Indexes that released versions wrote, below `tests/golden/`: the library of today uses them, under the
//! objects that those versions' scripts made and under its own.
//!
//! `tables.sql` makes the tables, and indexes, which the test then replaces by the archive's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postgres::Client;

use crate::scan::{assert_complete, assert_sound, by_index};
use crate::server::{Cluster, run, run_as_server_user};

const PAGE: usize = 8192;
/// Of a page's header: its LSN and its checksum, which mean nothing in another cluster.
const LSN_AND_CHECKSUM: std::ops::Range<usize> = 0..10;
/// More than the cluster that wrote the archive had used up: transaction numbers in its indexes are in the
/// past.
const TRANSACTIONS: usize = 5000;

/// The versions whose indexes are kept.
fn versions() -> Vec<String> {
    let directories = fs::read_dir(directory("")).unwrap();
    let mut versions: Vec<String> =
        directories.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    versions.sort();
    versions
}

fn directory(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

/// What is in an archive, as columns of a query on `walia_info` of its indexes.
fn held(version: &str) -> &'static str {
    match version {
        "0.1.0" => {
            "bool_or(tombstones > 0), bool_or(zero_vectors > 0), bool_or(nulls > 0),
             bool_or(heap_tids > 2 * nodes), bool_or(array_length(nodes_by_level, 1) > 4),
             count(DISTINCT quantization) = 4, count(DISTINCT storage) = 3, count(DISTINCT metric) = 4,
             count(DISTINCT element_type) = 2"
        }
        "0.2.0" => {
            "bool_or(element_type = 'bit' AND tombstones > 0), bool_or(element_type = 'bit' AND nulls > 0),
             bool_or(element_type = 'bit' AND dimensions > 32767), count(DISTINCT metric) = 4,
             bool_or(zero_vectors > 0),
             bool_or(dimensions > 65535)"
        }
        _ => panic!("say what the archive of {version} holds"),
    }
}

/// A cluster with the objects and tables of a version; `None` where these are of pgvector's types and the
/// server lacks it.
fn cluster_with_tables(version: &str) -> Option<Cluster> {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    let tables = fs::read_to_string(directory(version).join("tables.sql")).unwrap();
    let pgvector = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    if tables.contains("walia_pgvector") && client.query_one(pgvector, &[]).unwrap().get::<_, i64>(0) == 0 {
        println!("skipped: the indexes of {version} need pgvector, which this server lacks");
        return None;
    }
    client.batch_execute(&format!("CREATE EXTENSION walia VERSION '{version}'")).unwrap();
    // A VACUUM must be alone.
    for paragraph in tables.split("\n\n") {
        client.batch_execute(paragraph).unwrap_or_else(|error| panic!("{paragraph}: {error:?}"));
    }
    client.batch_execute("CHECKPOINT").unwrap();
    Some(cluster)
}

/// The schemas with tables, their indexes' operators, and their indexes' files.
fn indexes(client: &mut Client, data: &Path) -> Vec<(String, String, PathBuf)> {
    let query = "SELECT nspname::text, oprname::text, pg_relation_filepath(pg_class.oid)
                 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                   JOIN pg_index ON indexrelid = pg_class.oid JOIN pg_opclass ON pg_opclass.oid = indclass[0]
                   JOIN pg_amop ON amopfamily = opcfamily AND amopstrategy = 1 JOIN pg_operator ON pg_operator.oid = amopopr
                 WHERE relname = 'items_v' ORDER BY nspname";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), data.join(row.get::<_, &str>(2)))).collect()
}

/// Puts the archive's files in the place of the indexes' own, and moves on to later transaction numbers.
fn replace_indexes(cluster: &Cluster, version: &str, indexes: &[(String, String, PathBuf)]) {
    cluster.stop();
    let unpacked = cluster.data().with_file_name("golden");
    fs::create_dir(&unpacked).unwrap();
    let archive = directory(version).join("indexes.tar.gz");
    run(Command::new("tar").arg("-xzf").arg(archive).arg("--no-same-owner").arg("-C").arg(&unpacked));
    for (schema, _, file) in indexes {
        // Written over, not replaced: the file stays the server's own.
        fs::write(file, fs::read(unpacked.join(schema)).unwrap()).unwrap();
        for fork in ["_fsm", "_vm"] {
            fs::remove_file(format!("{}{fork}", file.display())).ok();
        }
    }
    for action in ["--disable", "--enable"] {
        run_as_server_user(
            "pg_checksums",
            &[action, "--no-sync", "--pgdata", cluster.data().to_str().unwrap()],
        );
    }
    cluster.run();
    let use_up = format!(
        "DO $$ BEGIN FOR i IN 1..{TRANSACTIONS} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    cluster.connect().batch_execute(&use_up).unwrap();
}

/// Searches the tables by their indexes, changes them, vacuums and searches again.
fn assert_usable(client: &mut Client, indexes: &[(String, String, PathBuf)]) {
    for (schema, operator, _) in indexes {
        client.batch_execute(&format!("SET search_path = {schema}, public")).unwrap();
        assert_complete(client, operator);
        assert_sound(client);
        by_index(client, true);
        let dimensions: i32 =
            client.query_one("SELECT dimensions FROM walia_info('items_v')", &[]).unwrap().get(0);
        // All rows of one vector go at last: a vacuum that finds a dead node links those to which the
        // insertions left no path.
        client
            .batch_execute(&format!(
                "INSERT INTO items SELECT max(id) + i, numbers(2000 + max(id)::int + i, {dimensions})
                   FROM items, generate_series(1, 20) AS i GROUP BY i;
                 UPDATE items SET v = numbers(3000 + id::int, {dimensions}) WHERE id % 20 = 2;
                 DELETE FROM items WHERE id % 20 = 4;
                 DELETE FROM items WHERE v::text = (SELECT v::text FROM items WHERE v IS NOT NULL ORDER BY id DESC LIMIT 1)"
            ))
            .unwrap();
        for _ in 0..2 {
            client.batch_execute("VACUUM items").unwrap();
            assert_complete(client, operator);
            let findings = "SELECT format('%s: block %s, slot %s: %s', severity, block, slot, finding)
                            FROM walia_check('items_v', true)";
            let findings: Vec<String> =
                client.query(findings, &[]).unwrap().iter().map(|row| row.get(0)).collect();
            assert!(findings.is_empty(), "{schema}: {findings:#?}");
        }
    }
}

/// A vacuum has found out that rows without a distance are left, and that they no longer are.
fn assert_descending(client: &mut Client, indexes: &[(String, String, PathBuf)]) {
    for (schema, operator, _) in indexes {
        client.batch_execute(&format!("SET search_path = {schema}, public")).unwrap();
        by_index(client, true);
        let order = format!(
            "EXPLAIN SELECT id FROM items
             ORDER BY 1 - (v {operator} (SELECT v FROM items WHERE id = 10)) DESC LIMIT 10"
        );
        let is_searched = |client: &mut Client| {
            let plan = client.query(&order, &[]).unwrap();
            plan.iter().any(|row| row.get::<_, &str>(0).contains("WaliaNearestScan"))
        };
        let rest = format!("FROM items WHERE v IS NULL OR v {operator} v = 'NaN'");
        let has_some: bool = client.query_one(&format!("SELECT count(*) > 0 {rest}"), &[]).unwrap().get(0);
        assert_eq!(is_searched(client), !has_some, "{schema}");
        client.batch_execute(&format!("DELETE {rest}")).unwrap();
        client.batch_execute("VACUUM (INDEX_CLEANUP ON) items").unwrap();
        assert!(is_searched(client), "{schema}");
    }
}

#[test]
fn indexes_of_released_versions_are_used() {
    assert!(!versions().is_empty());
    for version in versions() {
        let Some(cluster) = cluster_with_tables(&version) else { continue };
        let indexes = indexes(&mut cluster.connect(), &cluster.data());
        replace_indexes(&cluster, &version, &indexes);
        let mut client = cluster.connect();
        // What the archive is for is in it.
        let held = format!(
            "SELECT {} FROM pg_class CROSS JOIN walia_info(oid) WHERE relname = 'items_v'",
            held(&version)
        );
        let held = client.query_one(&held, &[]).unwrap();
        assert_eq!((0..held.len()).find(|column| !held.get::<_, bool>(*column)), None, "{version}");
        assert_usable(&mut client, &indexes);
        client.batch_execute("ALTER EXTENSION walia UPDATE").unwrap();
        assert_usable(&mut client, &indexes);
        assert_descending(&mut client, &indexes);
        for (schema, ..) in &indexes {
            client.batch_execute(&format!("REINDEX INDEX {schema}.items_v")).unwrap();
        }
        assert_usable(&mut client, &indexes);
    }
}

/// Writes the archive of the version that is about to be released, from the `tables.sql` that lies in its
/// directory.
#[test]
#[ignore = "writes tests/golden/: make golden"]
fn write_golden() {
    let version = env!("CARGO_PKG_VERSION");
    let cluster = cluster_with_tables(version).expect("pgvector");
    let indexes = indexes(&mut cluster.connect(), &cluster.data());
    cluster.stop();
    let packed = cluster.data().with_file_name("golden");
    fs::create_dir(&packed).unwrap();
    for (schema, _, file) in indexes {
        let mut bytes = fs::read(file).unwrap();
        for page in bytes.chunks_exact_mut(PAGE) {
            page[LSN_AND_CHECKSUM].fill(0);
        }
        fs::write(packed.join(schema), bytes).unwrap();
    }
    let archive = directory(version).join("indexes.tar.gz");
    run(Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--mode=u=rwX,go=rX",
            "--use-compress-program=gzip -9n",
            "-cf",
        ])
        .arg(archive)
        .arg("-C")
        .arg(&packed)
        .arg("."));
}
