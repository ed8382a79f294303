//! How L1 goes together with L2, which the codes estimate: what rows that were measured say.

use super::candidate::Key;

/// Ratios of L1 and the estimates of L2. Under other metrics nothing is learned, and nothing changes.
#[derive(Clone, Copy, Default)]
pub(super) struct Ratio {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Ratio {
    /// Rows that must be known. Before, L1 is only known to be no less than L2.
    const ENOUGH: f64 = 32.0;
    /// What its own deviations count for: those that were measured are the ones whose estimates are too
    /// small.
    const SELECTED: f64 = 1.5;

    /// A row whose L2 was estimated, and its L1.
    pub fn learn(&mut self, estimate: f32, distance: Option<f64>) {
        if let Some(distance) = distance
            && distance.is_finite()
            && estimate.is_normal()
        {
            let ratio = distance / f64::from(estimate);
            self.count += 1.0;
            self.sum += ratio;
            self.squares += ratio * ratio;
        }
    }

    /// What the distance of a key is at least by what is known, an error of so many deviations counted.
    pub fn least(self, key: Key, deviations: f64) -> Key {
        if self.count < Self::ENOUGH {
            return key;
        }
        let mean = self.sum / self.count;
        let deviation = (self.squares / self.count - mean * mean).max(0.0).sqrt();
        key.times((mean - Self::SELECTED * deviations * deviation).max(1.0))
    }
}
