//! Parallel workers that search while a build joins a graph to its index: threads must not read pages.
//!
//! The backend and each worker have two queues in dynamic shared memory, one for requests and one for
//! answers. A worker opens the index as the backend has locked it, answers what it is asked, and ends when
//! nobody can ask any more. Where none can be had, the backend searches alone.

use std::ffi::{CStr, c_void};
use std::{ptr, slice};

use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::page::{Helpers, Index, JoinHelper, JoinOptions};

use crate::am::table::IndexedTable;
use crate::error::{OrRaise, SqlError};
use crate::error_context::enter;
use crate::guc::build_threads;
use crate::store::error::index_error;
use crate::store::{self, RelationStore};

/// Nodes of a join that are worth the start of workers, which takes some milliseconds. Tests are to see them
/// in joins of any size.
const WORTH: u32 = if cfg!(debug_assertions) { 64 } else { 2048 };
/// Bytes of a queue. What is longer is sent piece by piece, while the other side takes it.
const QUEUE: usize = 256 << 10;

/// A worker's lock on the index, which the leader's does not bar.
const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// Where in the shared memory are the terms, the queues of all workers, what each worker has read and
/// written, and the text of the statement.
const TERMS: u64 = 1;
const QUEUES: u64 = 2;
const USAGES: u64 = 3;
const STATEMENT: u64 = 4;

/// What a worker is told when it starts.
#[derive(Clone, Copy)]
#[repr(C)]
struct Terms {
    index: pg_sys::Oid,
    memory: usize,
}

/// What a worker has read and written.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Usage {
    buffers: pg_sys::BufferUsage,
    wal: pg_sys::WalUsage,
}

/// The workers of one join.
pub struct Workers {
    /// Null where there are none.
    context: *mut pg_sys::ParallelContext,
    queues: Vec<Queues>,
    /// One for each of them.
    usages: *mut Usage,
}

/// One side's ends of a worker's queues.
struct Queues {
    requests: *mut pg_sys::shm_mq_handle,
    answers: *mut pg_sys::shm_mq_handle,
}

/// Workers that there may be at the same time, of all sessions.
pub fn pool() -> usize {
    // SAFETY: settings that Postgres defines.
    unsafe { pg_sys::max_parallel_workers.min(pg_sys::max_worker_processes) }.max(0) as usize
}

impl Workers {
    /// Starts as many workers as a build has threads beside its own, as far as there are any and memory has
    /// room for what they find, for the join of so many nodes.
    pub fn start(table: &IndexedTable, index: &Index<RelationStore>, nodes: u32, memory: usize) -> Self {
        let relation = table.index();
        // SAFETY: the index is open; states that Postgres defines.
        let can_start = unsafe {
            (*(*relation).rd_rel).relpersistence as u8 != pg_sys::RELPERSISTENCE_TEMP
                && !pg_sys::IsInParallelMode()
                && pg_sys::IsUnderPostmaster
        };
        let wanted = (build_threads().min(index.searchers(memory)) - 1).min(pool());
        if !can_start || nodes < WORTH || wanted == 0 {
            return Self { context: ptr::null_mut(), queues: Vec::new(), usages: ptr::null_mut() };
        }
        // SAFETY: the names are those of this library and of the function below. While the mode is on, the
        // build writes pages, which a leader may, and takes no transaction number.
        let context = unsafe {
            pg_sys::EnterParallelMode();
            pg_sys::CreateParallelContext(c"walia".as_ptr(), c"walia_join_worker".as_ptr(), wanted as i32)
        };
        let memory = JoinOptions::memory_of_searcher(memory, 1 + wanted);
        // SAFETY: the index is open; the context is new.
        let (queues, usages) = unsafe { share(context, wanted, Terms { index: (*relation).rd_id, memory }) };
        // SAFETY: all that workers look for is there.
        let launched = unsafe {
            pg_sys::LaunchParallelWorkers(context);
            (*context).nworkers_launched.max(0) as usize
        };
        // SAFETY: these workers were launched, and the queues were made above.
        let attach = |worker| unsafe { attach(context, queues, worker) };
        Self { context, queues: (0..launched).map(attach).collect(), usages }
    }

    /// Ends all that workers wait for, and waits for their end. A worker's ERROR is raised.
    fn end(&mut self) {
        // SAFETY: the context and the queues that were made above; a queue is detached once. A worker that
        // still sends an answer, or waits for a request, sees that nobody is at the other end.
        unsafe {
            for Queues { requests, answers } in self.queues.drain(..) {
                pg_sys::shm_mq_detach(requests);
                pg_sys::shm_mq_detach(answers);
            }
            pg_sys::WaitForParallelWorkersToFinish(self.context);
        }
    }

    /// Why a queue has ended: the ERROR of a worker, or that there is none any more.
    fn fail(&mut self) -> ! {
        self.end();
        SqlError::new(
            PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
            "a parallel worker of the index build ended unexpectedly",
        )
        .raise()
    }
}

impl Helpers for Workers {
    fn count(&self) -> usize {
        self.queues.len()
    }

    fn ask(&mut self, helper: usize, request: &[u8]) {
        // SAFETY: the worker's queue, which this process sends to.
        if !unsafe { send(self.queues[helper].requests, request) } {
            self.fail();
        }
    }

    fn answer(&mut self, helper: usize) -> &[u8] {
        // SAFETY: the worker's queue, which this process receives from; what it gives lives until the next
        // call, which needs `self` for itself.
        match unsafe { receive(self.queues[helper].answers) } {
            Some(answer) => answer,
            None => self.fail(),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // While an ERROR unwinds, Postgres ends the workers and the mode.
        if self.context.is_null() || std::thread::panicking() {
            return;
        }
        let workers = self.queues.len();
        self.end();
        // SAFETY: the context and the mode of `start`, none of which is used after this. Workers that have
        // ended have written what they used.
        unsafe {
            for usage in slice::from_raw_parts_mut(self.usages, workers) {
                pg_sys::InstrAccumParallelQuery(&mut usage.buffers, &mut usage.wal);
            }
            pg_sys::DestroyParallelContext(self.context);
            pg_sys::ExitParallelMode();
        }
    }
}

/// What a parallel worker of [`Workers`] does.
///
/// # Safety
/// Only Postgres calls it, in a worker that [`Workers::start`] has asked for.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn walia_join_worker(
    segment: *mut pg_sys::dsm_segment,
    toc: *mut pg_sys::shm_toc,
) {
    enter!();
    // SAFETY: the leader has put all of it there for this worker, and lives as long as workers do.
    let (terms, queues, usage) = unsafe {
        let find = |key| pg_sys::shm_toc_lookup(toc, key, false);
        let worker = pg_sys::ParallelWorkerNumber as usize;
        pg_sys::debug_query_string = find(STATEMENT).cast();
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, pg_sys::debug_query_string);
        let usage = find(USAGES).cast::<Usage>().add(worker);
        (find(TERMS).cast::<Terms>().read(), queues_of(find(QUEUES), worker), usage)
    };
    // SAFETY: the worker's queues, of which the leader has the other ends. It has locked the index.
    let (requests, answers, relation) = unsafe {
        pg_sys::InstrStartParallelQuery();
        let [requests, answers] = queues;
        pg_sys::shm_mq_set_receiver(requests, pg_sys::MyProc);
        pg_sys::shm_mq_set_sender(answers, pg_sys::MyProc);
        let requests = pg_sys::shm_mq_attach(requests, segment, ptr::null_mut());
        let answers = pg_sys::shm_mq_attach(answers, segment, ptr::null_mut());
        (requests, answers, pg_sys::index_open(terms.index, LOCK))
    };
    // SAFETY: the index is open until all of this has gone.
    let failed = |error| unsafe { index_error(relation, error) };
    {
        // SAFETY: as above.
        let store = unsafe { RelationStore::new(relation, ptr::null_mut()) };
        let index = store::open(store).map_err(failed).or_raise();
        let mut helper = JoinHelper::new(&index, terms.memory);
        // SAFETY: the queues are attached above; a request is read before the next one is received.
        while let Some(request) = unsafe { receive(requests) } {
            store::check_for_interrupts();
            let answer = helper.answer(request).map_err(failed).or_raise();
            // SAFETY: as above.
            if !unsafe { send(answers, &answer) } {
                break;
            }
        }
    }
    // SAFETY: nothing uses the index any more; the usage is this worker's.
    unsafe {
        pg_sys::index_close(relation, LOCK);
        pg_sys::InstrEndParallelQuery(&raw mut (*usage).buffers, &raw mut (*usage).wal);
    }
}

/// Makes the shared memory of so many workers, and puts there what they look for. Returns where their queues
/// and usages are.
///
/// # Safety
/// The context is new.
unsafe fn share(
    context: *mut pg_sys::ParallelContext,
    workers: usize,
    terms: Terms,
) -> (*mut c_void, *mut Usage) {
    // SAFETY: Postgres sets it to the text of the statement, or to null.
    let statement = unsafe {
        let statement = pg_sys::debug_query_string;
        if statement.is_null() { c"" } else { CStr::from_ptr(statement) }
    };
    let statement = statement.to_bytes_with_nul();
    let sizes = [
        (TERMS, size_of::<Terms>()),
        (QUEUES, 2 * workers * QUEUE),
        (USAGES, workers * size_of::<Usage>()),
        (STATEMENT, statement.len()),
    ];
    // SAFETY: the context is new, by the caller's promise: what is estimated is what is allocated.
    let [of_terms, queues, usages, text] = unsafe {
        let estimator = &mut (*context).estimator;
        estimator.number_of_keys += sizes.len();
        for (_, size) in sizes {
            estimator.space_for_chunks += size.next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
        }
        pg_sys::InitializeParallelDSM(context);
        sizes.map(|(key, size)| {
            let place = pg_sys::shm_toc_allocate((*context).toc, size);
            pg_sys::shm_toc_insert((*context).toc, key, place);
            place
        })
    };
    let usages = usages.cast::<Usage>();
    // SAFETY: each place is as large as was asked for, and aligned for everything, as a queue's size is.
    unsafe {
        of_terms.cast::<Terms>().write(terms);
        text.cast::<u8>().copy_from_nonoverlapping(statement.as_ptr(), statement.len());
        for queue in 0..2 * workers {
            pg_sys::shm_mq_create(queues.add(queue * QUEUE), QUEUE);
        }
        (0..workers).for_each(|worker| usages.add(worker).write(Usage::default()));
    }
    (queues, usages)
}

/// The backend's ends of a worker's queues.
///
/// # Safety
/// The worker was launched, and its queues are there.
unsafe fn attach(context: *mut pg_sys::ParallelContext, queues: *mut c_void, worker: usize) -> Queues {
    // SAFETY: by the caller's promise; who the other side is tells that side itself.
    unsafe {
        let [requests, answers] = queues_of(queues, worker);
        pg_sys::shm_mq_set_sender(requests, pg_sys::MyProc);
        pg_sys::shm_mq_set_receiver(answers, pg_sys::MyProc);
        let (segment, handle) = ((*context).seg, (*(*context).worker.add(worker)).bgwhandle);
        Queues {
            requests: pg_sys::shm_mq_attach(requests, segment, handle),
            answers: pg_sys::shm_mq_attach(answers, segment, handle),
        }
    }
}

/// The queues of a worker: for requests and for answers.
///
/// # Safety
/// `queues` is where the leader has made those of this worker.
unsafe fn queues_of(queues: *mut c_void, worker: usize) -> [*mut pg_sys::shm_mq; 2] {
    // SAFETY: by the caller's promise.
    [0, 1].map(|queue| unsafe { queues.add((2 * worker + queue) * QUEUE).cast() })
}

/// Sends a message; false where nobody receives any more.
///
/// # Safety
/// `queue` is attached, and this process its sender.
unsafe fn send(queue: *mut pg_sys::shm_mq_handle, message: &[u8]) -> bool {
    let (size, data) = (message.len(), message.as_ptr().cast());
    // SAFETY: by the caller's promise.
    #[cfg(feature = "pg14")]
    let sent = unsafe { pg_sys::shm_mq_send(queue, size, data, false) };
    // SAFETY: as above.
    #[cfg(not(feature = "pg14"))]
    let sent = unsafe { pg_sys::shm_mq_send(queue, size, data, false, true) };
    sent == pg_sys::shm_mq_result::SHM_MQ_SUCCESS
}

/// The next message, which lives until this is called again; `None` where nobody sends any more.
///
/// # Safety
/// `queue` is attached, and this process its receiver.
unsafe fn receive<'m>(queue: *mut pg_sys::shm_mq_handle) -> Option<&'m [u8]> {
    let (mut size, mut data) = (0, ptr::null_mut());
    // SAFETY: by the caller's promise; what was received is as long as is said.
    unsafe {
        let received = pg_sys::shm_mq_receive(queue, &mut size, &mut data, false);
        (received == pg_sys::shm_mq_result::SHM_MQ_SUCCESS)
            .then(|| slice::from_raw_parts(data.cast::<u8>(), size))
    }
}
