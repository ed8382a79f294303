//! Index scans: `ambeginscan`, `amrescan`, `amgettuple`, `amendscan`.

mod member;
mod open;
pub mod totals;

pub use member::Member;
pub use open::{Opened, open};
use totals::Totals;

use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};
use walia_core::page::scan::{Hit, IterativeScan, Next, Scan, ScanOptions, Walk};

use super::counters;
use super::heap::HeapVectors;
use super::last::{self, LastScan, SearchNumber};
use super::sort::Sorter;
use crate::error::{OrRaise, Result};
use crate::error_context::enter;
use crate::guc;
use crate::memory;
use crate::store::error::index_error;
use crate::store::{RelationStore, item_pointer};

/// Core's scan, with Postgres's sort and the rows of the table.
type IndexScan = Scan<RelationStore, Sorter, HeapVectors>;

/// What several scans that are searched as one have of each.
pub type Search = Walk<RelationStore>;

/// What a scan keeps between calls.
///
/// It is dropped with its memory context, at the end or by an abort. By then nothing in it holds a buffer:
/// core's scan gives every page back before it returns.
struct ScanState {
    /// Child of the context that the scan began in: the executor's own is reset by the row.
    context: pg_sys::MemoryContext,
    /// `None` until the first row is asked for.
    scan: Option<IndexScan>,
    /// The search, and the time that was spent on it.
    number: SearchNumber,
    time: Duration,
    /// What the searches before this one did.
    totals: Totals,
    /// Whether it is searched together with others, by who logs them as one.
    is_member: bool,
}

impl ScanState {
    /// The state of a scan.
    ///
    /// # Safety
    /// `scan` is one of `ambeginscan`'s that has not ended, and nobody else uses its state as long as the
    /// reference lives.
    unsafe fn of<'s>(scan: pg_sys::IndexScanDesc) -> &'s mut Self {
        // SAFETY: by the caller's promise.
        unsafe { &mut *(*scan).opaque.cast() }
    }

    /// Begins the search.
    ///
    /// # Safety
    /// This is the state of `scan`, which `amrescan` has given its keys.
    unsafe fn begin(&mut self, scan: pg_sys::IndexScanDesc, options: ScanOptions, number: SearchNumber) {
        // SAFETY: the context of the state; both live until `amendscan`.
        let begun =
            unsafe { PgMemoryContexts::For(self.context).switch_to(|_| search(scan, self.context, options)) };
        self.scan = Some(begun.or_raise());
        self.number = number;
    }

    /// The next row, once the search has begun. `index` is the one that is scanned.
    fn next(&mut self, index: pg_sys::Relation) -> Option<Hit> {
        let scan = self.scan.as_mut()?;
        // SAFETY: the context of the state.
        let next = unsafe { PgMemoryContexts::For(self.context).switch_to(|_| scan.next()) };
        // SAFETY: the index of a scan is open.
        match next.map_err(|error| unsafe { index_error(index, error) }).or_raise() {
            Next::Row(hit) => Some(hit),
            Next::RoundEnd | Next::End => None,
        }
    }

    /// What the search did so far.
    fn done(&self) -> LastScan {
        let Some(scan) = &self.scan else { return LastScan::default() };
        LastScan::new(scan.stats(), scan.store(), scan.table.prefetch_stats(), self.time)
    }

    /// Ends the search, if one has begun.
    fn end(&mut self) {
        let mut done = self.done();
        if let Some(mut scan) = self.scan.take() {
            scan.table.end();
            scan.store().forget_snapshot();
            if may_heal() {
                // The answer is complete: damage that a later scan will report is not its concern.
                _ = scan.heal(guc::heal());
            }
            done.stats = scan.stats();
            last::record(self.number, done);
            self.totals = self.totals.and(&done, scan.second_run_reason());
            counters::add_search(scan.store(), &done);
            if !self.is_member {
                last::log(&done, || scan.store().quoted_name());
            }
            self.time = Duration::ZERO;
            scan.sorter.end();
        }
    }
}

/// Whether a scan mends links that it has met.
pub fn may_heal() -> bool {
    // SAFETY: asks for the state of the server.
    guc::heal() > 0 && !unsafe { pg_sys::RecoveryInProgress() }
}

/// `ambeginscan`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    keys: i32,
    order_bys: i32,
) -> pg_sys::IndexScanDesc {
    enter!();
    // SAFETY: Postgres gives an open index; what is made here lives in the current memory context.
    let (scan, context) = unsafe {
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"walia_hnsw scan".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        (pg_sys::RelationGetIndexScan(index, keys, order_bys), context)
    };
    let (number, time) = (SearchNumber::default(), Duration::ZERO);
    let totals = Totals::default();
    let state = ScanState { context, scan: None, number, time, totals, is_member: false };
    // SAFETY: a new scan. The state lives as long as its context, which `amendscan` deletes.
    unsafe { (*scan).opaque = PgMemoryContexts::For(context).leak_and_drop_on_delete(state).cast() };
    scan
}

/// `amrescan`: takes the query; the search itself waits for the first row to be asked for.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    key_count: i32,
    order_bys: pg_sys::ScanKey,
    order_by_count: i32,
) {
    enter!();
    // SAFETY: Postgres gives a scan of this access method, and calls one function of it at a time.
    let (state, scan) = unsafe { (ScanState::of(scan), &mut *scan) };
    state.end();
    // SAFETY: Postgres gives as many keys as it announced to `ambeginscan`, or none to keep the old ones.
    unsafe {
        if !keys.is_null() && key_count > 0 {
            ptr::copy(keys, scan.keyData, scan.numberOfKeys as usize);
        }
        if !order_bys.is_null() && order_by_count > 0 {
            ptr::copy(order_bys, scan.orderByData, scan.numberOfOrderBys as usize);
        }
    }
}

/// `amgettuple`: the next row in the order of distances.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    _direction: pg_sys::ScanDirection::Type,
) -> bool {
    enter!();
    // SAFETY: Postgres gives a scan of this access method, and calls one function of it at a time.
    let (state, descriptor) = unsafe { (ScanState::of(scan), &mut *scan) };
    let started = Instant::now();
    if state.scan.is_none() {
        // SAFETY: the state of the scan, which has its keys when a row is asked for.
        unsafe { state.begin(scan, options(1), SearchNumber::next()) };
    }
    let hit = state.next(descriptor.indexRelation);
    memory::check();
    state.time += started.elapsed();
    let (Some(hit), Some(scan)) = (hit, &state.scan) else { return false };
    scan.table.count_row(hit.heap_tid);
    descriptor.xs_heaptid = item_pointer(hit.heap_tid);
    descriptor.xs_recheck = false;
    // Distances are exact and in order: the executor need not compute them again.
    descriptor.xs_recheckorderby = false;
    true
}

/// `amendscan`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    enter!();
    // SAFETY: Postgres gives a scan of this access method, and calls one function of it at a time.
    let (state, scan) = unsafe { (ScanState::of(scan), &mut *scan) };
    state.end();
    scan.opaque = ptr::null_mut();
    let context = state.context;
    // SAFETY: made by `ambeginscan`; nobody uses the state in it any more.
    unsafe { pg_sys::MemoryContextDelete(context) };
}

/// What the searches of a scan did so far; `None` where it is searched together with others.
///
/// # Safety
/// The scan is one of this access method's that has not ended, and nobody uses it.
#[cfg(feature = "pg18")]
pub unsafe fn totals(scan: pg_sys::IndexScanDesc) -> Option<Totals> {
    // SAFETY: by the caller's promise.
    let state = unsafe { ScanState::of(scan) };
    let Some(search) = &state.scan else { return Some(state.totals) };
    (!state.is_member).then(|| state.totals.and(&state.done(), search.second_run_reason()))
}

/// How the session's settings say to scan, as one of so many scans that are searched as one.
pub fn options(members: usize) -> ScanOptions {
    ScanOptions {
        ef_search: guc::ef_search(),
        iterative: match guc::iterative_scan() {
            guc::IterativeScan::Off => IterativeScan::Off,
            guc::IterativeScan::RelaxedOrder => IterativeScan::RelaxedOrder,
            guc::IterativeScan::StrictOrder => IterativeScan::StrictOrder,
        },
        max_tuples: guc::max_scan_tuples(),
        // Nodes that were met are in hash tables.
        // SAFETY: looks at settings that Postgres defines.
        memory: unsafe { pg_sys::get_hash_memory_limit() },
        members,
    }
}

/// Begins the search that a scan's keys ask for.
///
/// # Safety
/// `descriptor` is that of a scan that `amrescan` has given its keys, and `context` lives as long.
unsafe fn search(
    descriptor: pg_sys::IndexScanDesc,
    context: pg_sys::MemoryContext,
    options: ScanOptions,
) -> Result<IndexScan> {
    // SAFETY: by the caller's promise. The scan's relations are open until `ScanState::end`.
    unsafe {
        let Opened { index, meta, query } = open(descriptor)?;
        let parameters = index.schema.layout.parameters;
        let vector = query.as_deref();
        let vectors = HeapVectors::new(descriptor, context, parameters, vector.unwrap_or_default());
        Ok(Scan::new(index, meta, vector, options, Sorter::default(), vectors))
    }
}
