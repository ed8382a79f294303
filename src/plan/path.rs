//! The planner's side: where a MergeAppend of scans of walia's indexes can be replaced, and what that costs.

use pgrx::pg_sys;

use super::parallel::{self, Reading};
use super::private::Private;
use super::{Methods, NAME, node};
use crate::am::cost;
use crate::nodes::{self, List, NodeRef};

static PATH_METHODS: Methods<pg_sys::CustomPathMethods> = Methods(pg_sys::CustomPathMethods {
    CustomName: NAME.as_ptr(),
    PlanCustomPath: Some(node::plan),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The one column that the rows are ordered by is a double precision, and so is what the scan compares.
const ORDERED_BY: pg_sys::Oid = pg_sys::FLOAT8OID;

/// Offers the custom scan in place of each MergeAppend that could give the rows of `input` in the order of
/// `output`, which is that of UPPERREL_ORDERED.
pub fn offer(
    root: NodeRef<pg_sys::PlannerInfo>,
    input: NodeRef<pg_sys::RelOptInfo>,
    output: NodeRef<pg_sys::RelOptInfo>,
) {
    let query = root.parse();
    let order = root.sort_pathkeys();
    // A row that was changed meanwhile would have to be looked at again by itself, which a MergeAppend's
    // children can do.
    if input.reloptkind != pg_sys::RelOptKind::RELOPT_BASEREL
        || order.len() != 1
        || query.commandType != pg_sys::CmdType::CMD_SELECT
        || query.hasTargetSRFs
        || !query.rowMarks.is_null()
        || may_prune_when_run(root, input)
    {
        return;
    }
    // The paths of `input` may have been freed: those that are in order are paths of `output`, too, which
    // forgets the dearer ones. For the same reason all replacements are made before the first is offered.
    let replacements: Vec<_> = output
        .pathlist()
        .iter()
        .filter(|path| is_in_order(*path, order))
        .filter_map(|path| Some((path, replacement(root, input, without_projection(path))?)))
        .collect();
    // It does no more than the MergeAppend in any case; where tables are small the model sees no difference.
    for (replaced, _) in &replacements {
        let paths = output.pathlist;
        // SAFETY: takes a path out of the list, which the planner lets hooks change, and frees no path.
        unsafe { (*output.as_ptr()).pathlist = pg_sys::list_delete_ptr(paths, replaced.as_ptr().cast()) };
    }
    for (_, Replacement { scan, reading }) in replacements {
        let shared = parallel::with_workers(root, output, scan, reading);
        for path in shared.into_iter().chain([scan.upcast()]) {
            add(root, output, path);
        }
    }
}

/// Adds a path to those of `output`, with the columns that are wanted there. It may be freed.
pub fn add(
    root: NodeRef<pg_sys::PlannerInfo>,
    output: NodeRef<pg_sys::RelOptInfo>,
    path: NodeRef<pg_sys::Path>,
) {
    let target = root.upper_targets[pg_sys::UpperRelationKind::UPPERREL_ORDERED as usize];
    let (root, output, mut offered) = (root.as_ptr(), output.as_ptr(), path.as_ptr());
    // SAFETY: all belong to one planner. Nobody uses the dearer paths that `output` forgets.
    unsafe {
        if path.pathtarget != target {
            // The children's rows have the columns of the path's own target, which stays.
            offered = pg_sys::create_projection_path(root, output, offered, target).cast();
        }
        pg_sys::add_path(output, offered);
    }
}

/// Whether a path gives its rows in an order.
fn is_in_order(path: NodeRef<pg_sys::Path>, order: List<pg_sys::PathKey>) -> bool {
    // SAFETY: both are path keys of the planner.
    unsafe { pg_sys::pathkeys_contained_in(order.as_ptr(), path.pathkeys) }
}

/// What does as a MergeAppend does.
struct Replacement<'p> {
    scan: NodeRef<'p, pg_sys::CustomPath>,
    /// What of its cost is that of reading pages.
    reading: Reading,
}

/// The custom scan that does what a path of `input` does, if that is a MergeAppend; `None` where it could
/// not, or would be of no use.
fn replacement<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    input: NodeRef<pg_sys::RelOptInfo>,
    append: NodeRef<'p, pg_sys::Path>,
) -> Option<Replacement<'p>> {
    let merge = without_append(append).downcast::<pg_sys::MergeAppendPath>()?;
    if !append.param_info.is_null() {
        return None;
    }
    let scan_of = |child| {
        let scan = without_projection(child).downcast::<pg_sys::IndexPath>()?;
        cost::is_scan(scan).then_some(scan)
    };
    let scans: Vec<_> = merge.subpaths().iter().filter_map(scan_of).collect();
    let order = order_expression(input, append.pathkeys().first()?.pk_eclass(), append.pathtarget())?;
    if scans.len() < 2 {
        return None;
    }
    let keys = merge.upcast().pathkeys();
    let sorted = |child: NodeRef<pg_sys::Path>| {
        let (planner, limit) = (root.as_ptr(), merge.limit_tuples);
        // SAFETY: the child is a path of its parent's, whose rows can be sorted by the keys of the
        // MergeAppend.
        unsafe {
            let sort = pg_sys::create_sort_path(planner, child.parent, child.as_ptr(), keys.as_ptr(), limit);
            NodeRef::new(sort.cast())
        }
    };
    let children = merge.subpaths().iter();
    let children = children.map(|child| Some(if is_in_order(child, keys) { child } else { sorted(child) }));
    let cost::Federated { saved, reading } = cost::Federated::new(&scans);
    let mut path = pg_sys::CustomPath {
        // Rows, width, safety are those of the MergeAppend, and costs but for the searches.
        path: *append,
        #[cfg(not(feature = "pg14"))]
        flags: pg_sys::CUSTOMPATH_SUPPORT_PROJECTION,
        custom_paths: children.collect::<List<_>>().as_ptr(),
        custom_private: Private { order, limit: None, vectors: List::default() }.encode().into_path(),
        methods: &raw const PATH_METHODS.0,
        ..Default::default()
    };
    path.path.type_ = pg_sys::NodeTag::T_CustomPath;
    path.path.pathtype = pg_sys::NodeTag::T_CustomScan;
    path.path.startup_cost = (append.startup_cost - saved).max(0.0);
    path.path.total_cost = (append.total_cost - saved).max(path.path.startup_cost);
    let tablespace = scans[0].indexinfo().reltablespace;
    Some(Replacement { scan: root.allocate(path), reading: Reading { cost: reading, tablespace } })
}

/// What a path projects, or the path itself.
pub fn without_projection(mut path: NodeRef<pg_sys::Path>) -> NodeRef<pg_sys::Path> {
    while let Some(projection) = path.downcast::<pg_sys::ProjectionPath>() {
        path = projection.subpath();
    }
    path
}

/// The only child of an Append, which Postgres leaves out of the plan, or the path itself.
fn without_append(mut path: NodeRef<pg_sys::Path>) -> NodeRef<pg_sys::Path> {
    while let Some(append) = path.downcast::<pg_sys::AppendPath>()
        && append.subpaths().len() == 1
    {
        path = append.subpaths().first().unwrap_or(path);
    }
    path
}

/// The expression that orders rows of `input`, which can be computed from the columns of `target`.
fn order_expression<'p>(
    input: NodeRef<pg_sys::RelOptInfo>,
    class: NodeRef<'p, pg_sys::EquivalenceClass>,
    target: NodeRef<pg_sys::PathTarget>,
) -> Option<NodeRef<'p, pg_sys::Node>> {
    let columns = target.exprs;
    // SAFETY: compares expressions.
    let is_column =
        |node: NodeRef<pg_sys::Node>| unsafe { pg_sys::list_member(columns, node.as_ptr().cast()) };
    let is_computable = |expression: NodeRef<pg_sys::Node>| {
        let flags = pg_sys::PVC_RECURSE_AGGREGATES
            | pg_sys::PVC_RECURSE_WINDOWFUNCS
            | pg_sys::PVC_INCLUDE_PLACEHOLDERS;
        // SAFETY: collects the variables of an expression in a new list.
        let variables: List<pg_sys::Node> =
            unsafe { List::new(pg_sys::pull_var_clause(expression.as_ptr(), flags as i32)) };
        is_column(expression) || variables.iter().all(is_column)
    };
    // SAFETY: looks at relations and at an expression of one planner.
    let is_of_input = |member: NodeRef<pg_sys::EquivalenceMember>| unsafe {
        pg_sys::bms_is_subset(member.em_relids, input.relids)
            && pg_sys::exprType(member.em_expr.cast()) == ORDERED_BY
    };
    class
        .ec_members()
        .iter()
        .filter(|member| !member.em_is_child && !member.em_is_const && is_of_input(*member))
        .map(|member| member.em_expr().as_node())
        .find(|expression| is_computable(*expression))
}

/// Whether a MergeAppend may leave out partitions when it is run, as only Postgres's own Append nodes can: a
/// condition on a partition key has a value then that it has not when the query is planned.
pub fn may_prune_when_run(root: NodeRef<pg_sys::PlannerInfo>, input: NodeRef<pg_sys::RelOptInfo>) -> bool {
    // SAFETY: the planner's array of relations, which has nulls.
    let relations = unsafe {
        let (first, count) = (root.simple_rel_array, root.simple_rel_array_size as usize);
        (0..count).filter_map(move |number| NodeRef::or_null(*first.add(number)))
    };
    // SAFETY: compares sets of relations.
    let is_below = |relation: NodeRef<pg_sys::RelOptInfo>| unsafe {
        !relation.top_parent_relids.is_null() && pg_sys::bms_overlap(relation.top_parent_relids, input.relids)
    };
    relations.filter(|relation| *relation == input || is_below(*relation)).any(|relation| {
        let keys = partition_keys(relation);
        // SAFETY: compares sets of columns.
        let has_key = |clause: NodeRef<pg_sys::Node>| unsafe {
            pg_sys::bms_overlap(keys, columns(clause.as_ptr(), relation.relid))
        };
        let mut clauses = relation.baserestrictinfo().iter().map(|condition| condition.clause().as_node());
        !keys.is_null() && clauses.any(|clause| has_key(clause) && is_known_when_run(clause))
    })
}

/// The columns in a relation's partition key; none where it is not partitioned.
fn partition_keys(relation: NodeRef<pg_sys::RelOptInfo>) -> *mut pg_sys::Bitmapset {
    // SAFETY: a partitioned relation has as many lists of key expressions as its scheme has keys.
    unsafe {
        let Some(scheme) = relation.part_scheme.as_ref() else { return std::ptr::null_mut() };
        if relation.partexprs.is_null() {
            return std::ptr::null_mut();
        }
        (0..scheme.partnatts as usize).fold(std::ptr::null_mut(), |keys, key| {
            let of_key = columns((*relation.partexprs.add(key)).cast(), relation.relid);
            pg_sys::bms_add_members(keys, of_key)
        })
    }
}

/// The columns of a relation in an expression.
///
/// # Safety
/// The expression is null or one of the planner's.
unsafe fn columns(expression: *mut pg_sys::Node, relation: pg_sys::Index) -> *mut pg_sys::Bitmapset {
    let mut columns = std::ptr::null_mut();
    // SAFETY: by the caller's promise.
    unsafe { pg_sys::pull_varattnos(expression, relation, &mut columns) };
    columns
}

/// Whether an expression has another value, or any, only when the query is run: it has a parameter or a
/// function that is not immutable.
fn is_known_when_run(expression: NodeRef<pg_sys::Node>) -> bool {
    // SAFETY: looks at an expression of the planner's.
    let is_mutable = unsafe { pg_sys::contain_mutable_functions(expression.as_ptr()) };
    is_mutable || nodes::any(expression, &mut |node| node.downcast::<pg_sys::Param>().is_some())
}
