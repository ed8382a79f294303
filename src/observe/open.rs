//! Opening an index that a user names, with the rights that this takes.
//!
//! Imports `store` and `error`.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Result, SqlError};
use crate::store::RelationStore;
use crate::store::error::relation_name;

/// The lock that a reader holds.
const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// An index and its table, open and locked until dropped.
pub struct OpenIndex {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
}

impl OpenIndex {
    /// Opens a walia_hnsw index whose table the user may SELECT from.
    pub fn new(index: pg_sys::Oid) -> Result<Self> {
        // SAFETY: catalog look-ups by OID, in a transaction. The table is locked first, as every other command does.
        unsafe {
            let heap = pg_sys::IndexGetRelation(index, true);
            let heap = pg_sys::try_table_open(heap, LOCK);
            let opened = Self { heap, index: pg_sys::relation_open(index, LOCK) };
            opened.check()?;
            Ok(opened)
        }
    }

    /// The index.
    pub fn relation(&self) -> pg_sys::Relation {
        self.index
    }

    /// Its pages.
    pub fn store(&self) -> RelationStore {
        // SAFETY: both are open as long as `self`, which the caller keeps as long as the store.
        unsafe { RelationStore::new(self.index, self.heap) }
    }

    /// # Safety
    /// The index is open.
    unsafe fn check(&self) -> Result<()> {
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
            let table = (*self.heap).rd_id;
            let allowed = pg_sys::pg_class_aclcheck(table, pg_sys::GetUserId(), pg_sys::ACL_SELECT.into());
            if allowed != pg_sys::AclResult::ACLCHECK_OK {
                let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
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
            pg_sys::relation_close(self.index, LOCK);
            if !self.heap.is_null() {
                pg_sys::relation_close(self.heap, LOCK);
            }
        }
    }
}
