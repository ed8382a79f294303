//! The nearest rows by a btree that carries codes: the custom scan that reads the entries of a condition,
//! estimates the distance of each, and measures the rows that the estimates leave in doubt.
//!
//! - `index`: which btrees carry the code of an order's column, and what of a condition they serve;
//!   `disjunction`: ORs that Postgres learned to serve later.
//! - `path`: where the planner may use the scan, and what that costs.
//! - `private`: what the planner tells the executor.
//! - `node`: the scan as a plan node; `execution`: what it does; `list`: the btree as core sees it, and
//!   `crowd`: whether most of it is dead; `table`: the table.
//! - `explain`: what EXPLAIN shows.

mod crowd;
#[cfg(not(feature = "pg18"))]
mod disjunction;
mod execution;
mod explain;
mod index;
mod list;
mod node;
pub mod path;
mod private;
mod table;

use std::ffi::CStr;

pub use node::SCAN_METHODS;

/// The custom scan's name, as EXPLAIN shows it.
const NAME: &CStr = c"WaliaCodeScan";
