//! The memory that the processes of a parallel scan share: a piece of the dynamic shared memory of their
//! query.
//!
//! It tells which children are still to be claimed, has two boards (of the distances that the searches found,
//! and of those of rows that passed all conditions), and a report of each process on what it did. Nothing is
//! locked, and nobody waits: all of it is atomic but the reports, and a report is written once, before it is
//! said to be there.

use std::collections::TryReserveError;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use pgrx::pg_sys;
use walia_core::graph::Board;

use super::child::Membership;
use super::totals::Totals;
use crate::guc;

/// The most children that a process claims at a time: as many as are searched by turns.
const MOST_CLAIMED: usize = 16;

/// What the processes agree on.
#[derive(Clone, Copy)]
pub struct Terms {
    /// The leader, and the workers that were planned.
    pub processes: usize,
    /// `walia.ef_search` of all of them.
    pub ef_search: usize,
    /// Rows that are wanted, at least 1.
    pub limit: usize,
    /// Whether the leader does a part of the work.
    pub leader_participates: bool,
    /// Which children are searched as one.
    pub membership: Membership,
}

impl Terms {
    /// As the settings say now.
    pub fn new(processes: usize, limit: usize, membership: Membership) -> Self {
        Self {
            processes,
            ef_search: guc::ef_search(),
            limit,
            leader_participates: leader_participates(),
            membership,
        }
    }

    /// For a further execution.
    pub fn renewed(self) -> Self {
        Self { leader_participates: leader_participates(), ..self }
    }

    /// Bytes of memory that they take.
    pub fn size(&self) -> usize {
        size_of::<Header>() + self.processes * size_of::<Report>() + self.slots().end * size_of::<AtomicU64>()
    }

    fn slots_of_searches(&self) -> Range<usize> {
        0..self.processes * self.ef_search
    }

    fn slots_of_rows(&self) -> Range<usize> {
        self.slots_of_searches().end..self.slots().end
    }

    fn slots(&self) -> Range<usize> {
        0..self.processes * (self.ef_search + self.limit)
    }
}

fn leader_participates() -> bool {
    // SAFETY: a setting that Postgres defines.
    unsafe { pg_sys::parallel_leader_participation }
}

/// The beginning of the memory; a report of each process follows, and then the slots of the boards.
#[repr(C)]
struct Header {
    terms: Terms,
    /// The first child that nobody has claimed.
    unclaimed: AtomicUsize,
}

/// What a process did, once it is written.
#[repr(C)]
struct Report {
    is_written: AtomicBool,
    totals: Totals,
}

/// A process's access to the memory.
pub struct Shared {
    header: NonNull<Header>,
    role: Role,
}

#[derive(Clone, Copy)]
enum Role {
    /// The leader knows how many workers it has started.
    Leader(*mut pg_sys::ParallelContext),
    /// Workers are numbered from 0.
    Worker(usize),
}

impl Shared {
    /// The leader's access to new memory, or to that of an execution whose workers have all ended.
    ///
    /// # Safety
    /// `memory` is as large as the terms say and aligned for everything. It lives as long as what is returned
    /// is used, as does `context`, and nobody else uses it but by [`Shared::attach`].
    pub unsafe fn create(memory: *mut c_void, terms: Terms, context: *mut pg_sys::ParallelContext) -> Self {
        let header = NonNull::new(memory.cast::<Header>()).expect("Postgres gives memory");
        let shared = Self { header, role: Role::Leader(context) };
        // SAFETY: by the caller's promise.
        unsafe {
            header.write(Header { terms, unclaimed: AtomicUsize::new(0) });
            for process in 0..terms.processes {
                let report = Report { is_written: AtomicBool::new(false), totals: Totals::default() };
                shared.report_of(process).write(report);
            }
            for slot in terms.slots() {
                shared.first_slot().add(slot).write(AtomicU64::new(Board::EMPTY));
            }
        }
        shared
    }

    /// The access of a worker; they are numbered from 0.
    ///
    /// # Safety
    /// The leader has given `memory` to [`Shared::create`], for this worker as well, and it lives as long as
    /// what is returned is used. The worker attaches once.
    pub unsafe fn attach(memory: *mut c_void, worker: usize) -> Self {
        let header = NonNull::new(memory.cast()).expect("Postgres gives memory");
        Self { header, role: Role::Worker(worker) }
    }

    /// What the processes agree on.
    pub fn terms(&self) -> Terms {
        self.header().terms
    }

    /// Whether this process has started the others.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// How many of so many children this process may claim.
    ///
    /// Searches may be short and what follows long: the leader, which is there before its workers, leaves
    /// them their parts. It knows how many they are, and takes the parts of those that were not started.
    /// Where it takes no part itself the workers claim all.
    pub fn allowance(&self, children: usize) -> usize {
        let of_worker = match self.terms().leader_participates {
            true => children.div_ceil(self.terms().processes),
            false => children,
        };
        match self.role {
            Role::Worker(_) => of_worker,
            Role::Leader(context) => {
                // SAFETY: by the promise of `create`.
                let workers = unsafe { (*context).nworkers_launched } as usize;
                children.saturating_sub(workers * of_worker)
            }
        }
    }

    /// Some of so many children, which are this process's from now on, and are taken off its allowance;
    /// `None` when there are none left.
    ///
    /// Each time some part of what is left, so that the processes end at about the same time.
    pub fn claim(&self, children: usize, allowance: &mut usize) -> Option<Range<usize>> {
        let most = (*allowance).min(MOST_CLAIMED);
        let part = |first: usize| (children - first).div_ceil(2 * self.terms().processes).min(most);
        let next = |first| (first < children && most > 0).then(|| first + part(first));
        let first = self.header().unclaimed.fetch_update(Relaxed, Relaxed, next).ok()?;
        *allowance -= part(first);
        Some(first..first + part(first))
    }

    /// The distances that searches found.
    pub fn board_of_searches(&self) -> Result<Board<'_>, TryReserveError> {
        let terms = self.terms();
        Board::new(self.slots(terms.slots_of_searches()), self.process(), terms.ef_search)
    }

    /// The values that order the rows which passed all conditions.
    pub fn board_of_rows(&self) -> Result<Board<'_>, TryReserveError> {
        let terms = self.terms();
        Board::new(self.slots(terms.slots_of_rows()), self.process(), terms.limit)
    }

    /// Says what this process did in this execution; called once in each.
    pub fn report(&self, totals: Totals) {
        // SAFETY: the report is this process's, and nobody reads it before it is said to be written.
        unsafe { (&raw mut (*self.report_of(self.process())).totals).write(totals) };
        self.is_written(self.process()).store(true, Release);
    }

    /// What the workers did in this execution, by their numbers, as far as they have said it.
    pub fn reports_of_workers(&self) -> Vec<Totals> {
        let report = |process| {
            // SAFETY: what is said to be written is not written again in this execution.
            let totals = |_| unsafe { (*self.report_of(process)).totals };
            self.is_written(process).load(Acquire).then_some(()).map(totals).unwrap_or_default()
        };
        (1..self.terms().processes).map(report).collect()
    }

    /// The number of this process among all.
    fn process(&self) -> usize {
        match self.role {
            Role::Leader(_) => 0,
            Role::Worker(worker) => worker + 1,
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: by the promise of `create` and `attach`.
        unsafe { self.header.as_ref() }
    }

    fn is_written(&self, process: usize) -> &AtomicBool {
        // SAFETY: initialized by `create`; the reference is to the flag alone.
        unsafe { &(*self.report_of(process)).is_written }
    }

    fn report_of(&self, process: usize) -> *mut Report {
        debug_assert!(process < self.terms().processes);
        // SAFETY: `Terms::size` counts the reports, which follow the header.
        unsafe { self.header.as_ptr().add(1).cast::<Report>().add(process) }
    }

    fn slots(&self, range: Range<usize>) -> &[AtomicU64] {
        // SAFETY: initialized by `create`, and atomic.
        unsafe { std::slice::from_raw_parts(self.first_slot().add(range.start), range.len()) }
    }

    fn first_slot(&self) -> *mut AtomicU64 {
        // SAFETY: `Terms::size` counts the slots, which follow the reports.
        unsafe { self.header.as_ptr().add(1).cast::<Report>().add(self.terms().processes).cast() }
    }
}
