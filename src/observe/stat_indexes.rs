//! `walia_stat_indexes`: what was counted of each index. Its view calls a function for each, which takes no
//! lock: who monitors waits for nobody.

use std::ffi::c_char;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::counters::latency::{BUCKETS, bound, quantile};
use walia_core::counters::{Counter, Key};

use super::open::{class_row, no_relation, owns};
use super::rows::{export, row};
use crate::am::{counters, handler};
use crate::error::{OrRaise, Result, SqlError};
use crate::error_context::enter;

row! {
    /// What was counted of an index.
    StatIndex {
        searches: i64,
        rounds: i64,
        nodes_expanded: i64,
        distances_measured: i64,
        distances_estimated: i64,
        pages_hit: i64,
        pages_read: i64,
        pages_prefetched: i64,
        prefetched_pages_used: i64,
        rows_measured: i64,
        rows_tested: i64,
        rows_failed: i64,
        second_runs: i64,
        stale_links: i64,
        links_healed: i64,
        inserts: i64,
        links_pruned: i64,
        total_ms: f64,
        p50_ms: Option<f64>,
        p99_ms: Option<f64>,
        latency: Vec<i64>,
        all_sessions: bool,
        stats_reset: Option<TimestampWithTimeZone>,
    }
}

row! {
    /// A bucket of latencies.
    LatencyBucket {
        bucket: i32,
        least_ms: f64,
        below_ms: f64,
    }
}

export!("walia_stat_get_index_wrapper": call(OIDOID) -> StatIndex => stat_get_index(call.oid(0)));
export!("walia_stat_latency_buckets_wrapper": call() -> LatencyBucket => latency_buckets());

/// What was counted of an index; no row where it is none of this access method's, or of no concern to the
/// caller.
fn stat_get_index(index: pg_sys::Oid) -> Option<StatIndex> {
    let counted = Counted::find(index)?;
    if !counted.may_be_seen() {
        return None;
    }
    let counts = counters::of(&counted.key);
    // SAFETY: a timestamp is an integer of its own type.
    let stats_reset =
        counts.as_ref().and_then(|counts| unsafe { FromDatum::from_datum(Datum::from(counts.since), false) });
    let counts = counts.unwrap_or_default();
    let count = |counter| counts.get(counter) as i64;
    let milliseconds = |share| quantile(&counts.latency, share).map(|microseconds| microseconds / 1000.0);
    Some(StatIndex {
        searches: count(Counter::Searches),
        rounds: count(Counter::Rounds),
        nodes_expanded: count(Counter::NodesExpanded),
        distances_measured: count(Counter::DistancesMeasured),
        distances_estimated: count(Counter::DistancesEstimated),
        pages_hit: count(Counter::PagesHit),
        pages_read: count(Counter::PagesRead),
        pages_prefetched: count(Counter::PagesPrefetched),
        prefetched_pages_used: count(Counter::PrefetchedPagesUsed),
        rows_measured: count(Counter::RowsMeasured),
        rows_tested: count(Counter::RowsTested),
        rows_failed: count(Counter::RowsFailed),
        second_runs: count(Counter::SecondRuns),
        stale_links: count(Counter::StaleLinks),
        links_healed: count(Counter::LinksHealed),
        inserts: count(Counter::Inserts),
        links_pruned: count(Counter::LinksPruned),
        total_ms: counts.get(Counter::Microseconds) as f64 / 1000.0,
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
        latency: counts.latency.iter().map(|searches| *searches as i64).collect(),
        all_sessions: counters::is_shared(),
        stats_reset,
    })
}

/// The bounds of the buckets, numbered as the elements of an array are.
fn latency_buckets() -> impl Iterator<Item = LatencyBucket> {
    (0..BUCKETS).map(|bucket| LatencyBucket {
        bucket: bucket as i32 + 1,
        least_ms: bucket.checked_sub(1).map_or(0.0, bound) / 1000.0,
        below_ms: bound(bucket) / 1000.0,
    })
}

/// Tells Postgres how to call the function.
#[unsafe(no_mangle)]
extern "C" fn pg_finfo_walia_stat_reset_indexes_wrapper() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// `walia_stat_reset_indexes(regclass) RETURNS void`: begins to count anew an index, or, of NULL, all of this
/// database whose tables the caller owns.
///
/// # Safety
/// Only Postgres calls it, as SQL declares it.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn walia_stat_reset_indexes_wrapper(call: pg_sys::FunctionCallInfo) -> Datum {
    enter!();
    // SAFETY: by the caller's promise.
    let index = unsafe {
        let is_null = pgrx::fcinfo::pg_arg_is_null(call, 0);
        (!is_null).then(|| pgrx::fcinfo::pg_getarg_datum_raw(call, 0))
    };
    match index {
        Some(index) => reset_index(pg_sys::Oid::from(index.value() as u32)).or_raise(),
        None => counters::reset(|key| {
            let Key([database, _, _, index, _]) = *key;
            // SAFETY: a variable of this backend.
            database == unsafe { pg_sys::MyDatabaseId }.to_u32()
                && Counted::find(index.into()).is_some_and(|counted| counted.key == *key && counted.is_own())
        }),
    }
    Datum::from(0)
}

fn reset_index(index: pg_sys::Oid) -> Result<()> {
    // SAFETY: in a transaction.
    let Some(row) = (unsafe { class_row(index) }) else { return Err(no_relation(index)) };
    let name = || pgrx::name_data_to_str(&row.relname).to_owned();
    let Some(counted) = Counted::find(index) else {
        let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
        return Err(SqlError::new(code, format!("\"{}\" is not a walia_hnsw index", name())));
    };
    if !counted.is_own() {
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        return Err(SqlError::new(code, format!("must be owner of index {}", name())));
    }
    counters::reset(|key| *key == counted.key);
    Ok(())
}

/// An index that has counts, as the catalog knows it.
struct Counted {
    key: Key,
    table: pg_sys::Oid,
}

impl Counted {
    /// An index of this access method.
    fn find(index: pg_sys::Oid) -> Option<Self> {
        // SAFETY: in a transaction; the access method's OID is of its row.
        unsafe {
            let row = class_row(index)?;
            let is_index = row.relkind as u8 == pg_sys::RELKIND_INDEX && handler::is_handled_here(row.relam);
            let table = is_index.then(|| pg_sys::IndexGetRelation(index, true))?;
            Some(Self { key: key(index, &row), table })
        }
    }

    /// Whether the caller owns its table.
    fn is_own(&self) -> bool {
        // SAFETY: in a transaction. Its table may have been dropped with it meanwhile.
        unsafe { class_row(self.table).is_some() && owns(self.table, pg_sys::GetUserId()) }
    }

    /// Whether the caller owns its table, or may read all statistics.
    fn may_be_seen(&self) -> bool {
        let readers = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS);
        // SAFETY: in a transaction.
        self.is_own() || unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), readers) }
    }
}

/// What [`crate::store::RelationStore::key`] gives of the index, by its row of pg_class.
fn key(index: pg_sys::Oid, row: &pg_sys::FormData_pg_class) -> Key {
    // SAFETY: variables of this backend.
    let (database, default_tablespace) = unsafe { (pg_sys::MyDatabaseId, pg_sys::MyDatabaseTableSpace) };
    let is_default = row.reltablespace == pg_sys::InvalidOid;
    let tablespace = if is_default { default_tablespace } else { row.reltablespace };
    let is_temporary = row.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char;
    // SAFETY: looks the schema up.
    let owner = if is_temporary { unsafe { session_of(row.relnamespace) } } else { -1 };
    Key([database.to_u32(), tablespace.to_u32(), row.relfilenode.to_u32(), index.to_u32(), owner as u32])
}

/// The number of the session that a temporary schema belongs to.
///
/// # Safety
/// Called in a transaction.
unsafe fn session_of(schema: pg_sys::Oid) -> i32 {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        return pg_sys::GetTempNamespaceBackendId(schema);
        #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
        return pg_sys::GetTempNamespaceProcNumber(schema);
    }
}
