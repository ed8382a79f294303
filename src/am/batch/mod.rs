//! Rows of a big transaction: they wait in the backend, and become a part of the graph together.
//!
//! The first rows that a transaction inserts into an index are inserted at once. Those that follow wait, as
//! vectors and heap TIDs, in memory and then in a temporary file. They are joined to the graph, see
//! walia-core's `join_graph`,
//!
//! * before this transaction looks at the index the next time: nobody else may see its rows;
//! * before a query may start parallel workers, which do not see what this process keeps;
//! * before a command that may move, empty or drop an index;
//! * at the end of a statement after which very many wait, or that EXPLAIN ANALYZE watches;
//! * when there are as many as a graph in `maintenance_work_mem` can hold, which is a limit for all indexes of
//!   a transaction together;
//! * at the latest before the transaction commits or is prepared.
//!
//! **A row may be gone when its turn comes**: a subtransaction was rolled back, or INSERT … ON CONFLICT gave
//! up what it had inserted, and VACUUM, which finds nothing in the index, has given the line pointer away. So
//! each is looked at: see `live`. What this transaction has deleted stays; the deletion may be rolled back.
//!
//! **A join may fail inside an error that is caught** (an EXCEPTION block), when some of its rows are in the
//! graph. The rows go on waiting, and the next join looks first which of them the index holds.
//!
//! **An index may get another file**, which holds the rows already (REINDEX) or nothing (TRUNCATE); ROLLBACK
//! TO brings the old file back. Rows are for one file, and are forgotten with the transaction.
//!
//! `transaction` keeps the rows of all indexes, `rows` those of one; `hooks` says when they are joined, `join`
//! does it.

mod hooks;
mod join;
mod live;
mod rows;
mod target;
mod transaction;

pub use hooks::define;
pub use transaction::{join_waiting, take};
