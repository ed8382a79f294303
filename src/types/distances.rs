//! Distances, by the same kernels as the index's.

use std::sync::LazyLock;

use walia_core::kernel::Measure;
use walia_core::types::{ElementType, Metric};

use super::datum::RawVector;
use super::element::Element;
use super::validate::{check_same, different_dimensions, different_lengths};
use crate::error::Result;

/// Those of numbers, in the order of their codes.
const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

/// By metric, then by element type.
static MEASURES: LazyLock<[[Measure; 2]; 4]> = LazyLock::new(|| {
    METRICS.map(|metric| [ElementType::F32, ElementType::F16].map(|element| Measure::new(metric, element)))
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

/// The distance of two values of type `bit`.
pub fn bits(metric: Metric, [a, b]: [RawVector; 2]) -> Result<f64> {
    static MEASURES: LazyLock<[Measure; 2]> = LazyLock::new(|| {
        [Metric::Hamming, Metric::Jaccard].map(|metric| Measure::new(metric, ElementType::Bit))
    });
    let [length, other] = [&a, &b].map(RawVector::dimensions);
    if length != other {
        return Err(different_lengths(length, other));
    }
    Ok(MEASURES[usize::from(metric == Metric::Jaccard)].distance(a.bytes(), b.bytes()))
}

/// The distance of two values of pgvector's type `sparsevec`.
pub fn sparse(metric: Metric, [a, b]: [RawVector; 2]) -> Result<f64> {
    static MEASURES: LazyLock<[Measure; 4]> =
        LazyLock::new(|| METRICS.map(|metric| Measure::new(metric, ElementType::Sparse)));
    let [dimensions, others] = [&a, &b].map(RawVector::dimensions);
    if dimensions != others {
        return Err(different_dimensions("sparsevec", dimensions, others));
    }
    Ok(metric.operator_value(MEASURES[metric as usize - 1].distance(a.bytes(), b.bytes())))
}
