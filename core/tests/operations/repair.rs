//! Whatever is wrong with the graph, a repair mends it.

use crate::table::{MEMORY, OPTIONS, Table, coded, exact_scan, parameters};
use std::sync::Barrier;
use walia_core::page::format::node::{Node, NodeMut};
use walia_core::page::scan::{Next, ScanOptions, ScanStats};
use walia_core::page::{MemoryStore, Meta, Pages, WriteUnit};
use walia_core::types::{Link, Metric, Parameters, PayloadEncoding};

/// All nodes of a table's index.
pub fn nodes(table: &Table) -> Vec<Link> {
    let layout = table.index().schema.layout;
    let mut nodes = Vec::new();
    for block in 2..table.store.block_count().unwrap() {
        let page = table.store.read(block).unwrap();
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&layout, &page, block, slot).unwrap() {
                nodes.push(Link { block, slot, version: node.header().version });
            }
        }
    }
    nodes
}

/// Changes a node in a unit of its own.
pub fn change(table: &Table, node: Link, change: impl FnOnce(&mut NodeMut)) {
    let layout = table.index().schema.layout;
    let mut unit = table.store.begin();
    unit.lock(node.block).unwrap();
    change(&mut NodeMut::at(&layout, unit.edit(node.block), node).unwrap().unwrap());
    unit.commit().unwrap();
}

fn filled(parameters: Parameters) -> Table {
    let mut table = Table::new(MemoryStore::new(), parameters);
    for _ in 0..200 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    table
}

/// Makes the first link of every node lead to a slot that has been reused, and returns the number of nodes.
pub fn make_stale(table: &Table) -> u64 {
    let nodes = nodes(table);
    for node in &nodes {
        change(table, *node, |node| {
            let second = node.view().places().link(1);
            node.set_link(0, Link { version: second.version + 1, ..second });
        });
    }
    nodes.len() as u64
}

/// Searches for ten rows, then mends up to `lists` lists.
fn search_and_heal(table: &mut Table, lists: usize) -> ScanStats {
    let query = table.random_vector();
    let mut scan = exact_scan(table.index(), Some(&query), OPTIONS);
    for _ in 0..10 {
        assert!(matches!(scan.next().unwrap(), Next::Row(_)));
    }
    scan.heal(lists).unwrap();
    scan.stats()
}

#[test]
fn a_scan_mends_what_it_met() {
    for parameters in [parameters(8, Metric::L2), coded(24, Metric::L2, 4, PayloadEncoding::Column)] {
        let mut table = filled(parameters);
        make_stale(&table);
        let commits = table.store.commits();
        let stats = search_and_heal(&mut table, 2);
        assert_eq!((stats.healed_links, table.store.commits() - commits), (2, 2), "{stats:?}");
        let unhealed = search_and_heal(&mut table, 0);
        assert!(unhealed.stale_links > 0 && unhealed.healed_links == 0, "{unhealed:?}");
        for _ in 0..30 {
            search_and_heal(&mut table, 1000);
        }
        table.assert_sound(&["duplicate", "itself"]);
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
        table.assert_complete(Some(&query), ScanOptions { ef_search: 1, ..OPTIONS });
    }
}

/// A page that another backend reads is left alone: healing waits for nobody.
#[test]
fn healing_waits_for_nobody() {
    let table = filled(parameters(8, Metric::L2));
    make_stale(&table);
    let query = table.rows.values().next().unwrap().clone().unwrap();
    let mut scan = exact_scan(table.index(), Some(&query), OPTIONS);
    scan.next().unwrap();
    let store = &table.store;
    let blocks = 2..store.block_count().unwrap();
    let barrier = &Barrier::new(blocks.len() + 1);
    std::thread::scope(|readers| {
        for block in blocks {
            readers.spawn(move || {
                let _page = store.read(block).unwrap();
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        let commits = store.commits();
        scan.heal(1000).unwrap();
        assert_eq!((store.commits(), scan.stats().healed_links), (commits, 0));
        barrier.wait();
    });
}

fn all_parameters() -> [Parameters; 3] {
    let apart = coded(3000, Metric::L2, 1, PayloadEncoding::F16);
    [parameters(8, Metric::L2), coded(24, Metric::Cosine, 4, PayloadEncoding::F16), apart]
}

#[test]
fn links_that_lead_nowhere() {
    for parameters in all_parameters() {
        let mut table = filled(parameters);
        let stale = make_stale(&table);
        let done = table.repair();
        assert_eq!((done.dead_links, done.duplicate_links), (stale, 0), "{done:?}");
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
        assert_eq!(table.repair().lists_mended, 0);
    }
}

#[test]
fn links_that_are_there_twice() {
    for parameters in all_parameters() {
        let table = filled(parameters);
        for (number, node) in nodes(&table).into_iter().enumerate().step_by(3) {
            change(&table, node, |tuple| {
                let second = tuple.view().places().link(1);
                let code = tuple.view().places().code(1).to_vec();
                tuple.set_link(0, if number % 2 == 0 { second } else { node });
                tuple.set_link_code(0, &code);
            });
        }
        let done = table.repair();
        assert!(done.duplicate_links >= 67 && done.dead_links == 0, "{done:?}");
    }
}

#[test]
fn nodes_that_nothing_leads_to() {
    for parameters in all_parameters() {
        let mut table = filled(parameters);
        let entry = Meta::read(&table.store).unwrap().entry_point;
        let cut: Vec<Link> = nodes(&table).into_iter().filter(|node| *node != entry).step_by(10).collect();
        for node in nodes(&table) {
            change(&table, node, |tuple| {
                for position in 0..tuple.view().places().len() {
                    if cut.contains(&tuple.view().places().link(position)) {
                        tuple.set_link(position, Link::NONE);
                    }
                }
            });
        }
        let done = table.repair();
        assert!(done.nodes_relinked > 0, "{done:?}");
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
    }
}

#[test]
fn an_entry_point_below_the_highest_layer() {
    for level in [None, Some(0), Some(7)] {
        let table = filled(parameters(8, Metric::L2));
        let layout = table.index().schema.layout;
        let lowest = nodes(&table).into_iter().find(|node| {
            let page = table.store.read(node.block).unwrap();
            Node::at(&layout, &page, *node).unwrap().unwrap().header().level == 0
        });
        let mut unit = table.store.begin();
        let mut meta = Meta::of_page(unit.lock(0).unwrap()).unwrap();
        // None, one of level 0, and one that is not of the level that is noted.
        if level != Some(7) {
            meta.entry_point = lowest.filter(|_| level.is_some()).unwrap_or(Link::NONE);
        }
        meta.entry_level = level.unwrap_or(0);
        meta.write(unit.edit(0));
        unit.commit().unwrap();
        table.repair();
        assert!(Meta::read(&table.store).unwrap().entry_level > 0);
    }
}

/// A vacuum that was cancelled is finished, however far it came.
#[test]
fn an_unfinished_cycle() {
    for commits in (0..200).step_by(7) {
        let mut table = filled(Parameters { m: 2, m0: 4, ..parameters(8, Metric::L2) });
        for _ in 0..100 {
            let tid = table.any_row().unwrap();
            table.delete(tid);
        }
        table.store.stop_after(table.store.commits() + commits);
        let index = table.index();
        _ = walia_core::page::vacuum::bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid));
        table.store.stop_after(u64::MAX);
        table.repair();
        let meta = Meta::read(&table.store).unwrap();
        assert_eq!(meta.cycle, meta.repaired_cycle);
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
    }
}
