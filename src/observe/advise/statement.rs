//! The text of a query that EXPLAIN can plan, and that is one statement.

use std::ffi::CString;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Result, SqlError};
use crate::nodes::List;

/// One statement that the planner plans.
pub struct Plannable<'q>(&'q str);

impl<'q> Plannable<'q> {
    /// Raises an ERROR where the text is no SQL.
    pub fn new(query: &'q str) -> Result<Self> {
        use pg_sys::NodeTag::{T_DeleteStmt, T_InsertStmt, T_SelectStmt, T_UpdateStmt};
        let refused = |code, message: &'static str| SqlError::new(code, message);
        let text = CString::new(query)
            .map_err(|_| refused(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "query has a zero byte"))?;
        // SAFETY: a C string; the statements live in the current memory context.
        let statements = unsafe { List::<pg_sys::RawStmt>::new(pg_sys::pg_parse_query(text.as_ptr())) };
        let (1, Some(statement)) = (statements.len(), statements.first()) else {
            let code = PgSqlErrorCode::ERRCODE_SYNTAX_ERROR;
            return Err(refused(code, "walia_advise takes exactly one statement"));
        };
        // SAFETY: a statement begins with its tag.
        let tag = unsafe { (*statement.stmt).type_ };
        let is_planned = [T_SelectStmt, T_InsertStmt, T_UpdateStmt, T_DeleteStmt].contains(&tag);
        #[cfg(not(feature = "pg14"))]
        let is_planned = is_planned || tag == pg_sys::NodeTag::T_MergeStmt;
        if is_planned {
            return Ok(Self(query));
        }
        let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
        Err(refused(code, "walia_advise takes statements that are planned")
            .hint("Give it the SELECT, INSERT, UPDATE, DELETE or MERGE itself, without EXPLAIN or PREPARE."))
    }

    /// What has the query planned, and not run.
    pub fn explain(&self) -> String {
        // Without values for its parameters, as a plan for any.
        let is_generic = cfg!(not(any(feature = "pg14", feature = "pg15"))) && self.0.contains('$');
        format!("EXPLAIN (FORMAT JSON, VERBOSE{}) {}", if is_generic { ", GENERIC_PLAN" } else { "" }, self.0)
    }
}
