//! The kernels for any machine: plain Rust that the compiler turns into what its baseline has.

use super::integer::{IntegerSimd, Operation};
use super::simd::{Element, HalvesKernel, Kernel, ScaledF16, Simd, Sums, Terms, pass};

/// Needs no instructions in particular.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

/// Applies `operation` to each lane.
#[inline(always)]
fn lanes(operation: impl Fn(usize) -> f32) -> [f32; 4] {
    std::array::from_fn(operation)
}

/// The value of an IEEE 754 binary16, without a branch, so that the compiler can widen many at once (the
/// `half` crate's portable conversion cannot be, and takes ten times as long).
#[inline(always)]
pub(crate) fn widen(half: u16) -> f32 {
    /// 2¹¹², the ratio of the exponents' biases: it moves normal and subnormal values alike.
    const REBIAS: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * REBIAS;
    let not_finite = if half & 0x7c00 == 0x7c00 { f32::INFINITY.to_bits() } else { 0 };
    f32::from_bits(magnitude.to_bits() | not_finite | u32::from(half & 0x8000) << 16)
}

impl Simd for Scalar {
    type Register = [f32; 4];
    const LANES: usize = 4;

    fn kernel<E: Element, T: Terms>(self) -> Kernel {
        |a, b| pass_scalar::<E, E, T>(a, b, 1.0)
    }

    fn halves_kernel<E: Element, T: Terms>(self) -> HalvesKernel {
        pass_scalar::<E, ScaledF16, T>
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8]) -> [f32; 4] {
        lanes(|lane| {
            f32::from_le_bytes([
                bytes[4 * lane],
                bytes[4 * lane + 1],
                bytes[4 * lane + 2],
                bytes[4 * lane + 3],
            ])
        })
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8]) -> [f32; 4] {
        lanes(|lane| widen(u16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]])))
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn absolute_difference(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|lane| (a[lane] - b[lane]).abs())
    }

    #[inline(always)]
    fn subtract(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn multiply_add(self, a: [f32; 4], b: [f32; 4], sum: [f32; 4]) -> [f32; 4] {
        lanes(|lane| a[lane] * b[lane] + sum[lane])
    }

    #[inline(always)]
    fn total(self, [first, second, third, fourth]: [f32; 4]) -> f32 {
        (first + third) + (second + fourth)
    }
}

fn pass_scalar<A: Element, B: Element, T: Terms>(a: &[u8], b: &[u8], factor: f32) -> Sums {
    pass::<Scalar, A, B, T>(Scalar, a, b, factor)
}

impl IntegerSimd for Scalar {
    type Bytes = [u8; 16];
    type Sums = [i32; 16];
    type Products = [i32; 16];
    const BYTES: usize = 16;

    fn run<O: Operation>(self, operation: O) -> O::Output {
        operation.run(self)
    }

    #[inline(always)]
    fn zero(self) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    fn no_products(self) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> [u8; 16] {
        let mut register = [0; 16];
        register.copy_from_slice(bytes);
        register
    }

    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> [u8; 16] {
        let mut register = [0; 16];
        register[..bytes.len()].copy_from_slice(bytes);
        register
    }

    #[inline(always)]
    fn load_folded(self, bytes: &[u8]) -> [u8; 16] {
        let mut register = self.load_partial(bytes);
        for (place, byte) in bytes.iter().enumerate() {
            register[8 + place] = byte >> 4;
        }
        register
    }

    #[inline(always)]
    fn low_bits<const BITS: u32>(self, mut bytes: [u8; 16]) -> [u8; 16] {
        bytes.iter_mut().for_each(|byte| *byte &= (1 << BITS) - 1);
        bytes
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, mut bytes: [u8; 16]) -> [u8; 16] {
        bytes.iter_mut().for_each(|byte| *byte >>= BITS);
        bytes
    }

    #[inline(always)]
    fn multiply_add(self, unsigned: [u8; 16], signed: [u8; 16], mut products: [i32; 16]) -> [i32; 16] {
        for (sum, (unsigned, signed)) in products.iter_mut().zip(unsigned.iter().zip(signed)) {
            *sum += i32::from(i16::from(*unsigned) * i16::from(signed as i8));
        }
        products
    }

    #[inline(always)]
    fn add_products(self, products: [i32; 16], mut sums: [i32; 16]) -> [i32; 16] {
        sums.iter_mut().zip(products).for_each(|(sum, products)| *sum += products);
        sums
    }

    #[inline(always)]
    fn total(self, sums: [i32; 16]) -> i32 {
        sums.into_iter().sum()
    }
}
