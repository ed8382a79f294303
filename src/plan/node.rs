//! The custom scan as a plan node and as Postgres's executor sees it.
//!
//! Its children are ordinary plan nodes. It gives their rows merged, and does not change them: what the query
//! asks for besides is projected here. Where several processes execute it, under a Gather Merge, each gives
//! its part of the rows.

use std::ffi::{c_int, c_void};

use pgrx::{pg_guard, pg_sys};

use super::child::Parent;
use super::custom::{self, Parts};
use super::execution::Execution;
use super::merge::Merge;
use super::nearest::Nearest;
use super::private::{Encoded, Private};
use super::shared::Shared;
use super::value::Order;
use super::{Methods, NAME, explain, vectors};
use crate::error_context::enter;
use crate::nodes::{List, NodeRef};

/// The planned scan's callbacks.
pub static SCAN_METHODS: Methods<pg_sys::CustomScanMethods> = Methods(pg_sys::CustomScanMethods {
    CustomName: NAME.as_ptr(),
    CreateCustomScanState: Some(create_state),
});

static EXEC_METHODS: Methods<pg_sys::CustomExecMethods> = Methods(pg_sys::CustomExecMethods {
    CustomName: NAME.as_ptr(),
    BeginCustomScan: Some(begin),
    ExecCustomScan: Some(execute),
    EndCustomScan: Some(end),
    ReScanCustomScan: Some(rescan),
    EstimateDSMCustomScan: Some(estimate_shared),
    InitializeDSMCustomScan: Some(create_shared),
    ReInitializeDSMCustomScan: Some(reset_shared),
    InitializeWorkerCustomScan: Some(attach_shared),
    ShutdownCustomScan: Some(shut_down),
    ExplainCustomScan: Some(explain_node),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The `PlanCustomPath` callback.
///
/// # Safety
/// Only Postgres calls it, with a path that `path` made.
#[pg_guard]
pub unsafe extern "C-unwind" fn plan(
    root: *mut pg_sys::PlannerInfo,
    _input: *mut pg_sys::RelOptInfo,
    path: *mut pg_sys::CustomPath,
    columns: *mut pg_sys::List,
    _clauses: *mut pg_sys::List,
    children: *mut pg_sys::List,
) -> *mut pg_sys::Plan {
    enter!();
    // SAFETY: Postgres gives its planner's state and a path of `path`, for whose children it has made plans.
    let (root, path, children) =
        unsafe { (NodeRef::new(root), NodeRef::new(path), List::<pg_sys::Plan>::new(children)) };
    let mut private = Private::of_path(path);
    private.order = root.copy(private.order);
    if path.path.parallel_aware {
        private.vectors = vectors::take_out(root, children);
    }
    let Encoded { expressions, data } = private.encode();
    let parts = Parts { columns, row: path.upcast().pathtarget().exprs(), expressions, data };
    custom::plan(root, path, children, parts, &SCAN_METHODS)
}

/// The `CreateCustomScanState` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_state(_scan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    enter!();
    custom::create_state::<Execution>(&EXEC_METHODS)
}

/// # Safety
/// `node` is one of this module, after `begin`; nobody else uses its execution as long as the reference
/// lives.
unsafe fn execution_of<'a>(node: *mut pg_sys::CustomScanState) -> &'a mut Execution {
    // SAFETY: by the caller's promise.
    unsafe { custom::execution_of(node) }
}

/// The `BeginCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn begin(
    node: *mut pg_sys::CustomScanState,
    executor: *mut pg_sys::EState,
    flags: c_int,
) {
    enter!();
    // SAFETY: Postgres gives the state and the plan of a node of this module, and the executor's state.
    let (scan, instruments) = unsafe {
        let scan = NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast());
        (scan, (*executor).es_instrument)
    };
    let private = Private::of_plan(scan);
    let state = node.cast();
    // SAFETY: the children, and what computes their order, live as long as the query's memory context, and so
    // does what is made here.
    let (parent, order) = unsafe { (Parent::new(node, flags), Order::new(private.order, state)) };
    let mut merge = Merge::new(parent, order);
    // SAFETY: as above.
    let nearest = private.limit.map(|limit| unsafe { nearest(limit as usize, node, executor) });
    // SAFETY: set before a worker executes anything.
    let is_worker = scan.scan.plan.parallel_aware && unsafe { pg_sys::ParallelWorkerNumber } >= 0;
    // A worker has empty caches, and executes some of the children only; but it is to instrument what its
    // leader does.
    if !is_worker || instruments != 0 {
        merge.initialize();
    }
    // SAFETY: a node that `create_state` made.
    unsafe { custom::begin(node, executor, Execution::new(merge, nearest)) };
}

/// Where the rows of one of several processes are kept.
///
/// # Safety
/// The execution of `node` by `executor` has begun; what is returned is used as long as it lasts.
unsafe fn nearest(
    limit: usize,
    node: *mut pg_sys::CustomScanState,
    executor: *mut pg_sys::EState,
) -> Nearest {
    // SAFETY: by the caller's promise.
    unsafe {
        let columns = (*(*node).ss.ss_ScanTupleSlot).tts_tupleDescriptor;
        let slot = pg_sys::ExecInitExtraTupleSlot(executor, columns, &raw const pg_sys::TTSOpsMinimalTuple);
        let context = pg_sys::AllocSetContextCreateInternal(
            (*executor).es_query_cxt,
            NAME.as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        Nearest::new(limit, slot, context)
    }
}

/// The `ExecCustomScan` callback: the next row.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn execute(node: *mut pg_sys::CustomScanState) -> *mut pg_sys::TupleTableSlot {
    enter!();
    // SAFETY: after `begin`.
    let row = unsafe { execution_of(node) }.next();
    // SAFETY: as above.
    unsafe { custom::give(node, row) }
}

/// The `EndCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe {
        execution_of(node).log();
        custom::end_children(node);
    }
}

/// The `ReScanCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe {
        execution_of(node).restart();
        custom::rescan_children(node);
    }
}

/// The `EstimateDSMCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn estimate_shared(
    node: *mut pg_sys::CustomScanState,
    context: *mut pg_sys::ParallelContext,
) -> pg_sys::Size {
    enter!();
    // SAFETY: after `begin`; the context is that of the execution.
    let (execution, workers) = unsafe { (execution_of(node), (*context).nworkers) };
    execution.terms(workers as usize + 1).size()
}

/// The `InitializeDSMCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_shared(
    node: *mut pg_sys::CustomScanState,
    context: *mut pg_sys::ParallelContext,
    memory: *mut c_void,
) {
    enter!();
    // SAFETY: after `begin`; the context is that of the execution.
    let (execution, workers) = unsafe { (execution_of(node), (*context).nworkers) };
    let terms = execution.terms(workers as usize + 1);
    // SAFETY: `estimate_shared` said how much memory is needed; it lives until after `shut_down`.
    execution.share(unsafe { Shared::create(memory, terms, context) });
}

/// The `ReInitializeDSMCustomScan` callback: before the workers of a further execution are started.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn reset_shared(
    node: *mut pg_sys::CustomScanState,
    context: *mut pg_sys::ParallelContext,
    memory: *mut c_void,
) {
    enter!();
    // SAFETY: after `begin`.
    let execution = unsafe { execution_of(node) };
    if let Some(terms) = execution.share_again() {
        // SAFETY: the memory is that of `create_shared`, whose workers have ended.
        execution.share(unsafe { Shared::create(memory, terms, context) });
    }
}

/// The `InitializeWorkerCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn attach_shared(
    node: *mut pg_sys::CustomScanState,
    _table: *mut pg_sys::shm_toc,
    memory: *mut c_void,
) {
    enter!();
    // SAFETY: in a worker, after `begin`; the memory lives until the worker ends.
    unsafe { execution_of(node).share(Shared::attach(memory, pg_sys::ParallelWorkerNumber as usize)) }
}

/// The `ShutdownCustomScan` callback: no more rows are wanted, and what is shared is given back.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn shut_down(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe { execution_of(node) }.stop_sharing();
}

/// The `ExplainCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn explain_node(
    node: *mut pg_sys::CustomScanState,
    _ancestors: *mut pg_sys::List,
    state: *mut pg_sys::ExplainState,
) {
    enter!();
    // SAFETY: after `begin`; Postgres gives EXPLAIN's state.
    let (execution, state) = unsafe { (execution_of(node), NodeRef::new(state)) };
    explain::show(execution, state);
}
