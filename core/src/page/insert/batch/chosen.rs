//! Nodes between the choice of their neighbours and their pages.

use crate::types::Link;
use std::collections::VecDeque;

/// A neighbour of a node of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Neighbour {
    /// A node on pages.
    Placed(Link),
    /// One of the batch that has no place yet.
    Waiting(u32),
}

/// A node of the batch whose neighbours are chosen.
pub(super) struct Chosen {
    /// Which.
    pub node: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its vector as others see it.
    pub vector: Vec<u8>,
    /// Its neighbours by layer from 0, with their codes.
    pub layers: Vec<Vec<(Neighbour, Vec<u8>)>>,
    /// How many of its rows another node has taken.
    pub rows_taken: usize,
}

/// Nodes that will be written together.
#[derive(Default)]
pub(super) struct NewPage {
    /// They, in the order of their slots.
    pub nodes: VecDeque<Chosen>,
}

impl NewPage {
    /// The nodes with a place that one of the new nodes leads to on layer 0.
    pub fn neighbours(&self, node: u32) -> impl Iterator<Item = Link> {
        let of_node = self.nodes.iter().filter(move |chosen| chosen.node == node);
        of_node.flat_map(|chosen| &chosen.layers[0]).filter_map(|(neighbour, _)| match neighbour {
            Neighbour::Placed(link) => Some(*link),
            Neighbour::Waiting(_) => None,
        })
    }
}
