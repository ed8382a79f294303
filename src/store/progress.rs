//! How far checks, repairs and joins of rows that waited are, in the session's own entry of the statistics of
//! sessions.
//!
//! Postgres has no type of command for an extension's, and its views show none that they do not know: these
//! have a type of their own there, and `walia_stat_progress` looks for it. Postgres ends it with the
//! (sub)transaction where an ERROR comes.

use pgrx::pg_sys;
use walia_core::page::Phase;

/// The type of command. Postgres numbers its own from 1 on.
const COMMAND_TYPE: pg_sys::ProgressCommandType::Type = 0x7761_6c69;
/// The parameters: command, phase, what of it is done, and of how much, in the order of [`Progress`].
const PARAMETERS: usize = 4;

/// A command that shows how far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `walia_check`.
    Check = 1,
    /// `walia_repair`.
    Repair,
    /// Rows that a transaction has inserted join the graph.
    BatchInsert,
}

impl Command {
    const ALL: [Self; 3] = [Self::Check, Self::Repair, Self::BatchInsert];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "walia_check",
            Self::Repair => "walia_repair",
            Self::BatchInsert => "batch insert",
        }
    }
}

/// As long as it lives, the session shows how far its command is.
pub struct Shown(bool);

impl Shown {
    /// The command begins, in a transaction. Nothing is shown where the session shows another command of
    /// which this is a part.
    pub fn begin(command: Command, index: pg_sys::Oid) -> Self {
        // SAFETY: the entry is the session's own.
        unsafe {
            let is_free = pg_sys::MyBEEntry.as_ref().is_some_and(|entry| {
                entry.st_progress_command == pg_sys::ProgressCommandType::PROGRESS_COMMAND_INVALID
            });
            if is_free {
                pg_sys::pgstat_progress_start_command(COMMAND_TYPE, index);
                update([(0, command as i64)]);
            }
            Self(is_free)
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            // SAFETY: begun by `begin`.
            unsafe { pg_sys::pgstat_progress_end_command() }
        }
    }
}

/// Shows how far a phase is, where the session shows it.
pub fn show(phase: Phase, done: u64, total: u64) {
    // SAFETY: the entry is the session's own.
    let is_shown =
        unsafe { pg_sys::MyBEEntry.as_ref() }.is_some_and(|entry| entry.st_progress_command == COMMAND_TYPE);
    if is_shown {
        update([(1, phase as i64 + 1), (2, done as i64), (3, total as i64)]);
    }
}

/// Sets parameters together: who looks sees all of them or none.
fn update<const COUNT: usize>(values: [(i32, i64); COUNT]) {
    let (parameters, values) = (values.map(|(parameter, _)| parameter), values.map(|(_, value)| value));
    // SAFETY: writes into this session's own entry; the arrays have as many elements as is told.
    unsafe {
        pg_sys::pgstat_progress_update_multi_param(COUNT as i32, parameters.as_ptr(), values.as_ptr());
    }
}

/// How far the command of a session is.
pub struct Progress {
    /// The session's process.
    pub process: i32,
    /// Its database.
    pub database: pg_sys::Oid,
    /// Its user.
    pub user: pg_sys::Oid,
    /// What it works on.
    pub index: pg_sys::Oid,
    /// What it does.
    pub command: Command,
    /// `None` before the first.
    pub phase: Option<Phase>,
    /// Of this phase.
    pub done: i64,
    /// 0 where it is not known.
    pub total: i64,
}

/// How far the commands of all sessions are.
pub fn of_all_sessions() -> Vec<Progress> {
    // SAFETY: copies the entries of all sessions when first asked in a transaction; numbers begin with 1.
    let sessions =
        unsafe { (1..=pg_sys::pgstat_fetch_stat_numbackends()).map(|number| entry(number).as_ref()) };
    sessions.flatten().filter_map(|session| of_session(&session.backendStatus)).collect()
}

/// # Safety
/// There are as many entries.
unsafe fn entry(number: i32) -> *const pg_sys::LocalPgBackendStatus {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pgstat_fetch_stat_local_beentry(number);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::pgstat_get_local_beentry_by_index(number);
    }
}

fn of_session(session: &pg_sys::PgBackendStatus) -> Option<Progress> {
    let parameters: [i64; PARAMETERS] = session.st_progress_param[..PARAMETERS].try_into().ok()?;
    let [command, phase, done, total] = parameters;
    // Another extension may have had the same idea, and the same number.
    let command = Command::ALL.into_iter().find(|known| *known as i64 == command)?;
    (session.st_progress_command == COMMAND_TYPE).then(|| Progress {
        process: session.st_procpid,
        database: session.st_databaseid,
        user: session.st_userid,
        index: session.st_progress_command_target,
        command,
        phase: usize::try_from(phase - 1).ok().and_then(|number| Phase::ALL.get(number)).copied(),
        done,
        total,
    })
}
