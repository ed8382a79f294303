//! The planner's side: where the nearest rows are wanted of a table with a btree that carries codes, and what
//! it costs to find them by it.

use pgrx::pg_sys;
use walia_core::rank::RankOrder;

use super::index::{Coded, Order};
use super::private::Private;
use super::{NAME, node};
use crate::am::{cost, order};
use crate::guc;
use crate::nodes::{List, NodeRef};
use crate::plan::Methods;
use crate::plan::distance::Bound;
use crate::plan::goal::{self, Goal, is_known};
use crate::plan::private::Encoded;

static PATH_METHODS: Methods<pg_sys::CustomPathMethods> = Methods(pg_sys::CustomPathMethods {
    CustomName: NAME.as_ptr(),
    PlanCustomPath: Some(node::plan),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The cheapest scan of a table, which is one that can be searched, by a btree that carries the codes of what
/// an expression orders by.
pub fn scan<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    key: NodeRef<'p, pg_sys::PathKey>,
    expression: NodeRef<'p, pg_sys::Node>,
) -> Option<NodeRef<'p, pg_sys::Path>> {
    if !guc::code_scan() {
        return None;
    }
    let may_carry = |index: &NodeRef<pg_sys::IndexOptInfo>| index.relam == pg_sys::BTREE_AM_OID;
    if !relation.indexlist().iter().any(|index| may_carry(&index)) {
        return None;
    }
    let order = Order::of(root, expression)?;
    if order::is_ascending(key) != (order.linear.scale > 0.0) {
        return None;
    }
    let indexes = relation.indexlist().iter().filter(may_carry);
    let coded = indexes.filter_map(|index| Coded::find(root, index, &order));
    let scans =
        coded.filter_map(|coded| Some(path(root, relation, key, &order, coded, coded.scan(root, relation)?)));
    let wanted = goal::foreseen(root, relation);
    let first = |path: &NodeRef<pg_sys::Path>| cost::of_first(*path, wanted);
    scans.min_by(|one, other| first(one).total_cmp(&first(other)))
}

fn path<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    key: NodeRef<'p, pg_sys::PathKey>,
    order: &Order<'p>,
    coded: Coded<'p>,
    scan: NodeRef<'p, pg_sys::IndexPath>,
) -> NodeRef<'p, pg_sys::Path> {
    // SAFETY: compares expressions.
    let is_same = |other: NodeRef<'p, pg_sys::OpExpr>| unsafe {
        pg_sys::equal(other.as_ptr().cast(), order.linear.distance.as_ptr().cast())
    };
    let conditions = relation.baserestrictinfo().iter().map(|condition| condition.clause().as_node());
    let bound = conditions
        .into_iter()
        .find_map(|condition| Bound::of(condition, &is_same, &|node| is_known(root, node)));
    let private = Private {
        goal: Goal::new(root, relation, bound),
        query: root.copy(order.query),
        order: RankOrder { nulls_first: key.pk_nulls_first, undefined_first: !order::is_ascending(key) },
        column: coded.column,
        bits: coded.bits,
        metric: order.metric,
        element: order.element,
    };
    let encoded = Encoded { expressions: private.expressions(), data: private.data() };
    // What the plan's rows are measured by.
    let distance: List<_> = [Some(root.copy(order.linear.distance.upcast()))].into_iter().collect();
    // SAFETY: lists are nodes; the first one is nobody else's.
    let private = unsafe { pg_sys::lappend(encoded.into_path(), distance.as_ptr().cast()) };
    let keys: List<_> = [Some(key)].into_iter().collect();
    let mut path = pg_sys::CustomPath {
        path: scan.path,
        #[cfg(not(feature = "pg14"))]
        flags: pg_sys::CUSTOMPATH_SUPPORT_PROJECTION,
        custom_paths: [Some(scan)].into_iter().collect::<List<_>>().as_ptr(),
        custom_private: private,
        methods: &raw const PATH_METHODS.0,
        ..Default::default()
    };
    path.path.type_ = pg_sys::NodeTag::T_CustomPath;
    path.path.pathtype = pg_sys::NodeTag::T_CustomScan;
    path.path.pathkeys = keys.as_ptr();
    // A worker has no value for a parameter of an outer query.
    path.path.parallel_safe = false;
    path.path.rows = relation.rows.max(1.0);
    let cost::Ranking { startup, total } = cost::Ranking::new(
        coded.index,
        coded.bits,
        order.dimensions(),
        scan.indextotalcost,
        scan.indexselectivity,
        path.path.rows,
        goal::foreseen(root, relation),
    );
    (path.path.startup_cost, path.path.total_cost) = (startup, total);
    #[cfg(feature = "pg18")]
    {
        path.path.disabled_nodes = 0;
    }
    root.allocate(path).upcast()
}
