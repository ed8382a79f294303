//! Several indexes searched as one for the same query, such as those of a table's partitions.
//!
//! # Rounds
//!
//! A federation does for its scans together what [`Scan`](super::Scan) does for itself. A round of the walk
//! finds `ef_search` results in all graphs together: the scans share a [`Pool`] of the best distances, and
//! none of them goes on for more than these and its share (below). Each gives its results of the round. When
//! all of those have been given, merged by their distances, the next round, for as many as all before, goes
//! on from what the last one left out. What it finds nearer than a row that any of the scans has given is
//! held back, so that the merged first run is sorted. When the graphs are exhausted, or the scans have given
//! `max_tuples` rows or use up the memory together, their second runs follow, to be merged as well.
//!
//! So nothing depends on how many rows are wanted, and no row is lost or given twice, as each scan keeps its
//! own promise.
//!
//! # Order of the work
//!
//! The scans take their steps by turns: all that some of them will read is asked for before the first of them
//! reads, so that they wait for memory or disk together; and the pool soon holds results of all graphs, so
//! that those that have little to offer end early.
//!
//! # The share
//!
//! A graph of few nodes is searched well enough with a lower `ef`, but not with one that is lower in
//! proportion: even where none of its nodes is among the nearest of all, that has to be found out. With
//! `ef_search / √graphs + 1` results each, 1 to 64 graphs have the recall of one at `ef_search`.
//! docs/PARTITIONS.md says what that costs, and what did not make it cheaper.

use super::options::{IterativeScan, ScanOptions, further_ef};
use super::order::Bounds;
use super::walk::{Member, State, Walk};
use crate::graph::{Board, Candidate, NodeStore, Pool};
use crate::page::store::PageStore;
use crate::types::{self, Error, Link};
use std::cmp::Ordering;
use std::collections::TryReserveError;
use std::result::Result;

/// Scans that take a step together: as much as a processor can ask of its memory at a time.
const GROUP: usize = 16;

/// Times that processes look what the others have found while each of them expands `ef_search` nodes.
const EXCHANGES: usize = 16;

/// What scans that are searched as one have in common.
pub struct Federation {
    options: ScanOptions,
    pool: Pool,
    rounds: u64,
}

/// A failure, with the number of the scan among those that were given.
pub type Failure = (usize, Error);

impl Federation {
    /// For scans with these options, of which [`ScanOptions::members`] is their number.
    pub fn new(options: ScanOptions) -> Result<Self, TryReserveError> {
        Ok(Self { options, pool: Pool::new(options.ef_search)?, rounds: 0 })
    }

    /// Searches the graphs of scans for the first round, which [`Federation::next_round`] gives then. They
    /// need not join at once: some may join when others have been searched, and some may be searched by
    /// federations of other processes, with which a board of `ef_search` distances for each is shared.
    pub fn join<Store: PageStore>(
        &mut self,
        scans: &mut [&mut Walk<Store>],
        mut board: Option<&mut Board>,
    ) -> Result<(), Failure> {
        for (number, scan) in scans.iter_mut().enumerate() {
            scan.enter().map_err(|error| (number, error))?;
        }
        let expanded =
            |scans: &[&mut Walk<Store>]| scans.iter().map(|scan| scan.search.stats.expanded).sum::<u64>();
        let (mut exchanged, interval) = (expanded(scans), self.options.ef_search.div_ceil(EXCHANGES) as u64);
        self.walk(scans, |scans, pool| {
            if let Some(board) = board.as_deref_mut()
                && expanded(scans) >= exchanged + interval
            {
                exchanged = expanded(scans);
                pool.exchange(board);
            }
            true
        })
    }

    /// The next round, after all have joined and all rows of all scans have been given. Afterwards each scan
    /// gives its share of it. When there are no more rounds the scans are members ([`Walk::is_member`]) no
    /// longer, and give their second runs, if they have any. The search ends early when a round is `wanted`
    /// no more.
    pub fn next_round<Store: PageStore>(
        &mut self,
        scans: &mut [&mut Walk<Store>],
        mut wanted: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        let given = scans.iter().map(|scan| scan.stats.first_run as usize).sum();
        let goes_on = self.rounds == 0 || self.may_go_on(scans, given);
        if goes_on && self.rounds > 0 {
            let [ef_search, max_tuples] = [self.options.ef_search, self.options.max_tuples]
                .map(|of_all| self.part(of_all, scans.len()));
            let ef = further_ef(ef_search, given, max_tuples);
            self.pool = Pool::new(ef).map_err(|error| (0, error.into()))?;
            for (number, scan) in scans.iter_mut().enumerate() {
                scan.reopen(&mut self.pool).map_err(|error| (number, error))?;
            }
            self.walk(scans, |_, _| wanted())?;
        }
        self.rounds += u64::from(goes_on);
        if !(goes_on && self.hand_out(scans)?) {
            for scan in scans {
                scan.leave();
            }
        }
        Ok(())
    }

    /// Rounds so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How far the last round went, as the operator gives it: nothing nearer than this was left out. `None`
    /// where that is all that can be reached.
    pub fn searched(&self) -> Option<f64> {
        self.pool.bound()
    }

    /// What so many of the scans may use of something that is meant for all of them.
    fn part(&self, whole: usize, scans: usize) -> usize {
        (whole as f64 * scans as f64 / self.options.members as f64).ceil() as usize
    }

    /// Whether a round may follow after the first, when so many rows were given.
    fn may_go_on<Store: PageStore>(&self, scans: &[&mut Walk<Store>], given: usize) -> bool {
        let remembered: usize = scans.iter().map(|scan| scan.remembered()).sum();
        self.options.iterative != IterativeScan::Off
            && given < self.part(self.options.max_tuples, scans.len())
            && remembered < self.options.memory
    }

    /// Searches the graphs as far as they may have something to offer, and as long as `go_on`, which is asked
    /// after each step.
    fn walk<Store: PageStore>(
        &mut self,
        scans: &mut [&mut Walk<Store>],
        mut go_on: impl FnMut(&[&mut Walk<Store>], &mut Pool) -> bool,
    ) -> Result<(), Failure> {
        let mut active: Vec<usize> = (0..scans.len()).collect();
        while !active.is_empty() && go_on(scans, &mut self.pool) {
            let beam = scans[active[0]].query.beam().div_ceil(active.len());
            let mut still_active: Vec<usize> = Vec::with_capacity(active.len());
            for group in active.chunks(GROUP) {
                let begin = still_active.len();
                still_active.extend(group.iter().filter(|scan| scans[**scan].choose(beam, &self.pool)));
                for scan in &still_active[begin..] {
                    scans[*scan].prefetch();
                }
                for scan in &still_active[begin..] {
                    scans[*scan].expand(&mut self.pool).map_err(|error| (*scan, error))?;
                }
            }
            active = still_active;
        }
        Ok(())
    }

    /// Hands out what the graphs gave; false when that is nothing.
    fn hand_out<Store: PageStore>(&mut self, scans: &mut [&mut Walk<Store>]) -> Result<bool, Failure> {
        let given = scans.iter().map(|scan| scan.bounds.high).max_by(f64::total_cmp);
        let mut found = false;
        for (number, scan) in scans.iter_mut().enumerate() {
            found |= scan.take_share(&self.pool, given).map_err(|error| (number, error))?;
        }
        Ok(found)
    }
}

impl<Store: PageStore> Walk<Store> {
    /// Whether a federation does its walk: when it says that it has no further row, it waits for the next
    /// round.
    pub fn is_member(&self) -> bool {
        self.member.is_some()
    }

    /// The least that the operator may give for its next row, as far as that is known without reading the
    /// row; `None` when it is cut or in its second run.
    pub fn next_value(&self) -> Option<f64> {
        let bounds = if self.heap_tids.is_empty() { self.round.peek()? } else { self.bounds };
        Some(self.query.index.schema.layout.parameters.metric.operator_value(bounds.low))
    }

    /// Prepares the search of the topmost layer.
    fn enter(&mut self) -> types::Result<()> {
        if let Some(member) = self.member
            && let Some(entry) = self.query.entry_point()?
        {
            self.enter_layer(member, entry.level, Candidate::unknown(entry.node));
        }
        Ok(())
    }

    fn enter_layer(&mut self, member: Member, layer: u8, entry: Candidate<Link>) {
        self.search.begin(&[entry]);
        self.member = Some(Member { layer, entry: Some(entry), ..member });
    }

    /// Prepares a further round.
    fn reopen(&mut self, pool: &mut Pool) -> types::Result<()> {
        match self.member {
            Some(Member { share, .. }) => self.search.reopen(share, Some(pool)),
            None => Ok(()),
        }
    }

    /// Chooses the nodes that it expands next, on the highest layer that it is not yet done with. False when
    /// it is done with all.
    fn choose(&mut self, beam: usize, pool: &Pool) -> bool {
        loop {
            let Some(member) = self.member else { return false };
            let Member { share, layer, entry: Some(entry) } = member else { return false };
            let (beam, ef, pool) = if layer > 0 { (1, 1, None) } else { (beam, share, Some(pool)) };
            if self.search.choose(&self.query, layer, beam, ef, pool) {
                return true;
            }
            if layer == 0 {
                return false;
            }
            // A layer of tombstones alone gives no result: its entry serves the next layer as well.
            let entry = self.search.take_nearest().unwrap_or(entry);
            self.enter_layer(member, layer - 1, entry);
        }
    }

    /// Asks for the memory of the nodes that were chosen.
    fn prefetch(&self) {
        if let Some(Member { layer, .. }) = self.member {
            self.search.prefetch(&self.query, layer);
        }
    }

    /// Expands the nodes that were chosen.
    fn expand(&mut self, pool: &mut Pool) -> types::Result<()> {
        match self.member {
            Some(Member { share, layer: 0, .. }) => self.search.expand(&self.query, 0, share, Some(pool)),
            Some(Member { layer, .. }) => self.search.expand(&self.query, layer, 1, None),
            None => Ok(()),
        }
    }

    /// Takes its results of a round; false when there are none. `given` is the greatest distance that any
    /// scan has given.
    fn take_share(&mut self, pool: &Pool, given: Option<f64>) -> types::Result<bool> {
        if !self.is_member() {
            return Ok(false);
        }
        if let Some(given) = given.filter(|given| self.bounds.high.total_cmp(given) == Ordering::Less) {
            self.bounds = Bounds::exact(given);
        }
        let results = self.search.take_results(&self.query, self.options.ef_search, Some(pool))?;
        let found = !results.is_empty();
        if found {
            self.begin_round(results)?;
        }
        Ok(found)
    }

    /// Ends, as there is no further round.
    fn leave(&mut self) {
        self.state = State::End;
        self.member = None;
    }
}
