//! Where pages were in shared buffers when this backend read them last, so that they are found there without a lookup, and
//! their memory can be asked for before they are pinned.
//!
//! A search reads its pages in an order that no hardware foresees, and waits longer for a page's memory than it takes to score
//! what lies there; the table of all buffers is memory to wait for, too. These are hints: a buffer may hold another page by
//! now, which Postgres tells when it is to be pinned, and whose memory is otherwise asked for in vain.
//! Imports walia-core's kernel.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;
use walia_core::kernel::prefetch_range;
use walia_core::page::slotted::{HEADER_SIZE, LINE_POINTER_SIZE};
use walia_core::types::{Link, PAGE_SIZE};

/// Binary logarithm of the pages remembered, 4 bytes each.
const BITS: u32 = 16;
/// Of so many reads one is looked up: only that counts as a use of the page, by which Postgres keeps it in its buffers.
const LOOKED_UP: u32 = 4;

thread_local! {
    /// Buffers by a hash of relation and block; 0 is none. Empty until the first page is remembered.
    static BUFFERS: RefCell<Vec<pg_sys::Buffer>> = const { RefCell::new(Vec::new()) };
    static READS: Cell<u32> = const { Cell::new(0) };
}

fn place(index: pg_sys::Oid, block: u32) -> usize {
    let key = u64::from(index.to_u32()) << 32 | u64::from(block);
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

/// Remembers where a page is.
pub fn remember(index: pg_sys::Oid, block: u32, buffer: pg_sys::Buffer) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.is_empty() {
            buffers.resize(1 << BITS, 0);
        }
        buffers[place(index, block)] = buffer;
    });
}

/// Pins a page where it was seen last; `None` when it is not there any more, or should be looked up.
///
/// # Safety
/// `index` is open.
pub unsafe fn pin(index: pg_sys::Relation, block: u32) -> Option<pg_sys::Buffer> {
    let reads = READS.get().wrapping_add(1);
    READS.set(reads);
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*index };
    let seen = BUFFERS.with_borrow(|buffers| buffers.get(place(relation.rd_id, block)).copied())?;
    // Local buffers, of temporary tables, have negative numbers, and no table to look up in.
    if seen <= 0 || reads.is_multiple_of(LOOKED_UP) {
        return None;
    }
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let file = relation.rd_node;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let file = relation.rd_locator;
    // SAFETY: Postgres gave this number for a shared buffer; it pins the buffer only if the page is there.
    let pinned = unsafe { pg_sys::ReadRecentBuffer(file, pg_sys::ForkNumber::MAIN_FORKNUM, block, seen) };
    if pinned {
        // SAFETY: the statistics entry is null or lives as long as the relation is open.
        unsafe { count_hit(index) };
    }
    pinned.then_some(seen)
}

/// Counts a page that was found in a buffer, as a lookup does: Postgres's macros pgstat_count_buffer_read and _hit.
///
/// # Safety
/// `index` is open.
unsafe fn count_hit(index: pg_sys::Relation) {
    // SAFETY: by the caller's promise.
    if let Some(statistics) = unsafe { (*index).pgstat_info.as_mut() } {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let counts = &mut statistics.t_counts;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let counts = &mut statistics.counts;
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let (fetched, hit) = (&mut counts.t_blocks_fetched, &mut counts.t_blocks_hit);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let (fetched, hit) = (&mut counts.blocks_fetched, &mut counts.blocks_hit);
        *fetched += 1;
        *hit += 1;
    }
}

/// Where a page is thought to be.
fn page(index: pg_sys::Oid, block: u32) -> Option<*mut u8> {
    let buffer = BUFFERS.with_borrow(|buffers| buffers.get(place(index, block)).copied())?;
    // SAFETY: Postgres gave this number for a shared buffer, of which there are as many as long as the server runs; only an
    // address is computed.
    (buffer > 0).then(|| unsafe { pg_sys::BufferGetBlock(buffer) }.cast())
}

/// Where on its page the line pointer of a slot is.
fn line_pointer(slot: u16) -> usize {
    HEADER_SIZE + LINE_POINTER_SIZE * usize::from(slot.max(1) - 1)
}

/// Asks for the line pointers of tuples that will be read soon.
pub fn announce_tuples(index: pg_sys::Oid, tuples: &[Link]) {
    for tuple in tuples {
        if let Some(page) = page(index, tuple.block) {
            prefetch_range(page.wrapping_add(line_pointer(tuple.slot)), LINE_POINTER_SIZE);
        }
    }
}

/// Asks for the memory of tuples that were announced.
pub fn prefetch_tuples(index: pg_sys::Oid, tuples: &[Link]) {
    for tuple in tuples {
        let at = line_pointer(tuple.slot);
        if let Some(page) = page(index, tuple.block)
            && at + LINE_POINTER_SIZE <= PAGE_SIZE
        {
            // SAFETY: inside of a shared buffer, aligned as line pointers are. Others may write it at the same time: a single
            // atomic load gives some value, which is not relied on.
            let word = unsafe { AtomicU32::from_ptr(page.add(at).cast()) }.load(Ordering::Relaxed);
            let (start, length) = (word as usize & 0x7fff, word as usize >> 17);
            if start + length <= PAGE_SIZE {
                prefetch_range(page.wrapping_add(start), length);
            }
        }
    }
}
