//! A sweep's points, and what reaching a recall costs between them.

use serde::Serialize;

/// What one setting of ef_search gave and cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// The setting.
    pub ef_search: u32,
    /// Mean part of the exact k nearest that was returned.
    pub recall: f64,
    /// Mean server-side milliseconds a query.
    pub mean_ms: f64,
    /// Median of the same.
    pub p50_ms: f64,
    /// 99th percentile of the same.
    pub p99_ms: f64,
    /// Mean pages accessed a query, found in shared buffers or not.
    pub buffers: f64,
    /// Mean pages a query that were not in shared buffers.
    pub buffers_read: f64,
}

/// The least `cost` of a recall of at least `recall`: linear between neighbouring points that no other beats.
///
/// A recall below the first point costs what the first does: the cheapest setting is what one would take.
/// `None` if no point reaches the recall.
pub fn cost_at(points: &[Point], recall: f64, cost: impl Fn(&Point) -> f64) -> Option<f64> {
    let mut best: Vec<(f64, f64)> = points.iter().map(|point| (point.recall, cost(point))).collect();
    best.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.0.total_cmp(&a.0)));
    let mut reached = f64::NEG_INFINITY;
    best.retain(|point| {
        point.0 > reached && {
            reached = point.0;
            true
        }
    });
    let above = best.iter().position(|point| point.0 >= recall)?;
    let (high_recall, high_cost) = best[above];
    let Some((low_recall, low_cost)) = above.checked_sub(1).map(|below| best[below]) else {
        return Some(high_cost);
    };
    Some(low_cost + (high_cost - low_cost) * (recall - low_recall) / (high_recall - low_recall))
}

/// The smallest of `sorted` that at least `part` of all do not exceed (nearest rank).
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(recall: f64, mean_ms: f64) -> Point {
        Point { ef_search: 0, recall, mean_ms, p50_ms: 0.0, p99_ms: 0.0, buffers: 0.0, buffers_read: 0.0 }
    }

    fn cost(points: &[(f64, f64)], recall: f64) -> Option<f64> {
        let points: Vec<_> = points.iter().map(|(recall, ms)| point(*recall, *ms)).collect();
        cost_at(&points, recall, |point| point.mean_ms)
    }

    #[test]
    fn between_points_the_cost_is_linear() {
        let points = [(0.5, 1.0), (0.75, 2.0), (1.0, 6.0)];
        assert_eq!(cost(&points, 0.625), Some(1.5));
        assert_eq!(cost(&points, 0.75), Some(2.0));
        assert_eq!(cost(&points, 0.875), Some(4.0));
        assert_eq!(cost(&points, 1.0), Some(6.0));
    }

    #[test]
    fn outside_the_points() {
        let points = [(0.5, 1.0), (0.75, 2.0)];
        assert_eq!(cost(&points, 0.25), Some(1.0));
        assert_eq!(cost(&points, 0.8), None);
        assert_eq!(cost(&[], 0.5), None);
    }

    #[test]
    fn points_that_another_beats_do_not_count() {
        let points = [(0.5, 1.0), (0.6, 5.0), (0.75, 2.0), (0.75, 3.0)];
        assert_eq!(cost(&points, 0.625), Some(1.5));
        assert_eq!(cost(&points, 0.75), Some(2.0));
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.5), 100.0);
        assert_eq!(percentile(&sorted, 0.99), 198.0);
        assert_eq!(percentile(&sorted, 1.0), 200.0);
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
    }
}
