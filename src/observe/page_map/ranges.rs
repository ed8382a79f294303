//! Ranges of a relation's pages, and what a sample of them tells.

use super::shown::Shown;

/// Pages that are read in all, but for one of each range.
const SAMPLED_PAGES: u32 = 2048;
/// Ranges that a relation is divided into at most.
pub const MOST_RANGES: u32 = 10_000;

/// A range of pages.
pub struct Range {
    pub blocks: std::ops::Range<u32>,
    /// Pages of it that are read.
    read: u32,
}

/// So many ranges of equal length, as far as there are pages for them.
pub fn ranges(blocks: u32, count: u32) -> impl Iterator<Item = Range> {
    let count = count.min(blocks);
    let bound = move |number: u32| (u64::from(blocks) * u64::from(number) / u64::from(count)) as u32;
    (0..count).map(move |number| {
        let blocks = bound(number)..bound(number + 1);
        let read = (SAMPLED_PAGES / count).clamp(1, blocks.len() as u32);
        Range { blocks, read }
    })
}

impl Range {
    /// The blocks that are read: one of each of as many parts, by a hash of its place, so that it is the same
    /// one the next time.
    pub fn sample(&self) -> impl Iterator<Item = u32> {
        let (first, length, read) = (self.blocks.start, self.blocks.len() as u64, u64::from(self.read));
        (0..read).map(move |part| {
            let (from, to) = (length * part / read, length * (part + 1) / read);
            let from = first + from as u32;
            let part_length = first + to as u32 - from;
            from + (u64::from(from).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % part_length
        })
    }
}

/// What the pages that were read of a range hold together.
#[derive(Default)]
pub struct Sum {
    pub pages: u32,
    pub tuples: u64,
    pub tombstones: u64,
    pub free_bytes: u64,
    kinds: Vec<(&'static str, u32)>,
}

impl Sum {
    pub fn add(&mut self, page: &Shown) {
        self.pages += 1;
        self.tuples += u64::from(page.tuples);
        self.tombstones += u64::from(page.tombstones);
        self.free_bytes += u64::from(page.free_bytes);
        match self.kinds.iter_mut().find(|(kind, _)| *kind == page.kind) {
            Some((_, pages)) => *pages += 1,
            None => self.kinds.push((page.kind, 1)),
        }
    }

    /// The kind of most pages.
    pub fn kind(&self) -> &'static str {
        self.kinds.iter().max_by_key(|(_, pages)| *pages).map_or("empty", |(kind, _)| kind)
    }

    /// What all pages of the range hold, if they are as those that were read.
    pub fn of_all(&self, read: u64, range: &Range) -> i64 {
        (read as f64 * range.blocks.len() as f64 / f64::from(self.pages.max(1))).round() as i64
    }
}
