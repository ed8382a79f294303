//! Which file of which index rows are for.

use pgrx::pg_sys;
use walia_core::counters::Key;

use crate::store::{RelationStore, key_of};

/// An index with its file, and its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    index: Key,
    heap: u32,
    access_method: u32,
}

impl Target {
    /// That of an open index.
    ///
    /// # Safety
    /// Both relations are open, and the index is a walia_hnsw index of the table.
    pub unsafe fn of(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise; an open relation has its row of pg_class.
        let (heap, access_method) = unsafe { ((*heap).rd_id, (*(*index).rd_rel).relam) };
        // SAFETY: by the caller's promise.
        let index = unsafe { key_of(index) };
        Self { index, heap: heap.to_u32(), access_method: access_method.to_u32() }
    }

    /// The OID of the index.
    pub fn index(&self) -> u32 {
        let Key([_, _, _, index, _]) = self.index;
        index
    }
}

/// A target that is open and locked as for an INSERT. Dropping it closes it; the locks stay until the transaction
/// ends.
pub struct OpenTarget {
    /// The index.
    pub index: pg_sys::Relation,
    /// Its table.
    pub heap: pg_sys::Relation,
}

impl OpenTarget {
    /// `None` where the index is gone, or has another file.
    pub fn open(target: &Target) -> Option<Self> {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let open = |relation: u32| {
            // SAFETY: in a transaction, or before its commit.
            let relation = unsafe { pg_sys::try_relation_open(pg_sys::Oid::from(relation), lock) };
            (!relation.is_null()).then_some(relation)
        };
        // The table first, as every command locks it.
        let heap = open(target.heap)?;
        let index = open(target.index());
        let opened = Self { index: index.unwrap_or(std::ptr::null_mut()), heap };
        // SAFETY: both are open; another index may have got the number of one that is gone, of no other table.
        let is_same = index.is_some_and(|index| unsafe { Target::of(index, heap) } == *target);
        is_same.then_some(opened)
    }

    /// Its pages.
    pub fn store(&self) -> RelationStore {
        // SAFETY: both are open as long as `self`, which the caller keeps as long as the store.
        unsafe { RelationStore::new(self.index, self.heap) }
    }
}

impl Drop for OpenTarget {
    fn drop(&mut self) {
        // An ERROR's cleanup closes relations: while unwinding there is nothing left to do.
        if std::thread::panicking() {
            return;
        }
        let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
        for relation in [self.index, self.heap].into_iter().filter(|relation| !relation.is_null()) {
            // SAFETY: opened by `open`, and closed once.
            unsafe { pg_sys::relation_close(relation, no_lock) }
        }
    }
}
