//! `walia_repair(regclass)`: mends the graph of an index.
//!
//! Imports `open`, `am`, `store`, `error` and walia-core.

use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use walia_core::page::Index;
use walia_core::page::vacuum::{VacuumStatistics, repair};

use super::open::{OpenIndex, Purpose};
use crate::am::vacuum::memory;
use crate::error::OrRaise;
use crate::error_context::ErrorContext;
use crate::store::error::index_error;

/// Mends what vacuum would, and every link that leads nowhere; one row of what that was. It sleeps as VACUUM does.
#[pg_extern(sql = false)]
fn walia_repair(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(lists_repaired, i64),
        name!(dead_links, i64),
        name!(duplicate_links, i64),
        name!(nodes_relinked, i64),
        name!(nodes_removed, i64),
        name!(tombstones_freed, i64),
        name!(orphans_removed, i64),
    ),
> {
    let mut context = ErrorContext::new();
    let _pushed = context.push();
    let opened = OpenIndex::new(index, Purpose::Repair).or_raise();
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.relation(), error) };
    let delay = CostBasedDelay::begin();
    let index = Index::open(opened.store_for_maintenance()).map_err(failed).or_raise();
    let done = repair(&index, memory()).map_err(failed).or_raise();
    drop(delay);
    // SAFETY: as above.
    unsafe { pg_sys::IndexFreeSpaceMapVacuum(opened.relation()) }
    let VacuumStatistics { lists_repaired, dead_links, duplicate_links, nodes_relinked, .. } = done;
    TableIterator::once((
        lists_repaired as i64,
        dead_links as i64,
        duplicate_links as i64,
        nodes_relinked as i64,
        done.tombstones_made as i64,
        done.tombstones_removed as i64,
        done.orphans_removed as i64,
    ))
}

/// Cost-based delay is in force, as `vacuum_cost_delay` says, until this is dropped.
struct CostBasedDelay;

impl CostBasedDelay {
    fn begin() -> Self {
        // SAFETY: variables of this backend, set as VACUUM sets them when it begins.
        unsafe {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            {
                pg_sys::VacuumCostActive = pg_sys::VacuumCostDelay > 0.0;
            }
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            pg_sys::VacuumUpdateCosts();
            pg_sys::VacuumCostBalance = 0;
        }
        Self
    }
}

impl Drop for CostBasedDelay {
    fn drop(&mut self) {
        // SAFETY: as in `begin`. VACUUM resets it after an ERROR, too.
        unsafe {
            pg_sys::VacuumCostActive = false;
            pg_sys::VacuumCostBalance = 0;
        }
    }
}
