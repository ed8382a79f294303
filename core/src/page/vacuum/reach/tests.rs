//! The walk in little memory, beside one that remembers all.

use super::{Reach, WAITING};
use crate::graph::{BuiltGraph, EntryPoint};
use crate::page::format::meta::Meta;
use crate::page::format::node::{Node, NodeMut};
use crate::page::format::tuple::TOMBSTONE;

use crate::page::query::access::each_node;
use crate::page::query::index::Index;
use crate::page::store::{Pages, WriteUnit};
use crate::page::{MemoryStore, write_graph};
use crate::types::{ElementType, HeapTid, Link, Metric, Parameters, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::iter;

/// A graph without nodes.
struct Empty(Parameters);

impl BuiltGraph for Empty {
    fn parameters(&self) -> &Parameters {
        &self.0
    }

    fn len(&self) -> u32 {
        0
    }

    fn entry_point(&self) -> Option<EntryPoint<u32>> {
        None
    }

    fn level(&self, _: u32) -> u8 {
        0
    }

    fn links(&self, _: u32, _: u8) -> impl Iterator<Item = u32> {
        iter::empty()
    }

    fn vector<'a>(&'a self, _: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        Ok(buffer)
    }

    fn heap_tids(&self, _: u32) -> impl Iterator<Item = HeapTid> {
        iter::empty()
    }
}

/// Nodes in a plane, a third of them tombstones, with few links between them, and some stale ones before
/// these.
fn damaged(random: &mut SmallRng) -> (MemoryStore, Vec<Link>) {
    let store = MemoryStore::new();
    let parameters = Parameters::plain(2, ElementType::F32, Metric::L2, 4, 20);
    write_graph(&Empty(parameters), &[], &mut &store, &mut |_| ()).unwrap();
    let index = Index::open(&store, &()).unwrap();
    for row in 0..400 {
        let vector: [f32; 2] = [random.random(), random.random()];
        index.insert(bytemuck::cast_slice(&vector), HeapTid::new(row, 1), false).unwrap();
    }
    let mut nodes = Vec::new();
    for (block, page) in index.data_pages().unwrap() {
        each_node(&index, &page.unwrap(), block, |node, _| nodes.push(node)).unwrap();
    }
    let entry = Meta::read(&store).unwrap().entry_point;
    let mut stale = 0;
    for &node in &nodes {
        let mut unit = store.begin();
        unit.lock(node.block).unwrap();
        let mut edited = NodeMut::at(&index.schema.layout, unit.edit(node.block), node).unwrap().unwrap();
        if node != entry && random.random_ratio(1, 3) {
            edited.header_mut().flags = TOMBSTONE;
            edited.set_heap_tids(&[]);
        }
        for position in 0..index.schema.layout.parameters.m0 {
            if random.random_ratio(3, 4) {
                edited.set_link(position, Link::NONE);
            }
        }
        if stale < WAITING && random.random_ratio(1, 8) {
            let target = nodes[random.random_range(0..nodes.len())];
            edited.set_link(0, Link { version: target.version.wrapping_add(3), ..target });
            stale += 1;
        }
        unit.commit().unwrap();
    }
    (store, nodes)
}

#[test]
fn nothing_is_forgotten_that_finds_no_room() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut unreached = 0;
    for _ in 0..20 {
        let (store, nodes) = damaged(&mut random);
        let index = Index::open(&store, &()).unwrap();
        let entry = Meta::read(&store).unwrap().entry_point;
        for through_tombstones in [false, true] {
            let (mut expected, mut waiting) = (BTreeSet::new(), vec![entry]);
            while let Some(next) = waiting.pop() {
                let page = store.read(next.block).unwrap();
                let node = Node::at(&index.schema.layout, &page, next).unwrap();
                let node = node.filter(|node| through_tombstones || node.is_live());
                if let Some(node) = node
                    && expected.insert(next)
                {
                    waiting.extend(node.places().links());
                }
            }
            let mut reach = Reach { through_tombstones, ..Reach::new(&index) };
            reach.walk_from(entry).unwrap();
            for node in &nodes {
                assert_eq!(reach.is_reached(*node), expected.contains(node), "{node:?}");
            }
            unreached += nodes.len() - expected.len();
        }
    }
    assert!(unreached > 0);
}
