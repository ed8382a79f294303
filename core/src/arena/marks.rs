//! The nodes that a search of the arena has scored.

use crate::graph::Visited;

/// A byte a node, which says in which search the node was marked last: nothing is hashed, and little is ever cleared.
///
/// A thread keeps one for all its searches. Beside a node's vector and lists the byte does not count.
#[derive(Default)]
pub struct Marks {
    /// By node; 0 where it was never marked.
    searches: Vec<u8>,
    /// The number of this search, from 1.
    search: u8,
    len: usize,
}

impl Visited<u32> for Marks {
    fn insert(&mut self, node: u32) -> bool {
        let node = node as usize;
        if node >= self.searches.len() {
            self.searches.resize((node + 1).next_power_of_two(), 0);
        }
        let unmarked = std::mem::replace(&mut self.searches[node], self.search) != self.search;
        self.len += usize::from(unmarked);
        unmarked
    }

    fn contains(&self, node: u32) -> bool {
        self.searches.get(node as usize) == Some(&self.search)
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
