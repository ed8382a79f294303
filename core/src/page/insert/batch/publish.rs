//! Step 2 of a join: nodes on new pages, and in places that others have left.

use super::Batch;
use super::chosen::{Chosen, Neighbour};
use crate::graph::{Candidate, EditableGraph};
use crate::page::format::layout::Layout;
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::format::node::NodeMut;
use crate::page::format::owned::OwnedMut;
use crate::page::format::slotted::PageKind;
use crate::page::format::tuple::AsideKind;
use crate::page::insert::Insertion;
use crate::page::insert::bulk::add;
use crate::page::insert::presence::mark_present;
use crate::page::insert::publish::{CodedLinks, Content};
use crate::page::insert::query_of;
use crate::page::insert::space::Space;
use crate::page::link::Linker;
use crate::page::query::index::Index;
use crate::page::query::notes::{Expansions, Notes};
use crate::page::query::paged::PagedQuery;
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashSet;
use std::collections::VecDeque;

/// Rows that are copied at a time.
const ROWS: usize = 1024;

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// Gives rows of a node to one of `nearest` that holds its vector, which then stands for it if it has
    /// taken all. Returns how many it has taken.
    pub(super) fn leave_rows<Noted: Notes>(
        &mut self,
        node: u32,
        query: &PagedQuery<&Store, Noted>,
        nearest: &[Candidate<Link>],
        payload: &[u8],
    ) -> Result<usize> {
        let mut rows = self.graph.heap_tids(node);
        let first: Vec<HeapTid> = rows.by_ref().take(ROWS).collect();
        let Some((holder, taken)) = self.index.join(query, nearest, payload, &first)? else { return Ok(0) };
        if taken < first.len() {
            return Ok(taken);
        }
        let (more, all) = self.index.add_rows(&query.meta, holder, rows)?;
        if all {
            self.places[node as usize] = holder;
            self.left[node as usize] = true;
            self.index.store.stop_point(StopPoint::InsertJoined);
        }
        Ok(taken + more)
    }

    /// Publishes a node, on the page that is being filled if a page can hold all of it.
    pub(super) fn publish(&mut self, chosen: Chosen) -> Result<()> {
        let layout = &self.index.schema.layout;
        let size = |chosen: &Chosen| (layout.node_size, upper_size(layout, self.graph.level(chosen.node)));
        let size_of_node = size(&chosen);
        if layout.payload_offset.is_none() || !fit(&[size_of_node]) {
            return self.publish_in_parts(chosen);
        }
        let mut sizes: VecDeque<_> = self.page.iter().map(size).chain([size_of_node]).collect();
        while !fit(&sizes) {
            if self.use_place()? {
                sizes.pop_front();
            } else {
                self.write_page()?;
                break;
            }
        }
        self.page.push_back(chosen);
        Ok(())
    }

    /// Writes what is left of the nodes.
    pub(super) fn publish_rest(&mut self) -> Result<()> {
        while self.use_place()? {}
        self.write_page()?;
        for (block, left) in std::mem::take(&mut self.room) {
            self.index.record_free_space(block, left);
        }
        Ok(())
    }

    /// Publishes the first node of the page that is being filled where another has left its place; false
    /// where there is none.
    fn use_place(&mut self) -> Result<bool> {
        let store = &self.index.store;
        if !self.uses_places || store.page_with_free_space(self.index.schema.layout.node_size).is_none() {
            return Ok(false);
        }
        let blocks = store.block_count()?;
        let Some(chosen) = self.page.pop_front() else { return Ok(false) };
        let node = chosen.node;
        self.publish_in_parts(chosen)?;
        // What the map names is tombstones that are too young, if a page was added: that is the last time.
        self.uses_places = self.places[node as usize].block < blocks;
        Ok(true)
    }

    /// Writes the page that is being filled.
    fn write_page(&mut self) -> Result<()> {
        let nodes = std::mem::take(&mut self.page);
        if nodes.is_empty() {
            return Ok(());
        }
        let index = self.index;
        let layout = &index.schema.layout;
        let mut unit = index.store.begin();
        if nodes.iter().any(|chosen| !index.schema.measure.is_ordinary(&chosen.vector)) {
            unit.lock(META_BLOCK)?;
            mark_present(&mut unit, AsideKind::ZeroVector)?;
        }
        let block = unit.extend()?;
        let mut space = Space::of_empty_page(block);
        for chosen in &nodes {
            self.places[chosen.node as usize] = space.take(layout.node_size);
        }
        let page = unit.edit(block);
        page.initialize(PageKind::Data);
        let mut uppers = Vec::with_capacity(nodes.len());
        for chosen in &nodes {
            let (links, waiting) = self.links(chosen);
            let Self { graph, places, .. } = self;
            let (level, place) = (graph.level(chosen.node), places[chosen.node as usize]);
            let upper = if level > 0 { space.take(layout.upper_size(level)) } else { Link::NONE };
            let rows = graph.heap_tids(chosen.node).skip(chosen.rows_taken).take(layout.inline_tids);
            let rows: Vec<HeapTid> = rows.collect();
            let code = graph.code(chosen.node);
            add(page, place, layout.node_size, |bytes| {
                let mut node = NodeMut::format(layout, bytes, place.version, level, 0);
                for (position, (link, code)) in (0..).zip(&links[0]) {
                    node.set_link(position, *link);
                    node.set_link_code(position, code);
                }
                node.set_heap_tids(&rows);
                node.set_payload(&chosen.payload, code);
                node.header_mut().upper = upper;
            })?;
            uppers.push((upper, links));
            for (layer, waiting) in (0..).zip(&waiting) {
                graph.keep_links(chosen.node, layer, waiting);
            }
        }
        for (chosen, (upper, links)) in nodes.iter().zip(&uppers).filter(|(_, (upper, _))| !upper.is_none()) {
            let (level, owner) = (self.graph.level(chosen.node), self.places[chosen.node as usize]);
            add(page, *upper, layout.upper_size(level), |bytes| {
                fill_upper(
                    &mut OwnedMut::format_upper(layout, bytes, upper.version, level, owner),
                    layout,
                    links,
                );
            })?;
        }
        let left = page.free_space();
        unit.commit()?;
        if left >= layout.node_size {
            self.room.try_reserve(1)?;
            self.room.push((block, left));
        }
        index.store.stop_point(StopPoint::BatchPageWritten);
        for chosen in &nodes {
            self.found.remove(&chosen.node);
            self.published.push(chosen.node);
            self.add_other_rows(chosen.node, chosen.rows_taken + layout.inline_tids)?;
        }
        Ok(())
    }

    /// Publishes a node as an insertion does, on several pages.
    fn publish_in_parts(&mut self, chosen: Chosen) -> Result<()> {
        let index = self.index;
        let (layers, waiting) = self.links(&chosen);
        let Chosen { node, payload, rows_taken, .. } = chosen;
        let query = query_of(index, &payload)?.with_notes(Expansions::default());
        let linker = Linker::new(index, query.meta);
        let insertion = Insertion { linker, query, payload, level: self.graph.level(node) };
        let heap_tid = self.graph.heap_tids(node).nth(rows_taken);
        let Some(heap_tid) = heap_tid else { return Ok(()) };
        let content = Content { layers: &layers, code: self.graph.code(node), heap_tid };
        self.places[node as usize] = insertion.publish_coded(&content)?;
        index.store.stop_point(StopPoint::InsertPublished);
        for (layer, waiting) in (0..).zip(&waiting) {
            self.graph.keep_links(node, layer, waiting);
        }
        self.found.remove(&node);
        self.published.push(node);
        self.add_other_rows(node, rows_taken + 1)
    }

    /// The links of a node to what has a place, by layer from 0, and besides the neighbours that have none
    /// yet.
    fn links(&self, chosen: &Chosen) -> (Vec<CodedLinks>, Vec<Vec<u32>>) {
        let (mut layers, mut waiting) = (Vec::new(), Vec::new());
        for (layer, neighbours) in (0..).zip(&chosen.layers) {
            let (mut links, mut others) = (CodedLinks::new(), Vec::new());
            for (neighbour, code) in neighbours {
                let now = match *neighbour {
                    Neighbour::Placed(_) => Some(*neighbour),
                    Neighbour::Waiting(node) => self.neighbour(node, layer),
                };
                match now {
                    Some(Neighbour::Placed(link)) => links.push((link, code.clone())),
                    Some(Neighbour::Waiting(node)) => others.push(node),
                    None => {}
                }
            }
            // One that has left its rows to another may now be the same as that.
            let mut seen = HashSet::new();
            links.retain(|(link, _)| seen.insert(*link));
            layers.push(links);
            waiting.push(others);
        }
        (layers, waiting)
    }

    /// Adds the rows of a published node from the one with this number on.
    fn add_other_rows(&mut self, node: u32, first: usize) -> Result<()> {
        if self.graph.heap_tids(node).nth(first).is_none() {
            return Ok(());
        }
        let rows = self.graph.heap_tids(node).skip(first);
        let (added, all) =
            self.index.add_rows(&Meta::read(&self.index.store)?, self.places[node as usize], rows)?;
        if !all {
            // The node has died: its first rows were dead already. The others find a new one.
            let mut buffer = Vec::new();
            let vector = self.graph.vector(node, &mut buffer)?;
            for heap_tid in self.graph.heap_tids(node).skip(first + added) {
                self.index.insert(vector, heap_tid, true)?;
            }
        }
        Ok(())
    }
}

impl<Store: PageStore> Index<Store> {
    /// Adds rows to a node that holds their vector; how many, and whether those were all.
    pub(super) fn add_rows(
        &self,
        meta: &Meta,
        node: Link,
        mut rows: impl Iterator<Item = HeapTid>,
    ) -> Result<(usize, bool)> {
        let mut added = 0;
        loop {
            let some: Vec<HeapTid> = rows.by_ref().take(ROWS).collect();
            let more = self.add_all_heap_tids(meta, node, &some)?;
            added += more;
            if more < some.len() || some.is_empty() {
                return Ok((added, some.is_empty()));
            }
        }
    }
}

fn fill_upper(upper: &mut OwnedMut, layout: &Layout, layers: &[CodedLinks]) {
    for (layer, links) in (0..).zip(layers).skip(1) {
        for (position, (link, code)) in (0..).zip(links) {
            upper.set_link(layout, layer, position, *link);
            upper.set_link_code(layout, layer, position, code);
        }
    }
}

fn upper_size(layout: &Layout, level: u8) -> usize {
    if level > 0 { layout.upper_size(level) } else { 0 }
}

/// Whether nodes and upper tuples of these sizes fit an empty page.
fn fit<'s>(sizes: impl IntoIterator<Item = &'s (usize, usize)>) -> bool {
    let mut space = Space::of_empty_page(0);
    sizes.into_iter().flat_map(|(node, upper)| [*node, *upper]).filter(|size| *size > 0).all(|size| {
        let fits = space.fits(size);
        if fits {
            space.take(size);
        }
        fits
    })
}
