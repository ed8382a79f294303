//! Room for a new tuple: on a page that the free-space map names, by reusing old tombstones, or on a new page.

use crate::page::index::Index;
use crate::page::meta::{COUNTERS_BLOCK, Meta};
use crate::page::node::Node;
use crate::page::slotted::{Page, PageKind};
use crate::page::store::{PageStore, WriteUnit};
use crate::page::tuple::{Layout, NodeHeader, TOMBSTONE};
use crate::types::{Error, Link, Result};

/// Pages of the free-space map that are tried before the index is extended.
const TRIES: usize = 8;

/// A fresh tuple, all zero, in a write unit that holds its page. Dropped without a commit, it was never there.
pub(in crate::page) struct Allocation<'s, Store: PageStore + 's> {
    store: &'s Store,
    /// The unit; it also holds the page that was asked for with the tuple.
    pub unit: Store::Write<'s>,
    /// The address of the tuple.
    pub link: Link,
    /// Whether the page was added for it.
    extended: bool,
}

impl<Store: PageStore> Allocation<'_, Store> {
    /// The tuple's bytes.
    pub fn tuple(&mut self) -> Result<&mut [u8]> {
        let Link { block, slot, .. } = self.link;
        let tuple = self.unit.edit(block).tuple_mut(block, slot)?;
        tuple.ok_or(Error::Corrupt { block, slot, what: "no room for a new tuple" })
    }

    /// Makes it permanent.
    pub fn commit(self) -> Result<Link> {
        let block = self.link.block;
        let left = self.extended.then(|| self.unit.page(block).free_space());
        self.unit.commit()?;
        if let Some(left) = left {
            self.store.record_free_space(block, left);
        }
        Ok(self.link)
    }
}

impl<Store: PageStore> Index<Store> {
    /// Allocates a tuple of `size` bytes in a unit that also holds the page `with`, which is preferred.
    ///
    /// Pages are locked in ascending order; a new page is higher than all others.
    pub(in crate::page) fn allocate(&self, size: usize, with: Option<u32>) -> Result<Allocation<'_, Store>> {
        if let Some(block) = with
            && let Some(allocation) = self.allocate_on(block, size, with)?
        {
            return Ok(allocation);
        }
        for _ in 0..TRIES {
            let Some(block) = self.store.page_with_free_space(size) else { break };
            // The map is not WAL-logged: it may name pages that a crash took back.
            if block <= COUNTERS_BLOCK || block >= self.store.block_count()? {
                self.store.record_free_space(block, 0);
            } else if let Some(allocation) = self.allocate_on(block, size, with)? {
                return Ok(allocation);
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
        Ok(Allocation { store: &self.store, unit, link: Link { block, slot, version }, extended: true })
    }

    /// Tries one page. Corrects the free-space map where it disappoints.
    fn allocate_on(
        &self,
        block: u32,
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
        let (free, reusable) = if page.is_new() {
            (size, Vec::new())
        } else if page.kind(block)? == PageKind::Data {
            let free = page.free_space();
            (free, if free < size { self.reusable_nodes(page, block)? } else { Vec::new() })
        } else {
            (0, Vec::new())
        };
        if free >= size || !reusable.is_empty() {
            let page = unit.edit(block);
            if page.is_new() {
                page.initialize(PageKind::Data);
            }
            for slot in reusable {
                page.remove_tuple(block, slot)?;
            }
            if let Some((slot, version)) = page.add_tuple(block, size)? {
                let link = Link { block, slot, version };
                return Ok(Some(Allocation { store: &self.store, unit, link, extended: false }));
            }
        }
        drop(unit);
        if with != Some(block) {
            self.store.record_free_space(block, free);
        }
        Ok(None)
    }

    /// The slots of tombstones that anybody may take: see [`may_reuse`]. Those that own other tuples are left to vacuum,
    /// which removes what they own first.
    fn reusable_nodes(&self, page: &Page, block: u32) -> Result<Vec<u16>> {
        let mut slots = Vec::new();
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&self.layout, page, block, slot)?
                && owns_nothing(&node)
                && may_reuse(&self.store, &self.meta, node.header())
            {
                slots.push(slot);
            }
        }
        Ok(slots)
    }
}

/// Whether no other tuple belongs to a tombstone.
fn owns_nothing(node: &Node) -> bool {
    let header = node.header();
    header.upper.is_none() && header.overflow.is_none() && node.payload_link().is_none()
}

/// Whether a node is a tombstone that no link of a live node and no running scan leads to: its cycle has been repaired, and
/// that was before every snapshot began. Links to it that a crash left behind are told by their versions.
pub(in crate::page) fn may_reuse(store: &impl PageStore, meta: &Meta, header: &NodeHeader) -> bool {
    header.flags & TOMBSTONE != 0
        && (header.cycle <= meta.reusable_cycle
            || header.cycle <= meta.repaired_cycle
                && store.is_older_than_all_snapshots(meta.repaired_transaction))
}

/// The bytes that the tombstones of repaired cycles on a page will give back to inserts.
pub(in crate::page) fn reclaimable_space(
    layout: &Layout,
    page: &Page,
    block: u32,
    meta: &Meta,
) -> Result<usize> {
    let mut bytes = 0;
    for slot in 1..=page.slot_count() {
        if let Some(node) = Node::in_slot(layout, page, block, slot)? {
            let header = node.header();
            if header.flags & TOMBSTONE != 0 && header.cycle <= meta.repaired_cycle && owns_nothing(&node) {
                bytes += layout.node_size;
            }
        }
    }
    Ok(bytes)
}
