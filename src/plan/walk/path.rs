//! The planner's side: where the nearest rows of one table are wanted, and what it costs to find them.

use pgrx::pg_sys;
use walia_core::page::scan::Alternative;

use super::distance::{Bound, Linear};
use super::preceding::{Preceding, is_ascending};
use super::private::{Numbers, Private};
use super::{NAME, USUAL, node};
use crate::am::{cost, order, presence};
use crate::guc::{self, IterativeScan};
use crate::nodes::{List, NodeRef};
use crate::plan::Methods;

static PATH_METHODS: Methods<pg_sys::CustomPathMethods> = Methods(pg_sys::CustomPathMethods {
    CustomName: NAME.as_ptr(),
    PlanCustomPath: Some(node::plan),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// What Postgres takes for the share of rows within a bound of which it knows nothing.
const BOUNDED: f64 = 1.0 / 3.0;

/// Offers the scan for a table whose rows are wanted in the order of an indexed distance.
pub fn offer(
    root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    entry: NodeRef<pg_sys::RangeTblEntry>,
) {
    let query = root.parse();
    let Some(key) = root.query_pathkeys().first() else { return };
    // A row that was changed meanwhile would have to be looked at again by itself, which Postgres's own scans
    // can do.
    // SAFETY: a setting that Postgres defines.
    let is_enabled = guc::nearest_scan() && unsafe { pg_sys::enable_indexscan };
    if !is_enabled
        || guc::iterative_scan() == IterativeScan::Off
        || relation.reloptkind != pg_sys::RelOptKind::RELOPT_BASEREL
        || entry.inh
        || !entry.tablesample.is_null()
        || query.commandType != pg_sys::CmdType::CMD_SELECT
        || !root.rowMarks.is_null()
        || !relation.lateral_relids.is_null()
        || relation.indexlist().is_empty()
        || has_special_condition(relation)
    {
        return;
    }
    let orders = relation.indexlist().iter().filter(|index| cost::is_index(*index));
    let mut orders = orders.filter_map(|index| Ordered::find(root, relation, index, key));
    let Some(ordered) = orders.next() else { return };
    let keys: List<pg_sys::PathKey> = [Some(key)].into_iter().collect();
    if !order::is_of_answer(root, relation, keys) {
        return;
    }
    let Some(exact) = exact(root, relation, keys) else { return };
    let path = ordered.path(root, relation, keys, exact);
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

/// Conditions that do not always say the same of a row must be asked as often as the rows are read by others.
/// Those that say the same of all rows put a plan node of their own above the index's scan.
fn has_special_condition(relation: NodeRef<pg_sys::RelOptInfo>) -> bool {
    // SAFETY: looks at expressions of the planner's.
    let is_volatile = |condition: NodeRef<pg_sys::RestrictInfo>| unsafe {
        pg_sys::contain_volatile_functions(condition.clause().as_node().as_ptr())
    };
    relation.baserestrictinfo().iter().any(|condition| condition.pseudoconstant || is_volatile(condition))
}

/// The cheapest way to rank all rows that pass.
fn exact<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    keys: List<pg_sys::PathKey>,
) -> Option<NodeRef<'p, pg_sys::Path>> {
    let candidates =
        relation.pathlist().iter().filter(|path| path.param_info.is_null() && !is_ordered_scan(*path));
    let cheapest = candidates.min_by(|one, other| one.total_cost.total_cmp(&other.total_cost));
    // SAFETY: a path of the relation. There may be no other: the relation forgets what is dearer than the
    // order.
    let sequential = || unsafe {
        NodeRef::new(pg_sys::create_seqscan_path(root.as_ptr(), relation.as_ptr(), std::ptr::null_mut(), 0))
    };
    let cheapest = cheapest.unwrap_or_else(sequential);
    // The relation may forget the path, and free it, but for those of indexes.
    let path = match cheapest.type_ {
        pg_sys::NodeTag::T_Path => root.allocate(*cheapest),
        pg_sys::NodeTag::T_BitmapHeapPath => {
            root.allocate(*cheapest.downcast::<pg_sys::BitmapHeapPath>()?).upcast()
        }
        pg_sys::NodeTag::T_IndexPath => cheapest,
        _ => return None,
    };
    let limit = if root.limit_tuples > 0.0 { root.limit_tuples } else { -1.0 };
    // SAFETY: a path of the relation, whose rows can be sorted by what the query wants them to be.
    unsafe {
        let sorted =
            pg_sys::create_sort_path(root.as_ptr(), relation.as_ptr(), path.as_ptr(), keys.as_ptr(), limit);
        Some(NodeRef::new(sorted.cast()))
    }
}

/// An index whose distance gives an order.
struct Ordered<'p> {
    index: NodeRef<'p, pg_sys::IndexOptInfo>,
    distance: NodeRef<'p, pg_sys::OpExpr>,
    /// Whether the index's column stands on the right of the operator.
    is_commuted: bool,
    bound: Option<Bound<'p>>,
    preceding: Preceding,
}

impl<'p> Ordered<'p> {
    /// Whether the order of a path key is that of the distances of an index.
    fn find(
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<'p, pg_sys::RelOptInfo>,
        index: NodeRef<'p, pg_sys::IndexOptInfo>,
        key: NodeRef<'p, pg_sys::PathKey>,
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
        let is_key = |member: &NodeRef<'p, pg_sys::EquivalenceMember>| {
            // SAFETY: compares sets of relations.
            !member.em_is_child && unsafe { pg_sys::bms_equal(member.em_relids, relation.relids) }
        };
        let members = key.pk_eclass().ec_members();
        let mut members = members.iter().filter(is_key).map(|member| member.em_expr().as_node());
        let order = members.find_map(|expression| Linear::of(expression, &is_distance))?;
        // SAFETY: compares expressions.
        let is_same = |other: NodeRef<'p, pg_sys::OpExpr>| unsafe {
            pg_sys::equal(other.as_ptr().cast(), order.distance.as_ptr().cast())
        };
        let conditions = relation.baserestrictinfo();
        let mut conditions = conditions.iter().map(|condition| condition.clause().as_node());
        // NaN is greater than all numbers: a lower bound of a negated distance lets it pass, as no radius
        // does.
        let is_upper = |bound: &Bound| bound.of.scale > 0.0 || presence::is_never_undefined(index);
        let bound =
            conditions.find_map(|condition| Bound::of(condition, &is_same, &is_known).filter(is_upper));
        if is_ascending(key) != (order.scale > 0.0) {
            return None;
        }
        let side = column_side(order.distance, index, &is_known)?;
        let column = order.distance.args().get(side)?;
        // Of rows without a distance a bound lets none pass.
        let preceding = match bound {
            Some(_) => Preceding::default(),
            None => Preceding::of(root, relation, index, column, key),
        };
        // The executor looks again.
        let is_preceded = preceding != Preceding::default() && presence::may_hold(index, &preceding.kinds());
        let found = Self { index, distance: order.distance, is_commuted: side == 1, bound, preceding };
        (!is_preceded).then_some(found)
    }

    /// The scan, beside the exact way.
    fn path(
        &self,
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<'p, pg_sys::RelOptInfo>,
        keys: List<'p, pg_sys::PathKey>,
        exact: NodeRef<'p, pg_sys::Path>,
    ) -> NodeRef<'p, pg_sys::CustomPath> {
        let limit = limit(root, relation);
        let rows = relation.rows.max(1.0);
        let is_told = limit.is_some() && root.limit_tuples > 0.0;
        let wanted = if is_told { root.limit_tuples } else { USUAL as f64 };
        let within = if self.bound.is_some() { BOUNDED } else { 1.0 };
        let share = (rows / relation.tuples.max(1.0) / within).clamp(1e-9, 1.0);
        let walk = cost::Walk::new(self.index, wanted, share, relation.baserestrictcost.per_tuple);
        let alternative =
            Alternative { cost: exact.total_cost, expansion: walk.expansion, test: walk.test, share };
        let (scale, shift) = self.bound.map_or((1.0, 0.0), |bound| (bound.of.scale, bound.of.offset));
        let past = if is_exact(root) { 0.0 } else { 1.0 };
        let private = Private {
            limit: limit.map(|limit| root.copy(limit.count)),
            offset: limit.and_then(|limit| limit.offset).map(|node| root.copy(node)),
            bound: self.bound.map(|bound| root.copy(bound.value)),
            numbers: Numbers { scale, shift, past, preceding: self.preceding, alternative },
        };
        let lists = [private.expressions(), private.data()];
        // SAFETY: lists are nodes; neither is empty.
        let lists = lists.map(|list| Some(unsafe { NodeRef::<pg_sys::List>::new(list.as_ptr()) }));
        let scan = self.index_path(root, relation);
        let mut path = pg_sys::CustomPath {
            path: *exact,
            #[cfg(not(feature = "pg14"))]
            flags: pg_sys::CUSTOMPATH_SUPPORT_PROJECTION,
            custom_paths: [Some(scan), Some(exact)].into_iter().collect::<List<_>>().as_ptr(),
            custom_private: lists.into_iter().collect::<List<_>>().as_ptr(),
            methods: &raw const PATH_METHODS.0,
            ..Default::default()
        };
        path.path.type_ = pg_sys::NodeTag::T_CustomPath;
        path.path.pathtype = pg_sys::NodeTag::T_CustomScan;
        path.path.pathkeys = keys.as_ptr();
        // A worker has no value for a parameter of an outer query.
        path.path.parallel_safe = false;
        path.path.rows = rows;
        // Rows past those that are wanted cost as much again, each, until a second run gives the rest.
        // Postgres takes the costs in between for a straight line, which is to go through those of the rows
        // that are wanted.
        let past = ((rows - wanted).max(0.0) * walk.further).min(2.0 * exact.total_cost);
        path.path.total_cost = walk.first + past + rows * walk.row;
        let part = (wanted / rows).min(0.99);
        path.path.startup_cost = ((walk.first - path.path.total_cost * part) / (1.0 - part)).max(0.0);
        #[cfg(feature = "pg18")]
        {
            path.path.disabled_nodes = 0;
        }
        root.allocate(path)
    }

    /// The path of the index, for its plan: the distance's expression, and the conditions.
    fn index_path(
        &self,
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<'p, pg_sys::RelOptInfo>,
    ) -> NodeRef<'p, pg_sys::Path> {
        let distance = root.copy(self.distance.upcast());
        if self.is_commuted {
            // SAFETY: a copy of the operator's expression, which has a commutator.
            unsafe { pg_sys::CommuteOpExpr(distance.as_ptr().cast()) };
        }
        let root = root.as_ptr();
        // SAFETY: the expression gives a double precision, by which rows can be ordered. All belong to one
        // planner.
        let keys = unsafe {
            pg_sys::build_expression_pathkey(
                root,
                distance.as_ptr().cast(),
                #[cfg(any(feature = "pg14", feature = "pg15"))]
                std::ptr::null_mut(),
                pg_sys::Oid::from_u32(FLOAT8_LESS),
                relation.relids,
                true,
            )
        };
        let (index, none) = (self.index.as_ptr(), std::ptr::null_mut());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: as above; the new lists are the path's.
        let path = unsafe {
            let orders = pg_sys::lappend(none, distance.as_ptr().cast());
            let column = pg_sys::lappend_int(none, 0);
            let outer = std::ptr::null_mut();
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

/// Operator `double precision < double precision` in pg_operator.dat: OIDs of built-in objects never change.
const FLOAT8_LESS: u32 = 672;

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

/// Whether an expression has one value for a whole scan.
fn is_known(root: NodeRef<pg_sys::PlannerInfo>, node: NodeRef<pg_sys::Node>) -> bool {
    // SAFETY: looks at an expression of the planner's.
    unsafe {
        pg_sys::pull_varnos(root.as_ptr(), node.as_ptr()).is_null()
            && !pg_sys::contain_volatile_functions(node.as_ptr())
            && !pg_sys::contain_subplans(node.as_ptr())
    }
}

/// Whether what is above reads no row past the query's limit.
fn is_exact(root: NodeRef<pg_sys::PlannerInfo>) -> bool {
    root.sort_pathkeys().len() == 1 && root.parse().limitOption == pg_sys::LimitOption::LIMIT_OPTION_COUNT
}

/// LIMIT and OFFSET.
#[derive(Clone, Copy)]
struct Limit<'p> {
    count: NodeRef<'p, pg_sys::Node>,
    offset: Option<NodeRef<'p, pg_sys::Node>>,
}

/// The LIMIT and OFFSET of the query, where they count rows of the relation.
fn limit<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
) -> Option<Limit<'p>> {
    let query = root.parse();
    // SAFETY: compares sets of relations.
    let is_alone = unsafe { pg_sys::bms_equal(root.all_baserels, relation.relids) };
    let is_plain = !query.hasAggs
        && !query.hasWindowFuncs
        && !query.hasTargetSRFs
        && query.groupClause.is_null()
        && query.groupingSets.is_null()
        && query.distinctClause.is_null()
        && query.havingQual.is_null()
        && query.setOperations.is_null();
    let limit = Limit { count: query.limitCount()?, offset: query.limitOffset() };
    let is_known = is_known(root, limit.count) && limit.offset.is_none_or(|offset| is_known(root, offset));
    (is_alone && is_plain && is_known && order::has_limit(query)).then_some(limit)
}
