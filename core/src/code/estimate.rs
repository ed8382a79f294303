//! Estimates of distances from codes. The module's page has the formulas and the error.

use super::encode::{Quantizer, Split, TO_INTEGER};
use super::rotation::Rotation;
use super::{CodeParameters, FACTORS_SIZE, Levels, packed_size};
use crate::kernel::{Instructions, IntegerSimd, Operation};
use crate::types::Metric;

/// The largest level of a query.
const MAX_QUERY_LEVEL: f32 = 127.0;

/// A query, rotated and rounded to 8 bits a dimension.
///
/// Estimates are in the unit of [`Measure`](crate::kernel::Measure): L2 gives the squared distance, the inner
/// product is negated, cosine is 1 − cos. They have the same bits with every instruction set.
pub struct CodeQuery {
    bits: u8,
    packed_size: usize,
    instructions: Instructions,
    /// Signed levels, in the order that the products need them: for each register of a code's bytes, the
    /// levels that meet its lowest bits, then those that meet the next, and so on; 0 where the code has no
    /// level. What is left at the end fills a register twice where it fits a half, and is met from its lowest
    /// and from its middle bits on at once.
    levels: Vec<u8>,
    /// What every estimate starts from.
    base: f64,
    /// Weight of a code's first factor.
    along: f64,
    /// Half of the distance of two levels.
    half_step: f64,
    /// Sum of the levels times the largest level of a code.
    offset: i32,
    /// Standard deviation of an estimate for a second factor of 1; not kept for a query that is a code.
    deviation: f32,
    /// For a query that is a code: what twice its levels' products with an equal code's sum up to, about.
    equal: Option<f64>,
}

/// What a code's exact part adds, and what its product is scaled by.
pub(super) type Factors = (f32, f32);

/// The factors of a code.
#[inline(always)]
pub(super) fn factors(code: &[u8]) -> Factors {
    let (factors, _) = code.as_chunks();
    (f32::from_le_bytes(factors[0]), f32::from_le_bytes(factors[1]))
}

impl CodeQuery {
    pub(super) fn new(quantizer: &Quantizer, vector: &[u8]) -> Self {
        quantizer.instructions.run(Prepare { quantizer, vector })
    }

    pub(super) fn of_code(quantizer: &Quantizer, code: &[u8]) -> Self {
        quantizer.instructions.run(PrepareCode { quantizer, code })
    }

    /// The estimated distance of a code's vector.
    pub fn estimate(&self, code: &[u8]) -> f32 {
        let mut estimate = 0.0;
        self.estimate_each([((), code)].into_iter(), |(), estimated| estimate = estimated);
        estimate
    }

    /// Appends the estimates of `count` codes that lie `stride` bytes apart, the first at the start of
    /// `codes`.
    pub fn estimate_all(&self, codes: &[u8], stride: usize, count: usize, estimates: &mut Vec<f32>) {
        let before = estimates.len();
        estimates.resize(before + count, 0.0);
        let places = estimates[before..].iter_mut().enumerate();
        self.estimate_each(places.map(|(i, place)| (place, &codes[i * stride..])), |place, estimate| {
            *place = estimate;
        });
    }

    /// Gives the estimate of each code, with what the code came with.
    pub fn estimate_each<'a, Of>(
        &self,
        codes: impl Iterator<Item = (Of, &'a [u8])>,
        mut give: impl FnMut(Of, f32),
    ) {
        self.products(codes, |of, code, product| give(of, self.finish(factors(code), product)));
    }

    /// Gives each code, with what it came with, and its product with the query.
    #[inline(always)]
    pub(super) fn products<'a, Of>(
        &self,
        codes: impl Iterator<Item = (Of, &'a [u8])>,
        give: impl FnMut(Of, &[u8], i32),
    ) {
        let query = self;
        match self.bits {
            1 => self.instructions.run(Products::<1, _, _> { query, codes, give }),
            2 => self.instructions.run(Products::<2, _, _> { query, codes, give }),
            _ => self.instructions.run(Products::<4, _, _> { query, codes, give }),
        }
    }

    /// One standard deviation of the estimate for a code with these factors.
    pub(super) fn deviation_for(&self, (_, scale): Factors) -> f32 {
        scale.abs() * self.deviation
    }

    /// One standard deviation of the estimate.
    pub fn deviation(&self, code: &[u8]) -> f32 {
        self.deviation_for(factors(code))
    }

    /// The sum of the products of two codes' levels without what it owes to rounding errors that are alike in
    /// both, the more the smaller the angle of the rests.
    fn without_common_error(&self, levels: f64, equal: f64) -> f64 {
        match self.bits {
            // Signs agree in a share of 1 − α/π dimensions, α being the angle, whose cosine is asked for.
            1 => {
                // The sine of this share of a quarter turn, to 10⁻⁴, which is far more than the estimate's
                // precision.
                let share = levels / equal;
                let square = share * share;
                levels * (1.570_626_8 - square * (0.643_229_2 - square * 0.072_710_2))
            }
            // For two Gaussians of correlation ρ, s = E[xy]/n is the integral of the density at the
            // thresholds from 0 to ρ, and ρ = s·n/t² − (n/t² − 1)·s⁹ inverts it to 0.01.
            2 => {
                let Levels { square, product, .. } = Levels::of(2);
                levels * (1.0 - (1.0 - product * product / square) * (levels / equal).abs().min(1.0).powi(8))
            }
            // 0.002 for four bits.
            _ => levels,
        }
    }

    /// The estimate for a code with these factors and this product. In double precision nothing overflows.
    #[inline(always)]
    pub(super) fn finish(&self, (add, scale): Factors, product: i32) -> f32 {
        let exact = self.base + self.along * f64::from(add);
        let mut levels = f64::from(2 * product - self.offset);
        if let Some(equal) = self.equal {
            levels = self.without_common_error(levels, equal);
        }
        (exact + f64::from(scale) * (self.half_step * levels)) as f32
    }
}

/// Products of codes of `BITS` bits, compiled for an instruction set.
struct Products<'q, const BITS: u32, Codes, Give> {
    query: &'q CodeQuery,
    codes: Codes,
    give: Give,
}

impl<'a, const BITS: u32, Of, Codes, Give> Operation for Products<'_, BITS, Codes, Give>
where
    Codes: Iterator<Item = (Of, &'a [u8])>,
    Give: FnMut(Of, &[u8], i32),
{
    type Output = ();

    #[inline(always)]
    fn run<S: IntegerSimd>(self, simd: S) {
        let Self { query, codes, mut give } = self;
        let size = FACTORS_SIZE + query.packed_size;
        for (of, code) in codes {
            let code = &code[..size];
            give(of, code, product::<S, BITS>(simd, &code[FACTORS_SIZE..], &query.levels));
        }
    }
}

/// The sum of the products of packed levels and a query's levels, which are [`ordered`].
#[inline(always)]
fn product<S: IntegerSimd, const BITS: u32>(simd: S, packed: &[u8], levels: &[u8]) -> i32 {
    let planes = 8 / BITS as usize;
    let (registers, rest) = packed.split_at(packed.len() - packed.len() % S::BYTES);
    let (of_registers, of_rest) = levels.split_at(registers.len() * planes);
    let mut sums = simd.zero();
    let of_registers = of_registers.chunks_exact(S::BYTES * planes);
    for (bytes, levels) in registers.chunks_exact(S::BYTES).zip(of_registers) {
        sums = add_planes::<S, BITS>(simd, simd.load(bytes), levels, sums);
    }
    if rest.len() > S::BYTES / 2 {
        let levels = &of_rest[..S::BYTES * planes];
        sums = add_planes::<S, BITS>(simd, simd.load_partial(rest), levels, sums);
    } else if !rest.is_empty() {
        let levels = &of_rest[..S::BYTES * planes / 2];
        sums = add_planes::<S, BITS>(simd, simd.load_folded(rest), levels, sums);
    }
    simd.total(sums)
}

/// `sums`, and the products of one register's packed levels with those of a query.
#[inline(always)]
fn add_planes<S: IntegerSimd, const BITS: u32>(
    simd: S,
    mut bytes: S::Bytes,
    levels: &[u8],
    sums: S::Sums,
) -> S::Sums {
    let mut products = simd.no_products();
    for levels in levels.chunks_exact(S::BYTES) {
        products = simd.multiply_add(simd.low_bits::<BITS>(bytes), simd.load(levels), products);
        bytes = simd.shift_right::<BITS>(bytes);
    }
    simd.add_products(products, sums)
}

/// [`CodeQuery::new`], compiled for an instruction set.
struct Prepare<'a> {
    quantizer: &'a Quantizer,
    vector: &'a [u8],
}

impl Operation for Prepare<'_> {
    type Output = CodeQuery;

    #[inline(always)]
    fn run<S: IntegerSimd>(self, _: S) -> CodeQuery {
        let Self { quantizer, vector } = self;
        let CodeParameters { bits, code_dimensions, .. } = quantizer.parameters;
        let mut values = vec![0.0; quantizer.rotation.dimensions()];
        let Split { along, squares } = quantizer.split_and_rotate(vector, &mut values);

        let coded = &mut values[..code_dimensions];
        let largest = coded.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let step = largest / MAX_QUERY_LEVEL;
        // Levels are 0 where the rest is zero, or too large for its levels to mean anything.
        let step = if squares.is_finite() && step.is_normal() { step } else { 0.0 };
        let per_step = if step > 0.0 { step.recip() } else { 0.0 };
        let levels: Vec<u8> =
            coded.iter().map(|value| (value * per_step + TO_INTEGER).to_bits() as u8).collect();
        CodeQuery {
            deviation: deviation(&quantizer.rotation, bits, code_dimensions, squares),
            ..query::<S>(quantizer, &levels, &Split { along, squares }, f64::from(step) / 2.0)
        }
    }
}

/// [`CodeQuery::of_code`], compiled for an instruction set.
struct PrepareCode<'a> {
    quantizer: &'a Quantizer,
    code: &'a [u8],
}

impl Operation for PrepareCode<'_> {
    type Output = CodeQuery;

    /// With x and y as both rests are rounded, ⟨r,p⟩ ≈ f·g·⟨x,y⟩ · D'/D, as each factor makes up for the
    /// dimensions left out. Where rounding errors are alike, see [`CodeQuery::without_common_error`]. With
    /// one bit, where signs tell the angle, the norms are ‖r‖ = f·t·D'/√D, see the error of an estimate.
    #[inline(always)]
    fn run<S: IntegerSimd>(self, _: S) -> CodeQuery {
        let Self { quantizer, code } = self;
        let CodeParameters { metric, bits, code_dimensions, .. } = quantizer.parameters;
        let (add, scale) = factors(code);
        let packed_size = packed_size(bits, code_dimensions);
        let packed = &code[FACTORS_SIZE..][..packed_size];
        let mask = (1u8 << bits) - 1;
        // Twice what a level stands for, an integer. The lowest bits of all bytes come first, see `encode`.
        let mut levels = vec![0; packed_size * 8 / usize::from(bits)];
        for (plane, levels) in levels.chunks_exact_mut(packed_size).enumerate() {
            let shift = usize::from(bits) * plane;
            for (level, byte) in levels.iter_mut().zip(packed) {
                *level = (2 * (byte >> shift & mask)).wrapping_sub(mask);
            }
        }
        levels.truncate(code_dimensions);

        let factor = f64::from(-scale) * if metric == Metric::L2 { 0.5 } else { 1.0 };
        let coded = code_dimensions as f64 / quantizer.rotation.dimensions() as f64;
        let per_levels = if bits == 1 { Levels::of(1).product.powi(2) } else { 0.25 };
        // Of the two parts of a split, the first factor is the one that its metric needs.
        let split = Split { along: f64::from(-add), squares: f64::from(add) };
        CodeQuery {
            equal: Some(4.0 * Levels::of(bits).square * code_dimensions as f64),
            ..query::<S>(quantizer, &levels, &split, factor * coded * per_levels)
        }
    }
}

/// A query with these signed levels, for a vector that was split so.
#[inline(always)]
fn query<S: IntegerSimd>(quantizer: &Quantizer, levels: &[u8], split: &Split, half_step: f64) -> CodeQuery {
    let CodeParameters { metric, bits, code_dimensions, .. } = quantizer.parameters;
    let total: i32 = levels.iter().map(|level| i32::from(*level as i8)).sum();
    CodeQuery {
        bits,
        packed_size: packed_size(bits, code_dimensions),
        instructions: quantizer.instructions,
        levels: ordered::<S>(levels, bits, code_dimensions),
        base: match metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => split.squares,
            Metric::InnerProduct => 0.0,
            Metric::Cosine | Metric::Jaccard => 1.0,
        },
        along: if metric == Metric::L2 { 1.0 } else { split.along },
        half_step,
        offset: total * ((1 << bits) - 1),
        deviation: 0.0,
        equal: None,
    }
}

/// Levels in the order of [`CodeQuery::levels`].
#[inline(always)]
fn ordered<S: IntegerSimd>(levels: &[u8], bits: u8, code_dimensions: usize) -> Vec<u8> {
    let packed_size = packed_size(bits, code_dimensions);
    let planes = 8 / usize::from(bits);
    let rest = packed_size % S::BYTES;
    let folded = rest > 0 && rest <= S::BYTES / 2;
    let registers = packed_size / S::BYTES * planes;
    let of_rest = if folded { planes / 2 } else { planes * rest.min(1) };
    let mut ordered = vec![0; (registers + of_rest) * S::BYTES];
    for (plane, levels) in levels.chunks(packed_size).enumerate() {
        for (register, levels) in levels.chunks(S::BYTES).enumerate() {
            let place = if folded && register * planes == registers {
                (registers + plane % of_rest) * S::BYTES + plane / of_rest * (S::BYTES / 2)
            } else {
                (register * planes + plane) * S::BYTES
            };
            ordered[place..][..levels.len()].copy_from_slice(levels);
        }
    }
    ordered
}

/// The standard deviation of an estimate for a second factor of 1 and a rest of this squared norm.
fn deviation(rotation: &Rotation, bits: u8, code_dimensions: usize, squares: f64) -> f32 {
    let Levels { square, product, .. } = Levels::of(bits);
    let coded = code_dimensions as f64 / rotation.dimensions() as f64;
    let deviation = (squares * coded * (square - product * product * coded)).sqrt();
    // Finite, so that a second factor of 0 makes it 0.
    deviation.min(f64::from(f32::MAX)) as f32
}
