//! Random damage to a whole index: reading it gives errors or findings, never a panic or an endless loop.

use crate::bounded::check;
use crate::graphs::{TestGraph, parameters};
use proptest::collection::vec;
use proptest::prelude::*;
use walia_core::page::format::node::{Node, NodeMut};
use walia_core::page::format::owned::{Owned, OwnedMut};
use walia_core::page::format::slotted::Page;
use walia_core::page::{Index, MemoryStore, Pages, Severity, statistics};
use walia_core::page::{format::chain::chain_pages, query::chain::read_chain};
use walia_core::types::{ElementType, Link};

/// Where bytes are likely to mean something: page header, line pointers, special area, else anywhere.
fn offset() -> impl Strategy<Value = usize> {
    prop_oneof![8..80usize, 8176..8192usize, 80..8192usize, 80..8192usize]
}

fn pages(dimensions: usize, element: ElementType, m: u16) -> Vec<Page> {
    let store = TestGraph::regular(parameters(dimensions, element, m), 40).store();
    (0..store.block_count().unwrap()).map(|block| *store.read(block).unwrap()).collect()
}

/// Calls everything that reads a tuple.
fn read_everything(index: &Index<&MemoryStore>, block: u32, mut page: Page) {
    let layout = &index.schema.layout;
    for slot in 0..=page.slot_count() {
        if let Ok(Some(node)) = Node::in_slot(layout, &page, block, slot) {
            let _ = (node.heap_tids(), node.places().links().count(), node.payload(), node.payload_link());
        }
        if let Ok(Some(owned)) = Owned::in_slot(&page, block, slot) {
            let _ = owned.body();
            for layer in [0, 1, 2, 255] {
                let _ = owned.places(layout, layer).map(|slots| slots.links().count());
            }
        }
        if let Ok(Some(mut node)) = NodeMut::in_slot(layout, &mut page, block, slot) {
            node.set_link(0, Link::NONE);
            node.set_payload_link(Link::NONE);
            node.set_heap_tids(&[]);
        }
        if let Ok(Some(mut owned)) = OwnedMut::in_slot(&mut page, block, slot) {
            owned.set_link(layout, 1, 0, Link::NONE);
            owned.set_link(layout, 255, u16::MAX, Link::NONE);
        }
    }
}

fn examine(mut pages: Vec<Page>, damage: &[(usize, usize, u8)]) {
    let sound = MemoryStore::with_pages(pages.iter().copied());
    let opened = Index::open(&sound, &()).unwrap();
    let count = pages.len();
    for (page, offset, byte) in damage {
        pages[page % count].0[*offset] ^= byte;
    }
    let store = MemoryStore::with_pages(pages.iter().copied());
    // As a backend that opened the index before, and as one that opens it now.
    let before = Index { store: &store, schema: opened.schema.clone() };
    check(&before).unwrap();
    let _ = statistics(&before);
    for (block, page) in (0..).zip(&pages) {
        read_everything(&before, block, *page);
    }
    if let Ok(index) = Index::open(&store, &()) {
        check(&index).unwrap();
        let _ = statistics(&index);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_nodes_are_no_danger(damage in vec((any::<usize>(), offset(), 1..=255u8), 1..30)) {
        examine(pages(8, ElementType::F32, 2), &damage);
        examine(pages(2500, ElementType::F32, 4), &damage);
    }

    #[test]
    fn damaged_parameter_chains_are_no_danger(damage in vec((0..4usize, offset(), 1..=255u8), 1..6)) {
        let bytes = vec![1; 30_000];
        let mut pages: Vec<_> = chain_pages(&bytes, 0).collect();
        for (page, offset, byte) in damage {
            pages[page].0[offset] ^= byte;
        }
        let _ = read_chain(&MemoryStore::with_pages(pages), 0, bytes.len() as u32);
    }
}

/// A page that the disk gave back as zeros, or as another page, loses nodes: that is not overlooked.
#[test]
fn lost_pages_are_found() {
    let original = pages(2500, ElementType::F32, 4);
    for block in 0..original.len() {
        let mut damaged = original.clone();
        damaged[block] = Page::ZERO;
        let sound = MemoryStore::with_pages(original.iter().copied());
        let store = MemoryStore::with_pages(damaged);
        let index = Index { store: &store, schema: Index::open(&sound, &()).unwrap().schema };
        let findings = check(&index).unwrap();
        // The nodes of a lost node page cannot be known; what belonged to them can.
        assert!(!findings.is_empty(), "block {block}");
        let by_error = block < 2 || findings.iter().any(|finding| finding.severity == Severity::Error);
        assert!(by_error || block == 2, "block {block}: {findings:?}");
    }
}
