//! Properties that EXPLAIN shows of a plan's node.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::guc;
use crate::nodes::NodeRef;

impl NodeRef<'_, pg_sys::ExplainState> {
    /// Shows a number.
    pub fn integer(self, label: &CStr, value: u64) {
        // SAFETY: the label is a C string, and there is no unit.
        unsafe {
            pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, self.as_ptr())
        }
    }

    /// Shows a text.
    pub fn text(self, label: &CStr, value: &CStr) {
        // SAFETY: both are C strings.
        unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), self.as_ptr()) }
    }

    /// Shows pgvector's settings that count in place of walia's, with VERBOSE.
    pub fn settings_of_pgvector(self) {
        let settings = guc::settings_of_pgvector().filter(|_| self.verbose);
        if let Some(settings) = settings.and_then(|settings| CString::new(settings).ok()) {
            self.text(c"pgvector Settings", &settings);
        }
    }
}
