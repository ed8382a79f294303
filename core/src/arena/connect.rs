//! The last step of a build: every node becomes reachable on layer 0, but for some of those that were
//! adopted.
//!
//! Algorithm 4 may leave a node without a link to it, when all of its neighbours have found better ones.

use super::fetched::Fetched;
use super::{Arena, ArenaQuery};
use crate::graph::{BuiltGraph, Candidate, LayerSearch, Neighbours, Purpose, descend};
use crate::types::Result;

/// Nodes between two calls of `poll`.
const POLL_NODES: usize = 1024;

/// Links nodes that cannot be reached from the entry point. No other thread changes the graph.
///
/// The walk takes 5 bytes a node.
pub(super) fn connect(arena: &Arena, mut poll: impl FnMut()) -> Result<()> {
    let Some(entry) = arena.entry_point() else { return Ok(()) };
    let mut walk = Walk::new(arena)?;
    walk.reach(entry.node, &mut poll);
    let mut search = LayerSearch::new(Default::default(), Purpose::Insertion);
    let ef = usize::from(arena.parameters.ef_construction);
    for node in 0..arena.len() {
        if walk.reached[node as usize] {
            continue;
        }
        poll();
        let query = ArenaQuery::of_node(arena, node, Fetched::default())?;
        let entries = descend(&query, &mut search, entry, 0)?;
        let nearest = search.run(&query, &entries, 0, ef)?;
        let reached =
            || nearest.iter().map(|candidate| candidate.node).filter(|near| walk.reached[*near as usize]);
        let has_room = |near: &u32| arena.links(*near, 0).count() < arena.parameters.max_links(0);
        let near = if node >= arena.adopted {
            reached().find(has_room).or_else(|| reached().next()).unwrap_or(entry.node)
        } else {
            // Adopted nodes get no links to each other: those that they had may be all that is left of them.
            let Some(near) = reached().find(|near| *near >= arena.adopted && has_room(near)) else {
                continue;
            };
            near
        };
        // Where the new link displaces another, the way over `node` takes the place of it: nothing is cut
        // off. The link that this may displace at `node` was not part of any way so far.
        arena.measure_list(near, 0)?;
        if let Some(displaced) = replace_last(arena, near, node, query.distance(near)?)
            && !arena.links(node, 0).any(|linked| linked == displaced)
        {
            replace_last(arena, node, displaced, query.distance(displaced)?);
        }
        walk.reach(node, &mut poll);
    }
    Ok(())
}

/// Links `node` to `neighbour` at this distance on layer 0, in the place of its furthest pruned neighbour
/// where it has no room; returns the node displaced.
fn replace_last(arena: &Arena, node: u32, neighbour: u32, distance: f64) -> Option<u32> {
    let list = arena.list(node, 0);
    let mut neighbours = Neighbours { diverse: Vec::new(), pruned: Vec::new() };
    list.read(&mut neighbours);
    let full = neighbours.len() == arena.parameters.max_links(0);
    let displaced = if full { neighbours.pruned.pop().or_else(|| neighbours.diverse.pop()) } else { None };
    neighbours.pruned.push(Candidate::new(distance, neighbour));
    list.write(&neighbours);
    displaced.map(|candidate| candidate.node)
}

/// A walk over layer 0.
struct Walk<'a> {
    arena: &'a Arena,
    reached: Vec<bool>,
    /// Nodes reached whose links were not yet followed.
    waiting: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(arena: &'a Arena) -> Result<Self> {
        let len = arena.len() as usize;
        let mut walk = Self { arena, reached: Vec::new(), waiting: Vec::new() };
        walk.reached.try_reserve_exact(len)?;
        walk.waiting.try_reserve_exact(len)?;
        walk.reached.resize(len, false);
        Ok(walk)
    }

    /// Reaches `node` and all that can be reached from there.
    fn reach(&mut self, node: u32, poll: &mut impl FnMut()) {
        self.reached[node as usize] = true;
        self.waiting.push(node);
        let mut followed = 0;
        while let Some(node) = self.waiting.pop() {
            for neighbour in self.arena.links(node, 0) {
                if !std::mem::replace(&mut self.reached[neighbour as usize], true) {
                    self.waiting.push(neighbour);
                }
            }
            followed += 1;
            if followed % POLL_NODES == 1 {
                poll();
            }
        }
    }
}
