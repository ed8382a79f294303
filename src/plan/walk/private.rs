//! What the planner tells the executor of the scan, and how that travels in Postgres's nodes: see the module
//! of the same name one level above.

use pgrx::pg_sys;
use walia_core::page::scan::Alternative;

use super::preceding::Preceding;
use crate::nodes::List;
use crate::plan::goal::{self, Goal};

/// What the planner tells the executor.
#[derive(Clone, Copy)]
pub struct Private<'p> {
    pub goal: Goal<'p>,
    /// Rows that the order gives first: where there may be any of them, the other child is the way.
    pub preceding: Preceding,
    /// What the other child costs, beside the walk.
    pub alternative: Alternative,
}

impl<'p> Private<'p> {
    /// For `custom_exprs`, in the current memory context.
    pub fn expressions(&self) -> List<'p, pg_sys::Node> {
        self.goal.expressions().into_iter().collect()
    }

    /// For `custom_private`, in the current memory context.
    pub fn data(&self) -> List<'p, pg_sys::Node> {
        let Self { goal, preceding: Preceding { nulls, undefined }, alternative } = self;
        let [nulls, undefined] = [*nulls, *undefined].map(|precedes| f64::from(u8::from(precedes)));
        let Alternative { cost, expansion, test, share } = *alternative;
        goal::constants(goal.numbers().into_iter().chain([nulls, undefined, cost, expansion, test, share]))
    }

    /// From the lists. They need no version: the scan is never for parallel workers, which load the library
    /// anew.
    pub fn decode(expressions: List<'p, pg_sys::Node>, data: List<'p, pg_sys::Node>) -> Self {
        let number = |place| goal::number(data, goal::NUMBERS + place);
        let [nulls, undefined, cost, expansion, test, share] = std::array::from_fn(number);
        let preceding = Preceding { nulls: nulls != 0.0, undefined: undefined != 0.0 };
        let alternative = Alternative { cost, expansion, test, share };
        Self { goal: Goal::decode(expressions, data), preceding, alternative }
    }
}
