//! Tests of RaBitQ codes, their estimates, and the encodings of payloads.

mod estimates;
mod payloads;
mod vectors;
