//! walia's core: vectors, kernels, the HNSW graph, and the pages that hold it.
//!
//! This crate knows nothing of Postgres. Data flows one way, and a module imports only from its left:
//!
//! ```text
//! counters | reserve | types → kernel → code → graph | rank → arena | page → cluster
//! ```
//!
//! * [`counters`]: what is counted of indexes, in shared memory.
//! * [`reserve`]: which parts of a reserve of memory are in use.
//! * [`types`]: links, heap TIDs, metrics, parameters, the error value.
//! * [`kernel`]: distance routines, chosen once for the machine.
//! * [`code`]: quantized vectors, distances estimated from them, and the encodings of payloads.
//! * [`graph`]: HNSW over the [`graph::NodeStore`] trait: search, selection of neighbours, descent.
//! * [`rank`]: the nearest of a list of rows, by codes that stand alone.
//! * [`arena`]: the graph in RAM, built by many threads.
//! * [`cluster`]: the rows of a build by region, in a file, where memory does not hold them all.
//! * [`page`]: the graph on pages, over the [`page::PageStore`] trait: format, insert, scan, vacuum, check.
//!
//! `unsafe` is allowed only in the files of [`kernel`] that call SIMD intrinsics, and in those of [`arena`]
//! that take memory in huge pages.
#![deny(unsafe_code)]

#[cfg(not(target_endian = "little"))]
compile_error!("walia's pages are little-endian (FORMAT.md); this target is not supported");

pub mod arena;
pub mod cluster;
pub mod code;
pub mod counters;
pub mod graph;
pub mod kernel;
pub mod page;
pub mod rank;
pub mod reserve;
mod sort;
pub mod types;
