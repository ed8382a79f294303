//! Index scans: `ambeginscan`, `amrescan`, `amgettuple`, `amendscan`.

use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::page::scan::{Hit, IterativeScan, Next, Scan, ScanOptions, Walk};
use walia_core::page::{Index, Meta};
use walia_core::types::{Error, Metric};

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
    let state = ScanState { context, scan: None, number, time };
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

/// A scan that is one of several which are searched as one: the executor asks it for rows as any other, and
/// the custom scan that has it for a child searches.
pub struct Member {
    scan: pg_sys::IndexScanDesc,
}

impl Member {
    /// Begins the search of a scan.
    ///
    /// # Safety
    /// `scan` is one of a walia_hnsw index that has its keys. As long as the member is used it neither ends
    /// nor gets other keys, and nobody asks it for rows while a reference to its search lives.
    pub unsafe fn begin(scan: pg_sys::IndexScanDesc, options: ScanOptions, number: SearchNumber) -> Self {
        let mut member = Self { scan };
        let started = Instant::now();
        // SAFETY: by the caller's promise.
        unsafe { member.state_mut().begin(scan, options, number) };
        member.add_time(started.elapsed());
        member
    }

    /// Its search.
    pub fn search(&self) -> &Search {
        &self.state().scan.as_ref().expect("begun by `begin`").walk
    }

    /// Its search, to be continued.
    pub fn search_mut(&mut self) -> &mut Search {
        &mut self.state_mut().scan.as_mut().expect("begun by `begin`").walk
    }

    /// What its search did so far.
    pub fn done(&self) -> LastScan {
        self.state().done()
    }

    /// Adds time that was spent on its search outside of the access method's functions.
    pub fn add_time(&mut self, time: Duration) {
        self.state_mut().time += time;
    }

    /// The ERROR of a failure in its index.
    pub fn error(&self, error: Error) -> SqlError {
        // SAFETY: the index of a scan is open.
        unsafe { index_error((*self.scan).indexRelation, error) }
    }

    fn state(&self) -> &ScanState {
        // SAFETY: by the promise of `begin`, and as this borrows the member.
        unsafe { ScanState::of(self.scan) }
    }

    fn state_mut(&mut self) -> &mut ScanState {
        // SAFETY: as above.
        unsafe { ScanState::of(self.scan) }
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

/// What a scan's keys ask for.
pub struct Opened {
    /// The index.
    pub index: Index<RelationStore>,
    /// What it says where the search begins.
    pub meta: Meta,
    /// The query; `None` for NULL, and where all rows come in any order.
    pub query: Option<Vec<u8>>,
}

/// Opens the index of a scan, and reads its keys.
///
/// # Safety
/// `descriptor` is that of a scan that `amrescan` has given its keys. It lives as long as what is returned,
/// and the store is told before it ends.
pub unsafe fn open(descriptor: pg_sys::IndexScanDesc) -> Result<Opened> {
    // SAFETY: by the caller's promise.
    let scan = unsafe { &*descriptor };
    // SAFETY: a scan that has its keys has a snapshot.
    let snapshot = unsafe { (*scan.xs_snapshot).snapshot_type };
    if snapshot != pg_sys::SnapshotType::SNAPSHOT_MVCC
        && snapshot != pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC
    {
        // No page stays pinned between rows: only an MVCC snapshot keeps vacuum from the rows that are yet to
        // come.
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "walia_hnsw indexes can only be scanned with MVCC snapshots",
        ));
    }
    // SAFETY: the index of a scan is open.
    unsafe { count_scan(scan) };
    // SAFETY: both relations are open as long as the scan, by the caller's promise.
    let store = unsafe { RelationStore::for_scan(scan) };
    // SAFETY: the index of a scan is open.
    let failed = |error| unsafe { index_error(scan.indexRelation, error) };
    let (index, meta) = store::open_with_meta(store).map_err(failed)?;
    // Without ORDER BY, as where a partial index serves a condition alone, all rows come in any order.
    // SAFETY: the scan has as many keys as it says.
    let key = (scan.numberOfOrderBys > 0).then(|| unsafe { &*scan.orderByData });
    let key = key.filter(|key| key.sk_flags & pg_sys::SK_ISNULL as i32 == 0);
    let parameters = &index.schema.layout.parameters;
    let vector = |key: &pg_sys::ScanKeyData| {
        // SAFETY: the key's argument is of the operator's right type; the index of a scan is open.
        unsafe { column::query_vector(key.sk_argument, parameters, scan.indexRelation) }
    };
    let query = key.map(vector).transpose()?;
    let query = query.map(|vector| vector.bytes().to_vec());
    Ok(Opened { index, meta, query })
}

/// Counts an index scan: Postgres's macro pgstat_count_index_scan, and EXPLAIN ANALYZE's "Index Searches"
/// from 18 on.
///
/// # Safety
/// The scan's index is open.
unsafe fn count_scan(scan: &pg_sys::IndexScanDescData) {
    let index = scan.indexRelation;
    #[cfg(feature = "pg18")]
    // SAFETY: null or EXPLAIN's.
    if let Some(instrument) = unsafe { scan.instrument.as_mut() } {
        instrument.nsearches += 1;
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: by the caller's promise.
    unsafe {
        if (*index).pgstat_info.is_null() && (*index).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(index);
        }
    }
    // SAFETY: by the caller's promise. The statistics entry is null or lives as long as the relation is open.
    unsafe {
        if let Some(statistics) = (*index).pgstat_info.as_mut() {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let count = &mut statistics.t_counts.t_numscans;
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            let count = &mut statistics.counts.numscans;
            *count += 1;
        }
    }
}
