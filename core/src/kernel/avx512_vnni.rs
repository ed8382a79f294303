//! The integer kernels for x86-64 with AVX-512 VNNI (every server since Ice Lake and Zen 4).
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::integer::{IntegerSimd, Operation};
use std::arch::x86_64::*;

/// Proof that the machine has AVX-512 F, BW, VL and VNNI: made by [`Avx512Vnni::detect`] and
/// [`run_avx512_vnni`] only.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni(());

impl Avx512Vnni {
    /// The proof, on a machine that has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni"))
        .then_some(Self(()))
    }
}

impl IntegerSimd for Avx512Vnni {
    type Bytes = __m512i;
    type Sums = __m512i;
    type Products = __m512i;
    const BYTES: usize = 64;

    fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` proves that the machine has the instructions that `run_avx512_vnni` is compiled for.
        unsafe { run_avx512_vnni(operation) }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn no_products(self) -> __m512i {
        IntegerSimd::zero(self)
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> __m512i {
        assert!(bytes.len() == 64);
        // SAFETY: `self` proves that the machine has AVX-512 F; the load needs no alignment and reads the 64
        // bytes there are.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F; the load reads only the groups of 4 bytes
        // that the mask sets, no more than `bytes` has.
        unsafe { _mm512_maskz_loadu_epi32((1 << (bytes.len() / 4)) - 1, bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_folded(self, bytes: &[u8]) -> __m512i {
        assert!(bytes.len() <= 32);
        // SAFETY: `self` proves that the machine has AVX-512 F, BW and VL; the load reads only the groups of
        // 4 bytes that the mask sets, no more than `bytes` has.
        unsafe {
            let groups = ((1u16 << (bytes.len() / 4)) - 1) as u8;
            let half = _mm256_maskz_loadu_epi32(groups, bytes.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half), _mm256_srli_epi16::<4>(half))
        }
    }

    #[inline(always)]
    fn low_bits<const BITS: u32>(self, bytes: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8((1 << BITS) - 1)) }
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, bytes: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 BW.
        unsafe { _mm512_srli_epi16::<BITS>(bytes) }
    }

    #[inline(always)]
    fn multiply_add(self, unsigned: __m512i, signed: __m512i, products: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(products, unsigned, signed) }
    }

    #[inline(always)]
    fn add_products(self, products: __m512i, sums: __m512i) -> __m512i {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_add_epi32(sums, products) }
    }

    #[inline(always)]
    fn total(self, sums: __m512i) -> i32 {
        // SAFETY: `self` proves that the machine has AVX-512 F.
        unsafe { _mm512_reduce_add_epi32(sums) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run_avx512_vnni<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx512Vnni(()))
}
