//! What the session is in the middle of. An ERROR leaves numbers that are too high, until the transaction ends: then rows do not
//! wait that might, or wait for longer.

use std::cell::Cell;

use pgrx::pg_sys;

thread_local! {
    /// Whether EXPLAIN runs, which may show how long statements take.
    static IS_EXPLAINING: Cell<bool> = const { Cell::new(false) };
    /// Queries that have begun and not finished.
    static QUERIES: Cell<u32> = const { Cell::new(0) };
    /// Commands that may give an index another file, or none.
    static COMMANDS: Cell<u32> = const { Cell::new(0) };
}

/// Whether what is inserted now may wait. Triggers of a command that empties tables insert after it has been looked for
/// rows; and logical replication empties tables without a command.
pub fn may_wait() -> bool {
    // SAFETY: what this process is.
    COMMANDS.get() == 0 && unsafe { !pg_sys::IsLogicalWorker() }
}

/// A query begins.
pub fn begin_query() {
    QUERIES.set(QUERIES.get() + 1);
}

/// A query has finished; whether it was the outermost, and the transaction ends with it.
pub fn finish_query() -> bool {
    QUERIES.set(QUERIES.get().saturating_sub(1));
    ends_transaction()
}

/// Whether the transaction ends with the outermost statement, which has finished.
pub fn ends_transaction() -> bool {
    // SAFETY: in a transaction.
    QUERIES.get() == 0 && COMMANDS.get() == 0 && unsafe { !pg_sys::IsTransactionBlock() }
}

/// Whether EXPLAIN runs.
pub fn is_explaining() -> bool {
    IS_EXPLAINING.get()
}

/// A command that runs.
pub struct Command {
    changes_files: bool,
    was_explaining: bool,
}

impl Command {
    /// It begins.
    pub fn begin(changes_files: bool, explains: bool) -> Self {
        COMMANDS.set(COMMANDS.get() + u32::from(changes_files));
        Self { changes_files, was_explaining: IS_EXPLAINING.replace(explains || IS_EXPLAINING.get()) }
    }

    /// It has ended.
    pub fn end(self) {
        COMMANDS.set(COMMANDS.get().saturating_sub(u32::from(self.changes_files)));
        IS_EXPLAINING.set(self.was_explaining);
    }
}

/// The transaction has ended.
pub fn reset() {
    IS_EXPLAINING.set(false);
    QUERIES.set(0);
    COMMANDS.set(0);
}
