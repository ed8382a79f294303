//! Changing lists of links: what insertion, vacuum and scans that mend have in common.

pub mod change;
pub mod offer;
pub mod prune;
pub mod replacements;
