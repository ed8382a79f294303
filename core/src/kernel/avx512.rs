//! The kernels for x86-64 with AVX-512 F, BW and VL (every server since Skylake-X and Zen 4).
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::avx2::Avx2;
use super::avx512_vpopcntdq::Avx512Vpopcntdq;
use super::bits::{BitKernels, Counted};
use super::scalar::Scalar;
use super::simd::{Element, HalvesKernel, Kernel, ScaledF16, Simd, Sums, Terms, pass};
use std::arch::x86_64::*;

/// Proof that the machine has AVX-512 F, BW and VL: made by [`Avx512::detect`] and [`pass_avx512`] only.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof, on a machine that has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl"))
        .then_some(Self(()))
    }
}

/// A mask of the first lanes, of which there are at most 15.
#[inline(always)]
fn first_lanes(lanes: usize) -> __mmask16 {
    (1 << lanes) - 1
}

impl Simd for Avx512 {
    type Register = __m512;
    const LANES: usize = 16;

    fn kernel<E: Element, T: Terms>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instructions that `pass_avx512` is compiled for.
        |a, b| unsafe { pass_avx512::<E, E, T>(a, b, 1.0) }
    }

    fn halves_kernel<E: Element, T: Terms>(self) -> HalvesKernel {
        // SAFETY: as above.
        |a, b, factor| unsafe { pass_avx512::<E, ScaledF16, T>(a, b, factor) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8]) -> __m512 {
        assert!(bytes.len() == 64);
        // SAFETY: `self` proves that the machine has AVX-512 F; the load needs no alignment and reads the 64
        // bytes there are.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8]) -> __m512 {
        assert!(bytes.len() == 32);
        // SAFETY: `self` proves that the machine has AVX-512 F; the load needs no alignment and reads the 32
        // bytes there are.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_partial_f32(self, bytes: &[u8]) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F; the load reads only the lanes that the mask
        // sets, as many as `bytes` has elements.
        unsafe { _mm512_maskz_loadu_ps(first_lanes(bytes.len() / 4), bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_partial_f16(self, bytes: &[u8]) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F, BW and VL; the load reads only the lanes that
        // the mask sets, as many as `bytes` has elements.
        unsafe {
            _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(bytes.len() / 2), bytes.as_ptr().cast()))
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn absolute_difference(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_abs_ps(_mm512_sub_ps(a, b)) }
    }

    #[inline(always)]
    fn subtract(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    fn total(self, register: __m512) -> f32 {
        // SAFETY: `self` proves that the machine has AVX-512 F, which includes AVX.
        unsafe {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(register)));
            let eight = _mm256_add_ps(_mm512_castps512_ps256(register), high);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// Those of a narrower instruction set where the machine lacks VPOPCNTDQ.
impl BitKernels for Avx512 {
    fn bit_kernel<C: Counted>(self) -> Kernel {
        match (Avx512Vpopcntdq::detect(), Avx2::detect()) {
            (Some(simd), _) => simd.bit_kernel::<C>(),
            (None, Some(simd)) => simd.bit_kernel::<C>(),
            (None, None) => Scalar.bit_kernel::<C>(),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pass_avx512<A: Element, B: Element, T: Terms>(a: &[u8], b: &[u8], factor: f32) -> Sums {
    pass::<Avx512, A, B, T>(Avx512(()), a, b, factor)
}
