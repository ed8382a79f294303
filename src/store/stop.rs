//! Stop points, in debug builds: where a test holds a backend up between two write units.

use pgrx::{IntoDatum, direct_function_call, pg_sys};
use walia_core::page::StopPoint;

/// The advisory lock that a backend takes, and gives back, at a stop point that `walia.stop_points` names:
/// whoever holds it stops the backend there, and pg_locks shows that it waits.
const LOCK: i64 = 0x77_616c_6961;

/// Waits at a stop point if it is one of those that the session is to stop at.
pub fn at(point: StopPoint) {
    if crate::guc::stops_at(point.name()) {
        // SAFETY: both take a bigint. A cancelled wait is an ERROR between two write units.
        unsafe {
            direct_function_call::<()>(pg_sys::pg_advisory_lock_int8, &[LOCK.into_datum()]);
            direct_function_call::<bool>(pg_sys::pg_advisory_unlock_int8, &[LOCK.into_datum()]);
        }
    }
}
