//! Claims of an order that rests on a scan of a walia_hnsw index, and that a query above could use for more
//! than its ORDER BY.
//!
//! Within a query the access method refuses such scans. A subquery has an ORDER BY of its own, which they
//! serve: what is above it must not know.

use pgrx::pg_sys;

use crate::am::{cost, order};
use crate::nodes::{List, NodeRef, UnaryPath};

/// Takes the claims of a subquery or CTE of the query away. A path that claims less is valid.
///
/// An ORDER BY above is not served either where the subquery has a LIMIT: few rows are to be sorted, and then
/// are one run. Nor above a CTE, as in versions before 17.
pub fn forget(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) {
    for path in relation.pathlist().iter().filter(|path| !path.pathkeys().is_empty()) {
        let keys = path.pathkeys();
        let is_of_answer = if let Some(scan) = path.downcast::<pg_sys::SubqueryScanPath>() {
            !order::has_limit(relation.subroot().parse())
                // A key is left out where a condition makes it a constant: then the next one, which no run
                // follows, is the first.
                && scan.subpath().pathkeys().len() == keys.len()
                && order::is_of_answer(root, relation, keys)
        } else {
            // Else it is that of the branches of a UNION ALL, merged, which belong to this query.
            path.type_ != pg_sys::NodeTag::T_Path
        };
        if !is_of_answer && rests_on_scan(root, path) {
            // SAFETY: the planner has made the path, and lets hooks change it.
            unsafe { (*path.as_ptr()).pathkeys = std::ptr::null_mut() };
        }
    }
}

/// Takes the claims of a branch of UNION, INTERSECT or EXCEPT away, which from version 17 on may be merged
/// with the others; called for the paths of its whole query.
#[cfg(any(feature = "pg17", feature = "pg18"))]
pub fn forget_in_branch(root: NodeRef<pg_sys::PlannerInfo>, output: NodeRef<pg_sys::RelOptInfo>) {
    if root.setop_pathkeys.is_null() {
        return;
    }
    let claim_less = |path: NodeRef<pg_sys::Path>| {
        let (root, output, target) = (root.as_ptr(), output.as_ptr(), path.pathtarget);
        // A plan is made by its path's keys: another path claims less.
        // SAFETY: the path is one of `output`, and the new one nobody else's.
        unsafe {
            let above = pg_sys::create_projection_path(root, output, path.as_ptr(), target);
            (*above).path.pathkeys = std::ptr::null_mut();
            NodeRef::new(above).upcast()
        }
    };
    let paths: List<_> = output
        .pathlist()
        .iter()
        .map(|path| {
            let claims = !path.pathkeys().is_empty() && rests_on_scan(root, path);
            Some(if claims { claim_less(path) } else { path })
        })
        .collect();
    // SAFETY: the planner lets hooks change the paths.
    unsafe { (*output.as_ptr()).pathlist = paths.as_ptr() };
}

/// Whether the order of a path's rows is that of a scan of a walia_hnsw index. The path is complete, and of a
/// query that `root` plans.
pub fn rests_on_scan(root: NodeRef<pg_sys::PlannerInfo>, path: NodeRef<pg_sys::Path>) -> bool {
    let any_of = |paths: List<pg_sys::Path>| paths.iter().any(|path| rests_on_scan(root, path));
    if let Some(scan) = path.downcast::<pg_sys::IndexPath>() {
        !scan.indexorderbys().is_empty() && cost::is_scan(scan)
    } else if let Some(scan) = path.downcast::<pg_sys::CustomPath>() {
        any_of(scan.custom_paths())
    } else if let Some(append) = path.downcast::<pg_sys::AppendPath>() {
        any_of(append.subpaths())
    } else if let Some(append) = path.downcast::<pg_sys::MergeAppendPath>() {
        any_of(append.subpaths())
    } else if let Some(join) = path.downcast::<pg_sys::JoinPath>() {
        rests_on_scan(root, join.outerjoinpath())
    } else if let Some(scan) = path.downcast::<pg_sys::SubqueryScanPath>() {
        rests_on_scan(path.parent().subroot(), scan.subpath())
    } else if let Some(above) = path.downcast::<UnaryPath>() {
        rests_on_scan(root, above.subpath())
    } else {
        // Else it is a sort, what has no order, or groups, which are not formed by that of a scan.
        cte_rests_on_scan(root, path)
    }
}

/// Whether a path is a scan of a CTE, and the order of its rows that of a scan of a walia_hnsw index.
#[cfg(any(feature = "pg17", feature = "pg18"))]
fn cte_rests_on_scan(mut root: NodeRef<pg_sys::PlannerInfo>, path: NodeRef<pg_sys::Path>) -> bool {
    if path.type_ != pg_sys::NodeTag::T_Path || path.pathtype != pg_sys::NodeTag::T_CteScan {
        return false;
    }
    // SAFETY: the query has an entry for each relation that is scanned.
    let entry = unsafe { &**root.simple_rte_array.add(path.parent().relid as usize) };
    for _ in 0..entry.ctelevelsup {
        let Some(parent) = root.parent_root() else { return false };
        root = parent;
    }
    // SAFETY: names of CTEs are C strings.
    let is_named = |cte: NodeRef<pg_sys::CommonTableExpr>| unsafe {
        std::ffi::CStr::from_ptr(cte.ctename) == std::ffi::CStr::from_ptr(entry.ctename)
    };
    let Some(place) = root.parse().cteList().iter().position(is_named) else { return false };
    // The CTE belongs to this query, which planned it before.
    // SAFETY: a list of numbers, as long as that of CTEs.
    let plan = unsafe { pg_sys::list_nth_int(root.cte_plan_ids, place as i32) } as usize - 1;
    let glob = root.glob();
    // SAFETY: a list of paths.
    let paths = unsafe { List::<pg_sys::Path>::new(glob.subpaths) };
    let planned = glob.subroots().get(plan).zip(paths.get(plan));
    planned.is_some_and(|(root, path)| rests_on_scan(root, path))
}

/// CTEs give no order before version 17.
#[cfg(not(any(feature = "pg17", feature = "pg18")))]
fn cte_rests_on_scan(_root: NodeRef<pg_sys::PlannerInfo>, _path: NodeRef<pg_sys::Path>) -> bool {
    false
}
