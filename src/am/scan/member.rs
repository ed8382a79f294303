//! A scan that is one of several which are searched as one.

use std::time::{Duration, Instant};

use pgrx::pg_sys;
use walia_core::page::scan::ScanOptions;
use walia_core::types::Error;

use super::{ScanState, Search};
use crate::am::last::{LastScan, SearchNumber};
use crate::error::SqlError;
use crate::store::error::index_error;

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
        member.state_mut().is_member = true;
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
