//! When rows that wait are joined: what Postgres calls before and after statements, and at a transaction's
//! end.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use pgrx::{pg_guard, pg_sys};

use super::nesting::{Command, begin_query, end_transaction, ends_transaction, finish_query, is_explaining};
use super::transaction::{cut, end_waiting, forget, hand_over, is_any_waiting, join_all, join_many};
use crate::error::OrRaise;
use crate::error_context::enter;

thread_local! {
    /// The hooks of a library that was loaded before.
    static PREVIOUS_START: Cell<pg_sys::ExecutorStart_hook_type> = const { Cell::new(None) };
    static PREVIOUS_FINISH: Cell<pg_sys::ExecutorFinish_hook_type> = const { Cell::new(None) };
    static PREVIOUS_UTILITY: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
}

// Postgres's own functions, as a hook calls them that an ERROR passes as if it were not there: with pgrx's,
// it would become a panic on the way, in every session and whatever it is about.
unsafe extern "C-unwind" {
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query_string: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        receiver: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// Sets the hooks; called once, when the library is loaded.
pub fn define() {
    // libc takes memory for the first use of what is dropped with the thread.
    forget();
    // SAFETY: the backend's only thread is in _PG_init; the functions live as long as the process.
    unsafe {
        PREVIOUS_START.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
        PREVIOUS_FINISH.set(pg_sys::ExecutorFinish_hook);
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_UTILITY.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
        pg_sys::RegisterXactCallback(Some(at_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_event_of_part), std::ptr::null_mut());
    }
}

/// Before a query is executed: its workers see what is in the index only.
///
/// # Safety
/// Only Postgres calls it.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: a query that is about to begin has its plan.
    if is_any_waiting() && unsafe { (*(*query).plannedstmt).parallelModeNeeded } {
        // SAFETY: called by Postgres, as this is.
        unsafe { join(true) };
    }
    begin_query();
    let next = PREVIOUS_START.get().unwrap_or(standard_ExecutorStart);
    // SAFETY: what Postgres gave. An ERROR jumps over this function, which has nothing to drop.
    unsafe { next(query, flags) }
}

/// At the end of a statement, which has fired its triggers. EXPLAIN ANALYZE is to show all of its time. Where
/// the transaction ends with it, an ERROR of the join is to be the statement's.
///
/// # Safety
/// Only Postgres calls it.
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    let next = PREVIOUS_FINISH.get().unwrap_or(standard_ExecutorFinish);
    // SAFETY: as in `executor_start`.
    unsafe { next(query) };
    let is_last = finish_query();
    if is_any_waiting() {
        // SAFETY: the query has not ended; called by Postgres, as this is.
        unsafe { join(is_last || is_explaining() && (*query).instrument_options != 0) };
    }
}

/// Before a command: it may give an index another file, or none.
///
/// # Safety
/// Only Postgres calls it.
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query_string: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: a command has its statement.
    let utility = unsafe { (*statement).utilityStmt };
    // SAFETY: as above.
    let (kind, changes_files) = unsafe { ((*utility).type_, !leaves_indexes_alone((*utility).type_)) };
    // SAFETY: as above.
    let commits = is_any_waiting() && unsafe { commits(utility) };
    if is_any_waiting() && changes_files {
        // SAFETY: called by Postgres, as this is.
        unsafe { join(true) };
    }
    let is_outermost = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
    let running = Command::begin(is_outermost, changes_files, kind == pg_sys::NodeTag::T_ExplainStmt);
    let next = PREVIOUS_UTILITY.get().unwrap_or(standard_ProcessUtility);
    // SAFETY: as in `executor_start`.
    unsafe {
        next(statement, query_string, read_only_tree, context, parameters, environment, receiver, completion);
    }
    running.end();
    // The executor does not run for COPY. What has been told to commit is aborted by an ERROR, as by one in
    // the commit itself.
    let is_last = is_any_waiting() && (commits || ends_transaction());
    if is_last || kind == pg_sys::NodeTag::T_CopyStmt && is_any_waiting() {
        // SAFETY: called by Postgres, as this is.
        unsafe { join(is_last) };
    }
}

/// Whether a command commits or prepares a transaction that has not failed. Its deferred triggers may insert
/// more, but most rows are joined where statement_timeout counts, and before other libraries commit what they
/// have begun elsewhere.
///
/// # Safety
/// `command` is a command's node.
unsafe fn commits(command: *mut pg_sys::Node) -> bool {
    use pg_sys::TransactionStmtKind::{TRANS_STMT_COMMIT, TRANS_STMT_PREPARE};
    // SAFETY: by the caller's promise; a node is what its tag says.
    unsafe {
        (*command).type_ == pg_sys::NodeTag::T_TransactionStmt
            && matches!(
                (*command.cast::<pg_sys::TransactionStmt>()).kind,
                TRANS_STMT_COMMIT | TRANS_STMT_PREPARE
            )
            && !pg_sys::IsAbortedTransactionBlockState()
    }
}

/// Whether a command changes no index, but by rows: those that applications use between insertions.
fn leaves_indexes_alone(command: pg_sys::NodeTag) -> bool {
    use pg_sys::NodeTag::*;
    matches!(
        command,
        T_TransactionStmt
            | T_CopyStmt
            | T_VariableSetStmt
            | T_VariableShowStmt
            | T_PrepareStmt
            | T_ExecuteStmt
            | T_DeallocateStmt
            | T_DeclareCursorStmt
            | T_FetchStmt
            | T_ClosePortalStmt
            | T_ExplainStmt
            | T_CallStmt
            | T_DoStmt
            | T_LockStmt
            | T_NotifyStmt
            | T_ListenStmt
            | T_UnlistenStmt
            | T_ConstraintsSetStmt
    )
}

/// An XactCallback. Deferred triggers have fired before a commit's first event.
///
/// # Safety
/// Only Postgres calls it.
unsafe extern "C-unwind" fn at_event(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            end_waiting();
            if is_any_waiting() {
                // SAFETY: called by Postgres, as this is.
                unsafe { join(true) };
            }
        }
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT => {
            end_transaction();
            forget();
        }
        _ => {}
    }
}

/// A SubXactCallback: a part of the transaction ends.
///
/// # Safety
/// Only Postgres calls it.
unsafe extern "C-unwind" fn at_event_of_part(
    event: pg_sys::SubXactEvent::Type,
    part: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => hand_over(part, parent),
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => cut(part),
        _ => {}
    }
}

/// Joins all rows that wait, or those of indexes that have many.
///
/// # Safety
/// Only what Postgres has called calls it.
#[pg_guard]
unsafe extern "C-unwind" fn join(all: bool) {
    enter!();
    if all { join_all() } else { join_many() }.or_raise();
}
