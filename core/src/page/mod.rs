//! The graph on pages: format, storage, and everything that reads or changes an index.
//!
//! A house with floors, each of which uses only those below it:
//!
//! ```text
//! format → store → query → link → insert → vacuum → scan → check
//! ```
//!
//! - [`mod@format`]: the bytes of pages and tuples, and nothing else; FORMAT.md in Rust.
//! - [`store`]: where pages are kept, as traits; pages in RAM.
//! - [`query`]: an open index, what of a node lies on which page, and the graph as one query sees it.
//! - [`link`]: changing lists of links: one place, an offer to a neighbour, what takes the place of dead
//!   links.
//! - [`insert`], [`vacuum`], [`scan`], [`mod@check`]: the operations. Insertion also writes whole graphs that
//!   were built elsewhere.
//!
//! `make lint` checks the order.

pub mod check;
pub mod format;
pub mod insert;
mod link;
pub mod query;
pub mod scan;
pub mod store;
pub mod vacuum;

pub use check::statistics::{Statistics, statistics};
pub use check::{Check, Finding, Memory, RecordFile, Severity, check};
pub use format::fit::{Quantization, Storage, Wishes, fit, fit_to_sample, max_level};
pub use format::hints::Hints;
pub use format::meta::Meta;
pub use format::occupancy::{Contents, Occupancy};
pub use format::slotted::Page;
pub use insert::batch::{Helpers, JoinHelper, JoinOptions};
pub use insert::bulk::write_graph;
pub use insert::plan::Plan;
pub use insert::size::estimated_pages;
pub use query::index::Index;
pub use query::schema::{Quantizers, Schema};
#[cfg(feature = "memory-store")]
pub use store::memory::MemoryStore;
pub use store::{FreeSpace, PageSink, PageStore, Pages, Phase, Prefetch, Session, StopPoint, WriteUnit};
