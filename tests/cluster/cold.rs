//! Searches of a server that has nothing in its memory: under a condition they ask for pages ahead as they
//! do without one.

use postgres::{Client, SimpleQueryMessage};

use crate::server::Cluster;

const ITEMS: &str = "
    CREATE EXTENSION walia; SELECT setseed(0.3);
    CREATE TABLE items (id int, tenth int, body text, v vecf32(48));
    ALTER TABLE items ALTER body SET STORAGE plain;
    INSERT INTO items SELECT i, i % 10, repeat('x', 900),
        (SELECT array_agg(sin(j * (i % 9)) + random() + 0 * i) FROM generate_series(1, 48) AS j)::vecf32
    FROM generate_series(1, 12000) AS i;
    CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops);
    CREATE INDEX ON items (tenth, walia_code(v));
    CREATE TABLE parts (LIKE items) PARTITION BY HASH (id);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO parts SELECT * FROM items;
    CREATE INDEX ON parts USING walia_hnsw (v vecf32_l2_ops);
    ANALYZE items, parts; CHECKPOINT";

/// What a search has read.
#[derive(Debug)]
struct Read {
    pages: i64,
    prefetched: i64,
    used: i64,
    ids: Vec<String>,
}

impl Read {
    /// Of the pages that were read, those that were asked for ahead.
    fn share(&self) -> f64 {
        self.used as f64 / self.pages as f64
    }
}

/// Searches in a server that has just been started.
fn search(cluster: &Cluster, scan: &str, statement: &str, depth: i32) -> Read {
    cluster.stop();
    cluster.run();
    let mut client = cluster.connect();
    client
        .batch_execute(&format!(
            "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
             SET walia.prefetch_depth = {depth}; SET walia.nearest_scan = {}; SELECT vector_dims(v) FROM items LIMIT 0",
            scan.starts_with("Custom")
        ))
        .unwrap();
    let explained = lines(&mut client, &format!("EXPLAIN (ANALYZE, VERBOSE, BUFFERS) {statement}"));
    assert!(explained.iter().any(|line| line.contains(scan)), "{explained:#?}");
    let shown = |label: &str| {
        let line = explained.iter().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("{label} in {explained:#?}")).trim().to_owned()
    };
    let counted = lines(&mut client, "SELECT pages_prefetched, prefetched_pages_used FROM walia_last_scan()");
    let (prefetched, used) = counted[0].split_once(' ').unwrap();
    if scan.starts_with("Custom") {
        assert_eq!([shown("Pages Prefetched:"), shown("Prefetched Pages Used:")], [prefetched, used]);
    }
    let [prefetched, used] = [prefetched, used].map(|number| number.parse().unwrap());
    let buffers = shown("Buffers:");
    let pages = buffers.split_whitespace().find_map(|word| word.strip_prefix("read="));
    let pages = pages.unwrap_or_else(|| panic!("{buffers}")).parse().unwrap();
    Read { pages, prefetched, used, ids: lines(&mut client, statement) }
}

fn lines(client: &mut Client, statement: &str) -> Vec<String> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap()).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    client.simple_query(statement).unwrap().iter().filter_map(row).collect()
}

#[test]
fn conditions_take_no_read_ahead_away() {
    let cluster = Cluster::start(&[]);
    cluster.connect().batch_execute(ITEMS).unwrap();
    let near = |table: &str, condition: &str| {
        format!(
            "SELECT id FROM {table} WHERE {condition}
             ORDER BY v <-> array_fill(0.8::real, ARRAY[48])::vecf32 LIMIT 10"
        )
    };
    let (walk, codes) = ("Custom Scan (WaliaNearestScan)", "Custom Scan (WaliaCodeScan)");
    let every = search(&cluster, walk, &near("items", "true"), -1);
    assert!(every.share() > 0.7, "{every:?}");
    for (table, scan, condition) in [
        ("items", walk, "id % 2 = 0"),
        ("items", walk, "id % 10 = 3"),
        ("items", codes, "tenth = 3"),
        ("parts", walk, "id % 10 = 3"),
    ] {
        let read = search(&cluster, scan, &near(table, condition), -1);
        assert!(read.share() > every.share() - 0.05, "{condition}: {read:?} beside {every:?}");
        // What is asked for is wanted.
        assert!(read.used as f64 > 0.9 * read.prefetched as f64, "{condition}: {read:?}");
    }
    // A scan that gives many rows asks for some of them when it has read others.
    let many = near("items", "true").replace("LIMIT 10", "LIMIT 100");
    for scan in [walk, "Index Scan"] {
        let read = search(&cluster, scan, &many, -1);
        assert!(read.share() > every.share() - 0.05, "{read:?} beside {every:?}");
    }
    // It changes no answer.
    let statement = near("items", "id % 10 = 3");
    let [ahead, without] = [-1, 0].map(|depth| search(&cluster, walk, &statement, depth));
    assert_eq!((without.prefetched, &without.ids), (0, &ahead.ids));
}
