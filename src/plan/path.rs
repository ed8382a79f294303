//! The planner's side: where a MergeAppend of scans of walia's indexes can be replaced, and what that costs.

use pgrx::{PgList, pg_sys};

use super::parallel::{self, Reading};
use super::{Methods, NAME, node};
use crate::am::cost;
use crate::error_context::enter;

static PATH_METHODS: Methods<pg_sys::CustomPathMethods> = Methods(pg_sys::CustomPathMethods {
    CustomName: NAME.as_ptr(),
    PlanCustomPath: Some(node::plan),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The one column that the rows are ordered by is a double precision, and so is what the scan compares.
const ORDERED_BY: pg_sys::Oid = pg_sys::FLOAT8OID;

/// Offers the custom scan in place of each MergeAppend that could give the rows of `input` in the order of `output`.
///
/// # Safety
/// The arguments are those of the planner's hook at UPPERREL_ORDERED.
pub unsafe fn offer(
    root: *mut pg_sys::PlannerInfo,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let query = &*(*root).parse;
        // A row that was changed meanwhile would have to be looked at again by itself, which a MergeAppend's children can do.
        if (*input).reloptkind != pg_sys::RelOptKind::RELOPT_BASEREL
            || pg_sys::list_length((*root).sort_pathkeys) != 1
            || query.commandType != pg_sys::CmdType::CMD_SELECT
            || query.hasTargetSRFs
            || !query.rowMarks.is_null()
            || may_prune_when_run(root, input)
        {
            return;
        }
        let target = (*root).upper_targets[pg_sys::UpperRelationKind::UPPERREL_ORDERED as usize];
        // The paths of `input` may have been freed: those that are in order are paths of `output`, too, which forgets the dearer
        // ones. For the same reason all replacements are made before the first is offered.
        let paths = PgList::<pg_sys::Path>::from_pg((*output).pathlist);
        let replacements: Vec<_> = paths
            .iter_ptr()
            .filter(|path| pg_sys::pathkeys_contained_in((*root).sort_pathkeys, (**path).pathkeys))
            .filter_map(|path| Some((path, replacement(root, input, without_projection(path))?)))
            .collect();
        // It does no more than the MergeAppend in any case; where tables are small the model sees no difference.
        for (replaced, _) in &replacements {
            (*output).pathlist = pg_sys::list_delete_ptr((*output).pathlist, replaced.cast());
        }
        for (_, (scan, reading)) in replacements {
            let shared = parallel::with_workers(root, output, scan, reading);
            for mut offered in shared.into_iter().chain([scan.cast()]) {
                if (*offered).pathtarget != target {
                    // The children's rows have the columns of the path's own target, which stays.
                    offered = pg_sys::create_projection_path(root, output, offered, target).cast();
                }
                pg_sys::add_path(output, offered);
            }
        }
    }
}

/// The custom scan that does what a MergeAppend does, and what of its cost is that of reading pages; `None` where it could not, or
/// would be of no use.
///
/// # Safety
/// As for [`offer`]; `append` is a path of `input`, perhaps a MergeAppend.
unsafe fn replacement(
    root: *mut pg_sys::PlannerInfo,
    input: *mut pg_sys::RelOptInfo,
    append: *mut pg_sys::Path,
) -> Option<(*mut pg_sys::CustomPath, Reading)> {
    // SAFETY: by the caller's promise.
    unsafe {
        let merge = without_append(append).cast::<pg_sys::MergeAppendPath>();
        let pathkeys = (*append).pathkeys;
        if (*merge).path.type_ != pg_sys::NodeTag::T_MergeAppendPath || !(*append).param_info.is_null() {
            return None;
        }
        let children: Vec<_> = PgList::<pg_sys::Path>::from_pg((*merge).subpaths).iter_ptr().collect();
        let scan_of = |child| {
            let scan = without_projection(child).cast::<pg_sys::IndexPath>();
            ((*scan).path.type_ == pg_sys::NodeTag::T_IndexPath && cost::is_scan(&*scan)).then_some(scan)
        };
        let scans: Vec<_> = children.iter().filter_map(|child| scan_of(*child)).collect();
        let pathkey = PgList::<pg_sys::PathKey>::from_pg(pathkeys).head()?;
        let order = order_expression(input, &*(*pathkey).pk_eclass, (*append).pathtarget)?;
        if scans.len() < 2 {
            return None;
        }
        let path = pg_sys::palloc0(size_of::<pg_sys::CustomPath>()).cast::<pg_sys::CustomPath>();
        // Rows, width, safety are those of the MergeAppend, and costs but for the searches.
        (*path).path = *append;
        (*path).path.type_ = pg_sys::NodeTag::T_CustomPath;
        (*path).path.pathtype = pg_sys::NodeTag::T_CustomScan;
        let cost::Federated { saved, reading } = cost::Federated::new(&scans);
        (*path).path.startup_cost = ((*path).path.startup_cost - saved).max(0.0);
        (*path).path.total_cost = ((*path).path.total_cost - saved).max((*path).path.startup_cost);
        #[cfg(not(feature = "pg14"))]
        {
            (*path).flags = pg_sys::CUSTOMPATH_SUPPORT_PROJECTION;
        }
        let mut custom_paths = PgList::<pg_sys::Path>::new();
        for child in children {
            let keys = (*merge).path.pathkeys;
            let sorted = pg_sys::pathkeys_contained_in(keys, (*child).pathkeys);
            custom_paths.push(if sorted {
                child
            } else {
                pg_sys::create_sort_path(root, (*child).parent, child, keys, (*merge).limit_tuples).cast()
            });
        }
        (*path).custom_paths = custom_paths.into_pg();
        (*path).custom_private = pg_sys::lappend(std::ptr::null_mut(), order.cast());
        (*path).methods = &raw const PATH_METHODS.0;
        Some((path, Reading { cost: reading, tablespace: (*(*scans[0]).indexinfo).reltablespace }))
    }
}

/// What a path projects, or the path itself.
///
/// # Safety
/// `path` is one of the planner's.
unsafe fn without_projection(mut path: *mut pg_sys::Path) -> *mut pg_sys::Path {
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe {
        while (*path).type_ == pg_sys::NodeTag::T_ProjectionPath {
            path = (*path.cast::<pg_sys::ProjectionPath>()).subpath;
        }
    }
    path
}

/// The only child of an Append, which Postgres leaves out of the plan, or the path itself.
///
/// # Safety
/// `path` is one of the planner's.
unsafe fn without_append(mut path: *mut pg_sys::Path) -> *mut pg_sys::Path {
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe {
        while (*path).type_ == pg_sys::NodeTag::T_AppendPath
            && pg_sys::list_length((*path.cast::<pg_sys::AppendPath>()).subpaths) == 1
        {
            let children = PgList::<pg_sys::Path>::from_pg((*path.cast::<pg_sys::AppendPath>()).subpaths);
            path = children.head().unwrap_or(path);
        }
    }
    path
}

/// The expression that orders rows of `input`, which can be computed from the columns of `target`.
///
/// # Safety
/// All belong to one query's planner.
unsafe fn order_expression(
    input: *mut pg_sys::RelOptInfo,
    class: &pg_sys::EquivalenceClass,
    target: *mut pg_sys::PathTarget,
) -> Option<*mut pg_sys::Expr> {
    // SAFETY: by the caller's promise.
    unsafe {
        let columns = (*target).exprs;
        let is_computable = |expression: *mut pg_sys::Expr| {
            let flags = pg_sys::PVC_RECURSE_AGGREGATES
                | pg_sys::PVC_RECURSE_WINDOWFUNCS
                | pg_sys::PVC_INCLUDE_PLACEHOLDERS;
            let variables = pg_sys::pull_var_clause(expression.cast(), flags as i32);
            pg_sys::list_member(columns, expression.cast())
                || PgList::<std::ffi::c_void>::from_pg(variables)
                    .iter_ptr()
                    .all(|variable| pg_sys::list_member(columns, variable))
        };
        PgList::<pg_sys::EquivalenceMember>::from_pg(class.ec_members)
            .iter_ptr()
            .filter(|member| {
                let member = &**member;
                !member.em_is_child
                    && !member.em_is_const
                    && pg_sys::bms_is_subset(member.em_relids, (*input).relids)
            })
            .map(|member| (*member).em_expr)
            .find(|expression| {
                pg_sys::exprType(expression.cast()) == ORDERED_BY && is_computable(*expression)
            })
    }
}

/// Whether a MergeAppend may leave out partitions when it is run, as only Postgres's own Append nodes can: a condition on a
/// partition key has a value then that it has not when the query is planned.
///
/// # Safety
/// As for [`offer`].
unsafe fn may_prune_when_run(root: *mut pg_sys::PlannerInfo, input: *mut pg_sys::RelOptInfo) -> bool {
    // SAFETY: by the caller's promise; a partitioned relation has as many lists of key expressions as its scheme has keys.
    unsafe {
        let relations =
            std::slice::from_raw_parts((*root).simple_rel_array, (*root).simple_rel_array_size as usize);
        relations.iter().filter_map(|relation| relation.as_ref()).any(|relation| {
            let below = !relation.top_parent_relids.is_null()
                && pg_sys::bms_overlap(relation.top_parent_relids, (*input).relids);
            let Some(scheme) = relation.part_scheme.as_ref() else { return false };
            if !(below || std::ptr::eq(relation, input)) || relation.partexprs.is_null() {
                return false;
            }
            let mut keys = std::ptr::null_mut();
            for key in 0..usize::from(scheme.partnatts as u16) {
                let expressions = *relation.partexprs.add(key);
                pg_sys::pull_varattnos(expressions.cast(), relation.relid, &mut keys);
            }
            PgList::<pg_sys::RestrictInfo>::from_pg(relation.baserestrictinfo).iter_ptr().any(|condition| {
                let clause = (*condition).clause.cast::<pg_sys::Node>();
                let mut columns = std::ptr::null_mut();
                pg_sys::pull_varattnos(clause, relation.relid, &mut columns);
                pg_sys::bms_overlap(keys, columns) && is_known_when_run(clause)
            })
        })
    }
}

/// Whether an expression has another value, or any, only when the query is run: it has a parameter or a function that is not
/// immutable.
///
/// # Safety
/// `expression` is one of the planner's.
unsafe fn is_known_when_run(expression: *mut pg_sys::Node) -> bool {
    /// # Safety
    /// Only [`is_known_when_run`] and Postgres call it.
    #[pgrx::pg_guard]
    unsafe extern "C-unwind" fn has_parameter(
        node: *mut pg_sys::Node,
        context: *mut std::ffi::c_void,
    ) -> bool {
        enter!();
        // SAFETY: Postgres gives nodes of the expression, or null.
        unsafe {
            !node.is_null()
                && ((*node).type_ == pg_sys::NodeTag::T_Param
                    || pg_sys::expression_tree_walker(node, Some(has_parameter), context))
        }
    }
    // SAFETY: by the caller's promise.
    unsafe {
        pg_sys::contain_mutable_functions(expression) || has_parameter(expression, std::ptr::null_mut())
    }
}
