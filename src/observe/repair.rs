//! `walia_repair(regclass)`: mends the graph of an index.

use pgrx::pg_sys;
use walia_core::page::vacuum::repair;

use super::open::{OpenIndex, Purpose};
use super::rows::{export, row};
use crate::am::vacuum::memory;
use crate::error::OrRaise;
use crate::store::{self, progress};

row! {
    /// What was mended.
    Repaired {
        lists_repaired: i64,
        dead_links: i64,
        duplicate_links: i64,
        nodes_relinked: i64,
        nodes_removed: i64,
        tombstones_freed: i64,
        orphans_removed: i64,
    }
}

export!("walia_repair_wrapper": call(REGCLASSOID) -> Repaired => [walia_repair(call.oid(0))]);

/// Mends what vacuum would, and every link that leads nowhere. It sleeps as VACUUM does.
fn walia_repair(index: pg_sys::Oid) -> Repaired {
    let opened = OpenIndex::new(index, Purpose::Repair).or_raise();
    let failed = |error| opened.error(error);
    let _shown = progress::Shown::begin(progress::Command::Repair, index);
    let delay = CostBasedDelay::begin();
    let index = store::open(opened.store_for_maintenance()).map_err(failed).or_raise();
    let done = repair(&index, memory()).map_err(failed).or_raise();
    drop(delay);
    // SAFETY: the index is open as long as `opened`.
    unsafe { pg_sys::IndexFreeSpaceMapVacuum(opened.relation()) }
    Repaired {
        lists_repaired: done.lists_mended as i64,
        dead_links: done.dead_links as i64,
        duplicate_links: done.duplicate_links as i64,
        nodes_relinked: done.nodes_relinked as i64,
        nodes_removed: done.tombstones_made as i64,
        tombstones_freed: done.tombstones_removed as i64,
        orphans_removed: done.orphans_removed as i64,
    }
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
