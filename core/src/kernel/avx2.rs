//! The kernels for x86-64 with AVX2, FMA, F16C and POPCNT.
#![allow(unsafe_code, reason = "SIMD intrinsics")]

use super::bits::{BitKernels, Counted, count};
use super::integer::{IntegerSimd, Operation};
use super::scalar::Scalar;
use super::simd::{Element, HalvesKernel, Kernel, ScaledF16, Simd, Sums, Terms, pass};
use std::arch::x86_64::*;

/// Proof that the machine has AVX2, FMA, F16C and POPCNT: made by [`Avx2::detect`], [`pass_avx2`] and
/// [`run_avx2`] only.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, on a machine that has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Self(()))
    }
}

/// Eight lanes set, then eight clear: a window of eight that starts at `8 - n` has its first n lanes set.
const FIRST_LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Simd for Avx2 {
    type Register = __m256;
    const LANES: usize = 8;

    fn kernel<E: Element, T: Terms>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instructions that `pass_avx2` is compiled for.
        |a, b| unsafe { pass_avx2::<E, E, T>(a, b, 1.0) }
    }

    fn halves_kernel<E: Element, T: Terms>(self) -> HalvesKernel {
        // SAFETY: as above.
        |a, b, factor| unsafe { pass_avx2::<E, ScaledF16, T>(a, b, factor) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8]) -> __m256 {
        assert!(bytes.len() == 32);
        // SAFETY: `self` proves that the machine has AVX; the load needs no alignment and reads the 32 bytes
        // there are.
        unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8]) -> __m256 {
        assert!(bytes.len() == 16);
        // SAFETY: `self` proves that the machine has F16C; the load needs no alignment and reads the 16 bytes
        // there are.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_partial_f32(self, bytes: &[u8]) -> __m256 {
        let mask = &FIRST_LANES[8 - bytes.len() / 4..][..8];
        // SAFETY: `self` proves that the machine has AVX; the first load reads the 8 values of `mask`, and
        // the second reads only the lanes that the mask sets, as many as `bytes` has elements.
        unsafe { _mm256_maskload_ps(bytes.as_ptr().cast(), _mm256_loadu_si256(mask.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_partial_f16(self, bytes: &[u8]) -> __m256 {
        // A vector register is put together from two overlapping words, which is several times faster than a
        // copy.
        let length = bytes.len();
        let word = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            u128::from(u64::from_le_bytes(*first))
                | u128::from(u64::from_le_bytes(*last)) << (8 * length - 64)
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            u128::from(
                u64::from(u32::from_le_bytes(*first))
                    | u64::from(u32::from_le_bytes(*last)) << (8 * length - 32),
            )
        } else {
            bytes.first_chunk().map_or(0, |first| u128::from(u16::from_le_bytes(*first)))
        };
        self.load_f16(&word.to_le_bytes())
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn absolute_difference(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(a, b)) }
    }

    #[inline(always)]
    fn subtract(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has FMA.
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    fn total(self, register: __m256) -> f32 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,popcnt")]
fn pass_avx2<A: Element, B: Element, T: Terms>(a: &[u8], b: &[u8], factor: f32) -> Sums {
    pass::<Avx2, A, B, T>(Avx2(()), a, b, factor)
}

impl BitKernels for Avx2 {
    fn bit_kernel<C: Counted>(self) -> Kernel {
        // SAFETY: `self` proves that the machine has the instruction that `count_popcnt` is compiled for.
        |a, b| unsafe { count_popcnt::<C>(a, b) }
    }
}

/// Word by word: AVX2 counts no ones, and a vector of bits has few words.
#[target_feature(enable = "popcnt")]
fn count_popcnt<C: Counted>(a: &[u8], b: &[u8]) -> Sums {
    count::<Scalar, C>(Scalar, a, b)
}

impl IntegerSimd for Avx2 {
    type Bytes = __m256i;
    type Sums = __m256i;
    type Products = __m256i;
    const BYTES: usize = 32;

    fn run<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` proves that the machine has the instructions that `run_avx2` is compiled for.
        unsafe { run_avx2(operation) }
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn no_products(self) -> __m256i {
        IntegerSimd::zero(self)
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> __m256i {
        assert!(bytes.len() == 32);
        // SAFETY: `self` proves that the machine has AVX; the load needs no alignment and reads the 32 bytes
        // there are.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> __m256i {
        let mask = &FIRST_LANES[8 - bytes.len() / 4..][..8];
        // SAFETY: `self` proves that the machine has AVX2; the first load reads the 8 values of `mask`, and
        // the second reads only the groups of 4 bytes that the mask sets, no more than `bytes` has.
        unsafe { _mm256_maskload_epi32(bytes.as_ptr().cast(), _mm256_loadu_si256(mask.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_folded(self, bytes: &[u8]) -> __m256i {
        assert!(bytes.len() <= 16);
        let mask = &FIRST_LANES[8 - bytes.len() / 4..][..8];
        // SAFETY: as in `load_partial`; of the mask the first four lanes are read.
        unsafe {
            let half = _mm_maskload_epi32(bytes.as_ptr().cast(), _mm_loadu_si128(mask.as_ptr().cast()));
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(half), _mm_srli_epi16::<4>(half))
        }
    }

    #[inline(always)]
    fn low_bits<const BITS: u32>(self, bytes: __m256i) -> __m256i {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8((1 << BITS) - 1)) }
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, bytes: __m256i) -> __m256i {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe { _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(BITS as i32)) }
    }

    #[inline(always)]
    fn multiply_add(self, unsigned: __m256i, signed: __m256i, products: __m256i) -> __m256i {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe { _mm256_add_epi16(products, _mm256_maddubs_epi16(unsigned, signed)) }
    }

    #[inline(always)]
    fn add_products(self, products: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(products, _mm256_set1_epi16(1))) }
    }

    #[inline(always)]
    fn total(self, sums: __m256i) -> i32 {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe {
            let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,popcnt")]
fn run_avx2<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx2(()))
}
