//! What a query has learnt of nodes whose vectors are in the file.

use super::Arena;
use crate::types::Result;
use hashbrown::HashMap;

/// Vectors and distances, kept for one query at a time, and their memory for the next.
#[derive(Default)]
pub(super) struct Fetched {
    /// Distances from the query, measured.
    pub(super) distances: HashMap<u32, f64>,
    /// Where in `vectors` a node's vector is.
    places: HashMap<u32, usize>,
    vectors: Vec<u8>,
    /// For a vector that is needed once.
    pub(super) buffer: Vec<u8>,
}

impl Fetched {
    /// Forgets all nodes.
    pub(super) fn clear(&mut self) {
        self.distances.clear();
        self.places.clear();
        self.vectors.clear();
    }

    /// Reads the vectors of those of `nodes` that are not in memory, in the order of the file.
    pub(super) fn fetch(&mut self, arena: &Arena, nodes: impl Iterator<Item = u32>) -> Result<()> {
        let is_missing = |node: &u32| arena.vector_in_memory(*node).is_none();
        let mut missing: Vec<u32> =
            nodes.filter(|node| is_missing(node) && !self.places.contains_key(node)).collect();
        missing.sort_unstable();
        let size = arena.parameters.vector_size();
        self.distances.try_reserve(missing.len())?;
        self.places.try_reserve(missing.len())?;
        // All that a search finds, at once, unless this serves one list: pieces that grow leave holes between
        // them in malloc's heap.
        let found = usize::from(arena.parameters.ef_construction) * size;
        let wanted = self.vectors.len() + missing.len() * size;
        let capacity = if self.vectors.capacity() > 0 { wanted.max(found) } else { wanted };
        self.vectors.try_reserve_exact(capacity.saturating_sub(self.vectors.len()))?;
        for node in missing {
            let place = self.vectors.len();
            self.vectors.resize(place + size, 0);
            arena.read_vector(node, &mut self.vectors[place..])?;
            self.places.insert(node, place);
        }
        Ok(())
    }

    /// The vector of a node that is in memory or was fetched.
    pub(super) fn vector<'a>(&'a self, arena: &'a Arena, node: u32) -> &'a [u8] {
        arena.vector_in_memory(node).unwrap_or_else(|| {
            let place = *self.places.get(&node).expect("the vectors of results are fetched");
            &self.vectors[place..][..arena.parameters.vector_size()]
        })
    }
}
