//! What this session's last search did, for `walia_last_scan`.
//!
//! A search is counted when its scan ends. Scans that are searched as one count together.

use std::cell::Cell;
use std::time::Duration;

use walia_core::page::scan::ScanStats;

use crate::store::RelationStore;
use crate::store::prefetch::PrefetchStats;

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static LAST: Cell<Option<(SearchNumber, LastScan)>> = const { Cell::new(None) };
}

/// What a search did.
#[derive(Clone, Copy, Default)]
pub struct LastScan {
    /// Indexes that were searched.
    pub indexes: u64,
    /// What core counted.
    pub stats: ScanStats,
    /// Pages of the indexes that were looked at.
    pub pages: u64,
    /// Pages whose reading was begun ahead, and those of them that were read.
    pub prefetched: u64,
    /// Of those that were prefetched.
    pub prefetched_used: u64,
    /// Time in the access method.
    pub time: Duration,
}

/// Tells the searches of a session apart.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchNumber(u64);

impl SearchNumber {
    /// For a search that begins now.
    pub fn next() -> Self {
        let number = NUMBER.get() + 1;
        NUMBER.set(number);
        Self(number)
    }
}

/// Counts a scan of a search that has ended.
pub fn record(number: SearchNumber, scan: LastScan) {
    let together = match LAST.get() {
        Some((last, before)) if last == number => before.and(&scan),
        _ => scan,
    };
    LAST.set(Some((number, together)));
}

/// The last search of this session that has ended.
pub fn last() -> Option<LastScan> {
    LAST.get().map(|(_, last)| last)
}

impl LastScan {
    /// One search of an index: what core counted, and what came of read-ahead in the table.
    pub fn new(stats: ScanStats, store: &RelationStore, table: PrefetchStats, time: Duration) -> Self {
        let index = store.prefetch_stats();
        Self {
            indexes: 1,
            stats,
            pages: store.reads(),
            prefetched: index.begun + table.begun,
            prefetched_used: index.used + table.used,
            time,
        }
    }

    /// Both together.
    pub fn and(self, other: &Self) -> Self {
        Self {
            indexes: self.indexes + other.indexes,
            stats: self.stats.and(&other.stats),
            pages: self.pages + other.pages,
            prefetched: self.prefetched + other.prefetched,
            prefetched_used: self.prefetched_used + other.prefetched_used,
            time: self.time + other.time,
        }
    }
}
