//! Entries of which there are more than the table's pages can have rows.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use pgrx::pg_sys;

/// A list of fewer entries takes no time that matters.
const MANY: usize = 1024;
/// One of so many pages is looked at.
const SAMPLED: u32 = 4;

/// Lists of which most entries were not dead when they were looked at, by index: this session looks at longer
/// ones of that index alone again. Rows that differ in length may crowd without being dead.
static SWEPT: LazyLock<Mutex<HashMap<pg_sys::Oid, Known>>> = LazyLock::new(Mutex::default);

struct Known {
    /// How many entries the list had.
    entries: usize,
    /// How often it was refrained from since.
    refrained: usize,
}

/// Once in so many times it is tried all the same: a vacuum may have been there, or the list be another one.
const TRIED_ONCE_IN: usize = 64;

/// Whether it would do no good to look at a list of so many entries.
fn is_in_vain(index: pg_sys::Oid, entries: usize) -> bool {
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = swept.get_mut(&index).filter(|known| entries < 2 * known.entries);
    known.is_some_and(|known| {
        known.refrained += 1;
        !known.refrained.is_multiple_of(TRIED_ONCE_IN)
    })
}

/// What an index was told of.
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// Entries that were looked at.
    pub(super) suspects: usize,
    /// Those of them whose rows nobody sees any more.
    pub(super) dead: usize,
}

impl Told {
    /// Remembers what came of telling an index of all dead rows of a list.
    pub fn remember(self, index: pg_sys::Oid) {
        let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if 2 * self.dead < self.suspects {
            swept.insert(index, Known { entries: self.suspects, refrained: 0 });
        } else {
            swept.remove(&index);
        }
    }
}

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
        if self.entries < MANY || is_in_vain(index, self.entries) {
            return false;
        }
        self.pages.sort_unstable();
        let entries_of_pages = self.pages.chunk_by(|one, other| one == other);
        let dead: usize = entries_of_pages.map(|entries| entries.len().saturating_sub(rows_of_page)).sum();
        2 * dead > self.pages.len()
    }
}
