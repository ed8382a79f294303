//! The rows of many children in one order: a heap of the children by their next rows.
//!
//! Children that scan a walia_hnsw index are searched as one by walia-core's [`Federation`]; they give their shares of a round,
//! and when all of them have, the next round follows. A child's row is fetched from its table only when its turn may have come,
//! as the index knows the least that its distance can be. Children of other kinds, and scans by another distance than the
//! first's, are merged by the rows that they give. Of several processes each merges the children that it claims. Imports `child`,
//! `shared`, `totals`, `am` and `store`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ffi::c_int;
use std::ops::Range;
use std::time::Instant;

use pgrx::{PgList, pg_sys};
use walia_core::graph::Board;
use walia_core::page::scan::{Federation, IterativeScan, ScanOptions, Walk};
use walia_core::types::{Error, Metric};

use super::child::{Child, Membership};
use super::shared::Shared;
use super::totals::Totals;
use crate::am::last::SearchNumber;
use crate::am::scan;
use crate::error::OrRaise;
use crate::store::RelationStore;
use crate::store::error::index_error;

/// A merge of the rows of some plan nodes.
pub struct Merge {
    /// The node whose children they are, and how its execution began.
    node: *mut pg_sys::CustomScanState,
    flags: c_int,
    children: Vec<Child>,
    /// What rows are ordered by, and where it is computed.
    order: *mut pg_sys::ExprState,
    expressions: *mut pg_sys::ExprContext,
    /// The search that was begun last.
    number: Option<SearchNumber>,
    /// The children that are searched as one, by this process.
    members: Vec<usize>,
    /// Their metric, and what they have in common.
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

/// A double precision in the order of Postgres's btree: NaN after all numbers, then NULL.
#[derive(Clone, Copy)]
pub struct Value(f64);

impl Value {
    /// After all NaN that are given.
    const NULL: Self = Self(f64::from_bits(i64::MAX as u64 - 1));

    /// Of what is not NULL.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { f64::NAN } else { value + 0.0 })
    }

    /// A number that [`f64::total_cmp`] orders as it is ordered.
    pub fn to_number(self) -> f64 {
        self.0
    }

    /// From such a number.
    pub fn from_number(number: f64) -> Self {
        Self(number)
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Merge {
    /// A merge that has not begun of the children of a node, which are to be initialized.
    ///
    /// # Safety
    /// The node's execution has begun with these flags, and it lives until the last call. `order` is computed from a child's row in
    /// `expressions`, and gives a double precision.
    pub unsafe fn new(
        node: *mut pg_sys::CustomScanState,
        flags: c_int,
        order: *mut pg_sys::ExprState,
        expressions: *mut pg_sys::ExprContext,
    ) -> Self {
        // SAFETY: by the caller's promise.
        let plans = unsafe {
            let scan = (*node).ss.ps.plan.cast::<pg_sys::CustomScan>();
            PgList::<pg_sys::Plan>::from_pg((*scan).custom_plans)
        };
        Self {
            node,
            flags,
            children: plans.iter_ptr().map(Child::new).collect(),
            order,
            expressions,
            number: None,
            members: Vec::new(),
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
            // SAFETY: by the promise of `new`.
            unsafe { child.initialize(self.node, self.flags) };
        }
    }

    /// Which children are searched as one, after all have been initialized.
    pub fn membership(&self) -> Membership {
        let metrics = || self.children.iter().filter_map(Child::metric);
        let metric = metrics().next();
        Membership { metric, members: metrics().filter(|of_child| Some(*of_child) == metric).count() }
    }

    /// The next row by its value: the slot of its child, the columns extracted. It is the child's until the next call.
    ///
    /// Of several processes, which share `shared`, this one gives rows of the children that it claims. The rows end as well where none
    /// that is left is `wanted`: the function is asked with the least value that such a row can have.
    pub fn next(
        &mut self,
        shared: Option<&Shared>,
        wanted: &mut dyn FnMut(Value) -> bool,
    ) -> Option<(Value, *mut pg_sys::TupleTableSlot)> {
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
                return Some((turn.value, self.children[turn.child].row));
            }
            self.fetch(turn.child);
        }
    }

    /// Begins anew with the next row; the caller rescans the children.
    pub fn restart(&mut self) {
        self.before = self.totals();
        self.number = None;
        for child in &mut self.children {
            child.is_member = false;
        }
        self.members.clear();
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
        for member in &self.members {
            // SAFETY: a member has been opened.
            let done = unsafe { scan::done((*self.children[*member].index_scan()).iss_ScanDesc) };
            totals.contributors += u64::from(done.stats.first_run + done.stats.second_run > 0);
            totals.scans = totals.scans.and(&done);
        }
        totals
    }

    /// How many indexes this process searches as one.
    pub fn members(&self) -> usize {
        self.members.len()
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
        if !self.members.is_empty() {
            self.next_round(|| true);
        }
    }

    /// Takes in children: those that are searched as one are searched, others give their first rows.
    fn join(&mut self, children: Range<usize>, options: ScanOptions, board: Option<&mut Board>) {
        let metric = self.federation.as_ref().map(|(metric, _)| *metric);
        let (mut joining, mut others) = (Vec::new(), Vec::new());
        for number in children {
            let child = &mut self.children[number];
            // SAFETY: by the promise of `new`.
            unsafe { child.initialize(self.node, self.flags) };
            child.is_member = metric.is_some() && child.metric() == metric;
            if child.is_member { &mut joining } else { &mut others }.push(number);
        }
        if let (Some((_, federation)), Some(number)) = (&mut self.federation, self.number) {
            for member in &joining {
                self.children[*member].open(options, number);
            }
            search_together(&self.children, &joining, |searches| federation.join(searches, board));
            self.members.extend(joining);
        }
        for child in others {
            self.fetch(child);
        }
    }

    /// Searches on, and gives every member its turn.
    fn next_round(&mut self, wanted: impl FnMut() -> bool) {
        let Some((_, federation)) = &mut self.federation else { return };
        search_together(&self.children, &self.members, |searches| federation.next_round(searches, wanted));
        self.walking = self.members.iter().filter(|member| self.search(**member).is_member()).count();
        self.waiting = 0;
        for member in self.members.clone() {
            self.take_turn(member);
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
        match self.children[child].is_member.then(|| self.search(child).next_value()).flatten() {
            Some(value) => {
                self.turns.push(Reverse(Turn { value: Value::new(value), is_fetched: false, child }))
            }
            None => self.fetch(child),
        }
    }

    /// Fetches a child's next row.
    fn fetch(&mut self, child: usize) {
        // SAFETY: the child has been initialized. A row's columns are extracted before the expression, which may take them for
        // those of a virtual row, reads them.
        unsafe {
            let Child { state, is_member, row, .. } = &mut self.children[child];
            *row = pg_sys::ExecProcNode(*state);
            if row.is_null() || u32::from((**row).tts_flags) & pg_sys::TTS_FLAG_EMPTY != 0 {
                if *is_member && self.search(child).is_member() {
                    (*self.children[child].index_scan()).iss_ReachedEnd = false;
                    self.waiting += 1;
                }
                return;
            }
            pg_sys::slot_getallattrs(*row);
            (*self.expressions).ecxt_scantuple = *row;
            let mut is_null = false;
            let value = pg_sys::ExecEvalExprSwitchContext(self.order, self.expressions, &mut is_null);
            pg_sys::MemoryContextReset((*self.expressions).ecxt_per_tuple_memory);
            let value = if is_null { Value::NULL } else { Value::new(f64::from_bits(value.value() as u64)) };
            self.turns.push(Reverse(Turn { value, is_fetched: true, child }));
        }
    }

    /// The search of a member.
    fn search(&self, member: usize) -> &Walk<RelationStore> {
        // SAFETY: no other reference to it lives while `self` is borrowed, as `next_round` keeps none.
        unsafe { self.children[member].search() }
    }
}

/// Does something with the searches of some different children, which have been opened, and raises what fails.
fn search_together(
    children: &[Child],
    members: &[usize],
    search: impl FnOnce(&mut [&mut Walk<RelationStore>]) -> Result<(), (usize, Error)>,
) {
    let Some(first) = members.first() else { return };
    let started = Instant::now();
    // SAFETY: members are different children, each with a search of its own.
    let searches = members.iter().map(|member| unsafe { children[*member].search() });
    search(&mut searches.collect::<Vec<_>>())
        // SAFETY: a member's index is open.
        .map_err(|(scan, error)| unsafe { index_error(children[members[scan]].index(), error) })
        .or_raise();
    // SAFETY: a member has been opened.
    unsafe { scan::add_time((*children[*first].index_scan()).iss_ScanDesc, started.elapsed()) };
}
