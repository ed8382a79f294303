//! Opening what has pages that can be shown: a table, or a walia_hnsw index.

use std::ffi::c_char;

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::types::Error;

use super::open::{class_row, no_relation, owns};
use crate::am::handler;
use crate::error::{Result, SqlError};
use crate::store::RelationStore;
use crate::store::error::index_error;

/// A relation whose pages are looked at, open and locked as for a SELECT. Dropping it closes it; the lock
/// stays until the transaction ends.
pub struct Storage {
    relation: pg_sys::Relation,
    /// Whether it is an index.
    pub is_index: bool,
    /// Whether its pages are in the session's own memory.
    pub is_temporary: bool,
}

impl Storage {
    /// Opens a table or a walia_hnsw index for the owner of the table, or for who monitors.
    pub fn new(relation: pg_sys::Oid) -> Result<Self> {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        // SAFETY: in a transaction. Who may not look does not wait for a lock. A table is locked before its
        // index, as every other command does; meanwhile either may have been dropped, or rights taken away.
        unsafe {
            let (table, _) = permitted(relation)?;
            pg_sys::LockRelationOid(table, lock);
            if table != relation {
                pg_sys::LockRelationOid(relation, lock);
            }
            let (table, row) = permitted(relation)?;
            let is_temporary = row.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char;
            let opened = pg_sys::relation_open(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            Ok(Self { relation: opened, is_index: table != relation, is_temporary })
        }
    }

    /// The ERROR of a failure in it.
    pub fn error(&self, error: Error) -> SqlError {
        // SAFETY: open as long as `self`.
        unsafe { index_error(self.relation, error) }
    }

    /// Its pages, to be looked at once.
    pub fn store(&self) -> RelationStore {
        // SAFETY: open as long as `self`, which the caller keeps as long as the store.
        unsafe { RelationStore::for_overview(self.relation) }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // An ERROR's cleanup closes relations.
        if !std::thread::panicking() {
            // SAFETY: opened by `new`, and closed once.
            unsafe { pg_sys::relation_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE) }
        }
    }
}

/// The table whose pages, or whose index's, the current user may look at, and the relation's own row, by the
/// catalogs alone.
///
/// # Safety
/// Called in a transaction.
unsafe fn permitted(relation: pg_sys::Oid) -> Result<(pg_sys::Oid, pg_sys::FormData_pg_class)> {
    // SAFETY: by the caller's promise.
    let (Some(row), user) = (unsafe { (class_row(relation), pg_sys::GetUserId()) }) else {
        return Err(no_relation(relation));
    };
    let name = pgrx::name_data_to_str(&row.relname).to_owned();
    let wrong = |what: &str| {
        SqlError::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("\"{name}\" is {what}"))
    };
    const TABLE: u8 = pg_sys::RELKIND_RELATION;
    const VIEW: u8 = pg_sys::RELKIND_MATVIEW;
    const TOAST: u8 = pg_sys::RELKIND_TOASTVALUE;
    let table = match row.relkind as u8 {
        pg_sys::RELKIND_PARTITIONED_TABLE => {
            return Err(wrong("a partitioned table").hint("Ask for a partition."));
        }
        pg_sys::RELKIND_PARTITIONED_INDEX => {
            return Err(wrong("a partitioned index").hint("Ask for the index of a partition."));
        }
        TABLE | VIEW | TOAST if row.relam == pg_sys::HEAP_TABLE_AM_OID => relation,
        // SAFETY: by the caller's promise.
        pg_sys::RELKIND_INDEX if unsafe { handler::is_handled_here(row.relam) } => unsafe {
            pg_sys::IndexGetRelation(relation, true)
        },
        _ => return Err(wrong("neither a heap table nor a walia_hnsw index")),
    };
    // SAFETY: by the caller's promise.
    let Some(table_row) = (unsafe { class_row(table) }) else { return Err(no_relation(relation)) };
    let monitors = pg_sys::Oid::from(pg_sys::ROLE_PG_MONITOR);
    // SAFETY: by the caller's promise.
    if !unsafe { owns(table, user) || pg_sys::has_privs_of_role(user, monitors) } {
        let table_name = pgrx::name_data_to_str(&table_row.relname);
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        return Err(SqlError::new(code, format!("permission denied for table {table_name}"))
            .detail("Only its owner and roles with privileges of pg_monitor may look at its pages."));
    }
    // SAFETY: looks a schema up.
    let is_of_others = || unsafe { pg_sys::isOtherTempNamespace(row.relnamespace) };
    if row.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char && is_of_others() {
        let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
        return Err(SqlError::new(code, "cannot access temporary relations of other sessions"));
    }
    Ok((table, row))
}
