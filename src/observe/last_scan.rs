//! `walia_last_scan()`: what this session's last search did.

use super::rows::{export, row};
use crate::am::last;

row! {
    /// About a search.
    LastScan {
        indexes: i32,
        rounds: i64,
        nodes_expanded: i64,
        distances_measured: i64,
        distances_estimated: i64,
        pages: i64,
        pages_prefetched: i64,
        prefetched_pages_used: i64,
        rows_of_first_run: i64,
        rows_of_second_run: i64,
        rows_measured: i64,
        rows_tested: i64,
        rows_failed: i64,
        stale_links: i64,
        healed_links: i64,
        milliseconds: f64,
    }
}

export!("walia_last_scan_wrapper": call() -> LastScan => walia_last_scan());

/// The last search whose scan has ended; none before the first.
fn walia_last_scan() -> Option<LastScan> {
    last::last().map(|last| {
        let stats = last.stats;
        LastScan {
            indexes: last.indexes as i32,
            rounds: stats.rounds as i64,
            nodes_expanded: stats.search.expanded as i64,
            distances_measured: stats.search.distances as i64,
            distances_estimated: stats.search.estimates as i64,
            pages: last.pages as i64,
            pages_prefetched: last.prefetched as i64,
            prefetched_pages_used: last.prefetched_used as i64,
            rows_of_first_run: stats.first_run as i64,
            rows_of_second_run: stats.second_run as i64,
            rows_measured: stats.measured_rows as i64,
            rows_tested: stats.tested_rows as i64,
            rows_failed: stats.failed_rows as i64,
            stale_links: stats.stale_links as i64,
            healed_links: stats.healed_links as i64,
            milliseconds: last.time.as_secs_f64() * 1000.0,
        }
    })
}
