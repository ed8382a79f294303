//! The places for links that a node has on one layer: a view of bytes.

use crate::page::format::layout::Layout;
use crate::page::format::tuple::OwnedHeader;
use crate::types::Link;

/// The places for links that a node has on one layer, side by side: in each a link, then the code of the node
/// that it leads to where the index has codes there.
#[derive(Clone, Copy)]
pub struct Places<'p> {
    bytes: &'p [u8],
    stride: usize,
    code_size: usize,
}

impl<'p> Places<'p> {
    /// The places in `bytes`, of which each takes `stride`, with codes of `code_size` bytes.
    pub fn new(bytes: &'p [u8], stride: usize, code_size: usize) -> Self {
        Self { bytes, stride, code_size }
    }

    /// Number of places.
    pub fn len(&self) -> u16 {
        (self.bytes.len() / self.stride) as u16
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The link in a place, [`Link::NONE`] where it is free.
    pub fn link(&self, position: u16) -> Link {
        link_at(self.bytes, usize::from(position) * self.stride)
    }

    /// What every place holds, [`Link::NONE`] where it is free.
    pub fn all(&self) -> impl Iterator<Item = Link> + use<'p> {
        self.bytes.chunks_exact(self.stride).map(|place| link_at(place, 0))
    }

    /// The links, free places left out.
    pub fn links(&self) -> impl Iterator<Item = Link> + use<'p> {
        self.all().filter(|link| !link.is_none())
    }

    /// The code in a place; empty where the index has none. Undefined in a free place.
    pub fn code(&self, position: u16) -> &'p [u8] {
        let start = usize::from(position) * self.stride + size_of::<Link>();
        &self.bytes[start..start + self.code_size]
    }

    /// The bytes from the first place's code on, where the index has codes: one every [`Places::stride`]
    /// bytes.
    pub fn codes(&self) -> Option<&'p [u8]> {
        if self.code_size > 0 { self.bytes.get(size_of::<Link>()..) } else { None }
    }

    /// Bytes between two places.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The places as they are stored.
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }
}

/// The places for links of one layer above 0 in (a copy of) an upper tuple; `None` when it has no such layer.
pub fn upper_places<'b>(layout: &Layout, tuple: &'b [u8], layer: u8) -> Option<Places<'b>> {
    let start = upper_place(layout, tuple, layer, 0)?;
    let end = start + usize::from(layout.parameters.m) * layout.upper_link_stride;
    Some(Places::new(tuple.get(start..end)?, layout.upper_link_stride, layout.upper_code_size))
}

/// Where an upper tuple keeps the link of a layer and a position; `None` when it has no such place.
pub(super) fn upper_place(layout: &Layout, bytes: &[u8], layer: u8, position: u16) -> Option<usize> {
    let places = usize::from(layer.checked_sub(1)?) * usize::from(layout.parameters.m);
    let start = size_of::<OwnedHeader>() + (places + usize::from(position)) * layout.upper_link_stride;
    (position < layout.parameters.m && start + layout.upper_link_stride <= bytes.len()).then_some(start)
}

pub(super) fn link_at(bytes: &[u8], start: usize) -> Link {
    bytemuck::pod_read_unaligned(&bytes[start..start + size_of::<Link>()])
}

pub(in crate::page) fn set_link_at(bytes: &mut [u8], start: usize, link: Link) {
    bytes[start..start + size_of::<Link>()].copy_from_slice(bytemuck::bytes_of(&link));
}

/// Writes the code that follows the link at `start`.
pub(in crate::page) fn set_code_at(bytes: &mut [u8], start: usize, code: &[u8]) {
    let start = start + size_of::<Link>();
    bytes[start..start + code.len()].copy_from_slice(code);
}
