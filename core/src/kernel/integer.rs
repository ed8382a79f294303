//! Integer kernels, and work compiled for the instruction set that the machine has.
//!
//! [`Operation`] is written once, over [`IntegerSimd`]; [`Instructions::run`] runs the version that was
//! compiled for one instruction set. Everything here is exact or plain IEEE arithmetic that no compiler may
//! reorder or contract, so that an operation gives the same bits with every instruction set.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512_vnni::Avx512Vnni;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::{InstructionSet, scalar::Scalar};
use std::sync::OnceLock;

/// A proof that the machine has an instruction set, and its operations on registers of bytes.
///
/// As with [`Simd`](super::simd::Simd), all methods but `run` are `#[inline(always)]` in every implementor.
pub(crate) trait IntegerSimd: Copy {
    /// [`IntegerSimd::BYTES`] bytes.
    type Bytes: Copy;
    /// Sums of i32.
    type Sums: Copy;
    /// Sums of the products of one register's bytes, which are small.
    type Products: Copy;
    /// Bytes of a register, a multiple of 4.
    const BYTES: usize;

    /// Runs an operation compiled for this instruction set.
    fn run<O: Operation>(self, operation: O) -> O::Output;

    /// All sums 0.
    fn zero(self) -> Self::Sums;
    /// No products.
    fn no_products(self) -> Self::Products;
    /// Exactly [`IntegerSimd::BYTES`] bytes, of any alignment.
    fn load(self, bytes: &[u8]) -> Self::Bytes;
    /// Fewer bytes, a multiple of 4, followed by zeros.
    fn load_partial(self, bytes: &[u8]) -> Self::Bytes;
    /// At most half as many bytes, a multiple of 4, followed by zeros up to the half; and from there on the
    /// same again, shifted right by 4. What comes into the high 4 bits of the second half is left open.
    fn load_folded(self, bytes: &[u8]) -> Self::Bytes;
    /// The low `BITS` bits of each byte; 1 to 7.
    fn low_bits<const BITS: u32>(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Each byte shifted right by `BITS`; what comes into its high `BITS` bits is left open.
    fn shift_right<const BITS: u32>(self, bytes: Self::Bytes) -> Self::Bytes;
    /// `products` and those of bytes with signed bytes, each added to one of them.
    ///
    /// The bytes are `BITS` bits that were taken out of one register: there are 8 / `BITS` calls at most for
    /// it, so that no sum is beyond ±2 · 2 · 15 · 128 and all fit 16 bits.
    fn multiply_add(
        self,
        unsigned: Self::Bytes,
        signed: Self::Bytes,
        products: Self::Products,
    ) -> Self::Products;
    /// `sums`, and the products of a register.
    fn add_products(self, products: Self::Products, sums: Self::Sums) -> Self::Sums;
    /// The sum of all.
    fn total(self, sums: Self::Sums) -> i32;
}

/// Work that is compiled once for each instruction set.
pub(crate) trait Operation {
    /// What it gives.
    type Output;
    /// Does it; `#[inline(always)]`, as is all that it calls in its loops.
    fn run<S: IntegerSimd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this machine is known to have.
#[derive(Clone, Copy)]
pub(crate) enum Instructions {
    Scalar(Scalar),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
}

impl Instructions {
    /// Those of [`InstructionSet::in_use`].
    pub(crate) fn in_use() -> Self {
        static IN_USE: OnceLock<Instructions> = OnceLock::new();
        *IN_USE.get_or_init(|| {
            Self::with_instruction_set(InstructionSet::in_use()).unwrap_or(Self::Scalar(Scalar))
        })
    }

    /// Those of an instruction set, or of a narrower one where a machine with AVX-512 lacks its VNNI; `None`
    /// where this machine does not have it.
    pub(crate) fn with_instruction_set(set: InstructionSet) -> Option<Self> {
        match set {
            InstructionSet::Scalar => Some(Self::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => {
                let narrower = || Self::with_instruction_set(InstructionSet::Avx2);
                Avx512Vnni::detect().map(Self::Avx512Vnni).or_else(narrower)
            }
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => Neon::detect().map(Self::Neon),
            _ => None,
        }
    }

    /// Runs an operation compiled for this instruction set.
    pub(crate) fn run<O: Operation>(self, operation: O) -> O::Output {
        match self {
            Self::Scalar(simd) => simd.run(operation),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.run(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.run(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(simd) => simd.run(operation),
        }
    }
}
