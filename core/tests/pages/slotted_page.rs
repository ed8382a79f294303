//! The slotted page against a model, and against damage.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use walia_core::page::format::slotted::{MAX_TUPLE_SIZE, Page, PageKind};
use walia_core::types::Error;

const BLOCK: u32 = 7;

fn data_page() -> Page {
    let mut page = Page::ZERO;
    page.initialize(PageKind::Data);
    page
}

/// Adds a tuple filled with a byte.
fn add(page: &mut Page, length: usize, fill: u8) -> Option<(u16, u16)> {
    let (slot, version) = page.add_tuple(BLOCK, length).unwrap()?;
    let bytes = page.tuple_mut(BLOCK, slot).unwrap().unwrap();
    assert!(bytes.len() == length && bytes.iter().all(|byte| *byte == 0));
    bytes.fill(fill);
    Some((slot, version))
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, u8),
    Remove(u16),
    Reuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (1..60usize, any::<u8>()).prop_map(|(words, fill)| Step::Add(8 * words, fill)),
        2 => (500..1019usize, any::<u8>()).prop_map(|(words, fill)| Step::Add(8 * words, fill)),
        38 => (0..40u16).prop_map(Step::Remove),
        1 => Just(Step::Reuse),
    ]
}

proptest! {
    /// Tuples keep their slots and bytes through removals and compaction; one is added exactly when it is
    /// said to fit; a version is never given twice.
    #[test]
    fn a_page_holds_what_was_put_on_it(steps in vec(step(), 1..300)) {
        let mut page = data_page();
        let mut model = BTreeMap::new();
        let mut versions = 0;
        for step in steps {
            match step {
                Step::Add(length, fill) => {
                    let fits = length <= page.free_space();
                    let added = add(&mut page, length, fill);
                    prop_assert_eq!(added.is_some(), fits);
                    if let Some((slot, version)) = added {
                        versions += 1;
                        prop_assert_eq!(version, versions);
                        prop_assert!(model.insert(slot, (length, fill)).is_none());
                    }
                }
                Step::Remove(slot) => {
                    page.remove_tuple(BLOCK, slot).unwrap();
                    model.remove(&slot);
                }
                Step::Reuse => {
                    page.initialize(PageKind::Data);
                    model.clear();
                }
            }
            prop_assert_eq!(page.check_slots(BLOCK), Ok(()));
            prop_assert_eq!(page.special().version_counter, u32::from(versions));
            prop_assert_eq!(page.slot_count(), model.last_key_value().map_or(0, |(slot, _)| *slot));
            for slot in 1..=page.slot_count() {
                let expected = model.get(&slot).map(|(length, fill)| vec![*fill; *length]);
                prop_assert_eq!(page.tuple(BLOCK, slot).unwrap(), expected.as_deref());
            }
        }
    }

    /// Whatever the bytes, every function returns, and what it gives lies on the page.
    #[test]
    fn damage_is_an_error_or_nothing(
        tuples in vec(1..40usize, 0..60),
        removed in vec(1..40u16, 0..10),
        damage in vec((prop_oneof![8..200usize, 8176..8192usize], any::<u8>()), 1..12),
        length in (1..60usize).prop_map(|words| 8 * words),
        slot in 0..80u16,
    ) {
        let mut page = data_page();
        for (fill, words) in tuples.into_iter().enumerate() {
            add(&mut page, 8 * words, fill as u8);
        }
        for slot in removed {
            page.remove_tuple(BLOCK, slot).unwrap();
        }
        for (at, byte) in damage {
            page.0[at] = byte;
        }
        for slot in 0..=page.slot_count().saturating_add(1) {
            let _ = page.tuple(BLOCK, slot);
            let _ = page.tuple_mut(BLOCK, slot);
        }
        let sound = page.check_slots(BLOCK).is_ok();
        let free = page.free_space();
        prop_assert!(free <= MAX_TUPLE_SIZE);
        let mut copy = page;
        match copy.add_tuple(BLOCK, length) {
            Ok(added) => prop_assert!(sound && added.is_some() == (length <= free)),
            Err(Error::Corrupt { block: BLOCK, .. }) => prop_assert!(!sound),
            Err(other) => prop_assert!(false, "{other}"),
        }
        let mut copy = page;
        prop_assert_eq!(copy.remove_tuple(BLOCK, slot).is_ok(), sound);
        page.initialize(PageKind::Data);
        prop_assert_eq!(page.check_slots(BLOCK), Ok(()));
    }
}

#[test]
fn a_page_takes_the_largest_tuple() {
    let mut page = data_page();
    assert_eq!(page.free_space(), MAX_TUPLE_SIZE);
    assert_eq!(add(&mut page, MAX_TUPLE_SIZE, 1), Some((1, 1)));
    assert_eq!(add(&mut page, 8, 1), None);
}

#[test]
fn versions_outlive_tuples_and_kinds_of_page() {
    let mut page = data_page();
    assert_eq!(add(&mut page, 8, 1), Some((1, 1)));
    page.remove_tuple(BLOCK, 1).unwrap();
    assert_eq!(add(&mut page, 8, 1), Some((1, 2)));
    page.initialize(PageKind::Parameter);
    page.initialize(PageKind::Data);
    assert_eq!(add(&mut page, 8, 1), Some((1, 3)));
}

#[test]
fn a_page_of_another_kind_has_no_tuples_to_change() {
    let mut page = Page::ZERO;
    page.initialize(PageKind::Hints);
    page.contents_mut(64).fill(0xff);
    assert!(matches!(page.add_tuple(BLOCK, 8), Err(Error::Corrupt { block: BLOCK, slot: 0, .. })));
    assert!(matches!(page.remove_tuple(BLOCK, 1), Err(Error::Corrupt { block: BLOCK, slot: 0, .. })));
    assert!(matches!(Page::ZERO.check_slots(BLOCK), Err(Error::Corrupt { block: BLOCK, slot: 0, .. })));
}
