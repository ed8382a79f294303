//! Where pages were in shared buffers when this backend read them last, so that their memory can be asked for before they
//! are pinned.
//!
//! A search reads its pages in an order that no hardware foresees, and waits longer for a page's memory than it takes to score
//! what lies there. These are hints: a buffer may hold another page by now, whose memory is then asked for in vain.
//! Imports walia-core's kernel.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;
use walia_core::kernel::prefetch_range;
use walia_core::page::slotted::{HEADER_SIZE, LINE_POINTER_SIZE};
use walia_core::types::{Link, PAGE_SIZE};

/// Binary logarithm of the pages remembered, 4 bytes each.
const BITS: u32 = 16;

thread_local! {
    /// Buffers by a hash of relation and block; 0 is none. Empty until the first page is remembered.
    static BUFFERS: RefCell<Vec<pg_sys::Buffer>> = const { RefCell::new(Vec::new()) };
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

/// Asks for the memory of tuples that will be read soon, where their pages are thought to be.
pub fn prefetch_tuples(index: pg_sys::Oid, tuples: &[Link]) {
    let page = |tuple: &Link| {
        let buffer = BUFFERS.with_borrow(|buffers| buffers.get(place(index, tuple.block)).copied())?;
        // SAFETY: Postgres gave this number for a shared buffer, of which there are as many as long as the server runs; only
        // an address is computed.
        (buffer > 0).then(|| unsafe { pg_sys::BufferGetBlock(buffer) }.cast::<u8>())
    };
    let line_pointer = |slot: u16| HEADER_SIZE + LINE_POINTER_SIZE * usize::from(slot.max(1) - 1);
    for tuple in tuples {
        if let Some(page) = page(tuple) {
            prefetch_range(page.wrapping_add(line_pointer(tuple.slot)), LINE_POINTER_SIZE);
        }
    }
    for tuple in tuples {
        let at = line_pointer(tuple.slot);
        if let Some(page) = page(tuple)
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
