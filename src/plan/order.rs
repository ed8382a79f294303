//! Claims of an order that rests on a scan of a walia_hnsw index, and that a query above could use for more than its ORDER BY.
//!
//! Within a query the access method refuses such scans. A subquery has an ORDER BY of its own, which they serve: what is above it
//! must not know.

use pgrx::{PgList, pg_sys};

use crate::am::{cost, order};

/// Takes the claims of a subquery or CTE of the query away. A path that claims less is valid.
///
/// An ORDER BY above is not served either where the subquery has a LIMIT: few rows are to be sorted, and then are one run. Nor above a CTE,
/// as in versions before 17.
///
/// # Safety
/// The arguments are those of the planner's hook for the paths of a relation.
pub unsafe fn forget(root: *mut pg_sys::PlannerInfo, relation: *mut pg_sys::RelOptInfo) {
    // SAFETY: by the caller's promise; a subquery that is scanned has a planner's state.
    unsafe {
        let relation = &*relation;
        let paths = PgList::<pg_sys::Path>::from_pg(relation.pathlist);
        for path in paths.iter_ptr().filter(|path| !(**path).pathkeys.is_null()) {
            let keys = (*path).pathkeys;
            let is_of_answer = match (*path).type_ {
                pg_sys::NodeTag::T_SubqueryScanPath => {
                    !order::has_limit(&*(*relation.subroot).parse)
                        // A key is left out where a condition makes it a constant: then the next one, which no run follows, is the first.
                        && pg_sys::list_length((*subpath(path)).pathkeys) == pg_sys::list_length(keys)
                        && order::is_of_answer(root, relation, keys)
                }
                pg_sys::NodeTag::T_Path => false,
                // The branches of a UNION ALL, merged, which belong to this query.
                _ => true,
            };
            if !is_of_answer && rests_on_scan(root, path) {
                (*path).pathkeys = std::ptr::null_mut();
            }
        }
    }
}

/// Takes the claims of a branch of UNION, INTERSECT or EXCEPT away, which from version 17 on may be merged with the others.
///
/// # Safety
/// The arguments are those of the planner's hook at UPPERREL_FINAL.
#[cfg(any(feature = "pg17", feature = "pg18"))]
pub unsafe fn forget_in_branch(root: *mut pg_sys::PlannerInfo, output: *mut pg_sys::RelOptInfo) {
    // SAFETY: by the caller's promise.
    unsafe {
        if (*root).setop_pathkeys.is_null() {
            return;
        }
        let mut paths = PgList::<pg_sys::Path>::new();
        for path in PgList::<pg_sys::Path>::from_pg((*output).pathlist).iter_ptr() {
            paths.push(if !(*path).pathkeys.is_null() && rests_on_scan(root, path) {
                // A plan is made by its path's keys: another path claims less.
                let above = pg_sys::create_projection_path(root, output, path, (*path).pathtarget);
                (*above).path.pathkeys = std::ptr::null_mut();
                above.cast()
            } else {
                path
            });
        }
        (*output).pathlist = paths.into_pg();
    }
}

/// Whether the order of a path's rows is that of a scan of a walia_hnsw index.
///
/// # Safety
/// `path` is one of a query that `root` plans, and is complete.
unsafe fn rests_on_scan(root: *mut pg_sys::PlannerInfo, path: *mut pg_sys::Path) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe {
        let any_of =
            |paths| PgList::<pg_sys::Path>::from_pg(paths).iter_ptr().any(|path| rests_on_scan(root, path));
        match (*path).type_ {
            T_IndexPath => {
                let scan = &*path.cast::<pg_sys::IndexPath>();
                !scan.indexorderbys.is_null() && cost::is_scan(scan)
            }
            T_CustomPath => any_of((*path.cast::<pg_sys::CustomPath>()).custom_paths),
            T_AppendPath => any_of((*path.cast::<pg_sys::AppendPath>()).subpaths),
            T_MergeAppendPath => any_of((*path.cast::<pg_sys::MergeAppendPath>()).subpaths),
            T_NestPath | T_MergePath => rests_on_scan(root, (*path.cast::<pg_sys::JoinPath>()).outerjoinpath),
            T_SubqueryScanPath => rests_on_scan((*(*path).parent).subroot, subpath(path)),
            T_IncrementalSortPath
            | T_ProjectionPath
            | T_ProjectSetPath
            | T_MaterialPath
            | T_WindowAggPath
            | T_LockRowsPath
            | T_LimitPath
            | T_GatherMergePath => rests_on_scan(root, subpath(path)),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            T_Path if (*path).pathtype == T_CteScan => cte_rests_on_scan(root, (*path).parent),
            // A sort, what has no order, or groups, which are not formed by that of a scan.
            _ => false,
        }
    }
}

/// The one child of a path.
///
/// # Safety
/// `path` is of a kind with one child.
unsafe fn subpath(path: *mut pg_sys::Path) -> *mut pg_sys::Path {
    // SAFETY: by the caller's promise. All such kinds begin as a projection does: with the path itself, then its child.
    unsafe { (*path.cast::<pg_sys::ProjectionPath>()).subpath }
}

/// Whether the order of a CTE's rows is that of a scan of a walia_hnsw index.
///
/// # Safety
/// `relation` is that of a CTE in a query that `root` plans.
#[cfg(any(feature = "pg17", feature = "pg18"))]
unsafe fn cte_rests_on_scan(mut root: *mut pg_sys::PlannerInfo, relation: *mut pg_sys::RelOptInfo) -> bool {
    // SAFETY: by the caller's promise. The CTE belongs to a query as many levels above as its entry says, which planned it before.
    unsafe {
        let entry = &**(*root).simple_rte_array.add((*relation).relid as usize);
        for _ in 0..entry.ctelevelsup {
            root = (*root).parent_root;
        }
        let name = std::ffi::CStr::from_ptr(entry.ctename);
        let ctes = PgList::<pg_sys::CommonTableExpr>::from_pg((*(*root).parse).cteList);
        let place = ctes.iter_ptr().position(|cte| std::ffi::CStr::from_ptr((*cte).ctename) == name);
        let Some(place) = place else { return false };
        let plan = pg_sys::list_nth_int((*root).cte_plan_ids, place as i32) - 1;
        let glob = &*(*root).glob;
        rests_on_scan(
            pg_sys::list_nth(glob.subroots, plan).cast(),
            pg_sys::list_nth(glob.subpaths, plan).cast(),
        )
    }
}
