//! A child of the custom scan: a plan node that gives rows in order, often a scan of a walia_hnsw index.
//!
//! Imports `vectors`, `am` and `store`.

use std::ffi::c_int;

use pgrx::pg_sys;
use walia_core::page::scan::{ScanOptions, Walk};
use walia_core::types::Metric;

use super::vectors;
use crate::am::last::SearchNumber;
use crate::am::scan;
use crate::store::RelationStore;

/// Which children are searched as one: those that scan walia_hnsw indexes by the same metric as the first of them.
#[derive(Clone, Copy)]
pub struct Membership {
    /// Their metric, if there are any.
    pub metric: Option<Metric>,
    /// How many they are.
    pub members: usize,
}

/// A child, as this process executes it.
pub struct Child {
    plan: *mut pg_sys::Plan,
    /// Null until it is initialized. What is below needs it.
    pub state: *mut pg_sys::PlanState,
    /// Whether it is searched together with others.
    pub is_member: bool,
    /// Its row, if it has been fetched.
    pub row: *mut pg_sys::TupleTableSlot,
}

impl Child {
    /// A child that has not been initialized.
    pub fn new(plan: *mut pg_sys::Plan) -> Self {
        Self { plan, state: std::ptr::null_mut(), is_member: false, row: std::ptr::null_mut() }
    }

    /// Initializes it, unless that has been done, as a child of `node`.
    ///
    /// # Safety
    /// Its plan is one of the node's plan, whose execution has begun with these flags.
    pub unsafe fn initialize(&mut self, node: *mut pg_sys::CustomScanState, flags: c_int) {
        if !self.state.is_null() {
            return;
        }
        // SAFETY: by the caller's promise. The context is switched back; an ERROR ends the query anyway.
        unsafe {
            let executor = (*node).ss.ps.state;
            let caller = pg_sys::MemoryContextSwitchTo((*executor).es_query_cxt);
            let scan = (*node).ss.ps.plan.cast::<pg_sys::CustomScan>();
            if !(*scan).custom_private.is_null() {
                self.plan = vectors::put_back(self.plan, (*scan).custom_private);
            }
            self.state = pg_sys::ExecInitNode(self.plan, executor, flags);
            (*node).custom_ps = pg_sys::lappend((*node).custom_ps, self.state.cast());
            pg_sys::MemoryContextSwitchTo(caller);
        }
    }

    /// Its state as that of an index scan; null where it is something else.
    pub fn index_scan(&self) -> *mut pg_sys::IndexScanState {
        // SAFETY: an initialized node; the tag says what it is.
        let is_index_scan = unsafe { (*self.state).type_ } == pg_sys::NodeTag::T_IndexScanState;
        if is_index_scan { self.state.cast() } else { std::ptr::null_mut() }
    }

    /// The metric of the distances that its rows are ordered by, where it scans a walia_hnsw index.
    pub fn metric(&self) -> Option<Metric> {
        // SAFETY: an initialized index scan has its index open.
        unsafe {
            let state = self.index_scan().as_ref()?;
            (state.iss_NumOrderByKeys == 1).then(|| scan::metric(state.iss_RelationDesc)).flatten()
        }
    }

    /// # Safety
    /// It scans an index.
    pub unsafe fn index(&self) -> pg_sys::Relation {
        // SAFETY: by the caller's promise.
        unsafe { (*self.index_scan()).iss_RelationDesc }
    }

    /// Opens its scan, as the first row that is asked of it would, and begins the search.
    pub fn open(&self, options: ScanOptions, number: SearchNumber) {
        let state = self.index_scan();
        // SAFETY: an initialized scan of a walia_hnsw index; this is what Postgres's node does before its first row.
        unsafe {
            let keys_missing = (*state).iss_NumRuntimeKeys != 0 && !(*state).iss_RuntimeKeysReady;
            if keys_missing || !(*self.state).chgParam.is_null() {
                pg_sys::ExecReScan(self.state);
            }
            if (*state).iss_ScanDesc.is_null() {
                (*state).iss_ScanDesc = pg_sys::index_beginscan(
                    (*state).ss.ss_currentRelation,
                    (*state).iss_RelationDesc,
                    (*(*self.state).state).es_snapshot,
                    #[cfg(feature = "pg18")]
                    &raw mut (*state).iss_Instrument,
                    (*state).iss_NumScanKeys,
                    (*state).iss_NumOrderByKeys,
                );
                pg_sys::index_rescan(
                    (*state).iss_ScanDesc,
                    (*state).iss_ScanKeys,
                    (*state).iss_NumScanKeys,
                    (*state).iss_OrderByKeys,
                    (*state).iss_NumOrderByKeys,
                );
            }
            scan::begin_member((*state).iss_ScanDesc, options, number);
        }
    }

    /// Its search.
    ///
    /// # Safety
    /// It has been opened, and no other reference to its search lives.
    pub unsafe fn search<'a>(&self) -> &'a mut Walk<RelationStore> {
        // SAFETY: by the caller's promise.
        unsafe { scan::search((*self.index_scan()).iss_ScanDesc) }.expect("begun by `open`")
    }
}
