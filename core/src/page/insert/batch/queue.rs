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

    pub(super) fn next(&mut self, graph: &impl BuiltGraph) -> Option<u32> {
        self.again.pop_front().or_else(|| self.order.next(|node| graph.links(node, 0)))
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
    use crate::arena::Arena;
    use crate::types::{ElementType, Metric, Parameters};
    use std::collections::VecDeque;

    /// What is given back comes first, and nothing has ended before it came.
    #[test]
    fn what_is_given_back_comes_first() {
        let graph = Arena::empty(Parameters::plain(4, ElementType::F32, Metric::L2, 16, 100));
        let mut queue = Queue { order: Order::new(0, 0, 32).unwrap(), again: VecDeque::new(), searched: 3 };
        queue.count(2, &[7, 8]);
        assert_eq!(queue.searched(), 5);
        for node in [7, 8] {
            assert!(!queue.is_end());
            assert_eq!(queue.next(&graph), Some(node));
        }
        assert!(queue.is_end());
        assert_eq!(queue.next(&graph), None);
    }
}
