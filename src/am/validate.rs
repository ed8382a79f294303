//! `amvalidate`: whether an operator class fits walia_hnsw.

use std::ffi::CStr;

use pgrx::{PgLogLevel, PgSqlErrorCode, ereport, pg_guard, pg_sys};

use super::column::DISTANCE_PROCEDURE;
use crate::error_context::enter;
use crate::types::measure_of;

/// `amvalidate`: every operator orders by a float8, and support function 1 is one of walia's distances. What
/// is wrong is reported as INFO.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amvalidate(class: pg_sys::Oid) -> bool {
    enter!();
    let complain = |message: String| {
        let code = PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION;
        ereport!(PgLogLevel::INFO, code, message);
        false
    };
    // SAFETY: looks up catalogs by OID; what is not there gives an ERROR or an invalid OID.
    let (family, input) =
        unsafe { (pg_sys::get_opclass_family(class), pg_sys::get_opclass_input_type(class)) };
    // SAFETY: as above; the name is a C string.
    let name = || unsafe { text(pg_sys::generate_opclass_name(class)) };
    // SAFETY: as above.
    let function = unsafe { pg_sys::get_opfamily_proc(family, input, input, DISTANCE_PROCEDURE as i16) };
    if function == pg_sys::InvalidOid {
        let name = name();
        return complain(format!("operator class \"{name}\" lacks support function {DISTANCE_PROCEDURE}"));
    }
    let mut info = pg_sys::FmgrInfo::default();
    // SAFETY: as above.
    unsafe { pg_sys::fmgr_info(function, &mut info) };
    if info.fn_addr.and_then(measure_of).is_none() {
        // SAFETY: as above; the name is a C string.
        let name = unsafe { text(pg_sys::format_procedure(function)) };
        return complain(format!("support function {name} is not a distance function of walia"));
    }
    // SAFETY: in a transaction.
    let operators = unsafe { operators(family, input) };
    if operators.is_empty() {
        return complain(format!("operator class \"{}\" lacks an ordering operator", name()));
    }
    for operator in operators {
        // SAFETY: as above; the name is a C string.
        let name = unsafe { text(pg_sys::format_operator(operator.amopopr)) };
        if operator.amoppurpose as u8 != pg_sys::AMOP_ORDER {
            return complain(format!("operator {name} is not FOR ORDER BY"));
        }
        let (family, less) = (operator.amopsortfamily, pg_sys::BTLessStrategyNumber as i16);
        // SAFETY: as above.
        let (result, order) = unsafe {
            let result = pg_sys::get_op_rettype(operator.amopopr);
            (result, pg_sys::get_opfamily_member(family, result, result, less))
        };
        if result != pg_sys::FLOAT8OID || order == pg_sys::InvalidOid {
            return complain(format!("operator {name} does not order by float8"));
        }
    }
    true
}

/// The operators of a family whose left side is the indexed type.
///
/// # Safety
/// Called in a transaction.
unsafe fn operators(family: pg_sys::Oid, left: pg_sys::Oid) -> Vec<pg_sys::FormData_pg_amop> {
    // SAFETY: the list's tuples are rows of pg_amop, copied before it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AMOPSTRATEGY as i32;
        let nothing = pg_sys::Datum::from(0);
        let list = pg_sys::SearchSysCacheList(cache, 1, family.into(), nothing, nothing);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let rows: Vec<pg_sys::FormData_pg_amop> = members
            .iter()
            .map(|member| *pg_sys::GETSTRUCT(&raw mut (**member).tuple).cast::<pg_sys::FormData_pg_amop>())
            .filter(|operator| operator.amoplefttype == left)
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        rows
    }
}

/// # Safety
/// `text` is a C string.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
