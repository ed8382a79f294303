//! Graphs that begin with the nodes of another.

use crate::spilled::{RamFile, coded, measured_recall};
use crate::*;
use walia_core::code::fingerprint;
use walia_core::graph::{AdoptingGraph, Contents};

/// A graph of vectors that begins with the nodes of another, of the first of them; what memory has no room
/// for goes to a file.
fn beside(first: &Arena, vectors: &[Vec<u8>], limit: usize) -> (Arena, usize) {
    let (parameters, pool, mut file) = (*first.parameters(), pool(2), RamFile::default());
    let mut feeder = Feeder::new(settings(parameters, limit), &pool);
    let (mut moves, mut buffer) = (0, Vec::new());
    let mut spill = |feeder: &mut Feeder| {
        assert!(feeder.spill(&mut file, |_| ()).unwrap());
        moves += 1;
    };
    for node in 0..first.len() {
        let vector = first.vector(node, &mut buffer).unwrap();
        while !feeder.adopt(vector, fingerprint(vector), first.level(node)).unwrap() {
            spill(&mut feeder);
        }
    }
    for node in 0..first.len() {
        for layer in 0..=first.level(node) {
            feeder.adopt_links(node, layer, &first.links(node, layer).collect::<Vec<_>>());
        }
    }
    feeder.adopt_entry_point(first.entry_point().unwrap());
    for (i, vector) in vectors.iter().enumerate() {
        while feeder.push(vector, tid(i)).is_err() {
            spill(&mut feeder);
        }
    }
    (feeder.finish(|_| ()).unwrap().unwrap(), moves)
}

#[test]
fn rows_are_inserted_beside_the_nodes_of_another_graph() {
    let vectors = encode(ElementType::F32, &uniform(6000, 24, 31));
    let queries = encode(ElementType::F32, &uniform(200, 24, 32));
    let parameters = coded(24, ElementType::F32, Metric::L2);
    let first = build(parameters, &vectors[..3000], 2);
    // Recalls of builds by two threads differ by some thousandths, so these are means.
    let recall =
        |build: &dyn Fn() -> Arena| (0..8).map(|_| measured_recall(&build(), &queries)).sum::<f64>() / 8.0;
    let expected = recall(&|| build(parameters, &vectors, 2));
    // The last of the first graph's rows come once more, and the first of them not.
    let rows = &vectors[2500..];
    let contents = Contents { nodes: 6000, vector_size: parameters.vector_size(), ..Contents::default() };
    let little = Arena::estimate(&parameters, 2, &contents).spilled.unwrap() as usize * 9 / 8;
    for (limit, moves_some) in [(ROOM, false), (little, true)] {
        let (arena, moves) = beside(&first, rows, limit);
        assert_eq!((arena.len(), moves > 0), (6000, moves_some), "{moves} moves");
        let rows_of = |node| arena.heap_tids(node).map(row).collect::<Vec<_>>();
        for node in 0..6000 {
            let expected = (node as usize).checked_sub(2500);
            assert_eq!(rows_of(node), expected.into_iter().collect::<Vec<_>>(), "node {node}");
        }
        let recall = recall(&|| beside(&first, rows, limit).0);
        println!("{limit} bytes: recall {recall} beside {expected}");
        assert!(recall > expected - 0.005, "{limit} bytes: recall {recall} beside {expected}");
    }
}

#[test]
fn a_graph_may_take_over_another_and_get_no_row() {
    let vectors = encode(ElementType::F32, &uniform(300, 16, 33));
    let first = build(parameters(16, ElementType::F32, Metric::L2), &vectors, 1);
    let (arena, _) = beside(&first, &[], ROOM);
    let links = |arena: &Arena, node| arena.links(node, 0).collect::<Vec<_>>();
    assert_eq!(arena.len(), 300);
    assert!(
        (0..300)
            .all(|node| links(&arena, node) == links(&first, node) && arena.heap_tids(node).next().is_none())
    );
    let (arena, _) = beside(&first, &vectors, ROOM);
    assert_eq!(arena.len(), 300);
}
