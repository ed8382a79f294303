//! Linear passes: pages in the order of their blocks, read ahead.
//!
//! From Postgres 17 on a read stream reads ahead, several pages at a time where they lie side by side;
//! before, pages are asked for in windows. `walia.prefetch_depth` = 0 turns off both. A stream's reads are
//! Postgres's own affair: they are not among the pages that [`super::prefetch::PrefetchStats`] counts.

use std::ops::Range;

use walia_core::page::{Pages, Session};
use walia_core::types::Result;

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
use super::buffer::LockedBuffer;
use super::relation::{RelationRead, RelationStore};

/// Pages asked for at a time.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
const WINDOW: u32 = 16;

/// The pages of a range that are still to be read.
pub struct Pass<'s> {
    store: &'s RelationStore,
    blocks: Range<u32>,
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    stream: Option<stream::Stream>,
}

impl<'s> Pass<'s> {
    /// A pass over these blocks, which the index has.
    pub fn new(store: &'s RelationStore, blocks: Range<u32>) -> Self {
        Self {
            #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
            // SAFETY: the relation and the strategy of a store are open, and the stream ends with the pass.
            stream: store.prefetcher.is_on().then(|| unsafe {
                stream::Stream::begin(store.index, store.strategy, store.activity, blocks.clone())
            }),
            store,
            blocks,
        }
    }

    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    fn read(&mut self, block: u32) -> Result<RelationRead> {
        if block.is_multiple_of(WINDOW) {
            self.store.prefetcher.prefetch(block..self.blocks.end.min(block + WINDOW));
        }
        self.store.read(block)
    }

    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    fn read(&mut self, block: u32) -> Result<RelationRead> {
        match &mut self.stream {
            Some(stream) => {
                // SAFETY: the stream gives a pin on the next block of this pass at each call.
                let lock = || unsafe { LockedBuffer::shared_pinned(stream.next()) };
                Ok(self.store.count_locked(block, lock))
            }
            None => self.store.read(block),
        }
    }
}

impl Iterator for Pass<'_> {
    type Item = (u32, Result<RelationRead>);

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.next()?;
        self.store.interrupt_point();
        Some((block, self.read(block)))
    }
}

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
mod stream {
    use std::ffi::c_void;
    use std::ops::Range;
    use std::thread;

    use pgrx::{pg_guard, pg_sys};

    use crate::store::relation::Activity;

    /// One of Postgres's read streams.
    ///
    /// **While unwinding, dropping does nothing**: the abort of the (sub)transaction gives back the pins, and
    /// memory goes with its context.
    pub struct Stream {
        stream: *mut pg_sys::ReadStream,
        /// What the stream has not asked for.
        rest: *mut Range<u32>,
    }

    impl Stream {
        /// # Safety
        /// `index` is open and has the blocks, `strategy` is null or alive, and the memory context that is
        /// current now lives, until the stream is dropped.
        pub unsafe fn begin(
            index: pg_sys::Relation,
            strategy: pg_sys::BufferAccessStrategy,
            activity: Activity,
            blocks: Range<u32>,
        ) -> Self {
            let flags = match activity {
                Activity::Query => pg_sys::READ_STREAM_DEFAULT,
                Activity::Vacuum => pg_sys::READ_STREAM_MAINTENANCE,
                Activity::Overview => pg_sys::READ_STREAM_SEQUENTIAL | pg_sys::READ_STREAM_FULL,
            };
            // The callback takes no lock, as batching demands.
            #[cfg(feature = "pg18")]
            let flags = flags | pg_sys::READ_STREAM_USE_BATCHING;
            // SAFETY: by the caller's promise; the memory is as large and as aligned as is written to it.
            unsafe {
                let rest = pg_sys::palloc(size_of::<Range<u32>>()).cast::<Range<u32>>();
                rest.write(blocks);
                let stream = pg_sys::read_stream_begin_relation(
                    flags as i32,
                    strategy,
                    index,
                    pg_sys::ForkNumber::MAIN_FORKNUM,
                    Some(next_block),
                    rest.cast(),
                    0,
                );
                Self { stream, rest }
            }
        }

        /// The next block's buffer, pinned. Called at most once for each block.
        pub fn next(&mut self) -> pg_sys::Buffer {
            // SAFETY: the stream is alive, and no data comes with its buffers.
            unsafe { pg_sys::read_stream_next_buffer(self.stream, std::ptr::null_mut()) }
        }
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            if !thread::panicking() {
                // SAFETY: begun once, ended once; the stream asks for no block after its end.
                unsafe {
                    pg_sys::read_stream_end(self.stream);
                    pg_sys::pfree(self.rest.cast());
                }
            }
        }
    }

    /// # Safety
    /// Only Postgres calls it, with what `begin` gave it.
    #[pg_guard]
    unsafe extern "C-unwind" fn next_block(
        _stream: *mut pg_sys::ReadStream,
        rest: *mut c_void,
        _per_buffer_data: *mut c_void,
    ) -> pg_sys::BlockNumber {
        // Calls no function of Postgres's.
        // SAFETY: by the caller's promise; nothing else uses the range while the stream lives.
        unsafe { &mut *rest.cast::<Range<u32>>() }.next().unwrap_or(pg_sys::InvalidBlockNumber)
    }
}
