//! What a page holds, at a glance: nothing but its own bytes is looked at.

use crate::page::format::slotted::{MAX_TUPLE_SIZE, Page, PageKind};
use crate::page::format::tuple::{NodeHeader, TupleKind};
use crate::types::Result;

/// What most of a page's bytes are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contents {
    /// Parameters, entry point, hints, centroid.
    Meta,
    /// Nodes, with their links of layer 0.
    Nodes,
    /// Links of the layers above.
    UpperLinks,
    /// Vectors that lie apart from their nodes.
    Payloads,
    /// Heap TIDs that do not fit their nodes.
    Overflow,
    /// Rows outside of the graph.
    Aside,
    /// Nothing.
    Empty,
    /// What is not as it must be.
    Damaged,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// What most of its bytes are used for.
    pub contents: Contents,
    /// Tuples, but for tombstones.
    pub tuples: u32,
    /// Nodes that wait to be reused.
    pub tombstones: u32,
    /// Bytes that a new tuple may have.
    pub free_bytes: u32,
    /// Whether it has nodes of the layers above 0, or their links.
    pub is_upper: bool,
    /// Whether it has links.
    pub has_links: bool,
}

impl Contents {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Nodes => "nodes",
            Self::UpperLinks => "upper links",
            Self::Payloads => "payloads",
            Self::Overflow => "overflow",
            Self::Aside => "aside",
            Self::Empty => "empty",
            Self::Damaged => "damaged",
        }
    }
}

impl Occupancy {
    /// What a page holds.
    pub fn of(page: &Page, block: u32) -> Self {
        Self::of_sound(page, block).unwrap_or(Self::nothing(Contents::Damaged))
    }

    const fn nothing(contents: Contents) -> Self {
        Self { contents, tuples: 0, tombstones: 0, free_bytes: 0, is_upper: false, has_links: false }
    }

    fn of_sound(page: &Page, block: u32) -> Result<Self> {
        if page.is_new() {
            return Ok(Self { free_bytes: MAX_TUPLE_SIZE as u32, ..Self::nothing(Contents::Empty) });
        }
        if page.kind(block)? != PageKind::Data {
            return Ok(Self::nothing(Contents::Meta));
        }
        let mut found = Self { free_bytes: page.free_space() as u32, ..Self::nothing(Contents::Empty) };
        let mut bytes = [0; Contents::Empty as usize];
        for slot in 1..=page.slot_count() {
            let Some(tuple) = page.tuple(block, slot)? else { continue };
            let contents = match TupleKind::of(block, slot, tuple)? {
                TupleKind::Node => Contents::Nodes,
                TupleKind::Upper => Contents::UpperLinks,
                TupleKind::Payload => Contents::Payloads,
                TupleKind::HeapTids => Contents::Overflow,
                TupleKind::Aside => Contents::Aside,
            };
            bytes[contents as usize] += tuple.len();
            let node = (contents == Contents::Nodes).then(|| tuple.get(..size_of::<NodeHeader>())).flatten();
            let node = node.map(bytemuck::pod_read_unaligned::<NodeHeader>);
            let is_tombstone = node.is_some_and(|node| node.is_tombstone());
            *(if is_tombstone { &mut found.tombstones } else { &mut found.tuples }) += 1;
            found.is_upper |= contents == Contents::UpperLinks || node.is_some_and(|node| node.level > 0);
            found.has_links |= matches!(contents, Contents::Nodes | Contents::UpperLinks);
        }
        let most = bytes.iter().zip(Self::KINDS).max_by_key(|(bytes, _)| **bytes);
        if let Some((1.., contents)) = most {
            found.contents = contents;
        }
        Ok(found)
    }

    /// The kinds of tuples' contents, by number.
    const KINDS: [Contents; Contents::Empty as usize] = [
        Contents::Meta,
        Contents::Nodes,
        Contents::UpperLinks,
        Contents::Payloads,
        Contents::Overflow,
        Contents::Aside,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::format::tuple::TOMBSTONE;

    fn add(page: &mut Page, kind: TupleKind, length: usize, change: impl FnOnce(&mut [u8])) {
        let (slot, _) = page.add_tuple(7, length).unwrap().expect("room");
        let tuple = page.tuple_mut(7, slot).unwrap().unwrap();
        tuple[0] = kind as u8;
        change(tuple);
    }

    #[test]
    fn the_kind_with_most_bytes_counts() {
        let mut page = Page::ZERO;
        assert_eq!(Occupancy::of(&page, 7).contents, Contents::Empty);
        page.initialize(PageKind::Data);
        let empty = Occupancy::of(&page, 7);
        assert_eq!((empty.contents, empty.tuples), (Contents::Empty, 0));
        assert_eq!(empty.free_bytes as usize, page.free_space());
        for _ in 0..3 {
            add(&mut page, TupleKind::HeapTids, 80, |_| ());
        }
        add(&mut page, TupleKind::Node, 160, |tuple| tuple[1] = TOMBSTONE);
        let found = Occupancy::of(&page, 7);
        assert_eq!(
            (found.contents, found.tuples, found.tombstones, found.is_upper, found.has_links),
            (Contents::Overflow, 3, 1, false, true)
        );
        add(&mut page, TupleKind::Node, 160, |tuple| tuple[4] = 1);
        let found = Occupancy::of(&page, 7);
        assert_eq!((found.contents, found.tuples, found.is_upper), (Contents::Nodes, 4, true));
        assert_eq!(found.free_bytes as usize, page.free_space());
    }

    #[test]
    fn a_page_of_anything_is_damaged() {
        let mut page = Page::ZERO;
        page.0.fill(0xff);
        assert_eq!(Occupancy::of(&page, 7).contents, Contents::Damaged);
        page = Page::ZERO;
        page.initialize(PageKind::Data);
        add(&mut page, TupleKind::Node, 64, |tuple| tuple[0] = 99);
        assert_eq!(Occupancy::of(&page, 7).contents, Contents::Damaged);
        page = Page::ZERO;
        page.initialize(PageKind::Parameter);
        assert_eq!(Occupancy::of(&page, 2).contents, Contents::Meta);
    }
}
