//! What the scan does while it is executed: it walks, and where that would cost more than ranking all rows
//! that pass, does that.

use std::ffi::c_int;
use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::page::scan::{Answer, Nearest, NearestOptions, ScanStats};
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
    /// An execution that has begun: the children that scan indexes are initialized, and the last one only
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
            indexes: Vec::new(),
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
        for child in 0..plan.custom_plans().len() - 1 {
            let index = execution.initialize(child, flags);
            // SAFETY: an initialized node.
            let index = unsafe { NodeRef::new(index) }.downcast::<pg_sys::IndexScanState>();
            execution.indexes.push(index.expect("a scan of an index").as_ptr());
        }
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
            let child = plan.custom_plans().get(child).expect("a child of the plan");
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
                Answer::Row(table, row) => {
                    let search = self.search.as_mut().expect("walks");
                    return search.members_mut()[table].table.give(row);
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
        search.members_mut().iter_mut().for_each(|member| member.table.release());
        let indexes = &self.indexes;
        // SAFETY: an initialized scan has its index open.
        let relation = |number: usize| unsafe { (*indexes[number]).iss_RelationDesc };
        // SAFETY: as above.
        answer.map_err(|(number, error)| unsafe { index_error(relation(number), error) }).or_raise()
    }

    /// Begins the search that the scan's keys ask for.
    fn begin(&mut self) {
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
    /// The scans are those of the indexes, have their keys, and end after [`Execution::end`].
    unsafe fn search(&self, scans: &[pg_sys::IndexScanDesc]) -> Search {
        // SAFETY: by the caller's promise.
        let opened = scans.iter().map(|scan| unsafe { scan::open(*scan) }.or_raise());
        let opened: Vec<_> = opened.collect();
        let is_preceded = opened.iter().zip(scans).any(|(opened, scan)| self.is_preceded(opened, *scan));
        let mut search = None;
        for ((state, descriptor), opened) in self.indexes.iter().zip(scans).zip(opened) {
            let Opened { index, meta, query } = opened;
            let parameters = index.schema.layout.parameters;
            // A search for nothing gives up at once.
            let vector = query.as_deref().filter(|_| !is_preceded);
            // SAFETY: as above; the context lives as long as the execution.
            let rows = unsafe {
                let vector = vector.unwrap_or_default();
                Rows::new(*state, HeapVectors::new(*descriptor, self.context, parameters, vector))
            };
            let search = search.get_or_insert_with(|| Nearest::new(self.options(parameters.metric)));
            let added = search.add(index, meta, vector, Sorter::default(), rows);
            // SAFETY: the index of a scan is open.
            added.map_err(|error| unsafe { index_error((**descriptor).indexRelation, error) }).or_raise();
        }
        search.expect("a plan with an index")
    }

    /// What is wanted of the search, of indexes with this metric.
    fn options(&self, metric: Metric) -> NearestOptions {
        NearestOptions {
            scan: scan::options(self.indexes.len()),
            wanted: self.wanted(),
            radius: self.radius(metric),
            alternative: Some(self.numbers.alternative),
        }
    }

    /// Whether rows that the walk gives last, if at all, may come first.
    fn is_preceded(&self, opened: &Opened, scan: pg_sys::IndexScanDesc) -> bool {
        let Opened { index, meta, query } = opened;
        let preceding = self.numbers.preceding;
        if preceding == Preceding::default() {
            return false;
        }
        let is_undefined = query.as_deref().is_some_and(|query| !index.schema.measure.is_ordinary(query));
        // SAFETY: the index of a scan is open.
        let failed = |error| unsafe { index_error((*scan).indexRelation, error) };
        preceding.undefined && is_undefined
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
            self.exact = self.initialize(self.indexes.len(), self.flags & !(again as c_int));
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

    /// How many indexes are searched as one.
    pub fn indexes(&self) -> u64 {
        self.indexes.len() as u64
    }

    /// What all searches did so far.
    pub fn scans(&self) -> LastScan {
        self.totals.scans.and(&self.done())
    }

    /// Ends the search, if one has begun; called before the children end.
    pub fn end(&mut self) {
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
        search.members_mut().iter_mut().for_each(|member| member.sorter.end());
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
