//! Memory for what a graph keeps until it ends: codes, rows and the lists of layer 0, which a search reads in
//! no order.
//!
//! Were each chunk's memory malloc's, the processor would look a page of 4 kB up in memory for most nodes
//! that a search comes to. Slabs have **huge pages**, where the system gives them. The processor finds those
//! of a graph of a million nodes without looking.
#![allow(unsafe_code, reason = "memory that is neither malloc's nor moves")]

use super::advice::want_huge_pages;
use super::budget::{Budget, Full, allocated};
use allocator_api2::alloc::{AllocError, Allocator, Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a huge page, on processors with pages of 4 kB.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a slab with huge pages: of addresses, as a page takes no memory before it is written.
const SLAB: usize = 16 * HUGE_PAGE;
/// The least memory limit under which a huge page that is begun is little. All graphs of a build have more
/// where maintenance_work_mem is 64 MB, which Postgres has it be.
const LEAST_LIMIT: usize = 40 << 20;
/// Where a piece may begin.
const LINE: usize = 64;

/// The slabs of an arena.
pub(super) struct Slabs {
    has_huge_pages: bool,
    /// The one with huge pages of which something may be left, and bytes that were counted for it.
    last: Option<Slab>,
    counted: usize,
}

impl Slabs {
    /// For an arena in so much memory.
    pub(super) fn new(memory_limit: usize) -> Self {
        Self { has_huge_pages: memory_limit >= LEAST_LIMIT, last: None, counted: 0 }
    }

    /// A slab with room for pieces of so many bytes, each rounded up by [`piece`], which are counted. Where
    /// others can give memory back, [`Full`] means less than a huge page; else what is left is used up.
    pub(super) fn room(&mut self, bytes: usize, is_all: bool, budget: &mut Budget) -> Result<Slab, Full> {
        let has_room = |last: &Slab| last.0.size - last.used() >= bytes;
        if self.has_huge_pages && !self.last.as_ref().is_some_and(has_room) {
            (self.last, self.counted) = (Slab::new(SLAB), 0);
        }
        if let Some(last) = &self.last {
            let memory = memory_of(SLAB, last.used() + bytes).max(self.counted);
            if budget.check(memory - self.counted).is_ok() {
                budget.resized(self.counted, memory);
                self.counted = memory;
                return Ok(last.clone());
            }
            if !is_all {
                return Err(Full);
            }
        }
        let memory = memory_of(bytes, bytes);
        budget.check(memory)?;
        let slab = Slab::new(bytes).ok_or(Full)?;
        budget.resized(0, memory);
        Ok(slab)
    }

    /// Bytes of memory that so many chunks take, of so many bytes each.
    pub(super) fn memory(&self, chunks: f64, bytes: usize) -> u64 {
        let of = |size, used| allocated(memory_of(size, used)) as f64;
        if !self.has_huge_pages {
            return (chunks * of(bytes, bytes)) as u64;
        }
        let per_slab = SLAB / bytes;
        let slabs = (chunks / per_slab as f64).floor();
        let last = (chunks - slabs * per_slab as f64) * bytes as f64;
        (slabs * of(SLAB, per_slab * bytes) + of(SLAB, last as usize)) as u64
    }
}

/// Bytes of a slab that a piece of so many takes.
pub(super) fn piece(bytes: usize) -> usize {
    bytes.next_multiple_of(LINE)
}

/// Bytes of memory that a slab takes of which so many are used.
fn memory_of(size: usize, used: usize) -> usize {
    match used {
        0 => 0,
        // malloc aligns it, and who holds it is counted.
        _ if size < SLAB => size + LINE + size_of::<Memory>() + 2 * size_of::<usize>(),
        _ => used.next_multiple_of(HUGE_PAGE),
    }
}

/// A piece of memory of which pieces are taken one after the other. It lasts as long as one of them.
#[derive(Clone)]
pub(super) struct Slab(Arc<Memory>);

struct Memory {
    start: NonNull<u8>,
    size: usize,
    used: AtomicUsize,
}

// SAFETY: the memory is given out in pieces, each once; whoever holds one may do with it what the type of
// what is in it allows.
unsafe impl Send for Memory {}
// SAFETY: as above; `used` is atomic.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size, LINE).ok()
    }
}

impl Slab {
    /// A slab of so many bytes, which are not 0; `None` where the system has no more.
    fn new(size: usize) -> Option<Self> {
        let layout = Memory::layout(size)?;
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        if size >= SLAB {
            want_huge_pages(start.as_ptr(), size);
        }
        Some(Self(Arc::new(Memory { start, size, used: AtomicUsize::new(0) })))
    }

    fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let layout = Self::layout(self.size).expect("it was allocated with it");
        // SAFETY: allocated with this layout, and the last piece is gone.
        unsafe { dealloc(self.start.as_ptr(), layout) };
    }
}

// SAFETY: pieces overlap nothing that was given out before, and stay where they are until the last clone of
// the slab is gone.
unsafe impl Allocator for Slab {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.align() > LINE {
            return Err(AllocError);
        }
        let Memory { start, size, used } = &*self.0;
        let next = |used: usize| used.checked_add(piece(layout.size())).filter(|next| next <= size);
        let from = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_err(|_| AllocError)?;
        // SAFETY: within the slab, as `next` has seen.
        let start = unsafe { start.add(from) };
        Ok(NonNull::slice_from_raw_parts(start, layout.size()))
    }

    unsafe fn deallocate(&self, _: NonNull<u8>, _: Layout) {}
}

#[cfg(test)]
mod tests {
    use super::{Budget, HUGE_PAGE, LEAST_LIMIT, SLAB, Slabs, allocated, piece};
    use allocator_api2::vec::Vec;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// Pieces keep what is written, each in its own place, however long the slabs that they are of are needed
    /// otherwise; and what is counted for them is what is in use.
    #[test]
    fn pieces_of_slabs() {
        let mut random = StdRng::seed_from_u64(1);
        for limit in [LEAST_LIMIT - 1, 3 * LEAST_LIMIT] {
            let (mut slabs, mut budget) = (Slabs::new(limit), Budget::new(limit));
            let (mut pieces, mut used) = (std::vec::Vec::new(), 0);
            loop {
                let lengths = [random.random_range(1..50_000), random.random_range(0..1 << 20)];
                let bytes = lengths.map(|length: usize| piece(length * 4)).iter().sum();
                let (before, is_all) = (budget.left(), random.random_bool(0.5));
                let Ok(slab) = slabs.room(bytes, is_all, &mut budget) else {
                    assert_eq!(budget.left(), before);
                    assert!(before < bytes.next_multiple_of(HUGE_PAGE) + 4096);
                    if is_all {
                        assert!(before < bytes + 4096);
                        break;
                    }
                    continue;
                };
                used += bytes;
                for length in lengths {
                    let mut items = Vec::new_in(slab.clone());
                    items.try_reserve_exact(length).unwrap();
                    items.resize(length, pieces.len() as u32);
                    assert!(items.is_empty() || items.as_ptr().addr() % 64 == 0);
                    pieces.push(items);
                }
                let counted = limit - budget.left();
                let most =
                    if limit < LEAST_LIMIT { used + pieces.len() * 4096 } else { used / 7 * 8 + SLAB / 8 };
                assert!((used..=most).contains(&counted), "{counted} for {used}");
            }
            // Slabs last as long as one of their pieces.
            drop(slabs);
            for (number, items) in pieces.iter().enumerate().rev() {
                assert!(items.iter().all(|item| *item == number as u32));
            }
        }
    }

    /// What is told beforehand is what is counted.
    #[test]
    fn memory_as_it_is_estimated() {
        for (limit, bytes) in [(1 << 20, 40_000), (LEAST_LIMIT, 64_000), (1 << 40, 999_936), (1 << 40, 64)] {
            let (mut slabs, mut budget) = (Slabs::new(limit), Budget::new(limit));
            for chunks in 1..=if bytes > 64_000 { 200 } else { 20 } {
                let slab = slabs.room(bytes, false, &mut budget).unwrap();
                Vec::<u8, _>::new_in(slab).try_reserve_exact(bytes).unwrap();
                let (told, counted) =
                    (slabs.memory(f64::from(chunks), bytes), (limit - budget.left()) as u64);
                assert!(told.abs_diff(counted) <= allocated(HUGE_PAGE) as u64 / 512, "{told} for {counted}");
            }
        }
    }
}
