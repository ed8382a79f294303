//! Entries of which there are more than the table's pages can have rows.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use pgrx::pg_sys;

/// A list of fewer entries takes no time that matters.
const MANY: usize = 1024;
/// One of so many pages is looked at.
const SAMPLED: u32 = 4;

/// How many entries a list of an index had of which most were alive when they were looked at: this session
/// looks at longer lists of that index alone again. Rows that differ in length may crowd without being dead.
static ALIVE: LazyLock<Mutex<HashMap<pg_sys::Oid, usize>>> = LazyLock::new(Mutex::default);

/// The pages of a table that entries lead to, of a sample of its pages.
///
/// Rows that are updated again and again leave an entry each time. Postgres empties the pages of what is dead
/// when they are read, but for four bytes a row: hundreds of entries then lead to a page that has room for a
/// few.
#[derive(Default)]
pub struct Crowd {
    entries: usize,
    /// One for each entry: to count them at once takes less time for a short list than to look each up.
    pages: Vec<u32>,
}

impl Crowd {
    /// Counts an entry of a row on this page, as far as there is memory for it.
    pub fn add(&mut self, block: u32) {
        self.entries += 1;
        // Fibonacci hashing: neighbouring pages are spread over all values.
        if block.wrapping_mul(0x9e37_79b9) < u32::MAX / SAMPLED && self.pages.try_reserve(1).is_ok() {
            self.pages.push(block);
        }
    }

    /// Whether most of the entries of an index must be of rows that are gone, where a page has room for so
    /// many.
    pub fn is_crowded(&mut self, index: pg_sys::Oid, rows_of_page: usize) -> bool {
        let is_of_alive = || {
            let alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
            alive.get(&index).is_some_and(|entries| self.entries < 2 * entries)
        };
        if self.entries < MANY || is_of_alive() {
            return false;
        }
        self.pages.sort_unstable();
        let entries_of_pages = self.pages.chunk_by(|one, other| one == other);
        let dead: usize = entries_of_pages.map(|entries| entries.len().saturating_sub(rows_of_page)).sum();
        2 * dead > self.pages.len()
    }

    /// Remembers how many of so many entries of an index were dead.
    pub fn remember(index: pg_sys::Oid, entries: usize, dead: usize) {
        let mut alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if 2 * dead < entries {
            alive.insert(index, entries);
        } else {
            alive.remove(&index);
        }
    }
}
