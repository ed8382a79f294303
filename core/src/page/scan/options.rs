//! How to scan, and what a scan did.

use crate::graph::SearchStats;

/// What follows after the first `ef_search` results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterativeScan {
    /// Nothing.
    Off,
    /// All other rows, in two sorted runs.
    StrictOrder,
    /// All other rows; the rounds of the walk are sorted each for itself, then follows a sorted run.
    RelaxedOrder,
}

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// Candidates that the walk keeps, and results of its first round.
    pub ef_search: usize,
    /// What follows after the first round.
    pub iterative: IterativeScan,
    /// Heap TIDs after which no further round of the walk begins.
    pub max_tuples: usize,
    /// Bytes that the walk may remember before no further round begins.
    pub memory: usize,
    /// Scans that a [`Federation`](super::Federation) searches as one; 1 for a scan on its own.
    pub members: usize,
}

/// What is wanted of a search for the nearest rows that pass.
#[derive(Clone, Copy, Debug)]
pub struct NearestOptions {
    /// How to scan. Who knows how many rows are wanted goes on until they are there: without iterative scans
    /// as well.
    pub scan: ScanOptions,
    /// How many rows, as far as that is known; more may be asked for.
    pub wanted: usize,
    /// Whether that is known: if not, further rounds are searches of as much more than `ef_search` as there
    /// are more rows, as those of a [`Scan`](super::Scan) are.
    pub is_known: bool,
    /// Rows that are further need not be found.
    pub radius: f64,
    /// What else could be done.
    pub alternative: Option<Alternative>,
}

/// Ranking all rows that pass, and what the walk costs beside it, in one unit.
#[derive(Clone, Copy, Debug)]
pub struct Alternative {
    /// Of ranking.
    pub cost: f64,
    /// Of expanding a node.
    pub expansion: f64,
    /// Of testing a row.
    pub test: f64,
    /// The share of rows that are thought to pass.
    pub share: f64,
}

/// Why a walk gives up for the alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The alternative costs less.
    Dear,
    /// It has met more nodes than it may remember.
    Memory,
    /// What can be reached has fewer rows than are wanted.
    Unreachable,
}

/// What a scan did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// The walk through the graph.
    pub search: SearchStats,
    /// Rounds of the walk.
    pub rounds: u64,
    /// Heap TIDs given by the first run.
    pub first_run: u64,
    /// Heap TIDs given by the second run.
    pub second_run: u64,
    /// Second runs that were begun.
    pub second_runs: u64,
    /// Rows whose vector was asked for because payloads left their order open.
    pub measured_rows: u64,
    /// Rows that were tested, where conditions are, and those of them that did not pass or are not visible.
    pub tested_rows: u64,
    /// See `tested_rows`.
    pub failed_rows: u64,
    /// Links met on layer 0 that lead to nothing, or to tombstones that may be gone at any moment.
    pub stale_links: u64,
    /// Those of them that [`Scan::heal`](super::Scan::heal) replaced or removed.
    pub healed_links: u64,
}

/// Results of a round that follows when so many heap TIDs of `max_tuples` have been given: as many again,
/// since each round takes up all that those before have left out. So the work is in proportion to what is
/// given.
pub fn further_ef(ef_search: usize, given: usize, max_tuples: usize) -> usize {
    ef_search.max(given.min(max_tuples.saturating_sub(given)))
}

/// Why a scan went on with its second run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondRunReason {
    /// No distance is defined from the query, so that there was no walk.
    NoDistance,
    /// The walk gave `max_tuples` heap TIDs.
    MaxTuples,
    /// It needed more than `memory`.
    Memory,
    /// No link led on.
    Exhausted,
}

impl ScanStats {
    /// Both together, where they are searched as one.
    pub fn and(self, other: &Self) -> Self {
        Self {
            search: SearchStats {
                expanded: self.search.expanded + other.search.expanded,
                distances: self.search.distances + other.search.distances,
                estimates: self.search.estimates + other.search.estimates,
            },
            // Rounds are those of all scans together.
            rounds: self.rounds.max(other.rounds),
            first_run: self.first_run + other.first_run,
            second_run: self.second_run + other.second_run,
            second_runs: self.second_runs + other.second_runs,
            measured_rows: self.measured_rows + other.measured_rows,
            tested_rows: self.tested_rows + other.tested_rows,
            failed_rows: self.failed_rows + other.failed_rows,
            stale_links: self.stale_links + other.stale_links,
            healed_links: self.healed_links + other.healed_links,
        }
    }
}

/// Results of the first search of a walk of one table that is foreseen to cost more than its alternative: so
/// many rows around the query tell whether many of them pass, as nobody could foresee.
pub const LOOK: usize = 8;

/// Results that each of so many scans that are searched as one looks for at least.
pub fn share(ef_search: usize, members: usize) -> usize {
    ef_search.min((ef_search as f32 / (members as f32).sqrt()).ceil() as usize + 1)
}

/// Nodes that are expanded at least for each node up to the last of `wanted` rows.
///
/// A search of `ef` for all rows expands `ef / wanted` of them, and some besides. The fewer rows pass, the
/// more nodes are expanded in all, and fewer for each keep its recall. Fitted to sentence embeddings of 384
/// dimensions with 1-bit codes, from one row of 64 on, where from half of the rows to a hundredth pass. Where
/// more than half of `ef` are wanted, `ef` says too little: see [`doubts`].
pub fn reach(ef: usize, wanted: usize) -> f64 {
    const OF_MANY: f64 = 5.0;
    let all = ef as f64 / wanted as f64;
    let of_few = (2.4 * all.sqrt()).min(all).max(2.0);
    of_few + (OF_MANY - of_few) * exceeds(ef, wanted)
}

/// By how many times the doubt of an estimate all that is left must seem further than the last of `wanted`
/// rows.
///
/// A search of `ef` for few rows looks as far beyond them in any case. Where as many are wanted as `ef`, or
/// more, it is the doubt that says how far: estimates of some rows are worse than of others, so that no
/// number of nodes is right for all queries. The pages of a list, each of them a search for more rows, agree
/// so: of 1,200 rows about 10 change their page.
pub fn doubts(ef: usize, wanted: usize) -> f64 {
    const OF_MANY: f64 = 4.5;
    OF_MANY * exceeds(ef, wanted)
}

/// 0 where up to half of `ef` are wanted, 1 where as many or more are.
fn exceeds(ef: usize, wanted: usize) -> f64 {
    (2.0 * wanted as f64 / ef as f64 - 1.0).clamp(0.0, 1.0)
}
