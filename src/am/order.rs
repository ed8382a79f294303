//! What the order of a scan may serve: two sorted runs are an order to who wants the nearest rows, and to
//! nobody else.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::nodes::{List, NodeRef};

/// Window functions that tell the place of a row in the order of the window.
const RANKS: [u32; 3] = [pg_sys::F_ROW_NUMBER, pg_sys::F_RANK_, pg_sys::F_DENSE_RANK_];

/// Whether an order that `relation` gives, by the path keys of one of its paths, can serve the ORDER BY of
/// its query, and nothing else.
///
/// What groups rows, joins them or looks at all of them takes rows with equal values for neighbours, and none
/// for less than the one before. Two runs may hold equal values each.
pub fn is_of_answer(
    root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    pathkeys: List<pg_sys::PathKey>,
) -> bool {
    let query = root.parse();
    let Some(key) = pathkeys.first() else { return false };
    // The planner has one path key for an order, and made those of the query before. Without an ORDER BY it
    // is the order of a window.
    root.sort_pathkeys().first().map_or(query.hasWindowFuncs, |wanted| key == wanted)
        // Their order comes from a sort, or from their groups.
        && !query.hasAggs
        && query.groupClause.is_null()
        && query.groupingSets.is_null()
        && query.distinctClause.is_null()
        && !is_of_minimum(root)
        && !is_joined(relation, key.pk_eclass())
        && (!query.hasWindowFuncs || windows_only_rank(root, key))
}

/// Whether a path key's order is that of `<`.
pub fn is_ascending(key: NodeRef<pg_sys::PathKey>) -> bool {
    #[cfg(feature = "pg18")]
    return key.pk_cmptype == pg_sys::CompareType::COMPARE_LT;
    #[cfg(not(feature = "pg18"))]
    return key.pk_strategy == pg_sys::BTLessStrategyNumber as i32;
}

/// Whether a query asks for so many rows at most.
pub fn has_limit(query: NodeRef<pg_sys::Query>) -> bool {
    // LIMIT ALL is a null.
    let is_null = |count: NodeRef<pg_sys::Node>| {
        count.downcast::<pg_sys::Const>().is_some_and(|count| count.constisnull)
    };
    query.limitCount().is_some_and(|count| !is_null(count))
}

/// Whether the query is the one, made by Postgres, for the first row in the order of the argument of min() or
/// max().
fn is_of_minimum(root: NodeRef<pg_sys::PlannerInfo>) -> bool {
    let Some(parent) = root.parent_root() else { return false };
    let targets = root.parse().targetList();
    // SAFETY: a target's name is null or a C string, which lives as long as the query.
    let is_named = |target: NodeRef<pg_sys::TargetEntry>| unsafe {
        !target.resname.is_null() && CStr::from_ptr(target.resname) == c"agg_target"
    };
    parent.parse().hasAggs && targets.len() == 1 && targets.first().is_some_and(is_named)
}

/// Whether rows may be joined by equal values of an order.
fn is_joined(relation: NodeRef<pg_sys::RelOptInfo>, class: NodeRef<pg_sys::EquivalenceClass>) -> bool {
    let is_of_clause = |mut side: Option<NodeRef<pg_sys::EquivalenceClass>>| {
        while let Some(merged) = side.and_then(NodeRef::<pg_sys::EquivalenceClass>::ec_merged) {
            side = Some(merged);
        }
        side == Some(class)
    };
    // Conditions of outer joins make no equivalence, but have the classes of both sides.
    class.ec_members().iter().filter(|member| !member.em_is_child).count() > 1
        || relation
            .joininfo()
            .iter()
            .any(|clause| is_of_clause(clause.left_ec()) || is_of_clause(clause.right_ec()))
}

/// Whether all that windows do with an order, that of the query's ORDER BY, is to number the nearest rows, as
/// they are given.
fn windows_only_rank(root: NodeRef<pg_sys::PlannerInfo>, key: NodeRef<pg_sys::PathKey>) -> bool {
    let uses = windows(root, key);
    uses.iter().all(|window| *window == Window::Other)
        || has_limit(root.parse()) && uses.iter().all(|window| *window != Window::Uses)
}

/// Whether all windows of a query number its rows in an order.
pub fn every_window_ranks(root: NodeRef<pg_sys::PlannerInfo>, key: NodeRef<pg_sys::PathKey>) -> bool {
    windows(root, key).iter().all(|window| *window == Window::Ranks)
}

/// What a window has to do with an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    /// Nothing.
    Other,
    /// It tells the places of rows in it.
    Ranks,
    Uses,
}

/// What each window of a query has to do with an order.
fn windows(root: NodeRef<pg_sys::PlannerInfo>, key: NodeRef<pg_sys::PathKey>) -> Vec<Window> {
    let (query, targets) = (root.parse(), root.processed_tlist().as_ptr());
    let windows = query.windowClause();
    // SAFETY: looks for functions in the targets of the query, whose windows are numbered from 1.
    let functions =
        unsafe { &*pg_sys::find_window_functions(targets.cast(), windows.len() as pg_sys::Index) };
    let keys_of = |clauses: List<pg_sys::SortGroupClause>| {
        // SAFETY: the clauses are of the query, and name its targets.
        unsafe {
            let keys = pg_sys::make_pathkeys_for_sortclauses(root.as_ptr(), clauses.as_ptr(), targets);
            List::<pg_sys::PathKey>::new(keys)
        }
    };
    let kind = |window: NodeRef<pg_sys::WindowClause>| {
        let (partition, order) = (keys_of(window.partitionClause()), keys_of(window.orderClause()));
        let is_used = partition.iter().chain(order.iter()).any(|used| used.pk_eclass() == key.pk_eclass());
        // SAFETY: there is a list of functions for each window, by its number.
        let of_window =
            unsafe { List::<pg_sys::WindowFunc>::new(*functions.windowFuncs.add(window.winref as usize)) };
        let are_ranks = || of_window.iter().all(|function| RANKS.contains(&function.winfnoid.to_u32()));
        let is_order_of_answer = partition.is_empty() && order.len() == 1 && order.first() == Some(key);
        match is_used {
            false => Window::Other,
            true if is_order_of_answer && are_ranks() => Window::Ranks,
            true => Window::Uses,
        }
    };
    windows.iter().map(kind).collect()
}
