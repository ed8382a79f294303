//! What the planner tells the executor of the scan, and how that travels in Postgres's nodes: see the module
//! of the same name one level above.

use pgrx::pg_sys;
use walia_core::rank::RankOrder;
use walia_core::types::{ElementType, Metric};

use crate::nodes::{List, NodeRef};
use crate::plan::goal::{self, Goal};

/// What the planner tells the executor.
#[derive(Clone, Copy)]
pub struct Private<'p> {
    pub goal: Goal<'p>,
    /// What distances are from.
    pub query: NodeRef<'p, pg_sys::Node>,
    /// Where rows without a distance stand.
    pub order: RankOrder,
    /// The index's column that has the codes, from 1, and their bits a dimension.
    pub column: usize,
    pub bits: u8,
    /// Of the distance.
    pub metric: Metric,
    pub element: ElementType,
}

impl<'p> Private<'p> {
    /// For `custom_exprs`, in the current memory context.
    pub fn expressions(&self) -> List<'p, pg_sys::Node> {
        self.goal.expressions().into_iter().chain([Some(self.query)]).collect()
    }

    /// For `custom_private`, in the current memory context.
    pub fn data(&self) -> List<'p, pg_sys::Node> {
        let RankOrder { nulls_first, undefined_first } = self.order;
        let [nulls_first, undefined_first] = [nulls_first, undefined_first].map(u8::from);
        let numbers = [
            nulls_first,
            undefined_first,
            self.column as u8,
            self.bits,
            self.metric as u8,
            self.element as u8,
        ];
        goal::constants(self.goal.numbers().into_iter().chain(numbers.map(f64::from)))
    }

    /// From the lists, which need no version: see the other scan's.
    pub fn decode(expressions: List<'p, pg_sys::Node>, data: List<'p, pg_sys::Node>) -> Self {
        let number = |place| goal::number(data, goal::NUMBERS + place);
        let [nulls_first, undefined_first, column, bits, metric, element] = std::array::from_fn(number);
        Self {
            goal: Goal::decode(expressions, data),
            query: expressions.get(goal::EXPRESSIONS).expect("the plan's query"),
            order: RankOrder { nulls_first: nulls_first != 0.0, undefined_first: undefined_first != 0.0 },
            column: column as usize,
            bits: bits as u8,
            metric: Metric::from_code(metric as u8).expect("the plan's metric"),
            element: ElementType::from_code(element as u8).expect("the plan's element type"),
        }
    }
}
