//! Whatever a transaction does, and others meanwhile.

use std::ops::Range;

use super::others::HELD;
use super::{ON, TABLE, assert_rows, count_by_index, insert};
use crate::numbers::Numbers;
use crate::scan::by_index;
use crate::server::Cluster;

#[test]
fn are_what_the_table_holds() {
    compare(0..3);
}

#[test]
#[ignore = "long: make soak"]
fn soak_of_random_transactions() {
    compare(3..60);
}

fn compare(seeds: Range<u64>) {
    let cluster = Cluster::start(&[ON, "maintenance_work_mem = '1MB'", "autovacuum = off"]);
    let (mut client, mut other) = (cluster.connect(), cluster.connect());
    client.batch_execute(TABLE).unwrap();
    for seed in seeds {
        let mut random = Numbers::new(seed);
        let mut next = 1;
        let mut depth = 0;
        client.batch_execute("TRUNCATE items").unwrap();
        client.batch_execute("BEGIN").unwrap();
        for step in 0..60 {
            let rows = 1 + random.below(400) as u32;
            let range = (next, next + rows);
            let command = match random.below(14) {
                0..5 => insert(range.0, range.1),
                5 => format!("UPDATE items SET v = array_fill({seed}::real, ARRAY[8])::vecf32 WHERE id % 17 = {}", rows % 17),
                6 => format!("UPDATE items SET id = id + 1000000 WHERE id % 19 = {}", rows % 19),
                7 => format!("DELETE FROM items WHERE id % 13 = {}", rows % 13),
                8 => {
                    depth += 1;
                    format!("SAVEPOINT s{depth}")
                }
                9 if depth > 0 => {
                    depth -= 1;
                    format!("RELEASE s{}", depth + 1)
                }
                10 if depth > 0 => format!("ROLLBACK TO s{depth}"),
                11 => format!(
                    "DO $$ BEGIN {} IF {} % 2 = 0 THEN RAISE division_by_zero; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
                    insert(range.0, range.1),
                    rows
                ),
                12 => "SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> array_fill(0.5::real, ARRAY[8])::vecf32 LIMIT 5) AS s".into(),
                _ => "COMMIT; BEGIN".into(),
            };
            if command.starts_with("COMMIT") {
                depth = 0;
            }
            next = range.1 + 1;
            for command in command.split_inclusive("COMMIT;") {
                client.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
            }
            match random.below(6) {
                0 => other.batch_execute("VACUUM items").unwrap(),
                1 => {
                    other.batch_execute(&insert(100_000_000 + 100 * step, 100_000_050 + 100 * step)).unwrap()
                }
                _ => {}
            }
        }
        client.batch_execute("COMMIT").unwrap();
        by_index(&mut client, false);
        let rows: i64 = client.query_one("SELECT count(*) FROM items", &[]).unwrap().get(0);
        println!("seed {seed}: {rows} rows");
        assert_rows(&mut client, rows);
        client.batch_execute("VACUUM items").unwrap();
        assert_rows(&mut client, rows);
        let held: i64 = client.query_one(HELD, &[]).unwrap().get(0);
        assert_eq!(held, rows);
    }
    assert_eq!(count_by_index(&mut other), count_by_index(&mut client));
}
