//! What the searches of a federated scan did.

use crate::am::last::LastScan;

/// What searches did together.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    /// Times that the node was executed from its start.
    pub executions: u64,
    /// Rounds of the federation.
    pub rounds: u64,
    /// Indexes that gave rows.
    pub contributors: u64,
    /// The scans of the indexes.
    pub scans: LastScan,
}

impl Totals {
    /// Both together.
    pub fn and(self, other: &Self) -> Self {
        Self {
            executions: self.executions + other.executions,
            rounds: self.rounds + other.rounds,
            contributors: self.contributors + other.contributors,
            scans: self.scans.and(&other.scans),
        }
    }
}
