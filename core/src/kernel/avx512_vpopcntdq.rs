//! The kernels of bits for x86-64 with AVX-512 VPOPCNTDQ (every server since Ice Lake and Zen 4).
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::bits::{BitKernels, BitSimd, Counted, count};
use super::simd::{Kernel, Sums};
use std::arch::x86_64::*;

/// Proof that the machine has AVX-512 F, BW and VPOPCNTDQ: made by [`Avx512Vpopcntdq::detect`] and
/// [`count_avx512_vpopcntdq`] only.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vpopcntdq(());

impl Avx512Vpopcntdq {
    /// The proof, on a machine that has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vpopcntdq"))
        .then_some(Self(()))
    }
}

impl BitKernels for Avx512Vpopcntdq {
    fn bit_kernel<C: Counted>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instructions that the function is compiled for.
        |a, b| unsafe { count_avx512_vpopcntdq::<C>(a, b) }
    }
}

impl BitSimd for Avx512Vpopcntdq {
    type Word = __m512i;
    type Counts = __m512i;
    const BYTES: usize = 64;

    #[inline(always)]
    fn none(self) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load_word(self, bytes: &[u8]) -> __m512i {
        assert!(bytes.len() == 64);
        // SAFETY: `self` proves that the machine has AVX-512 F; the load needs no alignment and reads the 64
        // bytes there are.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_partial_word(self, bytes: &[u8]) -> __m512i {
        assert!(bytes.len() < 64);
        // SAFETY: `self` proves that the machine has AVX-512 BW; the load reads only the bytes that the mask
        // sets, as many as there are.
        unsafe { _mm512_maskz_loadu_epi8((1 << bytes.len()) - 1, bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn add_ones(self, word: __m512i, counts: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 VPOPCNTDQ.
        unsafe { _mm512_add_epi64(_mm512_popcnt_epi64(word), counts) }
    }

    #[inline(always)]
    fn sum(self, counts: __m512i) -> u32 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_reduce_add_epi64(counts) as u32 }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
fn count_avx512_vpopcntdq<C: Counted>(a: &[u8], b: &[u8]) -> Sums {
    count::<Avx512Vpopcntdq, C>(Avx512Vpopcntdq(()), a, b)
}
