//! Searches under conditions while other sessions write and vacuum, on the primary and on a standby: no row
//! that a condition forbids, none twice, in the order of the distances, and as many as without an index.

use std::collections::HashSet;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, Error};

use crate::numbers::Numbers;
use crate::scan::assert_sound;
use crate::server::{Cluster, wait_until};
use crate::workload;

const WRITERS: i32 = 5;
/// Sessions that search on each of the two servers.
const READERS: u64 = 2;

/// Conditions that let pass half of the rows, a tenth and a hundredth, by columns that stay as they are and
/// by one that writers change; by an index that carries codes, and by none.
const CONDITIONS: [&str; 10] = [
    "true",
    "id % 2 = 0",
    "id % 10 = 3",
    "id % 100 = 7",
    "note % 2 = 0",
    "session IS NULL",
    "label = 7",
    "(label = 1 OR label = 12)",
    "label < 10 AND note < 2",
    "session IN (1, 2) AND id % 2 = 0",
];

/// What is searched by: what the planner chooses, walks and codes, and walks alone.
const WAYS: [&str; 3] = [
    "",
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off",
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL walia.code_scan = off",
];

#[test]
fn searches_beside_writers_and_a_standby() {
    search(Duration::from_secs(7));
}

#[test]
#[ignore = "long: make soak"]
fn searches_beside_writers_and_a_standby_for_long() {
    let seconds = env::var("WALIA_SOAK_SECONDS").map_or(600, |seconds| seconds.parse().unwrap());
    search(Duration::from_secs(seconds));
}

fn search(time: Duration) {
    let primary = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    let mut client = primary.connect();
    workload::prepare(&mut client);
    client
        .batch_execute(
            "ALTER TABLE items SET (vacuum_truncate = off);
             ALTER TABLE items ADD label int GENERATED ALWAYS AS (id % 100) STORED;
             CREATE INDEX items_labels ON items (label, walia_code(v));
             CREATE EXTENSION amcheck; ANALYZE items",
        )
        .unwrap();
    let standby = primary.standby(&[
        "hot_standby_feedback = on",
        "wal_receiver_status_interval = 1s",
        "max_standby_streaming_delay = 500ms",
    ]);
    wait_until("the primary has the standby's feedback", || {
        let known = "SELECT xmin IS NOT NULL FROM pg_replication_slots";
        client.query_opt(known, &[]).unwrap().is_some_and(|row| row.get(0))
    });
    let end = Instant::now() + time;
    let done = thread::scope(|scope| {
        for session in 0..WRITERS {
            let primary = &primary;
            scope.spawn(move || workload::work(primary, session, 3, || Instant::now() < end).unwrap());
        }
        let servers = [(&primary, false), (&standby, true)];
        let readers: Vec<_> = servers
            .into_iter()
            .flat_map(|server| (0..READERS).map(move |reader| (server, reader)))
            .map(|((server, is_standby), reader)| scope.spawn(move || read(server, is_standby, reader, end)))
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).fold(Tally::default(), Tally::and)
    });
    println!("{done:?}");
    assert!(done.searches > 20 && done.by_codes > 0 && done.by_walks > 0, "{done:?}");
    assert!(done.found as f64 >= 0.98 * done.wanted as f64, "{done:?}");
    assert!(done.twice as f64 <= 0.01 * done.paged as f64, "{done:?}");
    primary.wait_for_replay(&standby);
    for (number, condition) in CONDITIONS.into_iter().enumerate() {
        let query = workload::query(&mut Numbers::new(number as u64));
        for way in WAYS {
            let [here, there] = [&primary, &standby].map(|cluster| {
                let mut client = cluster.connect();
                let mut search = Search::begin(&mut client, way, &query).unwrap();
                search.rows(condition, "LIMIT 50").unwrap()
            });
            let distances = |rows: &[Row]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
            assert_eq!(distances(&here), distances(&there), "{condition}, {way:?}");
            assert_eq!(told_apart(&here), told_apart(&there), "{condition}, {way:?}");
        }
    }
    for index in ["items_codes", "items_labels"] {
        let check = format!("SELECT bt_index_check('{index}', heapallindexed => true)");
        standby.connect().batch_execute(&check).unwrap();
        let check = format!("SELECT bt_index_parent_check('{index}', true, true)");
        client.batch_execute(&check).unwrap();
    }
    assert_sound(&mut client);
}

/// What readers have done.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    searches: usize,
    by_codes: usize,
    by_walks: usize,
    cancelled: usize,
    /// Rows that searches should have found, and those of them that they did.
    wanted: usize,
    found: usize,
    /// Rows of pages, and those that a page before had given.
    paged: usize,
    twice: usize,
}

impl Tally {
    /// Counts the rows of a search; of those that are equally far any may be given.
    fn count(&mut self, given: &[Row], exact: &[Row]) {
        let distance = |row: &Row| row.1.map(f64::to_bits);
        let distances: HashSet<_> = exact.iter().map(distance).collect();
        self.wanted += exact.len();
        self.found += given.iter().filter(|row| distances.contains(&distance(row))).count();
    }

    fn and(self, other: Self) -> Self {
        Self {
            searches: self.searches + other.searches,
            by_codes: self.by_codes + other.by_codes,
            by_walks: self.by_walks + other.by_walks,
            cancelled: self.cancelled + other.cancelled,
            wanted: self.wanted + other.wanted,
            found: self.found + other.found,
            paged: self.paged + other.paged,
            twice: self.twice + other.twice,
        }
    }
}

/// Searches until the end.
fn read(server: &Cluster, is_standby: bool, reader: u64, end: Instant) -> Tally {
    let mut client = server.connect();
    let mut numbers = Numbers::new(reader << 1 | u64::from(is_standby));
    let mut tally = Tally::default();
    while Instant::now() < end {
        let way = WAYS[numbers.below(WAYS.len())];
        let condition = CONDITIONS[numbers.below(CONDITIONS.len())];
        let query = workload::query(&mut numbers);
        let searched = Search::begin(&mut client, way, &query)
            .and_then(|mut search| search.compare(condition, &mut numbers, &mut tally));
        if let Err(error) = searched {
            // Postgres cancels what holds replay up for too long, and the session between two statements.
            let is_conflict = error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
            assert!(is_standby && (is_conflict || client.is_closed()), "{condition}: {error:?}");
            tally.cancelled += 1;
            if client.is_closed() {
                client = server.connect();
            }
        }
    }
    tally
}

type Row = (i64, Option<f64>, bool);

/// Searches for the rows nearest to a vector, of one snapshot.
struct Search<'a> {
    transaction: postgres::Transaction<'a>,
    distance: String,
    way: &'a str,
}

impl<'a> Search<'a> {
    fn begin(client: &'a mut Client, way: &'a str, query: &str) -> Result<Self, Error> {
        let isolation = postgres::IsolationLevel::RepeatableRead;
        let mut transaction =
            client.build_transaction().isolation_level(isolation).read_only(true).start()?;
        transaction.batch_execute(&format!("SET LOCAL walia.ef_search = 400; {way}"))?;
        Ok(Self { transaction, distance: format!("v <-> '{query}'"), way })
    }

    fn statement(&self, condition: &str, limit: &str) -> String {
        let distance = &self.distance;
        // Pages are told apart by it.
        let order = if limit.contains("OFFSET") { ", id" } else { "" };
        format!(
            "SELECT id, {distance}, {condition} FROM items WHERE {condition} ORDER BY {distance}{order} {limit}"
        )
    }

    fn rows(&mut self, condition: &str, limit: &str) -> Result<Vec<Row>, Error> {
        let rows = self.transaction.query(&self.statement(condition, limit), &[])?;
        let rows: Vec<Row> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert!(rows.iter().all(|row| row.2), "{condition} {limit}: {rows:?}");
        let distances = rows.iter().map(|row| row.1.unwrap_or(f64::INFINITY));
        assert!(distances.is_sorted(), "{condition} {limit}: rows in disorder: {rows:?}");
        assert_eq!(ids(&rows).len(), rows.len(), "{condition} {limit}: a row was found twice: {rows:?}");
        Ok(rows)
    }

    /// The same without any index.
    fn exact(&mut self, condition: &str, limit: &str) -> Result<Vec<Row>, Error> {
        self.transaction.batch_execute(
            "SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on",
        )?;
        let rows = self.rows(condition, limit)?;
        self.transaction.batch_execute(&format!("SET LOCAL enable_indexscan = on; {}", self.way))?;
        Ok(rows)
    }

    /// Searches with a limit, page by page, within a distance or with a cursor, and counts what it finds.
    fn compare(&mut self, condition: &str, numbers: &mut Numbers, tally: &mut Tally) -> Result<(), Error> {
        let plan = format!("EXPLAIN {}", self.statement(condition, "LIMIT 10"));
        let plan = self.transaction.query(&plan, &[])?;
        let has = |scan: &str| plan.iter().any(|line| line.get::<_, &str>(0).contains(scan));
        tally.by_codes += usize::from(has("WaliaCodeScan"));
        tally.by_walks += usize::from(has("WaliaNearestScan"));
        tally.searches += 1;
        let count_filled = |tally: &mut Tally, given: &[Row], exact: &[Row]| {
            assert_eq!(given.len(), exact.len(), "{condition}: {given:?} instead of {exact:?}");
            tally.count(given, exact);
        };
        match numbers.below(4) {
            0 => {
                let limit = ["LIMIT 1", "LIMIT 10", "LIMIT 200"][numbers.below(3)];
                count_filled(tally, &self.rows(condition, limit)?, &self.exact(condition, limit)?);
            }
            1 => {
                let mut seen = HashSet::new();
                for page in 0..4 {
                    let limit = format!("LIMIT 15 OFFSET {}", page * 15);
                    let rows = self.rows(condition, &limit)?;
                    count_filled(tally, &rows, &self.exact(condition, &limit)?);
                    tally.paged += rows.len();
                    tally.twice += rows.iter().filter(|row| !seen.insert(row.0)).count();
                }
            }
            2 => {
                let near = self.exact(&format!("({condition}) AND v IS NOT NULL"), "LIMIT 30")?;
                let Some(bound) = near.last().and_then(|row| row.1) else { return Ok(()) };
                let within = format!("({condition}) AND {} <= {bound}", self.distance);
                let limit = ["", "LIMIT 10", "LIMIT 100"][numbers.below(3)];
                tally.count(&self.rows(&within, limit)?, &self.exact(&within, limit)?);
            }
            _ => {
                let statement = self.statement(condition, "LIMIT 60");
                self.transaction.batch_execute(&format!("DECLARE near NO SCROLL CURSOR FOR {statement}"))?;
                let mut given = Vec::new();
                for fetch in ["FETCH 1 FROM near", "FETCH 20 FROM near", "FETCH ALL FROM near"] {
                    let rows = self.transaction.query(fetch, &[])?;
                    given.extend(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))));
                }
                assert_eq!(ids(&given).len(), given.len(), "{condition}: a row was found twice: {given:?}");
                count_filled(tally, &given, &self.exact(condition, "LIMIT 60")?);
            }
        }
        Ok(())
    }
}

/// Rows of an answer beside which no other can be as far.
fn told_apart(rows: &[Row]) -> Vec<&Row> {
    let groups = rows.chunk_by(|one, other| one.1 == other.1);
    let mut alone: Vec<_> = groups.filter(|group| group.len() == 1).map(|group| &group[0]).collect();
    alone.retain(|row| row.1 != rows[rows.len() - 1].1);
    alone
}

fn ids(rows: &[Row]) -> HashSet<i64> {
    rows.iter().map(|row| row.0).collect()
}
