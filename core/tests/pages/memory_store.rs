//! The RAM page store: what it promises to the tests that stand on it.

use walia_core::page::format::slotted::{Page, PageKind};
use walia_core::page::{Index, MemoryStore, Pages, Session, WriteUnit};
use walia_core::types::{ElementType, Error, Metric, Parameters};

const PARAMETERS: Parameters = Parameters::plain(4, ElementType::F32, Metric::L2, 4, 16);

/// Adds a data page and gives its block.
fn add_page(store: &MemoryStore) -> Result<u32, Error> {
    let mut unit = store.begin();
    let block = unit.extend()?;
    unit.edit(block).initialize(PageKind::Data);
    unit.commit().map(|()| block)
}

#[test]
fn an_index_is_found_again() {
    let store = MemoryStore::new();
    let created = Index::create(&store, &PARAMETERS).unwrap();
    let opened = Index::open(store.reopened(), &()).unwrap();
    assert_eq!(created.schema.layout, opened.schema.layout);
}

#[test]
fn a_prefix_holds_what_was_committed() {
    let store = MemoryStore::recording();
    for block in 0..3 {
        assert_eq!(add_page(&store).unwrap(), block);
    }
    let crashed = store.committed_prefix(2, 3);
    assert_eq!(crashed.block_count().unwrap(), 5);
    assert_eq!(crashed.read(1).unwrap().kind(1), Ok(PageKind::Data));
    assert!((2..5).all(|block| crashed.read(block).unwrap().is_new()));
}

#[test]
fn after_the_crash_nothing_is_written() {
    let store = MemoryStore::new();
    add_page(&store).unwrap();
    store.stop_after(1);
    assert_eq!(add_page(&store), Err(Error::Crashed));
    assert_eq!(store.commits(), 1);
    // The extension stays behind, its contents do not.
    assert_eq!(store.block_count().unwrap(), 2);
    assert!(store.reopened().read(1).unwrap().is_new());
}

#[test]
fn a_dropped_unit_changes_nothing() {
    let store = MemoryStore::with_pages([Page::ZERO]);
    let mut unit = store.begin();
    unit.lock(0).unwrap();
    unit.edit(0).initialize(PageKind::Data);
    assert!(!unit.page(0).is_new());
    drop(unit);
    assert!(store.read(0).unwrap().is_new());
}

#[test]
fn snapshots_hold_back_reuse() {
    let store = MemoryStore::new();
    let snapshot = store.hold_snapshot();
    let unlinked = store.next_transaction();
    assert!(!store.is_older_than_all_snapshots(unlinked));
    add_page(&store).unwrap();
    assert!(!store.is_older_than_all_snapshots(unlinked));
    drop(snapshot);
    assert!(store.is_older_than_all_snapshots(unlinked));
}

#[test]
fn threads_extend_and_lock_at_once() {
    let store = MemoryStore::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let block = add_page(&store).unwrap();
                    let mut unit = store.begin();
                    unit.lock(block / 2).unwrap();
                    if block / 2 < block {
                        unit.lock(block).unwrap();
                    }
                    unit.edit(block).add_tuple(block, 8).unwrap();
                    unit.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(store.block_count().unwrap(), 400);
    let count = |block| store.read(block).unwrap().slot_count();
    assert_eq!((0..400).map(count).sum::<u16>(), 400);
}

#[test]
fn a_block_past_the_end_is_an_error() {
    let store = MemoryStore::new();
    assert!(matches!(store.read(0).map(|_| ()), Err(Error::Corrupt { block: 0, .. })));
    assert!(matches!(store.begin().lock(7).map(|_| ()), Err(Error::Corrupt { block: 7, .. })));
}

#[cfg(debug_assertions)]
mod lock_order {
    use super::*;

    #[test]
    #[should_panic(expected = "out of order")]
    fn descending_locks_panic() {
        let store = MemoryStore::with_pages([Page::ZERO; 2]);
        let mut unit = store.begin();
        unit.lock(1).unwrap();
        let _ = unit.lock(0);
    }

    #[test]
    #[should_panic(expected = "while another is locked")]
    fn reading_under_a_lock_panics() {
        let store = MemoryStore::with_pages([Page::ZERO; 2]);
        let mut unit = store.begin();
        unit.lock(1).unwrap();
        let _ = store.read(0);
    }

    #[test]
    #[should_panic(expected = "interrupt point")]
    fn an_interrupt_point_under_a_lock_panics() {
        let store = MemoryStore::with_pages([Page::ZERO]);
        let _page = store.read(0).unwrap();
        store.interrupt_point();
    }
}
