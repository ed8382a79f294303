//! The nearest rows that pass: one walk that knows how many rows are wanted, and tests each where it lies.
//!
//! # The rule
//!
//! The walk begins as a search of `ef_search` without conditions. Expanded nodes are tested in the order of
//! their distances, as far as they are nearer than all that is left to be expanded. Those that fail are
//! walked through. Let `rank` be the place of the last row that is wanted among all that were tested. The
//! walk ends when what is left to be expanded is further than this row, and [`reach`] times `rank` nodes have
//! been expanded. So it looks as far beyond the last row as the search without conditions does, whatever
//! share of rows passes, and no more than `rank` rows are tested.
//!
//! Rows come sorted. A caller who wants more than was said gets them by further rounds, each for twice as
//! many as all before, and at last by a second run, as [`Scan`](super::Scan) gives them.
//!
//! # When not to walk
//!
//! Where few rows pass, or those that do lie far away, ranking all of them costs less. The caller says what
//! that costs. Once the walk has cost as much, or what it has seen lets it foresee that this will cost less
//! than the rest of the walk, it gives up ([`Nearest::next_row`] gives [`Answer::Dear`]). It has given
//! nothing then.

use super::hit::{Hit, HitClass, RunSorter, TestedTable};
use super::options::{IterativeScan, ScanOptions, ScanStats};
use super::order::Bounds;
use super::second_run::SecondRun;
use super::sieve::{Found, Sieve};
use super::walk::Walk;
use crate::graph::{Candidate, Distance, NodeStore, Precision, descend};
use crate::page::format::meta::Meta;
use crate::page::query::heap_tids::HeapTids;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashMap;

/// Nodes that are taken to be tested together, so that the pages of their rows can be asked for before the
/// first is read.
const MOST_TOGETHER: usize = 64;

/// Nodes that the share of passing rows that was foreseen counts for, beside those that were tested.
const FORESEEN: f64 = 32.0;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct NearestOptions {
    /// How to scan. Who knows how many rows are wanted goes on until they are there: without iterative scans
    /// as well.
    pub scan: ScanOptions,
    /// How many rows, as far as that is known; more may be asked for.
    pub wanted: usize,
    /// Rows that are further need not be found.
    pub radius: f64,
    /// What else could be done.
    pub alternative: Option<Alternative>,
}

/// Ranking all rows that pass, and what the walk costs beside it, in one unit.
#[derive(Clone, Copy, Debug)]
pub struct Alternative {
    /// Of ranking.
    pub cost: f64,
    /// Of expanding a node.
    pub expansion: f64,
    /// Of testing a row.
    pub test: f64,
    /// The share of rows that are thought to pass.
    pub share: f64,
}

/// What the walk gives when it is asked for a row.
#[derive(Debug)]
pub enum Answer<Row> {
    /// A row.
    Row(Row),
    /// It gives up: the alternative costs less.
    Dear,
    /// No row is left.
    End,
}

/// A search for the nearest rows of a table that pass its conditions.
pub struct Nearest<Store: PageStore, Sorter, Table: TestedTable> {
    walk: Walk<Store>,
    options: NearestOptions,
    sieve: Sieve<Table::Row>,
    /// Nodes that a search of `ef_search` has expanded besides as many, since estimates err.
    besides: usize,
    /// Nodes that are tested next, the nearest last.
    together: Vec<Candidate<Link>>,
    /// Nodes of which some rows have passed and others were not tested: those, and their distance.
    begun: HashMap<Link, (HeapTids, f64)>,
    /// Rows that have passed when further ones had been given already.
    late: Vec<Hit>,
    /// The rows of this round, the nearest last.
    round: Vec<Found<Table::Row>>,
    /// The distance of the last row of the rounds before.
    last: f64,
    phase: Phase,
    second_run: SecondRun,
    sorter: Sorter,
    /// The indexed table.
    pub table: Table,
    tested: u64,
    passed: u64,
    /// Rows that the second run has given.
    given_at_last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Round,
    SecondRun,
    End,
}

/// How a round of the walk has ended.
enum Ended {
    /// With the rows that were wanted, or all that are near enough.
    Complete,
    /// With what can be reached, or may be remembered.
    Exhausted,
    Dear,
}

/// Nodes that are expanded for each node up to the last of `wanted` rows.
///
/// A search of `ef` for all rows expands `ef / wanted` of them, and some besides. The fewer rows pass, the
/// more nodes are expanded in all, and fewer for each keep its recall. Fitted to sentence embeddings of 384
/// dimensions with 1-bit codes, from one row of 64 on, where from half of the rows to a hundredth pass. Where
/// the rows that are wanted are more than half of `ef`, three nodes for each give a recall of 0.97, whatever
/// `ef` is.
pub fn reach(ef: usize, wanted: usize) -> f64 {
    let all = ef as f64 / wanted as f64;
    if all >= 2.0 { (2.4 * all.sqrt()).min(all) } else { 3.0 }
}

impl<Store: PageStore, Sorter: RunSorter, Table: TestedTable> Nearest<Store, Sorter, Table> {
    /// A search for a query vector of the index's dimensions, or for NULL. Nothing is read yet.
    pub fn new(
        index: Index<Store>,
        meta: Meta,
        query: Option<&[u8]>,
        options: NearestOptions,
        sorter: Sorter,
        table: Table,
    ) -> Self {
        let query = query.filter(|vector| !index.schema.measure.is_undefined(vector));
        let mut options = options;
        if options.scan.iterative == IterativeScan::Off {
            options.scan.iterative = IterativeScan::StrictOrder;
        }
        Self {
            walk: Walk::new(index, meta, query, options.scan),
            sieve: Sieve::new(options.wanted),
            besides: 0,
            options,
            together: Vec::new(),
            begun: HashMap::new(),
            late: Vec::new(),
            round: Vec::new(),
            last: f64::NEG_INFINITY,
            phase: Phase::Start,
            second_run: SecondRun::default(),
            sorter,
            table,
            tested: 0,
            passed: 0,
            given_at_last: 0,
        }
    }

    /// The index's pages.
    pub fn store(&self) -> &Store {
        self.walk.store()
    }

    /// What the search did so far.
    pub fn stats(&self) -> ScanStats {
        let stats = self.second_run.stats(self.walk.stats());
        let (tested_rows, failed_rows) = (self.tested, self.tested - self.passed);
        ScanStats { second_run: self.given_at_last, tested_rows, failed_rows, ..stats }
    }

    /// Called at the end: gives back what the sorter holds.
    pub fn end_sorter(&mut self, end: impl FnOnce(&mut Sorter)) {
        end(&mut self.sorter);
    }

    /// Mends links as [`Scan::heal`](super::Scan::heal) does.
    pub fn heal(&mut self, lists: usize) -> Result<()> {
        self.walk.heal(lists)
    }

    /// The next row.
    pub fn next_row(&mut self) -> Result<Answer<Table::Row>> {
        loop {
            match self.phase {
                Phase::Start => {
                    let ended = if self.walk.is_ranked() { self.first_round()? } else { Ended::Exhausted };
                    if let Some(answer) = self.end_round(ended)? {
                        return Ok(answer);
                    }
                }
                Phase::Round => match self.round.pop() {
                    Some(found) => {
                        // A row that was not kept is read again.
                        let row = found.row.or_else(|| self.table.test(found.heap_tid));
                        self.walk.stats.first_run += u64::from(row.is_some());
                        if let Some(row) = row {
                            return Ok(Answer::Row(row));
                        }
                    }
                    None => {
                        let ended = self.further_round()?;
                        if let Some(answer) = self.end_round(ended)? {
                            return Ok(answer);
                        }
                    }
                },
                Phase::SecondRun => {
                    let Some(hit) = self.second_run.next(&mut self.sorter, &mut self.table)? else {
                        self.phase = Phase::End;
                        continue;
                    };
                    if let Some(row) = self.test(hit.heap_tid) {
                        self.given_at_last += 1;
                        return Ok(Answer::Row(row));
                    }
                }
                Phase::End => return Ok(Answer::End),
            }
        }
    }

    /// Gives out what a round has found. Where the walk could not go on to its end, rows that it has not
    /// reached may be nearer: all that is known is sorted with what the pages hold besides.
    fn end_round(&mut self, ended: Ended) -> Result<Option<Answer<Table::Row>>> {
        let has_given = self.walk.stats.rounds > 0;
        match ended {
            Ended::Dear => return Ok(Some(Answer::Dear)),
            Ended::Exhausted if !has_given && self.options.alternative.is_some() => {
                return Ok(Some(Answer::Dear));
            }
            Ended::Exhausted => self.begin_second_run()?,
            Ended::Complete => {
                self.walk.stats.rounds += 1;
                self.round = self.sieve.take_passed();
                self.phase = if self.round.is_empty() { Phase::End } else { Phase::Round };
                if let Some(furthest) = self.round.first() {
                    self.last = self.last.max(furthest.distance);
                }
            }
        }
        Ok(None)
    }

    fn first_round(&mut self) -> Result<Ended> {
        let Walk { query, search, .. } = &mut self.walk;
        let Some(entry) = query.entry_point()? else { return Ok(Ended::Exhausted) };
        let entries = descend(query, search, entry, 0)?;
        search.walk_from(query, &entries, 0, self.options.scan.ef_search)?;
        self.sieve.add(search.open()?)?;
        self.besides = self.sieve.nodes().saturating_sub(self.options.scan.ef_search);
        self.walk()
    }

    fn further_round(&mut self) -> Result<Ended> {
        if self.walk.stats.first_run >= self.options.scan.max_tuples as u64 {
            return Ok(Ended::Exhausted);
        }
        self.sieve.want_more(self.sieve.wanted_in_all())?;
        self.walk()
    }

    /// Walks on until the rows that are wanted have been found.
    fn walk(&mut self) -> Result<Ended> {
        loop {
            let frontier = self.walk.search.least();
            self.sift(frontier)?;
            if self.is_complete(frontier) {
                return Ok(Ended::Complete);
            }
            if self.is_dear() {
                return Ok(Ended::Dear);
            }
            let Walk { query, search, .. } = &mut self.walk;
            if !search.choose(query, 0, query.beam(), usize::MAX, None) {
                return Ok(Ended::Exhausted);
            }
            search.prefetch(query, 0);
            search.expand(query, 0, usize::MAX, None)?;
            self.sieve.add(search.take_expanded())?;
            if self.walk.remembered() >= self.options.scan.memory {
                return Ok(Ended::Exhausted);
            }
        }
    }

    /// Whether the rule says that the walk may end.
    fn is_complete(&mut self, frontier: f64) -> bool {
        let frontier = Distance(frontier);
        let is_outside = frontier > Distance(self.options.radius);
        let is_bound = self.sieve.bound().is_some_and(|bound| frontier >= Distance(bound));
        let rank = self.sieve.rank();
        let wanted = if is_bound { self.sieve.wanted_in_all() } else { rank.max(1) };
        (is_bound || is_outside)
            && (self.sieve.nodes() - self.besides) as f64
                >= reach(self.options.scan.ef_search, wanted) * rank as f64
    }

    /// Whether the alternative costs less than going on.
    fn is_dear(&self) -> bool {
        let Some(Alternative { cost, expansion, test, .. }) = self.options.alternative else { return false };
        if self.walk.stats.rounds > 0 {
            return false;
        }
        let spent = self.walk.search.stats.expanded as f64 * expansion + self.tested as f64 * test;
        let rank = self.sieve.wanted_in_all() as f64 / self.share();
        let reach = reach(self.options.scan.ef_search, self.sieve.wanted_in_all());
        let foreseen = rank * (reach * expansion + test);
        spent >= cost || foreseen - spent > cost
    }

    /// The share of rows that seem to pass.
    fn share(&self) -> f64 {
        let foreseen = self.options.alternative.map_or(1.0, |alternative| alternative.share);
        (FORESEEN * foreseen + self.passed as f64) / (FORESEEN + self.tested as f64)
    }

    /// Tests nodes within the frontier, as far as their rows may be wanted.
    fn sift(&mut self, frontier: f64) -> Result<()> {
        loop {
            if self.together.is_empty() {
                self.take_together(frontier);
            }
            let Some(node) = self.together.pop() else { return Ok(()) };
            if self.sieve.is_full_before(&node) {
                self.sieve.put_back(node);
                self.together.drain(..).for_each(|node| self.sieve.put_back(node));
                return Ok(());
            }
            self.test_node(node)?;
        }
    }

    /// Takes the nodes that are tested next, and asks for the pages of their rows.
    fn take_together(&mut self, frontier: f64) {
        let most = (self.sieve.missing() as f64 / self.share()).ceil().clamp(1.0, MOST_TOGETHER as f64);
        self.together.extend(std::iter::from_fn(|| self.sieve.take(frontier)).take(most as usize));
        let notes = self.walk.query.notes();
        let rows = self.together.iter().filter_map(|node| notes.only_rows.get(&node.node));
        let blocks: Vec<u32> = rows.map(|row| row.block()).collect();
        drop(notes);
        self.table.prefetch(&blocks);
        self.together.reverse();
    }

    /// Tests the rows of a node, until one more of them would be too many.
    fn test_node(&mut self, node: Candidate<Link>) -> Result<()> {
        self.walk.store().interrupt_point();
        let bounds = Bounds::of(&node);
        let is_outside = Distance(bounds.low) > Distance(self.options.radius);
        let only_row = self.walk.query.notes().only_rows.get(&node.node).copied();
        let (mut rows, mut distance, mut has_passed) = match (self.begun.remove(&node.node), only_row) {
            (Some((rows, distance)), _) => (rows, Some(distance), true),
            (None, only) => {
                let rows = only.map_or_else(|| HeapTids::of_node(node.node), HeapTids::of_one);
                (rows, (node.precision == Precision::Exact).then_some(node.distance), false)
            }
        };
        while !is_outside && let Some(heap_tid) = rows.next(&self.walk.query.index)? {
            let Some(row) = self.test(heap_tid) else { continue };
            has_passed = true;
            let distance = *distance.get_or_insert_with(|| self.table.distance_of(&row));
            let is_late = Distance(distance) < Distance(self.last);
            if is_late && self.options.scan.iterative == IterativeScan::StrictOrder {
                self.late.try_reserve(1)?;
                self.late.push(Bounds::exact(distance).hit(heap_tid));
                continue;
            }
            self.sieve.pass(Found { distance, heap_tid, row: Some(row) })?;
            if !rows.is_empty() && self.sieve.bound().is_some_and(|bound| distance >= bound) {
                // The others are no nearer: a node may have millions.
                self.begun.try_reserve(1)?;
                self.begun.insert(node.node, (rows, distance));
                self.sieve.put_back(Candidate::new(distance, node.node));
                return Ok(());
            }
        }
        if !has_passed && !is_outside {
            self.sieve.fail(&node)?;
        }
        self.walk.given.try_reserve(1)?;
        self.walk.given.insert(node.node);
        Ok(())
    }

    fn test(&mut self, heap_tid: HeapTid) -> Option<Table::Row> {
        let row = self.table.test(heap_tid);
        self.tested += 1;
        self.passed += u64::from(row.is_some());
        row
    }

    /// What the walk knows and has not given is sorted with what the pages hold besides.
    fn begin_second_run(&mut self) -> Result<()> {
        self.walk.free();
        for found in self.sieve.take_rest() {
            self.sorter.add(HitClass::Vector, Bounds::exact(found.distance).hit(found.heap_tid));
        }
        for hit in self.late.drain(..) {
            self.sorter.add(HitClass::Vector, hit);
        }
        for (node, (mut rows, distance)) in self.begun.drain() {
            while let Some(heap_tid) = rows.next(&self.walk.query.index)? {
                self.sorter.add(HitClass::Vector, Bounds::exact(distance).hit(heap_tid));
            }
            self.walk.given.try_reserve(1)?;
            self.walk.given.insert(node);
        }
        self.second_run.collect(&mut self.walk, &mut self.sorter, &mut self.table)?;
        self.phase = Phase::SecondRun;
        Ok(())
    }
}
