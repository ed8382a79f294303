//! `walia_stat_progress`: how far checks, repairs and batch inserts are.

use pgrx::pg_sys;

use super::open::may_see_sessions_of;
use super::rows::{export, row};
use crate::store::progress::of_all_sessions;

row! {
    /// A check, a repair or a batch insert under way.
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

/// What is under way; none of sessions that are of no concern to the caller.
fn stat_get_progress() -> impl Iterator<Item = UnderWay> {
    of_all_sessions().into_iter().filter(|session| may_see_sessions_of(session.user)).map(|session| {
        UnderWay {
            pid: session.process,
            datid: session.database,
            indexrelid: session.index,
            command: session.command.name(),
            phase: session.phase.map(|phase| phase.name()),
            done: session.phase.map(|_| session.done),
            total: session.phase.map(|_| session.total).filter(|total| *total > 0),
            unit: session.phase.map(|phase| phase.unit()),
        }
    })
}
