//! What EXPLAIN ANALYZE is to show of joins: from Postgres 18 on, which has a hook for every node.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static JOINED: Cell<Joined> = const { Cell::new(Joined::NONE) };
}

/// What has joined while EXPLAIN ran.
#[derive(Clone, Copy)]
pub struct Joined {
    /// Rows that had waited.
    pub rows: u64,
    /// All the time of their joins.
    pub time: Duration,
}

impl Joined {
    const NONE: Self = Self { rows: 0, time: Duration::ZERO };
}

/// EXPLAIN begins.
pub fn begin() {
    JOINED.set(Joined::NONE);
}

/// Rows have joined.
pub fn add(rows: u64, time: Duration) {
    let joined = JOINED.get();
    JOINED.set(Joined { rows: joined.rows + rows, time: joined.time + time });
}

/// What has joined since EXPLAIN began, for the first who asks; `None` where nothing has, or no EXPLAIN runs.
#[cfg(feature = "pg18")]
pub fn take() -> Option<Joined> {
    let joined = if super::nesting::is_explaining() { JOINED.replace(Joined::NONE) } else { Joined::NONE };
    (joined.rows > 0).then_some(joined)
}
