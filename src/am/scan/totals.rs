//! What all searches of a scan did, for EXPLAIN.

use pgrx::pg_sys;
use walia_core::page::scan::SecondRunReason;

use super::ScanState;
use crate::am::handler;
use crate::am::last::LastScan;

/// What the searches of a scan did: one for each time that it was begun anew.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    /// All together, but for their rounds.
    pub scans: LastScan,
    /// Rounds of all of them.
    pub rounds: u64,
    /// Why the last second run was begun.
    pub second_run_reason: Option<SecondRunReason>,
}

impl Totals {
    /// With another search.
    pub fn and(self, search: &LastScan, reason: Option<SecondRunReason>) -> Self {
        Self {
            scans: self.scans.and(search),
            rounds: self.rounds + search.stats.rounds,
            second_run_reason: reason.or(self.second_run_reason),
        }
    }
}

/// What the searches of a scan did so far; `None` where it is not one of this access method's that searches
/// by itself.
///
/// # Safety
/// The scan has not ended, and nobody uses it.
#[cfg_attr(not(feature = "pg18"), expect(dead_code, reason = "EXPLAIN has no hook for it before"))]
pub unsafe fn totals(scan: pg_sys::IndexScanDesc) -> Option<Totals> {
    // SAFETY: by the caller's promise; its index is open.
    let state = unsafe {
        let is_own = handler::is_handled_here((*(*(*scan).indexRelation).rd_rel).relam);
        is_own.then(|| ScanState::of(scan))
    };
    let state = state.filter(|state| !state.is_member)?;
    let Some(search) = &state.scan else { return Some(state.totals) };
    Some(state.totals.and(&state.done(), search.second_run_reason()))
}
