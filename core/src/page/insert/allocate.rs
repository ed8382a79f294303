//! Room for a new tuple: on a page that the free-space map names, by reusing old tombstones, or on a new
//! page.

use crate::page::format::meta::{HINTS_BLOCK, Meta};
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::slotted::{MAX_TUPLE_SIZE, Page, PageKind};
use crate::page::format::tuple::{NodeHeader, TupleKind};
use crate::page::query::index::Index;
use crate::page::store::{FREE_SPACE_STEP, PageStore, Session, StopPoint, WriteUnit};
use crate::types::{Error, Link, Result};
use std::iter;

/// Pages of the free-space map that are tried before the index is extended.
const TRIES: usize = 8;

/// A fresh tuple, all zero, in a write unit that holds its page. Dropped without a commit, it was never
/// there.
pub(in crate::page) struct Allocation<'s, Store: PageStore + 's> {
    index: &'s Index<Store>,
    /// The unit; it also holds the page that was asked for with the tuple.
    pub unit: Store::Write<'s>,
    /// The address of the tuple.
    pub link: Link,
    /// Its bytes.
    size: usize,
    /// Whether the page was added for it.
    extended: bool,
    /// The tombstones that make room for it.
    removed: Vec<Tombstone>,
}

/// A tombstone, and the tuples that belong to it.
#[derive(Clone, Copy)]
pub(in crate::page) struct Tombstone {
    /// The node.
    pub link: Link,
    upper: Link,
    /// The first of its payload tuples.
    payload: Link,
}

impl Tombstone {
    /// Of a node's tuple.
    pub fn new(link: Link, node: &Node) -> Self {
        Self { link, upper: node.header().upper, payload: node.payload_link() }
    }
}

impl<Store: PageStore> Allocation<'_, Store> {
    /// The tuple's bytes.
    pub fn tuple(&mut self) -> Result<&mut [u8]> {
        let Link { block, slot, .. } = self.link;
        let tuple = self.unit.edit(block).tuple_mut(block, slot)?;
        tuple.ok_or(Error::Corrupt { block, slot, what: "no room for a new tuple" })
    }

    /// Makes it permanent, and gives up what belonged to the tombstones in its place.
    pub fn commit(self) -> Result<Link> {
        let Self { index, unit, link, size, extended, removed } = self;
        let left = unit.page(link.block).free_space();
        unit.commit()?;
        if is_small(size) && left >= size {
            index.store.set_target_page(Some(link.block));
        }
        if extended {
            index.record_free_space(link.block, left);
        } else if left < index.schema.layout.node_size {
            // Nobody else shall try it for a node.
            index.store.lower_free_space(link.block, left);
        }
        for tombstone in removed {
            index.remove_owned(tombstone)?;
        }
        Ok(link)
    }
}

impl<Store: PageStore> Index<Store> {
    /// Allocates a tuple of `size` bytes in a unit that also holds the page `with`, which is preferred. If it
    /// is small, then comes the page to which this backend last added a small one: they stay together, and
    /// leave empty pages to those that fill them.
    ///
    /// Pages are locked in ascending order; a new page is higher than all others.
    pub(in crate::page) fn allocate(
        &self,
        meta: &Meta,
        size: usize,
        with: Option<u32>,
    ) -> Result<Allocation<'_, Store>> {
        if let Some(block) = with
            && let Some(allocation) = self.allocate_on(block, meta, size, with)?
        {
            return Ok(allocation);
        }
        let named = iter::repeat_with(|| self.store.page_with_free_space(size)).take(TRIES);
        let target = self.store.target_page().filter(|_| is_small(size));
        for block in target.into_iter().chain(named.map_while(|block| block)) {
            // Hints are not WAL-logged: they may name pages that a crash took back.
            if block <= HINTS_BLOCK || block >= self.store.block_count()? {
                self.store.lower_free_space(block, 0);
            } else if let Some(allocation) = self.allocate_on(block, meta, size, with)? {
                return Ok(allocation);
            }
            if target == Some(block) {
                self.store.set_target_page(None);
            }
        }
        let mut unit = self.store.begin();
        if let Some(block) = with {
            unit.lock(block)?;
        }
        let block = unit.extend()?;
        let page = unit.edit(block);
        page.initialize(PageKind::Data);
        let (slot, version) = page.add_tuple(block, size)?.ok_or(Error::Corrupt {
            block,
            slot: 0,
            what: "no room on a new page",
        })?;
        let link = Link { block, slot, version };
        Ok(Allocation { index: self, unit, link, size, extended: true, removed: Vec::new() })
    }

    /// Tries one page. Corrects the free-space map where it disappoints; a page whose tombstones are only too
    /// young stays there.
    fn allocate_on(
        &self,
        block: u32,
        meta: &Meta,
        size: usize,
        with: Option<u32>,
    ) -> Result<Option<Allocation<'_, Store>>> {
        let mut unit = self.store.begin();
        let mut blocks = [Some(block), with.filter(|other| *other != block)];
        blocks.sort_unstable();
        for block in blocks.into_iter().flatten() {
            unit.lock(block)?;
        }
        let page = unit.page(block);
        let (free, removed) = if page.is_new() {
            (size, Vec::new())
        } else if page.kind(block)? == PageKind::Data {
            let free = page.free_space();
            (free, if free < size { self.reusable_nodes(meta, page, block)? } else { Vec::new() })
        } else {
            (0, Vec::new())
        };
        if free >= size || !removed.is_empty() {
            let page = unit.edit(block);
            if page.is_new() {
                page.initialize(PageKind::Data);
            }
            for tombstone in &removed {
                page.remove_tuple(block, tombstone.link.slot)?;
            }
            if let Some((slot, version)) = page.add_tuple(block, size)? {
                let link = Link { block, slot, version };
                return Ok(Some(Allocation { index: self, unit, link, size, extended: false, removed }));
            }
        }
        if with != Some(block) {
            let usable = self.usable_space(unit.page(block), block)?;
            drop(unit);
            if usable < size {
                self.store.lower_free_space(block, usable);
            }
        }
        Ok(None)
    }

    /// The tombstones that anybody may take: see [`may_reuse`].
    fn reusable_nodes(&self, meta: &Meta, page: &Page, block: u32) -> Result<Vec<Tombstone>> {
        let mut tombstones = Vec::new();
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&self.schema.layout, page, block, slot)?
                && may_reuse(&self.store, meta, node.header())
            {
                let link = Link { block, slot, version: node.header().version };
                tombstones.push(Tombstone::new(link, &node));
            }
        }
        Ok(tombstones)
    }

    /// Bytes on a page that an insert can use, now or when its tombstones are old enough.
    pub(in crate::page) fn usable_space(&self, page: &Page, block: u32) -> Result<usize> {
        if page.is_new() {
            return Ok(MAX_TUPLE_SIZE);
        }
        if page.kind(block)? != PageKind::Data {
            return Ok(0);
        }
        let mut bytes = page.free_space();
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&self.schema.layout, page, block, slot)?
                && node.header().is_tombstone()
            {
                bytes += self.schema.layout.node_size;
            }
        }
        Ok(bytes)
    }

    /// Remembers that an insert can use `bytes` of a page. The map rounds down: what is enough for a node, or
    /// for a tuple that fills a page, is rounded up.
    pub(in crate::page) fn record_free_space(&self, block: u32, bytes: usize) {
        let sizes = [self.schema.layout.node_size, MAX_TUPLE_SIZE].into_iter().filter(|size| bytes >= *size);
        let rounded = sizes.map(|size| size.next_multiple_of(FREE_SPACE_STEP)).max();
        self.store.record_free_space(block, rounded.map_or(bytes, |rounded| bytes.max(rounded)));
    }

    /// Removes the tuples that a removed tombstone owned, a unit each: a crash leaves the rest as orphans.
    pub(in crate::page) fn remove_owned(&self, tombstone: Tombstone) -> Result<()> {
        self.store.stop_point(StopPoint::TombstoneRemoved);
        let Tombstone { link, upper, payload } = tombstone;
        self.remove_tuple(upper, TupleKind::Upper, link)?;
        let mut next = payload;
        while let Some(part) = next.as_option() {
            next = self.remove_tuple(part, TupleKind::Payload, link)?;
        }
        Ok(())
    }

    /// Removes a tuple if it is there and belongs to `owner`. Returns the one that it leads to.
    fn remove_tuple(&self, tuple: Link, kind: TupleKind, owner: Link) -> Result<Link> {
        let Some(Link { block, slot, .. }) = tuple.as_option() else { return Ok(Link::NONE) };
        let mut unit = self.store.begin();
        unit.lock(block)?;
        let Some(next) = Owned::at(unit.page(block), tuple, kind, owner)?.map(|tuple| tuple.header().next)
        else {
            return Ok(Link::NONE);
        };
        unit.edit(block).remove_tuple(block, slot)?;
        let usable = self.usable_space(unit.page(block), block)?;
        unit.commit()?;
        self.record_free_space(block, usable);
        Ok(next)
    }
}

/// Whether two such tuples fit a page.
fn is_small(size: usize) -> bool {
    size <= MAX_TUPLE_SIZE / 2
}

/// Whether the place of a node is anybody's to take: it is a tombstone that no link of a live node and no
/// running scan leads to, as its cycle was repaired before every snapshot began.
pub(in crate::page) fn may_reuse(store: &impl Session, meta: &Meta, header: &NodeHeader) -> bool {
    meta.is_removable(header)
        && (header.cycle <= meta.reusable_cycle
            || store.is_older_than_all_snapshots(meta.repaired_transaction))
}
