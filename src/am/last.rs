//! What this session's last search did, for `walia_last_scan`.
//!
//! A search is counted when its scan ends. Scans that are searched as one count together.

use std::cell::Cell;
use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};
use walia_core::page::scan::ScanStats;

use crate::guc;
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
    /// Those of them that were in no buffer.
    pub pages_read: u64,
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

/// Names of indexes, in a message: all of them, unless they are many.
pub fn names(mut names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let others = if names.len() > SHOWN + 1 { names.len() - SHOWN } else { 0 };
    let shown = names.by_ref().take(SHOWN + 1 - usize::from(others > 0)).collect::<Vec<_>>().join(", ");
    if others == 0 { shown } else { format!("{shown} and {others} others") }
}

/// The last search of this session that has ended.
pub fn last() -> Option<LastScan> {
    LAST.get().map(|(_, last)| last)
}

/// Logs a search that has ended, if it took as long as `walia.log_min_scan_duration` says. `indexes` names
/// what was searched.
pub fn log(scan: &LastScan, indexes: impl FnOnce() -> String) {
    if guc::log_min_scan_duration().is_none_or(|least| scan.time < least || scan.indexes == 0) {
        return;
    }
    let (stats, milliseconds) = (&scan.stats, scan.time.as_secs_f64() * 1000.0);
    let message = format!("duration: {milliseconds:.3} ms  walia scan: {}", indexes());
    let detail = format!(
        "Rounds: {}; nodes expanded: {}; distances measured: {}, estimated: {}; pages: {}, prefetched: {}, of those \
         used: {}; rows of the first run: {}, of the second: {}, measured: {}, tested: {}, failed: {}; stale links: \
         {}, healed: {}.",
        stats.rounds,
        stats.search.expanded,
        stats.search.distances,
        stats.search.estimates,
        scan.pages,
        scan.prefetched,
        scan.prefetched_used,
        stats.first_run,
        stats.second_run,
        stats.measured_rows,
        stats.tested_rows,
        stats.failed_rows,
        stats.stale_links,
        stats.healed_links
    );
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "walia")
        .set_detail(detail)
        .report(PgLogLevel::LOG);
}

impl LastScan {
    /// One search of an index: what core counted, and what came of read-ahead in the table.
    pub fn new(stats: ScanStats, store: &RelationStore, table: PrefetchStats, time: Duration) -> Self {
        let index = store.prefetch_stats();
        Self {
            indexes: 1,
            stats,
            pages: store.reads(),
            pages_read: store.misses(),
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
            pages_read: self.pages_read + other.pages_read,
            prefetched: self.prefetched + other.prefetched,
            prefetched_used: self.prefetched_used + other.prefetched_used,
            time: self.time + other.time,
        }
    }
}
