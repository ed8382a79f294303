//! RaBitQ codes: vectors in 1, 2 or 4 bits a dimension, and unbiased estimates of distances from them. Also
//! the encodings of payloads.
//!
//! Sources: Gao & Long, "RaBitQ" (arXiv 2405.12497), for one bit; Gao et al., its extension to more bits
//! (arXiv 2409.09913). The levels here are those of the best uniform quantizer of a Gaussian, with one step a
//! vector, where the extended paper searches for the best step.
//!
//! # Estimator
//! A vector `o` and a query `q` are each split into a part that is known exactly and a rest, `r` and `p`:
//!
//! ```text
//! L2:             r = o − c,            p = q − c               ‖o − q‖² = ‖r‖² + ‖p‖² − 2⟨r,p⟩
//! inner product:  r = o − ⟨o,e⟩e,       p = q − ⟨q,e⟩e          −⟨o,q⟩  = −⟨o,e⟩⟨q,e⟩ − ⟨r,p⟩
//! cosine:         the same after o and q are divided by their norms, plus 1
//! ```
//!
//! with the centroid `c` and its direction `e = c/‖c‖` (0 where c is 0). Of all multiples of `e` that could
//! be taken from `q`, `⟨q,e⟩e` leaves the shortest rest, and so the least error; `r` is short for the same
//! reason, and centred since the mean of all `⟨o,e⟩e` is `c`.
//!
//! `⟨r,p⟩` is estimated. Both are rotated by the same random rotation (`rotation`), which keeps it. With
//! `σ = ‖r‖/√D`, step `Δ = K·σ` and `h = (2ᵇ − 1)/2`, each of the first D' rotated dimensions of `r` becomes
//! a level `uᵢ`, 0 to 2ᵇ − 1, the nearest to `rᵢ/Δ + h`. The level stands for `xᵢ = uᵢ − h`; x is 0 in the
//! dimensions that are not coded. Then
//!
//! ```text
//! ⟨r,p⟩ ≈ ‖r‖²/⟨x,r⟩ · ⟨x,p⟩
//! ```
//!
//! is unbiased (theorem 3.2 of the first paper): the part of p along r comes out exactly, and the other part
//! is orthogonal to r and meets x in a random direction. Where D' < D the same formula holds, as dimensions
//! left out only turn x away from r. p is rounded to `δ·sᵢ` with sᵢ of 8 bits, so that
//! `⟨x,p⟩ = δ(Σ uᵢsᵢ − h Σ sᵢ)` needs integers only.
//!
//! # Error
//! Of x, the part orthogonal to r has the squared norm `‖x‖² − ⟨x,r⟩²/‖r‖²`, about `D'(n − t²D'/D)` where n
//! and t are E\[x²\] and E\[x·g\] of a standard Gaussian g. Its product with a random direction of length ‖p‖
//! has a standard deviation of 1/√D of its norm, which gives, with the factor `f = ‖r‖²/⟨x,r⟩` that a code
//! holds (twice that for L2),
//!
//! ```text
//! σ(estimate) = |f| · ‖p‖ · √( D'/D · (n − t²·D'/D) )          √(n − t²) = 0.30, 0.33, 0.32 for 1, 2, 4 bits
//! ```
//!
//! # Bytes of a code
//! Two factors, f32: what the exact part adds (L2: ‖r‖²; others: −⟨o,e⟩), and what the sum is scaled by (L2:
//! −2f; others: −f). Then the packed levels, n bytes: level i is in byte `i mod n`, from bit `b·⌊i/n⌋`
//! upwards. n is rounded up to a multiple of 4; bits without a level are 0. A code depends on the vector, the
//! centroid and the [`CodeParameters`] only: all arithmetic is IEEE's, in one order, so that every machine
//! makes the same bytes.

mod centroid;
mod encode;
mod estimate;
mod payload;
mod rotation;
pub mod standalone;

pub use centroid::{Moments, Sample};
pub use encode::Quantizer;
pub(crate) use encode::read;
pub use estimate::CodeQuery;
pub use payload::{distance_bounds, fingerprint};
pub use rotation::{ROTATION_ALGORITHM, rotated_dimensions};

use crate::types::{ElementType, Metric, Parameters};
use xxhash_rust::xxh3::xxh3_64;

/// How the codes of one index are made; kept on its meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeParameters {
    /// Dimensions of the vectors.
    pub dimensions: usize,
    /// Type of their elements.
    pub element: ElementType,
    /// The distance that is estimated; one that has codes.
    pub metric: Metric,
    /// Bits of a level: 1, 2 or 4.
    pub bits: u8,
    /// The first rotated dimensions, which are coded: 1 to [`rotated_dimensions`].
    pub code_dimensions: usize,
    /// Seed of the rotation.
    pub seed: u64,
}

impl CodeParameters {
    /// Whether codes can be made so: some metrics have none, and only some numbers of bits and dimensions
    /// will do.
    pub fn is_valid(&self) -> bool {
        self.metric.has_codes()
            && self.element.is_quantizable()
            && matches!(self.bits, 1 | 2 | 4)
            && (1..=rotated_dimensions(self.dimensions)).contains(&self.code_dimensions)
    }
}

impl CodeParameters {
    /// How the codes of an index with these parameters and this centroid are made; `None` for one without
    /// codes.
    pub fn new(parameters: &Parameters, centroid: &[f32]) -> Option<Self> {
        (parameters.code_bits > 0).then(|| Self {
            dimensions: parameters.dimensions,
            element: parameters.element,
            metric: parameters.metric,
            bits: parameters.code_bits,
            code_dimensions: parameters.code_dimensions.into(),
            seed: seed_of(centroid),
        })
    }
}

/// The seed of the rotation for codes around a centroid: a hash of 64 bits (XXH3) of its elements. So builds
/// can be repeated, and parameters tell quantizers apart.
pub fn seed_of(centroid: &[f32]) -> u64 {
    xxh3_64(bytemuck::cast_slice(centroid))
}

/// Bytes of the factors, which come first in a code.
pub const FACTORS_SIZE: usize = 8;

/// Bytes of a code: factors and packed levels. A multiple of 4.
pub const fn code_size(bits: u8, code_dimensions: usize) -> usize {
    FACTORS_SIZE + packed_size(bits, code_dimensions)
}

/// Bytes of the packed levels of a code.
const fn packed_size(bits: u8, code_dimensions: usize) -> usize {
    (bits as usize * code_dimensions).div_ceil(8).next_multiple_of(4)
}

/// The quantizer of a number of bits, for values of a Gaussian with a standard deviation of 1.
struct Levels {
    /// Distance of two levels (Max, "Quantizing for minimum distortion", 1960). For one bit any will do.
    step: f64,
    /// E\[x²\], x being a level less h.
    square: f64,
    /// E\[x·g\] with the value g.
    product: f64,
}

impl Levels {
    const fn of(bits: u8) -> Self {
        match bits {
            1 => Self { step: 1.596, square: 0.25, product: 0.398_94 },
            2 => Self { step: 0.9957, square: 0.888_79, product: 0.884_96 },
            _ => Self { step: 0.3352, square: 8.797_3, product: 2.948_9 },
        }
    }
}

/// The sum of the terms of 0 to `count`, in double precision and in one order on every machine: 16 sums side
/// by side, that of a term being its number modulo 16, added up pairwise.
#[inline(always)]
fn sum(count: usize, term: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let whole = count - count % LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    for (lane, sum) in sums.iter_mut().enumerate().take(count - whole) {
        *sum += term(whole + lane);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

/// The sum of the products of two slices; what is left over of the longer one does not count.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let count = a.len().min(b.len());
    let (a, b) = (&a[..count], &b[..count]);
    sum(count, |i| f64::from(a[i]) * f64::from(b[i]))
}
