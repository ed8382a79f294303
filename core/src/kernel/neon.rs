//! The kernels for AArch64, whose baseline has NEON.
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::simd::{Element, Kernel, Simd, Sums, Terms, pass};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof that the machine has NEON: made by [`Neon::detect`] and [`pass_neon`] only.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

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
        |a, b| unsafe { pass_neon::<E, T>(a, b) }
    }

    #[inline(always)]
    fn zero(self) -> float32x4_t {
        // SAFETY: `self` proves that the machine has NEON.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8]) -> float32x4_t {
        assert!(bytes.len() == 16);
        // SAFETY: `self` proves that the machine has NEON; a load of bytes needs no alignment and reads the 16 there are.
        unsafe { vreinterpretq_f32_u8(vld1q_u8(bytes.as_ptr())) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8]) -> float32x4_t {
        assert!(bytes.len() == 8);
        // SAFETY: `self` proves that the machine has NEON; a load of bytes needs no alignment and reads the 8 there are.
        let halves = unsafe { vld1_u8(bytes.as_ptr()) };
        let values;
        // SAFETY: the instruction is NEON's and touches the two registers only. The intrinsic for it is newer than the
        // oldest compiler that this crate supports.
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
fn pass_neon<E: Element, T: Terms>(a: &[u8], b: &[u8]) -> Sums {
    pass::<Neon, E, T>(Neon(()), a, b)
}
