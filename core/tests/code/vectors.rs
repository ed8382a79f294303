//! Vectors and distances that the tests share.

use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rand_distr::StandardNormal;
use walia_core::code::{CodeParameters, rotated_dimensions};
use walia_core::types::{ElementType, Metric};

/// The metrics that have codes.
pub const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
/// Bits of a level.
pub const BITS: [u8; 3] = [1, 2, 4];

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Normally distributed elements around `mean`.
pub fn gaussian(rng: &mut StdRng, dimensions: usize, mean: f32) -> Vec<f32> {
    (0..dimensions).map(|_| rng.sample::<f32, _>(StandardNormal) + mean).collect()
}

/// The bytes of a vector with these elements, rounded to the element type.
pub fn bytes(element: ElementType, values: &[f32]) -> Vec<u8> {
    let byte = |bits: &[f32]| {
        bits.iter().zip((0..8).rev()).fold(0, |byte, (value, place)| byte | u8::from(*value > 0.0) << place)
    };
    match element {
        ElementType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementType::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        ElementType::Bit => values.chunks(8).map(byte).collect(),
        ElementType::Sparse => unreachable!("they have no codes"),
    }
}

pub fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The exact distance, in the unit of estimates.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum(),
        Metric::InnerProduct => -product(a, b),
        Metric::Cosine => 1.0 - product(a, b) / (product(a, a) * product(b, b)).sqrt(),
        Metric::L1 | Metric::Hamming => {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum()
        }
        Metric::Jaccard => 1.0 - product(a, b) / (product(a, a) + product(b, b) - product(a, b)),
    }
}

/// The mean of vectors, normalized first under cosine.
pub fn centroid<'a>(metric: Metric, vectors: impl IntoIterator<Item = &'a Vec<f32>>) -> Vec<f32> {
    let mut sums = Vec::new();
    let mut count = 0.0;
    for vector in vectors {
        let norm = if metric == Metric::Cosine { product(vector, vector).sqrt() } else { 1.0 };
        sums.resize(vector.len(), 0.0);
        sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value) / norm);
        count += 1.0;
    }
    sums.iter().map(|sum| (sum / count) as f32).collect()
}

/// Codes of f32 vectors, all rotated dimensions coded.
pub fn parameters(metric: Metric, bits: u8, dimensions: usize, seed: u64) -> CodeParameters {
    let code_dimensions = rotated_dimensions(dimensions);
    CodeParameters { dimensions, element: ElementType::F32, metric, bits, code_dimensions, seed }
}
