//! Sessions that change and search a table at random, for tests that do something to a server meanwhile.
//!
//! Imports `numbers`, `scan` and `server`.

use std::collections::HashSet;

use postgres::{Client, Error, Statement};

use crate::numbers::Numbers;
use crate::scan::by_index;
use crate::server::Cluster;

/// Enough for codes beside links.
const DIMENSIONS: usize = 32;
/// Rows that one statement changes.
const BATCH: usize = 20;
/// Rows that a session has in the long run.
const ROWS: usize = 2000;
/// Rows that a search asks for.
const LIMIT: i64 = 10;

/// Creates walia and the table `items`, whose index `items_v` the sessions use. Some vectors are NULL, and some equal. The first
/// rows, which no session changes, give the index the centroid that a new one would have.
pub fn prepare(client: &mut Client) {
    client
        .batch_execute(&format!(
            "CREATE EXTENSION walia;
             CREATE FUNCTION vector() RETURNS vecf32 LANGUAGE sql VOLATILE AS $$
                 SELECT CASE WHEN random() < 0.02 THEN NULL
                     WHEN random() < 0.1 THEN array_fill((0.3 + floor(random() * 5) / 10)::real, ARRAY[{DIMENSIONS}])::vecf32
                     ELSE (SELECT array_agg(random())::real[]::vecf32 FROM generate_series(1, {DIMENSIONS})) END $$;
             CREATE TABLE items (id bigserial PRIMARY KEY, session int, note int DEFAULT 0, v vecf32({DIMENSIONS}));
             INSERT INTO items (v) SELECT vector() FROM generate_series(1, {ROWS});
             CREATE INDEX ON items (note);
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)"
        ))
        .unwrap();
}

/// Works in one session as long as `goes_on` says; gives the number of rows changed and of searches. The session's number and
/// the seed decide what it does. It changes rows of its own, so that no session waits for another's lock.
pub fn work(cluster: &Cluster, session: i32, seed: u64, goes_on: impl Fn() -> bool) -> Result<u64, Error> {
    let mut session = Session::begin(cluster.connect(), session, seed)?;
    let mut operations = 0;
    while goes_on() {
        operations += session.step()?;
    }
    Ok(operations)
}

struct Session {
    client: Client,
    session: i32,
    numbers: Numbers,
    /// Its rows.
    ids: Vec<i64>,
    insert: Statement,
    update: Statement,
    update_note: Statement,
    delete: Statement,
    search: Statement,
    scan: Statement,
}

impl Session {
    fn begin(mut client: Client, session: i32, seed: u64) -> Result<Self, Error> {
        let mut numbers = Numbers::new(seed << 8 | session as u64);
        let seed = numbers.below(1 << 20) as f64 / f64::from(1 << 20);
        client.batch_execute(&format!("SELECT setseed({seed})"))?;
        by_index(&mut client, true);
        let ids = client.query("SELECT id FROM items WHERE session = $1", &[&session])?;
        let scan = "(SELECT id FROM items ORDER BY v <-> $1::text::vecf32 OFFSET 0) AS s";
        Ok(Self {
            ids: ids.iter().map(|row| row.get(0)).collect(),
            insert: client.prepare(&format!(
                "INSERT INTO items (session, v) SELECT $1, vector() FROM generate_series(1, {BATCH}) RETURNING id"
            ))?,
            update: client.prepare("UPDATE items SET v = vector() WHERE id = ANY($1)")?,
            update_note: client.prepare("UPDATE items SET note = note + 1 WHERE id = ANY($1)")?,
            delete: client.prepare("DELETE FROM items WHERE id = ANY($1)")?,
            search: client.prepare(&format!(
                "SELECT id, v <-> $1::text::vecf32 FROM items ORDER BY v <-> $1::text::vecf32 LIMIT {LIMIT}"
            ))?,
            scan: client.prepare(&format!(
                "SELECT (SELECT count(*) FROM {scan}), (SELECT count(DISTINCT id) FROM {scan}), (SELECT count(*) FROM items)"
            ))?,
            client,
            session,
            numbers,
        })
    }

    /// Runs one statement.
    fn step(&mut self) -> Result<u64, Error> {
        match self.numbers.below(200) {
            0..60 if self.numbers.below(2 * ROWS) >= self.ids.len() => self.insert(),
            0..60 => {
                let chosen = self.take();
                self.client.execute(&self.delete, &[&chosen])
            }
            60..90 => self.update(false),
            90..110 => self.update(true),
            110..196 => self.search(),
            196 => self.scan(),
            197 => self.client.batch_execute("CHECKPOINT").map(|()| 0),
            _ => self.client.batch_execute("VACUUM items").map(|()| 0),
        }
    }

    fn insert(&mut self) -> Result<u64, Error> {
        let inserted = self.client.query(&self.insert, &[&self.session])?;
        self.ids.extend(inserted.iter().map(|row| row.get::<_, i64>(0)));
        Ok(inserted.len() as u64)
    }

    /// Changes the vectors of some rows, or only another column, which is indexed too.
    fn update(&mut self, note: bool) -> Result<u64, Error> {
        let chosen = self.take();
        let statement = if note { &self.update_note } else { &self.update };
        let updated = self.client.execute(statement, &[&chosen])?;
        self.ids.extend(chosen);
        Ok(updated)
    }

    /// Takes some rows out of the session's.
    fn take(&mut self) -> Vec<i64> {
        let count = BATCH.min(self.ids.len());
        (0..count).map(|_| self.ids.swap_remove(self.numbers.below(self.ids.len()))).collect()
    }

    /// A search gives rows in the order of their distances, and none twice.
    fn search(&mut self) -> Result<u64, Error> {
        let query = query(&mut self.numbers);
        let found = self.client.query(&self.search, &[&query])?;
        // NULL is last.
        let distances = found.iter().map(|row| row.get::<_, Option<f64>>(1).unwrap_or(f64::INFINITY));
        assert!(distances.is_sorted(), "rows in disorder: {found:?}");
        let ids: HashSet<i64> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(ids.len(), found.len(), "a row was found twice: {found:?}");
        Ok(1)
    }

    /// A scan to the end gives every row once, of those that the statement's snapshot sees.
    fn scan(&mut self) -> Result<u64, Error> {
        let query = query(&mut self.numbers);
        let row = self.client.query_one(&self.scan, &[&query])?;
        let [found, different, all] = [0, 1, 2].map(|column| row.get::<_, i64>(column));
        assert_eq!(
            (found, different),
            (all, all),
            "rows found, different ones among them, and rows of the table"
        );
        Ok(1)
    }
}

/// A vector to search for, as text.
pub fn query(numbers: &mut Numbers) -> String {
    let elements: Vec<String> = (0..DIMENSIONS).map(|_| format!("0.{:03}", numbers.below(1000))).collect();
    format!("[{}]", elements.join(","))
}
