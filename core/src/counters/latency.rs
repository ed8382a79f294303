//! The buckets of a histogram of latencies: four to each power of two of microseconds, so that a bucket's
//! bounds are a quarter apart at most; what takes less than 8 µs, or 134 seconds and more, has one each.

const FIRST_POWER: u32 = 3;
const LAST_POWER: u32 = 27;
const IN_POWER_BITS: u32 = 2;
const IN_POWER: usize = 1 << IN_POWER_BITS;

/// How many there are.
pub const BUCKETS: usize = (LAST_POWER - FIRST_POWER) as usize * IN_POWER + 2;

/// The bucket of a latency.
pub fn bucket(microseconds: u64) -> usize {
    let Some(power) = microseconds.checked_ilog2().filter(|power| *power >= FIRST_POWER) else { return 0 };
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    let in_power = (microseconds >> (power - IN_POWER_BITS)) as usize % IN_POWER;
    1 + (power - FIRST_POWER) as usize * IN_POWER + in_power
}

/// The bound of a bucket that all latencies in it are below, in microseconds: that of the last is infinite.
pub fn bound(bucket: usize) -> f64 {
    if bucket + 1 >= BUCKETS {
        return f64::INFINITY;
    }
    let power = FIRST_POWER + (bucket / IN_POWER) as u32;
    (1u64 << power) as f64 * (1.0 + (bucket % IN_POWER) as f64 / IN_POWER as f64)
}

/// The latency, in microseconds, that this share of all is below, evenly distributed within its bucket;
/// `None` where nothing was counted. Of the last bucket it is the least.
pub fn quantile(counts: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = share * all as f64;
    let mut below = 0;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if (below + count) as f64 >= rank {
            let least = bucket.checked_sub(1).map_or(0.0, bound);
            let width = if bucket + 1 == BUCKETS { 0.0 } else { bound(bucket) - least };
            return Some(least + width * (rank - below as f64) / *count as f64);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_the_bucket_whose_bounds_are_around_it() {
        let powers =
            (0..63).flat_map(|power| [(1u64 << power) - 1, 1 << power, (1 << power) + (1 << power) / 3]);
        for latency in (0..10_000).chain(powers).chain([u64::MAX]) {
            let bucket = bucket(latency);
            assert!((latency as f64) < bound(bucket) || bucket == BUCKETS - 1, "{latency}");
            assert!(bucket == 0 || latency as f64 >= bound(bucket - 1), "{latency}");
        }
        assert!((0..BUCKETS - 1).all(|bucket| bound(bucket) < bound(bucket + 1)));
        assert!((1..BUCKETS - 1).all(|bucket| bound(bucket) <= 1.25 * bound(bucket - 1)));
    }

    #[test]
    fn quantiles_are_those_of_the_latencies_but_for_the_width_of_a_bucket() {
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
        let mut counts = [0; BUCKETS];
        let latencies: Vec<u64> = (0..10_000u64).map(|i| 50 + i * i / 1000).collect();
        latencies.iter().for_each(|latency| counts[bucket(*latency)] += 1);
        for (share, rank) in [(0.01, 100), (0.5, 5000), (0.9, 9000), (0.99, 9900)] {
            let (is, should_be) = (quantile(&counts, share).unwrap(), latencies[rank] as f64);
            assert!((is / should_be - 1.0).abs() < 0.02, "{share}: {is} and {should_be}");
        }
        let mut slow = [0; BUCKETS];
        slow[BUCKETS - 1] = 1;
        assert_eq!(quantile(&slow, 0.99), Some(bound(BUCKETS - 2)));
    }
}
