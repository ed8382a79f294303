//! Pages in RAM: a [`PageStore`](super::PageStore) for tests, fuzzing and simulated crashes.
//!
//! What Postgres would do is imitated where an algorithm could depend on it: writers lock pages, an extension
//! leaves a zero page behind even when its unit is not committed, the free-space map is a hint that does not
//! survive, and debug builds panic where the lock order of [`crate::page::store`] is broken.

use crate::page::format::slotted::Page;
use crate::page::store::lock_order::{Access, Held};
use crate::page::store::{
    FREE_SPACE_STEP, FreeSpace, MAX_UNIT_PAGES, PageSink, Pages, Prefetch, Session, WriteUnit,
};
use crate::types::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::ThreadId;

/// Pages are kept in segments that never move: segment s has room for 2^s pages, from block 2^s − 1 on.
const SEGMENTS: usize = 32;

/// What one committed unit wrote: blocks and their pages after it.
type Record = Vec<(u32, Page)>;

/// An index's pages in RAM. Shared by reference between threads.
pub struct MemoryStore {
    segments: [OnceLock<Box<[RwLock<Page>]>>; SEGMENTS],
    block_count: AtomicU32,
    extension: Mutex<()>,
    /// Bytes by block, and the block that was named last.
    free_space: Mutex<(BTreeMap<u32, usize>, u32)>,
    target_page: AtomicU32,
    /// Committed units so far and, when recording, what they wrote.
    log: Mutex<(u64, Option<Vec<Record>>)>,
    commit_limit: AtomicU64,
    next_transaction: AtomicU64,
    snapshots: Mutex<Vec<u64>>,
    threads: Mutex<Vec<ThreadId>>,
}

/// A snapshot that is in use until this is dropped.
pub struct Snapshot<'a> {
    store: &'a MemoryStore,
    transaction: u64,
}

/// A page under a share lock.
pub struct MemoryRead<'a> {
    page: RwLockReadGuard<'a, Page>,
    _held: Held,
}

/// A unit of changes to a [`MemoryStore`].
pub struct MemoryUnit<'a> {
    store: &'a MemoryStore,
    pages: Vec<Locked<'a>>,
}

struct Locked<'a> {
    block: u32,
    page: RwLockWriteGuard<'a, Page>,
    changed: Option<Page>,
    _held: Held,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// A store without pages.
    pub fn new() -> Self {
        Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            block_count: AtomicU32::new(0),
            extension: Mutex::new(()),
            free_space: Mutex::default(),
            target_page: AtomicU32::new(u32::MAX),
            log: Mutex::default(),
            commit_limit: AtomicU64::new(u64::MAX),
            next_transaction: AtomicU64::new(3),
            snapshots: Mutex::default(),
            threads: Mutex::default(),
        }
    }

    /// A store without pages that remembers every commit for [`MemoryStore::committed_prefix`].
    pub fn recording() -> Self {
        Self { log: Mutex::new((0, Some(Vec::new()))), ..Self::new() }
    }

    /// A store whose first pages are these.
    pub fn with_pages(pages: impl IntoIterator<Item = Page>) -> Self {
        let store = Self::new();
        for page in pages {
            let block = store.extend_locked().0;
            *write(store.page(block)) = page;
        }
        store
    }

    /// Units committed so far.
    pub fn commits(&self) -> u64 {
        mutex(&self.log).0
    }

    /// Lets `commits` units in all be committed: every later commit gives [`Error::Crashed`] and changes
    /// nothing.
    pub fn stop_after(&self, commits: u64) {
        self.commit_limit.store(commits, Ordering::SeqCst);
    }

    /// The store as it would be found after a crash that lost all but the first `commits` units of a
    /// recording store, with `zero_pages` pages behind its end from extensions whose units were lost. Its
    /// free-space map is empty.
    pub fn committed_prefix(&self, commits: u64, zero_pages: u32) -> Self {
        let log = mutex(&self.log);
        let mut pages: Vec<Page> = Vec::new();
        for (block, page) in log.1.iter().flatten().take(commits as usize).flatten() {
            let block = *block as usize;
            pages.resize(pages.len().max(block + 1), Page::ZERO);
            pages[block] = *page;
        }
        pages.resize(pages.len() + zero_pages as usize, Page::ZERO);
        Self::with_pages(pages)
    }

    /// The store as it is found when it is opened again, after a crash for instance: its committed pages
    /// alone.
    pub fn reopened(&self) -> Self {
        Self::with_pages((0..self.block_count.load(Ordering::Acquire)).map(|block| *read(self.page(block))))
    }

    /// Takes a snapshot, which may see whatever is unlinked while it is held.
    pub fn hold_snapshot(&self) -> Snapshot<'_> {
        let mut snapshots = mutex(&self.snapshots);
        let transaction = self.next_transaction.load(Ordering::SeqCst);
        snapshots.push(transaction);
        Snapshot { store: self, transaction }
    }

    /// The page of a block below `block_count`.
    fn page(&self, block: u32) -> &RwLock<Page> {
        let (segment, index) = place(block);
        let pages = self.segments[segment]
            .get_or_init(|| std::iter::repeat_with(|| RwLock::new(Page::ZERO)).take(1 << segment).collect());
        &pages[index]
    }

    fn existing_page(&self, block: u32) -> Result<&RwLock<Page>> {
        if block < self.block_count.load(Ordering::Acquire) {
            Ok(self.page(block))
        } else {
            Err(Error::Corrupt { block, slot: 0, what: "block past the end of the index" })
        }
    }

    /// Adds a zero page, locked before anybody can find it.
    fn extend_locked(&self) -> (u32, RwLockWriteGuard<'_, Page>) {
        let _extension = mutex(&self.extension);
        let block = self.block_count.load(Ordering::Acquire);
        let page = write(self.page(block));
        self.block_count.store(block + 1, Ordering::Release);
        (block, page)
    }

    /// Distinguishes stores in [`Held`].
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let mut snapshots = mutex(&self.store.snapshots);
        if let Some(position) = snapshots.iter().position(|held| *held == self.transaction) {
            snapshots.swap_remove(position);
        }
    }
}

impl Deref for MemoryRead<'_> {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl Pages for MemoryStore {
    type Read<'a> = MemoryRead<'a>;
    type Write<'a> = MemoryUnit<'a>;

    fn block_count(&self) -> Result<u32> {
        Ok(self.block_count.load(Ordering::Acquire))
    }

    fn read(&self, block: u32) -> Result<MemoryRead<'_>> {
        let page = self.existing_page(block)?;
        let held = Held::new(self.identity(), block, Access::Share);
        Ok(MemoryRead { page: read(page), _held: held })
    }

    fn begin(&self) -> MemoryUnit<'_> {
        MemoryUnit { store: self, pages: Vec::with_capacity(MAX_UNIT_PAGES) }
    }
}

impl Prefetch for MemoryStore {}

impl FreeSpace for MemoryStore {
    fn page_with_free_space(&self, bytes: usize) -> Option<u32> {
        let (pages, last) = &mut *mutex(&self.free_space);
        let enough = |(_, free): &(&u32, &usize)| **free >= bytes.next_multiple_of(FREE_SPACE_STEP);
        let found = pages.range(*last + 1..).find(enough).or_else(|| pages.iter().find(enough));
        found.map(|(block, _)| *last = *block)?;
        Some(*last)
    }

    fn record_free_space(&self, block: u32, bytes: usize) {
        mutex(&self.free_space).0.insert(block, bytes / FREE_SPACE_STEP * FREE_SPACE_STEP);
    }

    fn lower_free_space(&self, block: u32, bytes: usize) {
        self.record_free_space(block, bytes);
    }

    /// All threads share one.
    fn target_page(&self) -> Option<u32> {
        Some(self.target_page.load(Ordering::Relaxed)).filter(|block| *block != u32::MAX)
    }

    fn set_target_page(&self, block: Option<u32>) {
        self.target_page.store(block.unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Session for MemoryStore {
    fn interrupt_point(&self) {
        Held::assert_none(self.identity());
    }

    fn next_transaction(&self) -> u64 {
        self.next_transaction.load(Ordering::SeqCst)
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        let oldest = mutex(&self.snapshots).iter().copied().min();
        transaction < oldest.unwrap_or_else(|| self.next_transaction())
    }

    /// Insertions hold no snapshot here: they meet slots that were reused while they went on.
    fn is_alone(&self) -> bool {
        mutex(&self.snapshots).is_empty()
    }

    fn affinity(&self) -> usize {
        let thread = std::thread::current().id();
        let mut threads = mutex(&self.threads);
        threads.iter().position(|known| *known == thread).unwrap_or_else(|| {
            threads.push(thread);
            threads.len() - 1
        })
    }
}

impl PageSink for &MemoryStore {
    fn append(&mut self, page: &Page) -> Result<()> {
        let mut unit = self.begin();
        let block = unit.extend()?;
        *unit.edit(block) = *page;
        unit.commit()
    }
}

impl<'a> MemoryUnit<'a> {
    fn add(&mut self, block: u32, page: RwLockWriteGuard<'a, Page>, held: Held) {
        debug_assert!(self.pages.len() < MAX_UNIT_PAGES, "a unit of more than {MAX_UNIT_PAGES} pages");
        self.pages.push(Locked { block, page, changed: None, _held: held });
    }

    fn position(&self, block: u32) -> usize {
        let position = self.pages.iter().position(|locked| locked.block == block);
        position.expect("a unit shows only pages that it has locked")
    }
}

impl WriteUnit for MemoryUnit<'_> {
    fn lock(&mut self, block: u32) -> Result<&Page> {
        let page = self.store.existing_page(block)?;
        let held = Held::new(self.store.identity(), block, Access::Exclusive);
        self.add(block, write(page), held);
        Ok(self.page(block))
    }

    fn try_lock(&mut self, block: u32) -> Result<Option<&Page>> {
        let Ok(page) = self.store.existing_page(block)?.try_write() else { return Ok(None) };
        self.add(block, page, Held::new(self.store.identity(), block, Access::Conditional));
        Ok(Some(self.page(block)))
    }

    fn page(&self, block: u32) -> &Page {
        let locked = &self.pages[self.position(block)];
        locked.changed.as_ref().unwrap_or(&locked.page)
    }

    fn edit(&mut self, block: u32) -> &mut Page {
        let position = self.position(block);
        let locked = &mut self.pages[position];
        locked.changed.get_or_insert(*locked.page)
    }

    fn extend(&mut self) -> Result<u32> {
        let (block, page) = self.store.extend_locked();
        self.add(block, page, Held::new(self.store.identity(), block, Access::Conditional));
        Ok(block)
    }

    /// Each unit counts as a transaction of its own.
    fn commit(mut self) -> Result<()> {
        let mut log = mutex(&self.store.log);
        let (commits, records) = &mut *log;
        if *commits >= self.store.commit_limit.load(Ordering::SeqCst) {
            return Err(Error::Crashed);
        }
        *commits += 1;
        let mut record = Vec::new();
        for locked in &mut self.pages {
            if let Some(changed) = locked.changed.take() {
                *locked.page = changed;
                record.push((locked.block, changed));
            }
        }
        if let Some(records) = records {
            records.push(record);
        }
        self.store.next_transaction.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Segment of a block, and its index there.
fn place(block: u32) -> (usize, usize) {
    let number = block as usize + 1;
    let segment = number.ilog2() as usize;
    (segment, number - (1 << segment))
}

// A panic of a test's thread must not hide the state that the others see: poisoned locks are used on.

fn mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
