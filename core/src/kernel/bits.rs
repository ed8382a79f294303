//! Distances between vectors of bits: ones are counted, by words.
//!
//! As with [`Simd`](super::simd::Simd) there is one loop for all instruction sets. Counts are exact, and so
//! is f32 for them: it holds all integers up to 2²⁴.

use super::scalar::Scalar;
use super::simd::{Kernel, Sums};
use std::iter::zip;

/// What is counted of two words. Each count is the same with the words exchanged.
pub(super) trait Counted {
    /// Whether the ones of the second word are counted too.
    const OWN: bool = false;
    /// The ones of what are counted.
    fn of<B: BitSimd>(simd: B, a: B::Word, b: B::Word) -> B::Word;
}

/// Bits that differ.
pub(super) struct Differing;

impl Counted for Differing {
    #[inline(always)]
    fn of<B: BitSimd>(simd: B, a: B::Word, b: B::Word) -> B::Word {
        simd.xor(a, b)
    }
}

/// Common ones.
pub(super) struct Common;

impl Counted for Common {
    #[inline(always)]
    fn of<B: BitSimd>(simd: B, a: B::Word, b: B::Word) -> B::Word {
        simd.and(a, b)
    }
}

/// Common ones, and the ones of the second vector as [`Common`] of it with itself would count them.
pub(super) struct CommonAndOwn;

impl Counted for CommonAndOwn {
    const OWN: bool = true;

    #[inline(always)]
    fn of<B: BitSimd>(simd: B, a: B::Word, b: B::Word) -> B::Word {
        simd.and(a, b)
    }
}

/// An instruction set that has a kernel for bits, of its own or a narrower one's.
pub(super) trait BitKernels: Copy {
    /// [`count`], compiled for this instruction set.
    fn bit_kernel<C: Counted>(self) -> Kernel;
}

/// A proof that the machine has an instruction set, and its operations on words.
///
/// All methods are `#[inline(always)]` in every implementor, as those of [`Simd`](super::simd::Simd) are.
pub(super) trait BitSimd: Copy {
    /// [`BitSimd::BYTES`] bytes.
    type Word: Copy;
    /// Numbers of ones.
    type Counts: Copy;
    /// Bytes of a word.
    const BYTES: usize;

    /// No ones.
    fn none(self) -> Self::Counts;
    /// Exactly [`BitSimd::BYTES`] bytes, of any alignment.
    fn load_word(self, bytes: &[u8]) -> Self::Word;
    /// Fewer bytes, and zeros.
    fn load_partial_word(self, bytes: &[u8]) -> Self::Word;
    /// Bits that both words have.
    fn and(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Bits that one of the words has.
    fn xor(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// `counts`, and the ones of a word.
    fn add_ones(self, word: Self::Word, counts: Self::Counts) -> Self::Counts;
    /// The sum of all counts.
    fn sum(self, counts: Self::Counts) -> u32;
}

/// Counts the bits of two vectors.
#[inline(always)]
pub(super) fn count<B: BitSimd, C: Counted>(simd: B, a: &[u8], b: &[u8]) -> Sums {
    let length = a.len().min(b.len());
    let (words_a, words_b) = (a[..length].chunks_exact(B::BYTES), b[..length].chunks_exact(B::BYTES));
    let (rest_a, rest_b) = (words_a.remainder(), words_b.remainder());
    let mut counts = [simd.none(); 2];
    let mut add = |a: B::Word, b: B::Word| {
        counts[0] = simd.add_ones(C::of(simd, a, b), counts[0]);
        if C::OWN {
            counts[1] = simd.add_ones(b, counts[1]);
        }
    };
    for (a, b) in zip(words_a, words_b) {
        add(simd.load_word(a), simd.load_word(b));
    }
    if !rest_a.is_empty() {
        add(simd.load_partial_word(rest_a), simd.load_partial_word(rest_b));
    }
    let [terms, squares] = counts.map(|counts| simd.sum(counts) as f32);
    Sums { terms, squares }
}

impl BitKernels for Scalar {
    fn bit_kernel<C: Counted>(self) -> Kernel {
        |a, b| count::<Self, C>(Self, a, b)
    }
}

impl BitSimd for Scalar {
    type Word = u64;
    type Counts = u32;
    const BYTES: usize = 8;

    #[inline(always)]
    fn none(self) -> u32 {
        0
    }

    #[inline(always)]
    fn load_word(self, bytes: &[u8]) -> u64 {
        bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    fn load_partial_word(self, bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    #[inline(always)]
    fn and(self, a: u64, b: u64) -> u64 {
        a & b
    }

    #[inline(always)]
    fn xor(self, a: u64, b: u64) -> u64 {
        a ^ b
    }

    #[inline(always)]
    fn add_ones(self, word: u64, counts: u32) -> u32 {
        counts + word.count_ones()
    }

    #[inline(always)]
    fn sum(self, counts: u32) -> u32 {
        counts
    }
}
