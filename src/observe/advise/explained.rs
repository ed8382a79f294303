//! What EXPLAIN says of a query: its cost, and the indexes that it scans.

use std::ffi::{CStr, CString};

use pgrx::{PgSqlErrorCode, pg_sys};
use serde_json::Value;

use super::statement::Plannable;
use crate::error::{Result, SqlError};

/// A plan.
pub struct Explained {
    /// The planner's estimate of its whole cost.
    pub cost: f64,
    pub scans: Vec<Scan>,
}

/// A scan of an index that gives rows in an order, or the codes of a search.
pub struct Scan {
    pub schema: String,
    pub index: String,
    /// The table's name in the query.
    pub alias: String,
    pub order: Option<String>,
}

impl Explained {
    /// The plan of a query.
    pub fn new(query: &Plannable) -> Result<Self> {
        let shown = text_of(&query.explain()).unwrap_or_default();
        let shown: Value = serde_json::from_str(&shown).map_err(|error| {
            let message = format!("could not read the answer of EXPLAIN: {error}");
            SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
        })?;
        let mut explained = Self { cost: 0.0, scans: Vec::new() };
        // A rule may make several statements of one.
        for plan in shown.as_array().into_iter().flatten().filter_map(|statement| statement.get("Plan")) {
            explained.cost += plan.get("Total Cost").and_then(Value::as_f64).unwrap_or(0.0);
            explained.walk(plan, false);
        }
        Ok(explained)
    }

    /// The plan if the ways without an index that gives the order cost very much.
    pub fn by_indexes(query: &Plannable) -> Result<Self> {
        let _settings = Disabled::new(&[
            c"enable_seqscan",
            c"enable_bitmapscan",
            c"enable_sort",
            c"enable_incremental_sort",
        ]);
        Self::new(query)
    }

    fn walk(&mut self, node: &Value, is_by_codes: bool) {
        let text = |name: &str| node.get(name).and_then(Value::as_str).map(str::to_owned);
        let is_by_codes = is_by_codes || text("Custom Plan Provider").as_deref() == Some("WaliaCodeScan");
        let order = text("Order By");
        if let (Some(index), true) = (text("Index Name"), order.is_some() || is_by_codes) {
            let (schema, alias) = (text("Schema").unwrap_or_default(), text("Alias").unwrap_or_default());
            self.scans.push(Scan { schema, index, alias, order });
        }
        let below = node.get("Plans").and_then(Value::as_array);
        below.into_iter().flatten().for_each(|below| self.walk(below, is_by_codes));
    }
}

/// The text that EXPLAIN gives. Not by pgrx's functions: for a statement that is no SELECT they take a number
/// of a transaction, which a standby has none of.
fn text_of(statement: &str) -> Option<String> {
    let statement = CString::new(statement).ok()?;
    // SAFETY: in a transaction; connected until the answer, of one row and column, has been copied.
    unsafe {
        pg_sys::SPI_connect();
        pg_sys::SPI_execute(statement.as_ptr(), false, 0);
        let text = pg_sys::SPI_tuptable.as_ref().filter(|rows| rows.numvals > 0).map(|rows| {
            let value = pg_sys::SPI_getvalue(*rows.vals, rows.tupdesc, 1);
            CStr::from_ptr(value).to_string_lossy().into_owned()
        });
        pg_sys::SPI_finish();
        text
    }
}

/// The setting that keeps the planner from scans in the order of an index, if it is off.
pub fn disabled() -> Option<&'static str> {
    // SAFETY: a setting that Postgres defines.
    (!unsafe { pg_sys::enable_indexscan }).then_some("enable_indexscan")
}

/// Settings that are off until this is dropped.
struct Disabled(i32);

impl Disabled {
    fn new(settings: &[&CStr]) -> Self {
        // SAFETY: settings that any role may change; an ERROR ends the nesting as well.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            for setting in settings {
                pg_sys::set_config_option(
                    setting.as_ptr(),
                    c"off".as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Self(level)
        }
    }
}

impl Drop for Disabled {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the nesting that `new` has begun.
            unsafe { pg_sys::AtEOXact_GUC(false, self.0) }
        }
    }
}
