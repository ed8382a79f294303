//! Tests of insertion, scan and vacuum on pages: alone, with crashes between any two commits, and all at once.

mod churn;
mod concurrent;
mod crash;
mod table;
