//! Insertion of a row.
//!
//! # Protocol
//!
//! Every step is one write unit (one WAL record). Whatever was decided from pages read before is tested again
//! under the exclusive lock of the page that is changed: the version of the slot, the flags of the node, the
//! old value of the place.
//!
//! 1. The **level** comes from a hash of the heap TID. A zero vector under cosine goes to an aside tuple
//!    instead. The unit that makes such a tuple, or publishes a node whose distances may overflow, also marks
//!    on the meta page that there are such rows: see `vacuum::presence`.
//! 2. **Search** for neighbours, without locks. When a candidate holds the same bytes, its node is given the
//!    heap TID ([`Index::add_heap_tids`]) and the insertion ends: in the node's own tuple, or in the newest
//!    tuple of its overflow chain, or in a new one that is put in front of the chain. Only vacuum moves heap
//!    TIDs, see `vacuum::clean`.
//! 3. **Publish.** A node of level 0 whose payload is inline appears whole, links included, in one unit. Any
//!    other is first allocated as PENDING, so that its upper and payload tuples, one unit each, can name
//!    their owner; a last unit links them, fills the node in, and clears PENDING. A crash leaves a PENDING
//!    node that nothing leads to, and the tuples that name it: vacuum makes it a tombstone, and reclaims what
//!    it owns as orphans. An insertion that finds its node so treated begins again with a new one.
//! 4. **Back-links.** The node is offered to its neighbours, one page each (`Linker::offer`). A crash between
//!    two of them leaves a node that fewer links than usual, or none, lead to; a scan to the end finds it all
//!    the same, and vacuum's reachability pass links it.
//! 5. **Confirm.** The offers read the neighbours after the node was published. Those that had died are
//!    dropped from its links; if no live one is left, the search is repeated. A vacuum makes all its
//!    tombstones before it repairs any link, so either its repair sees the published node, or the offer sees
//!    the tombstone.
//! 6. **Entry point.** A node of a level above the entry point's, or one in a graph without a live node,
//!    becomes the entry point, under the meta page's lock and only if the entry point is still the one that
//!    was seen. Otherwise the decision is made again: a node that found the graph empty, and finds it filled,
//!    is linked first.

mod allocate;
pub mod batch;
pub mod bulk;
mod join;
mod order;
pub mod plan;
mod presence;
mod publish;
pub mod size;
mod space;

pub(super) use allocate::{Tombstone, may_reuse};
pub(super) use join::append;

use crate::graph::{
    Candidate, Neighbours, NewNeighbours, NodeStore, Purpose, choose_neighbours, descend, level_of,
};
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::format::tuple::AsideKind;
use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::link::offer::Offer;
use crate::page::query::access::State;
use crate::page::query::index::Index;
use crate::page::query::notes::{Expansions, Notes};
use crate::page::query::paged::PagedQuery;
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, Result};

/// How often a node without a live neighbour searches again.
const TRIES: usize = 4;

/// Candidates kept while the node that holds a known vector is looked for, first and, one time of fifty, when
/// that fails.
const EF_OF_HOLDER: [usize; 2] = [8, 64];

impl<Store: PageStore> Index<Store> {
    /// Inserts a row: `vector` has the size that the index's parameters say. `unchanged` hints that the
    /// vector is the one of an older version of the same row, so that a node holds it.
    pub fn insert(&self, vector: &[u8], heap_tid: HeapTid, unchanged: bool) -> Result<()> {
        if self.schema.is_aside(vector) {
            return self.insert_aside(AsideKind::ZeroVector, heap_tid);
        }
        self.insert_payload(self.schema.encode(vector), heap_tid, unchanged)
    }

    /// As [`Index::insert`], for the payload of a vector that belongs into the graph.
    fn insert_payload(&self, payload: Vec<u8>, heap_tid: HeapTid, unchanged: bool) -> Result<()> {
        let query = query_of(self, &payload)?;
        if unchanged && self.join_nearest(&query, &payload, heap_tid)? {
            return Ok(());
        }
        let layout = &self.schema.layout;
        let level = level_of(heap_tid, layout.parameters.m).min(layout.max_level);
        Insertion::new(self, query, payload, level).insert(heap_tid)
    }

    /// Looks for a node that holds the vector, without choosing neighbours: it is nearer than everything
    /// else, and nodes around it link to it.
    fn join_nearest(
        &self,
        query: &PagedQuery<&Store, ()>,
        payload: &[u8],
        heap_tid: HeapTid,
    ) -> Result<bool> {
        let own = query.distance(query.vector());
        for ef in EF_OF_HOLDER {
            let nearest = search_layer_0(query, ef, own)?;
            if self.join(query, &nearest, payload, &[heap_tid])?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives rows to a node that holds the same vector, if one of `nearest` does: returns it, and how many of
    /// the rows it has, the first ones. Equal vectors have equal distances from the query, whatever the
    /// metric, that of the vector from itself, which need not be 0: only such candidates are read. Lossy
    /// payloads are equal where their fingerprints are.
    fn join<Noted: Notes>(
        &self,
        query: &PagedQuery<&Store, Noted>,
        nearest: &[Candidate<Link>],
        payload: &[u8],
        heap_tids: &[HeapTid],
    ) -> Result<Option<(Link, usize)>> {
        let own = query.distance(query.vector());
        for Candidate { node, .. } in nearest.iter().filter(|candidate| candidate.distance == own) {
            if self.payload(*node)?.as_deref() == Some(payload) {
                let added = self.add_all_heap_tids(&query.meta, *node, heap_tids)?;
                if added > 0 {
                    return Ok(Some((*node, added)));
                }
            }
        }
        Ok(None)
    }

    /// The nodes of layer 0 that are nearest to a payload's vector.
    pub(in crate::page) fn nearest(&self, payload: &[u8]) -> Result<Vec<Candidate<Link>>> {
        let ef = self.schema.layout.parameters.ef_construction.into();
        search_layer_0(&query_of(self, payload)?, ef, f64::NEG_INFINITY)
    }

    /// Chooses neighbours for a published node with this payload, and links it with them on layer 0.
    pub(in crate::page) fn link(&self, node: Link, payload: Vec<u8>) -> Result<()> {
        Insertion::new(self, query_of(self, &payload)?, payload, 0).link(node)?;
        Ok(())
    }
}

/// The query of a payload's vector: the graph is linked by what payloads hold, as everybody sees that.
fn query_of<'i, Store: PageStore>(
    index: &'i Index<Store>,
    payload: &[u8],
) -> Result<PagedQuery<&'i Store, ()>> {
    let meta = Meta::read(&index.store)?;
    Ok(PagedQuery::new(index.borrowed(), meta, Some(&index.schema.decode(payload)), ()))
}

fn search_layer_0<Store: PageStore>(
    query: &PagedQuery<&Store, ()>,
    ef: usize,
    enough: f64,
) -> Result<Vec<Candidate<Link>>> {
    let Some(entry) = query.entry_point()? else { return Ok(Vec::new()) };
    let mut search = query.search(Purpose::Insertion, ef);
    let entries = descend(query, &mut search, entry, 0)?;
    search.run_until(query, &entries, 0, ef, enough)
}

/// The insertion of one vector into the graph; also how vacuum links a node again.
struct Insertion<'i, Store: PageStore> {
    linker: Linker<'i, Store>,
    query: PagedQuery<&'i Store, Expansions>,
    payload: Vec<u8>,
    level: u8,
}

impl<'i, Store: PageStore> Insertion<'i, Store> {
    /// Of a node of `level`, by the query of its payload.
    fn new(index: &'i Index<Store>, query: PagedQuery<&'i Store, ()>, payload: Vec<u8>, level: u8) -> Self {
        let linker = Linker::new(index, query.meta);
        Self { linker, query: query.with_notes(Expansions::default()), payload, level }
    }

    fn insert(&mut self, heap_tid: HeapTid) -> Result<()> {
        let index = self.linker.index;
        let chosen = self.choose(None)?;
        if index.join(&self.query, &chosen.nearest, &self.payload, &[heap_tid])?.is_some() {
            index.store.stop_point(StopPoint::InsertJoined);
            return Ok(());
        }
        index.store.stop_point(StopPoint::InsertChosen);
        let node = self.publish(&chosen.layers, heap_tid)?;
        index.store.stop_point(StopPoint::InsertPublished);
        let mut linked = self.offer(node, &chosen.layers)?;
        for _ in 0..TRIES {
            // A search that met nothing live gives no layer a neighbour, and would not the next time.
            if linked || chosen.nearest.is_empty() {
                break;
            }
            linked = self.link(node)?;
        }
        index.store.stop_point(StopPoint::InsertConfirmed);
        self.become_entry_point(node, linked)
    }

    /// Searches and chooses neighbours; never `myself`.
    fn choose(&mut self, myself: Option<Link>) -> Result<NewNeighbours<Link>> {
        let Self { linker: Linker { index, vectors, .. }, query, level, .. } = self;
        vectors.limit_memory();
        let parameters = &index.schema.layout.parameters;
        let mut search = query.search(Purpose::Insertion, parameters.ef_construction.into());
        choose_neighbours(
            query,
            &mut search,
            parameters,
            *level,
            |node| Some(node) != myself,
            |a, b| {
                query.notes().drain(..).try_for_each(|(node, known)| vectors.add(node, known))?;
                vectors.distance(a, b)
            },
        )
    }

    /// Chooses neighbours for a published node and links it with them. True when one of layer 0 is live.
    pub fn link(&mut self, node: Link) -> Result<bool> {
        self.query.refresh()?;
        let layers = self.choose(Some(node))?.layers;
        for (layer, neighbours) in (0..).zip(&layers) {
            let Some(list) = self.linker.index.list(node, layer)? else { continue };
            let free = (0..).zip(&list.links).filter(|(_, link)| link.is_none());
            let new = neighbours.iter().map(|neighbour| neighbour.node);
            let changes: Vec<Change> = free
                .zip(new.filter(|new| !list.links.contains(new)))
                .map(|((position, old), new)| Change { position, old: *old, new })
                .collect();
            self.linker.change(list.id, &changes)?;
        }
        self.offer(node, &layers)
    }

    /// Offers the published node to its neighbours, and drops from its links those that have died meanwhile.
    /// True when a live one is left on layer 0.
    fn offer(&mut self, node: Link, layers: &[Neighbours<Link>]) -> Result<bool> {
        let index = self.linker.index;
        let mut linked = false;
        for (layer, neighbours) in (0..).zip(layers) {
            let mut dead = Vec::new();
            for neighbour in neighbours.iter() {
                self.linker.vectors.limit_memory();
                index.store.interrupt_point();
                match self.linker.offer(neighbour.node, layer, node)? {
                    Offer::Gone => dead.push(neighbour.node),
                    Offer::Linked | Offer::Refused => {
                        linked |= layer == 0;
                        index.store.stop_point(StopPoint::InsertNeighbourLinked);
                    }
                }
            }
            if let Some(list) = index.list(node, layer)?.filter(|_| !dead.is_empty()) {
                let changes: Vec<Change> = (0..)
                    .zip(&list.links)
                    .filter(|(_, link)| dead.contains(link))
                    .map(|(position, old)| Change { position, old: *old, new: Link::NONE })
                    .collect();
                self.linker.change(list.id, &changes)?;
            }
        }
        Ok(linked)
    }

    /// Step 6. `linked` says whether the node has a live neighbour.
    fn become_entry_point(&mut self, node: Link, mut linked: bool) -> Result<()> {
        let index = self.linker.index;
        loop {
            let seen = self.query.meta;
            let wanted = match seen.entry() {
                None => true,
                Some(entry) => match index.state(entry.node)? {
                    State::Live => self.level > entry.level,
                    // Searches walk on through a dead entry point: only a node that keeps its upper layers in
                    // use, or the only live one, replaces it.
                    State::Tombstone => self.level >= entry.level || !linked,
                    State::Gone => true,
                },
            };
            if !wanted {
                return Ok(());
            }
            let mut unit = index.store.begin();
            let mut now = Meta::of_page(unit.lock(META_BLOCK)?)?;
            if (now.entry_generation, now.entry_point) == (seen.entry_generation, seen.entry_point) {
                now.set_entry(node, self.level);
                now.write(unit.edit(META_BLOCK));
                unit.commit()?;
                index.store.stop_point(StopPoint::InsertEntryPointSet);
                return Ok(());
            }
            drop(unit);
            index.store.interrupt_point();
            if linked {
                self.query.refresh()?;
            } else {
                linked = self.link(node)?;
            }
        }
    }
}
