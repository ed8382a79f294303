//! SQL functions that tell about an index, or mend it.
//!
//! Imports `am`, `store`, `error` and walia-core.

mod check;
mod info;
mod last_scan;
mod open;
mod recall;
mod repair;
mod rows;
mod table;
