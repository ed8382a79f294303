//! What the session is in the middle of. What an ERROR or a COMMIT in a procedure leaves is never too little:
//! then rows do not wait that might, or wait for longer, until the next command of the client.

use std::cell::Cell;

use pgrx::pg_sys;

use super::explained;

thread_local! {
    /// Whether EXPLAIN runs, which may show how long statements take.
    static IS_EXPLAINING: Cell<bool> = const { Cell::new(false) };
    /// Queries that have begun and not finished.
    static QUERIES: Cell<u32> = const { Cell::new(0) };
    /// Commands that have begun and not ended.
    static COMMANDS: Cell<u32> = const { Cell::new(0) };
    /// Those of them that may give an index another file, or none.
    static CHANGES: Cell<u32> = const { Cell::new(0) };
}

/// Whether what is inserted now may wait. Triggers of a command that empties tables insert after it has been
/// looked for rows; and logical replication empties tables without a command.
pub fn may_wait() -> bool {
    // SAFETY: what this process is.
    CHANGES.get() == 0 && unsafe { !pg_sys::IsLogicalWorker() }
}

/// A query begins.
pub fn begin_query() {
    QUERIES.set(QUERIES.get() + 1);
}

/// A query has finished; whether the transaction ends with it.
pub fn finish_query() -> bool {
    QUERIES.set(QUERIES.get().saturating_sub(1));
    ends_transaction()
}

/// Whether the transaction ends with the outermost statement, and that has finished.
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
    queries: u32,
    commands: u32,
    changes: u32,
    was_explaining: bool,
}

impl Command {
    /// It begins; `is_outermost` where the client has sent it.
    pub fn begin(is_outermost: bool, changes_files: bool, explains: bool) -> Self {
        if is_outermost {
            [&QUERIES, &COMMANDS, &CHANGES].into_iter().for_each(|number| number.set(0));
            IS_EXPLAINING.set(false);
        }
        if explains && !IS_EXPLAINING.get() {
            explained::begin();
        }
        let (queries, commands, changes) = (QUERIES.get(), COMMANDS.get(), CHANGES.get());
        COMMANDS.set(commands + 1);
        CHANGES.set(changes + u32::from(changes_files));
        Self {
            queries,
            commands,
            changes,
            was_explaining: IS_EXPLAINING.replace(explains || IS_EXPLAINING.get()),
        }
    }

    /// It has ended.
    pub fn end(self) {
        QUERIES.set(self.queries);
        COMMANDS.set(self.commands);
        CHANGES.set(self.changes);
        IS_EXPLAINING.set(self.was_explaining);
    }
}

/// A transaction has ended, maybe in the middle of a procedure.
pub fn end_transaction() {
    IS_EXPLAINING.set(false);
    // No command that changes files lets a transaction end.
    CHANGES.set(0);
    if COMMANDS.get() == 0 {
        QUERIES.set(0);
    }
}
