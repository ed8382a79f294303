//! What is counted of indexes by all who use them: a table of entries in shared memory, and the histogram of
//! latencies in each.
//!
//! Counting takes no lock: an entry is a row of atomics. An entry is found by a short walk from where its
//! index's key hashes to, and given to an index for as long as its file exists: see [`table`].

mod key;
pub mod latency;
pub mod table;

use self::key::AtomicKey;
pub use self::key::Key;
use self::latency::BUCKETS;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What is counted of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Searches that have ended.
    Searches,
    /// Their rounds.
    Rounds,
    /// Nodes that they expanded.
    NodesExpanded,
    /// Distances from vectors in the index.
    DistancesMeasured,
    /// Distances from codes.
    DistancesEstimated,
    /// Pages of the index that were looked at and found in a buffer.
    PagesHit,
    /// Pages of the index that were looked at and had to be read.
    PagesRead,
    /// Pages of index and table whose reading was begun ahead.
    PagesPrefetched,
    /// Those of them that were read afterwards.
    PrefetchedPagesUsed,
    /// Rows read from the table because the index left their order open.
    RowsMeasured,
    /// Rows read from the table to see whether they pass.
    RowsTested,
    /// Those of them that did not.
    RowsFailed,
    /// Searches that went on with a pass over the whole index.
    SecondRuns,
    /// Links that led to nothing, or to tombstones.
    StaleLinks,
    /// Those of them that were replaced or removed.
    LinksHealed,
    /// Rows that were inserted.
    Inserts,
    /// Links that gave way to those of a new node.
    LinksPruned,
    /// Time of all searches.
    Microseconds,
}

const COUNTERS: usize = Counter::Microseconds as usize + 1;

/// What is counted of one index. Zeros are an entry of no index.
#[derive(Default)]
#[repr(C)]
pub struct Entry {
    key: AtomicKey,
    /// The time since which it counts, in whatever unit who made it has.
    since: AtomicI64,
    counters: [AtomicU64; COUNTERS],
    latency: Histogram,
}

/// The counts of a histogram.
#[repr(C)]
struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

/// What an entry says at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The time since which it counts.
    pub since: i64,
    counters: [u64; COUNTERS],
    /// Searches by their latencies, see [`latency`].
    pub latency: [u64; BUCKETS],
}

/// Nothing was counted.
impl Default for Counts {
    fn default() -> Self {
        Entry::default().counts()
    }
}

impl Entry {
    /// Adds to a counter.
    pub fn add(&self, counter: Counter, number: u64) {
        // Most are not changed by most operations, and a write takes the line from other processors.
        if number > 0 {
            self.counters[counter as usize].fetch_add(number, Relaxed);
        }
    }

    /// Counts a search that took so long.
    pub fn add_latency(&self, microseconds: u64) {
        self.add(Counter::Microseconds, microseconds);
        self.latency.0[latency::bucket(microseconds)].fetch_add(1, Relaxed);
    }

    /// What it says now. Who counts meanwhile may be seen in some numbers and not in others.
    pub fn counts(&self) -> Counts {
        Counts {
            since: self.since.load(Relaxed),
            counters: self.counters.each_ref().map(|counter| counter.load(Relaxed)),
            latency: self.latency.0.each_ref().map(|bucket| bucket.load(Relaxed)),
        }
    }

    /// Begins anew at this time.
    pub fn reset(&self, now: i64) {
        self.since.store(now, Relaxed);
        self.counters.iter().chain(&self.latency.0).for_each(|counter| counter.store(0, Relaxed));
    }

    /// The index that it belongs to.
    pub fn key(&self) -> Option<Key> {
        self.key.load()
    }
}

impl Counts {
    /// A counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}
