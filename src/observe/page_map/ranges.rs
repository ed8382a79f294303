//! Ranges of a relation's pages, and what a sample of them tells.

use pgrx::PgSqlErrorCode;

use super::shown::Shown;
use crate::error::{Result, SqlError};

/// Ranges that a relation is divided into at most.
const MOST_RANGES: i64 = 10_000;
/// Pages that a sample may have.
const MOST_SAMPLED: i64 = 1_000_000;

/// What is asked of a relation: a part of its pages, in so many ranges.
pub struct Window {
    buckets: u64,
    first: u32,
    /// As many as the ranges cover, though the relation may end before; none for all to its end.
    pages: Option<u64>,
    /// Pages that are read in all, but for one of each range.
    sampled: u64,
}

/// A range of pages.
pub struct Range {
    pub blocks: std::ops::Range<u32>,
    /// Pages of it that are read.
    read: u32,
}

impl Window {
    /// What the arguments of the function ask for.
    pub fn new(buckets: i64, first_block: i64, pages: i64, sampled_pages: i64) -> Result<Self> {
        let within = |what: &str, value: i64, least: i64, most: i64| match u64::try_from(value) {
            Ok(number) if (least..=most).contains(&value) => Ok(number),
            _ => {
                let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
                Err(SqlError::new(code, format!("{what} must be between {least} and {most}")))
            }
        };
        Ok(Self {
            buckets: within("number of buckets", buckets, 1, MOST_RANGES)?,
            first: within("first block", first_block, 0, u32::MAX.into())? as u32,
            pages: Some(within("number of pages", pages, 0, 1 << 32)?).filter(|pages| *pages > 0),
            sampled: within("number of sampled pages", sampled_pages, 0, MOST_SAMPLED)?,
        })
    }

    /// So many ranges of equal length, as far as there are pages for them, cut where the relation ends.
    pub fn ranges(&self, blocks: u32) -> impl Iterator<Item = Range> {
        let (first, end) = (u64::from(self.first), u64::from(blocks));
        let pages = self.pages.unwrap_or(end.saturating_sub(first));
        let count = self.buckets.min(pages);
        let bound = move |number: u64| (first + pages * number / count).min(end) as u32;
        let sampled = self.sampled;
        (0..count)
            .map(move |number| bound(number)..bound(number + 1))
            .filter(|blocks| !blocks.is_empty())
            .map(move |blocks| {
                let least = sampled.min(1);
                let read = (sampled / count).clamp(least, blocks.len() as u64) as u32;
                Range { blocks, read }
            })
    }
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

    /// The kind of most pages, if any were read.
    pub fn kind(&self) -> Option<&'static str> {
        self.kinds.iter().max_by_key(|(_, pages)| *pages).map(|(kind, _)| *kind)
    }

    /// What all pages of the range hold, if they are as those that were read.
    pub fn of_all(&self, read: u64, range: &Range) -> Option<i64> {
        let of_all = || (read as f64 * range.blocks.len() as f64 / f64::from(self.pages)).round() as i64;
        (self.pages > 0).then(of_all)
    }
}
