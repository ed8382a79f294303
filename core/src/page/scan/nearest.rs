//! The nearest rows that pass: a walk that knows how many rows are wanted, and tests each where it lies, in
//! the graph of one table or of several.
//!
//! # The rule
//!
//! The walk begins as a search of `ef_search` without conditions. Expanded nodes are tested in the order of
//! their distances, as far as they are nearer than all that is left to be expanded. Those that fail are
//! walked through. Let `rank` be the place of the last row that is wanted among all that were tested. The
//! walk ends when what is left to be expanded is further than this row, and [`reach`] times `rank` nodes have
//! been expanded. Where many rows are wanted beside `ef_search`, what is left must be further by a margin
//! ([`doubts`]). So it looks as far beyond the last row as the search without conditions does, whatever
//! share of rows passes, and no more than `rank` rows are tested.
//!
//! Rows come sorted. A caller who wants more than was said gets them by further rounds, each for twice as
//! many as all before, and at last by a second run, as [`Scan`](super::Scan) gives them.
//!
//! # Many tables
//!
//! The first search is that of a [`Federation`]. Then all graphs are walked as one: what is expanded next is
//! the nearest of all that is left, whichever graph it lies in, and the rule counts for all together. Second
//! runs are merged.
//!
//! # When not to walk
//!
//! Where few rows pass, or those that do lie far away, ranking all of them costs less. The caller says what
//! that costs. Once the walk has cost as much (twice as much, where as many rows have passed as are wanted),
//! or what it has seen lets it foresee that this will cost less than the rest of the walk, it gives up
//! ([`Nearest::next_row`] gives [`Answer::GivesUp`]). It has given nothing then.
//!
//! Where ranking is foreseen to cost less from the beginning, rows that pass may still lie around the query,
//! as those of its own category do. So the first search of one table is a short one ([`LOOK`]), whose rows
//! tell.

mod sift;
mod step;

use super::federation::{Failure, Federation};
use super::hit::{RunSorter, TestedTable};
use super::member::Member;
use super::options::{Alternative, IterativeScan, LOOK, NearestOptions, Reason, ScanStats, doubts, reach};
use super::order::Bounds;
use super::sieve::{Found, Place, Sieve};
use super::walk::Walk;
use crate::graph::{Candidate, Distance, NodeStore, descend};
use crate::page::format::meta::Meta;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Error, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nodes that the share of passing rows that was foreseen counts for, beside those that were tested; and
/// where that share speaks against a walk, which is right only where rows around the query are others.
const FORESEEN: f64 = 32.0;
const DOUBTED: f64 = 4.0;

/// Nodes that are taken at most to be tested together.
const MOST_TOGETHER: usize = 64;

/// What the walk gives when it is asked for a row.
#[derive(Debug)]
pub enum Answer<Row> {
    /// A row of the table with this number.
    Row(usize, Row),
    /// It gives up, having given nothing: the alternative is better.
    GivesUp(Reason),
    /// No row is left.
    End,
}

/// A search for the nearest rows of one or more tables that pass their conditions.
pub struct Nearest<Store: PageStore, Sorter, Table: TestedTable> {
    members: Vec<Member<Store, Sorter, Table>>,
    /// The least distance of what is left of each graph; `None` where nothing is.
    frontiers: Vec<Option<f64>>,
    /// The members that take part in a step.
    step: Vec<usize>,
    options: NearestOptions,
    sieve: Sieve<Table::Row>,
    /// Nodes that a search of `ef_search` has expanded besides as many: since estimates err, and as each
    /// graph is searched by itself.
    besides: usize,
    /// Whether the alternative was foreseen to cost less than the walk.
    is_doubted: bool,
    /// Nodes that are tested next, the nearest last.
    together: Vec<Candidate<Place>>,
    /// So many at most: no more than any member asks for at a time, as it is known better once these have
    /// been tested how many more are wanted.
    most_together: usize,
    /// The rows of this round, the nearest last.
    round: Vec<Found<Table::Row>>,
    /// The distance of the last row of the rounds before.
    last: f64,
    phase: Phase,
    /// The next rows of the second runs; those that are NULL are last.
    ahead: BinaryHeap<Reverse<(bool, Found<Table::Row>)>>,
    /// The member whose row was taken from these.
    taken: Option<usize>,
    rounds: u64,
    given: u64,
    /// Rows that the second runs have given.
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
    /// Without them.
    Early(Reason),
}

/// What comes of work on many tables: a failure has the number of its table.
type Attempt<T> = std::result::Result<T, Failure>;

/// Says in which table something has failed.
fn of_member(number: usize) -> impl FnOnce(Error) -> Failure {
    move |error| (number, error)
}

impl<Store: PageStore, Sorter: RunSorter, Table: TestedTable> Nearest<Store, Sorter, Table> {
    /// A search of no table.
    pub fn new(mut options: NearestOptions) -> Self {
        if options.scan.iterative == IterativeScan::Off {
            options.scan.iterative = IterativeScan::StrictOrder;
        }
        Self {
            members: Vec::new(),
            frontiers: Vec::new(),
            step: Vec::new(),
            sieve: Sieve::new(options.wanted),
            besides: 0,
            is_doubted: false,
            options,
            together: Vec::new(),
            most_together: MOST_TOGETHER,
            round: Vec::new(),
            last: f64::NEG_INFINITY,
            phase: Phase::Start,
            ahead: BinaryHeap::new(),
            taken: None,
            rounds: 0,
            given: 0,
            given_at_last: 0,
        }
    }

    /// Adds a table, and the query vector of its index's dimensions, or NULL. They are numbered from 0, and
    /// as many as the options say. Nothing is read yet.
    pub fn add(
        &mut self,
        index: Index<Store>,
        meta: Meta,
        query: Option<&[u8]>,
        sorter: Sorter,
        table: Table,
    ) -> Result<()> {
        let query = query.filter(|vector| !index.schema.measure.is_undefined(vector));
        if table.depth() > 0 {
            self.most_together = self.most_together.min(table.depth());
        }
        let walk = Walk::new(index, meta, query, self.options.scan);
        self.members.try_reserve(1)?;
        self.members.push(Member::new(walk, sorter, table));
        Ok(())
    }

    /// The tables.
    pub fn members(&self) -> &[Member<Store, Sorter, Table>] {
        &self.members
    }

    /// The tables, to read and to end them.
    pub fn members_mut(&mut self) -> &mut [Member<Store, Sorter, Table>] {
        &mut self.members
    }

    /// What the search did so far.
    pub fn stats(&self) -> ScanStats {
        let stats = self.members.iter().map(Member::stats);
        let stats = stats.fold(ScanStats::default(), |all, of_member| all.and(&of_member));
        let (rounds, first_run, second_run) = (self.rounds, self.given, self.given_at_last);
        ScanStats { rounds, first_run, second_run, ..stats }
    }

    /// The next row; or a failure, and in which table.
    pub fn next_row(&mut self) -> Attempt<Answer<Table::Row>> {
        loop {
            match self.phase {
                Phase::Start => {
                    let is_ranked = self.members.iter().all(|member| member.walk.is_ranked());
                    let ended =
                        if is_ranked { self.first_round()? } else { Ended::Early(Reason::Unreachable) };
                    if let Some(answer) = self.end_round(ended)? {
                        return Ok(answer);
                    }
                }
                Phase::Round => match self.round.pop() {
                    Some(Found { member, heap_tid, row, .. }) => {
                        // A row that was not kept is read again.
                        let row = row.or_else(|| self.members[member].table.test(heap_tid));
                        self.given += u64::from(row.is_some());
                        if let Some(row) = row {
                            return Ok(Answer::Row(member, row));
                        }
                    }
                    None => {
                        let ended = self.further_round()?;
                        if let Some(answer) = self.end_round(ended)? {
                            return Ok(answer);
                        }
                    }
                },
                Phase::SecondRun => match self.next_of_second_runs()? {
                    Some(Found { member, row: Some(row), .. }) => {
                        self.given_at_last += 1;
                        return Ok(Answer::Row(member, row));
                    }
                    _ => self.phase = Phase::End,
                },
                Phase::End => return Ok(Answer::End),
            }
        }
    }

    /// Gives out what a round has found. Where the walk could not go on to its end, rows that it has not
    /// reached may be nearer: all that is known is sorted with what the pages hold besides.
    fn end_round(&mut self, ended: Ended) -> Attempt<Option<Answer<Table::Row>>> {
        let has_given = self.rounds > 0;
        match ended {
            Ended::Early(reason) if !has_given && self.options.alternative.is_some() => {
                return Ok(Some(Answer::GivesUp(reason)));
            }
            Ended::Early(_) => self.begin_second_runs()?,
            Ended::Complete => {
                self.rounds += 1;
                self.round = self.sieve.take_passed();
                self.phase = if self.round.is_empty() { Phase::End } else { Phase::Round };
                if let Some(furthest) = self.round.first() {
                    self.last = self.last.max(furthest.distance);
                }
            }
        }
        Ok(None)
    }

    fn first_round(&mut self) -> Attempt<Ended> {
        let whole = self.options.scan.ef_search;
        self.is_doubted = self.options.alternative.is_some_and(|alternative| {
            let rank = self.options.wanted as f64 / alternative.share;
            self.cost_to(rank, alternative) > alternative.cost
        });
        // Each graph of several has its share of the whole search in any case.
        let is_look = self.is_doubted && self.members.len() == 1;
        let ef = if is_look { whole.min(LOOK) } else { whole };
        if let [member] = self.members.as_mut_slice() {
            let Walk { query, search, .. } = &mut member.walk;
            if let Some(entry) = query.entry_point().map_err(of_member(0))? {
                let entries = descend(query, search, entry, 0).map_err(of_member(0))?;
                search.walk_from(query, &entries, 0, ef).map_err(of_member(0))?;
            }
        } else {
            let mut walks: Vec<_> = self.members.iter_mut().map(|member| &mut member.walk).collect();
            let federation = Federation::new(self.options.scan);
            federation.map_err(|error| (0, error.into()))?.join(&mut walks, None)?;
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            let search = &mut member.walk.search;
            let expanded = search.open().map_err(of_member(number))?;
            self.sieve.add(number, expanded).map_err(of_member(number))?;
            self.frontiers.push(search.least());
        }
        // A look tells how many a whole search expands besides: one for each of its results, at most.
        let besides = self.sieve.nodes().saturating_sub(ef);
        self.besides = if is_look { besides.min(ef) * whole / ef } else { besides };
        self.walk()
    }

    fn further_round(&mut self) -> Attempt<Ended> {
        if self.given >= self.options.scan.max_tuples as u64 {
            return Ok(Ended::Early(Reason::Memory));
        }
        self.sieve.want_more(self.sieve.wanted_in_all()).map_err(of_member(0))?;
        self.walk()
    }

    /// Walks on until the rows that are wanted have been found.
    fn walk(&mut self) -> Attempt<Ended> {
        loop {
            let nearest = self.nearest_member();
            let frontier = nearest.map_or(f64::INFINITY, |nearest| nearest.frontier);
            self.sift(frontier)?;
            let doubt = nearest.map_or(0.0, |nearest| self.members[nearest.number].walk.search.doubt());
            if self.is_complete(frontier, doubt) {
                return Ok(Ended::Complete);
            }
            if self.is_dear() {
                return Ok(Ended::Early(Reason::Dear));
            }
            if !self.step()? {
                return Ok(Ended::Early(Reason::Unreachable));
            }
            if self.remembered() >= self.options.scan.memory {
                self.members.iter_mut().for_each(|member| member.walk.search.shrink());
                if self.remembered() >= self.options.scan.memory {
                    return Ok(Ended::Early(Reason::Memory));
                }
            }
        }
    }

    /// What counts as `ef_search` for the rows that are wanted.
    fn ef_search(&self) -> usize {
        let ef = self.options.scan.ef_search;
        if self.options.is_known { ef } else { ef.max(2 * self.sieve.wanted_in_all()) }
    }

    fn remembered(&self) -> usize {
        self.members.iter().map(|member| member.walk.remembered()).sum()
    }

    /// Whether the rule says that the walk may end, where the nearest that is left is no nearer than the
    /// frontier, as far as is known with this doubt.
    fn is_complete(&mut self, frontier: f64, doubt: f64) -> bool {
        let (ef, wanted) = (self.ef_search(), self.sieve.wanted_in_all());
        // All rows within the radius are wanted, however many they are.
        let around = doubts(self.options.scan.ef_search, wanted) * doubt;
        let is_outside = Distance(frontier) > Distance(self.options.radius + around);
        let margin = doubts(ef, wanted) * doubt;
        let is_bound = self.sieve.bound().is_some_and(|bound| Distance(frontier) >= Distance(bound + margin));
        let rank = self.sieve.rank();
        let wanted = if is_bound { self.sieve.wanted_in_all() } else { rank.max(1) };
        (is_bound || is_outside)
            && self.sieve.nodes().saturating_sub(self.besides) as f64 >= reach(ef, wanted) * rank as f64
    }

    /// Whether the alternative costs less than going on.
    fn is_dear(&mut self) -> bool {
        let Some(alternative @ Alternative { cost, expansion, test, .. }) = self.options.alternative else {
            return false;
        };
        if self.rounds > 0 {
            return false;
        }
        let expanded: u64 = self.members.iter().map(|member| member.walk.search.stats.expanded).sum();
        let spent = expanded as f64 * expansion + self.tested() as f64 * test;
        // Once as many have passed as are wanted, it is known about how far the walk has to go, and what has
        // been spent is not to be in vain.
        let rank = self.sieve.rank() as f64;
        let (rank, most) = match self.sieve.bound() {
            Some(_) => (rank, 2.0 * cost),
            None => (rank.max(self.sieve.wanted_in_all() as f64 / self.share()), cost),
        };
        let foreseen = self.cost_to(rank, alternative) + self.besides as f64 * expansion;
        // Who has begun to look sees something first.
        let has_looked = !self.is_doubted || self.tested() >= LOOK as u64 / 2;
        spent >= most || has_looked && foreseen - spent > cost
    }

    /// What a walk costs whose last row has this rank.
    fn cost_to(&self, rank: f64, Alternative { expansion, test, .. }: Alternative) -> f64 {
        let reach = reach(self.ef_search(), self.sieve.wanted_in_all());
        rank * (reach * expansion + test)
    }

    /// The share of rows that seem to pass.
    fn share(&self) -> f64 {
        let foreseen = self.options.alternative.map_or(1.0, |alternative| alternative.share);
        let passed: u64 = self.members.iter().map(|member| member.passed).sum();
        let weight = if self.is_doubted { DOUBTED } else { FORESEEN };
        (weight * foreseen + passed as f64) / (weight + self.tested() as f64)
    }

    fn tested(&self) -> u64 {
        self.members.iter().map(|member| member.tested).sum()
    }

    /// What the walk knows and has not given is sorted with what the pages hold besides.
    fn begin_second_runs(&mut self) -> Attempt<()> {
        for Found { distance, heap_tid, member, .. } in self.sieve.take_rest() {
            self.members[member].add_to_second_run(distance, heap_tid);
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            member.begin_second_run().map_err(of_member(number))?;
        }
        self.phase = Phase::SecondRun;
        for number in 0..self.members.len() {
            self.look_ahead(number)?;
        }
        Ok(())
    }

    /// The next row of all second runs.
    fn next_of_second_runs(&mut self) -> Attempt<Option<Found<Table::Row>>> {
        if let Some(number) = self.taken.take() {
            self.look_ahead(number)?;
        }
        let Some(Reverse((_, nearest))) = self.ahead.pop() else { return Ok(None) };
        self.taken = Some(nearest.member);
        Ok(Some(nearest))
    }

    /// Looks for the next row that passes of a member's second run.
    fn look_ahead(&mut self, number: usize) -> Attempt<()> {
        let is_alone = self.members.len() == 1;
        let member = &mut self.members[number];
        while let Some(hit) = member.next_of_second_run().map_err(of_member(number))? {
            let row = member.table.test(hit.heap_tid);
            member.tested += 1;
            let Some(row) = row else { continue };
            member.passed += 1;
            let (mut distance, mut is_null) = (hit.distance, false);
            if !is_alone && (hit.uncertainty > 0.0 || distance.is_nan()) && member.walk.is_ranked() {
                let measured = member.table.distance(hit.heap_tid);
                (distance, is_null) = (Bounds::exact(measured.unwrap_or(f64::NAN)).low, measured.is_none());
            }
            let found = Found { distance, heap_tid: hit.heap_tid, member: number, row: Some(row) };
            self.ahead.try_reserve(1).map_err(|error| (number, error.into()))?;
            self.ahead.push(Reverse((is_null, found)));
            break;
        }
        Ok(())
    }
}
