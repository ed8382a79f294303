//! Write units: changes to a few pages as one generic WAL record.

use std::ptr::{self, NonNull};
use std::thread;

use pgrx::pg_sys;
use walia_core::page::store::MAX_UNIT_PAGES;
use walia_core::page::store::lock_order::{Access, Held};
use walia_core::page::{Page, WriteUnit};
use walia_core::types::Result;

use super::buffer::LockedBuffer;
use super::relation::RelationStore;

const _: () = assert!(MAX_UNIT_PAGES == pg_sys::XLR_NORMAL_MAX_BLOCK_ID as usize);

/// A page of a write unit.
struct UnitPage {
    buffer: LockedBuffer,
    _held: Held,
    block: u32,
    /// Made by this unit, so that its WAL record holds it whole.
    new: bool,
    /// The copy in the generic WAL record, once the page is edited.
    copy: Option<NonNull<Page>>,
}

impl UnitPage {
    fn page(&self) -> &Page {
        match self.copy {
            // SAFETY: the record that the copy lies in lives until the unit ends, and only `edit` changes it.
            Some(copy) => unsafe { copy.as_ref() },
            None => self.buffer.page(),
        }
    }
}

/// A write unit over shared buffers.
///
/// Pages are locked and shown as they are; the generic WAL record (65 KB of memory) begins with the first
/// edit. Dropped without commit the record is forgotten. While unwinding, nothing is done: see
/// [`LockedBuffer`].
pub struct RelationWrite<'s> {
    store: &'s RelationStore,
    record: *mut pg_sys::GenericXLogState,
    pages: Vec<UnitPage>,
}

impl<'s> RelationWrite<'s> {
    pub(super) fn new(store: &'s RelationStore) -> Self {
        Self { store, record: ptr::null_mut(), pages: Vec::with_capacity(MAX_UNIT_PAGES) }
    }

    fn position(&self, block: u32) -> Option<usize> {
        self.pages.iter().position(|page| page.block == block)
    }

    /// Notes a lock for the debug builds' check of their order.
    fn held(&self, block: u32, access: Access) -> Held {
        Held::new(self.store.identity(), block, access)
    }

    fn add(&mut self, buffer: LockedBuffer, held: Held, block: u32, new: bool) -> &Page {
        debug_assert!(
            self.pages.len() < MAX_UNIT_PAGES,
            "a write unit changes at most {MAX_UNIT_PAGES} pages"
        );
        let at = self.pages.len();
        self.pages.push(UnitPage { buffer, _held: held, block, new, copy: None });
        self.pages[at].page()
    }
}

/// What is wrong with asking for a page that was never locked.
const NOT_LOCKED: &str = "the block is not locked by this write unit";

impl WriteUnit for RelationWrite<'_> {
    fn lock(&mut self, block: u32) -> Result<&Page> {
        self.store.check_block(block)?;
        let held = self.held(block, Access::Exclusive);
        // SAFETY: the store's relation is open and its strategy alive.
        let buffer = unsafe { LockedBuffer::exclusive(self.store.index, block, self.store.strategy) };
        Ok(self.add(buffer, held, block, false))
    }

    fn try_lock(&mut self, block: u32) -> Result<Option<&Page>> {
        if let Some(at) = self.position(block) {
            return Ok(Some(self.pages[at].page()));
        }
        self.store.check_block(block)?;
        // SAFETY: as in `lock`.
        let buffer = unsafe { LockedBuffer::try_exclusive(self.store.index, block, self.store.strategy) };
        Ok(match buffer {
            Some(buffer) => Some(self.add(buffer, self.held(block, Access::Conditional), block, false)),
            None => None,
        })
    }

    fn page(&self, block: u32) -> &Page {
        self.pages[self.position(block).expect(NOT_LOCKED)].page()
    }

    fn edit(&mut self, block: u32) -> &mut Page {
        let at = self.position(block).expect(NOT_LOCKED);
        let page = &mut self.pages[at];
        let copy = *page.copy.get_or_insert_with(|| {
            let flags = if page.new { pg_sys::GENERIC_XLOG_FULL_IMAGE as i32 } else { 0 };
            // SAFETY: the relation is open, the buffer locked exclusively and registered once. The record's
            // copies of pages are aligned as buffers are, and never null.
            unsafe {
                if self.record.is_null() {
                    self.record = pg_sys::GenericXLogStart(self.store.index);
                }
                let copy = pg_sys::GenericXLogRegisterBuffer(self.record, page.buffer.as_raw(), flags);
                NonNull::new_unchecked(copy.cast::<Page>())
            }
        });
        // SAFETY: the copy lives until the unit ends, and this borrow of the unit is the only way to it.
        unsafe { &mut *copy.as_ptr() }
    }

    fn extend(&mut self) -> Result<u32> {
        // SAFETY: the store's relation is open, and its main fork exists.
        let buffer = unsafe { LockedBuffer::extend(self.store.index, pg_sys::ForkNumber::MAIN_FORKNUM) };
        let block = buffer.block();
        self.add(buffer, self.held(block, Access::Conditional), block, true);
        Ok(block)
    }

    fn commit(mut self) -> Result<()> {
        let record = std::mem::replace(&mut self.record, ptr::null_mut());
        if !record.is_null() {
            // SAFETY: begun by this unit, and ended once. The buffers are still locked.
            unsafe { pg_sys::GenericXLogFinish(record) };
        }
        Ok(())
    }
}

impl Drop for RelationWrite<'_> {
    fn drop(&mut self) {
        if !self.record.is_null() && !thread::panicking() {
            // SAFETY: begun by this unit, and not yet ended.
            unsafe { pg_sys::GenericXLogAbort(self.record) }
        }
    }
}
