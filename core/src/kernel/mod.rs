//! Distances between vectors, by the widest instructions that the machine has.
//!
//! Vectors are bytes here (little-endian elements, aligned to their size): the same routine serves a datum, an arena
//! and a page. Imports `types` only.

use crate::types::{ElementType, Metric};

/// A metric and an element type bound to the routines for this machine.
///
/// The same two vectors give the same bits from every method and in either order, so that operators, scans and builds on
/// one machine agree on every comparison. Across instruction sets the last bits may differ: nothing of it goes to disk.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    metric: Metric,
    element: ElementType,
}

impl Measure {
    /// Binds the routines.
    pub fn new(metric: Metric, element: ElementType) -> Self {
        Self { metric, element }
    }

    /// What `distance_from` needs to know of a vector beforehand: its squared norm under cosine, 0 otherwise.
    pub fn prepare(&self, vector: &[u8]) -> f32 {
        let _ = vector;
        unimplemented!()
    }

    /// The value that ranks `a` and `b`; smaller is nearer. L2 gives the squared distance.
    pub fn distance(&self, a: &[u8], b: &[u8]) -> f64 {
        self.distance_from(a, self.prepare(a), b)
    }

    /// As [`Measure::distance`], with `prepared = prepare(query)` kept by the caller.
    pub fn distance_from(&self, query: &[u8], prepared: f32, vector: &[u8]) -> f64 {
        let _ = (query, prepared, vector);
        unimplemented!()
    }

    /// As [`Measure::distance`], with both vectors prepared.
    pub fn distance_between(&self, a: &[u8], prepared_a: f32, b: &[u8], prepared_b: f32) -> f64 {
        let _ = (a, prepared_a, b, prepared_b);
        unimplemented!()
    }
}
