//! The rows of many children in one order: a heap of the children by their next rows.
//!
//! Children that scan a walia_hnsw index are searched as one by walia-core's [`Federation`]; they give their
//! shares of a round, and when all of them have, the next round follows. A child's row is fetched from its
//! table only when its turn may have come, as the index knows the least that its distance can be. Children of
//! other kinds, and scans by another distance than the first's, are merged by the rows that they give. Of
//! several processes each merges the children that it claims.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Instant;

use walia_core::graph::Board;
use walia_core::page::scan::{Federation, IterativeScan, ScanOptions};
use walia_core::types::{Error, Metric};

use super::child::{Child, Membership, Parent, Row};
use super::shared::Shared;
use super::totals::Totals;
use super::value::{Order, Value};
use crate::am::last::SearchNumber;
use crate::am::scan::{self, Member, Search};
use crate::error::OrRaise;

/// A merge of the rows of some plan nodes.
pub struct Merge {
    parent: Parent,
    children: Vec<Child>,
    /// What rows are ordered by.
    order: Order,
    /// The search that was begun last.
    number: Option<SearchNumber>,
    /// What the children have in common that are searched as one by this process, and their metric.
    federation: Option<(Metric, Federation)>,
    /// Members whose walk the federation does, and those of them that have given their share of the round.
    walking: usize,
    waiting: usize,
    turns: BinaryHeap<Reverse<Turn>>,
    /// The child whose row was given last.
    current: Option<usize>,
    /// Of the scans before the last restart.
    before: Totals,
}

/// A child whose next row has this value, or no smaller one as long as it has not been fetched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    value: Value,
    is_fetched: bool,
    child: usize,
}

impl Merge {
    /// A merge that has not begun of the children of a node, which are to be initialized.
    pub fn new(parent: Parent, order: Order) -> Self {
        Self {
            parent,
            children: parent.children(),
            order,
            number: None,
            federation: None,
            walking: 0,
            waiting: 0,
            turns: BinaryHeap::new(),
            current: None,
            before: Totals::default(),
        }
    }

    /// Initializes all children, as is needed where it is not left to the processes that claim them.
    pub fn initialize(&mut self) {
        for child in &mut self.children {
            child.initialize(self.parent);
        }
    }

    /// Which children are searched as one, after all have been initialized.
    pub fn membership(&self) -> Membership {
        let metrics = || self.children.iter().filter_map(Child::metric);
        let metric = metrics().next();
        Membership { metric, members: metrics().filter(|of_child| Some(*of_child) == metric).count() }
    }

    /// The next row by its value.
    ///
    /// Of several processes, which share `shared`, this one gives rows of the children that it claims. The
    /// rows end as well where none that is left is `wanted`: the function is asked with the least value that
    /// such a row can have.
    pub fn next(
        &mut self,
        shared: Option<&Shared>,
        wanted: &mut dyn FnMut(Value) -> bool,
    ) -> Option<(Value, Row)> {
        if self.number.is_none() {
            self.begin(shared);
        } else if let Some(child) = self.current.take() {
            self.take_turn(child);
        }
        loop {
            if self.walking > 0 && self.waiting == self.walking {
                let searched = self.searched();
                if !wanted(searched) {
                    return None;
                }
                self.next_round(|| wanted(searched));
                continue;
            }
            let Reverse(turn) = self.turns.pop()?;
            if !wanted(turn.value) {
                return None;
            }
            if turn.is_fetched {
                self.current = Some(turn.child);
                return self.children[turn.child].row.map(|row| (turn.value, row));
            }
            self.fetch(turn.child);
        }
    }

    /// Begins anew with the next row; the caller rescans the children.
    pub fn restart(&mut self) {
        self.before = self.totals();
        self.number = None;
        for child in &mut self.children {
            child.member = None;
        }
        self.federation = None;
        (self.walking, self.waiting) = (0, 0);
        self.turns.clear();
        self.current = None;
    }

    /// What all searches of this process did so far.
    pub fn totals(&self) -> Totals {
        self.before.and(&self.current_totals())
    }

    /// What the searches of this process did since the last restart.
    pub fn current_totals(&self) -> Totals {
        let mut totals = Totals { executions: u64::from(self.number.is_some()), ..Totals::default() };
        totals.rounds = self.federation.as_ref().map_or(0, |(_, federation)| federation.rounds());
        for done in self.members().map(Member::done) {
            totals.contributors += u64::from(done.stats.first_run + done.stats.second_run > 0);
            totals.scans = totals.scans.and(&done);
        }
        totals
    }

    /// The children that this process searches as one.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.children.iter().filter_map(|child| child.member.as_ref())
    }

    /// The search that was begun last.
    pub fn number(&self) -> Option<SearchNumber> {
        self.number
    }

    fn begin(&mut self, shared: Option<&Shared>) {
        self.number = Some(SearchNumber::next());
        let Membership { metric, members } =
            shared.map_or_else(|| self.membership(), |shared| shared.terms().membership);
        let mut options = scan::options(members);
        if let Some(shared) = shared {
            options.ef_search = shared.terms().ef_search;
            if options.iterative == IterativeScan::StrictOrder {
                // Nothing need be held back, as all rows are sorted before the first is given.
                options.iterative = IterativeScan::RelaxedOrder;
            }
        }
        self.federation =
            metric.filter(|_| members > 1).map(|metric| (metric, Federation::new(options).or_raise()));
        match shared {
            None => self.join(0..self.children.len(), options, None),
            Some(shared) => {
                let mut board = shared.board_of_searches().or_raise();
                let mut allowance = shared.allowance(self.children.len());
                while let Some(claimed) = shared.claim(self.children.len(), &mut allowance) {
                    self.join(claimed, options, Some(&mut board));
                }
            }
        }
        if self.members().next().is_some() {
            self.next_round(|| true);
        }
    }

    /// Takes in children: those that are searched as one are searched, others give their first rows.
    fn join(&mut self, children: Range<usize>, options: ScanOptions, board: Option<&mut Board>) {
        let joining = &mut self.children[children.clone()];
        for child in joining.iter_mut() {
            child.initialize(self.parent);
        }
        if let (Some((metric, federation)), Some(number)) = (&mut self.federation, self.number) {
            for child in joining.iter_mut().filter(|child| child.metric() == Some(*metric)) {
                child.open(options, number);
            }
            search_together(joining, |searches| federation.join(searches, board));
        }
        for child in children {
            if self.children[child].member.is_none() {
                self.fetch(child);
            }
        }
    }

    /// Searches on, and gives every member its turn.
    fn next_round(&mut self, wanted: impl FnMut() -> bool) {
        let Some((_, federation)) = &mut self.federation else { return };
        search_together(&mut self.children, |searches| federation.next_round(searches, wanted));
        self.walking = self.members().filter(|member| member.search().is_member()).count();
        self.waiting = 0;
        for child in 0..self.children.len() {
            if self.children[child].member.is_some() {
                self.take_turn(child);
            }
        }
    }

    /// The value up to which the last round gave all that it found.
    fn searched(&self) -> Value {
        let bound = self
            .federation
            .as_ref()
            .and_then(|(metric, federation)| Some(Value::new(metric.operator_value(federation.searched()?))));
        bound.unwrap_or(Value::NULL)
    }

    /// Puts a child where its next row belongs.
    fn take_turn(&mut self, child: usize) {
        match self.children[child].member.as_ref().and_then(|member| member.search().next_value()) {
            Some(value) => {
                self.turns.push(Reverse(Turn { value: Value::new(value), is_fetched: false, child }))
            }
            None => self.fetch(child),
        }
    }

    /// Fetches a child's next row.
    fn fetch(&mut self, number: usize) {
        let child = &mut self.children[number];
        if let Some(row) = child.fetch() {
            let value = self.order.value(row);
            self.turns.push(Reverse(Turn { value, is_fetched: true, child: number }));
        } else if child.member.as_ref().is_some_and(|member| member.search().is_member()) {
            child.go_on();
            self.waiting += 1;
        }
    }
}

/// Does something with the searches of the members among some children, and raises what fails.
fn search_together(
    children: &mut [Child],
    search: impl FnOnce(&mut [&mut Search]) -> Result<(), (usize, Error)>,
) {
    let mut members: Vec<_> = children.iter_mut().filter_map(|child| child.member.as_mut()).collect();
    if members.is_empty() {
        return;
    }
    let started = Instant::now();
    let mut searches: Vec<_> = members.iter_mut().map(|member| member.search_mut()).collect();
    search(&mut searches).map_err(|(member, error)| members[member].error(error)).or_raise();
    members[0].add_time(started.elapsed());
}
