//! Block 0, the meta page: what the index was built with, its entry point, and its vacuum cycles.
//!
//! FORMAT.md is the authority on the bytes.

use crate::code::{CodeParameters, ROTATION_ALGORITHM, code_size, seed_of};
use crate::graph::EntryPoint;
use crate::page::format::layout::{Layout, Sizes};
use crate::page::format::presence::Presence;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{AsideKind, NodeHeader};
use crate::types::{ElementType, Error, Link, Metric, Parameters, PayloadEncoding, Result};
use bytemuck::{Pod, Zeroable};

/// Block of the meta page.
pub const META_BLOCK: u32 = 0;
/// Block of the hints page.
pub const HINTS_BLOCK: u32 = 1;
/// First bytes of the meta page's contents: "wali" in ASCII.
pub const MAGIC: u32 = u32::from_le_bytes(*b"wali");
/// The format that is written.
pub const FORMAT_VERSION: u32 = 1;
/// The oldest format that is read.
pub const MIN_FORMAT_VERSION: u32 = 1;
/// Compatible feature: marks say whether there may be rows without a distance.
pub const COMPATIBLE_PRESENCE: u32 = 1;
/// Incompatible feature: codes beside links.
pub const FEATURE_CODES: u32 = 1;
/// Incompatible feature: payloads in another encoding than the column's.
pub const FEATURE_PAYLOAD_ENCODING: u32 = 2;
/// Incompatible feature: extensions of nodes.
pub const FEATURE_EXTENSION: u32 = 4;
/// Incompatible feature: elements of one bit.
pub const FEATURE_BITS: u32 = 8;
/// Incompatible feature: sparse vectors, whose payloads are not of one length.
pub const FEATURE_SPARSE: u32 = 16;
/// Incompatible feature bits that this version knows.
pub const KNOWN_FEATURES: u32 = FEATURE_CODES | FEATURE_PAYLOAD_ENCODING | FEATURE_BITS | FEATURE_SPARSE;

/// The contents of the meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Meta {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Features that an older reader may ignore.
    pub compatible_features: u32,
    /// Features that a reader must know.
    pub incompatible_features: u32,
    /// Dimensions of every vector; the lower 16 bits of those of sparse vectors.
    pub dimensions: u16,
    /// Links of layers above 0.
    pub m: u16,
    /// Links of layer 0.
    pub m0: u16,
    /// Candidates kept while inserting.
    pub ef_construction: u16,
    /// A [`Metric`].
    pub metric: u8,
    /// The column's [`ElementType`].
    pub element: u8,
    /// A [`PayloadEncoding`].
    pub payload_encoding: u8,
    /// Bits of a code per dimension; 0 without codes.
    pub code_bits: u8,
    /// Dimensions that a code covers, after rotation; 0 without codes.
    pub code_dimensions: u16,
    /// Bytes of a code with its factors; 0 without codes.
    pub code_length: u16,
    /// Bytes between two links of layer 0: a link and its code.
    pub link_stride: u16,
    /// Bytes between two links of a layer above 0: a link, and its code where there is room for one.
    pub upper_link_stride: u16,
    /// Heap TIDs that a node holds in its own tuple.
    pub inline_tids: u16,
    /// Bytes kept for the extension of each node; 0 so far.
    pub extension_length: u16,
    /// Seed of the rotation.
    pub rotation_seed: u64,
    /// How vectors are rotated before coding; 0 without codes.
    pub rotation_algorithm: u16,
    /// The upper 16 bits of the dimensions of sparse vectors; zero otherwise.
    pub dimensions_high: u16,
    /// First block of the parameter chain (centroid), or `u32::MAX`.
    pub parameter_block: u32,
    /// Bytes in the parameter chain.
    pub parameter_length: u32,
    /// Changes whenever the entry point does.
    pub entry_generation: u32,
    /// The entry point, or [`Link::NONE`].
    pub entry_point: Link,
    /// Level of the entry point.
    pub entry_level: u16,
    /// A [`Presence`] of rows whose distance may be undefined.
    pub undefined_presence: u8,
    /// The same of rows with NULL.
    pub null_presence: u8,
    /// Number of the newest vacuum cycle; 0 before the first.
    pub cycle: u32,
    /// The newest cycle whose tombstones no link of a live node leads to any more.
    pub repaired_cycle: u32,
    /// Tombstones of cycles up to this one may be reused by anybody.
    pub reusable_cycle: u32,
    /// The transaction that must be older than all snapshots before tombstones of `repaired_cycle` are
    /// reused.
    pub repaired_transaction: u64,
}

/// Bytes of [`Meta`].
pub const META_SIZE: usize = size_of::<Meta>();

impl Meta {
    /// The mark of a kind of rows. That of zero vectors is also of nodes whose distances may overflow, see
    /// [`Measure::is_ordinary`](crate::kernel::Measure::is_ordinary).
    pub fn presence(&self, kind: AsideKind) -> Presence {
        if self.compatible_features & COMPATIBLE_PRESENCE == 0 {
            return Presence::Unknown;
        }
        Presence::from_code(match kind {
            AsideKind::ZeroVector => self.undefined_presence,
            AsideKind::Null => self.null_presence,
        })
    }

    /// Sets a mark.
    pub fn set_presence(&mut self, kind: AsideKind, presence: Presence) {
        self.compatible_features |= COMPATIBLE_PRESENCE;
        match kind {
            AsideKind::ZeroVector => self.undefined_presence = presence as u8,
            AsideKind::Null => self.null_presence = presence as u8,
        }
    }

    /// The meta page of an empty index, whose centroid is zero.
    pub fn new(parameters: &Parameters) -> Self {
        let sizes = Sizes::of_new(parameters);
        let coded = sizes.code > 0;
        let mut features = 0;
        if coded {
            features |= FEATURE_CODES;
        }
        if parameters.payload.is_lossy() {
            features |= FEATURE_PAYLOAD_ENCODING;
        }
        if parameters.element == ElementType::Bit {
            features |= FEATURE_BITS;
        }
        if parameters.element == ElementType::Sparse {
            features |= FEATURE_SPARSE;
        }
        let mut meta = Self {
            magic: MAGIC,
            format_version: FORMAT_VERSION,
            dimensions: parameters.dimensions as u16,
            dimensions_high: (parameters.dimensions >> 16) as u16,
            m: parameters.m,
            m0: parameters.m0,
            ef_construction: parameters.ef_construction,
            metric: parameters.metric as u8,
            element: parameters.element as u8,
            incompatible_features: features,
            payload_encoding: parameters.payload as u8,
            code_bits: parameters.code_bits,
            code_dimensions: parameters.code_dimensions,
            code_length: sizes.code,
            rotation_algorithm: if coded { ROTATION_ALGORITHM } else { 0 },
            rotation_seed: if coded { seed_of(&vec![0.0; parameters.dimensions]) } else { 0 },
            link_stride: sizes.link_stride,
            upper_link_stride: sizes.upper_link_stride,
            inline_tids: sizes.inline_tids,
            parameter_block: u32::MAX,
            entry_point: Link::NONE,
            ..Self::zeroed()
        };
        for kind in AsideKind::ALL {
            meta.set_presence(kind, Presence::Absent);
        }
        meta
    }

    /// The meta data on a page that must be a meta page.
    pub fn of_page(page: &Page) -> Result<Self> {
        let corrupt = |what| Error::Corrupt { block: META_BLOCK, slot: 0, what };
        if page.kind(META_BLOCK)? != PageKind::Meta {
            return Err(corrupt("no meta page"));
        }
        let meta: Self = bytemuck::pod_read_unaligned(&page.contents()[..META_SIZE]);
        if meta.magic != MAGIC {
            return Err(corrupt("meta page without walia's magic"));
        }
        if !(MIN_FORMAT_VERSION..=FORMAT_VERSION).contains(&meta.format_version) {
            return Err(Error::Version { found: meta.format_version });
        }
        if meta.incompatible_features & !KNOWN_FEATURES != 0 {
            return Err(Error::Features { unknown: meta.incompatible_features & !KNOWN_FEATURES });
        }
        let layout = meta.layout()?;
        meta.code_parameters()?;
        if meta.entry_level > u16::from(layout.max_level) {
            return Err(corrupt("meta page with an entry point of impossible level"));
        }
        let features = [
            (FEATURE_CODES, meta.code_length > 0),
            (FEATURE_PAYLOAD_ENCODING, meta.payload_encoding != PayloadEncoding::Column as u8),
            (FEATURE_EXTENSION, meta.extension_length > 0),
            (FEATURE_BITS, meta.element == ElementType::Bit as u8),
            (FEATURE_SPARSE, meta.element == ElementType::Sparse as u8),
        ];
        if features.iter().any(|(bit, used)| *used != (meta.incompatible_features & bit != 0)) {
            return Err(corrupt("meta page whose feature bits contradict its values"));
        }
        Ok(meta)
    }

    /// Writes these values to the meta page.
    pub fn write(&self, page: &mut Page) {
        page.contents_mut(META_SIZE).copy_from_slice(bytemuck::bytes_of(self));
    }

    /// What the index was built with.
    pub fn parameters(&self) -> Result<Parameters> {
        let corrupt = |what| Error::Corrupt { block: META_BLOCK, slot: 0, what };
        let element = ElementType::from_code(self.element).ok_or(corrupt("unknown element type"))?;
        let metric = Metric::from_code(self.metric).ok_or(corrupt("unknown metric"))?;
        let payload = PayloadEncoding::from_code(self.payload_encoding)
            .ok_or(corrupt("meta page with an unknown payload encoding"))?;
        // Older versions wrote zero there and said nothing of it.
        let high = if element == ElementType::Sparse { self.dimensions_high } else { 0 };
        let dimensions = usize::from(high) << 16 | usize::from(self.dimensions);
        let possible = (1..=element.max_dimensions()).contains(&dimensions)
            && self.m >= 2
            && self.m0 >= 2
            && metric.measures(element)
            && (element.is_quantizable() || !payload.is_lossy());
        if !possible {
            return Err(corrupt("meta page with impossible parameters"));
        }
        Ok(Parameters {
            dimensions,
            element,
            metric,
            m: self.m,
            m0: self.m0,
            ef_construction: self.ef_construction,
            code_bits: self.code_bits,
            code_dimensions: self.code_dimensions,
            payload,
        })
    }

    /// Where things lie in the tuples of the index.
    pub fn layout(&self) -> Result<Layout> {
        let sizes = Sizes {
            code: self.code_length,
            link_stride: self.link_stride,
            upper_link_stride: self.upper_link_stride,
            inline_tids: self.inline_tids,
            extension: self.extension_length,
        };
        let corrupt = |what| Error::Corrupt { block: META_BLOCK, slot: 0, what };
        Layout::new(&self.parameters()?, sizes).map_err(corrupt)
    }

    /// How codes are made; `None` for an index without codes.
    pub fn code_parameters(&self) -> Result<Option<CodeParameters>> {
        let Parameters { dimensions, element, metric, code_bits: bits, code_dimensions, .. } =
            self.parameters()?;
        if bits == 0 && self.code_length == 0 {
            return Ok(None);
        }
        let parameters = CodeParameters {
            dimensions,
            element,
            metric,
            bits,
            code_dimensions: code_dimensions.into(),
            seed: self.rotation_seed,
        };
        let possible = parameters.is_valid()
            && self.rotation_algorithm == ROTATION_ALGORITHM
            && usize::from(self.code_length) == code_size(bits, code_dimensions.into());
        let what = "meta page with impossible codes";
        if possible { Ok(Some(parameters)) } else { Err(Error::Corrupt { block: META_BLOCK, slot: 0, what }) }
    }

    /// The entry point, `None` for an empty graph.
    pub fn entry(&self) -> Option<EntryPoint<Link>> {
        self.entry_point.as_option().map(|node| EntryPoint { node, level: self.entry_level as u8 })
    }

    /// Whether a node is a tombstone that no link of a live node leads to any more: its cycle has been
    /// repaired. Its place may be taken by another at any moment. Links to it that a crash left behind are
    /// told by their versions.
    pub fn is_removable(&self, header: &NodeHeader) -> bool {
        header.is_tombstone() && header.cycle <= self.repaired_cycle
    }

    /// Makes `node` the entry point; [`Link::NONE`] empties the graph.
    pub(in crate::page) fn set_entry(&mut self, node: Link, level: u8) {
        self.entry_point = node;
        self.entry_level = u16::from(level);
        self.entry_generation = self.entry_generation.wrapping_add(1);
    }
}
