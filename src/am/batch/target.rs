//! Which file of which index rows are for.

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::counters::Key;

use crate::error::{Result, SqlError};
use crate::store::{RelationStore, key_of};

/// The lock of an INSERT.
const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// An index with its file, and its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    index: Key,
    heap: u32,
}

impl Target {
    /// That of an open index.
    ///
    /// # Safety
    /// Both relations are open, and the index is a walia_hnsw index of the table.
    pub unsafe fn of(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self { index: key_of(index), heap: (*heap).rd_id.to_u32() } }
    }

    /// The OID of the index.
    pub fn index(&self) -> u32 {
        let Key([_, _, _, index, _]) = self.index;
        index
    }

    /// Takes the lock of the statement that inserts for the transaction, or for the part of it that may be rolled back:
    /// nobody shall drop the index or move it to another file while rows wait.
    pub fn lock(&self) {
        // SAFETY: in a transaction.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(self.index()), LOCK) }
    }
}

/// A target that is open and locked as for an INSERT. Dropping it closes it; the locks stay until the transaction
/// ends.
pub struct OpenTarget {
    /// The index.
    pub index: pg_sys::Relation,
    /// Its table.
    heap: pg_sys::Relation,
}

impl OpenTarget {
    /// `None` where this transaction has dropped the index. What else gives it another file is a command, before which no
    /// row is left waiting.
    pub fn open(target: &Target) -> Result<Option<Self>> {
        let open = |relation: u32| {
            // SAFETY: in a transaction, or before its commit.
            let relation = unsafe { pg_sys::try_relation_open(pg_sys::Oid::from(relation), LOCK) };
            (!relation.is_null()).then_some(relation)
        };
        // The table first, as every command locks it.
        let Some(heap) = open(target.heap) else { return Ok(None) };
        let index = open(target.index());
        let opened = Self { index: index.unwrap_or(std::ptr::null_mut()), heap };
        // SAFETY: both are open.
        match index.map(|index| unsafe { Target::of(index, heap) } == *target) {
            None => Ok(None),
            Some(true) => Ok(Some(opened)),
            Some(false) => Err(SqlError::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "index was given another file while rows of this transaction waited for it",
            )
            .hint("Set walia.batch_inserts to off, so that no row waits.")),
        }
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
