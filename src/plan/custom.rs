//! What custom scans have in common: the plan node, its state, and the children that it executes.

use std::ffi::{CStr, c_int};

use pgrx::{PgMemoryContexts, pg_sys};

use super::Methods;
use super::child::Row;
use crate::memory;
use crate::nodes::{List, NodeRef};

/// A node's state; Postgres knows the first part of it.
#[repr(C)]
struct State<Execution> {
    custom: pg_sys::CustomScanState,
    /// Lives in the query's memory context from [`begin`] on.
    execution: *mut Execution,
}

/// What a plan node is made of.
pub struct Parts<'p> {
    /// The columns that it is to give; missing where a projection replaces them.
    pub columns: *mut pg_sys::List,
    /// The rows as its children give them.
    pub row: List<'p, pg_sys::Expr>,
    /// For `custom_exprs`.
    pub expressions: List<'p, pg_sys::Node>,
    /// For `custom_private`.
    pub data: List<'p, pg_sys::Node>,
}

/// The plan node of a path, for whose children plans have been made.
pub fn plan(
    root: NodeRef<pg_sys::PlannerInfo>,
    path: NodeRef<pg_sys::CustomPath>,
    children: List<pg_sys::Plan>,
    parts: Parts,
    methods: &'static Methods<pg_sys::CustomScanMethods>,
) -> *mut pg_sys::Plan {
    let Parts { columns, row, expressions, data } = parts;
    let row = row.iter().zip(1..).map(|(expression, number)| {
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
        methods: &raw const methods.0,
        ..Default::default()
    };
    scan.scan.plan.type_ = pg_sys::NodeTag::T_CustomScan;
    scan.scan.plan.targetlist = columns;
    root.allocate(scan).as_ptr().cast()
}

/// An empty state, in the current memory context.
pub fn create_state<Execution>(methods: &'static Methods<pg_sys::CustomExecMethods>) -> *mut pg_sys::Node {
    // SAFETY: palloc0 gives an empty node.
    unsafe {
        let state = pg_sys::palloc0(size_of::<State<Execution>>()).cast::<State<Execution>>();
        (*state).custom.ss.ps.type_ = pg_sys::NodeTag::T_CustomScanState;
        (*state).custom.methods = &raw const methods.0;
        state.cast()
    }
}

/// Gives a node its execution, which lives as long as the query's memory context.
///
/// # Safety
/// `node` is a state that [`create_state`] made for this type, and `executor` begins to execute it.
pub unsafe fn begin<Execution>(
    node: *mut pg_sys::CustomScanState,
    executor: *mut pg_sys::EState,
    execution: Execution,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let execution = PgMemoryContexts::For((*executor).es_query_cxt).leak_and_drop_on_delete(execution);
        (*node.cast::<State<Execution>>()).execution = execution;
    }
}

/// # Safety
/// `node` has been given an execution of this type; nobody else uses it as long as the reference lives.
pub unsafe fn execution_of<'a, Execution>(node: *mut pg_sys::CustomScanState) -> &'a mut Execution {
    // SAFETY: by the caller's promise.
    unsafe { &mut *(*node.cast::<State<Execution>>()).execution }
}

/// Initializes a child of a node, which has not been initialized.
///
/// # Safety
/// The execution of `node` begins, or has begun, with these flags, and its plan has the child.
pub unsafe fn initialize_child(
    node: *mut pg_sys::CustomScanState,
    child: usize,
    flags: c_int,
) -> *mut pg_sys::PlanState {
    // SAFETY: by the caller's promise.
    unsafe {
        let plan = NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast());
        let child = plan.custom_plans().get(child).expect("a child of the plan");
        let executor = (*node).ss.ps.state;
        PgMemoryContexts::For((*executor).es_query_cxt).switch_to(|_| {
            let state = pg_sys::ExecInitNode(child.as_ptr(), executor, flags);
            (*node).custom_ps = pg_sys::lappend((*node).custom_ps, state.cast());
            state
        })
    }
}

/// A memory context for one search after the other, which lives as long as the query's.
///
/// # Safety
/// An execution begins.
pub unsafe fn search_context(executor: *mut pg_sys::EState, name: &'static CStr) -> pg_sys::MemoryContext {
    // SAFETY: by the caller's promise.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            (*executor).es_query_cxt,
            name.as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// Gives a child's row to who asked the node for one, as the plan projects it; an empty slot where there is
/// none. The values stay those of the row, which is valid until the next one is asked for.
///
/// # Safety
/// The execution of `node` has begun, and the row is one of its children.
pub unsafe fn give(node: *mut pg_sys::CustomScanState, row: Option<Row>) -> *mut pg_sys::TupleTableSlot {
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

/// The children that have been initialized.
///
/// # Safety
/// The execution of `node` has begun.
unsafe fn children_of<'p>(node: *mut pg_sys::CustomScanState) -> List<'p, pg_sys::PlanState> {
    // SAFETY: whoever initializes a child puts it there.
    unsafe { List::new((*node).custom_ps) }
}

/// Ends the children.
///
/// # Safety
/// The execution of `node` ends.
pub unsafe fn end_children(node: *mut pg_sys::CustomScanState) {
    // SAFETY: by the caller's promise.
    for child in unsafe { children_of(node) }.iter() {
        // SAFETY: ends what was initialized, once.
        unsafe { pg_sys::ExecEndNode(child.as_ptr()) };
    }
}

/// Lets the children begin anew.
///
/// # Safety
/// The execution of `node` begins anew, and nobody uses what its children are at.
pub unsafe fn rescan_children(node: *mut pg_sys::CustomScanState) {
    // SAFETY: by the caller's promise.
    let (children, changed) = unsafe { (children_of(node), (*node).ss.ps.chgParam) };
    for child in children.iter() {
        // SAFETY: the child was initialized. With changed parameters it is rescanned when it is first asked
        // for a row.
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
