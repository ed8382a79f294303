//! Every finding of the check, provoked one by one.

use crate::bounded::check;
use crate::graphs::{TestGraph, parameters};
use walia_core::page::format::chain::chain_pages;
use walia_core::page::format::hints::Hints;
use walia_core::page::format::layout::Layout;
use walia_core::page::format::node::NodeMut;
use walia_core::page::format::owned::OwnedMut;
use walia_core::page::format::presence::Presence;
use walia_core::page::format::slotted::{Page, PageKind};
use walia_core::page::format::tuple::{
    ASIDE_SIZE, AsideKind, OVERFLOW_SIZE, OwnedHeader, PENDING, TOMBSTONE, TupleKind,
};
use walia_core::page::{Index, MemoryStore, Meta, Pages, Severity, WriteUnit, statistics};
use walia_core::types::{ElementType, HeapTid, Link};

/// An index of 20 nodes on block 2: slot 1 of level 0, slot 4 of level 1, slot 9 with overflowing heap TIDs.
struct Damaged {
    store: MemoryStore,
    layout: Layout,
}

const BLOCK: u32 = 2;

impl Damaged {
    fn new(dimensions: usize) -> Self {
        Self::of(dimensions, ElementType::F32)
    }

    fn of(dimensions: usize, element: ElementType) -> Self {
        let store = TestGraph::regular(parameters(dimensions, element, 4), 20).store();
        let layout = Index::open(&store, &()).unwrap().schema.layout;
        assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
        Self { store, layout }
    }

    fn page(&self, block: u32, change: impl FnOnce(&mut Page)) {
        let mut unit = self.store.begin();
        unit.lock(block).unwrap();
        change(unit.edit(block));
        unit.commit().unwrap();
    }

    fn node(&self, slot: u16, change: impl FnOnce(&mut NodeMut)) {
        self.page(BLOCK, |page| {
            change(&mut NodeMut::in_slot(&self.layout, page, BLOCK, slot).unwrap().unwrap())
        });
    }

    fn owned(&self, link: Link, change: impl FnOnce(&mut OwnedMut)) {
        self.page(link.block, |page| {
            change(&mut OwnedMut::in_slot(page, link.block, link.slot).unwrap().unwrap());
        });
    }

    fn meta(&self, change: impl FnOnce(&mut Meta)) {
        let mut meta = Meta::read(&self.store).unwrap();
        change(&mut meta);
        self.page(0, |page| meta.write(page));
    }

    fn link(&self, slot: u16) -> Link {
        Link { block: BLOCK, slot, version: slot }
    }

    fn upper(&self, slot: u16) -> Link {
        let mut upper = Link::NONE;
        self.node(slot, |node| upper = node.view().header().upper);
        upper
    }

    fn overflow(&self, slot: u16) -> Link {
        let mut overflow = Link::NONE;
        self.node(slot, |node| overflow = node.view().header().overflow);
        overflow
    }

    /// Adds a tuple that belongs to `owner` on a page of its own.
    fn add_owned(&self, size: usize, header: OwnedHeader, tids: &[HeapTid]) -> Link {
        let mut unit = self.store.begin();
        let block = unit.extend().unwrap();
        let page = unit.edit(block);
        page.initialize(PageKind::Data);
        let (slot, version) = page.add_tuple(block, size).unwrap().unwrap();
        let bytes = page.tuple_mut(block, slot).unwrap().unwrap();
        OwnedMut::format(bytes, OwnedHeader { version, ..header }).set_heap_tids(tids);
        unit.commit().unwrap();
        Link { block, slot, version }
    }

    /// Asserts that the check finds this, among what else follows from the damage.
    fn assert_found(&self, severity: Severity, what: &str) {
        let index = Index::open(&self.store, &()).unwrap();
        let findings = check(&index).unwrap();
        assert!(
            findings.iter().any(|finding| finding.severity == severity && finding.what == what),
            "{what:?} was not found, but {findings:?}"
        );
    }

    /// As [`Damaged::assert_found`], where nothing else may be found.
    fn assert_found_alone(&self, severity: Severity, what: &str) {
        self.assert_found(severity, what);
        let index = Index::open(&self.store, &()).unwrap();
        assert_eq!(check(&index).unwrap().len(), 1);
    }
}

fn overflow_header(owner: Link) -> OwnedHeader {
    OwnedHeader {
        kind: TupleKind::HeapTids as u8,
        level: 0,
        version: 0,
        count: 0,
        tag: 0,
        owner,
        next: Link::NONE,
    }
}

use Severity::{Error, Warning};

#[test]
fn links_that_cost_recall() {
    let index = Damaged::new(8);
    index.node(1, |node| node.set_link(0, Link { block: BLOCK, slot: 1, version: 1 }));
    index.assert_found_alone(Warning, "link of a node to itself");

    let index = Damaged::new(8);
    index.node(1, |node| node.set_link(0, node.view().places().link(1)));
    index.assert_found_alone(Warning, "duplicate link");

    let index = Damaged::new(8);
    index.node(1, |node| node.set_link(0, Link { version: 77, ..node.view().places().link(0) }));
    index.assert_found_alone(Warning, "stale link");

    let index = Damaged::new(8);
    index.node(1, |node| node.set_link(0, Link { block: 4_000_000, slot: 1, version: 1 }));
    index.assert_found_alone(Warning, "stale link");
}

#[test]
fn sparse_vectors_that_are_none() {
    let what = "node with indices in disorder or past the last dimension";
    for (at, bytes, what) in [
        (4, 0u32.to_le_bytes(), what),
        (4 * 19, 10_000u32.to_le_bytes(), what),
        (4 * 19, u32::MAX.to_le_bytes(), what),
        (4 * 20, f32::NAN.to_le_bytes(), "node with a payload that is not finite"),
    ] {
        let index = Damaged::of(10_000, ElementType::Sparse);
        // Of 20 elements.
        let mut payload = Link::NONE;
        index.node(2, |node| payload = node.view().payload_link());
        index.owned(payload, |tuple| tuple.body_mut()[at..at + 4].copy_from_slice(&bytes));
        let found = check(&Index::open(&index.store, &()).unwrap()).unwrap();
        assert!(found.iter().all(|finding| (finding.block, finding.slot) == (BLOCK, 2)), "{found:?}");
        index.assert_found_alone(Error, what);
    }
}

#[test]
fn a_link_to_a_lower_node() {
    let index = Damaged::new(8);
    let (upper, low) = (index.upper(4), index.link(1));
    index.owned(upper, |tuple| tuple.set_link(&index.layout, 1, 0, low));
    index.assert_found(Error, "link to a node that is not on this layer");
}

#[test]
fn entry_points_that_cost_recall() {
    let index = Damaged::new(8);
    index.meta(|meta| meta.entry_point = Link::NONE);
    index.assert_found(Warning, "no entry point though there are live nodes");
    index.assert_found(Warning, "live node that cannot be reached from the entry point");

    let index = Damaged::new(8);
    index.meta(|meta| meta.entry_level += 1);
    index.assert_found_alone(Warning, "entry point whose level is not as noted");

    let index = Damaged::new(8);
    let low = index.link(4);
    index.meta(|meta| (meta.entry_point, meta.entry_level) = (low, 1));
    index.assert_found_alone(Warning, "entry point below the highest layer");
}

#[test]
fn a_node_that_nothing_links_to() {
    let index = Damaged::new(8);
    let lonely = index.link(1);
    for slot in 2..=20 {
        index.node(slot, |node| {
            for position in 0..index.layout.parameters.m0 {
                if node.view().places().link(position) == lonely {
                    node.set_link(position, Link::NONE);
                }
            }
        });
    }
    index.assert_found_alone(Warning, "live node that cannot be reached from the entry point");
    assert_eq!(statistics(&Index::open(&index.store, &()).unwrap()).unwrap().unreachable_nodes, 1);
}

/// Not even where the node that has the slot now is met while the stale link waits.
#[test]
fn a_stale_link_makes_no_node_unreachable() {
    let index = Damaged::new(8);
    let (entry, target) = (Meta::read(&index.store).unwrap().entry_point, index.link(5));
    for slot in 1..=20 {
        index.node(slot, |node| {
            for position in 0..index.layout.parameters.m0 {
                if node.view().places().link(position) == target {
                    node.set_link(position, Link::NONE);
                }
            }
            if slot == entry.slot {
                node.set_link(0, Link { version: target.version + 1, ..target });
                node.set_link(1, target);
            }
        });
    }
    assert_eq!(statistics(&Index::open(&index.store, &()).unwrap()).unwrap().unreachable_nodes, 0);
}

#[test]
fn tombstones() {
    let index = Damaged::new(8);
    index.meta(|meta| (meta.cycle, meta.repaired_cycle) = (2, 1));
    index.node(1, |node| {
        node.set_heap_tids(&[]);
        (node.header_mut().flags, node.header_mut().cycle) = (TOMBSTONE, 2);
    });
    assert_eq!(check(&Index::open(&index.store, &()).unwrap()).unwrap(), []);
    index.node(1, |node| node.header_mut().cycle = 1);
    index.assert_found(Warning, "link to a tombstone whose slot may be reused");

    let index = Damaged::new(8);
    index.node(1, |node| node.header_mut().flags = TOMBSTONE);
    index.assert_found(Error, "heap TIDs in a tombstone or an unpublished node");

    let index = Damaged::new(8);
    index.node(1, |node| node.header_mut().flags = 4);
    index.assert_found_alone(Error, "node with unknown flags");

    let index = Damaged::new(8);
    index.node(1, |node| node.set_heap_tids(&[]));
    index.assert_found_alone(Warning, "live node without heap TIDs");
}

#[test]
fn an_insertion_that_did_not_end() {
    let index = Damaged::new(8);
    index.node(1, |node| {
        node.set_heap_tids(&[]);
        node.header_mut().flags = PENDING;
    });
    index.assert_found(Warning, "node whose insertion did not end");
    index.assert_found(Warning, "link to an unpublished node");
}

#[test]
fn heap_tids_in_the_wrong_place() {
    let index = Damaged::new(8);
    index.node(1, |node| node.set_heap_tids(&[HeapTid::new(1, 1)]));
    index.assert_found_alone(Error, "heap TID (1,1) is in the index twice");

    let index = Damaged::new(8);
    index.node(1, |node| node.set_heap_tids(&[HeapTid::new(1, 0)]));
    index.assert_found_alone(Error, "impossible heap TID (1,0)");

    let index = Damaged::new(8);
    index.node(9, |node| node.header_mut().overflow = Link::NONE);
    index.assert_found(Error, "heap TIDs that no node leads to");

    let index = Damaged::new(8);
    index.node(9, |node| node.header_mut().overflow.version += 1);
    index.assert_found(Error, "node with a broken chain of heap TIDs");

    let index = Damaged::new(8);
    let newest = index.overflow(9);
    let last = index.add_owned(OVERFLOW_SIZE, overflow_header(index.link(9)), &[]);
    index.assert_found_alone(Warning, "tuple that its owner does not lead to");
    let mut oldest = newest;
    loop {
        let mut next = Link::NONE;
        index.owned(oldest, |tuple| next = tuple.view().header().next);
        if next.is_none() {
            break;
        }
        oldest = next;
    }
    index.owned(oldest, |tuple| tuple.header_mut().next = last);
    assert_eq!(check(&Index::open(&index.store, &()).unwrap()).unwrap(), []);
    // A chain that runs in a circle.
    index.owned(last, |tuple| tuple.header_mut().next = newest);
    index.assert_found(Error, "tuple that is used twice");
}

#[test]
fn aside_tuples() {
    let index = Damaged::new(8);
    index.add_owned(ASIDE_SIZE, OwnedHeader::aside(AsideKind::Null, 0), &[HeapTid::new(9000, 1)]);
    let denied = "row without a distance where the meta page says that there is none";
    index.assert_found_alone(Error, denied);
    // So is it of the other kind only; a hint shows that an older release has inserted it.
    index.meta(|meta| meta.set_presence(AsideKind::ZeroVector, Presence::Present));
    index.assert_found_alone(Error, denied);
    let mut hints = Hints::EMPTY;
    hints.nulls[3] = Link { block: BLOCK, slot: 1, version: 1 };
    index.page(1, |page| hints.write(page));
    assert_eq!(check(&Index::open(&index.store, &()).unwrap()).unwrap(), []);
    index.page(1, |page| Hints::EMPTY.write(page));
    for presence in [Presence::Unknown, Presence::Present, Presence::Clearing] {
        index.meta(|meta| meta.set_presence(AsideKind::Null, presence));
        assert_eq!(check(&Index::open(&index.store, &()).unwrap()).unwrap(), []);
    }
    let unknown = OwnedHeader { tag: 3, ..OwnedHeader::aside(AsideKind::Null, 0) };
    index.add_owned(ASIDE_SIZE, unknown, &[]);
    index.assert_found_alone(Error, "aside tuple of unknown kind or with an owner");
}

#[test]
fn payloads() {
    let index = Damaged::new(8);
    index.node(1, |node| {
        let mut payload = node.view().payload().unwrap().to_vec();
        payload[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
        node.set_payload(&payload, &[]);
    });
    index.assert_found_alone(Error, "node with a payload that is not finite");

    let index = Damaged::new(2500);
    let mut first = Link::NONE;
    index.node(1, |node| first = node.view().payload_link());
    index.owned(first, |part| part.body_mut()[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()));
    index.assert_found_alone(Error, "node with a payload that is not finite");
    index.owned(first, |part| part.body_mut()[..4].fill(0));
    index.owned(first, |part| part.header_mut().count = 2);
    index.assert_found(Error, "part of a payload of impossible number or size");

    let index = Damaged::new(2500);
    index.node(1, |node| node.set_payload_link(Link::NONE));
    index.assert_found(Error, "node without its payload");
}

#[test]
fn upper_tuples() {
    let index = Damaged::new(8);
    let another = index.upper(8);
    index.node(4, |node| node.header_mut().upper = another);
    index.assert_found(Warning, "node without the links of its upper layers");
    index.assert_found(Warning, "tuple that its owner does not lead to");

    let index = Damaged::new(8);
    let upper = index.upper(4);
    index.owned(upper, |tuple| tuple.header_mut().level = 2);
    index.node(4, |node| node.header_mut().level = 2);
    index.assert_found(Error, "upper tuple of impossible size");
}

#[test]
fn pages_and_tuples_that_cannot_be() {
    let index = Damaged::new(8);
    index.page(BLOCK, |page| page.tuple_mut(BLOCK, 1).unwrap().unwrap()[0] = 9);
    index.assert_found(Error, "tuple of unknown kind");

    let index = Damaged::new(8);
    index.node(1, |node| node.header_mut().version = 9000);
    index.assert_found(Error, "tuple with a version that its page has not given");

    let index = Damaged::new(8);
    index.node(1, |node| node.header_mut().tid_count = 200);
    index.assert_found(Error, "node with too many heap TIDs");

    let index = Damaged::new(8);
    index.page(BLOCK, |page| page.0[8190] = 0);
    index.assert_found(Error, "page without walia's page id");

    let index = Damaged::new(8);
    index.page(BLOCK, |page| page.0.copy_within(28..32, 24));
    index.assert_found(Error, "tuple that overlaps another");

    let index = Damaged::new(8);
    index.page(BLOCK, |page| page.0[26] |= 0x80);
    index.assert_found(Error, "impossible line pointer");

    let index = Damaged::new(8);
    index.page(1, |page| page.initialize(PageKind::Data));
    index.assert_found_alone(Error, "no hints page");

    let index = Damaged::new(8);
    index.meta(|meta| meta.set_presence(AsideKind::Null, Presence::Present));
    index.add_owned(ASIDE_SIZE, OwnedHeader::aside(AsideKind::Null, 0), &[]);
    let last = index.store.block_count().unwrap() - 1;
    index.page(last, |page| page.initialize(PageKind::Meta));
    index.assert_found_alone(Error, "meta or hints page out of its place");
}

#[test]
fn parameter_chains() {
    let index = Damaged::new(8);
    let first = index.store.block_count().unwrap();
    let bytes = [1; 10_000];
    for page in chain_pages(&bytes, first) {
        let mut unit = index.store.begin();
        let block = unit.extend().unwrap();
        *unit.edit(block) = page;
        unit.commit().unwrap();
    }
    index.assert_found(Warning, "parameter page outside of the parameter chain");
    index.meta(|meta| (meta.parameter_block, meta.parameter_length) = (first, 10_000));
    assert_eq!(check(&Index::open(&index.store, &()).unwrap()).unwrap(), []);
    index.meta(|meta| meta.parameter_length = 8136);
    index.assert_found(Error, "parameter chain of another length");
}
