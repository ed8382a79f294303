//! The one loop behind every distance, written once over what an instruction set can do.
//!
//! An implementor of [`Simd`] is a token that exists only where its instructions do, so that everything here is safe
//! code. Imports nothing from this crate.

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

/// A proof that the machine has an instruction set, and its operations on a register of f32 lanes.
///
/// All methods but [`Simd::kernel`] are `#[inline(always)]` in every implementor: they must end up inside of a function
/// that is compiled for the instruction set.
pub(super) trait Simd: Copy {
    /// [`Simd::LANES`] f32 values.
    type Register: Copy;
    /// Lanes of a register, at most 16.
    const LANES: usize;

    /// [`pass`], compiled for this instruction set.
    fn kernel<E: Element, T: Terms>(self) -> Kernel;

    /// All lanes 0.
    fn zero(self) -> Self::Register;
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
    /// The values of exactly `LANES` elements.
    fn load<S: Simd>(simd: S, bytes: &[u8]) -> S::Register;
    /// The values of fewer elements, followed by zeros.
    fn load_partial<S: Simd>(simd: S, bytes: &[u8]) -> S::Register;
}

/// IEEE 754 binary32.
pub(super) struct F32;

impl Element for F32 {
    const SIZE: usize = 4;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8]) -> S::Register {
        simd.load_f32(bytes)
    }

    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, bytes: &[u8]) -> S::Register {
        simd.load_partial_f32(bytes)
    }
}

/// IEEE 754 binary16, widened exactly.
pub(super) struct F16;

impl Element for F16 {
    const SIZE: usize = 2;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8]) -> S::Register {
        simd.load_f16(bytes)
    }

    #[inline(always)]
    fn load_partial<S: Simd>(simd: S, bytes: &[u8]) -> S::Register {
        simd.load_partial_f16(bytes)
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
/// Which accumulator and lane an element goes to depends only on its position, so that two kernels that share a sum
/// give the same bits for it.
#[inline(always)]
pub(super) fn pass<S: Simd, E: Element, T: Terms>(simd: S, a: &[u8], b: &[u8]) -> Sums {
    let length = a.len().min(b.len()) / E::SIZE * E::SIZE;
    let width = S::LANES * E::SIZE;
    let (blocks_a, rest_a) = a[..length].split_at(length - length % (ACCUMULATORS * width));
    let (blocks_b, rest_b) = b[..length].split_at(blocks_a.len());

    let mut sums = [[simd.zero(); 2]; ACCUMULATORS];
    let blocks =
        zip(blocks_a.chunks_exact(ACCUMULATORS * width), blocks_b.chunks_exact(ACCUMULATORS * width));
    for (block_a, block_b) in blocks {
        for (accumulator, sum) in sums.iter_mut().enumerate() {
            let lanes = accumulator * width..(accumulator + 1) * width;
            let a = E::load(simd, &block_a[lanes.clone()]);
            let b = E::load(simd, &block_b[lanes]);
            accumulate::<S, T>(simd, a, b, sum);
        }
    }
    for (accumulator, sum) in sums[..ACCUMULATORS - 1].iter_mut().enumerate() {
        let lanes = accumulator * width..(accumulator + 1) * width;
        if lanes.end <= rest_a.len() {
            let a = E::load(simd, &rest_a[lanes.clone()]);
            let b = E::load(simd, &rest_b[lanes]);
            accumulate::<S, T>(simd, a, b, sum);
        }
    }
    // The elements that do not fill a register go to the accumulator that no other of the rest can have gone to: one
    // chosen while running would keep the accumulators in memory.
    let tail = rest_a.len() - rest_a.len() % width;
    if tail < rest_a.len() {
        let a = E::load_partial(simd, &rest_a[tail..]);
        let b = E::load_partial(simd, &rest_b[tail..]);
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
