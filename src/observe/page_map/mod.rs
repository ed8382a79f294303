//! `walia_page_map`: what each page of a table or an index holds, and whether it is cached.

mod heap_page;
mod ranges;
mod shown;

use pgrx::pg_sys;
use walia_core::page::{Occupancy, Page, Pages, Prefetch, Session};

use super::rows::{export, row};
use super::storage::Storage;
use crate::error::OrRaise;
use crate::store::RelationStore;
use crate::store::cached::CachedPage;
use heap_page::heap_page;
use ranges::{Range, Sum, Window};
use shown::Shown;

/// Pages that are looked at before their rows are given.
const STEP: usize = 1 << 12;

/// Pages of a sample that are asked for together.
const READ_TOGETHER: usize = 16;

row! {
    /// About a page.
    MappedPage {
        block: i64,
        kind: &'static str,
        tuples: i32,
        tombstones: i32,
        free_bytes: i32,
        cached: Option<bool>,
        dirty: Option<bool>,
        usage_count: Option<i32>,
    }
}

row! {
    /// About a range of pages.
    MappedRange {
        first_block: i64,
        pages: i64,
        pages_read: i32,
        kind: Option<&'static str>,
        tuples: Option<i64>,
        tombstones: Option<i64>,
        free_bytes: Option<i64>,
        cached: Option<i64>,
        dirty: Option<i64>,
        usage_count: Option<f64>,
    }
}

export!("walia_page_map_wrapper": call(REGCLASSOID) -> MappedPage => page_map(call.oid(0)));
export!("walia_page_map_ranges_wrapper": call(REGCLASSOID, INT4OID, INT8OID, INT8OID, INT4OID) -> MappedRange => {
    let [buckets, sampled_pages] = [1, 4].map(|index| call.int(index).into());
    page_map_ranges(call.oid(0), Window::new(buckets, call.bigint(2), call.bigint(3), sampled_pages).or_raise())
});

/// What a page holds, as it is shown.
fn shown(page: &Page, block: u32, is_index: bool) -> Shown {
    if !is_index {
        return heap_page(page);
    }
    let Occupancy { contents, tuples, tombstones, free_bytes, .. } = Occupancy::of(page, block);
    Shown { kind: contents.name(), tuples, tombstones, free_bytes }
}

/// A relation, its pages, and which of them were cached before the first was read here.
struct Map {
    store: RelationStore,
    cached: Vec<CachedPage>,
    blocks: u32,
    // Closed after the store.
    storage: Storage,
}

impl Map {
    fn new(relation: pg_sys::Oid) -> Self {
        let storage = Storage::new(relation).or_raise();
        let store = storage.store();
        let read = store.cached_pages().and_then(|cached| Ok((cached, store.block_count()?)));
        let (cached, blocks) = read.map_err(|error| storage.error(error)).or_raise();
        Self { store, cached, blocks, storage }
    }

    /// Those that were cached of these blocks.
    fn cached(&self, blocks: std::ops::Range<u32>) -> &[CachedPage] {
        let before = |block: u32| self.cached.partition_point(|page| page.block < block);
        &self.cached[before(blocks.start)..before(blocks.end)]
    }
}

/// A row for each page.
fn page_map(relation: pg_sys::Oid) -> impl Iterator<Item = MappedPage> {
    let map = Map::new(relation);
    (0..map.blocks).step_by(STEP).flat_map(move |first| {
        let blocks = first..map.blocks.min(first.saturating_add(STEP as u32));
        let mut cached = map.cached(blocks.clone()).iter().peekable();
        let is_known = !map.storage.is_temporary;
        let mut rows = Vec::new();
        for (block, page) in map.store.pages(blocks) {
            let page = page.map_err(|error| map.storage.error(error)).or_raise();
            let shown = shown(&page, block, map.storage.is_index);
            drop(page);
            let cached = cached.next_if(|page| page.block == block);
            rows.push(MappedPage {
                block: block.into(),
                kind: shown.kind,
                tuples: shown.tuples as i32,
                tombstones: shown.tombstones as i32,
                free_bytes: shown.free_bytes as i32,
                cached: is_known.then_some(cached.is_some()),
                dirty: cached.map(|page| page.is_dirty),
                usage_count: cached.map(|page| page.usage_count.into()),
            });
        }
        rows
    })
}

/// A row for each of so many ranges of pages, of which some are read.
fn page_map_ranges(relation: pg_sys::Oid, window: Window) -> impl Iterator<Item = MappedRange> {
    let map = Map::new(relation);
    let ranges: Vec<Range> = window.ranges(map.blocks).collect();
    let mut sums: Vec<Sum> = ranges.iter().map(|_| Sum::default()).collect();
    let sample: Vec<(usize, u32)> = (ranges.iter().enumerate())
        .flat_map(|(number, range)| range.sample().map(move |block| (number, block)))
        .collect();
    for together in sample.chunks(READ_TOGETHER) {
        map.store.prefetch(&together.iter().map(|(_, block)| *block).collect::<Vec<_>>());
        for (number, block) in together {
            map.store.interrupt_point();
            let page = map.store.read(*block).map_err(|error| map.storage.error(error)).or_raise();
            sums[*number].add(&shown(&page, *block, map.storage.is_index));
        }
    }
    let row = move |(range, sum): (Range, Sum)| {
        let cached = map.cached(range.blocks.clone());
        let is_known = !map.storage.is_temporary;
        let usage: u64 = cached.iter().map(|page| u64::from(page.usage_count)).sum();
        MappedRange {
            first_block: range.blocks.start.into(),
            pages: range.blocks.len() as i64,
            pages_read: sum.pages as i32,
            kind: sum.kind(),
            tuples: sum.of_all(sum.tuples, &range),
            tombstones: sum.of_all(sum.tombstones, &range),
            free_bytes: sum.of_all(sum.free_bytes, &range),
            cached: is_known.then_some(cached.len() as i64),
            dirty: is_known.then(|| cached.iter().filter(|page| page.is_dirty).count() as i64),
            usage_count: (!cached.is_empty()).then(|| usage as f64 / cached.len() as f64),
        }
    };
    ranges.into_iter().zip(sums).map(row)
}
