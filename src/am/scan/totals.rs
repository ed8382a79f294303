//! What all searches of a scan did, for EXPLAIN.

use walia_core::page::scan::SecondRunReason;

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
