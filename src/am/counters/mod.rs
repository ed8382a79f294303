//! What all sessions count of each index, for `walia_stat_indexes`.
//!
//! A search is counted when its scan ends, and a row when it has been inserted: by adding to shared numbers,
//! without a lock. Where there is no shared memory to be had, what this session does is counted.

mod shared;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;

use pgrx::pg_sys;
use walia_core::counters::{Counter, Counts, Entry, Key, table};

use super::last::LastScan;
use crate::store::RelationStore;
pub use shared::is_shared;

/// Indexes whose entries a session remembers.
const MOST_KNOWN: usize = 1024;

thread_local! {
    /// The entries of indexes that were used of late; `None` where there was no room for one.
    static KNOWN: RefCell<HashMap<Key, Option<&'static Entry>>> = RefCell::default();
}

/// Called when the library is loaded.
pub fn define() {
    // Used once, as `store::define` says why.
    KNOWN.with_borrow(|_| ());
    shared::define();
}

/// Counts a search of an index that has ended.
pub fn add_search(store: &RelationStore, done: &LastScan) {
    let Some(entry) = entry(store) else { return };
    let stats = &done.stats;
    for (counter, number) in [
        (Counter::Searches, 1),
        (Counter::Rounds, stats.rounds),
        (Counter::NodesExpanded, stats.search.expanded),
        (Counter::DistancesMeasured, stats.search.distances),
        (Counter::DistancesEstimated, stats.search.estimates),
        (Counter::PagesHit, done.pages.saturating_sub(done.pages_read)),
        (Counter::PagesRead, done.pages_read),
        (Counter::PagesPrefetched, done.prefetched),
        (Counter::PrefetchedPagesUsed, done.prefetched_used),
        (Counter::RowsMeasured, stats.measured_rows),
        (Counter::RowsTested, stats.tested_rows),
        (Counter::RowsFailed, stats.failed_rows),
        (Counter::SecondRuns, stats.second_runs),
        (Counter::StaleLinks, stats.stale_links),
        (Counter::LinksHealed, stats.healed_links),
    ] {
        entry.add(counter, number);
    }
    entry.add_latency(done.time.as_micros() as u64);
}

/// Counts so many rows that were inserted by way of this store, and what gave way to them.
pub fn add_inserts(store: &RelationStore, rows: u64) {
    let Some(entry) = entry(store) else { return };
    entry.add(Counter::Inserts, rows);
    entry.add(Counter::LinksPruned, store.pruned());
}

/// What was counted of an index; `None` where nothing was.
pub fn of(key: &Key) -> Option<Counts> {
    Some(table::find(shared::entries()?, key)?.counts())
}

/// Begins to count anew the indexes that a function says so of.
pub fn reset(is_meant: impl Fn(&Key) -> bool) {
    let entries = shared::entries().unwrap_or_default();
    let meant = entries.iter().filter(|entry| entry.key().is_some_and(|key| is_meant(&key)));
    meant.for_each(|entry| entry.reset(now()));
}

/// The entry of an index that is open; `None` where there is no room for it.
fn entry(store: &RelationStore) -> Option<&'static Entry> {
    let key = store.key();
    KNOWN.with_borrow_mut(|known| {
        // The entry is the index's as long as that exists, and an OID may come again.
        if let Some(entry) = known.get(&key)
            && entry.is_none_or(|entry| entry.key() == Some(key))
        {
            return *entry;
        }
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        let entries = shared::entries()?;
        let entry = table::find(entries, &key)
            .or_else(|| shared::alone(|| table::find_or_make(entries, &key, now(), is_gone)));
        known.insert(key, entry);
        entry
    })
}

fn now() -> pg_sys::TimestampTz {
    // SAFETY: asks for the time.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether an index is no longer there: its file is missing, or has been cut to nothing, as Postgres leaves
/// those of dropped relations until the next checkpoint. An index has a page at least.
fn is_gone(key: &Key) -> bool {
    let Key([database, tablespace, number, _, owner]) = *key;
    // SAFETY: makes a path, in memory of the caller's or as a value.
    let path = unsafe {
        pg_sys::GetRelationPath(
            database.into(),
            tablespace.into(),
            number.into(),
            owner as i32,
            pg_sys::ForkNumber::MAIN_FORKNUM,
        )
    };
    #[cfg(feature = "pg18")]
    let path = path.str_.as_ptr();
    // SAFETY: a C string, relative to the data directory, where every backend works.
    let path = unsafe { std::ffi::CStr::from_ptr(path) };
    path.to_str().is_ok_and(|path| fs::metadata(path).map_or(true, |file| file.len() == 0))
}
