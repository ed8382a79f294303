//! The nearest rows of one table or of many: the custom scan that knows how many are wanted and tests the
//! query's conditions while it walks.
//!
//! - `preceding`: which orders begin with rows that have no distance.
//! - `path`: where the planner may use the scan, and what that costs; `many`: the same for many tables.
//! - `target`: of which columns its rows consist.
//! - `private`: what the planner tells the executor.
//! - `node`: the scan as Postgres's executor sees it; `execution`: what it does; `rows`: the table as core
//!   sees it.
//! - `rounding`: how far an operator's distances may be from the index's.
//! - `explain`: what EXPLAIN shows.

mod execution;
mod explain;
pub mod many;
mod node;
pub mod path;
mod preceding;
mod private;
mod rounding;
mod rows;
mod target;

use std::ffi::CStr;

pub use node::SCAN_METHODS;

/// The custom scan's name, as EXPLAIN shows it.
const NAME: &CStr = c"WaliaNearestScan";
