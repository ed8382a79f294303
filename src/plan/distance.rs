//! Which expressions are a distance of an index's column from something else, or follow it: orders and bounds
//! as applications write them.

use pgrx::pg_sys;

use crate::nodes::NodeRef;

/// An expression that is `scale` times a distance and `offset`, such as `1 - (v <=> q)`.
#[derive(Clone, Copy)]
pub struct Linear<'p> {
    /// The operator's expression, as the query has it.
    pub distance: NodeRef<'p, pg_sys::OpExpr>,
    pub scale: f64,
    pub offset: f64,
}

impl<'p> Linear<'p> {
    /// Looks for the distance in an expression.
    pub fn of(
        expression: NodeRef<'p, pg_sys::Node>,
        is_distance: &dyn Fn(NodeRef<'p, pg_sys::OpExpr>) -> bool,
    ) -> Option<Self> {
        let operator = expression.downcast::<pg_sys::OpExpr>()?;
        if is_distance(operator) {
            return Some(Self { distance: operator, scale: 1.0, offset: 0.0 });
        }
        let args = operator.args();
        let left = args.get(0)?;
        if operator.opfuncid == pg_sys::Oid::from(pg_sys::F_FLOAT8UM) {
            return Self::of(left, is_distance)?.then(-1.0, 0.0);
        }
        let right = args.get(1)?;
        let (inner, constant, is_left) = match (number(left), number(right)) {
            (Some(constant), None) => (right, constant, true),
            (None, Some(constant)) => (left, constant, false),
            _ => return None,
        };
        let inner = Self::of(inner, is_distance)?;
        match operator.opfuncid.to_u32() {
            pg_sys::F_FLOAT8PL => inner.then(1.0, constant),
            pg_sys::F_FLOAT8MI if is_left => inner.then(-1.0, constant),
            pg_sys::F_FLOAT8MI => inner.then(1.0, -constant),
            pg_sys::F_FLOAT8MUL => inner.then(constant, 0.0),
            pg_sys::F_FLOAT8DIV if !is_left => inner.then(constant.recip(), 0.0),
            _ => None,
        }
    }

    /// Multiplied, and then added to; `None` where that says nothing of the distance any more.
    fn then(self, scale: f64, offset: f64) -> Option<Self> {
        let (scale, offset) = (self.scale * scale, self.offset * scale + offset);
        (scale.is_normal() && offset.is_finite()).then_some(Self { scale, offset, ..self })
    }
}

/// The value of a constant double precision.
fn number(node: NodeRef<pg_sys::Node>) -> Option<f64> {
    let constant = node.downcast::<pg_sys::Const>()?;
    let is_number = !constant.constisnull && constant.consttype == pg_sys::FLOAT8OID;
    is_number.then(|| f64::from_bits(constant.constvalue.value() as u64))
}

/// An upper bound of a distance that a condition demands: `scale` times the bound and `offset` is what it
/// compares with.
#[derive(Clone, Copy)]
pub struct Bound<'p> {
    /// Of what kind of expression `value` is the bound.
    pub of: Linear<'p>,
    /// Computed when the query is run.
    pub value: NodeRef<'p, pg_sys::Node>,
}

impl<'p> Bound<'p> {
    /// The bound that a condition demands of a distance like this one, if that is what it does. `is_known`
    /// says whether an expression has one value for the whole scan.
    pub fn of(
        condition: NodeRef<'p, pg_sys::Node>,
        is_distance: &dyn Fn(NodeRef<'p, pg_sys::OpExpr>) -> bool,
        is_known: &dyn Fn(NodeRef<'p, pg_sys::Node>) -> bool,
    ) -> Option<Self> {
        let operator = condition.downcast::<pg_sys::OpExpr>()?;
        let is_less = match operator.opfuncid.to_u32() {
            pg_sys::F_FLOAT8LT | pg_sys::F_FLOAT8LE => true,
            pg_sys::F_FLOAT8GT | pg_sys::F_FLOAT8GE => false,
            _ => return None,
        };
        let (left, right) = (operator.args().get(0)?, operator.args().get(1)?);
        [(left, right, is_less), (right, left, !is_less)].into_iter().find_map(|(side, value, is_less)| {
            let of = Linear::of(side, is_distance)?;
            (is_less == (of.scale > 0.0) && is_known(value)).then_some(Self { of, value })
        })
    }
}
