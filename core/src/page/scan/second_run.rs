//! The second run: a linear pass over the index's pages, and its sorted rows.

use super::hit::{ColumnVectors, Hit, HitClass, RunSorter};
use super::options::ScanStats;
use super::order::{Bounds, Waiting};
use super::walk::Walk;
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{AsideKind, TupleKind};
use crate::page::query::heap_tids::HeapTids;
use crate::page::query::index::Index;
use crate::page::query::notes::ScanNotes;
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{Error, HeapTid, Link, Result};
use hashbrown::HashSet;
use std::cmp::Ordering;

/// The rows that the first run has not given.
#[derive(Default)]
pub(super) struct SecondRun {
    /// Rows whose turn may have come. They are few: as many as overlap.
    waiting: Waiting<HeapTid>,
    /// The first row of the sorter that does not wait.
    next: Option<Hit>,
    rows: u64,
    measured_rows: u64,
    has_begun: bool,
}

impl SecondRun {
    /// What a scan did whose first run did this.
    pub fn stats(&self, first_run: ScanStats) -> ScanStats {
        let measured_rows = first_run.measured_rows + self.measured_rows;
        let second_runs = self.has_begun.into();
        ScanStats { second_run: self.rows, second_runs, measured_rows, ..first_run }
    }

    /// Gives all rows that the walk has not given to `sorter`, and sorts them.
    ///
    /// Where payloads are less precise than the column, the rows of a node with many are measured once, by
    /// `table`. Sorted by their bounds all of them would be measured, and wait for each other in memory.
    pub fn collect<Store: PageStore>(
        &mut self,
        walk: &mut Walk<Store>,
        sorter: &mut impl RunSorter,
        table: &mut impl ColumnVectors,
    ) -> Result<()> {
        self.has_begun = true;
        let (given, ranked) = (std::mem::take(&mut walk.given), walk.is_ranked());
        let query = &walk.query;
        let index = &query.index;
        let mut found = FoundOnPage::default();
        for (block, page) in index.data_pages()? {
            found.collect(query, ranked, &given, &*page?, block)?;
            for (class, hit) in found.rows.drain(..) {
                sorter.add(class, hit);
            }
            for FoundNode { node, bounds, payload } in found.nodes.drain(..) {
                let mut bounds = match bounds {
                    Some(bounds) => bounds,
                    None if !index.read_payload(node, payload, &mut found.payload)? => continue,
                    None => Bounds::of(&query.measure(node, &found.payload, &mut found.decoded)),
                };
                found.heap_tids.set_node(node);
                let mut has_many = false;
                while let Some(heap_tid) = found.heap_tids.next(index)? {
                    has_many |= found.heap_tids.has_unread();
                    if has_many && bounds.are_open() {
                        self.measured_rows += 1;
                        // A row that is not visible need not be given.
                        let Some(distance) = table.distance(heap_tid) else { continue };
                        bounds = Bounds::exact(distance);
                    }
                    sorter.add(HitClass::Vector, bounds.hit(heap_tid));
                }
            }
        }
        sorter.sort();
        self.next = sorter.next();
        Ok(())
    }

    /// The next row.
    pub fn next(
        &mut self,
        sorter: &mut impl RunSorter,
        table: &mut impl ColumnVectors,
    ) -> Result<Option<Hit>> {
        loop {
            let next = self.next.as_ref().map(Bounds::of_hit);
            // The sorter's rows come by least distance; rows without a distance keep its order.
            let is_next =
                |first: Bounds| next.is_some_and(|next| next.low.total_cmp(&first.low) == Ordering::Less);
            if self.waiting.peek().is_none_or(is_next) {
                let Some(hit) = self.next.take() else { return Ok(None) };
                // Few, but for a payload of little precision and vectors that are all alike.
                self.waiting.reserve(1)?;
                self.waiting.extend([(Bounds::of_hit(&hit), hit.heap_tid)]);
                self.next = sorter.next();
                continue;
            }
            let Some((bounds, heap_tid)) = self.waiting.pop() else { return Ok(None) };
            if bounds.overlap(self.waiting.peek()) || bounds.overlap(next) {
                self.measured_rows += 1;
                let distance = table.distance(heap_tid);
                self.waiting.extend(distance.map(|distance| (Bounds::exact(distance), heap_tid)));
                continue;
            }
            self.rows += 1;
            return Ok(Some(bounds.hit(heap_tid)));
        }
    }
}

impl<Store: PageStore> Index<Store> {
    /// Calls a function with the heap TID of every row that the index holds from before the call to its end;
    /// of others it may or may not. Vacuums may run beside it.
    pub fn for_each_row(&self, mut look: impl FnMut(HeapTid)) -> Result<()> {
        let query = PagedQuery::new(self.borrowed(), Meta::read(&self.store)?, None, ScanNotes::default());
        let (mut found, given) = (FoundOnPage::default(), HashSet::new());
        for (block, page) in self.data_pages()? {
            found.collect(&query, false, &given, &*page?, block)?;
            found.rows.drain(..).for_each(|(_, hit)| look(hit.heap_tid));
            for FoundNode { node, .. } in found.nodes.drain(..) {
                found.heap_tids.set_node(node);
                while let Some(heap_tid) = found.heap_tids.next(self)? {
                    look(heap_tid);
                }
            }
        }
        Ok(())
    }
}

/// What one page gave to the second run. The sorter may write to disk, and other pages may have to be read:
/// both wait until the page is released.
#[derive(Default)]
struct FoundOnPage {
    rows: Vec<(HitClass, Hit)>,
    nodes: Vec<FoundNode>,
    heap_tids: HeapTids,
    payload: Vec<u8>,
    decoded: Vec<u8>,
}

/// A node of which something lies on another page.
struct FoundNode {
    node: Link,
    /// `None` when the payload lies apart.
    bounds: Option<Bounds>,
    payload: Link,
}

impl FoundOnPage {
    fn collect<Store: PageStore>(
        &mut self,
        query: &PagedQuery<Store, ScanNotes>,
        ranked: bool,
        given: &HashSet<Link>,
        page: &Page,
        block: u32,
    ) -> Result<()> {
        if page.is_new() || page.kind(block)? != PageKind::Data {
            return Ok(());
        }
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&query.index.schema.layout, page, block, slot)? {
                let link = Link { block, slot, version: node.header().version };
                if !node.is_live() || given.contains(&link) {
                    continue;
                }
                let bounds = match query.index.payload_on(page, link, &node)? {
                    _ if !ranked => Some(Bounds::exact(f64::NAN)),
                    Some(payload) => Some(Bounds::of(&query.measure(link, payload, &mut self.decoded))),
                    None => None,
                };
                match bounds {
                    Some(bounds) if node.header().overflow.is_none() => {
                        let hits = node.heap_tids().iter().map(|tid| (HitClass::Vector, bounds.hit(*tid)));
                        self.rows.extend(hits);
                    }
                    _ => self.nodes.push(FoundNode { node: link, bounds, payload: node.payload_link() }),
                }
            } else if let Some(tuple) = Owned::in_slot(page, block, slot)?
                && tuple.header().kind == TupleKind::Aside as u8
            {
                let class = match AsideKind::from_code(tuple.header().tag) {
                    Some(AsideKind::ZeroVector) => HitClass::ZeroVector,
                    Some(AsideKind::Null) => HitClass::Null,
                    None => return Err(Error::Corrupt { block, slot, what: "aside tuple of unknown kind" }),
                };
                let hits = tuple.heap_tids().iter().map(|tid| (class, Bounds::exact(f64::NAN).hit(*tid)));
                self.rows.extend(hits);
            }
        }
        Ok(())
    }
}
