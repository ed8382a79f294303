//! What the scan does while it is executed: it walks, and where that would cost more than ranking all rows
//! that pass, does that.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::page::scan::{Alternative, Answer, Nearest, NearestOptions, ScanStats};
use walia_core::types::Metric;

use super::NAME;
use super::explain::{self, Totals};
use super::preceding::Preceding;
use super::private::Private;
use super::rounding::Rounding;
use super::rows::Rows;
use crate::am::counters;
use crate::am::heap::HeapVectors;
use crate::am::last::{self, LastScan, SearchNumber};
use crate::am::scan::{self, Opened};
use crate::am::sort::Sorter;
use crate::error::OrRaise;
use crate::guc;
use crate::nodes::NodeRef;
use crate::plan::child::open_scan;
use crate::plan::goal::RunGoal;
use crate::plan::rows::{Row, ScanRows};
use crate::plan::{callbacks, custom};
use crate::store::RelationStore;
use crate::store::error::index_error;

type Search = Nearest<RelationStore, Sorter, Rows>;

/// What belongs to the node while it is executed.
pub struct Execution {
    node: *mut pg_sys::CustomScanState,
    flags: c_int,
    /// Of the search: reset whenever it ends.
    context: pg_sys::MemoryContext,
    /// The children that scan indexes.
    indexes: Vec<*mut pg_sys::IndexScanState>,
    /// The last child, which ranks all rows that pass; it is initialized when it is needed.
    exact: *mut pg_sys::PlanState,
    goal: RunGoal,
    preceding: Preceding,
    alternative: Alternative,
    way: Way,
    search: Option<Search>,
    number: SearchNumber,
    time: Duration,
    /// What was done by all executions.
    pub totals: Totals,
}

/// Where rows come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Start,
    Walk,
    Exact,
}

impl callbacks::Execution for Execution {
    const NAME: &'static CStr = NAME;

    /// The children that scan indexes are initialized, and the last one only where EXPLAIN is to show it.
    unsafe fn begin(node: *mut pg_sys::CustomScanState, executor: *mut pg_sys::EState, flags: c_int) -> Self {
        // SAFETY: by the caller's promise; the plan is one of this module's `path`.
        let plan = unsafe { NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast()) };
        let private = Private::decode(plan.custom_exprs(), plan.custom_private());
        // SAFETY: as above.
        let goal = unsafe { RunGoal::new(node, private.goal) };
        // SAFETY: as above.
        let context = unsafe { custom::search_context(executor, NAME) };
        let mut execution = Self {
            node,
            flags,
            context,
            indexes: Vec::new(),
            exact: ptr::null_mut(),
            goal,
            preceding: private.preceding,
            alternative: private.alternative,
            way: Way::Start,
            search: None,
            number: SearchNumber::default(),
            time: Duration::ZERO,
            totals: Totals::default(),
        };
        for child in 0..plan.custom_plans().len() - 1 {
            // SAFETY: by the caller's promise.
            let index = unsafe { NodeRef::new(custom::initialize_child(node, child, flags)) }
                .downcast::<pg_sys::IndexScanState>();
            execution.indexes.push(index.expect("a scan of an index").as_ptr());
        }
        // SAFETY: as above.
        let is_shown = unsafe { (*executor).es_instrument } != 0;
        if is_shown || flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0 {
            execution.initialize_exact();
        }
        execution
    }

    fn next(&mut self) -> *mut pg_sys::TupleTableSlot {
        if self.way == Way::Start {
            self.start();
        }
        if self.way == Way::Walk {
            let started = Instant::now();
            let answer = self.step();
            self.time += started.elapsed();
            match answer {
                Answer::Row(table, row) => {
                    let search = self.search.as_mut().expect("walks");
                    return search.members_mut()[table].table.give(row);
                }
                Answer::End => return ptr::null_mut(),
                Answer::GivesUp(reason) => {
                    self.end();
                    self.totals.exact += 1;
                    self.totals.reason = Some(reason);
                    self.way = Way::Exact;
                    self.initialize_exact();
                    // A sort keeps no more rows.
                    let wanted = self.goal.most().map_or(-1, |wanted| wanted as i64);
                    // SAFETY: an initialized child that has given nothing since it began, or began anew.
                    unsafe { pg_sys::ExecSetTupleBound(wanted, self.exact) };
                }
            }
        }
        // SAFETY: an initialized child.
        unsafe { pg_sys::ExecProcNode(self.exact) }
    }

    fn restart(&mut self) {
        self.end();
        self.way = Way::Start;
    }

    fn end(&mut self) {
        let mut done = self.done();
        let Some(mut search) = self.search.take() else { return };
        for member in search.members_mut() {
            member.table.end();
            member.store().forget_snapshot();
            if scan::may_heal() {
                // The answer is complete: damage that a later scan will report is not its concern.
                _ = member.heal(guc::heal());
            }
        }
        done.stats = search.stats();
        for member in search.members() {
            let stats = ScanStats { rounds: done.stats.rounds, ..member.stats() };
            let rows = member.table.prefetch_stats();
            // Time is that of the search, of all tables together.
            counters::add_search(member.store(), &LastScan::new(stats, member.store(), rows, self.time));
        }
        search.members_mut().iter_mut().for_each(|member| member.sorter.end());
        last::log(&done, || last::names(search.members().iter().map(|member| member.store().quoted_name())));
        drop(search);
        self.totals.scans = self.totals.scans.and(&done);
        last::record(self.number, done);
        self.time = Duration::ZERO;
        // SAFETY: nobody uses what the search has allocated.
        unsafe { pg_sys::MemoryContextReset(self.context) };
    }

    fn explain(&self, state: NodeRef<pg_sys::ExplainState>) {
        explain::show(self.totals, self.scans(), self.indexes.len() as u64, state);
    }
}

impl Execution {
    fn step(&mut self) -> Answer<Row> {
        let search = self.search.as_mut().expect("walks");
        // SAFETY: the context lives as long as the execution.
        let answer = unsafe { PgMemoryContexts::For(self.context).switch_to(|_| search.next_row()) };
        search.members_mut().iter_mut().for_each(|member| member.table.release());
        let indexes = &self.indexes;
        // SAFETY: an initialized scan has its index open.
        let relation = |number: usize| unsafe { (*indexes[number]).iss_RelationDesc };
        // SAFETY: as above.
        answer.map_err(|(number, error)| unsafe { index_error(relation(number), error) }).or_raise()
    }

    /// Begins the search that the scan's keys ask for.
    fn start(&mut self) {
        self.totals.executions += 1;
        self.number = SearchNumber::next();
        // SAFETY: initialized index scans.
        let scans: Vec<_> = self.indexes.iter().map(|index| unsafe { open_scan(*index) }).collect();
        // SAFETY: the scans have their keys; they end after `end`.
        let search = unsafe { PgMemoryContexts::For(self.context).switch_to(|_| self.search(&scans)) };
        self.search = Some(search);
        self.way = Way::Walk;
    }

    /// The search that the scans' keys ask for.
    ///
    /// # Safety
    /// The scans are those of the indexes, have their keys, and end after `end`.
    unsafe fn search(&self, scans: &[pg_sys::IndexScanDesc]) -> Search {
        // SAFETY: by the caller's promise.
        let opened = scans.iter().map(|scan| unsafe { scan::open(*scan) }.or_raise());
        let opened: Vec<_> = opened.collect();
        let radius = self.goal.radius().map(|radius| radius.distance);
        // An upper bound lets no row without a distance pass, unless it is greater than all numbers.
        let is_unbounded = radius.is_some_and(f64::is_nan);
        let is_preceded =
            is_unbounded || opened.iter().zip(scans).any(|(opened, scan)| self.is_preceded(opened, *scan));
        let mut search = None;
        for ((state, descriptor), opened) in self.indexes.iter().zip(scans).zip(opened) {
            let Opened { index, meta, query } = opened;
            let parameters = index.schema.layout.parameters;
            // A search for nothing gives up at once.
            let vector = query.as_deref().filter(|_| !is_preceded);
            // SAFETY: as above; the context lives as long as the execution.
            let rows = unsafe {
                let vector = vector.unwrap_or_default();
                let vectors = HeapVectors::new(*descriptor, self.context, parameters, vector);
                Rows::new(ScanRows::new(*state), vectors)
            };
            // SAFETY: as above.
            let rounding = unsafe { Rounding::of(*descriptor, &parameters) };
            let options = || self.options(parameters.metric, radius.map(|radius| rounding.widened(radius)));
            let search = search.get_or_insert_with(|| Nearest::new(options()));
            let added = search.add(index, meta, vector, Sorter::default(), rows);
            // SAFETY: the index of a scan is open.
            added.map_err(|error| unsafe { index_error((**descriptor).indexRelation, error) }).or_raise();
        }
        search.expect("a plan with an index")
    }

    /// What is wanted of the search, of indexes with this metric, within a radius.
    fn options(&self, metric: Metric, radius: Option<f64>) -> NearestOptions {
        NearestOptions {
            scan: scan::options(self.indexes.len()),
            wanted: self.goal.wanted(),
            is_known: self.goal.is_known(),
            radius: radius.map_or(f64::INFINITY, |radius| metric.distance_within(radius)),
            alternative: Some(self.alternative),
        }
    }

    /// Whether rows that the walk gives last, if at all, may come first.
    fn is_preceded(&self, opened: &Opened, scan: pg_sys::IndexScanDesc) -> bool {
        let Opened { index, meta, query } = opened;
        let preceding = self.preceding;
        if preceding == Preceding::default() {
            return false;
        }
        let is_undefined = query.as_deref().is_some_and(|query| !index.schema.measure.is_ordinary(query));
        // SAFETY: the index of a scan is open.
        let failed = |error| unsafe { index_error((*scan).indexRelation, error) };
        preceding.undefined && is_undefined
            || meta.may_hold(&index.store, &preceding.kinds()).map_err(failed).or_raise()
    }

    /// Initializes the child that ranks all rows that pass, unless that has been done.
    fn initialize_exact(&mut self) {
        if self.exact.is_null() {
            // A sort that may be read again would keep the rows of another limit.
            let again = pg_sys::EXEC_FLAG_REWIND | pg_sys::EXEC_FLAG_BACKWARD | pg_sys::EXEC_FLAG_MARK;
            let flags = self.flags & !(again as c_int);
            // SAFETY: by the promise of `begin`.
            self.exact = unsafe { custom::initialize_child(self.node, self.indexes.len(), flags) };
        }
    }

    /// What the search did so far.
    fn done(&self) -> LastScan {
        let Some(search) = &self.search else { return LastScan::default() };
        let pages = search.members().iter().map(|member| {
            let rows = member.table.prefetch_stats();
            LastScan::new(ScanStats::default(), member.store(), rows, Duration::ZERO)
        });
        let pages = pages.fold(LastScan::default(), |all, of_member| all.and(&of_member));
        LastScan { stats: search.stats(), time: self.time, ..pages }
    }

    /// What all searches did so far.
    fn scans(&self) -> LastScan {
        self.totals.scans.and(&self.done())
    }
}
