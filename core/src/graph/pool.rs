//! What searches of several graphs for one query have found together.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, TryReserveError};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A distance in the total order of floats, NaN last: were that unordered, a graph of NaN would be walked to
/// its end.
#[derive(Clone, Copy)]
pub(crate) struct Distance(pub f64);

impl Eq for Distance {}

impl PartialEq for Distance {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

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

/// The distances of the nearest `ef` results of several searches, which end together as one search of all
/// their graphs would.
///
/// Several processes can do such searches for one query, each with a pool of its own, and share their bounds
/// by a [`Board`].
pub struct Pool {
    /// Each with its place on the board, which it has as long as it is among them, and gives to the one that
    /// takes its place.
    nearest: BinaryHeap<(Distance, usize)>,
    ef: usize,
    /// The bound of all processes, as it was on the board.
    shared: Option<Distance>,
}

impl Pool {
    /// An empty pool.
    pub fn new(ef: usize) -> Result<Self, TryReserveError> {
        let mut nearest = BinaryHeap::new();
        nearest.try_reserve_exact(ef)?;
        Ok(Self { nearest, ef, shared: None })
    }

    /// Results that it wants.
    pub(super) fn wanted(&self) -> usize {
        self.ef
    }

    /// Adds a result.
    pub fn offer(&mut self, distance: f64) {
        let distance = Distance(distance);
        if self.nearest.len() < self.ef {
            self.nearest.push((distance, self.nearest.len()));
        } else if let Some(mut furthest) = self.nearest.peek_mut()
            && distance < furthest.0
        {
            furthest.0 = distance;
        }
    }

    /// The distance of the furthest of `ef` results, beyond which nothing is wanted; `None` while there are
    /// fewer.
    pub fn bound(&self) -> Option<f64> {
        let furthest =
            self.nearest.peek().filter(|_| self.nearest.len() >= self.ef).map(|furthest| furthest.0);
        furthest.into_iter().chain(self.shared).min().map(|bound| bound.0)
    }

    /// Tells the other processes what was found here, and takes note of what they have found. The pool and
    /// theirs have the same `ef`, and the board has shown no other of this process since it was cleared.
    pub fn exchange(&mut self, board: &mut Board) {
        for (distance, slot) in &self.nearest {
            board.own()[*slot].store(distance.0.to_bits(), Relaxed);
        }
        self.shared = board.bound();
    }
}

/// The distances in the pools of several processes, in memory that they share: as many slots for each as its
/// pool can have.
///
/// Nothing is locked. Only its process writes a slot, and what it writes there is never greater than before,
/// since a result gives up its slot only to a nearer one, and never gets another. So whoever reads one slot
/// after the other while they are written sees distances of different results, if not always the latest: the
/// bound is never too low.
pub struct Board<'a> {
    slots: &'a [AtomicU64],
    process: usize,
    ef: usize,
    read: Vec<Distance>,
}

impl<'a> Board<'a> {
    /// The bits of what an empty slot holds: the NaN that is last in the order of all distances.
    pub const EMPTY: u64 = i64::MAX as u64;

    /// What this process sees of the slots, `ef` for each of the processes.
    pub fn new(slots: &'a [AtomicU64], process: usize, ef: usize) -> Result<Self, TryReserveError> {
        let mut read = Vec::new();
        read.try_reserve_exact(slots.len())?;
        Ok(Self { slots, process, ef, read })
    }

    fn own(&self) -> &'a [AtomicU64] {
        &self.slots[self.process * self.ef..][..self.ef]
    }

    /// The distance of the furthest of the nearest `ef` results of all processes.
    fn bound(&mut self) -> Option<Distance> {
        self.read.clear();
        self.read.extend(self.slots.iter().map(|slot| Distance(f64::from_bits(slot.load(Relaxed)))));
        let (_, bound, _) = self.read.select_nth_unstable(self.ef - 1);
        (bound.0.to_bits() != Self::EMPTY).then_some(*bound)
    }
}
