//! Tests of RaBitQ codes, their estimates, and the encodings of payloads.

mod centroid;
mod estimates;
mod extremes;
mod format;
mod of_codes;
mod payloads;
mod real;
mod standalone;
mod vectors;
