//! Errors for users: a SQLSTATE, a message in Postgres's style, and perhaps a DETAIL and a HINT.
//!
//! Code below the SQL functions returns `Result` and raises at its outer edge, so that everything it owns is
//! dropped in order.

use std::borrow::Cow;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// The result of everything that may fail with an ERROR.
pub type Result<T> = std::result::Result<T, SqlError>;

/// An ERROR that has not been raised yet.
#[derive(Debug)]
pub struct SqlError(Box<ErrorReport>);

impl SqlError {
    /// An error with a primary message: lower-case, one line, no full stop.
    #[track_caller]
    pub fn new(code: PgSqlErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(ErrorReport::new(code, message, "walia")))
    }

    /// Adds a DETAIL: full sentences.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self(Box::new(self.0.set_detail(detail)))
    }

    /// Adds a HINT: full sentences.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self(Box::new(self.0.set_hint(hint)))
    }

    /// Raises the ERROR: unwinds to the nearest guarded function, which hands it to Postgres.
    pub fn raise(self) -> ! {
        self.0.report(PgLogLevel::ERROR);
        unreachable!("ERROR does not return")
    }
}

/// Raises what has failed, at a function that Postgres called.
pub trait OrRaise<T> {
    /// The value, or an ERROR.
    fn or_raise(self) -> T;
}

impl<T, E: Into<SqlError>> OrRaise<T> for std::result::Result<T, E> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.into().raise())
    }
}
