//! Built graphs on pages: what is written is found again, checks clean, and takes no more space than it
//! should.

use crate::graphs::{TestGraph, parameters};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::cell::Cell;
use walia_core::arena::{Feeder, Settings};
use walia_core::graph::{BuiltGraph, Contents, EntryPoint, level_of};
use walia_core::page::format::node::Node;
use walia_core::page::format::owned::Owned;
use walia_core::page::format::presence::Presence;
use walia_core::page::format::tuple::{AsideKind, TupleKind};
use walia_core::page::{
    Index, MemoryStore, Meta, Pages, Plan, Quantization, Storage, Wishes, check, estimated_pages, fit,
    max_level, statistics, write_graph,
};
use walia_core::types::{ElementType, HeapTid, Link, MAX_LEVEL, Metric, Parameters, PayloadEncoding, Result};

/// Follows a chain of tuples that belong to `owner`, showing each.
fn walk_chain(store: &MemoryStore, kind: TupleKind, owner: Link, first: Link, mut show: impl FnMut(&Owned)) {
    let mut next = first;
    while !next.is_none() {
        let page = store.read(next.block).unwrap();
        let tuple = Owned::at(&page, next, kind, owner).unwrap().expect("a chain without stale links");
        show(&tuple);
        next = tuple.header().next;
    }
}

/// Compares every node on the pages with its original.
fn assert_same(graph: &TestGraph, store: &MemoryStore) {
    let index = Index::open(store, &()).unwrap();
    let layout = &index.schema.layout;
    // Nodes are found by their rows, whose blocks are their numbers.
    let mut addresses = vec![Link::NONE; graph.len() as usize];
    for block in 2..store.block_count().unwrap() {
        let page = store.read(block).unwrap();
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(layout, &page, block, slot).unwrap() {
                let address = &mut addresses[node.heap_tids()[0].block() as usize];
                assert!(address.is_none());
                *address = Link { block, slot, version: node.header().version };
            }
        }
    }
    assert!(addresses.iter().all(|address| !address.is_none()));
    let entry = graph.entry_point().unwrap();
    let meta = Meta::read(&index.store).unwrap();
    assert_eq!(meta.entry_point, addresses[entry.node as usize]);
    assert_eq!(meta.entry_level, u16::from(entry.level));

    for (number, address) in (0u32..).zip(&addresses) {
        let page = *store.read(address.block).unwrap();
        let node = Node::at(layout, &page, *address).unwrap().unwrap();
        let links_of = |layer| graph.links(number, layer).map(|other| addresses[other as usize]);
        assert!(node.is_live());
        assert_eq!(node.header().level, graph.level(number));
        assert!(node.places().links().eq(links_of(0)));

        let mut rows = node.heap_tids().to_vec();
        walk_chain(store, TupleKind::HeapTids, *address, node.header().overflow, |tuple| {
            rows.extend(tuple.heap_tids());
        });
        rows.sort();
        assert_eq!(rows, graph.heap_tids(number).collect::<Vec<_>>());

        let mut payload = node.payload().unwrap_or_default().to_vec();
        walk_chain(store, TupleKind::Payload, *address, node.payload_link(), |tuple| {
            let parts = &mut layout.payload_parts(layout.payload_size);
            let part = parts.nth(usize::from(tuple.header().count)).unwrap();
            payload.extend(layout.part_of_payload(tuple.body(), &part).unwrap());
        });
        assert_eq!(payload, graph.vector(number, &mut Vec::new()).unwrap());

        walk_chain(store, TupleKind::Upper, *address, node.header().upper, |tuple| {
            for layer in 1..=graph.level(number) {
                assert!(tuple.places(layout, layer).unwrap().links().eq(links_of(layer)));
            }
            assert!(tuple.places(layout, graph.level(number) + 1).is_none());
        });
    }
}

fn assert_written_well(dimensions: usize, element: ElementType, m: u16, count: u32) {
    let graph = TestGraph::regular(parameters(dimensions, element, m), count);
    let store = graph.store();
    assert_same(&graph, &store);
    assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
}

#[test]
fn nodes_with_their_payload_are_found_again() {
    for (dimensions, element) in [
        (1, ElementType::F16),
        (3, ElementType::F32),
        (128, ElementType::F32),
        (129, ElementType::F16),
        (384, ElementType::F32),
        (768, ElementType::F32),
        (1536, ElementType::F32),
        (1, ElementType::Bit),
        (384, ElementType::Bit),
        (1023, ElementType::Bit),
    ] {
        assert_written_well(dimensions, element, 16, 100);
    }
    assert_written_well(20, ElementType::F32, 2, 200);
    assert_written_well(20, ElementType::F32, 100, 50);
    // The most bits that lie beside the links.
    assert_written_well(62_784, ElementType::Bit, 16, 50);
}

#[test]
fn payloads_apart_are_found_again() {
    // One part, the largest single part, one whole part alone and with a rest, eight parts.
    for (dimensions, element) in [
        (2000, ElementType::F32),
        (2029, ElementType::F32),
        (2030, ElementType::F32),
        (2031, ElementType::F32),
        (16000, ElementType::F16),
        (16000, ElementType::F32),
        (64000, ElementType::Bit),
    ] {
        assert_written_well(dimensions, element, 16, 40);
    }
}

/// Those that are neighbours share a page, whatever their numbers, and everything that belongs to a node is
/// found from where it lies.
#[test]
fn neighbours_lie_together() {
    for (dimensions, element, count) in [
        (128, ElementType::F32, 100),
        (2000, ElementType::F32, 100),
        (16000, ElementType::F32, 40),
        (100_000, ElementType::Sparse, 300),
    ] {
        let graph = TestGraph::regular(parameters(dimensions, element, 16), count).with_stride(37);
        let store = graph.store();
        assert_same(&graph, &store);
        let index = Index::open(&store, &()).unwrap();
        assert_eq!(check(&index).unwrap(), []);
        let page = store.read(2).unwrap();
        let in_slot = |slot| Node::in_slot(&index.schema.layout, &page, 2, slot).unwrap();
        let nodes: Vec<_> =
            (1..=page.slot_count()).filter_map(in_slot).map(|node| node.heap_tids()[0].block()).collect();
        assert!(nodes.len() > 1);
        assert!(nodes.iter().copied().eq((0..).map(|step| step * 37 % count).take(nodes.len())));
    }
}

/// So do their codes, in the nodes and beside the links.
#[test]
fn codes_go_with_their_nodes() {
    let coded = |dimensions, code_dimensions, payload| Parameters {
        m0: 24,
        code_bits: 4,
        code_dimensions,
        payload,
        ..parameters(dimensions, ElementType::F32, 16)
    };
    for parameters in [coded(20, 20, PayloadEncoding::Sq8), coded(4100, 512, PayloadEncoding::F16)] {
        let store = TestGraph::regular(parameters, 100).with_stride(37).store();
        assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
    }
}

/// Most lie beside their nodes.
#[test]
fn payloads_of_any_length_are_found_again() {
    for (dimensions, count) in [(1, 40), (3, 100), (20, 100), (5_000, 60), (100_000, 300)] {
        assert_written_well(dimensions, ElementType::Sparse, 16, count);
    }
    let graph = TestGraph::regular(parameters(40_000, ElementType::Sparse, 4), 4);
    let store = graph.store();
    let index = Index::open(&store, &()).unwrap();
    let page = store.read(2).unwrap();
    for slot in 1..=4 {
        let node = Node::in_slot(&index.schema.layout, &page, 2, slot).unwrap().unwrap();
        assert_eq!(node.payload_link().block, 2);
    }
}

#[test]
fn whole_parts_lie_on_consecutive_blocks() {
    let graph = TestGraph::new(parameters(16000, ElementType::F32, 16), &[(0, 1); 3]);
    let store = graph.store();
    let index = Index::open(&store, &()).unwrap();
    let page = *store.read(2).unwrap();
    for slot in 1..=3 {
        let node = Node::in_slot(&index.schema.layout, &page, 2, slot).unwrap().unwrap();
        let owner = Link { block: 2, slot, version: node.header().version };
        let mut blocks = vec![node.payload_link().block];
        walk_chain(&store, TupleKind::Payload, owner, node.payload_link(), |part| {
            blocks.extend(part.header().next.as_option().map(|next| next.block));
        });
        assert_eq!(blocks.len(), 8);
        assert!(blocks[..7].windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}

/// A graph of one node, which counts the heap TIDs that are taken from it one by one.
struct OneNode<'a> {
    graph: &'a TestGraph,
    rows: u32,
    taken: Cell<u64>,
}

impl BuiltGraph for OneNode<'_> {
    fn parameters(&self) -> &Parameters {
        self.graph.parameters()
    }

    fn len(&self) -> u32 {
        1
    }

    fn entry_point(&self) -> Option<EntryPoint<u32>> {
        self.graph.entry_point()
    }

    fn level(&self, node: u32) -> u8 {
        self.graph.level(node)
    }

    fn links(&self, node: u32, layer: u8) -> impl Iterator<Item = u32> {
        self.graph.links(node, layer)
    }

    fn vector<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.graph.vector(node, buffer)
    }

    fn heap_tids(&self, _node: u32) -> impl Iterator<Item = HeapTid> {
        let tids = (0..self.rows).map(|row| HeapTid::new(row / 100, (row % 100) as u16 + 1));
        tids.inspect(|_| self.taken.set(self.taken.get() + 1))
    }
}

/// To write a node of many rows takes time that grows with them, not with their square.
#[test]
fn a_node_of_many_rows_is_written_in_one_go() {
    let graph = TestGraph::new(parameters(8, ElementType::F32, 4), &[(0, 1)]);
    for rows in [20_000, 40_000] {
        let graph = OneNode { graph: &graph, rows, taken: Cell::new(0) };
        let store = MemoryStore::new();
        write_graph(&graph, &[], &mut &store, &mut |_| ()).unwrap();
        let taken = graph.taken.get();
        assert!(taken <= 8 * u64::from(rows), "{taken} heap TIDs were counted for {rows}");
        let index = Index::open(&store, &()).unwrap();
        assert_eq!(check(&index).unwrap(), []);
        assert_eq!(statistics(&index).unwrap().heap_tids, u64::from(rows));
    }
}

#[test]
fn an_empty_graph_is_an_empty_index() {
    let written = TestGraph::new(parameters(8, ElementType::F32, 16), &[]).store();
    let created = MemoryStore::new();
    Index::create(&created, &parameters(8, ElementType::F32, 16)).unwrap();
    assert_eq!(written.block_count(), created.block_count());
    for block in 0..2 {
        assert_eq!(written.read(block).unwrap().0, created.read(block).unwrap().0);
    }
}

#[test]
fn rows_outside_of_the_graph_are_counted() {
    let graph = TestGraph::regular(parameters(8, ElementType::F32, 4), 30);
    let zeros = (0..130).map(|row| (AsideKind::ZeroVector, HeapTid::new(1000, row + 1)));
    let nulls = (0..7).map(|row| (AsideKind::Null, HeapTid::new(2000, row + 1)));
    let store = MemoryStore::new();
    let mut told = Vec::new();
    let asides: Vec<_> = nulls.chain(zeros).collect();
    write_graph(&graph, &asides, &mut &store, &mut |nodes| told.push(nodes)).unwrap();
    assert_eq!(told.last(), Some(&30));

    let index = Index::open(&store, &()).unwrap();
    assert_eq!(check(&index).unwrap(), []);
    let counts = statistics(&index).unwrap();
    assert_eq!((counts.zero_vectors, counts.nulls), (130, 7));
    assert_eq!(counts.nodes_by_level[..4], [23, 6, 1, 0]);
    assert_eq!(counts.heap_tids, 30 + 3 * 39);
    assert_eq!((counts.tombstones, counts.pending_nodes, counts.new_pages), (0, 0, 0));
    assert_eq!(counts.parameter_pages, 2);
    assert_eq!(counts.bytes, u64::from(store.block_count().unwrap()) * 8192);
}

/// A build marks what it has written.
#[test]
fn rows_without_a_distance_are_marked() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let presence = |metric, greatest: f32, asides: &[(AsideKind, HeapTid)]| {
        let parameters = Parameters { metric, ..parameters(4, ElementType::F32, 4) };
        let settings = Settings::new(parameters, &[], MAX_LEVEL, 1 << 26);
        let store = MemoryStore::new();
        let mut feeder = Feeder::new(settings, &pool);
        for row in 1..3000 {
            let vector = [1.0, row as f32, 3.0, if row == 2999 { greatest } else { 0.0 }];
            feeder.push(bytemuck::cast_slice(&vector), HeapTid::new(row, 1)).unwrap();
        }
        let arena = feeder.finish(|_| ()).unwrap().unwrap();
        write_graph(&arena, asides, &mut &store, &mut |_| ()).unwrap();
        assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
        let meta = Meta::read(&&store).unwrap();
        AsideKind::ALL.map(|kind| meta.presence(kind))
    };
    use Presence::{Absent, Present};
    let [zero, null] = AsideKind::ALL.map(|kind| (kind, HeapTid::new(9000, 1)));
    assert_eq!(presence(Metric::Cosine, 4e18, &[]), [Absent, Absent]);
    assert_eq!(presence(Metric::Cosine, 4e18, &[zero]), [Present, Absent]);
    assert_eq!(presence(Metric::L2, 4e18, &[null]), [Absent, Present]);
    // Products with these may overflow, differences may not.
    for (metric, expected) in [
        (Metric::Cosine, Present),
        (Metric::InnerProduct, Present),
        (Metric::L2, Absent),
        (Metric::L1, Absent),
    ] {
        assert_eq!(presence(metric, 2e19, &[]), [expected, Absent], "{metric:?}");
    }
}

/// What the arena builds is a sound graph on pages too: no finding, and every row once.
#[test]
fn a_built_arena_checks_clean() {
    let parameters = parameters(6, ElementType::F32, 4);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let store = MemoryStore::new();
    let mut feeder = Feeder::new(Settings::new(parameters, &[], MAX_LEVEL, 1 << 26), &pool);
    let mut generator = StdRng::seed_from_u64(1);
    for row in 0..3000 {
        // Few enough values that some vectors are there twice.
        let vector: [f32; 6] = std::array::from_fn(|_| generator.random_range(0..3) as f32);
        feeder.push(bytemuck::cast_slice(&vector), HeapTid::new(row, 1)).unwrap();
    }
    let arena = feeder.finish(|_| ()).unwrap().unwrap();
    write_graph(&arena, &[], &mut &store, &mut |_| ()).unwrap();
    assert_eq!(statistics(&Index::open(&store, &()).unwrap()).unwrap().nodes(), u64::from(arena.len()));
    let index = Index::open(&store, &()).unwrap();
    assert_eq!(check(&index).unwrap(), []);
    assert_eq!(statistics(&index).unwrap().heap_tids, 3000);
}

/// Nodes a page of an index that keeps an element tuple (80 bytes and the vector) and a neighbour tuple (6
/// bytes a link and 4) for each node on a page with a special area of 8 bytes.
fn peer_nodes_per_page(vector_size: usize, m: usize) -> usize {
    let tuples = (80 + vector_size).next_multiple_of(8) + (4 + 12 * m).next_multiple_of(8);
    (8192 - 24 - 8) / (tuples + 8)
}

#[test]
fn the_index_is_hardly_larger_than_its_peer() {
    for dimensions in [25, 50, 64, 96, 100, 128, 200, 256, 300, 384, 512, 768, 960, 1024, 1536] {
        for element in [ElementType::F32, ElementType::F16] {
            let parameters = parameters(dimensions, element, 16);
            let meta = Meta::new(&parameters);
            let layout = meta.layout().unwrap();
            let (ours, peer) = (layout.nodes_per_page(), peer_nodes_per_page(parameters.vector_size(), 16));
            let upper = layout.upper_size(1) as f64 / 15.0;
            let bytes = 8192.0 / ours as f64 + upper;
            let peer_bytes = 8192.0 / peer as f64 + 96.0 / 15.0;
            println!(
                "{dimensions:5} {element:?}: {ours:2} nodes a page with {} inline TIDs, peer {peer:2}; ratio {:.3}",
                meta.inline_tids,
                bytes / peer_bytes
            );
            assert!(bytes <= 1.15 * peer_bytes, "{dimensions} {element:?}: {ours} nodes a page, peer {peer}");
        }
    }
}

/// What is said of the size before anything is written, against what is written.
#[test]
fn takes_as_many_pages_as_it_was_said_to() {
    for (dimensions, m, count) in
        [(3, 16, 0), (3, 16, 3000), (128, 2, 3000), (20, 100, 500), (2030, 16, 200), (6000, 16, 100)]
    {
        let parameters = parameters(dimensions, ElementType::F32, m);
        let graph = TestGraph::regular(parameters, count);
        let store = MemoryStore::new();
        let asides: Vec<_> = (1..=700).map(|i| (AsideKind::Null, HeapTid::new(9, i))).collect();
        write_graph(&graph, &asides, &mut &store, &mut |_| ()).unwrap();
        let pages = Plan::new(&graph, &mut || ()).unwrap().pages(700, &mut || ());
        assert_eq!(pages, u64::from(store.block_count().unwrap()), "{dimensions} dimensions");
    }
}

#[test]
fn takes_about_as_many_pages_as_estimated() {
    let coded = |dimensions, element, metric| {
        let (quantization, storage) = (Quantization::Auto, Storage::Auto);
        fit(Wishes { dimensions, element, metric, m: 16, ef_construction: 100, quantization, storage })
    };
    for (parameters, nodes, duplicates) in [
        (parameters(8, ElementType::F32, 16), 90_000, 0),
        (parameters(8, ElementType::F32, 4), 20_000, 2_000_000),
        (coded(128, ElementType::F32, Metric::L2), 60_000, 3_000),
        (coded(1536, ElementType::F32, Metric::Cosine), 2_000, 0),
        (coded(4000, ElementType::F16, Metric::L2), 1_000, 0),
        (parameters(10_000, ElementType::Sparse, 16), 3_000, 100),
    ] {
        let rows = |node: usize| 1 + (node + 1) * duplicates / nodes - node * duplicates / nodes;
        let max_level = max_level(&parameters).unwrap();
        let level =
            |node: usize| level_of(HeapTid::new(node as u32 / 7, (node % 7) as u16 + 1), parameters.m);
        let shape: Vec<_> = (0..nodes).map(|node| (level(node).min(max_level), rows(node))).collect();
        let graph = TestGraph::new(parameters, &shape);
        let real = Plan::new(&graph, &mut || ()).unwrap().pages(5_000, &mut || ());
        let bytes: usize = (0..nodes as u32).map(|node| graph.vector_size(node)).sum();
        let vector_size = bytes / nodes;
        let contents =
            Contents { nodes: nodes as u64, duplicates: duplicates as u64, asides: 5_000, vector_size };
        let told = estimated_pages(&parameters, &contents).unwrap();
        println!("{}: {real} pages, {told} told", parameters.dimensions);
        assert!(told.abs_diff(real) * 50 <= real, "{}: {real} pages, {told} told", parameters.dimensions);
    }
}
