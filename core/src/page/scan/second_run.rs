//! The second run: a linear pass over the index's pages, and its sorted rows.

use super::order::{Bounds, Waiting};
use super::{ColumnVectors, Hit, HitClass, RunSorter};
use crate::page::format::node::{Node, Owned};
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{AsideKind, TupleKind};
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{Error, HeapTid, Link, Result};
use hashbrown::HashSet;
use std::cmp::Ordering;

/// Gives the rows of a second run that has been sorted.
#[derive(Default)]
pub(super) struct SecondRun {
    /// Rows whose turn may have come. They are few: as many as overlap.
    waiting: Waiting<HeapTid>,
    /// The row that the sorter gives next, once it has been asked.
    next: Option<Option<Hit>>,
}

impl SecondRun {
    /// The next row; counts those that were measured.
    pub fn next(
        &mut self,
        sorter: &mut impl RunSorter,
        vectors: &mut impl ColumnVectors,
        measured_rows: &mut u64,
    ) -> Result<Option<Hit>> {
        loop {
            let next = *self.next.get_or_insert_with(|| sorter.next());
            let next_bounds = next.as_ref().map(Bounds::of_hit);
            let first = self.waiting.peek();
            // The sorter's rows come by least distance; rows without a distance keep its order.
            let is_next = |first: Bounds| {
                next_bounds.is_some_and(|next| next.low.total_cmp(&first.low) == Ordering::Less)
            };
            if first.is_none_or(is_next) {
                let Some((bounds, hit)) = next_bounds.zip(next) else { return Ok(None) };
                // Few, but for a payload of little precision and vectors that are all alike.
                self.waiting.reserve(1)?;
                self.waiting.extend([(bounds, hit.heap_tid)]);
                self.next = None;
                continue;
            }
            let Some((bounds, heap_tid)) = self.waiting.pop() else { return Ok(None) };
            if bounds.overlap(self.waiting.peek()) || bounds.overlap(next_bounds) {
                *measured_rows += 1;
                let distance = vectors.distance(heap_tid);
                self.waiting.extend(distance.map(|distance| (Bounds::exact(distance), heap_tid)));
                continue;
            }
            return Ok(Some(bounds.hit(heap_tid)));
        }
    }
}

/// Gives all rows to `sorter` that were not `given`, and sorts them. Where nothing is `ranked` they have no distance.
pub(super) fn collect<Store: PageStore>(
    query: &PagedQuery<Store>,
    ranked: bool,
    given: &HashSet<Link>,
    sorter: &mut impl RunSorter,
) -> Result<()> {
    let index = &query.index;
    let mut found = FoundOnPage::default();
    for (block, page) in index.data_pages()? {
        found.collect(query, ranked, given, &*page?, block)?;
        for (class, hit) in found.rows.drain(..) {
            sorter.add(class, hit);
        }
        for FoundNode { node, bounds, payload } in found.nodes.drain(..) {
            let bounds = match bounds {
                Some(bounds) => bounds,
                None if !index.read_payload(node, payload, &mut found.payload)? => continue,
                None => Bounds::of(&query.measure(node, true, &found.payload, &mut found.decoded)),
            };
            index.heap_tids(node, &mut found.heap_tids)?;
            for heap_tid in &found.heap_tids {
                sorter.add(HitClass::Vector, bounds.hit(*heap_tid));
            }
        }
    }
    sorter.sort();
    Ok(())
}

/// What one page gave to the second run. The sorter may write to disk, and other pages may have to be read: both wait until
/// the page is released.
#[derive(Default)]
struct FoundOnPage {
    rows: Vec<(HitClass, Hit)>,
    nodes: Vec<FoundNode>,
    heap_tids: Vec<HeapTid>,
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
        query: &PagedQuery<Store>,
        ranked: bool,
        given: &HashSet<Link>,
        page: &Page,
        block: u32,
    ) -> Result<()> {
        if page.is_new() || page.kind(block)? != PageKind::Data {
            return Ok(());
        }
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&query.index.layout, page, block, slot)? {
                let link = Link { block, slot, version: node.header().version };
                if !node.is_live() || given.contains(&link) {
                    continue;
                }
                let bounds = match node.payload() {
                    _ if !ranked => Some(Bounds::exact(f64::NAN)),
                    Some(payload) => Some(Bounds::of(&query.measure(link, true, payload, &mut self.decoded))),
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
                let class = match tuple.header().tag {
                    tag if tag == AsideKind::ZeroVector as u16 => HitClass::ZeroVector,
                    tag if tag == AsideKind::Null as u16 => HitClass::Null,
                    _ => return Err(Error::Corrupt { block, slot, what: "aside tuple of unknown kind" }),
                };
                let hits = tuple.heap_tids().iter().map(|tid| (class, Bounds::exact(f64::NAN).hit(*tid)));
                self.rows.extend(hits);
            }
        }
        Ok(())
    }
}
