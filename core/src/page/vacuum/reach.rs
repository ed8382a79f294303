//! Step 4 of a vacuum: live nodes that cannot be reached are linked again.
//!
//! A node is reached when a path of layer-0 links between live nodes leads to it from the entry point. One
//! bit a slot says which are, and another which have waited to be followed. The walk follows all links that
//! wait, in the order of their pages, then what these lead to: in waves that go through the index, each of
//! which reads a page once for all of its nodes that wait. What waits is bounded; what does not fit is found
//! again by a pass over the pages.
//!
//! An unreached node is put on a path without taking anything else off it: it takes a free place of a near,
//! reached node B, or splits one of B's links: B → Y becomes B → node → Y. So each step only adds to what is
//! reached.

use crate::graph::Candidate;
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::query::access::List;
use crate::page::query::access::{each_node, live_nodes};
use crate::page::query::index::Index;
use crate::page::query::vectors::Vectors;
use crate::page::store::{PageStore, Phase};
use crate::types::{Link, Result};
use hashbrown::HashSet;

#[cfg(test)]
mod tests;

/// Links waiting to be followed, 8 bytes each, and as many that are followed in the meantime; fewer in tests,
/// so that some do not find room.
const WAITING: usize = if cfg!(test) { 16 } else { 1 << 19 };
/// Links whose pages are asked for together, while those of the links before them are read.
const WINDOW: usize = 16;

/// Links every live node that is not reached. Returns how many there were.
pub(super) fn relink_unreachable<Store: PageStore>(index: &Index<Store>) -> Result<u64> {
    // First as an insertion would: its back-links may take others off their only path, so a second look
    // follows.
    let unreached = for_unreached(index, |_, node| {
        if let Some(payload) = index.payload(node)? {
            index.link(node, payload)?;
        }
        Ok(())
    })?;
    if unreached > 0 {
        for_unreached(index, |reach, node| reach.put_on_path(node))?;
    }
    Ok(unreached)
}

/// Counts the live nodes that a search cannot come to: no path of layer-0 links leads to them from the entry
/// point, not even through tombstones. Others may change the index meanwhile; a node that is just being
/// inserted may be counted.
pub(in crate::page) fn count_unreachable<Store: PageStore>(index: &Index<Store>) -> Result<u64> {
    let mut reach = Reach { through_tombstones: true, ..Reach::new(index) };
    let pages = index.data_pages()?;
    if let Some(entry) = Meta::read(&index.store)?.entry() {
        reach.walk_from(entry.node)?;
    }
    let mut unreachable = 0;
    for (block, page) in pages {
        let nodes = live_nodes(index, &*page?, block)?;
        unreachable += nodes.iter().filter(|node| !reach.is_reached(node.link)).count() as u64;
    }
    Ok(unreachable)
}

/// Does something for every node that is not reached; then it, and what it leads to, counts as reached.
fn for_unreached<'i, Store: PageStore>(
    index: &'i Index<Store>,
    relink: impl Fn(&Reach<'i, Store>, Link) -> Result<()>,
) -> Result<u64> {
    let Some(entry) = Meta::read(&index.store)?.entry() else { return Ok(0) };
    let mut reach = Reach::new(index);
    reach.walk_from(entry.node)?;
    let mut unreached = 0;
    let blocks = index.store.block_count()?;
    for (block, page) in index.data_pages()? {
        index.store.progress(Phase::LinkingNodes, block.into(), blocks.into());
        let nodes = live_nodes(index, &*page?, block)?;
        for node in nodes {
            if !reach.is_reached(node.link) {
                relink(&reach, node.link)?;
                reach.walk_from(node.link)?;
                unreached += 1;
            }
        }
    }
    Ok(unreached)
}

/// A set of numbers, as bits.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    fn insert(&mut self, number: usize) -> Result<()> {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.try_reserve(word + 1 - self.0.len())?;
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
        Ok(())
    }
}

struct Reach<'i, Store: PageStore> {
    index: &'i Index<Store>,
    /// Bits kept for a page. Higher slots share the last one: then a node may wrongly count as reached.
    slots: usize,
    /// Whether tombstones count as part of a path, as for a search.
    through_tombstones: bool,
    /// Pages that there are at least.
    blocks: u32,
    reached: Bits,
    /// Whatever a link has made wait, so that no other does: live or not.
    met: Bits,
    /// Links that were followed and are stale, where another node has the slot: no more than [`WAITING`].
    stale: HashSet<Link>,
    /// Those other nodes. A link to one of them may have come while the stale one waited, and not have been
    /// let wait.
    hidden: Vec<Link>,
    /// Links to be followed.
    waiting: Vec<Link>,
    /// The memory of those that were.
    followed: Vec<Link>,
    /// Whether a link found no room among those that wait.
    spilled: bool,
    /// Nodes that the walk has come to.
    expanded: u64,
}

impl<'i, Store: PageStore> Reach<'i, Store> {
    fn new(index: &'i Index<Store>) -> Self {
        // Other tuples may take low slots.
        let slots = (2 * index.schema.layout.nodes_per_page()).next_multiple_of(64);
        Self {
            index,
            slots,
            through_tombstones: false,
            blocks: 0,
            reached: Bits::default(),
            met: Bits::default(),
            stale: HashSet::new(),
            hidden: Vec::new(),
            waiting: Vec::new(),
            followed: Vec::new(),
            spilled: false,
            expanded: 0,
        }
    }

    /// The number of a node's bit.
    fn place(&self, node: Link) -> usize {
        node.block as usize * self.slots + usize::from(node.slot).min(self.slots - 1)
    }

    fn is_reached(&self, node: Link) -> bool {
        self.reached.contains(self.place(node))
    }

    /// Marks what can be reached from a reached node.
    fn walk_from(&mut self, node: Link) -> Result<()> {
        self.waiting.push(node);
        self.walk()?;
        while self.is_incomplete() {
            let mut spilled = false;
            for (block, page) in self.index.data_pages()? {
                let mut reached = Vec::new();
                each_node(self.index, &*page?, block, |node, _| {
                    if self.is_reached(node) {
                        reached.push(node);
                    }
                })?;
                self.expand(&reached)?;
                if self.spilled || self.waiting.len() >= WAITING / 2 {
                    spilled |= std::mem::take(&mut self.spilled);
                    self.walk()?;
                }
            }
            self.walk()?;
            self.spilled |= spilled;
        }
        Ok(())
    }

    /// Whether links that have not been let wait may lead to nodes that are not reached. That it is so
    /// because of a stale link is said once.
    fn is_incomplete(&mut self) -> bool {
        let hidden = std::mem::take(&mut self.hidden);
        std::mem::take(&mut self.spilled) || hidden.iter().any(|node| !self.is_reached(*node))
    }

    /// Follows the links that wait, and what they lead to. A link counts only if it leads to a live node,
    /// which is tested when it is followed.
    fn walk(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            // Pages are read in their order, and once for all that waits.
            std::mem::swap(&mut self.waiting, &mut self.followed);
            let mut next = std::mem::take(&mut self.followed);
            next.retain(|node| !self.is_reached(*node));
            next.sort_unstable();
            let mut windows = next.chunks(WINDOW).peekable();
            windows.peek().iter().for_each(|first| self.index.store.announce_tuples(first));
            while let Some(window) = windows.next() {
                if let Some(ahead) = windows.peek() {
                    self.index.store.announce_tuples(ahead);
                }
                self.index.store.prefetch_tuples(window);
                for on_page in window.chunk_by(|a, b| a.block == b.block) {
                    self.index.store.interrupt_point();
                    self.index.store.progress(Phase::WalkingGraph, self.expanded, 0);
                    self.expand(on_page)?;
                }
            }
            next.clear();
            // Of the two that wait, what has more room: where there is no more memory, that is all there is.
            self.followed = next;
            if self.waiting.is_empty() && self.waiting.capacity() < self.followed.capacity() {
                std::mem::swap(&mut self.waiting, &mut self.followed);
            }
        }
        Ok(())
    }

    /// Whether the index reaches as far as a link does. A damaged one, of which who follows it complains,
    /// must not make a set of bits as long as it says.
    fn is_within(&mut self, link: Link) -> Result<bool> {
        if link.block >= self.blocks {
            self.blocks = self.index.store.block_count()?;
        }
        Ok(link.block < self.blocks)
    }

    /// Reaches nodes on one page; what they lead to waits.
    fn expand(&mut self, nodes: &[Link]) -> Result<()> {
        let Some(first) = nodes.first() else { return Ok(()) };
        let page = self.index.store.read(first.block)?;
        for node in nodes {
            let place = self.place(*node);
            let found = Node::in_slot(&self.index.schema.layout, &page, node.block, node.slot)?;
            let found = found.filter(|found| self.through_tombstones || found.is_live());
            let Some(found) = found else { continue };
            let version = found.header().version;
            if version != node.version {
                self.met.remove(place);
                let has_room = self.stale.len() < WAITING && self.stale.try_reserve(1).is_ok();
                if has_room && self.hidden.try_reserve(1).is_ok() && self.stale.insert(*node) {
                    self.hidden.push(Link { version, ..*node });
                }
                continue;
            }
            self.expanded += u64::from(!self.reached.contains(place));
            self.reached.insert(place)?;
            for link in found.places().links() {
                self.meet(link)?;
            }
        }
        Ok(())
    }

    /// Lets a link wait, if none that leads there has.
    fn meet(&mut self, link: Link) -> Result<()> {
        let place = self.place(link);
        if self.reached.contains(place) || self.met.contains(place) || self.stale.contains(&link) {
            return Ok(());
        }
        // Where there is no more memory as many wait as can.
        if self.waiting.len() < WAITING && self.waiting.try_reserve(1).is_ok() {
            if self.is_within(link)? {
                self.met.insert(place)?;
            }
            self.waiting.push(link);
        } else {
            self.spilled = true;
        }
        Ok(())
    }

    /// Gives a node an in-link from a near, reached one; where none takes it, from the entry point.
    ///
    /// To look for a free place first, at nodes further away, cost recall under inner product.
    fn put_on_path(&self, node: Link) -> Result<()> {
        let meta = Meta::read(&self.index.store)?;
        let entry = meta.entry().map(|entry| entry.node);
        let mut linker = Linker::new(self.index, meta);
        let Some(payload) = self.index.payload(node)? else { return Ok(()) };
        let nearest = self.index.nearest(&payload)?;
        for near in nearest.into_iter().map(|Candidate { node, .. }| node).chain(entry) {
            if near == node || !self.is_reached(near) {
                continue;
            }
            let Some(list) = self.index.list(near, 0)? else { continue };
            if list.links.contains(&node) || lead(&mut linker, &list, node)? {
                break;
            }
        }
        Ok(())
    }
}

/// Makes the owner of a list link to `node`.
fn lead<Store: PageStore>(linker: &mut Linker<'_, Store>, list: &List, node: Link) -> Result<bool> {
    let mut position = None;
    for (candidate, link) in list.links.iter().enumerate() {
        if link.is_none() || !linker.vectors.is_live(*link)? {
            position = Some(candidate);
        }
    }
    let position = match position {
        Some(position) => position,
        None => {
            let Some(furthest) = furthest(&mut linker.vectors, list)? else { return Ok(false) };
            if !keep_leading(linker, node, list.links[furthest])? {
                return Ok(false);
            }
            furthest
        }
    };
    let change = Change { position: position as u16, old: list.links[position], new: node };
    Ok(!linker.change(list.id, &[change])?.is_empty())
}

/// Makes `node` link to `target`.
fn keep_leading<Store: PageStore>(linker: &mut Linker<'_, Store>, node: Link, target: Link) -> Result<bool> {
    let Some(list) = linker.index.list(node, 0)? else { return Ok(false) };
    if list.links.contains(&target) {
        return Ok(true);
    }
    let free = list.links.iter().position(|link| link.is_none());
    let position = match free {
        Some(position) => Some(position),
        None => furthest(&mut linker.vectors, &list)?,
    };
    let Some(position) = position else { return Ok(false) };
    let change = Change { position: position as u16, old: list.links[position], new: target };
    Ok(!linker.change(list.id, &[change])?.is_empty())
}

/// The position of the link that leads furthest away.
fn furthest<Store: PageStore>(vectors: &mut Vectors<'_, Store>, list: &List) -> Result<Option<usize>> {
    let mut furthest = None;
    for (position, link) in list.links.iter().enumerate() {
        let distance = vectors.distance(list.id.node, *link)?;
        if furthest.is_none_or(|(most, _)| distance > most) {
            furthest = Some((distance, position));
        }
    }
    Ok(furthest.map(|(_, position)| position))
}
