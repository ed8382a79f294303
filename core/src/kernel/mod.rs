//! Distances between vectors, by the widest instructions that the machine has.
//!
//! Vectors are bytes here (little-endian elements): the same routine serves a datum, an arena and a page.
//! Elements are widened to f32 and added up in f32; bits are counted. `unsafe` is in the files of the
//! instruction sets and in `prefetch` only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx512_vpopcntdq;
mod bits;
mod integer;
#[cfg(target_arch = "aarch64")]
mod neon;
mod prefetch;
mod scalar;
mod simd;
mod sparse;

pub(crate) use integer::{Instructions, IntegerSimd, Operation};
pub use prefetch::{prefetch, prefetch_range};
pub(crate) use scalar::widen;
pub use sparse::is_sparse_vector;

use crate::types::{ElementType, Metric};
use bits::{BitKernels, Common, CommonAndOwn, Differing};
use simd::{
    AbsoluteDifferences, Element, F16, F32, HalvesKernel, Kernel, Products, ProductsAndSquares, Simd,
    SquaredDifferences, Sums, Terms,
};
use std::sync::OnceLock;

/// The instructions that a kernel is written for, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Plain Rust, for any machine.
    Scalar,
    /// NEON, on AArch64.
    Neon,
    /// AVX2, FMA and F16C, on x86-64.
    Avx2,
    /// AVX-512 F, BW and VL, on x86-64.
    Avx512,
}

impl InstructionSet {
    const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Its name in `WALIA_KERNEL` and in `walia_info`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// What this machine has, from the narrowest to the widest; never empty.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|set| Measure::with_instruction_set(Metric::L2, ElementType::F32, *set).is_some())
    }

    /// The widest that this machine has.
    pub fn detect() -> Self {
        Self::available().next_back().unwrap_or(Self::Scalar)
    }

    /// What [`Measure::new`] binds, the same for the life of the process: the set that the environment
    /// variable `WALIA_KERNEL` names, for tests of the narrower kernels. Where it is unset, or names none
    /// that this machine has, the widest; `walia_info` shows which it is.
    pub fn in_use() -> Self {
        static IN_USE: OnceLock<InstructionSet> = OnceLock::new();
        *IN_USE.get_or_init(|| {
            let wanted = std::env::var_os("WALIA_KERNEL");
            Self::available()
                .find(|set| wanted.as_deref() == Some(set.name().as_ref()))
                .unwrap_or_else(Self::detect)
        })
    }
}

/// The greatest squared norm of an ordinary vector. By Cauchy and Schwarz no sum of products of two such
/// vectors is greater. It leaves room for vectors that are known by a payload of less precision, whose
/// squared norm may be half of theirs.
const ORDINARY: f32 = f32::MAX / 16.0;

/// A metric and an element type bound to the routines for this machine.
///
/// The same two vectors give the same bits from every method and in either order, so that operators, scans
/// and builds on one machine agree on every comparison. Across instruction sets the last bits may differ:
/// nothing of it goes to disk.
///
/// Vectors need no alignment. Of two vectors of unequal length the shorter counts, unless they are sparse;
/// the caller checks dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    metric: Metric,
    /// The sums of a query and a vector; under cosine with the vector's squares.
    kernel: Kernel,
    /// The sums of two vectors that are both prepared.
    prepared_kernel: Kernel,
    /// The sums of a query and a vector of scaled halves; under cosine and inner product with the vector's
    /// squares.
    halves_kernel: HalvesKernel,
}

impl Measure {
    /// Binds the routines of [`InstructionSet::in_use`].
    pub fn new(metric: Metric, element: ElementType) -> Self {
        Self::with_instruction_set(metric, element, InstructionSet::in_use())
            .unwrap_or_else(|| Self::bind(scalar::Scalar, metric, element))
    }

    /// Binds the routines of an instruction set; `None` where this machine does not have it.
    pub fn with_instruction_set(metric: Metric, element: ElementType, set: InstructionSet) -> Option<Self> {
        match set {
            InstructionSet::Scalar => Some(Self::bind(scalar::Scalar, metric, element)),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2::Avx2::detect().map(|simd| Self::bind(simd, metric, element)),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => avx512::Avx512::detect().map(|simd| Self::bind(simd, metric, element)),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => neon::Neon::detect().map(|simd| Self::bind(simd, metric, element)),
            _ => None,
        }
    }

    fn bind<S: Simd + BitKernels>(simd: S, metric: Metric, element: ElementType) -> Self {
        match element {
            ElementType::F32 => Self::of_kernels::<S, F32>(simd, metric),
            ElementType::F16 => Self::of_kernels::<S, F16>(simd, metric),
            ElementType::Bit => Self::of_bits(simd, metric),
            ElementType::Sparse => {
                let (kernel, prepared_kernel) = sparse::kernels(metric);
                Self::without_halves(metric, kernel, prepared_kernel)
            }
        }
    }

    /// Every metric of vectors whose elements are 0 and 1.
    fn of_bits(simd: impl BitKernels, metric: Metric) -> Self {
        let (kernel, prepared_kernel) = match metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => {
                (simd.bit_kernel::<Differing>(), simd.bit_kernel::<Differing>())
            }
            Metric::InnerProduct => (simd.bit_kernel::<Common>(), simd.bit_kernel::<Common>()),
            Metric::Cosine | Metric::Jaccard => {
                (simd.bit_kernel::<CommonAndOwn>(), simd.bit_kernel::<Common>())
            }
        };
        Self::without_halves(metric, kernel, prepared_kernel)
    }

    /// Of vectors that are never kept as halves.
    fn without_halves(metric: Metric, kernel: Kernel, prepared_kernel: Kernel) -> Self {
        let halves_kernel = |_: &[u8], _: &[u8], _| Sums { terms: f32::NAN, squares: f32::NAN };
        Self { metric, kernel, prepared_kernel, halves_kernel }
    }

    fn of_kernels<S: Simd, E: Element>(simd: S, metric: Metric) -> Self {
        let (kernel, prepared_kernel, halves_kernel) = match metric {
            Metric::L2 => kernels::<S, E, SquaredDifferences, SquaredDifferences, SquaredDifferences>(simd),
            Metric::InnerProduct => kernels::<S, E, Products, Products, ProductsAndSquares>(simd),
            Metric::Cosine | Metric::Jaccard => {
                kernels::<S, E, ProductsAndSquares, Products, ProductsAndSquares>(simd)
            }
            Metric::L1 | Metric::Hamming => {
                kernels::<S, E, AbsoluteDifferences, AbsoluteDifferences, AbsoluteDifferences>(simd)
            }
        };
        Self { metric, kernel, prepared_kernel, halves_kernel }
    }

    /// What `distance_from` needs to know of a vector beforehand: its squared norm under cosine and Jaccard,
    /// 0 otherwise.
    #[inline]
    pub fn prepare(&self, vector: &[u8]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Jaccard => (self.prepared_kernel)(vector, vector).terms,
            Metric::L2 | Metric::InnerProduct | Metric::L1 | Metric::Hamming => 0.0,
        }
    }

    /// Whether the vector has no distance from any other: a zero vector under cosine, which has no direction.
    pub fn is_undefined(&self, vector: &[u8]) -> bool {
        self.metric == Metric::Cosine && self.prepare(vector) == 0.0
    }

    /// Whether the distance of this vector from any other that is so is a number, unless one of them
    /// [is undefined](Measure::is_undefined): no sum of products overflows.
    pub fn is_ordinary(&self, vector: &[u8]) -> bool {
        self.squared_norm(vector) <= ORDINARY
    }

    /// Whether a payload's vector has a norm that no ordinary vector's payload has.
    pub fn overflows(&self, vector: &[u8]) -> bool {
        self.squared_norm(vector) > 4.0 * ORDINARY
    }

    /// The value that ranks `a` and `b`; smaller is nearer.
    ///
    /// L2 gives the squared distance, and the inner product is negated; both are infinite (or NaN) where f32
    /// overflows. Cosine is in 0 to 2. It is NaN where a squared norm is 0 in f32, as such a vector has no
    /// direction, and 1 or NaN where one overflows. Jaccard is in 0 to 1, and 1 where no one is common, also
    /// of a zero vector from itself.
    #[inline]
    pub fn distance(&self, a: &[u8], b: &[u8]) -> f64 {
        self.distance_from(a, self.prepare(a), b)
    }

    /// As [`Measure::distance`], with `prepared = prepare(query)` kept by the caller.
    #[inline]
    pub fn distance_from(&self, query: &[u8], prepared: f32, vector: &[u8]) -> f64 {
        let sums = (self.kernel)(query, vector);
        self.finish(sums.terms, prepared, sums.squares)
    }

    /// As [`Measure::distance_from`] a vector whose elements are `halves` (IEEE 754 binary16), each rounded
    /// to f32 after it was multiplied by `factor`; the same bits. Not of bits and sparse vectors, which are
    /// never kept so: those have no number. Also gives [`Measure::squared_norm`] of that vector.
    #[inline]
    pub fn distance_from_halves(
        &self,
        query: &[u8],
        prepared: f32,
        halves: &[u8],
        factor: f32,
    ) -> (f64, f32) {
        let sums = (self.halves_kernel)(query, halves, factor);
        (self.finish(sums.terms, prepared, sums.squares), sums.squares)
    }

    /// The squared norm of a vector under cosine and inner product; 0 otherwise.
    #[inline]
    pub fn squared_norm(&self, vector: &[u8]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::InnerProduct => (self.prepared_kernel)(vector, vector).terms,
            Metric::L2 | Metric::L1 | Metric::Hamming | Metric::Jaccard => 0.0,
        }
    }

    /// As [`Measure::distance`], with both vectors prepared.
    #[inline]
    pub fn distance_between(&self, a: &[u8], prepared_a: f32, b: &[u8], prepared_b: f32) -> f64 {
        self.finish((self.prepared_kernel)(a, b).terms, prepared_a, prepared_b)
    }

    /// The distance of two vectors with a sum of terms and, under cosine and Jaccard, these squared norms.
    #[inline]
    fn finish(&self, terms: f32, squares_a: f32, squares_b: f32) -> f64 {
        let terms = f64::from(terms);
        match self.metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => terms,
            Metric::InnerProduct => -terms,
            // The product of two f32 is exact in f64: it does not depend on their order, and a vector is at a
            // distance of exactly 0 from itself.
            Metric::Cosine => {
                1.0 - (terms / (f64::from(squares_a) * f64::from(squares_b)).sqrt()).clamp(-1.0, 1.0)
            }
            Metric::Jaccard if terms == 0.0 => 1.0,
            // The sum of two f32 is exact in f64, too.
            Metric::Jaccard => 1.0 - terms / (f64::from(squares_a) + f64::from(squares_b) - terms),
        }
    }
}

/// The kernels of a query and a vector, of two prepared vectors, and of a query and scaled halves.
fn kernels<S: Simd, E: Element, T: Terms, P: Terms, H: Terms>(simd: S) -> (Kernel, Kernel, HalvesKernel) {
    (simd.kernel::<E, T>(), simd.kernel::<E, P>(), simd.halves_kernel::<E, H>())
}
