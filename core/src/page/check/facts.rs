//! What the check keeps of each tuple, and the checks that need no more than that.

use super::Findings;
use super::hash::Hash;
use super::records::{Memory, Pool};
use super::slots::{InSlot, Slots};
use super::sorted::{HeapTids, HeldTid};
use crate::page::format::hints::Hints;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{AsideKind, NodeHeader, OwnedHeader, PENDING, TOMBSTONE, TupleKind};
use crate::page::query::chain;
use crate::page::query::index::Index;
use crate::page::store::{PageStore, Phase};
use crate::types::{HeapTid, Link, Result};
use bytemuck::{Pod, Zeroable};
use std::cell::RefCell;
use std::rc::Rc;

/// What is kept of a node.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct NodeFacts {
    pub link: Link,
    pub header: NodeHeader,
    pub payload: Link,
    /// Of the code that links to the node must have beside them.
    pub code: Hash,
}

impl NodeFacts {
    /// Whether a vacuum has taken it from an insertion that did not end: it waits to be removed, and has what
    /// it was given.
    pub fn is_abandoned(&self) -> bool {
        self.header.is_pending() && self.header.is_tombstone()
    }
}

impl InSlot for NodeFacts {
    fn slot(&self) -> u16 {
        self.link.slot
    }
}

/// What is kept of another tuple.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct OwnedFacts {
    pub link: Link,
    pub header: OwnedHeader,
    pub size: u32,
    /// 1 where what it belongs to was found.
    pub claimed: u32,
}

impl InSlot for OwnedFacts {
    fn slot(&self) -> u16 {
        self.link.slot
    }
}

/// What the place of a heap TID says of its row.
pub(super) enum Place {
    /// The row has the vector of the node at this position.
    Node(usize),
    /// The row is outside of the graph.
    Aside(AsideKind),
}

/// All tuples of an index, in the order of their addresses.
pub(super) struct Facts<'m> {
    pub pool: Rc<RefCell<Pool<'m>>>,
    pub nodes: Slots<'m, NodeFacts>,
    pub owned: Slots<'m, OwnedFacts>,
    pub heap_tids: HeapTids<'m>,
    pub meta: Option<Meta>,
    hints: Option<Hints>,
    /// Number of pages.
    pub blocks: u32,
    parameter_pages: Vec<u32>,
}

impl<'m> Facts<'m> {
    /// Reads all pages.
    pub fn collect<Store: PageStore>(
        index: &Index<Store>,
        memory: Memory<'m>,
        findings: &mut Findings,
    ) -> Result<Self> {
        let to_sort = memory.bytes / 4;
        let in_pool = memory.bytes - to_sort;
        let pool = Pool::new(memory, in_pool);
        let mut facts = Self {
            nodes: Slots::new(&pool),
            owned: Slots::new(&pool),
            heap_tids: HeapTids::new(&pool, to_sort),
            meta: None,
            hints: None,
            blocks: index.store.block_count()?,
            parameter_pages: Vec::new(),
            pool,
        };
        for (block, page) in index.store.pages(0..facts.blocks) {
            index.store.progress(Phase::ReadingPages, block.into(), facts.blocks.into());
            if let Some(page) = findings.note(page.map(|page| *page))? {
                facts.add_page(index, block, &page, findings)?;
            }
        }
        facts.heap_tids.sort(&mut || index.store.interrupt_point())?;
        facts.check_parameters(index, findings)?;
        Ok(facts)
    }

    /// The position of the node that `link` leads to.
    pub fn node_at(&self, link: Link) -> Result<Option<usize>> {
        Ok(self.nodes.find(link)?.filter(|(_, node)| node.link == link).map(|(position, _)| position))
    }

    /// The tuple that a heap TID lies in, and what that says of the row.
    pub fn place_of(&self, heap_tid: HeapTid) -> Result<Option<(Link, Option<Place>)>> {
        let Some(at) = self.heap_tids.find(heap_tid)? else { return Ok(None) };
        if let Some((node, _)) = self.nodes.find(at)? {
            return Ok(Some((at, Some(Place::Node(node)))));
        }
        let place = match self.owned.find(at)? {
            None => None,
            Some((_, OwnedFacts { header, .. })) if header.kind == TupleKind::Aside as u8 => {
                AsideKind::from_code(header.tag).map(Place::Aside)
            }
            Some((_, OwnedFacts { header, .. })) => self.node_at(header.owner)?.map(Place::Node),
        };
        Ok(Some((at, place)))
    }

    fn add_page<Store: PageStore>(
        &mut self,
        index: &Index<Store>,
        block: u32,
        page: &Page,
        findings: &mut Findings,
    ) -> Result<()> {
        match block {
            META_BLOCK => self.meta = findings.note(Meta::of_page(page))?,
            HINTS_BLOCK => self.hints = findings.note(Hints::of_page(page))?,
            // A crash after extension leaves new pages: nothing is wrong with them.
            _ if page.is_new() => {}
            _ => match findings.note(page.kind(block))? {
                Some(PageKind::Data) => {
                    findings.note(page.check_slots(block))?;
                    for slot in 1..=page.slot_count() {
                        self.add_tuple(index, block, slot, page, findings)?;
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

    fn add_tuple<Store: PageStore>(
        &mut self,
        index: &Index<Store>,
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
                let Some(Some(node)) =
                    findings.note(Node::in_slot(&index.schema.layout, page, block, slot))?
                else {
                    return Ok(());
                };
                self.add_node(index, link(node.header().version), &node, findings)?;
                node.header().version
            }
            Some(_) => {
                let Some(Some(owned)) = findings.note(Owned::in_slot(page, block, slot))? else {
                    return Ok(());
                };
                self.add_owned(index, link(owned.header().version), &owned, findings)?;
                owned.header().version
            }
        };
        let counter = page.special().version_counter;
        if counter <= u32::from(u16::MAX) && u32::from(version) > counter {
            findings.error(block, slot, "tuple with a version that its page has not given");
        }
        Ok(())
    }

    fn add_node<Store: PageStore>(
        &mut self,
        index: &Index<Store>,
        link: Link,
        node: &Node,
        findings: &mut Findings,
    ) -> Result<()> {
        let header = node.header();
        self.heap_tids.add(node.heap_tids(), link, &mut || index.store.interrupt_point())?;
        if header.flags & !(TOMBSTONE | PENDING) != 0 {
            findings.error(link.block, link.slot, "node with unknown flags");
        }
        let payload = node.payload_link();
        self.nodes.push(link.block, NodeFacts { link, header: *header, payload, code: Hash::default() })
    }

    fn add_owned<Store: PageStore>(
        &mut self,
        index: &Index<Store>,
        link: Link,
        owned: &Owned,
        findings: &mut Findings,
    ) -> Result<()> {
        let Link { block, slot, .. } = link;
        let layout = &index.schema.layout;
        let header = *owned.header();
        let is_aside = header.kind == TupleKind::Aside as u8;
        if is_aside || header.kind == TupleKind::HeapTids as u8 {
            self.heap_tids.add(owned.heap_tids(), link, &mut || index.store.interrupt_point())?;
        }
        if is_aside {
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
        let size = (size_of::<OwnedHeader>() + owned.body().len()) as u32;
        self.owned.push(block, OwnedFacts { link, header, size, claimed: is_aside.into() })
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

    /// Checks that no row is in the index twice.
    pub fn check_heap_tids<Store: PageStore>(
        &self,
        index: &Index<Store>,
        findings: &mut Findings,
    ) -> Result<()> {
        for position in 0..self.heap_tids.len() {
            index.store.interrupt_point();
            index.store.progress(Phase::CheckingRows, position as u64, self.heap_tids.len() as u64);
            let HeldTid { tid, at, .. } = self.heap_tids.get(position)?;
            if tid.offset() == 0 {
                findings.error(at.block, at.slot, format!("impossible heap TID ({},0)", tid.block()));
            }
        }
        let mut last = None;
        for position in 0..self.heap_tids.len() {
            index.store.interrupt_point();
            let HeldTid { tid, at, .. } = self.heap_tids.get(position)?;
            if last.replace(tid) == Some(tid) {
                let what = format!("heap TID ({},{}) is in the index twice", tid.block(), tid.offset());
                findings.error(at.block, at.slot, what);
            }
        }
        Ok(())
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
