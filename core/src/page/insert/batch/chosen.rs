//! Nodes on their way from the search to their pages.

use super::near::Near;
use crate::graph::Candidate;
use crate::page::query::vectors::Known;
use crate::types::Link;
use std::collections::VecDeque;

/// A neighbour of a node of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Neighbour {
    /// A node on pages.
    Placed(Link),
    /// One of the batch that has no place yet.
    Waiting(u32),
}

/// Nodes of the batch that were searched for, and what is known of all that was found near them.
#[derive(Default)]
pub(super) struct Group {
    pub found: Vec<Found>,
    pub near: Near,
}

/// A node of the batch that was searched for.
pub(super) struct Found {
    /// Which.
    pub node: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its vector as others see it.
    pub vector: Known,
    /// What is near it, by layer from 0.
    pub layers: Vec<Around>,
    /// How many of its rows another node has taken.
    pub rows_taken: usize,
}

/// What is near a node on a layer.
pub(super) struct Around {
    /// Nodes on pages, measured from it.
    pub on_pages: Vec<Candidate<Link>>,
    /// Its neighbours in the batch as they were then, and their numbers.
    pub of_batch: Vec<(Neighbour, u32)>,
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

/// Nodes that will be written together, in the order of their slots.
pub(super) type NewPage = VecDeque<Chosen>;
