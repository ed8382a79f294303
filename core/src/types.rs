//! The words that every other module speaks: links, heap TIDs, metrics, parameters, errors.

use bytemuck::{Pod, Zeroable};
use std::hash::{Hash, Hasher};

/// Bytes of a page. Postgres can be compiled with other block sizes; walia refuses those.
pub const PAGE_SIZE: usize = 8192;
/// Largest number of dimensions of a stored vector of numbers.
pub const MAX_DIMENSIONS: usize = 16000;
/// Largest number of dimensions of a stored vector of bits.
pub const MAX_BITS: usize = 64000;
/// Largest number of dimensions of a stored sparse vector.
pub const MAX_SPARSE_DIMENSIONS: usize = 1_000_000_000;
/// Largest number of elements of a stored sparse vector that are not zero.
pub const MAX_SPARSE_ELEMENTS: usize = 1000;

/// The distance that an index is built for. The values are on disk (FORMAT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Euclidean distance; ranked by its square.
    L2 = 1,
    /// Negative inner product.
    InnerProduct = 2,
    /// 1 − cosine similarity. Undefined for a zero vector: those stay outside of the graph.
    Cosine = 3,
    /// Sum of absolute differences.
    L1 = 4,
    /// Number of bits that differ.
    Hamming = 5,
    /// 1 − the share of common ones in all ones; 1 where there is no common one.
    Jaccard = 6,
}

impl Metric {
    /// The metric of an on-disk value.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::L2, Self::InnerProduct, Self::Cosine, Self::L1, Self::Hamming, Self::Jaccard]
            .into_iter()
            .find(|metric| *metric as u8 == code)
    }

    /// Whether an index may measure elements of this type so.
    pub fn measures(self, element: ElementType) -> bool {
        matches!(self, Self::Hamming | Self::Jaccard) == (element == ElementType::Bit)
    }

    /// Whether codes estimate it.
    pub fn has_codes(self) -> bool {
        matches!(self, Self::L2 | Self::InnerProduct | Self::Cosine)
    }

    /// What the operator gives for a distance as the index ranks it.
    pub fn operator_value(self, distance: f64) -> f64 {
        if self == Self::L2 { distance.max(0.0).sqrt() } else { distance }
    }

    /// A distance, as the index ranks it, that none is beyond for which the operator gives `value` or less.
    pub fn distance_within(self, value: f64) -> f64 {
        /// More than all roundings in between.
        const SLACK: f64 = 1e-6;
        let value = value + value.abs() * SLACK + f64::MIN_POSITIVE;
        if self == Self::L2 && value < 0.0 {
            f64::NEG_INFINITY
        } else if self == Self::L2 {
            value * value
        } else {
            value
        }
    }
}

/// Bytes of an element of a sparse vector, with its index.
pub const SPARSE_BYTES: usize = 8;

/// The type of a vector's elements. The values are on disk (FORMAT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ElementType {
    /// IEEE 754 binary32.
    F32 = 1,
    /// IEEE 754 binary16.
    F16 = 2,
    /// A bit: eight are a byte, the first the most significant. Bits without an element are zero.
    Bit = 3,
    /// IEEE 754 binary32 of a sparse vector: the indices of those that are not zero (u32, from 0, ascending),
    /// then these.
    Sparse = 4,
}

impl ElementType {
    /// Bytes of a vector of so many elements; the most that one may have, where they are not all of one
    /// length.
    pub const fn bytes(self, elements: usize) -> usize {
        match self {
            Self::F32 => 4 * elements,
            Self::F16 => 2 * elements,
            Self::Bit => elements.div_ceil(8),
            Self::Sparse if elements > MAX_SPARSE_ELEMENTS => SPARSE_BYTES * MAX_SPARSE_ELEMENTS,
            Self::Sparse => SPARSE_BYTES * elements,
        }
    }

    /// Whether vectors of equal dimensions are of different lengths.
    pub const fn varies(self) -> bool {
        matches!(self, Self::Sparse)
    }

    /// Whether vectors may be coded, and kept in less precision.
    pub const fn is_quantizable(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }

    /// The largest number of dimensions of a stored vector.
    pub const fn max_dimensions(self) -> usize {
        match self {
            Self::F32 | Self::F16 => MAX_DIMENSIONS,
            Self::Bit => MAX_BITS,
            Self::Sparse => MAX_SPARSE_DIMENSIONS,
        }
    }

    /// The element type of an on-disk value.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bit, Self::Sparse].into_iter().find(|element| *element as u8 == code)
    }
}

/// How payloads are stored. The values are on disk (FORMAT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadEncoding {
    /// The column's elements, byte for byte.
    Column = 0,
    /// Binary16 elements, after a fingerprint of the vector and the norm of what was lost.
    F16 = 1,
    /// A byte an element, after a fingerprint, the norm of what was lost, the smallest element, and the step.
    Sq8 = 2,
}

impl PayloadEncoding {
    /// The encoding of an on-disk value.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Column, Self::F16, Self::Sq8].into_iter().find(|encoding| *encoding as u8 == code)
    }

    /// Whether a payload may have lost something of its vector.
    pub const fn is_lossy(self) -> bool {
        !matches!(self, Self::Column)
    }
}

/// What an index is built with; fixed for its life and kept on its meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Dimensions of every vector, 1 to [`ElementType::max_dimensions`].
    pub dimensions: usize,
    /// Element type of the indexed column.
    pub element: ElementType,
    /// Distance that orders the graph.
    pub metric: Metric,
    /// Links a node keeps on every layer above 0 (the paper's M).
    pub m: u16,
    /// Links a node keeps on layer 0 (the paper's Mmax0); at most 2m.
    pub m0: u16,
    /// Candidates kept while looking for a new node's neighbours (the paper's efConstruction).
    pub ef_construction: u16,
    /// Bits a dimension of the codes beside links; 0 for an index without codes.
    pub code_bits: u8,
    /// The first rotated dimensions, which codes cover; 0 for an index without codes.
    pub code_dimensions: u16,
    /// How nodes store their vectors.
    pub payload: PayloadEncoding,
}

impl Parameters {
    /// A graph without codes: 2m links on layer 0, vectors in the column's own precision.
    pub const fn plain(
        dimensions: usize,
        element: ElementType,
        metric: Metric,
        m: u16,
        ef_construction: u16,
    ) -> Self {
        let (code_bits, code_dimensions, payload) = (0, 0, PayloadEncoding::Column);
        let m0 = 2 * m;
        Self { dimensions, element, metric, m, m0, ef_construction, code_bits, code_dimensions, payload }
    }

    /// Bytes of a vector in the column's own precision; the most that one may have, where they vary.
    pub const fn vector_size(&self) -> usize {
        self.element.bytes(self.dimensions)
    }

    /// Whether a vector may have so many bytes.
    pub const fn is_vector_size(&self, bytes: usize) -> bool {
        if self.element.varies() {
            bytes <= self.vector_size() && bytes.is_multiple_of(SPARSE_BYTES)
        } else {
            bytes == self.vector_size()
        }
    }

    /// Links that a node may keep on `layer`.
    pub const fn max_links(&self, layer: u8) -> usize {
        (if layer == 0 { self.m0 } else { self.m }) as usize
    }
}

/// The highest layer that any node may have.
///
/// With m = 2 a level of 40 has a probability of 2⁻⁴⁰; the cap bounds the size of an upper tuple.
pub const MAX_LEVEL: u8 = 40;

/// The address of a node: a page, a slot on it, and the slot's version when the link was made.
///
/// A link whose version differs from the slot's is stale: the node it led to is gone, and the link is
/// skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct Link {
    /// Block number in the index.
    pub block: u32,
    /// Line pointer on the page, from 1.
    pub slot: u16,
    /// Version of the slot.
    pub version: u16,
}

/// In one piece, where a derived implementation would hash each field: searches look up thousands of links.
impl Hash for Link {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.block) << 32 | u64::from(self.slot) << 16 | u64::from(self.version));
    }
}

impl Link {
    /// The link that leads nowhere.
    pub const NONE: Self = Self { block: u32::MAX, slot: 0, version: 0 };

    /// Whether this link leads nowhere.
    pub const fn is_none(self) -> bool {
        self.block == u32::MAX
    }

    /// `None` for [`Link::NONE`].
    pub const fn as_option(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }
}

/// The address of a row in the heap, laid out as Postgres's `ItemPointerData` (block high, block low,
/// offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct HeapTid {
    block_high: u16,
    block_low: u16,
    offset: u16,
}

impl HeapTid {
    /// A heap TID of a block and an offset (from 1).
    pub const fn new(block: u32, offset: u16) -> Self {
        Self { block_high: (block >> 16) as u16, block_low: block as u16, offset }
    }

    /// Block number in the heap.
    pub const fn block(self) -> u32 {
        (self.block_high as u32) << 16 | self.block_low as u32
    }

    /// Line pointer on the heap page.
    pub const fn offset(self) -> u16 {
        self.offset
    }
}

/// What can go wrong below Postgres.
///
/// Errors that Postgres raises itself (I/O, interrupts, its own being out of memory) unwind through this
/// crate and are not seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Bytes on a page are not what FORMAT.md says. `slot` is 0 where the page itself is meant.
    Corrupt {
        /// Block number in the index.
        block: u32,
        /// Line pointer on the page, or 0.
        slot: u16,
        /// What was expected there.
        what: &'static str,
    },
    /// The index was written in a format that this version does not read.
    Version {
        /// The version found on the meta page.
        found: u32,
    },
    /// The index uses features that this version does not know (incompatible feature bits).
    Features {
        /// The unknown bits.
        unknown: u32,
    },
    /// The temporary file of a build could not be read.
    TemporaryFile {
        /// The number of the system's error; 0 where the file is too short.
        errno: i32,
    },
    /// A message between the processes of a build says something else than it should.
    Message,
    /// The system has no more memory. Only what may grow large is allocated so that it can fail.
    OutOfMemory,
    /// A simulated crash of the RAM page store: nothing is written any more.
    #[cfg(feature = "memory-store")]
    Crashed,
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Corrupt { block, slot: 0, what } => write!(formatter, "{what} in block {block}"),
            Self::Corrupt { block, slot, what } => write!(formatter, "{what} in block {block}, slot {slot}"),
            Self::Version { found } => write!(formatter, "format version {found} is not supported"),
            Self::Features { unknown } => write!(formatter, "unknown incompatible features {unknown:#x}"),
            Self::TemporaryFile { errno } => write!(formatter, "error {errno} of a temporary file"),
            Self::Message => write!(formatter, "unexpected message"),
            Self::OutOfMemory => write!(formatter, "out of memory"),
            #[cfg(feature = "memory-store")]
            Self::Crashed => write!(formatter, "the page store has crashed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::collections::TryReserveError> for Error {
    fn from(_: std::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

impl From<hashbrown::TryReserveError> for Error {
    fn from(_: hashbrown::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

/// The result of everything that touches pages.
pub type Result<T> = std::result::Result<T, Error>;
