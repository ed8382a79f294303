//! The scan as a plan node. Its children are the scans of the
//! indexes, whose rows it reads and tests itself, and at last the exact way.

use pgrx::{pg_guard, pg_sys};

use super::NAME;
use super::execution::Execution;
use crate::error_context::enter;
use crate::nodes::{List, NodeRef};
use crate::plan::custom::{self, Parts};
use crate::plan::{Methods, callbacks};

/// The planned scan's callbacks.
pub static SCAN_METHODS: Methods<pg_sys::CustomScanMethods> = Methods(pg_sys::CustomScanMethods {
    CustomName: NAME.as_ptr(),
    CreateCustomScanState: Some(create_state),
});

static EXEC_METHODS: Methods<pg_sys::CustomExecMethods> = Methods(callbacks::methods::<Execution>(NAME));

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
    // SAFETY: `path` has put two lists of nodes there.
    let list = |place| unsafe { List::new(lists.get(place).map_or(std::ptr::null_mut(), NodeRef::as_ptr)) };
    let exact = path.custom_paths().iter().last().expect("the exact way's path");
    let row = exact.pathtarget().exprs();
    let parts = Parts { columns, row, expressions: list(0), data: list(1) };
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
