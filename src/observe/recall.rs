//! `walia_recall(regclass, int, int)`: how much of what an exact search finds an index finds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ptr;
use std::time::{Duration, Instant};

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::kernel::Measure;
use walia_core::types::{HeapTid, Parameters};
use xxhash_rust::xxh3::xxh3_64;

use super::open::{OpenIndex, Purpose};
use super::rows::{export, row};
use super::table::{AsOwner, for_each_row};
use crate::am::column::DISTANCE_PROCEDURE;
use crate::am::heap::Reader;
use crate::am::table::Extent;
use crate::error::{OrRaise, Result, SqlError};
use crate::store::{self, heap_tid};
use crate::types::RawVector;

/// The greatest number of neighbours, as of `walia.ef_search`.
const MAX_K: i32 = 10_000;

/// A row whose nearest other rows are looked for.
struct Sample {
    hash: u64,
    heap_tid: HeapTid,
    vector: RawVector,
    prepared: f32,
    /// Distances of the nearest other rows, in order, at most k.
    nearest: Vec<f64>,
}

impl Sample {
    /// Takes note of another row.
    fn add(&mut self, distance: f64, k: usize) {
        if self.nearest.len() == k {
            if self.nearest.last().is_some_and(|last| distance >= *last) {
                return;
            }
            self.nearest.pop();
        }
        self.nearest.try_reserve(1).or_raise();
        let place = self.nearest.partition_point(|nearer| *nearer <= distance);
        self.nearest.insert(place, distance);
    }
}

row! {
    /// What was found.
    Recall {
        recall: Option<f64>,
        samples: i32,
        median_ms: Option<f64>,
    }
}

export!("walia_recall_wrapper": call(REGCLASSOID, INT4OID, INT4OID) -> Recall =>
    [walia_recall(call.oid(0), call.int(1), call.int(2))]);

/// The share of the nearest rows that the index finds, from `samples` rows as queries.
fn walia_recall(index: pg_sys::Oid, k: i32, samples: i32) -> Recall {
    let opened = OpenIndex::new(index, Purpose::Read).or_raise();
    opened.check_valid().or_raise();
    opened.check_row_security().or_raise();
    let failed = |error| opened.error(error);
    let parameters = store::open(opened.store()).map_err(failed).or_raise().schema.layout.parameters;
    check_arguments(k, samples, &parameters).or_raise();
    let k = k as usize;
    let mut samples = sample(&opened, &parameters, samples as usize);
    search_exactly(&opened, &parameters, k, &mut samples);
    let Searched { right, mut times } = search_by_index(&opened, &parameters, &samples);
    let expected: usize = samples.iter().map(|sample| sample.nearest.len()).sum();
    times.sort_unstable();
    let median = times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1000.0);
    let recall = (expected > 0).then(|| right as f64 / expected as f64);
    Recall { recall, samples: samples.len() as i32, median_ms: median }
}

fn check_arguments(k: i32, samples: i32, parameters: &Parameters) -> Result<()> {
    let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    if !(1..=MAX_K).contains(&k) {
        return Err(SqlError::new(code, format!("k must be between 1 and {MAX_K}")));
    }
    if samples < 1 {
        return Err(SqlError::new(code, "samples must be at least 1"));
    }
    let of_sample = size_of::<Sample>() + parameters.vector_size() + k as usize * size_of::<f64>();
    // SAFETY: a setting.
    let memory = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
    if samples as usize > memory / of_sample {
        let most = memory / of_sample;
        let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
        return Err(SqlError::new(
            code,
            "maintenance_work_mem is too small for the requested number of samples",
        )
        .hint(format!("Request at most {most} samples, or increase maintenance_work_mem.")));
    }
    Ok(())
}

/// The rows with the least hashes of their heap TIDs: chosen at random, each with the same chance, and the
/// same ones in the next call as long as they stay where they are. Rows outside of the graph are not chosen.
fn sample(opened: &OpenIndex, parameters: &Parameters, count: usize) -> Vec<Sample> {
    let measure = Measure::new(parameters.metric, parameters.element);
    let mut samples = BinaryHeap::<Sample>::new();
    for_each_row(opened, parameters, Extent::Snapshot, |row| {
        let (heap_tid, hash) = (row.heap_tid, xxh3_64(bytemuck::bytes_of(&row.heap_tid)));
        if samples.len() == count && samples.peek().is_some_and(|last| hash >= last.hash) {
            return Ok(());
        }
        let Some(vector) = row.vector()? else { return Ok(()) };
        let prepared = measure.prepare(vector.bytes());
        if !measure.is_undefined(vector.bytes()) {
            samples.try_reserve(1)?;
            samples.push(Sample { hash, heap_tid, vector: vector.copied(), prepared, nearest: Vec::new() });
        }
        if samples.len() > count {
            samples.pop();
        }
        Ok(())
    });
    samples.into_vec()
}

/// Compares each row with all samples, in one pass over the table.
fn search_exactly(opened: &OpenIndex, parameters: &Parameters, k: usize, samples: &mut [Sample]) {
    let measure = Measure::new(parameters.metric, parameters.element);
    for_each_row(opened, parameters, Extent::Snapshot, |row| {
        let Some(vector) = row.vector()? else { return Ok(()) };
        if measure.is_undefined(vector.bytes()) {
            return Ok(());
        }
        for sample in samples.iter_mut().filter(|sample| sample.heap_tid != row.heap_tid) {
            sample.add(measure.distance_from(sample.vector.bytes(), sample.prepared, vector.bytes()), k);
        }
        Ok(())
    });
}

/// What searches by the index came to.
struct Searched {
    /// Rows found that are as near as they must be.
    right: usize,
    /// Of each search.
    times: Vec<Duration>,
}

/// Searches the index for the nearest rows of each sample, as a query does.
fn search_by_index(opened: &OpenIndex, parameters: &Parameters, samples: &[Sample]) -> Searched {
    let measure = Measure::new(parameters.metric, parameters.element);
    let _owner = AsOwner::new(opened.heap());
    let mut searched = Searched { right: 0, times: Vec::new() };
    searched.times.try_reserve_exact(samples.len()).or_raise();
    let mut scan = IndexScan::begin(opened);
    for sample in samples {
        let query = sample.vector.bytes();
        let start = Instant::now();
        scan.search(&sample.vector);
        let mut found = 0;
        while found < sample.nearest.len() {
            let Some(heap_tid) = scan.next() else { break };
            let distance_from = |vector: &[u8]| measure.distance_from(query, sample.prepared, vector);
            let distance = scan.reader.vector(heap_tid, parameters, distance_from);
            if let Some(distance) = distance.filter(|_| heap_tid != sample.heap_tid) {
                found += 1;
                searched.right += usize::from(sample.nearest.last().is_some_and(|last| distance <= *last));
            }
        }
        searched.times.push(start.elapsed());
    }
    scan.end();
    searched
}

/// A scan of an index in the order of distances, and the rows of its table. An abort after an ERROR ends it,
/// too.
struct IndexScan<'o> {
    scan: pg_sys::IndexScanDesc,
    key: pg_sys::ScanKeyData,
    reader: Reader,
    _opened: &'o OpenIndex,
}

impl<'o> IndexScan<'o> {
    fn begin(opened: &'o OpenIndex) -> Self {
        let (heap, index) = (opened.heap(), opened.relation());
        let mut key = pg_sys::ScanKeyData::default();
        let (flags, none) = (pg_sys::SK_ORDER_BY as i32, pg_sys::InvalidOid);
        // SAFETY: the index is open and has one column; the argument follows before each search.
        unsafe {
            let procedure = pg_sys::index_getprocid(index, 1, DISTANCE_PROCEDURE);
            let (collation, argument) = (*(*index).rd_indcollation, pg_sys::Datum::from(0));
            pg_sys::ScanKeyEntryInitialize(&mut key, flags, 1, 1, none, collation, procedure, argument);
        }
        // SAFETY: both relations are open, and a query has a snapshot.
        let scan = unsafe {
            let snapshot = pg_sys::GetActiveSnapshot();
            #[cfg(feature = "pg18")]
            let scan = pg_sys::index_beginscan(heap, index, snapshot, ptr::null_mut(), 0, 1);
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(heap, index, snapshot, 0, 1);
            scan
        };
        // SAFETY: the scan, its relations and the current memory context last until `end`.
        let reader = unsafe { Reader::open(scan, pg_sys::CurrentMemoryContext) };
        Self { scan, key, reader, _opened: opened }
    }

    /// Begins a search for what is near to a vector, which lives until the next one.
    fn search(&mut self, vector: &RawVector) {
        self.key.sk_argument = vector.datum();
        // SAFETY: the scan has one key to order by, which is copied.
        unsafe { pg_sys::index_rescan(self.scan, ptr::null_mut(), 0, &mut self.key, 1) };
    }

    /// The next row.
    fn next(&mut self) -> Option<HeapTid> {
        // SAFETY: the scan has its key; the heap TID is the scan's.
        unsafe {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            pg_sys::index_getnext_tid(self.scan, forward).as_ref().map(heap_tid)
        }
    }

    fn end(self) {
        self.reader.end();
        // SAFETY: begun by `begin`.
        unsafe { pg_sys::index_endscan(self.scan) };
    }
}

impl Ord for Sample {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl PartialOrd for Sample {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Sample {}
