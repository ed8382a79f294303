//! Datasets, recall and latency sweeps, and peers side by side.
fn main() {}
