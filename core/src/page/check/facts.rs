//! What the check keeps of each tuple, and the checks that need no more than that.

use super::Findings;
use crate::page::format::hints::Hints;
use crate::page::format::layout::Layout;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{AsideKind, NodeHeader, OwnedHeader, PENDING, TOMBSTONE, TupleKind};
use crate::page::query::chain;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::sort::sort_unstable;
use crate::types::{HeapTid, Link, Result};

/// What is kept of a node.
pub(super) struct NodeFacts {
    pub link: Link,
    pub header: NodeHeader,
    payload: Link,
}

impl NodeFacts {
    /// Whether a vacuum has taken it from an insertion that did not end: it waits to be removed, and has what
    /// it was given.
    fn is_abandoned(&self) -> bool {
        self.header.is_pending() && self.header.is_tombstone()
    }
}

/// What is kept of another tuple.
struct OwnedFacts {
    link: Link,
    header: OwnedHeader,
    size: usize,
    claimed: bool,
}

/// What the place of a heap TID says of its row.
pub(super) enum Place {
    /// The row has the vector of the node at this position.
    Node(usize),
    /// The row is outside of the graph.
    Aside(AsideKind),
}

/// All tuples of an index, in the order of their addresses.
#[derive(Default)]
pub(super) struct Facts {
    pub nodes: Vec<NodeFacts>,
    owned: Vec<OwnedFacts>,
    heap_tids: Vec<(HeapTid, Link)>,
    pub meta: Option<Meta>,
    hints: Option<Hints>,
    /// Number of pages.
    pub blocks: u32,
    parameter_pages: Vec<u32>,
}

impl Facts {
    /// Reads all pages.
    pub fn collect<Store: PageStore>(index: &Index<Store>, findings: &mut Findings) -> Result<Self> {
        let mut facts = Self { blocks: index.store.block_count()?, ..Self::default() };
        for (block, page) in index.store.pages(0..facts.blocks) {
            if let Some(page) = findings.note(page.map(|page| *page))? {
                facts.add_page(&index.schema.layout, block, &page, findings)?;
            }
        }
        facts.check_parameters(index, findings)?;
        Ok(facts)
    }

    /// The position of the node in the slot that `link` leads to, whatever its version.
    pub fn node_in_slot(&self, link: Link) -> Option<usize> {
        self.nodes
            .binary_search_by_key(&(link.block, link.slot), |node| (node.link.block, node.link.slot))
            .ok()
    }

    /// The tuple that a heap TID lies in, and what that says of the row; to be asked after
    /// [`Facts::check_heap_tids`].
    pub fn place_of(&self, heap_tid: HeapTid) -> Option<(Link, Option<Place>)> {
        let found = self.heap_tids.binary_search_by_key(&heap_tid, |(tid, _)| *tid).ok()?;
        let at = self.heap_tids[found].1;
        if let Some(node) = self.node_in_slot(at) {
            return Some((at, Some(Place::Node(node))));
        }
        let place = self.owned_in_slot(at).and_then(|found| {
            let OwnedHeader { kind, tag, owner, .. } = self.owned[found].header;
            if kind == TupleKind::Aside as u8 {
                return AsideKind::from_code(tag).map(Place::Aside);
            }
            self.node_in_slot(owner).filter(|node| self.nodes[*node].link == owner).map(Place::Node)
        });
        Some((at, place))
    }

    fn owned_in_slot(&self, link: Link) -> Option<usize> {
        let by_slot = |tuple: &OwnedFacts| (tuple.link.block, tuple.link.slot);
        self.owned.binary_search_by_key(&(link.block, link.slot), by_slot).ok()
    }

    fn add_page(&mut self, layout: &Layout, block: u32, page: &Page, findings: &mut Findings) -> Result<()> {
        match block {
            META_BLOCK => self.meta = findings.note(Meta::of_page(page))?,
            HINTS_BLOCK => self.hints = findings.note(Hints::of_page(page))?,
            // A crash after extension leaves new pages: nothing is wrong with them.
            _ if page.is_new() => {}
            _ => match findings.note(page.kind(block))? {
                Some(PageKind::Data) => {
                    findings.note(page.check_slots(block))?;
                    for slot in 1..=page.slot_count() {
                        self.add_tuple(layout, block, slot, page, findings)?;
                    }
                }
                Some(PageKind::Parameter) => {
                    self.parameter_pages.try_reserve(1)?;
                    self.parameter_pages.push(block);
                }
                Some(_) => findings.error(block, 0, "meta or hints page out of its place"),
                None => {}
            },
        }
        Ok(())
    }

    fn add_tuple(
        &mut self,
        layout: &Layout,
        block: u32,
        slot: u16,
        page: &Page,
        findings: &mut Findings,
    ) -> Result<()> {
        // An impossible line pointer has been found by `check_slots`.
        let Ok(Some(bytes)) = page.tuple(block, slot) else { return Ok(()) };
        let link = |version| Link { block, slot, version };
        let version = match findings.note(TupleKind::of(block, slot, bytes))? {
            None => return Ok(()),
            Some(TupleKind::Node) => {
                let Some(Some(node)) = findings.note(Node::in_slot(layout, page, block, slot))? else {
                    return Ok(());
                };
                self.add_node(link(node.header().version), &node, findings)?;
                node.header().version
            }
            Some(_) => {
                let Some(Some(owned)) = findings.note(Owned::in_slot(page, block, slot))? else {
                    return Ok(());
                };
                self.add_owned(layout, link(owned.header().version), &owned, findings)?;
                owned.header().version
            }
        };
        let counter = page.special().version_counter;
        if counter <= u32::from(u16::MAX) && u32::from(version) > counter {
            findings.error(block, slot, "tuple with a version that its page has not given");
        }
        Ok(())
    }

    fn add_node(&mut self, link: Link, node: &Node, findings: &mut Findings) -> Result<()> {
        let header = node.header();
        self.add_heap_tids(node.heap_tids(), link)?;
        if header.flags & !(TOMBSTONE | PENDING) != 0 {
            findings.error(link.block, link.slot, "node with unknown flags");
        }
        self.nodes.try_reserve(1)?;
        self.nodes.push(NodeFacts { link, header: *header, payload: node.payload_link() });
        Ok(())
    }

    fn add_owned(
        &mut self,
        layout: &Layout,
        link: Link,
        owned: &Owned,
        findings: &mut Findings,
    ) -> Result<()> {
        let Link { block, slot, .. } = link;
        let header = *owned.header();
        let mut claimed = false;
        if header.kind == TupleKind::HeapTids as u8 {
            self.add_heap_tids(owned.heap_tids(), link)?;
        } else if header.kind == TupleKind::Aside as u8 {
            self.add_heap_tids(owned.heap_tids(), link)?;
            claimed = true;
            match AsideKind::from_code(header.tag).filter(|_| header.owner.is_none()) {
                Some(kind) => self.check_presence(kind, link, findings),
                None => findings.error(block, slot, "aside tuple of unknown kind or with an owner"),
            }
        } else if header.kind == TupleKind::Payload as u8 {
            let mut parts = layout.payload_parts(layout.payload_size);
            match parts.nth(usize::from(header.count)) {
                Some(part) if layout.part_of_payload(owned.body(), &part).is_some() => {}
                _ => findings.error(block, slot, "part of a payload of impossible number or size"),
            }
        }
        let size = size_of::<OwnedHeader>() + owned.body().len();
        self.owned.try_reserve(1)?;
        self.owned.push(OwnedFacts { link, header, size, claimed });
        Ok(())
    }

    /// Checks that the marks do not deny a row without a distance.
    pub fn check_presence(&self, kind: AsideKind, at: Link, findings: &mut Findings) {
        let pages = self.meta.as_ref().zip(self.hints.as_ref());
        if pages.is_some_and(|(meta, hints)| hints.is_absent(meta, kind)) {
            findings.error(
                at.block,
                at.slot,
                "row without a distance where the meta page says that there is none",
            );
        }
    }

    fn add_heap_tids(&mut self, tids: &[HeapTid], link: Link) -> Result<()> {
        self.heap_tids.try_reserve(tids.len())?;
        self.heap_tids.extend(tids.iter().map(|tid| (*tid, link)));
        Ok(())
    }

    /// Checks that every tuple that belongs to a node is used by it, once, and that nodes have what they
    /// need.
    pub fn check_ownership<Store: PageStore>(&mut self, index: &Index<Store>, findings: &mut Findings) {
        let layout = &index.schema.layout;
        let nodes = std::mem::take(&mut self.nodes);
        for node in &nodes {
            index.store.interrupt_point();
            let NodeFacts { link: Link { block, slot, .. }, header, .. } = *node;
            if header.level > 0 {
                match self.claim(header.upper, TupleKind::Upper, node.link, findings) {
                    Some(upper) if upper.header.level == header.level => {
                        if upper.size != layout.upper_size(header.level) {
                            findings.error(
                                upper.link.block,
                                upper.link.slot,
                                "upper tuple of impossible size",
                            );
                        }
                    }
                    _ if node.is_abandoned() => {}
                    _ => findings.warning(node.link, "node without the links of its upper layers"),
                }
            }
            if header.is_pending() && !node.is_abandoned() {
                findings.warning(node.link, "node whose insertion did not end");
            }
            let mut next = node.payload;
            for part in 0..layout.payload_parts(layout.payload_size).count() {
                match self.claim(next, TupleKind::Payload, node.link, findings) {
                    Some(tuple) if usize::from(tuple.header.count) == part => next = tuple.header.next,
                    _ => {
                        // A node that never ended needs none.
                        if !header.is_pending() {
                            findings.error(block, slot, "node without its payload");
                        }
                        break;
                    }
                }
            }
            let mut has_rows = header.tid_count > 0;
            let mut next = header.overflow;
            while !next.is_none() {
                index.store.interrupt_point();
                let Some(tuple) = self.claim(next, TupleKind::HeapTids, node.link, findings) else {
                    findings.error(block, slot, "node with a broken chain of heap TIDs");
                    break;
                };
                has_rows |= tuple.header.count > 0;
                next = tuple.header.next;
            }
            if has_rows && !header.is_live() {
                findings.error(block, slot, "heap TIDs in a tombstone or an unpublished node");
            } else if !has_rows && header.is_live() {
                findings.warning(node.link, "live node without heap TIDs");
            }
        }
        for tuple in self.owned.iter().filter(|tuple| !tuple.claimed) {
            if tuple.header.kind == TupleKind::HeapTids as u8 && tuple.header.count > 0 {
                findings.error(tuple.link.block, tuple.link.slot, "heap TIDs that no node leads to");
            } else {
                findings.warning(tuple.link, "tuple that its owner does not lead to");
            }
        }
        self.nodes = nodes;
    }

    /// The tuple of a kind and an owner that `link` leads to, which nobody else may use. A chain that runs in
    /// a circle ends here.
    fn claim(
        &mut self,
        link: Link,
        kind: TupleKind,
        owner: Link,
        findings: &mut Findings,
    ) -> Option<&OwnedFacts> {
        let position = self.owned_in_slot(link)?;
        let tuple = &mut self.owned[position];
        if tuple.link != link || tuple.header.kind != kind as u8 || tuple.header.owner != owner {
            return None;
        }
        if std::mem::replace(&mut tuple.claimed, true) {
            findings.error(link.block, link.slot, "tuple that is used twice");
            return None;
        }
        Some(tuple)
    }

    /// Checks that no row is in the index twice.
    pub fn check_heap_tids<Store: PageStore>(&mut self, index: &Index<Store>, findings: &mut Findings) {
        sort_unstable(&mut self.heap_tids, &mut || index.store.interrupt_point());
        for (tid, at) in self.heap_tids.iter().filter(|(tid, _)| tid.offset() == 0) {
            findings.error(at.block, at.slot, format!("impossible heap TID ({},0)", tid.block()));
        }
        for pair in self.heap_tids.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (tid, at) = pair[1];
            let what = format!("heap TID ({},{}) is in the index twice", tid.block(), tid.offset());
            findings.error(at.block, at.slot, what);
        }
    }

    fn check_parameters<Store: PageStore>(
        &self,
        index: &Index<Store>,
        findings: &mut Findings,
    ) -> Result<()> {
        let Some(meta) = &self.meta else { return Ok(()) };
        let chain = chain::chain_blocks(&index.store, meta.parameter_block, meta.parameter_length);
        let Some(blocks) = findings.note(chain)? else { return Ok(()) };
        for block in self.parameter_pages.iter().filter(|block| !blocks.contains(block)) {
            let page = Link { block: *block, slot: 0, version: 0 };
            findings.warning(page, "parameter page outside of the parameter chain");
        }
        Ok(())
    }
}
