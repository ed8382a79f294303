//! Percentiles of what a histogram counts.

/// The value below which a share of what is counted lies, taken evenly within its bucket: `bounds` are the upper bounds of the
/// buckets, in order. None where nothing is counted.
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
pub fn since(now: &[i64], before: &[i64]) -> Option<Vec<i64>> {
    if now.len() != before.len() {
        return None;
    }
    let difference: Vec<i64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
    difference.iter().all(|count| *count >= 0).then_some(difference)
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
    fn a_reset_begins_anew() {
        assert_eq!(since(&[3, 5], &[1, 5]), Some(vec![2, 0]));
        assert_eq!(since(&[0, 5], &[1, 5]), None);
        assert_eq!(since(&[3, 5], &[1]), None);
    }
}
