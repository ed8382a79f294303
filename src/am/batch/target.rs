//! Which file of which index rows are for.

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use walia_core::counters::Key;

use crate::store::{RelationStore, key_of};

/// The lock of an INSERT.
const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// An index and its table, each with its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    index: Key,
    heap: Key,
}

impl Target {
    /// That of an open index.
    ///
    /// # Safety
    /// Both relations are open, and the index is a walia_hnsw index of the table.
    pub unsafe fn of(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self { index: key_of(index), heap: key_of(heap) } }
    }

    /// The OID of the index.
    pub fn index(&self) -> u32 {
        relation_of(self.index)
    }

    /// Takes the lock of the statement that inserts for the transaction, or for the part of it that may be
    /// rolled back: nobody shall drop the index or move it to another file while rows wait.
    pub fn lock(&self) {
        // SAFETY: in a transaction.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(self.index()), LOCK) }
    }
}

fn relation_of(key: Key) -> u32 {
    let Key([_, _, _, relation, _]) = key;
    relation
}

/// The relation that has this file now, as this transaction sees it.
fn relation_with_file(key: Key) -> Option<pg_sys::Oid> {
    unsafe extern "C-unwind" {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        #[link_name = "RelidByRelfilenode"]
        fn relation_by_file(tablespace: pg_sys::Oid, file: pg_sys::Oid) -> pg_sys::Oid;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        #[link_name = "RelidByRelfilenumber"]
        fn relation_by_file(tablespace: pg_sys::Oid, file: pg_sys::Oid) -> pg_sys::Oid;
    }
    let Key([_, tablespace, file, _, session]) = key;
    // Files of temporary relations have the numbers of others' files.
    if session != u32::MAX {
        return None;
    }
    // SAFETY: in a transaction; a file's number is as wide as an OID. An ERROR becomes a panic at this
    // boundary.
    let relation = unsafe { pg_guard_ffi_boundary(|| relation_by_file(tablespace.into(), file.into())) };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

/// A target that is open and locked as for an INSERT. Dropping it closes it; the locks stay until the
/// transaction ends.
pub struct OpenTarget {
    /// The index.
    pub index: pg_sys::Relation,
    /// Its table.
    heap: pg_sys::Relation,
    /// Whether this transaction has given the index another file, and not by a command, before which its rows
    /// are joined. It was built of the table, with all rows, or copied.
    pub is_moved: bool,
}

impl OpenTarget {
    /// `None` where the index is gone, or has been emptied with its table. Where files were exchanged between
    /// relations, as pg_repack does, it is the index that has this one now.
    pub fn open(target: &Target) -> Option<Self> {
        let same = Self::open_both(relation_of(target.index), relation_of(target.heap));
        if same.as_ref().is_some_and(|same| same.target().index == target.index) {
            return same;
        }
        if let Some(index) = relation_with_file(target.index) {
            // SAFETY: in a transaction.
            let heap = unsafe { pg_sys::IndexGetRelation(index, true) };
            return Self::open_both(index.to_u32(), heap.to_u32());
        }
        let mut moved = same?;
        moved.is_moved = true;
        (moved.target().heap == target.heap).then_some(moved)
    }

    fn open_both(index: u32, heap: u32) -> Option<Self> {
        let open = |relation: u32| {
            // SAFETY: in a transaction, or before its commit.
            let relation = unsafe { pg_sys::try_relation_open(pg_sys::Oid::from(relation), LOCK) };
            (!relation.is_null()).then_some(relation)
        };
        // The table first, as every command locks it.
        let mut opened = Self { index: std::ptr::null_mut(), heap: open(heap)?, is_moved: false };
        opened.index = open(index)?;
        Some(opened)
    }

    fn target(&self) -> Target {
        // SAFETY: both are open.
        unsafe { Target::of(self.index, self.heap) }
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
