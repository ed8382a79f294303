//! `walia_stat_progress`: how far checks and repairs are.

use pgrx::pg_sys;

use super::rows::{export, row};
use crate::store::progress::of_all_sessions;

row! {
    /// A check or a repair under way.
    UnderWay {
        pid: i32,
        datid: pg_sys::Oid,
        indexrelid: pg_sys::Oid,
        command: &'static str,
        phase: Option<&'static str>,
        done: Option<i64>,
        total: Option<i64>,
        unit: Option<&'static str>,
    }
}

export!("walia_stat_get_progress_wrapper": call() -> UnderWay => stat_get_progress());

/// The checks and repairs under way; none of sessions that are of no concern to the caller.
fn stat_get_progress() -> impl Iterator<Item = UnderWay> {
    of_all_sessions().into_iter().filter(|session| may_see(session.user)).map(|session| UnderWay {
        pid: session.process,
        datid: session.database,
        indexrelid: session.index,
        command: session.command.name(),
        phase: session.phase.map(|phase| phase.name()),
        done: session.phase.map(|_| session.done),
        total: session.phase.map(|_| session.total).filter(|total| *total > 0),
        unit: session.phase.map(|phase| phase.unit()),
    })
}

/// Whether the caller may see what a user's sessions do, as in Postgres's own views.
fn may_see(user: pg_sys::Oid) -> bool {
    let readers = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS);
    // SAFETY: in a transaction.
    unsafe {
        let caller = pg_sys::GetUserId();
        pg_sys::has_privs_of_role(caller, readers) || pg_sys::has_privs_of_role(caller, user)
    }
}
