//! Insertion of a row.
//!
//! # Protocol
//!
//! Every step is one write unit (one WAL record). Whatever was decided from pages read before is tested again under the
//! exclusive lock of the page that is changed: the version of the slot, the flags of the node, the old value of the place.
//!
//! 1. The **level** comes from a hash of the heap TID. A zero vector under cosine goes to an aside tuple instead.
//! 2. **Search** for neighbours, without locks. When a candidate holds the same bytes, its node is given the heap TID
//!    ([`Index::add_heap_tid`]) and the insertion ends: in the node's own tuple, or in the newest tuple of its overflow chain,
//!    or in a new one that is put in front of the chain. Only vacuum moves heap TIDs, see `vacuum::clean`.
//! 3. **Publish.** A node of level 0 whose payload is inline appears whole, links included, in one unit. Any other is first
//!    allocated as PENDING, so that its upper and payload tuples, one unit each, can name their owner; a last unit links
//!    them, fills the node in, and clears PENDING. A crash leaves a PENDING node that nothing leads to, and the tuples that
//!    name it: vacuum makes it a tombstone, and reclaims what it owns as orphans. An insertion that finds its node so treated
//!    begins again with a new one.
//! 4. **Back-links.** The node is offered to its neighbours, one page each ([`Index::offer_link`]). A crash between two of them
//!    leaves a node that fewer links than usual, or none, lead to; a scan to the end finds it all the same, and vacuum's
//!    reachability pass links it.
//! 5. **Confirm.** The offers read the neighbours after the node was published. Those that had died are dropped from its links;
//!    if no live one is left, the search is repeated. A vacuum makes all its tombstones before it repairs any link, so either
//!    its repair sees the published node, or the offer sees the tombstone.
//! 6. **Entry point.** A node of a level above the entry point's, or one in a graph without a live node, becomes the entry
//!    point, under the meta page's lock and only if the entry point is still the one that was seen. Otherwise the decision is
//!    made again: a node that found the graph empty, and finds it filled, is linked first.

mod allocate;
pub mod bulk;
mod join;
mod publish;
mod space;

pub(super) use allocate::{Tombstone, may_reuse};
pub(super) use join::append;

use crate::graph::{
    Candidate, Neighbours, NewNeighbours, NodeStore, Purpose, choose_neighbours, descend, level_of,
};
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::format::tuple::AsideKind;
use crate::page::link::change::Change;
use crate::page::link::offer::Offer;
use crate::page::query::index::Index;
use crate::page::query::paged::{Noted, PagedQuery};
use crate::page::query::vectors::Vectors;
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{HeapTid, Link, Result};

/// How often a node without a live neighbour searches again.
const TRIES: usize = 4;

/// Candidates kept while the node that holds a known vector is looked for, first and, one time of fifty, when that fails.
const EF_OF_HOLDER: [usize; 2] = [8, 64];

impl<Store: PageStore> Index<Store> {
    /// Inserts a row: `vector` has the size that the index's parameters say. `unchanged` hints that the vector is the one of
    /// an older version of the same row, so that a node holds it.
    pub fn insert(&self, vector: &[u8], heap_tid: HeapTid, unchanged: bool) -> Result<()> {
        if self.is_aside(vector) {
            return self.insert_aside(AsideKind::ZeroVector, heap_tid);
        }
        let level = level_of(heap_tid, self.layout.parameters.m).min(self.layout.max_level);
        let mut insertion = Insertion::new(self, self.encode(vector), level)?;
        if unchanged && insertion.join_nearest(heap_tid)? {
            return Ok(());
        }
        insertion.insert(heap_tid)
    }
}

/// The insertion of one vector into the graph; also how vacuum links a node again.
pub(super) struct Insertion<'i, Store: PageStore> {
    index: &'i Index<Store>,
    query: PagedQuery<&'i Store>,
    vectors: Vectors<'i, Store>,
    payload: Vec<u8>,
    level: u8,
}

impl<'i, Store: PageStore> Insertion<'i, Store> {
    /// Binds the payload of a node of `level`. The graph is linked by what payloads hold, as everybody sees that.
    pub fn new(index: &'i Index<Store>, payload: Vec<u8>, level: u8) -> Result<Self> {
        let mut query = PagedQuery::new(index.refreshed()?, &index.decode(&payload));
        query.note(Noted::Nothing);
        Ok(Self { index, query, vectors: Vectors::new(index), payload, level })
    }

    fn insert(&mut self, heap_tid: HeapTid) -> Result<()> {
        let chosen = self.choose(None)?;
        if self.join(&chosen.nearest, self.own_distance(), heap_tid)? {
            self.index.store.stop_point("insert joined");
            return Ok(());
        }
        self.index.store.stop_point("insert chosen");
        let node = self.publish(&chosen.layers, heap_tid)?;
        self.index.store.stop_point("insert published");
        let mut linked = self.offer(node, &chosen.layers)?;
        for _ in 0..TRIES {
            // A search that met nothing live gives no layer a neighbour, and would not the next time.
            if linked || chosen.nearest.is_empty() {
                break;
            }
            linked = self.link(node)?;
        }
        self.index.store.stop_point("insert confirmed");
        self.become_entry_point(node, linked)
    }

    /// Looks for a node that holds the vector, without choosing neighbours: it is nearer than everything else, and nodes around
    /// it link to it.
    fn join_nearest(&mut self, heap_tid: HeapTid) -> Result<bool> {
        let own = self.own_distance();
        for ef in EF_OF_HOLDER {
            let nearest = self.search_layer_0(ef, own)?;
            if self.join(&nearest, own, heap_tid)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The nearest nodes of layer 0.
    pub fn nearest(&self) -> Result<Vec<Candidate<Link>>> {
        self.search_layer_0(self.index.layout.parameters.ef_construction.into(), f64::NEG_INFINITY)
    }

    fn search_layer_0(&self, ef: usize, enough: f64) -> Result<Vec<Candidate<Link>>> {
        let Some(entry) = self.query.entry_point()? else { return Ok(Vec::new()) };
        let mut search = self.query.search(Purpose::Insertion, ef);
        let entries = descend(&self.query, &mut search, entry, 0)?;
        search.run_until(&self.query, &entries, 0, ef, enough)
    }

    /// The distance of the vector from itself, which need not be 0.
    fn own_distance(&self) -> f64 {
        self.query.distance(self.query.vector())
    }

    /// Gives the row to a node that holds the same vector, if one of `nearest` does. Equal vectors have equal distances from
    /// the query, `own`, whatever the metric: only such candidates are read. Lossy payloads are equal where their fingerprints are.
    fn join(&mut self, nearest: &[Candidate<Link>], own: f64, heap_tid: HeapTid) -> Result<bool> {
        for candidate in nearest.iter().filter(|candidate| candidate.distance == own) {
            if self.index.payload(candidate.node)?.as_ref() == Some(&self.payload)
                && self.index.add_heap_tid(candidate.node, heap_tid)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Searches and chooses neighbours; never `myself`.
    fn choose(&mut self, myself: Option<Link>) -> Result<NewNeighbours<Link>> {
        self.vectors.limit_memory();
        let Self { index, query, vectors, level, .. } = self;
        query.note(Noted::Vectors);
        let mut search = query.search(Purpose::Insertion, index.layout.parameters.ef_construction.into());
        choose_neighbours(
            query,
            &mut search,
            &index.layout.parameters,
            *level,
            |node| Some(node) != myself,
            |a, b| {
                query.take_expanded(|node, known| vectors.add(node, known))?;
                vectors.distance(a, b)
            },
        )
    }

    /// Chooses neighbours for a published node and links it with them. True when one of layer 0 is live.
    pub fn link(&mut self, node: Link) -> Result<bool> {
        self.query.refresh()?;
        let layers = self.choose(Some(node))?.layers;
        for (layer, neighbours) in (0..).zip(&layers) {
            let Some(places) = self.index.places(node, layer)? else { continue };
            let free = (0..).zip(&places.links).filter(|(_, link)| link.is_none());
            let new = neighbours.iter().map(|neighbour| neighbour.node);
            let changes: Vec<Change> = free
                .zip(new.filter(|new| !places.links.contains(new)))
                .map(|((position, old), new)| Change { position, old: *old, new })
                .collect();
            self.index.change_links(&mut self.vectors, node, layer, places.upper, &changes)?;
        }
        self.offer(node, &layers)
    }

    /// Offers the published node to its neighbours, and drops from its links those that have died meanwhile. True when a
    /// live one is left on layer 0.
    fn offer(&mut self, node: Link, layers: &[Neighbours<Link>]) -> Result<bool> {
        let mut linked = false;
        for (layer, neighbours) in (0..).zip(layers) {
            let mut dead = Vec::new();
            for neighbour in neighbours.iter() {
                self.vectors.limit_memory();
                self.index.store.interrupt_point();
                match self.index.offer_link(&mut self.vectors, neighbour.node, node, layer)? {
                    Offer::Gone => dead.push(neighbour.node),
                    Offer::Linked | Offer::Refused => {
                        linked |= layer == 0;
                        self.index.store.stop_point("insert neighbour linked");
                    }
                }
            }
            if let Some(places) = self.index.places(node, layer)?.filter(|_| !dead.is_empty()) {
                let changes: Vec<Change> = (0..)
                    .zip(&places.links)
                    .filter(|(_, link)| dead.contains(link))
                    .map(|(position, old)| Change { position, old: *old, new: Link::NONE })
                    .collect();
                self.index.change_links(&mut self.vectors, node, layer, places.upper, &changes)?;
            }
        }
        Ok(linked)
    }

    /// Step 6. `linked` says whether the node has a live neighbour.
    fn become_entry_point(&mut self, node: Link, mut linked: bool) -> Result<()> {
        loop {
            let seen = self.query.index.meta;
            let entry = match seen.entry() {
                Some(entry) => self.index.is_live(entry.node)?.map(|live| (entry.level, live)),
                None => None,
            };
            let wanted = match entry {
                None => true,
                Some((level, true)) => self.level > level,
                // Searches walk on through a dead entry point: only a node that keeps its upper layers in use, or the only
                // live one, replaces it.
                Some((level, false)) => self.level >= level || !linked,
            };
            if !wanted {
                return Ok(());
            }
            let mut unit = self.index.store.begin();
            let mut now = Meta::of_page(unit.lock(META_BLOCK)?)?;
            if (now.entry_generation, now.entry_point) == (seen.entry_generation, seen.entry_point) {
                now.set_entry(node, self.level);
                now.write(unit.edit(META_BLOCK));
                unit.commit()?;
                self.index.store.stop_point("insert entry point set");
                return Ok(());
            }
            drop(unit);
            self.index.store.interrupt_point();
            if linked {
                self.query.refresh()?;
            } else {
                linked = self.link(node)?;
            }
        }
    }
}
