//! Index scans: `ambeginscan`, `amrescan`, `amgettuple`, `amendscan`.
//!
//! Imports `column`, `heap`, `last`, `sort`, `guc`, `store` and walia-core.

use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::page::scan::{IterativeScan, Next, Scan, ScanOptions, Walk};
use walia_core::types::Metric;

use super::column;
use super::heap::HeapVectors;
use super::last::{self, LastScan, SearchNumber};
use super::sort::Sorter;
use crate::error::{OrRaise, Result, SqlError};
use crate::error_context::enter;
use crate::guc;
use crate::memory;
use crate::store::error::index_error;
use crate::store::{self, RelationStore, item_pointer};

/// Core's scan, with Postgres's sort and the rows of the table.
type IndexScan = Scan<RelationStore, Sorter, HeapVectors>;

/// What a scan keeps between calls.
///
/// It is dropped with its memory context, at the end or by an abort. By then nothing in it holds a buffer: core's scan
/// gives every page back before it returns.
struct ScanState {
    /// Child of the context that the scan began in: the executor's own is reset by the row.
    context: pg_sys::MemoryContext,
    /// `None` until the first row is asked for.
    scan: Option<IndexScan>,
    /// The search, and the time that was spent on it.
    number: SearchNumber,
    time: Duration,
}

impl ScanState {
    /// What the search did so far.
    fn done(&self) -> LastScan {
        let Some(scan) = &self.scan else { return LastScan::default() };
        let (index, table) = (scan.store().prefetch_stats(), scan.table.prefetch_stats());
        LastScan {
            indexes: 1,
            stats: scan.stats(),
            pages: scan.store().reads(),
            prefetched: index.begun + table.begun,
            prefetched_used: index.used + table.used,
            time: self.time,
        }
    }

    /// Ends the search, if one has begun.
    fn end(&mut self) {
        let mut done = self.done();
        if let Some(mut scan) = self.scan.take() {
            scan.table.end();
            scan.store().forget_snapshot();
            // SAFETY: asks for the state of the server.
            if guc::heal() > 0 && !unsafe { pg_sys::RecoveryInProgress() } {
                // The answer is complete: damage that a later scan will report is not its concern.
                _ = scan.heal(guc::heal());
            }
            done.stats = scan.stats();
            last::record(self.number, done);
            self.time = Duration::ZERO;
            scan.sorter.end();
        }
    }
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
    // SAFETY: Postgres gives an open index. The state lives as long as its context, which `amendscan` deletes.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, keys, order_bys);
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"walia_hnsw scan".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let (number, time) = (SearchNumber::default(), Duration::ZERO);
        let state = ScanState { context, scan: None, number, time };
        (*scan).opaque = PgMemoryContexts::For(context).leak_and_drop_on_delete(state).cast();
        scan
    }
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
    // SAFETY: Postgres gives as many keys as it announced to `ambeginscan`, or none to keep the old ones.
    unsafe {
        let scan = &mut *scan;
        let state = &mut *scan.opaque.cast::<ScanState>();
        state.end();
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
    // SAFETY: `ambeginscan` made the state. The context is switched back below; an ERROR resets it anyway.
    unsafe {
        let state = &mut *(*scan).opaque.cast::<ScanState>();
        let index = (*scan).indexRelation;
        let started = Instant::now();
        let caller = pg_sys::MemoryContextSwitchTo(state.context);
        if state.scan.is_none() {
            state.number = SearchNumber::next();
            state.scan = Some(begin(scan, state.context, options(1)).or_raise());
        }
        let scanned = state.scan.as_mut().expect("begun above");
        let next = scanned.next().map_err(|error| index_error(index, error)).or_raise();
        pg_sys::MemoryContextSwitchTo(caller);
        memory::check();
        state.time += started.elapsed();
        let Next::Row(hit) = next else { return false };
        scanned.table.count_row(hit.heap_tid);
        (*scan).xs_heaptid = item_pointer(hit.heap_tid);
        (*scan).xs_recheck = false;
        // Distances are exact and in order: the executor need not compute them again.
        (*scan).xs_recheckorderby = false;
        true
    }
}

/// `amendscan`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    enter!();
    // SAFETY: `ambeginscan` made the state and its context, and nobody uses them afterwards.
    unsafe {
        let state = (*scan).opaque.cast::<ScanState>();
        (*state).end();
        (*scan).opaque = ptr::null_mut();
        pg_sys::MemoryContextDelete((*state).context);
    }
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
        // SAFETY: a setting that Postgres defines.
        memory: unsafe { pg_sys::work_mem } as usize * 1024,
        members,
    }
}

/// The metric of the distances that order the scans of an index; `None` where it is no walia_hnsw index.
///
/// # Safety
/// `index` is open.
pub unsafe fn metric(index: pg_sys::Relation) -> Option<Metric> {
    // SAFETY: by the caller's promise; the relation cache keeps an open index's routine.
    unsafe {
        let routine = &*(*index).rd_indam;
        is_of_this_method(routine).then(|| column::measure(index)).flatten().map(|(metric, _)| metric)
    }
}

/// Whether an access method has the handler that is in this library: its name may be any.
///
/// # Safety
/// Called in a transaction.
pub unsafe fn is_handled_here(access_method: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise; the handler's answer is null, or the caller's to free.
    unsafe {
        let routine = pg_sys::GetIndexAmRoutineByAmId(access_method, true);
        let is_here = routine.as_ref().is_some_and(is_of_this_method);
        if !routine.is_null() {
            pg_sys::pfree(routine.cast());
        }
        is_here
    }
}

/// Whether a table of callbacks is this access method's.
fn is_of_this_method(routine: &pg_sys::IndexAmRoutine) -> bool {
    let method = amgettuple as unsafe extern "C-unwind" fn(_, _) -> _;
    routine.amgettuple.is_some_and(|other| std::ptr::fn_addr_eq(other, method))
}

/// Begins the search of a scan that is one of several, which a federation does; the scan has had its keys.
///
/// # Safety
/// `scan` is that of an open walia_hnsw index.
pub unsafe fn begin_member(scan: pg_sys::IndexScanDesc, options: ScanOptions, number: SearchNumber) {
    // SAFETY: `ambeginscan` made the state. The context is switched back; an ERROR resets it anyway.
    unsafe {
        let state = &mut *(*scan).opaque.cast::<ScanState>();
        let started = Instant::now();
        let caller = pg_sys::MemoryContextSwitchTo(state.context);
        state.scan = Some(begin(scan, state.context, options).or_raise());
        state.number = number;
        pg_sys::MemoryContextSwitchTo(caller);
        state.time += started.elapsed();
    }
}

/// The walk of a scan, once it has begun.
///
/// # Safety
/// `scan` is that of an open walia_hnsw index; nobody else uses its search as long as the reference lives.
pub unsafe fn search<'a>(scan: pg_sys::IndexScanDesc) -> Option<&'a mut Walk<RelationStore>> {
    // SAFETY: `ambeginscan` made the state.
    let state = unsafe { &mut *(*scan).opaque.cast::<ScanState>() };
    state.scan.as_mut().map(|scan| &mut scan.walk)
}

/// What the search of a scan did so far.
///
/// # Safety
/// `scan` is that of an open walia_hnsw index.
pub unsafe fn done(scan: pg_sys::IndexScanDesc) -> LastScan {
    // SAFETY: `ambeginscan` made the state.
    unsafe { (*(*scan).opaque.cast::<ScanState>()).done() }
}

/// Adds time that was spent on a scan's search elsewhere.
///
/// # Safety
/// `scan` is that of an open walia_hnsw index.
pub unsafe fn add_time(scan: pg_sys::IndexScanDesc, time: Duration) {
    // SAFETY: `ambeginscan` made the state.
    unsafe { (*(*scan).opaque.cast::<ScanState>()).time += time }
}

/// Begins the search that a scan's keys ask for.
///
/// # Safety
/// `descriptor` is that of a scan that `amrescan` has given its keys, and `context` lives as long.
unsafe fn begin(
    descriptor: pg_sys::IndexScanDesc,
    context: pg_sys::MemoryContext,
    options: ScanOptions,
) -> Result<IndexScan> {
    // SAFETY: by the caller's promise; the relations are open as long as the scan.
    unsafe {
        let scan = &*descriptor;
        let snapshot = (*scan.xs_snapshot).snapshot_type;
        if snapshot != pg_sys::SnapshotType::SNAPSHOT_MVCC
            && snapshot != pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC
        {
            // No page stays pinned between rows: only an MVCC snapshot keeps vacuum from the rows that are yet to come.
            return Err(SqlError::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "walia_hnsw indexes can only be scanned with MVCC snapshots",
            ));
        }
        count_scan(scan);
        let failed = |error| index_error(scan.indexRelation, error);
        let (index, meta) = store::open_with_meta(RelationStore::for_scan(scan)).map_err(failed)?;
        // Without ORDER BY, as where a partial index serves a condition alone, all rows come in any order.
        let key = (scan.numberOfOrderBys > 0).then(|| &*scan.orderByData);
        let key = key.filter(|key| key.sk_flags & pg_sys::SK_ISNULL as i32 == 0);
        let query = key
            .map(|key| column::query_vector(key.sk_argument, &index.schema.layout.parameters))
            .transpose()?;
        let query = query.as_ref().map(|vector| vector.bytes());
        let parameters = index.schema.layout.parameters;
        let vectors = HeapVectors::new(descriptor, context, parameters, query.unwrap_or_default());
        Ok(Scan::new(index, meta, query, options, Sorter::new(), vectors))
    }
}

/// Counts an index scan: Postgres's macro pgstat_count_index_scan, and EXPLAIN ANALYZE's "Index Searches" from 18 on.
///
/// # Safety
/// The scan's index is open.
unsafe fn count_scan(scan: &pg_sys::IndexScanDescData) {
    // SAFETY: by the caller's promise. The statistics entry is null or lives as long as the relation is open.
    unsafe {
        #[cfg(feature = "pg18")]
        if let Some(instrument) = scan.instrument.as_mut() {
            instrument.nsearches += 1;
        }
        let index = scan.indexRelation;
        #[cfg(not(feature = "pg14"))]
        if (*index).pgstat_info.is_null() && (*index).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(index);
        }
        if let Some(statistics) = (*index).pgstat_info.as_mut() {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let count = &mut statistics.t_counts.t_numscans;
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            let count = &mut statistics.counts.numscans;
            *count += 1;
        }
    }
}
