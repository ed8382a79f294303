//! `walia_last_scan()`: what this session's last search did.
//!
//! Imports `am`.

use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};

use crate::am::last;

/// One row about the last search whose scan has ended; none before the first.
#[expect(clippy::type_complexity, reason = "the columns of the result, which pgrx takes from the type")]
#[pg_extern(sql = false)]
fn walia_last_scan() -> TableIterator<
    'static,
    (
        name!(indexes, i32),
        name!(rounds, i64),
        name!(nodes_expanded, i64),
        name!(distances_measured, i64),
        name!(distances_estimated, i64),
        name!(pages, i64),
        name!(pages_prefetched, i64),
        name!(prefetched_pages_used, i64),
        name!(rows_of_first_run, i64),
        name!(rows_of_second_run, i64),
        name!(rows_measured, i64),
        name!(stale_links, i64),
        name!(healed_links, i64),
        name!(milliseconds, f64),
    ),
> {
    TableIterator::new(last::last().into_iter().map(|last| {
        let stats = last.stats;
        (
            last.indexes as i32,
            stats.rounds as i64,
            stats.search.expanded as i64,
            stats.search.distances as i64,
            stats.search.estimates as i64,
            last.pages as i64,
            last.prefetched as i64,
            last.prefetched_used as i64,
            stats.first_run as i64,
            stats.second_run as i64,
            stats.measured_rows as i64,
            stats.stale_links as i64,
            stats.healed_links as i64,
            last.time.as_secs_f64() * 1000.0,
        )
    }))
}
