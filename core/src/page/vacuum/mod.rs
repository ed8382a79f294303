//! Vacuum: removes dead rows, turns empty nodes into tombstones, and mends the graph around them.
//!
//! # Protocol
//!
//! One vacuum at a time works on an index (Postgres's lock on the table sees to it); inserts and scans go on.
//! Every change is one write unit, re-validated under its lock.
//!
//! A vacuum that makes tombstones is a **cycle** with a number, which is on the meta page before the first of
//! them is made. A cycle is unfinished until it is marked as repaired; the next vacuum finishes what a crash
//! or a cancellation left.
//!
//! 1. **Clean**, page by page: dead heap TIDs are removed from nodes with their overflow chains, and from
//!    aside tuples. Every heap TID is asked about exactly once. A node left without any is made a tombstone
//!    under its page's lock, where inserts add heap TIDs, too. A PENDING node is taken for one that a crash
//!    left behind: an insertion that still works on it sees the flag and begins again. Tombstones that nobody
//!    can be looking at any more are removed, and the tuples that they own; so are orphans, see `clean`. If
//!    there is no tombstone of an unfinished cycle, the vacuum ends here.
//! 2. **Mend**: every live node that links to such tombstones chooses again among its live neighbours and
//!    those of the tombstones, and offers itself to those that are new to it. A tombstone keeps vector and
//!    links, so that searches walk through it all the while.
//! 3. A dead **entry point** is replaced by a live node of the highest level, if there is one.
//! 4. **Reach**: live nodes that no path of layer 0 from the entry point leads to are put on one, see
//!    `reach`.
//! 5. The cycle is marked **repaired**, with the next transaction number of that moment. Once that is older
//!    than every snapshot, inserts and vacuums may reuse its tombstones; at once, if nobody holds a snapshot
//!    at that moment, or at a later one when a vacuum looks. Links that still lead there, because a crash
//!    came between two units, are told by their versions.
//!
//! Step 1 also finds out whether rows without a distance are left, see `presence`.
//!
//! Memory is bounded: when as many tombstones are known as fit, step 2 runs for them before step 1 goes on.

mod clean;
mod mend;
mod presence;
mod reach;

pub(super) use reach::count_unreachable;

use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::tuple::AsideKind;
use crate::page::query::access::{State, live_nodes};
use crate::page::query::index::Index;
use crate::page::store::{PageStore, Phase, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashSet;

/// Bytes that a tombstone costs while it is known, at worst: when the hash set is moved to one of twice its
/// size.
const TOMBSTONE_BYTES: usize = 32;

/// What a vacuum did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumStatistics {
    /// Pages of the index when its last pass began.
    pub pages: u32,
    /// Heap TIDs that were asked about and kept.
    pub heap_tids_kept: u64,
    /// Heap TIDs removed.
    pub heap_tids_removed: u64,
    /// Nodes that became tombstones.
    pub tombstones_made: u64,
    /// Old tombstones whose slots were freed.
    pub tombstones_removed: u64,
    /// Tuples of nodes that are gone, or were never published, whose slots were freed.
    pub orphans_removed: u64,
    /// Lists of links that were mended.
    pub lists_mended: u64,
    /// Links that led nowhere, or to tombstones, and were replaced or removed.
    pub dead_links: u64,
    /// Links to where another link of the same list leads, or to the node itself, that were replaced or
    /// removed.
    pub duplicate_links: u64,
    /// Live nodes that could not be reached and were linked again.
    pub nodes_relinked: u64,
}

/// Removes the rows for which `is_dead` is true; it is called once for each heap TID that was in the index at
/// the beginning, without any lock. `memory`, here and below, is how many bytes the list of tombstones may
/// take; where it is too small for all of them, the links of the index are read more than once.
pub fn bulk_delete<Store: PageStore>(
    index: &Index<Store>,
    memory: usize,
    is_dead: &mut dyn FnMut(HeapTid) -> bool,
) -> Result<VacuumStatistics> {
    let mut vacuum = Vacuum::begin(index, memory)?;
    vacuum.advance_reusable_cycle()?;
    vacuum.run(is_dead)?;
    Ok(vacuum.statistics)
}

/// Ends a vacuum, whether or not a bulk deletion came before: finishes an unfinished cycle and frees the
/// tombstones that may be reused by now. `None` when there was nothing to do.
pub fn cleanup<Store: PageStore>(index: &Index<Store>, memory: usize) -> Result<Option<VacuumStatistics>> {
    let mut vacuum = Vacuum::begin(index, memory)?;
    let unfinished = vacuum.meta.cycle != vacuum.meta.repaired_cycle || vacuum.is_presence_unknown()?;
    if !vacuum.advance_reusable_cycle()? && !unfinished {
        return Ok(None);
    }
    vacuum.run(&mut |_| false)?;
    Ok(Some(vacuum.statistics))
}

/// Mends the whole graph: what a vacuum would, and every list with a link that leads nowhere, whatever left
/// it there; no node stays unreachable.
pub fn repair<Store: PageStore>(index: &Index<Store>, memory: usize) -> Result<VacuumStatistics> {
    let mut vacuum = Vacuum::begin(index, memory)?;
    vacuum.advance_reusable_cycle()?;
    vacuum.run(&mut |_| false)?;
    if vacuum.statistics.tombstones_made > 0 {
        // Tuples of what an insertion had begun, on pages before that of its node.
        vacuum.run(&mut |_| false)?;
    }
    vacuum.mend_all()?;
    vacuum.index.store.stop_point(StopPoint::RepairAllMended);
    if vacuum.replace_entry_point(true)? {
        vacuum.statistics.nodes_relinked += reach::relink_unreachable(vacuum.index)?;
    }
    Ok(vacuum.statistics)
}

/// Links every live node that no path of layer 0 leads to from the entry point, as the last step of a vacuum
/// does. Returns how many there were.
///
/// A build whose graphs were joined ends so, too. Under inner product nobody wants nodes with small norms,
/// half of all perhaps, and to insert them again takes a while; but by one link to each, recall was 0.004
/// less.
pub fn connect<Store: PageStore>(index: &Index<Store>) -> Result<u64> {
    reach::relink_unreachable(index)
}

struct Vacuum<'i, Store: PageStore> {
    index: &'i Index<Store>,
    meta: Meta,
    /// Whether this vacuum has written its cycle's number.
    cycle_begun: bool,
    /// Tombstones of unfinished cycles, to which links are to be mended.
    tombstones: HashSet<Link>,
    /// How many of them may be known at a time.
    most_tombstones: usize,
    /// Rows without a distance that stay.
    met: Met,
    /// Memory for vectors that are looked at.
    decoded: Vec<u8>,
    statistics: VacuumStatistics,
}

impl<'i, Store: PageStore> Vacuum<'i, Store> {
    fn begin(index: &'i Index<Store>, memory: usize) -> Result<Self> {
        Ok(Self {
            index,
            meta: Meta::read(&index.store)?,
            cycle_begun: false,
            tombstones: HashSet::new(),
            most_tombstones: (memory / TOMBSTONE_BYTES).max(1),
            met: Met::default(),
            decoded: Vec::new(),
            statistics: VacuumStatistics::default(),
        })
    }

    fn run(&mut self, is_dead: &mut dyn FnMut(HeapTid) -> bool) -> Result<()> {
        let store = &self.index.store;
        self.begin_clearing()?;
        self.statistics.pages = store.block_count()?;
        for (block, page) in store.pages(HINTS_BLOCK + 1..self.statistics.pages) {
            store.progress(Phase::CleaningPages, block.into(), self.statistics.pages.into());
            self.clean_page(block, page?, is_dead)?;
            if self.tombstones.len() >= self.most_tombstones {
                self.mend_around_tombstones()?;
                self.tombstones.clear();
            }
        }
        self.end_clearing()?;
        if self.meta.cycle == self.meta.repaired_cycle {
            return Ok(());
        }
        self.index.store.stop_point(StopPoint::VacuumAllCleaned);
        if !self.tombstones.is_empty() {
            self.mend_around_tombstones()?;
        }
        self.index.store.stop_point(StopPoint::VacuumAllMended);
        if self.replace_entry_point(false)? {
            self.index.store.stop_point(StopPoint::VacuumEntryPointReplaced);
            self.statistics.nodes_relinked = reach::relink_unreachable(self.index)?;
            self.index.store.stop_point(StopPoint::VacuumRelinked);
        }
        self.finish_cycle()
    }

    /// Changes the meta page.
    fn change_meta(&mut self, change: impl FnOnce(&mut Meta)) -> Result<()> {
        let mut unit = self.index.store.begin();
        let mut meta = Meta::of_page(unit.lock(META_BLOCK)?)?;
        change(&mut meta);
        meta.write(unit.edit(META_BLOCK));
        unit.commit()?;
        self.meta = meta;
        Ok(())
    }

    /// Lets everybody reuse the tombstones of repaired cycles once no snapshot can be looking at them. True
    /// when there are new ones.
    fn advance_reusable_cycle(&mut self) -> Result<bool> {
        let Meta { repaired_cycle, reusable_cycle, repaired_transaction, .. } = self.meta;
        let store = &self.index.store;
        let forgotten = reusable_cycle != repaired_cycle
            && (store.is_older_than_all_snapshots(repaired_transaction) || store.is_alone());
        if forgotten {
            self.change_meta(|meta| meta.reusable_cycle = repaired_cycle)?;
        }
        Ok(forgotten)
    }

    /// Called before a tombstone is made.
    fn begin_cycle(&mut self) -> Result<()> {
        if !self.cycle_begun {
            self.change_meta(|meta| meta.cycle += 1)?;
            self.cycle_begun = true;
            self.index.store.stop_point(StopPoint::VacuumBegun);
        }
        Ok(())
    }

    fn finish_cycle(&mut self) -> Result<()> {
        let Meta { cycle, repaired_cycle, reusable_cycle, repaired_transaction, .. } = self.meta;
        let store = &self.index.store;
        // What begins from now on is led to a tombstone by no link.
        let transaction = store.next_transaction();
        // Payloads apart from their nodes are not free before a vacuum has removed the nodes: `cleanup`
        // looks, and does it.
        let reusable_cycle = if self.index.schema.layout.payload_offset.is_some() && store.is_alone() {
            cycle
        } else if store.is_older_than_all_snapshots(repaired_transaction) {
            repaired_cycle
        } else {
            reusable_cycle
        };
        self.change_meta(|meta| {
            meta.repaired_cycle = cycle;
            meta.repaired_transaction = transaction;
            meta.reusable_cycle = reusable_cycle;
        })?;
        self.index.store.stop_point(StopPoint::VacuumFinished);
        Ok(())
    }

    /// Step 3. False when the graph has no live node. A live entry point stays, unless it shall be of the
    /// `highest` level.
    fn replace_entry_point(&mut self, highest: bool) -> Result<bool> {
        loop {
            let seen = Meta::read(&self.index.store)?;
            let live = match seen.entry() {
                Some(entry) => self.index.state(entry.node)? == State::Live,
                None => false,
            };
            if live && !highest {
                return Ok(true);
            }
            let best = self.highest_live_node()?;
            if live && best.is_some_and(|(level, _)| u16::from(level) == seen.entry_level) {
                return Ok(true);
            }
            let mut unit = self.index.store.begin();
            let mut now = Meta::of_page(unit.lock(META_BLOCK)?)?;
            if now.entry_generation != seen.entry_generation {
                continue;
            }
            let (level, node) = best.unwrap_or((0, Link::NONE));
            if (node, u16::from(level)) != (now.entry_point, now.entry_level) {
                now.set_entry(node, level);
                now.write(unit.edit(META_BLOCK));
                unit.commit()?;
            }
            return Ok(best.is_some());
        }
    }

    fn highest_live_node(&self) -> Result<Option<(u8, Link)>> {
        let mut best = None;
        for (block, page) in self.index.data_pages()? {
            for node in live_nodes(self.index, &*page?, block)? {
                best = best.max(Some((node.level, node.link)));
            }
        }
        Ok(best)
    }
}

/// Kinds of rows that stay in the index, as far as a pass has met them.
#[derive(Default)]
struct Met(Vec<AsideKind>);

impl Met {
    fn add(&mut self, kind: AsideKind) {
        if !self.contains(kind) {
            self.0.push(kind);
        }
    }

    fn contains(&self, kind: AsideKind) -> bool {
        self.0.contains(&kind)
    }
}
