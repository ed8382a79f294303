//! The access method `walia_hnsw`: what Postgres calls to build, change, search and cost an index.

pub mod batch;
pub mod build;
pub mod class;
pub mod column;
pub mod cost;
pub mod counters;
pub mod definition;
pub mod handler;
pub mod heap;
mod insert;
pub mod last;
pub mod options;
pub mod order;
pub mod presence;
pub mod scan;
pub mod sort;
pub mod table;
pub mod vacuum;
mod validate;
