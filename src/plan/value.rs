//! What rows are ordered by.

use std::cmp::Ordering;

use pgrx::pg_sys;

use super::child::Row;
use crate::nodes::NodeRef;

/// A double precision in the order of Postgres's btree: NaN after all numbers, then NULL.
#[derive(Clone, Copy)]
pub struct Value(f64);

impl Value {
    /// After all NaN that are given.
    pub const NULL: Self = Self(f64::from_bits(i64::MAX as u64 - 1));

    /// Of what is not NULL.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { f64::NAN } else { value + 0.0 })
    }

    /// A number that [`f64::total_cmp`] orders as it is ordered.
    pub fn to_number(self) -> f64 {
        self.0
    }

    /// From such a number.
    pub fn from_number(number: f64) -> Self {
        Self(number)
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

/// Computes the values of rows.
pub struct Order {
    expression: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
}

impl Order {
    /// By an expression of the children's columns that gives a double precision.
    ///
    /// # Safety
    /// The expression belongs to the plan of `node`, whose execution has begun. Both live as long as what is
    /// returned is used.
    pub unsafe fn new(expression: NodeRef<pg_sys::Node>, node: *mut pg_sys::PlanState) -> Self {
        // SAFETY: by the caller's promise; every scan has an expression context.
        unsafe {
            let expression = pg_sys::ExecInitExpr(expression.as_ptr().cast(), node);
            Self { expression, context: (*node).ps_ExprContext }
        }
    }

    /// The value of a row.
    pub fn value(&mut self, row: Row) -> Value {
        let mut is_null = false;
        // SAFETY: by the promise of `new`. The row's columns are extracted, as for an expression that may
        // take them for those of a virtual row; the value is not a pointer into the memory that is reset.
        let value = unsafe {
            let context = &mut *self.context;
            context.ecxt_scantuple = row.slot();
            let value = pg_sys::ExecEvalExprSwitchContext(self.expression, self.context, &mut is_null);
            pg_sys::MemoryContextReset(context.ecxt_per_tuple_memory);
            value
        };
        if is_null { Value::NULL } else { Value::new(f64::from_bits(value.value() as u64)) }
    }
}
