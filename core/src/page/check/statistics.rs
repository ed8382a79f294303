//! What an index holds, counted.

use crate::code::Moments;
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::slotted::PageKind;
use crate::page::format::tuple::{AsideKind, TupleKind};
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::page::vacuum::count_unreachable;
use crate::types::{Link, MAX_LEVEL, PAGE_SIZE, Result};
use xxhash_rust::xxh3::xxh3_64;

/// Pages whose nodes' vectors are sampled for the drift, about.
const SAMPLED_PAGES: u64 = 1024;
/// The drift from which on better codes are worth a REINDEX.
const HARMFUL_DRIFT: f64 = 0.25;

/// Counts over a whole index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Live nodes by level.
    pub nodes_by_level: [u64; MAX_LEVEL as usize + 1],
    /// Nodes without rows, waiting to be reused.
    pub tombstones: u64,
    /// Live nodes that no path of links leads to from the entry point: a search does not find them, a scan to
    /// the end does.
    pub unreachable_nodes: u64,
    /// Nodes whose insertion has not been published.
    pub pending_nodes: u64,
    /// Heap TIDs of rows in the graph.
    pub heap_tids: u64,
    /// Rows outside of the graph because their vector is zero.
    pub zero_vectors: u64,
    /// Rows outside of the graph because they are NULL.
    pub nulls: u64,
    /// Meta, hints and parameter pages.
    pub parameter_pages: u64,
    /// Pages of tuples.
    pub data_pages: u64,
    /// Pages that nothing was written to: a crash after extension leaves them.
    pub new_pages: u64,
    /// Bytes that new tuples may have on pages of tuples and new pages.
    pub free_bytes: u64,
    /// Bytes of all pages.
    pub bytes: u64,
    /// How far the vectors have moved away from the centroid of the codes, in units of their variance: the
    /// square of an estimate's error is greater by this share than it would be after a REINDEX. From a
    /// sample. `None` in an index without codes, and where the vectors do not differ.
    pub centroid_drift: Option<f64>,
}

impl Statistics {
    /// Live nodes.
    pub fn nodes(&self) -> u64 {
        self.nodes_by_level.iter().sum()
    }

    /// Whether the index would search notably better after a REINDEX, which takes a new centroid.
    pub fn reindex_recommended(&self) -> bool {
        self.centroid_drift.is_some_and(|drift| drift > HARMFUL_DRIFT)
    }
}

/// Counts what is in an index: all pages are read in their order, and those of the graph once more in the
/// order of its links. Others may change them meanwhile: the counts are not those of one moment. Damaged
/// pages are an error.
pub fn statistics<Store: PageStore>(index: &Index<Store>) -> Result<Statistics> {
    let blocks = index.store.block_count()?;
    let mut counts = Statistics {
        nodes_by_level: [0; MAX_LEVEL as usize + 1],
        tombstones: 0,
        unreachable_nodes: 0,
        pending_nodes: 0,
        heap_tids: 0,
        zero_vectors: 0,
        nulls: 0,
        parameter_pages: 0,
        data_pages: 0,
        new_pages: 0,
        free_bytes: 0,
        bytes: u64::from(blocks) * PAGE_SIZE as u64,
        centroid_drift: None,
    };
    let mut sample = Sample::new(index, blocks);
    for (block, page) in index.store.pages(0..blocks) {
        let page = page?;
        if page.is_new() {
            counts.new_pages += 1;
            counts.free_bytes += crate::page::format::slotted::MAX_TUPLE_SIZE as u64;
            continue;
        }
        if page.kind(block)? != PageKind::Data {
            counts.parameter_pages += 1;
            continue;
        }
        counts.data_pages += 1;
        counts.free_bytes += page.free_space() as u64;
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&index.schema.layout, &page, block, slot)? {
                counts.add_node(&node);
                sample.note(&node, block, slot);
            } else if let Some(owned) = Owned::in_slot(&page, block, slot)? {
                counts.add_owned(&owned);
            }
        }
        drop(page);
        sample.read_noted(index)?;
    }
    counts.centroid_drift = sample.drift(index);
    counts.unreachable_nodes = count_unreachable(index)?;
    Ok(counts)
}

/// The vectors of live nodes on some pages.
struct Sample {
    /// `None` in an index without codes.
    moments: Option<Moments>,
    /// One page in so many is sampled, by a hash of its number: what lies on a page may repeat itself at
    /// regular distances.
    one_in: u64,
    noted: Vec<Link>,
}

impl Sample {
    fn new<Store>(index: &Index<Store>, blocks: u32) -> Self {
        let moments = index.schema.quantizer.is_some().then(|| Moments::new(&index.schema.layout.parameters));
        Self { moments, one_in: (u64::from(blocks) / SAMPLED_PAGES).max(1), noted: Vec::new() }
    }

    fn note(&mut self, node: &Node, block: u32, slot: u16) {
        let is_sampled = || xxh3_64(&block.to_le_bytes()).is_multiple_of(self.one_in);
        if self.moments.is_some() && node.is_live() && is_sampled() {
            self.noted.push(Link { block, slot, version: node.header().version });
        }
    }

    /// Reads the vectors of the nodes that were noted. No page is held, as payloads may lie on other pages.
    fn read_noted<Store: PageStore>(&mut self, index: &Index<Store>) -> Result<()> {
        for node in self.noted.drain(..) {
            if let Some((moments, payload)) = self.moments.as_mut().zip(index.payload(node)?) {
                moments.add(&index.schema.decode(&payload));
            }
        }
        Ok(())
    }

    fn drift<Store>(&self, index: &Index<Store>) -> Option<f64> {
        self.moments.as_ref()?.drift(index.schema.quantizer.as_deref()?.centroid())
    }
}

impl Statistics {
    fn add_node(&mut self, node: &Node) {
        let header = node.header();
        self.heap_tids += u64::from(header.tid_count);
        if header.is_tombstone() {
            self.tombstones += 1;
        } else if header.is_pending() {
            self.pending_nodes += 1;
        } else {
            self.nodes_by_level[usize::from(header.level)] += 1;
        }
    }

    fn add_owned(&mut self, owned: &Owned) {
        let header = owned.header();
        let count = u64::from(header.count);
        if header.kind == TupleKind::HeapTids as u8 {
            self.heap_tids += count;
        } else if header.kind == TupleKind::Aside as u8 {
            match AsideKind::from_code(header.tag) {
                Some(AsideKind::ZeroVector) => self.zero_vectors += count,
                Some(AsideKind::Null) => self.nulls += count,
                None => {}
            }
        }
    }
}
