//! What the planner tells the executor of the scan, and how that travels in Postgres's nodes: see the module
//! of the same name one level above.

use pgrx::pg_sys;
use walia_core::page::scan::Alternative;

use super::preceding::Preceding;
use crate::nodes::{List, NodeRef};

/// What the planner tells the executor.
#[derive(Clone, Copy)]
pub struct Private<'p> {
    /// How many rows the query wants, and how many of them it leaves out, as far as that is known.
    pub limit: Option<NodeRef<'p, pg_sys::Node>>,
    pub offset: Option<NodeRef<'p, pg_sys::Node>>,
    /// An upper bound of `scale` times the distance and `shift`, or where `scale` is negative a lower one.
    pub bound: Option<NodeRef<'p, pg_sys::Node>>,
    pub numbers: Numbers,
}

/// What of that is numbers.
#[derive(Clone, Copy)]
pub struct Numbers {
    pub scale: f64,
    pub shift: f64,
    /// Rows that are read past the limit: to see whether they are as far as the last one.
    pub past: f64,
    /// Rows that the order gives first: where there may be any of them, the other child is the way.
    pub preceding: Preceding,
    /// What the other child costs, beside the walk.
    pub alternative: Alternative,
}

impl<'p> Private<'p> {
    /// For `custom_exprs`, in the current memory context.
    pub fn expressions(&self) -> List<'p, pg_sys::Node> {
        [self.limit, self.offset, self.bound].into_iter().collect()
    }

    /// For `custom_private`, in the current memory context.
    pub fn data(&self) -> List<'p, pg_sys::Node> {
        let Numbers { scale, shift, past, preceding: Preceding { nulls, undefined }, alternative } =
            self.numbers;
        let [nulls, undefined] = [nulls, undefined].map(|precedes| f64::from(u8::from(precedes)));
        let Alternative { cost, expansion, test, share } = alternative;
        [scale, shift, past, nulls, undefined, cost, expansion, test, share]
            .map(|value| Some(double(value)))
            .into_iter()
            .collect()
    }

    /// From the lists. They need no version: the scan is never for parallel workers, which load the library
    /// anew.
    pub fn decode(expressions: List<'p, pg_sys::Node>, data: List<'p, pg_sys::Node>) -> Self {
        let number = |place| {
            let constant = data.get(place).and_then(|node| node.downcast::<pg_sys::Const>());
            constant.map_or(0.0, |constant| f64::from_bits(constant.constvalue.value() as u64))
        };
        let [scale, shift, past, nulls, undefined, cost, expansion, test, share] =
            std::array::from_fn(number);
        let preceding = Preceding { nulls: nulls != 0.0, undefined: undefined != 0.0 };
        let alternative = Alternative { cost, expansion, test, share };
        let [limit, offset, bound] = std::array::from_fn(|place| expressions.get(place));
        Self { limit, offset, bound, numbers: Numbers { scale, shift, past, preceding, alternative } }
    }
}

/// A constant, in the current memory context.
fn double<'p>(value: f64) -> NodeRef<'p, pg_sys::Node> {
    let (size, none) = (size_of::<f64>() as i32, pg_sys::InvalidOid);
    let datum = pg_sys::Datum::from(value.to_bits() as i64);
    // SAFETY: a number of eight bytes is passed by value.
    unsafe { NodeRef::new(pg_sys::makeConst(pg_sys::FLOAT8OID, -1, none, size, datum, false, true).cast()) }
}
