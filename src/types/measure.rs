//! Which distance a C function computes: what an operator class says by its support function.

use std::ptr::fn_addr_eq;

use walia_core::types::{ElementType, Metric};

use super::functions::{CFunction, bit, vecf16, vecf32, walia_sparsevec as sparsevec};

/// The metric and the element type of an operator class, by the C function of its support function 1.
///
/// An operator class for another type of the same layout (pgvector's) names the same C functions. `None`
/// where the function is not one of walia's distances.
pub fn measure_of(function: CFunction) -> Option<(Metric, ElementType)> {
    let distances: [(CFunction, Metric, ElementType); 14] = [
        (vecf32::l2_distance, Metric::L2, ElementType::F32),
        (vecf32::negative_inner_product, Metric::InnerProduct, ElementType::F32),
        (vecf32::cosine_distance, Metric::Cosine, ElementType::F32),
        (vecf32::l1_distance, Metric::L1, ElementType::F32),
        (vecf16::l2_distance, Metric::L2, ElementType::F16),
        (vecf16::negative_inner_product, Metric::InnerProduct, ElementType::F16),
        (vecf16::cosine_distance, Metric::Cosine, ElementType::F16),
        (vecf16::l1_distance, Metric::L1, ElementType::F16),
        (bit::hamming_distance, Metric::Hamming, ElementType::Bit),
        (bit::jaccard_distance, Metric::Jaccard, ElementType::Bit),
        (sparsevec::l2_distance, Metric::L2, ElementType::Sparse),
        (sparsevec::negative_inner_product, Metric::InnerProduct, ElementType::Sparse),
        (sparsevec::cosine_distance, Metric::Cosine, ElementType::Sparse),
        (sparsevec::l1_distance, Metric::L1, ElementType::Sparse),
    ];
    let (_, metric, element) =
        distances.into_iter().find(|(distance, ..)| fn_addr_eq(*distance, function))?;
    Some((metric, element))
}
