//! Rows that a list of codes leads to, the nearest first: estimates of all, and measured distances of those
//! that the estimates leave in doubt.
//!
//! # The rule
//!
//! Each entry of the list has the code of a row's vector. Let `least` be its estimate less z times the
//! estimate's deviation. Rows are measured in the order of `least`, until that of the next row is no less
//! than the distance of the last row that is wanted, among those that are visible and pass. z follows
//! `ef_search` ([`deviations`]).
//!
//! Rows come sorted. A caller who wants more gets them by further rounds, each for as many again as all
//! before; what such a round finds nearer than what was given already comes at the end, as the second run of
//! a [`Scan`](crate::page::scan::Scan) does. Every row comes once.
//!
//! # Memory
//! Of a long list only the first entries are kept: it takes less time to leave an entry out than to keep it,
//! and few are measured. When these have been, the list is read again for the next, of which more are kept,
//! as far as memory allows.
//!
//! May import `code` and `types`.

mod batch;
mod candidate;
mod found;
mod ratio;

use crate::code::standalone::{Said, StandaloneQuery};
use crate::types::{HeapTid, Metric, Result};
pub use batch::Batch;
use candidate::{Candidate, Candidates, GROWTH, Key, Place};
pub use candidate::{Radius, RankOrder};
use found::{Found, Passed};
use ratio::Ratio;

/// Entries that are kept at first, at least, and for each row that is wanted.
const KEPT: usize = 512;
const KEPT_FOR_EACH: usize = 16;
/// Entries that are kept even where memory has no room for so many.
const LEAST_KEPT: usize = 128;
/// How often a list is read of which so many entries are measured, for so many rows that are wanted, where
/// memory allows.
pub fn readings(measured: f64, wanted: f64) -> f64 {
    let kept = (wanted * KEPT_FOR_EACH as f64).max(KEPT as f64);
    1.0 + (measured / kept).log(GROWTH as f64).ceil().max(0.0)
}

/// Rows that are asked for ahead.
const AHEAD: usize = 16;

/// Rows that are tested in any case before the codes are said to tell nothing.
const HOPELESS: usize = 256;

/// A list of rows, with the codes of their vectors.
pub trait Entries {
    /// Goes to its beginning.
    fn rewind(&mut self);
    /// Reads on until the batch, which has room, is full; gives whether the list may go on.
    fn read(&mut self, batch: &mut Batch) -> bool;
}

/// The table, and the conditions of a query.
pub trait RankedTable {
    /// What is kept of a row that passes.
    type Row;
    /// Says that these rows are tested next.
    fn prefetch(&mut self, heap_tids: &[HeapTid]);
    /// Reads a row; `None` where the snapshot does not see it or it does not pass. Its distance, as SQL has
    /// it, is `None` where that is NULL.
    fn test(&mut self, heap_tid: HeapTid) -> Option<(Option<f64>, Self::Row)>;
    /// Bytes that a row takes.
    fn size(row: &Self::Row) -> usize;
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct RankOptions {
    /// The metric of the distances.
    pub metric: Metric,
    /// Deviations of an estimate that count as its error.
    pub deviations: f64,
    /// How many rows, as far as that is known; more may be asked for.
    pub wanted: usize,
    /// Rows outside need not be found.
    pub radius: Option<Radius>,
    /// Where rows without a distance stand.
    pub order: RankOrder,
    /// Bytes that may be kept of entries, and of rows.
    pub memory: usize,
}

impl RankOptions {
    /// Where a row is measured of whose distance its code, if there is one, says this.
    fn place(&self, said: Option<Said>) -> Place {
        let without_estimate = |key| Place { key, estimate: 0.0 };
        let (estimate, deviation) = match said {
            Some(Said::Estimate(estimate, deviation)) => (estimate, deviation),
            Some(Said::Unknown) => return without_estimate(Key::FIRST),
            Some(Said::Undefined) => return without_estimate(self.order.key(Some(f64::NAN))),
            None => return without_estimate(self.order.key(None)),
        };
        let least = f64::from(estimate) - self.deviations * f64::from(deviation);
        let (least, estimate) = match self.metric {
            // L1 is no less than L2.
            Metric::L2 | Metric::L1 | Metric::Hamming => (least.max(0.0).sqrt(), estimate.max(0.0).sqrt()),
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => (least, estimate),
        };
        Place { key: self.order.ordinary(least), estimate }
    }
}

/// What a ranking did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankStats {
    /// Entries of the list that were read.
    pub entries: u64,
    /// How often the list was read.
    pub passes: u64,
    /// Rows that were tested, and those of them that did not pass or are not visible.
    pub tested: u64,
    /// See `tested`.
    pub failed: u64,
}

impl RankStats {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            passes: self.passes + other.passes,
            tested: self.tested + other.tested,
            failed: self.failed + other.failed,
        }
    }
}

/// Deviations of an estimate that count as its error at a setting of `ef_search`: 2 at 64, half of one more
/// where that is doubled.
pub fn deviations(ef_search: usize) -> f64 {
    (2.0 + 0.5 * (ef_search as f64 / 64.0).log2()).max(0.0)
}

/// A ranking of the rows of a list.
pub struct Ranking<List: Entries, Table: RankedTable> {
    /// The list.
    pub list: List,
    /// The table.
    pub table: Table,
    batch: Batch,
    options: RankOptions,
    candidates: Candidates,
    ratio: Ratio,
    /// What this round has found.
    passed: Passed<Table::Row>,
    /// Those of it that are to be given, the first one last.
    round: Vec<Found<Table::Row>>,
    /// Rows that were found when further ones had been given.
    late: Vec<Found<Table::Row>>,
    /// The last row that was given.
    last: Option<Key>,
    given: usize,
    /// Rows that were tested since the list was read.
    tested: usize,
    state: State,
    stats: RankStats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Round,
    /// All entries have been measured.
    End,
}

impl<List: Entries, Table: RankedTable> Ranking<List, Table> {
    /// A ranking, of estimates unless the query is NULL; nothing is read yet.
    pub fn new(list: List, table: Table, query: Option<StandaloneQuery>, options: RankOptions) -> Self {
        let most = (options.memory / 2 / size_of::<Candidate>()).max(LEAST_KEPT);
        let kept = options.wanted.saturating_mul(KEPT_FOR_EACH).max(KEPT);
        Self {
            list,
            table,
            batch: Batch::new(query),
            options,
            candidates: Candidates::new(kept, most),
            ratio: Ratio::default(),
            passed: Passed::new(options.wanted.max(1), options.memory / 2),
            round: Vec::new(),
            late: Vec::new(),
            last: None,
            given: 0,
            tested: 0,
            state: State::Start,
            stats: RankStats::default(),
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> RankStats {
        self.stats
    }

    /// Whether all rows of the list have been tested.
    pub fn is_exhausted(&self) -> bool {
        self.state == State::End && self.candidates.first().is_none()
    }

    /// The next row; `None` where there is none.
    pub fn next_row(&mut self) -> Result<Option<Table::Row>> {
        loop {
            while let Some(found) = self.round.pop() {
                self.given += 1;
                // A row that was not kept is read again.
                if let Some(row) = found.row.or_else(|| self.table.test(found.heap_tid).map(|(_, row)| row)) {
                    return Ok(Some(row));
                }
            }
            match self.state {
                State::Start => {
                    self.read_list()?;
                    self.state = State::Round;
                }
                State::Round if self.given > 0 => self.passed.want_more(self.given)?,
                State::Round => {}
                State::End => return Ok(None),
            }
            self.find()?;
        }
    }

    /// Finds the rows of a round.
    fn find(&mut self) -> Result<()> {
        let mut none_is_left = false;
        while !self.is_complete() {
            if self.candidates.is_empty() {
                if !self.candidates.are_others() {
                    none_is_left = true;
                    break;
                }
                self.read_list()?;
                continue;
            }
            if self.is_hopeless() {
                for together in self.candidates.take_all()?.chunks(AHEAD) {
                    self.test_all(together)?;
                }
                continue;
            }
            let together = self.candidates.take(AHEAD)?;
            let known = together.iter().position(|next| self.is_beyond(next.key()));
            let (wanted, beyond) = together.split_at(known.unwrap_or(together.len()));
            self.candidates.put_back(beyond);
            self.test_all(wanted)?;
        }
        let is_last = none_is_left || self.candidates.first().is_some_and(|next| self.is_outside(next));
        let mut rows = self.passed.take(is_last);
        if is_last {
            self.state = State::End;
            rows.append(&mut self.late);
            rows.sort_unstable();
        } else if let Some(last) = self.last {
            let late: Vec<_> = rows.extract_if(.., |found| found.key < last).collect();
            self.late.try_reserve(late.len())?;
            self.late.extend(late.into_iter().map(Found::without_row));
        }
        rows.reverse();
        self.last = rows.first().map(|found| found.key).or(self.last);
        self.round = rows;
        Ok(())
    }

    /// Whether the first candidate that is left is of no concern to this round.
    fn is_complete(&self) -> bool {
        self.candidates.first().is_some_and(|next| self.is_beyond(next))
    }

    /// Whether a candidate is of no concern to this round.
    fn is_beyond(&self, next: Key) -> bool {
        let least = self.ratio.least(next, self.options.deviations);
        self.passed.bound().is_some_and(|bound| least >= bound) || self.is_outside(next)
    }

    /// Whether neither a candidate nor those after it can be within the radius.
    fn is_outside(&self, next: Key) -> bool {
        let radius =
            self.options.radius.filter(|radius| !radius.undefined || !self.candidates.has_undefined());
        radius.is_some_and(|radius| self.ratio.least(next, self.options.deviations).is_outside(radius))
    }

    /// Whether the codes tell too little to go on in their order: the rows that are left are tested as they
    /// lie in the table, which takes much less time for each.
    fn is_hopeless(&self) -> bool {
        let left = self.candidates.count() - self.tested;
        self.stats.tested as usize >= HOPELESS.max(left / 2)
    }

    fn test_all(&mut self, together: &[Candidate]) -> Result<()> {
        let heap_tids: Vec<HeapTid> = together.iter().map(|next| next.heap_tid).collect();
        self.table.prefetch(&heap_tids);
        self.tested += together.len();
        together.iter().try_for_each(|next| self.test(*next))
    }

    fn test(&mut self, candidate: Candidate) -> Result<()> {
        self.stats.tested += 1;
        let Some((distance, row)) = self.table.test(candidate.heap_tid) else {
            self.stats.failed += 1;
            return Ok(());
        };
        if self.options.metric == Metric::L1 {
            self.ratio.learn(candidate.estimate, distance);
        }
        let key = self.options.order.key(distance);
        let size = Table::size(&row);
        self.passed.add(Found { key, heap_tid: candidate.heap_tid, row: Some(row), size })
    }

    /// Reads the list, and keeps the first of those entries that come after the last one that was kept.
    fn read_list(&mut self) -> Result<()> {
        self.stats.passes += 1;
        self.tested = 0;
        self.list.rewind();
        self.candidates.clear();
        let Self { list, batch, options, candidates, stats, .. } = self;
        let mut goes_on = true;
        while goes_on {
            goes_on = list.read(batch);
            stats.entries += batch.len() as u64;
            batch.drain(|said| options.place(said), |heap_tid, place| candidates.add(place, heap_tid))?;
        }
        self.candidates.finish()
    }
}
