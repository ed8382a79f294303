//! What searches of several graphs for one query have found together.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A distance in the total order of floats, NaN last: were that unordered, a graph of NaN would be walked to its end.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Distance(pub f64);

impl Eq for Distance {}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The distances of the nearest `ef` results of several searches, which end together as one search of all their graphs would.
pub struct Pool {
    nearest: BinaryHeap<Distance>,
    ef: usize,
}

impl Pool {
    /// An empty pool.
    pub fn new(ef: usize) -> Self {
        Self { nearest: BinaryHeap::with_capacity(ef), ef }
    }

    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.nearest.clear();
    }

    /// Adds a result.
    pub fn offer(&mut self, distance: f64) {
        let distance = Distance(distance);
        if self.nearest.len() < self.ef {
            self.nearest.push(distance);
        } else if let Some(mut furthest) = self.nearest.peek_mut()
            && distance < *furthest
        {
            *furthest = distance;
        }
    }

    /// The distance of the furthest of `ef` results, beyond which nothing is wanted; `None` while there are fewer.
    pub fn bound(&self) -> Option<f64> {
        self.nearest.peek().filter(|_| self.nearest.len() >= self.ef).map(|furthest| furthest.0)
    }
}
