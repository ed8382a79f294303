//! The SQL types `vecf32(n)`, `vecf16(n)` and `veccode`: input and output, casts, operators, functions,
//! aggregates.
//!
//! A value is laid out as pgvector's `vector` and `halfvec` are: a varlena header, the number of dimensions
//! and an unused zero (both int16), then the elements. Everything is written once, over [`Element`], as plain
//! functions of slices; [`functions`] wires them to the C functions that the install script names. Only
//! [`datum`], [`call`], [`coercion`], [`decimal`] and [`functions`] deal with memory that Postgres owns.

mod aggregates;
mod arithmetic;
mod binary;
mod call;
mod casts;
mod code;
mod coercion;
mod datum;
mod decimal;
mod distances;
mod element;
pub mod functions;
mod measure;
mod text;
mod validate;

pub use code::{CODE_BITS, quantizer as code_quantizer};
pub use datum::{RawVector, Varlena, Vector};
pub use element::Element;
pub use measure::measure_of;
pub use validate::{different_dimensions, different_lengths};
