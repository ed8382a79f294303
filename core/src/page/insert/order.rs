//! The order in which the nodes of a graph come to pages.

use crate::types::Result;
use std::collections::VecDeque;

/// Neighbours that wait at most; fewer in tests, so that some do not find room.
const WAITING: usize = if cfg!(test) { 64 } else { 1 << 14 };

/// The nodes of a graph as a walk over it meets them, depth first: each is mostly a neighbour of one shortly
/// before, so that they come to lie together, and what is read for one was read for that one. Where nothing
/// waits, it goes on with the first node that has not come: those that found no room among the waiting come
/// so as well.
pub(super) struct Order {
    done: Vec<bool>,
    /// Neighbours of those that came, the last one's first.
    waiting: VecDeque<u32>,
    /// The node after the last that did not wait.
    next: u32,
}

impl Order {
    /// Of the nodes of a graph after those that it has taken over; each has so many links at most.
    pub(super) fn new(nodes: u32, adopted: u32, most_links: usize) -> Result<Self> {
        let (mut done, mut waiting) = (Vec::new(), VecDeque::new());
        done.try_reserve_exact(nodes as usize)?;
        done.resize(nodes as usize, false);
        done[..adopted as usize].fill(true);
        waiting.try_reserve_exact(WAITING.min(nodes as usize) + most_links)?;
        Ok(Self { done, waiting, next: adopted })
    }

    /// The next node, which has these links, nearest first.
    pub(super) fn next<Links: Iterator<Item = u32>>(
        &mut self,
        links: impl FnOnce(u32) -> Links,
    ) -> Option<u32> {
        loop {
            let neighbour = self.waiting.pop_front();
            let node = neighbour.or_else(|| ((self.next as usize) < self.done.len()).then_some(self.next))?;
            self.next += u32::from(neighbour.is_none());
            if std::mem::replace(&mut self.done[node as usize], true) {
                continue;
            }
            let before = self.waiting.len();
            self.waiting.extend(links(node).filter(|next| !self.done[*next as usize]));
            self.waiting.rotate_right(self.waiting.len() - before);
            self.waiting.truncate(WAITING.min(self.done.len()));
            return Some(node);
        }
    }

    /// Whether no node is left.
    pub(super) fn is_end(&self) -> bool {
        self.next as usize == self.done.len() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, WAITING};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::iter;

    /// Each node comes once, however few find room to wait.
    #[test]
    fn each_node_comes_once() {
        let mut random = StdRng::seed_from_u64(1);
        for (nodes, adopted) in [(1, 0), (5, 5), (300, 0), (3000, 17)] {
            let links: Vec<Vec<u32>> = (0..nodes)
                .map(|_| (0..random.random_range(0..32)).map(|_| random.random_range(0..nodes)).collect())
                .collect();
            let mut order = Order::new(nodes, adopted, 32).unwrap();
            let capacity = order.waiting.capacity();
            let mut came: Vec<u32> = Vec::new();
            while let Some(node) = order.next(|node| links[node as usize].iter().copied()) {
                assert!(order.waiting.len() <= WAITING);
                came.push(node);
            }
            assert!(order.is_end());
            assert_eq!(order.waiting.capacity(), capacity);
            came.sort_unstable();
            assert!(came.into_iter().eq(adopted..nodes));
        }
    }

    /// The nearest neighbour comes next, then its own, and those that wait for longer later.
    #[test]
    fn neighbours_come_first() {
        // 0 - 5, 6, 7; 5 - 0, 9, 8; 9 - 6; nothing leads to the others.
        let links = |node: u32| {
            let links: &[u32] = match node {
                0 => &[5, 6, 7],
                5 => &[0, 9, 8],
                9 => &[6],
                _ => &[],
            };
            links.iter().copied()
        };
        let mut order = Order::new(10, 0, 3).unwrap();
        assert!(iter::from_fn(|| order.next(links)).eq([0, 5, 9, 6, 8, 7, 1, 2, 3, 4]));
        assert!(order.is_end());
    }

    /// Those that have waited longest give way.
    #[test]
    fn those_without_room_come_by_number() {
        let most = WAITING as u32;
        let links = |node: u32| if node.is_multiple_of(100) { node + 1..node + 100 } else { 0..0 };
        let mut order = Order::new(10 * most, 0, 100).unwrap();
        assert_eq!(order.next(links), Some(0));
        assert_eq!(order.waiting.len(), WAITING);
        assert!(order.waiting.iter().copied().eq(1..=most));
    }
}
