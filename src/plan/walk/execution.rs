//! What the scan does while it is executed: it walks, and where that would cost more than ranking all rows
//! that pass, does that.

use std::ffi::c_int;
use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::page::scan::{Answer, Nearest, NearestOptions};
use walia_core::page::{Index, Meta};
use walia_core::types::Metric;

use super::preceding::Preceding;
use super::private::{Numbers, Private};
use super::rows::{Row, Rows};
use super::{NAME, USUAL};
use crate::am::heap::HeapVectors;
use crate::am::last::{self, LastScan, SearchNumber};
use crate::am::scan::{self, Opened};
use crate::am::sort::Sorter;
use crate::error::OrRaise;
use crate::guc;
use crate::nodes::NodeRef;
use crate::plan::child::open_scan;
use crate::store::RelationStore;
use crate::store::error::index_error;

/// The places of the children in the plan.
const INDEX: usize = 0;
const EXACT: usize = 1;

type Search = Nearest<RelationStore, Sorter, Rows>;

/// What belongs to the node while it is executed.
pub struct Execution {
    node: *mut pg_sys::CustomScanState,
    flags: c_int,
    /// Of the search: reset whenever it ends.
    context: pg_sys::MemoryContext,
    index: *mut pg_sys::IndexScanState,
    /// The child that ranks all rows that pass; it is initialized when it is needed.
    exact: *mut pg_sys::PlanState,
    limit: *mut pg_sys::ExprState,
    offset: *mut pg_sys::ExprState,
    bound: *mut pg_sys::ExprState,
    numbers: Numbers,
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

/// What EXPLAIN shows of all executions.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub executions: u64,
    /// Those that turned to the other child.
    pub exact: u64,
    pub scans: LastScan,
}

impl Execution {
    /// An execution that has begun: the child that scans the index is initialized, and the other one only
    /// where EXPLAIN is to show it.
    ///
    /// # Safety
    /// The execution of `node` by `executor` has begun with these flags; it lives as long as what is returned
    /// is used.
    pub unsafe fn new(
        node: *mut pg_sys::CustomScanState,
        executor: *mut pg_sys::EState,
        flags: c_int,
    ) -> Self {
        // SAFETY: by the caller's promise; the plan is one of this module's `path`.
        let plan = unsafe { NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast()) };
        let private = Private::decode(plan.custom_exprs(), plan.custom_private());
        // SAFETY: as above. What is made lives as long as the query's memory context.
        let expression = |expression: Option<NodeRef<pg_sys::Node>>| unsafe {
            let expression = expression.map_or(ptr::null_mut(), NodeRef::as_ptr);
            pg_sys::ExecInitExpr(expression.cast(), &raw mut (*node).ss.ps)
        };
        // SAFETY: as above.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                (*executor).es_query_cxt,
                NAME.as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        let mut execution = Self {
            node,
            flags,
            context,
            index: ptr::null_mut(),
            exact: ptr::null_mut(),
            limit: expression(private.limit),
            offset: expression(private.offset),
            bound: expression(private.bound),
            numbers: private.numbers,
            way: Way::Start,
            search: None,
            number: SearchNumber::default(),
            time: Duration::ZERO,
            totals: Totals::default(),
        };
        let index = execution.initialize(INDEX, flags);
        // SAFETY: an initialized node.
        let index = unsafe { NodeRef::new(index) }.downcast::<pg_sys::IndexScanState>();
        execution.index = index.expect("a scan of an index").as_ptr();
        // SAFETY: as above.
        let is_shown = unsafe { (*executor).es_instrument } != 0;
        if is_shown || flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0 {
            execution.initialize_exact();
        }
        execution
    }

    /// Initializes a child.
    fn initialize(&self, child: usize, flags: c_int) -> *mut pg_sys::PlanState {
        // SAFETY: by the promise of `new`; the child has not been initialized.
        unsafe {
            let plan = NodeRef::<pg_sys::CustomScan>::new((*self.node).ss.ps.plan.cast());
            let child = plan.custom_plans().get(child).expect("a plan with two children");
            let executor = (*self.node).ss.ps.state;
            PgMemoryContexts::For((*executor).es_query_cxt).switch_to(|_| {
                let state = pg_sys::ExecInitNode(child.as_ptr(), executor, flags);
                (*self.node).custom_ps = pg_sys::lappend((*self.node).custom_ps, state.cast());
                state
            })
        }
    }

    /// The next row; null where there is none.
    pub fn next(&mut self) -> *mut pg_sys::TupleTableSlot {
        if self.way == Way::Start {
            self.begin();
        }
        if self.way == Way::Walk {
            let started = Instant::now();
            let answer = self.step();
            self.time += started.elapsed();
            match answer {
                Answer::Row(row) => {
                    let search = self.search.as_mut().expect("walks");
                    return search.table.give(row);
                }
                Answer::End => return ptr::null_mut(),
                Answer::Dear => {
                    self.end();
                    self.totals.exact += 1;
                    self.way = Way::Exact;
                    self.initialize_exact();
                    // A sort keeps no more rows.
                    let wanted = self.limit().filter(|_| self.numbers.past == 0.0);
                    let wanted = wanted.map_or(-1, |wanted| wanted as i64);
                    // SAFETY: an initialized child that has given nothing since it began, or began anew.
                    unsafe { pg_sys::ExecSetTupleBound(wanted, self.exact) };
                }
            }
        }
        // SAFETY: an initialized child.
        unsafe { pg_sys::ExecProcNode(self.exact) }
    }

    fn step(&mut self) -> Answer<Row> {
        let search = self.search.as_mut().expect("walks");
        // SAFETY: the context lives as long as the execution.
        let answer = unsafe { PgMemoryContexts::For(self.context).switch_to(|_| search.next_row()) };
        search.table.release();
        // SAFETY: an initialized scan has its index open.
        answer.map_err(|error| unsafe { index_error((*self.index).iss_RelationDesc, error) }).or_raise()
    }

    /// Begins the search that the scan's keys ask for.
    fn begin(&mut self) {
        self.totals.executions += 1;
        self.number = SearchNumber::next();
        // SAFETY: an initialized index scan.
        let descriptor = unsafe { open_scan(self.index) };
        // SAFETY: the scan has its keys; it ends after `end`.
        let search = unsafe { PgMemoryContexts::For(self.context).switch_to(|_| self.search(descriptor)) };
        self.search = Some(search);
        self.way = Way::Walk;
    }

    /// The search that a scan's keys ask for.
    ///
    /// # Safety
    /// `descriptor` is that of the index's scan, which has its keys, and ends after [`Execution::end`].
    unsafe fn search(&self, descriptor: pg_sys::IndexScanDesc) -> Search {
        // SAFETY: by the caller's promise.
        let Opened { index, meta, query } = unsafe { scan::open(descriptor) }.or_raise();
        let parameters = index.schema.layout.parameters;
        // A search for nothing gives up at once.
        let vector = query.as_deref().filter(|query| !self.is_preceded(&index, &meta, query));
        // SAFETY: as above; the context lives as long as the execution.
        let rows = unsafe {
            let vector = vector.unwrap_or_default();
            Rows::new(self.index, HeapVectors::new(descriptor, self.context, parameters, vector))
        };
        let options = NearestOptions {
            scan: scan::options(1),
            wanted: self.wanted(),
            radius: self.radius(parameters.metric),
            alternative: Some(self.numbers.alternative),
        };
        Nearest::new(index, meta, vector, options, Sorter::default(), rows)
    }

    /// Whether rows that the walk gives last, if at all, may come first.
    fn is_preceded(&self, index: &Index<RelationStore>, meta: &Meta, query: &[u8]) -> bool {
        let preceding = self.numbers.preceding;
        if preceding == Preceding::default() {
            return false;
        }
        // SAFETY: an initialized scan has its index open.
        let failed = |error| unsafe { index_error((*self.index).iss_RelationDesc, error) };
        preceding.undefined && !index.schema.measure.is_ordinary(query)
            || meta.may_hold(&index.store, &preceding.kinds()).map_err(failed).or_raise()
    }

    /// The distance, as the index ranks it, beyond which no row passes.
    fn radius(&self, metric: Metric) -> f64 {
        if self.bound.is_null() {
            return f64::INFINITY;
        }
        // A condition that is NULL lets nothing pass.
        self.value(self.bound).map_or(f64::NEG_INFINITY, |bound| {
            let bound = f64::from_bits(bound.value() as u64);
            metric.distance_within((bound - self.numbers.shift) / self.numbers.scale)
        })
    }

    /// How many rows are wanted.
    fn wanted(&self) -> usize {
        self.limit().map_or(USUAL, |limit| limit.saturating_add(self.numbers.past as usize).max(1))
    }

    /// The limit, and what is left out before, if there is one. Postgres complains of negative ones.
    fn limit(&self) -> Option<usize> {
        let [count, offset] = [self.limit, self.offset].map(|expression| self.value(expression));
        let [count, offset] =
            [count, offset.or(Some(0.into()))].map(|value| value.map(|value| value.value() as i64));
        Some(count?.max(0).saturating_add(offset?.max(0)) as usize)
    }

    /// The value of an expression; none where there is no expression, or it is NULL.
    fn value(&self, expression: *mut pg_sys::ExprState) -> Option<pg_sys::Datum> {
        if expression.is_null() {
            return None;
        }
        let mut is_null = false;
        // SAFETY: initialized with the node, whose expression context it is evaluated in. Values are numbers.
        let value = unsafe {
            let context = (*self.node).ss.ps.ps_ExprContext;
            let value = pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            value
        };
        (!is_null).then_some(value)
    }

    /// Initializes the child that ranks all rows that pass, unless that has been done.
    fn initialize_exact(&mut self) {
        if self.exact.is_null() {
            // A sort that may be read again would keep the rows of another limit.
            let again = pg_sys::EXEC_FLAG_REWIND | pg_sys::EXEC_FLAG_BACKWARD | pg_sys::EXEC_FLAG_MARK;
            self.exact = self.initialize(EXACT, self.flags & !(again as c_int));
        }
    }

    /// What the search did so far.
    fn done(&self) -> LastScan {
        let Some(search) = &self.search else { return LastScan::default() };
        LastScan::new(search.stats(), search.store(), search.table.prefetch_stats(), self.time)
    }

    /// What all searches did so far.
    pub fn scans(&self) -> LastScan {
        self.totals.scans.and(&self.done())
    }

    /// Ends the search, if one has begun; called before the children end.
    pub fn end(&mut self) {
        let mut done = self.done();
        let Some(mut search) = self.search.take() else { return };
        search.table.end();
        search.store().forget_snapshot();
        if scan::may_heal() {
            // The answer is complete: damage that a later scan will report is not its concern.
            _ = search.heal(guc::heal());
        }
        done.stats = search.stats();
        search.end_sorter(Sorter::end);
        drop(search);
        self.totals.scans = self.totals.scans.and(&done);
        last::record(self.number, done);
        self.time = Duration::ZERO;
        // SAFETY: nobody uses what the search has allocated.
        unsafe { pg_sys::MemoryContextReset(self.context) };
    }

    /// Begins anew with the next row; the caller rescans the children afterwards.
    pub fn restart(&mut self) {
        self.end();
        self.way = Way::Start;
    }
}
