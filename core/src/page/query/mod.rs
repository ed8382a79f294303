//! Reading an index: its meta page, what of a node lies on which page, and the graph as one query sees it.

pub mod access;
pub mod chain;
mod expand;
pub mod heap_tids;
pub mod index;
mod node_store;
pub mod notes;
pub mod paged;
pub mod schema;
pub mod vectors;
