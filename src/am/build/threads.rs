//! The threads of one build.
//!
//! They live no longer than the build, unwinding included: Postgres forks and exits as a process of one
//! thread. Where a backend is terminated (FATAL) it exits without unwinding and takes the threads with it;
//! they own nothing but memory of the process.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

use pgrx::PgSqlErrorCode;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Result, SqlError};
use crate::guc::build_threads;
use crate::memory;

/// Bytes of a thread's stack, as Rust gives it.
const STACK: usize = 2 << 20;
/// Bytes that a thread takes besides when it starts. Without them the loader and libc would end the process.
const BESIDE_STACK: usize = 256 << 10;
/// Bytes that a thread of a build uses of both, and of what malloc keeps for it, beside what is counted.
const USED: usize = 256 << 10;
/// The share of memory that this is counted as at most: threads are not to leave a graph without any.
const MOST_USED: usize = 8;

/// What of maintenance_work_mem a build has beside its threads, for its graph.
pub fn without_threads(memory: usize) -> usize {
    memory - (build_threads() * USED).min(memory / MOST_USED)
}

/// The maintenance_work_mem of which a graph has so many bytes.
pub fn with_threads(graph: u64) -> u64 {
    graph + ((build_threads() * USED) as u64).min(graph.div_ceil(MOST_USED as u64 - 1))
}

/// Gives what the work of threads has freed back to the system when it ends, by an ERROR too.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        memory::give_back();
    }
}

/// Why a build has no result where its threads have stopped for no failure: one has panicked.
pub fn ended() -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "the threads of the index build ended unexpectedly")
}

/// Runs `work` with a pool of `threads` threads, and joins them.
pub fn with_pool<R>(threads: usize, work: impl FnOnce(&ThreadPool) -> R) -> Result<R> {
    let not_started = |reason: &dyn Display| {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            format!("could not start {threads} threads for the index build: {reason}"),
        )
        .hint("Decrease walia.build_threads.")
    };
    if !memory::has_room(threads * (STACK + BESIDE_STACK)) {
        return Err(not_started(&"out of memory"));
    }
    let _give_back = GiveBack;
    let signals = BlockedSignals::new();
    // Dropped last, when the pool has told its threads to end.
    let mut started = Joined(Vec::new());
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .spawn_handler(|thread| {
            let builder = Builder::new().name(format!("walia build {}", thread.index())).stack_size(STACK);
            started.0.push(builder.spawn(|| thread.run())?);
            Ok(())
        })
        .build()
        .map_err(|error| not_started(&error))?;
    drop(signals);
    // Each thread has taken what it needs before the work takes memory: where libc has none for what a thread
    // registers for its end, it ends the process.
    pool.broadcast(|_| ());
    Ok(work(&pool))
}

/// Threads that are waited for until the system has none of them any more, as it may have for a moment after
/// their work has ended.
struct Joined(Vec<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        // A panic has stopped the build already.
        self.0.drain(..).for_each(|thread| _ = thread.join());
    }
}

/// All signals, blocked in this thread until dropped. Threads that it starts meanwhile inherit the mask:
/// Postgres's signal handlers must only ever run in the backend's own thread.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are written by the calls that they are given to.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the mask that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
