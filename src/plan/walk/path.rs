//! The planner's side: where the nearest rows of one table are wanted, and what it costs to find them.

use pgrx::pg_sys;
use walia_core::page::scan::Alternative;

use super::preceding::Preceding;
use super::private::Private;
use super::{NAME, node, target};
use crate::am::cost::{self, Beside};
use crate::am::{order, presence};
use crate::nodes::{List, NodeRef};
use crate::plan::Methods;
use crate::plan::distance::{Bound, Linear};
use crate::plan::goal::{self, Goal, is_known};
use crate::plan::private::Encoded;

static PATH_METHODS: Methods<pg_sys::CustomPathMethods> = Methods(pg_sys::CustomPathMethods {
    CustomName: NAME.as_ptr(),
    PlanCustomPath: Some(node::plan),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// Where ranking all rows that pass is foreseen to cost less than the walk, but some of them may lie around
/// the query, as those of its own category do: a look that costs this part of the ranking at most finds that
/// out, and is thought to spare so much of the ranking.
const DEAREST_LOOK: f64 = 0.1;
const SPARED: f64 = 0.2;

/// What Postgres takes for the share of rows within a bound of which it knows nothing.
const BOUNDED: f64 = 1.0 / 3.0;

/// Offers the scan for a table whose rows are wanted in the order of an indexed distance.
///
/// `ranked` is another scan that gives the rows in this order, if there is one: the walk turns to it where
/// that costs less than to rank all rows that pass.
pub fn offer<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    key: NodeRef<'p, pg_sys::PathKey>,
    order: NodeRef<'p, pg_sys::Node>,
    ranked: Option<NodeRef<'p, pg_sys::Path>>,
) {
    let orders = relation.indexlist().iter().filter(|index| cost::is_index(*index));
    let mut orders = orders.filter_map(|index| Ordered::find(root, index, key, order));
    let Some(ordered) = orders.next() else { return };
    let keys: List<pg_sys::PathKey> = [Some(key)].into_iter().collect();
    let target = target::narrow(root, relation, order);
    let Some(exact) = exact(root, relation, keys, target) else { return };
    let wanted = goal::foreseen(root, relation);
    let first = |path| cost::of_first(path, wanted);
    let ranked = ranked.filter(|ranked| first(*ranked) < first(exact.path));
    let exact = ranked.map_or(exact, |path| Exact { path, beside: Beside::Index });
    let target = target.filter(|_| ranked.is_none());
    let path = Search { bound: ordered.bound, indexes: vec![ordered], target };
    let path = path.path(root, relation, keys, exact);
    // The index alone would give the same rows, and not test them while it walks.
    for other in relation.pathlist().iter().filter(|other| is_ordered_scan(*other)) {
        let paths = relation.pathlist;
        // SAFETY: takes a path out of the list, which the planner lets hooks change, and frees no path.
        unsafe { (*relation.as_ptr()).pathlist = pg_sys::list_delete_ptr(paths, other.as_ptr().cast()) };
    }
    // SAFETY: all belong to one planner. Nobody uses the dearer paths that the relation forgets: the scan has
    // a copy of the one that it is made of.
    unsafe { pg_sys::add_path(relation.as_ptr(), path.upcast().as_ptr()) };
}

/// Whether a path is the order of an index of this access method.
fn is_ordered_scan(path: NodeRef<pg_sys::Path>) -> bool {
    path.downcast::<pg_sys::IndexPath>()
        .is_some_and(|scan| cost::is_scan(scan) && !scan.indexorderbys().is_empty())
}

/// A way to rank all rows that pass.
#[derive(Clone, Copy)]
pub struct Exact<'p> {
    pub path: NodeRef<'p, pg_sys::Path>,
    pub beside: Beside,
}

/// The cheapest way to rank all rows that pass.
fn exact<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    keys: List<pg_sys::PathKey>,
    target: Option<NodeRef<'p, pg_sys::PathTarget>>,
) -> Option<Exact<'p>> {
    let cheapest = unordered(root, relation);
    // The relation may forget the path, and free it.
    let path = match cheapest.type_ {
        pg_sys::NodeTag::T_Path => root.allocate(*cheapest),
        pg_sys::NodeTag::T_BitmapHeapPath => {
            root.allocate(*cheapest.downcast::<pg_sys::BitmapHeapPath>()?).upcast()
        }
        pg_sys::NodeTag::T_IndexPath => root.allocate(*cheapest.downcast::<pg_sys::IndexPath>()?).upcast(),
        _ => return None,
    };
    give(path, target);
    Some(Exact { path: sorted(root, relation, path, keys), beside: Beside::of(path) })
}

/// Has a new path of a relation give these columns, if any are said.
fn give(path: NodeRef<pg_sys::Path>, target: Option<NodeRef<pg_sys::PathTarget>>) {
    if let Some(target) = target {
        // SAFETY: nobody else knows the path.
        unsafe { (*path.as_ptr()).pathtarget = target.as_ptr() };
    }
}

/// The cheapest way to find all rows of a table that pass.
pub fn unordered<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
) -> NodeRef<'p, pg_sys::Path> {
    let candidates = relation.pathlist().iter();
    let candidates = candidates.filter(|path| {
        path.param_info.is_null() && !is_ordered_scan(crate::plan::path::without_projection(*path))
    });
    let cheapest = candidates.min_by(|one, other| one.total_cost.total_cmp(&other.total_cost));
    // SAFETY: a path of the relation. There may be no other: the relation forgets what is dearer than the
    // order.
    let sequential = || unsafe {
        NodeRef::new(pg_sys::create_seqscan_path(root.as_ptr(), relation.as_ptr(), std::ptr::null_mut(), 0))
    };
    cheapest.unwrap_or_else(sequential)
}

/// The rows of a path, sorted.
pub fn sorted<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    path: NodeRef<pg_sys::Path>,
    keys: List<pg_sys::PathKey>,
) -> NodeRef<'p, pg_sys::Path> {
    let limit = if root.limit_tuples > 0.0 { root.limit_tuples } else { -1.0 };
    // SAFETY: a path of the relation, whose rows can be sorted by what the query wants them to be.
    unsafe {
        let sorted =
            pg_sys::create_sort_path(root.as_ptr(), relation.as_ptr(), path.as_ptr(), keys.as_ptr(), limit);
        NodeRef::new(sorted.cast())
    }
}

/// An index whose distance gives an order.
#[derive(Clone, Copy)]
pub struct Ordered<'p> {
    pub index: NodeRef<'p, pg_sys::IndexOptInfo>,
    /// The order that was asked for.
    pub order: Linear<'p>,
    key: NodeRef<'p, pg_sys::PathKey>,
    /// Whether the index's column stands on the right of the operator.
    is_commuted: bool,
    pub bound: Option<Bound<'p>>,
    preceding: Preceding,
}

impl<'p> Ordered<'p> {
    /// Whether the order of a path key, which is that of an expression of the index's table, is the order of
    /// the index's distances.
    pub fn find(
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        index: NodeRef<'p, pg_sys::IndexOptInfo>,
        key: NodeRef<'p, pg_sys::PathKey>,
        expression: NodeRef<'p, pg_sys::Node>,
    ) -> Option<Self> {
        if !(index.predOK || index.indpred.is_null()) || index.hypothetical {
            return None;
        }
        let is_known = |node: NodeRef<pg_sys::Node>| is_known(root, node);
        // SAFETY: looks at expressions of the planner's, and at an index of this access method, which has one
        // column.
        let is_distance = |operator: NodeRef<pg_sys::OpExpr>| unsafe {
            let family = pg_sys::get_op_opfamily_sortfamily(operator.opno, *index.opfamily);
            family == key.pk_opfamily && column_side(operator, index, &is_known).is_some()
        };
        let order = Linear::of(expression, &is_distance)?;
        // SAFETY: compares expressions.
        let is_same = |other: NodeRef<'p, pg_sys::OpExpr>| unsafe {
            pg_sys::equal(other.as_ptr().cast(), order.distance.as_ptr().cast())
        };
        if order::is_ascending(key) != (order.scale > 0.0) {
            return None;
        }
        let side = column_side(order.distance, index, &is_known)?;
        let column = order.distance.args().get(side)?;
        let conditions = index.rel().baserestrictinfo();
        let bounds = conditions.iter().map(|condition| condition.clause().as_node());
        let bounds: Vec<_> =
            bounds.filter_map(|condition| Bound::of(condition, &is_same, &is_known)).collect();
        // NaN is greater than all numbers: a lower bound of a negated distance lets it pass, as no radius
        // does.
        let is_upper = |bound: &&Bound| bound.of.scale > 0.0 || presence::is_never_undefined(index);
        let upper = bounds.iter().find(is_upper).map(|bound| (*bound, Preceding::default()));
        let bounded = upper.or_else(|| Some((*bounds.first()?, Preceding { nulls: false, undefined: true })));
        // The executor looks again.
        let is_free = |preceding: Preceding| {
            preceding == Preceding::default() || !presence::may_hold(index, &preceding.kinds())
        };
        let (bound, preceding) = match bounded.filter(|(_, preceding)| is_free(*preceding)) {
            Some((bound, preceding)) => (Some(bound), preceding),
            None => (None, Preceding::of(root, index.rel(), index, column, key)),
        };
        let found = Self { index, order, key, is_commuted: side == 1, bound, preceding };
        is_free(preceding).then_some(found)
    }

    /// The path of the index, for its plan: the distance's expression, and the conditions.
    fn index_path(&self, root: NodeRef<'p, pg_sys::PlannerInfo>) -> NodeRef<'p, pg_sys::Path> {
        let distance = root.copy(self.order.distance.upcast());
        if self.is_commuted {
            // SAFETY: a copy of the operator's expression, which has a commutator.
            unsafe { pg_sys::CommuteOpExpr(distance.as_ptr().cast()) };
        }
        let keys: List<_> = [Some(ascending(root, self.key))].into_iter().collect();
        let (root, index, none) = (root.as_ptr(), self.index.as_ptr(), std::ptr::null_mut());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: all belong to one planner; the new lists are the path's.
        let path = unsafe {
            let orders = pg_sys::lappend(none, distance.as_ptr().cast());
            let column = pg_sys::lappend_int(none, 0);
            let (outer, keys) = (std::ptr::null_mut(), keys.as_ptr());
            pg_sys::create_index_path(
                root, index, none, orders, column, keys, forward, false, outer, 1.0, false,
            )
        };
        #[cfg(feature = "pg18")]
        // SAFETY: a new path.
        unsafe {
            (*path).path.disabled_nodes = 0;
        }
        // SAFETY: as above.
        unsafe { NodeRef::new(path.cast()) }
    }
}

/// Indexes that are searched as one.
pub struct Search<'p> {
    pub indexes: Vec<Ordered<'p>>,
    /// What bounds the distances of all.
    pub bound: Option<Bound<'p>>,
    /// What rows consist of, as the exact way gives them, where it is not what the relation says.
    pub target: Option<NodeRef<'p, pg_sys::PathTarget>>,
}

impl<'p> Search<'p> {
    /// The scan, beside the exact way.
    pub fn path(
        &self,
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<'p, pg_sys::RelOptInfo>,
        keys: List<'p, pg_sys::PathKey>,
        Exact { path: exact, beside }: Exact<'p>,
    ) -> NodeRef<'p, pg_sys::CustomPath> {
        let rows = relation.rows.max(1.0);
        let wanted = goal::foreseen(root, relation);
        let within = if self.bound.is_some() { BOUNDED } else { 1.0 };
        let indexes: Vec<_> = self.indexes.iter().map(|ordered| ordered.index).collect();
        let tuples: f64 = indexes.iter().map(|index| index.rel().tuples).sum();
        let share = (rows / tuples.max(1.0) / within).clamp(1e-9, 1.0);
        let walk =
            cost::Walk::new(&indexes, wanted, share, indexes[0].rel().baserestrictcost.per_tuple, beside);
        let alternative = Alternative {
            cost: cost::of_first(exact, wanted),
            expansion: walk.expansion,
            test: walk.test,
            share,
        };
        let preceding =
            self.indexes.iter().map(|ordered| ordered.preceding).fold(Preceding::default(), Preceding::or);
        let private = Private { goal: Goal::new(root, relation, self.bound), preceding, alternative };
        let encoded = Encoded { expressions: private.expressions(), data: private.data() };
        let scans = self.indexes.iter().map(|ordered| {
            let scan = ordered.index_path(root);
            give(scan, self.target);
            Some(scan)
        });
        let mut path = pg_sys::CustomPath {
            path: *exact,
            #[cfg(not(feature = "pg14"))]
            flags: pg_sys::CUSTOMPATH_SUPPORT_PROJECTION,
            custom_paths: scans.chain([Some(exact)]).collect::<List<_>>().as_ptr(),
            custom_private: encoded.into_path(),
            methods: &raw const PATH_METHODS.0,
            ..Default::default()
        };
        path.path.type_ = pg_sys::NodeTag::T_CustomPath;
        path.path.pathtype = pg_sys::NodeTag::T_CustomScan;
        path.path.pathkeys = keys.as_ptr();
        // A worker has no value for a parameter of an outer query.
        path.path.parallel_safe = false;
        path.path.rows = rows;
        let ranking = alternative.cost;
        // Who reads on finds no other rows around the query.
        let is_told = goal::told(root, relation).is_some();
        let first = if is_told && walk.first > ranking && walk.look < DEAREST_LOOK * ranking {
            walk.look + (1.0 - SPARED) * ranking
        } else {
            walk.first
        };
        // Rows past those that are wanted cost as much again, each, until a second run gives the rest.
        let past = ((rows - wanted).max(0.0) * walk.further).min(2.0 * exact.total_cost);
        // Postgres takes the costs in between for a straight line, which is to go through those of the rows
        // that are wanted.
        path.path.total_cost = first + past + rows * walk.row;
        path.path.startup_cost = cost::startup(first, path.path.total_cost, wanted / rows);
        #[cfg(feature = "pg18")]
        {
            path.path.disabled_nodes = 0;
        }
        root.allocate(path)
    }
}

/// The order of distances, by which the scan of an index is planned: the query's own may be another.
fn ascending<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    key: NodeRef<'p, pg_sys::PathKey>,
) -> NodeRef<'p, pg_sys::PathKey> {
    if order::is_ascending(key) && !key.pk_nulls_first {
        return key;
    }
    let mut ascending = pg_sys::PathKey { pk_nulls_first: false, ..*key };
    #[cfg(feature = "pg18")]
    {
        ascending.pk_cmptype = pg_sys::CompareType::COMPARE_LT;
    }
    #[cfg(not(feature = "pg18"))]
    {
        ascending.pk_strategy = pg_sys::BTLessStrategyNumber as i32;
    }
    root.allocate(ascending)
}

/// On which side of a distance the column of an index stands: 0 or 1. What is on the other has one value for
/// the whole scan.
fn column_side(
    operator: NodeRef<pg_sys::OpExpr>,
    index: NodeRef<pg_sys::IndexOptInfo>,
    is_known: &dyn Fn(NodeRef<pg_sys::Node>) -> bool,
) -> Option<usize> {
    let sides = [operator.args().get(0)?, operator.args().get(1)?];
    // SAFETY: looks at expressions and an index of the planner's.
    let is_column = |node: NodeRef<pg_sys::Node>| unsafe {
        pg_sys::match_index_to_operand(node.as_ptr(), 0, index.as_ptr())
    };
    (0..2).find(|side| is_column(sides[*side]) && is_known(sides[1 - side]))
}
