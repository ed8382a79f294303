//! Percentiles of what a histogram counts.

use std::collections::VecDeque;

/// The value below which a share of what is counted lies, taken evenly within its bucket: `bounds` are the
/// upper bounds of the buckets, in order. None where nothing is counted.
pub fn percentile(counts: &[i64], bounds: &[f64], share: f64) -> Option<f64> {
    let total: i64 = counts.iter().sum();
    let wanted = share * total as f64;
    let mut before = 0.0;
    let mut lower = 0.0;
    for (count, upper) in counts.iter().zip(bounds) {
        let count = *count as f64;
        if count > 0.0 && before + count >= wanted {
            // The last bucket may have no end.
            let upper = if upper.is_finite() { *upper } else { lower };
            return Some(lower + (upper - lower) * ((wanted - before) / count).clamp(0.0, 1.0));
        }
        before += count;
        lower = *upper;
    }
    None
}

/// The value of which a share of some values is no greater. None of none.
pub fn percentile_of(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// What was counted since; None after a reset, or where the buckets are others.
fn since(now: &[i64], before: &[i64]) -> Option<Vec<i64>> {
    if now.len() != before.len() {
        return None;
    }
    let difference: Vec<i64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
    difference.iter().all(|count| *count >= 0).then_some(difference)
}

/// What histograms of the last seconds counted.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<(f64, Vec<i64>)>);

impl Recent {
    /// Takes what is counted at a moment, and gives what was counted in so many seconds before it.
    pub fn add(&mut self, at: f64, counts: Vec<i64>, seconds: f64) -> Vec<i64> {
        let counted = self.0.front().map(|(_, before)| since(&counts, before));
        if counted == Some(None) {
            self.0.clear();
        }
        self.0.push_back((at, counts));
        while self.0.len() > 1 && self.0.front().is_some_and(|(then, _)| at - then > seconds) {
            self.0.pop_front();
        }
        counted.flatten().unwrap_or_default()
    }
}

/// The sum of histograms with the same buckets.
pub fn sum<'a>(histograms: impl IntoIterator<Item = &'a [i64]>) -> Vec<i64> {
    let mut sum = Vec::new();
    for histogram in histograms {
        sum.resize(sum.len().max(histogram.len()), 0);
        sum.iter_mut().zip(histogram).for_each(|(sum, count)| *sum += count);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let bounds = [1.0, 2.0, 4.0, f64::INFINITY];
        assert_eq!(percentile(&[0, 0, 0, 0], &bounds, 0.5), None);
        assert_eq!(percentile(&[10, 0, 0, 0], &bounds, 0.5), Some(0.5));
        assert_eq!(percentile(&[50, 0, 50, 0], &bounds, 0.5), Some(1.0));
        assert_eq!(percentile(&[50, 0, 50, 0], &bounds, 0.75), Some(3.0));
        assert_eq!(percentile(&[99, 0, 0, 1], &bounds, 1.0), Some(4.0));
    }

    #[test]
    fn percentiles_of_few_values() {
        assert_eq!(percentile_of([], 0.5), None);
        assert_eq!(percentile_of([3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(percentile_of([3.0, 1.0, 2.0], 0.99), Some(3.0));
        assert_eq!(percentile_of((1..=100).map(f64::from), 0.99), Some(99.0));
    }

    #[test]
    fn what_is_recent_is_a_difference() {
        let mut recent = Recent::default();
        let none: Vec<i64> = Vec::new();
        assert_eq!(recent.add(1.0, vec![1, 5], 10.0), none);
        assert_eq!(recent.add(2.0, vec![3, 5], 10.0), [2, 0]);
        assert_eq!(recent.add(11.5, vec![4, 6], 10.0), [3, 1]);
        // The first is too old by now.
        assert_eq!(recent.add(12.0, vec![4, 7], 10.0), [1, 2]);
        // After a reset, and with other buckets, it begins anew.
        assert_eq!(recent.add(13.0, vec![0, 1], 10.0), none);
        assert_eq!(recent.add(14.0, vec![1, 1], 10.0), [1, 0]);
        assert_eq!(recent.add(15.0, vec![1, 1, 1], 10.0), none);
    }

    #[test]
    fn sums_are_by_bucket() {
        assert_eq!(sum([&[1, 2][..], &[], &[3, 4]]), [4, 6]);
    }
}
