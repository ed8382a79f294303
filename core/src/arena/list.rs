//! A node's neighbours on one layer, as atomic words that are read while they are written.

use crate::graph::{Candidate, Neighbours};
use crate::kernel::prefetch;
use std::sync::atomic::{AtomicU32, Ordering};

/// A neighbour list: how many neighbours there are (low half) and how many of them are diverse (high half);
/// the neighbours, diverse ones first; and their distances, as the bits of f32.
///
/// Readers take no lock. They may see a list of which only a part has changed: a neighbour twice, or missing,
/// or one that was just displaced. All of these are nodes of the layer, so that a search merely takes another
/// way. What a reader must never see is a node whose vector is not there, hence each number is stored with
/// release and loaded with acquire. The count never falls, and is stored after the places that it covers.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    head: &'a AtomicU32,
    nodes: &'a [AtomicU32],
    distances: &'a [AtomicU32],
}

impl<'a> List<'a> {
    /// Words of a list of at most `max` neighbours.
    pub(super) const fn words(max: usize) -> usize {
        1 + 2 * max
    }

    pub(super) fn new(words: &'a [AtomicU32]) -> Self {
        let (nodes, distances) = words[1..].split_at(words.len() / 2);
        Self { head: &words[0], nodes, distances }
    }

    /// Asks for the list's memory.
    pub(super) fn prefetch(self) {
        prefetch(std::slice::from_ref(self.head));
        prefetch(self.nodes);
    }

    /// The neighbours.
    pub(super) fn nodes(self) -> impl Iterator<Item = u32> + use<'a> {
        let len = self.head.load(Ordering::Acquire) & 0xffff;
        self.nodes[..len as usize].iter().map(|node| node.load(Ordering::Acquire))
    }

    /// Whether diverse neighbours are told apart, or there are none.
    pub(super) fn is_divided(self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head >> 16 > 0 || head == 0
    }

    /// Reads the list under its node's lock.
    pub(super) fn read(self, neighbours: &mut Neighbours<u32>) {
        let diverse = self.head.load(Ordering::Relaxed) >> 16;
        let mut candidates = self.nodes().zip(self.distances).map(|(node, distance)| {
            let distance = f32::from_bits(distance.load(Ordering::Relaxed));
            Candidate::new(f64::from(distance), node)
        });
        neighbours.diverse.clear();
        neighbours.diverse.extend(candidates.by_ref().take(diverse as usize));
        neighbours.pruned.clear();
        neighbours.pruned.extend(candidates);
    }

    /// Writes the list under its node's lock, or before its node can be reached.
    pub(super) fn write(self, neighbours: &Neighbours<u32>) {
        for ((candidate, node), distance) in neighbours.iter().zip(self.nodes).zip(self.distances) {
            node.store(candidate.node, Ordering::Release);
            distance.store((candidate.distance as f32).to_bits(), Ordering::Relaxed);
        }
        let head = neighbours.diverse.len() << 16 | neighbours.len();
        self.head.store(head as u32, Ordering::Release);
    }
}
