//! Where the entries are.
//!
//! From Postgres 17 on, in a named segment of dynamic shared memory, which the first session that counts
//! makes. Before, in the main segment where the library is in shared_preload_libraries, and otherwise in the
//! session's own memory; so, too, where the system has no shared memory left: no search fails for that.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::OnceCell;
use std::ffi::{CStr, c_int, c_void};
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
use std::{cell::Cell, ptr};

use pgrx::{pg_guard, pg_sys};
use walia_core::counters::Entry;

use crate::error_context::enter;

/// Indexes that can be counted, of all databases together: 1 KB each.
const ENTRIES: usize = 4096;
/// Of the lock, and of the memory: another version of the library may have another layout.
const NAME: &CStr =
    match CStr::from_bytes_with_nul(concat!("walia ", env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a version has no zero"),
    };

/// What is in shared memory.
#[repr(C)]
struct Shared {
    /// Held by who gives an entry to an index.
    lock: pg_sys::LWLock,
    tranche: c_int,
    entries: [Entry; ENTRIES],
}

/// Where this session counts.
#[derive(Clone, Copy)]
enum Place {
    Shared(*mut Shared),
    Own(&'static [Entry]),
    /// There is no memory at all.
    Nowhere,
}

thread_local! {
    static PLACE: OnceCell<Place> = const { OnceCell::new() };
}

/// Where this session counts; found when it is first asked for.
fn place() -> Place {
    PLACE.with(|place| *place.get_or_init(|| attach().map_or_else(own, Place::Shared)))
}

/// Whether other sessions count in the same place.
pub fn is_shared() -> bool {
    matches!(place(), Place::Shared(_))
}

/// The entries; `None` where there is no memory for any.
pub fn entries() -> Option<&'static [Entry]> {
    match place() {
        // SAFETY: made by `initialize`, and there as long as the process; entries are atomics.
        Place::Shared(shared) => Some(unsafe { &(*shared).entries }),
        Place::Own(entries) => Some(entries),
        Place::Nowhere => None,
    }
}

/// Does something that is short while no other process does.
pub fn alone<R>(work: impl FnOnce() -> R) -> R {
    let Place::Shared(shared) = place() else { return work() };
    // SAFETY: initialized once, by who made the memory.
    let lock = unsafe { &raw mut (*shared).lock };
    // SAFETY: as above; the cleanup of an ERROR releases the lock.
    unsafe {
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let done = work();
        pg_sys::LWLockRelease(lock);
        done
    }
}

/// Entries in memory of this process. The system gives what of it is used.
fn own() -> Place {
    // SAFETY: the layout has a size; zeros are entries, which nobody frees.
    unsafe {
        let memory = alloc_zeroed(Layout::new::<[Entry; ENTRIES]>()).cast::<[Entry; ENTRIES]>();
        memory.as_ref().map_or(Place::Nowhere, |entries| Place::Own(entries))
    }
}

/// Makes the memory ready for use.
///
/// # Safety
/// Only Postgres and this module call it, with new memory for a `Shared`.
#[pg_guard]
unsafe extern "C-unwind" fn initialize(memory: *mut c_void) {
    enter!();
    let shared = memory.cast::<Shared>();
    // SAFETY: by the caller's promise; zeros are entries.
    unsafe {
        shared.write_bytes(0, 1);
        (*shared).tranche = pg_sys::LWLockNewTrancheId();
        pg_sys::LWLockInitialize(&raw mut (*shared).lock, (*shared).tranche);
    }
}

/// Makes the lock's name known to this process.
fn name_lock(shared: *mut Shared) {
    // SAFETY: initialized; the name is static.
    unsafe { pg_sys::LWLockRegisterTranche((*shared).tranche, NAME.as_ptr()) }
}

/// Called when the library is loaded.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
pub fn define() {}

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
fn attach() -> Option<*mut Shared> {
    let get = || {
        let mut found = false;
        // SAFETY: the name is a C string, and the callback initializes memory of this size.
        unsafe {
            pg_sys::GetNamedDSMSegment(NAME.as_ptr(), size_of::<Shared>(), Some(initialize), &mut found)
        }
    };
    // SAFETY: a search or an insertion is in a transaction.
    let shared = unsafe { attempt(get) }?.cast();
    name_lock(shared);
    Some(shared)
}

/// Does something in a subtransaction, whose end gives back what it holds; `None` where it raises an ERROR,
/// unless that cancels the query.
///
/// # Safety
/// Called in a transaction.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
unsafe fn attempt<R>(work: impl Fn() -> R) -> Option<R> {
    use pgrx::PgSqlErrorCode::{ERRCODE_ADMIN_SHUTDOWN, ERRCODE_QUERY_CANCELED};
    use pgrx::PgTryBuilder;
    use std::panic::AssertUnwindSafe;
    // SAFETY: by the caller's promise; as PL/pgSQL does.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        before
    };
    let done = PgTryBuilder::new(AssertUnwindSafe(|| Some(work())))
        .catch_when(ERRCODE_QUERY_CANCELED, |error| error.rethrow())
        .catch_when(ERRCODE_ADMIN_SHUTDOWN, |error| error.rethrow())
        .catch_others(|_| None)
        .execute();
    // SAFETY: the subtransaction is the current one.
    unsafe {
        match done {
            Some(_) => pg_sys::ReleaseCurrentSubTransaction(),
            None => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
    }
    done
}

#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
thread_local! {
    /// In the main segment: set by the postmaster, which all processes are copies of.
    static MAIN: Cell<*mut Shared> = const { Cell::new(ptr::null_mut()) };
    /// The hooks of a library that was loaded before.
    static PREVIOUS_START: Cell<pg_sys::shmem_startup_hook_type> = const { Cell::new(None) };
    #[cfg(not(feature = "pg14"))]
    static PREVIOUS_REQUEST: Cell<pg_sys::shmem_request_hook_type> = const { Cell::new(None) };
}

/// Called when the library is loaded: asks for shared memory where the postmaster loads it.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
pub fn define() {
    // SAFETY: the process's only thread is in _PG_init.
    unsafe {
        if !pg_sys::process_shared_preload_libraries_in_progress {
            return;
        }
        PREVIOUS_START.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(at_start);
        #[cfg(feature = "pg14")]
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
        #[cfg(not(feature = "pg14"))]
        {
            PREVIOUS_REQUEST.set(pg_sys::shmem_request_hook);
            pg_sys::shmem_request_hook = Some(request);
        }
    }
}

/// # Safety
/// Only Postgres calls it.
#[cfg(any(feature = "pg15", feature = "pg16"))]
#[pg_guard]
unsafe extern "C-unwind" fn request() {
    enter!();
    // SAFETY: where Postgres asks for it, by the hook's contract.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST.get() {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
    }
}

/// # Safety
/// Only Postgres calls it.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
#[pg_guard]
unsafe extern "C-unwind" fn at_start() {
    enter!();
    let mut found = false;
    // SAFETY: only the postmaster is there, and the memory was asked for.
    unsafe {
        if let Some(previous) = PREVIOUS_START.get() {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        let memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &mut found);
        if !found {
            initialize(memory);
        }
        MAIN.set(memory.cast());
    }
}

#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
fn attach() -> Option<*mut Shared> {
    let shared = MAIN.get();
    (!shared.is_null()).then(|| {
        name_lock(shared);
        shared
    })
}
