//! Reading an index: its meta page, what of a node lies on which page, and the graph as one query sees it.

pub mod access;
pub mod chain;
pub mod index;
pub mod paged;
pub mod stale;
pub mod vectors;
