//! SQL functions that tell about an index.
//!
//! Imports `am`, `store`, `error` and walia-core.

mod check;
mod info;
mod last_scan;
mod open;
mod recall;
mod table;
