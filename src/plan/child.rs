//! A child of the custom scan: a plan node that gives rows in order, often a scan of a walia_hnsw index.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::page::scan::ScanOptions;
use walia_core::types::Metric;

use super::private::Private;
use super::vectors;
use crate::am::handler;
use crate::am::last::SearchNumber;
use crate::am::scan::Member;
use crate::nodes::NodeRef;

/// Which children are searched as one: those that scan walia_hnsw indexes by the same metric as the first of
/// them.
#[derive(Clone, Copy)]
pub struct Membership {
    /// Their metric, if there are any.
    pub metric: Option<Metric>,
    /// How many they are.
    pub members: usize,
}

/// A row, its columns extracted. It is its child's, until that gives the next one.
#[derive(Clone, Copy)]
pub struct Row(NonNull<pg_sys::TupleTableSlot>);

impl Row {
    /// The row in a slot; none where that is null or empty.
    ///
    /// # Safety
    /// The slot is null or one of Postgres's, and lives as long as the row is used.
    pub unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> Option<Self> {
        let slot = NonNull::new(slot)?;
        // SAFETY: by the caller's promise; a slot that is not empty has columns.
        unsafe {
            if u32::from(slot.as_ref().tts_flags) & pg_sys::TTS_FLAG_EMPTY != 0 {
                return None;
            }
            pg_sys::slot_getallattrs(slot.as_ptr());
        }
        Some(Self(slot))
    }

    /// Where it is.
    pub fn slot(self) -> *mut pg_sys::TupleTableSlot {
        self.0.as_ptr()
    }
}

/// The custom scan's node.
#[derive(Clone, Copy)]
pub struct Parent {
    node: NonNull<pg_sys::CustomScanState>,
    /// How its execution began.
    flags: c_int,
}

impl Parent {
    /// A node.
    ///
    /// # Safety
    /// The execution of `node` has begun with these flags; it lives as long as what is returned is used.
    pub unsafe fn new(node: *mut pg_sys::CustomScanState, flags: c_int) -> Self {
        Self { node: NonNull::new(node).expect("a node of Postgres's"), flags }
    }

    /// Its children, which have not been initialized.
    pub fn children(self) -> Vec<Child> {
        let child = |plan: NodeRef<pg_sys::Plan>| Child {
            plan: plan.as_ptr(),
            state: ptr::null_mut(),
            member: None,
            row: None,
        };
        self.plan().custom_plans().iter().map(child).collect()
    }

    fn plan<'p>(self) -> NodeRef<'p, pg_sys::CustomScan> {
        // SAFETY: by the promise of `new`; a custom scan's state has a custom scan's plan.
        unsafe { NodeRef::new(self.node.as_ref().ss.ps.plan.cast()) }
    }
}

/// A child, as this process executes it.
pub struct Child {
    plan: *mut pg_sys::Plan,
    /// Null until it is initialized. What is below needs it.
    state: *mut pg_sys::PlanState,
    /// Its search, where that is done together with others.
    pub member: Option<Member>,
    /// Its row, if it has been fetched.
    pub row: Option<Row>,
}

impl Child {
    /// Initializes it, unless that has been done, as a child of the node that it is one of.
    pub fn initialize(&mut self, parent: Parent) {
        if !self.state.is_null() {
            return;
        }
        let Parent { node, flags } = parent;
        let Private { vectors, .. } = Private::of_plan(parent.plan());
        // SAFETY: by the promise of `Parent::new`; the plan is one of the node's.
        unsafe {
            let executor = (*node.as_ptr()).ss.ps.state;
            PgMemoryContexts::For((*executor).es_query_cxt).switch_to(|_| {
                if !vectors.is_empty() {
                    self.plan = vectors::put_back(NodeRef::new(self.plan), vectors).as_ptr();
                }
                self.state = pg_sys::ExecInitNode(self.plan, executor, flags);
                let children = (*node.as_ptr()).custom_ps;
                (*node.as_ptr()).custom_ps = pg_sys::lappend(children, self.state.cast());
            });
        }
    }

    /// Fetches its next row.
    pub fn fetch(&mut self) -> Option<Row> {
        // SAFETY: it has been initialized; its slot lives as long.
        self.row = unsafe { Row::of_slot(pg_sys::ExecProcNode(self.state)) };
        self.row
    }

    /// The metric of the distances that its rows are ordered by, where it scans a walia_hnsw index.
    pub fn metric(&self) -> Option<Metric> {
        let state = self.index_scan().filter(|state| state.iss_NumOrderByKeys == 1)?;
        // SAFETY: an initialized index scan has its index open.
        unsafe { handler::metric(state.iss_RelationDesc) }
    }

    /// Opens its scan of a walia_hnsw index, as the first row that is asked of it would, and begins the
    /// search.
    pub fn open(&mut self, options: ScanOptions, number: SearchNumber) {
        let state = self.index_scan().expect("has a metric").as_ptr();
        // SAFETY: an initialized scan.
        let scan = unsafe { open_scan(state) };
        // SAFETY: the scan ends with the execution, and gets other keys only when `restart` has forgotten the
        // member.
        self.member = Some(unsafe { Member::begin(scan, options, number) });
    }

    /// Called when its search goes on after it has given all rows that it had.
    pub fn go_on(&mut self) {
        if let Some(state) = self.index_scan() {
            // SAFETY: no reference to a field of the state lives.
            unsafe { (*state.as_ptr()).iss_ReachedEnd = false };
        }
    }

    /// Its state, where it scans an index and has been initialized.
    fn index_scan(&self) -> Option<NodeRef<'_, pg_sys::IndexScanState>> {
        // SAFETY: null or an initialized node.
        unsafe { NodeRef::or_null(self.state) }?.downcast()
    }
}

/// Opens a scan, as the first row that is asked of its node would.
///
/// # Safety
/// The state is initialized, and nobody else uses it.
pub unsafe fn open_scan(state: *mut pg_sys::IndexScanState) -> pg_sys::IndexScanDesc {
    // SAFETY: by the caller's promise; this is what Postgres's node does before its first row.
    unsafe {
        let keys_missing = (*state).iss_NumRuntimeKeys != 0 && !(*state).iss_RuntimeKeysReady;
        if keys_missing || !(*state).ss.ps.chgParam.is_null() {
            pg_sys::ExecReScan(state.cast());
        }
        if (*state).iss_ScanDesc.is_null() {
            begin_scan(&mut *state);
        }
        (*state).iss_ScanDesc
    }
}

/// Begins the scan of an index, with its keys.
///
/// # Safety
/// The state is initialized, its keys are ready, and it has no scan.
unsafe fn begin_scan(state: &mut pg_sys::IndexScanState) {
    let (keys, orders) = (state.iss_NumScanKeys, state.iss_NumOrderByKeys);
    // SAFETY: by the caller's promise.
    state.iss_ScanDesc = unsafe {
        pg_sys::index_beginscan(
            state.ss.ss_currentRelation,
            state.iss_RelationDesc,
            (*state.ss.ps.state).es_snapshot,
            #[cfg(feature = "pg18")]
            &raw mut state.iss_Instrument,
            keys,
            orders,
        )
    };
    let scan = state.iss_ScanDesc;
    // SAFETY: as above; the scan is the one that has begun.
    unsafe {
        pg_sys::index_rescan(scan, state.iss_ScanKeys, keys, state.iss_OrderByKeys, orders);
    }
}
