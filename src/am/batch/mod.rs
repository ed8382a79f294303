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
//! # What is not finished
//!
//! So `walia.batch_inserts` is a setting of debug builds, and off; nothing waits in a release. Known faults, each of which wants
//! a test that fails without its mending:
//!
//! * The index is locked for a statement only: another session's ALTER INDEX … SET TABLESPACE gives it another file meanwhile,
//!   and the rows that wait are lost. A row that waits needs RowExclusiveLock on the index, owned by the transaction.
//! * A heap TID of a row that was rolled back may come to a row of this transaction of which `aminsert` is not told: one that a
//!   partial index leaves out, or a heap-only tuple. A SubXactCallback should cut the rows of a subtransaction that is
//!   aborted (which also lets go of tables whose lock ROLLBACK TO has released); a partial index should not let rows wait,
//!   for the sake of what ON CONFLICT gives up.
//! * `make_room` goes round in circles where the largest batch is one whose index is gone; it adds up all batches for
//!   every row; rows that did not wait are kept without a limit, and counted as insertions again.
//! * SERIALIZABLE: conflicts are looked for when a row begins to wait, and a search before the join sees nothing of it: they
//!   are to be looked for again after the rows are published.
//! * Rows that another library inserts in its own callback before the commit come too late.
//! * Each file of rows holds a descriptor; a partitioned load may need too many.
//! * auto_explain watches all statements, so that nothing waits; COPY should join at its end and not at the commit; where
//!   threads cannot be started the commit fails.
//! * A join takes new pages only, never free space (`vacuum::gives_space_back`), and batches of sessions that fill an empty
//!   index at the same time lose recall (`recall::after_concurrent_inserts`: 0.953 of 0.99).
//! * Speed, 384 dimensions, onto 20,000 rows, by turns on a busy machine: one statement 1.8 to 2.2 times as fast as rows one
//!   by one, transactions of 1,000 rows 1.0 to 1.4 times; WAL 0.3. Searches of the index are one process's work; deciding
//!   offers by codes (a third of the time) could be the threads'.
//! * Progress and time of a join are shown nowhere.
//!
//! `transaction` keeps the rows of all indexes, `rows` those of one; `hooks` says when they are joined, `join`
//! does it.

mod blocks;
mod hooks;
mod join;
mod rows;
mod speculative;
mod target;
mod transaction;

pub use hooks::define;
pub use transaction::{join_waiting, take};
