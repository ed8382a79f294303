//! Opening an index that a user names, with the rights that this takes.
//!
//! Imports `store` and `error`.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Result, SqlError};
use crate::store::RelationStore;
use crate::store::error::relation_name;

/// What an index is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be read while others change it, by anybody who may SELECT from its table.
    Read,
    /// To be read while nobody changes it, by the table's owner.
    Check,
    /// To be mended while others change it, by the table's owner.
    Repair,
}

impl Purpose {
    /// The locks on the table and on the index.
    fn locks(self) -> [pg_sys::LOCKMODE; 2] {
        let locks = match self {
            Self::Read => [pg_sys::AccessShareLock; 2],
            // In the way of writers and of VACUUM.
            Self::Check => [pg_sys::ShareLock; 2],
            // As VACUUM does, and in its way.
            Self::Repair => [pg_sys::ShareUpdateExclusiveLock, pg_sys::RowExclusiveLock],
        };
        locks.map(|lock| lock as pg_sys::LOCKMODE)
    }
}

/// An index and its table, open and locked. Dropping it closes them; the locks stay until the transaction ends.
pub struct OpenIndex {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
}

impl OpenIndex {
    /// Opens a walia_hnsw index.
    pub fn new(index: pg_sys::Oid, purpose: Purpose) -> Result<Self> {
        // SAFETY: catalog look-ups by OID, in a transaction. The table is locked first, as every other command does.
        unsafe {
            let [table_lock, index_lock] = purpose.locks();
            let heap = pg_sys::try_table_open(pg_sys::IndexGetRelation(index, true), table_lock);
            let opened = Self { heap, index: pg_sys::relation_open(index, index_lock) };
            opened.check(purpose)?;
            Ok(opened)
        }
    }

    /// The index.
    pub fn relation(&self) -> pg_sys::Relation {
        self.index
    }

    /// Its table.
    pub fn heap(&self) -> pg_sys::Relation {
        self.heap
    }

    /// Its pages.
    pub fn store(&self) -> RelationStore {
        // SAFETY: both are open as long as `self`, which the caller keeps as long as the store.
        unsafe { RelationStore::new(self.index, self.heap) }
    }

    /// Its pages, for a pass over all of them.
    pub fn store_for_maintenance(&self) -> RelationStore {
        // SAFETY: as above.
        unsafe { RelationStore::for_maintenance(self.index, self.heap) }
    }

    /// Fails where the index need not hold all rows: CREATE INDEX CONCURRENTLY has not ended, or has failed.
    pub fn check_valid(&self) -> Result<()> {
        // SAFETY: open as long as `self`.
        let (valid, name) = unsafe { ((*(*self.index).rd_index).indisvalid, relation_name(self.index)) };
        if valid {
            return Ok(());
        }
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        Err(SqlError::new(code, format!("index \"{name}\" is not valid"))
            .hint("REINDEX builds the index anew from its table."))
    }

    /// Fails where row-level security may hide rows of the table from the user.
    pub fn check_row_security(&self) -> Result<()> {
        // SAFETY: open as long as `self`.
        let (enabled, name) = unsafe {
            let enabled = pg_sys::check_enable_rls((*self.heap).rd_id, pg_sys::InvalidOid, true);
            (enabled == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32, relation_name(self.heap))
        };
        if !enabled {
            return Ok(());
        }
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        Err(SqlError::new(code, format!("row-level security is in force on table {name}"))
            .detail("All rows of the table take part in the comparison, also those that a policy hides."))
    }

    /// # Safety
    /// The index is open.
    unsafe fn check(&self, purpose: Purpose) -> Result<()> {
        let wrong = |code, message: String| Err(SqlError::new(code, message));
        // SAFETY: by the caller's promise.
        unsafe {
            let name = relation_name(self.index);
            let class = &*(*self.index).rd_rel;
            if class.relkind == pg_sys::RELKIND_PARTITIONED_INDEX as std::ffi::c_char {
                let error = SqlError::new(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    format!("\"{name}\" is a partitioned index"),
                );
                return Err(error.hint("Ask for the index of a partition."));
            }
            let method = pg_sys::get_am_oid(c"walia_hnsw".as_ptr(), true);
            if self.heap.is_null()
                || class.relam != method
                || class.relkind != pg_sys::RELKIND_INDEX as std::ffi::c_char
            {
                let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
                return wrong(code, format!("\"{name}\" is not a walia_hnsw index"));
            }
            let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
            let (table, user) = ((*self.heap).rd_id, pg_sys::GetUserId());
            if purpose != Purpose::Read && !is_owner(table, user) {
                return wrong(code, format!("must be owner of table {}", relation_name(self.heap)));
            }
            let allowed = pg_sys::pg_class_aclcheck(table, user, pg_sys::ACL_SELECT.into());
            if purpose == Purpose::Read && allowed != pg_sys::AclResult::ACLCHECK_OK {
                return wrong(code, format!("permission denied for table {}", relation_name(self.heap)));
            }
            if class.relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char
                && !(*self.index).rd_islocaltemp
            {
                // Its pages are in that session's own buffers.
                let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
                return wrong(code, "cannot access temporary indexes of other sessions".into());
            }
        }
        Ok(())
    }
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        // An ERROR's cleanup closes relations: while unwinding there is nothing left to do.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: opened by `new`, and closed once.
        unsafe {
            pg_sys::relation_close(self.index, pg_sys::NoLock as pg_sys::LOCKMODE);
            if !self.heap.is_null() {
                pg_sys::relation_close(self.heap, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
    }
}

/// Whether a user owns a table, or may act as its owner.
///
/// # Safety
/// Called in a transaction.
unsafe fn is_owner(table: pg_sys::Oid, user: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_class_ownercheck(table, user);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, user);
    }
}
