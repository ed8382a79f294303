//! Rows of a big transaction: they wait in the backend, and become a part of the graph together.
//!
//! The first rows that a transaction inserts into an index are inserted at once. Those that follow wait, as
//! vectors and heap TIDs, in memory and then in a temporary file. They are joined to the graph, see
//! walia-core's `join_graph`,
//!
//! * before this transaction looks at the index the next time: nobody else may see its rows;
//! * before a query may start parallel workers, which do not see what this process keeps;
//! * before a command that may move, empty or drop an index;
//! * at the end of a statement after which very many wait, with which the transaction ends, or that EXPLAIN
//!   ANALYZE watches;
//! * when there are as many as a graph in `maintenance_work_mem` can hold, which is a limit for all indexes
//!   of a transaction together;
//! * at the latest before the transaction commits or is prepared.
//!
//! **A row that waits is in the table.** Rows of a subtransaction are cut when it is rolled back, before
//! anybody else may use their heap TIDs. What INSERT … ON CONFLICT inserts may be given up again, so that it
//! does not wait: see `speculative`. What the transaction has deleted is joined; the deletion may be rolled
//! back.
//!
//! **A join may fail inside an error that is caught** (an EXCEPTION block), when some of its rows are in the
//! graph. The rows go on waiting, and the next join looks first which of them the index holds.
//!
//! **The index is locked** as by a statement that inserts, until the transaction ends: nobody else drops it
//! or gives it another file. The transaction's own commands that may do so join first. Where files are
//! exchanged without a command, as pg_repack does, the rows follow their file: see `target`.
//!
//! **An error of a join** is that of the statement where the transaction ends with it, or of COMMIT: before
//! the first event of the end, of which other libraries' work elsewhere is a part. What deferred triggers
//! insert is joined at that event.
//!
//! **Serializable transactions** that have read the index between an insertion and its join have not met the
//! row. Postgres looks for those that had read it before the insertion; the join looks again when its rows
//! can be found.
//!
//! **A graph begins with the index** where memory has room for both, see [`walia_core::page::Index::adopt`]:
//! threads, which cannot read buffers, insert the rows beside the nodes that are there. What is less than a
//! 32nd of the index is inserted row by row; what is less than an eighth does not wait for other joins, which
//! would take longer than joins side by side.
//!
//! # What is not finished
//!
//! * Transactions of a few rows onto a large index gain nothing: their searches are one process's work.
//! * Nodes are estimated with the longest vector that a column may hold: beside sparse ones, which are
//!   shorter, an index is hardly ever found to have room in memory.
//! * WAL of a load into an empty index is 1.2 to 1.3 times its size, as half of the links are written when
//!   their nodes are there.
//! * Rows of logical replication do not wait, nor does what a command's triggers insert (`nesting`).
//! * EXPLAIN ANALYZE shows joins by themselves from Postgres 18 on, and within the execution time before.
//!
//! `transaction` keeps the rows of all indexes, `rows` those of one; `hooks` says when they are joined,
//! `join` does it.

mod blocks;
pub mod explained;
mod graph;
mod hooks;
mod join;
mod nesting;
mod rows;
mod speculative;
mod target;
mod transaction;

pub use hooks::define;
pub use transaction::{join_waiting, take};
