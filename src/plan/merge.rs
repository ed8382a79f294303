//! The rows of many children in one order: a heap of the children by their next rows.
//!
//! Children that scan a walia_hnsw index are searched as one by walia-core's [`Federation`]; they give their shares of a round,
//! and when all of them have, the next round follows. A child's row is fetched from its table only when its turn may have come,
//! as the index knows the least that its distance can be. Children of other kinds, and scans by another distance than the
//! first's, are merged by the rows that they give. Imports `am` and `store`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

use pgrx::pg_sys;
use walia_core::page::scan::{Federation, Scan, ScanOptions, ScanStats};

use crate::am::last::SearchNumber;
use crate::am::scan;
use crate::error::OrRaise;
use crate::store::RelationStore;
use crate::store::error::index_error;

/// A merge of the rows of some plan nodes.
pub struct Merge {
    children: Vec<Child>,
    /// What rows are ordered by, and where it is computed.
    order: *mut pg_sys::ExprState,
    expressions: *mut pg_sys::ExprContext,
    begun: bool,
    /// The children that are searched as one.
    members: Vec<usize>,
    federation: Option<Federation>,
    /// Members whose walk the federation does, and those of them that have given their share of the round.
    walking: usize,
    waiting: usize,
    turns: BinaryHeap<Reverse<Turn>>,
    /// The child whose row was given last.
    current: Option<usize>,
    /// Of the scans before the last restart.
    before: Totals,
}

/// What searches did together.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    /// Times that the node was executed from its start.
    pub executions: u64,
    /// Rounds of the federation.
    pub rounds: u64,
    /// Indexes that gave rows.
    pub contributors: u64,
    /// Nodes expanded.
    pub expanded: u64,
    /// Distances measured.
    pub distances: u64,
    /// Distances estimated from codes.
    pub estimates: u64,
}

struct Child {
    state: *mut pg_sys::PlanState,
    is_member: bool,
    /// Its row, if it has been fetched.
    row: *mut pg_sys::TupleTableSlot,
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
struct Value(Option<f64>);

impl Value {
    fn new(value: f64) -> Self {
        Self(Some(if value.is_nan() { f64::NAN } else { value + 0.0 }))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Some(one), Some(two)) => one.total_cmp(&two),
            (one, two) => one.is_none().cmp(&two.is_none()),
        }
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
    /// A merge that has not begun.
    ///
    /// # Safety
    /// The children have been initialized, and all live until the last call. `order` is computed from a child's row in
    /// `expressions`, and gives a double precision.
    pub unsafe fn new(
        children: &[*mut pg_sys::PlanState],
        order: *mut pg_sys::ExprState,
        expressions: *mut pg_sys::ExprContext,
    ) -> Self {
        let child = |state: &*mut pg_sys::PlanState| Child {
            state: *state,
            is_member: false,
            row: std::ptr::null_mut(),
        };
        Self {
            children: children.iter().map(child).collect(),
            order,
            expressions,
            begun: false,
            members: Vec::new(),
            federation: None,
            walking: 0,
            waiting: 0,
            turns: BinaryHeap::new(),
            current: None,
            before: Totals::default(),
        }
    }

    /// The slot of the child whose row is next, its columns extracted. It is the child's until the next call.
    pub fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        if !self.begun {
            self.begin();
        } else if let Some(child) = self.current.take() {
            self.take_turn(child);
        }
        loop {
            if self.walking > 0 && self.waiting == self.walking {
                self.next_round();
                continue;
            }
            let Reverse(turn) = self.turns.pop()?;
            if turn.is_fetched {
                self.current = Some(turn.child);
                return Some(self.children[turn.child].row);
            }
            self.fetch(turn.child);
        }
    }

    /// Begins anew with the next row; the caller rescans the children.
    pub fn restart(&mut self) {
        self.before = self.totals();
        self.begun = false;
        self.members.clear();
        self.federation = None;
        (self.walking, self.waiting) = (0, 0);
        self.turns.clear();
        self.current = None;
    }

    /// What all searches did so far.
    pub fn totals(&self) -> Totals {
        let mut totals = self.before;
        totals.executions += u64::from(self.begun);
        totals.rounds += self.federation.as_ref().map_or(0, Federation::rounds);
        for member in &self.members {
            let ScanStats { search, first_run, second_run, .. } = self.search(*member).stats();
            totals.contributors += u64::from(first_run + second_run > 0);
            totals.expanded += search.expanded;
            totals.distances += search.distances;
            totals.estimates += search.estimates;
        }
        totals
    }

    /// How many indexes are searched as one.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    fn begin(&mut self) {
        self.begun = true;
        let metrics: Vec<_> = self.children.iter().map(Child::metric).collect();
        let first = metrics.iter().flatten().next();
        let of_first = |child: &usize| first.is_some() && metrics[*child].as_ref() == first;
        let members: Vec<usize> = (0..self.children.len()).filter(of_first).collect();
        if members.len() > 1 {
            let (options, number) = (scan::options(members.len()), SearchNumber::next());
            for member in &members {
                self.children[*member].open(options, number);
                self.children[*member].is_member = true;
            }
            self.members = members;
            self.federation = Some(Federation::new(options));
            self.next_round();
        }
        for child in 0..self.children.len() {
            if !self.children[child].is_member {
                self.fetch(child);
            }
        }
    }

    /// Searches on, and gives every member its turn.
    fn next_round(&mut self) {
        let Some(federation) = &mut self.federation else { return };
        let started = Instant::now();
        let children = &self.children;
        // SAFETY: members are different children, each with a search of its own.
        let searches = self.members.iter().map(|member| unsafe { children[*member].search() });
        federation
            .next_round(&mut searches.collect::<Vec<_>>())
            // SAFETY: a member's index is open.
            .map_err(|(scan, error)| unsafe { index_error(children[self.members[scan]].index(), error) })
            .or_raise();
        // SAFETY: a member has been opened.
        unsafe { scan::add_time((*children[self.members[0]].index_scan()).iss_ScanDesc, started.elapsed()) };
        self.walking = self.members.iter().filter(|member| self.search(**member).is_member()).count();
        self.waiting = 0;
        for member in self.members.clone() {
            self.take_turn(member);
        }
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
            let Child { state, is_member, row } = &mut self.children[child];
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
            let value = if is_null { Value(None) } else { Value::new(f64::from_bits(value.value() as u64)) };
            self.turns.push(Reverse(Turn { value, is_fetched: true, child }));
        }
    }

    /// The search of a member.
    fn search(&self, member: usize) -> &Scan<RelationStore> {
        // SAFETY: no other reference to it lives while `self` is borrowed, as `next_round` keeps none.
        unsafe { self.children[member].search() }
    }
}

impl Child {
    /// Its state as that of an index scan; null where it is something else.
    fn index_scan(&self) -> *mut pg_sys::IndexScanState {
        // SAFETY: an initialized node; the tag says what it is.
        let is_index_scan = unsafe { (*self.state).type_ } == pg_sys::NodeTag::T_IndexScanState;
        if is_index_scan { self.state.cast() } else { std::ptr::null_mut() }
    }

    /// The metric of the distances that its rows are ordered by, where it scans a walia_hnsw index.
    fn metric(&self) -> Option<walia_core::types::Metric> {
        // SAFETY: an initialized index scan has its index open.
        unsafe {
            let state = self.index_scan().as_ref()?;
            (state.iss_NumOrderByKeys == 1).then(|| scan::metric(state.iss_RelationDesc)).flatten()
        }
    }

    /// # Safety
    /// It scans an index.
    unsafe fn index(&self) -> pg_sys::Relation {
        // SAFETY: by the caller's promise.
        unsafe { (*self.index_scan()).iss_RelationDesc }
    }

    /// Opens its scan, as the first row that is asked of it would, and begins the search.
    fn open(&self, options: ScanOptions, number: SearchNumber) {
        let state = self.index_scan();
        // SAFETY: an initialized scan of a walia_hnsw index; this is what Postgres's node does before its first row.
        unsafe {
            let keys_missing = (*state).iss_NumRuntimeKeys != 0 && !(*state).iss_RuntimeKeysReady;
            if keys_missing || !(*self.state).chgParam.is_null() {
                pg_sys::ExecReScan(self.state);
            }
            if (*state).iss_ScanDesc.is_null() {
                (*state).iss_ScanDesc = pg_sys::index_beginscan(
                    (*state).ss.ss_currentRelation,
                    (*state).iss_RelationDesc,
                    (*(*self.state).state).es_snapshot,
                    #[cfg(feature = "pg18")]
                    &raw mut (*state).iss_Instrument,
                    (*state).iss_NumScanKeys,
                    (*state).iss_NumOrderByKeys,
                );
                pg_sys::index_rescan(
                    (*state).iss_ScanDesc,
                    (*state).iss_ScanKeys,
                    (*state).iss_NumScanKeys,
                    (*state).iss_OrderByKeys,
                    (*state).iss_NumOrderByKeys,
                );
            }
            scan::begin_member((*state).iss_ScanDesc, options, number);
        }
    }

    /// Its search.
    ///
    /// # Safety
    /// It has been opened, and no other reference to its search lives.
    unsafe fn search<'a>(&self) -> &'a mut Scan<RelationStore> {
        // SAFETY: by the caller's promise.
        unsafe { scan::search((*self.index_scan()).iss_ScanDesc) }.expect("begun by `open`")
    }
}
