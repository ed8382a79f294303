//! The graph on pages: format, storage, and everything that reads or changes an index.
//!
//! Imports `graph`, `kernel` and `types`, and of `arena` only what [`write`] copies to pages.

pub mod counters;
pub mod index;
pub mod memory;
pub mod meta;
pub mod node;
pub mod slotted;
pub mod store;
pub mod tuple;

pub use counters::Counters;
pub use index::Index;
pub use memory::MemoryStore;
pub use meta::Meta;
pub use slotted::Page;
pub use store::{PageStore, WriteUnit};
