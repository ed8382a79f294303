//! Operator classes: what they measure, and of which type.

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::types::{ElementType, Metric};

use super::column::{DISTANCE_PROCEDURE, type_name};
use crate::error::{Result, SqlError};
use crate::types::measure_of;

/// The metric and the element type of an operator class; `None` where it is none of walia's distances.
///
/// # Safety
/// Called in a transaction; the class exists.
pub unsafe fn measure(class: pg_sys::Oid) -> Option<(Metric, ElementType)> {
    // SAFETY: by the caller's promise.
    unsafe { measure_of_family(pg_sys::get_opclass_family(class), pg_sys::get_opclass_input_type(class)) }
}

/// # Safety
/// Called in a transaction; family and type exist.
unsafe fn measure_of_family(family: pg_sys::Oid, input: pg_sys::Oid) -> Option<(Metric, ElementType)> {
    // SAFETY: by the caller's promise.
    unsafe {
        let function = pg_sys::get_opfamily_proc(family, input, input, DISTANCE_PROCEDURE as i16);
        if function == pg_sys::InvalidOid {
            return None;
        }
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut info);
        info.fn_addr.and_then(measure_of)
    }
}

/// The metric and the element type of an operator's distances, by which an operator class orders; `None`
/// where none of walia's does.
///
/// # Safety
/// Called in a transaction; the operator exists.
pub unsafe fn measure_of_operator(operator: pg_sys::Oid) -> Option<(Metric, ElementType)> {
    // SAFETY: by the caller's promise; the cache is one of pg_amop.
    let rows = unsafe { rows_of::<pg_sys::FormData_pg_amop>(pg_sys::SysCacheIdentifier::AMOPOPID, operator) };
    let orders = rows.iter().filter(|row| row.amoppurpose == pg_sys::AMOP_ORDER as std::ffi::c_char);
    // SAFETY: by the caller's promise.
    orders.filter_map(|row| unsafe { measure_of_family(row.amopfamily, row.amoplefttype) }).next()
}

/// Fails where an operator class is for another type than a column has.
///
/// Postgres lets a class pass to whose type the column's can be cast for nothing, as vector to vecf32. But
/// the operators that order such a column are those of its own type, which that class does not have: the
/// index would never be used.
///
/// # Safety
/// Called in a transaction; class and type exist.
pub unsafe fn check_type(class: pg_sys::Oid, column_type: pg_sys::Oid) -> Result<()> {
    // SAFETY: by the caller's promise.
    let (row, column_type) = unsafe { (row(class), pg_sys::getBaseType(column_type)) };
    let Some(row) = row.filter(|row| row.opcintype != column_type) else { return Ok(()) };
    // SAFETY: as above.
    let (input, name, fitting) =
        unsafe { (type_name(row.opcintype), type_name(column_type), alike(&row, column_type)) };
    let class = pgrx::name_data_to_str(&row.opcname);
    // Postgres's own words for a class that it does not let pass.
    let message = format!("operator class \"{class}\" does not accept data type {name}");
    let error = SqlError::new(PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH, message)
        .detail(format!("It has the operators of type {input}: the index would never be used."));
    Err(match fitting {
        Some(fitting) => error.hint(format!("Use operator class \"{fitting}\".")),
        None => error.hint(format!("Cast the column to type {input} in the index and in queries.")),
    })
}

/// The name of an operator class of the same access method that measures the same of another type.
///
/// # Safety
/// As for [`measure`].
unsafe fn alike(class: &pg_sys::FormData_pg_opclass, input: pg_sys::Oid) -> Option<String> {
    // SAFETY: by the caller's promise.
    let wanted = unsafe { measure(class.oid) };
    // SAFETY: as above; the cache is one of pg_opclass.
    let rows = unsafe {
        let cache = pg_sys::SysCacheIdentifier::CLAAMNAMENSP;
        rows_of::<pg_sys::FormData_pg_opclass>(cache, class.opcmethod)
    };
    // SAFETY: the catalogs have these classes.
    let mut fitting =
        rows.iter().filter(|row| row.opcintype == input && unsafe { measure(row.oid) } == wanted);
    fitting.next().map(|row| pgrx::name_data_to_str(&row.opcname).to_owned())
}

/// The rows of a catalog whose first key in a cache is this.
///
/// # Safety
/// Called in a transaction; the cache is one of a catalog whose rows begin with `Row`.
unsafe fn rows_of<Row: Copy>(cache: pg_sys::SysCacheIdentifier::Type, key: pg_sys::Oid) -> Vec<Row> {
    let nothing = pg_sys::Datum::from(0);
    // SAFETY: by the caller's promise. The rows are copied before the list is released.
    unsafe {
        let list = pg_sys::SearchSysCacheList(cache as i32, 1, key.into(), nothing, nothing);
        let members = (*list).members.as_slice((*list).n_members as usize).iter();
        let row = |tuple| *pg_sys::GETSTRUCT(tuple).cast::<Row>();
        let rows = members.map(|member| row(&raw mut (**member).tuple)).collect();
        pg_sys::ReleaseCatCacheList(list);
        rows
    }
}

/// The row of an operator class.
///
/// # Safety
/// Called in a transaction.
unsafe fn row(class: pg_sys::Oid) -> Option<pg_sys::FormData_pg_opclass> {
    // SAFETY: by the caller's promise; a row of pg_opclass, which is copied before it is released.
    unsafe {
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::CLAOID as i32, class.into());
        if row.is_null() {
            return None;
        }
        let columns = *pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_opclass>();
        pg_sys::ReleaseSysCache(row);
        Some(columns)
    }
}
