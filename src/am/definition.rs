//! Indexes that could not be built as they are defined: refused when they are defined so.
//!
//! Some commands define an index and build none. ALTER TABLE … ALTER COLUMN … TYPE vecf32 of a vecf32(3)
//! changes no value, so that Postgres keeps the index's file; ALTER INDEX … SET changes options; a
//! partitioned index has no file. Where nobody refuses them, the next REINDEX or the restored dump fails.
//! Postgres tells a hook of each of them.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};

use super::column::{Column, declared_wishes};
use super::options::Options;
use super::{class, handler};
use crate::error::{OrRaise, Result};
use crate::error_context::enter;

thread_local! {
    /// The hook of a library that was loaded before.
    static PREVIOUS: Cell<pg_sys::object_access_hook_type> = const { Cell::new(None) };
}

/// Sets the hook; called once, when the library is loaded. Whoever defines an index has loaded it, to ask for
/// the access method or its options, before Postgres looks for a hook.
pub fn define() {
    // SAFETY: the backend's only thread is in _PG_init.
    unsafe {
        PREVIOUS.set(pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
    }
}

/// The hook: checks an index that has just been defined, or defined otherwise.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    column: i32,
    argument: *mut c_void,
) {
    enter!();
    if let Some(previous) = PREVIOUS.get() {
        // SAFETY: what Postgres gave.
        unsafe { pg_guard_ffi_boundary(|| previous(access, class, object, column, argument)) };
    }
    // pg_upgrade takes over indexes that their old server let pass. They can be searched and written to.
    // SAFETY: set when the server starts.
    if class != pg_sys::RelationRelationId || column != 0 || unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    let command = match access {
        pg_sys::ObjectAccessType::OAT_POST_CREATE => {
            // SAFETY: the argument that belongs to this kind of access, or null.
            let made = unsafe { argument.cast::<pg_sys::ObjectAccessPostCreate>().as_ref() };
            let is_of_table = made.is_some_and(|made| made.is_internal);
            if is_of_table { Command::OfTable } else { Command::CreateIndex }
        }
        pg_sys::ObjectAccessType::OAT_POST_ALTER => Command::AlterIndex,
        _ => return,
    };
    // SAFETY: in a transaction; the relation has just been defined.
    unsafe { check(object, command) }.or_raise();
}

/// What defined an index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    CreateIndex,
    AlterIndex,
    /// One that the user gave for a table.
    OfTable,
}

/// Fails where a relation is a walia_hnsw index that could not be built as it has just been defined.
///
/// # Safety
/// Called in a transaction; the relation exists.
unsafe fn check(relation: pg_sys::Oid, command: Command) -> Result<()> {
    // SAFETY: by the caller's promise.
    let Some(defined) = (unsafe { Defined::by(relation) }) else { return Ok(()) };
    // It may have been let pass by an earlier version: its name and owner may change.
    // SAFETY: as above.
    if command == Command::AlterIndex && unsafe { options_before(relation) } == Some(defined.options) {
        return Ok(());
    }
    // SAFETY: as above.
    let (column, class) = unsafe { (indexed_column(relation), class_of_index(relation)) };
    let (Some(column), Some(class)) = (column, class) else { return Ok(()) };
    // SAFETY: as above; a column's type and operator class exist.
    let declared = unsafe {
        class::check_type(class, column.type_oid)
            .and_then(|()| declared_wishes(column, &defined.options, class::measure(class)))
    };
    declared.map(drop).map_err(|error| match command {
        Command::OfTable => error.detail(format!("Index \"{}\" could not be built.", defined.name)),
        Command::CreateIndex | Command::AlterIndex => error,
    })
}

/// A walia_hnsw index as it has just been defined.
struct Defined {
    name: String,
    options: Options,
}

impl Defined {
    /// `None` where the relation is no such index.
    ///
    /// # Safety
    /// As for [`check`].
    unsafe fn by(relation: pg_sys::Oid) -> Option<Self> {
        let catalog = Catalog { table: pg_sys::RelationRelationId, index: pg_sys::ClassOidIndexId };
        let of_row = |row, descriptor| {
            // SAFETY: a row of pg_class.
            let class = unsafe { &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_class>() };
            let kinds = [pg_sys::RELKIND_INDEX, pg_sys::RELKIND_PARTITIONED_INDEX];
            // SAFETY: in a transaction, by the caller's promise; the options of an index of this access
            // method.
            unsafe {
                (kinds.contains(&(class.relkind as u8)) && handler::is_handled_here(class.relam)).then(|| {
                    Self {
                        name: pgrx::name_data_to_str(&class.relname).to_owned(),
                        options: Options::of_row(row, descriptor),
                    }
                })
            }
        };
        // SAFETY: the catalog's index has the OID alone.
        unsafe { catalog.with_row(relation, None, of_row) }.flatten()
    }
}

/// The column of an index.
///
/// # Safety
/// As for [`check`].
unsafe fn indexed_column(relation: pg_sys::Oid) -> Option<Column> {
    let catalog = Catalog { table: pg_sys::AttributeRelationId, index: pg_sys::AttributeRelidNumIndexId };
    let first = Key {
        column: pg_sys::Anum_pg_attribute_attnum,
        equal: pg_sys::F_INT2EQ,
        value: pg_sys::Datum::from(1i16),
    };
    let of_row = |row, _| {
        // SAFETY: a row of pg_attribute.
        let column = unsafe { &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_attribute>() };
        Column { type_oid: column.atttypid, type_modifier: column.atttypmod }
    };
    // SAFETY: the catalog's index has the OID and the number of a column.
    unsafe { catalog.with_row(relation, Some(first), of_row) }
}

/// The operator class of an index.
///
/// # Safety
/// As for [`check`].
unsafe fn class_of_index(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let catalog = Catalog { table: pg_sys::IndexRelationId, index: pg_sys::IndexRelidIndexId };
    let of_row = |row, descriptor| {
        let (mut is_null, number) = (false, pg_sys::Anum_pg_index_indclass as i32);
        // SAFETY: a row of pg_index, whose column `indclass` is a vector of at least one OID.
        unsafe {
            let classes = pg_sys::heap_getattr(row, number, descriptor, &mut is_null);
            let classes = classes.cast_mut_ptr::<pg_sys::oidvector>();
            *(&raw const (*classes).values).cast::<pg_sys::Oid>()
        }
    };
    // SAFETY: the catalog's index has the OID alone.
    unsafe { catalog.with_row(relation, None, of_row) }
}

/// A system catalog and an index of it, whose first column is an OID.
struct Catalog {
    table: pg_sys::Oid,
    index: u32,
}

/// A further column of the index, the function that compares it, and what it is compared with.
struct Key {
    column: u32,
    equal: u32,
    value: pg_sys::Datum,
}

impl Catalog {
    /// Gives a function the row with this OID, and perhaps another key, as the command that is running has
    /// left it: nobody else sees that before the command's end.
    ///
    /// # Safety
    /// The catalog has that index, with these columns, that these functions compare.
    unsafe fn with_row<T>(
        &self,
        oid: pg_sys::Oid,
        further: Option<Key>,
        use_row: impl FnOnce(pg_sys::HeapTuple, pg_sys::TupleDesc) -> T,
    ) -> Option<T> {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let first = Key { column: 1, equal: pg_sys::F_OIDEQ, value: pg_sys::Datum::from(oid) };
        let mut keys: Vec<_> = std::iter::once(first).chain(further).map(|key| key.scan_key()).collect();
        let (index, count) = (pg_sys::Oid::from(self.index), keys.len() as i32);
        // SAFETY: by the caller's promise. The row is on a page that is pinned until the scan ends.
        unsafe {
            let relation = pg_sys::table_open(self.table, lock);
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            let scan = pg_sys::systable_beginscan(relation, index, true, snapshot, count, keys.as_mut_ptr());
            let row = pg_sys::systable_getnext(scan);
            let used = (!row.is_null()).then(|| use_row(row, (*relation).rd_att));
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, lock);
            used
        }
    }
}

impl Key {
    fn scan_key(self) -> pg_sys::ScanKeyData {
        let (mut key, strategy) = (pg_sys::ScanKeyData::default(), pg_sys::BTEqualStrategyNumber as u16);
        // SAFETY: looks a function of Postgres's up.
        unsafe {
            let equal = pg_sys::Oid::from(self.equal);
            pg_sys::ScanKeyInit(&mut key, self.column as i16, strategy, equal, self.value);
        }
        key
    }
}

/// The options of a walia_hnsw index before the command that is running; `None` where that has made the
/// index.
///
/// # Safety
/// Called in a transaction.
unsafe fn options_before(index: pg_sys::Oid) -> Option<Options> {
    let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: by the caller's promise. The cache's copy is released when it has been read.
    unsafe {
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(index));
        if row.is_null() {
            return None;
        }
        let catalog = pg_sys::table_open(pg_sys::RelationRelationId, lock);
        let options = Options::of_row(row, (*catalog).rd_att);
        pg_sys::table_close(catalog, lock);
        pg_sys::ReleaseSysCache(row);
        Some(options)
    }
}
