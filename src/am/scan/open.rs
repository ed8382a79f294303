//! What a scan's keys ask for: the index is opened, the query read, and the scan counted.

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::page::{Index, Meta};

use crate::am::{batch, column};
use crate::error::{Result, SqlError};
use crate::store::error::index_error;
use crate::store::{self, RelationStore};

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
    // SAFETY: as above.
    batch::join_waiting(unsafe { (*scan.indexRelation).rd_id })?;
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
