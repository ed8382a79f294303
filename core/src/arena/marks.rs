//! The nodes that a search of the arena has scored.

use crate::graph::Visited;
use crate::types::{Error, Result};

/// A byte a node, which says in which search the node was marked last: nothing is hashed, and little is ever
/// cleared.
///
/// A thread keeps one for all its searches. Beside a node's vector and lists the byte does not count.
#[derive(Default)]
pub struct Marks {
    /// By node; 0 where it was never marked.
    searches: Vec<u8>,
    /// The number of this search, from 1.
    search: u8,
    len: usize,
    /// Whether a node found no room.
    is_full: bool,
}

impl Marks {
    /// Makes room for a node with this number.
    #[cold]
    fn grow(&mut self, node: usize) -> Result<()> {
        let len = (node + 1).next_power_of_two();
        self.searches.try_reserve_exact(len - self.searches.len())?;
        self.searches.resize(len, 0);
        Ok(())
    }
}

impl Visited<u32> for Marks {
    fn insert(&mut self, node: u32) -> bool {
        let node = node as usize;
        if node >= self.searches.len() && self.grow(node).is_err() {
            // As if it had been visited; the search ends when it asks for room.
            self.is_full = true;
            return false;
        }
        let unmarked = std::mem::replace(&mut self.searches[node], self.search) != self.search;
        self.len += usize::from(unmarked);
        unmarked
    }

    fn contains(&self, node: u32) -> bool {
        self.searches.get(node as usize) == Some(&self.search)
    }

    fn reserve(&mut self, _additional: usize) -> Result<()> {
        if self.is_full { Err(Error::OutOfMemory) } else { Ok(()) }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.searches.fill(0);
            self.search = 1;
        }
    }

    fn len(&self) -> usize {
        self.len
    }
}
