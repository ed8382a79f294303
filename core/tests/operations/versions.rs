//! A version that comes again: 65,536 tuples have been put on a page since a crash left a link that leads
//! nowhere, and the last of them is in the very slot. The link then leads to a node that it was not made for,
//! with the code of another beside it.

use crate::interleaved::Session;
use crate::repair::{change, nodes};
use crate::table::{MEMORY, OPTIONS, Table, coded, parameters};
use std::cell::Cell;
use walia_core::page::format::node::Node;
use walia_core::page::vacuum::{bulk_delete, repair};
use walia_core::page::{FreeSpace, Index, MemoryStore, Pages, WriteUnit, check};
use walia_core::types::{HeapTid, Link, Metric, Parameters, PayloadEncoding};

/// Where a page's counter of versions is.
const COUNTER: std::ops::Range<usize> = 8176..8180;

/// Makes the next tuple of its page have the version of `link` again.
fn wrap(table: &Table, link: Link) {
    let mut unit = table.store.begin();
    unit.lock(link.block).unwrap();
    let counter = u32::from(link.version) + 0xffff;
    unit.edit(link.block).0[COUNTER].copy_from_slice(&counter.to_le_bytes());
    unit.commit().unwrap();
}

/// A table without the node that every third one still links to, whose slot is free and whose version comes
/// next.
fn with_links_of_old(parameters: Parameters) -> (Table, Link) {
    let mut table = Table::new(MemoryStore::new(), Parameters { m: 2, m0: 6, ..parameters });
    for _ in 0..40 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let layout = table.index().schema.layout;
    let row = |node: &Link| {
        let page = table.store.read(node.block).unwrap();
        let node = Node::at(&layout, &page, *node).unwrap().unwrap();
        (node.header().level == 0).then(|| node.heap_tids()[0])
    };
    let (node, tid) = nodes(&table).iter().skip(5).find_map(|node| Some((*node, row(node)?))).unwrap();
    table.delete(tid);
    // Makes a tombstone, and then an empty slot.
    (0..2).for_each(|_| table.vacuum().unwrap());
    for live in nodes(&table).into_iter().step_by(3) {
        change(&table, live, |live| live.set_link(0, node));
    }
    wrap(&table, node);
    // The next node finds no other place.
    table.store.set_target_page(None);
    for block in (2..table.store.block_count().unwrap()).filter(|block| *block != node.block) {
        table.store.lower_free_space(block, 0);
    }
    (table, node)
}

/// While such a node is inserted, at every step, others scan, insert and vacuum. Whatever the link leads to,
/// every row is given once, with its own distance. Vacuum and repair treat it as the link to a node that it
/// is; only the code beside it stays.
#[test]
fn a_version_that_comes_again() {
    for parameters in [
        parameters(8, Metric::L2),
        parameters(2500, Metric::L2),
        coded(24, Metric::L2, 4, PayloadEncoding::Column),
        coded(24, Metric::Cosine, 1, PayloadEncoding::Sq8),
    ] {
        let mut wrapped = 0;
        for at in 0.. {
            let (mut table, old) = with_links_of_old(parameters);
            let [vector, other, query] = [(); 3].map(|()| table.random_vector());
            let [tid, other_tid] = [1, 2].map(|row| HeapTid::new(1000, row));
            // A row that is being inserted may be in the index or not.
            table.dead.extend([tid, other_tid]);
            let beside = Cell::new(false);
            let others = |step| {
                if step == at {
                    table.assert_complete(Some(&query), OPTIONS);
                    table.index().insert(&other, other_tid, false).unwrap();
                    bulk_delete(&table.index(), MEMORY, &mut |_| false).unwrap();
                    beside.set(true);
                }
            };
            let session = Session::new(&table.store, others);
            Index::open(&session, &()).unwrap().insert(&vector, tid, false).unwrap();
            let page = *table.store.read(old.block).unwrap();
            wrapped += usize::from(Node::at(&table.index().schema.layout, &page, old).unwrap().is_some());

            table.dead.clear();
            table.rows.insert(tid, Some(vector.clone()));
            if beside.get() {
                table.rows.insert(other_tid, Some(other));
            }
            for query in [&vector, &query] {
                table.assert_complete(Some(query), OPTIONS);
            }
            table.assert_sound(&[]);
            table.delete(tid);
            table.vacuum().unwrap();
            table.assert_sound(&["tombstone"]);
            table.assert_complete(Some(&query), OPTIONS);
            repair(&table.index(), MEMORY).unwrap();
            let code = "link with a code that is not that of its node";
            let findings = check(&table.index()).unwrap();
            assert!(findings.iter().all(|finding| finding.what == code), "{findings:?}");
            if !beside.get() {
                break;
            }
        }
        assert!(wrapped > 5, "the version has come again {wrapped} times");
    }
}
