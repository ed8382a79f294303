//! Joining a batch: a graph that was built in memory becomes a part of the graph on pages.
//!
//! # Protocol
//!
//! As that of an insertion, for many nodes at a time. What is said there of locks, of tests under them and of
//! vacuum holds here.
//!
//! 1. **Search**, see `search`, by the caller and its helpers, see `help`. The first node, all above layer 0,
//!    and those of whose neighbours in the batch nothing is known yet are searched for from the entry point;
//!    the others, in the order of a walk over the batch, begin where their neighbours in it are, with a
//!    smaller beam where the batch has a good part of all nodes, or those of a region: then those are near,
//!    and the more of a node's neighbours are in the batch, the fewer are older. A node whose vector is held
//!    by a node on pages gives it its rows. Neighbours are chosen by threads, see `choose`, among what was
//!    found and the node's neighbours in the batch. Where the graph has taken over all nodes of the index
//!    before, see `adopt`, nothing is searched for: each node has the neighbours that it has in the graph.
//!    So it is where the index has no node, or few beside the batch.
//! 2. **Publish**, see `publish`: new pages are filled with nodes, a unit a page, in an order that puts
//!    neighbours together, or places that others have left. Each node leads to nodes that are there only, so
//!    that no prefix of the units has a link to what does not exist. Nothing leads to the new ones yet but
//!    their like. Rows that a node's tuple has no room for follow in units of their own.
//! 3. **Links to them**, see `offer`, when all nodes are there: the new nodes are offered to their neighbours
//!    on older pages, and to those of the batch that chose them before they were there. All offers to lists
//!    on one page are decided together, and made in one unit, as far as memory holds them. What the graph has
//!    taken over has decided already.
//! 4. **Confirm.** Step 3 read all neighbours after the nodes were published. Those that had died are
//!    dropped; a node with no more live ones than that is linked as an insertion links it.
//! 5. **Entry point**, as in an insertion, for one node of the highest level. In an index that had no
//!    node, or few, it becomes that, whatever is there by now.
//! 6. **Others.** Where nothing was searched for, nodes that the graph does not have are linked again, as if
//!    they were inserted now: what others have inserted meanwhile, and the few that the index had. Beside a
//!    whole index that was taken over, only some: the way to the others leads over older nodes.
//!
//! A crash leaves nodes that nothing leads to, in the state of an insertion that has published and made none
//! of its back-links.

mod adopt;
mod choose;
mod chosen;
mod help;
mod near;
mod offer;
mod others;
mod publish;
mod queue;
mod search;
mod seek;
mod threads;

use crate::graph::EditableGraph;
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::format::tuple::AsideKind;
use crate::page::insert::plan::FIRST_FREE_BLOCK;
use crate::page::insert::{Insertion, query_of};
use crate::page::link::Linker;
use crate::page::query::index::Index;
use crate::page::query::notes::Expansions;
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, PAGE_SIZE, Parameters, Result};
use chosen::{Neighbour, NewPage};
use hashbrown::HashMap;
pub use help::{Helpers, JoinHelper};
use rayon::ThreadPool;
use seek::Seeker;
use threads::Threads;

/// Nodes, or pages, of which threads decide together at most.
const GROUP: usize = 64;

/// Nodes of an index for each of a batch, from which on their neighbours in it are far away.
const SPARSE: u64 = 8;

/// Nodes of an index for each of a batch, from which on taking them over takes longer than inserting the
/// batch row by row.
const FEW_BESIDE: u64 = 32;

/// Nodes of a batch for each of the index, from which on it is as if the index had none. An insertion takes
/// three times as long as the join of a node.
const FIRST: u64 = 8;

/// The greatest share of ef_construction that is a small beam: what neighbours in the batch found is near.
const SMALL_BEAM: f64 = 0.8;

/// How a graph is joined to an index.
pub struct JoinOptions<'p> {
    /// Where the nodes are with which the graph begins, as [`Index::adopt`] gave them to it; none where it
    /// begins with its own.
    pub adopted: Vec<Link>,
    /// Whether neighbours in the graph are near each other among all nodes: where it is a good part of these,
    /// see [`Index::is_dense`], or all of a region.
    pub is_dense: bool,
    /// Bytes: the more, the more rarely a page is changed.
    pub memory: usize,
    /// Threads, which touch nothing but memory.
    pub pool: &'p ThreadPool,
}

impl<Store: PageStore> Index<Store> {
    /// Joins `graph`, which was built with the parameters and the centroid of this index, and rows that stay
    /// outside of it; others may use the index meanwhile. The graph loses links.
    ///
    /// Some 22 bytes a node are taken, 64 kB, and the memory of the options besides; helpers take some of
    /// their own, see [`JoinOptions::memory_of_searcher`]. `progress` is told how many nodes are done so far,
    /// again and again; it may unwind.
    pub fn join_graph<Graph: EditableGraph>(
        &self,
        graph: &mut Graph,
        asides: &[(AsideKind, HeapTid)],
        options: JoinOptions,
        helpers: &mut impl Helpers,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        debug_assert_eq!(*graph.parameters(), self.schema.layout.parameters);
        for kind in AsideKind::ALL {
            let mut rows = asides.iter().filter(|row| row.0 == kind).map(|row| row.1);
            self.insert_asides(kind, &mut rows)?;
        }
        let mut batch = Batch::new(self, graph, options, 1 + helpers.count())?;
        batch.add_rows_of_adopted()?;
        batch.publish_all(helpers, progress)?;
        batch.offer_all(progress)?;
        batch.confirm()?;
        batch.become_entry_point()?;
        batch.link_others()
    }

    /// Whether so many rows are a good part of the index, so that neighbours in their batch are near each
    /// other among all. Who joins them should be alone in that: of what others join at the same time no
    /// search can know. Other batches take as long to join as to insert row by row, and make a worse graph,
    /// if that has not taken over the index.
    pub fn is_dense(&self, rows: u64) -> Result<bool> {
        Ok(rows * SPARSE >= self.most_nodes()? || Meta::read(&self.store)?.entry().is_none())
    }

    /// Whether a graph of so many rows should take over the index, if there is room for it.
    pub fn is_worth_adopting(&self, rows: u64) -> Result<bool> {
        let nodes = self.most_nodes()?;
        Ok((1..=rows * FEW_BESIDE).contains(&nodes) && Meta::read(&self.store)?.entry().is_some())
    }

    /// How many nodes there are at most.
    pub fn most_nodes(&self) -> Result<u64> {
        let of_page = (PAGE_SIZE / self.schema.layout.node_size).max(1);
        Ok(u64::from(self.store.block_count()?.saturating_sub(FIRST_FREE_BLOCK)) * of_page as u64)
    }
}

/// The beam of searches for nodes whose neighbours in a batch of `nodes` are near: how many of the
/// ef_construction nearest of all are among at most so many others, where these lie as the batch does. Where
/// it is of one region, fewer are. It is no less than a node has links, unless ef_construction is.
///
/// A search finds nodes of the batch that are on pages by now as well, and so fewer of the others. That was
/// not seen to matter: see ARCHITECTURE, "A batch".
fn small_beam(parameters: &Parameters, nodes: u32, others: u64) -> usize {
    let share = others as f64 / (others + u64::from(nodes)).max(1) as f64;
    let beam = f64::from(parameters.ef_construction) * share.min(SMALL_BEAM);
    (beam as usize).max(parameters.m0.into()).min(parameters.ef_construction.into())
}

struct Batch<'i, 'g, Store: PageStore, Graph> {
    index: &'i Index<Store>,
    graph: &'g Graph,
    linker: Linker<'i, Store>,
    /// Bytes for offers.
    memory: usize,
    /// Nodes of the index that the graph has taken over: the first ones.
    adopted: u32,
    /// By node, where it is; the node that has its rows, where one held its vector.
    places: Vec<Link>,
    /// By node, whether another node has its rows, which need not be of its level.
    left: Vec<bool>,
    /// Nodes that are published, in this order.
    published: Vec<u32>,
    /// The page that is being filled.
    page: NewPage,
    seeker: Seeker<'i, Store>,
    /// How many nodes are looked for from where neighbours in the batch are.
    beam: usize,
    /// What was found near nodes that are not on pages yet: where searches for others may begin.
    found: HashMap<u32, Vec<Link>>,
    /// Nodes of a group at most, which are searched for before threads choose their neighbours.
    together: usize,
    /// Nodes of the next group.
    group: usize,
    /// Pages whose lists are read before threads decide on all offers to them.
    pages_together: usize,
    threads: Threads<'g>,
    /// Room on new pages: for others, as a node by itself takes more units than one on a page of new ones.
    room: Vec<(u32, usize)>,
    /// Links from nodes of the batch to what has died meanwhile, with their layer.
    dead: Vec<(Link, u8, Link)>,
    /// Whether places that others have left are used, as long as there are any.
    uses_places: bool,
    /// Whether the graph is linked as it is: it has all nodes of the index, or that had none when the join
    /// began, or so few that they are linked to the batch and not the batch to them.
    is_whole: bool,
}

impl<'i, 'g, Store: PageStore, Graph: EditableGraph> Batch<'i, 'g, Store, Graph> {
    fn new(
        index: &'i Index<Store>,
        graph: &'g Graph,
        options: JoinOptions<'g>,
        searchers: usize,
    ) -> Result<Self> {
        let JoinOptions { adopted: mut places, is_dense, memory, pool, .. } = options;
        let meta = Meta::read(&index.store)?;
        let (len, adopted) = (graph.len() as usize, places.len());
        let nodes = index.most_nodes()?;
        let of_group = memory / 16 / searchers;
        let together = (of_group / (2 * graph.parameters().vector_size()).max(1)).clamp(1, GROUP);
        let (mut left, mut published) = (Vec::new(), Vec::new());
        places.try_reserve_exact(len - adopted)?;
        places.resize(len, Link::NONE);
        left.try_reserve_exact(len)?;
        left.resize(len, false);
        published.try_reserve_exact(len - adopted)?;
        Ok(Self {
            index,
            graph,
            linker: Linker::within(index, meta, memory / 8),
            // Threads choose among what is near one group of nodes, while what is near the next is found.
            memory: memory - 3 * (memory / 8),
            adopted: adopted as u32,
            places,
            left,
            published,
            page: NewPage::default(),
            beam: if is_dense {
                small_beam(graph.parameters(), graph.len(), nodes)
            } else {
                graph.parameters().ef_construction.into()
            },
            seeker: Seeker::new(index, JoinOptions::memory_of_searcher(memory, searchers)),
            found: HashMap::new(),
            together,
            group: together,
            pages_together: (memory / 16 / (2 * PAGE_SIZE)).clamp(1, GROUP),
            threads: Threads(pool),
            room: Vec::new(),
            dead: Vec::new(),
            uses_places: true,
            is_whole: adopted > 0 || meta.entry().is_none() || nodes * FIRST <= len as u64,
        })
    }

    /// A node as a neighbour on a layer; `None` where another node has its rows, which may not be there.
    fn neighbour(&self, node: u32, layer: u8) -> Option<Neighbour> {
        match self.places[node as usize].as_option() {
            None => Some(Neighbour::Waiting(node)),
            Some(place) => (layer == 0 || !self.left[node as usize]).then_some(Neighbour::Placed(place)),
        }
    }

    /// Step 5. The entry point of an index that had few nodes knows no node of the batch.
    fn become_entry_point(&mut self) -> Result<()> {
        let level = |node: &u32| self.graph.level(*node);
        let Some(highest) = self.published.iter().copied().max_by_key(level) else { return Ok(()) };
        let (index, node, level) = (self.index, self.places[highest as usize], self.graph.level(highest));
        if self.is_whole && self.adopted == 0 {
            let mut unit = index.store.begin();
            let mut meta = Meta::of_page(unit.lock(META_BLOCK)?)?;
            meta.set_entry(node, level);
            meta.write(unit.edit(META_BLOCK));
            unit.commit()?;
            index.store.stop_point(StopPoint::InsertEntryPointSet);
            return Ok(());
        }
        let Some(payload) = index.payload(node)? else { return Ok(()) };
        let query = query_of(index, &payload)?.with_notes(Expansions::default());
        let linker = Linker::new(index, query.meta);
        Insertion { linker, query, payload, level }.become_entry_point(node, true)
    }
}

#[cfg(test)]
mod tests {
    use super::small_beam;
    use crate::types::{ElementType, Metric, Parameters};

    #[test]
    fn small_beams() {
        let parameters = Parameters::plain(4, ElementType::F32, Metric::L2, 16, 100);
        let beam = |nodes, others| small_beam(&parameters, nodes, others);
        assert_eq!(beam(1000, 1000), 50);
        assert_eq!(beam(1000, 2000), 66);
        // A tenth of the nodes are the batch's, and its neighbours are near all the same.
        assert_eq!(beam(1000, 9000), 80);
        assert_eq!(beam(1, u64::MAX / 2), 80);
        // No fewer than a node has links, and no more than others look for.
        assert_eq!([beam(1000, 0), beam(0, 0), beam(u32::MAX, 1)], [32; 3]);
        assert_eq!(small_beam(&Parameters { ef_construction: 20, ..parameters }, 1000, 1000), 20);
    }
}
