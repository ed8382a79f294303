//! What is known of the nodes on pages that searches for a group of nodes have met.
//!
//! A group has its own, which no other changes when threads read it: they share nothing but what is at rest.
//! What can be done without pages is left to them.

use crate::page::format::node::Node;
use crate::page::format::tuple::NodeHeader;
use crate::page::query::index::Index;
use crate::page::query::notes::Notes;
use crate::page::query::schema::Schema;
use crate::page::query::vectors::Known;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::ops::Range;
use std::sync::OnceLock;

/// Nodes on pages. A vector never changes.
#[derive(Default)]
pub(super) struct Near {
    /// Their numbers.
    numbers: HashMap<Link, u32>,
    /// What was read of each; `None` where it is gone.
    nodes: Vec<Option<Read>>,
    payloads: Vec<u8>,
}

/// Whether a node is live, its level and its payload.
pub(super) type Content<'p> = (bool, u8, &'p [u8]);

/// What was read of a node.
struct Read {
    is_live: bool,
    level: u8,
    /// Its place among the payloads.
    payload: Range<usize>,
    known: OnceLock<Known>,
}

impl Near {
    /// Bytes that a node takes, at most.
    pub fn size(schema: &Schema) -> usize {
        Known::size(schema) + 2 * schema.layout.payload_size + 2 * size_of::<Option<Read>>()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Each of them, in the order of their numbers, and what was read of it.
    pub fn iter(&self) -> impl Iterator<Item = (Link, Option<Content<'_>>)> {
        let mut links = vec![Link::NONE; self.nodes.len()];
        self.numbers.iter().for_each(|(link, number)| links[*number as usize] = *link);
        links.into_iter().zip(&self.nodes).map(|(link, read)| {
            (link, read.as_ref().map(|read| (read.is_live, read.level, &self.payloads[read.payload.clone()])))
        })
    }

    /// What is known of a node.
    pub fn get(&self, schema: &Schema, node: Link) -> Option<&Known> {
        let (read, payload) = self.read(node)??;
        Some(read.known.get_or_init(|| schema.known(payload, read.is_live, read.level)))
    }

    /// What was read of a node, if anything was; `None` in it where the node is gone.
    fn read(&self, node: Link) -> Option<Option<(&Read, &[u8])>> {
        let read = self.nodes[*self.numbers.get(&node)? as usize].as_ref();
        Some(read.map(|read| (read, &self.payloads[read.payload.clone()])))
    }

    /// Reads what no search has read with a node that it expanded, if it was not for the group before either.
    pub fn load<Store: PageStore>(&mut self, index: &Index<Store>, before: &Self, node: Link) -> Result<()> {
        if self.numbers.contains_key(&node) {
            return Ok(());
        }
        if let Some(read) = before.read(node) {
            return self.add(node, read.map(|(read, payload)| (read.is_live, read.level, payload)));
        }
        let read = index.header_and_payload(node)?;
        self.add(node, read.as_ref().map(|(header, payload)| of_header(header, payload)))
    }

    /// Adds what was read of a node.
    pub fn add(&mut self, node: Link, read: Option<Content<'_>>) -> Result<()> {
        self.numbers.try_reserve(1)?;
        let Entry::Vacant(entry) = self.numbers.entry(node) else { return Ok(()) };
        self.nodes.try_reserve(1)?;
        self.payloads.try_reserve(read.map_or(0, |(_, _, payload)| payload.len()))?;
        entry.insert(self.nodes.len() as u32);
        self.nodes.push(read.map(|(is_live, level, payload)| {
            let first = self.payloads.len();
            self.payloads.extend_from_slice(payload);
            Read { is_live, level, payload: first..self.payloads.len(), known: OnceLock::new() }
        }));
        Ok(())
    }
}

fn of_header<'p>(header: &NodeHeader, payload: &'p [u8]) -> Content<'p> {
    (!header.is_tombstone(), header.level, payload)
}

impl Notes for Near {
    fn expanded(&mut self, _schema: &Schema, node: Link, tuple: &Node) -> Result<()> {
        match tuple.payload() {
            Some(payload) => self.add(node, Some(of_header(tuple.header(), payload))),
            None => Ok(()),
        }
    }
}
