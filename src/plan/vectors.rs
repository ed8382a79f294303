//! The query vectors of a plan that workers execute: written once, not in each child.
//!
//! A plan goes to a worker as text, and each child has the vector some three times: where it orders, for
//! EXPLAIN, and among its columns. For 64 children and 384 dimensions that is a megabyte, which takes longer
//! to write and read than to search their indexes. So the children are planned with placeholders, which each
//! process replaces when it begins to execute a child.
//!
//! A placeholder is an external parameter with a number that no query can have. Postgres looks external
//! parameters up only when they are evaluated, which these never are.

use std::ffi::c_int;

use pgrx::pg_sys;

use crate::nodes::{self, List, NodeRef};

/// The number of the first vector's placeholder; those of others are below.
const FIRST: c_int = c_int::MAX;

/// Takes the vectors by which scans of indexes order out of plans that have just been made, and leaves
/// placeholders where they are operands. What it returns is for [`put_back`].
pub fn take_out<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    plans: List<'p, pg_sys::Plan>,
) -> List<'p, pg_sys::Const> {
    let scans = || plans.iter().filter_map(NodeRef::downcast::<pg_sys::IndexScan>);
    let place_of = |vectors: &[NodeRef<pg_sys::Const>], operand: NodeRef<pg_sys::Node>| {
        // SAFETY: compares expressions.
        let is_equal = |vector: &NodeRef<pg_sys::Const>| unsafe {
            pg_sys::equal(vector.as_ptr().cast(), operand.as_ptr().cast())
        };
        vectors.iter().position(is_equal)
    };
    let mut vectors = Vec::new();
    for order in scans().flat_map(|scan| scan.indexorderby().iter()) {
        let operand = operands(order).and_then(|operands| operands.get(1));
        if let Some(vector) = operand.and_then(long_constant)
            && place_of(&vectors, vector.upcast()).is_none()
        {
            vectors.push(vector);
        }
    }
    for scan in scans() {
        replace_all(scan, &|operand| {
            let place = place_of(&vectors, operand)?;
            Some(root.allocate(placeholder(vectors[place], place)).upcast())
        });
    }
    vectors.into_iter().map(Some).collect()
}

/// A plan that has been through [`take_out`], with the vectors in their places. Others may execute the plan
/// later: so it is a copy, in the current memory context.
pub fn put_back<'p>(
    plan: NodeRef<'p, pg_sys::Plan>,
    vectors: List<'p, pg_sys::Const>,
) -> NodeRef<'p, pg_sys::Plan> {
    // SAFETY: copies a plan.
    let plan = unsafe { NodeRef::new(pg_sys::copyObjectImpl(plan.as_ptr().cast()).cast::<pg_sys::Plan>()) };
    if let Some(scan) = plan.downcast() {
        replace_all(scan, &|operand| {
            let parameter = operand.downcast::<pg_sys::Param>()?;
            let is_placeholder = parameter.paramkind == pg_sys::ParamKind::PARAM_EXTERN;
            let place = is_placeholder.then(|| (FIRST - parameter.paramid) as usize)?;
            vectors.get(place).map(NodeRef::upcast)
        });
    }
    plan
}

/// The operands of an operator or a function.
fn operands(expression: NodeRef<pg_sys::Node>) -> Option<List<pg_sys::Node>> {
    let of_operator = expression.downcast::<pg_sys::OpExpr>().map(NodeRef::<pg_sys::OpExpr>::args);
    of_operator.or_else(|| expression.downcast::<pg_sys::FuncExpr>().map(NodeRef::<pg_sys::FuncExpr>::args))
}

/// An operand that is a constant of a type without a fixed length.
fn long_constant(operand: NodeRef<pg_sys::Node>) -> Option<NodeRef<pg_sys::Const>> {
    operand.downcast::<pg_sys::Const>().filter(|constant| !constant.constisnull && constant.constlen == -1)
}

/// What stands for a vector.
fn placeholder(vector: NodeRef<pg_sys::Const>, place: usize) -> pg_sys::Param {
    let mut parameter = pg_sys::Param {
        paramkind: pg_sys::ParamKind::PARAM_EXTERN,
        paramid: FIRST - place as c_int,
        paramtype: vector.consttype,
        paramtypmod: vector.consttypmod,
        paramcollid: vector.constcollid,
        location: -1,
        ..Default::default()
    };
    parameter.xpr.type_ = pg_sys::NodeTag::T_Param;
    parameter
}

/// Replaces operands in all expressions of a scan that is nobody else's, but whose expressions may be.
fn replace_all<'p>(
    scan: NodeRef<'p, pg_sys::IndexScan>,
    replacement: &dyn Fn(NodeRef<'p, pg_sys::Node>) -> Option<NodeRef<'p, pg_sys::Node>>,
) {
    // SAFETY: no reference to a field of the scan lives.
    let pg_sys::IndexScan { scan, indexorderby, indexorderbyorig, .. } = unsafe { &mut *scan.as_ptr() };
    for list in [&mut scan.plan.targetlist, &mut scan.plan.qual, indexorderby, indexorderbyorig] {
        // SAFETY: copies expressions.
        let copy = unsafe { pg_sys::copyObjectImpl((*list).cast()) };
        *list = copy.cast();
        // SAFETY: a list is a node; an empty one is null.
        let Some(expressions) = (unsafe { NodeRef::or_null(copy.cast()) }) else { continue };
        nodes::any(expressions, &mut |node| {
            let Some(operands) = operands(node) else { return false };
            for place in 0..operands.len() {
                if let Some(other) = operands.get(place).and_then(replacement) {
                    // SAFETY: the list is one of the copy.
                    unsafe { operands.replace(place, other) };
                }
            }
            false
        });
    }
}
