//! Rows that have passed, in the order in which they are given.

use super::candidate::Key;
use crate::types::{HeapTid, Result};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row that has passed.
pub(super) struct Found<Row> {
    pub key: Key,
    pub heap_tid: HeapTid,
    /// What was kept of it; `None` where it is to be read again before it is given.
    pub row: Option<Row>,
    /// Bytes of that.
    pub size: usize,
}

impl<Row> Found<Row> {
    /// The same, to be read again before it is given.
    pub fn without_row(self) -> Self {
        Self { row: None, size: 0, ..self }
    }
}

/// The first of the rows that have passed, and the others.
pub(super) struct Passed<Row> {
    /// Rows that this round wants.
    wanted: usize,
    /// As far as they have been found; the last is first.
    rows: BinaryHeap<Found<Row>>,
    surplus: Vec<Found<Row>>,
    /// Bytes of rows that may be kept.
    memory: usize,
    kept: usize,
}

impl<Row> Passed<Row> {
    /// None yet; so many are wanted.
    pub fn new(wanted: usize, memory: usize) -> Self {
        Self { wanted, rows: BinaryHeap::new(), surplus: Vec::new(), memory, kept: 0 }
    }

    /// Adds a row.
    pub fn add(&mut self, mut found: Found<Row>) -> Result<()> {
        if self.kept + found.size > self.memory {
            found = found.without_row();
        }
        self.kept += found.size;
        self.rows.try_reserve(1)?;
        self.rows.push(found);
        if self.rows.len() > self.wanted
            && let Some(last) = self.rows.pop()
        {
            self.kept -= last.size;
            self.surplus.try_reserve(1)?;
            self.surplus.push(last.without_row());
        }
        Ok(())
    }

    /// The last row that is wanted; `None` while there are fewer.
    pub fn bound(&self) -> Option<Key> {
        self.rows.peek().filter(|_| self.rows.len() == self.wanted).map(|last| last.key)
    }

    /// Ends the round: its rows, or all, in their order.
    pub fn take(&mut self, with_surplus: bool) -> Vec<Found<Row>> {
        let mut rows = std::mem::take(&mut self.rows).into_vec();
        if with_surplus {
            rows.append(&mut self.surplus);
        }
        self.kept = 0;
        rows.sort_unstable();
        rows
    }

    /// Begins a round for so many more rows.
    pub fn want_more(&mut self, wanted: usize) -> Result<()> {
        self.wanted = wanted;
        let mut surplus = std::mem::take(&mut self.surplus);
        surplus.drain(..).try_for_each(|found| self.add(found))
    }
}

impl<Row> Ord for Found<Row> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.heap_tid.cmp(&other.heap_tid))
    }
}

impl<Row> PartialOrd for Found<Row> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Row> PartialEq for Found<Row> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Row> Eq for Found<Row> {}
