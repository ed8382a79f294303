//! What the order of a scan may serve: two sorted runs are an order to who wants the nearest rows, and to nobody else.

use std::ffi::CStr;
use std::ptr;

use pgrx::{PgList, pg_sys};

/// Window functions that tell the place of a row in the order of the window.
const RANKS: [u32; 3] = [pg_sys::F_ROW_NUMBER, pg_sys::F_RANK_, pg_sys::F_DENSE_RANK_];

/// Whether an order that `relation` gives can serve the ORDER BY of its query, and nothing else.
///
/// What groups rows, joins them or looks at all of them takes rows with equal values for neighbours, and none for less than the one
/// before. Two runs may hold equal values each.
///
/// # Safety
/// `relation` is one of the planner's, whose paths are being made, and `pathkeys` are those of a path of it.
pub unsafe fn is_of_answer(
    root: *mut pg_sys::PlannerInfo,
    relation: &pg_sys::RelOptInfo,
    pathkeys: *mut pg_sys::List,
) -> bool {
    // SAFETY: by the caller's promise. The planner has one path key for an order, and made those of the query before.
    unsafe {
        let query = &*(*root).parse;
        let keys =
            [pathkeys, (*root).sort_pathkeys].map(|keys| PgList::<pg_sys::PathKey>::from_pg(keys).head());
        let [Some(key), Some(wanted)] = keys else { return false };
        ptr::eq(key, wanted)
            // Their order comes from a sort, or from their groups.
            && !query.hasAggs
            && query.groupClause.is_null()
            && query.groupingSets.is_null()
            && query.distinctClause.is_null()
            && !is_of_minimum(root)
            && !is_joined(relation, (*key).pk_eclass)
            && (!query.hasWindowFuncs || windows_only_rank(root, key))
    }
}

/// Whether a query asks for so many rows at most.
///
/// # Safety
/// The query is planned.
pub unsafe fn has_limit(query: &pg_sys::Query) -> bool {
    let count = query.limitCount;
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe {
        // LIMIT ALL is a null.
        let is_null = |count: *mut pg_sys::Node| {
            (*count).type_ == pg_sys::NodeTag::T_Const && (*count.cast::<pg_sys::Const>()).constisnull
        };
        !count.is_null() && !is_null(count)
    }
}

/// Whether the query is the one, made by Postgres, for the first row in the order of the argument of min() or max().
///
/// # Safety
/// As for [`is_of_answer`].
unsafe fn is_of_minimum(root: *mut pg_sys::PlannerInfo) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let Some(parent) = (*root).parent_root.as_ref() else { return false };
        let targets = PgList::<pg_sys::TargetEntry>::from_pg((*(*root).parse).targetList);
        (*parent.parse).hasAggs
            && targets.len() == 1
            && targets.head().is_some_and(|target| {
                !(*target).resname.is_null() && CStr::from_ptr((*target).resname) == c"agg_target"
            })
    }
}

/// Whether rows may be joined by equal values of an order.
///
/// # Safety
/// As for [`is_of_answer`].
unsafe fn is_joined(relation: &pg_sys::RelOptInfo, class: *mut pg_sys::EquivalenceClass) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let members = PgList::<pg_sys::EquivalenceMember>::from_pg((*class).ec_members);
        let clauses = PgList::<pg_sys::RestrictInfo>::from_pg(relation.joininfo);
        let is_of_clause = |mut side: *mut pg_sys::EquivalenceClass| {
            while !side.is_null() && !(*side).ec_merged.is_null() {
                side = (*side).ec_merged;
            }
            side == class
        };
        // Conditions of outer joins make no equivalence, but have the classes of both sides.
        members.iter_ptr().filter(|member| !(**member).em_is_child).count() > 1
            || clauses
                .iter_ptr()
                .any(|clause| is_of_clause((*clause).left_ec) || is_of_clause((*clause).right_ec))
    }
}

/// Whether all that windows do with an order is to number the nearest rows, as they are given.
///
/// # Safety
/// As for [`is_of_answer`]; `key` is that of the query's ORDER BY.
unsafe fn windows_only_rank(root: *mut pg_sys::PlannerInfo, key: *mut pg_sys::PathKey) -> bool {
    // SAFETY: by the caller's promise; the lists of window functions are as many as there are windows, and one.
    unsafe {
        let (query, targets) = (&*(*root).parse, (*root).processed_tlist);
        let windows = PgList::<pg_sys::WindowClause>::from_pg(query.windowClause);
        let functions = &*pg_sys::find_window_functions(targets.cast(), windows.len() as pg_sys::Index);
        let keys_of = |clauses| {
            let keys = pg_sys::make_pathkeys_for_sortclauses(root, clauses, targets);
            PgList::<pg_sys::PathKey>::from_pg(keys)
        };
        windows.iter_ptr().all(|window| {
            let (partition, order) = (keys_of((*window).partitionClause), keys_of((*window).orderClause));
            let is_used = [&partition, &order]
                .iter()
                .any(|keys| keys.iter_ptr().any(|used| (*used).pk_eclass == (*key).pk_eclass));
            let of_window = *functions.windowFuncs.add((*window).winref as usize);
            let are_ranks = || {
                PgList::<pg_sys::WindowFunc>::from_pg(of_window)
                    .iter_ptr()
                    .all(|function| RANKS.contains(&(*function).winfnoid.to_u32()))
            };
            let is_order_of_answer = partition.is_empty() && order.len() == 1 && order.head() == Some(key);
            !is_used || (is_order_of_answer && has_limit(query) && are_ranks())
        })
    }
}
