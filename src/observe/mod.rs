//! SQL functions that tell about an index.
//!
//! Imports `am`, `store`, `error` and walia-core.

mod check;
mod info;
mod open;
mod recall;
mod table;
