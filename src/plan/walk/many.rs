//! The planner's side for many tables: partitions, inheritance children and the branches of UNION ALL.

use pgrx::pg_sys;

use super::path::{self, Exact, Ordered, Search};
use crate::am::cost::{self, Beside};
use crate::am::{order, presence};
use crate::guc;
use crate::nodes::{List, NodeRef};
use crate::plan::goal;
use crate::plan::order::rests_on_scan;
use crate::plan::path::{add, may_prune_when_run};
use crate::plan::table;

/// Offers the scan among the paths of a relation of many tables.
pub fn offer(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) {
    // Where nothing is joined, Postgres makes the paths of a partitioned table anew: there it is offered
    // later.
    if is_partitioned(relation) && is_alone(root, relation) {
        return;
    }
    let Some(scan) = scan(root, relation) else { return };
    // SAFETY: the planner lets hooks change the paths.
    unsafe { (*relation.as_ptr()).pathlist = others(root, relation) };
    // SAFETY: all belong to one planner. Nobody uses the dearer paths that the relation forgets.
    unsafe { pg_sys::add_path(relation.as_ptr(), scan.as_ptr()) };
}

/// Offers the scan where a query's rows, those of a partitioned table, are put in order: `output` is that of
/// UPPERREL_ORDERED. False where it is not for this query.
pub fn offer_ordered(
    root: NodeRef<pg_sys::PlannerInfo>,
    input: NodeRef<pg_sys::RelOptInfo>,
    output: NodeRef<pg_sys::RelOptInfo>,
) -> bool {
    if !is_partitioned(input) || !is_alone(root, input) || root.parse().hasTargetSRFs {
        return false;
    }
    let Some(mut scan) = scan(root, input) else { return false };
    let keys = root.sort_pathkeys();
    if keys.len() > 1 {
        // SAFETY: rows that are in the order of the first key.
        scan = unsafe {
            let (planner, relation, limit) = (root.as_ptr(), output.as_ptr(), root.limit_tuples);
            let sorted = pg_sys::create_incremental_sort_path(
                planner,
                relation,
                scan.as_ptr(),
                keys.as_ptr(),
                1,
                limit,
            );
            NodeRef::new(sorted.cast())
        };
    }
    // SAFETY: the planner lets hooks change the paths.
    unsafe { (*output.as_ptr()).pathlist = others(root, output) };
    add(root, output, scan);
    true
}

/// The paths of a relation that do not rest on the order of indexes, whose rows would be tested after their
/// search.
fn others(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) -> *mut pg_sys::List {
    let others = relation.pathlist().iter().filter(|path| !rests_on_scan(root, *path));
    others.map(Some).collect::<List<_>>().as_ptr()
}

/// The scan for a relation of many tables; `None` where it is not possible, or not better than a federated
/// one.
fn scan<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
) -> Option<NodeRef<'p, pg_sys::Path>> {
    let key = root.query_pathkeys().first()?;
    let keys: List<pg_sys::PathKey> = [Some(key)].into_iter().collect();
    let is_possible = guc::federated_scan()
        && table::may_walk()
        && table::may_search(root, relation)
        && relation.reloptkind == pg_sys::RelOptKind::RELOPT_BASEREL
        && order::is_of_answer(root, relation, keys)
        && !may_prune_when_run(root, relation);
    if !is_possible {
        return None;
    }
    let mut indexes = Vec::new();
    collect(root, relation, table::order_of(root, relation, key)?, key, &mut indexes)?;
    let first = *indexes.first()?;
    if !indexes.iter().all(|other| is_alike(&first, other)) || is_for_federation(root, relation, &indexes) {
        return None;
    }
    let bound = first.bound.filter(|bound| {
        // SAFETY: compares expressions.
        let is_same = |value: NodeRef<pg_sys::Node>| unsafe {
            pg_sys::equal(value.as_ptr().cast(), bound.value.as_ptr().cast())
        };
        let numbers = (bound.of.scale, bound.of.offset);
        let bounds = indexes.iter().map(|ordered| ordered.bound);
        let mut bounds = bounds.map(|other| {
            other.is_some_and(|other| (other.of.scale, other.of.offset) == numbers && is_same(other.value))
        });
        bounds.all(|is_equal| is_equal)
    });
    let tables: Vec<_> = indexes.iter().map(|ordered| path::unordered(root, ordered.index.rel())).collect();
    let is_sequential = tables.iter().all(|table| Beside::of(*table) == Beside::Sequential);
    let beside = if is_sequential { Beside::Sequential } else { Beside::Index };
    let tables = tables.into_iter().map(Some).collect::<List<_>>().as_ptr();
    // SAFETY: paths of all tables of the relation.
    let append = unsafe {
        let (planner, relation, none) = (root.as_ptr(), relation.as_ptr(), std::ptr::null_mut());
        let (outer, keys) = (std::ptr::null_mut(), std::ptr::null_mut());
        let append = pg_sys::create_append_path(planner, relation, tables, none, keys, outer, 0, false, -1.0);
        NodeRef::new(append.cast())
    };
    let exact = Exact { path: path::sorted(root, relation, append, keys), beside };
    Some(Search { indexes, bound, target: None }.path(root, relation, keys, exact).upcast())
}

/// Finds an index for each table of a relation that is left, where `expression` gives the order; `None` where
/// one has none, or must be scanned otherwise.
fn collect<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    expression: NodeRef<'p, pg_sys::Node>,
    key: NodeRef<'p, pg_sys::PathKey>,
    indexes: &mut Vec<Ordered<'p>>,
) -> Option<()> {
    let is_child = |child: &NodeRef<pg_sys::AppendRelInfo>| child.parent_relid == relation.relid;
    for child in root.append_rel_list().iter().filter(is_child) {
        let number = child.child_relid as usize;
        // SAFETY: a relation that is left has a place in the planner's arrays; the others are null.
        let (part, entry) = unsafe {
            let part = NodeRef::or_null(*root.simple_rel_array.add(number));
            (part, NodeRef::new(*root.simple_rte_array.add(number)))
        };
        let Some(part) = part.filter(|part| !is_empty(*part)) else { continue };
        let expression = table::of_child(root, expression, child.as_ptr());
        if entry.inh {
            collect(root, part, expression, key, indexes)?;
            continue;
        }
        if entry.rtekind != pg_sys::RTEKind::RTE_RELATION || !table::may_test(part, entry) {
            return None;
        }
        let own = part.indexlist().iter().filter(|index| cost::is_index(*index));
        let mut own = own.filter_map(|index| Ordered::find(root, index, key, expression));
        indexes.push(own.next()?);
    }
    Some(())
}

/// Whether the rows of two indexes can be ranked together: by distances of one kind, and orders that follow
/// them in one way.
fn is_alike(one: &Ordered, other: &Ordered) -> bool {
    (one.order.scale, one.order.offset) == (other.order.scale, other.order.offset)
        && (one.index == other.index || presence::metric(one.index) == presence::metric(other.index))
}

/// Whether a federated scan does as well, which may have workers: all rows pass, and few are wanted.
fn is_for_federation(
    root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    indexes: &[Ordered],
) -> bool {
    let has_conditions = |ordered: &Ordered| !ordered.index.rel().baserestrictinfo().is_empty();
    let most = guc::ef_search() as f64 / 2.0;
    indexes.len() > 1
        && !indexes.iter().any(has_conditions)
        && (indexes[0].order.scale, indexes[0].order.offset) == (1.0, 0.0)
        && root.sort_pathkeys().len() == 1
        && goal::limit(root, relation).is_some()
        && root.limit_tuples > 0.0
        && root.limit_tuples <= most
}

/// Whether the relation is all that a query reads.
fn is_alone(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    // SAFETY: compares sets of relations.
    unsafe { pg_sys::bms_equal(root.all_baserels, relation.relids) }
}

/// Whether a relation is a partitioned table, as Postgres's macro IS_PARTITIONED_REL says.
fn is_partitioned(relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    !relation.part_scheme.is_null()
        && !relation.boundinfo.is_null()
        && relation.nparts > 0
        && !relation.part_rels.is_null()
}

/// Whether a relation is known to have no row, as Postgres's macro IS_DUMMY_REL says.
fn is_empty(relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    let first = relation.pathlist().first().map(crate::plan::path::without_projection);
    first.is_some_and(|path| {
        path.downcast::<pg_sys::AppendPath>().is_some_and(|append| append.subpaths().is_empty())
    })
}
