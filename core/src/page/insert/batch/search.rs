//! Step 1 of a join: the search for what is near each node, in their order, see `queue`.
//!
//! The caller's thread searches, as no other of the process reads pages, and so do helpers in others, each
//! for a group of nodes, see `seek` and `help`; meanwhile the threads of a pool choose neighbours of the
//! nodes that were searched for before, see `choose`.

use super::Batch;
use super::choose::choose;
use super::chosen::{Around, Chosen, Found, Group, Neighbour};
use super::help::{Helpers, read_answer, write_request};
use super::near::Near;
use super::queue::Queue;
use super::seek::{Begin, ENTRIES, OF_ONE, Sought, Wanted};
use crate::graph::EditableGraph;
use crate::page::insert::query_of;
use crate::page::store::PageStore;
use crate::types::{Error, Result};

/// Nodes of which it was said to who searches what it must know.
#[derive(Default)]
struct Request {
    nodes: Vec<u32>,
    wanted: Vec<Wanted>,
}

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// Steps 1 and 2.
    pub(super) fn publish_all(
        &mut self,
        helpers: &mut impl Helpers,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let (graph, schema, threads) = (self.graph, &*self.index.schema, self.threads);
        let mut queue = Queue::new(graph, self.adopted)?;
        if self.is_whole {
            while let Some(node) = queue.next(|node| graph.nearest_links(node)) {
                self.publish_as_built(node)?;
                queue.count(1, &[]);
                progress(queue.searched());
            }
            return self.publish_rest();
        }
        let (mut groups, mut asked) = (Vec::new(), self.ask_helpers(&mut queue, helpers)?);
        loop {
            let is_end = queue.is_end() && asked.is_empty();
            let (mut found, mut nears) = (Vec::new(), Vec::new());
            for (number, Group { found: of_group, near }) in groups.drain(..).enumerate() {
                found.extend(of_group.into_iter().map(|found| (number, found)));
                nears.push(near);
            }
            if is_end && found.is_empty() {
                return self.publish_rest();
            }
            let choose = |(group, found): (usize, _)| choose(graph, schema, &nears[group], found);
            let find = || {
                let groups = self.find_groups(&mut queue, std::mem::take(&mut asked), &nears, helpers)?;
                // They search while what was chosen is published.
                asked = self.ask_helpers(&mut queue, helpers)?;
                Ok::<_, Error>(groups)
            };
            let (chosen, next) = threads.beside(found, choose, find);
            groups = next?;
            for chosen in chosen {
                self.publish(chosen?)?;
            }
            progress(queue.searched());
        }
    }

    fn publish_as_built(&mut self, node: u32) -> Result<()> {
        let (schema, mut buffer) = (&self.index.schema, Vec::new());
        let payload = schema.encode(self.graph.vector(node, &mut buffer)?);
        let vector = schema.decode(&payload);
        let of_batch = |layer| {
            let of_batch = self.of_batch(node, layer).into_iter();
            of_batch.map(|(neighbour, other)| (neighbour, self.graph.code(other).to_vec())).collect()
        };
        let layers = (0..=self.graph.level(node)).map(of_batch).collect();
        self.publish(Chosen { node, payload, vector, layers, rows_taken: 0 })
    }

    /// Gives each helper the next group of nodes to search for; none where no node is left.
    fn ask_helpers(&mut self, queue: &mut Queue, helpers: &mut impl Helpers) -> Result<Vec<Request>> {
        let mut asked = Vec::with_capacity(helpers.count());
        for helper in 0..helpers.count() {
            let group = self.next_group(queue)?;
            if group.nodes.is_empty() {
                break;
            }
            helpers.ask(helper, &write_request(&group.wanted, self.beam)?);
            asked.push(group);
        }
        Ok(asked)
    }

    /// Searches for the next group of nodes, and waits for what helpers have found. `before` is what was near
    /// the last groups.
    fn find_groups(
        &mut self,
        queue: &mut Queue,
        asked: Vec<Request>,
        before: &[Near],
        helpers: &mut impl Helpers,
    ) -> Result<Vec<Group>> {
        let own = self.next_group(queue)?;
        let none = Near::default();
        let found = self.seeker.seek(&own.wanted, self.beam, before.last().unwrap_or(&none))?;
        let mut groups = Vec::with_capacity(asked.len() + 1);
        for (helper, asked) in asked.into_iter().enumerate() {
            let found = read_answer(helpers.answer(helper))?;
            groups.push(self.group_of(queue, asked, found)?);
        }
        groups.push(self.group_of(queue, own, found)?);
        Ok(groups)
    }

    /// The nodes that are searched for next, together.
    fn next_group(&mut self, queue: &mut Queue) -> Result<Request> {
        let (mut group, mut buffer) = (Request::default(), Vec::new());
        while group.nodes.len() < self.group
            && let Some(node) = queue.next(|node| self.graph.nearest_links(node))
        {
            let payload = self.index.schema.encode(self.graph.vector(node, &mut buffer)?);
            let level = self.graph.level(node);
            let begins = if level == 0 { self.begins(node, &group.nodes) } else { Vec::new() };
            group.nodes.push(node);
            group.wanted.push(Wanted { level, payload, begins });
        }
        Ok(group)
    }

    /// Where a search for a node begins: at its neighbours in the batch, or at what was found near those that
    /// are not on pages yet, or will be found near those that are searched for before it. Nowhere as long as
    /// nothing is known of any: before the first was searched for, or while others search for all of them.
    fn begins(&self, node: u32, group: &[u32]) -> Vec<Begin> {
        let mut begins = Vec::with_capacity(ENTRIES);
        let mut entries = 0;
        for neighbour in self.graph.links(node, 0) {
            let before = begins.len();
            if let Some(place) = self.places[neighbour as usize].as_option() {
                begins.push(Begin::Place(place));
            } else if let Some(found) = self.found.get(&neighbour) {
                begins.extend(found.iter().map(|place| Begin::Place(*place)));
            } else if let Some(earlier) = group.iter().position(|earlier| *earlier == neighbour) {
                begins.push(Begin::Earlier(earlier as u32));
                entries += OF_ONE - 1;
            }
            entries += begins.len() - before;
            if entries >= ENTRIES {
                break;
            }
        }
        begins
    }

    /// What was found near nodes. Those that were not searched for are given back.
    fn group_of(
        &mut self,
        queue: &mut Queue,
        Request { nodes, wanted }: Request,
        (sought, near): (Vec<Sought>, Near),
    ) -> Result<Group> {
        let rest = &nodes[sought.len().min(nodes.len())..];
        queue.count(sought.len(), rest);
        // As many as there is memory for, and at times some more.
        self.group = if rest.is_empty() { self.group + self.group.div_ceil(8) } else { sought.len() };
        self.group = self.group.clamp(1, self.together);
        let mut found = Vec::with_capacity(sought.len());
        for ((node, Wanted { level, payload, .. }), sought) in nodes.into_iter().zip(wanted).zip(sought) {
            found.extend(self.found_near(node, level, payload, sought)?);
        }
        Ok(Group { found, near })
    }

    /// What was found near a node; or leaves its rows to a node that holds its vector: then there is nothing
    /// more to do.
    fn found_near(
        &mut self,
        node: u32,
        level: u8,
        payload: Vec<u8>,
        Sought { mut layers, is_held }: Sought,
    ) -> Result<Option<Found>> {
        let index = self.index;
        let mut rows_taken = 0;
        if is_held && let Some(nearest) = layers.first() {
            rows_taken = self.leave_rows(node, &query_of(index, &payload)?, nearest, &payload)?;
            if !self.places[node as usize].is_none() {
                return Ok(None);
            }
        }
        let nearest = layers.first().into_iter().flatten();
        self.found.insert(node, nearest.map(|candidate| candidate.node).take(OF_ONE).collect());
        layers.resize_with(usize::from(level) + 1, Vec::new);
        let layers = (0..).zip(layers);
        let layers =
            layers.map(|(layer, on_pages)| Around { on_pages, of_batch: self.of_batch(node, layer) });
        let layers = layers.collect();
        let vector = index.schema.known_vector(index.schema.decode(&payload), true, level);
        Ok(Some(Found { node, payload, vector, layers, rows_taken }))
    }

    /// The neighbours that a node has in the batch, on a layer, and their numbers.
    fn of_batch(&self, node: u32, layer: u8) -> Vec<(Neighbour, u32)> {
        let of_batch = |other| Some((self.neighbour(other, layer)?, other));
        self.graph.links(node, layer).filter_map(of_batch).collect()
    }
}
