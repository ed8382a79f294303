//! What EXPLAIN shows of the settings in force.

use std::ffi::CString;

use pgrx::pg_sys;

use crate::guc;
use crate::nodes::NodeRef;

/// Shows pgvector's settings that count in place of walia's, with VERBOSE.
pub fn show(state: NodeRef<pg_sys::ExplainState>) {
    let settings = guc::settings_of_pgvector().filter(|_| state.verbose);
    if let Some(settings) = settings.and_then(|settings| CString::new(settings).ok()) {
        // SAFETY: both are C strings.
        unsafe {
            pg_sys::ExplainPropertyText(c"pgvector Settings".as_ptr(), settings.as_ptr(), state.as_ptr())
        }
    }
}
