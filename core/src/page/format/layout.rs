//! Where things lie in the tuples of one index: computed from its parameters, and from the sizes that were
//! chosen for them.
//!
//! FORMAT.md is the authority on the bytes.

use crate::code::code_size;
use crate::page::format::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, MAX_TUPLE_SIZE, SPECIAL_OFFSET};
use crate::page::format::tuple::{MAX_INLINE_TIDS, NodeHeader, OwnedHeader, PAYLOAD_PART_SIZE};
use crate::types::{ElementType, HeapTid, Link, MAX_LEVEL, MAX_SPARSE_ELEMENTS, Parameters, PayloadEncoding};
use std::ops::Range;

/// What is chosen for an index when it is made, besides its parameters, and stays on its meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a code with its factors; 0 without codes.
    pub code: u16,
    /// Bytes between two links of layer 0: a link and its code.
    pub link_stride: u16,
    /// Bytes between two links of a layer above 0: a link, and its code where there is room for one.
    pub upper_link_stride: u16,
    /// Heap TIDs that a node holds in its own tuple.
    pub inline_tids: u16,
    /// Bytes kept for the extension of each node; 0 so far.
    pub extension: u16,
}

/// Where things lie in the tuples of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the index was built with.
    pub parameters: Parameters,
    /// Heap TIDs a node tuple holds, right after its header.
    pub inline_tids: usize,
    /// Offset of the first link of layer 0 in a node tuple.
    pub links_offset: usize,
    /// Bytes between two links of layer 0.
    pub link_stride: usize,
    /// Bytes between two links of a layer above 0.
    pub upper_link_stride: usize,
    /// Bytes of the code beside a link of layer 0; 0 without codes.
    pub code_size: usize,
    /// Bytes of the code beside a link of a layer above 0; 0 without codes there.
    pub upper_code_size: usize,
    /// Offset of the payload in a node tuple; `None` when payloads lie in payload tuples of their own.
    pub payload_offset: Option<usize>,
    /// Offset of the link to the first payload tuple, in its place.
    pub payload_link_offset: Option<usize>,
    /// How payloads are stored.
    pub encoding: PayloadEncoding,
    /// Bytes of a payload; the most that one may have, where vectors are not of one length.
    pub payload_size: usize,
    /// Bytes of a node tuple. All nodes of an index have the same size.
    pub node_size: usize,
    /// The highest layer whose links an upper tuple has room for.
    pub max_level: u8,
}

const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// Offsets of links and of what follows them in a node tuple.
const fn node_offsets(inline_tids: usize, m0: usize, link_stride: usize) -> (usize, usize) {
    let links = align(size_of::<NodeHeader>() + inline_tids * size_of::<HeapTid>());
    (links, align(links + m0 * link_stride))
}

// The sums that the format was made for: with 1-bit codes beside 24 links, 1536 dimensions in binary16 fit
// one page, and three nodes of 384; without codes, ten nodes of 128 dimensions in binary32.
const _: () = {
    const fn size(inline_tids: usize, m0: usize, code: usize, payload: usize) -> usize {
        node_offsets(inline_tids, m0, size_of::<Link>() + code).1 + align(payload)
    }
    let f16 = PayloadEncoding::F16;
    assert!(size(2, 24, 8 + 1536 / 8, f16.size(1536, ElementType::F32)) <= MAX_TUPLE_SIZE);
    assert!(nodes_per_page(size(2, 24, 8 + 384 / 8, f16.size(384, ElementType::F32))) == 3);
    assert!(nodes_per_page(size(2, 32, 0, 512)) == 10);
    assert!(ElementType::Sparse.bytes(MAX_SPARSE_ELEMENTS) <= PAYLOAD_PART_SIZE);
};

const fn nodes_per_page(node_size: usize) -> usize {
    (SPECIAL_OFFSET - HEADER_SIZE) / (node_size + LINE_POINTER_SIZE)
}

impl Sizes {
    /// Those of a new index with these parameters.
    pub fn of_new(parameters: &Parameters) -> Self {
        let code = match parameters.code_bits {
            0 => 0,
            bits => code_size(bits, parameters.code_dimensions.into()) as u16,
        };
        // Codes lie beside the links of upper layers as long as two such layers fit an upper tuple.
        let link_stride = size_of::<Link>() as u16 + code;
        let two_layers = 2 * usize::from(parameters.m) * usize::from(link_stride);
        let upper_codes = two_layers <= MAX_TUPLE_SIZE - size_of::<OwnedHeader>();
        let upper_link_stride = if upper_codes { link_stride } else { size_of::<Link>() as u16 };
        let sizes = Self { code, link_stride, upper_link_stride, inline_tids: 1, extension: 0 };
        // As many heap TIDs as cost no page a node.
        let fitting = |sizes: &Self| {
            Layout::new(parameters, *sizes)
                .map_or((false, 0), |layout| (layout.payload_offset.is_some(), layout.nodes_per_page()))
        };
        (2..=MAX_INLINE_TIDS)
            .map(|inline_tids| Self { inline_tids, ..sizes })
            .take_while(|more| fitting(more) == fitting(&sizes))
            .last()
            .unwrap_or(sizes)
    }
}

impl Layout {
    /// The layout of an index with these parameters and sizes; what is impossible about them where there is
    /// none.
    pub fn new(parameters: &Parameters, sizes: Sizes) -> Result<Self, &'static str> {
        let parameters = *parameters;
        let encoding = parameters.payload;
        let code_length = usize::from(sizes.code);
        let [link_stride, upper_link_stride] = [sizes.link_stride, sizes.upper_link_stride].map(usize::from);
        let possible = |stride: usize| stride.is_multiple_of(4) && stride >= size_of::<Link>() + code_length;
        if !possible(link_stride) || !(possible(upper_link_stride) || upper_link_stride == size_of::<Link>())
        {
            return Err("meta page with impossible strides");
        }

        let inline_tids = usize::from(sizes.inline_tids);
        let (links_offset, tail) = node_offsets(inline_tids, usize::from(parameters.m0), link_stride);
        let payload_size = encoding.size(parameters.dimensions, parameters.element);
        let extension = align(usize::from(sizes.extension));
        // Nodes are all of one size.
        let varies = parameters.element.varies();
        let inline = !varies && tail + align(payload_size) + extension <= MAX_TUPLE_SIZE;
        // A node whose payload lies apart keeps a copy of its own code, for the links that will lead to it.
        let apart_size = size_of::<Link>() + align(code_length);
        let node_size = tail + if inline { align(payload_size) } else { apart_size } + extension;
        let layer_size = usize::from(parameters.m) * upper_link_stride;
        let layers = (MAX_TUPLE_SIZE - size_of::<OwnedHeader>()) / layer_size;
        if !(1..=MAX_INLINE_TIDS).contains(&sizes.inline_tids) || node_size > MAX_TUPLE_SIZE || layers == 0 {
            return Err("meta page with impossible sizes");
        }
        Ok(Self {
            parameters,
            inline_tids,
            links_offset,
            link_stride,
            upper_link_stride,
            code_size: code_length,
            upper_code_size: if upper_link_stride > size_of::<Link>() { code_length } else { 0 },
            payload_offset: inline.then_some(tail),
            payload_link_offset: (!inline).then_some(tail),
            encoding,
            payload_size,
            node_size,
            max_level: layers.min(usize::from(MAX_LEVEL)) as u8,
        })
    }

    /// The layout of a new index with these parameters, as [`Layout::new`].
    pub fn of_new(parameters: &Parameters) -> Result<Self, &'static str> {
        Self::new(parameters, Sizes::of_new(parameters))
    }

    /// Node tuples that fit one page.
    pub fn nodes_per_page(&self) -> usize {
        nodes_per_page(self.node_size)
    }

    /// Bytes of the upper tuple of a node of `level`.
    pub fn upper_size(&self, level: u8) -> usize {
        let links = usize::from(level) * usize::from(self.parameters.m);
        align(size_of::<OwnedHeader>() + links * self.upper_link_stride)
    }

    /// The parts that a payload of so many bytes is cut into; none when it lies in the node tuple. A payload
    /// that may be empty has a part all the same.
    pub fn payload_parts(&self, size: usize) -> impl DoubleEndedIterator<Item = Range<usize>> + use<> {
        let parts = if self.payload_offset.is_some() { 0 } else { size.div_ceil(PAYLOAD_PART_SIZE).max(1) };
        let starts = (0..parts).map(|part| part * PAYLOAD_PART_SIZE);
        starts.map(move |start| start..size.min(start + PAYLOAD_PART_SIZE))
    }

    /// The bytes of a part of a payload, of what its tuple has room for; `None` where those cannot be it.
    pub fn part_of_payload<'p>(&self, body: &'p [u8], part: &Range<usize>) -> Option<&'p [u8]> {
        if self.parameters.element.varies() {
            Some(body).filter(|body| self.parameters.is_vector_size(body.len()))
        } else {
            body.get(..part.len())
        }
    }

    /// The payload of a vector.
    pub fn payload(&self, vector: &[u8]) -> Vec<u8> {
        self.encoding.encoded(vector, self.parameters.dimensions, self.parameters.element)
    }

    /// Bytes of the payload tuple that holds a part.
    pub fn payload_tuple_size(part: &Range<usize>) -> usize {
        align(size_of::<OwnedHeader>() + part.len())
    }
}
