//! Databases that move: dumped and restored, and taken over by pg_upgrade.

use std::path::{Path, PathBuf};
use std::{env, fs};

use postgres::{Client, NoTls};

use crate::server::{Cluster, run_as_server_user};

/// Every type, operator class and option; expressions, a predicate, partitions, a domain; settings that
/// belong to a function and to the database.
const OBJECTS: &str = "
CREATE EXTENSION walia;
CREATE DOMAIN three AS vecf32(3);
CREATE FUNCTION numbers(seed int, dimensions int) RETURNS real[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(((seed * 7919 + d * 10477 + seed * d * 31) % 10007 % 41 - 20) / 4.0 ORDER BY d)::real[]
    FROM generate_series(1, dimensions) AS d
$$;
CREATE TABLE items (id bigint PRIMARY KEY, v vecf32(40), h vecf16(24), d three, free vecf32);
CREATE FUNCTION nearest(three) RETURNS bigint LANGUAGE sql SET walia.ef_search = 200 SET walia.iterative_scan = relaxed_order
    AS 'SELECT id FROM items ORDER BY d <-> $1 LIMIT 1';
CREATE INDEX items_cosine ON items USING walia_hnsw (v) WITH (m = 8, ef_construction = 40, quantization = 4, storage = sq8);
CREATE INDEX items_l2 ON items USING walia_hnsw (v vecf32_l2_ops) WITH (quantization = 1, storage = f16);
CREATE INDEX items_ip ON items USING walia_hnsw (v vecf32_ip_ops) WITH (quantization = none, storage = f32);
CREATE INDEX items_l1 ON items USING walia_hnsw (v vecf32_l1_ops) WITH (m = 6);
CREATE INDEX items_h_cosine ON items USING walia_hnsw (h vecf16_cosine_ops) WITH (quantization = 2);
CREATE INDEX items_h_l2 ON items USING walia_hnsw (h vecf16_l2_ops) WITH (storage = f16);
CREATE INDEX items_h_ip ON items USING walia_hnsw (h vecf16_ip_ops);
CREATE INDEX items_h_l1 ON items USING walia_hnsw (h vecf16_l1_ops);
CREATE INDEX items_d ON items USING walia_hnsw (d vecf32_l2_ops) WHERE id % 2 = 0;
CREATE INDEX items_expression ON items USING walia_hnsw ((free::vecf32(5)) vecf32_l2_ops);
CREATE INDEX items_half ON items USING walia_hnsw ((v::vecf16(40)) vecf16_l2_ops) WHERE v IS NOT NULL;
CREATE TABLE codes (id bigint, tenant int, v vecf32(40), h vecf16(24),
    code veccode GENERATED ALWAYS AS (walia_code(v, 4)) STORED);
CREATE INDEX codes_v ON codes (tenant, walia_code(v)) INCLUDE (id);
CREATE INDEX codes_h ON codes (tenant, walia_code(h, 1)) WHERE id > 7;
CREATE INDEX codes_code ON codes (code, tenant);
CREATE TABLE parted (id bigint, v vecf32(3)) PARTITION BY RANGE (id);
CREATE INDEX parted_v ON parted USING walia_hnsw (v vecf32_l2_ops) WITH (m = 5);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (1000);
INSERT INTO items SELECT i, CASE WHEN i % 50 > 0 THEN numbers(i, 40) END, numbers(i, 24), numbers(i % 100, 3), numbers(i, 5)
    FROM generate_series(1, 300) AS i;
INSERT INTO parted SELECT i, numbers(i, 3) FROM generate_series(1, 300) AS i;
INSERT INTO codes SELECT i, i % 2, numbers(i, 40), numbers(i, 24) FROM generate_series(1, 600) AS i;
DELETE FROM items WHERE id % 10 = 3;
ALTER DATABASE moved SET walia.ef_search = 150;
ALTER DATABASE moved SET walia.iterative_scan = off;";

/// Searches, each by an index of its own.
const SEARCHES: [(&str, &str); 14] = [
    ("items_cosine", "SELECT id, v <~> numbers(7, 40)::vecf32 FROM items ORDER BY 2"),
    ("items_l2", "SELECT id, v <-> numbers(7, 40)::vecf32 FROM items ORDER BY 2"),
    ("items_ip", "SELECT id, v <#> numbers(7, 40)::vecf32 FROM items ORDER BY 2"),
    ("items_l1", "SELECT id, v <+> numbers(7, 40)::vecf32 FROM items ORDER BY 2"),
    ("items_h_cosine", "SELECT id, h <=> numbers(7, 24)::vecf16 FROM items ORDER BY 2"),
    ("items_h_l2", "SELECT id, h <-> numbers(7, 24)::vecf16 FROM items ORDER BY 2"),
    ("items_h_ip", "SELECT id, h <#> numbers(7, 24)::vecf16 FROM items ORDER BY 2"),
    ("items_h_l1", "SELECT id, h <+> numbers(7, 24)::vecf16 FROM items ORDER BY 2"),
    ("items_d", "SELECT id, d <-> '[1,2,3]' FROM items WHERE id % 2 = 0 ORDER BY 2"),
    ("items_expression", "SELECT id, free::vecf32(5) <-> numbers(7, 5)::vecf32 FROM items ORDER BY 2"),
    (
        "items_half",
        "SELECT id, v::vecf16(40) <-> numbers(7, 40)::vecf16 FROM items WHERE v IS NOT NULL ORDER BY 2",
    ),
    ("codes_v", "SELECT id, v <+> numbers(7, 40)::vecf32 FROM codes WHERE tenant = 1 ORDER BY 2"),
    ("codes_h", "SELECT id, h <~> numbers(7, 24)::vecf16 FROM codes WHERE tenant = 1 AND id > 7 ORDER BY 2"),
    ("parted_1_v_idx", "SELECT id, v <-> '[1,2,3]' FROM parted ORDER BY 2"),
];

/// What must be the same before and after: definitions, settings, and answers.
fn contents(client: &mut Client) -> Vec<String> {
    let queries = "SELECT format('%s %s', indexdef, reloptions) FROM pg_indexes JOIN pg_class ON relname = indexname
                     WHERE schemaname = 'public'
                   UNION ALL SELECT format('%s %s', oid::regprocedure, proconfig) FROM pg_proc WHERE proname = 'nearest'
                   UNION ALL SELECT format('%s', setconfig) FROM pg_db_role_setting
                   UNION ALL SELECT format('%s %s', extname, extversion) FROM pg_extension
                     WHERE extname = 'walia'
                   UNION ALL SELECT format('%s %s', name, setting) FROM pg_settings WHERE name LIKE 'walia.%' AND source = 'database'
                   UNION ALL SELECT format('%s', nearest('[1,2,3]'))
                   UNION ALL SELECT format('%s %s', id, code) FROM codes WHERE id <= 300
                   ORDER BY 1";
    // The settings are known when the library is loaded.
    client.batch_execute("SELECT '[1]'::vecf32; SET enable_seqscan = off; SET enable_sort = off").unwrap();
    let mut contents: Vec<String> =
        client.query(queries, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(contents.iter().any(|line| line == "walia.ef_search 150"), "{contents:#?}");
    for (index, search) in SEARCHES {
        let plan = client.query(&format!("EXPLAIN (COSTS OFF) {search} LIMIT 10"), &[]).unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{search}: {plan:#?}");
        let rows = client.query(&format!("{search} LIMIT 10"), &[]).unwrap();
        // Rows at one distance may change places.
        let mut rows: Vec<(f64, i64)> = rows.iter().map(|row| (row.get(1), row.get(0))).collect();
        assert_eq!(rows.len(), 10, "{search}");
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        contents.push(format!("{search}: {:?}", rows.iter().map(|row| row.0).collect::<Vec<_>>()));
    }
    contents
}

/// Fails where anything is wrong with an index; then changes the tables, vacuums, and builds the indexes
/// anew.
fn assert_usable(client: &mut Client) {
    let checks = "SELECT format('%s: %s: %s', indexes.oid::regclass, severity, finding)
                  FROM (SELECT pg_class.oid FROM pg_class JOIN pg_am ON pg_am.oid = relam
                        WHERE amname = 'walia_hnsw' AND relkind = 'i' OFFSET 0) AS indexes, walia_check(oid, true)";
    let check = |client: &mut Client| {
        let findings: Vec<String> = client.query(checks, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        assert!(findings.is_empty(), "{findings:#?}");
        for index in ["codes_v", "codes_h", "codes_code"] {
            client.batch_execute(&format!("SELECT bt_index_parent_check('{index}', true, true)")).unwrap();
        }
    };
    client.batch_execute("CREATE EXTENSION amcheck").unwrap();
    check(client);
    client
        .batch_execute(
            "UPDATE codes SET tenant = 1 - tenant WHERE id % 7 = 1; DELETE FROM codes WHERE id % 10 = 4;
             INSERT INTO items SELECT i, numbers(i, 40), numbers(i, 24), numbers(i, 3), numbers(i, 5)
               FROM generate_series(1001, 1050) AS i;
             UPDATE items SET d = numbers(id::int + 5, 3) WHERE id % 7 = 1;
             DELETE FROM items WHERE id % 10 = 4; DELETE FROM parted WHERE id % 10 = 4;
             INSERT INTO parted SELECT i, numbers(i, 3) FROM generate_series(301, 350) AS i",
        )
        .unwrap();
    for command in [
        "VACUUM items, parted, codes",
        "VACUUM items, parted, codes",
        "REINDEX TABLE items",
        "REINDEX TABLE codes",
        "REINDEX TABLE CONCURRENTLY parted",
    ] {
        client.batch_execute(command).unwrap();
        check(client);
    }
    contents(client);
}

#[test]
fn dumped_databases_are_restored() {
    let (from, to) = (Cluster::start(&[]), Cluster::start(&[]));
    from.connect().batch_execute("CREATE DATABASE moved").unwrap();
    from.connect_as("postgres", "moved").batch_execute(OBJECTS).unwrap();
    let before = contents(&mut from.connect_as("postgres", "moved"));
    let dump = from.data().with_file_name("dump");
    let (dump, host) =
        (dump.to_str().unwrap(), |cluster: &Cluster| format!("--host={}", cluster.sockets().display()));
    for format in ["custom", "plain"] {
        let (format, file) = (format!("--format={format}"), format!("--file={dump}"));
        run_as_server_user(
            "pg_dump",
            &[&host(&from), "--username=postgres", "--create", &format, &file, "moved"],
        );
        if format.ends_with("custom") {
            let arguments = [
                &host(&to)[..],
                "--username=postgres",
                "--create",
                "--exit-on-error",
                "--dbname=postgres",
                dump,
            ];
            run_as_server_user("pg_restore", &arguments);
        } else {
            to.connect().batch_execute("DROP DATABASE moved").unwrap();
            let stop = "--set=ON_ERROR_STOP=1";
            run_as_server_user(
                "psql",
                &[&host(&to), "--username=postgres", "--no-psqlrc", stop, "--file", dump, "postgres"],
            );
        }
        assert_eq!(contents(&mut to.connect_as("postgres", "moved")), before, "{format}");
    }
    assert_usable(&mut to.connect_as("postgres", "moved"));
}

/// The files of the indexes.
fn files(client: &mut Client, data: &Path) -> Vec<(String, Vec<u8>)> {
    let query = "SELECT relname::text, pg_relation_filepath(pg_class.oid) FROM pg_class JOIN pg_am ON pg_am.oid = relam
                 WHERE amname = 'walia_hnsw' AND relkind = 'i' ORDER BY 1";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), fs::read(data.join(row.get::<_, &str>(1))).unwrap())).collect()
}

#[test]
fn pg_upgrade_takes_indexes_over() {
    let Some(old_programs) = env::var("WALIA_TEST_OLD_BINDIR").ok().map(PathBuf::from) else {
        eprintln!("skipped: no server of an older major is installed and tested in the same run");
        return;
    };
    for mode in ["--copy", "--link"] {
        let new = Cluster::start(&["autovacuum = off"]);
        new.stop();
        let old = new.data().with_file_name("old");
        let data = old.to_str().unwrap();
        let program = |name: &str| old_programs.join(name).to_str().unwrap().to_owned();
        let options = [
            "--username=postgres",
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
            "--data-checksums",
            "--no-sync",
        ];
        run_as_server_user(&program("initdb"), &[&["--pgdata", data][..], &options].concat());
        let log = new.data().with_file_name("old-log");
        let settings = format!(
            "-c unix_socket_directories={} -c listen_addresses= -c autovacuum=off -c fsync=off",
            new.sockets().display()
        );
        let start = [
            "start",
            "--wait",
            "--silent",
            "--pgdata",
            data,
            "--log",
            log.to_str().unwrap(),
            "--options",
            &settings,
        ];
        run_as_server_user(&program("pg_ctl"), &start);
        let connect = |database| {
            let mut config = postgres::Config::new();
            config.host_path(new.sockets()).user("postgres").dbname(database).connect(NoTls).unwrap()
        };
        connect("postgres").batch_execute("CREATE DATABASE moved").unwrap();
        let mut client = connect("moved");
        client.batch_execute(OBJECTS).unwrap();
        client.batch_execute("VACUUM items").unwrap();
        drop(client);
        // Anew, with the database's settings.
        let mut client = connect("moved");
        let before = contents(&mut client);
        client.batch_execute("CHECKPOINT").unwrap();
        let old_files = files(&mut client, &old);
        // From 15.20 on, minor releases of the old server keep versions of columns, for the sake of composite
        // values, in an option that earlier minor releases of the new server refuse, whoever's the table is.
        // There are no such values here.
        let versions = "UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '%pg_attver=%'";
        client.batch_execute(versions).unwrap();
        drop(client);
        run_as_server_user(
            &program("pg_ctl"),
            &["stop", "--wait", "--silent", "--mode=fast", "--pgdata", data],
        );
        // It writes scripts to where it is run.
        let upgrade = format!(
            "cd {home} && exec {new_programs}/pg_upgrade --old-bindir {old_programs} --new-bindir {new_programs} \
             --old-datadir {data} --new-datadir {new_data} --socketdir {sockets} --username postgres {mode}",
            home = new.data().parent().unwrap().display(),
            new_programs = crate::server::pg_config("bindir").display(),
            old_programs = old_programs.display(),
            new_data = new.data().display(),
            sockets = new.sockets().display(),
        );
        run_as_server_user("/bin/sh", &["-c", &upgrade]);
        new.run();
        let mut client = new.connect_as("postgres", "moved");
        // Nothing has been built: the bytes are those that the old server wrote.
        let new_files = files(&mut client, &new.data());
        assert_eq!(old_files.len(), new_files.len());
        for (old, new) in old_files.iter().zip(&new_files) {
            assert!(old == new, "{} and {} differ", old.0, new.0);
        }
        assert_eq!(contents(&mut client), before, "{mode}");
        assert_usable(&mut client);
    }
}
