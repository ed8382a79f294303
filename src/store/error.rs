//! What a failure below becomes for the user: an ERROR that names the index.

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::types::Error;

use super::file::file_error;
use crate::error::SqlError;
use crate::memory::out_of_memory;

/// The name of an open relation.
///
/// # Safety
/// `relation` is open.
pub unsafe fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: by the caller's promise; a relation's name ends with a zero.
    unsafe { pgrx::name_data_to_str(&(*(*relation).rd_rel).relname) }.to_owned()
}

/// The ERROR of a failure in an index.
///
/// # Safety
/// `index` is open.
pub unsafe fn index_error(index: pg_sys::Relation, error: Error) -> SqlError {
    // SAFETY: by the caller's promise.
    let name = unsafe { relation_name(index) };
    let reindex = "Rebuild the index with REINDEX.";
    let unreadable = |detail| {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("index \"{name}\" cannot be read by this version of walia"),
        )
        .detail(detail)
        .hint(reindex)
    };
    match error {
        Error::Corrupt { block, slot, what } => {
            let place =
                if slot == 0 { format!("block {block}") } else { format!("block {block}, slot {slot}") };
            SqlError::new(PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED, format!("index \"{name}\" is corrupted"))
                .detail(format!("There is a fault in {place}: {what}."))
                .hint(reindex)
        }
        Error::Version { found } => unreadable(format!("The index has format version {found}.")),
        Error::Features { unknown } => unreadable(format!("The index uses unknown features ({unknown:#x}).")),
        Error::TemporaryFile { errno } => file_error(errno, "could not read from a temporary file"),
        Error::Message => SqlError::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("processes that build index \"{name}\" do not understand each other"),
        ),
        Error::OutOfMemory => out_of_memory(format!("Failed in index \"{name}\".")),
    }
}
