//! What the custom scan does while it is executed, by this process and by those that it shares the work with.

use super::child::Row;
use super::merge::Merge;
use super::nearest::Nearest;
use super::shared::{Shared, Terms};
use super::totals::Totals;
use crate::am::last;

/// What belongs to the node while it is executed.
pub struct Execution {
    /// The rows, or those of the children that this process claims.
    merge: Merge,
    /// The rows of this process, where several may execute it.
    nearest: Option<Nearest>,
    /// As long as several processes execute it.
    shared: Option<Shared>,
    /// Whether another process has begun the execution.
    is_worker: bool,
    /// Whether nothing has been done that has not been logged.
    is_logged: bool,
    /// What the workers did in the last execution, and in those before.
    workers: Vec<Totals>,
    workers_before: Totals,
}

impl Execution {
    /// An execution that has not begun; where several processes may take part, with a place for the rows of
    /// this one.
    pub fn new(merge: Merge, nearest: Option<Nearest>) -> Self {
        Self {
            merge,
            nearest,
            shared: None,
            is_worker: false,
            is_logged: true,
            workers: Vec::new(),
            workers_before: Totals::default(),
        }
    }

    /// The next row.
    pub fn next(&mut self) -> Option<Row> {
        self.is_logged = false;
        match (&mut self.nearest, &self.shared) {
            (Some(nearest), Some(shared)) => nearest.next(&mut self.merge, shared),
            _ => self.merge.next(None, &mut |_| true).map(|(_, row)| row),
        }
    }

    /// Logs what was done since the last restart, if that is to be logged; called before the children end or
    /// begin anew. Who started the others does it for all of them.
    pub fn log(&mut self) {
        if self.is_worker || std::mem::replace(&mut self.is_logged, true) {
            return;
        }
        let done = self.workers.iter().fold(self.merge.current_totals(), Totals::and).scans;
        last::log(&done, || format!("{} indexes", done.indexes));
    }

    /// Begins anew with the next row; the caller rescans the children.
    pub fn restart(&mut self) {
        self.log();
        self.merge.restart();
        if let Some(nearest) = &mut self.nearest {
            nearest.restart();
        }
    }

    /// What so many processes are to agree on.
    pub fn terms(&self, processes: usize) -> Terms {
        let limit = self.nearest.as_ref().map_or(1, Nearest::limit);
        Terms::new(processes, limit, self.merge.membership())
    }

    /// Takes part in an execution by several processes.
    pub fn share(&mut self, shared: Shared) {
        self.is_worker = !shared.is_leader();
        self.shared = Some(shared);
    }

    /// Called by the leader when the workers of an execution have ended, and further ones are to be started:
    /// what all are to agree on then, unless this process has stopped sharing.
    pub fn share_again(&mut self) -> Option<Terms> {
        self.take_reports();
        Some(self.shared.take()?.terms().renewed())
    }

    /// Called when no more rows are wanted, while what is shared is still there.
    pub fn stop_sharing(&mut self) {
        if self.shared.as_ref().is_some_and(Shared::is_leader) {
            self.take_reports();
        }
        self.shared = None;
    }

    /// Takes note of what the workers have reported.
    fn take_reports(&mut self) {
        let before = std::mem::take(&mut self.workers);
        self.workers_before = before.iter().fold(self.workers_before, Totals::and);
        if let Some(shared) = &self.shared {
            self.workers = shared.reports_of_workers();
            // The leader itself need not have taken part.
            self.is_logged &= self.workers.is_empty();
            let scans = self.workers.iter().fold(Totals::default(), Totals::and).scans;
            last::record(self.merge.number().unwrap_or_else(last::SearchNumber::next), scans);
        }
    }

    /// What all processes did so far.
    pub fn totals(&self) -> Totals {
        self.workers.iter().fold(self.merge.totals().and(&self.workers_before), Totals::and)
    }

    /// How many indexes this process searched as one.
    pub fn indexes(&self) -> u64 {
        self.merge.members().count() as u64
    }

    /// How many indexes each worker searched as one.
    pub fn indexes_of_workers(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.scans.indexes).collect()
    }
}
