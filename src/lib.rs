//! walia: an HNSW index for Postgres.
//!
//! Everything that touches Postgres is in this crate; data flows one way, and a module imports only from its
//! left:
//!
//! ```text
//! error | guc → memory → error_context → nodes | quantizers → types → store → am → plan → observe
//! ```
//!
//! `unsafe` is where Postgres's memory and functions are met, in blocks of a few lines with a proof each:
//! CONTRIBUTING.md says where, and `make lint` looks.

pub mod am;
pub mod error;
pub mod error_context;
pub mod guc;
pub mod memory;
pub mod nodes;
pub mod observe;
pub mod plan;
pub mod quantizers;
pub mod store;
pub mod types;

use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

pgrx::pg_module_magic!();

/// What Postgres calls when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    memory::define();
    error_context::enter!();
    error_context::define();
    store::define();
    // SAFETY: a setting that every server has; the text lives until the next change of settings.
    let block_size = unsafe {
        let text = pg_sys::GetConfigOption(c"block_size".as_ptr(), false, false);
        std::ffi::CStr::from_ptr(text)
    };
    let expected = walia_core::types::PAGE_SIZE.to_string();
    if block_size.to_bytes() != expected.as_bytes() {
        error::SqlError::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("walia requires a block size of {expected} bytes"),
        )
        .detail(format!("The block size of this server is {} bytes.", block_size.to_string_lossy()))
        .raise()
    }
    guc::define();
    am::options::define();
    am::definition::define();
    am::batch::define();
    am::counters::define();
    plan::define();
}
