//! Tests of insertion, scan and vacuum on pages: alone, with crashes between any two commits, one in the
//! middle of another, and all at once.

mod batch;
mod beside;
mod churn;
mod concurrent;
mod conditions;
mod crash;
mod damage;
mod federation;
mod interleaved;
mod many_rows;
mod presence;
mod read_ahead;
mod repair;
mod table;
mod upper;
mod versions;
