//! The first run of a scan: a walk of the graph that goes on from round to round.

use super::hit::{ColumnVectors, Hit, Next};
use super::options::{IterativeScan, ScanOptions, ScanStats, SecondRunReason, further_ef, share};
use super::order::{Bounds, Waiting};
use crate::graph::{Candidate, LayerSearch, NodeStore, Purpose, descend};
use crate::page::format::meta::Meta;
use crate::page::query::heap_tids::HeapTids;
use crate::page::query::index::Index;
use crate::page::query::notes::ScanNotes;
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashSet;
use std::cmp::Ordering;

/// Bytes that a node costs while the walk remembers it: its place in a hash set that is at worst half full,
/// and a candidate.
const REMEMBERED_BYTES: usize = 48;

/// Rows whose pages of the table are asked for when the first row is given: the usual LIMIT. Each time they
/// have been given, twice as many follow.
const ROWS_AHEAD: usize = 10;

/// The first run of a scan.
pub struct Walk<Store: PageStore> {
    pub(super) query: PagedQuery<Store, ScanNotes>,
    pub(super) search: LayerSearch<PagedQuery<Store, ScanNotes>>,
    pub(super) options: ScanOptions,
    pub(super) state: State,
    /// Set while a federation does its search.
    pub(super) member: Option<Member>,
    /// The results of this round that are still to be given.
    pub(super) round: Waiting<Link>,
    /// Rows of this round that were not asked for, in reverse.
    upcoming: Vec<HeapTid>,
    /// Rows to be read before more of the table is asked for, and how much was asked for last.
    ahead: usize,
    batch: usize,
    /// Nodes of this round that were measured and wait again: their rows have been read.
    measured: HashSet<Link>,
    /// The heap TIDs of the node that is being given.
    pub(super) heap_tids: HeapTids,
    /// The bounds of the distance of the node that was given last.
    pub(super) bounds: Bounds,
    /// Nodes that were given.
    pub(super) given: HashSet<Link>,
    pub(super) stats: ScanStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Before the first round.
    Start,
    /// Rows of a round are given.
    Round,
    /// There is no further round.
    End,
}

/// What a walk of a federation is at.
#[derive(Clone, Copy)]
pub(super) struct Member {
    /// Results that it looks for at least.
    pub share: usize,
    /// The layer that it walks.
    pub layer: u8,
    /// Where it has entered that layer.
    pub entry: Option<Candidate<Link>>,
}

impl<Store: PageStore> Walk<Store> {
    /// Before the first round. Without a vector there is none.
    pub(super) fn new(index: Index<Store>, meta: Meta, vector: Option<&[u8]>, options: ScanOptions) -> Self {
        let query = PagedQuery::new(index, meta, vector, ScanNotes::default());
        let share = share(options.ef_search, options.members);
        let resumable = options.iterative != IterativeScan::Off;
        let search = query.search(Purpose::Scan { resumable }, share);
        let is_member = vector.is_some() && options.members > 1;
        Self {
            query,
            search,
            options,
            state: if vector.is_some() { State::Start } else { State::End },
            member: is_member.then_some(Member { share, layer: 0, entry: None }),
            round: Waiting::default(),
            upcoming: Vec::new(),
            ahead: 0,
            batch: ROWS_AHEAD.div_ceil(options.members),
            measured: HashSet::new(),
            heap_tids: HeapTids::default(),
            bounds: Bounds::LEAST,
            given: HashSet::new(),
            stats: ScanStats::default(),
        }
    }

    /// What the scan did so far, its second run left out.
    pub(super) fn stats(&self) -> ScanStats {
        let stale_links = self.stats.stale_links + self.query.notes().stale.count;
        ScanStats { search: self.search.stats, stale_links, ..self.stats }
    }

    /// The index's pages.
    pub(super) fn store(&self) -> &Store {
        &self.query.index.store
    }

    /// Bytes that the walk uses, about.
    pub(super) fn remembered(&self) -> usize {
        (self.search.remembered() + self.given.len()) * REMEMBERED_BYTES
    }

    /// The next row.
    pub(super) fn next(&mut self, table: &mut impl ColumnVectors) -> Result<Next> {
        loop {
            if self.state == State::Round
                && let Some(hit) = self.next_of_round(table)?
            {
                return Ok(Next::Row(hit));
            }
            if self.member.is_some() {
                return Ok(Next::RoundEnd);
            }
            match self.state {
                State::Start => {
                    let results = self.first_round()?;
                    self.begin_round(results)?;
                }
                State::Round => {
                    let results = self.further_round()?;
                    if results.is_empty() { self.state = State::End } else { self.begin_round(results)? }
                }
                State::End => return Ok(Next::End),
            }
        }
    }

    /// Whether distances are defined.
    pub(super) fn is_ranked(&self) -> bool {
        self.query.is_ranked
    }

    /// Forgets what is needed no more when the walk has ended: the sorter of the second run needs the memory.
    pub(super) fn free(&mut self) {
        let stats = self.search.stats;
        self.search = self.query.search(Purpose::Scan { resumable: false }, 0);
        self.search.stats = stats;
    }

    fn first_round(&mut self) -> Result<Vec<Candidate<Link>>> {
        let Some(entry) = self.query.entry_point()? else { return Ok(Vec::new()) };
        let entries = descend(&self.query, &mut self.search, entry, 0)?;
        self.search.run(&self.query, &entries, 0, self.options.ef_search)
    }

    /// Why it has ended.
    pub(super) fn end_reason(&self) -> SecondRunReason {
        let ScanOptions { max_tuples, memory, .. } = self.options;
        if !self.is_ranked() {
            SecondRunReason::NoDistance
        } else if self.stats.first_run as usize >= max_tuples {
            SecondRunReason::MaxTuples
        } else if self.remembered() >= memory {
            SecondRunReason::Memory
        } else {
            SecondRunReason::Exhausted
        }
    }

    /// The results of a further round; none where there is none.
    fn further_round(&mut self) -> Result<Vec<Candidate<Link>>> {
        let ScanOptions { iterative, max_tuples, memory, ef_search, .. } = self.options;
        let given = self.stats.first_run as usize;
        let goes_on = iterative != IterativeScan::Off && given < max_tuples && self.remembered() < memory;
        let ef = further_ef(ef_search, given, max_tuples);
        if goes_on { self.search.resume(&self.query, 0, ef) } else { Ok(Vec::new()) }
    }

    /// Begins to give the results of a round.
    pub(super) fn begin_round(&mut self, results: Vec<Candidate<Link>>) -> Result<()> {
        self.state = State::Round;
        self.stats.rounds += 1;
        self.upcoming.clear();
        self.upcoming.try_reserve(results.len())?;
        let notes = self.query.notes();
        let rows = results.iter().rev().filter_map(|result| notes.only_rows.get(&result.node));
        self.upcoming.extend(rows);
        drop(notes);
        self.ahead = 0;
        self.measured.clear();
        self.round.reserve(results.len())?;
        self.round.extend(results.into_iter().map(|result| (Bounds::of(&result), result.node)));
        Ok(())
    }

    /// Asks for the rows of the table that are given next.
    fn read_ahead(&mut self, table: &mut impl ColumnVectors) {
        if self.ahead == 0 && !self.upcoming.is_empty() {
            let mut rows = self.upcoming.split_off(self.upcoming.len().saturating_sub(self.batch));
            rows.reverse();
            table.prefetch(&rows);
            self.ahead = rows.len();
            self.batch = self.batch.saturating_mul(2);
        }
        self.ahead = self.ahead.saturating_sub(1);
    }

    /// The next row of this round. Results that come too late for the order of the run are left to the second
    /// one.
    fn next_of_round(&mut self, table: &mut impl ColumnVectors) -> Result<Option<Hit>> {
        loop {
            if let Some(heap_tid) = self.heap_tids.next(&self.query.index)? {
                self.stats.first_run += 1;
                return Ok(Some(self.bounds.hit(heap_tid)));
            }
            let Some((bounds, node)) = self.round.pop() else { return Ok(None) };
            let only_row = self.query.notes().only_rows.get(&node).copied();
            if only_row.is_some() && !self.measured.remove(&node) {
                self.read_ahead(table);
            }
            let late = bounds.low.total_cmp(&self.bounds.high) == Ordering::Less;
            if late && self.options.iterative == IterativeScan::StrictOrder {
                continue;
            }
            match only_row {
                Some(heap_tid) => self.heap_tids.set_one(heap_tid),
                // The node is read again; by now it may be gone.
                None => self.heap_tids.set_node(node),
            }
            if bounds.overlap(self.round.peek()) {
                let distance = self.measure_node(table)?;
                self.measured.try_reserve(1)?;
                self.measured.insert(node);
                self.round.extend(distance.map(|distance| (Bounds::exact(distance), node)));
                continue;
            }
            self.given.try_reserve(1)?;
            self.given.insert(node);
            self.bounds = bounds;
        }
    }

    /// The distance of the rows of the node whose heap TIDs come next, which are forgotten. Their vectors are
    /// equal: any of them that is visible tells it.
    fn measure_node(&mut self, table: &mut impl ColumnVectors) -> Result<Option<f64>> {
        while let Some(heap_tid) = self.heap_tids.next(&self.query.index)? {
            self.stats.measured_rows += 1;
            if let Some(distance) = table.distance(heap_tid) {
                self.heap_tids.clear();
                return Ok(Some(distance));
            }
        }
        Ok(None)
    }
}
