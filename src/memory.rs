//! Memory of this library, and what happens where there is no more.
//!
//! Rust ends the process where an allocation fails, and Postgres restarts all sessions where a process ends
//! so. Postgres's own allocator raises an ERROR, but a global allocator must not unwind. So there are two
//! ways here:
//!
//! * What grows with data, or has a size that comes from outside, is allocated by `try_reserve` and the like.
//!   Where that fails there is an error value (walia-core's `Error::OutOfMemory`), which becomes an ERROR as
//!   any other.
//! * All else is small: messages, boxes, queues of threads, vectors (64 kB) and their text (256 kB), pages,
//!   what m, ef_search and dimensions bound. It is served from a **reserve** where the system has no more.
//!   That is noted, and becomes an ERROR where one may be raised next: [`check`]. Until then no more is drawn
//!   than one step of a search, a row of a build, or one function takes.
//!
//! What is done because of an ERROR draws on the reserve too: pgrx copies its texts and boxes it to unwind.
//! Before that, pgrx has Postgres copy an ERROR that Postgres raised, into the memory context that was
//! current when Postgres was called, and while its own handler is still in force. If that copy is out of
//! memory, its ERROR goes to the same handler, which copies again: the fifth time is a PANIC of the server.
//! So there is further memory, the **room for errors**: when Postgres raises an ERROR of this kind below one
//! of our functions, a portion of it is given back to the system ([`give_room`]). What is given is taken
//! again when the next function is entered ([`take_room`]), or that one fails. Each function through which
//! the ERROR passes copies it once: for each there is a portion.
//!
//! The reserve is private memory, mapped when the library is loaded and not touched: it costs address space,
//! and what the system commits, but no memory. Its parts are in `walia_core::reserve`, which is free of
//! malloc's lists: any part can be taken and given back by any thread. A mark that nobody has turned into an
//! ERROR is forgotten with the (sub)transaction.
//!
//! What libc and the loader allocate for a new thread they take from malloc, and end the process where they
//! cannot; [`has_room`] is asked before threads are started. Postgres's views of memory contexts do not show
//! Rust's memory: a search's sets and heaps would have to move into a context as they grow, and lose the
//! growth in place that malloc gives them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::collections::TryReserveError;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::reserve::Units;

use crate::error::SqlError;

/// What is given out is a multiple of this, and aligned to it.
const UNIT: usize = 128;
const WORDS: usize = 512;
/// Bytes of the reserve: 4 MiB.
const SIZE: usize = Units::<WORDS>::COUNT * UNIT;
/// The largest request that is served from it. Where more is wanted, the caller can do without.
const MOST: usize = 1 << 20;
/// Portions of the room for errors: that many functions of ours may be running, each in a memory context that
/// has grown.
const PORTIONS: usize = 4;
/// Bytes of a portion. A memory context that has grown asks for a block of a megabyte at least, and malloc
/// for 128 kB more; it does not have room for the larger blocks that the context asks for first, and would
/// waste.
const PORTION: usize = (1 << 20) + (256 << 10);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator {
    reserve: AtomicUsize::new(0),
    is_locked: AtomicBool::new(false),
    units: UnsafeCell::new(Units::new()),
    drawn: AtomicUsize::new(0),
};

/// Where the portions of the room for errors are; 0 while one is given away. Those that are there come first.
static ROOM: [AtomicUsize; PORTIONS] = [const { AtomicUsize::new(0) }; PORTIONS];

/// malloc, with a reserve.
struct Allocator {
    /// Where the reserve begins; 0 as long as there is none.
    reserve: AtomicUsize,
    is_locked: AtomicBool,
    /// Changed under the lock only.
    units: UnsafeCell<Units<WORDS>>,
    /// The size of the request that drew on the reserve first since the last check; 0 where none did.
    drawn: AtomicUsize,
}

// SAFETY: the units are used by the one thread that holds the lock; all else is atomic.
unsafe impl Sync for Allocator {}

impl Allocator {
    /// Memory from the reserve; null where it cannot serve.
    #[cold]
    fn draw(&self, layout: Layout) -> *mut u8 {
        let reserve = self.reserve.load(Ordering::Relaxed);
        if reserve == 0 || layout.size() > MOST || layout.align() > UNIT {
            return ptr::null_mut();
        }
        let Some(unit) = self.with_units(|units| units.take(layout.size().div_ceil(UNIT))) else {
            return ptr::null_mut();
        };
        _ = self.drawn.compare_exchange(0, layout.size(), Ordering::Relaxed, Ordering::Relaxed);
        ptr::with_exposed_provenance_mut(reserve + unit * UNIT)
    }

    /// The first unit of memory that came from the reserve; `None` for all other memory.
    fn unit_of(&self, memory: *mut u8) -> Option<usize> {
        let reserve = self.reserve.load(Ordering::Relaxed);
        let offset = memory.addr().wrapping_sub(reserve);
        (offset < SIZE && reserve != 0).then_some(offset / UNIT)
    }

    #[cold]
    fn give_back(&self, unit: usize, layout: Layout) {
        self.with_units(|units| units.give_back(unit, layout.size().div_ceil(UNIT)));
    }

    fn with_units<R>(&self, change: impl FnOnce(&mut Units<WORDS>) -> R) -> R {
        // Held for some microseconds: waiting in the kernel is not worth it.
        while self.is_locked.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: the lock is held, and `change` neither allocates nor unwinds.
        let result = change(unsafe { &mut *self.units.get() });
        self.is_locked.store(false, Ordering::Release);
        result
    }

    /// Moves memory to a place of another size; null, and nothing changed, where there is none.
    ///
    /// # Safety
    /// `memory` is of this allocator and has this layout; the new size is not 0.
    unsafe fn relocate(
        &self,
        memory: *mut u8,
        layout: Layout,
        size: usize,
        place: impl FnOnce(Layout) -> *mut u8,
    ) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let new = place(new_layout);
        if !new.is_null() {
            // SAFETY: both are as long as is copied, and new memory overlaps no other.
            unsafe {
                ptr::copy_nonoverlapping(memory, new, layout.size().min(size));
                self.dealloc(memory, layout);
            }
        }
        new
    }
}

// SAFETY: memory is malloc's or a run of units that are nobody else's until it is given back, as large and as
// aligned as asked for; nothing here unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { self.draw(layout) } else { memory }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise; what was drawn is as large as is written.
        unsafe {
            let mut memory = System.alloc_zeroed(layout);
            if memory.is_null() {
                memory = self.draw(layout);
                if !memory.is_null() {
                    memory.write_bytes(0, layout.size());
                }
            }
            memory
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match self.unit_of(memory) {
            Some(unit) => self.give_back(unit, layout),
            // SAFETY: by the caller's promise; what is not of the reserve is malloc's.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's promise; `place` gives memory of this allocator.
        unsafe {
            if self.unit_of(memory).is_some() {
                return self.relocate(memory, layout, size, |layout| self.alloc(layout));
            }
            let moved = System.realloc(memory, layout, size);
            if moved.is_null() {
                return self.relocate(memory, layout, size, |layout| self.draw(layout));
            }
            moved
        }
    }
}

/// Maps the reserve and the room for errors, once; called when the library is loaded, before anything else of
/// it.
pub fn define() {
    if ALLOCATOR.reserve.load(Ordering::Relaxed) == 0 {
        match map(SIZE) {
            Some(memory) => ALLOCATOR.reserve.store(memory.expose_provenance(), Ordering::Relaxed),
            None => out_of_memory(of_size(SIZE)).raise(),
        }
    }
    take_room();
    // SAFETY: the functions live as long as the process, as the library is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end_of_transaction), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_end_of_subtransaction), ptr::null_mut());
    }
}

/// Raises an ERROR where the reserve was drawn on since the last call. Called where an ERROR may be raised,
/// by the backend's own thread.
pub fn check() {
    if ALLOCATOR.drawn.load(Ordering::Relaxed) != 0 {
        raise();
    }
}

/// Called when Postgres calls one of our functions: takes what was given of the room for errors. Raises an
/// ERROR where there is no memory for it yet.
#[inline]
pub fn take_room() {
    if ROOM[PORTIONS - 1].load(Ordering::Relaxed) == 0 {
        refill();
    }
}

#[cold]
fn refill() {
    for portion in &ROOM {
        if portion.load(Ordering::Relaxed) == 0 {
            let Some(memory) = map(PORTION) else { out_of_memory(of_size(PORTION)).raise() };
            portion.store(memory.expose_provenance(), Ordering::Relaxed);
        }
    }
}

/// Gives a portion of the room for errors back to the system, for the copy of an ERROR that there is no
/// memory.
pub fn give_room() {
    let there = ROOM.iter().rev().find(|portion| portion.load(Ordering::Relaxed) != 0);
    if let Some(portion) = there {
        let memory = ptr::with_exposed_provenance_mut(portion.swap(0, Ordering::Relaxed));
        // SAFETY: mapped by `refill`, and nobody has seen it.
        unsafe { libc::munmap(memory, PORTION) };
    }
}

#[cold]
fn raise() {
    out_of_memory(of_size(ALLOCATOR.drawn.swap(0, Ordering::Relaxed))).raise()
}

/// The ERROR of memory that could not be had, in Postgres's words.
pub fn out_of_memory(detail: impl Into<String>) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory").detail(detail)
}

/// The DETAIL for a request of so many bytes.
fn of_size(size: usize) -> String {
    format!("Failed on request of size {size}.")
}

impl From<TryReserveError> for SqlError {
    fn from(_: TryReserveError) -> Self {
        SqlError::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
    }
}

/// Gives memory that was freed back to the system: malloc keeps what lies between pieces in use, and a build
/// that goes on would take as much again.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc's own, safe in any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether so many bytes could be mapped now.
pub fn has_room(size: usize) -> bool {
    let Some(memory) = map(size) else { return false };
    // SAFETY: mapped above, and nobody has seen it.
    unsafe { libc::munmap(memory.cast(), size) == 0 }
}

/// Private memory of zeros from the system.
fn map(size: usize) -> Option<*mut u8> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for new memory, wherever the system has it.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
    (memory != libc::MAP_FAILED).then_some(memory.cast())
}

/// An XactCallback.
unsafe extern "C-unwind" fn at_end_of_transaction(_event: pg_sys::XactEvent::Type, _: *mut c_void) {
    ALLOCATOR.drawn.store(0, Ordering::Relaxed);
}

/// A SubXactCallback.
unsafe extern "C-unwind" fn at_end_of_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        ALLOCATOR.drawn.store(0, Ordering::Relaxed);
    }
}
