//! Whether the nearest rows of a table may be found by a search that tests the query's conditions itself, and
//! the scans that are offered then.

use pgrx::pg_sys;

use super::{coded, walk};
use crate::am::order;
use crate::guc::{self, IterativeScan};
use crate::nodes::{List, NodeRef};

/// Offers scans for a table whose rows are wanted in the order of a distance.
pub fn offer(
    root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    entry: NodeRef<pg_sys::RangeTblEntry>,
) {
    let Some(key) = root.query_pathkeys().first() else { return };
    // Most orders are those of columns.
    let order = order_of(root, relation, key);
    let Some(order) = order.filter(|order| order.downcast::<pg_sys::OpExpr>().is_some()) else { return };
    let keys: List<pg_sys::PathKey> = [Some(key)].into_iter().collect();
    if !may_search(root, relation) || !may_test(relation, entry) || !order::is_of_answer(root, relation, keys)
    {
        return;
    }
    let ranked = coded::path::scan(root, relation, key, order);
    let is_whole = relation.reloptkind == pg_sys::RelOptKind::RELOPT_BASEREL;
    if is_whole && may_walk() {
        walk::path::offer(root, relation, key, order, ranked);
    }
    if let Some(ranked) = ranked {
        let ranked = root.allocate(*ranked.downcast::<pg_sys::CustomPath>().expect("a custom scan"));
        // SAFETY: all belong to one planner. The path may be freed; the walk has one of its own.
        unsafe { pg_sys::add_path(relation.as_ptr(), ranked.upcast().as_ptr()) };
    }
}

/// Whether the query may be served by a search for a relation, as far as that depends on the query.
pub fn may_search(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    // A row that was changed meanwhile would have to be looked at again by itself, which Postgres's own scans
    // can do.
    // SAFETY: a setting that Postgres defines.
    let is_enabled = unsafe { pg_sys::enable_indexscan };
    is_enabled
        && root.parse().commandType == pg_sys::CmdType::CMD_SELECT
        && root.rowMarks.is_null()
        && relation.lateral_relids.is_null()
}

/// Whether a table has indexes, and conditions that can be tested within a search.
pub fn may_test(relation: NodeRef<pg_sys::RelOptInfo>, entry: NodeRef<pg_sys::RangeTblEntry>) -> bool {
    entry.tablesample.is_null() && !relation.indexlist().is_empty() && !has_special_condition(relation)
}

/// The expression of a relation by which a path key orders.
pub fn order_of<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    key: NodeRef<'p, pg_sys::PathKey>,
) -> Option<NodeRef<'p, pg_sys::Node>> {
    if relation.reloptkind == pg_sys::RelOptKind::RELOPT_OTHER_MEMBER_REL {
        // SAFETY: a part of a relation has a place in the planner's array, as its parent has one among the
        // relations.
        let (child, parent) = unsafe {
            let child = *root.append_rel_array.add(relation.relid as usize);
            (child, NodeRef::or_null(*root.simple_rel_array.add((*child).parent_relid as usize))?)
        };
        return Some(of_child(root, order_of(root, parent, key)?, child));
    }
    let is_of_relation = |member: &NodeRef<'p, pg_sys::EquivalenceMember>| {
        // SAFETY: compares sets of relations.
        !member.em_is_child && unsafe { pg_sys::bms_equal(member.em_relids, relation.relids) }
    };
    let member = key.pk_eclass().ec_members().iter().find(is_of_relation)?;
    Some(member.em_expr().as_node())
}

/// An expression of a relation, as one of its parts has it.
pub fn of_child<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    expression: NodeRef<pg_sys::Node>,
    mut child: *mut pg_sys::AppendRelInfo,
) -> NodeRef<'p, pg_sys::Node> {
    // SAFETY: an expression of the parent; the child is one of its.
    unsafe {
        let (planner, expression) = (root.as_ptr(), expression.as_ptr());
        NodeRef::new(pg_sys::adjust_appendrel_attrs(planner, expression, 1, &mut child))
    }
}

/// Whether the setting of a session lets searches test the conditions of a query.
pub fn may_walk() -> bool {
    guc::nearest_scan() && guc::iterative_scan() != IterativeScan::Off
}

/// Conditions that do not always say the same of a row must be asked as often as the rows are read by others.
/// Those that say the same of all rows put a plan node of their own above the index's scan.
fn has_special_condition(relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    // SAFETY: looks at expressions of the planner's.
    let is_volatile = |condition: NodeRef<pg_sys::RestrictInfo>| unsafe {
        pg_sys::contain_volatile_functions(condition.clause().as_node().as_ptr())
    };
    relation.baserestrictinfo().iter().any(|condition| condition.pseudoconstant || is_volatile(condition))
}
