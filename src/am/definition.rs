//! Indexes that could not be built as they are defined: refused when they are defined so.
//!
//! Some commands define an index and build none. ALTER TABLE … ALTER COLUMN … TYPE vecf32 of a vecf32(3) changes no value, so
//! that Postgres keeps the index's file; ALTER INDEX … SET changes options; a partitioned index has no file. Where nobody
//! refuses them, the next REINDEX or the restored dump fails. Postgres tells a hook of each of them.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};
use walia_core::types::{ElementType, Metric};

use super::column::{DISTANCE_PROCEDURE, declared_parameters};
use super::handler::walia_hnsw_handler;
use super::options::Options;
use crate::error::{OrRaise, Result};
use crate::error_context::enter;
use crate::types::functions::CFunction;
use crate::types::measure_of;

thread_local! {
    /// The hook of a library that was loaded before.
    static PREVIOUS: Cell<pg_sys::object_access_hook_type> = const { Cell::new(None) };
}

/// Sets the hook; called once, when the library is loaded. Whoever defines an index has loaded it, to ask for the access
/// method or its options, before Postgres looks for a hook.
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
    // SAFETY: Postgres calls it in a transaction, with the argument that belongs to the kind of access.
    unsafe {
        if let Some(previous) = PREVIOUS.get() {
            pg_guard_ffi_boundary(|| previous(access, class, object, column, argument));
        }
        // pg_upgrade takes over indexes that their old server let pass. They can be searched and written to.
        if class != pg_sys::RelationRelationId || column != 0 || pg_sys::IsBinaryUpgrade {
            return;
        }
        match access {
            pg_sys::ObjectAccessType::OAT_POST_CREATE => {
                let made = argument.cast::<pg_sys::ObjectAccessPostCreate>().as_ref();
                let made_by = if made.is_some_and(|made| made.is_internal) {
                    Command::OfTable
                } else {
                    Command::CreateIndex
                };
                check(object, made_by).or_raise();
            }
            pg_sys::ObjectAccessType::OAT_POST_ALTER => check(object, Command::AlterIndex).or_raise(),
            _ => (),
        }
    }
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
    // SAFETY: by the caller's promise. The rows are those of the catalogs asked for.
    unsafe {
        let options = with_row(
            pg_sys::RelationRelationId,
            pg_sys::ClassOidIndexId,
            relation,
            &[],
            |row, descriptor| {
                let class = &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_class>();
                let kinds = [pg_sys::RELKIND_INDEX, pg_sys::RELKIND_PARTITIONED_INDEX];
                let ours = kinds.contains(&(class.relkind as u8)) && is_walia_hnsw(class.relam);
                ours.then(|| {
                    (Options::of_row(row, descriptor), pgrx::name_data_to_str(&class.relname).to_owned())
                })
            },
        );
        let Some((options, name)) = options.flatten() else { return Ok(()) };
        if command == Command::AlterIndex && Some(options) == options_before(relation) {
            // It may have been let pass by an earlier version: its name and owner may change.
            return Ok(());
        }
        let first = [(pg_sys::Anum_pg_attribute_attnum, pg_sys::F_INT2EQ, pg_sys::Datum::from(1i16))];
        let attributes = (pg_sys::AttributeRelationId, pg_sys::AttributeRelidNumIndexId);
        let column = with_row(attributes.0, attributes.1, relation, &first, |row, _| {
            let attribute = &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_attribute>();
            (attribute.atttypid, attribute.atttypmod)
        });
        let class =
            with_row(pg_sys::IndexRelationId, pg_sys::IndexRelidIndexId, relation, &[], |row, descriptor| {
                let mut is_null = false;
                let classes = pg_sys::heap_getattr(
                    row,
                    pg_sys::Anum_pg_index_indclass as i32,
                    descriptor,
                    &mut is_null,
                );
                let classes = classes.cast_mut_ptr::<pg_sys::oidvector>();
                *(&raw const (*classes).values).cast::<pg_sys::Oid>()
            });
        let (Some(column), Some(class)) = (column, class) else { return Ok(()) };
        declared_parameters(column, &options, measure_of_class(class)).map(drop).map_err(
            |error| match command {
                Command::OfTable => error.detail(format!("Index \"{name}\" could not be built.")),
                Command::CreateIndex | Command::AlterIndex => error,
            },
        )
    }
}

/// Gives a function the row of a system catalog with this OID in its first column, and further keys of the index, as the command
/// that is running has left it: nobody else sees that before the command's end.
///
/// # Safety
/// The catalog has that index, with columns of these numbers, that these functions compare.
unsafe fn with_row<T>(
    catalog: pg_sys::Oid,
    index: u32,
    oid: pg_sys::Oid,
    further: &[(u32, u32, pg_sys::Datum)],
    use_row: impl FnOnce(pg_sys::HeapTuple, pg_sys::TupleDesc) -> T,
) -> Option<T> {
    // SAFETY: by the caller's promise. The row is on a page that is pinned until the scan ends.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let first = (1, pg_sys::F_OIDEQ, pg_sys::Datum::from(oid));
        let keys = std::iter::once(&first).chain(further).map(|(column, equal, value)| {
            let mut key = pg_sys::ScanKeyData::default();
            let strategy = pg_sys::BTEqualStrategyNumber as u16;
            pg_sys::ScanKeyInit(&mut key, *column as i16, strategy, pg_sys::Oid::from(*equal), *value);
            key
        });
        let mut keys: Vec<_> = keys.collect();
        let relation = pg_sys::table_open(catalog, lock);
        let (index, snapshot) = (pg_sys::Oid::from(index), &raw mut pg_sys::SnapshotSelfData);
        let count = keys.len() as i32;
        let scan = pg_sys::systable_beginscan(relation, index, true, snapshot, count, keys.as_mut_ptr());
        let row = pg_sys::systable_getnext(scan);
        let used = (!row.is_null()).then(|| use_row(row, (*relation).rd_att));
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        used
    }
}

/// The options of a walia_hnsw index before the command that is running; `None` where that has made the index.
///
/// # Safety
/// Called in a transaction.
unsafe fn options_before(index: pg_sys::Oid) -> Option<Options> {
    // SAFETY: by the caller's promise. The cache's copy is released when it has been read.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(index));
        if row.is_null() {
            return None;
        }
        let catalog =
            pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let options = Options::of_row(row, (*catalog).rd_att);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        pg_sys::ReleaseSysCache(row);
        Some(options)
    }
}

/// Whether an access method is this one, whatever its name: its handler tells.
///
/// # Safety
/// Called in a transaction.
unsafe fn is_walia_hnsw(method: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise; the cache's copy is released when it has been read.
    unsafe {
        let row =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AMOID as i32, pg_sys::Datum::from(method));
        if row.is_null() {
            return false;
        }
        let handler = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_am>()).amhandler;
        pg_sys::ReleaseSysCache(row);
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(handler, &mut info);
        let ours: CFunction = walia_hnsw_handler;
        info.fn_addr.is_some_and(|function| std::ptr::fn_addr_eq(function, ours))
    }
}

/// The metric and the element type of an operator class; `None` where it is none of walia's distances.
///
/// # Safety
/// Called in a transaction; the class exists.
unsafe fn measure_of_class(class: pg_sys::Oid) -> Option<(Metric, ElementType)> {
    // SAFETY: by the caller's promise.
    unsafe {
        let (family, input) = (pg_sys::get_opclass_family(class), pg_sys::get_opclass_input_type(class));
        let function = pg_sys::get_opfamily_proc(family, input, input, DISTANCE_PROCEDURE as i16);
        if function == pg_sys::InvalidOid {
            return None;
        }
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut info);
        info.fn_addr.and_then(measure_of)
    }
}
