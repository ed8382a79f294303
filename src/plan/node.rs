//! The custom scan as a plan node and as Postgres's executor sees it.
//!
//! Its children are ordinary plan nodes. It gives their rows merged, and does not change them: what the query asks for besides is
//! projected here. Imports `merge` and `explain`.

use std::ffi::c_int;

use pgrx::{PgList, PgMemoryContexts, pg_guard, pg_sys};

use super::merge::Merge;
use super::{Methods, NAME, explain};

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
struct FederatedScanState {
    custom: pg_sys::CustomScanState,
    /// Lives in the query's memory context from `begin` on.
    merge: *mut Merge,
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
    // SAFETY: by the caller's promise; palloc0 gives an empty node.
    unsafe {
        let scan = pg_sys::palloc0(size_of::<pg_sys::CustomScan>()).cast::<pg_sys::CustomScan>();
        (*scan).scan.plan.type_ = pg_sys::NodeTag::T_CustomScan;
        (*scan).scan.plan.targetlist = columns;
        (*scan).flags = (*path).flags;
        (*scan).custom_plans = children;
        // Rows as the children give them. `columns` may be missing, where a projection replaces them.
        let mut rows = PgList::<pg_sys::TargetEntry>::new();
        let expressions = PgList::<pg_sys::Expr>::from_pg((*(*path).path.pathtarget).exprs);
        for (number, expression) in (1..).zip(expressions.iter_ptr()) {
            let copy = pg_sys::copyObjectImpl(expression.cast()).cast();
            rows.push(pg_sys::makeTargetEntry(copy, number, std::ptr::null_mut(), false));
        }
        (*scan).custom_scan_tlist = rows.into_pg();
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
    // SAFETY: palloc0 gives an empty node.
    unsafe {
        let state = pg_sys::palloc0(size_of::<FederatedScanState>()).cast::<FederatedScanState>();
        (*state).custom.ss.ps.type_ = pg_sys::NodeTag::T_CustomScanState;
        (*state).custom.methods = &raw const EXEC_METHODS.0;
        state.cast()
    }
}

/// # Safety
/// `node` is one of this module, after `begin`; nobody else uses its merge as long as the reference lives.
unsafe fn merge_of<'a>(node: *mut pg_sys::CustomScanState) -> &'a mut Merge {
    // SAFETY: by the caller's promise.
    unsafe { &mut *(*node.cast::<FederatedScanState>()).merge }
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
    // SAFETY: the plan is one that `plan` made; the merge lives as long as the query's memory context, as its children do.
    unsafe {
        let scan = (*node).ss.ps.plan.cast::<pg_sys::CustomScan>();
        let mut children = Vec::new();
        for plan in PgList::<pg_sys::Plan>::from_pg((*scan).custom_plans).iter_ptr() {
            let child = pg_sys::ExecInitNode(plan, executor, flags);
            (*node).custom_ps = pg_sys::lappend((*node).custom_ps, child.cast());
            children.push(child);
        }
        let order = PgList::<pg_sys::Expr>::from_pg((*scan).custom_exprs).head().expect("made by `plan`");
        let order = pg_sys::ExecInitExpr(order, &raw mut (*node).ss.ps);
        let merge = Merge::new(&children, order, (*node).ss.ps.ps_ExprContext);
        let mut context = PgMemoryContexts::For((*executor).es_query_cxt);
        (*node.cast::<FederatedScanState>()).merge = context.leak_and_drop_on_delete(merge);
    }
}

/// The `ExecCustomScan` callback: the next row.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn execute(node: *mut pg_sys::CustomScanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: Postgres made the slots, and a child's slot has the columns of `custom_scan_tlist`.
    unsafe {
        let scan_slot = (*node).ss.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(scan_slot);
        let Some(row) = merge_of(node).next() else { return scan_slot };
        // The values stay the child's: they are valid until it is asked for its next row.
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
    // SAFETY: the children that `begin` made.
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
    // SAFETY: the children that `begin` made.
    unsafe {
        merge_of(node).restart();
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
    // SAFETY: after `begin`.
    unsafe { explain::show(merge_of(node), state) }
}
