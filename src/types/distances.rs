//! Distances, by the same kernels as the index's.

use std::sync::LazyLock;

use walia_core::kernel::Measure;
use walia_core::types::{ElementType, Metric};

use super::datum::RawVector;
use super::element::Element;
use super::validate::{check_same, different_lengths};
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

/// Number of bits that differ.
pub fn hamming(a: &RawVector, b: &RawVector) -> Result<f64> {
    static MEASURE: LazyLock<Measure> = LazyLock::new(|| Measure::new(Metric::Hamming, ElementType::Bit));
    of_bits(&MEASURE, a, b)
}

/// 1 − the share of common ones in all ones.
pub fn jaccard(a: &RawVector, b: &RawVector) -> Result<f64> {
    static MEASURE: LazyLock<Measure> = LazyLock::new(|| Measure::new(Metric::Jaccard, ElementType::Bit));
    of_bits(&MEASURE, a, b)
}

/// The distance of two values of type `bit`.
fn of_bits(measure: &Measure, a: &RawVector, b: &RawVector) -> Result<f64> {
    let [length, other] = [a, b].map(|bits| bits.dimensions(ElementType::Bit));
    if length != other {
        return Err(different_lengths(length, other));
    }
    Ok(measure.distance(a.bytes(), b.bytes()))
}
