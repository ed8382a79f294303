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

/// Distances of a session's ten nearest rows, by the codes of `items_codes` and from all of its rows. No
/// index serves this distance but that one.
const RANKING: &str = "
    SELECT ARRAY(SELECT v <~> $2::text::vecf32 FROM items WHERE session = $1 ORDER BY v <~> $2::text::vecf32 LIMIT 10),
        ARRAY(SELECT d FROM (SELECT v <~> $2::text::vecf32 FROM items WHERE session = $1 OFFSET 0) AS s (d) ORDER BY d LIMIT 10)";

/// Creates walia and the table `items`, whose indexes `items_v` and `items_codes` the sessions use. Some
/// vectors are NULL, and some equal. The first rows, which no session changes, give the index the centroid
/// that a new one would have.
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
             CREATE INDEX items_codes ON items (session, walia_code(v));
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops)"
        ))
        .unwrap();
}

/// Works in one session as long as `goes_on` says; gives the number of rows changed and of searches. The
/// session's number and the seed decide what it does. It changes rows of its own, so that no session waits
/// for another's lock.
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
    rank: Statement,
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
            rank: client.prepare(RANKING)?,
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
            110..180 => self.search(),
            180..196 => assert_ranking(&mut self.client, &self.rank, self.session, &query(&mut self.numbers))
                .map(|()| 1),
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

/// Fails unless a session's rows, which nobody else changes, are ranked by codes as they are without.
fn assert_ranking(
    client: &mut Client,
    statement: &Statement,
    session: i32,
    query: &str,
) -> Result<(), Error> {
    client.batch_execute("SET walia.ef_search = 1000")?;
    let row = client.query_one(statement, &[&session, &query])?;
    let [by_codes, exact] = [0, 1].map(|column| row.get::<_, Vec<Option<f64>>>(column));
    assert_eq!(by_codes, exact, "rows of session {session}");
    client.batch_execute("RESET walia.ef_search")
}

/// Fails unless the btree of codes ranks every session's rows as they are without.
pub fn assert_ranked(client: &mut Client) {
    by_index(client, true);
    let plan = format!("EXPLAIN {}", RANKING.replace("$1", "1").replace("$2", "'[1]'"));
    let plan: Vec<String> = client.query(&plan, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("WaliaCodeScan")), "{plan:#?}");
    let statement = client.prepare(RANKING).unwrap();
    let sessions = "SELECT DISTINCT session FROM items WHERE session IS NOT NULL";
    let sessions: Vec<i32> = client.query(sessions, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!sessions.is_empty());
    for session in sessions {
        let query = query(&mut Numbers::new(session as u64));
        assert_ranking(client, &statement, session, &query).unwrap();
    }
}

/// Fails where Postgres's own check finds anything wrong with the btree of codes.
pub fn check_codes(client: &mut Client) {
    client
        .batch_execute(
            "CREATE EXTENSION IF NOT EXISTS amcheck; SELECT bt_index_parent_check('items_codes', true, true)",
        )
        .unwrap();
}

/// A vector to search for, as text.
pub fn query(numbers: &mut Numbers) -> String {
    let elements: Vec<String> = (0..DIMENSIONS).map(|_| format!("0.{:03}", numbers.below(1000))).collect();
    format!("[{}]", elements.join(","))
}
