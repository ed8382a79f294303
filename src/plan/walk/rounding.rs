//! How far the distances of a query's operator may be from the index's.

use pgrx::pg_sys;
use walia_core::types::{ElementType, MAX_SPARSE_ELEMENTS, Metric, Parameters};

use crate::types::measure_of;

/// Elements of a value of sparsevec that are not zero, at most.
const MOST_OF_QUERY: usize = 16_000;

/// What lies between an operator's distance and the index's. walia's operators measure as the index does, to
/// the last bit; pgvector's add in float4.
#[derive(Clone, Copy)]
pub struct Rounding {
    absolute: f64,
    /// In proportion to the distance.
    relative: f64,
}

impl Rounding {
    /// That of the operator that a scan is ordered by.
    ///
    /// # Safety
    /// `scan` is one of an index with these parameters, and has its keys.
    pub unsafe fn of(scan: pg_sys::IndexScanDesc, parameters: &Parameters) -> Self {
        // SAFETY: by the caller's promise there are as many keys as the scan says.
        let key = unsafe { ((*scan).numberOfOrderBys > 0).then(|| &*(*scan).orderByData) };
        if key.is_none_or(|key| key.sk_func.fn_addr.and_then(measure_of).is_some()) {
            return Self { absolute: 0.0, relative: 0.0 };
        }
        let added = match parameters.element {
            ElementType::Sparse => parameters.dimensions.min(MAX_SPARSE_ELEMENTS + MOST_OF_QUERY),
            _ => parameters.dimensions,
        };
        let each = f64::from(f32::EPSILON) * added as f64;
        match parameters.metric {
            // They are counted.
            Metric::Hamming | Metric::Jaccard => Self { absolute: 0.0, relative: 0.0 },
            Metric::L2 | Metric::L1 => Self { absolute: 0.0, relative: each },
            Metric::Cosine => Self { absolute: 4.0 * each, relative: 0.0 },
            // It depends on the norms of vectors that nobody knows.
            Metric::InnerProduct => Self { absolute: f64::INFINITY, relative: 0.0 },
        }
    }

    /// A bound of the index's distances, where this is one of the operator's. A condition tests every row
    /// that the search gives, so that more are harmless.
    pub fn widened(self, bound: f64) -> f64 {
        if bound.is_finite() { bound + self.absolute + self.relative * bound.abs() } else { bound }
    }
}
