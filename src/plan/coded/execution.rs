//! What the scan does while it is executed.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use walia_core::code::standalone::StandaloneQuery;
use walia_core::graph::SearchStats;
use walia_core::page::scan::ScanStats;
use walia_core::rank::{RankOptions, RankStats, Ranking, deviations};

use super::NAME;
use super::explain::{self, Totals};
use super::list::CodeList;
use super::private::Private;
use super::table::Rows;
use crate::am::last::{self, LastScan, SearchNumber};
use crate::am::scan;
use crate::error::OrRaise;
use crate::guc;
use crate::nodes::NodeRef;
use crate::plan::child::open_scan;
use crate::plan::goal::{self, RunGoal};
use crate::plan::{callbacks, custom};
use crate::store::error::relation_name;
use crate::types::{RawVector, code_quantizer};

/// Deviations that count as an estimate's error where rows beyond a radius are left out: none of those within
/// is to be missed.
const CERTAIN: f64 = 4.5;

/// What belongs to the node while it is executed.
pub struct Execution {
    node: *mut pg_sys::CustomScanState,
    /// The child, which scans the index.
    index: *mut pg_sys::IndexScanState,
    goal: RunGoal,
    /// The vector that distances are from.
    query: *mut pg_sys::ExprState,
    private: Private<'static>,
    ranking: Option<Ranking<CodeList, Rows>>,
    number: SearchNumber,
    time: Duration,
    totals: Totals,
}

impl callbacks::Execution for Execution {
    const NAME: &'static CStr = NAME;

    unsafe fn begin(
        node: *mut pg_sys::CustomScanState,
        _executor: *mut pg_sys::EState,
        flags: c_int,
    ) -> Self {
        // SAFETY: by the caller's promise; the plan, which is one of this module's `path`, lives as long.
        let private = unsafe {
            let plan = NodeRef::<pg_sys::CustomScan>::new((*node).ss.ps.plan.cast());
            Private::decode(plan.custom_exprs(), plan.custom_private())
        };
        // SAFETY: as above.
        unsafe {
            let index = NodeRef::new(custom::initialize_child(node, 0, flags));
            Self {
                node,
                index: index.downcast::<pg_sys::IndexScanState>().expect("a scan of an index").as_ptr(),
                goal: RunGoal::new(node, private.goal),
                query: goal::initialized(node, Some(private.query)),
                private,
                ranking: None,
                number: SearchNumber::default(),
                time: Duration::ZERO,
                totals: Totals::default(),
            }
        }
    }

    fn next(&mut self) -> *mut pg_sys::TupleTableSlot {
        let started = Instant::now();
        if self.ranking.is_none() {
            self.start();
        }
        let ranking = self.ranking.as_mut().expect("has begun");
        let row = ranking.next_row();
        let dead = ranking.table.take_many_dead();
        if ranking.table.rows_of_page().is_some_and(|rows| ranking.list.is_crowded(rows)) {
            ranking.list.sweep();
        } else if let Some(dead) = dead {
            ranking.list.tell_dead(&dead);
        }
        ranking.table.release();
        self.time += started.elapsed();
        // SAFETY: an initialized scan has its index open.
        let failed =
            |error| unsafe { crate::store::error::index_error((*self.index).iss_RelationDesc, error) };
        row.map_err(failed).or_raise().map_or(ptr::null_mut(), |row| ranking.table.give(row))
    }

    fn restart(&mut self) {
        self.end();
    }

    fn end(&mut self) {
        let done = self.done();
        let Some(mut ranking) = self.ranking.take() else { return };
        ranking.table.release();
        self.totals = self.totals();
        drop(ranking);
        last::record(self.number, done);
        // SAFETY: an initialized scan has its index open.
        last::log(&done, || format!("\"{}\"", unsafe { relation_name((*self.index).iss_RelationDesc) }));
        self.time = Duration::ZERO;
    }

    fn explain(&self, state: NodeRef<pg_sys::ExplainState>) {
        explain::show(self.totals(), state);
    }
}

impl Execution {
    /// Begins the search that the scan's keys ask for.
    fn start(&mut self) {
        self.totals.executions += 1;
        self.number = SearchNumber::next();
        // SAFETY: an initialized index scan, which ends after `end`.
        let (list, table) = unsafe {
            open_scan(self.index);
            (CodeList::new(self.index, self.private.column), Rows::new(self.index))
        };
        self.ranking = Some(Ranking::new(list, table, self.query(), self.options()));
    }

    /// What estimates distances; `None` where the query's vector is NULL.
    fn query(&self) -> Option<StandaloneQuery> {
        let mut is_null = false;
        // SAFETY: initialized with the node, whose expression context it is evaluated in.
        let value = unsafe {
            let context = (*self.node).ss.ps.ps_ExprContext;
            pg_sys::ExecEvalExprSwitchContext(self.query, context, &mut is_null)
        };
        if is_null {
            return None;
        }
        let Private { metric, element, bits, .. } = self.private;
        // SAFETY: the planner has found that distances are from vectors; the value is there until the context
        // of the expression is reset.
        let vector = unsafe { RawVector::from_datum(value, element) };
        let quantizer = code_quantizer(vector.dimensions(), element, metric, bits);
        Some(StandaloneQuery::new(&quantizer, vector.bytes()))
    }

    fn options(&self) -> RankOptions {
        let scan = scan::options(1);
        let radius = self.goal.radius().filter(|radius| !radius.distance.is_nan());
        let deviations = deviations(guc::ef_search());
        RankOptions {
            metric: self.private.metric,
            deviations: if radius.is_some() { deviations.max(CERTAIN) } else { deviations },
            wanted: self.goal.wanted(),
            radius,
            order: self.private.order,
            memory: scan.memory,
        }
    }

    /// What the search did so far.
    fn done(&self) -> LastScan {
        let Some(ranking) = &self.ranking else { return LastScan::default() };
        let RankStats { entries, passes, tested, failed } = ranking.stats();
        let table = ranking.table.prefetch_stats();
        let search = SearchStats { distances: tested - failed, estimates: entries, ..SearchStats::default() };
        LastScan {
            indexes: 1,
            stats: ScanStats {
                search,
                rounds: passes,
                tested_rows: tested,
                failed_rows: failed,
                ..ScanStats::default()
            },
            prefetched: table.begun,
            prefetched_used: table.used,
            time: self.time,
            ..LastScan::default()
        }
    }

    /// What all searches did so far.
    fn totals(&self) -> Totals {
        let Some(ranking) = &self.ranking else { return self.totals };
        Totals {
            executions: self.totals.executions,
            exhausted: self.totals.exhausted + u64::from(ranking.is_exhausted()),
            ranks: self.totals.ranks.and(ranking.stats()),
            scans: self.totals.scans.and(&self.done()),
        }
    }
}
