//! What rows of the scan consist of.

use pgrx::pg_sys;

use crate::nodes::{self, NodeRef};
use crate::plan::goal;

/// The columns of a relation that a query needs besides for its order, and what it is ordered by; `None`
/// where others may be needed, or none can be left out.
///
/// The exact way sorts rows, of which each is copied: with its vector, a row is many times as long as
/// without.
pub fn narrow<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    order: NodeRef<'p, pg_sys::Node>,
) -> Option<NodeRef<'p, pg_sys::PathTarget>> {
    // Such a query computes what it gives of the rows, and nothing in between.
    if goal::limit(root, relation).is_none() || root.parse().hasWindowFuncs {
        return None;
    }
    let columns = relation.reltarget().exprs();
    let columns = columns.iter().map(|column| column.as_node());
    let columns: Vec<_> = columns.map(|column| column.downcast::<pg_sys::Var>()).collect::<Option<_>>()?;
    // What is computed after a sort by further keys is computed of columns: Postgres asks the scan for those.
    let is_late =
        |entry: NodeRef<pg_sys::TargetEntry>| entry.ressortgroupref == 0 && root.sort_pathkeys().len() > 1;
    let is_needed = |column: &NodeRef<pg_sys::Var>| {
        let column = column.upcast();
        let in_order = occurrences(order, column);
        root.processed_tlist().iter().any(|entry| {
            let given = entry.expr().as_node();
            let orders = if is_late(entry) { 0 } else { occurrences(given, order) };
            occurrences(given, column) > orders * in_order
        })
    };
    let needed: Vec<_> = columns.iter().copied().filter(is_needed).collect();
    if needed.len() == columns.len() {
        return None;
    }
    let given = needed.into_iter().map(NodeRef::upcast).chain([order]);
    // SAFETY: makes a list of copies of the planner's expressions.
    unsafe {
        let target = pg_sys::create_empty_pathtarget();
        given.for_each(|given| pg_sys::add_column_to_pathtarget(target, root.copy(given).as_ptr().cast(), 0));
        Some(NodeRef::new(pg_sys::set_pathtarget_cost_width(root.as_ptr(), target)))
    }
}

/// How often one expression occurs in another.
fn occurrences(expression: NodeRef<pg_sys::Node>, wanted: NodeRef<pg_sys::Node>) -> usize {
    let mut found = 0;
    nodes::any(expression, &mut |node| {
        // SAFETY: compares expressions of the planner's.
        found += usize::from(unsafe { pg_sys::equal(node.as_ptr().cast(), wanted.as_ptr().cast()) });
        false
    });
    found
}
