//! Reading what of a node may lie on several pages: links of a layer, payload. Its heap TIDs: see
//! `heap_tids`.
//!
//! Every function reads one page at a time and holds no lock when it returns. What has been removed meanwhile
//! is told by versions and owners: it is reported as gone, not as corruption.

use crate::kernel::prefetch;
use crate::page::format::meta::HINTS_BLOCK;
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::places::{Places, set_code_at, set_link_at};
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{NodeHeader, OwnedHeader, TupleKind};
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Error, Link, PAGE_SIZE, Result};

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::page) enum State {
    /// A node that may be returned and linked to.
    Live,
    /// A node that is only walked through.
    Tombstone,
    /// No published node.
    Gone,
}

/// Which list of links: that of a node on a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::page) struct ListId {
    pub node: Link,
    pub layer: u8,
    /// The upper tuple that holds it; [`Link::NONE`] on layer 0, where the node's own tuple does.
    pub upper: Link,
}

impl ListId {
    /// The page that holds the list.
    pub fn block(&self) -> u32 {
        if self.layer == 0 { self.node.block } else { self.upper.block }
    }
}

/// A copy of a list of links.
pub(in crate::page) struct List {
    pub id: ListId,
    /// What each place holds, [`Link::NONE`] where free.
    pub links: Vec<Link>,
    /// Link and code of each place, as stored.
    bytes: Vec<u8>,
    stride: usize,
    code_size: usize,
}

impl List {
    fn copy(id: ListId, places: Places, code_size: usize) -> Self {
        let (links, bytes) = (places.all().collect(), places.bytes().to_vec());
        Self { id, links, bytes, stride: places.stride(), code_size }
    }

    /// Changes a place of the copy; the code goes with the link.
    pub fn set(&mut self, position: usize, link: Link, code: &[u8]) {
        self.links[position] = link;
        set_link_at(&mut self.bytes, position * self.stride, link);
        if self.code_size > 0 {
            set_code_at(&mut self.bytes, position * self.stride, code);
        }
    }

    /// The places with their codes.
    pub fn places(&self) -> Places<'_> {
        Places::new(&self.bytes, self.stride, self.code_size)
    }
}

impl<Store: PageStore> Index<Store> {
    /// Reads all pages that tuples lie on, as far as the index reaches now, as
    /// [`Pages::pages`](crate::page::store::Pages::pages) does.
    pub(in crate::page) fn data_pages(&self) -> Result<impl Iterator<Item = (u32, Result<Store::Read<'_>>)>> {
        Ok(self.store.pages(HINTS_BLOCK + 1..self.store.block_count()?))
    }

    /// The payload of a published node; `None` when it is gone.
    pub(in crate::page) fn payload(&self, node: Link) -> Result<Option<Vec<u8>>> {
        Ok(self.header_and_payload(node)?.map(|(_, payload)| payload))
    }

    /// As [`Index::payload`], with the node's header.
    pub(in crate::page) fn header_and_payload(&self, node: Link) -> Result<Option<(NodeHeader, Vec<u8>)>> {
        let (header, apart) = {
            let page = self.store.read(node.block)?;
            let found = Node::at(&self.schema.layout, &page, node)?;
            let Some(found) = found.filter(|found| !found.header().is_pending()) else {
                return Ok(None);
            };
            match self.payload_on(&page, node, &found)? {
                Some(payload) => return Ok(Some((*found.header(), payload.to_vec()))),
                None => (*found.header(), found.payload_link()),
            }
        };
        let mut payload = Vec::new();
        Ok(self.read_payload(node, apart, &mut payload)?.then_some((header, payload)))
    }

    /// What a link leads to now.
    pub(in crate::page) fn state(&self, node: Link) -> Result<State> {
        let page = self.store.read(node.block)?;
        Ok(match Node::at(&self.schema.layout, &page, node)? {
            Some(found) if found.is_live() => State::Live,
            Some(found) if !found.header().is_pending() => State::Tombstone,
            _ => State::Gone,
        })
    }

    /// Appends the links of a published node on one layer; none where its level is lower.
    pub(in crate::page) fn neighbours(&self, node: Link, layer: u8, links: &mut Vec<Link>) -> Result<State> {
        let (state, upper) = {
            let page = self.store.read(node.block)?;
            let Some(found) = Node::at(&self.schema.layout, &page, node)? else { return Ok(State::Gone) };
            let header = found.header();
            if layer > header.level || header.is_pending() {
                return Ok(State::Gone);
            }
            let state = if header.is_tombstone() { State::Tombstone } else { State::Live };
            if layer == 0 {
                links.extend(found.places().links());
                return Ok(state);
            }
            (state, header.upper)
        };
        self.upper_tuple(node, upper, |tuple| {
            let places = tuple.places(&self.schema.layout, layer);
            links.extend(places.into_iter().flat_map(|places| places.links()));
        })?;
        Ok(state)
    }

    /// The list of a live node on one layer; `None` when the node is gone, dead, or of a lower level.
    pub(in crate::page) fn list(&self, node: Link, layer: u8) -> Result<Option<List>> {
        let layout = &self.schema.layout;
        let upper = {
            let page = self.store.read(node.block)?;
            let Some(found) = Node::at(layout, &page, node)?.filter(Node::is_live) else {
                return Ok(None);
            };
            if layer > found.header().level {
                return Ok(None);
            }
            if layer == 0 {
                let id = ListId { node, layer, upper: Link::NONE };
                return Ok(Some(List::copy(id, found.places(), layout.code_size)));
            }
            found.header().upper
        };
        let mut list = None;
        self.upper_tuple(node, upper, |tuple| {
            let places = tuple.places(layout, layer);
            let id = ListId { node, layer, upper };
            list = places.map(|places| List::copy(id, places, layout.upper_code_size));
        })?;
        Ok(list)
    }

    /// Shows the upper tuple of a node, unless it is gone.
    pub(in crate::page) fn upper_tuple(
        &self,
        node: Link,
        upper: Link,
        read: impl FnOnce(&Owned),
    ) -> Result<()> {
        if !upper.is_none() {
            let page = self.store.read(upper.block)?;
            if let Some(tuple) = Owned::at(&page, upper, TupleKind::Upper, node)? {
                read(&tuple);
            }
        }
        Ok(())
    }

    /// The payload of a node on a page, where all of it lies there: in the node's tuple, or beside it, as
    /// most payloads do that are not of one length.
    pub(in crate::page) fn payload_on<'p>(
        &self,
        page: &'p Page,
        link: Link,
        node: &Node<'p>,
    ) -> Result<Option<&'p [u8]>> {
        let (layout, first) = (&self.schema.layout, node.payload_link());
        if !layout.parameters.element.varies() || first.block != link.block {
            return Ok(node.payload());
        }
        let tuple = Owned::at(page, first, TupleKind::Payload, link)?;
        // Indices and elements are read side by side, which the hardware foresees less well.
        tuple.iter().for_each(|tuple| prefetch(tuple.bytes()));
        Ok(tuple.and_then(|tuple| layout.part_of_payload(tuple.body(), &(0..0))))
    }

    /// Reads a payload that lies apart from its node. False when the node has been reclaimed meanwhile.
    pub(in crate::page) fn read_payload(
        &self,
        node: Link,
        first: Link,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let layout = &self.schema.layout;
        buffer.clear();
        let mut next = first;
        for (number, range) in layout.payload_parts(layout.payload_size).enumerate() {
            let corrupt = |what| Error::Corrupt { block: node.block, slot: node.slot, what };
            let part = next.as_option().ok_or(corrupt("node without a part of its payload"))?;
            let page = self.store.read(part.block)?;
            let Some(tuple) = Owned::at(&page, part, TupleKind::Payload, node)? else { return Ok(false) };
            if usize::from(tuple.header().count) != number {
                return Err(corrupt("node with parts of its payload in disorder"));
            }
            let bytes = layout.part_of_payload(tuple.body(), &range);
            let bytes = bytes.ok_or(corrupt("node with a payload of impossible size"))?;
            buffer.extend_from_slice(bytes);
            next = tuple.header().next;
        }
        Ok(true)
    }

    /// An error for a chain longer than the index can hold: it must run in a circle.
    pub(in crate::page) fn check_chain_length(&self, node: Link, tuples: usize) -> Result<()> {
        const STEP: usize = 1024;
        if !tuples.is_multiple_of(STEP) {
            return Ok(());
        }
        let most = self.store.block_count()? as usize * (PAGE_SIZE / size_of::<OwnedHeader>());
        if tuples > most {
            return Err(Error::Corrupt {
                block: node.block,
                slot: node.slot,
                what: "endless heap TID chain",
            });
        }
        Ok(())
    }
}

/// A live node on a page.
pub(in crate::page) struct LiveNode {
    /// Where.
    pub link: Link,
    /// Its level.
    pub level: u8,
}

/// The live nodes on a page; none when it is of another kind or new.
pub(in crate::page) fn live_nodes<Store: PageStore>(
    index: &Index<Store>,
    page: &Page,
    block: u32,
) -> Result<Vec<LiveNode>> {
    let mut live = Vec::new();
    each_node(index, page, block, |link, node| {
        if node.is_live() {
            live.push(LiveNode { link, level: node.header().level });
        }
    })?;
    Ok(live)
}

/// Shows the nodes on a page, and where they are; none when it is of another kind or new.
pub(in crate::page) fn each_node<Store: PageStore>(
    index: &Index<Store>,
    page: &Page,
    block: u32,
    mut show: impl FnMut(Link, &Node),
) -> Result<()> {
    if page.is_new() || page.kind(block)? != PageKind::Data {
        return Ok(());
    }
    for slot in 1..=page.slot_count() {
        if let Some(node) = Node::in_slot(&index.schema.layout, page, block, slot)? {
            show(Link { block, slot, version: node.header().version }, &node);
        }
    }
    Ok(())
}
