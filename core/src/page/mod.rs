//! The graph on pages: format, storage, and everything that reads or changes an index.
//!
//! Imports `graph`, `code`, `kernel` and `types`.

mod access;
pub mod check;
pub mod counters;
pub mod fit;
pub mod graph;
mod heap_tids;
pub mod index;
mod insert;
pub mod lock_order;
pub mod memory;
mod mend;
pub mod meta;
pub mod node;
mod offsets;
pub mod parameter;
mod prune;
pub mod scan;
pub mod slotted;
mod space;
pub mod statistics;
pub mod store;
pub mod tuple;
pub mod vacuum;
mod vectors;
pub mod write;

pub use check::{Check, Finding, Severity, check};
pub use counters::Counters;
pub use fit::{Quantization, Storage, fit, max_level};
pub use index::Index;
pub use memory::MemoryStore;
pub use meta::Meta;
pub use slotted::Page;
pub use statistics::{Statistics, statistics};
pub use store::{PageStore, STOP_POINTS, WriteUnit};
pub use write::{PageSink, write_graph};
