//! The scan as a plan node and as Postgres's executor sees it. It has two children: the scan of the index,
//! whose rows it reads and tests itself, and the exact way.

use std::ffi::c_int;

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};

use super::NAME;
use super::execution::Execution;
use super::explain;
use crate::error_context::enter;
use crate::memory;
use crate::nodes::{List, NodeRef};
use crate::plan::Methods;
use crate::plan::child::Row;

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
    ExplainCustomScan: Some(explain_node),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The node's state; Postgres knows the first part of it.
#[repr(C)]
struct NearestScanState {
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
    let lists = path.custom_private();
    let list = |place| lists.get(place).map_or(std::ptr::null_mut(), NodeRef::as_ptr);
    let scanned = path.custom_paths().first().expect("the index's path");
    // Rows as the children give them. `columns` may be missing, where a projection replaces them.
    let row = scanned.pathtarget().exprs().iter().zip(1..).map(|(expression, number)| {
        let column = root.copy(expression.as_node()).as_ptr().cast();
        // SAFETY: makes a node of the copy.
        Some(unsafe { NodeRef::new(pg_sys::makeTargetEntry(column, number, std::ptr::null_mut(), false)) })
    });
    let mut scan = pg_sys::CustomScan {
        flags: path.flags,
        custom_plans: children.as_ptr(),
        custom_exprs: list(0),
        custom_private: list(1),
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
        let state = pg_sys::palloc0(size_of::<NearestScanState>()).cast::<NearestScanState>();
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
    unsafe { &mut *(*node.cast::<NearestScanState>()).execution }
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
    // SAFETY: Postgres gives the state of a node of this module, and the executor's state. Both live as long
    // as the query's memory context, and so does what is made here.
    unsafe {
        let execution = Execution::new(node, executor, flags);
        let execution = PgMemoryContexts::For((*executor).es_query_cxt).leak_and_drop_on_delete(execution);
        (*node.cast::<NearestScanState>()).execution = execution;
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
    let row = unsafe { Row::of_slot(execution_of(node).next()) };
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
    unsafe { execution_of(node) }.finish();
    // SAFETY: as above.
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
