//! What a query wants of the nearest rows: how many, and how near. The planner finds it, the executor
//! computes it.

use pgrx::pg_sys;
use walia_core::rank::Radius;

use super::distance::Bound;
use crate::am::order;
use crate::nodes::{List, NodeRef};

/// Rows that are looked for first where it is not known how many are wanted: the usual LIMIT.
const USUAL: usize = 10;

/// LIMIT and OFFSET.
#[derive(Clone, Copy)]
pub struct Limit<'p> {
    count: NodeRef<'p, pg_sys::Node>,
    offset: Option<NodeRef<'p, pg_sys::Node>>,
}

impl Limit<'_> {
    /// Both together, where they are constants.
    fn number(self) -> Option<f64> {
        let number = |node: NodeRef<pg_sys::Node>| {
            let constant = node.downcast::<pg_sys::Const>().filter(|constant| !constant.constisnull);
            constant.map(|constant| constant.constvalue.value() as i64 as f64)
        };
        Some(number(self.count)? + self.offset.map_or(Some(0.0), number)?)
    }
}

/// The LIMIT and OFFSET of the query, where they count rows of the relation, or of the one that it is a part
/// of.
pub fn limit<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
) -> Option<Limit<'p>> {
    let query = root.parse();
    let whole =
        if relation.top_parent_relids.is_null() { relation.relids } else { relation.top_parent_relids };
    // SAFETY: compares sets of relations.
    let is_alone = unsafe { pg_sys::bms_equal(root.all_baserels, whole) };
    // Windows that rank read as many rows as are given.
    let only_rank = || root.query_pathkeys().first().is_some_and(|key| order::every_window_ranks(root, key));
    let is_plain = !query.hasAggs
        && (!query.hasWindowFuncs || only_rank())
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

/// Whether an expression has one value for a whole scan.
pub fn is_known(root: NodeRef<pg_sys::PlannerInfo>, node: NodeRef<pg_sys::Node>) -> bool {
    // SAFETY: looks at an expression of the planner's.
    unsafe {
        pg_sys::pull_varnos(root.as_ptr(), node.as_ptr()).is_null()
            && !pg_sys::contain_volatile_functions(node.as_ptr())
            && !pg_sys::contain_subplans(node.as_ptr())
    }
}

/// How many rows the planner takes to be wanted.
pub fn foreseen(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) -> f64 {
    told(root, relation).unwrap_or(USUAL as f64)
}

/// How many rows are wanted, where the planner knows. Of a query with windows it does not say so.
pub fn told(root: NodeRef<pg_sys::PlannerInfo>, relation: NodeRef<pg_sys::RelOptInfo>) -> Option<f64> {
    let limit = limit(root, relation)?;
    let told = if root.parse().hasWindowFuncs { limit.number()? } else { root.limit_tuples };
    (told > 0.0).then_some(told)
}

/// Expressions and numbers that a goal is made of.
pub const EXPRESSIONS: usize = 3;
pub const NUMBERS: usize = 3;

/// What a query wants, as its plan has it.
#[derive(Clone, Copy)]
pub struct Goal<'p> {
    /// How many rows, and how many of them it leaves out, as far as that is known.
    limit: Option<NodeRef<'p, pg_sys::Node>>,
    offset: Option<NodeRef<'p, pg_sys::Node>>,
    /// An upper bound of `scale` times the distance and `shift`, or where `scale` is negative a lower one.
    bound: Option<NodeRef<'p, pg_sys::Node>>,
    scale: f64,
    shift: f64,
    /// Rows that are read past the limit: to see whether they are as far as the last one.
    past: f64,
}

impl<'p> Goal<'p> {
    /// That of a query of a relation.
    pub fn new(
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<pg_sys::RelOptInfo>,
        bound: Option<Bound<'p>>,
    ) -> Self {
        let limit = limit(root, relation);
        let (scale, shift) = bound.map_or((1.0, 0.0), |bound| (bound.of.scale, bound.of.offset));
        // Whether no sort above reads a row past the query's limit; each window does.
        let is_exact = root.sort_pathkeys().len() == 1
            && root.parse().limitOption == pg_sys::LimitOption::LIMIT_OPTION_COUNT;
        Self {
            limit: limit.map(|limit| root.copy(limit.count)),
            offset: limit.and_then(|limit| limit.offset).map(|node| root.copy(node)),
            bound: bound.map(|bound| root.copy(bound.value)),
            scale,
            shift,
            past: f64::from(u8::from(!is_exact)) + root.parse().windowClause().len() as f64,
        }
    }

    /// What is to be computed when the query is run, for `custom_exprs`.
    pub fn expressions(&self) -> [Option<NodeRef<'p, pg_sys::Node>>; EXPRESSIONS] {
        [self.limit, self.offset, self.bound]
    }

    /// What is known, for `custom_private`.
    pub fn numbers(&self) -> [f64; NUMBERS] {
        [self.scale, self.shift, self.past]
    }

    /// From lists that begin with these.
    pub fn decode(expressions: List<'p, pg_sys::Node>, data: List<'p, pg_sys::Node>) -> Self {
        let [limit, offset, bound] = std::array::from_fn(|place| expressions.get(place));
        let [scale, shift, past] = std::array::from_fn(|place| number(data, place));
        Self { limit, offset, bound, scale, shift, past }
    }
}

/// Numbers as constants, in the current memory context.
pub fn constants<'p>(numbers: impl IntoIterator<Item = f64>) -> List<'p, pg_sys::Node> {
    let constant = |number: f64| {
        let (size, none) = (size_of::<f64>() as i32, pg_sys::InvalidOid);
        let datum = pg_sys::Datum::from(number.to_bits() as i64);
        // SAFETY: a number of eight bytes is passed by value.
        unsafe {
            NodeRef::new(pg_sys::makeConst(pg_sys::FLOAT8OID, -1, none, size, datum, false, true).cast())
        }
    };
    numbers.into_iter().map(|number| Some(constant(number))).collect()
}

/// One of them.
pub fn number(constants: List<pg_sys::Node>, place: usize) -> f64 {
    let constant = constants.get(place).and_then(|node| node.downcast::<pg_sys::Const>());
    constant.map_or(0.0, |constant| f64::from_bits(constant.constvalue.value() as u64))
}

/// What a query wants, while it is executed.
pub struct RunGoal {
    node: *mut pg_sys::CustomScanState,
    limit: *mut pg_sys::ExprState,
    offset: *mut pg_sys::ExprState,
    bound: *mut pg_sys::ExprState,
    scale: f64,
    shift: f64,
    past: f64,
}

impl RunGoal {
    /// That of a node's plan.
    ///
    /// # Safety
    /// The execution of `node` begins; it lives as long as what is returned is used.
    pub unsafe fn new(node: *mut pg_sys::CustomScanState, goal: Goal) -> Self {
        // SAFETY: by the caller's promise.
        let [limit, offset, bound] = goal.expressions().map(|part| unsafe { initialized(node, part) });
        let Goal { scale, shift, past, .. } = goal;
        Self { node, limit, offset, bound, scale, shift, past }
    }

    /// What the bound lets pass; `None` where there is none. A condition that is NULL lets nothing pass. A
    /// bound that is NaN, which is greater than all numbers, gives NaN.
    pub fn radius(&self) -> Option<Radius> {
        let bound = (!self.bound.is_null()).then(|| self.value(self.bound))?;
        let Some(bound) = bound.map(|bound| f64::from_bits(bound.value() as u64)) else {
            return Some(Radius { distance: f64::NEG_INFINITY, undefined: false });
        };
        // What is computed of a distance is rounded, and so is this.
        let rounding = 2.0 * f64::EPSILON * (self.shift.abs() + bound.abs()) / self.scale.abs();
        let rounding = if rounding.is_finite() { rounding } else { 0.0 };
        let distance = (bound - self.shift) / self.scale + rounding;
        Some(Radius { distance, undefined: self.scale < 0.0 })
    }

    /// How many rows are wanted.
    pub fn wanted(&self) -> usize {
        self.limit().map_or(USUAL, |limit| limit.saturating_add(self.past as usize).max(1))
    }

    /// Whether it is known how many rows are wanted.
    pub fn is_known(&self) -> bool {
        self.limit().is_some()
    }

    /// How many rows are read, where that is known.
    pub fn most(&self) -> Option<usize> {
        self.limit().filter(|_| self.past == 0.0)
    }

    /// The limit, and what is left out before, if there is one. Postgres complains of negative ones.
    fn limit(&self) -> Option<usize> {
        let [count, offset] = [self.limit, self.offset].map(|expression| self.value(expression));
        let [count, offset] =
            [count, offset.or(Some(0.into()))].map(|value| value.map(|value| value.value() as i64));
        Some(count?.max(0).saturating_add(offset?.max(0)) as usize)
    }

    /// The value of an expression; none where there is no expression, or it is NULL.
    fn value(&self, expression: *mut pg_sys::ExprState) -> Option<pg_sys::Datum> {
        if expression.is_null() {
            return None;
        }
        let mut is_null = false;
        // SAFETY: initialized with the node, whose expression context it is evaluated in. Values are numbers.
        let value = unsafe {
            let context = (*self.node).ss.ps.ps_ExprContext;
            let value = pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            value
        };
        (!is_null).then_some(value)
    }
}

/// An expression of a node's plan, to be computed; null where there is none.
///
/// # Safety
/// The execution of `node` begins.
pub unsafe fn initialized(
    node: *mut pg_sys::CustomScanState,
    expression: Option<NodeRef<pg_sys::Node>>,
) -> *mut pg_sys::ExprState {
    let expression = expression.map_or(std::ptr::null_mut(), NodeRef::as_ptr);
    // SAFETY: by the caller's promise. What is made lives as long as the query's memory context.
    unsafe { pg_sys::ExecInitExpr(expression.cast(), &raw mut (*node).ss.ps) }
}
