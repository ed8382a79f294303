//! Conditions such as `tenant = 1 OR tenant = 7`, which are `tenant = ANY ('{1,7}')`: Postgres's planner
//! finds the keys of an index in them from version 18 on.

use pgrx::pg_sys;

use crate::nodes::{List, NodeRef};

/// Conditions of an index that amount to `= ANY`, before and after they were written so.
pub struct Rewritten<'p>(Vec<[NodeRef<'p, pg_sys::RestrictInfo>; 2]>);

impl<'p> Rewritten<'p> {
    /// Those of an index, and the index with the others in their place.
    pub fn of(
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        index: NodeRef<'p, pg_sys::IndexOptInfo>,
    ) -> (Self, NodeRef<'p, pg_sys::IndexOptInfo>) {
        let mut pairs = Vec::new();
        let rewrite = |condition: NodeRef<'p, pg_sys::RestrictInfo>| {
            let Some(clause) = any_of(root, condition.clause().as_node()) else { return condition };
            // What the planner remembers of a condition's selectivity and security holds for the other form
            // as well.
            let rewritten = root.allocate(pg_sys::RestrictInfo {
                clause: clause.as_ptr().cast(),
                orclause: std::ptr::null_mut(),
                ..*condition
            });
            pairs.push([condition, rewritten]);
            rewritten
        };
        let conditions: List<_> = index.indrestrictinfo().iter().map(rewrite).map(Some).collect();
        let index = pg_sys::IndexOptInfo { indrestrictinfo: conditions.as_ptr(), ..*index };
        (Self(pairs), root.allocate(index))
    }

    /// Names the conditions of a scan as the relation has them, so that they are not tested again.
    pub fn put_back(&self, scan: NodeRef<pg_sys::IndexPath>) {
        for clause in scan.indexclauses().iter() {
            let is_of = |pair: &&[NodeRef<pg_sys::RestrictInfo>; 2]| pair[1] == clause.rinfo();
            if let Some([condition, _]) = self.0.iter().find(is_of) {
                // SAFETY: the planner has just made the clause, for this scan and others like it.
                unsafe { (*clause.as_ptr()).rinfo = condition.as_ptr() }
            }
        }
    }
}

/// One comparison of an OR.
#[derive(Clone, Copy)]
struct Comparison<'p> {
    operator: pg_sys::Oid,
    collation: pg_sys::Oid,
    /// What differs from row to row.
    of: NodeRef<'p, pg_sys::Node>,
    /// A constant or a parameter.
    with: NodeRef<'p, pg_sys::Node>,
    with_type: pg_sys::Oid,
}

impl<'p> Comparison<'p> {
    fn parse(node: NodeRef<'p, pg_sys::Node>) -> Option<Self> {
        let clause = node.downcast::<pg_sys::OpExpr>()?;
        let [left, right] = [clause.args().get(0)?, clause.args().get(1)?];
        // A computation may fail where the OR would not have come to it.
        let is_value = |node: NodeRef<pg_sys::Node>| {
            node.downcast::<pg_sys::Const>().is_some() || node.downcast::<pg_sys::Param>().is_some()
        };
        // SAFETY: looks an operator up that the planner has found in the query.
        let commuted = || unsafe { pg_sys::get_commutator(clause.opno) };
        let (operator, of, with) = match (is_value(left), is_value(right)) {
            (false, true) => (clause.opno, left, right),
            (true, false) => (commuted(), right, left),
            _ => return None,
        };
        // SAFETY: looks at expressions of the planner's, and types up.
        let (with_type, has_rows) = unsafe {
            let types = [with, of].map(|node| pg_sys::exprType(node.as_ptr()));
            (types[0], types.into_iter().any(|of| pg_sys::type_is_rowtype(of)))
        };
        let is_usable = operator != pg_sys::InvalidOid && !has_rows;
        is_usable.then_some(Self { operator, collation: clause.inputcollid, of, with, with_type })
    }

    /// Whether both compare the same with values of one type, in the same way.
    fn is_like(&self, other: &Self) -> bool {
        // SAFETY: compares expressions.
        let is_of_same = unsafe { pg_sys::equal(self.of.as_ptr().cast(), other.of.as_ptr().cast()) };
        is_of_same
            && self.operator == other.operator
            && self.collation == other.collation
            && self.with_type == other.with_type
    }
}

/// What an OR of comparisons of one expression amounts to.
fn any_of<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    clause: NodeRef<'p, pg_sys::Node>,
) -> Option<NodeRef<'p, pg_sys::Node>> {
    let or = clause.downcast::<pg_sys::BoolExpr>()?;
    if or.boolop != pg_sys::BoolExprType::OR_EXPR {
        return None;
    }
    let comparisons: Option<Vec<_>> = or.args().iter().map(Comparison::parse).collect();
    let comparisons = comparisons?;
    let first = *comparisons.first()?;
    // SAFETY: looks a type up.
    let array_type = unsafe { pg_sys::get_array_type(first.with_type) };
    if array_type == pg_sys::InvalidOid || !comparisons.iter().all(|comparison| first.is_like(comparison)) {
        return None;
    }
    let values: List<_> = comparisons.iter().map(|comparison| Some(comparison.with)).collect();
    let mut array = pg_sys::ArrayExpr {
        array_typeid: array_type,
        array_collid: first.collation,
        element_typeid: first.with_type,
        elements: values.as_ptr(),
        location: -1,
        ..Default::default()
    };
    array.xpr.type_ = pg_sys::NodeTag::T_ArrayExpr;
    let array = root.allocate(array);
    // SAFETY: an expression like those of the planner's, which becomes a constant where all values are; looks
    // the operator's function up.
    let (array, function) = unsafe {
        let array = pg_sys::eval_const_expressions(root.as_ptr(), array.as_ptr().cast());
        (NodeRef::new(array), pg_sys::get_opcode(first.operator))
    };
    let args: List<_> = [Some(first.of), Some(array)].into_iter().collect();
    let mut any = pg_sys::ScalarArrayOpExpr {
        opno: first.operator,
        opfuncid: function,
        useOr: true,
        inputcollid: first.collation,
        args: args.as_ptr(),
        location: -1,
        ..Default::default()
    };
    any.xpr.type_ = pg_sys::NodeTag::T_ScalarArrayOpExpr;
    // SAFETY: the node is complete.
    Some(unsafe { NodeRef::new(root.allocate(any).as_ptr().cast()) })
}
