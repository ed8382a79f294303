//! The scan as a plan node. Its child is the scan of the btree, whose entries and rows it reads itself.

use pgrx::{pg_guard, pg_sys};

use super::execution::Execution;
use crate::error_context::enter;
use crate::nodes::{List, NodeRef};
use crate::plan::custom::{self, Parts};
use crate::plan::private::Encoded;
use crate::plan::{Methods, callbacks};

/// The planned scan's callbacks.
pub static SCAN_METHODS: Methods<pg_sys::CustomScanMethods> = callbacks::scan_methods::<Execution>();

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
    let Encoded { expressions, data } = Encoded::of_path(path);
    let distance = path.custom_private().get(2).expect("the distance");
    let scan = children.first().and_then(|child| child.downcast::<pg_sys::IndexScan>());
    let scan = scan.expect("a scan of an index");
    // Where Postgres keeps an order by which a scan's rows are measured again: so its columns become those of
    // the scan, which computes it.
    // SAFETY: the plan is new; the list is one of expressions of its table.
    unsafe { (*scan.as_ptr()).indexorderbyorig = distance.as_ptr() };
    let row = path.custom_paths().first().expect("the index's path").pathtarget().exprs();
    let parts = Parts { columns, row, expressions, data };
    custom::plan(root, path, children, parts, &SCAN_METHODS)
}
