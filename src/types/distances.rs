//! Distances, by the same kernels as the index's. Imports `element`, `functions` and `validate`.

use std::ptr::fn_addr_eq;
use std::sync::LazyLock;

use walia_core::kernel::Measure;
use walia_core::types::{ElementType, Metric};

use super::element::Element;
use super::functions::{CFunction, vecf16, vecf32};
use super::validate::check_same;
use crate::error::Result;

/// By metric, in the order of their codes, then by element type.
static MEASURES: LazyLock<[[Measure; 2]; 4]> = LazyLock::new(|| {
    [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1]
        .map(|metric| [ElementType::F32, ElementType::F16].map(|element| Measure::new(metric, element)))
});

/// The value that ranks `a` and `b`, as [`Measure::distance`] gives it: L2 squared.
fn ranking<E: Element>(metric: Metric, a: &[E], b: &[E]) -> Result<f64> {
    check_same(a, b)?;
    let measure = &MEASURES[metric as usize - 1][E::TYPE as usize - 1];
    Ok(measure.distance(bytemuck::cast_slice(a), bytemuck::cast_slice(b)))
}

/// Euclidean distance.
pub fn l2<E: Element>(a: &[E], b: &[E]) -> Result<f64> {
    ranking(Metric::L2, a, b).map(f64::sqrt)
}

/// Inner product.
pub fn inner_product<E: Element>(a: &[E], b: &[E]) -> Result<f64> {
    negative_inner_product(a, b).map(|negative| 0.0 - negative)
}

/// Negative inner product: smaller is nearer.
pub fn negative_inner_product<E: Element>(a: &[E], b: &[E]) -> Result<f64> {
    ranking(Metric::InnerProduct, a, b)
}

/// 1 − cosine similarity; NaN where either is a zero vector.
pub fn cosine<E: Element>(a: &[E], b: &[E]) -> Result<f64> {
    ranking(Metric::Cosine, a, b)
}

/// Sum of absolute differences.
pub fn l1<E: Element>(a: &[E], b: &[E]) -> Result<f64> {
    ranking(Metric::L1, a, b)
}

/// The metric and the element type of an operator class, by the C function of its support function 1.
///
/// An operator class for another type of the same layout (pgvector's) names the same C functions. `None` where the
/// function is not one of walia's distances.
pub fn measure_of(function: CFunction) -> Option<(Metric, ElementType)> {
    let distances: [(CFunction, Metric, ElementType); 8] = [
        (vecf32::l2_distance, Metric::L2, ElementType::F32),
        (vecf32::negative_inner_product, Metric::InnerProduct, ElementType::F32),
        (vecf32::cosine_distance, Metric::Cosine, ElementType::F32),
        (vecf32::l1_distance, Metric::L1, ElementType::F32),
        (vecf16::l2_distance, Metric::L2, ElementType::F16),
        (vecf16::negative_inner_product, Metric::InnerProduct, ElementType::F16),
        (vecf16::cosine_distance, Metric::Cosine, ElementType::F16),
        (vecf16::l1_distance, Metric::L1, ElementType::F16),
    ];
    let (_, metric, element) =
        distances.into_iter().find(|(distance, ..)| fn_addr_eq(*distance, function))?;
    Some((metric, element))
}
