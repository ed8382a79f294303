//! The custom scan as a plan node and as Postgres's executor sees it.
//!
//! Its children are ordinary plan nodes. It gives their rows merged, and does not change them: what the query
//! asks for besides is projected here. Where several processes execute it, under a Gather Merge, each gives
//! its part of the rows.

use std::ffi::{c_int, c_void};

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};

use super::child::{Parent, Row};
use super::execution::Execution;
use super::merge::Merge;
use super::nearest::Nearest;
use super::private::{Encoded, Private};
use super::shared::Shared;
use super::value::Order;
use super::{Methods, NAME, explain, vectors};
use crate::error_context::enter;
use crate::memory;
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

/// The node's state; Postgres knows the first part of it.
#[repr(C)]
struct FederatedScanState {
    custom: pg_sys::CustomScanState,
    /// Lives in the query's memory context from `begin` on.
    execution: *mut Execution,
}

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
    // Rows as the children give them. `columns` may be missing, where a projection replaces them.
    let row = path.upcast().pathtarget().exprs().iter().zip(1..).map(|(expression, number)| {
        let column = root.copy(expression.as_node()).as_ptr().cast();
        // SAFETY: makes a node of the copy.
        Some(unsafe { NodeRef::new(pg_sys::makeTargetEntry(column, number, std::ptr::null_mut(), false)) })
    });
    let mut scan = pg_sys::CustomScan {
        flags: path.flags,
        custom_plans: children.as_ptr(),
        custom_exprs: expressions.as_ptr(),
        custom_private: data.as_ptr(),
        custom_scan_tlist: row.collect::<List<_>>().as_ptr(),
        methods: &raw const SCAN_METHODS.0,
        ..Default::default()
    };
    scan.scan.plan.type_ = pg_sys::NodeTag::T_CustomScan;
    scan.scan.plan.targetlist = columns;
    root.allocate(scan).as_ptr().cast()
}

/// The `CreateCustomScanState` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_state(_scan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    enter!();
    // SAFETY: palloc0 gives an empty node.
    unsafe {
        let state = pg_sys::palloc0(size_of::<FederatedScanState>()).cast::<FederatedScanState>();
        (*state).custom.ss.ps.type_ = pg_sys::NodeTag::T_CustomScanState;
        (*state).custom.methods = &raw const EXEC_METHODS.0;
        state.cast()
    }
}

/// # Safety
/// `node` is one of this module, after `begin`; nobody else uses its execution as long as the reference
/// lives.
unsafe fn execution_of<'a>(node: *mut pg_sys::CustomScanState) -> &'a mut Execution {
    // SAFETY: by the caller's promise.
    unsafe { &mut *(*node.cast::<FederatedScanState>()).execution }
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
    let (scan, instruments, query_context) = unsafe {
        let scan = NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast());
        (scan, (*executor).es_instrument, (*executor).es_query_cxt)
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
    let execution = Execution::new(merge, nearest);
    let execution = PgMemoryContexts::For(query_context).leak_and_drop_on_delete(execution);
    // SAFETY: a node that `create_state` made.
    unsafe { (*node.cast::<FederatedScanState>()).execution = execution };
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
    memory::check();
    // SAFETY: Postgres has made the slot, the expression context and the projection, if there is any.
    unsafe {
        let state = &(*node).ss;
        let slot = state.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(slot);
        let Some(row) = row else { return slot };
        store(row, slot);
        if state.ps.ps_ProjInfo.is_null() {
            return slot;
        }
        let expressions = &mut *state.ps.ps_ExprContext;
        pg_sys::MemoryContextReset(expressions.ecxt_per_tuple_memory);
        expressions.ecxt_scantuple = slot;
        pg_sys::ExecProject(state.ps.ps_ProjInfo)
    }
}

/// Stores a child's row. The values stay those of the row, which is valid until the next one is asked for.
///
/// # Safety
/// `slot` is an empty one for virtual rows, with the columns of `custom_scan_tlist`, as the row has them.
unsafe fn store(row: Row, slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: by the caller's promise; a row's columns are extracted.
    unsafe {
        let (from, to) = (&*row.slot(), &*slot);
        let columns = (*to.tts_tupleDescriptor).natts as usize;
        to.tts_values.copy_from_nonoverlapping(from.tts_values, columns);
        to.tts_isnull.copy_from_nonoverlapping(from.tts_isnull, columns);
        pg_sys::ExecStoreVirtualTuple(slot);
    }
}

/// # Safety
/// `node` is one of this module, after `begin`.
unsafe fn children_of<'p>(node: *mut pg_sys::CustomScanState) -> List<'p, pg_sys::PlanState> {
    // SAFETY: `Child::initialize` has put the children there.
    unsafe { List::new((*node).custom_ps) }
}

/// The `EndCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    for child in unsafe { children_of(node) }.iter() {
        // SAFETY: ends what was initialized, once.
        unsafe { pg_sys::ExecEndNode(child.as_ptr()) };
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
    let (execution, children, changed) =
        unsafe { (execution_of(node), children_of(node), (*node).ss.ps.chgParam) };
    execution.restart();
    for child in children.iter() {
        // SAFETY: the child was initialized, and nobody uses its search any more. With changed parameters it
        // is rescanned when it is first asked for a row.
        unsafe {
            if !changed.is_null() {
                pg_sys::UpdateChangedParamSet(child.as_ptr(), changed);
            }
            if child.chgParam.is_null() {
                pg_sys::ExecReScan(child.as_ptr());
            }
        }
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
