//! The bytes of an index: pages, tuples, and where things lie in them. FORMAT.md is the authority.
//!
//! Pure functions of bytes: nothing here knows where pages are kept.

pub mod chain;
pub mod fit;
pub mod hints;
pub mod layout;
pub mod meta;
pub mod node;
pub mod occupancy;
mod offsets;
pub mod owned;
pub mod places;
pub mod presence;
pub mod slotted;
pub mod tuple;
