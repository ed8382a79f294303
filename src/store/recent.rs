//! Where pages were in shared buffers when this backend read them last, so that they are found there without
//! a lookup, and their memory can be asked for before they are pinned.
//!
//! A search reads its pages in an order that no hardware foresees, and waits longer for a page's memory than
//! it takes to score what lies there; the table of all buffers is memory to wait for, too. These are hints: a
//! buffer may hold another page by now, which Postgres tells when it is to be pinned, and whose memory is
//! otherwise asked for in vain.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;
use walia_core::kernel::prefetch_range;
use walia_core::page::format::slotted::{LINE_POINTER_SIZE, LinePointer};
use walia_core::types::{Link, PAGE_SIZE};

/// The most pages remembered, 4 bytes each: twice as many as there are buffers, as two pages may want one
/// place, but no more than this.
const MOST: usize = 1 << 20;
/// Of so many reads one is looked up: only that counts as a use of the page, by which Postgres keeps it in
/// its buffers.
const LOOKED_UP: u32 = 4;
/// The same as long as nothing has to be read, so that all stays where it is.
const LOOKED_UP_IN_CACHE: u32 = 16;
/// Reads after which that is believed.
const CACHED: u32 = 1000;

thread_local! {
    /// Buffers by a hash of relation and block; 0 is none. Empty until the first page is remembered, then a
    /// power of two.
    static BUFFERS: RefCell<Vec<pg_sys::Buffer>> = const { RefCell::new(Vec::new()) };
    /// Reads since this backend has had to read a page, and how many it had read by then.
    static READS: Cell<(u32, i64)> = const { Cell::new((0, 0)) };
}

/// Called when the library is loaded, see [`super::define`].
pub fn define() {
    BUFFERS.with_borrow(|_| ());
}

/// The place of a page among so many, a power of two.
fn place(index: pg_sys::Oid, block: u32, places: usize) -> usize {
    let key = u64::from(index.to_u32()) << 32 | u64::from(block);
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (places - 1)
}

/// The shared buffer where a page was seen last, or another with the same place; `None` where none was. Local
/// buffers, of temporary tables, have negative numbers, and no table to look up in.
fn seen(index: pg_sys::Oid, block: u32) -> Option<pg_sys::Buffer> {
    let buffer = BUFFERS.with_borrow(|buffers| match buffers.len() {
        0 => 0,
        places => buffers[place(index, block, places)],
    });
    (buffer > 0).then_some(buffer)
}

/// Whether a page is to be looked up, whatever is known of it.
fn looks_up() -> bool {
    // SAFETY: a counter of this backend.
    let pages_read = unsafe { pg_sys::pgBufferUsage.shared_blks_read };
    let (reads, before) = READS.get();
    let reads = if pages_read == before { reads.wrapping_add(1) } else { 0 };
    READS.set((reads, pages_read));
    reads.is_multiple_of(if reads < CACHED { LOOKED_UP } else { LOOKED_UP_IN_CACHE })
}

/// So many zeros from the system: a session that reads few pages touches little of it. None where there is no
/// memory.
fn zeros(places: usize) -> Vec<pg_sys::Buffer> {
    let Ok(layout) = Layout::array::<pg_sys::Buffer>(places) else { return Vec::new() };
    // SAFETY: the layout has a size, as `places` is positive; zeros are numbers, and a vector frees memory of
    // this layout.
    unsafe {
        let memory = alloc_zeroed(layout).cast::<pg_sys::Buffer>();
        if memory.is_null() { Vec::new() } else { Vec::from_raw_parts(memory, places, places) }
    }
}

/// Remembers where a page is.
pub fn remember(index: pg_sys::Oid, block: u32, buffer: pg_sys::Buffer) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.is_empty() {
            // SAFETY: set when the server starts.
            let places = 2 * unsafe { pg_sys::NBuffers } as usize;
            *buffers = zeros(places.next_power_of_two().min(MOST));
            if buffers.is_empty() {
                return;
            }
        }
        let place = place(index, block, buffers.len());
        buffers[place] = buffer;
    });
}

/// Pins a page where it was seen last; `None` when it is not there any more, or should be looked up.
///
/// # Safety
/// `index` is open.
pub unsafe fn pin(index: pg_sys::Relation, block: u32) -> Option<pg_sys::Buffer> {
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*index };
    if looks_up() {
        return None;
    }
    let seen = seen(relation.rd_id, block)?;
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

/// Counts a page that was found in a buffer, as a lookup does: Postgres's macros pgstat_count_buffer_read and
/// _hit.
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

/// The memory of a shared buffer that was seen.
fn page(buffer: pg_sys::Buffer) -> *mut u8 {
    // SAFETY: Postgres gave this number for a shared buffer (`seen`), of which there are as many as long as
    // the server runs; only an address is computed.
    unsafe { pg_sys::BufferGetBlock(buffer) }.cast()
}

/// The descriptor of a shared buffer that was seen, which pins and locks are written to.
fn descriptor(buffer: pg_sys::Buffer) -> *const u8 {
    // SAFETY: a pointer that is set when the server starts; only an address is computed from it.
    let descriptors = unsafe { pg_sys::BufferDescriptors };
    descriptors.wrapping_add(buffer as usize - 1).cast()
}

/// Whether a page seems to be where it was seen last, so that nobody need look for it: a hint, as the buffer
/// may get another page at any moment.
///
/// # Safety
/// `index` is open.
pub unsafe fn is_there(index: pg_sys::Relation, block: u32) -> bool {
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*index };
    let Some(buffer) = seen(relation.rd_id, block) else { return false };
    let tag = descriptor(buffer).cast::<pg_sys::BufferTag>();
    // SAFETY: a descriptor begins with its buffer's tag and is there as long as the server runs. Others may
    // write it at the same time: what each word has been is compared, and nothing relies on it.
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let (is_file, found) = unsafe {
        let number = (&raw const (*tag).rnode.relNode).read_volatile();
        (number == relation.rd_node.relNode, (&raw const (*tag).blockNum).read_volatile())
    };
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let (is_file, found) = unsafe {
        let number = (&raw const (*tag).relNumber).read_volatile();
        (number == relation.rd_locator.relNumber, (&raw const (*tag).blockNum).read_volatile())
    };
    is_file && found == block
}

/// Asks for the line pointers of tuples that will be read soon, and for the descriptors of their buffers.
pub fn announce_tuples(index: pg_sys::Oid, tuples: &[Link]) {
    for tuple in tuples {
        if let Some(buffer) = seen(index, tuple.block) {
            let line_pointer = page(buffer).wrapping_add(LinePointer::place(tuple.slot.max(1)));
            prefetch_range(line_pointer, LINE_POINTER_SIZE);
            prefetch_range(descriptor(buffer), size_of::<pg_sys::BufferDesc>());
        }
    }
}

/// Asks for the memory of tuples that were announced.
pub fn prefetch_tuples(index: pg_sys::Oid, tuples: &[Link]) {
    for tuple in tuples {
        let at = LinePointer::place(tuple.slot.max(1));
        if let Some(buffer) = seen(index, tuple.block)
            && at + LINE_POINTER_SIZE <= PAGE_SIZE
        {
            let page = page(buffer);
            // SAFETY: inside of a shared buffer, aligned as line pointers are. Others may write it at the
            // same time: a single atomic load gives some value, which is not relied on.
            let word = unsafe { AtomicU32::from_ptr(page.add(at).cast()) }.load(Ordering::Relaxed);
            let (start, length) = (LinePointer(word).start(), LinePointer(word).length());
            if start + length <= PAGE_SIZE {
                prefetch_range(page.wrapping_add(start), length);
            }
        }
    }
}
