//! Pages of a fresh index, written once and in order.

use pgrx::pg_sys;
#[cfg(debug_assertions)]
use walia_core::page::StopPoint;
use walia_core::page::{Page, PageSink};
use walia_core::types::Result;

use super::buffer::LockedBuffer;
use super::check_for_interrupts;

/// Pages that one WAL record holds: XLR_MAX_BLOCK_ID, the batch of `log_newpage_range`.
const LOGGED_AT_ONCE: u32 = 32;

/// Appends pages to an index that nobody else can see, through shared buffers.
///
/// The pages are WAL-logged in batches, as whole pages, while they are still in the cache.
/// [`BulkWriter::finish`] logs the last batch: without it the index must not be committed.
pub struct BulkWriter {
    index: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    logged: bool,
    written: u32,
    unlogged_from: u32,
}

impl BulkWriter {
    /// A writer for a fork without pages.
    ///
    /// # Safety
    /// `index` stays open, and locked against everybody else, as long as the writer lives.
    pub unsafe fn new(index: pg_sys::Relation, fork: pg_sys::ForkNumber::Type) -> Self {
        // An init fork is what recovery restores unlogged relations from: it is always logged.
        // SAFETY: by the caller's promise.
        let logged = fork == pg_sys::ForkNumber::INIT_FORKNUM || unsafe { needs_wal(index) };
        Self { index, fork, logged, written: 0, unlogged_from: 0 }
    }

    /// Logs what is not logged yet.
    pub fn finish(mut self) {
        self.log();
    }

    fn log(&mut self) {
        if self.logged && self.unlogged_from < self.written {
            // SAFETY: `new`'s promise; these blocks were written, and nobody else holds locks on them.
            unsafe {
                pg_sys::log_newpage_range(self.index, self.fork, self.unlogged_from, self.written, true);
            }
        }
        self.unlogged_from = self.written;
    }
}

impl PageSink for BulkWriter {
    fn append(&mut self, page: &Page) -> Result<()> {
        // What is not logged is appended without any other point where the build can be cancelled.
        check_for_interrupts();
        // SAFETY: `new`'s promise. The new buffer is locked exclusively; until it is logged below, its
        // changes are covered by the rule that an aborted or crashed CREATE INDEX leaves nothing behind.
        unsafe {
            let mut buffer = LockedBuffer::extend(self.index, self.fork);
            debug_assert_eq!(buffer.block(), self.written);
            *buffer.page_mut() = *page;
            pg_sys::MarkBufferDirty(buffer.as_raw());
        }
        self.written += 1;
        if self.written - self.unlogged_from == LOGGED_AT_ONCE {
            self.log();
        }
        #[cfg(debug_assertions)]
        super::stop::at(StopPoint::BuildPageWritten);
        Ok(())
    }
}

/// The constant InvalidSubTransactionId of `c.h`.
const INVALID_SUBTRANSACTION: pg_sys::SubTransactionId = 0;

/// Whether changes of a relation are WAL-logged: Postgres's macro RelationNeedsWAL.
///
/// # Safety
/// `relation` is open.
unsafe fn needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*relation };
    // SAFETY: rd_rel is set in every open relation; wal_level is set at start.
    let (permanent, archived) = unsafe {
        (
            (*relation.rd_rel).relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char,
            pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32,
        )
    };
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let rewritten = relation.rd_firstRelfilenodeSubid;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let rewritten = relation.rd_firstRelfilelocatorSubid;
    let old = |subtransaction| subtransaction == INVALID_SUBTRANSACTION;
    permanent && (archived || (old(relation.rd_createSubid) && old(rewritten)))
}
