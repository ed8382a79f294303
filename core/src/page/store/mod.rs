//! The [`PageStore`] trait: pages that are read under a share lock and changed in write units.
//!
//! Two implementations: RAM pages ([`crate::page::store::memory`]) for tests, fuzzing and simulated crashes, and Postgres's buffers.
//!
//! **Lock order.** A reader holds one content lock at a time. A write unit locks as many pages as it changes, in ascending
//! block order; out of that order only with [`WriteUnit::try_lock`]. While a write unit holds a lock, its backend reads no
//! other page. So no cycle of waiting backends can form.

pub mod lock_order;
pub mod memory;

use crate::page::format::slotted::Page;
use crate::types::{Link, PAGE_SIZE, Result};
use std::ops::{Deref, Range};

/// The most pages that one write unit may change: generic WAL's limit for one record.
pub const MAX_UNIT_PAGES: usize = 4;
/// The free-space map counts in steps of so many bytes: it rounds down what it is told of, and up what it is asked for.
pub const FREE_SPACE_STEP: usize = PAGE_SIZE / 256;

/// The moments between two write units of an operation, by name: what another backend, a standby or a restart can see then is
/// what ARCHITECTURE.md has a row for. Tests hold a backend up there, let others work, or end the server.
pub const STOP_POINTS: [&str; 21] = [
    // The neighbours of a new node are known, nothing has been written.
    "insert chosen",
    // Of a node in several parts: it is PENDING; its payload, then its upper links have been written.
    "insert pending",
    "insert payload written",
    "insert upper written",
    // The node is complete; the first of its neighbours leads back to it; all that want to do; it is the entry point.
    "insert published",
    "insert neighbour linked",
    "insert confirmed",
    "insert entry point set",
    // A heap TID has come to a node, or to a tuple aside of which no hint tells.
    "insert joined",
    "insert aside written",
    // A tombstone has been removed, what belonged to it has not.
    "tombstone removed",
    // A cycle has its number; tombstones have been made on a page, on all pages.
    "vacuum begun",
    "vacuum page cleaned",
    "vacuum all cleaned",
    // One list of links has been mended and its new neighbours do not know; all have been.
    "list mended",
    "vacuum all mended",
    // The entry point is live; all live nodes can be reached; the cycle is marked repaired.
    "vacuum entry point replaced",
    "vacuum relinked",
    "vacuum finished",
    // Every list of the index is sound.
    "repair all mended",
    // A list has been mended by a scan, which does not know whether its new neighbours have died.
    "heal list mended",
];

/// Pages, numbered from 0, of one index.
pub trait PageStore {
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

    /// Reads these blocks, each of which there is, in their order and ahead of the caller, who drops each page before it asks for
    /// the next one: [`PageStore::interrupt_point`] is called before each.
    fn pages(&self, blocks: Range<u32>) -> impl Iterator<Item = (u32, Result<Self::Read<'_>>)> {
        blocks.map(|block| {
            self.interrupt_point();
            (block, self.read(block))
        })
    }

    /// Says that `blocks` will soon be read.
    fn prefetch(&self, blocks: &[u32]);

    /// Says that these tuples will be read soon, in this order: asks for their pages.
    fn announce_tuples(&self, tuples: &[Link]);

    /// Says that tuples that were announced will be read next: asks for their memory.
    fn prefetch_tuples(&self, tuples: &[Link]);

    /// Begins a write unit.
    fn begin(&self) -> Self::Write<'_>;

    /// A page said to have at least `bytes` free: a hint, to be checked under its lock. Asked again, it names another page, if
    /// it knows of more.
    fn page_with_free_space(&self, bytes: usize) -> Option<u32>;

    /// Remembers that `block` has `bytes` free, which may be more than was known.
    fn record_free_space(&self, block: u32, bytes: usize);

    /// Remembers that `block` has no more than `bytes` free.
    fn lower_free_space(&self, block: u32, bytes: usize);

    /// The page on which this backend last left room: a hint, too.
    fn target_page(&self) -> Option<u32>;

    /// Sets what [`PageStore::target_page`] gives.
    fn set_target_page(&self, block: Option<u32>);

    /// Called often, never under a content lock: lets a cancelled query end here, and a vacuum sleep.
    fn interrupt_point(&self);

    /// Called at one of [`STOP_POINTS`], never under a content lock. A release does nothing.
    fn stop_point(&self, _name: &'static str) {}

    /// A transaction number that no finished transaction has reached: what is unlinked now may still be seen by
    /// snapshots up to it. Called without any lock.
    fn next_transaction(&self) -> u64;

    /// Whether `transaction` is older than every snapshot, so that nobody can still be looking at what it unlinked.
    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool;

    /// Whether nobody but the caller holds a snapshot now, or is changing something, so that nobody can still be looking at
    /// anything that was unlinked before; false where that is not certain. Called without any lock.
    fn is_alone(&self) -> bool;

    /// A small number that differs between concurrent backends: spreads them over equivalent pages.
    fn affinity(&self) -> usize;
}

/// Takes the pages of a new index, from block 0 on.
pub trait PageSink {
    /// Appends the next page.
    fn append(&mut self, page: &Page) -> Result<()>;
}

/// Changes to at most [`MAX_UNIT_PAGES`] pages. Dropped without [`WriteUnit::commit`] it changes nothing, except that a page
/// made by [`WriteUnit::extend`] stays behind empty.
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

impl<Store: PageStore> PageStore for &Store {
    type Read<'a>
        = Store::Read<'a>
    where
        Self: 'a;
    type Write<'a>
        = Store::Write<'a>
    where
        Self: 'a;

    fn block_count(&self) -> Result<u32> {
        (**self).block_count()
    }

    fn read(&self, block: u32) -> Result<Self::Read<'_>> {
        (**self).read(block)
    }

    fn pages(&self, blocks: Range<u32>) -> impl Iterator<Item = (u32, Result<Self::Read<'_>>)> {
        (**self).pages(blocks)
    }

    fn prefetch(&self, blocks: &[u32]) {
        (**self).prefetch(blocks);
    }

    fn announce_tuples(&self, tuples: &[Link]) {
        (**self).announce_tuples(tuples);
    }

    fn prefetch_tuples(&self, tuples: &[Link]) {
        (**self).prefetch_tuples(tuples);
    }

    fn begin(&self) -> Self::Write<'_> {
        (**self).begin()
    }

    fn page_with_free_space(&self, bytes: usize) -> Option<u32> {
        (**self).page_with_free_space(bytes)
    }

    fn record_free_space(&self, block: u32, bytes: usize) {
        (**self).record_free_space(block, bytes);
    }

    fn lower_free_space(&self, block: u32, bytes: usize) {
        (**self).lower_free_space(block, bytes);
    }

    fn target_page(&self) -> Option<u32> {
        (**self).target_page()
    }

    fn set_target_page(&self, block: Option<u32>) {
        (**self).set_target_page(block);
    }

    fn interrupt_point(&self) {
        (**self).interrupt_point();
    }

    fn stop_point(&self, name: &'static str) {
        (**self).stop_point(name);
    }

    fn next_transaction(&self) -> u64 {
        (**self).next_transaction()
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        (**self).is_older_than_all_snapshots(transaction)
    }

    fn is_alone(&self) -> bool {
        (**self).is_alone()
    }

    fn affinity(&self) -> usize {
        (**self).affinity()
    }
}
