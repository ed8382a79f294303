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

/// Results of a round that follows when so many heap TIDs of `max_tuples` have been given: as many again, since
/// each round takes up all that those before have left out. So the work is in proportion to what is given.
pub fn further_ef(ef_search: usize, given: usize, max_tuples: usize) -> usize {
    ef_search.max(given.min(max_tuples.saturating_sub(given)))
}

/// Results that each of so many scans that are searched as one looks for at least.
pub fn share(ef_search: usize, members: usize) -> usize {
    ef_search.min((ef_search as f32 / (members as f32).sqrt()).ceil() as usize + 1)
}
