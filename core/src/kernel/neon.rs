//! The kernels for AArch64, whose baseline has NEON.
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::bits::{BitKernels, BitSimd, Counted, count};
use super::integer::{IntegerSimd, Operation};
use super::simd::{Element, HalvesKernel, Kernel, ScaledF16, Simd, Sums, Terms, pass};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof that the machine has NEON: made by [`Neon::detect`], [`pass_neon`], [`count_neon`] and [`run_neon`]
/// only.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof, on a machine that has the instructions.
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl Simd for Neon {
    type Register = float32x4_t;
    const LANES: usize = 4;

    fn kernel<E: Element, T: Terms>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instructions that `pass_neon` is compiled for.
        |a, b| unsafe { pass_neon::<E, E, T>(a, b, 1.0) }
    }

    fn halves_kernel<E: Element, T: Terms>(self) -> HalvesKernel {
        // SAFETY: as above.
        |a, b, factor| unsafe { pass_neon::<E, ScaledF16, T>(a, b, factor) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8]) -> float32x4_t {
        assert!(bytes.len() == 16);
        // SAFETY: `self` proves that the machine has NEON; a load of bytes needs no alignment and reads the
        // 16 there are.
        unsafe { vreinterpretq_f32_u8(vld1q_u8(bytes.as_ptr())) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8]) -> float32x4_t {
        assert!(bytes.len() == 8);
        // SAFETY: `self` proves that the machine has NEON; a load of bytes needs no alignment and reads the 8
        // there are.
        let halves = unsafe { vld1_u8(bytes.as_ptr()) };
        let values;
        // SAFETY: the instruction is NEON's and touches the two registers only. The intrinsic for it is newer
        // than the oldest compiler that this crate supports.
        unsafe {
            asm!("fcvtl {values:v}.4s, {halves:v}.4h", values = lateout(vreg) values, halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags));
        }
        values
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn absolute_difference(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vabdq_f32(a, b) }
    }

    #[inline(always)]
    fn subtract(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: float32x4_t, b: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vfmaq_f32(sum, a, b) }
    }

    #[inline(always)]
    fn total(self, register: float32x4_t) -> f32 {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vaddvq_f32(register) }
    }
}

#[target_feature(enable = "neon")]
fn pass_neon<A: Element, B: Element, T: Terms>(a: &[u8], b: &[u8], factor: f32) -> Sums {
    pass::<Neon, A, B, T>(Neon(()), a, b, factor)
}

impl BitKernels for Neon {
    fn bit_kernel<C: Counted>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instructions that `count_neon` is compiled for.
        |a, b| unsafe { count_neon::<C>(a, b) }
    }
}

impl BitSimd for Neon {
    type Word = uint8x16_t;
    type Counts = uint32x4_t;
    const BYTES: usize = 16;

    #[inline(always)]
    fn none(self) -> uint32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vdupq_n_u32(0) }
    }

    #[inline(always)]
    fn load_word(self, bytes: &[u8]) -> uint8x16_t {
        IntegerSimd::load(self, bytes)
    }

    #[inline(always)]
    fn load_partial_word(self, bytes: &[u8]) -> uint8x16_t {
        IntegerSimd::load_partial(self, bytes)
    }

    #[inline(always)]
    fn and(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vandq_u8(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { veorq_u8(a, b) }
    }

    #[inline(always)]
    fn add_ones(self, word: uint8x16_t, counts: uint32x4_t) -> uint32x4_t {
        // SAFETY: `self` proves that the machine has NEON. Pairs of counts fit 16 bits.
        unsafe { vpadalq_u16(counts, vpaddlq_u8(vcntq_u8(word))) }
    }

    #[inline(always)]
    fn sum(self, counts: uint32x4_t) -> u32 {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vaddvq_u32(counts) }
    }
}

#[target_feature(enable = "neon")]
fn count_neon<C: Counted>(a: &[u8], b: &[u8]) -> Sums {
    count::<Neon, C>(Neon(()), a, b)
}

impl IntegerSimd for Neon {
    type Bytes = uint8x16_t;
    type Sums = int32x4_t;
    type Products = int16x8_t;
    const BYTES: usize = 16;

    fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` proves that the machine has the instructions that `run_neon` is compiled for.
        unsafe { run_neon(operation) }
    }

    #[inline(always)]
    fn zero(self) -> int32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn no_products(self) -> int16x8_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vdupq_n_s16(0) }
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> uint8x16_t {
        assert!(bytes.len() == 16);
        // SAFETY: `self` proves that the machine has NEON; a load of bytes needs no alignment and reads the
        // 16 there are.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    }

    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> uint8x16_t {
        let padded: [u8; 16] = std::array::from_fn(|lane| bytes.get(lane).copied().unwrap_or(0));
        IntegerSimd::load(self, &padded)
    }

    #[inline(always)]
    fn load_folded(self, bytes: &[u8]) -> uint8x16_t {
        let half = |place: usize| bytes.get(place % 8).copied().unwrap_or(0);
        let folded: [u8; 16] = std::array::from_fn(|lane| half(lane) >> (lane / 8 * 4));
        IntegerSimd::load(self, &folded)
    }

    #[inline(always)]
    fn low_bits<const BITS: u32>(self, bytes: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vandq_u8(bytes, vdupq_n_u8((1 << BITS) - 1)) }
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, bytes: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` proves that the machine has NEON. A shift to the left by a negative number is one to
        // the right.
        unsafe { vshlq_u8(bytes, vdupq_n_s8(-(BITS as i8))) }
    }

    #[inline(always)]
    fn multiply_add(self, unsigned: uint8x16_t, signed: uint8x16_t, products: int16x8_t) -> int16x8_t {
        // SAFETY: `self` proves that the machine has NEON. Bytes at most 15 are the same when signed.
        unsafe {
            let (unsigned, signed) = (vreinterpretq_s8_u8(unsigned), vreinterpretq_s8_u8(signed));
            let products = vmlal_s8(products, vget_low_s8(unsigned), vget_low_s8(signed));
            vmlal_high_s8(products, unsigned, signed)
        }
    }

    #[inline(always)]
    fn add_products(self, products: int16x8_t, sums: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vpadalq_s16(sums, products) }
    }

    #[inline(always)]
    fn total(self, sums: int32x4_t) -> i32 {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vaddvq_s32(sums) }
    }
}

#[target_feature(enable = "neon")]
fn run_neon<O: Operation>(operation: O) -> O::Output {
    operation.run(Neon(()))
}
