//! Which file of which index rows are for.

use pgrx::pg_sys;
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

    /// Takes the lock of the statement that inserts for the transaction, or for the part of it that may be rolled back:
    /// nobody shall drop the index or move it to another file while rows wait.
    pub fn lock(&self) {
        // SAFETY: in a transaction.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(self.index()), LOCK) }
    }
}

fn relation_of(key: Key) -> u32 {
    let Key([_, _, _, relation, _]) = key;
    relation
}

/// A target that is open and locked as for an INSERT. Dropping it closes it; the locks stay until the transaction
/// ends.
pub struct OpenTarget {
    /// The index.
    pub index: pg_sys::Relation,
    /// Its table.
    heap: pg_sys::Relation,
    /// Whether this transaction has given the index another file, and its table none. That holds all rows or those only that
    /// did not wait: it was built or copied.
    pub is_moved: bool,
}

impl OpenTarget {
    /// `None` where this transaction has dropped the index, or has emptied or rewritten the table. Commands that do so join
    /// rows first, but logical replication empties tables without one.
    pub fn open(target: &Target) -> Option<Self> {
        let open = |key| {
            // SAFETY: in a transaction, or before its commit.
            let relation = unsafe { pg_sys::try_relation_open(pg_sys::Oid::from(relation_of(key)), LOCK) };
            (!relation.is_null()).then_some(relation)
        };
        // The table first, as every command locks it.
        let heap = open(target.heap)?;
        let index = open(target.index);
        let mut opened = Self { index: index.unwrap_or(std::ptr::null_mut()), heap, is_moved: false };
        // SAFETY: both are open.
        let now = unsafe { Target::of(index?, heap) };
        opened.is_moved = now.index != target.index;
        (now.heap == target.heap || !opened.is_moved).then_some(opened)
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
