//! Entries of which there are more than the table's pages can have rows.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use pgrx::pg_sys;

/// A list of fewer entries takes no time that matters.
const MANY: usize = 1024;
/// One of so many pages is looked at.
const SAMPLED: u32 = 4;

/// How many entries a list of an index had of which most could not be marked when they were looked at: this
/// session looks at longer lists of that index alone again. Rows that differ in length may crowd without
/// being dead, and dead ones share entries with others.
static SWEPT: InVain = InVain(LazyLock::new(Mutex::default));
/// How many dead rows an index was told of, where it could mark few of them.
static UNMARKED: InVain = InVain(LazyLock::new(Mutex::default));

/// What did no good to indexes in this session: how much there was of it.
struct InVain(LazyLock<Mutex<HashMap<pg_sys::Oid, Known>>>);

struct Known {
    much: usize,
    /// How often it was refrained from since.
    refrained: usize,
}

/// Once in so many times it is tried all the same: a vacuum may have been there, or the list be another one.
const TRIED_ONCE_IN: usize = 64;

impl InVain {
    /// Whether this much would do no good either.
    fn knows(&self, index: pg_sys::Oid, much: usize) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_mut(&index).filter(|known| much < 2 * known.much);
        known.is_some_and(|known| {
            known.refrained += 1;
            !known.refrained.is_multiple_of(TRIED_ONCE_IN)
        })
    }

    fn remember(&self, index: pg_sys::Oid, much: usize, is_in_vain: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_in_vain {
            known.insert(index, Known { much, refrained: 0 });
        } else {
            known.remove(&index);
        }
    }
}

/// What an index was told of.
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// Entries that were looked at.
    pub(super) suspects: usize,
    /// Those of them whose rows nobody sees any more.
    pub(super) dead: usize,
    /// Those of them that can be marked: one mark is that of all rows of a posting list, and is set when all
    /// are dead.
    pub(super) marked: usize,
}

impl Told {
    /// Whether it is known not to help an index to tell it of so many dead rows.
    pub fn is_in_vain(index: pg_sys::Oid, dead: usize) -> bool {
        UNMARKED.knows(index, dead)
    }

    /// Remembers what came of telling an index of dead rows.
    pub fn remember(self, index: pg_sys::Oid) {
        UNMARKED.remember(index, self.dead, 2 * self.marked < self.dead);
    }

    /// Remembers what came of telling an index of all dead rows of a list.
    pub fn remember_all(self, index: pg_sys::Oid) {
        self.remember(index);
        SWEPT.remember(index, self.suspects, 2 * self.marked < self.suspects);
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
        if self.entries < MANY || SWEPT.knows(index, self.entries) {
            return false;
        }
        self.pages.sort_unstable();
        let entries_of_pages = self.pages.chunk_by(|one, other| one == other);
        let dead: usize = entries_of_pages.map(|entries| entries.len().saturating_sub(rows_of_page)).sum();
        2 * dead > self.pages.len()
    }
}
