//! The callbacks of a custom scan that one process executes.

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

use pgrx::{pg_guard, pg_sys};

use super::child::Row;
use super::{Methods, custom};
use crate::error_context::enter;
use crate::nodes::NodeRef;

/// What a custom scan does while it is executed.
pub trait Execution: Sized + 'static {
    /// The scan's name, as EXPLAIN shows it.
    const NAME: &'static CStr;

    /// Called when the execution of a node begins.
    ///
    /// # Safety
    /// The execution of `node` by `executor` begins with these flags; it lives as long as what is returned is
    /// used.
    unsafe fn begin(node: *mut pg_sys::CustomScanState, executor: *mut pg_sys::EState, flags: c_int) -> Self;

    /// The next row, in a slot with the columns of the node's children; null or empty where there is none.
    fn next(&mut self) -> *mut pg_sys::TupleTableSlot;

    /// Begins anew with the next row; the children are rescanned afterwards.
    fn restart(&mut self);

    /// Ends; the children end afterwards.
    fn end(&mut self);

    /// Shows what EXPLAIN is to show.
    fn explain(&self, state: NodeRef<pg_sys::ExplainState>);
}

/// The callbacks of planned scans with this execution.
pub const fn scan_methods<E: Execution>() -> Methods<pg_sys::CustomScanMethods> {
    Methods(pg_sys::CustomScanMethods {
        CustomName: E::NAME.as_ptr(),
        CreateCustomScanState: Some(create_state::<E>),
    })
}

/// The callbacks of scans that are executed.
struct OfExecution<E>(PhantomData<E>);

impl<E: Execution> OfExecution<E> {
    const METHODS: &'static Methods<pg_sys::CustomExecMethods> = &Methods(pg_sys::CustomExecMethods {
        CustomName: E::NAME.as_ptr(),
        BeginCustomScan: Some(begin::<E>),
        ExecCustomScan: Some(execute::<E>),
        EndCustomScan: Some(end::<E>),
        ReScanCustomScan: Some(rescan::<E>),
        ExplainCustomScan: Some(explain::<E>),
        // SAFETY: the other callbacks may be null.
        ..unsafe { std::mem::zeroed() }
    });
}

/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_state<E: Execution>(_scan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    enter!();
    custom::create_state::<E>(OfExecution::<E>::METHODS)
}

/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn begin<E: Execution>(
    node: *mut pg_sys::CustomScanState,
    executor: *mut pg_sys::EState,
    flags: c_int,
) {
    enter!();
    // SAFETY: Postgres gives the state of a node of this kind, and the executor's state. Both live as long as
    // the query's memory context, and so does what is made here.
    unsafe {
        let execution = E::begin(node, executor, flags);
        custom::begin(node, executor, execution);
    }
}

/// The next row.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn execute<E: Execution>(
    node: *mut pg_sys::CustomScanState,
) -> *mut pg_sys::TupleTableSlot {
    enter!();
    // SAFETY: after `begin`.
    let row = unsafe { Row::of_slot(custom::execution_of::<E>(node).next()) };
    // SAFETY: as above.
    unsafe { custom::give(node, row) }
}

/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn end<E: Execution>(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe {
        custom::execution_of::<E>(node).end();
        custom::end_children(node);
    }
}

/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn rescan<E: Execution>(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe {
        custom::execution_of::<E>(node).restart();
        custom::rescan_children(node);
    }
}

/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn explain<E: Execution>(
    node: *mut pg_sys::CustomScanState,
    _ancestors: *mut pg_sys::List,
    state: *mut pg_sys::ExplainState,
) {
    enter!();
    // SAFETY: after `begin`; Postgres gives EXPLAIN's state.
    unsafe { custom::execution_of::<E>(node).explain(NodeRef::new(state)) }
}
