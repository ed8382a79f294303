//! The order of rows whose distances are known within bounds.
//!
//! What waits is ordered by the least that its distance can be. The first of it may go as soon as its
//! distance cannot be greater than that of the next. Where it can, its exact distance is asked for, and it
//! waits again with that. So the fewest rows are measured, and what is given is in the order of the exact
//! distances.

use super::hit::Hit;
use crate::graph::{Candidate, Precision};
use crate::types::{HeapTid, Result};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What a distance is at least and at most; both NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub low: f64,
    pub high: f64,
}

impl Bounds {
    /// Before everything.
    pub const LEAST: Self = Self { low: f64::NEG_INFINITY, high: f64::NEG_INFINITY };

    /// Of a known distance.
    pub fn exact(distance: f64) -> Self {
        let Candidate { distance, .. } = Candidate::new(distance, ());
        Self { low: distance, high: distance }
    }

    /// Of a candidate.
    pub fn of<Node>(candidate: &Candidate<Node>) -> Self {
        let distance = candidate.distance;
        match candidate.precision {
            Precision::Exact => Self { low: distance, high: distance },
            Precision::Within(error) | Precision::Estimated(error) => {
                Self { low: distance - f64::from(error), high: distance + f64::from(error) }
            }
        }
    }

    /// Of a row that was sorted by its least distance.
    pub fn of_hit(hit: &Hit) -> Self {
        Self { low: hit.distance, high: hit.distance + f64::from(hit.uncertainty) }
    }

    /// A row with this distance.
    pub fn hit(self, heap_tid: HeapTid) -> Hit {
        let uncertainty = if self.low < self.high { ((self.high - self.low) as f32).next_up() } else { 0.0 };
        Hit { heap_tid, distance: self.low, uncertainty }
    }

    /// Whether the distance is not known exactly.
    pub fn are_open(self) -> bool {
        self.low < self.high
    }

    /// Whether it is open which of this distance, and of the next one by least distance, is smaller.
    pub fn overlap(self, next: Option<Self>) -> bool {
        self.are_open() && next.is_some_and(|next| next.low < self.high)
    }
}

/// Nodes or rows that wait for their turn.
pub(super) struct Waiting<Item>(BinaryHeap<Reverse<Entry<Item>>>);

struct Entry<Item> {
    bounds: Bounds,
    item: Item,
}

impl<Item: Ord> Default for Waiting<Item> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<Item: Ord> Waiting<Item> {
    /// The bounds of what comes first.
    pub fn peek(&self) -> Option<Bounds> {
        self.0.peek().map(|Reverse(entry)| entry.bounds)
    }

    /// Takes what comes first.
    pub fn pop(&mut self) -> Option<(Bounds, Item)> {
        self.0.pop().map(|Reverse(Entry { bounds, item })| (bounds, item))
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        Ok(self.0.try_reserve(additional)?)
    }

    /// Adds what has to wait.
    pub fn extend(&mut self, items: impl IntoIterator<Item = (Bounds, Item)>) {
        self.0.extend(items.into_iter().map(|(bounds, item)| Reverse(Entry { bounds, item })));
    }
}

impl<Item: Ord> Ord for Entry<Item> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bounds.low.total_cmp(&other.bounds.low).then_with(|| self.item.cmp(&other.item))
    }
}

impl<Item: Ord> PartialOrd for Entry<Item> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Item: Ord> PartialEq for Entry<Item> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Item: Ord> Eq for Entry<Item> {}
