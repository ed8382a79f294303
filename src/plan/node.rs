//! The custom scan as a plan node and as Postgres's executor sees it.
//!
//! Its children are ordinary plan nodes. It gives their rows merged, and does not change them: what the query asks for besides is
//! projected here. Where several processes execute it, under a Gather Merge, each gives its part of the rows.

use std::ffi::{c_int, c_void};

use pgrx::{PgList, PgMemoryContexts, pg_guard, pg_sys};

use super::execution::Execution;
use super::merge::Merge;
use super::nearest::Nearest;
use super::shared::Shared;
use super::{Methods, NAME, explain, vectors};
use crate::error_context::enter;
use crate::memory;

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
    _root: *mut pg_sys::PlannerInfo,
    _input: *mut pg_sys::RelOptInfo,
    path: *mut pg_sys::CustomPath,
    columns: *mut pg_sys::List,
    _clauses: *mut pg_sys::List,
    children: *mut pg_sys::List,
) -> *mut pg_sys::Plan {
    enter!();
    // SAFETY: by the caller's promise; palloc0 gives an empty node.
    unsafe {
        let scan = pg_sys::palloc0(size_of::<pg_sys::CustomScan>()).cast::<pg_sys::CustomScan>();
        (*scan).scan.plan.type_ = pg_sys::NodeTag::T_CustomScan;
        (*scan).scan.plan.targetlist = columns;
        (*scan).flags = (*path).flags;
        if (*path).path.parallel_aware {
            (*scan).custom_private = vectors::take_out(children);
        }
        (*scan).custom_plans = children;
        // Rows as the children give them. `columns` may be missing, where a projection replaces them.
        let mut rows = PgList::<pg_sys::TargetEntry>::new();
        let expressions = PgList::<pg_sys::Expr>::from_pg((*(*path).path.pathtarget).exprs);
        for (number, expression) in (1..).zip(expressions.iter_ptr()) {
            let copy = pg_sys::copyObjectImpl(expression.cast()).cast();
            rows.push(pg_sys::makeTargetEntry(copy, number, std::ptr::null_mut(), false));
        }
        (*scan).custom_scan_tlist = rows.into_pg();
        // The order, and in a parallel scan the number of rows that are wanted.
        (*scan).custom_exprs = pg_sys::copyObjectImpl((*path).custom_private.cast()).cast();
        (*scan).methods = &raw const SCAN_METHODS.0;
        scan.cast()
    }
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
/// `node` is one of this module, after `begin`; nobody else uses its execution as long as the reference lives.
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
    // SAFETY: the plan is one that `plan` made; the merge lives as long as the query's memory context, as its children do.
    unsafe {
        let scan = (*node).ss.ps.plan.cast::<pg_sys::CustomScan>();
        let expressions = PgList::<pg_sys::Expr>::from_pg((*scan).custom_exprs);
        let order = pg_sys::ExecInitExpr(expressions.head().expect("made by `plan`"), &raw mut (*node).ss.ps);
        let query_context = (*executor).es_query_cxt;
        let nearest = expressions.get_ptr(1).map(|limit| {
            let columns = (*(*node).ss.ss_ScanTupleSlot).tts_tupleDescriptor;
            let slot =
                pg_sys::ExecInitExtraTupleSlot(executor, columns, &raw const pg_sys::TTSOpsMinimalTuple);
            let context = pg_sys::AllocSetContextCreateInternal(
                query_context,
                NAME.as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let limit = (*limit.cast::<pg_sys::Const>()).constvalue.value();
            (limit, Nearest::new(slot, context))
        });
        let mut merge = Merge::new(node, flags, order, (*node).ss.ps.ps_ExprContext);
        // A worker has empty caches, and executes some of the children only; but it is to instrument what its leader does.
        let is_worker = (*scan).scan.plan.parallel_aware && pg_sys::ParallelWorkerNumber >= 0;
        if !is_worker || (*executor).es_instrument != 0 {
            merge.initialize();
        }
        let execution = Execution::new(merge, nearest);
        let execution = PgMemoryContexts::For(query_context).leak_and_drop_on_delete(execution);
        (*node.cast::<FederatedScanState>()).execution = execution;
    }
}

/// The `ExecCustomScan` callback: the next row.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn execute(node: *mut pg_sys::CustomScanState) -> *mut pg_sys::TupleTableSlot {
    enter!();
    // SAFETY: Postgres made the slots, and a child's slot has the columns of `custom_scan_tlist`.
    unsafe {
        let scan_slot = (*node).ss.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(scan_slot);
        let row = execution_of(node).next();
        memory::check();
        let Some(row) = row else { return scan_slot };
        // The values stay those of the row, which is valid until the next one is asked for.
        let columns = (*(*scan_slot).tts_tupleDescriptor).natts as usize;
        (*scan_slot).tts_values.copy_from_nonoverlapping((*row).tts_values, columns);
        (*scan_slot).tts_isnull.copy_from_nonoverlapping((*row).tts_isnull, columns);
        pg_sys::ExecStoreVirtualTuple(scan_slot);
        if (*node).ss.ps.ps_ProjInfo.is_null() {
            return scan_slot;
        }
        let expressions = (*node).ss.ps.ps_ExprContext;
        pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
        (*expressions).ecxt_scantuple = scan_slot;
        pg_sys::ExecProject((*node).ss.ps.ps_ProjInfo)
    }
}

/// The `EndCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: the children that were initialized.
    unsafe {
        for child in PgList::<pg_sys::PlanState>::from_pg((*node).custom_ps).iter_ptr() {
            pg_sys::ExecEndNode(child);
        }
    }
}

/// The `ReScanCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: the children that were initialized.
    unsafe {
        execution_of(node).restart();
        for child in PgList::<pg_sys::PlanState>::from_pg((*node).custom_ps).iter_ptr() {
            if !(*node).ss.ps.chgParam.is_null() {
                pg_sys::UpdateChangedParamSet(child, (*node).ss.ps.chgParam);
            }
            // With changed parameters it is rescanned when it is first asked for a row.
            if (*child).chgParam.is_null() {
                pg_sys::ExecReScan(child);
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
    // SAFETY: after `begin`.
    unsafe { explain::show(execution_of(node), state) }
}
