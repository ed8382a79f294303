//! The one loop behind every distance, written once over what an instruction set can do.
//!
//! An implementor of [`Simd`] is a token that exists only where its instructions do, so that everything here
//! is safe code.

use std::iter::zip;

/// What one pass over two vectors `a` and `b` adds up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    /// The terms of the distance.
    pub(super) terms: f32,
    /// The squares of `b`, where [`Terms::SQUARES`] asks for them; 0 otherwise.
    pub(super) squares: f32,
}

/// One pass over two vectors; what is left over of the longer one is not read.
pub(super) type Kernel = fn(&[u8], &[u8]) -> Sums;

/// As [`Kernel`], where the second vector's elements are IEEE 754 binary16, each to be multiplied by the
/// factor.
pub(super) type HalvesKernel = fn(&[u8], &[u8], f32) -> Sums;

/// A proof that the machine has an instruction set, and its operations on a register of f32 lanes.
///
/// All methods but [`Simd::kernel`] and [`Simd::halves_kernel`] are `#[inline(always)]` in every implementor:
/// they must end up inside of a function that is compiled for the instruction set.
pub(super) trait Simd: Copy {
    /// [`Simd::LANES`] f32 values.
    type Register: Copy;
    /// Lanes of a register, at most 16.
    const LANES: usize;

    /// [`pass`], compiled for this instruction set.
    fn kernel<E: Element, T: Terms>(self) -> Kernel;
    /// [`pass`] with [`ScaledF16`] for the second vector, compiled for this instruction set.
    fn halves_kernel<E: Element, T: Terms>(self) -> HalvesKernel;

    /// All lanes the same.
    fn splat(self, value: f32) -> Self::Register;
    /// The f32 values of exactly `4 * LANES` bytes, of any alignment.
    fn load_f32(self, bytes: &[u8]) -> Self::Register;
    /// The f16 values of exactly `2 * LANES` bytes, of any alignment.
    fn load_f16(self, bytes: &[u8]) -> Self::Register;
    /// The f32 values of fewer bytes, in the first lanes; 0 in the others.
    #[inline(always)]
    fn load_partial_f32(self, bytes: &[u8]) -> Self::Register {
        self.load_f32(&padded(bytes)[..4 * Self::LANES])
    }
    /// The f16 values of fewer bytes, in the first lanes; 0 in the others.
    #[inline(always)]
    fn load_partial_f16(self, bytes: &[u8]) -> Self::Register {
        self.load_f16(&padded(bytes)[..2 * Self::LANES])
    }
    /// `a + b`
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// `|a - b|`
    fn absolute_difference(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// `a - b`
    fn subtract(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// `a * b + sum`
    fn multiply_add(self, a: Self::Register, b: Self::Register, sum: Self::Register) -> Self::Register;
    /// The sum of all lanes, added in a fixed order.
    fn total(self, register: Self::Register) -> f32;
}

/// `bytes`, which fit a register, followed by zeros.
#[inline(always)]
fn padded(bytes: &[u8]) -> [u8; 64] {
    let mut padded = [0; 64];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

/// The type of a vector's elements.
pub(super) trait Element {
    /// Bytes of one element.
    const SIZE: usize;
    /// The values of exactly `LANES` elements; `factor` is for those that come with one.
    fn load<S: Simd>(simd: S, bytes: &[u8], factor: S::Register) -> S::Register;
    /// The values of fewer elements, followed by zeros.
    fn load_partial<S: Simd>(simd: S, bytes: &[u8], factor: S::Register) -> S::Register;
}

/// IEEE 754 binary32.
pub(super) struct F32;

impl Element for F32 {
    const SIZE: usize = 4;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8], _: S::Register) -> S::Register {
        simd.load_f32(bytes)
    }

    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, bytes: &[u8], _: S::Register) -> S::Register {
        simd.load_partial_f32(bytes)
    }
}

/// IEEE 754 binary16, widened exactly.
pub(super) struct F16;

impl Element for F16 {
    const SIZE: usize = 2;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8], _: S::Register) -> S::Register {
        simd.load_f16(bytes)
    }

    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, bytes: &[u8], _: S::Register) -> S::Register {
        simd.load_partial_f16(bytes)
    }
}

/// IEEE 754 binary16, widened exactly and multiplied by a factor.
pub(super) struct ScaledF16;

impl Element for ScaledF16 {
    const SIZE: usize = F16::SIZE;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8], factor: S::Register) -> S::Register {
        simd.multiply_add(simd.load_f16(bytes), factor, simd.splat(0.0))
    }

    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, bytes: &[u8], factor: S::Register) -> S::Register {
        simd.multiply_add(simd.load_partial_f16(bytes), factor, simd.splat(0.0))
    }
}

/// What is added up for each pair of elements. Each is the same with the elements exchanged, bit for bit.
pub(super) trait Terms {
    /// Whether the squares of the second vector are added up too.
    const SQUARES: bool = false;
    /// `sum` and the terms of `a` and `b`.
    fn add<S: Simd>(simd: S, a: S::Register, b: S::Register, sum: S::Register) -> S::Register;
}

/// `(a - b)²`
pub(super) struct SquaredDifferences;

impl Terms for SquaredDifferences {
    #[inline(always)]
    fn add<S: Simd>(simd: S, a: S::Register, b: S::Register, sum: S::Register) -> S::Register {
        let difference = simd.subtract(a, b);
        simd.multiply_add(difference, difference, sum)
    }
}

/// `|a - b|`
pub(super) struct AbsoluteDifferences;

impl Terms for AbsoluteDifferences {
    #[inline(always)]
    fn add<S: Simd>(simd: S, a: S::Register, b: S::Register, sum: S::Register) -> S::Register {
        simd.add(simd.absolute_difference(a, b), sum)
    }
}

/// `a · b`
pub(super) struct Products;

impl Terms for Products {
    #[inline(always)]
    fn add<S: Simd>(simd: S, a: S::Register, b: S::Register, sum: S::Register) -> S::Register {
        simd.multiply_add(a, b, sum)
    }
}

/// `a · b`, and the squares of `b` as [`Products`] of `b` with itself would add them.
pub(super) struct ProductsAndSquares;

impl Terms for ProductsAndSquares {
    const SQUARES: bool = true;

    #[inline(always)]
    fn add<S: Simd>(simd: S, a: S::Register, b: S::Register, sum: S::Register) -> S::Register {
        Products::add(simd, a, b, sum)
    }
}

/// Registers that add up side by side, so that an addition need not wait for the one before it.
const ACCUMULATORS: usize = 4;

/// Adds up the terms of `a` and `b`.
///
/// Which accumulator and lane an element goes to depends only on its position, so that two kernels that share
/// a sum give the same bits for it.
#[inline(always)]
pub(super) fn pass<S: Simd, A: Element, B: Element, T: Terms>(
    simd: S,
    a: &[u8],
    b: &[u8],
    factor: f32,
) -> Sums {
    let length = (a.len() / A::SIZE).min(b.len() / B::SIZE);
    let in_blocks = length - length % (ACCUMULATORS * S::LANES);
    let (blocks_a, rest_a) = a[..length * A::SIZE].split_at(in_blocks * A::SIZE);
    let (blocks_b, rest_b) = b[..length * B::SIZE].split_at(in_blocks * B::SIZE);
    let (width_a, width_b) = (S::LANES * A::SIZE, S::LANES * B::SIZE);
    let factor = simd.splat(factor);
    let load = |a: &[u8], b: &[u8], register: usize| {
        let a = &a[register * width_a..(register + 1) * width_a];
        let b = &b[register * width_b..(register + 1) * width_b];
        (A::load(simd, a, factor), B::load(simd, b, factor))
    };

    let mut sums = [[simd.splat(0.0); 2]; ACCUMULATORS];
    let blocks =
        zip(blocks_a.chunks_exact(ACCUMULATORS * width_a), blocks_b.chunks_exact(ACCUMULATORS * width_b));
    for (block_a, block_b) in blocks {
        for (register, sum) in sums.iter_mut().enumerate() {
            let (a, b) = load(block_a, block_b, register);
            accumulate::<S, T>(simd, a, b, sum);
        }
    }
    for (register, sum) in sums[..ACCUMULATORS - 1].iter_mut().enumerate() {
        if (register + 1) * width_a <= rest_a.len() {
            let (a, b) = load(rest_a, rest_b, register);
            accumulate::<S, T>(simd, a, b, sum);
        }
    }
    // The elements that do not fill a register go to the accumulator that no other of the rest can have gone
    // to: one chosen while running would keep the accumulators in memory.
    let tail = rest_a.len() / width_a;
    if tail * width_a < rest_a.len() {
        let a = A::load_partial(simd, &rest_a[tail * width_a..], factor);
        let b = B::load_partial(simd, &rest_b[tail * width_b..], factor);
        accumulate::<S, T>(simd, a, b, &mut sums[ACCUMULATORS - 1]);
    }

    let total = |of: usize| {
        let [first, second, third, fourth] = sums.map(|sum| sum[of]);
        simd.total(simd.add(simd.add(first, second), simd.add(third, fourth)))
    };
    Sums { terms: total(0), squares: if T::SQUARES { total(1) } else { 0.0 } }
}

/// Adds the terms of two registers, and the squares of the second where `T` asks for them.
#[inline(always)]
fn accumulate<S: Simd, T: Terms>(simd: S, a: S::Register, b: S::Register, sum: &mut [S::Register; 2]) {
    sum[0] = T::add(simd, a, b, sum[0]);
    if T::SQUARES {
        sum[1] = Products::add(simd, b, b, sum[1]);
    }
}
