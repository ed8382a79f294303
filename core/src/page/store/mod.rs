//! Where the pages of an index are kept: traits by ability, and pages in RAM.
//!
//! Pages are read under a share lock and changed in write units. Two implementations: RAM pages (`memory`)
//! for tests, fuzzing and simulated crashes, and Postgres's buffers.
//!
//! **Lock order.** A reader holds one content lock at a time. A write unit locks as many pages as it changes,
//! in ascending block order; out of that order only with [`WriteUnit::try_lock`]. While a write unit holds a
//! lock, its backend reads no other page. So no cycle of waiting backends can form.

mod by_reference;
pub mod lock_order;
#[cfg(feature = "memory-store")]
pub mod memory;
mod progress;
mod stop;

pub use progress::Phase;
pub use stop::StopPoint;

use crate::page::format::slotted::Page;
use crate::types::{Link, PAGE_SIZE, Result};
use std::ops::{Deref, Range};

/// The most pages that one write unit may change: generic WAL's limit for one record.
pub const MAX_UNIT_PAGES: usize = 4;
/// The free-space map counts in steps of so many bytes: it rounds down what it is told of, and up what it is
/// asked for.
pub const FREE_SPACE_STEP: usize = PAGE_SIZE / 256;

/// All that an index needs of where it is kept.
pub trait PageStore: Pages + Prefetch + FreeSpace {}

impl<Store: Pages + Prefetch + FreeSpace> PageStore for Store {}

/// Pages, numbered from 0, of one index.
pub trait Pages: Session {
    /// A pinned page under a share lock; dropped as soon as what is needed has been copied out.
    type Read<'a>: Deref<Target = Page>
    where
        Self: 'a;
    /// A set of changes that reaches disk whole or not at all.
    type Write<'a>: WriteUnit
    where
        Self: 'a;

    /// Number of pages now; other backends may add more at any moment.
    fn block_count(&self) -> Result<u32>;

    /// Reads a page. A block past the end is [`crate::types::Error::Corrupt`].
    fn read(&self, block: u32) -> Result<Self::Read<'_>>;

    /// Reads these blocks, each of which there is, in their order and ahead of the caller, who drops each
    /// page before it asks for the next one: [`Session::interrupt_point`] is called before each.
    fn pages(&self, blocks: Range<u32>) -> impl Iterator<Item = (u32, Result<Self::Read<'_>>)> {
        blocks.map(|block| {
            self.interrupt_point();
            (block, self.read(block))
        })
    }

    /// Begins a write unit.
    fn begin(&self) -> Self::Write<'_>;
}

/// Says what will be read. Who cannot make use of it does nothing.
pub trait Prefetch {
    /// Says that `blocks` will soon be read, in about this order, and no longer those of which it was said
    /// before.
    fn prefetch(&self, _blocks: &[u32]) {}

    /// Says that these tuples will be read soon, in this order: asks for their pages.
    fn announce_tuples(&self, _tuples: &[Link]) {}

    /// Says that tuples that were announced will be read next: asks for their memory.
    fn prefetch_tuples(&self, _tuples: &[Link]) {}
}

/// Remembers where there is room: hints, to be checked under a page's lock.
pub trait FreeSpace {
    /// A page said to have at least `bytes` free. Asked again, it names another page, if it knows of more.
    fn page_with_free_space(&self, bytes: usize) -> Option<u32>;

    /// Remembers that `block` has `bytes` free, which may be more than was known.
    fn record_free_space(&self, block: u32, bytes: usize);

    /// Remembers that `block` has no more than `bytes` free.
    fn lower_free_space(&self, block: u32, bytes: usize);

    /// The page on which this backend last left room.
    fn target_page(&self) -> Option<u32>;

    /// Sets what [`FreeSpace::target_page`] gives.
    fn set_target_page(&self, block: Option<u32>);
}

/// The backend that uses an index, and what it knows of others.
pub trait Session {
    /// Called often, never under a content lock: lets a cancelled query end here, and a vacuum sleep.
    fn interrupt_point(&self);

    /// Called between two write units, never under a content lock. A release does nothing.
    fn stop_point(&self, _point: StopPoint) {}

    /// Says how far a phase of a check or a repair is; `total` is 0 where that is not known. Called often.
    fn progress(&self, _phase: Phase, _done: u64, _total: u64) {}

    /// Says that a link has given way to one to a new node, to be counted.
    fn link_pruned(&self) {}

    /// A transaction number that no finished transaction has reached: what is unlinked now may still be seen
    /// by snapshots up to it. Called without any lock.
    fn next_transaction(&self) -> u64;

    /// Whether `transaction` is older than every snapshot, so that nobody can still be looking at what it
    /// unlinked.
    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool;

    /// Whether nobody but the caller holds a snapshot now, or is changing something, so that nobody can still
    /// be looking at anything that was unlinked before; false where that is not certain. Called without any
    /// lock.
    fn is_alone(&self) -> bool;

    /// A small number that differs between concurrent backends: spreads them over equivalent pages.
    fn affinity(&self) -> usize;
}

/// Takes the pages of a new index, from block 0 on.
pub trait PageSink {
    /// Appends the next page.
    fn append(&mut self, page: &Page) -> Result<()>;
}

/// Changes to at most [`MAX_UNIT_PAGES`] pages. Dropped without [`WriteUnit::commit`] it changes nothing,
/// except that a page made by [`WriteUnit::extend`] stays behind empty.
pub trait WriteUnit: Sized {
    /// Locks `block` exclusively and shows it. `block` is higher than all blocks locked by this unit.
    fn lock(&mut self, block: u32) -> Result<&Page>;

    /// Locks `block` if that needs no waiting, in any order.
    fn try_lock(&mut self, block: u32) -> Result<Option<&Page>>;

    /// The page of a block locked by this unit, with this unit's own changes.
    fn page(&self, block: u32) -> &Page;

    /// The page of a block locked by this unit, to be changed.
    fn edit(&mut self, block: u32) -> &mut Page;

    /// Adds a page at the end, locked and all zero.
    fn extend(&mut self) -> Result<u32>;

    /// Makes the changes permanent, as one WAL record, and unlocks.
    fn commit(self) -> Result<()>;
}
