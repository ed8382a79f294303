//! The graph in RAM, built by many threads.
//!
//! Imports `graph`, `kernel` and `types`.
