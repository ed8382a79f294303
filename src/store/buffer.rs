//! A shared buffer that is pinned and locked: everything of `store` that touches a page goes through here.

use std::thread;

use pgrx::pg_sys;
use walia_core::page::Page;

use super::recent;

/// A pinned buffer under a content lock; both are given back when it is dropped.
///
/// **While unwinding, dropping does nothing.** An ERROR resets the count of held-off interrupts, so that
/// releasing a lock afterwards would underflow it; the abort of the (sub)transaction releases locks and pins
/// itself.
pub struct LockedBuffer(pg_sys::Buffer);

impl LockedBuffer {
    /// Reads a block of the main fork and locks it for reading.
    ///
    /// # Safety
    /// `index` is open, and `strategy` is null or a live one.
    pub unsafe fn shared(
        index: pg_sys::Relation,
        block: u32,
        strategy: pg_sys::BufferAccessStrategy,
    ) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self::lock(index, block, strategy, pg_sys::BUFFER_LOCK_SHARE) }
    }

    /// As [`LockedBuffer::shared`], preferably from where this backend saw the block last.
    ///
    /// # Safety
    /// `index` is open.
    pub unsafe fn shared_recent(index: pg_sys::Relation, block: u32) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            if let Some(buffer) = recent::pin(index, block) {
                return Self::lock_pinned(buffer, pg_sys::BUFFER_LOCK_SHARE);
            }
            let locked = Self::shared(index, block, std::ptr::null_mut());
            recent::remember((*index).rd_id, block, locked.0);
            locked
        }
    }

    /// Locks a page for reading that is pinned already.
    ///
    /// # Safety
    /// The caller gives away a pin on a buffer that this process has not locked.
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    pub unsafe fn shared_pinned(buffer: pg_sys::Buffer) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self::lock_pinned(buffer, pg_sys::BUFFER_LOCK_SHARE) }
    }

    /// Reads a block of the main fork and locks it for writing.
    ///
    /// # Safety
    /// As [`LockedBuffer::shared`].
    pub unsafe fn exclusive(
        index: pg_sys::Relation,
        block: u32,
        strategy: pg_sys::BufferAccessStrategy,
    ) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self::lock(index, block, strategy, pg_sys::BUFFER_LOCK_EXCLUSIVE) }
    }

    /// # Safety
    /// As [`LockedBuffer::shared`]; `mode` is one of Postgres's two lock modes.
    unsafe fn lock(
        index: pg_sys::Relation,
        block: u32,
        strategy: pg_sys::BufferAccessStrategy,
        mode: u32,
    ) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self::lock_pinned(pin(index, block, strategy), mode) }
    }

    /// # Safety
    /// The caller gives away a pin on a buffer that this process has not locked; `mode` is one of Postgres's
    /// two lock modes.
    unsafe fn lock_pinned(buffer: pg_sys::Buffer, mode: u32) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::LockBuffer(buffer, mode as i32) };
        Self(buffer)
    }

    /// As [`LockedBuffer::exclusive`], if nobody else holds the lock.
    ///
    /// # Safety
    /// As [`LockedBuffer::shared`].
    pub unsafe fn try_exclusive(
        index: pg_sys::Relation,
        block: u32,
        strategy: pg_sys::BufferAccessStrategy,
    ) -> Option<Self> {
        // SAFETY: by the caller's promise.
        unsafe {
            let buffer = pin(index, block, strategy);
            if pg_sys::ConditionalLockBuffer(buffer) {
                return Some(Self(buffer));
            }
            pg_sys::ReleaseBuffer(buffer);
        }
        None
    }

    /// Adds a block of zeros at the end of a fork and locks it for writing.
    ///
    /// # Safety
    /// `index` is open, and its fork exists.
    pub unsafe fn extend(index: pg_sys::Relation, fork: pg_sys::ForkNumber::Type) -> Self {
        // SAFETY: by the caller's promise. P_NEW asks its caller for the extension lock.
        unsafe {
            pg_sys::LockRelationForExtension(index, pg_sys::ExclusiveLock as i32);
            let buffer = pg_sys::ReadBufferExtended(
                index,
                fork,
                pg_sys::InvalidBlockNumber,
                pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                std::ptr::null_mut(),
            );
            pg_sys::UnlockRelationForExtension(index, pg_sys::ExclusiveLock as i32);
            Self(buffer)
        }
    }

    /// Its block number.
    pub fn block(&self) -> u32 {
        // SAFETY: the buffer is pinned.
        unsafe { pg_sys::BufferGetBlockNumber(self.0) }
    }

    /// The buffer, for functions that want one pinned and locked.
    pub fn as_raw(&self) -> pg_sys::Buffer {
        self.0
    }

    /// The page.
    pub fn page(&self) -> &Page {
        // SAFETY: a buffer is BLCKSZ = size_of::<Page>() bytes, MAXALIGNed to 8; it is pinned, and while it
        // is locked nobody changes it but through `page_mut`.
        unsafe { &*pg_sys::BufferGetPage(self.0).cast::<Page>() }
    }

    /// The page, to be changed outside of a WAL record.
    ///
    /// # Safety
    /// The lock is exclusive, and the caller sees to it that the change is marked dirty and logged.
    pub unsafe fn page_mut(&mut self) -> &mut Page {
        // SAFETY: as in `page`; the lock is exclusive.
        unsafe { &mut *pg_sys::BufferGetPage(self.0).cast::<Page>() }
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        if !thread::panicking() {
            // SAFETY: pinned and locked since it was made.
            unsafe { pg_sys::UnlockReleaseBuffer(self.0) }
        }
    }
}

/// # Safety
/// As [`LockedBuffer::shared`].
unsafe fn pin(index: pg_sys::Relation, block: u32, strategy: pg_sys::BufferAccessStrategy) -> pg_sys::Buffer {
    // SAFETY: by the caller's promise.
    unsafe {
        pg_sys::ReadBufferExtended(
            index,
            pg_sys::ForkNumber::MAIN_FORKNUM,
            block,
            pg_sys::ReadBufferMode::RBM_NORMAL,
            strategy,
        )
    }
}
