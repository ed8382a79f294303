//! Opening an index that a user names, with the rights that this takes.
//!
//! As Postgres's own commands do, it asks the catalogs whether the user may have a lock before it waits for
//! it: whoever waits for a lock is in the way of all who come later.

use std::ffi::c_char;

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::types::{Error, Parameters};

use crate::am::{batch, column, handler};
use crate::error::{Result, SqlError};
use crate::store::RelationStore;
use crate::store::error::{index_error, relation_name};

/// What an index is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be read while others change it, by anybody who may SELECT from its table.
    Read,
    /// To be read while nobody changes it, by those who may VACUUM the table.
    Check,
    /// To be mended while others change it, by the same.
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

    /// Raises an ERROR where the transaction or the server allows no such thing.
    fn prevent_where_impossible(self) {
        // SAFETY: asks for the state of transaction and server.
        unsafe {
            match self {
                Self::Read => {}
                // It takes a lock that no standby gives.
                Self::Check => pg_sys::PreventCommandDuringRecovery(c"walia_check()".as_ptr()),
                Self::Repair => {
                    pg_sys::PreventCommandIfReadOnly(c"walia_repair()".as_ptr());
                    pg_sys::PreventCommandDuringRecovery(c"walia_repair()".as_ptr());
                }
            }
        }
    }
}

/// An index and its table, open and locked. Dropping it closes them; the locks stay until the transaction
/// ends.
pub struct OpenIndex {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
}

impl OpenIndex {
    /// Opens a walia_hnsw index.
    pub fn new(index: pg_sys::Oid, purpose: Purpose) -> Result<Self> {
        purpose.prevent_where_impossible();
        // SAFETY: in a transaction. The table is locked first, as every other command does. With the locks,
        // both relations are there as long as the catalogs say so.
        let opened = unsafe {
            let [table_lock, index_lock] = purpose.locks();
            let table = permitted(index, purpose)?;
            pg_sys::LockRelationOid(table, table_lock);
            pg_sys::LockRelationOid(index, index_lock);
            // Meanwhile the index may have been dropped, and rights taken away.
            permitted(index, purpose)?;
            let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
            Self { heap: pg_sys::table_open(table, no_lock), index: pg_sys::index_open(index, no_lock) }
        };
        // SAFETY: open as long as `opened`.
        opened.check_flag(unsafe { (*(*opened.index).rd_index).indisready })?;
        batch::join_waiting(index)?;
        Ok(opened)
    }

    /// The index.
    pub fn relation(&self) -> pg_sys::Relation {
        self.index
    }

    /// Its table.
    pub fn heap(&self) -> pg_sys::Relation {
        self.heap
    }

    /// The ERROR of a failure in it.
    pub fn error(&self, error: Error) -> SqlError {
        // SAFETY: open as long as `self`.
        unsafe { index_error(self.index, error) }
    }

    /// The parameters that it would be built with.
    pub fn declared_parameters(&self) -> Result<Parameters> {
        // SAFETY: open as long as `self`.
        unsafe { column::parameters(self.index) }
    }

    /// The name of the type that it indexes.
    pub fn type_name(&self) -> String {
        // SAFETY: open as long as `self`.
        unsafe { column::indexed_type_name(self.index) }
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

    /// Its pages, to be looked at once.
    pub fn store_for_overview(&self) -> RelationStore {
        // SAFETY: as above.
        unsafe { RelationStore::for_overview(self.index) }
    }

    /// Whether its pages are in the session's own memory.
    pub fn is_temporary(&self) -> bool {
        // SAFETY: open as long as `self`, with its row of pg_class.
        unsafe { (*(*self.index).rd_rel).relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char }
    }

    /// Fails where the index need not hold all rows: CREATE INDEX CONCURRENTLY has not ended, or has failed.
    pub fn check_valid(&self) -> Result<()> {
        // SAFETY: open as long as `self`.
        self.check_flag(unsafe { (*(*self.index).rd_index).indisvalid })
    }

    /// Fails where the index is not as it must be: before it is ready it has no pages, before it is valid not
    /// all rows.
    fn check_flag(&self, is_set: bool) -> Result<()> {
        if is_set {
            return Ok(());
        }
        // SAFETY: open as long as `self`.
        let name = unsafe { relation_name(self.index) };
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
            pg_sys::relation_close(self.heap, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// The table of a walia_hnsw index that the current user may open, by the catalogs alone: nothing is locked.
///
/// # Safety
/// Called in a transaction.
unsafe fn permitted(index: pg_sys::Oid, purpose: Purpose) -> Result<pg_sys::Oid> {
    let refused = |code, message: String| Err(SqlError::new(code, message));
    // SAFETY: by the caller's promise.
    let (table, row) = unsafe { (pg_sys::IndexGetRelation(index, true), class_row(index)) };
    let Some(row) = row else { return Err(no_relation(index)) };
    let name = pgrx::name_data_to_str(&row.relname);
    let is_partitioned = row.relkind == pg_sys::RELKIND_PARTITIONED_INDEX as c_char;
    let is_index = row.relkind == pg_sys::RELKIND_INDEX as c_char || is_partitioned;
    // SAFETY: by the caller's promise.
    if !is_index || !unsafe { handler::is_handled_here(row.relam) } {
        let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
        return refused(code, format!("\"{name}\" is not a walia_hnsw index"));
    }
    if is_partitioned {
        let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
        return refused(code, format!("\"{name}\" is a partitioned index"))
            .map_err(|error| error.hint("Ask for the index of a partition."));
    }
    // SAFETY: by the caller's promise.
    let Some(table_row) = (unsafe { class_row(table) }) else { return Err(no_relation(index)) };
    // SAFETY: by the caller's promise.
    let may = unsafe {
        let user = pg_sys::GetUserId();
        match purpose {
            Purpose::Read => may(table, user, pg_sys::ACL_SELECT),
            Purpose::Check | Purpose::Repair => may_maintain(table, user),
        }
    };
    if !may {
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        let table_name = pgrx::name_data_to_str(&table_row.relname);
        return refused(code, format!("permission denied for table {table_name}"));
    }
    // SAFETY: looks a schema up.
    let is_of_others = || unsafe { pg_sys::isOtherTempNamespace(row.relnamespace) };
    if row.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char && is_of_others() {
        // Its pages are in that session's own buffers.
        let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
        return refused(code, "cannot access temporary indexes of other sessions".into());
    }
    Ok(table)
}

/// A relation's row of pg_class, as far as its columns have a fixed length; `None` where there is no such
/// relation.
///
/// # Safety
/// Called in a transaction.
pub(super) unsafe fn class_row(relation: pg_sys::Oid) -> Option<pg_sys::FormData_pg_class> {
    // SAFETY: by the caller's promise; a row of pg_class begins with these columns.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(relation));
        if row.is_null() {
            return None;
        }
        let columns = *pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_class>();
        pg_sys::ReleaseSysCache(row);
        Some(columns)
    }
}

/// An OID that is none, or no longer one.
pub(super) fn no_relation(relation: pg_sys::Oid) -> SqlError {
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE;
    SqlError::new(code, format!("relation with OID {} does not exist", relation.to_u32()))
}

/// Whether a user has a privilege on a table.
///
/// # Safety
/// Called in a transaction.
unsafe fn may(table: pg_sys::Oid, user: pg_sys::Oid, privilege: u32) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { pg_sys::pg_class_aclcheck(table, user, privilege.into()) == pg_sys::AclResult::ACLCHECK_OK }
}

/// Whether a user may VACUUM a table that is not shared among databases: its owner, the database's owner, and
/// from 17 on whoever has MAINTAIN.
///
/// # Safety
/// Called in a transaction.
pub(super) unsafe fn may_maintain(table: pg_sys::Oid, user: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_class_ownercheck(table, user)
            || pg_sys::pg_database_ownercheck(pg_sys::MyDatabaseId, user);
        #[cfg(feature = "pg16")]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, user)
            || pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, pg_sys::MyDatabaseId, user);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        return may(table, user, pg_sys::ACL_MAINTAIN)
            || pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, pg_sys::MyDatabaseId, user);
    }
}

/// Whether a user owns a table, or acts for who does.
///
/// # Safety
/// Called in a transaction.
pub(super) unsafe fn owns(table: pg_sys::Oid, user: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_class_ownercheck(table, user);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, user);
    }
}

/// Whether the current user may see what the sessions of a user do, as in Postgres's own views.
pub(super) fn may_see_sessions_of(user: pg_sys::Oid) -> bool {
    let readers = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS);
    // SAFETY: in a transaction.
    unsafe {
        let caller = pg_sys::GetUserId();
        pg_sys::has_privs_of_role(caller, readers) || pg_sys::has_privs_of_role(caller, user)
    }
}
