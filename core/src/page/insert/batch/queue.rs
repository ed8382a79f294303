//! The nodes of a batch that are to be searched for.

use crate::graph::BuiltGraph;
use crate::page::insert::order::Order;
use crate::types::Result;
use std::collections::VecDeque;

/// They come in the order in which they come to pages; what was given back comes first.
pub(super) struct Queue {
    order: Order,
    again: VecDeque<u32>,
    /// How many nodes were searched for, those that the graph has taken over among them.
    searched: u64,
}

impl Queue {
    /// Of the nodes of a graph after those that it has taken over.
    pub(super) fn new(graph: &impl BuiltGraph, adopted: u32) -> Result<Self> {
        let order = Order::new(graph.len(), adopted, graph.parameters().max_links(0))?;
        Ok(Self { order, again: VecDeque::new(), searched: adopted.into() })
    }

    /// The next node of a graph with these links.
    pub(super) fn next<Links: Iterator<Item = u32>>(
        &mut self,
        links: impl FnOnce(u32) -> Links,
    ) -> Option<u32> {
        self.again.pop_front().or_else(|| self.order.next(links))
    }

    /// Counts nodes that were searched for. Others come again.
    pub(super) fn count(&mut self, searched: usize, others: &[u32]) {
        self.searched += searched as u64;
        self.again.extend(others);
    }

    /// How many nodes were searched for so far.
    pub(super) fn searched(&self) -> u64 {
        self.searched
    }

    /// Whether no node is left.
    pub(super) fn is_end(&self) -> bool {
        self.order.is_end() && self.again.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Queue};
    use std::collections::VecDeque;
    use std::iter;

    /// What is given back comes first, and nothing has ended before it came.
    #[test]
    fn what_is_given_back_comes_first() {
        let links = |node: u32| if node == 0 { 2..4 } else { 0..0 };
        let order = Order::new(4, 0, 2).unwrap();
        let mut queue = Queue { order, again: VecDeque::new(), searched: 0 };
        assert!(iter::from_fn(|| queue.next(links)).take(2).eq([0, 2]));
        queue.count(1, &[2]);
        assert!(iter::from_fn(|| queue.next(links)).eq([2, 3, 1]));
        queue.count(2, &[1]);
        assert_eq!(queue.searched(), 3);
        assert!(!queue.is_end());
        assert_eq!(queue.next(links), Some(1));
        assert!(queue.is_end());
        assert_eq!(queue.next(links), None);
    }
}
