//! The order in which rows of a build come where not all find a place in memory: those of a region together.
//!
//! Graphs of rows that lie anywhere overlap, and nearly each link of one changes as the others are joined to
//! it. Those of regions touch at their borders: fewer nodes are found near a row, fewer are linked to it, and
//! the pages that hold them are the same for many rows. [`Clusters`] are the regions, the centres of k-means,
//! in an order in which each is near the one before; [`Runs`] keep the rows of each in a file meanwhile.

mod means;
mod runs;

pub use means::Clusters;
pub use runs::{Run, Runs, file_size};
